package assist

import (
	"testing"

	rt "github.com/heapwright/heapwright/cmd/internal/diagnose/ruletest"
	"github.com/heapwright/heapwright/record"
)

func TestRule(t *testing.T) {
	site := rt.F("main.allocate", "/src/main.go", 33)
	storm := rt.Server{
		Live: rt.Const(100 * rt.MiB), Alloc: rt.Const(150 * rt.MiB), GOGC: 25, UserCores: 0.7, AssistPart: 0.5,
		Profiles: []record.Profile{rt.HeapProfile(rt.Allocates(rt.GiB, 5e7, rt.MiB, site))},
	}
	some := storm
	some.GOGC, some.AssistPart, some.Profiles = 100, 0.3, nil
	contended := storm
	contended.Stretch, contended.Procs = 4, 8
	limited := storm
	limited.GOGC, limited.Limit = 100, 135*rt.MiB
	few := storm
	few.AssistPart = 0.02
	rt.Run(t, &Rule,
		rt.Case{Name: "storm", Rec: storm.Recording(), Want: "warning"},
		rt.Case{Name: "storm_on_a_contended_machine", Rec: contended.Recording(), Want: "warning"},
		rt.Case{Name: "the_limit_sets_the_goal", Rec: limited.Recording(), Want: "warning"},
		rt.Case{Name: "some", Rec: some.Recording(), Want: "info"},
		rt.Case{Name: "few", Rec: few.Recording()},
		rt.Case{Name: "idle", Rec: rt.Server{Alloc: rt.Const(rt.KiB), AssistPart: 0.9}.Recording()},
	)
}
