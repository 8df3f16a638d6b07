package stopped

import (
	"testing"

	rt "github.com/heapwright/heapwright/cmd/internal/diagnose/ruletest"
)

func TestRule(t *testing.T) {
	between := func(from, to float64) func(float64) bool {
		return func(t float64) bool { return t >= from && t < to }
	}
	twice := rt.Server{Stopped: func(t float64) bool { return between(3, 3.5)(t) || between(9, 9.3)(t) }}
	rt.Run(t, &Rule,
		rt.Case{Name: "long", Rec: rt.Server{Stopped: between(4, 6.05)}.Recording(), Want: "warning"},
		rt.Case{Name: "twice", Rec: twice.Recording(), Want: "info"},
		rt.Case{Name: "still", Rec: rt.Server{Stopped: between(29.5, 99)}.Recording(), Want: "warning"},
		rt.Case{Name: "a_look_of_a_debugger", Rec: rt.Server{Stopped: between(4, 4.15)}.Recording()},
		rt.Case{Name: "one_look", Rec: rt.Server{Hz: 1, Stopped: between(4, 4.5)}.Recording()},
		rt.Case{Name: "never", Rec: rt.Server{}.Recording()},
	)
}
