package exectrace

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/pprof/profile"
)

// TestTruth holds what is read from traces of real programs against what the
// program's own runtime/metrics say of the same time, and against go tool trace.
func TestTruth(t *testing.T) {
	source, err := os.ReadFile("testdata/busy.go.txt")
	if err != nil {
		t.Fatal(err)
	}
	for _, release := range []string{"local", "go1.22.12", "go1.23.12", "go1.24.13", "go1.25.14", "go1.27.4"} {
		t.Run(release, func(t *testing.T) {
			dir := t.TempDir()
			for name, text := range map[string]string{"main.go": string(source), "go.mod": "module example.com/busy\n\ngo 1.22\n"} {
				if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			env := append(os.Environ(), "GOWORK=off", "GOFLAGS=-buildvcs=false", "GOPROXY=off", "GOTOOLCHAIN="+release, "GOMAXPROCS=4", "GODEBUG=", "GOGC=")
			run := func(name string, args ...string) ([]byte, error) {
				c := exec.CommandContext(t.Context(), name, args...)
				c.Env, c.Dir = env, dir
				if name == "go" && args[0] == "tool" { // the local one reads what all releases write
					c.Env = append(env, "GOTOOLCHAIN=local")
				}
				return c.CombinedOutput()
			}
			if out, err := run("go", "version"); err != nil {
				t.Skipf("no toolchain %s here: %v: %s", release, err, out)
			}
			if out, err := run("go", "build", "-o", "busy", "."); err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			// Times differ where others take the CPU between two stamps. What is wrong here
			// is wrong in every run; counts must be equal in each.
			var apart []string
			for range 4 {
				if apart = oneTruth(t, dir, run); len(apart) == 0 {
					return
				}
				t.Log(apart)
			}
			t.Error(apart)
		})
	}
}

// oneTruth traces the program once, and says what does not agree of the times.
func oneTruth(t *testing.T, dir string, run func(string, ...string) ([]byte, error)) []string {
	out, err := run(filepath.Join(dir, "busy"), "trace.out", "500ms", "4")
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var m map[string]float64
	if err := json.Unmarshal(out, &m); err != nil {
		t.Fatal(err)
	}
	f, err := os.Open(filepath.Join(dir, "trace.out"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r, err := Read(t.Context(), f, Options{})
	if err != nil {
		t.Fatal(err)
	}
	consistent(t, r)
	apart := agreesWithMetrics(t, r, m)
	if out, err := run("go", "tool", "trace", "-pprof=sched", "trace.out"); err != nil {
		t.Logf("go tool trace: %v", err)
	} else {
		apart = append(apart, agreesWithTool(t, r, out)...)
	}
	return apart
}

// agreesWithMetrics compares counts exactly. Pauses are known to the metrics by
// bucket only (runtime/time_histogram.go: a quarter of a power of two, so the
// middle is off by no more than an eighth). What the metrics call marking ends
// where a worker or an assist stops to mark; the trace has it until the P is given
// up, which includes ending the cycle: it is more, and how much depends on how busy
// the machine is.
func agreesWithMetrics(t *testing.T, r *Report, m map[string]float64) (apart []string) {
	var n, sum, stopping float64
	for _, s := range r.Stops {
		if s.GC {
			n += float64(s.Spread.N)
			sum += s.Spread.Sum
			stopping += s.Stopping.Sum
		}
	}
	if got, want := float64(r.Cycles.N), m["/gc/cycles/total:gc-cycles"]; got != want {
		t.Errorf("%v cycles, and %v by the metrics", got, want)
	}
	if want := m["/sched/pauses/total/gc:seconds n"]; n != want {
		t.Errorf("%v stops for GC, and %v by the metrics", n, want)
	}
	between := func(what string, got, want, low, high, slack, over float64) {
		t.Logf("%s: %.4g in the trace, %.4g by the metrics (%+.1f%%)", what, got, want, 100*(got/want-1))
		if got < low*want-slack || got > high*want+slack+over {
			apart = append(apart, fmt.Sprintf("%s: %v, and %v by the metrics", what, got, want))
		}
	}
	const ms = 0.001
	// Where the kernel takes the thread off the CPU between the end of a pause by the
	// metrics and that in the trace, it is longer by a time slice or two.
	const slices = 30 * ms
	between("pauses", sum, m["/sched/pauses/total/gc:seconds sum"], 0.85, 1.15, ms, slices)
	// The metrics count until the thread that stops the world has been woken.
	between("stopping", stopping, m["/sched/pauses/stopping/gc:seconds sum"], 0, 1.15, ms, slices)
	between("dedicated marking", r.Processors.Dedicated, m["/cpu/classes/gc/mark/dedicated:cpu-seconds"], 0.95, 2, 20*ms, slices)
	between("idle marking", r.Processors.Idle, m["/cpu/classes/gc/mark/idle:cpu-seconds"], 0.95, 2, 20*ms, slices)
	between("assists", r.Processors.Assist, m["/cpu/classes/gc/mark/assist:cpu-seconds"], 0.95, 3, 50*ms, slices)
	// One in eight is measured by the runtime (gTrackingPeriod): in this the
	// comparison is a rough one.
	t.Logf("delay: %.4g in the trace, %.4g by the metrics", r.Delay.All.Sum, 8*m["/sched/latencies:seconds sum"])
	return apart
}

// agreesWithTool compares how long goroutines waited for a P with what go tool
// trace has in its profile of that. The tool leaves out those that were woken where
// there was no stack, by a timer or the scheduler, and waits that did not end.
func agreesWithTool(t *testing.T, r *Report, b []byte) []string {
	p, err := profile.Parse(bytes.NewReader(b))
	if err != nil {
		t.Errorf("the profile of go tool trace: %v", err)
		return nil
	}
	var tool, ours float64
	for _, s := range p.Sample {
		tool += float64(s.Value[1]) / 1e9
	}
	for _, k := range r.Kinds {
		ours += k.Runnable
	}
	t.Logf("waiting for a P: %.4g, %.4g by go tool trace (%+.1f%%)", ours, tool, 100*(ours/tool-1))
	if ours < 0.9*tool-0.005 || ours > 2.5*tool+0.02 {
		return []string{fmt.Sprintf("waiting for a P: %v, and %v by go tool trace", ours, tool)}
	}
	return nil
}
