package e2e

import (
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/heapwright/heapwright/e2e/internal/harness"
	"github.com/heapwright/heapwright/e2e/servers"
)

// traceDocument is what `diagnose --trace --json` says, as far as the tests look.
type traceDocument struct {
	Schema  string `json:"schema"`
	Verdict string `json:"verdict"`
	Trace   struct {
		Seconds float64  `json:"seconds"`
		Events  int      `json:"events"`
		Cut     string   `json:"cut"`
		Notes   []string `json:"notes"`
	} `json:"trace"`
	From struct {
		Kind string `json:"kind"`
		PID  int    `json:"pid"`
	} `json:"from"`
	Impact struct {
		Share float64 `json:"ratio"`
	} `json:"impact"`
	Cycles struct {
		N int `json:"n"`
	} `json:"cycles"`
	Culprits []struct {
		Func string  `json:"func"`
		Kind string  `json:"kind"`
		Late int     `json:"late"`
		Max  float64 `json:"max_seconds"`
	} `json:"culprits"`
	Kinds    []struct{ Func string } `json:"kinds"`
	Findings []harness.Finding       `json:"findings"`
}

func (d *traceDocument) find(id string) *harness.Finding {
	for i := range d.Findings {
		if d.Findings[i].ID == id {
			return &d.Findings[i]
		}
	}
	return nil
}

func diagnoseTrace(t *testing.T, args ...string) *traceDocument {
	t.Helper()
	d := &traceDocument{}
	r := product.Run(t, append([]string{"diagnose", "--json", "--trace"}, args...)...)
	if r.Code != 0 && r.Code != 3 { // no collection ran
		t.Fatal(r)
	}
	r.Decode(t, d)
	if d.Schema != "heapwright.trace/1" || d.Trace.Cut != "" || d.Trace.Events == 0 {
		t.Errorf("got %+v", d)
	}
	t.Logf("%s (%d events in %.2f s, %d cycles)", d.Verdict, d.Trace.Events, d.Trace.Seconds, d.Cycles.N)
	return d
}

// TestTraceIllnesses has programs traced from outside by their PID, each with an
// illness that only a trace names.
func TestTraceIllnesses(t *testing.T) {
	path := product.Build(t, "./testdata/traced")
	start := func(t *testing.T, illness string, env ...string) *harness.Program {
		return harness.Start{Path: path, Args: []string{illness}, Env: env}.Start(t)
	}
	t.Run("late to stop", func(t *testing.T) {
		prog := start(t, "spin", "GODEBUG=asyncpreemptoff=1")
		d := diagnoseTrace(t, strconv.Itoa(prog.PID), "--for", "3s")
		if d.From.Kind != "pid" || d.From.PID != prog.PID {
			t.Errorf("from %+v", d.From)
		}
		f := d.find("HW5003")
		if f == nil || f.Severity != "warning" || len(d.Culprits) == 0 || d.Culprits[0].Func != "main.spin" || d.Culprits[0].Kind != "main.spin" || d.Culprits[0].Late < 3 {
			t.Errorf("culprits %+v, finding %v", d.Culprits, f)
		}
	})
	t.Run("stops its own world", func(t *testing.T) {
		prog := start(t, "forced")
		d := diagnoseTrace(t, strconv.Itoa(prog.PID), "--for", "2s")
		f := d.find("HW5007")
		if f == nil || !strings.Contains(f.Title, "memory statistics") {
			t.Errorf("findings %+v", d.Findings)
		}
	})
	t.Run("not GC", func(t *testing.T) {
		prog := start(t, "quiet")
		file := filepath.Join(t.TempDir(), "trace.out")
		live := diagnoseTrace(t, strconv.Itoa(prog.PID), "--for", "2s", "-o", file)
		kept := diagnoseTrace(t, file)
		if live.Cycles.N != kept.Cycles.N || live.Verdict != kept.Verdict {
			t.Errorf("%q live, and %q from the file", live.Verdict, kept.Verdict)
		}
		if live.find("HW5090") == nil && live.find("HW5003") == nil { // a machine that is short of CPU stops late
			t.Errorf("findings %+v", live.Findings)
		}
	})
	t.Run("no profiles", func(t *testing.T) {
		prog := harness.Start{Path: product.Example("churn")}.Start(t)
		r := product.Run(t, "diagnose", "--trace", strconv.Itoa(prog.PID))
		if r.Code != 2 || !strings.Contains(r.Stderr, "listens on no TCP port") {
			t.Error(r)
		}
	})
}

// TestTraceServers has real servers traced under load. Collections there are counted
// by the server's own metrics before and after: the trace lies within.
func TestTraceServers(t *testing.T) {
	t.Parallel()
	for _, s := range []servers.Server{servers.NATS, servers.Etcd} {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			inst := startServer(t, s)
			stop := underLoad(t, inst, inst.ModerateLoad())
			time.Sleep(3 * time.Second)
			var d *traceDocument
			before := cycles(t, inst.PID)
			for _, where := range []string{strconv.Itoa(inst.PID), inst.Pprof} {
				d = diagnoseTrace(t, where, "--for", "4s")
				if d.Trace.Seconds < 3 || len(d.Kinds) < 5 {
					t.Errorf("got %+v", d)
				}
			}
			after := cycles(t, inst.PID)
			if uint64(d.Cycles.N) > after-before {
				t.Errorf("%d cycles in the second trace, and %d by the runtime's count around both", d.Cycles.N, after-before)
			}
			st := stop()
			t.Logf("%.0f operations a second, %d errors", st.PerSecond(), st.Errors)
			harness.Alive(t, inst.PID)
			for _, f := range d.Findings {
				t.Logf("%s %s: %s", f.ID, f.Severity, f.Title)
			}
		})
	}
}

// cycles is how many collections a process has ended, by its own count.
func cycles(t *testing.T, pid int) uint64 {
	t.Helper()
	var doc struct {
		Processes []struct {
			PID      int     `json:"pid"`
			GCCycles *uint64 `json:"gc_cycles"`
		} `json:"processes"`
	}
	product.JSON(t, &doc, "ps")
	for _, p := range doc.Processes {
		if p.PID == pid && p.GCCycles != nil {
			return *p.GCCycles
		}
	}
	t.Fatalf("ps does not know the cycles of %d", pid)
	return 0
}
