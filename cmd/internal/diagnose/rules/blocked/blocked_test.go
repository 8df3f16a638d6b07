package blocked

import (
	"testing"
	"time"

	rt "github.com/heapwright/heapwright/cmd/internal/diagnose/ruletest"
	"github.com/heapwright/heapwright/record"
)

func TestRule(t *testing.T) {
	group := func(n int, reason string, wait time.Duration, at string) record.GoroutineGroup {
		return record.GoroutineGroup{Count: n, Status: "waiting", WaitReason: reason, WaitMax: wait, CreatedBy: rt.F("main.main", "/src/main.go", 10),
			Stack: []record.Frame{rt.F("runtime.gopark", "runtime/proc.go", 1), rt.F("sync.(*Mutex).Lock", "sync/mutex.go", 1), rt.F(at, "/src/main.go", 55)}}
	}
	with := func(groups ...record.GoroutineGroup) *record.Recording {
		return rt.Server{LastGoroutines: &record.Goroutines{Groups: groups}}.Recording()
	}
	system := group(50, "chan send", time.Hour, "runtime.x")
	system.System = true
	rt.Run(t, &Rule,
		rt.Case{Name: "send", Rec: with(group(40, "chan send", 3*time.Minute, "main.notify"), group(6, "chan send", 90*time.Second, "main.notify"), group(80, "select", time.Hour, "main.loop")), Want: "warning"},
		rt.Case{Name: "deadlock", Rec: with(group(2, "sync.Mutex.Lock", 2*time.Minute, "main.transfer"), group(12, "sync.RWMutex.RLock", 2*time.Minute, "main.read")), Want: "warning"},
		rt.Case{Name: "many_workers", Rec: with(group(5000, "chan receive", time.Hour, "main.worker")), Want: "info"},
		rt.Case{Name: "workers", Rec: with(group(64, "chan receive", time.Hour, "main.worker"), group(500, "IO wait", time.Hour, "main.read"))},
		rt.Case{Name: "short", Rec: with(group(500, "chan send", 20*time.Second, "main.notify"))},
		rt.Case{Name: "few", Rec: with(group(3, "chan send", time.Hour, "main.notify"), group(1, "select (no cases)", time.Hour, "main.main"))},
		rt.Case{Name: "the_runtimes_own", Rec: with(system)},
		rt.Case{Name: "no_snapshot", Rec: rt.Server{}.Recording()},
	)
}
