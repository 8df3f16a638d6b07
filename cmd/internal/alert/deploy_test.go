package alert_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/heapwright/heapwright/cmd/internal/alert"
	"github.com/heapwright/heapwright/cmd/internal/series"
	"github.com/heapwright/heapwright/cmd/internal/store"
)

// deploy is where what is for Prometheus and Grafana lies.
var deploy = filepath.Join("..", "..", "..", "deploy")

var promql = parser.NewParser(parser.Options{})

func readRules(t *testing.T, name string) []rulefmt.Rule {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(deploy, "prometheus", name))
	if err != nil {
		t.Fatal(err)
	}
	groups, errs := rulefmt.Parse(text, false, model.LegacyValidation, promql, slog.New(slog.DiscardHandler))
	for _, err := range errs {
		t.Error(err)
	}
	if groups == nil {
		t.FailNow()
	}
	var all []rulefmt.Rule
	for _, g := range groups.Groups {
		all = append(all, g.Rules...)
	}
	return all
}

// checkExpr demands that an expression is PromQL over series that there are, or that
// are recorded, with labels that they have.
func checkExpr(t *testing.T, expr string, recorded []string) {
	t.Helper()
	e, err := promql.ParseExpr(expr)
	if err != nil {
		t.Errorf("%s: %v", expr, err)
		return
	}
	n := 0
	parser.Inspect(e, func(node parser.Node, _ []parser.Node) error {
		v, ok := node.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		n++
		if slices.Contains(recorded, v.Name) {
			return nil
		}
		def, ok := series.Lookup(v.Name)
		if !ok {
			t.Errorf("%s: there is no series %s", expr, v.Name)
			return nil
		}
		for _, m := range v.LabelMatchers {
			if !slices.Contains(append([]string{"__name__", "instance", "job", "process", "le"}, def.Labels...), m.Name) {
				t.Errorf("%s: %s has no label %s", expr, v.Name, m.Name)
			}
		}
		return nil
	})
	if n == 0 {
		t.Errorf("%s: it asks for no series", expr)
	}
}

func TestRecordingRules(t *testing.T) {
	var recorded []string
	for _, r := range readRules(t, "heapwright-recording.yml") {
		checkExpr(t, r.Expr, recorded)
		recorded = append(recorded, r.Record)
	}
	if len(recorded) < 5 {
		t.Errorf("there are only %v", recorded)
	}
}

// TestAlertRules holds the rules for Prometheus against the defaults: each has its
// counterpart, with the same times, threshold, severity and words.
func TestAlertRules(t *testing.T) {
	rules := readRules(t, "heapwright-alerts.yml")
	for _, r := range rules {
		checkExpr(t, r.Expr, nil)
	}
	defaults := alert.Defaults()
	if len(rules) != len(defaults) {
		t.Errorf("there are %d rules, and %d defaults", len(rules), len(defaults))
	}
	for _, d := range defaults {
		i := slices.IndexFunc(rules, func(r rulefmt.Rule) bool { return r.Alert == alert.NameInPrometheus(d.Name) })
		if i < 0 {
			t.Errorf("%s has no counterpart", d.Name)
			continue
		}
		r := rules[i]
		if time.Duration(r.For) != d.For || d.Signal != alert.OOMKills && time.Duration(r.KeepFiringFor) != d.ClearFor {
			t.Errorf("%s: for %v and keep_firing_for %v, the default has %v and %v", d.Name, r.For, r.KeepFiringFor, d.For, d.ClearFor)
		}
		if d.Signal != alert.Finding && r.Labels["severity"] != d.Severity.String() {
			t.Errorf("%s: severity %s, the default has %v", d.Name, r.Labels["severity"], d.Severity)
		}
		want := ""
		switch {
		case d.Signal == alert.OOMKills:
			want = "> 0"
		case d.Above != nil:
			want = fmt.Sprintf("> %.2f", *d.Above)
		case d.Below != nil:
			want = fmt.Sprintf("< %.2f", *d.Below)
		}
		if !strings.Contains(r.Expr, want) && !strings.Contains(r.Expr, strings.TrimSuffix(want, ".00")) {
			t.Errorf("%s: %s is not %q", d.Name, r.Expr, want)
		}
	}
}

// A course is a series over an hour: its value at each minute.
type course struct {
	name   string
	labels []series.Label
	value  func(minute float64) float64
}

func flat(v float64) func(float64) float64 { return func(float64) float64 { return v } }

const (
	mib = 1 << 20
	gib = 1 << 30
)

// healthy is a process without any trouble.
func healthy() []course {
	return []course{
		{"heapwright_headroom_bytes", nil, flat(400 * mib)},
		{"heapwright_memory_limit_bytes", nil, flat(gib)},
		{"go_gc_gomemlimit_bytes", nil, flat(900 * mib)},
		{"heapwright_gc_cpu_ratio", nil, flat(0.05)},
		{"go_goroutines", nil, func(m float64) float64 { return 2000 + 20*math.Sin(m) }},
		{"heapwright_oom_kills_total", nil, flat(3)},
		{"heapwright_finding", []series.Label{{Name: "id", Value: "HW9001"}, {Name: "severity", Value: "info"}}, flat(1)},
	}
}

// TestAlertRulesFire runs each rule over an hour in which something goes wrong, and over
// one in which nothing does.
func TestAlertRulesFire(t *testing.T) {
	cases := map[string]struct {
		change []course // in place of those of the same name
		want   []string
	}{
		"healthy": {nil, nil},
		// At its GOMEMLIMIT with room in it, a process takes what it may.
		"plateau": {[]course{{"process_resident_memory_bytes", nil, flat(gib - mib)}}, nil},
		"low": {[]course{{"heapwright_headroom_bytes", nil, flat(80 * mib)}},
			[]string{"HeapwrightHeadroomLow"}},
		"critical": {[]course{{"heapwright_headroom_bytes", nil, flat(-10 * mib)}},
			[]string{"HeapwrightHeadroomCritical", "HeapwrightHeadroomLow"}},
		"low for too short": {[]course{{"heapwright_headroom_bytes", nil, func(m float64) float64 {
			if m == 30 {
				return 0
			}
			return 400 * mib
		}}}, []string{"HeapwrightHeadroomCritical"}}, // a minute is more than half of one
		"no container, GOMEMLIMIT": {[]course{{"heapwright_memory_limit_bytes", nil, nil}, {"heapwright_headroom_bytes", nil, flat(80 * mib)}},
			[]string{"HeapwrightHeadroomLow"}},
		"no limit at all": {[]course{{"heapwright_memory_limit_bytes", nil, nil}, {"go_gc_gomemlimit_bytes", nil, flat(math.MaxInt64)}, {"heapwright_headroom_bytes", nil, flat(80 * mib)}},
			nil},
		"gc": {[]course{{"heapwright_gc_cpu_ratio", nil, flat(0.45)}},
			[]string{"HeapwrightGcCpuHigh"}},
		"storm": {[]course{{"heapwright_gc_cpu_ratio", nil, flat(0.45)}, {"heapwright_headroom_bytes", nil, flat(150 * mib)}},
			[]string{"HeapwrightGcCpuHigh", "HeapwrightGcStorm"}},
		"growth": {[]course{{"go_goroutines", nil, func(m float64) float64 { return 1000 * math.Exp2(m/8) }}},
			[]string{"HeapwrightGoroutineGrowth"}},
		"growth of few": {[]course{{"go_goroutines", nil, func(m float64) float64 { return 10 * math.Exp2(m/10) }}},
			nil},
		"oom": {[]course{{"heapwright_oom_kills_total", nil, func(m float64) float64 { return 3 + math.Floor(m/30) }}},
			[]string{"HeapwrightOomKill"}},
		"finding": {[]course{{"heapwright_finding", []series.Label{{Name: "id", Value: "HW3001"}, {Name: "severity", Value: "warning"}}, flat(1)}},
			[]string{"HeapwrightFinding"}},
	}
	rules := readRules(t, "heapwright-alerts.yml")
	start := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	db, err := store.Open(store.Options{
		Dir: t.TempDir(), Retention: 24 * time.Hour, Logger: slog.New(slog.DiscardHandler),
		External: []series.Label{{Name: "instance", Value: "host"}, {Name: "job", Value: "heapwright"}},
		Now:      func() time.Time { return start.Add(2 * time.Hour) },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	for minute := range 61 {
		b := db.Begin()
		for name, tt := range cases {
			for _, c := range append(slices.DeleteFunc(healthy(), func(h course) bool {
				return slices.ContainsFunc(tt.change, func(c course) bool { return c.name == h.name })
			}), tt.change...) {
				if c.value == nil {
					continue
				}
				ls := append([]series.Label{{Name: "process", Value: name}}, c.labels...)
				b.Append(db.Series(c.name, ls...), start.Add(time.Duration(minute)*time.Minute), c.value(float64(minute)))
			}
		}
		if _, err := b.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	fired := map[string]map[string]bool{}
	for _, r := range rules {
		const step = 15 * time.Second
		got, _, err := db.Reader().QueryRange(t.Context(), r.Expr, start.Add(15*time.Minute), start.Add(time.Hour), step)
		if err != nil {
			t.Errorf("%s: %v", r.Alert, err)
			continue
		}
		for _, s := range got {
			var since, last int64
			for _, p := range s.Floats {
				if p.T-last > step.Milliseconds() {
					since = p.T
				}
				last = p.T
				if last-since >= time.Duration(r.For).Milliseconds() {
					name := s.Metric.Get("process")
					if fired[name] == nil {
						fired[name] = map[string]bool{}
					}
					fired[name][r.Alert] = true
				}
			}
		}
	}
	for name, tt := range cases {
		var got []string
		for a := range fired[name] {
			got = append(got, a)
		}
		slices.Sort(got)
		if !slices.Equal(got, tt.want) {
			t.Errorf("%s: there fired %v, want %v", name, got, tt.want)
		}
	}
}

// TestDashboard demands of the dashboard for Grafana that each panel says what it shows,
// asks for series that there are, and lies where no other does.
func TestDashboard(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(deploy, "grafana", "heapwright.json"))
	if err != nil {
		t.Fatal(err)
	}
	type target struct {
		Expr       string
		Datasource struct{ UID string }
	}
	var d struct {
		UID, Title string
		Templating struct {
			List []struct{ Name, Type, Definition string }
		}
		Annotations struct{ List []target }
		Panels      []struct {
			ID                       int
			Type, Title, Description string
			GridPos                  struct{ X, Y, W, H int }
			Targets                  []target
		}
	}
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	known := strings.NewReplacer("$__rate_interval", "1m", "$__interval", "15s", "$instance", ".*", "$process", ".*")
	var variables []string
	for _, v := range d.Templating.List {
		variables = append(variables, v.Name)
		if query, ok := strings.CutPrefix(v.Definition, "label_values("); ok {
			at := strings.LastIndex(query, ",")
			checkExpr(t, known.Replace(query[:at]), nil)
		}
	}
	if got := strings.Join(variables, " "); got != "datasource instance process" {
		t.Errorf("the variables are %s", got)
	}
	for _, a := range d.Annotations.List {
		checkExpr(t, known.Replace(a.Expr), nil)
	}
	taken := map[[2]int]string{}
	ids := map[int]bool{}
	for _, p := range d.Panels {
		if ids[p.ID] || p.ID == 0 {
			t.Errorf("%s: the ID %d is another's", p.Title, p.ID)
		}
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other, ok := taken[[2]int{x, y}]; ok || x >= 24 {
					t.Fatalf("%s lies on %s at %d, %d", p.Title, other, x, y)
				}
				taken[[2]int{x, y}] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		if p.Title == "" || p.Description == "" || len(p.Targets) == 0 {
			t.Errorf("panel %d (%s) says too little", p.ID, p.Title)
		}
		for _, q := range p.Targets {
			if q.Datasource.UID != "${datasource}" {
				t.Errorf("%s asks %s", p.Title, q.Datasource.UID)
			}
			expr := known.Replace(q.Expr)
			if strings.Contains(expr, "$") {
				t.Errorf("%s: an unknown variable in %s", p.Title, q.Expr)
			}
			checkExpr(t, expr, nil)
		}
	}
}

// TestDocument holds the table of docs/ALERTS.md against the defaults.
func TestDocument(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "docs", "ALERTS.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(text), "<!-- defaults -->\n")
	table, _, ok := strings.Cut(table, "<!-- end -->")
	var want strings.Builder
	want.WriteString("| rule | severity | fires | for | clears | for |\n|---|---|---|---|---|---|\n")
	for _, r := range alert.Defaults() {
		severity, fires, clears := r.Severity.String(), string(r.Signal), ""
		switch {
		case r.Signal == alert.Finding:
			severity, fires, clears = "the finding's", "a finding of at least "+r.Level.String(), "it is gone"
		case r.Signal == alert.OOMKills:
			fires, clears = fires+" rises", "no more"
		case r.Above != nil:
			fires, clears = fmt.Sprintf("%s above %g", fires, *r.Above), fmt.Sprintf("below %g", *r.ClearBelow)
		default:
			fires, clears = fmt.Sprintf("%s below %g", fires, *r.Below), fmt.Sprintf("above %g", *r.ClearAbove)
		}
		for _, c := range r.With {
			if c.Above != nil {
				fires += fmt.Sprintf(" with %s above %g", c.Signal, *c.Above)
			} else {
				fires += fmt.Sprintf(" with %s below %g", c.Signal, *c.Below)
			}
		}
		fmt.Fprintf(&want, "| `%s` | %s | %s | %v | %s | %v |\n", r.Name, severity, fires, r.For, clears, r.ClearFor)
	}
	if !ok || table != want.String() {
		t.Errorf("the table is\n%s\nwant\n%s", table, want.String())
	}
}
