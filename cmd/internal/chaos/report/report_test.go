package report

import (
	"encoding/json"
	"encoding/xml"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
	"github.com/heapwright/heapwright/cmd/internal/term"
)

var update = flag.Bool("update", false, "rewrite the golden files")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; -update rewrites it. Got:\n%s", path, got)
	}
}

func textOf(t *testing.T, r *chaos.Run, v *chaos.Verdict, width int, paint term.Painter) string {
	t.Helper()
	var b strings.Builder
	if err := Text(&b, r, v, width, paint); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func htmlOf(t *testing.T, r *chaos.Run, v *chaos.Verdict) string {
	t.Helper()
	var b strings.Builder
	if err := HTML(&b, r, v); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestText(t *testing.T) {
	r, v := synth()
	for _, width := range []int{80, 120} {
		got := textOf(t, r, v, width, false)
		golden(t, fmt.Sprintf("text-%d.txt", width), got)
		for _, l := range strings.Split(got, "\n") {
			if term.Width(l) > width {
				t.Errorf("%d columns of %d: %q", term.Width(l), width, l)
			}
		}
	}
	// Colour adds nothing that is not there without.
	plain := regexp.MustCompile("\x1b\\[[0-9]*m").ReplaceAllString(textOf(t, r, v, 80, true), "")
	trim := regexp.MustCompile(" +\n")
	if trim.ReplaceAllString(plain, "\n") != trim.ReplaceAllString(textOf(t, r, v, 80, false), "\n") {
		t.Error("what is painted reads otherwise than what is not")
	}
	for _, width := range []int{0, 1, 20, 40, 300} {
		textOf(t, r, v, width, false)
	}
}

func TestHeadline(t *testing.T) {
	r, v := synth()
	if got := Headline(r, v); !strings.HasPrefix(got, "guarded-service: ABORTED, during squeeze: ") || strings.Contains(got, "\n") {
		t.Errorf("headline is %q", got)
	}
	if got := Headline(nil, nil); got != "stress: NOT-RUN, no verdict was reached" {
		t.Errorf("headline of nothing is %q", got)
	}
}

// The structure of the page: what stands in it, in which order.
func TestHTML(t *testing.T) {
	r, v := synth()
	got := htmlOf(t, r, v)
	if dir := os.Getenv("STRESS_REPORT"); dir != "" { // to be looked at
		if err := os.WriteFile(filepath.Join(dir, "synth.html"), []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	tags := regexp.MustCompile(`<(h[123]|summary|svg class="[a-z ]*"|section class="[a-z ]*"|figure|th scope="col"|pre)[^>]*>([^<]*)`)
	var b strings.Builder
	for _, m := range tags.FindAllStringSubmatch(got, -1) {
		if m[1] == `svg class="swatch"` || m[1] == `svg class="mark"` {
			continue
		}
		fmt.Fprintf(&b, "%s %s\n", m[1], strings.TrimSpace(m[2]))
	}
	golden(t, "page.txt", b.String())
	if len(got) > 600<<10 {
		t.Errorf("%d bytes", len(got))
	}
	wellFormed(t, got)
	for _, bad := range []string{"<script", "http-equiv=\"refresh\"", "url(", "@import", " src=", "NaN", "Inf", "%!"} {
		if strings.Contains(strings.ReplaceAll(got, "http://127.0.0.1", ""), bad) {
			t.Errorf("the page has %q", bad)
		}
	}
	if !strings.Contains(got, `http-equiv="Content-Security-Policy" content="default-src &#39;none&#39;`) {
		t.Error("the page says no policy")
	}
	// Flags in each layout stand apart: a text never begins within another.
	if n := strings.Count(got, `class="flag `); n < 20 {
		t.Errorf("%d flags", n)
	}
}

// wellFormed checks that every drawing closes what it opens.
func wellFormed(t *testing.T, page string) {
	t.Helper()
	for rest := page; ; {
		i := strings.Index(rest, "<svg")
		if i < 0 {
			return
		}
		d := xml.NewDecoder(strings.NewReader(rest[i:]))
		depth := 0
		for {
			tok, err := d.Token()
			if err != nil {
				t.Fatalf("%v in %.200s", err, rest[i:])
			}
			if _, ok := tok.(xml.StartElement); ok {
				depth++
			}
			if _, ok := tok.(xml.EndElement); ok {
				if depth--; depth == 0 {
					break
				}
			}
		}
		rest = rest[i+int(d.InputOffset()):]
	}
}

// Names come from files that anybody may have written.
func TestHostileNames(t *testing.T) {
	const evil = "x\"><script>alert(1)</script>\x1b[2J\u202e'&"
	r, v := synth()
	r.Plan.Name, r.Target.Name, r.Target.Exe, r.Target.GoVersion, r.Cgroup, r.Tool, r.PlanText, r.PlanHash = evil, evil, evil, evil, evil, evil, evil, evil
	r.Machine.Kernel, r.Refused, r.Aborted, v.Reason = evil, evil, evil, evil
	r.Left = []string{evil}
	for i := range r.Plan.Faults {
		r.Plan.Faults[i].Name, r.Plan.Faults[i].Kind = evil, chaos.Kind(evil)
		v.Faults[i].Wrong, v.Faults[i].Named, v.Faults[i].Expected, v.Faults[i].Others = evil, []string{evil}, []string{evil}, []string{evil}
		v.Faults[i].Recovery = append(v.Faults[i].Recovery, chaos.Recovered{What: evil, Known: true})
		r.Faults[i].By, r.Faults[i].Err = evil, evil
	}
	for i := range r.Events {
		r.Events[i].Text, r.Events[i].From, r.Events[i].To = evil, evil, evil
	}
	for i := range v.Criteria {
		v.Criteria[i].Criterion.Metric = evil
	}
	for i := range v.Margin.Layers {
		v.Margin.Layers[i].Name, v.Margin.Layers[i].Text = evil, evil
	}
	v.Margin.Points[8].Failed = []string{evil}
	r.Findings[0].Err = evil
	page := htmlOf(t, r, v)
	for _, bad := range []string{"<script", "\x1b", "\u202e", `x">`} {
		if strings.Contains(page, bad) {
			t.Errorf("the page has %q", bad)
		}
	}
	wellFormed(t, page)
	if s := textOf(t, r, v, 80, false); strings.ContainsAny(s, "\x1b\u202e") {
		t.Error("the terminal is told what to do")
	}
	if s := Headline(r, v); strings.ContainsAny(s, "\x1b\u202e\n") {
		t.Errorf("the headline is %q", s)
	}
}

// Reports of runs that lack things.
func TestPartial(t *testing.T) {
	full, verdict := synth()
	for name, change := range map[string]func(*chaos.Run, *chaos.Verdict){
		"refused": func(r *chaos.Run, v *chaos.Verdict) {
			*r = chaos.Run{Plan: r.Plan, Refused: "the cgroup is shared"}
			*v = chaos.Verdict{Outcome: chaos.NotRun, Reason: "nothing was done: the cgroup is shared."}
		},
		"no points":  func(r *chaos.Run, _ *chaos.Verdict) { r.Points = nil },
		"no cycles":  func(r *chaos.Run, _ *chaos.Verdict) { r.Cycles = nil },
		"no events":  func(r *chaos.Run, _ *chaos.Verdict) { r.Events = nil },
		"no faults":  func(r *chaos.Run, v *chaos.Verdict) { r.Plan.Faults, r.Faults, v.Faults, v.Margin = nil, nil, nil, nil },
		"no load":    func(r *chaos.Run, _ *chaos.Verdict) { drop(r, chaos.LatencyP99, chaos.LatencyP50, chaos.ErrorRatio) },
		"no guard":   func(r *chaos.Run, _ *chaos.Verdict) { drop(r, chaos.GuardState) },
		"no cgroup":  func(r *chaos.Run, _ *chaos.Verdict) { drop(r, chaos.WorkingSet, chaos.Limit) },
		"left":       func(r *chaos.Run, _ *chaos.Verdict) { r.Left = []string{"process 77", "/sys/fs/cgroup/memory/x"} },
		"unverified": func(r *chaos.Run, _ *chaos.Verdict) { r.Faults[1].Verified = false },
		"not ready": func(r *chaos.Run, _ *chaos.Verdict) {
			for i := 200; i < 260; i++ {
				r.Points[i].Values[chaos.Ready] = 0
			}
		},
		"no verdict": func(_ *chaos.Run, v *chaos.Verdict) { *v = chaos.Verdict{} },
	} {
		t.Run(name, func(t *testing.T) {
			var r chaos.Run
			var v chaos.Verdict
			copyOf(t, full, &r)
			copyOf(t, verdict, &v)
			change(&r, &v)
			text, page := textOf(t, &r, &v, 80, false), htmlOf(t, &r, &v)
			wellFormed(t, page)
			for _, bad := range []string{"NaN", "Inf", "%!", "<nil>"} {
				if strings.Contains(text, bad) || strings.Contains(page, bad) {
					t.Errorf("%q is shown:\n%s", bad, text)
				}
			}
			switch name {
			case "left":
				if !strings.Contains(text, "Left behind: process 77; ") || !strings.Contains(page, "Left behind: process 77; ") {
					t.Errorf("what was left is not said:\n%s", text)
				}
			case "unverified":
				if strings.Contains(text, "Nothing was left behind") {
					t.Error("what was not read back counts as undone")
				}
			case "not ready":
				if !strings.Contains(text, "×") || !strings.Contains(page, "not ready from") {
					t.Error("it is not shown that the target was not ready")
				}
			case "no guard": // its events tell
				if !strings.Contains(text, "guard│") {
					t.Errorf("the guard is not shown:\n%s", text)
				}
			}
		})
	}
}

func drop(r *chaos.Run, metrics ...chaos.Metric) {
	for _, p := range r.Points {
		for _, m := range metrics {
			delete(p.Values, m)
		}
	}
}

func copyOf(t *testing.T, from, to any) {
	t.Helper()
	b, err := json.Marshal(from)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, to); err != nil {
		t.Fatal(err)
	}
}

// What goes back and forth is told once.
func TestFolded(t *testing.T) {
	var list []chaos.Event
	for i := range 40 {
		list = append(list, chaos.Event{At: time.Duration(i) * time.Second, Kind: chaos.EventState, Fault: -1, From: "a", To: fmt.Sprint("s", i)})
	}
	list = append(list, chaos.Event{At: time.Minute, Kind: chaos.EventAbort, Fault: 0})
	got := folded(list)
	if len(got) != 2 || got[0].To != "s39" || !strings.Contains(got[0].Text, "40 changes until 39s") || got[1].Kind != chaos.EventAbort {
		t.Errorf("got %+v", got)
	}
	if got := folded(list[:4]); len(got) != 4 {
		t.Errorf("few are folded: %+v", got)
	}
}

// A short peak is never lost on the way to a drawing.
func TestColumnsKeepPeaks(t *testing.T) {
	var list []sample
	for i := range 100000 {
		list = append(list, sample{time.Duration(i) * time.Millisecond, 1})
	}
	list[31337].v = 99
	cols := columns(list, axis{0, 100 * time.Second}, 480)
	if !slices.ContainsFunc(cols, func(e extent) bool { return e.hi == 99 && e.lo == 1 && e.last == 1 }) {
		t.Error("the peak is gone")
	}
}

// A level that falls is drawn from what it was.
func TestBarOfFallingLevel(t *testing.T) {
	r, v := synth()
	o := of(r, v)
	b := o.bars()[3]
	if b.fault != 3 || b.steps[0].share <= 0 || b.steps[0].share > 0.3 || b.share(b.to) < 0.99 {
		t.Errorf("the limit is drawn as %+v", b)
	}
	r.Events = slices.DeleteFunc(r.Events, func(e chaos.Event) bool { return e.Kind == chaos.EventLevel })
	if b := of(r, v).bars()[3]; b.share(b.from) != 1 {
		t.Errorf("without levels it is drawn as %+v", b)
	}
}

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "0s", -1: "-", 84 * time.Millisecond: "84ms", 1500 * time.Millisecond: "1.5s", 59 * time.Second: "59s", 60 * time.Second: "1m", 62 * time.Second: "1m2s",
		59*time.Minute + 59*time.Second: "59m59s", time.Hour: "1h", 90 * time.Minute: "1h30m", 10 * time.Hour: "10h", 20 * time.Minute: "20m", 610 * time.Second: "10m10s",
	} {
		if got := span(d); got != want {
			t.Errorf("span(%d) = %q, want %q", d, got, want)
		}
	}
}

// The keys of the document are those that docs/cli-json.md has, and of their kinds.
func TestJSON(t *testing.T) {
	r, v := synth()
	r.Refused, r.Faults[0].Err, v.Faults[0].Wrong = "x", "x", "x"
	r.Findings[0].Err = "x"
	b, err := json.Marshal(JSON(r, v))
	if err != nil {
		t.Fatal(err)
	}
	var doc map[string]any
	if err := json.Unmarshal(b, &doc); err != nil {
		t.Fatal(err)
	}
	seen := map[string]bool{}
	var walk func(prefix string, x any)
	walk = func(prefix string, x any) {
		switch x := x.(type) {
		case map[string]any:
			for k, y := range x {
				seen[strings.TrimPrefix(prefix+"."+k, ".")] = true
				walk(strings.TrimPrefix(prefix+"."+k, "."), y)
			}
		case []any:
			for _, y := range x {
				walk(prefix+"[]", y)
			}
		}
	}
	walk("", doc)
	text, err := os.ReadFile("../../../../docs/cli-json.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(text), "\n## `"+Schema+"`\n")
	if !ok {
		t.Fatalf("docs/cli-json.md has no section for %s", Schema)
	}
	section, _, _ = strings.Cut(section, "\n## ")
	told := map[string]bool{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([^`]+)` \\|").FindAllStringSubmatch(section, -1) {
		told[m[1]] = true
		if !seen[m[1]] {
			t.Errorf("%s is documented, and not in the document", m[1])
		}
	}
	for k := range seen {
		if !told[k] {
			t.Errorf("%s is not documented", k)
		}
	}
	if doc["schema"] != Schema || doc["rollback_seconds"] != 0.084 || doc["verdict"] != "ABORTED" {
		t.Errorf("schema %v, rollback %v, verdict %v", doc["schema"], doc["rollback_seconds"], doc["verdict"])
	}
	// What is not known is null, and lists are never.
	b, err = json.Marshal(JSON(nil, nil))
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []string{"left", "phases", "faults", "criteria", "metrics", "findings", "events"} {
		if !strings.Contains(string(b), `"`+k+`":[]`) {
			t.Errorf("%s is not an empty list in %s", k, b)
		}
	}
}

// A writer that fails is told of.
func TestWriteFails(t *testing.T) {
	r, v := synth()
	if Text(failing{}, r, v, 80, false) == nil || HTML(failing{}, r, v) == nil {
		t.Error("nothing is said of a writer that fails")
	}
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

// TestRecoveredMetric: what the recovery looks at may be a metric of the hypothesis.
func TestRecoveredMetric(t *testing.T) {
	for _, tt := range []struct {
		what, text string
		unit       chaos.Unit
	}{
		{"gc_cpu_ratio", "12%", ""}, {"pause_p99_seconds", "120ms", chaos.Seconds}, {"headroom_bytes", "0B", chaos.Bytes},
		{"ready", "-", ""}, {"goroutines", "0.12", chaos.Count}, {"nothing\x1b", "0.12", ""},
	} {
		v := 0.12
		if tt.what == "ready" {
			v = math.NaN()
		}
		if got := recovered(tt.what, v); got != tt.text || recoveryUnit(tt.what) != tt.unit {
			t.Errorf("%s: %q in %q", tt.what, got, recoveryUnit(tt.what))
		}
	}
}
