package fault

import (
	"fmt"
	"sync/atomic"
	"time"
)

// OffHeap.
type offHeap struct {
	size  uint64
	maps  pile[[]byte]
	count atomic.Uint64
	total atomic.Uint64
}

func (o *offHeap) step(level float64, _ time.Time) (time.Duration, error) {
	want := int(level / float64(o.size))
	defer func() { o.count.Store(uint64(o.maps.n)) }()
	for n := 0; n < 64 && o.maps.n > want; n++ {
		if err := unmapMemory(o.maps.pop()); err != nil {
			return 0, fmt.Errorf("unmapping memory: %w", err)
		}
	}
	for n := max(1, stepBytes/o.size); n > 0 && o.maps.n < want; n-- {
		b, err := mapMemory(int(o.size))
		if err != nil {
			// The system may have some later.
			return time.Second, fmt.Errorf("mapping memory: %w", err)
		}
		o.maps.push(touch(b))
		o.total.Add(o.size)
	}
	if o.maps.n != want {
		return 0, nil
	}
	return never, nil
}

func (o *offHeap) reached() (float64, uint64) {
	return float64(o.count.Load() * o.size), o.total.Load()
}

// release gives nothing back through the runtime, which has none of it.
func (o *offHeap) release() float64 {
	for o.maps.n > 0 {
		// It fails only for what is not mapped.
		_ = unmapMemory(o.maps.pop())
		o.count.Store(uint64(o.maps.n))
	}
	return 0
}
