package faults

import (
	"bytes"
	"fmt"
	"go/parser"
	"go/token"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const examples = "../../../examples/faults"

// TestTruth holds the list against the programs that there are.
func TestTruth(t *testing.T) {
	all, err := Read(filepath.Join(examples, "faults.json"))
	if err != nil {
		t.Fatal(err)
	}
	kinds, causes := map[string]int{}, map[string]bool{}
	listed := map[string]bool{}
	for _, f := range all {
		listed[f.Name] = true
		kinds[f.Kind]++
		causes[f.Cause] = true
		text := source(t, f.Name)
		// What is to be named must be there to name.
		_, holder, _ := strings.Cut(f.Held, " ")
		for _, site := range append(f.Sites, holder) {
			name, ours := strings.CutPrefix(site, "main.")
			if !ours {
				continue
			}
			name, _, _ = strings.Cut(name, ".func")
			if i := strings.LastIndex(name, "."); i >= 0 {
				name = name[i+1:]
			}
			if !strings.Contains(text, name) {
				t.Errorf("%s has no %s", f.Name, site)
			}
		}
		if healthy := strings.Contains(text, " is healthy"); healthy != (f.Kind == Healthy) {
			t.Errorf("%s is %s by the list, and its comment says otherwise", f.Name, f.Kind)
		}
		if f.Kind != Healthy && !strings.Contains(text, "// Fix: ") {
			t.Errorf("%s does not say how it is mended", f.Name)
		}
	}
	if kinds[Leak]+kinds[OOM] < 30 || kinds[Healthy] < 10 {
		t.Errorf("there are %v", kinds)
	}
	for _, cause := range strings.Fields(`sub-slice substring map-never-shrinks map-unbounded slice-unbounded syncmap-unbounded list-unbounded
		channel-backlog callbacks-never-removed timer-forgotten ticker-forgotten time-after-loop body-not-closed client-without-timeout
		context-not-cancelled context-values goroutine-send goroutine-receive goroutine-select goroutine-lock goroutine-sleep
		finalizer-chain pool-hoard string-interning append-aliasing closure-capture buffer-never-shrinks defer-in-loop deep-stacks
		off-heap limit-too-small`) {
		if !causes[cause] {
			t.Errorf("no program has the cause %s", cause)
		}
	}
	dirs, err := filepath.Glob(filepath.Join(examples, "*", "main.go"))
	if err != nil {
		t.Fatal(err)
	}
	if len(dirs) != len(all) {
		t.Errorf("there are %d programs, and %d are listed", len(dirs), len(all))
	}
	for _, d := range dirs {
		if name := filepath.Base(filepath.Dir(d)); !listed[name] {
			t.Errorf("%s is not listed", name)
		}
	}
}

// source is the text of a program, which is to be short and begin with a comment.
func source(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(examples, name, "main.go")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	f, err := parser.ParseFile(token.NewFileSet(), path, text, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(strings.ToLower(f.Doc.Text()), name+" ") {
		t.Errorf("the comment of %s does not begin with its name", name)
	}
	if n := bytes.Count(text, []byte("\n")); n > 80 {
		t.Errorf("%s has %d lines", name, n)
	}
	return string(text)
}

func TestReadRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"not JSON":          `[`,
		"an unknown key":    `[{"name":"a","kind":"healthy","colour":"red"}]`,
		"no kind":           `[{"name":"a"}]`,
		"ill and healthy":   `[{"name":"a","kind":"healthy","cause":"off-heap"}]`,
		"no cause":          `[{"name":"a","kind":"leak","grows":"live","per_minute":1}]`,
		"nothing grows":     `[{"name":"a","kind":"leak","cause":"off-heap","grows":"rss"}]`,
		"what grows is odd": `[{"name":"a","kind":"leak","cause":"off-heap","grows":"hair","per_minute":1}]`,
		"no limit":          `[{"name":"a","kind":"oom","memory":["heap-live"]}]`,
		"twice":             `[{"name":"a","kind":"healthy"},{"name":"a","kind":"healthy"}]`,
	} {
		path := filepath.Join(t.TempDir(), "faults.json")
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if all, err := Read(path); err == nil {
			t.Errorf("%s: %v", name, all)
		}
	}
}

func TestIn(t *testing.T) {
	f := Fault{Releases: []string{"go1.25", "go1.26"}}
	for release, want := range map[string]bool{"go1.26": true, "go1.26.8": true, "go1.27.4": false, "go1.2": false, "go1.260": false} {
		if f.In(release) != want {
			t.Errorf("in %s: %v, want %v", release, !want, want)
		}
	}
	if f := (Fault{}); !f.In("go1.99") {
		t.Error("without a list it is in all")
	}
}

var (
	leaky   = Fault{Name: "leaky", Kind: Leak, Cause: "string-interning", Also: []string{"map-unbounded"}, Sites: []string{"main.intern"}, Held: "global main.m", Grows: GrowsLive, PerMinute: 1}
	stuck   = Fault{Name: "stuck", Kind: Leak, Cause: "goroutine-send", Sites: []string{"main.(*T).run"}, Held: "stack main.(*T).run", Grows: GrowsGoroutines, PerMinute: 1}
	well    = Fault{Name: "well", Kind: Healthy}
	killed  = Fault{Name: "killed", Kind: OOM, LimitMiB: 64, Memory: []string{"stacks", "heap-live"}, Sites: []string{"main.walk"}}
	foundIt = Said{Verdict: "leak", LivePerMinute: 22, Findings: []Finding{{Kind: "heap", Cause: "string-interning", Site: "main.intern", Held: []string{"a global"}, PerMinute: 10, Unit: "bytes"}}}
)

func TestJudge(t *testing.T) {
	change := func(f func(*Finding)) Said {
		s := foundIt
		s.Findings = []Finding{s.Findings[0]}
		f(&s.Findings[0])
		return s
	}
	all := Score{Right: true, Exact: Right, Cause: Right, Site: Right, Held: Right, Growth: 1.1}
	but := func(f func(*Score)) Score {
		s := all
		f(&s)
		return s
	}
	for _, tt := range []struct {
		name  string
		fault *Fault
		run   Run
		want  Score
	}{
		{"all right", &leaky, Run{Said: foundIt, Truth: 20}, all},
		{"no truth to hold it against", &leaky, Run{Said: foundIt}, but(func(s *Score) { s.Growth = 0 })},
		{"another cause that is not wrong", &leaky, Run{Truth: 20, Said: change(func(f *Finding) { f.Cause = "map-unbounded" })}, but(func(s *Score) { s.Exact = Wrong })},
		{"a wrong cause", &leaky, Run{Truth: 20, Said: change(func(f *Finding) { f.Cause = "list-unbounded" })}, but(func(s *Score) { s.Exact, s.Cause = Wrong, Wrong })},
		{"a closure in it", &leaky, Run{Truth: 20, Said: change(func(f *Finding) { f.Site = "main.intern.func1" })}, all},
		{"a function whose name begins so", &leaky, Run{Truth: 20, Said: change(func(f *Finding) { f.Site = "main.internal" })}, but(func(s *Score) { s.Site = Wrong })},
		{"held by nobody", &leaky, Run{Truth: 20, Said: change(func(f *Finding) { f.Held = nil })}, but(func(s *Score) { s.Held = NotAsked })},
		{"held by another", &leaky, Run{Truth: 20, Said: change(func(f *Finding) { f.Held = []string{"goroutine main.main"} })}, but(func(s *Score) { s.Held = Wrong })},
		{"not found", &leaky, Run{Said: Said{Verdict: "inconclusive"}}, Score{}},
		{"failed", &leaky, Run{Failed: "no permission", Said: foundIt}, Score{}},
		{"goroutines", &stuck, Run{Truth: 20, Said: Said{Verdict: "leak", Findings: []Finding{{Kind: "goroutine", Cause: "goroutine-send", Site: "main.(*T).run", PerMinute: 25, Unit: "count"}}}},
			Score{Right: true, Exact: Right, Cause: Right, Site: Right, Growth: 1.25}},
		{"quiet about a healthy one", &well, Run{Said: Said{Verdict: "no-leak"}}, Score{Right: true}},
		{"undecided about a healthy one", &well, Run{Said: Said{Verdict: "inconclusive"}}, Score{Right: true}},
		{"an alarm", &well, Run{Said: foundIt}, Score{}},
		{"a kill", &killed, Run{Said: Said{Verdict: "stacks", Findings: []Finding{{Site: "main.walk"}}}}, Score{Right: true, Site: Right}},
		{"a kill without a site", &killed, Run{Said: Said{Verdict: "heap-live"}}, Score{Right: true, Site: Wrong}},
		{"a kill for another reason", &killed, Run{Said: Said{Verdict: "outside"}}, Score{}},
	} {
		if got := Judge(tt.fault, &tt.run); got != tt.want && math.Abs(got.Growth-tt.want.Growth) > 1e-9 || got.Right != tt.want.Right || got.Cause != tt.want.Cause || got.Exact != tt.want.Exact || got.Site != tt.want.Site || got.Held != tt.want.Held {
			t.Errorf("%s: %+v, want %+v", tt.name, got, tt.want)
		}
	}
}

func TestSumAndPrint(t *testing.T) {
	all := []Fault{leaky, stuck, well, killed}
	runs := []Run{
		{Fault: "leaky", Go: "go1", Seconds: 100, Truth: 20, Said: foundIt},
		{Fault: "stuck", Go: "go1", Seconds: 200, Said: Said{Verdict: "inconclusive"}},
		{Fault: "well", Go: "go1", Said: Said{Verdict: "leak", Findings: foundIt.Findings}},
		{Fault: "killed", Go: "go1", Said: Said{Verdict: "outside", Captured: true}},
		{Fault: "gone", Go: "go1"}, // a program that there is no more
	}
	total := Sum(all, runs)
	if total.Found != RateOf(1, 2) || total.FalseAlarms != RateOf(1, 1) || total.Cause != RateOf(1, 1) || total.OOM != RateOf(0, 1) || total.Captured != RateOf(1, 1) || total.MedianSeconds != 100 {
		t.Errorf("%+v", total)
	}
	if missed := total.Missed(); len(missed) != 2 {
		t.Errorf("missed: %q", missed)
	}
	var out bytes.Buffer
	if err := Print(&out, all, runs, &total); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"leaky", "inconclusive (MISSED)", "leak (FALSE)", "outside (MISSED)", "1.10", "1 of 2 = 50%"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the table has no %q:\n%s", want, out.String())
		}
	}
	good := Sum(all[:1], runs[:1])
	if missed := good.Missed(); len(missed) != 0 {
		t.Errorf("missed: %q", missed)
	}
}

// Values from the R package binom.
func TestRateOf(t *testing.T) {
	for _, tt := range []struct {
		count, of int
		low, high float64
	}{{0, 18, 0, 0.1759}, {38, 40, 0.8350, 0.9862}, {5, 10, 0.2366, 0.7634}, {40, 40, 0.9124, 1}, {0, 0, 0, 1}} {
		r := RateOf(tt.count, tt.of)
		if math.Abs(r.Low-tt.low) > 1e-4 || math.Abs(r.High-tt.high) > 1e-4 {
			t.Errorf("%v, want %g to %g", r, tt.low, tt.high)
		}
	}
}

func TestAccount(t *testing.T) {
	var text bytes.Buffer
	for i := range 100 {
		fmt.Fprintf(&text, `{"seconds":%d,"live_bytes":%d,"goroutines":%d,"stack_bytes":1000,"total_bytes":1}`+"\n", i+1, 5000+i*100, 20+i%7)
	}
	text.WriteString(`{"seconds":101,"li`)
	points := Points(text.Bytes())
	if len(points) != 100 {
		t.Fatalf("%d points", len(points))
	}
	if got := PerMinute(points, GrowsLive); math.Abs(got-6000) > 1e-6 {
		t.Errorf("grows by %g a minute, want 6000", got)
	}
	f := Fault{Kind: Leak, Grows: GrowsLive, PerMinute: 3000}
	if err := True(&f, points, 2); err != nil {
		t.Error(err)
	}
	if err := True(&f, points, 8); err == nil {
		t.Error("it grows by a quarter of what was said, and that is fine")
	}
	if err := True(&well, points, 1); err == nil || !strings.Contains(err.Error(), "live") {
		t.Errorf("a healthy one that grows: %v", err)
	}
	if err := True(&well, points[:10], 1); err == nil {
		t.Error("ten seconds are enough")
	}
	for i := range points {
		points[i].Live = 5000 + 3000*math.Abs(math.Sin(float64(i)/5))
	}
	if err := True(&well, points, 1); err != nil {
		t.Errorf("a healthy saw: %v", err)
	}
	if PerMinute(nil, GrowsLive) != 0 {
		t.Error("nothing grows")
	}
}

func TestParse(t *testing.T) {
	said, err := Parse(Leak, []byte(`{"schema":"heapwright.leaks/1","verdict":"leak","reason":"r","live_heap":{"per_hour":60},"findings":[{"kind":"heap","cause":"map-unbounded","site":{"func":"main.f"},"growth":{"per_hour":120,"unit":"bytes"},"held_by":[{"root":"a global"}]}]}`))
	if err != nil || said.Verdict != "leak" || said.LivePerMinute != 1 || len(said.Findings) != 1 || said.Findings[0].Site != "main.f" || said.Findings[0].PerMinute != 2 || said.Findings[0].Held[0] != "a global" {
		t.Errorf("%+v, %v", said, err)
	}
	said, err = Parse(OOM, []byte(`{"schema":"heapwright.oom/1","verdict":{"memory":"stacks","site":{"func":"main.f"}},"captures":[{"kinds":["heap"],"failed":"gone"},{"kinds":["goroutine","heap"]}]}`))
	if err != nil || said.Verdict != "stacks" || !said.Captured || said.Findings[0].Site != "main.f" {
		t.Errorf("%+v, %v", said, err)
	}
	for _, doc := range []string{"", "{}", `{"schema":"heapwright.leaks/2"}`} {
		for _, kind := range []string{Leak, OOM, Healthy} {
			if said, err := Parse(kind, []byte(doc)); err == nil {
				t.Errorf("%s of %q: %+v", kind, doc, said)
			}
		}
	}
}
