package e2e

import (
	"context"
	"encoding/json"
	"sync"
	"testing"
	"time"

	"github.com/heapwright/heapwright/e2e/internal/harness"
	"github.com/heapwright/heapwright/e2e/servers"
)

// startServer builds a real server, unless the cache has it, and runs it for the
// time of the test.
func startServer(t *testing.T, s servers.Server) *servers.Instance {
	t.Helper()
	return startServerAs(t, s, "")
}

// startServerAs runs it under a name that no other test's agent watches, unless that is
// empty.
func startServerAs(t *testing.T, s servers.Server, name string) *servers.Instance {
	t.Helper()
	bin, err := s.Recipe.Build(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if name != "" {
		bin = copied(t, bin, name)
	}
	inst, err := s.Start(t.Context(), bin, t.TempDir(), servers.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := inst.Stop(); err != nil {
			t.Error(err)
		}
	})
	return inst
}

// underLoad puts load on a server until stop is called.
func underLoad(t *testing.T, inst *servers.Instance, l servers.Load) (stop func() servers.Stats) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	var st servers.Stats
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		st, err = inst.Load(ctx, l)
	}()
	var once sync.Once
	stop = func() servers.Stats {
		once.Do(func() {
			cancel()
			<-done
			if err != nil {
				t.Error(err)
			}
		})
		return st
	}
	t.Cleanup(func() { stop() })
	return stop
}

// TestHealthyServers demands that nothing above info is found in programs that
// have nothing wrong with them.
func TestHealthyServers(t *testing.T) {
	t.Parallel()
	for _, state := range []string{"idle", "load"} {
		t.Run(state, func(t *testing.T) {
			for _, s := range servers.All() {
				t.Run(s.Name, func(t *testing.T) {
					t.Parallel()
					inst := startServer(t, s)
					if state == "idle" {
						healthy(t, inst)
						return
					}
					healthyUnder(t, inst, inst.ModerateLoad())
				})
			}
		})
	}
}

// TestFloodedServers is the same with as much load as there can be, which takes the
// whole machine.
func TestFloodedServers(t *testing.T) {
	long(t)
	for _, s := range servers.All() {
		t.Run(s.Name, func(t *testing.T) {
			inst := startServer(t, s)
			l := inst.ModerateLoad()
			l.Rate = 0
			healthyUnder(t, inst, l)
		})
	}
}

// healthyUnder demands that a server has nothing wrong with it under load.
func healthyUnder(t *testing.T, inst *servers.Instance, l servers.Load) {
	t.Helper()
	stop := underLoad(t, inst, l)
	// The first seconds are not healthy life but start-up: caches fill.
	time.Sleep(5 * time.Second)
	if d := healthy(t, inst); d.Find("HW9001") != nil {
		t.Errorf("not enough data under load:\n%v", d)
	}
	if st := stop(); !t.Failed() {
		t.Logf("%.0f operations a second, %d errors", st.PerSecond(), st.Errors)
	}
}

// healthy demands that a server has nothing wrong with it.
func healthy(t *testing.T, inst *servers.Instance) *harness.Diagnosis {
	t.Helper()
	d := product.Diagnose(t, inst.PID, 20*time.Second)
	harness.Alive(t, inst.PID)
	for i := range d.Findings {
		if f := &d.Findings[i]; f.Level() > harness.Level("info") {
			t.Errorf("a healthy server has\n%v", f)
		} else {
			t.Logf("%s %s: %s", f.ID, f.Severity, f.Title)
		}
	}
	return d
}

// psDocument is what `ps --json` says, as far as the tests look.
type psDocument struct {
	Schema    string      `json:"schema"`
	Processes []psProcess `json:"processes"`
}

type psProcess struct {
	PID              int      `json:"pid"`
	Exe              string   `json:"exe"`
	Module           string   `json:"module"`
	GoVersion        string   `json:"go_version"`
	Stripped         bool     `json:"stripped"`
	CgroupLimitBytes *uint64  `json:"cgroup_limit_bytes"`
	RSSBytes         *uint64  `json:"rss_bytes"`
	HeapLiveBytes    *uint64  `json:"heap_live_bytes"`
	HeapGoalBytes    *uint64  `json:"heap_goal_bytes"`
	GOGCPercent      *int64   `json:"gogc_percent"`
	GOMEMLIMITBytes  *int64   `json:"gomemlimit_bytes"`
	GCCycles         *uint64  `json:"gc_cycles"`
	GCCPURatio       *float64 `json:"gc_cpu_ratio"`
	Goroutines       *int64   `json:"goroutines"`
	Error            *string  `json:"error"`
}

func (d *psDocument) find(pid int) *psProcess {
	for i := range d.Processes {
		if d.Processes[i].PID == pid {
			return &d.Processes[i]
		}
	}
	return nil
}

func (p *psProcess) String() string {
	b, err := json.Marshal(p)
	if err != nil {
		return err.Error()
	}
	return string(b)
}
