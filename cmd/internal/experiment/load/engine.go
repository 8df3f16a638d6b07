package load

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/heapwright/heapwright/cmd/internal/term"
)

// A sender sends one request and returns when the whole answer has been read. It is
// called by many at once; seq counts the requests of a target, and buf is for it
// to use.
type sender interface {
	send(ctx context.Context, seq uint64, buf []byte) error
	close()
}

// An engine sends requests when they are due. One worker at a time leads: it sleeps
// until the next request is due, hands the lead to another, and sends the request
// itself, so that nothing has to be woken between the instant at which a request is
// due and its being sent. There are as many workers as requests under way, and one.
type engine struct {
	ctx     context.Context
	epoch   time.Time // what the engine's times count from
	plan    *schedule // the leader's
	lanes   []*lane
	timeout time.Duration
	nap     func(time.Duration) // for short times, exactly

	lead    chan struct{} // holds the lead while nobody has it
	idle    atomic.Int64  // workers that wait for the lead
	workers int           // the leader's
	done    sync.WaitGroup

	from, to atomic.Int64  // the measured window, in nanoseconds; unset is notYet
	ending   chan struct{} // closed when to is set
}

const notYet = int64(1<<63 - 1)

// A lane is what goes to one target.
type lane struct {
	sender sender
	bound  int // requests that can be under way

	mu       sync.Mutex
	underway int
	seq      uint64
	waiting  ring
	requests uint64
	errors   uint64
	answered uint64
	waited   uint64
	latency  *hdrhistogram.Histogram
	slip     *hdrhistogram.Histogram
	first    error
	tally    *tally // for ticks; nil where none are asked for
}

// A request is due at an instant.
type request struct {
	due time.Duration
	seq uint64
}

// maxWaiting is how many requests may wait for a connection, of one target.
const maxWaiting = 1 << 16

// A ring is a queue of at most maxWaiting.
type ring struct {
	items []request
	head  int
	n     int
}

func (r *ring) push(q request) bool {
	if r.n == maxWaiting {
		return false
	}
	if r.n == len(r.items) {
		grown := make([]request, max(64, 2*len(r.items)))
		for i := range r.n {
			grown[i] = r.items[(r.head+i)%len(r.items)]
		}
		r.items, r.head = grown, 0
	}
	r.items[(r.head+r.n)%len(r.items)] = q
	r.n++
	return true
}

func (r *ring) pop() (request, bool) {
	if r.n == 0 {
		return request{}, false
	}
	q := r.items[r.head]
	r.head = (r.head + 1) % len(r.items)
	r.n--
	return q, true
}

func newLane(s sender, bound int) *lane {
	return &lane{sender: s, bound: bound, latency: newHistogram(), slip: newHistogram()}
}

func newEngine(ctx context.Context, plan *schedule, lanes []*lane, timeout time.Duration) *engine {
	e := &engine{
		ctx: ctx, epoch: time.Now(), plan: plan, lanes: lanes, timeout: timeout, nap: nap,
		lead: make(chan struct{}, 1), ending: make(chan struct{}),
	}
	e.from.Store(notYet)
	e.to.Store(notYet)
	return e
}

// start begins to send.
func (e *engine) start() { e.passLead() }

func (e *engine) now() time.Duration { return time.Since(e.epoch) }

// measure begins the window: what is due from now on counts.
func (e *engine) measure() { e.from.Store(int64(e.now())) }

// stop ends the window and returns when everything that was due has been answered
// or given up on. Nothing is sent after that.
func (e *engine) stop() {
	e.to.Store(int64(e.now()))
	close(e.ending)
	e.done.Wait()
}

// seconds is the length of the window.
func (e *engine) seconds() float64 {
	return time.Duration(e.to.Load() - e.from.Load()).Seconds()
}

// counts reports whether an instant lies in the window.
func (e *engine) counts(t time.Duration) bool {
	return int64(t) >= e.from.Load() && int64(t) < e.to.Load()
}

// bodyChunk is how much of an answer a worker reads at a time.
const bodyChunk = 32 << 10

// passLead lets somebody else lead. There is always one who can: a worker that
// waits, or one more.
func (e *engine) passLead() {
	if e.idle.Load() == 0 && e.workers < e.mostWorkers() {
		e.workers++
		e.done.Go(e.work)
	}
	e.lead <- struct{}{}
}

func (e *engine) mostWorkers() int {
	n := 1
	for _, l := range e.lanes {
		n += l.bound
	}
	return n
}

func (e *engine) work() {
	buf := make([]byte, bodyChunk)
	for {
		e.idle.Add(1)
		<-e.lead
		e.idle.Add(-1)
		l, q, ok := e.await()
		if !ok {
			e.lead <- struct{}{} // to whoever waits, who will find the same
			return
		}
		e.passLead()
		e.send(l, q, buf, true)
		for {
			q, ok := l.next()
			if !ok {
				break
			}
			e.send(l, q, buf, false)
		}
	}
}

// await leads: it returns when a request is due that can be sent at once; false when
// there will be no more.
func (e *engine) await() (*lane, request, bool) {
	for {
		due, target := e.plan.next()
		if !e.sleep(due) {
			return nil, request{}, false
		}
		l := e.lanes[target]
		l.mu.Lock()
		q := request{due: due, seq: l.seq}
		l.seq++
		if l.tally != nil && e.counts(due) {
			l.tally.due++
		}
		if l.underway < l.bound {
			l.underway++
			l.opened(q)
			l.mu.Unlock()
			return l, q, true
		}
		now := e.now()
		if e.counts(due) {
			l.waited++
			recordDuration(l.slip, now-due)
		}
		if !l.waiting.push(q) {
			l.count(e, q, errNotSent, now)
		}
		l.mu.Unlock()
	}
}

// coarse is how exact a timer of the runtime is, at worst; what is left is napped.
const coarse = 2 * time.Millisecond

// sleep returns when a request is due; false when it is due after the end.
func (e *engine) sleep(due time.Duration) bool {
	for {
		if int64(due) >= e.to.Load() || e.ctx.Err() != nil {
			return false
		}
		wait := due - e.now()
		switch {
		case wait <= 0:
			return true
		case wait <= coarse:
			e.nap(wait)
		default:
			t := time.NewTimer(wait - coarse)
			select {
			case <-t.C:
			case <-e.ending:
			case <-e.ctx.Done():
			}
			t.Stop()
		}
	}
}

var errNotSent = errors.New("not sent: no connection was free in time")

// send sends a request and takes note of what came of it. prompt says that there was
// a connection for it when it was due: only then does its being late tell how late the
// generator was.
func (e *engine) send(l *lane, q request, buf []byte, prompt bool) {
	sent := e.now()
	if sent >= q.due+e.timeout {
		l.mu.Lock()
		l.count(e, q, errNotSent, sent)
		l.mu.Unlock()
		return
	}
	ctx, cancel := context.WithDeadline(e.ctx, e.epoch.Add(q.due+e.timeout))
	err := l.sender.send(ctx, q.seq, buf)
	late := ctx.Err() != nil
	cancel()
	if err != nil && late {
		err = fmt.Errorf("%w %v", errNoAnswer, e.timeout)
	}
	now := e.now()
	l.mu.Lock()
	if prompt && e.counts(q.due) {
		recordDuration(l.slip, sent-q.due)
	}
	l.count(e, q, err, now)
	l.mu.Unlock()
}

var errNoAnswer = errors.New("no answer within")

// count takes note of what came of a request; l is locked.
func (l *lane) count(e *engine, q request, err error, now time.Duration) {
	if l.tally != nil {
		delete(l.tally.open, q.seq)
	}
	if err == nil && e.counts(now) {
		l.answered++
	}
	if !e.counts(q.due) {
		return
	}
	l.requests++
	took, timed := now-q.due, err == nil
	if errors.Is(err, errNotSent) || errors.Is(err, errNoAnswer) {
		// It took at least as long as it was waited for, also where the queue was full.
		took, timed = max(took, e.timeout), true
	}
	if timed {
		recordDuration(l.latency, took)
	}
	if l.tally != nil {
		l.tally.count(took, timed, err == nil)
	}
	if err == nil {
		return
	}
	l.errors++
	if l.first == nil {
		l.first = err
	}
}

// next is what a worker that has sent to the target may send next; without one, the
// worker is done.
func (l *lane) next() (request, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	q, ok := l.waiting.pop()
	if !ok {
		l.underway--
		return q, false
	}
	l.opened(q)
	return q, true
}

// opened takes note of a request that is about to be sent; l is locked.
func (l *lane) opened(q request) {
	if l.tally != nil {
		l.tally.open[q.seq] = q.due
	}
}

// maxErrorText bounds the text of an error, in bytes.
const maxErrorText = 300

// errorText is an error on one line: it may hold what a server says.
func errorText(err error) string {
	if err == nil {
		return ""
	}
	text := err.Error()
	if len(text) > 4*maxErrorText {
		text = text[:4*maxErrorText]
	}
	return term.Cut(term.Clean(text), maxErrorText)
}
