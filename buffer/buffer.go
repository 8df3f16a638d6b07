// Package buffer lends byte buffers by size class, and takes them back. It is for
// services that need a buffer of some kilobytes for each request or message and
// would otherwise allocate one each time.
//
//	var pool = buffer.NewPool(buffer.Options{})
//
//	lease := pool.Get(int(r.ContentLength))
//	defer lease.Release()
//	_, err := io.ReadFull(r.Body, lease.Bytes())
//
// What it has over a [sync.Pool] is a bound: never more than Options.RetainBytes
// lie idle in it, whatever sizes were asked for; less under memory pressure
// ([Pool.SetPressure]); less, cycle by cycle, of what is not used. A sync.Pool has
// no bound, gives a buffer of a megabyte to who needs a hundred bytes, and cannot be
// told that memory is short. And a lease that was not given back is counted and,
// where it was sampled, reported with the stack that took it.
//
// A buffer is not cleared: it holds what its last user wrote. Code that sends more
// of a buffer than it wrote sends somebody else's data, as with any pool.
//
// What it costs and gains, CPU of the whole process for a request, by BenchmarkServe in
// turns with the other ways: 0.66 of make's for JSON of some kilobytes (0.71 through
// net/http, with 22 allocations instead of 29, and the collector's share 0.06 instead of
// 0.17), 0.32 for bodies of 16 kB that are passed on, 0.79 for JSON below a kilobyte. A
// sync.Pool gains as much: it is not for speed that one takes this instead. A Get and a
// Release take 58 ns of CPU, those of a sync.Pool 18. docs/PRIMITIVES.md has all of it,
// and when not to use it.
//
//	go test ./buffer -run '^$' -bench 'Serve|Held|Burst|Get'
//
// Built with -tags heapwright_invariants the package looks for misuse: a buffer is
// overwritten when it is released, and a second release, the use of a released lease
// and a write to a released buffer panic with the stacks of both sides. Without the
// tag a second release does nothing but be counted.
package buffer

import (
	"math/bits"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
	"weak"
)

// What the zero Options mean.
const (
	DefaultMinSize     = 512
	DefaultMaxSize     = 1 << 20
	DefaultRetainBytes = 16 << 20
	DefaultSampleEvery = 256
)

// The sizes that a class can have, how many shards there are at most, and how much
// can be kept.
const (
	leastSize = 64
	mostSize  = 1 << 30
	maxShards = 64
	// More than any machine has, and exact as a float64.
	mostRetain = 1 << 50
)

// Options say what a pool keeps. The zero value is good for requests of a few
// hundred bytes to a megabyte.
type Options struct {
	// MinSize is the size in bytes of the smallest class; 0 for DefaultMinSize.
	// Classes are the powers of two from it to MaxSize, and the middles between
	// them: 512, 768, 1024, 1536 ... Both ends are rounded up to a power of two.
	MinSize int
	// MaxSize is the size in bytes of the greatest class; 0 for DefaultMaxSize. What
	// is greater is plainly made, and never kept.
	MaxSize int
	// RetainBytes is the most that lies idle in the pool, in bytes over all classes; 0
	// for DefaultRetainBytes, negative for nothing.
	RetainBytes int64
	// LeaseTimeout is how long a lease may be out before it is taken to be
	// forgotten; 0 for any time. Only sampled leases are timed, and looked at when
	// others are taken, or Stats is called. One that is overdue stays valid.
	LeaseTimeout time.Duration
	// SampleEvery is of how many leases one is sampled: its stack is taken, which
	// costs a microsecond. 0 for DefaultSampleEvery where LeaseTimeout or OnLeak is
	// set, else none; 1 for every lease; negative for none.
	SampleEvery int
	// OnLeak is called for a lease that is overdue, or that was dropped: nothing
	// refers to it any more, and it was not released. It is called on a goroutine of
	// its own, one call at a time; what comes while many wait is only counted.
	OnLeak func(Leak)
}

// A Pool lends buffers. It is safe for concurrent use.
type Pool struct {
	sizes  []int // of the classes, ascending
	minLog int
	maxLen int
	retain int64
	every  int // of how many leases one is sampled, 0 for none

	timeout time.Duration

	shards []*shard
	// hints gives a goroutine the shard that its P used last. That a hint is lost
	// in a collection does no harm.
	hints sync.Pool
	next  atomic.Uint32 // which shard a new hint is for

	// credit is what may be kept beyond what the shards keep and may keep:
	// credit + sum(shard.credit + shard.retained) == limit at any time. It is
	// negative only between a lowered limit and the end of the walk that follows.
	credit atomic.Int64
	grain  int64 // a shard takes and returns credit in pieces of about this many bytes

	pressure struct {
		sync.Mutex
		level float64
		limit int64
	}

	made           atomic.Uint64
	bytesMade      atomic.Uint64
	doubleReleases atomic.Uint64
	dropped        atomic.Uint64

	self  weak.Pointer[Pool]
	watch watch
}

// A shard is what the goroutines of about one P use.
type shard struct {
	mu       sync.Mutex
	classes  []stack
	retained int64 // bytes in classes
	credit   int64 // bytes that may be added without asking
	refused  bool  // a buffer was thrown away for want of credit since the last collection
	sampleIn int   // leases until the next that is sampled
	gets     uint64
	hits     uint64
	releases uint64
	discards uint64
	_        [64]byte // the next shard's lock is another cache line
}

// A stack holds the idle buffers of a class; the one used last is on top.
type stack struct {
	free []*block
	low  int // the fewest since the last collection: those were not needed
	idle int // collections in a row after which low was above 0
}

// A block is a buffer with its books. Either a shard's stack holds it or a lease
// does; one that is dropped by its lease is garbage, together with its buffer.
type block struct {
	pool  *Pool
	home  *shard // takes it back: where it was got
	mem   []byte
	class int // -1 for one that is never kept
	// turn counts releases. A lease knows the turn it was given; a release with
	// another is not the first of its lease.
	turn    atomic.Uint64
	sample  *sample // nil unless this lease is sampled
	ticket  *ticket
	cleanup runtime.Cleanup
	poison  poison
}

// A Lease is a buffer that its holder has until it is released. It is a small
// value: pass it on, or a pointer to it, but release one copy only, once. The zero
// Lease has no bytes, and its release does nothing.
type Lease struct {
	block *block
	bytes []byte
	turn  uint64
	trail trail
}

// NewPool returns an empty pool.
func NewPool(o Options) *Pool {
	p := newPool(o)
	atCollection(p.self)
	return p
}

// newPool returns one that collections do nothing with.
func newPool(o Options) *Pool {
	if o.MinSize == 0 {
		o.MinSize = DefaultMinSize
	}
	if o.MaxSize == 0 {
		o.MaxSize = max(DefaultMaxSize, o.MinSize)
	}
	if o.RetainBytes == 0 {
		o.RetainBytes = DefaultRetainBytes
	}
	minSize := powerOfTwo(o.MinSize)
	maxSize := max(powerOfTwo(o.MaxSize), minSize)
	p := &Pool{
		minLog: bits.Len(uint(minSize)) - 1,
		maxLen: maxSize,
		retain: min(max(o.RetainBytes, 0), mostRetain),
		every:  max(o.SampleEvery, 0),
	}
	if o.SampleEvery == 0 && (o.LeaseTimeout > 0 || o.OnLeak != nil) {
		p.every = DefaultSampleEvery
	}
	p.timeout = max(o.LeaseTimeout, 0)
	p.watch.onLeak = o.OnLeak
	for size := minSize; ; size *= 2 {
		p.sizes = append(p.sizes, size)
		if size == maxSize {
			break
		}
		p.sizes = append(p.sizes, size/2*3)
	}
	shards := min(runtime.GOMAXPROCS(0), maxShards)
	p.grain = max(p.retain/int64(8*shards), 1)
	p.pressure.limit = p.retain
	p.credit.Store(p.retain)
	for range shards {
		p.shards = append(p.shards, &shard{classes: make([]stack, len(p.sizes)), sampleIn: p.every})
	}
	p.hints.New = func() any {
		return p.shards[int(p.next.Add(1))%len(p.shards)]
	}
	p.self = weak.Make(p)
	return p
}

// powerOfTwo rounds up to a power of two that a class can have.
func powerOfTwo(n int) int {
	n = min(max(n, leastSize), mostSize)
	return 1 << bits.Len(uint(n-1))
}

// class returns the smallest class that n bytes fit in, -1 for none.
func (p *Pool) class(n int) int {
	if n <= 1<<p.minLog {
		return 0
	}
	if n > p.maxLen {
		return -1
	}
	log := bits.Len(uint(n - 1)) // at least minLog+1
	class := 2 * (log - p.minLog)
	if n <= 3<<(log-2) {
		class--
	}
	return class
}

// Get lends a buffer of n bytes, with room for more up to the end of its class. Its
// content is not defined. A negative n is 0.
func (p *Pool) Get(n int) Lease {
	n = max(n, 0)
	class := p.class(n)
	s := p.hints.Get().(*shard)
	s.mu.Lock()
	s.gets++
	sampled := false
	if s.sampleIn > 0 {
		s.sampleIn--
		if sampled = s.sampleIn == 0; sampled {
			s.sampleIn = p.every
		}
	}
	var b *block
	if class >= 0 {
		b = s.pop(p, class)
	}
	s.mu.Unlock()
	p.hints.Put(s)
	if b == nil {
		b = p.otherwise(s, class, n)
	}
	b.home = s
	l := Lease{block: b, bytes: b.mem[:n], turn: b.turn.Load()}
	if sampled {
		p.watch.begin(p, b)
	}
	if invariants {
		b.poison.check(b.mem)
		l.trail = newTrail()
	}
	return l
}

// otherwise finds a buffer that the shard does not have: in another, or a new one.
func (p *Pool) otherwise(s *shard, class, n int) *block {
	if class < 0 {
		return p.newBlock(class, n)
	}
	// What one P releases, another may ask for. A few looks find that; a look at all
	// of many shards would cost more than to make one.
	const looks = 4
	at := 0
	for i := range p.shards {
		if p.shards[i] == s {
			at = i
		}
	}
	for i := 1; i <= min(looks, len(p.shards)-1); i++ {
		o := p.shards[(at+i)%len(p.shards)]
		if !o.mu.TryLock() {
			continue
		}
		b := o.pop(p, class)
		o.mu.Unlock()
		if b != nil {
			return b
		}
	}
	return p.newBlock(class, p.sizes[class])
}

func (p *Pool) newBlock(class, size int) *block {
	p.made.Add(1)
	p.bytesMade.Add(uint64(size))
	b := &block{pool: p, mem: make([]byte, size), class: class}
	b.ticket = &ticket{pool: p.self, size: size}
	b.cleanup = runtime.AddCleanup(b, (*ticket).lost, b.ticket)
	return b
}

// pop takes the buffer of the class that was released last.
func (s *shard) pop(p *Pool, class int) *block {
	st := &s.classes[class]
	last := len(st.free) - 1
	if last < 0 {
		return nil
	}
	b := st.free[last]
	st.free[last] = nil
	st.free = st.free[:last]
	st.low = min(st.low, last)
	s.hits++
	size := int64(len(b.mem))
	s.retained -= size
	s.credit += size
	if s.credit > 2*p.grain+size {
		p.credit.Add(s.credit - p.grain)
		s.credit = p.grain
	}
	return b
}

// push keeps b if there is credit for it, and says whether there was.
func (s *shard) push(p *Pool, b *block) bool {
	size := int64(len(b.mem))
	if s.credit < size && !s.borrow(p, size) {
		s.refused = true
		return false
	}
	s.credit -= size
	s.retained += size
	st := &s.classes[b.class]
	st.free = append(st.free, b)
	return true
}

// borrow raises the shard's credit to at least size, from the pool's.
func (s *shard) borrow(p *Pool, size int64) bool {
	for {
		have := p.credit.Load()
		need := size - s.credit
		if have < need {
			return false
		}
		take := min(have, max(need, p.grain))
		if p.credit.CompareAndSwap(have, have-take) {
			s.credit += take
			return true
		}
	}
}

// Bytes returns the buffer: the n bytes that were asked for, and what Write and
// Resize made of them. It is the lease's until Release.
func (l *Lease) Bytes() []byte {
	l.check("use")
	return l.bytes
}

// Write appends to the buffer, which moves to a greater class where it has to. It
// makes a Lease an io.Writer, and never fails.
func (l *Lease) Write(b []byte) (int, error) {
	at := len(l.bytes)
	before := l.resize(at + len(b))
	copy(l.bytes[at:], b)
	before.Release() // not earlier: b may be of its bytes
	return len(b), nil
}

// Resize makes the buffer n bytes long. What it held stays, as far as there is room;
// the rest is not defined. Slices that Bytes returned before are no longer the lease's
// when n is beyond their capacity. A negative n is 0.
func (l *Lease) Resize(n int) {
	before := l.resize(max(n, 0))
	before.Release()
}

// resize is Resize, of which the buffer before is still to be released, if it is
// another.
func (l *Lease) resize(n int) (before Lease) {
	l.check("use")
	if n <= cap(l.bytes) {
		l.bytes = l.bytes[:n]
		return Lease{}
	}
	if l.block == nil {
		l.bytes = append(make([]byte, 0, n), l.bytes...)[:n]
		return Lease{}
	}
	// At least doubled: who writes a byte at a time must not copy at each.
	before = *l
	*l = before.block.pool.Get(max(n, 2*cap(before.bytes)))
	l.bytes = l.bytes[:n]
	copy(l.bytes, before.bytes)
	return before
}

// Release gives the buffer back. Whatever else has a slice of it must not use it any
// more.
func (l *Lease) Release() {
	b := l.block
	if b == nil {
		return
	}
	if !b.turn.CompareAndSwap(l.turn, l.turn+1) {
		l.check("second release")
		b.pool.doubleReleases.Add(1)
		return
	}
	p := b.pool
	if invariants {
		l.trail.released()
		b.poison.spread(b.mem)
	} else {
		l.bytes = nil
	}
	if b.sample != nil {
		p.watch.end(b)
	}
	s := b.home
	s.mu.Lock()
	s.releases++
	kept := b.class >= 0 && s.push(p, b)
	if !kept {
		s.discards++
	}
	s.mu.Unlock()
	if !kept {
		b.discard()
	}
}

// discard leaves a block that is nobody's to the collector.
func (b *block) discard() { b.cleanup.Stop() }
