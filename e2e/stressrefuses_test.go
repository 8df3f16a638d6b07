package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/heapwright/heapwright/e2e/internal/harness"
	"github.com/heapwright/heapwright/e2e/internal/stress"
)

// A stressTarget is a service in groups of its own that is there before heapwright is.
type stressTarget struct {
	*harness.Program
	cgroup *harness.Cgroup
	group  stress.Group
	page   string
	before map[string]string
}

func startStressTarget(t *testing.T, program string, own bool, args ...string) *stressTarget {
	t.Helper()
	s := &stressTarget{page: "http://" + freeAddress(t) + "/debug/heapwright/"}
	if own {
		s.cgroup = harness.NewCgroup(t, harness.Limits{MemoryBytes: 256 << 20, CPUCores: 0.8, Freezer: true})
	}
	address := strings.TrimSuffix(strings.TrimPrefix(s.page, "http://"), "/debug/heapwright/")
	s.Program = harness.Start{Path: program, Args: append([]string{"-debug", address}, args...), Cgroup: s.cgroup}.Start(t)
	group, err := stress.GroupOf(s.PID)
	if err != nil {
		t.Fatal(err)
	}
	s.group, s.before = group, group.State(s.PID)
	return s
}

// untouched fails the test when anything is not as it was.
func (s *stressTarget) untouched(t *testing.T) {
	t.Helper()
	if changed := stress.Changed(s.before, s.group.State(s.PID)); len(changed) > 0 {
		t.Errorf("the target is not as it was: %q", changed)
	}
}

// stressAdvice is what to do: a hint, or a place in the plan.
var stressAdvice = regexp.MustCompile(`(?m)^heapwright: (hint: |plan\.yaml:\d+:\d+: )`)

// TestStressRefuses gives heapwright what it must not do, or cannot: it says why and what
// to do, and nothing has changed.
func TestStressRefuses(t *testing.T) {
	t.Parallel()
	b := stressBench(t, "stresssubject")
	target := startStressTarget(t, b.Programs["stresssubject"], true)
	other := startStressTarget(t, b.Programs["stresssubject"], true)
	shared := startStressTarget(t, b.Programs["stresssubject"], false)
	endless := startStressTarget(t, b.Programs["stresssubject"], true)
	if err := os.WriteFile(filepath.Join(endless.group["memory"], "memory.limit_in_bytes"), []byte("-1"), 0); err != nil {
		t.Fatal(err)
	}
	endless.before = endless.group.State(endless.PID)
	hookless := startStressTarget(t, product.Example("guarded"), true, "-addr", freeAddress(t), "-rate", "1")
	ended := exec.Command("true")
	if err := ended.Run(); err != nil {
		t.Fatal(err)
	}
	const freeze = "{kind: freeze, level: 500ms}"
	of := func(pid int) string { return fmt.Sprintf("{pid: %d}", pid) }
	at := func(pid int, page string) string { return fmt.Sprintf("{pid: %d, debug: %q}", pid, page) }
	nobody := func(cmd *exec.Cmd) {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	for _, c := range []struct {
		name, target, fault, caps string
		says                      string // a regular expression
		change                    func(*exec.Cmd)
		skip                      string
	}{
		{name: "init", target: of(1), fault: freeze, says: `process 1 is what the machine`},
		{name: "itself", target: "{pid: SELF}", fault: freeze, says: `is this process`, change: func(cmd *exec.Cmd) {
			// The shell's number, which heapwright has after it.
			cmd.Args = append([]string{"sh", "-c", `sed "s/SELF/$$/" plan.yaml > self.yaml; p=$1; shift 3; exec "$p" stress self.yaml "$@"`, "sh"}, cmd.Args...)
			cmd.Path = "/bin/sh"
		}},
		{name: "parent", target: of(os.Getpid()), fault: freeze, says: `is a process that started this one`},
		{name: "kernel thread", target: of(kernelThread()), fault: freeze, says: `is a thread of the kernel`,
			skip: map[bool]string{true: "no thread of the kernel can be seen here"}[kernelThread() == 0]},
		{name: "gone", target: of(ended.Process.Pid), fault: freeze, says: `there is no process \d+|has ended`},
		{name: "sibling in a shared cgroup", target: of(shared.PID), fault: "{kind: sibling, level: 16MiB}", says: `cgroup is not its own`},
		{name: "limit of a shared cgroup", target: of(shared.PID), fault: "{kind: limit.hard, level: 200MiB}", says: `cgroup is not its own`},
		{name: "no memory limit", target: of(endless.PID), fault: "{kind: sibling, level: 64MiB}", says: `no memory limit|has none`},
		{name: "share of no limit", target: of(endless.PID), fault: "{kind: limit.hard, level: 50%}", says: `share of the limit, and there is none`},
		{name: "more than there is", target: of(target.PID), fault: "{kind: sibling, level: 1GiB}", says: `it would take 1(\.0)?GiB?, and until the limit there are \d+`, caps: "{memory: 4GiB}"},
		{name: "all of the host", target: of(endless.PID), fault: "{kind: sibling, level: 4TiB}", caps: "{memory: 8TiB}", says: `it would take 4(\.0)?TiB? of the [0-9.]+GiB? that are available`},
		{name: "above the caps", target: of(endless.PID), fault: "{kind: sibling, level: 512MiB}", caps: "{memory: 64MiB}", says: `512MiB is more than caps.memory, 64MiB`},
		{name: "no hooks", target: at(hookless.PID, hookless.page), fault: "{kind: heap.retain, level: 16MiB}", says: `no fault hooks`},
		{name: "no page", target: of(target.PID), fault: "{kind: heap.retain, level: 16MiB}", says: `happens inside of a service .* give target.debug`},
		{name: "page of another", target: at(target.PID, other.page), fault: "{kind: heap.retain, level: 16MiB}", says: `is not the target's page`},
		{name: "tunes itself", target: of(target.PID), fault: "{kind: limit.soft, level: 64MiB}", says: `the program sets its own GC`},
		{name: "not root", target: of(target.PID), fault: freeze, change: nobody, says: `belongs to`},
		{name: "read-only", target: of(target.PID), fault: "{kind: limit.hard, level: 200MiB}", says: `cannot be changed`, change: readOnly(target.group["memory"])},
		{name: "read-only group of a sibling", target: of(target.PID), fault: "{kind: sibling, level: 16MiB}", says: `cannot be changed`, change: readOnly(target.group["memory"])},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.skip != "" {
				t.Skip(c.skip)
			}
			plan := fmt.Sprintf("schema: heapwright.stress/1\nname: refused\ntarget: %s\nbefore: 1s\nrecovery: {within: 1s, stable: 0s, memory: 1s}\nfaults:\n- %s\n", c.target, c.fault)
			if c.caps != "" {
				plan += "caps: " + c.caps + "\n"
			}
			where := publicDir(t)
			if err := os.WriteFile(filepath.Join(where, "plan.yaml"), []byte(plan), 0o644); err != nil {
				t.Fatal(err)
			}
			r := product.RunWith(t, func(cmd *exec.Cmd) {
				cmd.Dir = where
				cmd.Env = append(os.Environ(), "HEAPWRIGHT_STATE_DIR="+filepath.Join(where, "state"), "HOME="+where)
				if c.change != nil {
					c.change(cmd)
				}
			}, "stress", "plan.yaml", "--yes", "--json", "-o", "result.hwstress")
			if r.Code == 77 {
				t.Skipf("nothing can be mounted here, and a mode of read-only has no effect on root: %s", r.Stderr)
			}
			if r.Code != harness.CouldNotRun {
				t.Errorf("exit code %d", r.Code)
			}
			if !regexp.MustCompile(c.says).MatchString(r.Stderr) || !stressAdvice.MatchString(r.Stderr) {
				t.Errorf("it does not say %q with a hint: %s", c.says, r.Stderr)
			}
			if !bytes.Contains(r.Stdout, []byte(`"verdict": "NOT-RUN"`)) && len(r.Stdout) > 0 {
				t.Errorf("%v", r)
			}
			for _, s := range []*stressTarget{target, other, shared, endless, hookless} {
				s.untouched(t)
			}
			if left := stress.Journals(filepath.Join(where, "state")); len(left) > 0 {
				t.Errorf("left behind: %q", left)
			}
			t.Log(strings.TrimSpace(r.Stderr))
		})
	}
}

// publicDir is a directory of the test's that every user may write to.
func publicDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "heapwright-e2e-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	return dir
}

// kernelThread is one, 0 where none can be seen, as in most containers.
func kernelThread() int {
	if p, err := stress.Look(2); err == nil && p.Parent == 0 && p.Command()[0] == "" {
		return 2
	}
	return 0
}

// readOnly has a command see a directory that nobody may write to. It ends with 77 where
// that cannot be had.
func readOnly(dir string) func(*exec.Cmd) {
	return func(cmd *exec.Cmd) {
		cmd.Args = append([]string{"sh", "-c", `d=$1; shift; mount --bind "$d" "$d" && mount -o remount,bind,ro "$d" || exit 77; exec "$@"`, "sh", dir, cmd.Path}, cmd.Args[1:]...)
		cmd.Path = "/bin/sh"
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	}
}

// A stressOutcome is what is read of a run on a target that was there.
type stressOutcome struct {
	*harness.Result
	stress.Report
}

// stressOn runs a plan on a process. Changes are made to the command.
func stressOn(t *testing.T, dir, target, faults string, changes ...func(*exec.Cmd)) *stressOutcome {
	t.Helper()
	plan := fmt.Sprintf(`schema: heapwright.stress/1
name: found
target: %s
before: 1s
between: 0s
recovery: {within: 3s, stable: 0s, memory: 3s}
hypothesis:
- {metric: restarts, at_most: 0}
abort:
- {metric: restarts, at_most: 0}
- {metric: headroom_ratio, at_least: 0}
- {metric: limit_events, at_most: 100000000}
faults:
%s
`, target, faults)
	file := filepath.Join(dir, strconv.FormatInt(time.Now().UnixNano(), 36))
	if err := os.WriteFile(file+".yaml", []byte(plan), 0o644); err != nil {
		t.Fatal(err)
	}
	out := &stressOutcome{}
	out.Result = product.RunWith(t, func(cmd *exec.Cmd) {
		cmd.Env = append(os.Environ(), "HEAPWRIGHT_STATE_DIR="+filepath.Join(dir, "state"))
		for _, change := range changes {
			change(cmd)
		}
	}, "stress", file+".yaml", "--yes", "--json", "-o", file+".hwstress")
	if len(out.Stdout) > 0 {
		if err := json.Unmarshal(out.Stdout, &out.Report); err != nil {
			t.Fatalf("%v\n%v", err, out.Result)
		}
	}
	if left := stress.Journals(filepath.Join(dir, "state")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
	return out
}

// stressBegan reports whether a fault is on, or about to be: what undoes it is written
// down before.
func stressBegan(state string) bool {
	for _, name := range stress.Journals(state) {
		if text, err := os.ReadFile(filepath.Join(state, "stress", name)); err == nil && bytes.Contains(text, []byte("\n{\"will\":")) {
			return true
		}
	}
	return false
}

// TestStressTargetDies has the target end while a fault is on: the run ends soon, says
// so, and leaves nothing.
func TestStressTargetDies(t *testing.T) {
	t.Parallel()
	b := stressBench(t, "stresssubject")
	for _, fault := range []string{"{kind: sibling, level: 32MiB, ramp: 1s, hold: 60s}", "{kind: heap.retain, level: 16MiB, ramp: 1s, hold: 60s}", "{kind: freeze, level: 5s}"} {
		kind, _, _ := strings.Cut(strings.TrimPrefix(fault, "{kind: "), ",")
		t.Run(kind, func(t *testing.T) {
			t.Parallel()
			target := startStressTarget(t, b.Programs["stresssubject"], true)
			dir := t.TempDir()
			go func() {
				defer syscall.Kill(target.PID, syscall.SIGKILL)
				for range 2400 {
					if stressBegan(filepath.Join(dir, "state")) {
						time.Sleep(time.Second)
						return
					}
					time.Sleep(50 * time.Millisecond)
				}
			}()
			r := stressOn(t, dir, fmt.Sprintf("{pid: %d, debug: %q}", target.PID, target.page), "- "+fault)
			if r.Verdict != "ABORTED" && r.Verdict != "DEVIATED" || r.Code != 1 {
				t.Errorf("%s: %s\n%v", r.Verdict, r.Reason, r.Result)
			}
			target.before["process"] = "ended"
			for _, c := range []string{"memory", "cpu", "freezer"} {
				target.before["members of "+c] = "[]"
			}
			target.untouched(t)
			t.Log(r.Verdict, r.Reason)
		})
	}
}

// TestStressBusyLimit lowers a limit to less than what is in use: the kernel refuses, as
// is said, and the limit is as it was.
func TestStressBusyLimit(t *testing.T) {
	t.Parallel()
	b := stressBench(t, "stresssubject")
	target := startStressTarget(t, b.Programs["stresssubject"], true, "-base", "64")
	r := stressOn(t, t.TempDir(), fmt.Sprintf("{pid: %d}", target.PID), "- {kind: limit.hard, level: 16MiB, ramp: 2s, steps: 4, hold: 1s}")
	target.untouched(t)
	harness.Alive(t, target.PID)
	if len(r.Faults) != 1 || r.Faults[0].Error == nil || !strings.Contains(*r.Faults[0].Error, "the kernel refuses a limit of 16777216 bytes") {
		t.Errorf("it does not say that the kernel refuses: %v", r.Result)
	}
	for _, f := range r.Faults {
		if f.Verified == nil || !*f.Verified {
			t.Errorf("not undone: %+v", f)
		}
	}
	if len(r.Left) > 0 {
		t.Errorf("left behind: %q", r.Left)
	}
	t.Log(r.Verdict, r.Reason)
}

// TestStressTwoAtOnce runs two plans on one process: the second is refused, and the first
// goes on.
func TestStressTwoAtOnce(t *testing.T) {
	t.Parallel()
	b := stressBench(t, "stresssubject")
	target := startStressTarget(t, b.Programs["stresssubject"], true)
	dir := t.TempDir()
	spec := fmt.Sprintf("{pid: %d}", target.PID)
	refused := make(chan *stressOutcome, 1)
	go func() {
		defer close(refused)
		for range 600 {
			if len(stress.Journals(filepath.Join(dir, "state"))) > 0 {
				refused <- stressAgain(t, dir, spec)
				return
			}
			time.Sleep(50 * time.Millisecond)
		}
	}()
	first := stressOn(t, dir, spec, "- {kind: sibling, level: 32MiB, ramp: 1s, hold: 6s}")
	second := <-refused
	target.untouched(t)
	if first.Code == harness.CouldNotRun || len(first.Faults) != 1 || !first.Faults[0].Happened {
		t.Errorf("the first did not go on: %v", first.Result)
	}
	if second == nil {
		t.Fatal("the first has written no journal")
	}
	if second.Code != harness.CouldNotRun || !strings.Contains(second.Stderr, "is under stress already") || !strings.Contains(second.Stderr, "hint: ") {
		t.Errorf("the second: %v", second.Result)
	}
}

// stressAgain is a second plan on a process; that of the first is in the journals.
func stressAgain(t *testing.T, dir, target string) *stressOutcome {
	file := filepath.Join(dir, "second.yaml")
	plan := "schema: heapwright.stress/1\ntarget: " + target + "\nbefore: 1s\nfaults:\n- {kind: freeze, level: 500ms}\n"
	if err := os.WriteFile(file, []byte(plan), 0o644); err != nil {
		t.Error(err)
		return nil
	}
	cmd := exec.Command(product.Binary, "stress", file, "--yes", "-o", filepath.Join(dir, "second.hwstress"))
	cmd.Env = append(os.Environ(), "HEAPWRIGHT_STATE_DIR="+filepath.Join(dir, "state"))
	var said bytes.Buffer
	cmd.Stderr = &said
	err := cmd.Run()
	if cmd.ProcessState == nil {
		t.Error(err)
		return nil
	}
	return &stressOutcome{Result: &harness.Result{Args: cmd.Args, Code: cmd.ProcessState.ExitCode(), Stderr: said.String()}}
}
