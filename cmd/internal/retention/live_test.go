package retention_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	pprof "github.com/google/pprof/profile"

	"github.com/heapwright/heapwright/cmd/internal/object"
	"github.com/heapwright/heapwright/cmd/internal/remote"
	"github.com/heapwright/heapwright/cmd/internal/retention"
	"github.com/heapwright/heapwright/cmd/internal/targettest"
)

// keeps builds and starts the program of testdata and returns its process id, and
// the bytes that each of its globals keeps.
func keeps(t *testing.T, toolchain string, size string, flags ...string) (int, map[string]uint64) {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("processes can be read on Linux only")
	}
	bin := filepath.Join(t.TempDir(), "keeps")
	build := exec.Command("go", append(append([]string{"build", "-o", bin}, flags...), ".")...)
	build.Dir = filepath.Join("testdata", "keeps")
	build.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-mod=mod", "GOPROXY=off")
	if toolchain != targettest.Local {
		build.Env = append(build.Env, "GOTOOLCHAIN="+toolchain)
	}
	if out, err := build.CombinedOutput(); err != nil {
		if toolchain != targettest.Local {
			t.Skipf("%s is not installed: %s", toolchain, out)
		}
		t.Fatalf("%v: %s", err, out)
	}
	cmd := exec.Command(bin, size)
	_, out := targettest.Pipe(t, cmd)
	line, err := out.ReadBytes('\n')
	if err != nil && err != io.EOF {
		t.Fatal(err)
	}
	truth := map[string]uint64{}
	if err := json.Unmarshal(line, &truth); err != nil {
		t.Fatal(err)
	}
	return cmd.Process.Pid, truth
}

func analyse(t *testing.T, pid int, opt object.Options) (*retention.Report, *object.Stats) {
	t.Helper()
	ctx := context.Background()
	target, err := remote.Attach(ctx, pid)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { target.Close() })
	g, stats, err := object.Walk(ctx, target, opt)
	if err != nil {
		t.Fatal(err)
	}
	r, err := retention.Analyse(ctx, g, retention.Options{
		Precise: string(stats.Precision),
		Look: func(addr uint64, buf []byte) int {
			if target.Memory().Read(addr, buf) != nil {
				return 0
			}
			return len(buf)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return r, stats
}

// retained sums up the pprof file's retained bytes by outermost frame.
func retained(t *testing.T, r *retention.Report) map[string]uint64 {
	t.Helper()
	var buf bytes.Buffer
	if err := r.WritePprof(&buf); err != nil {
		t.Fatal(err)
	}
	p, err := pprof.Parse(&buf)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]uint64{}
	for _, s := range p.Sample {
		out[s.Location[len(s.Location)-1].Line[0].Function.Name] += uint64(s.Value[1])
	}
	return out
}

func TestRetainedAgainstTruth(t *testing.T) {
	if testing.Short() {
		t.Skip("builds and reads programs")
	}
	for _, toolchain := range targettest.Toolchains {
		t.Run("go"+strings.TrimPrefix(toolchain, "go"), func(t *testing.T) {
			pid, truth := keeps(t, toolchain, "5000")
			r, stats := analyse(t, pid, object.Options{})
			t.Logf("%d objects, %d bytes, %d not reached, %s, in %v", r.Objects, r.LiveBytes, r.UnreachedBytes, r.Precise, stats.Took)
			got := retained(t, r)
			for name, want := range truth {
				have := got["main."+name] + got[name]
				// The program measures what its runtime allocates meanwhile, too: 5 KiB when it
				// starts a thread.
				off := math.Abs(float64(have) - float64(want))
				t.Logf("%-16s %10d, truth %10d (%+.3f%%)", name, have, want, 100*(float64(have)-float64(want))/float64(want))
				if name == "(several roots)" {
					off = max(off-(100<<10), 0) // the runtime has such things, too
				}
				if off > 0.01*float64(want)+16384 {
					t.Errorf("%s retains %d bytes, the truth is %d", name, have, want)
				}
			}
		})
	}
}
