package agent

import (
	"math"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/heapwright/heapwright/record"
)

var start = time.Unix(1_700_000_000, 0)

// at is a sample with every scalar, at an instant.
func at(d time.Duration, change func(*record.Sample)) *record.Sample {
	s := &record.Sample{Time: start.Add(d), Source: record.SourceRemote, GOMEMLIMITBytes: math.MaxInt64, GOGCPercent: 100}
	for f := range record.NumFields {
		s.Has.Add(f)
	}
	if change != nil {
		change(s)
	}
	return s
}

func TestPace(t *testing.T) {
	pace := DefaultSettings().Pace
	const limit = 100 << 20
	busy := func(s *record.Sample) { s.CPUProcUser = s.Time.Sub(start) / 2 }
	tests := []struct {
		name     string
		each     func(*record.Sample)
		headroom float64
		want     time.Duration
	}{
		{"does nothing", nil, 0.5, pace.Slowest},
		{"does nothing, and there is no room", nil, 0.01, pace.Slowest},
		{"works", busy, 0.5, pace.Interval},
		{"works, and there is no room", busy, 0.1, pace.Fastest},
		{"grows", func(s *record.Sample) { busy(s); s.RSSBytes = uint64(s.Time.Sub(start).Seconds()*0.05*limit) + 1 }, 0.5, pace.Fastest},
		{"grows a little", func(s *record.Sample) { busy(s); s.RSSBytes = uint64(s.Time.Sub(start).Seconds() * 0.001 * limit) }, 0.5, pace.Interval},
		{"collects 400 times a second", func(s *record.Sample) { busy(s); s.GCCycles = uint64(400 * s.Time.Sub(start).Seconds()) }, 0.5, 250 * time.Millisecond},
	}
	for _, tt := range tests {
		var m mood
		was, next := at(0, tt.each), pace.Interval
		for now := next; now < 2*time.Minute; now += next {
			is := at(now, tt.each)
			next = pace.next(&m, was, is, &tt.headroom, limit)
			was = is
		}
		if next != tt.want {
			t.Errorf("%s: every %v, want %v", tt.name, next, tt.want)
		}
	}
	pace.Adaptive = false
	if got := pace.next(&mood{}, at(0, nil), at(time.Hour, nil), nil, 0); got != pace.Interval {
		t.Errorf("not adaptive: %v", got)
	}
}

// TestPaceIsBounded: whatever the samples say, and a clock that goes back too.
func TestPaceIsBounded(t *testing.T) {
	pace, r := DefaultSettings().Pace, rand.New(rand.NewPCG(1, 2))
	var m mood
	was := at(0, nil)
	for range 10_000 {
		is := at(time.Duration(r.Int64N(int64(time.Hour))), func(s *record.Sample) {
			s.GCCycles, s.RSSBytes, s.CPUProcUser = r.Uint64(), r.Uint64(), time.Duration(r.Int64())
		})
		h := r.NormFloat64()
		if got := pace.next(&m, was, is, &h, r.Float64()*1e12); got < pace.Fastest || got > pace.Slowest {
			t.Fatalf("every %v", got)
		}
		was = is
	}
}

// TestWindow: an hour of samples leaves what the rules need: the near past whole, the far
// past sparse, nothing older than the span, and histograms at both ends.
func TestWindow(t *testing.T) {
	w := window{span: 10 * time.Minute}
	for i := range 3600 {
		s := at(time.Duration(i)*time.Second, func(s *record.Sample) { s.GCCycles, s.HeapLiveBytes = uint64(i), uint64(i)<<20 })
		s.SchedLatency.Counts[10] = uint64(i)
		w.add(s, i%10 == 0)
		w.addCycles([]record.Cycle{{N: uint64(i)}})
	}
	rec := w.recording(nil)
	first, last := rec.Samples[0], rec.Samples[len(rec.Samples)-1]
	if span := last.Time.Sub(first.Time); span < 9*time.Minute || span > w.span {
		t.Errorf("it spans %v", span)
	}
	if last.GCCycles != 3599 || last.HeapLiveBytes != 3599<<20 {
		t.Errorf("the last is %d", last.GCCycles)
	}
	if n := len(rec.Samples); n < 150 || n > 250 {
		t.Errorf("%d samples", n)
	}
	if n := len(w.whole); n < 4 || n > 8 {
		t.Errorf("%d whole samples", n)
	}
	if len(rec.Cycles) != maxCycles || rec.Cycles[maxCycles-1].N != 3599 {
		t.Errorf("%d cycles", len(rec.Cycles))
	}
	a, b := rec.Ends(record.FieldSchedLatency)
	if a == nil || b == nil || b.Time.Sub(a.Time) < 7*time.Minute || b.SchedLatency.Counts[10] != uint64(b.GCCycles) {
		t.Errorf("histograms from %v to %v", a, b)
	}
	for i := range rec.Samples {
		s := &rec.Samples[i]
		if i > 0 && !s.Time.After(rec.Samples[i-1].Time) {
			t.Fatal("samples do not rise")
		}
		if s.GCCycles != uint64(s.Time.Sub(start)/time.Second) {
			t.Fatalf("sample %d has the numbers of another", i)
		}
	}
}

// TestLean: what a lean sample keeps comes back as it was, and it keeps all but what is wide.
func TestLean(t *testing.T) {
	s := at(time.Second, nil)
	for i, f := range scalars {
		switch p := s.Pointer(f).(type) {
		case *uint64:
			*p = uint64(i) + 1<<63
		case *int64:
			*p = -int64(i)
		case *time.Duration:
			*p = time.Duration(i)
		case *bool:
			*p = true
		}
	}
	s.LastGC, s.LimiterFillRatio = start, 0.5
	var got record.Sample
	l := newLean(s)
	l.sample(&got)
	want := *s
	for _, f := range wide {
		want.Has.Remove(f)
	}
	if got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if n := len(scalars) + len(wide) + 2; n != int(record.NumFields) {
		t.Errorf("of %d fields, %d are kept or left out", record.NumFields, n)
	}
}

// TestWindowClock: a clock that was set back leaves samples that rise.
func TestWindowClock(t *testing.T) {
	w := window{span: 10 * time.Minute}
	for i := range 100 {
		w.add(at(time.Duration(i)*time.Second, nil), i%10 == 0)
	}
	for i := range 20 {
		w.add(at(time.Duration(50+i)*time.Second, nil), true)
	}
	rec := w.recording(nil)
	for i := 1; i < len(rec.Samples); i++ {
		if !rec.Samples[i].Time.After(rec.Samples[i-1].Time) {
			t.Fatal("samples do not rise")
		}
	}
	if last := rec.Samples[len(rec.Samples)-1]; !last.Time.Equal(start.Add(69 * time.Second)) {
		t.Errorf("the last is of %v", last.Time)
	}
}

func TestMemory(t *testing.T) {
	const mib = 1 << 20
	base := func(s *record.Sample) {
		s.HeapMarkedBytes, s.HeapGoalBytes, s.HeapLiveBytes = 50*mib, 100*mib, 70*mib
		s.StackInUseBytes, s.RuntimeOtherBytes = 4*mib, 6*mib
		s.MappedReadyBytes, s.RSSAnonBytes = 100*mib, 120*mib
		s.CgroupLimitBytes = 200 * mib
	}
	tests := []struct {
		name   string
		change func(*record.Sample)
		kind   string
		limit  float64
		left   float64 // MiB
	}{
		{"to the goal", nil, "container", 200, 200 - 100 - 10 - 20},
		{"held back by GOMEMLIMIT", func(s *record.Sample) { s.GOMEMLIMITBytes = 180 * mib }, "container", 200, 200 - 50 - 10 - 20},
		{"GOMEMLIMIT above the container's limit", func(s *record.Sample) { s.GOMEMLIMITBytes = 300 * mib }, "container", 200, 200 - 100 - 10 - 20},
		{"GOGC=off", func(s *record.Sample) { s.HeapGoalBytes = math.MaxUint64 }, "container", 200, -200},
		{"no container", func(s *record.Sample) { s.Has.Remove(record.FieldCgroupLimitBytes) }, "host", 1000, 1000 - 100 - 10 - 20},
		{"no container, GOMEMLIMIT", func(s *record.Sample) { s.Has.Remove(record.FieldCgroupLimitBytes); s.GOMEMLIMITBytes = 150 * mib }, "gomemlimit", 150, 150 - 50 - 10 - 20},
		{"a container larger than the host", func(s *record.Sample) { s.CgroupLimitBytes = 1 << 60 }, "host", 1000, 1000 - 100 - 10 - 20},
	}
	for _, tt := range tests {
		s := at(0, base)
		if tt.change != nil {
			tt.change(s)
		}
		var f figures
		f.memory(s, 1000*mib)
		if f.limitKind != tt.kind || deref(f.limit) != tt.limit*mib || deref(f.headroom) != tt.left*mib {
			t.Errorf("%s: %s of %g MiB, %g left; want %s of %g, %g", tt.name, f.limitKind, deref(f.limit)/mib, deref(f.headroom)/mib, tt.kind, tt.limit, tt.left)
		}
	}
	var f figures
	f.memory(&record.Sample{}, 0)
	if f.limit != nil || f.headroom != nil {
		t.Error("something is known of nothing")
	}
}

func TestRates(t *testing.T) {
	from := at(0, nil)
	to := at(10*time.Second, func(s *record.Sample) {
		s.CPUTotal, s.CPUIdle, s.CPUUser = 20*time.Second, 10*time.Second, 7*time.Second
		s.CPUGCTotal, s.CPUGCAssist, s.CPUGCIdle = 3*time.Second, time.Second, time.Second
		s.GCCycles, s.TotalAllocBytes, s.CPUProcUser = 20, 1000, 5*time.Second
	})
	var f figures
	f.rates(from, to)
	for what, got := range map[string][2]float64{
		"gc": {deref(f.gcCPU), 2.0 / 9}, "assist": {deref(f.assist), 1.0 / 9}, "cycles": {deref(f.cycles), 2},
		"alloc": {deref(f.alloc), 100}, "cpu": {deref(f.cpu), 0.5},
	} {
		if math.Abs(got[0]-got[1]) > 1e-9 {
			t.Errorf("%s: %g, want %g", what, got[0], got[1])
		}
	}
	f.rates(from, at(time.Second, nil))
	if f.gcCPU == nil || *f.gcCPU != 0 {
		t.Errorf("without a cycle: %v", f.gcCPU)
	}
	f.rates(to, from) // another process, or a torn reading
	if f.gcCPU != nil || f.cycles != nil || f.alloc != nil {
		t.Errorf("backwards: %+v", f)
	}
}

func TestSparks(t *testing.T) {
	var k sparks
	for i := range 1000 {
		k.add(at(time.Duration(i)*time.Second, func(s *record.Sample) { s.RSSBytes = uint64(i) }), nil)
	}
	s := k.spark()
	if len(s.RSSBytes) != sparkLength || s.RSSBytes[sparkLength-1] < 985 || s.RSSBytes[0] != s.RSSBytes[sparkLength-1]-10*(sparkLength-1) {
		t.Errorf("%v", s.RSSBytes)
	}
	k.add(at(2000*time.Second, nil), nil)
	if s := k.spark(); len(s.RSSBytes) != sparkLength || !math.IsNaN(s.RSSBytes[sparkLength-2]) {
		t.Errorf("a gap: %v", s.RSSBytes)
	}
	k.add(at(time.Second, nil), nil) // the clock was set back
	if s := k.spark(); !s.End.Equal(start.Add(time.Second)) {
		t.Errorf("it ends at %v", s.End)
	}
}

func TestTrouble(t *testing.T) {
	ratio := func(v float64) *float64 { return &v }
	calm := Process{Up: true, HeadroomRatio: ratio(0.9), LimitKind: "container", GCCPURatio: ratio(0.02), CPUCores: ratio(1)}
	tight, dead := calm, calm
	tight.HeadroomRatio = ratio(0.05)
	dead.Up, dead.HeadroomRatio = false, ratio(0.05)
	if c, x, d := trouble(&calm), trouble(&tight), trouble(&dead); !(c < d && d < x) {
		t.Errorf("calm %g, ended %g, tight %g", c, d, x)
	}
}

func BenchmarkWindowAdd(b *testing.B) {
	w := window{span: 10 * time.Minute}
	s := at(0, nil)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		s.Time = start.Add(time.Duration(i) * time.Second)
		w.add(s, i%10 == 0)
	}
}

// TestGrowth: goroutines are held against those of some minutes ago, and not against those
// of the minute before, in which a leak adds little.
func TestGrowth(t *testing.T) {
	var f figures
	leak := func(now time.Duration) *record.Sample {
		return at(now, func(s *record.Sample) { s.Goroutines = 1000 + int64(now/time.Second)*3 })
	}
	w := window{span: 10 * time.Minute}
	for now := time.Duration(0); now <= 12*time.Minute; now += time.Second {
		s := leak(now)
		w.add(s, false)
		f.goroutineGrowth = nil
		if l := w.before(s.Time, growthOver); l != nil {
			var old record.Sample
			l.sample(&old)
			f.growth(&old, s)
		}
		if now < growthOver && f.goroutineGrowth != nil {
			t.Fatalf("after %v growth is known: %g", now, *f.goroutineGrowth)
		}
	}
	// From 1540 to 3160, give or take the 4 s that old samples lie apart.
	if got := deref(f.goroutineGrowth); math.Abs(got-1.052) > 0.02 {
		t.Errorf("%g", got)
	}
	f.growth(at(0, func(s *record.Sample) { s.Goroutines = 5 }), at(0, func(s *record.Sample) { s.Goroutines = 150 }))
	if got := deref(f.goroutineGrowth); got != 0.5 {
		t.Errorf("of few: %g", got)
	}
}
