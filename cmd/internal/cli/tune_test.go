package cli

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/ruletest"
	"github.com/heapwright/heapwright/cmd/internal/goproc"
	"github.com/heapwright/heapwright/cmd/internal/live"
	"github.com/heapwright/heapwright/cmd/internal/tune"
	"github.com/heapwright/heapwright/pacer"
	"github.com/heapwright/heapwright/record"
)

// planOf is a plan as package tune makes them, for the fake twin.
func planOf(tw *fakeTwin) *tune.Plan {
	s := tw.now
	s.GOGCPercent, s.GOMEMLIMITBytes, s.GOMAXPROCS = 250, 460*mib, 0
	then := tw.now
	then.GOGCPercent, then.GOMEMLIMITBytes = s.GOGCPercent, s.GOMEMLIMITBytes
	other := func(name string, gogc, limit int64, fits bool, lost string) tune.Alternative {
		x := tw.now
		x.GOGCPercent, x.GOMEMLIMITBytes = gogc, limit
		return tune.Alternative{Name: name, Settings: x, Forecast: tw.Forecast(x), Fits: fits, Lost: lost}
	}
	return &tune.Plan{
		Settings: s, GOMAXPROCS: "Leave GOMAXPROCS alone: it is 2 with a quota of 2 cores.",
		Container: tune.Container{RequestBytes: 410 * mib, LimitBytes: 512 * mib, CPUQuota: 2},
		Reserve:   tune.Reserve{LimitBytes: 512 * mib, NonGoBytes: fakeNonGo, SpareBytes: 26 * mib, SpareFrom: "5% of the limit"},
		Current:   tw.Forecast(tw.now), Expected: tw.Forecast(then),
		Why:        []string{"GOMEMLIMIT=460MiB: the container's 512.0 MiB minus 24.0 MiB resident beside Go, minus a reserve of 25.6 MiB."},
		Risk:       []string{"The recording covers 30 s. A load that was not in it is not in the plan.", "The live heap may grow by 40 MiB."},
		Falsifiers: []tune.Falsifier{{Quantity: "gc_cpu_cores", Above: 0.06, Cycles: 20, Text: "If GC CPU is above 0.06 cores after 20 GC cycles, the plan is wrong."}},
		Alternatives: []tune.Alternative{
			other("Go's defaults", 100, pacer.NoMemoryLimit, true, "It takes 0.12 cores of GC where the plan takes 0.05 cores (140% more)."),
			other("a GOGC tuner that aims at 70% of the container", 450, pacer.NoMemoryLimit, false, "Its peak may reach 620.0 MiB, above the limit of 512.0 MiB."),
		},
		Notes: []string{"Kernel memory was not measured."}, SetInCode: []string{"GOGC"},
		Confidence: rule.Medium, ConfidenceReason: "the recording covers 30 s", Forecasts: 212,
	}
}

func TestTuneText(t *testing.T) {
	tw := newFakeTwin()
	keep := planOf(tw)
	keep.Keep, keep.Settings, keep.Expected, keep.Alternatives, keep.SetInCode = true, tw.now, keep.Current, nil, nil
	frugal := planOf(tw)
	frugal.Objective = tune.Objective{Kind: tune.LeastMemory, MaxGCCPURatio: 0.03}
	frugal.Settings.GOMAXPROCS = 2
	for _, tc := range []struct {
		name       string
		plan       *tune.Plan
		parameters bool
	}{{"plan", planOf(tw), true}, {"keep", keep, false}, {"least-memory", frugal, false}} {
		t.Run(tc.name, func(t *testing.T) {
			f := newFakeEnv()
			if err := newTuning(proc(4123, "orders"), tw, tc.plan).print(f.Env, tc.parameters); err != nil {
				t.Fatal(err)
			}
			at80(t, f.out.String())
			golden(t, "tune/"+tc.name+".txt", f.out.String())
		})
	}
}

func TestAim(t *testing.T) {
	for _, tc := range []struct {
		o    tune.Objective
		want string
	}{
		{tune.Objective{}, "least GC CPU within 512Mi"},
		{tune.Objective{Kind: tune.LeastMemory, MaxGCCPURatio: 0.03}, "least memory with GC at most 3.0% of the CPU"},
		{tune.Objective{Kind: tune.Bound, MaxPauseRatio: 0.0002, MaxAssistRatio: 0.01}, "least memory with pauses at most 0.020% of the time and assists at most 1.0% of the CPU"},
		{tune.Objective{Kind: tune.Price, MemoryPrice: 0.004, CPUPrice: 0.03}, "least cost at 0.004 for a GiB and 0.03 for a core, an hour"},
	} {
		if got := aim(&tune.Plan{Objective: tc.o, Container: tune.Container{LimitBytes: 512 * mib}}); got != tc.want {
			t.Errorf("got %q, want %q", got, tc.want)
		}
	}
}

// tuneHost has a server whose twin can be made, in a container.
func tuneHost() (*fakeEnv, *fakeChanger) {
	f := newFakeEnv()
	c := &fakeChanger{}
	f.Changes = func() (Changer, error) { return c, nil }
	return f, c
}

// busy is a recording of a server that a plan can be made for.
func busy(name string, pid int) *record.Recording {
	return recordingOf(proc(pid, name), ruletest.Server{Live: ruletest.Const(60 * mib), Alloc: ruletest.Const(120 * mib), Container: 512 * mib})
}

func TestTuneUsage(t *testing.T) {
	for _, tc := range []struct{ args, want string }{
		{"", "takes one process"},
		{"1 2", "takes one process"},
		{"1 --memory-limit 512M", "without a unit that is sure"},
		{"1 --memory-limit 0MiB", "nothing runs in 0 bytes"},
		{"1 --gc-cpu 3", "is no share"},
		{"1 --gc-cpu 0%", "is no share"},
		{"1 --gc-cpu 3% --pause 1%", "give one aim"},
		{"1 --price-cpu 3", "go together"},
		{"1 --price-cpu 3 --price-memory -1", "go together"},
		{"1 --price-cpu 3 --price-memory 1 --gc-cpu 3%", "give one aim"},
		{"1 --apply ansible", "--apply is one of"},
		{"1 -o x", "-o takes the form"},
		{"1 --yes", "about --apply live"},
		{"1 --apply env --dry-run", "about --apply live"},
		{"1 --apply live -o x", "nothing for -o"},
		{"1 --apply live --name x", "about the form"},
		{"http://h/metrics --apply live", "changes a process"},
		{"--budget 1GiB", "takes the processes"},
		{"--budget 1GiB --memory-limit 1GiB 1", "for one process"},
		{"--budget 1 1", "without a unit"},
		{"--budget 1GiB --apply live 1 2", "one process at a time"},
		{"--budget 1GiB --gc-cpu 3% 1 2", "for the least GC CPU"},
		{"--budget 1GiB --weight 1 1 2", "a process and a number"},
		{"--budget 1GiB --weight 1=0 1 2", "a process and a number"},
		{"--cgroup /x 1", "finds the processes itself"},
		{"1 --weight 1=2", "about several processes"},
		{"1 --hz -1", "must not be negative"},
		{"1 --apply live --watch -1s", "must not be negative"},
	} {
		f, c := tuneHost()
		f.run(t, ExitCouldNotRun, append([]string{"tune"}, strings.Fields(tc.args)...)...)
		if f.out.Len() > 0 || !strings.Contains(f.err.String(), tc.want) || !strings.Contains(f.err.String(), "hint: ") || len(c.did) > 0 {
			t.Errorf("%s: stdout %q, stderr %q, did %q", tc.args, &f.out, &f.err, c.did)
		}
	}
}

func TestTuneFile(t *testing.T) {
	f, _ := tuneHost()
	file := save(t, busy("orders", 4123))
	f.run(t, ExitOK, "tune", file)
	if out := f.out.String(); !strings.Contains(out, "GOMEMLIMIT") || !strings.Contains(out, "INSTEAD") || f.err.Len() > 0 {
		t.Errorf("stdout %s\nstderr %s", &f.out, &f.err)
	}
	at80(t, f.out.String())

	// The form alone has stdout, so that it can go where it is needed.
	f.run(t, ExitOK, "tune", file, "--apply", "env")
	if out := f.out.String(); !strings.Contains(out, "\nGOGC=") || !strings.Contains(out, "\nGOMEMLIMIT=") || strings.Contains(out, "INSTEAD") {
		t.Errorf("stdout %s", out)
	}
	patch := filepath.Join(t.TempDir(), "patch.yaml")
	f.run(t, ExitOK, "tune", file, "--apply", "k8s", "--container", "main", "-o", patch, "--json")
	var doc tuning
	if err := json.Unmarshal(f.out.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(patch)
	if err != nil || doc.Manifest == nil || string(b) != *doc.Manifest || *doc.File != patch || !strings.Contains(string(b), `"main"`) {
		t.Errorf("error %v, document %+v, file %s", err, doc, b)
	}
	f.run(t, ExitCouldNotRun, "tune", file, "--apply", "k8s", "--name", "a b")
	if !strings.Contains(f.err.String(), "hint: --name") {
		t.Errorf("stderr %s", &f.err)
	}
}

// Every refusal says what to do next, and too little data is not a failure.
func TestTuneRefusals(t *testing.T) {
	leak := recordingOf(proc(4242, "leaky"), ruletest.Server{Seconds: 60, Live: ruletest.Ramp(20*mib, 200*mib, 60), Alloc: ruletest.Const(80 * mib), Container: 256 * mib})
	short := recordingOf(proc(7, "short"), ruletest.Server{Seconds: 0.3, Container: 256 * mib})
	free := busy("orders", 4123)
	free.Process.MemoryLimitBytes = 0
	for i := range free.Samples {
		free.Samples[i].Has.Remove(record.FieldCgroupLimitBytes)
	}
	for _, tc := range []struct {
		name string
		rec  *record.Recording
		args []string
		code ExitCode
		want []string
	}{
		{"leak", leak, nil, ExitCouldNotRun, []string{"the live heap grows", "heapwright diagnose"}},
		{"short", short, nil, ExitInconclusive, []string{"too little", "heapwright record PID --for"}},
		{"too small", busy("orders", 4123), []string{"--memory-limit", "64MiB"}, ExitCouldNotRun, []string{"the smallest budget that works is", "plan for"}},
		{"no limit", free, nil, ExitCouldNotRun, []string{"no memory limit", "--memory-limit 512MiB"}},
		{"bound", busy("orders", 4123), []string{"--gc-cpu", "0.0001%"}, ExitCouldNotRun, []string{"gc_cpu_ratio", "loosen the bound"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f, _ := tuneHost()
			f.run(t, tc.code, append([]string{"tune", save(t, tc.rec)}, tc.args...)...)
			for _, want := range append(tc.want, "hint: ") {
				if !strings.Contains(f.err.String(), want) {
					t.Errorf("stderr has no %q: %s", want, &f.err)
				}
			}
			if f.out.Len() > 0 {
				t.Errorf("stdout %s", &f.out)
			}
		})
	}
}

// liveTuning is a plan that is about to be applied to a running process.
func liveTuning(t *testing.T, f *fakeEnv, opt tuneOptions) error {
	t.Helper()
	tw := newFakeTwin()
	f.out.Reset()
	f.err.Reset()
	return newTuning(proc(4123, "orders"), tw, planOf(tw)).applyLive(t.Context(), f.Env, opt, tw)
}

func TestTuneLive(t *testing.T) {
	good := live.Outcome{Status: live.Status{Elapsed: 25 * time.Second, Effective: true, GCCPURatio: 0.055, RSSPeakBytes: 400 * mib}}
	with := func(d live.Decision, why string) live.Outcome {
		o := good
		o.Verdict, o.Reverted = live.Verdict{Decision: d, Why: why}, back()
		return o
	}
	blind := good
	blind.Status.Effective, blind.Status.GCCPURatio = false, math.NaN()
	for _, tc := range []struct {
		name    string
		outcome live.Outcome
		opt     tuneOptions
		code    ExitCode
		did     []string
	}{
		{"kept", good, tuneOptions{yes: true}, ExitOK, []string{"open 4123", "apply: tune: least GC CPU within 512Mi", "watch", "keep", "close"}},
		{"reverted", with(live.TakeBack, "the collector takes 41% of the CPU where 5.4% were expected"), tuneOptions{yes: true}, ExitFinding, []string{"open 4123", "apply: tune: least GC CPU within 512Mi", "watch", "close"}},
		{"stood-aside", with(live.StandAside, "somebody else set GOGC"), tuneOptions{yes: true}, ExitFinding, []string{"open 4123", "apply: tune: least GC CPU within 512Mi", "watch", "close"}},
		{"ended", with(live.End, "the process has ended"), tuneOptions{yes: true}, ExitCouldNotRun, []string{"open 4123", "apply: tune: least GC CPU within 512Mi", "watch", "close"}},
		{"unclear", blind, tuneOptions{yes: true}, ExitInconclusive, []string{"open 4123", "apply: tune: least GC CPU within 512Mi", "watch", "revert: it could not be told whether the change works", "close"}},
		{"dry-run", good, tuneOptions{dryRun: true}, ExitOK, []string{"open 4123", "close"}},
		{"nobody-to-ask", good, tuneOptions{}, ExitCouldNotRun, []string{"open 4123", "close"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f, c := tuneHost()
			c.outcome = tc.outcome
			code := finish(f.Env, liveTuning(t, f, tc.opt))
			if code != tc.code || !slices.Equal(c.did, tc.did) {
				t.Errorf("exit code %d, did %q", code, c.did)
			}
			at80(t, f.out.String())
			_, text, _ := strings.Cut(f.out.String(), "What would be written:")
			golden(t, "tune/live-"+tc.name+".txt", text+"--- stderr\n"+f.err.String())

			// The same as a document.
			c.did = nil
			tc.opt.json = true
			if code := finish(f.Env, liveTuning(t, f, tc.opt)); code != tc.code {
				t.Errorf("with --json the exit code is %d", code)
			}
			if tc.name == "nobody-to-ask" {
				return
			}
			var doc tuning
			if err := json.Unmarshal(f.out.Bytes(), &doc); err != nil {
				t.Fatal(err)
			}
			if want := strings.NewReplacer("-", "_", "stood_aside", "reverted", "stood-aside", "reverted", "ended", "process_ended").Replace(tc.name); string(doc.Live.Outcome) != want || len(doc.Live.Steps) != 3 {
				t.Errorf("outcome %q with %d steps, want %q", doc.Live.Outcome, len(doc.Live.Steps), want)
			}
		})
	}
}

func TestTuneLiveErrors(t *testing.T) {
	for _, tc := range []struct {
		name            string
		describe, apply error
		code            ExitCode
		stdout, stderr  string
	}{
		{"set already", live.ErrNothing, nil, ExitOK, "has these settings already", ""},
		{"tunes itself", &live.SelfTunedError{By: "example.com/gctuner"}, nil, ExitCouldNotRun, "", "it runs example.com/gctuner"},
		{"another tool", nil, &live.OwnedError{PID: 4123}, ExitCouldNotRun, "", "hint: wait until it ends"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f, c := tuneHost()
			c.describe, c.apply = tc.describe, tc.apply
			code := finish(f.Env, liveTuning(t, f, tuneOptions{yes: true}))
			if code != tc.code || !strings.Contains(f.out.String(), tc.stdout) || !strings.Contains(f.err.String(), tc.stderr) || slices.Contains(c.did, "watch") || c.did[len(c.did)-1] != "close" {
				t.Errorf("exit code %d, did %q, stderr %s", code, c.did, &f.err)
			}
		})
	}
	f, _ := tuneHost()
	f.Changes = func() (Changer, error) { return nil, errors.New("no place for leases") }
	if code := finish(f.Env, liveTuning(t, f, tuneOptions{yes: true})); code != ExitCouldNotRun || !strings.Contains(f.err.String(), "no place for leases") {
		t.Errorf("exit code %d, stderr %s", code, &f.err)
	}
}

// TestTuneLiveVia asks the program itself, and says so.
func TestTuneLiveVia(t *testing.T) {
	const page = "http://127.0.0.1:6060/debug/heapwright/"
	f, c := tuneHost()
	c.outcome = live.Outcome{Status: live.Status{Elapsed: 25 * time.Second, Effective: true, GCCPURatio: 0.055, RSSPeakBytes: 400 * mib}}
	code := finish(f.Env, liveTuning(t, f, tuneOptions{yes: true, via: page}))
	if want := []string{"open 4123 via " + page, "apply: tune: least GC CPU within 512Mi", "watch", "keep", "close"}; code != ExitOK || !slices.Equal(c.did, want) {
		t.Errorf("exit code %d, did %q", code, c.did)
	}
	out := strings.Join(strings.Fields(f.out.String()), " ")
	for _, want := range []string{"What the program would be asked for:", "It stays for 24 hours.", "heapwright undo 4123 --via " + page} {
		if !strings.Contains(out, want) {
			t.Errorf("the output does not say %q:\n%s", want, &f.out)
		}
	}
	at80(t, f.out.String())
	liveTuning(t, f, tuneOptions{yes: true, via: page, json: true})
	var doc tuning
	if err := json.Unmarshal(f.out.Bytes(), &doc); err != nil || doc.Live.Via == nil || *doc.Live.Via != page {
		t.Errorf("the document has %v, %v", doc.Live.Via, err)
	}

	c.did = nil
	f.run(t, ExitOK, "undo", "4123", "--via", page)
	if !slices.Equal(c.did, []string{"undo 4123 via " + page}) {
		t.Errorf("undo did %q", c.did)
	}
	f.run(t, ExitCouldNotRun, "undo", "--all", "--via", page)
	f.run(t, ExitCouldNotRun, "tune", "4123", "--via", page)
}

// What was planned for is what is changed, or nothing is.
func TestTuneLiveRails(t *testing.T) {
	tw := newFakeTwin()
	for _, tc := range []struct {
		name string
		set  func(*record.Process, *tune.Plan)
		want string
	}{
		{"a smaller container", func(p *record.Process, _ *tune.Plan) { p.MemoryLimitBytes = 256 * mib }, "hint: raise the container's limit first"},
		{"another process", func(p *record.Process, _ *tune.Plan) { p.StartTime = ruletest.Epoch.Add(-time.Hour) }, "is another one than was recorded"},
		{"GOMAXPROCS too", func(_ *record.Process, p *tune.Plan) { p.Settings.GOMAXPROCS = 2 }, ""},
	} {
		f, c := tuneHost()
		f.serve(4123, "orders", ruletest.Server{})
		p, plan := proc(4123, "orders"), planOf(tw)
		p.MemoryLimitBytes = plan.Container.LimitBytes
		tc.set(&p, plan)
		code := finish(f.Env, newTuning(p, tw, plan).applyLive(t.Context(), f.Env, tuneOptions{dryRun: true}, tw))
		if !strings.Contains(f.err.String(), tc.want) || (tc.want == "") != (code == ExitOK) || (tc.want == "") != slices.Contains(c.did, "open 4123") {
			t.Errorf("%s: exit code %d, did %q, stderr %s", tc.name, code, c.did, &f.err)
		}
		if tc.want == "" && !strings.Contains(f.out.String(), "GOMAXPROCS=2 is not set") {
			t.Errorf("%s: %s", tc.name, &f.out)
		}
	}
}

func TestTuneLiveInterrupted(t *testing.T) {
	f, c := tuneHost()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	tw := newFakeTwin()
	err := newTuning(proc(4123, "orders"), tw, planOf(tw)).applyLive(ctx, f.Env, tuneOptions{yes: true}, tw)
	if code := finish(f.Env, err); code != ExitCouldNotRun || len(c.did) > 0 || !strings.Contains(f.err.String(), "nothing was written") {
		t.Errorf("exit code %d, did %q, stderr %s", code, c.did, &f.err)
	}
}

// A question is asked at a terminal only, and anything but a yes is a no.
func TestConfirm(t *testing.T) {
	for _, tc := range []struct {
		answer string
		want   bool
	}{{"y\n", true}, {"YES\n", true}, {"\n", false}, {"no\n", false}, {"", false}, {"yesterday\n", false}} {
		f := newFakeEnv()
		in := strings.NewReader(tc.answer)
		f.Stdin = in
		f.Terminal = func(w any) (int, bool) { return 80, w == any(in) }
		got, err := confirm(t.Context(), f.Env, "Write this?")
		if err != nil || got != tc.want || f.err.String() != "Write this? [y/N] " {
			t.Errorf("%q: %v, %v, stderr %q", tc.answer, got, err, &f.err)
		}
	}
}

func TestWatchFor(t *testing.T) {
	at := func(low float64) *pacer.Forecast {
		return &pacer.Forecast{CyclesPerSecond: pacer.Estimate{Estimate: 2 * low, Low: low, High: 3 * low}}
	}
	for _, tc := range []struct {
		asked time.Duration
		low   float64
		want  time.Duration
	}{{time.Minute, 1, time.Minute}, {0, 0.5, 50 * time.Second}, {0, 100, 20 * time.Second}, {0, 0.001, 5 * time.Minute}, {0, 0, 5 * time.Minute}, {0, math.NaN(), 5 * time.Minute}} {
		if got := watchFor(tc.asked, at(tc.low)); got != tc.want {
			t.Errorf("asked %v, %v cycles/s: %v, want %v", tc.asked, tc.low, got, tc.want)
		}
	}
}

func TestTuneBudget(t *testing.T) {
	f, _ := tuneHost()
	a, b := save(t, busy("orders", 4123)), save(t, busy("users", 4207))
	f.run(t, ExitOK, "tune", "--budget", "1GiB", "--weight", "orders=4", a, b)
	out := f.out.String()
	at80(t, out)
	for _, want := range []string{"1.0 GiB among 2 processes", "orders 4123", "users 4207", "ALL TOGETHER", "equal limits", "The smallest budget that works is"} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	f.run(t, ExitOK, "tune", "--budget", "1GiB", a, b, "--apply", "env", "--json")
	var doc split
	if err := json.Unmarshal(f.out.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	if len(doc.Processes) != 2 || doc.Processes[0].Process.Name != "orders" || doc.Processes[1].Manifest == nil || doc.BudgetBytes != 1<<30 {
		t.Errorf("document %+v", doc)
	}
	doc.Aside = []asideProcess{{"idle 9", 50 * mib, "too little"}}
	doc.Expected.total, doc.names = tune.Total{}, []string{"a", "b"}
	f.out.Reset()
	if err := doc.print(f.Env); err != nil || !strings.Contains(f.out.String(), "idle 9         50.0Mi  too little") {
		t.Errorf("error %v\n%s", err, &f.out)
	}
	sum := uint64(0)
	for _, p := range doc.Processes {
		sum += p.BudgetBytes
	}
	if sum == 0 || sum > 1<<30 {
		t.Errorf("the parts of 1 GiB come to %d", sum)
	}
	f.run(t, ExitOK, "tune", "--budget", "1GiB", a, b, "--apply", "k8s")
	if got := strings.Count(f.out.String(), "\n---\n"); got != 1 {
		t.Errorf("%d separators in\n%s", got, &f.out)
	}

	for _, tc := range []struct {
		args []string
		want string
	}{
		{[]string{"--budget", "64MiB", a, b}, "the smallest budget that works is"},
		{[]string{"--budget", "0MiB", a, b}, "a budget of 0"},
		{[]string{"--budget", "1GiB", a, a}, "are the same process"},
		{[]string{"--budget", "1GiB", "--weight", "nobody=2", a, b}, "none of the processes"},
		{[]string{"--budget", "1GiB", a, filepath.Join(t.TempDir(), "x.hwrec")}, "no such recording"},
	} {
		f.run(t, ExitCouldNotRun, append([]string{"tune"}, tc.args...)...)
		if !strings.Contains(f.err.String(), tc.want) {
			t.Errorf("%q: stderr %s", tc.args, &f.err)
		}
	}
}

func TestTuneCgroup(t *testing.T) {
	f, _ := tuneHost()
	for pid, dir := range map[int]string{1: "/a/x", 2: "/a/y", 3: "/ab"} {
		p := proc(pid, "server")
		p.CgroupPath, p.MemoryLimitBytes = dir, uint64(pid)<<30
		f.host.add(goproc.Entry{Process: p, IsGo: true}, recordingOf(p, ruletest.Server{Seconds: 0.3}))
	}
	for _, name := range []string{"/a", "a/", "/sys/fs/cgroup/a"} {
		pids, _, limit, err := inCgroup(t.Context(), f.Env, name)
		slices.Sort(pids)
		if err != nil || !slices.Equal(pids, []string{"1", "2"}) || limit != 2<<30 {
			t.Errorf("%s: %q, limit %d, %v", name, pids, limit, err)
		}
	}
	f.run(t, ExitCouldNotRun, "tune", "--cgroup", "/nosuch")
	if !strings.Contains(f.err.String(), "no Go process is in the cgroup /nosuch") || !strings.Contains(f.err.String(), "hint: ") {
		t.Errorf("stderr %s", &f.err)
	}
	// One that cannot be planned for keeps what it has.
	idle := &record.Recording{Process: proc(9, "idle"), Samples: []record.Sample{{RSSBytes: 50 * mib}}}
	idle.Samples[0].Has.Add(record.FieldRSSBytes)
	if a := aside("9", idle, 20*mib, &pacer.ShortError{Reason: "0 GC cycles"}); a != (asideProcess{"idle 9", 50 * mib, "the recording shows too little: 0 GC cycles"}) {
		t.Errorf("%+v", a)
	}
	if a := aside("10", nil, 30*mib, errors.New("access denied")); a != (asideProcess{"10", 30 * mib, "access denied"}) {
		t.Errorf("%+v", a)
	}
	// All are watched at the same time; a moment is too short to plan for.
	f.errTerminal = 80
	f.run(t, ExitInconclusive, "tune", "--cgroup", "/a", "--for", "300ms", "--hz", "50")
	if !strings.Contains(f.err.String(), "watching 2 processes") {
		t.Errorf("stderr %q", &f.err)
	}
}
