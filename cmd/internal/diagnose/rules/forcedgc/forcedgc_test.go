package forcedgc

import (
	"testing"

	rt "github.com/heapwright/heapwright/cmd/internal/diagnose/ruletest"
	"github.com/heapwright/heapwright/record"
)

func TestRule(t *testing.T) {
	timer := rt.Server{ForcedEvery: 1, Alloc: rt.Const(rt.MiB)}
	named := timer
	named.LastGoroutines = &record.Goroutines{Total: 1, Groups: []record.GoroutineGroup{{
		Count: 1, Status: "waiting", WaitReason: "wait for GC cycle", CreatedBy: rt.F("main.main", "/src/main.go", 20),
		Stack: []record.Frame{
			rt.F("runtime.gopark", "runtime/proc.go", 460), rt.F("runtime.GC", "runtime/mgc.go", 500),
			rt.F("runtime/debug.freeOSMemory", "runtime/debug/stubs.go", 1), rt.F("main.cleaner", "/src/main.go", 31),
		},
	}}}
	busy := timer
	busy.Alloc = rt.Const(400 * rt.MiB)
	rt.Run(t, &Rule,
		rt.Case{Name: "timer", Rec: timer.Recording(), Want: "warning"},
		rt.Case{Name: "timer_and_its_site", Rec: named.Recording(), Want: "warning"},
		rt.Case{Name: "timer_among_others", Rec: busy.Recording(), Want: "info"},
		rt.Case{Name: "before_the_window", Rec: func() *record.Recording {
			r := rt.Server{Alloc: rt.Const(rt.MiB / 2)}.Recording()
			for i := range r.Samples {
				r.Samples[i].GCForced = 90
			}
			return r
		}(), Want: "info"},
		rt.Case{Name: "none", Rec: rt.Server{}.Recording()},
		rt.Case{Name: "two", Rec: rt.Server{ForcedEvery: 12}.Recording()},
	)
}
