package fault

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Verb is the hidden command that Eat is behind.
const Verb = "stress-eater"

// maxLine bounds a line between a child and who started it.
const maxLine = 16 << 10

// hurried is the niceness of a process that is to end.
const hurried = -15

var errChildGone = errors.New("our process has ended")

// An order is a line to a child. The first has a Kind.
type order struct {
	Kind string `json:"kind,omitempty"`

	// Of the first to an eater.
	Procs string `json:"procs,omitempty"`     // the file by which it enters the group
	Most  uint64 `json:"max_bytes,omitempty"` // the highest level that there will be
	Dirty bool   `json:"dirty,omitempty"`

	// Of the others: answered with the same number when it is so. Hold: stay at what is
	// held now.
	Seq   int    `json:"seq,omitempty"`
	Bytes uint64 `json:"bytes,omitempty"`
	Hold  bool   `json:"hold,omitempty"`

	// To a watcher.
	Step    *Step   `json:"step,omitempty"`
	Seconds float64 `json:"seconds,omitempty"`
}

// A report is a line from a child.
type report struct {
	Seq   int    `json:"seq"`
	Bytes uint64 `json:"held_bytes"`
	Err   string `json:"error,omitempty"`
}

// A child is a process of ours that takes orders. It ends when its input does.
type child struct {
	cmd   *exec.Cmd
	in    *os.File
	start uint64

	mu   sync.Mutex
	last report
	news chan struct{} // closed at each report, and replaced

	ended  atomic.Bool // by us
	done   chan struct{}
	status error // when done is closed
}

// startChild starts one; file is its descriptor 3.
func startChild(file *os.File, attr *syscall.SysProcAttr) (*child, error) {
	inR, inW, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	outR, outW, err := os.Pipe()
	if err != nil {
		return nil, errors.Join(err, inR.Close(), inW.Close())
	}
	c := &child{in: inW, news: make(chan struct{}), done: make(chan struct{})}
	// This program, also when its file has been replaced since.
	c.cmd = exec.Command("/proc/self/exe", Verb)
	c.cmd.Env = []string{"GOMAXPROCS=2"}
	c.cmd.Stdin, c.cmd.Stdout = inR, outW
	c.cmd.SysProcAttr = attr
	if file != nil {
		c.cmd.ExtraFiles = []*os.File{file}
	}
	started := make(chan error)
	go func() {
		// The kernel ends the child when the thread that forked ends, not the process:
		// this one stays.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := c.cmd.Start()
		inR.Close()
		outW.Close()
		if err != nil {
			started <- errors.Join(err, inW.Close(), outR.Close())
			return
		}
		if s, err := readStat("", c.cmd.Process.Pid); err == nil {
			c.start = s.start // it is not waited for yet: the number is its
		}
		started <- nil
		read := make(chan struct{})
		go func() {
			defer close(read)
			c.read(outR)
		}()
		c.status = c.cmd.Wait()
		<-read
		outR.Close()
		inW.Close()
		close(c.done)
	}()
	if err := <-started; err != nil {
		return nil, err
	}
	return c, nil
}

func (c *child) read(r io.Reader) {
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, 1<<10), maxLine)
	for lines.Scan() {
		var rep report
		if json.Unmarshal(lines.Bytes(), &rep) != nil {
			continue
		}
		c.mu.Lock()
		c.last = rep
		close(c.news)
		c.news = make(chan struct{})
		c.mu.Unlock()
	}
	_, _ = io.Copy(io.Discard, r)
}

// note has the journal know of the process.
func (c *child) note(j Journal) (Step, error) {
	step := Step{ID: nextStep(), Kind: StepProcess, PID: c.cmd.Process.Pid, Start: c.start}
	if err := j.Will(step); err != nil {
		return Step{}, fmt.Errorf("writing the journal: %w", err)
	}
	return step, nil
}

func (c *child) send(o order) error {
	line, err := json.Marshal(o)
	if err != nil {
		return err
	}
	// One that does not read, as a process that was stopped, must not stop us.
	_ = c.in.SetWriteDeadline(time.Now().Add(time.Second))
	if _, err := c.in.Write(append(line, '\n')); err != nil {
		if errors.Is(err, syscall.EPIPE) || errors.Is(err, os.ErrClosed) {
			return errChildGone
		}
		return fmt.Errorf("telling our process %d: %w", c.cmd.Process.Pid, err)
	}
	return nil
}

// answer waits for the answer to an order, or a later one.
func (c *child) answer(ctx context.Context, seq int) (report, error) {
	for {
		c.mu.Lock()
		last, news := c.last, c.news
		c.mu.Unlock()
		if last.Err != "" {
			return last, errors.New(last.Err)
		}
		if last.Seq >= seq+1 { // answers count from one: zero is none yet
			return last, nil
		}
		select {
		case <-ctx.Done():
			return last, context.Cause(ctx)
		case <-c.done:
			c.mu.Lock()
			last = c.last
			c.mu.Unlock()
			if last.Err != "" {
				return last, errors.New(last.Err)
			}
			return last, errChildGone
		case <-news:
		}
	}
}

// kill ends the process at once. It is a handle of the kernel's that is killed, and
// never another process with its number.
func (c *child) kill() {
	c.ended.Store(true)
	select {
	case <-c.done:
		return
	default:
	}
	// It is the process that gives its memory back while it ends, and it is waited for.
	if pid := c.cmd.Process.Pid; running("", pid, c.start) { // and the number is not another's by now
		renice(pid, hurried)
	}
	_ = c.cmd.Process.Kill()
}
