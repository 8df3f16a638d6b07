package fault

import (
	"bytes"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"os"
	"regexp"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

const mib = 1 << 20

// patience is how long a test waits for what has to come, on a machine that is busy.
const patience = time.Minute

func newInjector(t *testing.T, o Options) *Injector {
	t.Helper()
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.MaxLease == 0 {
		o.MaxLease = time.Hour
	}
	i := New(o)
	t.Cleanup(func() { i.Close() })
	return i
}

func start(t *testing.T, i *Injector, kind Kind, level float64, size uint64) Fault {
	t.Helper()
	f, err := i.Start(Request{Kind: kind, Level: level, Size: size, Lease: i.o.MaxLease, By: "the test"})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func renew(t *testing.T, i *Injector, id string, level float64) {
	t.Helper()
	if _, err := i.Renew(id, &level, i.o.MaxLease); err != nil {
		t.Fatal(err)
	}
}

func status(t *testing.T, i *Injector, id string) Fault {
	t.Helper()
	for _, f := range i.Status().Active {
		if f.ID == id {
			return f
		}
	}
	t.Fatalf("fault %s is gone", id)
	return Fault{}
}

// eventually waits for something. A sentence says what is not so.
func eventually(t *testing.T, wrong func() string) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(2 * time.Millisecond) {
		s := wrong()
		if s == "" {
			return
		}
		if time.Now().After(end) {
			t.Fatal(s)
		}
	}
}

func reach(t *testing.T, i *Injector, id string, level float64) {
	t.Helper()
	eventually(t, func() string {
		if got := status(t, i, id).Reached; got != level {
			return fmt.Sprintf("level %g is reached, want %g", got, level)
		}
		return ""
	})
}

func goroutines(t *testing.T, want int) {
	t.Helper()
	eventually(t, func() string {
		if got := runtime.NumGoroutine(); got != want {
			return fmt.Sprintf("%d goroutines, want %d", got, want)
		}
		return ""
	})
}

// settled is how many goroutines there are when those of earlier tests have ended.
func settled() int {
	n := runtime.NumGoroutine()
	for same := 0; same < 10; same++ {
		time.Sleep(2 * time.Millisecond)
		if now := runtime.NumGoroutine(); now != n {
			n, same = now, 0
		}
	}
	return n
}

// read is what the runtime says of itself.
func read(name string) float64 {
	s := []metrics.Sample{{Name: name}}
	metrics.Read(s)
	return float64(s[0].Value.Uint64())
}

const (
	objects = "/memory/classes/heap/objects:bytes"
	holes   = "/memory/classes/heap/unused:bytes" // of spans that are in use
	stacks  = "/memory/classes/heap/stacks:bytes"
)

// live is what a metric is without what is garbage.
func live(name string) float64 {
	runtime.GC()
	runtime.GC() // sweeps what the first found
	return read(name)
}

// near says what is wrong with a value that has to be within a share of another, and
// some that the rest of the process moves.
func near(what string, got, want float64) string {
	if d := math.Abs(got - want); d > 0.1*want+2*mib {
		return fmt.Sprintf("%s: %.1f MiB, want %.1f MiB", what, got/mib, want/mib)
	}
	return ""
}

// TestKeeps holds the kinds that keep memory against the runtime's own books: up, half
// of it down, and gone.
func TestKeeps(t *testing.T) {
	tests := []struct {
		kind   Kind
		size   uint64
		unit   uint64 // what it keeps is a multiple of this
		metric string
	}{
		{Retain, 0, 64 << 10, objects},
		{Retain, 1 << 10, 1 << 10, objects},
		{Retain, 3*mib + 1, 3*mib + 8<<10, objects},
		{Pointers, 0, webBytes, objects},
		{Pointers, 16, webBytes, objects},
		{Pointers, 500, webBytes, objects},
		{Large, 0, 4 * mib, objects},
		{Large, 100_000, 13 * 8 << 10, objects},
		{Stacks, 0, 64 << 10, stacks},
		{Stacks, 16 << 10, 16 << 10, stacks},
		{Stacks, 900_000, mib, stacks},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%s of %d", tt.kind, tt.size), func(t *testing.T) {
			i := newInjector(t, Options{MaxBytes: 256 * mib})
			before, herd := live(tt.metric), settled()
			const level = 48*mib + 5
			whole := func(level float64) float64 { return math.Floor(level/float64(tt.unit)) * float64(tt.unit) }
			f := start(t, i, tt.kind, level, tt.size)
			for _, level := range []float64{level, level / 2, level} {
				renew(t, i, f.ID, level)
				reach(t, i, f.ID, whole(level))
				eventually(t, func() string { return near("kept", live(tt.metric)-before, whole(level)) })
			}
			if s := i.Status(); s.Held != level || s.Active[0].Total < uint64(whole(level)) && tt.kind != Stacks {
				t.Errorf("status: %+v", s)
			}
			if err := i.Stop(f.ID, "the test"); err != nil {
				t.Fatal(err)
			}
			if tt.kind == Stacks {
				// They have ended, and who counts them may see the last of them go.
				if got := runtime.NumGoroutine(); got > herd+3 {
					t.Errorf("%d goroutines as Stop returned, %d before", got, herd)
				}
			}
			i.Close()
			goroutines(t, herd)
			eventually(t, func() string { return near("left", live(tt.metric)-before, 0) })
		})
	}
}

// TestFragments holds holes against the runtime's own books: up, up again, half of it
// down, and gone. What the spans take is never more than the level.
func TestFragments(t *testing.T) {
	const level = 48*mib + 5
	for size, levels := range map[uint64][]float64{0: {level / 3, level, level / 2, level}, 16: {level}} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			i := newInjector(t, Options{MaxBytes: 256 * mib})
			inUse := func() float64 { return read(objects) + read(holes) }
			runtime.GC()
			before, spans := live(holes), inUse()
			whole := func(level float64) float64 { return math.Floor(level/spanBytes) * spanBytes }
			f := start(t, i, Fragments, levels[0], size)
			for _, level := range levels {
				renew(t, i, f.ID, level)
				reach(t, i, f.ID, whole(level))
				if got := inUse() - spans; got > 48*mib+5*mib {
					t.Errorf("at %.1f MiB spans of %.1f MiB more than before are in use", level/mib, got/mib)
				}
				// One object stays in each span, and the runtime's marks of all.
				eventually(t, func() string { return near("holes", read(holes)-before, 0.96*whole(level)) })
			}
			if got := status(t, i, f.ID); got.Total < 43*mib { // all of the spans but the runtime's marks
				t.Errorf("%d bytes were allocated", got.Total)
			}
			if s := i.Status(); s.Held != level {
				t.Errorf("status: %+v", s)
			}
			if err := i.Stop(f.ID, "the test"); err != nil {
				t.Fatal(err)
			}
			i.Close()
			eventually(t, func() string { return near("left", live(holes)-before, 0) })
			eventually(t, func() string { return near("left in use", inUse()-spans, 0) })
		})
	}
}

// A level that goes on rising is thinned out meanwhile, and one that falls while its
// spans are full leaves only objects in spans that are counted.
func TestFragmentsMove(t *testing.T) {
	now := time.Unix(1e9, 0)
	f := &fragments{size: 64}
	to := func(spans int, after time.Duration) (wait time.Duration) {
		t.Helper()
		now = now.Add(after)
		for n := 0; ; n++ {
			wait, err := f.step(float64(spans*spanBytes), now)
			if err != nil || n > 1000 {
				t.Fatalf("%d spans of %d, error %v", f.kept.n, spans, err)
			}
			if wait > 0 {
				if f.kept.n != spans || len(f.held) != spans {
					t.Fatalf("%d spans are held, %d counted, want %d", f.kept.n, len(f.held), spans)
				}
				return wait
			}
		}
	}
	if wait := to(500, 0); wait != thinAfter || !f.dense() {
		t.Errorf("as long as it may rise: %v", wait)
	}
	for n := range 9 {
		to(600+100*n, 500*time.Millisecond)
	}
	if !f.dense() {
		t.Error("thinned out before its time")
	}
	to(1500, 500*time.Millisecond) // filled as before, and its time has come
	if f.dense() || f.garbage {
		t.Errorf("a level that goes on rising is never thinned out")
	}
	to(1600, 500*time.Millisecond)
	if wait := to(100, 100*time.Millisecond); wait <= 0 || f.dense() {
		t.Errorf("fallen: %v, with objects in spans that are gone", wait)
	}
	if wait := to(100, thinAfter); wait != never || f.garbage {
		t.Errorf("a second later: %v, garbage %t", wait, f.garbage)
	}
	if to(0, thinAfter) != never || f.release() != 1600*spanBytes || f.kept.n != 0 {
		t.Errorf("%d spans after the end", f.kept.n)
	}
}

// TestOffHeap is true by what the kernel says, and is not in the runtime's books.
func TestOffHeap(t *testing.T) {
	if !canMap {
		if _, err := newInjector(t, Options{}).Start(Request{Kind: OffHeap, Level: 1, By: "x"}); !errors.Is(err, ErrUnsupported) {
			t.Errorf("error %v", err)
		}
		return
	}
	i := newInjector(t, Options{MaxBytes: 256 * mib})
	const of = "/memory/classes/total:bytes"
	kernel := func() float64 {
		text, err := os.ReadFile("/proc/self/status")
		if err != nil {
			t.Skip("no /proc/self/status to say how much is resident")
		}
		m := regexp.MustCompile(`(?m)^VmRSS:\s+(\d+) kB`).FindSubmatch(text)
		kb, err := strconv.Atoi(string(m[1]))
		if err != nil {
			t.Fatal(err)
		}
		return float64(kb) * 1024
	}
	debug.FreeOSMemory()
	before, runtimes := kernel(), read(of)
	f := start(t, i, OffHeap, 96*mib+1, 0)
	for _, level := range []float64{96 * mib, 32 * mib, 64 * mib} {
		renew(t, i, f.ID, level+1)
		reach(t, i, f.ID, level)
		if got := kernel() - before; math.Abs(got-level) > 16*mib {
			t.Errorf("%.0f MiB are resident beside before, want %.0f", got/mib, level/mib)
		}
	}
	if got := read(of) - runtimes; got > 16*mib {
		t.Errorf("the runtime knows of %.0f MiB", got/mib)
	}
	if err := i.Stop(f.ID, "the test"); err != nil {
		t.Fatal(err)
	}
	if got := kernel() - before; got > 16*mib {
		t.Errorf("%.0f MiB are left", got/mib)
	}
	if s := i.Status(); s.Returning != 0 {
		t.Errorf("the runtime is to give back what it never had: %+v", s)
	}
}

func TestGoroutines(t *testing.T) {
	before := settled()
	i := newInjector(t, Options{MaxBytes: 256 * mib, MaxGoroutines: 5000})
	f := start(t, i, Goroutines, 1000, 0)
	for _, level := range []int{1000, 5000, 17, 0, 3} {
		renew(t, i, f.ID, float64(level))
		reach(t, i, f.ID, float64(level))
		goroutines(t, before+1+level) // one of them is the fault's own
	}
	if got := status(t, i, f.ID).Total; got != 5003 {
		t.Errorf("%d were started, want 5003", got)
	}
	if n := i.StopAll("the test"); n != 1 {
		t.Errorf("%d faults were stopped", n)
	}
	i.Close()
	goroutines(t, before)
}

// A rate is kept, as far as the machine can, and never exceeded.
func TestChurn(t *testing.T) {
	for _, size := range []uint64{0, 48, 3 * mib} {
		t.Run(fmt.Sprint(size), func(t *testing.T) {
			const allocs = "/gc/heap/allocs:bytes"
			i := newInjector(t, Options{})
			const rate = 64 * mib
			before, begin := read(allocs), time.Now()
			f := start(t, i, Churn, rate, size)
			eventually(t, func() string {
				if got := status(t, i, f.ID); got.Total < rate/2 || got.Reached == 0 {
					return fmt.Sprintf("only %d bytes in %v, a rate of %g", got.Total, time.Since(begin), got.Reached)
				}
				return ""
			})
			said := float64(status(t, i, f.ID).Total)
			got, most := read(allocs)-before, rate*time.Since(begin).Seconds()+8*mib
			if got < 0.9*said || got > most {
				t.Errorf("%.0f MiB were allocated, at most %.0f are due; it says %.0f", got/mib, most/mib, said/mib)
			}
			renew(t, i, f.ID, 0)
			eventually(t, func() string {
				if got := status(t, i, f.ID).Reached; got != 0 {
					return fmt.Sprintf("a rate of %g is reached where 0 is asked for", got)
				}
				return ""
			})
			if n := i.StopAll("the test"); n != 1 || i.Status().Returning != 0 {
				t.Errorf("%d stopped, then %+v", n, i.Status())
			}
		})
	}
}

func TestForcedGC(t *testing.T) {
	const cycles = "/gc/cycles/forced:gc-cycles"
	i := newInjector(t, Options{})
	before, begin := read(cycles), time.Now()
	f, err := i.Start(Request{Kind: ForcedGC, Every: 50 * time.Millisecond, By: "the test"})
	if err != nil || f.Level != 20 {
		t.Fatalf("%+v, error %v", f, err)
	}
	renew(t, i, f.ID, 20)
	eventually(t, func() string {
		if n := status(t, i, f.ID).Total; n < 10 {
			return fmt.Sprintf("%d collections in %v", n, time.Since(begin))
		}
		return ""
	})
	most := 20*time.Since(begin).Seconds() + 2
	if err := i.Stop(f.ID, "the test"); err != nil {
		t.Fatal(err)
	}
	if got := read(cycles) - before; got < 10 || got > most {
		t.Errorf("%g collections, want 10 to %g", got, most)
	}
}

// TestForcedGCCount forces so many collections, and no more.
func TestForcedGCCount(t *testing.T) {
	const cycles = "/gc/cycles/forced:gc-cycles"
	i := newInjector(t, Options{})
	before := read(cycles)
	f, err := i.Start(Request{Kind: ForcedGC, Every: 20 * time.Millisecond, Count: 7, Lease: time.Hour, By: "the test"})
	if err != nil || f.Count != 7 {
		t.Fatalf("%+v, error %v", f, err)
	}
	eventually(t, func() string {
		if f := status(t, i, f.ID); f.Total != 7 || f.Reached != 0 {
			return fmt.Sprintf("%d collections, a rate of %g", f.Total, f.Reached)
		}
		return ""
	})
	renew(t, i, f.ID, 50)
	time.Sleep(100 * time.Millisecond)
	if got := read(cycles) - before; got != 7 {
		t.Errorf("%g collections, want 7", got)
	}
}

func TestFinalizers(t *testing.T) {
	i := newInjector(t, Options{MaxBytes: 256 * mib})
	before := live(objects)
	begin := time.Now()
	f := start(t, i, Finalizers, 20_000, 256)
	effect := i.active[0].effect.(*finalizers)
	eventually(t, func() string {
		if n := status(t, i, f.ID).Total; n < 10_000 {
			return fmt.Sprintf("%d objects in %v", n, time.Since(begin))
		}
		return ""
	})
	if got, most := float64(effect.ghosts.made.Load()), 20_000*(time.Since(begin).Seconds()+slack.Seconds()); got > most {
		t.Errorf("%.0f objects, at most %.0f are due", got, most)
	}
	// With so many that none more may wait, it collects by itself.
	renew(t, i, f.ID, 500)
	eventually(t, func() string {
		if made, gone := effect.ghosts.made.Load(), effect.ghosts.gone.Load(); gone == 0 {
			return fmt.Sprintf("of %d objects no finalizer ran", made)
		}
		return ""
	})
	if err := i.Stop(f.ID, "the test"); err != nil {
		t.Fatal(err)
	}
	i.Close()
	if made, gone := effect.ghosts.made.Load(), effect.ghosts.gone.Load(); made != gone {
		t.Errorf("%d objects were made, and %d finalizers ran", made, gone)
	}
	eventually(t, func() string { return near("left", live(objects)-before, 0) })
}

// What waits for its finalizer counts for the bounds also when the rate is lowered: with
// one fault after the other at nothing, all the memory would be to be had.
func TestFinalizersThatWait(t *testing.T) {
	defer debug.SetGCPercent(debug.SetGCPercent(-1))
	i := newInjector(t, Options{MaxBytes: 256 * mib})
	f := start(t, i, Finalizers, 10_000, 1<<10)
	eventually(t, func() string {
		if n := status(t, i, f.ID).Total; n < 15_000 {
			return fmt.Sprintf("%d objects", n)
		}
		return ""
	})
	renew(t, i, f.ID, 0)
	if got, want := float64(i.Status().Held), float64(15_000*(ghostBytes+1<<10)); got < want {
		t.Errorf("%.0f bytes are held, and %.0f wait for their finalizers", got, want)
	}
}

// Faults that end together cost one collection, and the pages go back to the system.
func TestGivesBackOnce(t *testing.T) {
	i := newInjector(t, Options{MaxBytes: 256 * mib})
	debug.FreeOSMemory()
	const cycles, free = "/gc/cycles/forced:gc-cycles", "/memory/classes/heap/free:bytes"
	for _, k := range []Kind{Retain, Pointers, Large} {
		f := start(t, i, k, 32*mib, 0)
		reach(t, i, f.ID, 32*mib)
	}
	before := read(cycles)
	if n := i.StopAll("the test"); n != 3 {
		t.Errorf("%d were stopped", n)
	}
	i.Close()
	if got := read(cycles) - before; got != 1 {
		t.Errorf("%g collections were forced, want 1", got)
	}
	if got := read(free); got > 16*mib {
		t.Errorf("%.0f MiB are free and not given back", got/mib)
	}
	if s := i.Status(); s.Returning != 0 || !s.Closed || len(s.Active) != 0 {
		t.Errorf("status %+v", s)
	}
}

func TestRefused(t *testing.T) {
	i := newInjector(t, Options{MaxLease: time.Minute, MaxBytes: 64 * mib, MaxGoroutines: 100})
	good := Request{Kind: Retain, Level: 1, By: "ada"}
	tests := []struct {
		name  string
		edit  func(*Request)
		field string
	}{
		{"no kind", func(r *Request) { r.Kind = "" }, "kind"},
		{"another kind", func(r *Request) { r.Kind = "heap.Retain" }, "kind"},
		{"NaN", func(r *Request) { r.Level = math.NaN() }, "level"},
		{"infinite", func(r *Request) { r.Level = math.Inf(1) }, "level"},
		{"negative", func(r *Request) { r.Level = -1 }, "level"},
		{"a rate beyond all", func(r *Request) { r.Kind, r.Level = Churn, 1e300 }, "level"},
		{"too many collections", func(r *Request) { r.Kind, r.Every = ForcedGC, time.Millisecond; r.Level = 0 }, "level"},
		{"every and a level", func(r *Request) { r.Kind, r.Every = ForcedGC, time.Second }, "every_seconds"},
		{"every of another", func(r *Request) { r.Every = time.Second }, "every_seconds"},
		{"every negative", func(r *Request) { r.Kind, r.Every = ForcedGC, -1; r.Level = 0 }, "every_seconds"},
		{"a count of another", func(r *Request) { r.Count = 1 }, "count"},
		{"small", func(r *Request) { r.Size = 1 }, "size_bytes"},
		{"large", func(r *Request) { r.Size = math.MaxUint64 }, "size_bytes"},
		{"a size of goroutines", func(r *Request) { r.Kind, r.Size = Goroutines, 4096 }, "size_bytes"},
		{"a short lease", func(r *Request) { r.Lease = time.Millisecond }, "lease_seconds"},
		{"a negative lease", func(r *Request) { r.Lease = -time.Second }, "lease_seconds"},
		{"a long lease", func(r *Request) { r.Lease = time.Minute + 1 }, "lease_seconds"},
		{"nobody", func(r *Request) { r.By = "" }, "by"},
		{"a long name", func(r *Request) { r.By = strings.Repeat("a", maxBy+1) }, "by"},
		{"a name of two lines", func(r *Request) { r.By = "a\nb" }, "by"},
	}
	for _, tt := range tests {
		r := good
		tt.edit(&r)
		_, err := i.Start(r)
		if e := new(RequestError); !errors.As(err, &e) || e.Field != tt.field {
			t.Errorf("%s: error %v, want one of %s", tt.name, err, tt.field)
		}
	}
	bounds := []struct {
		kind  Kind
		level float64
		size  uint64
		what  string
	}{
		{Retain, 64*mib + 1, 0, "bytes"},
		{OffHeap, 1e300, 0, "bytes"},
		{Stacks, 101 * 64 << 10, 0, "goroutines"},
		{Goroutines, 101, 0, "goroutines"},
		{Finalizers, 1e6, 0, "bytes"},
	}
	for _, tt := range bounds {
		_, err := i.Start(Request{Kind: tt.kind, Level: tt.level, Size: tt.size, By: "ada"})
		if e := new(BoundError); !errors.As(err, &e) || e.What != tt.what {
			t.Errorf("%g of %s: error %v", tt.level, tt.kind, err)
		}
	}
	if s := i.Status(); len(s.Active) != 0 || s.Held != 0 {
		t.Fatalf("what was refused is there: %+v", s)
	}

	// Beside others, and as another level.
	a, b := start(t, i, Retain, 40*mib, 0), start(t, i, Goroutines, 60, 0)
	reach(t, i, a.ID, 40*mib)
	for _, tt := range []struct {
		id    string
		level float64
		ok    bool
	}{{a.ID, 64 * mib, false}, {a.ID, 50 * mib, true}, {a.ID, math.NaN(), false}, {a.ID, -1, false}, {a.ID, 30 * mib, true}, {b.ID, 101, false}, {b.ID, 100, true}, {"nobody", 1, false}, {"", 1, false}} {
		if _, err := i.Renew(tt.id, &tt.level, 0); (err == nil) != tt.ok {
			t.Errorf("level %g of %s: error %v", tt.level, tt.id, err)
		}
	}
	if _, err := i.Renew(a.ID, nil, 2*time.Minute); !errors.As(err, new(*RequestError)) {
		t.Errorf("a long lease: error %v", err)
	}
	if f := status(t, i, a.ID); f.Level != 30*mib {
		t.Errorf("its level is %g", f.Level)
	}
	for range maxActive - 2 {
		start(t, i, Churn, 0, 0)
	}
	if _, err := i.Start(Request{Kind: Churn, By: "ada"}); !errors.As(err, new(*BoundError)) {
		t.Errorf("fault %d: error %v", maxActive+1, err)
	}
	if err := i.Stop("nobody", "ada"); !errors.Is(err, ErrUnknown) {
		t.Errorf("Stop of what is not there: error %v", err)
	}
	i.Close()
	i.Close()
	if _, err := i.Start(good); !errors.Is(err, ErrClosed) {
		t.Errorf("Start after Close: error %v", err)
	}
	if _, err := i.Renew(a.ID, nil, 0); !errors.Is(err, ErrUnknown) {
		t.Errorf("Renew after Close: error %v", err)
	}
}

// The bound of bytes is of the limit as it is, and may be lowered below what there is.
func TestMaxBytes(t *testing.T) {
	limit := uint64(0)
	i := newInjector(t, Options{Limit: func() uint64 { return limit }})
	most := func(want uint64) {
		t.Helper()
		if got := i.Status().MaxBytes; got != want {
			t.Errorf("at most %d bytes, want %d", got, want)
		}
	}
	most(fallbackBytes)
	defer debug.SetMemoryLimit(debug.SetMemoryLimit(800 * mib))
	most(200 * mib)
	limit = 40 * mib
	most(10 * mib)
	f := start(t, i, Retain, 10*mib, 0)
	limit = 20 * mib
	renew(t, i, f.ID, 8*mib) // less than it was
	if level := 9.0 * mib; true {
		if _, err := i.Renew(f.ID, &level, 0); !errors.As(err, new(*BoundError)) {
			t.Errorf("more than may be: error %v", err)
		}
	}
}

func TestKinds(t *testing.T) {
	for _, k := range Kinds() {
		if k.Unit() == "" {
			t.Errorf("%s has no unit", k)
		}
	}
	if Kind("x").Unit() != "" || len(Kinds()) != 10 {
		t.Errorf("kinds %v", Kinds())
	}
}

// TestLog has one line when a fault begins and one when it ends.
func TestLog(t *testing.T) {
	var log bytes.Buffer
	i := newInjector(t, Options{Logger: slog.New(slog.NewTextHandler(&log, nil))})
	f, err := i.Start(Request{Kind: Goroutines, Level: 3, By: "ada", From: "192.0.2.1:7"})
	if err != nil {
		t.Fatal(err)
	}
	for n := range 20 {
		renew(t, i, f.ID, float64(n))
	}
	if err := i.Stop(f.ID, "bob"); err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(log.String(), "\n"); n != 2 {
		t.Errorf("%d lines, want 2", n)
	}
	for _, want := range []string{"fault begins", "fault ended", "highest=19", "kind=goroutines", "by=ada", "from=192.0.2.1:7", `why="stopped by bob"`, "id=" + f.ID} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log does not say %q:\n%s", want, &log)
		}
	}
}

// TestAtOnce has many do everything at the same time, for the race detector, and then
// nothing is left.
func TestAtOnce(t *testing.T) {
	before := settled()
	i := newInjector(t, Options{MaxBytes: 32 * mib, MaxGoroutines: 500})
	var all sync.WaitGroup
	for n := range 8 {
		all.Add(1)
		go func() {
			defer all.Done()
			for round := range 25 {
				k := Kinds()[(n+round)%len(Kinds())]
				level := map[Unit]float64{Bytes: mib, BytesPerSecond: 8 * mib, Count: 50, CountPerSecond: 5}[k.Unit()]
				f, err := i.Start(Request{Kind: k, Level: level, Lease: 100 * time.Millisecond, By: "the test"})
				if err != nil {
					if !errors.As(err, new(*BoundError)) && !errors.Is(err, ErrUnsupported) {
						t.Error(err)
					}
					continue
				}
				level *= 2
				if _, err := i.Renew(f.ID, &level, 0); err != nil && !errors.Is(err, ErrUnknown) && !errors.As(err, new(*BoundError)) {
					t.Error(err)
				}
				i.Status()
				if round%3 != 0 { // the others end with their lease, or with Close
					if err := i.Stop(f.ID, "the test"); err != nil && !errors.Is(err, ErrUnknown) {
						t.Error(err)
					}
				}
			}
		}()
	}
	all.Wait()
	i.Close()
	if s := i.Status(); len(s.Active) != 0 || s.Returning != 0 {
		t.Errorf("left: %+v", s)
	}
	goroutines(t, before)
}

// TestIdle has an Injector that nobody asks for anything.
func TestIdle(t *testing.T) {
	before := settled()
	var i *Injector
	if n := testing.AllocsPerRun(100, func() { i = New(Options{}) }); n > 1 {
		t.Errorf("New allocates %g times", n)
	}
	if runtime.NumGoroutine() != before {
		t.Error("New starts a goroutine")
	}
	if err := i.Close(); err != nil {
		t.Error(err)
	}
}

// BenchmarkIdle is work of a service with an Injector and without: they are the same.
func BenchmarkIdle(b *testing.B) {
	work := func(b *testing.B) {
		b.ReportAllocs()
		var kept [64]*[256]byte
		for n := 0; b.Loop(); n++ {
			kept[n%64] = new([256]byte)
		}
		runtime.KeepAlive(kept)
	}
	b.Run("without", work)
	b.Run("with", func(b *testing.B) {
		i := New(Options{})
		defer i.Close()
		work(b)
	})
}

func ExampleInjector() {
	faults := New(Options{MaxBytes: 64 << 20, Logger: slog.New(slog.DiscardHandler)})
	defer faults.Close()
	f, err := faults.Start(Request{Kind: Retain, Level: 16 << 20, Lease: 30 * time.Second, By: "the example"})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(f.Kind, f.Level, f.Unit)
	_, err = faults.Start(Request{Kind: OffHeap, Level: 60 << 20, By: "the example"})
	fmt.Println(err != nil)
	fmt.Println(faults.Stop(f.ID, "the example"))
	// Output:
	// heap.retain 1.6777216e+07 bytes
	// true
	// <nil>
}
