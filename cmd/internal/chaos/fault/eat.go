package fault

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
)

const kindWatch = "watch"

const (
	eatStep    = 2 << 20         // looks at what it is told after each; a large page
	sayEvery   = 16 << 20        // how much it holds, on the way
	keepEvery  = 2 * time.Second // page cache is read again, so that it stays
	dirtyEvery = 5 * time.Second // or written again
)

// Eat is a process of ours that faults need, behind the hidden verb [Verb]: one that
// takes memory in a cgroup, or one that lets a process go on when who stopped it cannot.
// It takes orders by lines, says what it holds by lines, and when its input ends gives
// all back and returns.
//
// It makes itself the first that the kernel kills, enters the cgroup before it takes any
// memory for the fault, and counts only what it takes for it: what it had touched before,
// some MiB as every Go program, stays charged where it was started, and beside the level
// there are then about 1 MiB and the page tables, a five-hundredth of it.
func Eat(ctx context.Context, in io.Reader, out io.Writer) error {
	orders := make(chan order, 16)
	go func() {
		defer close(orders)
		lines := bufio.NewScanner(in)
		lines.Buffer(make([]byte, 0, 1<<10), maxLine)
		for lines.Scan() {
			o, err := parseOrder(lines.Bytes())
			if err != nil {
				return // who started us is not what we know: all ends
			}
			select {
			case orders <- o:
			case <-ctx.Done():
				return
			}
		}
	}()
	first, ok := <-orders
	if !ok {
		return nil
	}
	say := func(r report) {
		line, err := json.Marshal(r)
		if err == nil {
			_, _ = out.Write(append(line, '\n')) // who does not listen any more has closed our input too
		}
	}
	if first.Kind == kindWatch {
		say(report{Seq: 1})
		return serveWatch(orders)
	}
	// Who started us may be in a hurry; what takes memory is not to take CPU before the
	// target.
	renice(os.Getpid(), 0)
	e, err := newStomach(first)
	if err != nil {
		say(report{Err: err.Error()})
		return err
	}
	say(report{Seq: 1})
	// What the kernel holds must not keep us from ending: the eating is in a goroutine
	// that is left behind, and ends with the process.
	failed := make(chan error, 1)
	go func() { failed <- e.run(say) }()
	for {
		select {
		case o, ok := <-orders:
			if !ok {
				e.want.Store(&order{Bytes: 0, Seq: -1})
				e.poke()
				select {
				case <-failed:
				case <-time.After(time.Second):
				}
				return nil
			}
			e.want.Store(&o)
			e.poke()
		case err := <-failed:
			if err != nil {
				say(report{Err: err.Error()})
			}
			return err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// parseOrder reads a line that a child is told.
func parseOrder(line []byte) (order, error) {
	var o order
	if err := json.Unmarshal(line, &o); err != nil {
		return o, err
	}
	const most = 1 << 46
	if o.Bytes > most || o.Most > most || o.Seconds < 0 || o.Seq < 0 {
		return o, errors.New("that is no order")
	}
	return o, nil
}

// A stomach is what an eater holds.
type stomach struct {
	want  atomic.Pointer[order]
	wake  chan struct{}
	most  uint64
	held  uint64
	food  food
	dirty bool
}

// A food is a sort of memory. Both are given page counts in bytes.
type food interface {
	grow(from, to uint64) error
	shrink(from, to uint64) error
	keep(held uint64, stop func() bool) // so that the kernel does not take it back
}

// newStomach makes this process the kernel's first victim and enters the group.
func newStomach(first order) (*stomach, error) {
	const victim = "1000"
	if err := os.WriteFile("/proc/self/oom_score_adj", []byte(victim), 0); err != nil {
		return nil, fmt.Errorf("becoming the first that the kernel kills: %w", err)
	}
	if err := write(context.Background(), first.Procs, strconv.Itoa(os.Getpid())); err != nil {
		return nil, fmt.Errorf("entering the cgroup: %w", err)
	}
	e := &stomach{wake: make(chan struct{}, 1), most: pages(float64(first.Most)), dirty: first.Dirty}
	switch chaos.Kind(first.Kind) {
	case chaos.Sibling, chaos.Shared:
		m, err := newMapped(e.most, chaos.Kind(first.Kind) == chaos.Shared)
		if err != nil {
			return nil, fmt.Errorf("mapping memory: %w", err)
		}
		e.food = m
	case chaos.PageCache:
		const inherited = 3
		f := os.NewFile(inherited, "page cache")
		if _, err := f.Stat(); err != nil {
			return nil, fmt.Errorf("looking at the file whose pages are to be cached: %w", err)
		}
		e.food = &cached{f: f, dirty: first.Dirty, buf: make([]byte, eatStep)}
	default:
		return nil, fmt.Errorf("%q is nothing to eat", first.Kind)
	}
	return e, nil
}

func (e *stomach) poke() {
	select {
	case e.wake <- struct{}{}:
	default:
	}
}

func (e *stomach) run(say func(report)) error {
	// Memory that the kernel does not give is a fault at an address, not an error.
	debug.SetPanicOnFault(true)
	every := keepEvery
	if e.dirty {
		every = dirtyEvery
	}
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-e.wake:
		case <-t.C:
			e.food.keep(e.held, func() bool { return len(e.wake) > 0 })
			continue
		}
		o := e.want.Load()
		if o == nil {
			continue
		}
		if o.Seq < 0 {
			return e.food.shrink(e.held, 0)
		}
		if err := e.come(o, say); err != nil {
			return err
		}
		if e.want.Load() == o { // else there is one to come, and it is answered
			say(report{Seq: o.Seq + 1, Bytes: e.held})
		}
	}
}

// come brings what is held to an order, unless there is another one.
func (e *stomach) come(o *order, say func(report)) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the kernel gives no more memory at %d bytes: %v", e.held, p)
		}
	}()
	to := min(pages(float64(o.Bytes)), e.most)
	if o.Hold {
		return nil
	}
	if to < e.held {
		if err := e.food.shrink(e.held, to); err != nil {
			return err
		}
		e.held = to
	}
	for e.held < to && e.want.Load() == o {
		next := min((e.held/eatStep+1)*eatStep, to)
		if err := e.food.grow(e.held, next); err != nil {
			return err
		}
		e.held = next
		if next%sayEvery == 0 {
			say(report{Seq: o.Seq, Bytes: e.held}) // no answer yet
		}
	}
	return nil
}

// A cached is the page cache of a file that has no name.
type cached struct {
	f     *os.File
	dirty bool
	buf   []byte
}

// grow makes the file longer by a hole, which takes no space of the disk, and reads it:
// a hole is cached as all else. What is to be dirty is written instead.
func (c *cached) grow(from, to uint64) error {
	if !c.dirty {
		if err := c.f.Truncate(int64(to)); err != nil {
			return err
		}
	}
	return c.pass(from, to)
}

func (c *cached) pass(from, to uint64) error {
	for at := from; at < to; {
		b := c.buf[:min(uint64(len(c.buf)), to-at)]
		var err error
		if c.dirty {
			_, err = c.f.WriteAt(b, int64(at))
		} else {
			_, err = c.f.ReadAt(b, int64(at))
		}
		if err != nil {
			return err
		}
		at += uint64(len(b))
	}
	return nil
}

func (c *cached) shrink(_, to uint64) error { return c.f.Truncate(int64(to)) }

func (c *cached) keep(held uint64, stop func() bool) {
	for at := uint64(0); at < held && !stop(); at += eatStep {
		if c.pass(at, min(at+eatStep, held)) != nil {
			return
		}
	}
}
