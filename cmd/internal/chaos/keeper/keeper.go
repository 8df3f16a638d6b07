package keeper

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
	"github.com/heapwright/heapwright/cmd/internal/chaos/fault"
	"github.com/heapwright/heapwright/cmd/internal/procmem"
)

// Verb is the hidden command of heapwright that is the keeper: its process runs Serve. A
// test binary whose tests call Start has to run Serve under it too, in TestMain.
const Verb = "stress-keeper"

// The texts of a fault's events, of kind [chaos.EventFault].
const (
	Began   = "began"
	Reached = "reached its level"
	Undone  = "undone"
)

const (
	// DefaultLease is how long a tool may say nothing while there are faults.
	DefaultLease = 2 * time.Second

	startPatience = 15 * time.Second
	takePatience  = 30 * time.Second // the books of a large program are read
	beginPatience = 30 * time.Second
	endPatience   = 30 * time.Second
	// deafness is how long a keeper that watches may say nothing: one that is stopped
	// keeps faults that nobody ends. A machine that is busy lets it wait for long.
	deafness  = 15 * time.Second
	maxEvents = 1 << 13
	maxSaid   = 256 // lines that wait to be told
)

// A Config says what a keeper keeps.
type Config struct {
	// Argv is the command that runs Serve; nil for this program with Verb.
	Argv []string
	Plan *chaos.Plan
	// Target and Faults may come later, by Take: then the proxies of the plan listen
	// before there is a target.
	Target *fault.Target
	Faults []*fault.Resolved
	// Dir is where journals are, and StateDir the log; see [Places].
	Dir, StateDir string
	Lease         time.Duration // 0 for DefaultLease
	Epoch         time.Time     // times of events are since then; zero for now
	Tool          string        // who does it, for the log and who finds the target busy
	Stderr        *os.File      // what the keeper complains to; nil for ours
}

// A Keeper is the child process, seen from the tool. Its methods may be called from any
// goroutine, Take, Begin, End and Done by one at a time.
type Keeper struct {
	cmd     *exec.Cmd
	config  Config
	in      *os.File
	said    chan []byte
	replies chan reply
	events  chan chaos.Event
	ended   chan struct{} // closed when the process has ended and what it left is undone
	hung    chan struct{} // closed when nothing more is to be said
	hangUp  sync.Once
	heardAt atomic.Int64 // when it said something last, by our clock since epoch

	mu      sync.Mutex
	proxies map[string]string
	journal string
	dones   map[int]chaos.Done
	begun   map[int]time.Duration
	final   *reply // its last word
	left    []string
	err     error // how it ended
}

// Start starts a keeper. With a target it is taken at once: a [*BusyError] says that
// another plan has it.
func Start(ctx context.Context, c Config) (*Keeper, error) {
	if c.Plan == nil {
		return nil, errors.New("starting the keeper: there is no plan")
	}
	if c.Lease == 0 {
		c.Lease = DefaultLease
	}
	if c.Epoch.IsZero() {
		c.Epoch = time.Now()
	}
	argv := c.Argv
	if len(argv) == 0 {
		argv = []string{executable(), Verb}
	}
	self, err := ourselves(c.Tool)
	if err != nil {
		return nil, fmt.Errorf("starting the keeper: %w", err)
	}
	hi, err := json.Marshal(hello{c.Plan, c.Dir, c.StateDir, self, c.Lease, procmem.Nanotime() - time.Since(c.Epoch).Nanoseconds()})
	if err != nil {
		return nil, fmt.Errorf("starting the keeper: %w", err)
	}
	r, w, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("starting the keeper: %w", err)
	}
	defer r.Close()
	k := &Keeper{
		config: c, in: w, said: make(chan []byte, maxSaid), replies: make(chan reply, 16), events: make(chan chaos.Event, maxEvents),
		ended: make(chan struct{}), hung: make(chan struct{}), dones: map[int]chaos.Done{}, begun: map[int]time.Duration{},
	}
	k.cmd = exec.Command(argv[0], argv[1:]...)
	k.cmd.Args[0] = "heapwright" // for whoever lists processes
	k.cmd.Env = environment(os.Environ())
	k.cmd.Stdin = r
	if k.cmd.Stderr = os.Stderr; c.Stderr != nil {
		k.cmd.Stderr = c.Stderr
	}
	// Ctrl-C in the terminal, or the terminal's end, is for the tool.
	k.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	out, err := k.cmd.StdoutPipe()
	if err == nil {
		err = k.cmd.Start()
	}
	if err != nil {
		w.Close()
		return nil, fmt.Errorf("starting the keeper: %w", err)
	}
	prefer(k.cmd.Process.Pid)
	go k.tell()
	go k.read(out)
	k.say(append(hi, '\n'))
	ready, err := k.await(ctx, isReady, "starting the keeper", startPatience)
	if err == nil {
		k.proxies = ready.Proxies
		if c.Target != nil {
			err = k.Take(ctx, c.Target, c.Faults)
		}
	}
	if err != nil {
		k.close()
		k.cmd.Process.Kill()
		<-k.ended
		return nil, err
	}
	return k, nil
}

// environment is ours without what says how a Go program collects: the keeper is not
// to be what is tested.
func environment(ours []string) []string {
	return slices.DeleteFunc(slices.Clone(ours), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return slices.Contains([]string{"GOGC", "GOMEMLIMIT", "GOMAXPROCS", "GODEBUG", "GOTRACEBACK"}, name)
	})
}

// Take tells the keeper what its faults are made for.
func (k *Keeper) Take(ctx context.Context, target *fault.Target, faults []*fault.Resolved) error {
	r, err := k.ask(ctx, wordTarget, taking{target, faults}, isTaken, "taking the target", takePatience)
	if err == nil {
		k.mu.Lock()
		k.journal = r.Journal
		k.mu.Unlock()
		go k.listen()
	}
	return err
}

// listen ends a keeper that has said nothing for long: what it keeps is undone then.
func (k *Keeper) listen() {
	t := time.NewTicker(time.Second)
	defer t.Stop()
	// We may have been stopped ourselves: then it is heard before the next look.
	const looks = 3
	for silent := 0; silent < looks; {
		select {
		case <-k.ended:
			return
		case <-t.C:
		}
		if time.Since(k.config.Epoch)-time.Duration(k.heardAt.Load()) > deafness {
			silent++
		} else {
			silent = 0
		}
	}
	k.cmd.Process.Kill()
}

// Proxies are the addresses of the plan's proxies, by the names of their faults.
func (k *Keeper) Proxies() map[string]string { return k.proxies }

// PID is the number of the keeper's process.
func (k *Keeper) PID() int { return k.cmd.Process.Pid }

// Before tells what was seen before the first fault: what bounds of a baseline are of.
func (k *Keeper) Before(points []chaos.Point) error { return k.word(wordBefore, points) }

// Begin begins a fault, which then takes its course: its level rises, is held, and it is
// undone. Events say so. It returns when the fault has begun, and an error when it could
// not be.
func (k *Keeper) Begin(i int) error {
	_, err := k.ask(context.Background(), wordBegin, i, isBegan, "beginning a fault", beginPatience)
	return err
}

// End undoes a fault before it is over, and returns when it is undone.
func (k *Keeper) End(i int) error {
	_, err := k.ask(context.Background(), wordEnd, i, isEnded, "ending a fault", endPatience)
	return err
}

// Here says that the tool goes on, and what only it knows. It is to be called ten times
// a second while there are faults. It does not wait.
func (k *Keeper) Here(values map[chaos.Metric]float64) {
	var more any
	if len(values) > 0 {
		more = values
	}
	b, err := line(wordHere, more)
	if err != nil {
		b = []byte(wordHere + "\n") // a value that is no number
	}
	select {
	case k.said <- b:
	default: // it does not listen: what it has not heard would be old
	}
}

// Abort has everything undone at once. It does not wait.
func (k *Keeper) Abort(why string) {
	// A keeper that does not listen, or is no more, has nothing left that this would end.
	_ = k.word(wordAbort, clip(why))
}

// Events are what happens. The channel is closed when the keeper has ended. What nobody
// takes is lost.
func (k *Keeper) Events() <-chan chaos.Event { return k.events }

// Undone is what became of a fault, once it is undone.
func (k *Keeper) Undone(i int) (chaos.Done, bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	d, ok := k.dones[i]
	return d, ok
}

// Done has everything undone, and the keeper ended. It returns what became of each fault
// that was begun, and what is left of them. When the keeper was killed, all has been
// undone from the journal, which is no error unless something is left; an event has said
// it.
func (k *Keeper) Done() (faults []chaos.Done, left []string, err error) {
	_ = k.word(wordDone, nil) // it may be gone: then there is a journal
	t := time.NewTimer(endPatience)
	defer t.Stop()
	select {
	case <-k.ended:
	case <-t.C:
		// It is stopped, or hangs. What it holds open ends with it; the rest is in the
		// journal.
		k.cmd.Process.Kill()
		<-k.ended
	}
	k.close()
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.final != nil {
		return k.final.Done, k.final.Left, nil
	}
	for _, i := range sortedKeys(k.begun) {
		d, ok := k.dones[i]
		if !ok {
			// The journal has nothing of others, and what it has is read back when it is undone.
			d = chaos.Done{Fault: i, Began: k.begun[i], Ended: time.Since(k.config.Epoch), Contained: true, Verified: k.journal != "" && len(k.left) == 0,
				Err: "the keeper ended; it was undone by the tool"}
		}
		faults = append(faults, d)
	}
	if len(k.left) > 0 || k.journal == "" {
		err = k.err
	}
	return faults, k.left, err
}

// ask tells the keeper something, and waits for its answer.
func (k *Keeper) ask(ctx context.Context, what string, more any, is, doing string, patience time.Duration) (reply, error) {
	for len(k.replies) > 0 {
		<-k.replies // to what was given up waiting for
	}
	if err := k.word(what, more); err != nil {
		return reply{}, err
	}
	return k.await(ctx, is, doing, patience)
}

// word tells the keeper something that it has to hear.
func (k *Keeper) word(what string, more any) error {
	b, err := line(what, more)
	if err != nil {
		return err
	}
	return k.say(b)
}

func (k *Keeper) say(b []byte) error {
	t := time.NewTimer(endPatience)
	defer t.Stop()
	select {
	case k.said <- b:
		return nil
	case <-k.ended:
	case <-k.hung:
	case <-t.C:
		return errors.New("telling the keeper: it does not listen")
	}
	return errors.New("telling the keeper: it has ended")
}

// tell writes what is said, one after the other.
func (k *Keeper) tell() {
	defer k.in.Close()
	for {
		select {
		case b := <-k.said:
			if _, err := k.in.Write(b); err != nil {
				return
			}
		case <-k.hung:
			return
		}
	}
}

// close says that nothing more will be said: the keeper's input ends.
func (k *Keeper) close() { k.hangUp.Do(func() { close(k.hung) }) }

// read takes what the keeper says, until it ends.
func (k *Keeper) read(out io.Reader) {
	lines := bufio.NewReaderSize(out, 64<<10)
	for {
		b, err := readLine(lines, maxLine)
		if err != nil {
			break
		}
		k.heardAt.Store(int64(time.Since(k.config.Epoch)))
		r, err := parseReply(b)
		if err != nil {
			k.event(chaos.Event{At: time.Since(k.config.Epoch), Kind: chaos.EventNote, Fault: -1, Text: clip(err.Error())})
			continue
		}
		k.heard(r)
	}
	// Whatever else it says, it is not to hang because nobody reads it.
	go io.Copy(io.Discard, out)
	err := k.cmd.Wait()
	k.over(err)
	close(k.replies)
	close(k.events)
	close(k.ended)
}

func (k *Keeper) heard(r reply) {
	switch r.Is {
	case isEvent:
		k.mu.Lock()
		if e := r.Event; e.Kind == chaos.EventFault && e.Text == Began {
			k.begun[e.Fault] = e.At
		}
		k.mu.Unlock()
		k.event(*r.Event)
	case isUndone:
		k.mu.Lock()
		k.dones[r.Done[0].Fault] = r.Done[0]
		k.mu.Unlock()
	case isHere:
	case isDone:
		k.mu.Lock()
		k.final = &r
		k.mu.Unlock()
	default:
		select {
		case k.replies <- r:
		default: // nobody asked
		}
	}
}

func (k *Keeper) event(e chaos.Event) {
	select {
	case k.events <- e:
	default:
	}
}

// over is called when the process has ended: when that was not its last word, what it
// left is undone.
func (k *Keeper) over(err error) {
	k.mu.Lock()
	journal, final := k.journal, k.final
	k.mu.Unlock()
	if final != nil {
		return
	}
	how := "exit status 0"
	if err != nil {
		how = err.Error()
	}
	k.mu.Lock()
	k.err = fmt.Errorf("the keeper ended before it was told to: %s", how)
	k.mu.Unlock()
	began := time.Now()
	ctx, cancel := context.WithTimeout(context.Background(), endPatience)
	defer cancel()
	if journal == "" {
		// It may have begun one that it could not tell us of. Whose it is says the journal.
		if _, err := Sweep(ctx, k.config.Dir); err != nil {
			k.mu.Lock()
			k.left = []string{err.Error()}
			k.mu.Unlock()
		}
		return
	}
	put, left, err := revertFile(ctx, journal)
	for _, text := range put {
		k.event(chaos.Event{At: time.Since(k.config.Epoch), Kind: chaos.EventRestored, Fault: -1, Text: clip(text)})
	}
	k.event(chaos.Event{At: time.Since(k.config.Epoch), Kind: chaos.EventAbort, Fault: -1, Text: "the keeper ended: " + clip(how), Value: time.Since(began).Seconds()})
	if err != nil {
		left = append(left, err.Error())
	}
	dropIdleLocks(filepath.Dir(journal))
	k.mu.Lock()
	k.left = left
	k.mu.Unlock()
}

// await waits for one kind of reply. Who waits is still there, and says so.
func (k *Keeper) await(ctx context.Context, is, doing string, patience time.Duration) (reply, error) {
	t := time.NewTimer(patience)
	defer t.Stop()
	here := time.NewTicker(tick)
	defer here.Stop()
	for {
		select {
		case <-here.C:
			k.Here(nil)
		case r, ok := <-k.replies:
			switch {
			case !ok:
				k.mu.Lock()
				defer k.mu.Unlock()
				return r, fmt.Errorf("%s: %w", doing, k.err)
			case r.Is == isFailed:
				return r, &FailedError{doing, r.Text, r.Hint}
			case r.Is == isBusy:
				return r, r.Busy
			case r.Is == is:
				return r, nil
			}
		case <-ctx.Done():
			return reply{}, fmt.Errorf("%s: %w", doing, ctx.Err())
		case <-t.C:
			return reply{}, fmt.Errorf("%s: the keeper says nothing", doing)
		}
	}
}
