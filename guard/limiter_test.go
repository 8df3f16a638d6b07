package guard

import (
	"fmt"
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

// A shop is a service under open load, in steps of 100 ms: each request holds bytes
// for as long as it takes, and it takes longer when the dependency is slow or the
// CPUs are short.
type shop struct {
	rate    float64 // requests per second that come
	cpu     float64 // seconds of CPU that one takes
	waits   float64 // seconds that one waits elsewhere
	bytes   float64 // that one holds
	base    float64 // bytes that live anyway
	limit   float64
	procs   float64
	flying  float64
	done    float64 // per second, of the last step
	served  float64
	refused float64
	peak    float64 // of the memory ratio
	every   int     // steps from one collection to the next
	steps   int
	seen    float64 // memory ratio of the last collection
}

func (s *shop) step(dt, capacity float64) load {
	arrivals := s.rate * dt
	refused := s.refused
	room := arrivals
	if !math.IsInf(capacity, 1) {
		room = max(0, capacity/s.bytes-s.flying)
	}
	in := min(arrivals, room)
	s.refused += arrivals - in
	s.flying += in
	// Each is served in waits + its share of the CPU; the CPUs serve so many a second.
	byCPU := s.procs / s.cpu
	byTime := s.flying / (s.waits + s.cpu)
	s.done = min(byCPU, byTime)
	out := min(s.flying, s.done*dt)
	s.flying -= out
	s.served += out
	ratio := (s.base + s.flying*s.bytes) / s.limit
	s.peak = max(s.peak, ratio)
	sched := 0.001
	if byTime > byCPU { // who is not waiting elsewhere waits for a CPU
		sched += (s.flying - byCPU*s.waits) * s.cpu / s.procs
	}
	gc := 0.02
	if ratio > 0.75 {
		gc = min(0.5, 0.02/(1.02-min(ratio, 1)))
	}
	s.steps++
	fresh := s.steps%max(1, s.every) == 0
	if fresh {
		s.seen = ratio
	}
	flying := max(s.flying, s.done*(s.waits+s.cpu))
	return load{memory: s.seen, fresh: fresh, resident: math.NaN(), gcCPU: gc, schedP99: sched, inFlight: flying * s.bytes, requests: flying, throughput: s.done, refused: s.refused - refused, procs: s.procs,
		room: (burstFull - s.seen) * s.limit, perRequest: 2 * s.bytes}
}

func (s *shop) run(l *limiter, from time.Duration, seconds float64) {
	const dt = 0.1
	capacity := l.capacity
	for i := range int(seconds / dt) {
		capacity = l.step(from+time.Duration(float64(i)*dt*float64(time.Second)), math.MaxInt64, s.step(dt, capacity))
	}
}

func healthyShop() *shop {
	return &shop{rate: 200, cpu: 0.002, waits: 0.01, bytes: 1 << 20, base: 100 << 20, limit: 512 << 20, procs: 1}
}

// TestLimiterLeavesAlone: while all is well it has no say.
func TestLimiterLeavesAlone(t *testing.T) {
	s, l := healthyShop(), newLimiter()
	s.run(&l, 0, 600)
	if l.limited() || s.refused > 0 {
		t.Errorf("it refused %v of a healthy service's requests", s.refused)
	}
}

// TestLimiterSlowDependency: requests that wait hold memory. It has to stay below
// the limit, use most of it, and let go when it is over.
func TestLimiterSlowDependency(t *testing.T) {
	for _, every := range []int{1, 3, 8} {
		t.Run(fmt.Sprintf("a collection in %d00 ms", every), func(t *testing.T) { slowDependency(t, every) })
	}
}

func slowDependency(t *testing.T, every int) {
	s, l := healthyShop(), newLimiter()
	s.every = every
	s.run(&l, 0, 30)
	s.waits = 3
	s.run(&l, 30*time.Second, 30)
	if !l.limited() || l.why != "memory" && l.why != "gc_cpu" && l.why != "burst" {
		t.Fatalf("it does not limit (%v, %q)", l.capacity, l.why)
	}
	if s.peak > 0.97 {
		t.Errorf("memory came to %.0f%% of the limit", 100*s.peak)
	}
	served := s.served
	s.run(&l, 60*time.Second, 60)
	t.Logf("peak %.2f, served %.0f/s, capacity %.0f", s.peak, (s.served-served)/60, l.capacity/s.bytes)
	// What memory allows is 310 requests in flight, of 3 s each, up to 80%.
	if got := (s.served - served) / 60; got < 0.8*310/3 {
		t.Errorf("it serves %.0f requests a second where memory has room for %d", got, 310/3)
	}
	s.waits = 0.01
	s.run(&l, 120*time.Second, 30)
	refused := s.refused
	s.run(&l, 150*time.Second, 30)
	if l.limited() || s.refused > refused {
		t.Errorf("half a minute after the fault it still refuses (%v)", s.refused-refused)
	}
}

// TestLimiterOverload: more than the CPUs can do. It serves what they can, without
// a queue that grows.
func TestLimiterOverload(t *testing.T) {
	s, l := healthyShop(), newLimiter()
	s.run(&l, 0, 30)
	s.rate = 1500 // the CPU serves 500
	s.run(&l, 30*time.Second, 60)
	served := s.served
	s.run(&l, 90*time.Second, 60)
	if got := (s.served - served) / 60; got < 0.9*500 {
		t.Errorf("it serves %.0f of 500 requests a second", got)
	}
	if latency := s.flying / s.done; latency > 0.5 {
		t.Errorf("a request takes %.2f s", latency)
	}
	s.rate = 200
	s.run(&l, 150*time.Second, 30)
	refused := s.refused
	s.run(&l, 180*time.Second, 30)
	if l.limited() || s.refused > refused {
		t.Errorf("half a minute after the fault it still refuses (%v)", s.refused-refused)
	}
}

// TestLimiterNeighbour: somebody else takes the memory, and gives it back. While there
// is room for nearly nothing a few are served all the same, and soon after it is over
// all are.
func TestLimiterNeighbour(t *testing.T) {
	s, l := healthyShop(), newLimiter()
	s.every = 5
	s.run(&l, 0, 30)
	s.base = 440 << 20
	s.run(&l, 30*time.Second, 60)
	if served := s.served; !l.limited() || served < 100 {
		t.Errorf("limited %v, served %v", l.limited(), served)
	}
	s.base = 100 << 20
	s.run(&l, 90*time.Second, 10)
	refused := s.refused
	s.run(&l, 100*time.Second, 30)
	if l.limited() || s.refused > refused {
		t.Errorf("ten seconds after the neighbour it refuses %v requests, limited to %.1f of them", s.refused-refused, l.capacity/s.bytes)
	}
}

// TestLimiterOddNormal: what is normal for a process lies between the bounds, of memory,
// of the collector, or of waits. After a fault it serves what it did before.
func TestLimiterOddNormal(t *testing.T) {
	for name, normal := range map[string]load{
		"memory":    {memory: 0.835, gcCPU: 0.02, schedP99: 0.001},
		"collector": {memory: 0.5, gcCPU: 0.25, schedP99: 0.001},
		"waits":     {memory: 0.5, gcCPU: 0.02, schedP99: 0.12},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLimiter()
			r := rand.New(rand.NewPCG(7, 7))
			now := time.Duration(0)
			wanted := 100.0
			step := func(memory float64) {
				now += 100 * time.Millisecond
				in := normal
				in.memory = max(memory, in.memory*(1+0.003*r.NormFloat64()))
				in.requests = min(wanted, l.capacity/16384)
				in.inFlight, in.fresh, in.procs, in.throughput = in.requests*16384, true, 2, 1000
				if l.capacity/16384 < wanted {
					in.refused = 10
				}
				l.step(now, math.MaxInt64, in)
			}
			for range 600 {
				step(0)
			}
			for range 100 {
				step(0.97)
			}
			if !l.limited() {
				t.Fatal("the fault did not limit it")
			}
			for range 1200 {
				step(0)
			}
			if l.capacity < 0.9*wanted*16384 {
				t.Errorf("two minutes after the fault it lets in %.0f of %.0f requests", l.capacity/16384, wanted)
			}
		})
	}
}

// TestLimiterOwnCapacity: what the service's own bound refuses is no demand that a
// limiter could meet.
func TestLimiterOwnCapacity(t *testing.T) {
	l := newLimiter()
	const base = 50 * 16384
	for i := range 900 {
		in := load{memory: 0.4, fresh: true, requests: 50, inFlight: base, refused: 5, procs: 2, throughput: 500, gcCPU: 0.02}
		if i < 100 {
			in.memory = 0.97
		}
		in.inFlight = min(in.inFlight, l.capacity)
		l.step(time.Duration(i)*100*time.Millisecond, base, in)
	}
	if l.limited() {
		t.Errorf("a minute after the trouble it is limited to %v", l.capacity)
	}
}

// TestLimiterShortRequests: most looks find nothing in flight. What is refused says
// that more is wanted.
func TestLimiterShortRequests(t *testing.T) {
	l := newLimiter()
	now := time.Duration(0)
	step := func(memory float64, requests float64) {
		now += 25 * time.Millisecond
		refused := 0.0
		if l.limited() && l.capacity < 8*16384 {
			refused = 1
		}
		l.step(now, math.MaxInt64, load{memory: memory, fresh: true, requests: requests, inFlight: requests * 16384, refused: refused, throughput: 50, procs: 2})
	}
	for i := range 4000 {
		step(0.4, float64(i%3/2))
	}
	for i := range 200 {
		step(0.95, float64(i%3/2))
	}
	if l.capacity < 4*16384 {
		t.Errorf("it lets in %v bytes, of requests that count for 16384", l.capacity)
	}
	for i := range 400 {
		step(0.4, float64(i%3/2))
	}
	if l.limited() {
		t.Errorf("ten seconds after the trouble it is limited to %v bytes", l.capacity)
	}
}

// TestLimiterBurst: many more requests than ever, of which memory could not hold all,
// are bounded before anybody looks. Where memory has room for them they are not.
func TestLimiterBurst(t *testing.T) {
	for _, tt := range []struct {
		allocates float64 // bytes, a request
		want      float64 // requests
	}{{2 << 20, 32}, {1 << 20, 60}, {1 << 10, 60_000}, {math.NaN(), math.Inf(1)}} {
		l := newLimiter()
		capacity := 0.0
		for i := range 200 {
			capacity = l.step(time.Duration(i)*100*time.Millisecond, math.MaxInt64,
				load{memory: 0.3, requests: 3, inFlight: 3 * 16384, procs: 2, throughput: 50, room: 60 << 20, perRequest: tt.allocates})
		}
		if got := capacity / 16384; got < 0.9*tt.want || got > 1.1*tt.want {
			t.Errorf("of requests that allocate %v, %v may be in flight, want %v", tt.allocates, got, tt.want)
		}
	}
}

// TestLimiterCollectorAlone: a collector that is busy is no reason to refuse requests
// that do not wait.
func TestLimiterCollectorAlone(t *testing.T) {
	l := newLimiter()
	for i := range 600 {
		in := load{memory: 0.7, fresh: true, gcCPU: 0.02, schedP99: 0.02, requests: 2, inFlight: 2 * 16384, procs: 2, throughput: 35}
		if i > 200 {
			in.gcCPU = 0.5
		}
		l.step(time.Duration(i)*100*time.Millisecond, math.MaxInt64, in)
	}
	if l.limited() {
		t.Errorf("limited: %q", l.why)
	}
}

// TestLimiterProperties feeds it anything: its capacity is never NaN, never zero,
// and never below what two requests a CPU take.
func TestLimiterProperties(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	l := newLimiter()
	odd := func(scale float64) float64 {
		switch r.IntN(12) {
		case 0:
			return math.NaN()
		case 1:
			return 0
		case 2:
			return math.Inf(1)
		}
		return r.Float64() * scale
	}
	var now time.Duration
	for range 200_000 {
		now += time.Duration(r.IntN(int(time.Second)))
		in := load{memory: odd(1.2), fresh: r.IntN(2) == 0, resident: odd(1.2), gcCPU: odd(1), schedP99: odd(1), procs: 2,
			inFlight: r.Float64() * 1e9, requests: float64(r.IntN(1000)), throughput: r.Float64() * 1000}
		c := l.step(now, math.MaxInt64, in)
		if math.IsNaN(c) || c < 4 {
			t.Fatalf("capacity %v after %+v", c, in)
		}
	}
}

func BenchmarkLimiter(b *testing.B) {
	s, l := healthyShop(), newLimiter()
	s.waits = 3
	for b.Loop() {
		s.run(&l, 0, 0.1)
	}
}
