package load

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
	"strconv"
	"strings"
	"sync"
	"time"
)

// A process is the generator, started from this very program.
type process struct {
	*child
	in      io.WriteCloser
	replies chan reply // closed when there are no more
	stderr  *tail
	ticks   stream // closed with replies
	config  Config
	once    sync.Once
}

func startProcess(ctx context.Context, c Config) (*process, error) {
	hello, err := json.Marshal(c)
	if err != nil {
		return nil, err
	}
	exe, err := executable()
	if err != nil {
		return nil, err
	}
	p := &process{replies: make(chan reply, 1), ticks: make(stream, maxTicks), stderr: &tail{}, config: c}
	cmd := exec.Command(exe, Verb)
	cmd.Args[0] = "heapwright" // for whoever lists processes
	cmd.Env = environment(os.Environ())
	p.in, err = cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	p.child, err = spawn(cmd, p.read, p.stderr.read)
	if err != nil {
		return nil, err
	}
	if _, err := p.in.Write(append(hello, '\n')); err != nil {
		defer p.kill()
		return nil, p.dead()
	}
	if _, err := p.await(ctx, isSending, startPatience); err != nil {
		p.kill()
		return nil, err
	}
	renice(p.cmd.Process.Pid, niceness) // threads that it has made meanwhile
	return p, nil
}

// environment is that of the generator: its collector runs rarely, and it has one P
// more than there are CPUs, as one is always in the system call that sleeps.
func environment(ours []string) []string {
	var env []string
	for _, kv := range ours {
		switch name, _, _ := strings.Cut(kv, "="); name {
		case "GOGC", "GOMEMLIMIT", "GOMAXPROCS", "GODEBUG", "GOTRACEBACK":
		default:
			env = append(env, kv)
		}
	}
	return append(env, "GOGC=800", "GOMAXPROCS="+strconv.Itoa(runtime.GOMAXPROCS(0)+1))
}

// read hands on what the generator says.
func (p *process) read(out io.Reader) {
	defer close(p.replies)
	defer close(p.ticks)
	lines := bufio.NewScanner(out)
	lines.Buffer(nil, maxReplyLine)
	for lines.Scan() {
		var r reply
		if err := json.Unmarshal(lines.Bytes(), &r); err != nil {
			r = reply{Is: isFailed, Text: fmt.Sprintf("what the generator says makes no sense: %v", err)}
		}
		if r.Is == isTick && r.Tick != nil {
			t, err := r.Tick.tick()
			if err == nil && t.Target >= 0 && t.Target < len(p.config.Targets) {
				p.ticks.put(t)
				continue
			}
			if err == nil {
				err = fmt.Errorf("the generator has a tick of target %d", t.Target)
			}
			r = reply{Is: isFailed, Text: err.Error()}
		}
		p.replies <- r
		if r.Is == isFailed || r.Is == isDone {
			break
		}
	}
	// Whatever else it says, it is not to hang because nobody reads it. It fails when
	// the pipe is closed.
	_, _ = io.Copy(io.Discard, out)
}

// await waits for one kind of reply.
func (p *process) await(ctx context.Context, is string, patience time.Duration) (reply, error) {
	t := time.NewTimer(patience)
	defer t.Stop()
	select {
	case r, ok := <-p.replies:
		switch {
		case !ok:
			return r, p.dead()
		case r.Is == isFailed:
			return r, errors.New(r.Text)
		case r.Is != is:
			return r, fmt.Errorf("the generator says %q, not %q", r.Is, is)
		}
		return r, nil
	case <-ctx.Done():
		return reply{}, ctx.Err()
	case <-t.C:
		return reply{}, errSilent
	}
}

// dead says how the generator ended; it is at its end.
func (p *process) dead() error {
	select {
	case <-p.done:
	case <-time.After(endPatience):
		p.kill()
	}
	how := "exit status 0"
	if p.err != nil {
		how = p.err.Error()
	}
	if said := errorText(errors.New(p.stderr.String())); said != "" {
		how += ", and said: " + said
	}
	return fmt.Errorf("the generator ended before it was told to: %s", how)
}

func (p *process) tell(word string) error {
	if _, err := io.WriteString(p.in, word+"\n"); err != nil {
		return p.dead()
	}
	return nil
}

func (p *process) measure() error {
	if err := p.tell(wordMeasure); err != nil {
		return err
	}
	_, err := p.await(context.Background(), isMeasuring, wordPatience)
	return err
}

func (p *process) finish() ([]Report, error) {
	if err := p.tell(wordStop); err != nil {
		return nil, err
	}
	r, err := p.await(context.Background(), isDone, p.config.Timeout+wordPatience)
	if err != nil {
		return nil, err
	}
	if len(r.Reports) != len(p.config.Targets) {
		return nil, fmt.Errorf("the generator reports on %d targets, not %d", len(r.Reports), len(p.config.Targets))
	}
	var reports []Report
	for _, w := range r.Reports {
		report, err := w.report()
		if err != nil {
			return nil, err
		}
		reports = append(reports, report)
	}
	p.in.Close()
	select {
	case <-p.done:
	case <-time.After(endPatience):
	}
	return reports, nil
}

func (p *process) kill() {
	p.once.Do(func() {
		p.in.Close()
		select {
		case <-p.done: // its number may be another's by now
		default:
			p.child.kill()
		}
	})
	// What it said may not have been read.
	for {
		select {
		case <-p.done:
			return
		case _, ok := <-p.replies:
			if !ok {
				<-p.done
				return
			}
		}
	}
}

// A tail keeps the last of what is written to it.
type tail struct {
	mu sync.Mutex
	b  []byte
}

const maxTail = 4 << 10

func (t *tail) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	n := len(b)
	if len(b) > maxTail {
		b = b[len(b)-maxTail:]
	}
	if over := len(t.b) + len(b) - maxTail; over > 0 {
		t.b = append(t.b[:0], t.b[over:]...)
	}
	t.b = append(t.b, b...)
	return n, nil
}

func (t *tail) read(r io.Reader) { _, _ = io.Copy(t, r) }

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return strings.TrimSpace(string(t.b))
}
