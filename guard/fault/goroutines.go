package fault

import (
	"sync"
	"sync/atomic"
	"time"
)

// stepGoroutines is how many goroutines one step starts or ends.
const stepGoroutines = 256

// A herd is goroutines that wait, for Goroutines and Stacks.
type herd struct {
	each  float64 // of the level
	bytes float64 // that each takes of the runtime's
	// park waits, and calls there when it has what it is to have.
	park    func(there func(), quit <-chan struct{})
	quit    chan struct{}
	n, most int
	waiting atomic.Int64
	total   atomic.Uint64
	all     sync.WaitGroup
}

func newGoroutines() *herd {
	return &herd{each: 1, bytes: goroutineBytes, quit: make(chan struct{}), park: func(there func(), quit <-chan struct{}) {
		there()
		<-quit
	}}
}

func newStacks(size uint64) *herd {
	return &herd{each: float64(size), bytes: float64(size), quit: make(chan struct{}), park: func(there func(), quit <-chan struct{}) {
		// Stacks are powers of two. More than half of one makes it grow to its size, and
		// more than a quarter keeps a collection from shrinking it. It waits at less than
		// half: the runtime gives new goroutines a stack as large as is in use on average,
		// and keeps some stacks of that size when their goroutines have ended. Ours must
		// not be among those.
		down, up := int(size/100*70), int(size/100*30)
		dive(down, down-up, func() {
			there()
			<-quit
		})
	}}
}

// frame is about what one call of dive takes of the stack.
const frame = 1 << 10

// dive takes so many bytes of stack, and calls bottom when it has come up again as far
// as up.
//
//go:noinline
func dive(bytes, up int, bottom func()) byte {
	var pad [frame - 64]byte // zeroed, so that its page is there
	if bytes > frame {
		pad[bytes%len(pad)] = dive(bytes-frame, up, bottom) + 1
	}
	if bytes >= up && bytes < up+frame {
		bottom()
	}
	return pad[bytes%len(pad)]
}

func (h *herd) step(level float64, _ time.Time) (time.Duration, error) {
	want := int(level / h.each)
	for i := 0; i < stepGoroutines && h.n > want; i++ {
		h.quit <- struct{}{}
		h.n--
	}
	for i := 0; i < stepGoroutines && h.n < want; i++ {
		h.n++
		h.total.Add(1)
		h.all.Add(1)
		go func() {
			defer h.all.Done()
			h.park(func() { h.waiting.Add(1) }, h.quit)
			h.waiting.Add(-1)
		}()
	}
	h.most = max(h.most, h.n)
	if h.n != want {
		return 0, nil
	}
	return never, nil
}

func (h *herd) reached() (float64, uint64) {
	return float64(h.waiting.Load()) * h.each, h.total.Load()
}

func (h *herd) release() float64 {
	close(h.quit)
	h.all.Wait()
	h.n = 0
	return float64(h.most) * h.bytes
}
