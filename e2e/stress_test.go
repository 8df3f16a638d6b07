package e2e

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/heapwright/heapwright/e2e/internal/stress"
	"github.com/heapwright/heapwright/e2e/servers"
)

// stressBench is where plans are run, with programs of this module that plans refer to.
func stressBench(t *testing.T, programs ...string) *stress.Bench {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("faults of cgroups need root")
	}
	if _, err := stress.GroupOf(os.Getpid()); err != nil {
		t.Skip(err)
	}
	b := &stress.Bench{Heapwright: product.Binary, Dir: t.TempDir(), Programs: map[string]string{}}
	for _, name := range programs {
		b.Programs[name] = product.Build(t, "./"+name)
	}
	return b
}

// stressRun runs a plan, with a place of its own for what heapwright writes down, and
// fails the test when anything is left behind.
func stressRun(t *testing.T, b *stress.Bench, name, plan string) (*stress.Result, *stressWitness) {
	t.Helper()
	own := *b
	own.Dir = t.TempDir()
	for _, name := range []string{"state", "tmp"} {
		if err := os.Mkdir(filepath.Join(own.Dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	own.Env = []string{"HEAPWRIGHT_STATE_DIR=" + filepath.Join(own.Dir, "state"), "TMPDIR=" + filepath.Join(own.Dir, "tmp")}
	w := &stressWitness{bench: &own, seen: map[int]stress.Process{}}
	end, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		w.watch(name, end)
	}()
	r, err := own.Run(t.Context(), name, plan)
	close(end)
	<-done
	if err != nil {
		t.Fatal(err)
	}
	if left := w.left(); len(left) > 0 {
		t.Errorf("%s: %q is left behind", name, left)
	}
	if len(r.Report.Left) > 0 {
		t.Errorf("%s: heapwright says that %q is left behind", name, r.Report.Left)
	}
	return r, w
}

// A stressWitness looks at a target that heapwright has started, from outside, and knows
// nothing of its report.
type stressWitness struct {
	bench *stress.Bench

	target      stress.Process
	group       stress.Group
	before, now map[string]string // the group's and the process's state, first and last seen
	ever        map[string]bool   // states that were seen in between
	seen        map[int]stress.Process
	usage       [2]int64 // of the group's memory: when it was seen first, and the most
	files       [2]int   // open files of the target, likewise
	beside      bool     // another process was in its memory group
	limits      []uint64 // GOMEMLIMIT again and again; 0 where it could not be read
}

// softLimit is the target's GOMEMLIMIT, as its runtime has it.
func (w *stressWitness) softLimit() uint64 {
	var doc struct {
		Processes []struct {
			PID   int    `json:"pid"`
			Limit uint64 `json:"gomemlimit_bytes"`
		} `json:"processes"`
	}
	exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", w.target.PID))
	if err != nil {
		return 0
	}
	text, err := exec.Command(w.bench.Heapwright, "ps", filepath.Base(exe), "--json").Output()
	if err != nil || json.Unmarshal(text, &doc) != nil {
		return 0
	}
	for _, p := range doc.Processes {
		if p.PID == w.target.PID {
			return p.Limit
		}
	}
	return 0
}

func (w *stressWitness) watch(name string, end <-chan struct{}) {
	plan := filepath.Join(w.bench.Dir, name+".yaml")
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	limits := make(chan uint64)
	var asking sync.WaitGroup
	defer asking.Wait()
	stop := make(chan struct{})
	defer close(stop)
	var slow time.Time
	for {
		select {
		case <-end:
			return
		case <-tick.C:
		}
		if time.Since(slow) > 300*time.Millisecond {
			slow = time.Now()
			w.find(plan)
		}
		if w.group == nil {
			continue
		}
		state := w.group.State(w.target.PID)
		if state["process"] == "ended" {
			continue
		}
		if w.before == nil {
			w.before, w.ever = maps.Clone(state), map[string]bool{}
			for k := range w.before {
				if strings.HasPrefix(k, "members of ") { // who starts it may be there, too
					w.before[k] = fmt.Sprint([]int{w.target.PID})
				}
			}
			w.usage[0], w.files[0] = w.group.Number("memory", "memory.usage_in_bytes"), openFiles(w.target.PID)
			asking.Go(func() {
				for {
					select {
					case limits <- w.softLimit():
					case <-stop:
						return
					}
					time.Sleep(500 * time.Millisecond)
				}
			})
		}
		w.now = state
		for k, v := range state {
			if v != w.before[k] {
				w.ever[k+" "+v] = true
			}
		}
		w.beside = w.beside || slices.ContainsFunc(w.group.Members("memory"), func(pid int) bool { return pid != w.target.PID })
		w.usage[1] = max(w.usage[1], w.group.Number("memory", "memory.usage_in_bytes"))
		w.files[1] = max(w.files[1], openFiles(w.target.PID))
		select {
		case v := <-limits:
			w.limits = append(w.limits, v)
		default:
		}
	}
}

// find finds the target, and who else descends from the heapwright that runs the plan.
func (w *stressWitness) find(plan string) {
	for _, tool := range stress.Below(os.Getpid()) {
		if tool.Parent != os.Getpid() || !slices.Contains(tool.Command(), plan) {
			continue
		}
		for _, p := range stress.Below(tool.PID) {
			w.seen[p.PID] = p
			exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", p.PID))
			if w.group != nil || err != nil || p.Parent != tool.PID || exe == w.bench.Heapwright {
				continue
			}
			for _, path := range w.bench.Programs {
				if exe != path {
					continue
				}
				if g, err := stress.GroupOf(p.PID); err == nil {
					w.target, w.group = p, g
				}
			}
		}
	}
}

// squeezed reports whether a limit was below a bound, and is as it was.
func squeezed(limits []uint64, below uint64) bool {
	limits = slices.DeleteFunc(slices.Clone(limits), func(v uint64) bool { return v == 0 })
	return len(limits) > 0 && slices.Min(limits) < below && limits[0] == limits[len(limits)-1]
}

func openFiles(pid int) int {
	names, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return 0
	}
	return len(names)
}

// left is what should not be there after a run.
func (w *stressWitness) left() (out []string) {
	for _, p := range w.seen {
		if p.Runs() {
			out = append(out, fmt.Sprintf("process %d: %.200s", p.PID, strings.Join(p.Command(), " ")))
		}
	}
	if w.group != nil {
		for _, change := range stress.Changed(w.before, w.now) {
			out = append(out, "at the end, "+change)
		}
		for _, c := range []string{"memory", "cpu"} {
			if _, err := os.Stat(w.group[c]); err == nil {
				out = append(out, w.group[c])
			}
		}
	}
	out = append(out, stress.Journals(filepath.Join(w.bench.Dir, "state"))...)
	files, _ := filepath.Glob(filepath.Join(w.bench.Dir, "tmp", "*"))
	return append(out, files...)
}

// TestStressServers has faults happen to real servers: NATS and a few of the faults, and
// in long runs all of them on NATS, Caddy, etcd and a service with hooks. What is held
// against the report is seen from here.
func TestStressServers(t *testing.T) {
	t.Parallel()
	b := stressBench(t, "stresssubject")
	whole := os.Getenv("HEAPWRIGHT_E2E_LONG") != ""
	for _, s := range []servers.Server{servers.NATS, servers.Caddy, servers.Etcd} {
		if !whole && s.Name != servers.NATS.Name {
			continue
		}
		path, err := s.Recipe.Build(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		b.Programs[s.Name] = path
	}
	upstream, err := stress.Upstream(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	leaf, end, err := stress.Hub(t.Context(), b.Programs["nats"], b.Dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(end)
	for _, s := range stress.Subjects(upstream, leaf) {
		kinds := s.Kinds()
		if !whole {
			kinds = []string{"limit.soft", "proxy.delay", "connections", "freeze", "sibling"}
		}
		if b.Programs[s.Name] == "" && !whole {
			continue
		}
		t.Run(s.Name, func(t *testing.T) {
			r, seen := stressRun(t, b, "servers-"+s.Name, s.Plan(kinds...))
			met := stress.Check(s.Name, r)
			if len(met) != len(kinds) {
				t.Fatalf("%d of %d faults are in the report: %s %s\n%s", len(met), len(kinds), r.Report.Verdict, r.Report.Reason, r.Stderr)
			}
			for _, m := range met {
				if m.Problem != "" {
					t.Errorf("%s: %s", m.Fault.Kind, m.Problem)
				}
			}
			if seen.group == nil {
				t.Fatal("the target was not seen")
			}
			for kind, ok := range map[string]bool{
				"freeze":      seen.ever["process stopped"] || seen.ever["freezer.state FROZEN"],
				"sibling":     seen.beside && seen.usage[1]-seen.usage[0] > 48<<20,
				"limit.soft":  squeezed(seen.limits, 128<<20),
				"connections": seen.files[1]-seen.files[0] > 150,
			} {
				if slices.Contains(kinds, kind) && !ok {
					t.Errorf("%s was not seen from outside: %v, %v bytes, %v files, %v GOMEMLIMIT", kind, seen.ever, seen.usage, seen.files, seen.limits)
				}
			}
			t.Logf("%s in %v: %s", r.Report.Verdict, r.Took.Round(time.Second), r.Report.Reason)
		})
	}
}

// TestStressHonest has heapwright judge a service of which the truth is known: one that
// was ill before anything happened, one that does not live through it, one that does not
// recover, and healthy ones. Long runs have all that e2e/cmd/stress has.
func TestStressHonest(t *testing.T) {
	t.Parallel()
	b := stressBench(t, "stresssubject")
	cases := append(stress.Violations(), stress.Healthy(20)...)
	verdicts := map[string]string{"ill": "NOT-RUN", "exits": "ABORTED", "goroutines": "DEVIATED"}
	if os.Getenv("HEAPWRIGHT_E2E_LONG") == "" {
		cases = slices.DeleteFunc(cases, func(c stress.Case) bool {
			return verdicts[c.Violate] == "" && c.Name != "healthy-01" && c.Name != "healthy-05"
		})
	}
	for _, c := range cases {
		t.Run(c.Name, func(t *testing.T) {
			t.Parallel()
			r, _ := stressRun(t, b, c.Name, c.Plan())
			if wrong := c.Right(r); wrong != "" {
				t.Error(wrong)
			}
			if want := verdicts[c.Violate]; want != "" && r.Report.Verdict != want {
				t.Errorf("%s, not %s: %s", r.Report.Verdict, want, r.Report.Reason)
			}
			code := map[string]int{"PASS": 0, "DEVIATED": 1, "ABORTED": 1, "NOT-RUN": 2}
			if r.Exit != code[r.Report.Verdict] {
				t.Errorf("%s, and exit code %d", r.Report.Verdict, r.Exit)
			}
			t.Logf("%s in %v: %s", r.Report.Verdict, r.Took.Round(time.Second), r.Report.Reason)
		})
	}
}

// TestStressGuarded has one service meet the same plan with a guard and without. Both
// are near what their CPU quota allows, so that no other test runs beside it.
func TestStressGuarded(t *testing.T) {
	b := stressBench(t, "guarded")
	for _, guard := range stress.Guards {
		t.Run(guard, func(t *testing.T) {
			t.Parallel()
			r, _ := stressRun(t, b, "guarded-"+guard, stress.GuardedPlan(guard, 1))
			t.Logf("%s in %v: %s", r.Report.Verdict, r.Took.Round(time.Second), r.Report.Reason)
			for tries := 1; r.Report.Verdict == "NOT-RUN" && tries < 3; tries++ { // others may be done soon
				r, _ = stressRun(t, b, "guarded-"+guard, stress.GuardedPlan(guard, 1))
				t.Logf("again: %s in %v: %s", r.Report.Verdict, r.Took.Round(time.Second), r.Report.Reason)
			}
			switch {
			case r.Report.Verdict == "NOT-RUN":
				t.Skipf("this machine is too busy for the service, before anything happens to it: %s", r.Report.Reason)
			case guard == "heapwright" && r.Report.Verdict != "PASS", guard == "plain" && r.Report.Verdict != "DEVIATED" && r.Report.Verdict != "ABORTED":
				t.Errorf("%s, and it is held against it: %q", r.Report.Verdict, r.Report.Wrong())
			}
		})
	}
}

// TestStressExpectsKill has a plan expect that the kernel kills: where it does the plan
// passes, where it does not it deviates.
func TestStressExpectsKill(t *testing.T) {
	t.Parallel()
	b := stressBench(t, "guarded")
	for _, c := range []struct {
		name, level, verdict string
		killed               bool
	}{
		{"killed", "92MiB", "PASS", true},
		{"spared", "8MiB", "DEVIATED", false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			r, seen := stressRun(t, b, "kill-"+c.name, fmt.Sprintf(`schema: heapwright.stress/1
target:
  start:
    command: ["{{.guarded}}"]
    args: ["-guard", "plain", "-base", "8", "-listen", "127.0.0.1:{port}", "-debug", "127.0.0.1:{port2}"]
    ready: {http: "http://127.0.0.1:{port}/healthz"}
  memory_limit: 96MiB
  debug: "http://127.0.0.1:{port2}/debug/heapwright/"
before: 2s
between: 1s
recovery: {within: 15s, stable: 1s, memory: 15s, working_set: 50%%}
hypothesis:
- {metric: oom_kills, at_most: 0}
- {metric: restarts, at_most: 0}
abort:
- {metric: headroom_ratio, at_least: 0}
- {metric: headroom_seconds, at_least: 0}
- {metric: limit_events, at_most: 100000000}
- {metric: memory_full_ratio, at_most: 100%%}
faults:
- {name: tide, kind: heap.retain, level: %s, ramp: 2s, hold: 3s, allow_kill: true, expect: {oom_kill: true}}
`, c.level))
			t.Logf("%s in %v: %s", r.Report.Verdict, r.Took.Round(time.Second), r.Report.Reason)
			if r.Report.Verdict != c.verdict {
				t.Errorf("%s, not %s: %s %q\n%s", r.Report.Verdict, c.verdict, r.Report.Reason, r.Report.Wrong(), r.Stderr)
			}
			if strings.Contains(r.Report.Reason, "the target was killed once") != c.killed {
				t.Errorf("killed: %s", r.Report.Reason)
			}
			for _, f := range r.Report.Faults {
				if f.KilledTarget != c.killed {
					t.Errorf("%s: the target was killed: %v", f.Name, f.KilledTarget)
				}
			}
			if seen.group == nil {
				t.Error("the target was not seen")
			}
		})
	}
}

// TestStressKill kills the tool, its keeper and both at a few moments of a plan. The
// campaign, of 100 moments, is `go run ./cmd/stress kill`.
func TestStressKill(t *testing.T) {
	t.Parallel()
	b := stressBench(t, "stresssubject")
	draw := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 0))
	for n, who := range []string{"tool", "both", "keeper", "tool", "tool", "both"} {
		seed := draw.Uint64()
		t.Run(fmt.Sprintf("%s-%d", who, n), func(t *testing.T) {
			if n%2 == 0 {
				t.Parallel()
			}
			m, err := b.Kill(t.Context(), who, n == 4, n, rand.New(rand.NewPCG(seed, 0)))
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("seed %d: killed %v after %q (%s); nothing was left after %v", seed, m.After, m.Doing, m.Changed, m.Settled)
			if len(m.Left) > 0 {
				t.Errorf("%q is left", m.Left)
			}
		})
	}
}
