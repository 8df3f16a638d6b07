package horizon

import (
	"encoding/binary"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/trend"
	"github.com/heapwright/heapwright/cmd/internal/horizon/shapes"
	"github.com/heapwright/heapwright/record"
)

const mib = 1 << 20

var epoch = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

func after0(seconds float64) time.Time {
	return epoch.Add(time.Duration(seconds * float64(time.Second)))
}

// process is a course of a cycle a second, whose heap is at its goal when a cycle ends.
func process(c Course, seconds int, live, beside func(t float64) float64) *Course {
	before := live(0)
	for i := range seconds {
		t := float64(i + 1)
		c.Cycles = append(c.Cycles, Cycle{End: after0(t), Pause: 100 * time.Microsecond, Live: live(t)})
		c.Used = append(c.Used, Point{after0(t - 0.01), c.peak(before) + beside(t)})
		before = live(t)
	}
	return &c
}

func line0(base, slope float64) func(float64) float64 {
	return func(t float64) float64 { return base + slope*t }
}

func constant(v float64) func(float64) float64 { return line0(v, 0) }

func TestStates(t *testing.T) {
	noisy := func(f func(float64) float64, sd float64) func(float64) float64 {
		r := rand.New(rand.NewPCG(1, 2))
		return func(t float64) float64 { return f(t) * (1 + sd*r.NormFloat64()) }
	}
	for _, tc := range []struct {
		name    string
		course  *Course
		state   State
		in      float64 // seconds to the limit, for Reaches
		hurting bool
	}{
		{"level", process(Course{GOGC: 100, Limit: 500 * mib}, 120, noisy(constant(100*mib), 0.03), constant(10*mib)), None, 0, false},
		{"falls", process(Course{GOGC: 100, Limit: 500 * mib}, 120, noisy(line0(200*mib, -mib), 0.03), constant(10*mib)), None, 0, false},
		// 2*(100+t)+10 = 500: at 145, plus a cycle.
		{"leak", process(Course{GOGC: 100, Limit: 500 * mib}, 120, line0(100*mib, mib/1.2), constant(10*mib)), Reaches, 54, false},
		{"leak, noisy", process(Course{GOGC: 100, Limit: 500 * mib}, 120, noisy(line0(100*mib, mib/1.2), 0.02), constant(10*mib)), Reaches, 54, false},
		{"leak without a limit", process(Course{GOGC: 100}, 120, line0(100*mib, mib), constant(10*mib)), Rising, 0, false},
		{"leak far from the limit", process(Course{GOGC: 100, Limit: 1 << 40}, 120, line0(100*mib, mib), constant(10*mib)), Rising, 0, false},
		{"outside the heap", process(Course{GOGC: 100, Limit: 500 * mib}, 120, noisy(constant(100*mib), 0.01), line0(10*mib, 2*mib)), Reaches, 25, false},
		{"held by GOMEMLIMIT", process(Course{GOGC: 100, Limit: 500 * mib, SoftLimit: 400 * mib, NonHeap: 4 * mib, GCShare: 0.05}, 240, line0(100*mib, mib), constant(10*mib)), Reaches, 150, true},
		{"over", process(Course{GOGC: 100, Limit: 500 * mib}, 120, line0(100*mib, 1.3*mib), constant(10*mib)), Over, 0, false},
		{"saturates", process(Course{GOGC: 100, Limit: 600 * mib}, 240, noisy(func(t float64) float64 { return (100 + 150*(1-math.Exp(-t/80))) * mib }, 0.01), constant(10*mib)), Rising, 0, false},
		{"one step", process(Course{GOGC: 100, Limit: 600 * mib}, 240, noisy(func(t float64) float64 {
			if t > 120 {
				return 200 * mib
			}
			return 100 * mib
		}, 0.01), constant(10*mib)), None, 0, false},
	} {
		now := tc.course.Cycles[len(tc.course.Cycles)-1].End
		o := Forecast(tc.course, now, Options{})
		if o.State != tc.state {
			t.Errorf("%s: %s (%s), want %s", tc.name, o.State, o.Reason, tc.state)
			continue
		}
		if (o.Hurts != nil) != tc.hurting {
			t.Errorf("%s: GC hurts: %+v", tc.name, o.Hurts)
		}
		if tc.hurting && !o.Hurts.Time.Before(o.Killed.Time) {
			t.Errorf("%s: GC hurts at %v, after the end at %v", tc.name, o.Hurts.Time, o.Killed.Time)
		}
		if tc.in > 0 {
			want := now.Add(time.Duration(tc.in * float64(time.Second)))
			if want.Before(o.Killed.Low) || !o.Killed.High.IsZero() && want.After(o.Killed.High) || math.Abs(o.Killed.Time.Sub(want).Seconds()) > 0.15*tc.in+2 {
				t.Errorf("%s: in %v (%v to %v), want %v s", tc.name, o.Killed.Time.Sub(now), o.Killed.Low.Sub(now), o.Killed.High.Sub(now), tc.in)
			}
		}
	}
	o := Forecast(&Course{Limit: mib}, epoch, Options{})
	if o.State != None || o.Points != 0 || o.Left(time.Hour) != time.Hour {
		t.Errorf("of nothing: %+v", o)
	}
}

// A steeper leak ends earlier; a limit that is higher is reached later.
func TestMonotone(t *testing.T) {
	var last time.Duration
	for i, slope := range []float64{3, 2, 1.5, 1.2, 1} {
		c := process(Course{GOGC: 100, Limit: 1000 * mib}, 150, line0(100*mib, slope*mib), constant(10*mib))
		left := Forecast(c, after0(150), Options{}).Left(Furthest)
		if i > 0 && left <= last {
			t.Errorf("at %g MiB/s it takes %v, and %v when it is steeper", slope, left, last)
		}
		last = left
		if later := Forecast(c, after0(150), Options{Limit: 1100 * mib}).Left(Furthest); later <= left {
			t.Errorf("at %g MiB/s %v to 1000 MiB and %v to 1100", slope, left, later)
		}
	}
}

// Ten times the memory and the limit, or another day, are the same forecast.
func TestInvariance(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	noise := make([]float64, 200)
	for i := range noise {
		noise[i] = 1 + 0.02*r.NormFloat64()
	}
	course := func(scale float64, shift time.Duration) *Outlook {
		c := process(Course{GOGC: 100, Limit: 500 * mib * scale}, 120, func(t float64) float64 { return (100 + t) * mib * scale * noise[int(t)] }, constant(10*mib*scale))
		for i := range c.Cycles {
			c.Cycles[i].End = c.Cycles[i].End.Add(shift)
		}
		for i := range c.Used {
			c.Used[i].Time = c.Used[i].Time.Add(shift)
		}
		return Forecast(c, after0(120).Add(shift), Options{})
	}
	one := course(1, 0)
	if one.State != Reaches {
		t.Fatalf("%s: %s", one.State, one.Reason)
	}
	for name, other := range map[string]*Outlook{"larger": course(10, 0), "later": course(1, 5000*time.Hour)} {
		if other.State != one.State {
			t.Errorf("%s: %s", name, other.State)
			continue
		}
		for _, pair := range [][2]time.Duration{{one.Killed.Time.Sub(one.At), other.Killed.Time.Sub(other.At)}, {one.Killed.Low.Sub(one.At), other.Killed.Low.Sub(other.At)}, {one.Killed.High.Sub(one.At), other.Killed.High.Sub(other.At)}} {
			if (pair[0] - pair[1]).Abs() > 50*time.Millisecond {
				t.Errorf("%s: %v, and %v", name, pair[1], pair[0])
			}
		}
	}
}

// By simulation: how often the end lies in the interval, at an instant half way. The
// bound is what a true 90% would fall below once in a thousand times.
func TestCoverage(t *testing.T) {
	const runs = 150
	covered, with := 0, 0
	r := rand.New(rand.NewPCG(5, 6))
	for range runs {
		slope, x := 0.5+r.Float64(), 0.0
		live := func(t float64) float64 {
			x = 0.6*x + 0.8*0.02*r.NormFloat64()
			return (100 + slope*t) * mib * (1 + x)
		}
		c := process(Course{GOGC: 100, Limit: (2*(100+slope*300) + 10) * mib}, 180, live, constant(10*mib))
		o := Forecast(c, after0(180), Options{})
		if o.Killed == nil {
			continue
		}
		with++
		// The peak passes the limit at 300, and a cycle later the heap is there.
		if end := after0(301); !end.Before(o.Killed.Low) && (o.Killed.High.IsZero() || !end.After(o.Killed.High)) {
			covered++
		}
	}
	if with < runs*3/4 {
		t.Errorf("%d of %d have a deadline", with, runs)
	}
	if least := 0.9*float64(with) - 3.1*math.Sqrt(float64(with)*0.9*0.1); float64(covered) < least {
		t.Errorf("%d of %d lie in their interval", covered, with)
	}
}

func TestSegments(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	series := func(f func(i int) float64) (pts []trend.Point) {
		for i := range 90 {
			pts = append(pts, trend.Point{T: float64(i), V: 100*mib + f(i)*mib + 0.5*mib*r.NormFloat64()})
		}
		return pts
	}
	for name, tc := range map[string]struct {
		f     func(i int) float64
		wants []int // where segments begin, within 3
	}{
		"level":        {func(int) float64 { return 0 }, []int{0}},
		"line":         {func(i int) float64 { return float64(i) }, []int{0}},
		"begins":       {func(i int) float64 { return max(0, float64(i-40)) }, []int{0, 40}},
		"ends":         {func(i int) float64 { return min(50, float64(i)) }, []int{0, 50}},
		"step":         {func(i int) float64 { return 30 * float64(i/45) }, []int{0, 45}},
		"tooth":        {func(i int) float64 { return float64(i % 45) }, []int{0, 45}},
		"lone outlier": {func(i int) float64 { return 80 * float64(max(0, 1-max(i-50, 50-i))) }, []int{0}},
	} {
		var got []int
		for _, s := range segments(series(tc.f)) {
			got = append(got, s.from)
		}
		if len(got) != len(tc.wants) {
			t.Errorf("%s: segments from %v, want %v", name, got, tc.wants)
			continue
		}
		for i := range got {
			if d := got[i] - tc.wants[i]; d < -3 || d > 3 {
				t.Errorf("%s: segments from %v, want %v", name, got, tc.wants)
			}
		}
	}
}

func TestRhythm(t *testing.T) {
	r := rand.New(rand.NewPCG(9, 10))
	days := func(n int, swing, slope float64) (pts []trend.Point) {
		for i := range n * 24 * 12 {
			t := float64(i-n*24*12) * 300
			pts = append(pts, trend.Point{T: t, V: 1000 + slope*t/day + swing*math.Sin(2*math.Pi*t/day) + 5*r.NormFloat64()})
		}
		return pts
	}
	if got, _ := findRhythm(days(4, 0, 50)); got != nil {
		t.Error("there is a rhythm where there is none")
	}
	if got, _ := findRhythm(days(1, 100, 0)); got != nil {
		t.Error("there is a rhythm of one day")
	}
	got, rest := findRhythm(days(4, 100, 50))
	if got == nil {
		t.Fatal("there is no rhythm")
	}
	for _, at := range []float64{0, 3600, day / 4, day / 2, 3 * day / 4, 5 * day / 4} {
		if want := 100 * math.Sin(2*math.Pi*at/day); math.Abs(got.at(at)-want) > 12 {
			t.Errorf("at %.0f: %.1f, want %.1f", at, got.at(at), want)
		}
	}
	for _, p := range rest {
		if want := 1000 + 50*p.T/day; math.Abs(p.V-want) > 40 {
			t.Fatalf("at %.0f %.1f is left, want about %.1f", p.T, p.V, want)
		}
	}
}

func TestInflection(t *testing.T) {
	r := rand.New(rand.NewPCG(11, 12))
	var cycles []Cycle
	live := 100.0 * mib
	for i := range 400 {
		pause, growth := 100e-6, 0.0
		if i >= 300 {
			pause, growth = 400e-6, 0.01
		}
		live *= 1 + growth
		cycles = append(cycles, Cycle{End: after0(float64(i)), Pause: time.Duration(pause * (1 + 0.1*r.NormFloat64()) * 1e9), Live: live * (1 + 0.002*r.NormFloat64())})
	}
	if w := inflection(cycles[:300], after0(299)); w != nil {
		t.Errorf("before anything happened: %+v", w)
	}
	w := inflection(cycles[:340], after0(339))
	if w == nil || w.Since.Before(after0(300)) || w.Since.After(after0(325)) || w.Growth < 0.005 || w.PauseP95 < 2*w.PauseBefore {
		t.Errorf("after it happened at 300: %+v", w)
	}
	// Growth alone is not one, and it ends when growth does.
	steady := slices.Clone(cycles)
	for i := range steady {
		steady[i].Pause = cycles[i%300].Pause
	}
	if w := inflection(steady, after0(400)); w != nil {
		t.Errorf("without longer pauses: %+v", w)
	}
	for i := 350; i < 400; i++ {
		cycles[i].Live = cycles[349].Live
	}
	if w := inflection(cycles, after0(400)); w != nil {
		t.Errorf("after it ended: %+v", w)
	}
}

// A slice of the back-test that docs/FORECAST.md has the whole of.
func TestBacktest(t *testing.T) {
	b := NewBacktest(BacktestOptions{Looks: 40})
	for _, name := range []string{"leak, linear", "leak, begins late", "leak, outside the heap", "healthy, level", "healthy, one step"} {
		for i := range 3 {
			trial, ok := shapes.Make(name, uint64(2000+i))
			if !ok {
				t.Fatal("there is no such shape")
			}
			b.Add(Trial{Kind: name, Recording: trial.Recording, Killed: trial.Killed})
		}
	}
	rows, all := b.Scores()
	if len(rows) != 5 || all.Recordings != 15 {
		t.Fatalf("%d rows of %d recordings", len(rows), all.Recordings)
	}
	if all.Killed != 9 || all.Warned < 8 || all.False > 1 {
		t.Errorf("%d of %d warned, %d false alarms", all.Warned, all.Killed, all.False)
	}
	if all.Covered < 0.75 || all.CoverLow > all.Covered || all.CoverHigh < all.Covered {
		t.Errorf("%.2f are covered (%.2f to %.2f)", all.Covered, all.CoverLow, all.CoverHigh)
	}
	if all.Lead[0] > all.Lead[2] || all.LeadShare[2] < 0.1 {
		t.Errorf("lead %v, %v", all.Lead, all.LeadShare)
	}
	// What is forecast goes by what was known at the instant, and by nothing later.
	trial, _ := shapes.Make("leak, linear", 2000)
	r := trial.Recording
	now := r.Samples[len(r.Samples)/2].Time
	whole := Forecast(Read(r, now), now, Options{})
	cut := *r
	cut.Samples = r.Samples[:len(r.Samples)/2+1]
	cut.Cycles = slices.DeleteFunc(slices.Clone(r.Cycles), func(c record.Cycle) bool { return c.End.After(now) })
	if part := Forecast(Read(&cut, time.Time{}), now, Options{}); part.State != whole.State || part.NeedBytes != whole.NeedBytes || part.Left(Furthest) != whole.Left(Furthest) {
		t.Errorf("with the later part %+v, without %+v", whole, part)
	}
}

func TestOutcome(t *testing.T) {
	sample := func(at, anon float64) record.Sample {
		s := record.Sample{Time: after0(at), RSSAnonBytes: uint64(anon * mib), CgroupLimitBytes: 100 * mib}
		s.Has.Add(record.FieldRSSAnonBytes)
		s.Has.Add(record.FieldCgroupLimitBytes)
		return s
	}
	for name, tc := range map[string]struct {
		anon   float64
		events []record.Event
		killed bool
	}{
		"goes on":        {99, nil, false},
		"ended at ease":  {50, []record.Event{{Time: after0(11), Kind: record.EventExited}}, false},
		"ended at limit": {95, []record.Event{{Time: after0(11), Kind: record.EventExited}}, true},
		"killed":         {50, []record.Event{{Time: after0(9), Kind: record.EventOOMKill}}, true},
		"another killed": {50, []record.Event{{Time: after0(1), Kind: record.EventOOMKill}}, false},
	} {
		r := &record.Recording{Samples: []record.Sample{sample(0, 10), sample(10, tc.anon)}, Events: tc.events}
		if got := Outcome(r); got.IsZero() == tc.killed {
			t.Errorf("%s: killed at %v", name, got)
		}
	}
	if !Outcome(&record.Recording{}).IsZero() {
		t.Error("nothing was killed")
	}
}

func TestWilson(t *testing.T) {
	// Newcombe, Statistics in Medicine 17 (1998), table I: 81/263, 0/20, 29/29.
	for _, tc := range [][4]float64{{81, 263, 0.2553, 0.3662}, {0, 20, 0, 0.1611}, {29, 29, 0.8830, 1}, {0, 0, 0, 1}} {
		low, high := Wilson(int(tc[0]), int(tc[1]))
		if math.Abs(low-tc[2]) > 1e-4 || math.Abs(high-tc[3]) > 1e-4 {
			t.Errorf("%v of %v: %.4f to %.4f", tc[0], tc[1], low, high)
		}
	}
}

// FuzzForecast: whatever a course is made of, there is an answer that makes sense.
func FuzzForecast(f *testing.F) {
	f.Add([]byte{}, 1e9, 100.0)
	seed := make([]byte, 0, 24*200)
	for i := range 200 {
		seed = binary.LittleEndian.AppendUint64(seed, uint64(i)*1e9)
		seed = binary.LittleEndian.AppendUint64(seed, math.Float64bits(float64(i+50)*mib))
		seed = binary.LittleEndian.AppendUint64(seed, math.Float64bits(float64(2*i+110)*mib))
	}
	f.Add(seed, 600.0*mib, 100.0)
	f.Add(seed, 1e300, -1.0)
	f.Fuzz(func(t *testing.T, b []byte, limit, gogc float64) {
		c := &Course{Start: epoch, Limit: limit, GOGC: gogc, SoftLimit: limit * 0.9, GCShare: gogc / 1e3}
		for ; len(b) >= 24 && len(c.Cycles) < 2000; b = b[24:] {
			at := epoch.Add(time.Duration(binary.LittleEndian.Uint64(b)))
			c.Cycles = append(c.Cycles, Cycle{End: at, Pause: time.Duration(binary.LittleEndian.Uint32(b)), Live: math.Float64frombits(binary.LittleEndian.Uint64(b[8:]))})
			c.Used = append(c.Used, Point{at, math.Float64frombits(binary.LittleEndian.Uint64(b[16:]))})
		}
		now := epoch
		if n := len(c.Cycles); n > 0 {
			now = c.Cycles[n-1].End
		}
		o := Forecast(c, now, Options{})
		switch o.State {
		case None, Rising, Reaches, Over:
		default:
			t.Errorf("state %q", o.State)
		}
		if (o.Killed != nil) != (o.State == Reaches || o.State == Over) {
			t.Errorf("%s with %+v", o.State, o.Killed)
		}
		for _, k := range []*Instant{o.Killed, o.Hurts} {
			if k != nil && (k.Low.Before(now) || k.Time.Before(k.Low) || !k.High.IsZero() && k.High.Before(k.Time)) {
				t.Errorf("%s: now %v, %+v", o.State, now, k)
			}
		}
		for _, v := range []float64{o.NeedBytes, o.LiveBytes, o.Live.PerSecond, o.Need.PerSecond, o.Need.Low, o.Need.High} {
			if math.IsNaN(v) || math.IsInf(v, 0) {
				t.Errorf("%s: %+v", o.State, o)
			}
		}
	})
}
