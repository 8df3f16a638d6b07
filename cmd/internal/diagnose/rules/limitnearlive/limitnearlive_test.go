package limitnearlive

import (
	"testing"

	rt "github.com/heapwright/heapwright/cmd/internal/diagnose/ruletest"
)

func TestRule(t *testing.T) {
	storm := rt.Server{Live: rt.Const(96 * rt.MiB), Limit: 120 * rt.MiB, Alloc: rt.Const(60 * rt.MiB), MarkSpeed: 700 * rt.MiB, UserCores: 0.4}
	limited := storm
	limited.Limiter = true
	contained := storm
	contained.Container = 128 * rt.MiB
	near := storm
	near.Limit, near.Alloc = 145*rt.MiB, rt.Const(50*rt.MiB)
	warn := storm
	warn.Alloc, warn.UserCores = rt.Const(25*rt.MiB), 0.8
	idle := storm
	idle.Alloc, idle.UserCores = rt.Const(0.2*rt.MiB), 0.002
	rt.Run(t, &Rule,
		rt.Case{Name: "storm", Rec: storm.Recording(), Want: "critical"},
		rt.Case{Name: "limiter", Rec: limited.Recording(), Want: "critical"},
		rt.Case{Name: "container_too_small", Rec: contained.Recording(), Want: "critical"},
		rt.Case{Name: "warning", Rec: warn.Recording(), Want: "warning"},
		rt.Case{Name: "near", Rec: near.Recording(), Want: "info"},
		rt.Case{Name: "idle", Rec: idle.Recording()},
		rt.Case{Name: "room", Rec: rt.Server{Live: rt.Const(96 * rt.MiB), Limit: 512 * rt.MiB}.Recording()},
		rt.Case{Name: "low_gogc_not_the_limit", Rec: rt.Server{Live: rt.Const(96 * rt.MiB), GOGC: 20, Limit: 512 * rt.MiB, Alloc: rt.Const(60 * rt.MiB)}.Recording()},
	)
}
