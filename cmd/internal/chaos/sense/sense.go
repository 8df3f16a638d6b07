package sense

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
	"github.com/heapwright/heapwright/cmd/internal/process"
	"github.com/heapwright/heapwright/record"
)

// Options say what else is asked of a target.
type Options struct {
	Ready  string       // a URL that answers 200 while it is ready; "" for none
	Debug  string       // the URL of its debugz page, for the state of its guard; "" for none
	Client *http.Client // nil for one without a proxy
}

const (
	// patience is how long a reading waits for what is read beside it.
	patience = 50 * time.Millisecond
	// maxCycles and maxEvents bound what waits to be taken.
	maxCycles = 1 << 14
	maxEvents = 1 << 10
)

// A Sense reads a target. Read is for one goroutine; the other methods are for any.
type Sense struct {
	stat   *statFile
	group  *worker[*groupLook]
	books  *worker[booksLook] // nil when there are none
	host   *hostFile
	probes *probes
	close  func()
	why    string
	id     record.Process

	window window
	kills  uint64

	mu     sync.Mutex
	cycles []chaos.Cycle
	events []chaos.Event
}

// Open begins to read process pid. A process that is not Go, or whose release is not
// known, is read without its runtime; [Sense.Why] says so. It fails when the process is
// no more, and when it cannot be looked at.
func Open(ctx context.Context, pid int, o Options) (*Sense, error) {
	s := &Sense{}
	var err error
	if s.stat, err = openStat(pid); err != nil {
		return nil, fmt.Errorf("opening process %d: %w", pid, err)
	}
	var closers []func()
	s.close = func() {
		for _, c := range closers {
			c()
		}
	}
	closers = append(closers, s.stat.close)
	s.id.PID = pid
	target, err := process.Attach(ctx, pid)
	switch {
	case err == nil:
		s.id = target.Process()
		s.books = newWorker((&books{target: target}).look, func() { target.Close() })
		closers = append(closers, s.books.stop)
	case process.IsEnded(err), ctx.Err() != nil:
		s.close()
		return nil, fmt.Errorf("opening process %d: %w", pid, err)
	default:
		s.why = "the runtime of process " + fmt.Sprint(pid) + " cannot be read: " + oneLine(err.Error())
		s.note(s.why)
	}
	g := openGroup(pid)
	if g.why != "" {
		s.note(g.why)
	}
	s.group = newWorker(g.look, g.close)
	s.host = openHost()
	s.probes = startProbes(pid, o)
	closers = append(closers, s.group.stop, s.host.close, s.probes.stop)
	return s, nil
}

// Why says why the values of the runtime are absent, "" when they are not.
func (s *Sense) Why() string { return s.why }

// Process is what does not change about the process: no more than its number when it is
// not Go.
func (s *Sense) Process() record.Process { return s.id }

// Close ends the reading. It does not wait for what takes long.
func (s *Sense) Close() error {
	s.close()
	return nil
}

// Read takes a point. It takes 50 ms at the most, where the machine lets it run. What is
// counted is counted since the first Read.
func (s *Sense) Read(at time.Duration) chaos.Point {
	deadline := time.Now().Add(patience)
	if s.books != nil {
		s.books.begin()
	}
	s.group.begin()
	l := look{at: at}
	l.stat = s.stat.read()
	l.host = s.host.read()
	l.probed = s.probes.read()
	if b, ok := take(s.books, deadline); ok {
		if process.IsEnded(b.err) {
			l.stat.gone = true // another program has its number
		} else if b.err == nil {
			l.books = &b
		}
	}
	if g, ok := take(s.group, deadline); ok {
		l.group = g
	}
	values := s.window.add(l)
	s.happened(l)
	return chaos.Point{At: at, Values: values}
}

// happened notes what is an event of this reading.
func (s *Sense) happened(l look) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cycles = append(s.cycles, s.window.takeCycles()...)
	if over := len(s.cycles) - maxCycles; over > 0 {
		s.cycles = s.cycles[:copy(s.cycles, s.cycles[over:])]
	}
	if k := uint64(s.window.kills.total); k > s.kills {
		text := "the kernel killed a process of the cgroup for memory"
		if k-s.kills > 1 {
			text = fmt.Sprintf("the kernel killed %d processes of the cgroup for memory", k-s.kills)
		}
		s.event(chaos.Event{At: l.at, Kind: chaos.EventKill, Fault: -1, Text: text, Value: float64(k - s.kills)})
		s.kills = k
	}
	if s.window.justGone {
		s.event(chaos.Event{At: l.at, Kind: chaos.EventGone, Fault: -1, Text: fmt.Sprintf("process %d has ended", s.id.PID)})
	}
	for _, e := range s.probes.takeEvents() {
		e.At = l.at
		s.event(e)
	}
}

// event keeps an event; the lock is held.
func (s *Sense) event(e chaos.Event) {
	if len(s.events) < maxEvents {
		s.events = append(s.events, e)
	}
}

func (s *Sense) note(text string) {
	s.event(chaos.Event{Kind: chaos.EventNote, Fault: -1, Text: text})
}

// Cycles are the GC cycles that ended since the last call. What a cycle found alive and
// its goal are 0 where they are not known: of those that ended between two readings only
// of the last.
func (s *Sense) Cycles() []chaos.Cycle {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.cycles
	s.cycles = nil
	return c
}

// Events are what happened since the last call: changes of the guard's state, kills, the
// end of the process, and once each what cannot be read.
func (s *Sense) Events() []chaos.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := s.events
	s.events = nil
	return e
}

func oneLine(text string) string {
	text, _, _ = strings.Cut(strings.TrimSpace(text), "\n")
	return text
}

// A books reads the runtime.
type books struct {
	target *process.Target
	sample record.Sample
}

// A booksLook is what the runtime's books say.
type booksLook struct {
	sample record.Sample
	cycles []record.Cycle
	cpu    number // seconds
	err    error
}

func (b *books) look() booksLook {
	err := b.target.Quick(&b.sample)
	if err != nil {
		return booksLook{err: err}
	}
	l := booksLook{sample: b.sample}
	l.cycles, _, _ = b.target.Cycles(nil)
	if cpu, err := b.target.CPUTime(); err == nil {
		l.cpu = known(cpu.Seconds())
	}
	return l
}

// A worker does what may take long.
type worker[T any] struct {
	ask    chan struct{}
	answer chan T
	quit   chan struct{}
	busy   bool
	end    sync.Once
}

func newWorker[T any](do func() T, end func()) *worker[T] {
	w := &worker[T]{ask: make(chan struct{}, 1), answer: make(chan T, 1), quit: make(chan struct{})}
	go func() {
		defer end()
		for {
			select {
			case <-w.quit:
				return
			case <-w.ask:
				w.answer <- do()
			}
		}
	}()
	return w
}

// begin asks, unless it is still at the last question.
func (w *worker[T]) begin() {
	if !w.busy {
		w.busy = true
		w.ask <- struct{}{}
	}
}

// take waits for an answer until the deadline. One that came since, but too late for the
// reading before, is as good.
func take[T any](w *worker[T], deadline time.Time) (v T, ok bool) {
	if w == nil || !w.busy {
		return v, false
	}
	t := time.NewTimer(time.Until(deadline))
	defer t.Stop()
	select {
	case v := <-w.answer:
		w.busy = false
		return v, true
	case <-t.C:
		return v, false
	}
}

// stop ends it when it is done with what it does.
func (w *worker[T]) stop() { w.end.Do(func() { close(w.quit) }) }
