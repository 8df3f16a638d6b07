package alert

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/diagnose"
)

var noon = time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)

// of is an observation of a process that is up.
func of(process string, values map[Signal]float64, findings ...diagnose.Finding) Observation {
	if findings == nil {
		findings = []diagnose.Finding{}
	}
	return Observation{Process: process, Up: true, Values: values, Findings: findings}
}

// A run steps an engine every ten seconds.
type run struct {
	e   *Engine
	now time.Time
}

func newRun(t testing.TB, rules ...Rule) *run {
	t.Helper()
	for _, r := range rules {
		if err := r.Check(); err != nil {
			t.Fatal(err)
		}
	}
	return &run{New(rules), noon}
}

func (r *run) step(obs ...Observation) []Alert {
	r.now = r.now.Add(10 * time.Second)
	return r.e.Step(r.now, obs)
}

// times steps n times, and returns what came as rule:state.
func (r *run) times(n int, obs ...Observation) string {
	var out []string
	for range n {
		for _, a := range r.step(obs...) {
			text := a.Rule + ":" + a.State
			if a.Note != "" {
				text += "(" + a.Note[:min(len(a.Note), 30)] + ")"
			}
			out = append(out, text)
		}
	}
	return strings.Join(out, " ")
}

func at(v float64) *float64 { return &v }

func headroom(v float64) map[Signal]float64 { return map[Signal]float64{HeadroomRatio: v} }

var low = Rule{Name: "low", Severity: diagnose.Warning, Signal: HeadroomRatio, Below: at(0.1), For: time.Minute, ClearAbove: at(0.15), ClearFor: 2 * time.Minute}

func TestFireAndClear(t *testing.T) {
	r := newRun(t, low)
	for i, tt := range []struct {
		n     int
		value float64
		want  string
	}{
		{10, 0.5, ""},
		{6, 0.05, ""}, // 50 s
		{1, 0.11, ""}, // which starts anew
		{6, 0.05, ""},
		{1, 0.05, "low:firing"},
		{10, 0.05, ""},
		{100, 0.12, ""}, // neither
		{12, 0.2, ""},   // 110 s
		{1, 0.12, ""},
		{12, 0.2, ""},
		{1, 0.15, "low:resolved"},
		{100, 0.12, ""},
	} {
		if got := r.times(tt.n, of("x", headroom(tt.value))); got != tt.want {
			t.Errorf("step %d: %q, want %q", i, got, tt.want)
		}
	}
	if len(r.e.tracks) != 0 {
		t.Errorf("it remembers %v", r.e.tracks)
	}
}

func TestAlertSaysAll(t *testing.T) {
	r := newRun(t, low)
	var got []Alert
	for range 10 {
		got = append(got, r.step(of("nats-server", map[Signal]float64{HeadroomRatio: 0.042, GCCPURatio: 0.3, RSSBytes: 1 << 30, "unknown": 1, CPUCores: math.NaN()}))...)
	}
	if len(got) != 1 {
		t.Fatalf("there are %d alerts", len(got))
	}
	a := got[0]
	var evidence []string
	for _, e := range a.Evidence {
		evidence = append(evidence, e.Name+"="+e.Text)
	}
	if a.Title != "4.2% of the memory limit is left, less than 10%" || a.Value != 0.042 || a.Threshold != 0.1 || a.Process != "nats-server" ||
		strings.Join(evidence, " ") != "gc_cpu_ratio=30% headroom_ratio=4.2% rss_bytes=1.0 GiB" ||
		!a.Since.Equal(noon.Add(10*time.Second)) || !a.At.Equal(noon.Add(70*time.Second)) {
		t.Errorf("the alert is %+v", a)
	}
	if active := r.e.Active(); len(active) != 1 || active[0].Rule != "low" {
		t.Errorf("Active is %+v", active)
	}
}

func TestUnknown(t *testing.T) {
	none := of("x", nil)
	old := of("x", headroom(0.5))
	old.Time = noon.Add(-time.Hour)

	r := newRun(t, low)
	if got := r.times(30, of("x", nil)) + r.times(6, of("x", headroom(0.01))) + r.times(3, none) + r.times(4, of("x", headroom(0.01))); got != "low:firing" {
		t.Errorf("half a minute without a value: %q", got)
	}
	// What is not known does not clear, and is said once.
	if got := r.times(58, none); got != "" {
		t.Errorf("nine minutes without a value: %q", got)
	}
	if got := r.times(100, old); got != "low:firing(the value has not been known s)" {
		t.Errorf("half an hour without a value: %q", got)
	}
	if got := r.times(12, of("x", headroom(0.5))); got != "" {
		t.Errorf("known again: %q", got)
	}
	if got := r.times(1, of("x", headroom(0.5))); got != "low:resolved" {
		t.Errorf("and well for two minutes: %q", got)
	}
	// A long time without a value does not count as one of bad ones.
	if got := r.times(1, of("x", headroom(0.01))) + r.times(30, none) + r.times(6, of("x", headroom(0.01))); got != "" {
		t.Errorf("unknown in between: %q", got)
	}
	if got := r.times(1, of("x", headroom(0.01))); got != "low:firing" {
		t.Errorf("and a minute later: %q", got)
	}
	// A value that is not a number is none.
	if got := r.times(30, of("x", headroom(math.NaN()))); got != "" {
		t.Errorf("NaN: %q", got)
	}
}

func TestEndOfProcess(t *testing.T) {
	gone := Rule{Name: "gone", Severity: diagnose.Critical, Signal: ProcessGone, For: time.Minute, ClearFor: 30 * time.Second}
	r := newRun(t, low, gone)
	bad := of("x", headroom(0.01))
	down := Observation{Process: "x"}
	if got := r.times(10, bad); got != "low:firing" {
		t.Fatal(got)
	}
	// It is restarted over and over: one alert.
	for range 20 {
		if got := r.times(3, down) + r.times(3, bad); got != "" {
			t.Errorf("a restart makes %q", got)
		}
	}
	if got := r.times(7, down); got != "gone:firing" {
		t.Errorf("a minute after it ended: %q", got)
	}
	if got := r.times(30, down); got != "low:resolved(the process has ended)" {
		t.Errorf("five minutes after: %q", got)
	}
	if got := r.times(60); got != "gone:resolved(the process is not watched any)" {
		t.Errorf("nobody watches it: %q", got)
	}
	if got := r.times(60, bad); got != "low:firing" {
		t.Errorf("it is back: %q", got)
	}
	if got := r.times(30) + r.times(5); got != "low:resolved(the process has ended)" {
		t.Errorf("it is not observed: %q", got)
	}
}

func TestFindings(t *testing.T) {
	level := diagnose.Warning
	r := newRun(t, Rule{Name: "finding", Signal: Finding, Level: &level, For: 30 * time.Second, ClearFor: time.Minute})
	f := func(id string, s diagnose.Severity) diagnose.Finding {
		return diagnose.Finding{ID: id, Severity: s, Title: id + " title", Remedy: "do", Evidence: []diagnose.Evidence{{Name: "n", Value: 1, Text: "1"}}}
	}
	if got := r.times(10, of("x", nil, f("HW1", diagnose.Info))); got != "" {
		t.Errorf("below the level: %q", got)
	}
	if got := r.times(4, of("x", nil, f("HW1", diagnose.Warning), f("HW1", diagnose.Info), f("HW2", diagnose.Info))); got != "finding:firing" {
		t.Errorf("at the level: %q", got)
	}
	a := r.e.Active()[0]
	if a.Finding != "HW1" || a.Severity != diagnose.Warning || a.Title != "HW1 title" || a.Remedy != "do" || len(a.Evidence) != 1 {
		t.Errorf("the alert is %+v", a)
	}
	got := r.step(of("x", nil, f("HW1", diagnose.Critical)))
	if len(got) != 1 || got[0].Severity != diagnose.Critical {
		t.Errorf("it became worse: %+v", got)
	}
	if got := r.times(5, of("x", nil, f("HW1", diagnose.Warning))); got != "" {
		t.Errorf("it is better again: %q", got)
	}
	// No diagnosis is not one without findings.
	o := of("x", nil)
	o.Findings = nil
	if got := r.times(30, o); got != "" {
		t.Errorf("without a diagnosis: %q", got)
	}
	if got := r.times(7, of("x", nil, f("HW2", diagnose.Warning))); got != "finding:firing finding:resolved" {
		t.Errorf("another one: %q", got)
	}
	if len(r.e.tracks) != 1 {
		t.Errorf("it remembers %v", r.e.tracks)
	}
}

func TestOOMKills(t *testing.T) {
	r := newRun(t, Defaults()...)
	kills := func(n float64) Observation { return of("x", map[Signal]float64{OOMKills: n}) }
	if got := r.times(10, kills(3)); got != "" {
		t.Errorf("kills of before: %q", got)
	}
	if got := r.times(1, kills(4)); got != "oom-kill:firing" {
		t.Errorf("one more: %q", got)
	}
	if a := r.e.Active(); len(a) != 1 || a[0].Value != 1 {
		t.Errorf("the alert is %+v", a)
	}
	// Its end is no end of the alert, and neither is the next life, which counts on.
	if got := r.times(3, Observation{Process: "x", Values: map[Signal]float64{OOMKills: 5}}); got != "" {
		t.Errorf("while it is down: %q", got)
	}
	if a := r.e.Active(); len(a) != 1 || a[0].Value != 2 {
		t.Errorf("after another the alert is %+v", a)
	}
	if got := r.times(59, kills(5)); got != "oom-kill:resolved" {
		t.Errorf("ten minutes later: %q", got)
	}
	if got := r.times(1, kills(6)); got != "oom-kill:firing" {
		t.Errorf("one more: %q", got)
	}
}

func TestWith(t *testing.T) {
	r := newRun(t, Rule{
		Name: "storm", Severity: diagnose.Critical, Signal: GCCPURatio, Above: at(0.4), For: time.Minute, ClearFor: time.Minute,
		With: []Condition{{Signal: HeadroomRatio, Below: at(0.2)}},
	})
	values := func(gc, headroom float64) Observation {
		return of("x", map[Signal]float64{GCCPURatio: gc, HeadroomRatio: headroom})
	}
	if got := r.times(30, values(0.6, 0.5)) + r.times(30, values(0.1, 0.1)) + r.times(30, of("x", map[Signal]float64{GCCPURatio: 0.6})); got != "" {
		t.Errorf("one of two: %q", got)
	}
	if got := r.times(7, values(0.6, 0.1)); got != "storm:firing" {
		t.Errorf("both: %q", got)
	}
	if got := r.times(30, values(0.6, 0.5)); got != "" {
		t.Errorf("the second alone does not clear it: %q", got)
	}
	if got := r.times(7, values(0.3, 0.1)); got != "storm:resolved" {
		t.Errorf("the first does: %q", got)
	}
}

func TestRepeat(t *testing.T) {
	r := newRun(t, low)
	if got := r.times(7, of("x", headroom(0.01))); got != "low:firing" {
		t.Fatal(got)
	}
	if got := r.times(9*360, of("x", headroom(0.01))); got != "low:firing low:firing" {
		t.Errorf("in nine hours: %q", got)
	}
}

// TestRareSteps: where processes are looked at each five minutes, that is no gap.
func TestRareSteps(t *testing.T) {
	r := newRun(t, low)
	got := ""
	for range 10 {
		r.now = r.now.Add(5 * time.Minute)
		for _, a := range r.e.Step(r.now, []Observation{of("x", headroom(0.01))}) {
			got += a.State
		}
	}
	if got != "firing" {
		t.Errorf("%q", got)
	}
}

func TestClockJumps(t *testing.T) {
	r := newRun(t, low)
	bad := of("x", headroom(0.01))
	for _, jump := range []time.Duration{time.Hour, -2 * time.Hour, 24 * time.Hour} {
		r.times(1, bad)
		r.now = r.now.Add(jump)
		if got := r.times(6, bad); got != "" {
			t.Errorf("a jump of %v: %q", jump, got)
		}
		if got := r.times(1, bad); got != "low:firing" {
			t.Errorf("a minute after a jump of %v: %q", jump, got)
		}
		r.e = New([]Rule{low})
	}
}

// TestNeverFlaps: noise around the threshold, however it is, makes no more alerts than
// the time it takes to clear allows; noise within the band makes at most one.
func TestNeverFlaps(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for trial := range 200 {
		r := newRun(t, low)
		transitions := 0
		const steps = 1000
		for range steps {
			v := 0.1 + 0.05*(2*rnd.Float64()-1) // 0.05 to 0.15
			if trial%2 == 0 {
				v = rnd.Float64() * 0.3 // any
			}
			transitions += len(r.step(of("x", headroom(v))))
		}
		bound := 1
		if trial%2 == 0 {
			bound = 2 * steps / int((low.For+low.ClearFor)/(10*time.Second))
		}
		if transitions > bound {
			t.Fatalf("trial %d: %d transitions, of at most %d", trial, transitions, bound)
		}
	}
}

// TestMonotone: where one process is never better than another, its alert is there
// whenever the other's is.
func TestMonotone(t *testing.T) {
	rnd := rand.New(rand.NewPCG(3, 4))
	fired := 0
	for range 200 {
		a, b := newRun(t, low), newRun(t, low)
		level := 0.2
		for i := range 500 {
			if rnd.IntN(20) == 0 {
				level = 0.02 + 0.18*rnd.Float64()
			}
			better := level + 0.02*rnd.Float64()
			worse := better - 0.1*rnd.Float64()*float64(rnd.IntN(2))
			oa, ob := of("x", headroom(better)), of("x", headroom(worse))
			if rnd.IntN(10) == 0 {
				oa.Values, ob.Values = nil, nil
			}
			a.step(oa)
			b.step(ob)
			na, nb := len(a.e.Active()), len(b.e.Active())
			if na > nb {
				t.Fatalf("step %d: the better one fires, and the worse one does not", i)
			}
			fired += na
		}
	}
	if fired == 0 {
		t.Error("none ever fired: the test shows nothing")
	}
}

// TestOrderDoesNotMatter: the same observations in another order give the same alerts.
func TestOrderDoesNotMatter(t *testing.T) {
	rnd := rand.New(rand.NewPCG(5, 6))
	a, b := newRun(t, Defaults()...), newRun(t, Defaults()...)
	for range 300 {
		var obs []Observation
		for p := range 5 {
			obs = append(obs, of(fmt.Sprintf("p%d", p), map[Signal]float64{HeadroomRatio: rnd.Float64() * 0.1, GCCPURatio: rnd.Float64()},
				diagnose.Finding{ID: fmt.Sprintf("HW%d", rnd.IntN(2)), Severity: diagnose.Severity(rnd.IntN(3))}))
		}
		got := a.step(obs...)
		rnd.Shuffle(len(obs), func(i, j int) { obs[i], obs[j] = obs[j], obs[i] })
		if want := b.step(obs...); !reflect.DeepEqual(got, want) {
			t.Fatalf("%+v\nand in another order\n%+v", got, want)
		}
	}
}

// TestDefaultsAreQuiet: a healthy process, and one that stands at its GOMEMLIMIT with
// room in it, make no alert.
func TestDefaultsAreQuiet(t *testing.T) {
	r := newRun(t, Defaults()...)
	healthy := of("healthy", map[Signal]float64{HeadroomRatio: 0.4, GCCPURatio: 0.05, Goroutines: 200, GoroutineGrowthRatio: 0.1, OOMKills: 0},
		diagnose.Finding{ID: "HW9001", Severity: diagnose.Info})
	// Ten goroutines that become thirty are no leak.
	small := of("small", map[Signal]float64{HeadroomRatio: 0.9, GCCPURatio: 0.0, Goroutines: 30, GoroutineGrowthRatio: 2})
	if got := r.times(1000, healthy, small); got != "" {
		t.Errorf("%q", got)
	}
}

func TestChecks(t *testing.T) {
	for _, r := range Defaults() {
		if err := r.Check(); err != nil {
			t.Errorf("%s: %v", r.Name, err)
		}
	}
	level := diagnose.Warning
	for name, tt := range map[string]struct {
		r    Rule
		want string
	}{
		"no name":       {Rule{Signal: GCCPURatio, Above: at(1)}, "name"},
		"no signal":     {Rule{Name: "x", Above: at(1)}, "assist_ratio, cpu_cores"},
		"no threshold":  {Rule{Name: "x", Signal: GCCPURatio}, "above and below"},
		"two":           {Rule{Name: "x", Signal: GCCPURatio, Above: at(1), Below: at(0)}, "above and below"},
		"wrong side":    {Rule{Name: "x", Signal: GCCPURatio, Above: at(1), ClearBelow: at(2)}, "clear_below"},
		"wrong side 2":  {Rule{Name: "x", Signal: HeadroomRatio, Below: at(1), ClearAbove: at(0)}, "clear_above"},
		"NaN":           {Rule{Name: "x", Signal: HeadroomRatio, Below: at(math.NaN())}, "not a number"},
		"level":         {Rule{Name: "x", Signal: HeadroomRatio, Below: at(1), Level: &level}, "level"},
		"pattern":       {Rule{Name: "x", Signal: HeadroomRatio, Below: at(1), Process: "["}, "pattern"},
		"negative":      {Rule{Name: "x", Signal: HeadroomRatio, Below: at(1), For: -1}, "for"},
		"finding value": {Rule{Name: "x", Signal: Finding, Above: at(1)}, "no thresholds"},
		"with":          {Rule{Name: "x", Signal: HeadroomRatio, Below: at(1), With: []Condition{{Signal: "y"}}}, "with"},
		"severity":      {Rule{Name: "x", Severity: 9, Signal: HeadroomRatio, Below: at(1)}, "severity"},
	} {
		if err := tt.r.Check(); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
