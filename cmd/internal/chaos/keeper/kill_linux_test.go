package keeper

import (
	"bufio"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
	"github.com/heapwright/heapwright/cmd/internal/chaos/fault"
	"github.com/heapwright/heapwright/cmd/internal/chaos/sense"
	"github.com/heapwright/heapwright/cmd/internal/experiment"
	"github.com/heapwright/heapwright/cmd/internal/procmem"
	"github.com/heapwright/heapwright/cmd/internal/targettest"
)

var kills = flag.Int("kills", 2, "how many random moments each kind of end is tried at")

const (
	toolVerb   = "keeper-tool"
	targetVerb = "keeper-target"
	mebi       = 1 << 20
)

// beTarget is a small Go program in cgroups of its own, which collects now and then. It
// ends with its input.
func beTarget(context.Context) error {
	for _, dir := range os.Args[2:] {
		if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(os.Getpid())), 0); err != nil {
			return err
		}
	}
	heap := make([]byte, 32*mebi)
	for i := 0; i < len(heap); i += 4096 {
		heap[i] = 1
	}
	fmt.Println("ready")
	go func() {
		for i := 0; ; i++ {
			garbage = make([]byte, 256<<10)
			heap[i%len(heap)]++
			time.Sleep(2 * time.Millisecond)
		}
	}()
	_, err := io.Copy(io.Discard, os.Stdin)
	return err
}

var garbage []byte

// A toolSpec is what the tool of a test does.
type toolSpec struct {
	PID           int
	Dir, StateDir string
	Abort         []chaos.Criterion
}

// killFaults are faults of every manner of undoing: a process of ours in the cgroup, a
// file of the cgroup, a file that is written many times, a stopped process, a word in a
// running process.
func killFaults() []chaos.Fault {
	hold := time.Minute
	return []chaos.Fault{
		{Name: "sibling", Kind: chaos.Sibling, Level: chaos.Level{Value: 48 * mebi}, Ramp: time.Second, Hold: hold, Concurrency: 1},
		{Name: "quota", Kind: chaos.CPUQuota, Level: chaos.Level{Value: 0.3}, Ramp: time.Second, Hold: hold},
		{Name: "limit", Kind: chaos.HardLimit, Level: chaos.Level{Value: 200 * mebi}, Ramp: 2 * time.Second, Hold: hold},
		{Name: "soft", Kind: chaos.SoftLimit, Level: chaos.Level{Value: 128 * mebi}, Ramp: time.Second, Hold: hold},
		{Name: "freeze", Kind: chaos.Freeze, Level: chaos.Level{Value: 2}, Hold: hold},
	}
}

// beTool carries out a plan on a process until it is killed: all of its faults at once.
// What it says are lines: the keeper's number, and which faults have begun.
func beTool(ctx context.Context) error {
	var spec toolSpec
	if err := json.Unmarshal([]byte(os.Args[2]), &spec); err != nil {
		return err
	}
	plan := &chaos.Plan{Name: "kill", Faults: killFaults(), Abort: spec.Abort, Caps: chaos.Caps{Memory: experiment.Bytes(256 * mebi)}}
	target, err := fault.Locate(ctx, spec.PID, "")
	if err != nil {
		return err
	}
	room, err := fault.Look()
	if err != nil {
		return err
	}
	var faults []*fault.Resolved
	for _, f := range plan.Faults {
		r, err := fault.Resolve(ctx, f, target, plan.Caps, room)
		if err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
		faults = append(faults, r)
	}
	k, err := Start(ctx, Config{Plan: plan, Target: target, Faults: faults, Dir: spec.Dir, StateDir: spec.StateDir, Tool: "test"})
	if err != nil {
		return err
	}
	fmt.Println("keeper", k.PID())
	done := make(chan struct{})
	go func() {
		for {
			select {
			case <-done:
				return
			case <-time.After(tick):
				k.Here(nil)
			}
		}
	}()
	var events sync.WaitGroup
	events.Go(func() {
		for e := range k.Events() {
			text, _ := json.Marshal(e)
			fmt.Println("event", string(text))
		}
	})
	for i := range faults {
		if err := k.Begin(i); err != nil {
			fmt.Println("refused", i, err)
			break
		}
	}
	line, err := bufio.NewReader(os.Stdin).ReadString('\n')
	if err == nil && line == "keep on\n" {
		io.Copy(io.Discard, os.Stdin)
	}
	dones, left, err := k.Done()
	close(done)
	events.Wait()
	text, _ := json.Marshal(dones)
	fmt.Println("dones", string(text))
	fmt.Println("left", left, err)
	return err
}

// A scene is a target in cgroups of its own, and what there was before.
type scene struct {
	groups *targettest.Groups
	pid    int
	limit  string
	quota  string
	before map[chaos.Metric]float64
	state  string // directory
}

func newScene(t *testing.T) *scene {
	t.Helper()
	s := &scene{groups: targettest.MakeGroups(t, "memory", "cpu", "freezer"), state: t.TempDir()}
	os.Chmod(s.state, 0o700)
	write := func(file, value string) {
		if err := os.WriteFile(s.groups.Path(file), []byte(value), 0); err != nil {
			t.Skipf("needs to set %s: %v", file, err)
		}
	}
	write("memory.limit_in_bytes", strconv.Itoa(256*mebi))
	write("cpu.cfs_quota_us", "80000")
	cmd := exec.Command("/proc/self/exe", append([]string{targetVerb}, s.groups.Dirs()...)...)
	cmd.Stderr = os.Stderr
	targettest.Ready(t, cmd)
	s.pid = cmd.Process.Pid
	s.limit, s.quota = s.file(t, "memory.limit_in_bytes"), s.file(t, "cpu.cfs_quota_us")
	s.before = s.read(t)
	return s
}

// file reads a file of the groups, by its name in v1.
func (s *scene) file(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(s.groups.Path(name))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text))
}

func (s *scene) read(t *testing.T) map[chaos.Metric]float64 {
	t.Helper()
	eyes, err := sense.Open(t.Context(), s.pid, sense.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer eyes.Close()
	for n := range 50 {
		if p := eyes.Read(time.Duration(n) * tick); len(p.Values) > 0 {
			if _, ok := p.Values[chaos.LiveHeap]; ok {
				return p.Values
			}
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatal("the runtime of the target cannot be read: ", eyes.Why())
	return nil
}

// left says what is not as it was before.
func (s *scene) left(t *testing.T, pids ...int) []string {
	t.Helper()
	var left []string
	say := func(format string, args ...any) { left = append(left, fmt.Sprintf(format, args...)) }
	if v := s.file(t, "memory.limit_in_bytes"); v != s.limit {
		say("the limit is %s", v)
	}
	if v := s.file(t, "cpu.cfs_quota_us"); v != s.quota {
		say("the quota is %s", v)
	}
	if v := s.file(t, "freezer.state"); v != "THAWED" && v != "0" {
		say("the cgroup is %s", v)
	}
	if isStopped(s.pid) {
		say("the target is stopped")
	}
	for _, dir := range s.groups.Dirs() {
		text, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		if v := strings.TrimSpace(string(text)); err != nil || v != strconv.Itoa(s.pid) {
			say("in the cgroup %s there are %q, %v", dir, v, err)
		}
	}
	files, err := os.ReadDir(s.state + "/run")
	if err != nil && !missing(err) {
		t.Fatal(err)
	}
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), lockDots) || strings.HasPrefix(f.Name(), ".") {
			say("there is %s", f.Name())
		}
	}
	for _, pid := range pids {
		if _, err := procmem.StartTicks(pid); err == nil {
			say("process %d runs", pid)
		}
	}
	if len(left) > 0 {
		return left // a frozen process need not be looked into
	}
	now := s.read(t)
	if was, is := s.before[chaos.MemoryLimitGo], now[chaos.MemoryLimitGo]; was != is {
		say("GOMEMLIMIT is %v, and was %v", is, was)
	}
	if now[chaos.Restarts] != 0 {
		say("the target has ended")
	}
	return left
}

// settle waits until nothing is left, and says how long that took.
func (s *scene) settle(t *testing.T, since time.Time, pids ...int) (took time.Duration, left []string) {
	t.Helper()
	const most = 20 * time.Second
	for {
		if left = s.left(t, pids...); len(left) == 0 {
			return time.Since(since), nil
		}
		if took = time.Since(since); took > most {
			return took, left
		}
		time.Sleep(2 * time.Millisecond)
	}
}

// A toolRun is a tool that carries out its plan.
type toolRun struct {
	cmd    *exec.Cmd
	in     io.WriteCloser
	keeper chan int // its number, once

	mu    sync.Mutex
	lines []string
}

func (s *scene) startTool(t *testing.T, abort ...chaos.Criterion) *toolRun {
	t.Helper()
	arg, err := json.Marshal(toolSpec{s.pid, s.state + "/run", s.state, abort})
	if err != nil {
		t.Fatal(err)
	}
	r := &toolRun{cmd: exec.Command("/proc/self/exe", toolVerb, string(arg)), keeper: make(chan int, 1)}
	r.cmd.Env = append(os.Environ(), "HEAPWRIGHT_STATE_DIR="+s.state)
	var complaints *os.File
	if complaints, err = os.Create(filepath.Join(s.state, "stderr")); err != nil {
		t.Fatal(err)
	}
	defer complaints.Close()
	r.cmd.Stderr = complaints
	r.in, err = r.cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := r.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := r.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(r.keeper)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			line := lines.Text()
			if text, ok := strings.CutPrefix(line, "keeper "); ok {
				if pid, err := strconv.Atoi(text); err == nil {
					r.keeper <- pid
				}
			}
			r.mu.Lock()
			r.lines = append(r.lines, line)
			r.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		r.cmd.Process.Kill()
		r.cmd.Wait()
	})
	return r
}

// said waits until the tool has said something.
func (r *toolRun) said(t *testing.T, what string) {
	t.Helper()
	for range 1000 {
		r.mu.Lock()
		ok := slices.ContainsFunc(r.lines, func(l string) bool { return strings.Contains(l, what) })
		r.mu.Unlock()
		if ok {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	t.Fatalf("the tool does not say %q, but %q", what, r.lines)
}

// rollbacks are how long rollbacks took, as the log has it.
func (s *scene) rollbacks(t *testing.T) []float64 {
	text, err := os.ReadFile(filepath.Join(s.state, logName))
	if missing(err) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	var out []float64
	for line := range strings.Lines(string(text)) {
		var e Entry
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			t.Fatal(err)
		}
		if e.Action == ActionAbort {
			out = append(out, e.Took)
		}
	}
	return out
}

// TestKill ends the tool, the keeper, and both, at random moments of a plan with faults
// of every kind, and stops the tool for longer than the lease: each time nothing may be
// left. With -kills 60 it is a campaign.
func TestKill(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds for each")
	}
	for _, what := range []string{"tool", "keeper", "both", "stop"} {
		t.Run(what, func(t *testing.T) {
			s := newScene(t)
			var settled, rolled []float64
			phases := map[string]int{}
			for range *kills {
				os.Remove(filepath.Join(s.state, logName))
				r := s.startTool(t)
				// From before there is a keeper until all faults are at their level.
				wait := time.Duration(rand.Int64N(int64(4 * time.Second)))
				time.Sleep(wait)
				var pids []int
				select {
				case pid, ok := <-r.keeper:
					if ok {
						pids = append(pids, pid)
					}
				default:
				}
				r.mu.Lock()
				begun := 0
				for _, l := range r.lines {
					if strings.Contains(l, `"text":"`+Began+`"`) {
						begun++
					}
				}
				r.mu.Unlock()
				phases[fmt.Sprint(begun, " begun")]++
				keeper := 0
				if len(pids) > 0 {
					keeper = pids[0]
				}
				since := time.Now()
				switch what {
				case "tool":
					r.cmd.Process.Kill()
				case "keeper":
					if keeper > 0 {
						syscall.Kill(keeper, syscall.SIGKILL)
					} else {
						r.cmd.Process.Kill() // there is none yet
					}
				case "both":
					if keeper > 0 {
						syscall.Kill(keeper, syscall.SIGKILL)
					}
					r.cmd.Process.Kill()
					r.cmd.Wait()
					for range 1000 {
						if _, err := procmem.StartTicks(keeper); keeper == 0 || err != nil {
							break
						}
						time.Sleep(time.Millisecond) // what is being killed is not gone yet
					}
					put, err := Sweep(t.Context(), s.state+"/run")
					if err != nil {
						t.Error(err)
					}
					if testing.Verbose() {
						t.Logf("sweep: %q", put)
					}
				case "stop":
					r.cmd.Process.Signal(syscall.SIGSTOP)
					if begun == 0 {
						r.cmd.Process.Kill() // there is no lease yet
					}
				}
				if what == "stop" && begun > 0 {
					pids = nil // the keeper stays, for the tool to come back
				}
				if what == "both" && keeper == 0 {
					// A keeper that was just started ends when its input does.
					time.Sleep(500 * time.Millisecond)
				}
				took, left := s.settleBut(t, what, since, pids...)
				if len(left) > 0 {
					complaints, _ := os.ReadFile(filepath.Join(s.state, "stderr"))
					r.mu.Lock()
					t.Errorf("killed %s after %v: %q is left\n%s\n%s", what, wait, left, strings.Join(r.lines, "\n"), complaints)
					r.mu.Unlock()
				}
				if begun > 0 {
					settled = append(settled, took.Seconds())
				}
				r.cmd.Process.Kill()
				r.cmd.Wait()
				// What the tool has left when it was stopped.
				if _, left := s.settleBut(t, what, time.Now(), pids...); len(left) > 0 {
					t.Fatalf("at the end %q is left", left)
				}
				rolled = append(rolled, s.rollbacks(t)...)
			}
			t.Logf("%s: %d moments (%v); from the end of it until nothing is left: %s; rollback by the keeper's clock: %s", what, *kills, phases, distribution(settled), distribution(rolled))
		})
	}
}

// settleBut waits until nothing is left. Where the tool stays, its keeper stays, and so
// does the journal, which says that nothing is to be undone.
func (s *scene) settleBut(t *testing.T, what string, since time.Time, pids ...int) (time.Duration, []string) {
	t.Helper()
	if what != "stop" {
		return s.settle(t, since, pids...)
	}
	for {
		left := slices.DeleteFunc(s.left(t), func(text string) bool {
			return strings.HasSuffix(text, journalDots) && s.nothingOpen(t)
		})
		took := time.Since(since)
		if len(left) == 0 || took > 20*time.Second {
			return took, left
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func (s *scene) nothingOpen(t *testing.T) bool {
	names, err := filepath.Glob(s.state + "/run/*" + journalDots)
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range names {
		if _, steps, err := readJournal(n); err != nil && !missing(err) || len(steps) > 0 {
			return false
		}
	}
	return true
}

func distribution(v []float64) string {
	if len(v) == 0 {
		return "none"
	}
	slices.Sort(v)
	at := func(q float64) float64 { return v[min(int(q*float64(len(v))), len(v)-1)] * 1000 }
	text, _ := os.ReadFile("/proc/loadavg")
	load, _, _ := strings.Cut(string(text), " ")
	return fmt.Sprintf("n %d, median %.0f ms, p90 %.0f, max %.0f (load %s)", len(v), at(0.5), at(0.9), at(1), load)
}

// TestWhole has a plan carried out and ended as it should be.
func TestWhole(t *testing.T) {
	if testing.Short() {
		t.Skip("takes some seconds")
	}
	s := newScene(t)
	r := s.startTool(t)
	r.said(t, `"fault":4,"text":"`+Reached)
	time.Sleep(time.Second)
	io.WriteString(r.in, "\n")
	r.said(t, "left")
	if _, left := s.settle(t, time.Now()); len(left) > 0 {
		t.Errorf("%q is left", left)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, l := range r.lines {
		t.Log(l)
	}
}
