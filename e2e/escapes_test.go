package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/heapwright/heapwright/e2e/internal/harness"
)

type escapesDocument struct {
	Schema          string   `json:"schema"`
	Seconds         *float64 `json:"seconds"`
	TotalBytes      float64  `json:"total_bytes"`
	InPackagesBytes float64  `json:"in_packages_bytes"`
	Lines           []struct {
		File           string   `json:"file"`
		Line           int      `json:"line"`
		Func           string   `json:"func"`
		Agreement      string   `json:"agreement"`
		BytesPerSecond *float64 `json:"bytes_per_second"`
		Decisions      []struct {
			Verdict string `json:"verdict"`
			What    string `json:"what"`
			Why     string `json:"why"`
		} `json:"decisions"`
	} `json:"lines"`
}

// TestEscapes joins what the compiler says of an example with what it allocates,
// which its source tells: 4 KiB in one line.
func TestEscapes(t *testing.T) {
	t.Parallel()
	prog := harness.Start{Path: product.Example("churn")}.Start(t)
	pid := strconv.Itoa(prog.PID)
	source, err := os.ReadFile("../examples/churn/main.go")
	if err != nil {
		t.Fatal(err)
	}
	line := 1 + strings.Count(strings.SplitN(string(source), "out := make([]byte, 0, 4<<10)", 2)[0], "\n")
	check := func(t *testing.T, doc *escapesDocument) {
		t.Helper()
		if doc.TotalBytes <= 0 || doc.InPackagesBytes < 0.9*doc.TotalBytes || len(doc.Lines) == 0 {
			t.Fatalf("got %+v", doc)
		}
		first := doc.Lines[0]
		if filepath.Base(first.File) != "main.go" || first.Line != line || first.Func != "main.render" || first.Agreement != "agree" {
			t.Errorf("the line that allocates most is %+v, and not main.go:%d", first, line)
		}
		if len(first.Decisions) != 1 || first.Decisions[0].Verdict != "escapes" || !strings.HasPrefix(first.Decisions[0].What, "make([]byte, 0, 4") || !strings.Contains(first.Decisions[0].Why, "return") {
			t.Errorf("the compiler is said to say %+v of it", first.Decisions)
		}
	}
	t.Run("process", func(t *testing.T) {
		var doc escapesDocument
		escapes(t, &doc, "--profile", pid, "--for", "6s")
		check(t, &doc)
		if doc.Seconds == nil || doc.Lines[0].BytesPerSecond == nil || *doc.Lines[0].BytesPerSecond <= 0 {
			t.Errorf("there is no rate: %+v", doc)
		}
	})
	t.Run("pprof", func(t *testing.T) {
		file := filepath.Join(t.TempDir(), "allocs.pb.gz")
		if r := product.Run(t, "profile", pid, "--type", "allocs", "-o", file); r.Code != 0 {
			t.Fatal(r)
		}
		var doc escapesDocument
		escapes(t, &doc, "--profile", file)
		check(t, &doc)
	})
}

// escapes asks about the example, from its own directory.
func escapes(t *testing.T, doc any, args ...string) {
	t.Helper()
	r := product.RunWith(t, func(cmd *exec.Cmd) { cmd.Dir = "../examples/churn" }, append([]string{"escapes", "--json"}, args...)...)
	if r.Code != 0 {
		t.Fatal(r)
	}
	r.Decode(t, doc)
}
