package sli

import (
	"math"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/heapwright/heapwright/record"
)

// add puts a Point into the ring as a Source would.
func (r *Ring) add(at time.Duration, change func(*Point)) {
	*r.next() = *point(at, change)
}

func TestRingBounds(t *testing.T) {
	if size := reflect.TypeFor[Point]().Size() * maxPoints; size > 4<<20 {
		t.Errorf("a full ring has %d bytes", size)
	}
	for _, n := range []int{-1, 0, 8, 100, 1 << 30} {
		if got := len(NewRing(n, time.Hour).slots); got < minPoints || got > maxPoints {
			t.Errorf("%d points asked for, %d made", n, got)
		}
	}
}

func TestRingEmpty(t *testing.T) {
	r := NewRing(8, time.Hour)
	if r.Last() != nil || r.Before(epoch, 0) != nil || r.Samples(time.Hour) != nil {
		t.Error("an empty ring has Points")
	}
	if _, ok := r.Window(time.Minute); ok {
		t.Error("an empty ring has a window")
	}
	r.add(0, nil)
	if _, ok := r.Window(time.Minute); ok || r.Before(epoch, time.Second) != nil || r.Last() == nil {
		t.Error("one Point makes a window")
	}
}

// As a guard reads, an hour's windows are as long as was asked for, give or take some percent.
func TestRingThinsOut(t *testing.T) {
	const longest = time.Hour
	rng := rand.New(rand.NewPCG(5, 6))
	r := NewRing(256, longest)
	at := time.Duration(0)
	for i := range 3 * 3600 {
		at += time.Second + time.Duration(rng.IntN(2e8)) // a timer that is late
		r.add(at, func(p *Point) { p.GCCycles = uint64(i) })
		if i%500 != 0 || at < longest+time.Minute {
			continue
		}
		for window := time.Second; window <= longest; window *= 2 {
			reading, ok := r.Window(window)
			if most := window + window/10 + 3*time.Second; !ok || reading.Window < window || reading.Window > most {
				t.Errorf("after %v: a window of %v is %v, %t", at, window, reading.Window, ok)
			}
		}
		if reading, _ := r.Window(longest); reading.Window < longest {
			t.Errorf("after %v: the longest window is %v", at, reading.Window)
		}
	}
	for i := 1; i < len(r.order); i++ {
		if !r.point(i).Time.After(r.point(i - 1).Time) {
			t.Fatal("not in the order of time")
		}
	}
	seen := map[int]bool{}
	for _, slot := range r.order {
		seen[slot] = true
	}
	if len(seen) != 256 {
		t.Errorf("%d slots are in use", len(seen))
	}
}

// Before it is full, and with a clock that stands or goes backwards, there is an answer and no
// window of negative length.
func TestRingHostileClock(t *testing.T) {
	rng := rand.New(rand.NewPCG(7, 8))
	r := NewRing(8, time.Minute)
	for range 1000 {
		r.add(time.Duration(rng.Int64N(int64(time.Minute))), nil)
		if reading, ok := r.Window(time.Duration(rng.Int64N(int64(time.Minute)))); ok && reading.Window <= 0 {
			t.Fatalf("window of %v", reading.Window)
		}
		r.Samples(time.Minute)
	}
	r = NewRing(8, time.Minute)
	for range 20 {
		r.add(0, nil)
	}
	if _, ok := r.Window(0); ok {
		t.Error("there is a window without time")
	}
}

func TestRingBefore(t *testing.T) {
	r := NewRing(8, time.Hour)
	for i := range 5 {
		r.add(time.Duration(i)*time.Second, nil)
	}
	now := epoch.Add(4 * time.Second)
	for _, tt := range []struct{ window, want time.Duration }{
		{0, 3 * time.Second}, {time.Second, 3 * time.Second}, {1500 * time.Millisecond, 2 * time.Second},
		{4 * time.Second, 0}, {time.Hour, 0}, {-time.Hour, 3 * time.Second},
	} {
		if p := r.Before(now, tt.window); p == nil || !p.Time.Equal(epoch.Add(tt.want)) {
			t.Errorf("%v before: %v, want %v", tt.window, p, tt.want)
		}
	}
	if s := r.Samples(2 * time.Second); len(s) != 3 || !s[0].Time.Equal(epoch.Add(2*time.Second)) {
		t.Errorf("%d samples of the last two seconds", len(s))
	}
}

func TestTimeToFull(t *testing.T) {
	const mib = 1 << 20
	rng := rand.New(rand.NewPCG(9, 10))
	noise := func(of float64) float64 { return (rng.Float64()*2 - 1) * of }
	run := func(n int, live func(seconds float64) float64, cycle func(i int) bool, limit uint64) (float64, bool) {
		r := NewRing(200, time.Hour)
		cycles := uint64(1)
		marked := uint64(live(0))
		for i := range n {
			if cycle(i) {
				cycles++
				marked = uint64(live(float64(i)))
			}
			r.add(time.Duration(i)*time.Second, func(p *Point) {
				p.GCCycles, p.HeapMarkedBytes, p.HeapObjectsBytes, p.MappedReadyBytes = cycles, marked, marked, marked
				p.GroupLimitBytes, p.GroupPinnedBytes = limit, marked
			})
		}
		reading, ok := r.Window(time.Hour)
		if !ok {
			t.Fatal("no window")
		}
		return reading.Get(TimeToFull)
	}
	each := func(int) bool { return true }
	leak := func(s float64) float64 { return 100*mib + s*mib + noise(2*mib) }

	// After 100 s: 200 MiB of 300, a MiB more each second.
	if got, ok := run(101, leak, each, 300*mib); !ok || math.Abs(got-100) > 5 {
		t.Errorf("a leak: %v, %t; want 100 s", got, ok)
	}
	// Few cycles, and more of them than a slope is computed from.
	if got, ok := run(101, leak, func(i int) bool { return i%7 == 0 }, 300*mib); !ok || math.Abs(got-100) > 10 {
		t.Errorf("a leak seen in few cycles: %v, %t; want 100 s", got, ok)
	}
	// Outliers: a batch job in one cycle of ten.
	if got, ok := run(101, func(s float64) float64 {
		if int(s)%10 == 3 {
			return 1000 * mib
		}
		return leak(s)
	}, each, 300*mib); !ok || math.Abs(got-100) > 15 {
		t.Errorf("a leak with outliers: %v, %t; want 100 s", got, ok)
	}
	if got, ok := run(301, leak, each, 300*mib); !ok || got != 0 {
		t.Errorf("over the limit: %v, %t; want 0", got, ok)
	}
	if got, ok := run(101, leak, each, 0); ok {
		t.Errorf("without a limit: %v", got)
	}
	if got, ok := run(101, leak, func(i int) bool { return i < 5 }, 300*mib); ok {
		t.Errorf("from five cycles: %v", got)
	}
	if got, ok := run(101, leak, func(int) bool { return false }, 300*mib); ok {
		t.Errorf("without a cycle: %v", got)
	}
	if got, ok := run(101, func(s float64) float64 { return 500*mib - s*mib }, each, 300*mib); ok {
		t.Errorf("a heap that shrinks: %v", got)
	}
	if got, ok := run(101, func(float64) float64 { return 100 * mib }, each, 300*mib); ok {
		t.Errorf("a heap that stays: %v", got)
	}
	wrong := 0
	for range 300 {
		if _, ok := run(12, func(float64) float64 { return 100*mib + noise(20*mib) }, each, 300*mib); ok {
			wrong++
		}
	}
	if wrong > 6 {
		t.Errorf("%d of 300 heaps that come and go are said to grow", wrong)
	}
}

// Copies of samples are good when the ring goes on.
func TestSamplesAreCopies(t *testing.T) {
	r := NewRing(8, time.Minute)
	for i := range 8 {
		r.add(time.Duration(i)*time.Second, nil)
	}
	s := r.Samples(time.Hour)
	for i := range 8 {
		r.add(time.Duration(10+i)*time.Second, func(p *Point) { p.Has = record.FieldSet{} })
	}
	for i := range s {
		if !s[i].Time.Equal(epoch.Add(time.Duration(i)*time.Second)) || !s[i].Has.Has(0) {
			t.Fatalf("sample %d changed", i)
		}
	}
}
