package ramp

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
)

const tick = 100 * time.Millisecond

func TestOpen(t *testing.T) {
	for _, tc := range []struct {
		name        string
		fault       chaos.Fault
		from, level float64
		want        map[time.Duration]string
	}{
		{"slope", chaos.Fault{Ramp: 10 * time.Second, Hold: 5 * time.Second}, 0, 100, map[time.Duration]string{
			-time.Second: "0 rising", 0: "0 rising", 5 * time.Second: "50 rising", 10 * time.Second: "100 holding",
			14900 * time.Millisecond: "100 holding", 15 * time.Second: "100 over", time.Hour: "100 over"}},
		{"falling", chaos.Fault{Ramp: 10 * time.Second, Hold: time.Second}, 200, 100, map[time.Duration]string{
			0: "200 rising", 2500 * time.Millisecond: "175 rising", 10 * time.Second: "100 holding"}},
		{"steps", chaos.Fault{Ramp: 40 * time.Second, Steps: 4, Hold: 10 * time.Second}, 0, 100, map[time.Duration]string{
			0: "25 rising", 9900 * time.Millisecond: "25 rising", 10 * time.Second: "50 rising", 39900 * time.Millisecond: "100 rising",
			40 * time.Second: "100 holding", 50 * time.Second: "100 over"}},
		{"at once", chaos.Fault{Hold: time.Second}, 0, 7, map[time.Duration]string{0: "7 holding", time.Second: "7 over"}},
		{"nothing", chaos.Fault{}, 0, 7, map[time.Duration]string{0: "7 over"}},
		{"nonsense", chaos.Fault{Ramp: -1, Hold: -1, Steps: -3}, math.NaN(), math.Inf(1), map[time.Duration]string{0: "0 over"}},
	} {
		r := New(tc.fault, tc.from, tc.level)
		for at, want := range tc.want {
			level, stage := r.Step(at, chaos.Point{})
			if got := fmt.Sprint(level, " ", stage); got != want {
				t.Errorf("%s at %s: %s, want %s", tc.name, at, got, want)
			}
		}
		if why := r.Missed(); why != "" {
			t.Errorf("%s: missed: %s", tc.name, why)
		}
	}
}

// An open ramp goes one way, never past its ends, and never faster than its slope.
func TestOpenProperties(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		from, level := (rnd.Float64()-0.5)*1e10, (rnd.Float64()-0.5)*1e10
		f := chaos.Fault{Ramp: time.Duration(rnd.IntN(100)+1) * time.Second, Hold: time.Duration(rnd.IntN(20)) * time.Second, Steps: rnd.IntN(8)}
		r := New(f, from, level)
		was, stage := math.NaN(), Rising
		for at := time.Duration(0); at <= f.Ramp+f.Hold+4*time.Second; at += time.Duration(rnd.IntN(3000)+1) * time.Millisecond {
			v, s := r.Step(at, chaos.Point{})
			if v < min(from, level) || v > max(from, level) {
				t.Fatalf("%v is outside of %v to %v", v, from, level)
			}
			if (level > from && v < was) || (level < from && v > was) || s < stage {
				t.Fatalf("from %v to %v: went back from %v to %v, %v to %v", from, level, was, v, stage, s)
			}
			was, stage = v, s
		}
		if stage != Over || was != level {
			t.Fatalf("ended %v at %v, want over at %v", stage, was, level)
		}
	}
}

// A plant is something whose metric follows the share of a fault.
type plant struct {
	name   string
	metric chaos.Metric
	kind   chaos.Kind
	goal   float64
	from   float64
	level  float64
	curve  func(share float64) float64 // at rest
	tau    float64                     // seconds, of the first order
	mean   int                         // ticks that the metric is a mean of
	dead   int                         // ticks until anything is seen
	noise  float64                     // of the value
}

var plants = []plant{
	{"headroom", chaos.Headroom, chaos.Sibling, 20 << 20, 0, 200 << 20, func(u float64) float64 { return 150<<20 - u*(200<<20) }, 0.1, 1, 1, 0.02},
	{"headroom ratio, delayed", chaos.HeadroomRatio, chaos.Sibling, 0.1, 0, 1 << 30, func(u float64) float64 { return 0.8 - u }, 0.5, 1, 10, 0.02},
	{"headroom by a limit that falls", chaos.Headroom, chaos.HardLimit, 16 << 20, 256 << 20, 64 << 20, func(u float64) float64 { return 180<<20 - u*(192<<20) }, 0.1, 1, 1, 0.02},
	{"GC CPU share by churn", chaos.GCCPURatio, chaos.Churn, 0.25, 0, 1 << 30, func(u float64) float64 { return 0.02 + 0.4*u/(0.3+u) }, 0.5, 50, 2, 0.05},
	{"GC CPU share by the soft limit", chaos.GCCPURatio, chaos.SoftLimit, 0.25, 512 << 20, 64 << 20, func(u float64) float64 { return min(0.5, 0.02/(1.02-u)) }, 0.5, 50, 2, 0.05},
	{"GC CPU share, small level", chaos.GCCPURatio, chaos.Churn, 0.2, 0, 4 << 30, func(u float64) float64 { return min(0.6, 0.02+2*u) }, 0.5, 50, 2, 0.05},
	{"pause", chaos.PauseP99, chaos.Pointers, 0.015, 0, 1 << 30, func(u float64) float64 { return 0.002 + 0.03*u*u }, 0.5, 100, 2, 0.1},
	{"CPU by the quota", chaos.CPUUsed, chaos.CPUQuota, 0.5, 2, 0.2, func(u float64) float64 { return min(1.2, 2-1.8*u) }, 0.3, 10, 2, 0.02},
	{"GC CPU share by the quota", chaos.GCCPURatio, chaos.CPUQuota, 0.2, 2, 0.2, func(u float64) float64 { return 0.05 / (1.1 - u) }, 0.5, 50, 2, 0.05},
}

// A trial is what leading a plant came to.
type trial struct {
	reached time.Duration // held since; -1: never
	missed  string
	worst   float64 // farthest past the goal, as a share of the way to it
	end     float64 // mean distance over the second half of the hold, as a share of it
	steep   float64 // the fastest change, over the slope
}

// lead leads a plant; lost says which readings are missing.
func lead(t *testing.T, pl plant, f chaos.Fault, seed uint64, lost func(int) bool) trial {
	t.Helper()
	rnd := rand.New(rand.NewPCG(seed, 7))
	r := New(f, pl.from, pl.level)
	state := pl.curve(0)
	line := make([]float64, 0, 1000)
	var window []float64
	out := trial{reached: -1}
	was := pl.from
	first := pl.curve(0)
	way := math.Abs(pl.goal - first)
	rising := pl.goal > first
	slope := math.Abs(pl.level-pl.from) / f.Ramp.Seconds()
	if f.Until.Slope > 0 {
		slope = f.Until.Slope
	}
	var ends []float64
	for i := range int((4*f.Ramp + f.Hold + time.Minute) / tick) {
		share := (was - pl.from) / (pl.level - pl.from)
		line = append(line, share)
		acts := line[max(0, len(line)-1-pl.dead)]
		state += (pl.curve(acts) - state) * min(1, tick.Seconds()/pl.tau)
		window = append(window, state*(1+pl.noise*rnd.NormFloat64()))
		window = window[max(0, len(window)-pl.mean):]
		mean := 0.0
		for _, v := range window {
			mean += v / float64(len(window))
		}
		p := chaos.Point{Values: map[chaos.Metric]float64{}}
		gone := lost(i)
		if !gone {
			p.Values[pl.metric] = mean
		}
		at := time.Duration(i) * tick
		v, stage := r.Step(at, p)
		if v < min(pl.from, pl.level) || v > max(pl.from, pl.level) {
			t.Fatalf("%s: %v is past %v to %v", pl.name, v, pl.from, pl.level)
		}
		if i == 0 && v != pl.from {
			t.Fatalf("%s: began at %v, not %v", pl.name, v, pl.from)
		}
		if gone && v != was {
			t.Fatalf("%s: moved from %v to %v without a reading", pl.name, was, v)
		}
		if i > 0 {
			out.steep = max(out.steep, math.Abs(v-was)/tick.Seconds()/slope)
		}
		was = v
		past := (state - pl.goal) / way
		if !rising {
			past = -past
		}
		out.worst = max(out.worst, past)
		if stage == Holding && out.reached < 0 {
			out.reached = at
		}
		if out.reached >= 0 && at > out.reached+f.Hold/2 {
			ends = append(ends, math.Abs(state-pl.goal))
		}
		if stage == Over {
			break
		}
	}
	for _, e := range ends {
		out.end += e / float64(len(ends)) / way
	}
	out.missed = r.Missed()
	return out
}

func TestClosed(t *testing.T) {
	for _, pl := range plants {
		for _, ramp := range []time.Duration{10 * time.Second, 30 * time.Second, 60 * time.Second} {
			var far, slow, over float64
			for seed := range uint64(20) {
				f := chaos.Fault{Kind: pl.kind, Ramp: ramp, Hold: time.Minute, Until: &chaos.Goal{Metric: pl.metric, Reaches: pl.goal}}
				got := lead(t, pl, f, seed, func(int) bool { return false })
				if got.reached < 0 || got.missed != "" {
					t.Errorf("%s, %s, seed %d: not reached: %+v", pl.name, ramp, seed, got)
				}
				if got.steep > 1+1e-6 {
					t.Errorf("%s, %s, seed %d: %v times the slope", pl.name, ramp, seed, got.steep)
				}
				far, slow, over = max(far, got.end), max(slow, got.reached.Seconds()), max(over, got.worst)
			}
			t.Logf("%-32s ramp %3s: reached within %5.1f s, %5.1f%% off while held, %5.1f%% past", pl.name, ramp, slow, 100*far, 100*over)
			if far > 0.12 {
				t.Errorf("%s, ramp %s: %.0f%% of the way off the goal in the second half of the hold", pl.name, ramp, 100*far)
			}
			// Nothing that is seen half of the lag late is in time for a curve that goes from
			// half of the goal to twice of it within a second.
			if over > 0.5 && ramp > 10*time.Second {
				t.Errorf("%s, ramp %s: %.0f%% of the way past the goal", pl.name, ramp, 100*over)
			}
		}
	}
}

// With readings missing the level holds, and the goal is reached all the same.
func TestClosedMissing(t *testing.T) {
	for _, pl := range plants {
		rnd := rand.New(rand.NewPCG(3, 9))
		gap := 0
		f := chaos.Fault{Kind: pl.kind, Ramp: 30 * time.Second, Hold: time.Minute, Until: &chaos.Goal{Metric: pl.metric, Reaches: pl.goal}}
		got := lead(t, pl, f, 1, func(i int) bool {
			if gap == 0 && rnd.IntN(50) == 0 {
				gap = rnd.IntN(40)
			}
			gap = max(gap-1, 0)
			return gap > 0 || rnd.IntN(5) == 0
		})
		if got.missed != "" || got.end > 0.15 || got.steep > 1+1e-6 {
			t.Errorf("%s: %+v", pl.name, got)
		}
	}
}

func TestClosedNeverSeen(t *testing.T) {
	pl := plants[0]
	f := chaos.Fault{Kind: pl.kind, Ramp: 10 * time.Second, Hold: 20 * time.Second, Until: &chaos.Goal{Metric: pl.metric, Reaches: pl.goal}}
	got := lead(t, pl, f, 1, func(int) bool { return true })
	info, _ := pl.metric.Info()
	if want := info.What + " could not be seen: the level stayed where it began"; got.missed != want || got.reached != 30*time.Second || got.steep != 0 {
		t.Errorf("%+v, want held at 30s, and %q", got, want)
	}
}

func TestClosedOutOfReach(t *testing.T) {
	pl := plants[0]
	pl.level = 50 << 20
	pl.curve = func(u float64) float64 { return 150<<20 - u*(50<<20) }
	f := chaos.Fault{Kind: pl.kind, Ramp: 10 * time.Second, Hold: 20 * time.Second, Until: &chaos.Goal{Metric: pl.metric, Reaches: pl.goal}}
	got := lead(t, pl, f, 1, func(int) bool { return false })
	if got.missed == "" || got.reached != 30*time.Second {
		t.Errorf("%+v, want held at 30s at its level, and why", got)
	}
}

// A goal that is there already is held at once, with nothing of the fault.
func TestClosedThere(t *testing.T) {
	f := chaos.Fault{Kind: chaos.Sibling, Ramp: 10 * time.Second, Hold: time.Second, Until: &chaos.Goal{Metric: chaos.Headroom, Reaches: 100}}
	r := New(f, 0, 1000)
	for i := range 20 {
		level, stage := r.Step(time.Duration(i)*tick, chaos.Point{Values: map[chaos.Metric]float64{chaos.Headroom: 80}})
		want := Holding
		if i >= 10 {
			want = Over
		}
		if level != 0 || stage != want {
			t.Fatalf("step %d: %v %v, want 0 %v", i, level, stage, want)
		}
	}
}

// Who was stopped for a minute does not make up for it in a jump, and time that goes
// back moves nothing.
func TestClosedClock(t *testing.T) {
	f := chaos.Fault{Kind: chaos.Sibling, Ramp: 100 * time.Second, Hold: time.Second, Until: &chaos.Goal{Metric: chaos.Headroom, Reaches: 100, Slope: 10}}
	r := New(f, 0, 1000)
	p := chaos.Point{Values: map[chaos.Metric]float64{chaos.Headroom: 900}}
	r.Step(0, p)
	if level, _ := r.Step(time.Minute, p); level > 10 {
		t.Errorf("a minute later: %v, want at most a second of the slope", level)
	}
	was, _ := r.Step(61*time.Second, p)
	if level, _ := r.Step(time.Second, p); level != was {
		t.Errorf("back in time: %v, want %v", level, was)
	}
}

// Whatever is seen, the level is finite, between its ends, and moves no faster than the
// slope; the ramp ends.
func FuzzClosed(f *testing.F) {
	f.Add(uint64(1), 0.0, 100.0, 5.0, 10.0)
	f.Add(uint64(2), 1e300, -1e300, math.Inf(1), math.NaN())
	f.Fuzz(func(t *testing.T, seed uint64, from, level, goal, slope float64) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		all := chaos.Metrics()
		m := all[rnd.IntN(len(all))].Metric
		kinds := chaos.Kinds()
		fault := chaos.Fault{Kind: kinds[rnd.IntN(len(kinds))].Kind, Ramp: time.Duration(rnd.IntN(30)) * time.Second, Hold: time.Second, Until: &chaos.Goal{Metric: m, Reaches: goal, Slope: slope}}
		r := New(fault, from, level)
		stage := Rising
		was := math.NaN()
		at := time.Duration(0)
		for range 2000 {
			p := chaos.Point{Values: map[chaos.Metric]float64{m: []float64{rnd.NormFloat64(), rnd.ExpFloat64() * 1e18, math.NaN(), math.Inf(-1), 0, -1e308, goal}[rnd.IntN(7)]}}
			v, s := r.Step(at, p)
			if math.IsNaN(v) || math.IsInf(v, 0) || v < min(finite(from), finite(level)) || v > max(finite(from), finite(level)) {
				t.Fatalf("level %v is outside of %v to %v", v, from, level)
			}
			if s < stage {
				t.Fatalf("from %v to %v", stage, s)
			}
			was, stage = v, s
			at += time.Duration(rnd.IntN(300)) * time.Millisecond
		}
		if stage == Rising && at > r.loop.patience {
			t.Fatalf("still rising after %v at %v", at, was)
		}
	})
}
