package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/heapwright/heapwright/e2e/internal/harness"
)

// A lab is a place for experiments: whatever they start, make and leave is in it.
type lab struct {
	dir     string
	program string
	groups  map[string]bool // cgroups that there were before
}

// unruly is the program of the experiments, which is built once.
var unruly struct {
	sync.Once
	text []byte
}

// newLab makes a lab, which is looked through with the end of the test: no process, no
// directory and no cgroup may be left.
func newLab(t *testing.T) *lab {
	t.Helper()
	l := &lab{dir: t.TempDir(), groups: cgroups()}
	for _, d := range []string{"tmp", "cache", "state"} {
		if err := os.Mkdir(filepath.Join(l.dir, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	unruly.Do(func() {
		var err error
		if unruly.text, err = os.ReadFile(product.Build(t, "./testdata/unruly")); err != nil {
			t.Fatal(err)
		}
	})
	// In the lab, to be known by its path.
	l.program = filepath.Join(l.dir, "unruly")
	if err := os.WriteFile(l.program, unruly.text, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.isClean(t) })
	return l
}

// env has everything that heapwright keeps in the lab, and apart from experiments
// that others run on this machine.
func (l *lab) env(cmd *exec.Cmd) {
	cmd.Dir = l.dir
	cmd.Env = append(os.Environ(), "TMPDIR="+filepath.Join(l.dir, "tmp"), "HEAPWRIGHT_CACHE="+filepath.Join(l.dir, "cache"),
		"HEAPWRIGHT_STATE_DIR="+filepath.Join(l.dir, "state"))
}

func (l *lab) run(t *testing.T, args ...string) *harness.Result {
	t.Helper()
	return product.RunWith(t, l.env, append([]string{"compare"}, args...)...)
}

// plan writes an experiment of the unruly program. Each replacement is an old text of
// the plan and a new one.
func (l *lab) plan(t *testing.T, replace ...string) string {
	t.Helper()
	const plan = `schema: heapwright.experiment/1
subject:
  command: ["PROGRAM"]
  args: ["127.0.0.1:{port}"]
  ready: {http: "http://127.0.0.1:{port}/ready", within: 5s}
  stop: {within: 500ms}
variants:
  - name: base
  - name: other
    env: {MODE: fine}
load:
  http:
    requests: [{url: "http://127.0.0.1:{port}/"}]
  rate: 400/s
  connections: 8
  timeout: 1s
guards:
  - {metric: alloc_bytes_per_request, margin: 20%}
design: {kind: switchback, calibration: 0, looks: [LOOK], warmup: 100ms, measure: 300ms}
budget: {time: 2m}
seed: 1
`
	text := strings.NewReplacer("PROGRAM", l.program).Replace(plan)
	for i := 0; i+1 < len(replace); i += 2 {
		if !strings.Contains(text, replace[i]) {
			t.Fatalf("the plan has no %q", replace[i])
		}
		text = strings.ReplaceAll(text, replace[i], replace[i+1])
	}
	text = strings.ReplaceAll(text, "LOOK", "6")
	path := filepath.Join(l.dir, "plan.yaml")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func (l *lab) result() string { return filepath.Join(l.dir, "plan.hwcmp") }

// isClean looks for what experiments have left behind. What is on its way out has
// some time.
func (l *lab) isClean(t *testing.T) {
	t.Helper()
	var left []string
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		left = nil
		for _, pid := range l.processes() {
			left = append(left, "process "+strconv.Itoa(pid))
		}
		for _, d := range []string{"tmp", "state"} {
			filepath.WalkDir(filepath.Join(l.dir, d), func(path string, e fs.DirEntry, err error) error {
				if err == nil && !e.IsDir() {
					left = append(left, path)
				}
				return nil
			})
		}
		if dirs, err := os.ReadDir(filepath.Join(l.dir, "tmp")); err != nil || len(dirs) > 0 {
			left = append(left, fmt.Sprintf("directories %v, %v", dirs, err))
		}
		for dir := range cgroups() {
			// What has processes belongs to others on this machine: those of the lab are
			// among the processes.
			if procs, err := os.ReadFile(filepath.Join(dir, "cgroup.procs")); !l.groups[dir] && err == nil && len(procs) == 0 {
				left = append(left, "cgroup "+dir)
			}
		}
		if len(left) == 0 {
			return
		}
	}
	t.Errorf("left behind: %s", strings.Join(left, ", "))
	for _, pid := range l.processes() {
		syscall.Kill(pid, syscall.SIGKILL)
	}
}

// processes are those that run a program of the lab, or name it in their arguments.
func (l *lab) processes() (pids []int) {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil || pid == os.Getpid() {
			continue
		}
		exe, _ := os.Readlink(filepath.Join("/proc", e.Name(), "exe"))
		line, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		if strings.HasPrefix(exe, l.dir) || bytes.Contains(line, []byte(l.dir)) {
			pids = append(pids, pid)
		}
	}
	return pids
}

// cgroups are those that heapwright has made, in whatever hierarchy.
func cgroups() map[string]bool {
	out := map[string]bool{}
	filepath.WalkDir("/sys/fs/cgroup", func(path string, e fs.DirEntry, err error) error {
		// Its own, with an ID; those of the other tests here are called otherwise.
		if err == nil && e.IsDir() && regexp.MustCompile(`/heapwright-[0-9a-f]{16,}`).MatchString(path) {
			out[path] = true
		}
		return nil
	})
	return out
}

// A comparison is what is needed of the document of compare --json.
type comparison struct {
	Verdict string   `json:"verdict"`
	Reasons []string `json:"reasons"`
	Ended   *string  `json:"ended_how"`
	Blocks  int      `json:"blocks"`
}

// read has the result of an experiment told by compare report, and held against its
// blocks by compare verify, whose exit code is returned.
func (l *lab) read(t *testing.T) (doc comparison, code int) {
	t.Helper()
	r := l.run(t, "report", l.result(), "--json")
	if r.Code != 0 {
		t.Fatalf("the result cannot be read\n%v", r)
	}
	r.Decode(t, &doc)
	v := l.run(t, "verify", l.result())
	if v.Code == harness.CouldNotRun {
		t.Errorf("the verdict does not follow from the result\n%v", v)
	}
	return doc, v.Code
}

// TestCompareRefuses runs what no experiment can be made with.
func TestCompareRefuses(t *testing.T) {
	for _, tt := range []struct {
		name    string
		replace []string
		files   map[string]string
		want    string // in the message
		result  bool   // there is one, which says that it was refused
		// busy says that a machine which is busy with other things may be the reason:
		// then it is INCONCLUSIVE.
		busy bool
	}{
		{name: "does_not_build", want: `building variant base(.|\n)*undefined: nonesuch`,
			replace: []string{`command: ["PROGRAM"]`, "source: src"},
			files:   map[string]string{"src/go.mod": "module broken\n\ngo 1.26\n", "src/main.go": "package main\n\nfunc main() { nonesuch() }\n"}},
		{name: "is_not_there", want: `building variant base: .*nonesuch`, replace: []string{"PROGRAM", "nonesuch/program"}},
		{name: "is_never_ready", want: `starting variant other: it was not ready within 3s(.|\n)*doing something else`, result: true,
			replace: []string{"MODE: fine", "MODE: deaf", "within: 5s", "within: 3s"}},
		{name: "ends_before_it_is_ready", want: `starting variant (base|other): it ended before it was ready`, result: true,
			replace: []string{`args: ["127.0.0.1:{port}"]`, `args: []`}},
		{name: "baseline_answers_errors", want: `requests failed, the first with: .*500`, result: true,
			replace: []string{"- name: base", "- name: base\n    env: {MODE: refuses}"}},
		{name: "baseline_crashes", want: `the baseline "base" ended by itself under the load`, result: true,
			replace: []string{"- name: base", "- name: base\n    env: {MODE: crashes}"}},
		{name: "rate_above_the_knee", want: `rate is above what it can\s+serve`, result: true, busy: true,
			replace: []string{"- name: base", "- name: base\n    env: {MODE: slow}", "timeout: 1s", "timeout: 2s"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newLab(t)
			for name, text := range tt.files {
				path := filepath.Join(l.dir, name)
				if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			replace := tt.replace
			for i := range replace {
				replace[i] = strings.ReplaceAll(replace[i], "PROGRAM", l.program)
			}
			r := l.run(t, l.plan(t, replace...), "-o", l.result())
			busy := tt.busy && r.Code == 3
			if text := string(r.Stdout) + r.Stderr; !busy && (r.Code != harness.CouldNotRun || len(r.Stdout) > 0) || !regexp.MustCompile(tt.want).MatchString(text) {
				t.Errorf("want exit code 2 and %q\n%v", tt.want, r)
			}
			if !tt.result {
				if _, err := os.Stat(l.result()); err == nil {
					t.Error("there is a result")
				}
				return
			}
			doc, code := l.read(t)
			if doc.Verdict != "INCONCLUSIVE" || doc.Ended == nil || *doc.Ended != "refused" || code != 3 {
				t.Errorf("the result says %+v, verify ends with %d", doc, code)
			}
		})
	}
}

// TestCompareFinds runs variants that misbehave: that is a result, and not a failure
// of the experiment.
func TestCompareFinds(t *testing.T) {
	for _, tt := range []struct {
		name    string
		replace []string
		code    int
		want    string // in the report
		limits  bool
	}{
		{name: "nothing", code: 0, want: "PASS"},
		{name: "crashes", code: 1, want: `ended by itself in \d+ of \d+ blocks; the baseline in none`, replace: []string{"MODE: fine", "MODE: crashes"}},
		{name: "answers_errors", code: 1, want: `of its \d+ requests failed; of the baseline's 0 of`, replace: []string{"MODE: fine", "MODE: refuses"}},
		{name: "runs_out_of_memory", code: 1, want: `killed for memory in \d+ of \d+ blocks; the baseline in none`, limits: true,
			replace: []string{"env: {MODE: fine}", "env: {MODE: hungry}\n    memory_limit: 64MiB"}},
		{name: "ignores_the_signal", code: 0, want: `killed`, replace: []string{"MODE: fine", "MODE: stubborn"}},
		{name: "leaks_its_port", code: 0, want: `PASS`, replace: []string{"MODE: fine", "MODE: leaks"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newLab(t)
			r := l.run(t, l.plan(t, tt.replace...), "-o", l.result())
			if tt.limits && r.Code == harness.CouldNotRun && strings.Contains(r.Stderr, "limits cannot be set here") {
				t.Skipf("needs a memory cgroup: %s", strings.TrimSpace(r.Stderr))
			}
			if r.Code != tt.code || !regexp.MustCompile(tt.want).Match(r.Stdout) {
				t.Errorf("want exit code %d and %q\n%v", tt.code, tt.want, r)
			}
			if _, code := l.read(t); code != tt.code {
				t.Errorf("verify ends with %d, the experiment with %d", code, tt.code)
			}
		})
	}
}

// A started is heapwright compare that runs.
type started struct {
	cmd    *exec.Cmd
	stdout bytes.Buffer
	stderr bytes.Buffer
}

func (l *lab) start(t *testing.T, args ...string) *started {
	t.Helper()
	s := &started{cmd: exec.Command(product.Binary, append([]string{"compare"}, args...)...)}
	s.cmd.Stdout, s.cmd.Stderr = &s.stdout, &s.stderr
	l.env(s.cmd)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		s.cmd.Process.Kill()
		s.cmd.Wait()
	})
	return s
}

// wait returns how it ended.
func (s *started) wait() *harness.Result {
	s.cmd.Wait()
	return &harness.Result{Args: s.cmd.Args[1:], Code: s.cmd.ProcessState.ExitCode(), Stdout: s.stdout.Bytes(), Stderr: s.stderr.String()}
}

// measured waits until an experiment has so many blocks.
func (l *lab) measured(t *testing.T, blocks int) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		text, _ := os.ReadFile(l.result())
		if bytes.Count(text, []byte(`"kind":"block"`)) >= blocks {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("there are no %d blocks after a minute", blocks)
		}
	}
}

// blocks are the lines of the blocks that a result has.
func (l *lab) blocks(t *testing.T) (lines []string) {
	t.Helper()
	text, err := os.ReadFile(l.result())
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, `"kind":"block"`) {
			lines = append(lines, line)
		}
	}
	return lines
}

// finish resumes an experiment, and demands that what was measured before is kept.
func (l *lab) finish(t *testing.T, plan string, before []string) {
	t.Helper()
	r := l.run(t, plan, "-o", l.result(), "--resume")
	if r.Code != 0 {
		t.Fatalf("want it to go on, and to pass\n%v", r)
	}
	after := l.blocks(t)
	// Six pairs, and what a busy machine has made invalid.
	if len(after) < 12 || len(before) == 0 || len(before) >= len(after) {
		t.Fatalf("%d blocks after %d, want 12 or more", len(after), len(before))
	}
	for i, line := range before {
		if after[i] != line {
			t.Errorf("block %d was changed", i)
		}
	}
	if doc, code := l.read(t); doc.Verdict != "PASS" || code != 0 {
		t.Errorf("the result says %+v, verify ends with %d", doc, code)
	}
}

// TestCompareInterrupted: Ctrl-C keeps what was measured, says INCONCLUSIVE, and the
// experiment can go on.
func TestCompareInterrupted(t *testing.T) {
	l := newLab(t)
	plan := l.plan(t)
	s := l.start(t, plan, "-o", l.result())
	l.measured(t, 3)
	s.cmd.Process.Signal(os.Interrupt)
	r := s.wait()
	if r.Code != 3 || !strings.HasPrefix(string(r.Stdout), "INCONCLUSIVE") {
		t.Errorf("want INCONCLUSIVE\n%v", r)
	}
	doc, code := l.read(t)
	if doc.Ended == nil || *doc.Ended != "interrupted" || doc.Verdict != "INCONCLUSIVE" || doc.Blocks < 3 || code != 3 {
		t.Errorf("the result says %+v, verify ends with %d", doc, code)
	}
	l.isClean(t)
	l.finish(t, plan, l.blocks(t))
}

// TestCompareKilled: a run that is killed leaves a result that is not whole, and
// nobody takes it for whole; the next one clears up after it, and goes on.
func TestCompareKilled(t *testing.T) {
	l := newLab(t)
	plan := l.plan(t)
	s := l.start(t, plan, "-o", l.result())
	l.measured(t, 3)
	s.cmd.Process.Kill()
	s.wait()
	// Half a line, as a machine that stops leaves it.
	f, err := os.OpenFile(l.result(), os.O_APPEND|os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	before := l.blocks(t)
	if _, err := f.WriteString(before[0][:len(before[0])/2]); err != nil {
		t.Fatal(err)
	}
	f.Close()
	doc, code := l.read(t)
	if doc.Ended != nil || doc.Verdict != "INCONCLUSIVE" || code != 3 {
		t.Errorf("the result says %+v, verify ends with %d", doc, code)
	}
	l.finish(t, plan, before)
}

// TestCompareTwice: a result has one experiment, and is written by one run.
func TestCompareTwice(t *testing.T) {
	l := newLab(t)
	plan := l.plan(t)
	s := l.start(t, plan, "-o", l.result())
	l.measured(t, 1)
	r := l.run(t, plan, "-o", l.result())
	if r.Code != harness.CouldNotRun || !strings.Contains(r.Stderr, "is there already: go on with it by --resume, or name another file") {
		t.Errorf("want it to be refused\n%v", r)
	}
	r = l.run(t, plan, "-o", l.result(), "--resume")
	if r.Code != harness.CouldNotRun || !strings.Contains(r.Stderr, "another run is writing it") {
		t.Errorf("want it to be refused\n%v", r)
	}
	if r := s.wait(); r.Code != 0 {
		t.Errorf("the first was disturbed\n%v", r)
	}
	if doc, code := l.read(t); doc.Verdict != "PASS" || doc.Blocks < 12 || code != 0 {
		t.Errorf("the result says %+v, verify ends with %d", doc, code)
	}
	// Another plan cannot go on with it, and nothing can go on when it is over.
	r = l.run(t, l.plan(t, "margin: 20%", "margin: 50%"), "-o", l.result(), "--resume")
	if r.Code != harness.CouldNotRun || !regexp.MustCompile(`nothing to resume|another plan`).MatchString(r.Stderr) {
		t.Errorf("want it to be refused\n%v", r)
	}
}

// TestCompareEdited: a result that was edited by hand is not believed.
func TestCompareEdited(t *testing.T) {
	l := newLab(t)
	if r := l.run(t, l.plan(t), "-o", l.result()); r.Code != 0 {
		t.Fatal(r)
	}
	whole, err := os.ReadFile(l.result())
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.SplitAfter(string(whole), "\n")
	value := regexp.MustCompile(`"alloc_bytes_per_request":[0-9.e+]+`)
	for name, edit := range map[string]func() []string{
		"a_value":     func() []string { return replaceIn(lines, 4, value, `"alloc_bytes_per_request":1`) },
		"the_verdict": func() []string { return replaceIn(lines, len(lines)-2, regexp.MustCompile("PASS"), "FAIL") },
		"the_plan":    func() []string { return replaceIn(lines, 0, regexp.MustCompile("margin: 20%"), "margin: 90%") },
		"a_line_less": func() []string { return append(append([]string{}, lines[:4]...), lines[5:]...) },
		"two_swapped": func() []string {
			out := append([]string{}, lines...)
			out[3], out[4] = out[4], out[3]
			return out
		},
	} {
		t.Run(name, func(t *testing.T) {
			changed := strings.Join(edit(), "")
			if changed == string(whole) {
				t.Fatal("nothing was changed")
			}
			if err := os.WriteFile(l.result(), []byte(changed), 0o644); err != nil {
				t.Fatal(err)
			}
			for _, command := range []string{"verify", "report"} {
				r := l.run(t, command, l.result())
				if r.Code != harness.CouldNotRun || !strings.Contains(r.Stderr, "was changed after it was written: line ") || len(r.Stdout) > 0 {
					t.Errorf("want it to be refused\n%v", r)
				}
			}
		})
	}
	// Cut off after a block, it is what a killed run leaves.
	if err := os.WriteFile(l.result(), []byte(strings.Join(lines[:6], "")), 0o644); err != nil {
		t.Fatal(err)
	}
	if doc, code := l.read(t); doc.Ended != nil || doc.Verdict != "INCONCLUSIVE" || code != 3 {
		t.Errorf("the result says %+v, verify ends with %d", doc, code)
	}
}

func replaceIn(lines []string, n int, old *regexp.Regexp, text string) []string {
	out := append([]string{}, lines...)
	out[n] = old.ReplaceAllString(out[n], text)
	return out
}

// TestCompareDiskFull: what was measured before is kept, and goes on when there is
// room.
func TestCompareDiskFull(t *testing.T) {
	l := newLab(t)
	disk := filepath.Join(l.dir, "disk")
	if err := os.Mkdir(disk, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=32k"); err != nil {
		t.Skipf("needs to mount a small file system: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(disk, 0); err != nil {
			t.Error(err)
		}
	})
	plan, result := l.plan(t), filepath.Join(disk, "plan.hwcmp")
	r := l.run(t, plan, "-o", result)
	if r.Code != harness.CouldNotRun || !strings.Contains(r.Stderr, "there is no room for") || !strings.Contains(r.Stderr, "hint: make room") {
		t.Fatalf("want it to say that the disk is full\n%v", r)
	}
	r = l.run(t, "verify", result)
	if r.Code != 3 {
		t.Errorf("want a result that is not whole\n%v", r)
	}
	if err := syscall.Mount("tmpfs", disk, "tmpfs", syscall.MS_REMOUNT, "size=8m"); err != nil {
		t.Skipf("needs to enlarge a file system: %v", err)
	}
	if r := l.run(t, plan, "-o", result, "--resume"); r.Code != 0 {
		t.Errorf("want it to go on\n%v", r)
	}
}

// TestExperiments checks the plans that are shipped.
func TestExperiments(t *testing.T) {
	plans, err := filepath.Glob("../examples/experiments/*.yaml")
	if err != nil || len(plans) < 5 {
		t.Fatalf("%d plans, %v", len(plans), err)
	}
	readme, err := os.ReadFile("../examples/experiments/README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, plan := range plans {
		path, err := filepath.Abs(plan)
		if err != nil {
			t.Fatal(err)
		}
		if r := product.Run(t, "compare", "--check", path, "--json"); r.Code != 0 || !json.Valid(r.Stdout) {
			t.Errorf("%s\n%v", plan, r)
		}
		if name := filepath.Base(plan); !strings.Contains(string(readme), "]("+name+")") {
			t.Errorf("the README does not name %s", name)
		}
	}
}
