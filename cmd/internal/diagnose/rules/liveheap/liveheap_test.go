package liveheap

import (
	"math"
	"testing"

	rt "github.com/heapwright/heapwright/cmd/internal/diagnose/ruletest"
	"github.com/heapwright/heapwright/record"
)

func TestRule(t *testing.T) {
	remember := []record.Frame{rt.F("bytes.Clone", "bytes/bytes.go", 1), rt.F("main.remember", "/src/main.go", 17)}
	serve := []record.Frame{rt.F("main.serve", "/src/main.go", 90)}
	leak := rt.Server{
		Live: rt.Ramp(30*rt.MiB, 230*rt.MiB, 30), Alloc: rt.Const(100 * rt.MiB),
		Profiles: []record.Profile{
			rt.HeapProfile(rt.Allocates(rt.GiB, 1e6, 25*rt.MiB, remember...), rt.Allocates(rt.GiB, 1e6, 4*rt.MiB, serve...)),
			rt.HeapProfile(rt.Allocates(2*rt.GiB, 2e6, 222*rt.MiB, remember...), rt.Allocates(2*rt.GiB, 2e6, 4*rt.MiB, serve...)),
		},
	}
	unprofiled := leak
	unprofiled.Profiles, unprofiled.Age = nil, 31
	contained := leak
	contained.Container, contained.Live = 512*rt.MiB, rt.Ramp(100*rt.MiB, 150*rt.MiB, 30)
	limited := leak
	limited.Limit, limited.Live = rt.GiB, rt.Ramp(100*rt.MiB, 125*rt.MiB, 30)
	long := rt.Server{Seconds: 900, Hz: 1, Live: rt.Ramp(20*rt.MiB, 27*rt.MiB, 900), Alloc: rt.Const(20 * rt.MiB)}
	// What healthy services do.
	small := rt.Server{Live: rt.Ramp(12*rt.MiB, 36*rt.MiB, 30), Alloc: rt.Const(200 * rt.MiB)}
	warm := rt.Server{Live: func(t float64) float64 { return 300 * rt.MiB * (1 - math.Exp(-t/12)) }, Alloc: rt.Const(300 * rt.MiB)}
	step := rt.Server{Live: func(t float64) float64 {
		if t > 14 {
			return 300 * rt.MiB
		}
		return 50 * rt.MiB
	}}
	saw := rt.Server{Live: func(t float64) float64 { return (50 + 40*math.Mod(t, 7)/7) * rt.MiB }, Alloc: rt.Const(200 * rt.MiB)}
	idle := rt.Server{Live: rt.Ramp(10*rt.MiB, 100*rt.MiB, 30), Alloc: rt.Const(rt.MiB)}
	short := leak
	short.Seconds = 6
	rt.Run(t, &Rule,
		rt.Case{Name: "leak", Rec: leak.Recording(), Want: "warning"},
		rt.Case{Name: "leak_young_and_unprofiled", Rec: unprofiled.Recording(), Want: "warning"},
		rt.Case{Name: "leak_in_a_container", Rec: contained.Recording(), Want: "critical"},
		rt.Case{Name: "leak_under_gomemlimit", Rec: limited.Recording(), Want: "warning"},
		rt.Case{Name: "slow_leak", Rec: long.Recording(), Want: "warning"},
		rt.Case{Name: "keys_are_written", Rec: small.Recording(), Want: "info"},
		rt.Case{Name: "samples_only", Rec: rt.Bare(leak.Recording(), record.SourcePrometheus, record.FieldHeapMarkedBytes, record.FieldGCCycles), Want: "warning"},
		rt.Case{Name: "warm_up", Rec: warm.Recording()},
		rt.Case{Name: "a_step", Rec: step.Recording()},
		rt.Case{Name: "saw", Rec: saw.Recording()},
		rt.Case{Name: "no_cycles", Rec: idle.Recording()},
		rt.Case{Name: "too_short", Rec: short.Recording()},
		rt.Case{Name: "falling", Rec: rt.Server{Live: rt.Ramp(200*rt.MiB, 50*rt.MiB, 30), Alloc: rt.Const(400 * rt.MiB)}.Recording()},
	)
}
