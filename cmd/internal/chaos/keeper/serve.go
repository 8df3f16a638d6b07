package keeper

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
	"github.com/heapwright/heapwright/cmd/internal/chaos/fault"
	"github.com/heapwright/heapwright/cmd/internal/chaos/sense"
	"github.com/heapwright/heapwright/cmd/internal/procmem"
)

const (
	// tick is how often it is looked at the target, and a level is led.
	tick = 100 * time.Millisecond
	// undoWithin bounds what undoing one fault may take.
	undoWithin = 10 * time.Second
	// headStart is how long limits are given to be raised before all else is undone: a
	// process that is let go on at its limit may be killed for it.
	headStart  = 50 * time.Millisecond
	maxReplies = 4096
)

// A server is the keeper's own side.
type server struct {
	hello
	ctx     context.Context
	out     *speaker
	proxies *fault.Proxies
	locks   []lock
	journal *journal
	log     *log
	kept    kept

	// What there is of a target.
	target *fault.Target
	faults []*fault.Resolved
	sense  *sense.Sense

	// Of the watcher, which takes no lock but for moments.
	heard    atomic.Int64 // when the tool was heard last
	told     atomic.Pointer[told]
	point    atomic.Pointer[chaos.Point]
	kills    atomic.Int64 // by the kernel, of the cgroup
	gone     atomic.Bool
	baseline chan []chaos.Point

	watching chan struct{} // closed when the watcher is to end
	watched  chan struct{} // closed when it has

	mu      sync.Mutex
	courses map[int]*course
	current *chaos.Fault // the last that began
	over    string       // why no fault may begin any more
	rolling sync.WaitGroup
	running sync.WaitGroup
}

// A told is what the tool has said of what only it knows.
type told struct {
	values map[chaos.Metric]float64
	at     int64
}

// Serve is the keeper: it reads from in what it is to do, and says on out what it does.
// It returns when it was told that the tool is done, when in ends, and when ctx does;
// everything is undone then.
func Serve(ctx context.Context, in io.Reader, out io.Writer) error {
	signal.Ignore(syscall.SIGPIPE) // the tool at the other end may be gone: that is what we are for
	ctx, stop := signal.NotifyContext(ctx, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	lines := bufio.NewReaderSize(in, 64<<10)
	s := &server{ctx: ctx, out: newSpeaker(out), courses: map[int]*course{}, baseline: make(chan []chaos.Point, 1)}
	defer s.out.close()
	text, err := readLine(lines, maxLine)
	if err == nil {
		err = json.Unmarshal(text, &s.hello)
	}
	if err == nil && (s.Plan == nil || s.Dir == "" || s.Lease <= 0) {
		err = errors.New("the hello is not whole")
	}
	if err != nil {
		return fmt.Errorf("the keeper is started by heapwright, not by hand: %w", err)
	}
	if s.proxies, err = fault.OpenProxies(s.Plan.Opens()); err != nil {
		s.fail(-1, err)
		return err
	}
	defer s.proxies.Close()
	s.out.say(reply{Is: isReady, Fault: -1, Proxies: s.proxies.Addrs()})
	return s.serve(s.words(lines))
}

// words reads what the tool says, until it ends. What is urgent does not wait for what
// came before it.
func (s *server) words(lines *bufio.Reader) <-chan word {
	words := make(chan word, 16)
	s.hear()
	go func() {
		defer close(words)
		for {
			text, err := readLine(lines, maxLine)
			if err != nil {
				return
			}
			s.hear()
			w, err := parseWord(text)
			switch {
			case err != nil:
				s.note(-1, err.Error())
			case w.what == wordHere:
				if len(w.values) > 0 {
					s.told.Store(&told{w.values, procmem.Nanotime()})
				}
			case w.what == wordAbort:
				s.rollback(w.why, false)
			default:
				select {
				case words <- w:
				case <-s.ctx.Done():
				}
			}
		}
	}()
	return words
}

func (s *server) hear() { s.heard.Store(procmem.Nanotime()) }

// serve does what it is told. Nothing here waits for a fault.
func (s *server) serve(words <-chan word) error {
	for {
		select {
		case <-s.ctx.Done():
			s.rollback("the keeper was told to end", false)
			s.finish()
			return errors.New("the keeper was told to end before the tool was done")
		case w, ok := <-words:
			switch {
			case !ok:
				s.rollback("the tool ended before it was done", false)
				s.finish()
				return nil
			case w.what == wordDone:
				s.finish()
				return nil
			case w.what == wordTarget:
				s.taken(s.take(*w.taking))
			case w.what == wordBefore:
				select {
				case s.baseline <- w.points:
				default: // it was told already
				}
			case w.what == wordBegin:
				s.begin(w.fault)
			case w.what == wordEnd:
				go s.end(w.fault)
			}
		}
	}
}

func (s *server) taken(err error) {
	busy := new(BusyError)
	switch {
	case err == nil:
		s.out.say(reply{Is: isTaken, Fault: -1, Journal: s.journal.path})
	case errors.As(err, &busy):
		s.out.say(reply{Is: isBusy, Fault: -1, Busy: busy})
	default:
		s.fail(-1, err)
	}
}

// take makes ready for faults: locks, log, journal, and eyes.
func (s *server) take(t taking) (err error) {
	if s.target != nil {
		return errors.New("there is a target already")
	}
	spare()
	if err := openDir(s.Dir); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			if s.journal != nil {
				s.journal.remove() // it names no step
				s.journal = nil
			}
			s.letGo()
			s.mu.Lock()
			s.log = nil
			s.mu.Unlock()
		}
	}()
	h := holder{s.Tool, clip(s.Plan.Name)}
	what := fmt.Sprintf("process %d", t.Target.PID)
	own, err := takeLock(processLock(s.Dir, t.Target.PID, t.Target.Start), what, h)
	if err != nil {
		return err
	}
	s.locks = append(s.locks, own)
	var groups []string
	for _, d := range []fault.Dir{t.Target.Memory, t.Target.CPU, t.Target.Freezer} {
		if d.Path != "" && d.Own {
			groups = append(groups, d.Path)
		}
	}
	slices.Sort(groups)
	for _, g := range slices.Compact(groups) {
		l, err := takeLock(groupLock(s.Dir, g), g, h)
		if err != nil {
			return err
		}
		s.locks = append(s.locks, l)
	}
	// Of a keeper before us, on the same process.
	name := journalFile(s.Dir, t.Target.PID, t.Target.Start)
	put, left, err := revertFile(s.ctx, name)
	for _, text := range put {
		s.note(-1, "left by an earlier run: "+text)
	}
	if len(left) > 0 {
		err = errors.Join(err, errors.New(strings.Join(left, "; ")))
	}
	if err != nil {
		return fmt.Errorf("undoing what an earlier run has left: %w", err)
	}
	boot, err := procmem.BootID()
	if err != nil {
		return err
	}
	self, err := ourselves(s.Tool.Tool)
	if err != nil {
		return err
	}
	log, err := openLog(s.StateDir)
	if err != nil {
		return err
	}
	log.base = Entry{
		Tool: s.Tool.Tool, UID: os.Geteuid(), PID: t.Target.PID, Start: t.Target.Start, BootID: boot,
		Name: clip(t.Target.Name), Plan: clip(s.Plan.Name),
	}
	s.mu.Lock()
	s.log = log
	s.mu.Unlock()
	s.journal, err = newJournal(s.Dir, header{
		BootID: boot, Plan: clip(s.Plan.Name), Tool: s.Tool, Keeper: self, PID: t.Target.PID, Start: t.Target.Start,
		Name: clip(t.Target.Name), StateDir: s.StateDir,
	})
	if err != nil {
		return err
	}
	if s.sense, err = sense.Open(s.ctx, t.Target.PID, sense.Options{}); err != nil {
		return err
	}
	if err := s.proxies.Point(t.Target.Upstreams); err != nil {
		return err
	}
	s.mu.Lock()
	s.target, s.faults = t.Target, t.Faults
	s.mu.Unlock()
	s.watching, s.watched = make(chan struct{}), make(chan struct{})
	go func() {
		defer close(s.watched)
		newWatcher(s).run()
	}()
	return nil
}

// letGo gives back what take took.
func (s *server) letGo() {
	if s.log != nil {
		s.log.close()
	}
	for _, l := range s.locks {
		l.release()
	}
	s.locks = nil
}

// begin begins a fault; what came of that is said when it is known.
func (s *server) begin(i int) {
	c, err := s.newCourse(i)
	if err != nil {
		s.fail(i, err)
		return
	}
	s.running.Go(func() { c.run() })
}

func (s *server) newCourse(i int) (*course, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.target == nil:
		return nil, errors.New("there is no target")
	case i >= len(s.faults):
		return nil, fmt.Errorf("there is no fault %d", i)
	case s.over != "":
		return nil, errors.New("no fault is begun any more: " + s.over)
	case s.courses[i] != nil:
		return nil, errors.New("it was begun already")
	}
	c := newCourse(s, i, s.faults[i])
	s.courses[i] = c
	s.current = &c.what.Fault
	return c, nil
}

func (s *server) end(i int) {
	s.mu.Lock()
	c := s.courses[i]
	s.mu.Unlock()
	if c == nil {
		s.fail(i, errors.New("it was not begun"))
		return
	}
	c.undo()
	s.out.say(reply{Is: isEnded, Fault: i})
}

// active are the faults that are not undone, by their index.
func (s *server) active() []*course {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []*course
	for _, i := range sortedKeys(s.courses) {
		if c := s.courses[i]; !c.isUndone() {
			out = append(out, c)
		}
	}
	return out
}

// rollback undoes everything at once, and says how long that took. It does not wait.
// Only the first reason counts. An end that was expected is none of an abort.
func (s *server) rollback(why string, expected bool) {
	decided := time.Now()
	s.mu.Lock()
	if s.over != "" {
		s.mu.Unlock()
		return
	}
	s.over = why
	if why == "" {
		s.over = "it was ended"
	}
	s.rolling.Add(1)
	log := s.log
	s.mu.Unlock()
	go func() {
		defer s.rolling.Done()
		s.undoAll()
		e := chaos.Event{At: s.at(), Kind: chaos.EventAbort, Fault: s.last(), Text: s.over, Value: time.Since(decided).Seconds()}
		if expected {
			e.Kind = chaos.EventNote
		}
		s.event(e)
		if log != nil {
			log.put(Entry{Action: ActionAbort, Why: e.Text, Outcome: "undone", Took: e.Value})
		}
	}()
}

// last is the fault that is active, the last of them; -1 for none.
func (s *server) last() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.faults {
		if s.current == &s.faults[i].Fault {
			return i
		}
	}
	return -1
}

// undoAll undoes what is not undone: limits first, and then all else, beside each other.
func (s *server) undoAll() {
	courses := s.active()
	var all sync.WaitGroup
	undo := func(first bool) <-chan struct{} {
		var some sync.WaitGroup
		for _, c := range courses {
			if (c.what.Kind == chaos.HardLimit || c.what.Kind == chaos.Reclaim) == first {
				all.Add(1)
				some.Go(func() {
					defer all.Done()
					c.undo()
				})
			}
		}
		done := make(chan struct{})
		go func() {
			some.Wait()
			close(done)
		}()
		return done
	}
	select {
	case <-undo(true):
	case <-time.After(headStart):
	}
	undo(false)
	all.Wait()
}

// finish undoes everything, looks whether it is undone, and says what is left.
func (s *server) finish() {
	s.mu.Lock()
	if s.over == "" {
		s.over = "it is done"
	}
	s.mu.Unlock()
	s.undoAll()
	s.rolling.Wait()
	// One that does not come back from the kernel is not waited for.
	within(undoWithin, &s.running)
	last := reply{Is: isDone, Fault: -1, Left: []string{}, Done: []chaos.Done{}}
	s.mu.Lock()
	for _, i := range sortedKeys(s.courses) {
		last.Done = append(last.Done, s.courses[i].account())
	}
	s.mu.Unlock()
	if s.journal != nil {
		// Steps of faults that could not be undone have been tried once more by now.
		for _, step := range s.journal.open() {
			last.Left = append(last.Left, step.String())
		}
		last.Left = append(last.Left, s.kept.left()...)
		slices.Sort(last.Left)
		last.Left = slices.Compact(last.Left)
		// One that names what is left stays, for Sweep.
		if len(s.journal.open()) > 0 {
			s.journal.close()
		} else if err := s.journal.remove(); err != nil {
			last.Left = append(last.Left, err.Error())
		}
	}
	if s.sense != nil {
		close(s.watching)
		<-s.watched
		s.sense.Close()
	}
	s.letGo()
	s.out.say(last)
}

// within waits for a while.
func within(d time.Duration, g *sync.WaitGroup) {
	done := make(chan struct{})
	go func() {
		g.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(d):
	}
}

func (s *server) at() time.Duration { return time.Duration(procmem.Nanotime() - s.Epoch) }

func (s *server) fail(i int, err error) {
	r := reply{Is: isFailed, Fault: i, Text: clip(err.Error())}
	if h := interface{ Hint() string }(nil); errors.As(err, &h) {
		r.Hint = clip(h.Hint())
	}
	s.out.say(r)
}

func (s *server) event(e chaos.Event) { s.out.say(reply{Is: isEvent, Fault: e.Fault, Event: &e}) }

func (s *server) note(i int, text string) {
	s.event(chaos.Event{At: s.at(), Kind: chaos.EventNote, Fault: i, Text: clip(text)})
}

// with adds the values that the tool told, while they are not old.
func (s *server) with(p chaos.Point) chaos.Point {
	t := s.told.Load()
	if t == nil || procmem.Nanotime()-t.at > int64(s.Lease) {
		return p
	}
	p.Values = maps.Clone(p.Values)
	for m, v := range t.values {
		if _, ok := p.Values[m]; !ok {
			p.Values[m] = v
		}
	}
	return p
}

// A speaker says replies without waiting for who listens.
type speaker struct {
	lines chan []byte
	done  chan struct{}

	mu     sync.Mutex
	closed bool
}

func newSpeaker(out io.Writer) *speaker {
	w := &speaker{lines: make(chan []byte, maxReplies), done: make(chan struct{})}
	go func() {
		defer close(w.done)
		deaf := false
		for b := range w.lines {
			if deaf {
				continue
			}
			_, err := out.Write(b)
			deaf = err != nil
		}
	}()
	return w
}

// say says something, unless too much is still to be said: who does not listen is not
// waited for.
func (w *speaker) say(r reply) {
	b, err := json.Marshal(r)
	if err != nil {
		return // a value that is no number
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return
	}
	select {
	case w.lines <- append(b, '\n'):
	default:
	}
}

// close waits for what is still to be said, for a while.
func (w *speaker) close() {
	w.mu.Lock()
	if !w.closed {
		w.closed = true
		close(w.lines)
	}
	w.mu.Unlock()
	select {
	case <-w.done:
	case <-time.After(time.Second):
	}
}
