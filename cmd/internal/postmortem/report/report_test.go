package report

import (
	"bytes"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/ruletest"
	"github.com/heapwright/heapwright/cmd/internal/postmortem"
	"github.com/heapwright/heapwright/record"
)

// hostile is a death of which every text is what a process or a kernel line may not be.
func hostile() *postmortem.Report {
	const bad = "</script><script>alert(1)</script>\x1b[31m\u202e\"><img src=x onerror=alert(1)>"
	stack := []record.Frame{{Func: bad, File: bad, Line: 1}}
	p := ruletest.HeapProfile(ruletest.Allocates(90<<20, 1e5, 80<<20, stack...))
	rec := ruletest.Server{Seconds: 100, Hz: 2, Live: ruletest.Ramp(10<<20, 90<<20, 100), Container: 200 << 20, Profiles: []record.Profile{ruletest.HeapProfile(), p}}.Recording()
	rec.Process.Name, rec.Process.Exe, rec.Process.Module = bad, bad, bad
	last := rec.Samples[len(rec.Samples)-1].Time
	return postmortem.Examine(&postmortem.Evidence{Recording: rec,
		Groups:   []postmortem.Group{{Time: last, Path: bad, Parts: map[postmortem.Part]uint64{postmortem.PartFile: 1 << 20}, Siblings: []postmortem.Sibling{{PID: 1, Name: bad, RSSBytes: 1}}}},
		Captures: []postmortem.Capture{{Time: last, Why: bad, Kinds: []string{bad}, Failed: bad}},
		Kill:     &postmortem.Kill{Time: last.Add(time.Millisecond), PID: rec.Process.PID, Name: bad, OOMGroup: bad, InvokedBy: bad, Text: []string{bad}, Tasks: []postmortem.Task{{PID: 1, Name: bad}}, UsageBytes: 210 << 20},
	})
}

// The page is whole, and nothing in it runs, or asks for anything.
func TestHTML(t *testing.T) {
	for name, r := range map[string]*postmortem.Report{"hostile": hostile(), "nothing": postmortem.Examine(nil), "no time": {Kill: &postmortem.KillFacts{}}} {
		var b bytes.Buffer
		if err := HTML(&b, r); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		page := b.String()
		for _, not := range []string{"<script", "<img", "\x1b", "\u202e", "NaN", "Inf", "%!", "ZgotmplZ"} {
			if strings.Contains(page, not) {
				t.Errorf("%s: the page has %q", name, not)
			}
		}
		if m := regexp.MustCompile(`(?i)(src|href|url)\s*[=(]`).FindString(strings.ReplaceAll(page, "img src=x", "")); m != "" && name != "hostile" {
			t.Errorf("%s: the page refers to something: %q", name, m)
		}
		if !strings.HasSuffix(strings.TrimSpace(page), "</html>") || !strings.Contains(page, Policy) && !strings.Contains(page, "default-src &#39;none&#39;") {
			t.Errorf("%s: the page is not whole, or has no policy", name)
		}
	}
}

// A terminal gets no control characters, and no line that is wider than it is.
func TestText(t *testing.T) {
	for name, r := range map[string]*postmortem.Report{"hostile": hostile(), "nothing": postmortem.Examine(nil)} {
		var b bytes.Buffer
		if err := Text(&b, r, 80, false); err != nil {
			t.Fatal(err)
		}
		if strings.ContainsAny(b.String(), "\x1b\u202e") || strings.Contains(b.String(), "NaN") {
			t.Errorf("%s:\n%q", name, b.String())
		}
	}
}
