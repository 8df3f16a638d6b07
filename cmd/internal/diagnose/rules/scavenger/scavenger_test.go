package scavenger

import (
	"testing"

	rt "github.com/heapwright/heapwright/cmd/internal/diagnose/ruletest"
)

func TestRule(t *testing.T) {
	behind := rt.Server{FreeHeap: rt.Const(700 * rt.MiB), ScavGoal: rt.Const(60 * rt.MiB)}
	catching := behind
	catching.FreeHeap = rt.Ramp(900*rt.MiB, 500*rt.MiB, 30)
	full := catching
	full.Container = 600 * rt.MiB
	some := behind
	some.FreeHeap = rt.Const(150 * rt.MiB)
	brief := behind
	brief.FreeHeap = func(t float64) float64 {
		if t < 10 {
			return 800 * rt.MiB
		}
		return 20 * rt.MiB
	}
	none := behind
	none.ScavGoal = rt.Const(0)
	rt.Run(t, &Rule,
		rt.Case{Name: "behind", Rec: behind.Recording(), Want: "warning"},
		rt.Case{Name: "behind_in_a_full_container", Rec: full.Recording(), Want: "warning"},
		rt.Case{Name: "catching_up", Rec: catching.Recording(), Want: "info"},
		rt.Case{Name: "some", Rec: some.Recording(), Want: "info"},
		rt.Case{Name: "brief", Rec: brief.Recording()},
		rt.Case{Name: "no_goal", Rec: none.Recording()},
		rt.Case{Name: "at_the_goal", Rec: rt.Server{ScavGoal: rt.Const(60 * rt.MiB)}.Recording()},
	)
}
