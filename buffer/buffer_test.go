package buffer

import (
	"bytes"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"
	"weak"

	"github.com/heapwright/heapwright/metric"
)

func TestClasses(t *testing.T) {
	for _, o := range []Options{{}, {MinSize: 64, MaxSize: 64}, {MinSize: 100, MaxSize: 5000}, {MinSize: 1 << 20, MaxSize: 1 << 10}} {
		p := NewPool(o)
		for i, size := range p.sizes {
			if i > 0 && size <= p.sizes[i-1] {
				t.Errorf("%+v: sizes %d do not ascend", o, p.sizes)
			}
		}
		for n := 0; n <= min(p.maxLen, 1<<16)+1; n++ {
			want := -1
			for i, size := range p.sizes {
				if n <= size {
					want = i
					break
				}
			}
			if got := p.class(n); got != want {
				t.Fatalf("%+v: class of %d bytes is %d, want %d of %d", o, n, got, want, p.sizes)
			}
		}
		if p.class(p.maxLen) != len(p.sizes)-1 || p.class(p.maxLen+1) != -1 {
			t.Errorf("%+v: the greatest class is not %d", o, p.maxLen)
		}
	}
}

func TestOptionsOfAnySize(t *testing.T) {
	for _, n := range []int{math.MinInt, -1, 0, 1, math.MaxInt / 2, math.MaxInt} {
		p := NewPool(Options{MinSize: n, MaxSize: n, RetainBytes: int64(n), LeaseTimeout: time.Duration(n), SampleEvery: n})
		for _, level := range []float64{0.5, 0} {
			if p.SetPressure(level); p.Stats().RetainLimit < 0 {
				t.Errorf("options of %d: at most %d bytes under a pressure of %g", n, p.Stats().RetainLimit, level)
			}
		}
		checkCredit(t, p)
		for _, size := range []int{-1, 0, 1, 4096} {
			l := p.Get(size)
			if len(l.Bytes()) != max(size, 0) {
				t.Errorf("options of %d: %d bytes, want %d", n, len(l.Bytes()), size)
			}
			if n <= 1<<20 { // the buffers of the least class are a gigabyte otherwise
				l.Release()
			}
			if n > 1<<20 {
				break
			}
		}
	}
}

// ofShards returns a pool of so many shards, whatever the machine has: with one, what
// was released is what is got next. It decays when the test says so, and not also when
// the test's memory is collected.
func ofShards(n int, o Options) *Pool {
	p := newPool(o)
	p.shards = p.shards[:1]
	for len(p.shards) < n {
		p.shards = append(p.shards, &shard{classes: make([]stack, len(p.sizes)), sampleIn: p.every})
	}
	return p
}

func TestReuse(t *testing.T) {
	p := ofShards(1, Options{})
	l := p.Get(1000)
	b := l.Bytes()
	l.Release()
	again := p.Get(700)
	defer again.Release()
	if st := p.Stats(); st.Gets != 2 || st.Misses != 2 || st.Hits != 0 {
		t.Errorf("700 bytes came from the class of 1000: %+v", st)
	}
	same := p.Get(1024)
	if st := p.Stats(); &same.Bytes()[0] != &b[0] || st.Hits != 1 || st.Out != 2 {
		t.Errorf("the buffer was not used again: %+v", st)
	}
	same.Release()
	large := p.Get(DefaultMaxSize + 1)
	large.Release()
	if st := p.Stats(); st.RetainedBytes != 1024 || st.Discards != 1 {
		t.Errorf("what is too large was kept: %+v", st)
	}
	var none Lease
	none.Release()
	none.Release()
	if len(none.Bytes()) != 0 {
		t.Error("the zero lease has bytes")
	}
}

func TestWriteAndResize(t *testing.T) {
	p := NewPool(Options{MinSize: 64, MaxSize: 4096})
	l := p.Get(0)
	var want bytes.Buffer
	for i := range 3000 {
		s := fmt.Sprintf("%d,", i)
		want.WriteString(s)
		if n, err := io.WriteString(&l, s); n != len(s) || err != nil {
			t.Fatalf("wrote %d, %v", n, err)
		}
	}
	if !bytes.Equal(l.Bytes(), want.Bytes()) {
		t.Error("the buffer lost something when it grew")
	}
	l.Resize(40)
	own := string(l.Bytes())
	for range 9 {
		if _, err := l.Write(l.Bytes()); err != nil { // moves, from bytes that it leaves
			t.Fatal(err)
		}
	}
	if string(l.Bytes()) != strings.Repeat(own, 512) {
		t.Error("appending a buffer to itself lost something")
	}
	l.Resize(10)
	l.Resize(-1)
	if len(l.Bytes()) != 0 {
		t.Errorf("%d bytes after a negative size", len(l.Bytes()))
	}
	l.Release()
	if st := p.Stats(); st.Out != 0 || st.Releases != st.Gets {
		t.Errorf("growing left leases behind: %+v", st)
	}
	var zero Lease
	fmt.Fprint(&zero, "abc")
	if string(zero.Bytes()) != "abc" {
		t.Errorf("the zero lease has %q", zero.Bytes())
	}
	zero.Release()
}

// TestExclusive has goroutines write to what they hold, and look whether somebody
// else did.
func TestExclusive(t *testing.T) {
	p := NewPool(Options{RetainBytes: 1 << 16, SampleEvery: 7})
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			rng := rand.New(rand.NewPCG(uint64(g), 1))
			var held [4]Lease
			for i := range 500 {
				k := rng.IntN(len(held))
				for _, b := range held[k].Bytes() {
					if b != byte(g) {
						t.Errorf("goroutine %d found a byte of %d", g, b)
						return
					}
				}
				held[k].Release()
				held[k] = p.Get(1 + rng.IntN(2000))
				for j := range held[k].Bytes() {
					held[k].Bytes()[j] = byte(g)
				}
				if i%100 == 0 {
					p.SetPressure(rng.Float64())
				}
			}
			for i := range held {
				held[i].Release()
			}
		}()
	}
	wg.Wait()
	if st := p.Stats(); st.Out != 0 || st.DoubleReleases != 0 || st.Gets != st.Hits+st.Misses {
		t.Errorf("books do not balance: %+v", st)
	}
	checkCredit(t, p)
}

// checkCredit tests the invariant that the bound rests on. Nothing else may use p.
func checkCredit(t *testing.T, p *Pool) {
	t.Helper()
	sum := p.credit.Load()
	for _, s := range p.shards {
		retained := int64(0)
		for _, st := range s.classes {
			for _, b := range st.free {
				retained += int64(len(b.mem))
			}
		}
		if retained != s.retained || s.credit < 0 {
			t.Errorf("a shard has %d bytes, and says %d with a credit of %d", retained, s.retained, s.credit)
		}
		sum += s.retained + s.credit
	}
	if sum != p.pressure.limit {
		t.Errorf("credit and retained are %d, the limit is %d", sum, p.pressure.limit)
	}
}

// TestBound: never more idle bytes than the bound, at any time, whatever happens.
func TestBound(t *testing.T) {
	for seed := range uint64(15) {
		rng := rand.New(rand.NewPCG(seed, 2))
		bound := int64(rng.IntN(1 << 20))
		p := NewPool(Options{MinSize: 64, MaxSize: 1 << 17, RetainBytes: bound})
		limit := bound
		if bound == 0 {
			limit = DefaultRetainBytes
		}
		var out []Lease
		for range 1500 {
			switch op := rng.IntN(100); {
			case op < 48:
				out = append(out, p.Get(rng.IntN(1<<rng.IntN(18))))
			case op < 94 && len(out) > 0:
				i := rng.IntN(len(out))
				out[i].Release()
				out[i] = out[len(out)-1]
				out = out[:len(out)-1]
			case op < 96:
				level := rng.Float64()*1.4 - 0.2
				p.SetPressure(level)
				limit = int64(math.Floor(float64(p.retain) * (1 - min(max(level, 0), 1))))
			case op < 97:
				p.Trim()
			case op < 99:
				p.decay()
			}
			if st := p.Stats(); st.RetainedBytes > limit || st.RetainLimit != limit {
				t.Fatalf("seed %d: %d bytes are idle, the bound is %d (says %d)", seed, st.RetainedBytes, limit, st.RetainLimit)
			}
		}
		checkCredit(t, p)
		for i := range out {
			out[i].Release()
		}
		p.SetPressure(1)
		if st := p.Stats(); st.RetainedBytes != 0 || st.Out != 0 {
			t.Fatalf("seed %d: %d bytes are idle under full pressure, %d leases out", seed, st.RetainedBytes, st.Out)
		}
		checkCredit(t, p)
	}
}

// TestBoundConcurrent: the same, looked at while others use the pool.
func TestBoundConcurrent(t *testing.T) {
	const bound = 256 << 10
	p := NewPool(Options{RetainBytes: bound})
	stop := make(chan struct{})
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			rng := rand.New(rand.NewPCG(uint64(g), 3))
			for {
				select {
				case <-stop:
					return
				default:
				}
				a, b := p.Get(rng.IntN(100<<10)), p.Get(rng.IntN(3000))
				b.Release()
				a.Release()
			}
		}()
	}
	for i := range 300 {
		level := float64(i%5) / 5
		p.SetPressure(level)
		if st := p.Stats(); st.RetainedBytes > st.RetainLimit {
			t.Errorf("%d bytes are idle, the bound is %d", st.RetainedBytes, st.RetainLimit)
		}
	}
	close(stop)
	wg.Wait()
	checkCredit(t, p)
}

func TestPressure(t *testing.T) {
	p := ofShards(1, Options{RetainBytes: 1 << 20})
	fill := func() {
		var out []Lease
		for range 20 {
			out = append(out, p.Get(64<<10))
		}
		for i := range out {
			out[i].Release()
		}
	}
	for _, tc := range []struct {
		level float64
		want  int64
	}{{0, 1 << 20}, {0.5, 1 << 19}, {1, 0}, {0.25, 3 << 18}, {math.NaN(), 1 << 20}, {math.Inf(1), 0}, {-7, 1 << 20}} {
		p.SetPressure(tc.level)
		if st := p.Stats(); st.RetainedBytes > tc.want || st.RetainLimit != tc.want {
			t.Errorf("pressure %g: %d of %d bytes at once, want at most %d", tc.level, st.RetainedBytes, st.RetainLimit, tc.want)
		}
		fill()
		if st := p.Stats(); st.RetainedBytes > tc.want || st.RetainedBytes < tc.want*3/4 {
			t.Errorf("pressure %g: filled to %d bytes, want about %d", tc.level, st.RetainedBytes, tc.want)
		}
	}
	had := p.Stats().RetainedBytes
	if freed := p.Trim(); freed != had || p.Stats().RetainedBytes != 0 {
		t.Errorf("trimmed %d of %d bytes", freed, had)
	}
	checkCredit(t, p)
}

// TestDecay: what is used stays over any number of collections, what is not goes.
func TestDecay(t *testing.T) {
	p := ofShards(1, Options{})
	var out []Lease
	for range 64 {
		out = append(out, p.Get(4096))
	}
	for i := range out {
		out[i].Release()
	}
	left := func() int64 { return p.Stats().RetainedBytes / 4096 }
	p.decay() // they were all out since the last
	if left() != 64 {
		t.Errorf("%d of 64 left after the collection in which all were used", left())
	}
	for range 40 {
		a, b := p.Get(4096), p.Get(4096)
		a.Release()
		b.Release()
		p.decay()
	}
	if st := p.Stats(); left() != 2 || st.Misses != 64 {
		t.Errorf("%d left where 2 are used; %+v", left(), st)
	}
	for range 10 {
		p.decay()
	}
	if left() != 0 {
		t.Errorf("%d left of what nobody uses", left())
	}
	checkCredit(t, p)
}

// TestSizesChange: buffers of sizes that nobody asks for any more make room for those
// that are.
func TestSizesChange(t *testing.T) {
	p := ofShards(1, Options{RetainBytes: 1 << 20})
	use := func(n, size int) {
		var out []Lease
		for range n {
			out = append(out, p.Get(size))
		}
		for i := range out {
			out[i].Release()
		}
	}
	use(16, 64<<10)
	p.decay()
	use(16, 4096)
	p.decay() // those of 4096 bytes were refused: all that was idle goes
	use(16, 4096)
	if st := p.Stats(); st.RetainedBytes < 16*4096 || st.RetainedBytes > 20*4096 {
		t.Errorf("%d bytes are kept", st.RetainedBytes)
	}
}

// TestCollections: the collector is what makes a pool decay.
func TestCollections(t *testing.T) {
	p := NewPool(Options{})
	l := p.Get(4096)
	l.Release()
	await(t, func() bool { runtime.GC(); return p.Stats().RetainedBytes == 0 })
}

func await(t *testing.T, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !ok(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("it did not come in a minute")
		}
	}
}

func TestOtherShards(t *testing.T) {
	p := ofShards(2, Options{})
	l := p.Get(4096)
	b := l.block
	for _, s := range p.shards {
		if s != b.home {
			l.block.home = s
			break
		}
	}
	l.Release()
	again := p.Get(4096)
	if again.block != b {
		t.Error("a buffer of another shard was not found")
	}
	again.Release()
}

func TestDroppedLease(t *testing.T) {
	leaks := make(chan Leak, 10)
	p := NewPool(Options{SampleEvery: 1, OnLeak: func(l Leak) { leaks <- l }})
	kept := dropLease(p)
	var got Leak
	await(t, func() bool {
		runtime.GC()
		select {
		case got = <-leaks:
			return true
		default:
			return false
		}
	})
	if got.Reason != "dropped" || got.Bytes != 4096 || got.Age <= 0 || !strings.Contains(got.Stack, "dropLease") {
		t.Errorf("leak %+v", got)
	}
	if st := p.Stats(); st.Dropped != 1 || st.Out != 0 || st.RetainedBytes != 0 {
		t.Errorf("%+v", st)
	}
	for i := range kept {
		kept[i] = 1 // still ours: a dropped buffer is never lent again
	}
}

//go:noinline
func dropLease(p *Pool) []byte {
	l := p.Get(4096)
	return l.Bytes()
}

// TestDroppedPool: idle buffers of a pool that is garbage itself are no leaks. They were
// found before what becomes garbage later, and that has come.
func TestDroppedPool(t *testing.T) {
	leaks := make(chan Leak, 10)
	gone := func() weak.Pointer[Pool] {
		p := NewPool(Options{SampleEvery: 1, OnLeak: func(l Leak) { leaks <- l }})
		l := p.Get(4096)
		l.Release()
		return p.self
	}()
	await(t, func() bool { runtime.GC(); return gone.Value() == nil })
	p := NewPool(Options{SampleEvery: 1, OnLeak: func(l Leak) { leaks <- l }})
	dropLease(p)
	var got Leak
	await(t, func() bool {
		runtime.GC()
		select {
		case got = <-leaks:
			return true
		default:
			return false
		}
	})
	if !strings.Contains(got.Stack, "dropLease") || len(leaks) != 0 {
		t.Errorf("leak %+v, and %d more", got, len(leaks))
	}
	runtime.KeepAlive(p)
}

func TestOverdueLease(t *testing.T) {
	leaks := make(chan Leak, 10)
	p := NewPool(Options{SampleEvery: 1, LeaseTimeout: time.Nanosecond, OnLeak: func(l Leak) { leaks <- l }})
	l := p.Get(1)
	time.Sleep(time.Millisecond)
	for range 3 {
		if st := p.Stats(); st.Overdue != 1 || st.Out != 1 {
			t.Errorf("%+v", st)
		}
	}
	if got := <-leaks; got.Reason != "overdue" || !strings.Contains(got.Stack, "TestOverdueLease") {
		t.Errorf("leak %+v", got)
	}
	l.Release()
	if st := p.Stats(); st.Overdue != 1 || st.Out != 0 || len(p.watch.sampled) != 0 {
		t.Errorf("%+v", st)
	}
}

// TestOnLeak: a callback that panics is counted, one that blocks holds up nobody, and
// what waits for it is bounded.
func TestOnLeak(t *testing.T) {
	block := make(chan struct{})
	called := make(chan struct{}, 1000)
	p := NewPool(Options{SampleEvery: 1, LeaseTimeout: 1, OnLeak: func(Leak) { called <- struct{}{}; <-block; panic("mine") }})
	var out []Lease
	for range 3 * maxReports {
		out = append(out, p.Get(1))
	}
	time.Sleep(time.Millisecond)
	st := p.Stats()
	if st.Overdue != 3*maxReports {
		t.Errorf("%d overdue", st.Overdue)
	}
	<-called
	if st.UnreportedLeak < maxReports || len(called) != 0 {
		t.Errorf("%d not reported, %d calls at once", st.UnreportedLeak, 1+len(called))
	}
	close(block)
	await(t, func() bool { st := p.Stats(); return st.LeakPanics+st.UnreportedLeak == 3*maxReports })
	for i := range out {
		out[i].Release()
	}
}

func TestSampledAreBounded(t *testing.T) {
	p := NewPool(Options{SampleEvery: 1})
	var out []Lease
	for range maxSampled + 10 {
		out = append(out, p.Get(1))
	}
	if n := len(p.watch.sampled); n != maxSampled {
		t.Errorf("%d leases are kept track of", n)
	}
	for i := range out {
		out[i].Release()
	}
	if n := len(p.watch.sampled); n != 0 {
		t.Errorf("%d leases are kept track of after all were released", n)
	}
}

func TestMetrics(t *testing.T) {
	p := ofShards(1, Options{})
	l := p.Get(4096)
	l.Release()
	got := map[string]float64{}
	p.Metrics(func(m metric.Metric) { got[m.Name] = m.Value })
	if got["heapwright.buffer.gets"] != 1 || got["heapwright.buffer.retained"] != 4096 || got["heapwright.buffer.out"] != 0 {
		t.Errorf("%v", got)
	}
	if n := testing.AllocsPerRun(100, func() { l := p.Get(4096); l.Release() }); n != 0 && !invariants {
		t.Errorf("%g allocations for a lease", n)
	}
}
