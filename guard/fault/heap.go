package fault

import (
	"sync/atomic"
	"time"
)

// stepBytes is what one step allocates, if an object is not larger.
const stepBytes = 1 << 20

// A ptr points to another. A slice of them is an object of nothing but pointers.
type ptr *ptr

// touch writes to each page, so that it is there and not only reserved.
func touch(b []byte) []byte {
	for i := 0; i < len(b); i += 4 << 10 {
		b[i] = 1
	}
	return b
}

// A pile has things in blocks, so that a large one is never copied.
type pile[T any] struct {
	blocks [][]T
	n      int
}

func (p *pile[T]) push(v T) {
	const block = 512
	last := len(p.blocks) - 1
	if last < 0 || len(p.blocks[last]) == block {
		p.blocks = append(p.blocks, make([]T, 0, block))
		last++
	}
	p.blocks[last] = append(p.blocks[last], v)
	p.n++
}

func (p *pile[T]) pop() T {
	var none T
	last := len(p.blocks) - 1
	b := p.blocks[last]
	v := b[len(b)-1]
	b[len(b)-1] = none
	p.blocks[last] = b[:len(b)-1]
	if len(b) == 1 {
		p.blocks[last] = nil
		p.blocks = p.blocks[:last]
	}
	p.n--
	return v
}

// Retain.
type retain struct {
	size  uint64
	kept  pile[[]byte]
	count atomic.Uint64 // of kept
	total atomic.Uint64
	most  uint64
}

func (r *retain) step(level float64, _ time.Time) (time.Duration, error) {
	want := int(level / float64(r.size))
	for r.kept.n > want {
		r.kept.pop()
	}
	for n := max(1, stepBytes/r.size); n > 0 && r.kept.n < want; n-- {
		r.kept.push(touch(make([]byte, r.size)))
		r.total.Add(r.size)
	}
	r.count.Store(uint64(r.kept.n))
	r.most = max(r.most, uint64(r.kept.n)*r.size)
	if r.kept.n < want {
		return 0, nil
	}
	return never, nil
}

func (r *retain) reached() (float64, uint64) {
	return float64(r.count.Load() * r.size), r.total.Load()
}

func (r *retain) release() float64 {
	r.kept = pile[[]byte]{}
	r.count.Store(0)
	return float64(r.most)
}

// webBytes is how many bytes of objects full of pointers are linked with each other.
const webBytes = 64 << 10

// Pointers.
type pointers struct {
	size  uint64
	kept  pile[ptr] // one object of each web; the others are found through it
	count atomic.Uint64
	total atomic.Uint64
	most  uint64
	seed  uint64
}

func (p *pointers) step(level float64, _ time.Time) (time.Duration, error) {
	want := int(level / webBytes)
	for p.kept.n > want {
		p.kept.pop()
	}
	if p.kept.n < want {
		p.kept.push(p.web())
		p.total.Add(webBytes)
	}
	p.count.Store(uint64(p.kept.n))
	p.most = max(p.most, uint64(p.kept.n)*webBytes)
	if p.kept.n < want {
		return 0, nil
	}
	return never, nil
}

// web makes objects of which each points to the one before, so that all are found,
// and with all its other pointers anywhere in the web: a collector meets them in no
// order, and looks at each pointer to learn that it has been there.
func (p *pointers) web() ptr {
	var all [webBytes / 16][]ptr
	n := int(webBytes / p.size)
	for i := range n {
		o := make([]ptr, p.size/8)
		all[i] = o
		o[0] = &all[max(0, i-1)][0]
		for j := 1; j < len(o); j++ {
			p.seed = p.seed*6364136223846793005 + 1442695040888963407
			o[j] = &all[p.seed>>33%uint64(i+1)][0]
		}
	}
	return &all[n-1][0]
}

func (p *pointers) reached() (float64, uint64) {
	return float64(p.count.Load() * webBytes), p.total.Load()
}

func (p *pointers) release() float64 {
	p.kept = pile[ptr]{}
	p.count.Store(0)
	return float64(p.most)
}

// largeRate is the most that large objects are replaced at, in bytes a second: more
// would be churn.
const largeRate = 1 << 30

// Large.
type large struct {
	size  uint64
	kept  [][]byte
	next  int
	pace  pacer
	count atomic.Uint64
	total atomic.Uint64
	most  uint64
}

func (l *large) step(level float64, now time.Time) (time.Duration, error) {
	want := int(level / float64(l.size))
	if len(l.kept) > want {
		clear(l.kept[want:])
		l.kept = l.kept[:want]
	}
	wait := time.Duration(0)
	if len(l.kept) < want {
		l.kept = append(l.kept, l.object())
	} else {
		// All of them once a second.
		wait = l.pace.until(now, min(float64(want)*float64(l.size), largeRate), float64(l.size))
		if wait == 0 {
			l.pace.due -= float64(l.size)
			l.next = (l.next + 1) % want
			l.kept[l.next] = nil
			l.kept[l.next] = l.object()
		}
	}
	l.count.Store(uint64(len(l.kept)))
	l.most = max(l.most, uint64(len(l.kept))*l.size)
	return wait, nil
}

func (l *large) object() []byte {
	l.total.Add(l.size)
	return touch(make([]byte, l.size))
}

func (l *large) reached() (float64, uint64) {
	return float64(l.count.Load() * l.size), l.total.Load()
}

func (l *large) release() float64 {
	l.kept = nil
	l.count.Store(0)
	return float64(l.most)
}

// mixture are the sizes of garbage where none is asked for: small ones many times, as
// services have them, and a large one seldom. Every second one has pointers, up to the
// size from which the allocator adds a word to such objects.
var mixture = []uint64{16, 32, 64, 128, 16, 256, 64, 512, 32, 1 << 10, 64, 128, 2 << 10, 48 << 10, 256, 8 << 10}

const pointersUpTo = 512

// Churn.
type churn struct {
	size  uint64 // 0 is a mixture
	next  int
	pace  pacer
	meter meter
	bytes []byte // the last ones, so that they are made at all
	ptrs  []ptr
}

func (c *churn) step(level float64, now time.Time) (time.Duration, error) {
	wait := c.pace.until(now, level, max(level*tick.Seconds(), float64(c.nextSize())))
	var n uint64
	if wait == 0 {
		most := uint64(min(c.pace.due, stepBytes))
		for n == 0 || n < most {
			n += c.allocate()
		}
		c.pace.due -= float64(n)
	}
	c.meter.add(now, level, n)
	return min(wait, meterWindow), nil
}

func (c *churn) nextSize() uint64 {
	if c.size > 0 {
		return c.size
	}
	return mixture[c.next%len(mixture)]
}

func (c *churn) allocate() uint64 {
	size := c.nextSize()
	c.next++
	if c.next%2 == 0 && size <= pointersUpTo {
		c.ptrs = make([]ptr, size/8)
	} else {
		c.bytes = touch(make([]byte, size))
	}
	return size
}

func (c *churn) reached() (float64, uint64) { return c.meter.reached() }

// release gives nothing back: garbage is what the service has, too, and is collected
// as its own is.
func (c *churn) release() float64 {
	c.bytes, c.ptrs = nil, nil
	return 0
}
