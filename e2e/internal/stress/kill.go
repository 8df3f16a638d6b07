package stress

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/heapwright/heapwright/e2e/internal/harness"
)

// killFaults are faults of every manner of undoing, and how long each lasts: a process in
// the group, a limit of it, a quota of it, a frozen group, and hooks in the service.
var killFaults = []struct {
	name, line string
	lasts      time.Duration
}{
	{"sibling", "{kind: sibling, level: 64MiB, ramp: 1s, hold: 2s}", 3 * time.Second},
	{"limit.hard", "{kind: limit.hard, level: 120MiB, ramp: 2s, steps: 4, hold: 2s}", 4 * time.Second},
	{"freeze", "{kind: freeze, level: 2s}", 2 * time.Second},
	{"cpu.quota", "{kind: cpu.quota, level: 0.3 cores, ramp: 1s, hold: 2s}", 3 * time.Second},
	{"heap.retain", "{kind: heap.retain, level: 32MiB, ramp: 1s, hold: 2s}", 3 * time.Second},
	{"goroutines", "{kind: goroutines, level: 500, ramp: 1s, hold: 2s}", 3 * time.Second},
}

const killTarget = `schema: heapwright.stress/1
name: kill
target:
%s
before: 1s
between: 0s
recovery: {within: 1s, stable: 0s, memory: 1s}
hypothesis:
- {metric: restarts, at_most: 0}
abort:
- {metric: restarts, at_most: 0}
faults:
`

// killStart is the part of a plan of which heapwright starts the target itself.
const killStart = `  memory_limit: 256MiB
  cpu_quota: 0.8
  start:
    command: [%q]
    args: ["-addr", "127.0.0.1:{port}", "-debug", "127.0.0.1:{port2}"]
    ready: {http: "http://127.0.0.1:{port}/readyz"}
  debug: "http://127.0.0.1:{port2}/debug/heapwright/"`

// A Moment is one at which something was killed.
type Moment struct {
	Who     string        `json:"who"` // tool, keeper, both
	Started bool          `json:"started"`
	Fault   string        `json:"fault"`
	Doing   string        `json:"doing"` // what the tool last said that it did
	After   time.Duration `json:"after_ns"`
	// Changed is how the target was not as before, just when it was killed.
	Changed []string      `json:"changed"`
	Settled time.Duration `json:"settled_ns"` // until nothing was left
	// By is who put the rest back: nobody, heapwright undo, or the next run.
	By   string   `json:"by"`
	Left []string `json:"left"`
}

// Killers are who can be killed.
var Killers = []string{"tool", "keeper", "both"}

// killPatience is how long after a kill something may be left.
const killPatience = 20 * time.Second

// Kill carries out a plan with one fault on a service of its own, and kills the tool, its
// keeper or both at a moment that the generator draws. It says what is left then; an
// error is that it could not be tried. started has heapwright start the service itself.
func (b *Bench) Kill(ctx context.Context, who string, started bool, n int, r *rand.Rand) (*Moment, error) {
	what := killFaults[n%len(killFaults)]
	m := &Moment{Who: who, Started: started, Fault: what.name}
	dir, err := os.MkdirTemp(b.Dir, "kill-")
	if err != nil {
		return nil, err
	}
	s := &killScene{dir: dir, state: filepath.Join(dir, "state"), seen: map[int]Process{}}
	for _, d := range []string{s.state, filepath.Join(dir, "tmp")} {
		if err := os.Mkdir(d, 0o700); err != nil {
			return nil, err
		}
	}
	target := fmt.Sprintf(killStart, b.Programs["stresssubject"])
	if !started {
		end, err := s.serve(ctx, b.Programs["stresssubject"])
		if err != nil {
			return nil, err
		}
		defer end()
		target = fmt.Sprintf("  pid: %d\n  debug: %q", s.pid, s.page)
	}
	plan := filepath.Join(dir, "kill.yaml")
	if err := os.WriteFile(plan, fmt.Appendf(nil, killTarget+"- %s\n", target, what.line), 0o666); err != nil {
		return nil, err
	}

	// Most moments are while there is a fault or just after; the others are any.
	wait, since := time.Duration(r.Int64N(int64(what.lasts+500*time.Millisecond))), "fault "+what.name
	if r.IntN(5) == 0 {
		wait, since = time.Duration(r.Int64N(int64(4*time.Second))), ""
	}
	tool, err := s.run(b.Heapwright, plan)
	if err != nil {
		return nil, err
	}
	defer tool.end()
	if err := tool.await(ctx, since, wait, func() { s.look(tool.cmd.Process.Pid) }); err != nil {
		return nil, err
	}
	tool.mu.Lock()
	m.Doing = tool.said
	tool.mu.Unlock()
	m.After = wait
	if !started {
		m.Changed = s.changed()
	}

	keeper := s.look(tool.cmd.Process.Pid)
	killed := time.Now()
	if keeper.PID > 0 && who != "tool" {
		if err := syscall.Kill(keeper.PID, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			return nil, err
		}
	}
	if who == "keeper" && keeper.PID > 0 {
		// The tool sees it, undoes, and ends by itself.
		select {
		case <-tool.ended:
		case <-time.After(2 * time.Minute):
			m.Left = append(m.Left, "the tool, which went on without its keeper")
		}
	} else {
		tool.cmd.Process.Kill()
		<-tool.ended
	}
	if who == "both" {
		s.gone(5 * time.Second) // what is being killed is not gone yet
		if err := s.putBack(ctx, b.Heapwright, plan, r.IntN(4) == 0 && !started, m); err != nil {
			return nil, err
		}
	}
	left := func() []string {
		out := s.left(!started)
		if who == "both" || started {
			return out
		}
		return append(out, Journals(s.state)...)
	}
	for {
		rest := left()
		if m.Settled = time.Since(killed); len(rest) == 0 || m.Settled > killPatience {
			m.Left = append(m.Left, rest...)
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	if started && who != "both" {
		// The directory and the groups of a target that was started are the next run's to
		// remove, or undo's.
		if err := s.putBack(ctx, b.Heapwright, plan, false, m); err != nil {
			return nil, err
		}
	}
	m.Left = append(m.Left, s.traces()...)
	return m, os.RemoveAll(dir)
}

// A killScene is where a kill takes place.
type killScene struct {
	dir, state string

	// Of a target that was not started by heapwright.
	pid    int
	page   string
	group  Group
	before map[string]string

	mu     sync.Mutex
	seen   map[int]Process // all that descend from the tool
	groups map[string]bool // directories of those that the tool has started
}

// serve starts the service in groups of its own.
func (s *killScene) serve(ctx context.Context, program string) (end func(), err error) {
	group, err := harness.MakeCgroup(harness.Limits{MemoryBytes: 256 << 20, CPUCores: 0.8, Freezer: true})
	if err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, errors.Join(err, group.Remove())
	}
	page := l.Addr().String()
	l.Close()
	cmd := exec.Command(program, "-debug", page)
	group.Enter(cmd)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		return nil, errors.Join(err, group.Remove())
	}
	end = func() {
		cmd.Process.Kill()
		cmd.Wait()
		for range 200 {
			if group.Remove() == nil {
				return
			}
			time.Sleep(10 * time.Millisecond) // the dead leave it a little later
		}
	}
	if line, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		end()
		return nil, fmt.Errorf("the service says %q: %w", line, err)
	}
	s.pid, s.page = cmd.Process.Pid, "http://"+page+"/debug/heapwright/"
	if s.group, err = GroupOf(s.pid); err != nil {
		end()
		return nil, err
	}
	s.before = s.group.State(s.pid)
	return end, nil
}

// changed is how the service is not as before, with what hooks hold inside of it.
func (s *killScene) changed() []string {
	out := Changed(s.before, s.group.State(s.pid))
	if len(out) > 0 {
		return out // one that stands still need not be asked
	}
	client := http.Client{Timeout: 2 * time.Second}
	r, err := client.Get(s.page + "faults")
	if err != nil {
		return []string{err.Error()}
	}
	defer r.Body.Close()
	var status struct {
		Active []any `json:"active"`
		Bytes  int   `json:"held_bytes"`
		Herd   int   `json:"held_goroutines"`
	}
	if err := json.NewDecoder(r.Body).Decode(&status); err != nil {
		return []string{err.Error()}
	}
	if n := len(status.Active); n > 0 {
		out = append(out, fmt.Sprintf("%d faults inside", n))
	}
	if status.Bytes > 0 || status.Herd > 0 {
		out = append(out, fmt.Sprintf("%d bytes and %d goroutines held inside", status.Bytes, status.Herd))
	}
	return out
}

// look notes who descends from the tool, and returns its keeper.
func (s *killScene) look(tool int) (keeper Process) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range Below(tool) {
		s.seen[p.PID] = p
		argv := p.Command()
		if slices.Contains(argv, "stress-keeper") {
			keeper = p
		}
		if s.pid == 0 && p.Parent == tool && strings.HasSuffix(argv[0], "stresssubject") {
			if g, err := GroupOf(p.PID); err == nil {
				for _, dir := range g {
					if strings.Contains(filepath.Base(dir), "heapwright") {
						if s.groups == nil {
							s.groups = map[string]bool{}
						}
						s.groups[dir] = true
					}
				}
			}
		}
	}
	return keeper
}

// running are the processes of the tool that have not ended.
func (s *killScene) running() (out []string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, p := range s.seen {
		if p.Runs() {
			out = append(out, fmt.Sprintf("process %d: %.200s", p.PID, strings.Join(p.Command(), " ")))
		}
	}
	return out
}

func (s *killScene) gone(within time.Duration) {
	for end := time.Now().Add(within); len(s.running()) > 0 && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
}

func (s *killScene) left(found bool) []string {
	out := s.running()
	if found {
		out = append(out, s.changed()...)
	}
	return out
}

// traces are files and groups that are left at the very end.
func (s *killScene) traces() (out []string) {
	out = Journals(s.state)
	for dir := range s.groups {
		if _, err := os.Stat(dir); err == nil {
			out = append(out, dir)
		}
	}
	for _, pattern := range []string{"tmp/*", ".*"} {
		files, _ := filepath.Glob(filepath.Join(s.dir, pattern))
		for _, f := range files {
			out = append(out, "file "+f)
		}
	}
	return out
}

// putBack has heapwright undo what is left, or the next run.
func (s *killScene) putBack(ctx context.Context, heapwright, plan string, run bool, m *Moment) error {
	m.By = "undo"
	args := []string{"undo", "--all"}
	if run {
		m.By = "the next run"
		args = []string{"stress", plan, "--yes", "-o", filepath.Join(s.dir, "next.hwstress")}
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, heapwright, args...)
	cmd.Env = s.environment()
	cmd.Dir = s.dir
	text, err := cmd.CombinedOutput()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) || ctx.Err() != nil {
		return fmt.Errorf("heapwright %v: %w\n%s", args, err, text)
	}
	if code := cmd.ProcessState.ExitCode(); code != 0 && !(run && code == 1) {
		m.Left = append(m.Left, fmt.Sprintf("heapwright %s ended with %d: %.500s", args[0], code, text))
	}
	return nil
}

func (s *killScene) environment() []string {
	return append(os.Environ(), "HEAPWRIGHT_STATE_DIR="+s.state, "TMPDIR="+filepath.Join(s.dir, "tmp"))
}

// A killTool is a heapwright that carries out a plan.
type killTool struct {
	cmd   *exec.Cmd
	ended chan struct{}

	mu   sync.Mutex
	said string
	all  bytes.Buffer
	at   map[string]time.Time // when it said what it does
}

func (s *killScene) run(heapwright, plan string) (*killTool, error) {
	t := &killTool{ended: make(chan struct{}), at: map[string]time.Time{}}
	t.cmd = exec.Command(heapwright, "stress", plan, "--yes", "--json", "-o", filepath.Join(s.dir, "one.hwstress"))
	t.cmd.Env = s.environment()
	t.cmd.Dir = s.dir
	t.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	said, err := t.cmd.StderrPipe()
	if err == nil {
		err = t.cmd.Start()
	}
	if err != nil {
		return nil, err
	}
	read := make(chan struct{})
	go func() {
		defer close(read)
		for lines := bufio.NewScanner(said); lines.Scan(); {
			t.mu.Lock()
			fmt.Fprintln(&t.all, lines.Text())
			if _, what, ok := strings.Cut(lines.Text(), "kill: "); ok {
				t.said, t.at[what] = what, time.Now()
			}
			t.mu.Unlock()
		}
	}()
	go func() {
		defer close(t.ended)
		// Not to its end: those who outlive it may have the other end of the pipe.
		select {
		case <-read:
		case <-t.exited():
		}
		t.cmd.Wait()
	}()
	return t, nil
}

// exited is closed when the process is a zombie, and not yet waited for.
func (t *killTool) exited() <-chan struct{} {
	c := make(chan struct{})
	go func() {
		defer close(c)
		for {
			if _, err := Look(t.cmd.Process.Pid); err != nil {
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	}()
	return c
}

// await waits until so long after the tool has said something; "" is when it started.
func (t *killTool) await(ctx context.Context, what string, wait time.Duration, look func()) error {
	began := time.Now()
	for {
		t.mu.Lock()
		since, ok := t.at[what]
		t.mu.Unlock()
		if what == "" {
			since, ok = began, true
		}
		if ok && time.Since(since) >= wait {
			return nil
		}
		select {
		case <-t.ended:
			t.mu.Lock()
			defer t.mu.Unlock()
			if ok {
				return nil // it has come to its end before
			}
			return fmt.Errorf("the plan has ended before %q: %s", what, t.all.String())
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(20 * time.Millisecond):
		}
		look()
		if time.Since(began) > 2*time.Minute {
			return fmt.Errorf("%q does not come in two minutes: %s", what, t.all.String())
		}
	}
}

func (t *killTool) end() {
	t.cmd.Process.Kill()
	<-t.ended
}
