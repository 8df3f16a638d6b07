package view_test

import (
	"math"
	"testing"
	"time"

	rt "github.com/heapwright/heapwright/cmd/internal/diagnose/ruletest"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/view"
	"github.com/heapwright/heapwright/record"
)

func near(got, want, tolerance float64) bool { return math.Abs(got-want) <= tolerance*math.Abs(want) }

// TestCPUShareDoesNotDependOnContention is why shares are ratios of P-time: the
// same work on a machine that gives the process a sixth of what its Ps ask for.
func TestCPUShareDoesNotDependOnContention(t *testing.T) {
	sv := rt.Server{Live: rt.Const(120 * rt.MiB), Alloc: rt.Const(120 * rt.MiB), Procs: 16,
		Pause: func(int) time.Duration { return 40 * time.Millisecond }}
	quiet, ok := view.New(sv.Recording()).CPU()
	if !ok {
		t.Fatal("no CPU")
	}
	sv.Stretch = 6
	busy, ok := view.New(sv.Recording()).CPU()
	if !ok {
		t.Fatal("no CPU")
	}
	// By hand: a cycle of 120.75 MiB at 1 GiB/s and 0.2 ms, every 120 MiB or so;
	// the program itself takes half a core.
	cost := 120.75/1024 + 0.0002
	want := cost / (cost + 0.5*0.955)
	for name, c := range map[string]*view.CPU{"quiet": quiet, "contended": busy} {
		if !near(c.Share, want, 0.03) {
			t.Errorf("%s: share %.4f, want about %.4f", name, c.Share, want)
		}
		if !near(c.Cores, c.Share*c.BusyCores, 1e-9) || !near(c.BusyCores, 0.5/(1-want), 0.05) {
			t.Errorf("%s: %.4f of %.4f cores", name, c.Cores, c.BusyCores)
		}
	}
	if !near(busy.Stretch, 6, 0.05) || !near(quiet.Stretch, 1, 0.05) {
		t.Errorf("stretch: quiet %.2f, contended %.2f", quiet.Stretch, busy.Stretch)
	}
	if !near(busy.Demand, 6*quiet.Demand, 0.05) {
		t.Errorf("demand: quiet %.3f, contended %.3f", quiet.Demand, busy.Demand)
	}
}

func TestCPUIsUnknown(t *testing.T) {
	sv := rt.Server{}
	for name, rec := range map[string]*record.Recording{
		"no classes": rt.Without(sv.Recording(), record.FieldCPUIdle),
		"no samples": {},
		"no cycle":   rt.Server{Alloc: rt.Const(0)}.Recording(),
		"backwards": func() *record.Recording {
			r := sv.Recording()
			for i := range r.Samples {
				r.Samples[i].CPUGCTotal = time.Duration(1000-i) * time.Second
			}
			return r
		}(),
	} {
		if c, ok := view.New(rec).CPU(); ok {
			t.Errorf("%s: %+v", name, c)
		}
	}
	c, ok := view.New(rt.Without(sv.Recording(), record.FieldCPUProcUser)).CPU()
	if !ok || c.CoresKnown || c.Stretch != 0 {
		t.Errorf("without the kernel's account: %+v, %v", c, ok)
	}
}

func TestContended(t *testing.T) {
	for name, c := range map[string]struct {
		rec        *record.Recording
		yes, known bool
	}{
		"quiet":              {rt.Server{}.Recording(), false, true},
		"stretched":          {rt.Server{Stretch: 3, Procs: 4}.Recording(), true, true},
		"throttled":          {rt.Server{Quota: 1, Throttled: 0.5}.Recording(), true, true},
		"pressure":           {rt.Server{PSICPU: 0.5}.Recording(), true, true},
		"idle and stretched": {rt.Without(rt.Server{UserCores: 0.01, Alloc: rt.Const(2 * rt.MiB), Stretch: 3}.Recording(), record.FieldPSICPUSomeStall), false, false},
		"nothing":            {&record.Recording{}, false, false},
	} {
		if yes, known, _ := view.New(c.rec).Contended(); yes != c.yes || known != c.known {
			t.Errorf("%s: contended %v, known %v", name, yes, known)
		}
	}
}

func TestMarked(t *testing.T) {
	rec := rt.Server{Alloc: rt.Const(rt.MiB * 40)}.Recording()
	n := len(view.New(rec).Marked())
	if n != len(rec.Cycles) {
		t.Errorf("%d points of %d cycles", n, len(rec.Cycles))
	}
	// Without detail in the cycles the samples must do: one point a cycle seen.
	for i := range rec.Cycles {
		rec.Cycles[i].Detail = false
	}
	if got := len(view.New(rec).Marked()); got < n*9/10 || got > n+1 {
		t.Errorf("%d points from samples, %d cycles", got, n)
	}
	// The first cycles of a process are not counted.
	for i := range rec.Cycles {
		rec.Cycles[i].N -= 100
		rec.Cycles[i].Detail = true
	}
	if got := len(view.New(rec).Marked()); got != n-4 {
		t.Errorf("%d points of a young process, want %d", got, n-4)
	}
}

func TestSizing(t *testing.T) {
	v := view.New(rt.Server{Container: 512 * rt.MiB, Outside: rt.Const(40 * rt.MiB), Live: rt.Const(100 * rt.MiB)}.Recording())
	s, ok := v.SizeLimit(v.ContainerLimit())
	if !ok {
		t.Fatal("no sizing")
	}
	if s.Outside != 40*rt.MiB || s.Reserve != 32*rt.MiB || s.GOMEMLIMIT != 440*rt.MiB || !s.Fits {
		t.Errorf("%+v", s)
	}
	// (100.5 + 101.3/2)/0.97 + 6.5 MiB
	if !near(s.Need, 162.3*rt.MiB, 0.01) {
		t.Errorf("need %.1f MiB", s.Need/rt.MiB)
	}
	for limit, want := range map[float64]float64{
		64 * rt.MiB: 64*0.9 - 40, // a tenth
		4 * rt.GiB:  4096*0.98 - 40,
		30 * rt.MiB: 0,
	} {
		if got := view.SizeFor(limit, 40*rt.MiB, 0) / rt.MiB; !near(got, want, 1e-9) && got != want {
			t.Errorf("SizeFor(%.0f MiB) = %.2f MiB, want %.2f", limit/rt.MiB, got, want)
		}
	}
	if got := view.SizeFor(rt.GiB, 0, 40*rt.MiB); got != rt.GiB-80*rt.MiB {
		t.Errorf("with a spread of 40 MiB: %.1f MiB", got/rt.MiB)
	}
}

func TestProposeKeepsWithinTheBudget(t *testing.T) {
	for container := 40.0; container < 4000; container *= 1.3 {
		v := view.New(rt.Server{Container: uint64(container) * rt.MiB, Live: rt.Const(20 * rt.MiB), Alloc: rt.Const(300 * rt.MiB), GOGC: 50, Seconds: 5}.Recording())
		p, ok := v.Propose()
		if !ok {
			continue
		}
		peak := (20.2+20.9*p.GOGC/100)*v.SpanOverhead() + 6 + 6.5
		if peak > 0.7*container*1.01 {
			t.Errorf("container of %.0f MiB: GOGC=%.0f peaks at %.0f MiB", container, p.GOGC, peak)
		}
		if p.GOGC < 75 || p.GOGC > 800 || math.Mod(p.GOGC, 50) != 0 || p.Share >= 1 || p.More <= 0 {
			t.Errorf("container of %.0f MiB: %+v", container, p)
		}
	}
	if p, ok := view.New(rt.Server{Live: rt.Const(100 * rt.MiB), Limit: 125 * rt.MiB}.Recording()).Propose(); ok {
		t.Errorf("the limit sets the goal: %+v", p)
	}
}

func TestUserFrame(t *testing.T) {
	rec := &record.Recording{Process: record.Process{Module: "inventory"}}
	f := func(fn string) record.Frame { return record.Frame{Func: fn} }
	for _, c := range []struct {
		stack []record.Frame
		want  string
	}{
		{[]record.Frame{f("runtime.gopark"), f("sync.(*Mutex).Lock"), f("main.f")}, "main.f"},
		{[]record.Frame{f("runtime.mallocgc"), f("bytes.growSlice"), f("github.com/a/b.(*T).M")}, "github.com/a/b.(*T).M"},
		{[]record.Frame{f("internal/poll.(*FD).Read"), f("net.(*conn).Read"), f("inventory/store.Load")}, "inventory/store.Load"},
		{[]record.Frame{f("slices.Grow[go.shape.[]github.com/a/b.T]"), f("gopkg.in/yaml%2ev3.Unmarshal")}, "gopkg.in/yaml%2ev3.Unmarshal"},
		{[]record.Frame{f("runtime.gopark"), f("os/signal.loop")}, "os/signal.loop"},
		{[]record.Frame{f("runtime.gopark"), f("vendor/golang.org/x/net/http2.f"), f("runtime.goexit")}, "vendor/golang.org/x/net/http2.f"},
		{[]record.Frame{f("runtime.gopark")}, "runtime.gopark"},
		{nil, ""},
	} {
		if got := view.New(rec).UserFrame(c.stack).Func; got != c.want {
			t.Errorf("%v: got %q, want %q", c.stack, got, c.want)
		}
	}
}

func TestDeltasOfACounterThatFalls(t *testing.T) {
	rec := rt.Server{Seconds: 2}.Recording()
	rec.Samples[len(rec.Samples)-1].TotalAllocBytes = 0
	v := view.New(rec)
	if d, _, ok := v.Delta(record.FieldTotalAllocBytes); ok {
		t.Errorf("delta %v", d)
	}
	if _, ok := v.Rate(record.FieldTotalAllocBytes); ok {
		t.Error("there is a rate")
	}
	rec.Samples[len(rec.Samples)-1].SchedLatency = record.TimeHistogram{}
	if _, _, ok := view.New(rec).Histogram(record.FieldSchedLatency); ok {
		t.Error("there is a histogram")
	}
	// Samples that go back in time are left out.
	rec.Samples[5].Time = rt.Epoch.Add(-time.Hour)
	if got, want := view.New(rec).Samples(), len(rec.Samples)-1; got != want {
		t.Errorf("%d samples, want %d", got, want)
	}
}

func TestGoMinor(t *testing.T) {
	for version, want := range map[string]int{"go1.26.8": 26, "go1.27rc1": 27, "go1.25": 25, "devel go1.28-abc": -1, "": -1, "go1.": -1, "go2.1": -1} {
		got, ok := view.New(&record.Recording{Process: record.Process{GoVersion: version}}).GoMinor()
		if !ok {
			got = -1
		}
		if got != want {
			t.Errorf("%q: %d, want %d", version, got, want)
		}
	}
}
