package report

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/net/html"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
)

// void are the elements of HTML that have no end.
var void = []string{"meta", "br", "hr", "link", "img", "input"}

// checkPage reads a page tag by tag: what is opened is closed, nothing comes from
// elsewhere, and no script is there but ours.
func checkPage(t *testing.T, text string) {
	t.Helper()
	if !strings.HasPrefix(text, "<!DOCTYPE html>") {
		t.Errorf("it begins with %.30q", text)
	}
	for _, bad := range []string{"NaN", "+Inf", "-Inf", "ZgotmplZ", "\x1b", "\x07", "%!"} {
		if strings.Contains(text, bad) {
			i := strings.Index(text, bad)
			t.Errorf("it holds %q: %q", bad, text[max(i-80, 0):min(i+20, len(text))])
		}
	}
	script, err := os.ReadFile("page/page.js")
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]bool{}
	var hrefs, open []string
	scripts, named := 0, 0
	z := html.NewTokenizer(strings.NewReader(text))
	for {
		kind := z.Next()
		if kind == html.ErrorToken {
			if !errors.Is(z.Err(), io.EOF) {
				t.Fatal(z.Err())
			}
			break
		}
		tok := z.Token()
		switch kind {
		case html.StartTagToken, html.SelfClosingTagToken:
			if kind == html.StartTagToken && !slices.Contains(void, tok.Data) {
				open = append(open, tok.Data)
			}
			switch tok.Data {
			case "script":
				scripts++
			case "img", "link", "iframe", "object", "embed", "image", "use", "foreignobject", "base", "form":
				t.Errorf("an element %s", tok.Data)
			case "svg":
				for _, a := range tok.Attr {
					if a.Key == "aria-label" && a.Val != "" {
						named++
					}
				}
			}
			for _, a := range tok.Attr {
				switch {
				case strings.HasPrefix(a.Key, "on"), a.Key == "src", a.Key == "srcset", a.Key == "action", strings.Contains(a.Key, "xlink"):
					t.Errorf("an attribute %s=%q", a.Key, a.Val)
				case a.Key == "href":
					hrefs = append(hrefs, a.Val)
				case a.Key == "id":
					if ids[a.Val] {
						t.Errorf("the id %q twice", a.Val)
					}
					ids[a.Val] = true
				case a.Key == "style" && (strings.Contains(a.Val, "url") || strings.Contains(a.Val, "expression")):
					t.Errorf("a style %q", a.Val)
				}
			}
		case html.EndTagToken:
			if len(open) == 0 || open[len(open)-1] != tok.Data {
				t.Fatalf("</%s> closes %q", tok.Data, open[max(len(open)-3, 0):])
			}
			open = open[:len(open)-1]
		case html.TextToken:
			if len(open) > 0 && open[len(open)-1] == "script" && tok.Data != string(script) {
				t.Errorf("a script that is not ours: %.60q", tok.Data)
			}
			if len(open) > 0 && open[len(open)-1] == "style" && strings.Contains(tok.Data, "://") {
				t.Error("the style reaches out")
			}
		}
	}
	if len(open) > 0 {
		t.Errorf("%q are not closed", open)
	}
	if scripts != 1 {
		t.Errorf("%d scripts", scripts)
	}
	for _, h := range hrefs {
		if !strings.HasPrefix(h, "#") || !ids[h[1:]] {
			t.Errorf("a link to %q", h)
		}
	}
	if n := strings.Count(text, policy(script)); n != 1 && !strings.Contains(html.UnescapeString(text), policy(script)) {
		t.Error("the policy does not name the script")
	}
	if strings.Contains(text, `class="plot`) && named == 0 {
		t.Error("drawings without a name")
	}
}

func TestHTML(t *testing.T) {
	for name, s := range samples() {
		t.Run(name, func(t *testing.T) {
			var b strings.Builder
			if err := HTML(&b, s.r, s.v, "checkout.hwcmp"); err != nil {
				t.Fatal(err)
			}
			checkPage(t, b.String())
			if name == "refused" || name == "empty" {
				golden(t, name+".html", bare(b.String()))
			}
			if dir := os.Getenv("REPORT_PAGES"); dir != "" {
				if err := os.WriteFile(filepath.Join(dir, name+".html"), []byte(b.String()), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// bare is a page without its style and its script.
func bare(page string) string {
	for _, tag := range []string{"style", "script"} {
		from, to := strings.Index(page, "<"+tag+">"), strings.Index(page, "</"+tag+">")
		page = page[:from] + page[to:]
	}
	from := strings.Index(page, "sha256-")
	to := from + strings.IndexByte(page[from:], ';')
	return page[:from] + page[to:]
}

func TestFigures(t *testing.T) {
	s := samples()["interrupted"]
	o := of(s.r, s.v, "")
	c := o.verdict.Comparisons[0]
	m, ok := c.Metric("latency_p99_seconds")
	if !ok {
		t.Fatal("no p99")
	}
	strip, ok := o.strip(c.Variant, m)
	if !ok {
		t.Fatal("no pairs")
	}
	golden(t, "strip.svg.html", string(strip)+"\n")
	lines, ok := o.timelines(c.Variant)
	if !ok {
		t.Fatal("no time lines")
	}
	golden(t, "timelines.svg.html", lines.Caption+"\n"+string(lines.Body)+"\n")
	s = samples()["sweep"]
	front, ok := of(s.r, s.v, "").pareto("rss_peak_bytes", "gc_cpu_ratio")
	if !ok {
		t.Fatal("no front")
	}
	golden(t, "pareto.svg.html", string(front.Body)+"\n")
}

// TestLatency draws the quantiles that the histograms have, and refuses what is none.
func TestLatency(t *testing.T) {
	s := samples()["two"]
	list, design := of(s.r, s.v, "").spreads()
	if design != experiment.Duet || len(list) != 2 || list[0].variant != 0 || list[0].hist.TotalCount() != 23*requestsDrawn {
		t.Fatalf("%d spreads of a %s", len(list), design)
	}
	if p50 := float64(list[0].hist.ValueAtPercentile(50)) / 1e6; p50 < 0.9e-3 || p50 > 1.4e-3 {
		t.Errorf("the p50 is %v", p50)
	}
	r := &experiment.Result{Blocks: []experiment.Block{{Design: experiment.Duet, Arms: []experiment.Arm{{Latency: "HISTFAAAAA=="}, {Latency: "%%%"}, {Latency: strings.Repeat("A", 2<<20)}, {Variant: -1, Latency: s.r.Blocks[0].Arms[0].Latency}}}}}
	if _, ok := of(r, nil, "").latency(); ok {
		t.Error("a latency of nothing")
	}
}
