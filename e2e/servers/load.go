package servers

import (
	"context"
	"sync"
	"sync/atomic"
	"time"
)

// drive runs workers that call op until the context ends, the operations are
// done, or an operation fails ten times in a row in one worker. Each op is
// done by its own goroutine's state, made by client.
func drive(ctx context.Context, opt Load, defaultWorkers int, client func(worker int) (op func(ctx context.Context, n int64) error, done func(), err error)) (Stats, error) {
	workers := opt.Workers
	if workers == 0 {
		workers = defaultWorkers
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	p := newPacer(opt)
	ops := opt.Done
	if ops == nil {
		ops = new(atomic.Int64)
	}
	var errs atomic.Int64
	before := ops.Load()
	var wg sync.WaitGroup
	var once sync.Once
	var failed error
	fail := func(err error) {
		once.Do(func() { failed = err })
		cancel()
	}
	for w := range workers {
		op, done, err := client(w)
		if err != nil {
			fail(err)
			break
		}
		wg.Add(1)
		go func() {
			defer wg.Done()
			defer done()
			inRow := 0
			for {
				n, ok := p.next(ctx)
				if !ok {
					return
				}
				err := op(ctx, n)
				switch {
				case err == nil:
					ops.Add(1)
					inRow = 0
				case ctx.Err() != nil:
					return
				default:
					errs.Add(1)
					if inRow++; inRow == 10 {
						fail(err)
						return
					}
				}
			}
		}()
	}
	wg.Wait()
	return Stats{Ops: ops.Load() - before, Errors: errs.Load(), LeftOut: p.leftOut()}, failed
}

// A pacer hands out numbered operations at a rate. Operations that are late are
// handed out at once, but never more than a tenth of a second of them: a server
// that was slow for a while is not flooded afterwards.
type pacer struct {
	mu    sync.Mutex
	n     int64
	limit int64
	step  time.Duration // between operations, 0 for full speed
	due   time.Time
	left  time.Duration // by which due was moved because it was too late
}

func newPacer(opt Load) *pacer {
	p := &pacer{limit: opt.Ops, due: time.Now()}
	if opt.Rate > 0 {
		p.step = time.Duration(float64(time.Second) / opt.Rate)
	}
	return p
}

// leftOut is how many operations were not handed out because they were too late.
func (p *pacer) leftOut() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.step == 0 {
		return 0
	}
	return int64(p.left / p.step)
}

// next waits for the next operation and returns its number, or false at the end.
func (p *pacer) next(ctx context.Context) (int64, bool) {
	p.mu.Lock()
	if p.limit > 0 && p.n >= p.limit {
		p.mu.Unlock()
		return 0, false
	}
	n := p.n
	p.n++
	var wait time.Duration
	if p.step > 0 {
		now := time.Now()
		if oldest := now.Add(-100 * time.Millisecond); p.due.Before(oldest) {
			p.left += oldest.Sub(p.due)
			p.due = oldest
		}
		wait = p.due.Sub(now)
		p.due = p.due.Add(p.step)
	}
	p.mu.Unlock()
	// Sleeping for less than a millisecond costs more than it paces.
	if wait < time.Millisecond {
		return n, ctx.Err() == nil
	}
	t := time.NewTimer(wait)
	defer t.Stop()
	select {
	case <-t.C:
		return n, true
	case <-ctx.Done():
		return 0, false
	}
}
