package gogclow

import (
	"testing"

	rt "github.com/heapwright/heapwright/cmd/internal/diagnose/ruletest"
)

func TestRule(t *testing.T) {
	low := rt.Server{Live: rt.Const(40 * rt.MiB), Alloc: rt.Const(60 * rt.MiB), GOGC: 20, UserCores: 0.8}
	inside := low
	inside.Container = 512 * rt.MiB
	full := low
	full.Container = 80 * rt.MiB
	normal := low
	normal.GOGC, normal.Alloc = 100, rt.Const(200*rt.MiB)
	idle := low
	idle.Alloc, idle.UserCores = rt.Const(rt.MiB), 0.05
	limited := low
	limited.Limit, limited.GOGC = 62*rt.MiB, 50
	rt.Run(t, &Rule,
		rt.Case{Name: "low", Rec: low.Recording(), Want: "warning"},
		rt.Case{Name: "low_in_a_container", Rec: inside.Recording(), Want: "warning"},
		rt.Case{Name: "default_and_busy", Rec: normal.Recording(), Want: "info"},
		rt.Case{Name: "no_memory_to_spare", Rec: full.Recording()},
		rt.Case{Name: "idle", Rec: idle.Recording()},
		rt.Case{Name: "the_limit_sets_the_goal", Rec: limited.Recording()},
		rt.Case{Name: "high", Rec: rt.Server{GOGC: 400, Alloc: rt.Const(900 * rt.MiB)}.Recording()},
	)
}
