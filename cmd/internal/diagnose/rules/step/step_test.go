package step

import (
	"math"
	"testing"

	rt "github.com/heapwright/heapwright/cmd/internal/diagnose/ruletest"
	"github.com/heapwright/heapwright/record"
)

func TestRule(t *testing.T) {
	after := func(at, rise, from, to float64) func(float64) float64 {
		return func(t float64) float64 { return from + (to-from)*min(1, max(0, (t-at)/rise)) }
	}
	load := []record.Frame{rt.F("main.load", "/src/main.go", 17)}
	loaded := rt.Server{
		Live: after(9, 5, 24*rt.MiB, 144*rt.MiB), Alloc: rt.Const(150 * rt.MiB), Container: 320 * rt.MiB,
		Profiles: []record.Profile{
			rt.HeapProfile(rt.Allocates(rt.GiB, 1e6, 20*rt.MiB, load...)),
			rt.HeapProfile(rt.Allocates(2*rt.GiB, 2e6, 140*rt.MiB, load...)),
		},
	}
	small := loaded
	small.Container, small.Limit, small.Profiles = 0, 240*rt.MiB, nil
	rare := loaded
	rare.Alloc, rare.Live, rare.Profiles = rt.Const(35*rt.MiB), after(4, 2, 24*rt.MiB, 110*rt.MiB), nil
	crowd := loaded
	crowd.Goroutines = after(9, 5, 30, 2000)
	settled := loaded
	settled.Age = 40
	starts := loaded
	starts.Age, starts.Live = 31, after(1, 5, 10*rt.MiB, 144*rt.MiB)
	fills := rt.Server{Live: func(t float64) float64 { return 300 * rt.MiB * (1 - math.Exp(-t/12)) }, Alloc: rt.Const(300 * rt.MiB)}
	rt.Run(t, &Rule,
		rt.Case{Name: "loaded", Rec: loaded.Recording(), Want: "info"},
		rt.Case{Name: "another_does_not_fit", Rec: small.Recording(), Want: "warning"},
		rt.Case{Name: "few_cycles", Rec: rare.Recording(), Want: "info"},
		rt.Case{Name: "clients_came", Rec: crowd.Recording(), Want: "info"},
		rt.Case{Name: "young_and_level_before", Rec: settled.Recording(), Want: "info"},
		rt.Case{Name: "starts", Rec: starts.Recording()},
		rt.Case{Name: "cache_fills", Rec: fills.Recording()},
		rt.Case{Name: "leak", Rec: rt.Server{Live: rt.Ramp(30*rt.MiB, 230*rt.MiB, 30), Alloc: rt.Const(100 * rt.MiB)}.Recording()},
		rt.Case{Name: "saw", Rec: rt.Server{Live: func(t float64) float64 { return (50 + 40*math.Mod(t, 7)/7) * rt.MiB }, Alloc: rt.Const(200 * rt.MiB)}.Recording()},
		rt.Case{Name: "a_while", Rec: rt.Server{Live: func(t float64) float64 {
			if t > 8 && t < 18 {
				return 150 * rt.MiB
			}
			return 24 * rt.MiB
		}, Alloc: rt.Const(150 * rt.MiB)}.Recording()},
		rt.Case{Name: "just_now", Rec: rt.Server{Live: after(26, 1, 24*rt.MiB, 144*rt.MiB), Alloc: rt.Const(300 * rt.MiB)}.Recording()},
		rt.Case{Name: "small", Rec: rt.Server{Live: after(9, 1, 10*rt.MiB, 34*rt.MiB), Alloc: rt.Const(150 * rt.MiB)}.Recording()},
		rt.Case{Name: "noise", Rec: rt.Server{Live: func(t float64) float64 { return (100 + 30*math.Sin(t*3)) * rt.MiB }, Alloc: rt.Const(300 * rt.MiB)}.Recording()},
	)
}
