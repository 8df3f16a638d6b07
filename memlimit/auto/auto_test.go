package auto

import (
	"fmt"
	"os"
	"os/exec"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/heapwright/heapwright/memlimit"
)

// The import of this package has happened in the child, as in any program.
func TestMain(m *testing.M) {
	if os.Getenv("AUTO_CHILD") == "" {
		os.Exit(m.Run())
	}
	if l := memlimit.Current(); l == nil {
		fmt.Println("nothing runs")
	} else {
		r := l.Report()
		fmt.Println(r.Mode, r.LimitBytes, debug.SetMemoryLimit(-1))
	}
}

func TestImport(t *testing.T) {
	const none = "9223372036854775807"
	for _, tt := range []struct {
		env  []string
		want string // the child's output begins so
		says string // and has this
	}{
		{[]string{"HEAPWRIGHT_MEMORY_LIMIT=64Mi"}, "set 67108864 ", "memory limit is set"},
		{[]string{"HEAPWRIGHT_MEMORY_LIMIT=64Mi", "HEAPWRIGHT_MEMLIMIT=off"}, "off 0 " + none, "not kept"},
		{[]string{"HEAPWRIGHT_MEMORY_LIMIT=64Mi", "HEAPWRIGHT_MEMLIMIT=dry-run"}, "dry_run 67108864 " + none, "would be set"},
		{[]string{"HEAPWRIGHT_MEMLIMIT=perhaps"}, "nothing runs", "on, off or dry-run"},
		{[]string{"HEAPWRIGHT_MEMORY_LIMIT=64Mi", "GOMEMLIMIT=50MiB"}, "operator 67108864 52428800", "left as it was set"},
	} {
		c := exec.Command(os.Args[0])
		c.Env = append(tt.env, "AUTO_CHILD=1")
		for _, keep := range []string{"SYSTEMROOT", "TMP", "TEMP"} { // Windows starts nothing without
			if v, ok := os.LookupEnv(keep); ok {
				c.Env = append(c.Env, keep+"="+v)
			}
		}
		var said strings.Builder
		c.Stderr = &said
		out, err := c.Output()
		if err != nil || !strings.HasPrefix(string(out), tt.want) {
			t.Errorf("%v: %q, %v; want %q", tt.env, out, err, tt.want)
		}
		if !strings.Contains(said.String(), tt.says) {
			t.Errorf("%v: the log is %q; want %s", tt.env, said.String(), tt.says)
		}
	}
}
