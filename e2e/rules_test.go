package e2e

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/heapwright/heapwright/e2e/internal/harness"
)

// A provocation is an example program that does something wrong, and what
// diagnose must say about it.
type provocation struct {
	example string
	env     []string
	args    []string
	limits  harness.Limits

	// watch is how long diagnose looks; 0 is the usual time.
	watch time.Duration
	// age is how old the program has to be before diagnose looks.
	age time.Duration
	// alone is for programs that take all CPUs, or whose finding depends on
	// getting the CPU when they need it.
	alone bool

	id       string
	severity string // at least
	cause    string // a regular expression
	site     string // a function that the finding has to name
}

const usualWatch = 12 * time.Second

var provocations = []provocation{
	{example: "limitunset", limits: harness.Limits{MemoryBytes: 256 << 20},
		id: "HW1001", severity: "warning", cause: `does not know of the container's 256`},
	{example: "limitabove", limits: harness.Limits{MemoryBytes: 256 << 20}, env: []string{"GOMEMLIMIT=512MiB"},
		id: "HW1002", severity: "warning", cause: `GOMEMLIMIT is 512.* limit is 256`},
	{example: "limitnearlive", env: []string{"GOMEMLIMIT=110MiB"},
		id: "HW1003", severity: "warning", cause: `limit of 110.* effective GOGC of \d\b`},
	{example: "gogcoff", env: []string{"GOGC=off"},
		id: "HW1004", severity: "warning", cause: `switched off`},
	{example: "gogclow", env: []string{"GOGC=10"},
		id: "HW1005", severity: "warning", cause: `GOGC=10 `},
	{example: "forcedgc",
		id: "HW1006", severity: "warning", cause: `every (1|1\.0\d?|9\d\d m) ?s: a timer`},
	{example: "gomaxprocs", limits: harness.Limits{CPUCores: 0.5}, env: []string{"GOMAXPROCS=8"},
		id: "HW1007", severity: "warning", cause: `8 CPUs at once, but has 0\.5 cores`},
	{example: "godebug", env: []string{"GODEBUG=gctrce=1"},
		id: "HW1008", severity: "warning", cause: `gctrce`},
	{example: "settingignored", env: []string{"GOGC=200%"},
		id: "HW1009", severity: "warning", cause: `200%`},
	{example: "settingchanged",
		id: "HW1010", severity: "info", cause: `GOMEMLIMIT was (lowered|raised) from .* to (100|200)\.0 MiB`},

	{example: "churn",
		id: "HW2001", severity: "info", cause: ``, site: "main.render"},
	{example: "assist", env: []string{"GOGC=25"}, alone: true,
		id: "HW2002", severity: "info", cause: ``, site: "main.tree"},
	{example: "gccpu", env: []string{"GOGC=25"},
		id: "HW2003", severity: "warning", cause: ``},
	{example: "largeobjects",
		id: "HW2004", severity: "info", cause: ``, site: "main.readPage"},

	{example: "liveheap", args: []string{"-rate", "8"}, limits: harness.Limits{MemoryBytes: 1 << 30},
		id: "HW3001", severity: "warning", cause: ``, site: "main.openSession"},
	{example: "goroutines",
		id: "HW3002", severity: "warning", cause: ``, site: "main.handle"},
	{example: "blocked", age: 75 * time.Second,
		id: "HW3003", severity: "warning", cause: ``, site: "main.report"},
	{example: "stacks",
		id: "HW3004", severity: "warning", cause: ``, site: "main.accept"},
	{example: "outside",
		id: "HW3005", severity: "warning", cause: ``},
	{example: "fragmentation",
		id: "HW3006", severity: "info", cause: ``},
	{example: "scavenger",
		id: "HW3007", severity: "info", cause: ``},
	{example: "step", args: []string{"-after", "14s"}, watch: 30 * time.Second,
		id: "HW3008", severity: "info", cause: `found at least \d+\.\d MiB more`, site: "main.load"},
	{example: "neighbour", limits: harness.Limits{MemoryBytes: 256 << 20},
		id: "HW3009", severity: "info", cause: `The largest is process \d+, "neighbour", with 8\d\.\d MiB`},
	{example: "sharedmemory", limits: harness.Limits{MemoryBytes: 256 << 20},
		id: "HW3010", severity: "info", cause: `60\.0 MiB are shared memory`},
	{example: "pagecache", limits: harness.Limits{MemoryBytes: 256 << 20},
		id: "HW3011", severity: "info", cause: `1\d\d\.\d MiB are pages of files`},

	{example: "pauses", env: []string{"GODEBUG=asyncpreemptoff=1"}, alone: true,
		id: "HW4001", severity: "info", cause: ``},
	{example: "stopping", env: []string{"GODEBUG=asyncpreemptoff=1"}, alone: true,
		id: "HW4002", severity: "info", cause: `asyncpreemptoff`},
	{example: "schedlatency", alone: true,
		id: "HW4003", severity: "info", cause: ``},
	{example: "throttled", limits: harness.Limits{CPUCores: 0.3},
		id: "HW4004", severity: "warning", cause: ``},
	{example: "reclaim", limits: harness.Limits{MemoryBytes: 64 << 20},
		id: "HW4005", severity: "info", cause: `needed again`},
	{example: "stopped",
		id: "HW4006", severity: "info", cause: `stood still for at least`},

	{example: "notenough", watch: 5 * time.Second,
		id: "HW9001", severity: "info", cause: ``},
}

// TestRules runs every example and demands the finding that it provokes. What many of
// them do wrong depends on the CPU that they get, so that only they share the machine.
func TestRules(t *testing.T) {
	// What needs age is started now and looked at last.
	old := map[string]*harness.Program{}
	var inOrder []provocation
	for _, p := range provocations {
		if p.age > 0 {
			old[p.example] = p.start(t)
		}
	}
	inOrder = append(inOrder, provocations...)
	// Programs that need the machine to themselves go first, one after the other;
	// the others follow in parallel, those that need age at the end.
	slices.SortStableFunc(inOrder, func(a, b provocation) int { return order(a) - order(b) })
	for _, p := range inOrder {
		t.Run(p.id+"_"+p.example, func(t *testing.T) {
			if !p.alone {
				t.Parallel()
			}
			prog := old[p.example]
			if prog == nil {
				prog = p.start(t)
			}
			if wait := time.Until(prog.Since.Add(p.age)); wait > 0 {
				time.Sleep(wait)
			}
			p.check(t, prog)
		})
	}
}

func order(p provocation) int {
	switch {
	case p.alone:
		return 0
	case p.age == 0:
		return 1
	}
	return 2
}

func (p provocation) start(t *testing.T) *harness.Program {
	t.Helper()
	s := harness.Start{Path: product.Example(p.example), Args: p.args, Env: p.env}
	if p.limits != (harness.Limits{}) {
		s.Cgroup = harness.NewCgroup(t, p.limits)
	}
	return s.Start(t)
}

func (p provocation) check(t *testing.T, prog *harness.Program) {
	watch := p.watch
	if watch == 0 {
		watch = usualWatch
	}
	d := product.Diagnose(t, prog.PID, watch)
	harness.Alive(t, prog.PID)
	f := d.Find(p.id)
	if f == nil {
		t.Fatalf("no %s; there is:\n%v", p.id, d)
	}
	if f.Level() < harness.Level(p.severity) {
		t.Errorf("severity is %s, want %s or more", f.Severity, p.severity)
	}
	if !regexp.MustCompile(p.cause).MatchString(f.Cause) {
		t.Errorf("the cause does not say %q", p.cause)
	}
	if p.site != "" && !names(f, p.site) {
		t.Errorf("%s is not named", p.site)
	}
	if t.Failed() {
		t.Logf("found:\n%v", d)
	} else if testing.Verbose() {
		t.Logf("%v", f)
	}
}

// names reports whether a finding names a function as a site, itself or a
// closure in it.
func names(f *harness.Finding, fn string) bool {
	for _, s := range f.Sites {
		if s.Func == fn || strings.HasPrefix(s.Func, fn+".") {
			return true
		}
	}
	return false
}

// TestEveryRuleIsProvoked holds the list above against the rules that the
// binary has, and the examples that the repository has.
func TestEveryRuleIsProvoked(t *testing.T) {
	var doc struct {
		Rules []struct {
			ID   string `json:"id"`
			Name string `json:"name"`
		} `json:"rules"`
	}
	product.JSON(t, &doc, "explain", "--list")
	rules := map[string]string{}
	for _, r := range doc.Rules {
		rules[r.ID] = r.Name
	}
	if len(rules) == 0 {
		t.Fatal("the binary has no rules")
	}
	delete(rules, "HW9002") // a recording that is incomplete: TestRecordingCutShort
	// Those that read an execution trace: TestTraceIllnesses, and the scripts of cmd/internal/exectrace.
	maps.DeleteFunc(rules, func(id, _ string) bool { return strings.HasPrefix(id, "HW50") })
	// Service is healthy: TestServiceIsSized has it. Guarded has tests of its own. The
	// others are for experiments and stress.
	examples := map[string]bool{"internal": true, "service": true, "guarded": true, "orders": true, "experiments": true, "generators": true, "faults": true, "stress": true}
	for _, p := range provocations {
		if rules[p.id] != p.example {
			t.Errorf("examples/%s is to provoke %s, which is called %q", p.example, p.id, rules[p.id])
		}
		delete(rules, p.id)
		examples[p.example] = true
	}
	for id, name := range rules {
		t.Errorf("no example provokes %s %s", id, name)
	}
	dirs, err := filepath.Glob("../examples/*")
	if err != nil {
		t.Fatal(err)
	}
	for _, dir := range dirs {
		if info, err := os.Stat(dir); err == nil && info.IsDir() && !examples[filepath.Base(dir)] {
			t.Errorf("examples/%s is not tested", filepath.Base(dir))
		}
	}
}
