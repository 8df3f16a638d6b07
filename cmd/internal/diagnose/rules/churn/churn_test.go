package churn

import (
	"testing"

	rt "github.com/heapwright/heapwright/cmd/internal/diagnose/ruletest"
	"github.com/heapwright/heapwright/record"
)

func TestRule(t *testing.T) {
	encode := []record.Frame{rt.F("runtime.mallocgc", "runtime/malloc.go", 1), rt.F("bytes.growSlice", "bytes/buffer.go", 240), rt.F("example.com/server.(*Handler).encode", "/src/handler.go", 71)}
	parse := []record.Frame{rt.F("example.com/server.parse", "/src/parse.go", 12)}
	profiles := []record.Profile{
		rt.HeapProfile(rt.Allocates(9*rt.GiB, 9e6, 0, encode...), rt.Allocates(rt.GiB, 2e6, rt.MiB, parse...)),
		rt.HeapProfile(rt.Allocates(19*rt.GiB, 19e6, 0, encode...), rt.Allocates(3*rt.GiB, 6e6, rt.MiB, parse...)),
	}
	busy := rt.Server{Alloc: rt.Const(400 * rt.MiB), MarkSpeed: rt.GiB, UserCores: 1.2, Profiles: profiles}
	heavy := busy
	heavy.Live, heavy.GOGC, heavy.UserCores, heavy.Container = rt.Const(40*rt.MiB), 50, 0.8, 512*rt.MiB
	unprofiled := busy
	unprofiled.Profiles = nil
	once := busy
	once.Profiles = profiles[1:]
	calm := busy
	calm.Alloc = rt.Const(20 * rt.MiB)
	grows := busy
	grows.Live = rt.Ramp(10*rt.MiB, 2*rt.GiB, 30)
	cheap := busy
	cheap.GOGC = 2000
	rt.Run(t, &Rule,
		rt.Case{Name: "busy", Rec: busy.Recording(), Want: "info"},
		rt.Case{Name: "one_site_and_much_gc", Rec: heavy.Recording(), Want: "warning"},
		rt.Case{Name: "no_profile", Rec: unprofiled.Recording(), Want: "info"},
		rt.Case{Name: "one_profile", Rec: once.Recording(), Want: "info"},
		rt.Case{Name: "calm", Rec: calm.Recording()},
		rt.Case{Name: "it_lives_on", Rec: grows.Recording()},
		rt.Case{Name: "gc_is_cheap", Rec: cheap.Recording()},
	)
}
