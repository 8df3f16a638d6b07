package live

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/procmem"
)

// A world makes observations of a process that behaves in one way.
type world struct {
	o        Observation
	gcRatio  float64 // of the CPU, idle workers not counted
	idle     float64 // idle marking, of the CPU
	cores    float64 // CPU that the process is charged
	stretch  float64 // P-time for each CPU-second, in excess of 1
	perCycle time.Duration
	rss      func(time.Duration) uint64
	since    time.Duration // the last cycle
	elapsed  time.Duration
}

func newWorld(ratio float64) *world {
	return &world{
		o:       Observation{Time: time.Unix(1e9, 0), Cycles: 100, LimiterLastCycle: 3, RSSBytes: 100 << 20, Effective: true},
		gcRatio: ratio, cores: 1, perCycle: 200 * time.Millisecond,
	}
}

func (w *world) step(d time.Duration) Observation {
	w.elapsed += d
	w.o.Time = w.o.Time.Add(d)
	w.o.ProcessCPU += time.Duration(w.cores * float64(d))
	if w.since += d; w.since >= w.perCycle {
		w.o.Cycles += uint64(w.since / w.perCycle)
		// The classes move at the end of a cycle, and come to what the kernel has.
		p := float64(w.o.ProcessCPU) * (1 + w.stretch)
		w.o.Busy = time.Duration(p)
		w.o.GCTotal, w.o.GCIdle = time.Duration(p*(w.gcRatio+w.idle)), time.Duration(p*w.idle)
		w.since %= w.perCycle
	}
	if w.rss != nil {
		w.o.RSSBytes = w.rss(w.elapsed)
	}
	return w.o
}

// run judges a world for some time, with a look each half second.
func run(w *world, e Expectation, d time.Duration, each func(*Observation)) (State, Verdict, time.Duration) {
	s, v := Judge(State{}, w.o, e)
	for at := time.Duration(0); at < d && v.Decision == GoOn; at += watchEvery {
		o := w.step(watchEvery)
		if each != nil {
			each(&o)
		}
		s, v = Judge(s, o, e)
	}
	return s, v, w.elapsed
}

func TestJudge(t *testing.T) {
	const minute = time.Minute
	for _, tt := range []struct {
		name  string
		w     *world
		shape func(*world)
		e     Expectation
		each  func(*world, *Observation)
		want  Decision
		why   string
		by    time.Duration // at the latest; 0: not looked at
	}{
		{name: "as expected", w: newWorld(0.05), e: Expectation{GCCPURatio: 0.05, RSSPeakBytes: 100 << 20}, want: GoOn},
		{name: "nothing expected", w: newWorld(0.2), want: GoOn},
		{name: "contended: P-time three times the CPU", w: newWorld(0.1), shape: func(w *world) { w.stretch = 2 }, e: Expectation{GCCPURatio: 0.1}, want: GoOn},
		{name: "storm", w: newWorld(0.4), want: TakeBack, why: "a GC storm: the collector took 40%", by: 13 * time.Second},
		{name: "storm, contended", w: newWorld(0.4), shape: func(w *world) { w.stretch = 3 }, want: TakeBack, why: "a GC storm: the collector took 40%", by: 13 * time.Second},
		{name: "P-time alone is no storm", w: newWorld(0.2), shape: func(w *world) { w.stretch = 5 }, want: GoOn},
		{name: "idle workers are no storm", w: newWorld(0.1), shape: func(w *world) { w.idle = 0.3 }, want: GoOn},
		{name: "storm that was foretold", w: newWorld(0.3), e: Expectation{GCCPURatio: 0.29}, want: GoOn},
		{name: "a short storm", w: newWorld(0.05), each: func(w *world, o *Observation) {
			w.gcRatio = 0.05
			// P-time is cumulative: a burst of one CPU-second in ten.
			if w.elapsed > 20*time.Second {
				o.GCTotal += time.Second
			}
		}, want: GoOn},
		{name: "a storm of few, long cycles", w: newWorld(0.5), shape: func(w *world) { w.perCycle = 4 * time.Second }, want: TakeBack, why: "a GC storm", by: 20 * time.Second},
		{name: "storm, and nonsense expected", w: newWorld(0.4), e: Expectation{GCCPURatio: math.NaN(), RSSPeakBytes: math.NaN()}, want: TakeBack, why: "a GC storm", by: 13 * time.Second},
		{name: "limiter", w: newWorld(0.05), each: func(w *world, o *Observation) {
			if w.elapsed > 3*time.Second {
				o.LimiterLastCycle = o.Cycles
			}
		}, want: TakeBack, why: "GC CPU limiter", by: 4 * time.Second},
		{name: "limiter before the change", w: newWorld(0.05), shape: func(w *world) { w.o.LimiterLastCycle = w.o.Cycles }, want: GoOn},
		{name: "more GC than expected", w: newWorld(0.1), e: Expectation{GCCPURatio: 0.05}, want: TakeBack, why: "takes 10.0% of the CPU where 5.0% were expected", by: 11 * time.Second},
		{name: "less GC than expected", w: newWorld(0.05), e: Expectation{GCCPURatio: 0.1}, want: GoOn},
		{name: "within a rough forecast", w: newWorld(0.16), e: Expectation{GCCPURatio: 0.1, GCCPURatioHigh: 0.2}, want: GoOn},
		{name: "beyond a rough forecast", w: newWorld(0.21), e: Expectation{GCCPURatio: 0.1, GCCPURatioHigh: 0.2}, want: TakeBack, why: "takes 21.0% of the CPU where 10.0% were expected", by: 11 * time.Second},
		{name: "more than a forecast without an interval", w: newWorld(0.16), e: Expectation{GCCPURatio: 0.1, GCCPURatioHigh: math.NaN()}, want: TakeBack, why: "takes 16.0% of the CPU where 10.0% were expected", by: 11 * time.Second},
		{name: "off by 25%", w: newWorld(0.125), e: Expectation{GCCPURatio: 0.1}, want: GoOn},
		{name: "off by little", w: newWorld(0.009), e: Expectation{GCCPURatio: 0.002}, want: GoOn},
		{name: "idle marking counts for the expectation", w: newWorld(0.05), shape: func(w *world) { w.idle = 0.05 }, e: Expectation{GCCPURatio: 0.1}, want: GoOn},
		{name: "too few cycles to say", w: newWorld(0.2), shape: func(w *world) { w.perCycle = 20 * time.Second }, e: Expectation{GCCPURatio: 0.05}, want: GoOn},
		{name: "an idle process", w: newWorld(0.9), shape: func(w *world) { w.cores = 0.001 }, e: Expectation{GCCPURatio: 0.05}, want: GoOn},
		{name: "too much memory", w: newWorld(0.05), shape: func(w *world) {
			w.rss = func(d time.Duration) uint64 { return 100<<20 + uint64(d/time.Second)<<20 }
		}, e: Expectation{RSSPeakBytes: 90 << 20}, want: TakeBack, why: "MiB are resident where at most 90 were expected", by: 19 * time.Second},
		{name: "memory that takes its time to go", w: newWorld(0.05), shape: func(w *world) {
			w.rss = func(d time.Duration) uint64 { return 100<<20 - min(uint64(d/time.Second), 60)<<20 }
		}, e: Expectation{RSSPeakBytes: 30 << 20}, want: GoOn},
		{name: "no effect", w: newWorld(0.05), shape: func(w *world) { w.o.Effective = false }, want: TakeBack, why: "the heap goal did not follow in 5 cycles", by: 2 * time.Second},
		{name: "no effect, and no cycle", w: newWorld(0), shape: func(w *world) { w.o.Effective, w.perCycle = false, time.Hour }, want: GoOn},
		{name: "no effect seen in one cycle only", w: newWorld(0.05), each: func(w *world, o *Observation) { o.Effective = o.Cycles == 102 }, want: GoOn},
		{name: "set by somebody else", w: newWorld(0.9), each: func(w *world, o *Observation) {
			if w.elapsed > time.Second {
				o.Theirs = []string{"runtime.gcController.memoryLimit"}
			}
		}, want: StandAside, why: "somebody else changed runtime.gcController.memoryLimit", by: 2 * time.Second},
		{name: "gone", w: newWorld(0.05), each: func(w *world, o *Observation) { o.Gone = w.elapsed > time.Second }, want: End, by: 2 * time.Second},
		{name: "cycles go back", w: newWorld(0.05), each: func(w *world, o *Observation) {
			if w.elapsed > time.Second {
				o.Cycles = 7
			}
		}, want: TakeBack, why: "GC cycles went back", by: 2 * time.Second},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if tt.shape != nil {
				tt.shape(tt.w)
			}
			var each func(*Observation)
			if tt.each != nil {
				each = func(o *Observation) { tt.each(tt.w, o) }
			}
			s, v, after := run(tt.w, tt.e, 2*minute, each)
			if v.Decision != tt.want || !strings.Contains(v.Why, tt.why) {
				t.Fatalf("after %v: %v, %q; want %v, %q", after, v.Decision, v.Why, tt.want, tt.why)
			}
			if tt.by > 0 && after > tt.by {
				t.Errorf("took %v, want at most %v", after, tt.by)
			}
			if n := len(s.marks); n > storms+3 {
				t.Errorf("%d observations are kept", n)
			}
			if tt.want != GoOn && v.Why == "" {
				t.Error("no reason is given")
			}
		})
	}
}

// Whatever is observed, Judge does not panic, gives a reason for all that is not
// going on, does not change the state that it was given, and keeps little.
func TestJudgeProperties(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	any64 := func() time.Duration {
		return []time.Duration{0, 1, -1, math.MaxInt64, math.MinInt64, time.Second, time.Duration(r.Int64())}[r.IntN(7)]
	}
	for range 2000 {
		e := Expectation{GCCPURatio: []float64{0, 0.1, 1, math.NaN(), -1}[r.IntN(5)], RSSPeakBytes: []float64{0, 1e8, math.Inf(1)}[r.IntN(3)]}
		var s State
		o := Observation{Time: time.Unix(1e9, 0)}
		for range 100 {
			o.Time = o.Time.Add(time.Duration(r.IntN(2000)-100) * time.Millisecond)
			o.Cycles += uint64(r.IntN(3))
			o.Effective = r.IntN(2) == 0
			o.GCTotal, o.GCIdle, o.Busy, o.ProcessCPU = any64(), any64(), any64(), any64()
			o.RSSBytes = r.Uint64()
			o.LimiterLastCycle = uint64(r.IntN(2)) * r.Uint64N(1000)
			o.Gone = r.IntN(50) == 0
			before := slices.Clone(s.marks)
			next, v := Judge(s, o, e)
			if !slices.EqualFunc(before, s.marks, func(a, b Observation) bool { return a.Time.Equal(b.Time) && a.Cycles == b.Cycles }) {
				t.Fatal("the state that was given has changed")
			}
			if (v.Decision == GoOn) != (v.Why == "") {
				t.Fatalf("%v for the reason %q", v.Decision, v.Why)
			}
			if again, w := Judge(s, o, e); w != v || len(again.marks) != len(next.marks) {
				t.Fatal("the same look gave another verdict")
			}
			if len(next.marks) > 200 {
				t.Fatalf("%d observations are kept", len(next.marks))
			}
			s = next
		}
	}
}

// More GC never turns taking back into going on.
func TestJudgeMonotone(t *testing.T) {
	for _, e := range []Expectation{{}, {GCCPURatio: 0.1}, {GCCPURatio: 0.3}} {
		reverted := false
		for ratio := max(e.GCCPURatio, 0.02); ratio < 0.95; ratio += 0.01 {
			_, v, _ := run(newWorld(ratio), e, time.Minute, nil)
			if back := v.Decision == TakeBack; reverted && !back {
				t.Fatalf("expected %v: taken back at less than %v, not at %v", e.GCCPURatio, ratio, ratio)
			} else {
				reverted = back
			}
		}
		if !reverted {
			t.Errorf("expected %v: never taken back", e.GCCPURatio)
		}
	}
}

// A fakeSubject is a world that Watch looks at.
type fakeSubject struct {
	*world
	last    time.Time
	errAt   time.Duration
	err     error
	dogDies time.Duration
	back    []string
	backErr error
}

func (f *fakeSubject) observe() (Observation, error) {
	now := time.Now()
	if f.last.IsZero() {
		f.last, f.o.Time = now, now
		return f.o, nil
	}
	o := f.step(now.Sub(f.last))
	f.last = now
	if f.err != nil && f.elapsed >= f.errAt {
		return Observation{}, f.err
	}
	return o, nil
}

func (f *fakeSubject) guarded() bool { return f.dogDies == 0 || f.elapsed < f.dogDies }

func (f *fakeSubject) takeBack(why string) (Receipt, error) {
	f.back = append(f.back, why)
	return Receipt{PID: 1}, f.backErr
}

func TestWatchLoop(t *testing.T) {
	for _, tt := range []struct {
		name    string
		f       *fakeSubject
		e       Expectation
		cancel  time.Duration
		want    Decision
		back    string
		note    string
		elapsed time.Duration
	}{
		{name: "all well", f: &fakeSubject{world: newWorld(0.05)}, e: Expectation{For: time.Minute}, want: GoOn, elapsed: time.Minute},
		{name: "less than foretold", f: &fakeSubject{world: newWorld(0.05)}, e: Expectation{For: time.Minute, GCCPURatio: 0.1}, want: GoOn, note: "The collector takes 5.0% of the CPU where 10.0% were expected", elapsed: time.Minute},
		{name: "nothing seen", f: &fakeSubject{world: &world{o: Observation{}, perCycle: time.Hour, cores: 1}}, e: Expectation{For: time.Minute}, want: GoOn, note: "No GC cycle", elapsed: time.Minute},
		{name: "storm", f: &fakeSubject{world: newWorld(0.5)}, e: Expectation{For: time.Hour}, want: TakeBack, back: "storm", elapsed: 10500 * time.Millisecond},
		{name: "interrupted", f: &fakeSubject{world: newWorld(0.05)}, cancel: 7 * time.Second, want: TakeBack, back: "interrupted", elapsed: 7 * time.Second},
		{name: "unreadable", f: &fakeSubject{world: newWorld(0.05), errAt: 5 * time.Second, err: errors.New("no")}, want: TakeBack, back: "can no longer be read: no", elapsed: 24500 * time.Millisecond},
		{name: "the watchdog dies", f: &fakeSubject{world: newWorld(0.05), dogDies: time.Second}, e: Expectation{For: 5 * time.Second}, want: GoOn, note: "The watchdog has ended", elapsed: 5 * time.Second},
		{name: "it goes while being put back", f: &fakeSubject{world: newWorld(0.5), backErr: procmem.ErrExited}, want: End, back: "storm", elapsed: 10500 * time.Millisecond},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, stop := context.WithCancel(t.Context())
				defer stop()
				if tt.cancel > 0 {
					time.AfterFunc(tt.cancel, stop)
				}
				begin, ticks := time.Now(), 0
				out, err := watch(ctx, tt.f, tt.e, func(Status) { ticks++ })
				if err != nil {
					t.Fatal(err)
				}
				if out.Verdict.Decision != tt.want || !strings.Contains(strings.Join(tt.f.back, "|"), tt.back) || (tt.back == "") != (len(tt.f.back) == 0) {
					t.Errorf("%v, %q, put back for %q; want %v, %q", out.Verdict.Decision, out.Verdict.Why, tt.f.back, tt.want, tt.back)
				}
				if got := time.Since(begin); got != tt.elapsed {
					t.Errorf("it took %v, want %v", got, tt.elapsed)
				}
				if ticks == 0 || !strings.Contains(strings.Join(out.Notes, " "), tt.note) || (tt.note == "") != (len(out.Notes) == 0) {
					t.Errorf("%d ticks, notes %q, want %q", ticks, out.Notes, tt.note)
				}
			})
		})
	}
}
