package profile_test

import (
	"context"
	"math"
	"slices"
	"strings"
	"testing"

	"github.com/heapwright/heapwright/cmd/internal/profile"
	"github.com/heapwright/heapwright/cmd/internal/remote"
	"github.com/heapwright/heapwright/cmd/internal/targettest"
)

// TestStripped takes every profile of stripped programs, in which remote has
// found the runtime, and compares them with the programs' own.
func TestStripped(t *testing.T) {
	eachToolchain(t, func(t *testing.T, version string) {
		for _, flags := range [][]string{
			{"-ldflags=-s -w"},
			{"-ldflags=-s -w", "-buildmode=pie"},
			{"-ldflags=-s -w", "-race"},
			{"-ldflags=-s -w -linkmode=external"},
		} {
			if version != targettest.Local && (len(flags) > 1 || flags[0] != "-ldflags=-s -w") {
				continue
			}
			t.Run(strings.Join(flags, " "), func(t *testing.T) {
				tg := targettest.Start(t, targettest.Build(t, version, flags...), "GODEBUG=memprofilerate=1", "rates", "allocate", "contend")
				rt, err := remote.Attach(context.Background(), tg.PID())
				if err != nil {
					t.Fatal(err)
				}
				defer rt.Close()
				tg.Ask(t, "gc")
				tg.Ask(t, "gc")

				want := sampleMap(t, parse(t, tg.Ask(t, "profile heap 0")))
				heap, err := profile.TakeHeap(rt)
				if err != nil {
					t.Fatal(err)
				}
				diff(t, "heap", sampleMap(t, write(t, heap)), want)
				if len(want) < 100 {
					t.Errorf("only %d samples compared", len(want))
				}

				own := []string{"runtime._LostContendedRuntimeLock", "runtime.unlock", "runtime/pprof."}
				for kind, take := range map[string]func(profile.Runtime) (*profile.Profile, error){"block": profile.TakeBlock, "mutex": profile.TakeMutex} {
					want := sampleMap(t, parse(t, tg.Ask(t, "profile %s 0", kind)), own...)
					p, err := take(rt)
					if err != nil {
						t.Fatal(err)
					}
					// Where the target's own tick rate was not found, this machine's is
					// used, and all delays differ by one factor: the error of the
					// target's calibration, which Go 1.20 does in 100 ms.
					got := sampleMap(t, write(t, p), own...)
					isDelay := func(k string) bool { return strings.HasSuffix(k, "delay/nanoseconds") }
					scale := 1.0
					if _, found := rt.Global("runtime.ticks"); !found {
						longest := ""
						for k, v := range want {
							if isDelay(k) && v > want[longest] {
								longest = k
							}
						}
						scale = float64(got[longest]) / float64(want[longest])
						if math.Abs(scale-1) > 0.01 {
							t.Errorf("%s delays are off by %.4f", kind, scale)
						}
					}
					for k, v := range want {
						if isDelay(k) && math.Abs(float64(got[k])-scale*float64(v)) <= 1+1e-6*float64(v) {
							got[k] = v
						}
					}
					diff(t, kind, got, want)
				}

				gwant := map[string]int{}
				depth := stackDepth(rt.GoVersion()) - 2
				for _, s := range parse(t, tg.Ask(t, "profile goroutine 0")).Sample {
					if stack := frameKey(pprofStack(s), depth); !strings.Contains(stack, "runtime/pprof.(*Profile).WriteTo") {
						gwant[stack] += int(s.Value[0])
					}
				}
				gs := take(t, rt)
				ggot := map[string]int{}
				for i := range gs.Groups {
					if g := &gs.Groups[i]; !g.System && g.GoID != 1 {
						ggot[frameKey(gs.Stack(g), depth)] += g.Count
					}
				}
				diff(t, "goroutines", ggot, gwant)
				if !slices.ContainsFunc(gs.Groups, func(g profile.Group) bool { return g.WaitReason == "select" && g.Count == 4 }) {
					t.Error("the four goroutines in a select are not there")
				}
			})
		}
	})
}
