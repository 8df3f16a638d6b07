package shed

import (
	"math"
	"math/rand/v2"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

// maxCost is the most bytes that one request counts for: 512 GiB. 2^24 of them
// at once do not overflow.
const maxCost = math.MaxInt64 >> 24

// NoBound is the capacity that refuses nothing.
const NoBound = math.MaxInt64

// fills are the parts of the capacity, in percent, that may be full after a
// request of the class is admitted. The order is what matters: telephony calls it
// trunk reservation, and a small reserve is enough to keep the classes apart,
// because what the upper class needs is only what arrives while something of the
// lower ends. The last tenth is High's. Low has half, not more, since what it
// holds stays held when the others come: a request is never cut. Critical is not
// refused.
var fills = [NumClasses]int64{Normal: 90, Low: 50, High: 100, Critical: 100}

// Options are what a Gate is made with.
type Options struct {
	Capacity int64  // bytes in flight that requests may hold before others are refused; 0 and less is NoBound
	Budget   Budget // how much may be shed
}

// A Budget limits shedding: who sheds on a wrong signal must not become the
// outage. Over a limit requests are admitted, and counted as spared. Each limit
// holds over at least the last half of Window, and at most the whole; each stripe of
// the counters keeps it for itself, so that of few requests a little less is shed.
type Budget struct {
	// MaxRatio is the greatest part of all requests that is shed; 0, and 1 and
	// above, is no limit.
	MaxRatio float64
	// ByClass are further limits, each on the requests of one class.
	ByClass [NumClasses]float64
	// Window is a minute by default.
	Window time.Duration
	// OverCapacity makes the budget limit refusals for want of capacity too: the
	// capacity is no bound then. Without it they are counted as shed, but happen
	// whatever the budget says.
	OverCapacity bool
}

// limited reports whether the budget limits anything.
func (b Budget) limited() bool {
	some := inside(b.MaxRatio)
	for _, r := range b.ByClass {
		some = some || inside(r)
	}
	return some
}

func inside(ratio float64) bool { return ratio > 0 && ratio < 1 }

// A Gate decides which requests are admitted. Its methods are safe for
// concurrent use.
type Gate struct {
	// What admission reads and hardly anything writes.
	share   [NumClasses]atomic.Uint64 // a request is admitted if a random number of 32 bits is below
	limit   [NumClasses]atomic.Int64  // bytes held after a request of the class is admitted
	tight   atomic.Int64              // bytes held, above which stripes put nothing aside
	chunk   atomic.Int64              // bytes that a stripe takes to have some to spare
	spares  atomic.Bool               // some stripe may have spare bytes
	stripes []stripe
	budget  Budget
	made    time.Time
	tokens  sync.Pool // of *stripe
	next    atomic.Uint32

	_    [128]byte
	held atomic.Int64 // bytes in flight, plus what the stripes have to spare
	_    [128]byte

	capacity     atomic.Int64
	looked       atomic.Int64 // when in-flight requests were counted last; what now returned
	peakRequests atomic.Int64 // since the last Window
	peakBytes    atomic.Int64
	panics       atomic.Uint64 // of the callbacks of handlers

	set  sync.Mutex // one SetCapacity at a time
	last struct {
		sync.Mutex
		at     time.Duration
		totals totals
	}
}

// A stripe is a part of the counters that mostly one P writes. Only the sums
// over all stripes mean something.
type stripe struct {
	gate      *Gate
	admitted  [NumClasses]atomic.Uint64
	completed [NumClasses]atomic.Uint64
	// spare is how many of the bytes in Gate.held are not in use. It is below 0
	// by what was admitted while there was no capacity to keep.
	spare        atomic.Int64
	_            [48]byte
	serviceNanos atomic.Int64 // of the completed requests that were timed
	timed        atomic.Uint64
	byShare      [NumClasses]atomic.Uint64 // shed
	byCapacity   [NumClasses]atomic.Uint64
	spared       [NumClasses]atomic.Uint64

	mu        sync.Mutex
	prev, cur mark
	_         [128]byte
}

// A mark is the state of a stripe's counters at an instant.
type mark struct {
	at            time.Duration
	offered, shed Counts
}

// NewGate returns a Gate that admits everything that the capacity has room for.
func NewGate(o Options) *Gate {
	g := &Gate{made: time.Now(), budget: o.Budget}
	if g.budget.Window <= 0 {
		g.budget.Window = time.Minute
	}
	n := 1
	for n < 2*runtime.GOMAXPROCS(0) {
		n *= 2
	}
	g.stripes = make([]stripe, n)
	for i := range g.stripes {
		g.stripes[i].gate = g
	}
	// A pool keeps what is put into it with the P that put it there, so a stripe
	// mostly stays with one P. It holds pointers into one array: making a new
	// one does not allocate.
	g.tokens.New = func() any { return &g.stripes[int(g.next.Add(1))%len(g.stripes)] }
	g.SetShares(All())
	if o.Capacity <= 0 {
		o.Capacity = NoBound
	}
	g.SetCapacity(o.Capacity)
	return g
}

// now is the monotonic time since the gate was made.
func (g *Gate) now() time.Duration { return time.Since(g.made) }

// SetShares sets what part of each class is admitted. What is below 0 counts as
// 0, what is above 1 or not a number as 1: who does not know should not stop the
// service.
func (g *Gate) SetShares(s Shares) {
	for c, share := range s {
		if Class(c) == Critical || !(share < 1) {
			share = 1
		}
		g.share[c].Store(uint64(math.Round(max(share, 0) * (1 << 32))))
	}
}

// Shares returns what was set, as it is used.
func (g *Gate) Shares() Shares {
	var s Shares
	for c := range s {
		s[c] = float64(g.share[c].Load()) / (1 << 32)
	}
	return s
}

// SetCapacity sets how many bytes requests in flight may hold before others are
// refused; NoBound takes the bound away. Less than what is held now cuts nothing
// off: nobody new is admitted until enough is returned. What is below 1 counts as
// 1, and lets requests through one at a time.
//
// A bound that is set where there was none holds for every request but those that
// are inside Admit while it is set.
func (g *Gate) SetCapacity(bytes int64) {
	g.set.Lock()
	defer g.set.Unlock()
	bytes = max(bytes, 1)
	g.capacity.Store(bytes)
	if bytes == NoBound {
		for c := range g.limit {
			g.limit[c].Store(NoBound)
		}
		g.tight.Store(NoBound)
		g.chunk.Store(NoBound / 4)
		return
	}
	// A stripe has at most two chunks to spare: all of them together at most an
	// eighth of the capacity, which is below tight.
	g.chunk.Store(bytes / int64(16*len(g.stripes)))
	g.tight.Store(bytes / 4)
	for c := range g.limit {
		g.limit[c].Store(bytes/100*fills[c] + bytes%100*fills[c]/100)
	}
	g.reclaim()
}

// Capacity returns what was set; NoBound when there is none.
func (g *Gate) Capacity() int64 { return g.capacity.Load() }

// A Ticket is an admitted request's place. The zero Ticket is nobody's.
type Ticket struct {
	lease
	stripe *stripe
	cost   int64
	start  time.Duration // 1 ns more than it is; 0 when the request is not timed
	class  Class
}

// timeEvery says how many requests of a stripe and class there are for one that is
// timed: two readings of the clock cost about as much as all the rest. It is a
// prime, so that it does not fall in step with clients that repeat a pattern.
const timeEvery = 17

// Admit decides about a request that will hold about so many bytes while it is
// served. When it is admitted, Done of the ticket is due once, when it ended. A
// cost below 1 counts as 1, one above 512 GiB as that; a class that there is none
// of is Normal.
//
// First the share of the class is looked at, then the capacity: the share says what
// part of the requests to try, the capacity whether there is room for this one.
// Admit does not wait for anything, and does not allocate.
func (g *Gate) Admit(c Class, cost int64) (Ticket, bool) {
	if c >= NumClasses {
		c = Normal
	}
	cost = min(max(cost, 1), maxCost)
	token := g.tokens.Get()
	g.tokens.Put(token)
	s := token.(*stripe)
	if c == Critical {
		s.force(cost)
	} else {
		if share := g.share[c].Load(); share < 1<<32 && uint64(rand.Uint32()) >= share && !s.overBudget(c, &s.byShare[c]) {
			return Ticket{}, false
		}
		if !s.take(c, cost) {
			if !g.budget.OverCapacity {
				if s.byCapacity[c].Add(1)%timeEvery == 1 {
					g.look(g.now())
				}
				return Ticket{}, false
			}
			if !s.overBudget(c, &s.byCapacity[c]) {
				return Ticket{}, false
			}
			s.force(cost)
		}
	}
	var start time.Duration
	if n := s.admitted[c].Add(1); n%timeEvery == 1 {
		at := g.now()
		start = at + 1
		g.look(at)
	}
	return Ticket{lease: newLease(), stripe: s, cost: cost, start: start, class: c}, true
}

// Done returns the ticket. It is due exactly once: a Ticket is a value and does not
// know its copies, and a second call would let in more than there is room for.
// Built with the tag heapwright_invariants, it panics instead. Done of the zero
// Ticket, which comes with a refusal, does nothing.
func (t Ticket) Done() {
	s := t.stripe
	if s == nil {
		return
	}
	t.release()
	if t.start != 0 {
		s.serviceNanos.Add(int64(s.gate.now() + 1 - t.start))
		s.timed.Add(1)
	}
	s.give(t.cost)
	// After give: who sees the request completed finds its bytes returned.
	s.completed[t.class].Add(1)
}

// take takes bytes out of the capacity, if there is room for the class.
func (s *stripe) take(c Class, cost int64) bool {
	g := s.gate
	limit := g.limit[c].Load()
	if limit == NoBound {
		s.spare.Add(-cost)
		return true
	}
	// What a stripe has to spare is counted in held, so held stays as it is and
	// all bounds with it.
	for g.held.Load() <= limit {
		spare := s.spare.Load()
		if spare < cost {
			break
		}
		if s.spare.CompareAndSwap(spare, spare-cost) {
			return true
		}
	}
	return s.takeHeld(limit, cost)
}

// takeHeld takes bytes from what all stripes share.
func (s *stripe) takeHeld(limit, cost int64) bool {
	g := s.gate
	if s.spare.Load() < 0 {
		g.held.Add(-s.spare.Swap(0))
	}
	chunk, tight := g.chunk.Load(), min(g.tight.Load(), limit)
	for tried := false; ; tried = true {
		for {
			held := g.held.Load()
			// Subtracted, because limit may be at the end of the range, and cost is
			// far from it.
			if held <= tight-chunk-cost {
				if g.held.CompareAndSwap(held, held+cost+chunk) {
					s.spare.Add(chunk)
					g.haveSpares()
					return true
				}
				continue
			}
			// Who is alone is admitted, however much it wants: it would else wait
			// for ever.
			if held > limit-cost && held > 0 {
				break
			}
			if g.held.CompareAndSwap(held, held+cost) {
				return true
			}
		}
		if tried || !g.spares.Load() {
			return false
		}
		g.reclaim()
	}
}

// force takes bytes whether there is room or not.
func (s *stripe) force(cost int64) {
	if s.gate.limit[Critical].Load() == NoBound {
		s.spare.Add(-cost)
		return
	}
	s.gate.held.Add(cost)
}

// give returns bytes: to the stripe, so that the next request of this P finds
// them there, but not when it has enough or the capacity gets scarce.
func (s *stripe) give(cost int64) {
	g := s.gate
	if g.held.Load() > g.tight.Load() {
		g.held.Add(-cost)
		return
	}
	if s.spare.Add(cost) > 2*g.chunk.Load() {
		g.held.Add(-s.spare.Swap(0))
		return
	}
	g.haveSpares()
}

func (g *Gate) haveSpares() {
	if !g.spares.Load() {
		g.spares.Store(true)
	}
}

// reclaim takes from all stripes what they have to spare, or owe. Who asks while
// another is about it may miss what that one has not reached yet, and be refused a
// few bytes early.
func (g *Gate) reclaim() {
	g.spares.Store(false)
	for i := range g.stripes {
		if s := &g.stripes[i]; s.spare.Load() != 0 {
			g.held.Add(-s.spare.Swap(0))
		}
	}
}

// overBudget counts a request as shed in n, unless the budget forbids it: then it
// counts it as spared and reports true.
//
// Each stripe keeps the budget over its own requests, so all together do, and no
// stripe waits for another. The clock is read here and not for what is admitted:
// when nothing is shed there is nothing to limit, and marks that have become old
// meanwhile are dropped with the first request that is to be shed.
func (s *stripe) overBudget(c Class, n *atomic.Uint64) bool {
	b := &s.gate.budget
	if !b.limited() {
		n.Add(1)
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	m := s.mark()
	switch age := m.at - s.cur.at; {
	case age >= b.Window:
		s.prev, s.cur = m, m
	case age >= b.Window/2:
		s.prev, s.cur = s.cur, m
	}
	over := func(limit float64, offered, shed uint64) bool {
		return inside(limit) && float64(shed+1) > limit*float64(offered+1)
	}
	if over(b.MaxRatio, m.offered.Total()-s.prev.offered.Total(), m.shed.Total()-s.prev.shed.Total()) ||
		over(b.ByClass[c], m.offered[c]-s.prev.offered[c], m.shed[c]-s.prev.shed[c]) {
		s.spared[c].Add(1)
		return true
	}
	n.Add(1)
	return false
}

func (s *stripe) mark() mark {
	m := mark{at: s.gate.now()}
	for c := range m.offered {
		m.shed[c] = s.byShare[c].Load() + s.byCapacity[c].Load()
		m.offered[c] = s.admitted[c].Load() + m.shed[c]
	}
	return m
}
