package largeobjects

import (
	"testing"

	rt "github.com/heapwright/heapwright/cmd/internal/diagnose/ruletest"
	"github.com/heapwright/heapwright/record"
)

func TestRule(t *testing.T) {
	read := []record.Frame{rt.F("io.ReadAll", "io/io.go", 700), rt.F("main.load", "/src/main.go", 50)}
	some := rt.Server{Alloc: rt.Const(100 * rt.MiB), LargePart: 0.7, Profiles: []record.Profile{
		rt.HeapProfile(rt.Allocates(rt.GiB, 1e3, 0, read...), rt.Allocates(2*rt.GiB, 1e7, 0, rt.F("main.small", "/src/main.go", 9))),
	}}
	flood := some
	flood.Alloc, flood.LargePart = rt.Const(900*rt.MiB), 0.95
	unprofiled := some
	unprofiled.Profiles = nil
	slow := some
	slow.Alloc = rt.Const(10 * rt.MiB)
	small := some
	small.LargePart = 0.2
	grows := some
	grows.Live = rt.Ramp(10*rt.MiB, 3*rt.GiB, 30)
	rt.Run(t, &Rule,
		rt.Case{Name: "some", Rec: some.Recording(), Want: "info"},
		rt.Case{Name: "flood", Rec: flood.Recording(), Want: "warning"},
		rt.Case{Name: "no_profile", Rec: unprofiled.Recording(), Want: "info"},
		rt.Case{Name: "slow", Rec: slow.Recording()},
		rt.Case{Name: "small_objects", Rec: small.Recording()},
		rt.Case{Name: "it_lives_on", Rec: grows.Recording()},
	)
}
