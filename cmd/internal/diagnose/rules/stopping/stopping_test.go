package stopping

import (
	"testing"
	"time"

	rt "github.com/heapwright/heapwright/cmd/internal/diagnose/ruletest"
	"github.com/heapwright/heapwright/record"
)

func TestRule(t *testing.T) {
	after := func(d time.Duration) func(int) time.Duration { return func(int) time.Duration { return d } }
	some := func(i int) time.Duration {
		if i%20 == 0 {
			return 15 * time.Millisecond
		}
		return 5 * time.Microsecond
	}
	loop := &record.Goroutines{Groups: []record.GoroutineGroup{
		{Count: 1, Status: "running", CreatedBy: rt.F("main.main", "/src/main.go", 22)},
		{Count: 1, Status: "running", CreatedBy: rt.F("runtime.gcBgMarkStartWorkers", "runtime/mgc.go", 1), System: true},
	}}
	contended := rt.Server{Stopping: after(15 * time.Millisecond), PSICPU: 0.6}
	rt.Run(t, &Rule,
		rt.Case{Name: "always", Rec: rt.Server{Stopping: after(15 * time.Millisecond), LastGoroutines: loop}.Recording(), Want: "warning"},
		rt.Case{Name: "no_preemption", Rec: rt.Server{Stopping: after(25 * time.Millisecond), PSICPU: 0.9, GoEnv: map[string]string{"GODEBUG": "gctrace=0, asyncpreemptoff=1"}}.Recording(), Want: "warning"},
		rt.Case{Name: "always_contended", Rec: contended.Recording(), Want: "info"},
		rt.Case{Name: "some", Rec: rt.Server{Stopping: some}.Recording(), Want: "info"},
		rt.Case{Name: "short", Rec: rt.Server{}.Recording()},
	)
}
