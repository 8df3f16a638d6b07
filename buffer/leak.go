package buffer

import (
	"fmt"
	"runtime"
	"strings"
	"sync"
	"time"
	"weak"
)

// A Leak is a lease that was not released.
type Leak struct {
	Reason string // "overdue": longer out than LeaseTimeout; "dropped": garbage, and never released
	Bytes  int    // the buffer's size
	// Age is since the lease was taken, and Stack where; 0 and "" when the lease was
	// not sampled.
	Age   time.Duration
	Stack string
}

// The bounds of what is known of sampled leases, and of leaks that wait for OnLeak.
const (
	maxSampled  = 4096
	maxReports  = 64
	stackFrames = 24
)

// watch has the sampled leases, and what became of them.
type watch struct {
	onLeak func(Leak)

	mu        sync.Mutex
	sampled   map[*ticket]*sample
	swept     time.Time
	overdue   uint64
	lost      uint64 // leaks that OnLeak was not told of
	panicked  uint64
	reports   []Leak
	reporting bool
}

// A sample is what is known of a lease that was sampled.
type sample struct {
	since   time.Time
	stack   []uintptr
	overdue bool
}

// A ticket outlives its block, to say that it was lost.
type ticket struct {
	pool weak.Pointer[Pool]
	size int
}

func (w *watch) begin(p *Pool, b *block) {
	x := &sample{since: time.Now(), stack: callers(4)}
	w.mu.Lock()
	if w.sampled == nil {
		w.sampled = map[*ticket]*sample{}
		w.swept = x.since
	}
	if len(w.sampled) < maxSampled {
		b.sample = x
		w.sampled[b.ticket] = x
	}
	if p.timeout > 0 && x.since.Sub(w.swept) > p.timeout/4 {
		w.sweep(p.timeout, x.since)
	}
	w.mu.Unlock()
}

func (w *watch) end(b *block) {
	w.mu.Lock()
	delete(w.sampled, b.ticket)
	w.mu.Unlock()
	b.sample = nil
}

// sweep reports the leases that are overdue. The caller has the lock.
func (w *watch) sweep(timeout time.Duration, now time.Time) {
	w.swept = now
	if timeout <= 0 {
		return
	}
	for t, x := range w.sampled {
		if age := now.Sub(x.since); age > timeout && !x.overdue {
			x.overdue = true
			w.overdue++
			w.report(Leak{Reason: "overdue", Bytes: t.size, Age: age, Stack: frames(x.stack)})
		}
	}
}

// lost is called when a block was found to be garbage while a lease had it. Its
// buffer is not taken back: somebody may have a slice of it.
func (t *ticket) lost() {
	p := t.pool.Value()
	if p == nil {
		return // the whole pool was dropped, with what lay in it
	}
	p.dropped.Add(1)
	w := &p.watch
	w.mu.Lock()
	defer w.mu.Unlock()
	leak := Leak{Reason: "dropped", Bytes: t.size}
	if x := w.sampled[t]; x != nil {
		delete(w.sampled, t)
		leak.Age, leak.Stack = time.Since(x.since), frames(x.stack)
	}
	w.report(leak)
}

// report hands a leak to OnLeak, on a goroutine that is there while there are any.
// The caller has the lock.
func (w *watch) report(l Leak) {
	if w.onLeak == nil {
		return
	}
	if len(w.reports) >= maxReports {
		w.lost++
		return
	}
	w.reports = append(w.reports, l)
	if !w.reporting {
		w.reporting = true
		go w.deliver()
	}
}

func (w *watch) deliver() {
	for {
		w.mu.Lock()
		if len(w.reports) == 0 {
			w.reporting = false
			w.mu.Unlock()
			return
		}
		l := w.reports[0]
		w.reports = append(w.reports[:0], w.reports[1:]...)
		w.mu.Unlock()
		w.call(l)
	}
}

func (w *watch) call(l Leak) {
	defer func() {
		if recover() != nil {
			w.mu.Lock()
			w.panicked++
			w.mu.Unlock()
		}
	}()
	w.onLeak(l)
}

func callers(skip int) []uintptr {
	var pcs [stackFrames]uintptr
	return append([]uintptr(nil), pcs[:runtime.Callers(skip, pcs[:])]...)
}

// frames writes a stack as a panic does.
func frames(pcs []uintptr) string {
	if len(pcs) == 0 {
		return ""
	}
	var out strings.Builder
	next := runtime.CallersFrames(pcs)
	for {
		f, more := next.Next()
		fmt.Fprintf(&out, "%s\n\t%s:%d\n", f.Function, f.File, f.Line)
		if !more {
			return out.String()
		}
	}
}
