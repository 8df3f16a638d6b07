package planfile

import (
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
	"github.com/heapwright/heapwright/cmd/internal/experiment"
	"github.com/heapwright/heapwright/cmd/internal/strictyaml"
)

var update = flag.Bool("update", false, "write the golden files anew")

// least is a plan with nothing in it that could be left out.
const least = `schema: heapwright.stress/1
target:
  pid: 4711
faults:
- kind: limit.soft
  level: 300MiB
`

// full is one that sees all metrics, and starts its target.
const full = `schema: heapwright.stress/1
target:
  start:
    command: [./server]
    ready: {http: "http://127.0.0.1:{port}/healthz"}
  memory_limit: 512MiB
  cpu_quota: 1
  debug: "http://127.0.0.1:{port2}/debug/heapwright"
load:
  http:
    requests:
    - url: "http://127.0.0.1:{port}/"
  rate: 200/s
faults:
- kind: limit.soft
  level: 80%
`

func TestTemplates(t *testing.T) {
	for _, kind := range Kinds() {
		text := Template(kind)
		p, err := Parse(kind+".yaml", text)
		if err != nil {
			t.Errorf("%s:\n%v", kind, err)
			continue
		}
		for i, f := range p.Faults[1:] {
			if info, before := info(t, f.Kind), info(t, p.Faults[i].Kind); info.Risk < before.Risk {
				t.Errorf("%s: %s comes after %s, which is riskier", kind, f.Name, p.Faults[i].Name)
			}
		}
		// With the comments that show keys taken away, too.
		plain := regexp.MustCompile(`(?m)^( *)# ([a-z_]+:.*|  .*)$`).ReplaceAll(text, []byte("$1$2"))
		if _, err := Parse(kind+".yaml", plain); err != nil {
			t.Errorf("%s, with all that it shows:\n%v\n%s", kind, err, plain)
		}
	}
	if Template("binary") != nil {
		t.Error("there is a template of no kind")
	}
}

func info(t *testing.T, k chaos.Kind) chaos.KindInfo {
	t.Helper()
	i, ok := k.Info()
	if !ok {
		t.Fatalf("no kind %s", k)
	}
	return i
}

// The plans that come with Heapwright are plans.
func TestExamples(t *testing.T) {
	files, err := filepath.Glob("../../../../examples/stress/*.yaml")
	if err != nil || len(files) < 5 {
		t.Fatalf("%d examples, %v", len(files), err)
	}
	for _, file := range files {
		p, _, err := Load(file)
		if err != nil {
			t.Error(err)
			continue
		}
		if s := Summarize(p); s.Shortest > s.Longest || s.Longest > time.Hour || s.Risk < 1 || RiskWord(s.Risk) == "" || len(s.Steps) != len(p.Faults)+2 && p.Recovery.Watch == 0 {
			t.Errorf("%s: %+v", file, s)
		}
	}
}

func TestDefaults(t *testing.T) {
	got, err := Parse("dir/orders.yaml", []byte(least))
	if err != nil {
		t.Fatal(err)
	}
	want := &chaos.Plan{
		Schema: chaos.PlanSchema, Name: "orders", Seed: 1, Target: chaos.Target{PID: 4711},
		Faults:   []chaos.Fault{{Name: "limit.soft", Kind: chaos.SoftLimit, Level: chaos.Level{Value: 300 << 20}, Ramp: 10 * time.Second, Hold: 20 * time.Second}},
		Recovery: chaos.Recovery{Within: time.Minute, Stable: 10 * time.Second, LiveHeap: 0.05, WorkingSet: 0.1, Memory: 5 * time.Minute, Goroutines: 0.02, Latency: 0.5},
		Caps:     chaos.Caps{HostFree: 0.1}, Before: time.Minute, Between: 10 * time.Second,
	}
	want.Hypothesis, want.Abort = Hypothesis(want), Abort(want)
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	// Nobody sees what comes from a load, a URL or the page.
	for _, c := range append(got.Hypothesis, got.Abort...) {
		if i, _ := c.Metric.Info(); i.Load || i.Probe || i.Guard {
			t.Errorf("%s is looked at, and cannot be seen", c.Metric)
		}
	}
	if got, err = Parse("x.yaml", []byte(full)); err != nil {
		t.Fatal(err)
	}
	if n := len(got.Hypothesis); n != 12 || len(got.Abort) != 13 || got.Target.Ready != got.Target.Start.Ready.HTTP {
		t.Errorf("%d criteria, %d conditions, ready %q", n, len(got.Abort), got.Target.Ready)
	}
	// A share of a small limit is less than the floors in bytes.
	got, err = Parse("x.yaml", []byte(strings.Replace(full, "512MiB", "256MiB", 1)))
	if err != nil || len(got.Hypothesis) != 11 || len(got.Abort) != 12 {
		t.Errorf("%v, %d, %d", err, len(got.Hypothesis), len(got.Abort))
	}
	for text, want := range map[string]chaos.Fault{
		"{kind: freeze, level: 1s}":                                              {Ramp: 0, Hold: 20 * time.Second},
		"{kind: limit.hard, level: 80%}":                                         {Ramp: time.Minute, Steps: 10, Hold: 20 * time.Second},
		"{kind: limit.hard, level: 80%, ramp: 0s}":                               {Hold: 20 * time.Second},
		"{kind: sibling, level: 80%, until: {metric: ready, reaches: 0}}":        {Ramp: 30 * time.Second, Hold: 20 * time.Second},
		"{kind: proxy.delay, level: 1s, upstream: 'x:1', listen: '127.0.0.1:5'}": {Ramp: 10 * time.Second, Hold: 20 * time.Second, Listen: "127.0.0.1:5"},
		"{kind: connections, level: 5}":                                          {Ramp: 10 * time.Second, Hold: 20 * time.Second, Address: "127.0.0.1:{port}"},
	} {
		p, err := Parse("x.yaml", []byte(full+"- "+text+"\n"))
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if f := p.Faults[1]; f.Ramp != want.Ramp || f.Steps != want.Steps || f.Hold != want.Hold || f.Listen != want.Listen || f.Address != want.Address {
			t.Errorf("%s: %+v", text, f)
		}
	}
}

// What is said of a metric takes the place of what is said by default, and no other's.
func TestAbortIsKept(t *testing.T) {
	p, err := Parse("x.yaml", []byte(full+"abort:\n- {metric: error_ratio, at_most: 5%}\n- {metric: goroutines, at_most: 100000}\n"))
	if err != nil {
		t.Fatal(err)
	}
	seen := map[chaos.Metric]int{}
	for _, c := range p.Abort {
		seen[c.Metric]++
	}
	if len(p.Abort) != 14 || seen[chaos.ErrorRatio] != 1 || *p.Abort[0].AtMost != 0.05 || seen[chaos.OOMKills] != 1 {
		t.Errorf("%+v", p.Abort)
	}
}

func TestEverything(t *testing.T) {
	plan, _, err := Load("testdata/everything.yaml")
	if err != nil {
		t.Fatal(err)
	}
	got, err := json.MarshalIndent(plan, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	golden := "testdata/everything.json"
	got = append(got, '\n')
	if *update {
		if err := os.WriteFile(golden, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(golden)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("%s differs (-update writes it anew)\ngot:\n%s", golden, got)
	}
	// All kinds are in it.
	for _, k := range chaos.Kinds() {
		if !slices.ContainsFunc(plan.Faults, func(f chaos.Fault) bool { return f.Kind == k.Kind }) {
			t.Errorf("%s is not in %s", k.Kind, golden)
		}
	}
	// And all keys.
	text, err := os.ReadFile("testdata/everything.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range strictyaml.KeyPaths(reflect.TypeFor[file]()) {
		key := path[strings.LastIndexByte(path, '.')+1:]
		if elsewhere := []string{"pid", "container", "package", "source", "git", "repository", "revision", "tcp", "grpc", "json", "bytes", "knee_share"}; !slices.Contains(elsewhere, key) && !strings.Contains(string(text), key+":") {
			t.Errorf("%s is not in everything.yaml", path)
		}
	}
}

// A plan that is written is read as it was.
func TestFormat(t *testing.T) {
	texts := map[string][]byte{"least": []byte(least), "full": []byte(full)}
	for _, kind := range Kinds() {
		texts[kind] = Template(kind)
	}
	files, _ := filepath.Glob("../../../../examples/stress/*.yaml")
	for _, file := range append(files, "testdata/everything.yaml") {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		texts[file] = text
	}
	for name, text := range texts {
		p, err := Parse("x.yaml", text)
		if err != nil {
			t.Fatal(err)
		}
		out, err := Format(p)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse("y.yaml", out)
		if err != nil || !reflect.DeepEqual(p, again) {
			t.Errorf("%s: %v\nwas  %+v\nis   %+v\n%s", name, err, p, again, out)
		}
	}
}

// The file has the keys of the plan, but for what its units make texts.
func TestKeysAreThePlans(t *testing.T) {
	got, want := strictyaml.KeyPaths(reflect.TypeFor[file]()), strictyaml.KeyPaths(reflect.TypeFor[chaos.Plan]())
	if !slices.Equal(got, want) {
		t.Errorf("the file has %q\nthe plan %q", got, want)
	}
}

// Each case changes a plan: the old text into the new. The problems are those expected,
// in their order.
func TestProblems(t *testing.T) {
	type edit struct{ old, new string }
	soft := "- kind: limit.soft\n  level: 80%\n"
	fault := func(s string) edit { return edit{soft, "- " + s + "\n"} }
	add := func(s string) edit { return edit{soft, soft + s + "\n"} }
	ofPID := func(s string) edit { return edit{"  level: 300MiB\n", "  level: 300MiB\n" + s + "\n"} }
	for _, tc := range []struct {
		name string
		edit edit
		want []string
	}{
		{"unknown key", edit{"faults:", "fault:"}, []string{`x.yaml:14:1: "fault" is no key here; did you mean faults?`}},
		{"schema", edit{"stress/1", "stress/2"}, []string{`x.yaml:1:9: schema: "heapwright.stress/2" is not known: this heapwright reads heapwright.stress/1`}},
		{"no schema", edit{"schema: heapwright.stress/1\n", ""}, []string{`schema: the first line of a plan is`}},
		{"several", edit{soft, "- {kind: sibbling, level: 5}\n- {kind: sibling, level: lots}\n- {kind: freeze}\nbefore: 0s\n"}, []string{
			`:15:10: faults[0].kind: "sibbling" is not known; did you mean sibling?`, `:16:26: faults[1].level: "lots" is no level of sibling: write 128MiB, or 50% of the headroom`,
			`:17:3: faults[2].level: how much? Write 250ms`, `:18:9: before: 0s is not from 1s to 1h0m0s`}},
		{"no target", edit{"  pid: 4711\n", "  ready: \"http://127.0.0.1:80/\"\n"}, []string{`target: there is no process to do it to: give one of start, pid, name, container`}},
		{"two targets", edit{"  pid: 4711\n", "  pid: 4711\n  name: x\n"}, []string{`target.name: there is pid already`}},
		{"PID 1", edit{"4711", "1"}, []string{`target.pid: process 1 is what the machine or the container runs on`}},
		{"PID -1", edit{"4711", "-1"}, []string{`target.pid: -1 is no process`}},
		{"container", edit{"pid: 4711", "container: ../x"}, []string{`target.container: "../x" is no name or ID of a container`}},
		{"limit of another", edit{"  pid: 4711\n", "  pid: 4711\n  memory_limit: 1GiB\n  gogc: 5\n"}, []string{`target.memory_limit: only a target that is started has it`, `target.gogc: only`}},
		{"values of the target", edit{"memory_limit: 512MiB\n  cpu_quota: 1", "memory_limit: 512\n  cpu_quota: 0\n  gogc: high\n  gomemlimit: 5GB"}, []string{
			`target.memory_limit: nothing runs in 512 bytes`, `target.cpu_quota: 0 is not from 0.01`, `target.gogc: "high" is no GOGC`, `target.gomemlimit: "5GB" is no GOMEMLIMIT`}},
		{"port of another", edit{"  pid: 4711\n", "  pid: 4711\n  ready: \"http://127.0.0.1:{port}/\"\n"}, []string{`target.ready: {port} is not known: there is {seq}`}},
		{"variant", edit{"{port}/healthz", "{port}/{variant}"}, []string{`target.start.ready.http: {variant} is not known: there are {port}, {port2} to {port8}, {dir} and {seq}`}},
		{"debug", edit{"http://127.0.0.1:{port2}/debug/heapwright", "127.0.0.1:{port2}"}, []string{`target.debug: "127.0.0.1:{port2}" is no URL`}},
		{"load.command", edit{"  http:\n    requests:\n    - url: \"http://127.0.0.1:{port}/\"\n  rate: 200/s\n", "  command: [wrk, \"{port}\"]\n  rate: 5\n"}, []string{`load.command: a generator of one's own tells what it saw when it ends`}},
		{"knee", edit{"rate: 200/s", "rate: knee"}, []string{`load.rate: no knee is looked for here`}},
		{"no rate", edit{"  rate: 200/s\n", ""}, []string{`load.rate: no knee is looked for here`}},
		{"no faults", edit{"faults:\n" + soft, "faults: []\n"}, []string{`faults: there is none, so that nothing would happen`}},
		{"no kind", fault("{level: 5}"), []string{`faults[0].kind: what is to happen? It is one of limit.soft, cpu.quota`}},
		{"twice", add("- {kind: limit.soft, level: 70%}"), []string{`faults[1].name: there are two faults "limit.soft": give each a name`}},
		{"name", fault("{kind: limit.soft, level: 70%, name: a b}"), []string{`faults[0].name: "a b" is no name of a fault`}},
		{"share of nothing", fault("{kind: freeze, level: 50%}"), []string{`faults[0].level: "50%" of what? Levels of freeze are such as 250ms`}},
		{"units", edit{soft, "- {kind: heap.churn, level: 5MiB}\n- {kind: freeze, level: 5}\n- {kind: goroutines, level: 5/s}\n- {kind: sibling, level: 5s}\n- {kind: cpu.quota, level: half}\n- {kind: gc.forced, level: 5ms}\n"}, []string{
			`"5MiB" is no level of heap.churn: write 400MiB/s`, `"5" is no level of freeze: write 250ms`, `"5/s" is no level of goroutines: write 5000`, `"5s" is no level of sibling`, `"half" is no level of cpu.quota: write 0.5 cores, or 50% of the quota`, `"5ms" is no level of gc.forced: write 20/s`}},
		{"nothing", fault("{kind: sibling, level: 0}"), []string{`faults[0].level: a level of 0 is no fault`}},
		{"no lower", fault("{kind: limit.soft, level: 100%}"), []string{`faults[0].level: 100% would not lower it`}},
		{"more than all", fault("{kind: sibling, level: 110%}"), []string{`faults[0].level: 110% is more than there is`}},
		{"much more than all", fault("{kind: sibling, level: 210%, allow_kill: true}"), []string{`faults[0].level: 210% is not to at most 200%`}},
		{"above the limit", fault("{kind: shared, level: 512MiB}"), []string{`faults[0].level: 512MiB is all of target.memory_limit or more`}},
		{"above the cap", edit{soft, "- {kind: shared, level: 200MiB}\ncaps: {memory: 100MiB, host_free: 0%}\n"}, []string{`faults[0].level: 200MiB is more than caps.memory, 100MiB`, `caps.host_free: 0% is not from 1% to 90%`}},
		{"hard limit above", fault("{kind: limit.hard, level: 600MiB}"), []string{`faults[0].level: 600MiB is not below target.memory_limit, 512MiB`}},
		{"quota above", fault("{kind: cpu.quota, level: 1.5}"), []string{`faults[0].level: 1.5 cores is not below target.cpu_quota, 1`}},
		{"too much", edit{soft, "- {kind: heap.churn, level: 100GiB/s}\n- {kind: gc.forced, level: 51/s}\n- {kind: freeze, level: 31s, hold: 1m}\n- {kind: connections, level: 70000}\n"}, []string{
			`100GiB/s is more than 64GiB/s`, `51/s is more than 50/s`, `31s is more than 30s`, `70000 is more than 60000`}},
		{"longer than the hold", fault("{kind: freeze, level: 10s, hold: 5s}"), []string{`faults[0].level: it would be stopped for 10s, and hold is 5s`}},
		{"from", edit{soft, "- {kind: limit.soft, level: 80%, from: 70%}\n- {kind: sibling, level: 50%, from: 60%}\n- {kind: shared, level: 5MiB, from: x}\n"}, []string{
			`faults[0].from: limit.soft is lowered: from is more than level`, `faults[1].from: from is less than level`, `faults[2].from: "x" is no level of shared`}},
		{"hooks", edit{"  level: 300MiB\n", "  level: 300MiB\n- {kind: heap.churn, level: 5MiB/s}\n"}, []string{`faults[1].kind: heap.churn happens inside of a service that has package guard/fault: give target.debug`}},
		{"no cgroup", edit{"  memory_limit: 512MiB\n  cpu_quota: 1\n", "  gomemlimit: 1GiB\n"}, nil},
		{"no cgroup for faults", edit{"  memory_limit: 512MiB\n  cpu_quota: 1\n  debug: \"http://127.0.0.1:{port2}/debug/heapwright\"\nload:", "  debug: \"http://127.0.0.1:{port2}/\"\nload: &load"}, []string{`80% of what? Give target.gomemlimit or target.memory_limit`}},
		{"keys of others", fault("{kind: limit.soft, level: 80%, size: 5KiB, every: 5s, listen: x, upstream: x, cut: 5%, address: x, send: x, dirty: true, concurrency: 5, allow_kill: true}"), []string{
			`faults[0].size: limit.soft has none: it belongs to heap.churn`, `.every: limit.soft has none`, `.listen:`, `.upstream:`, `.cut:`, `.address:`, `.send:`, `.dirty: limit.soft has none: it belongs to pagecache`, `.concurrency:`, `.allow_kill: limit.soft kills nothing`}},
		{"sizes", edit{soft, "- {kind: heap.pointers, level: 5MiB, size: 1KiB}\n- {kind: stacks, level: 5MiB, size: 4KiB}\n"}, []string{`faults[0].size: 1KiB is not from 16 to 512`, `faults[1].size: 4KiB is not from 16KiB to 16MiB`}},
		{"nothing to be seen", fault("{kind: limit.soft, level: 80%, ramp: 0s, hold: 500ms}"), []string{`faults[0].hold: the fault would be over after 500ms, before anything is seen of it`}},
		{"times", fault("{kind: limit.soft, level: 80%, ramp: 2h, hold: 2h, steps: 2000}"), []string{`ramp: 2h0m0s is not from 0s to 1h0m0s`, `hold: 2h0m0s is not from 0s to 1h0m0s`, `steps: 2000 is not from 0 to 1000`}},
		{"steps without a ramp", fault("{kind: limit.soft, level: 80%, ramp: 0s, steps: 5}"), []string{`faults[0].steps: steps are of the ramp`}},
		{"loop", fault("{kind: sibling, level: 80%, ramp: 0s, steps: 5, until: {metric: headroom, slope: fast}}"), []string{
			`faults[0].ramp: a closed loop takes time`, `faults[0].steps: a closed loop moves as it has to`, `faults[0].until: which value`, `until.metric: "headroom" is not measured; did you mean headroom_`, `until.slope: "fast" is no slope: write how much the level may change in a second, such as 128MiB/s`}},
		{"loop to the wrong unit", fault("{kind: sibling, level: 80%, until: {metric: pause_p99_seconds, reaches: 5}}"), []string{`faults[0].until.reaches: "5" is no value of pause_p99_seconds: write 250ms`}},
		{"loop that nobody sees", ofPID("  until: {metric: guard_state, reaches: 1}"), []string{`faults[0].until.metric: nobody would see guard_state: it is read from the debug page`}},
		{"loop of a freeze", fault("{kind: freeze, level: 1s, ramp: 5s, until: {metric: ready, reaches: 0}}"), []string{`faults[0].until: a process that stands still leads no metric`}},
		{"expect", edit{soft, "- {kind: sibling, level: 50%, expect: {}}\n- {kind: shared, level: 50%, expect: {oom_kill: true}}\n"}, []string{`faults[0].expect: what is expected?`, `faults[1].expect.oom_kill: say allow_kill: true too`}},
		{"degrade of another", ofPID("  expect: {degrade: true}"), []string{`expect.degrade: whether the guard degrades is read from the debug page`}},
		{"diagnosis", fault("{kind: limit.soft, level: 80%, diagnosis: [HW9999]}"), []string{`faults[0].diagnosis[0]: "HW9999" is no finding`}},
		{"proxy", fault("{kind: proxy.delay, level: 1s, listen: x, every: 1s}"), []string{`faults[0]: give upstream`, `faults[0].listen: "x" is no address to listen on`, `faults[0].every: it is between two cuts`}},
		{"proxy that nobody uses", fault("{kind: proxy.delay, name: db, level: 1s, upstream: \"x:1\"}"), []string{`faults[0]: nobody goes through it: write {proxy.db}`}},
		{"proxy that nobody knows", edit{"- kind: limit.soft\n  level: 300MiB\n", "- {kind: proxy.delay, level: 1s, upstream: \"x:1\"}\n"}, []string{`faults[0]: nobody knows where it listens`}},
		{"proxy that is none", edit{"[./server]", "[./server, \"{proxy.db}\"]"}, []string{`target.start.command[1]: {proxy.db} is not known: no fault with a proxy has that name`}},
		{"proxy of nobody", fault("{kind: proxy.hole, proxy: db}"), []string{`faults[0].proxy: no fault "db" has a proxy of its own`}},
		{"proxy of a proxy", edit{"- kind: limit.soft\n  level: 300MiB\n", "- {kind: proxy.hole, name: a, upstream: \"x:1\", listen: \"127.0.0.1:5\"}\n- {kind: proxy.reset, name: b, proxy: a}\n- {kind: proxy.reset, name: c, proxy: b, upstream: \"x:1\"}\n"}, []string{`faults[2].proxy: no fault "b" has a proxy of its own`, `faults[2].upstream: the proxy of "b" has one`}},
		{"hole", fault("{kind: proxy.hole, upstream: \"x:1\", listen: \"127.0.0.1:5\", direction: up, end: never, level: 150%}"), []string{`faults[0].direction: "up" is not known`, `faults[0].end: "never" is not known`, `faults[0].level: 150% is more than 100%`}},
		{"hole of nothing", fault("{kind: proxy.hole, upstream: \"x:1\", listen: \"127.0.0.1:5\", level: 0%}"), []string{`faults[0].level: a level of 0 is no fault`}},
		{"direction of resets", fault("{kind: proxy.reset, upstream: \"x:1\", listen: \"127.0.0.1:5\", direction: to}"), []string{`faults[0].direction: proxy.reset has none`}},
		{"count", fault("{kind: heap.fragments, level: 5MiB, count: 3, size: 1KiB}"), []string{`faults[0].count: heap.fragments has none`, `faults[0].size: 1KiB is not from 16 to 512`}},
		{"count of nothing", fault("{kind: gc.forced, every: 1s, count: 0}"), []string{`faults[0].count: 0 is not from 1`}},
		{"connections", edit{"- kind: limit.soft\n  level: 300MiB\n", "- {kind: connections, level: 5}\n"}, []string{`faults[0]: give address`}},
		{"rare and often", fault("{kind: gc.forced, level: 5/s, every: 1s}"), []string{`faults[0].every: there is level already`}},
		{"too often", fault("{kind: gc.forced, every: 15ms}"), []string{`faults[0].every: 15ms is more often than 50 a second`}},
		{"empty hypothesis", add("hypothesis: []"), []string{`hypothesis: nothing would have to hold`}},
		{"criteria", add("hypothesis:\n- {at_most: 5}\n- {metric: gc_cpu, at_most: 5%}\n- {metric: gc_cpu_ratio}\n- {metric: gc_cpu_ratio, at_most: 5%, at_least: 1%}\n- {metric: gc_cpu_ratio, at_most: 50}\n- {metric: rss_bytes, at_most: 5s, for: 1h}\n- {metric: gc_cpu_ratio, at_most: 50%, tolerated: 40%, except: [freze]}\n- {metric: goroutines, at_most: 0, of_baseline: true}"), []string{
			`hypothesis[0]: which metric?`, `hypothesis[1].metric: "gc_cpu" is not measured; did you mean gc_cpu_ratio?`, `hypothesis[2]: which bound does gc_cpu_ratio have`, `hypothesis[3].at_least: there is at_most already`,
			`hypothesis[4].at_most: 50 would be more than 100%`, `hypothesis[5].at_most: "5s" is no value of rss_bytes: write 128MiB`, `hypothesis[5].for: 1h0m0s is not from 0s`, `hypothesis[6].tolerated: it is stricter`, `hypothesis[6].except[0]: "freze" is not known; did you mean freeze?`, `hypothesis[7].at_most: "0" is no factor`}},
		{"far metric", add("abort: [{metric: happiness, at_most: 5}]"), []string{`"happiness" is not measured; there are ready, error_ratio`}},
		{"abort", add("abort: [{metric: gc_cpu_ratio, at_most: 5%, tolerated: 6%}]"), []string{`abort[0].tolerated: an abort condition has one bound`}},
		{"latency of nothing", ofPID("abort: [{metric: latency_p99_seconds, at_most: 1s}, {metric: ready, at_least: 1}, {metric: guard_rung, at_most: 1}]"), []string{
			`abort[0].metric: nobody would see latency_p99_seconds: there is no load`, `abort[1].metric: nobody would see ready: there is no URL`, `abort[2].metric: nobody would see guard_rung`}},
		{"recovery", add("recovery: {within: 1m, stable: 2m, memory: 30s, watch: 2h}"), []string{`recovery.stable: 2m0s is not from 0s to 1m0s`, `recovery.memory: 30s is not from 1m0s`, `recovery.watch: 2h0m0s is not`}},
		{"a week", edit{soft, strings.Repeat("- {kind: limit.soft, level: 80%, name: NAME, hold: 1h, ramp: 1h}\n", 13)}, []string{`faults: all of them may take 27h`}},
		{"empty", edit{full, "# nothing\n"}, []string{`x.yaml:1:1: there is no plan of stress in the file; heapwright stress --init writes one`}},
		{"text", edit{full, "hello"}, []string{`x.yaml:1:1: a plan of stress is keys and values`}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			base := full
			if !strings.Contains(base, tc.edit.old) {
				base = least
			}
			if !strings.Contains(base, tc.edit.old) {
				t.Fatalf("nothing to change: %q", tc.edit.old)
			}
			text := strings.Replace(base, tc.edit.old, tc.edit.new, 1)
			for i := 0; strings.Contains(text, "NAME"); i++ {
				text = strings.Replace(text, "NAME", "n"+strings.Repeat("x", i), 1)
			}
			_, err := Parse("x.yaml", []byte(text))
			if len(tc.want) == 0 && err == nil {
				return
			}
			var errs *strictyaml.Errors
			if !errors.As(err, &errs) {
				t.Fatalf("no problems: %v", err)
			}
			rest := err.Error()
			for _, w := range tc.want {
				if !strings.Contains(rest, w) {
					t.Errorf("no %s in\n%v", w, err)
				}
			}
			if got := strings.Count(rest, "\n") + 1; got != len(tc.want) {
				t.Errorf("%d problems, and %d expected:\n%v", got, len(tc.want), err)
			}
		})
	}
}

func TestScalars(t *testing.T) {
	for _, tc := range []struct {
		kind chaos.Kind
		text string
		want chaos.Level
	}{
		{chaos.SoftLimit, "128MiB", chaos.Level{Value: 128 << 20}}, {chaos.SoftLimit, "50 %", chaos.Level{Value: 0.5, Share: true}}, {chaos.Churn, "1.5GiB/s", chaos.Level{Value: 3 << 29}},
		{chaos.ForcedGC, "0.5", chaos.Level{Value: 0.5}}, {chaos.ForcedGC, "20 /s", chaos.Level{Value: 20}}, {chaos.CPUQuota, "0.5", chaos.Level{Value: 0.5}}, {chaos.CPUQuota, "1 core", chaos.Level{Value: 1}},
		{chaos.CPUQuota, "2.5 cores", chaos.Level{Value: 2.5}}, {chaos.BlackHole, "30%", chaos.Level{Value: 0.3}}, {chaos.ResetPeer, "0.25", chaos.Level{Value: 0.25}}, {chaos.Freeze, "1m0.5s", chaos.Level{Value: 60.5}}, {chaos.Goroutines, "5000", chaos.Level{Value: 5000}},
	} {
		got, err := parseLevel(info(t, tc.kind), tc.text)
		if err != nil || got != tc.want {
			t.Errorf("%s %s: %+v, %v", tc.kind, tc.text, got, err)
		}
		if again, err := parseLevel(info(t, tc.kind), formatLevel(info(t, tc.kind), got)); err != nil || again != got {
			t.Errorf("%s %s is written %s: %v", tc.kind, tc.text, formatLevel(info(t, tc.kind), got), err)
		}
	}
	for _, k := range chaos.Kinds() {
		for _, s := range []string{"", "x", "-1", "-1s", "-5MiB", "1e3", "NaN", "Inf", "%", "-5%", "5%%", "1/s/s", "9223372036854775808s"} {
			if l, err := parseLevel(k, s); err == nil {
				t.Errorf("%q is a level of %s: %+v", s, k.Kind, l)
			}
		}
		if _, err := parseLevel(k, example[k.Unit]); err != nil {
			t.Errorf("the example is none: %v", err)
		}
		slope := strings.TrimSuffix(example[k.Unit], "/s") + "/s"
		v, err := parseSlope(k.Unit, slope)
		if again, err2 := parseSlope(k.Unit, formatSlope(k.Unit, v)); err != nil || err2 != nil || again != v {
			t.Errorf("slope %s of %s: %v, %v, %v", slope, k.Kind, v, err, err2)
		}
	}
	for _, m := range chaos.Metrics() {
		for _, s := range []string{"", "x", "-1", "-1s", "NaN", "1e3", "%"} {
			if v, err := parseBound(m, false, s); err == nil {
				t.Errorf("%q is a value of %s: %v", s, m.Metric, v)
			}
			if v, err := parseBound(m, true, s); err == nil {
				t.Errorf("%q is a factor of %s: %v", s, m.Metric, v)
			}
		}
	}
}

func TestSummary(t *testing.T) {
	p, err := Parse("x.yaml", []byte(full+"- {kind: limit.hard, level: 80%}\n- {kind: sibling, level: 150%, allow_kill: true}\nrecovery: {watch: 1m}\n"))
	if err != nil {
		t.Fatal(err)
	}
	s := Summarize(p)
	want := Summary{
		Target: "started: ./server", Load: "200/s, 1 kind of HTTP request", Risk: 4, Riskiest: "limit.hard",
		Steps: []string{
			"before: the hypothesis, 12 criteria, is looked at for 1m0s",
			"limit.soft (limit.soft, risk 1): GOMEMLIMIT lowered in the running process, to 80% of the limit within 10s, held for 20s",
			"limit.hard (limit.hard, risk 4): the limit of its cgroup lowered, to 80% of the limit in 10 steps within 1m0s, held for 20s",
			"sibling (sibling, risk 3): another process in its cgroup takes memory, to 150% of the headroom within 10s, held for 20s",
			"after each: up to 1m0s until it is as it was, and up to 5m0s until its memory is",
			"after all: looked for growth for 1m0s",
		},
		Shortest: 4*time.Minute + 50*time.Second, Longest: 19*time.Minute + 20*time.Second,
		Notes: []string{
			"sibling (risk 3) comes after limit.hard (risk 4): milder faults first say more, since the target may not live to see them",
			"sibling may end in the kernel killing the target",
		},
	}
	if !reflect.DeepEqual(s, want) {
		t.Errorf("got  %+v\nwant %+v", s, want)
	}
	p, err = Parse("x.yaml", []byte(least))
	if err != nil {
		t.Fatal(err)
	}
	if s := Summarize(p); s.Target != "process 4711" || s.Load != "" || len(s.Notes) != 3 {
		t.Errorf("%+v", s)
	}
	p.Before, p.Faults[0].Ramp, p.Faults[0].Hold = 5*time.Second, 0, 2*time.Second
	p.Hypothesis = append(p.Hypothesis, chaos.Criterion{Metric: chaos.LatencyP99, AtMost: bound(1.5), OfBaseline: true, For: 7 * time.Second})
	for _, want := range []string{"before is shorter than 20s", "lasts 2s, and latency_p99_seconds has to be broken for 7s"} {
		if notes := Summarize(p).Notes; !slices.ContainsFunc(notes, func(n string) bool { return strings.Contains(n, want) }) {
			t.Errorf("no note %q in %q", want, notes)
		}
	}
}

func TestLoad(t *testing.T) {
	path := filepath.Join(t.TempDir(), "tea.yaml")
	if _, _, err := Load(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	if err := os.WriteFile(path, []byte(least), 0o644); err != nil {
		t.Fatal(err)
	}
	plan, text, err := Load(path)
	if err != nil || plan.Name != "tea" || string(text) != least || len(Hash(text)) != 64 || Hash(text) == Hash(text[1:]) {
		t.Errorf("%v, %+v", err, plan)
	}
}

// Every key, kind and metric is in the manual, and the manual has no others.
func TestManual(t *testing.T) {
	doc, err := os.ReadFile("../../../../docs/formats/stress.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := func(s string) map[string]string {
		out := map[string]string{}
		for _, m := range regexp.MustCompile("(?m)^\\| `([a-z0-9_.\\[\\]]+)` \\|(.*)$").FindAllStringSubmatch(s, -1) {
			out[m[1]] = m[2]
		}
		return out
	}
	keys, rest, ok := strings.Cut(string(doc), "\n## Kinds\n")
	kinds, metrics, ok2 := strings.Cut(rest, "\n## Metrics\n")
	if !ok || !ok2 {
		t.Fatal("docs/formats/stress.md lists no kinds, or no metrics")
	}
	hypothesis, rest, _ := strings.Cut(keys[strings.Index(keys, "### Criteria"):], "An `abort` that is given")
	abort, _, _ := strings.Cut(rest, "### Recovery")
	for _, path := range strictyaml.KeyPaths(reflect.TypeFor[file]()) {
		if _, ok := rows(keys)[path]; !ok {
			t.Errorf("docs/formats/stress.md does not say what %s is", path)
		}
	}
	known := strictyaml.KeyPaths(reflect.TypeFor[file]())
	for key := range rows(keys) {
		if _, metric := chaos.Metric(key).Info(); !metric && !slices.Contains(known, key) {
			t.Errorf("docs/formats/stress.md has %s, which is no key", key)
		}
	}
	for _, k := range chaos.Kinds() {
		row := rows(kinds)[string(k.Kind)]
		if !strings.Contains(row, "| "+string('0'+rune(k.Risk))+" |") || k.Inside != strings.Contains(row, "*inside*") || k.Memory != strings.Contains(row, "*cgroup*") {
			t.Errorf("docs/formats/stress.md has %s with %q", k.Kind, row)
		}
	}
	for _, m := range chaos.Metrics() {
		row, ok := rows(metrics)[string(m.Metric)]
		if !ok || m.Load != strings.Contains(row, "| load |") && !strings.HasPrefix(row, " load |") || m.Guard != strings.HasPrefix(row, " page |") || m.Probe != strings.HasPrefix(row, " URL |") {
			t.Errorf("docs/formats/stress.md has %s with %q", m.Metric, row)
		}
	}
	// The default criteria are those of the manual.
	p, err := Parse("x.yaml", []byte(full))
	if err != nil {
		t.Fatal(err)
	}
	for _, list := range []struct {
		text     string
		criteria []chaos.Criterion
	}{{hypothesis, p.Hypothesis}, {abort, p.Abort}} {
		all := rows(list.text)
		for _, c := range list.criteria {
			row := all[string(c.Metric)]
			i, _ := c.Metric.Info()
			bound := formatBound(i, false, c.AtMost) + formatBound(i, false, c.AtLeast)
			if c.OfBaseline {
				bound = percent(*c.AtMost)
			}
			if c.Metric == chaos.HostFreeRatio {
				bound = "`caps.host_free`"
			}
			said := strings.Contains(row, " "+bound)
			if c.For > 0 {
				said = said && strings.Contains(row, " "+strings.TrimSuffix(c.For.String(), "m0s")+" |")
			}
			for _, k := range c.Except {
				said = said && strings.Contains(row, "`"+string(k)+"`")
			}
			if !said || strings.Count(row, "`")/2 != len(c.Except)+strings.Count(row, "`memory_limit`")+strings.Count(row, "`caps.host_free`") {
				t.Errorf("docs/formats/stress.md has %s with %q, and it is %s for %v but %v", c.Metric, row, bound, c.For, c.Except)
			}
			delete(all, string(c.Metric))
		}
		for m := range all {
			if _, metric := chaos.Metric(m).Info(); metric {
				t.Errorf("docs/formats/stress.md has %s, which is no default", m)
			}
		}
	}
	// The examples in it are plans.
	for _, m := range regexp.MustCompile("(?s)```yaml\n(schema:.*?)```").FindAllStringSubmatch(string(doc), -1) {
		if _, err := Parse("stress.md", []byte(m[1])); err != nil {
			t.Errorf("%v in\n%s", err, m[1])
		}
	}
}

// Bytes of sizes are in the manual as they are checked.
func TestSizes(t *testing.T) {
	for k, r := range sizes {
		if r[0] <= 0 || r[1] <= r[0] || r[1] > experiment.Bytes(1<<30) {
			t.Errorf("%s: %v", k, r)
		}
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(least))
	f.Add([]byte(full))
	for _, kind := range Kinds() {
		f.Add(Template(kind))
	}
	everything, err := os.ReadFile("testdata/everything.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(everything)
	f.Add([]byte("a: &a [*a]"))
	f.Fuzz(func(t *testing.T, text []byte) {
		plan, err := Parse("x.yaml", text)
		if err != nil {
			var errs *strictyaml.Errors
			if !errors.As(err, &errs) || len(errs.Problems) == 0 || len(errs.Problems) > strictyaml.MaxProblems {
				t.Fatalf("%v", err)
			}
			for _, p := range errs.Problems {
				if p.Line < 1 || p.Column < 1 || p.Text == "" {
					t.Errorf("%+v", p)
				}
			}
			return
		}
		if len(plan.Faults) == 0 || len(plan.Hypothesis) == 0 || len(plan.Abort) == 0 {
			t.Errorf("accepted %+v", plan)
		}
		if _, err := json.Marshal(plan); err != nil {
			t.Error(err)
		}
		if s := Summarize(plan); s.Shortest > s.Longest || s.Longest > 2*maxTotal {
			t.Errorf("%+v", s)
		}
		// What is written is read, and written the same.
		out, err := Format(plan)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Parse("x.yaml", out)
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		if out2, err := Format(again); err != nil || string(out2) != string(out) {
			t.Errorf("%v\n%s\n%s", err, out, out2)
		}
	})
}

// TestReadme: a plan that people copy from the documents is one that can be carried out.
func TestReadme(t *testing.T) {
	plans := 0
	for _, file := range []string{"../../../../README.md", "../../../../docs/formats/stress.md"} {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for block := range strings.SplitSeq(string(text), "```yaml\n") {
			plan, _, ok := strings.Cut(block, "```")
			if !ok || !strings.HasPrefix(plan, "schema: "+chaos.PlanSchema) {
				continue
			}
			plans++
			if _, err := Parse(file, []byte(plan)); err != nil {
				t.Errorf("%v", err)
			}
		}
	}
	if plans < 2 {
		t.Errorf("%d plans were found", plans)
	}
}
