// Package report shows what a post-mortem found: for a terminal, and as one HTML page
// that needs nothing else. It decides nothing, and takes the names in a report as
// hostile: they came from a process.
package report

import (
	"cmp"
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chart"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
	"github.com/heapwright/heapwright/cmd/internal/human"
	"github.com/heapwright/heapwright/cmd/internal/postmortem"
	"github.com/heapwright/heapwright/cmd/internal/term"
	"github.com/heapwright/heapwright/cmd/internal/texttab"
	"github.com/heapwright/heapwright/record"
)

// Bounds of what a terminal gets: the rest is in the JSON and the page.
const (
	textSites      = 8
	textGoroutines = 4
	labelColumns   = 10
)

// Headline says in a line who died of what.
func Headline(r *postmortem.Report) string {
	who := cmp.Or(r.Process.Name, "the process")
	if r.Process.PID != 0 {
		who += fmt.Sprintf(" %d", r.Process.PID)
	}
	switch {
	case !r.Killed:
		return who + " lives: " + r.Verdict.Title
	case r.Kill != nil && r.Kill.OtherPID:
		return who + " was watched, another process was killed: " + r.Verdict.Title
	}
	return who + " was killed for want of memory: " + r.Verdict.Title
}

// Text writes a report for people.
func Text(w io.Writer, r *postmortem.Report, width int, paint term.Painter) error {
	p := printer{w: w, width: width, paint: paint}
	style := term.Red
	if !r.Killed {
		style = term.Bold
	}
	p.line("%s", paint.Paint(style, strings.TrimSuffix(term.Wrap(term.Clean(Headline(r)), "", width), "\n")))
	p.line("%s", paint.Paint(term.Faint, term.Clean(subline(r))))
	p.line("")
	p.section("cause", r.Verdict.Cause)
	if s := r.Verdict.Site; s != nil {
		p.section(strings.ReplaceAll(s.Role, "_", " "), s.String()+"  "+s.Text)
	}
	p.section("remedy", r.Verdict.Remedy)
	p.section("settings", r.Survival.Text)
	p.section("sure?", fmt.Sprintf("%s confidence: %s", r.Verdict.Confidence, r.Verdict.ConfidenceReason))
	if err := p.chart(r); err != nil {
		return err
	}
	if err := p.composition(r); err != nil {
		return err
	}
	if err := p.growth(r); err != nil {
		return err
	}
	p.line("")
	if k := r.Kill; k != nil && len(r.Chain) > 0 && r.Chain[0].Step == "kernel" {
		p.section("kernel", r.Chain[0].Text)
	}
	for _, l := range r.Chain {
		if l.Step == "cgroup" {
			p.section("cgroup", l.Text)
		}
	}
	if n := len(r.Captures); n > 0 {
		p.section("captures", captures(r))
	}
	p.section("not", not(r))
	p.section("not known", strings.Join(r.Unknown, " "))
	return p.err
}

// not says what it was not: why, where there was something to consider.
func not(r *postmortem.Report) string {
	var considered, idle []string
	for _, a := range r.Alternatives {
		name := strings.ReplaceAll(string(a.Memory), "-", " ")
		if a.Grew {
			considered = append(considered, name+": "+a.Why)
		} else {
			idle = append(idle, name)
		}
	}
	text := strings.Join(considered, "; ")
	if len(idle) > 0 {
		if text != "" {
			text += "; "
		}
		text += "no growth of " + strings.Join(idle, ", ")
	}
	return text
}

// subline says when, in what, and how the process was built.
func subline(r *postmortem.Report) string {
	var parts []string
	if r.Kill != nil && !r.Kill.Time.IsZero() {
		parts = append(parts, r.Kill.Time.UTC().Format("2006-01-02 15:04:05 UTC"))
	}
	if r.Group != nil && r.Group.LimitBytes != nil {
		parts = append(parts, "limit "+human.Bytes(float64(*r.Group.LimitBytes)))
	} else if c := r.Composition; c != nil && c.LimitBytes != nil {
		parts = append(parts, "limit "+human.Bytes(float64(*c.LimitBytes)))
	}
	if s := settings(r.Survival.Now); s != "" {
		parts = append(parts, s)
	}
	if r.Process.GoVersion != "" {
		parts = append(parts, r.Process.GoVersion)
	}
	return strings.Join(parts, ", ")
}

func settings(s postmortem.Settings) string {
	var parts []string
	if s.GOGCPercent != nil {
		parts = append(parts, "GOGC="+human.GOGC(*s.GOGCPercent))
	}
	switch {
	case s.GOMEMLIMITBytes != nil:
		parts = append(parts, "GOMEMLIMIT="+rule.MemLimit(float64(*s.GOMEMLIMITBytes)))
	case s.NoLimit:
		parts = append(parts, "no GOMEMLIMIT")
	}
	return strings.Join(parts, " ")
}

// captures says what profiles there are, in a line.
func captures(r *postmortem.Report) string {
	var parts []string
	for _, c := range r.Captures {
		if c.Role == "" && len(r.Captures) > 4 {
			continue
		}
		s := c.Why
		if c.BeforeKill != nil && *c.BeforeKill >= 0 {
			s += " " + before(*c.BeforeKill) + " before the kill"
		}
		if c.Took > 0 {
			s += ", took " + rule.FormatSeconds(c.Took)
		}
		if c.Failed != "" {
			s += ", incomplete: " + c.Failed
		}
		parts = append(parts, s)
	}
	return fmt.Sprintf("%d: %s", len(r.Captures), strings.Join(parts, "; "))
}

// A printer keeps the first error, so that what prints a line need not ask.
type printer struct {
	w     io.Writer
	width int
	paint term.Painter
	err   error
}

func (p *printer) line(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format+"\n", args...)
	}
}

func (p *printer) section(label, text string) {
	if text == "" {
		return
	}
	indent := strings.Repeat(" ", labelColumns+2)
	body := strings.TrimPrefix(term.Wrap(term.Clean(text), indent, p.width), indent)
	p.line("  %s%s", p.paint.Paint(term.Faint, fmt.Sprintf("%-*s", labelColumns, label)), body)
}

// chart draws memory over time, with the limit.
func (p *printer) chart(r *postmortem.Report) error {
	if p.err != nil || len(r.Course.Points) < 3 {
		return p.err
	}
	pts := r.Course.Points
	line := func(name string, style term.Style, dotted bool, v func(*postmortem.Moment) *int64) chart.Line {
		l := chart.Line{Name: name, Style: style, Dotted: dotted}
		for i := range pts {
			if x := v(&pts[i]); x != nil {
				l.Points = append(l.Points, chart.Point{T: pts[i].Time.Sub(pts[0].Time).Seconds(), V: float64(*x)})
			}
		}
		return l
	}
	lines := []chart.Line{
		line("usage", term.Blue, false, func(m *postmortem.Moment) *int64 { return cmp.Or(m.Usage, m.RSS) }),
		line("heap live", term.Green, false, func(m *postmortem.Moment) *int64 { return m.Live }),
	}
	if c := r.Composition; c != nil && c.LimitBytes != nil && *c.LimitBytes < 4*c.TotalBytes {
		limit := chart.Line{Name: "limit", Style: term.Red, Dotted: true}
		end := pts[len(pts)-1].Time.Sub(pts[0].Time).Seconds()
		if k := r.Kill; k != nil {
			end = max(end, k.Time.Sub(pts[0].Time).Seconds())
		}
		for i := range 200 {
			limit.Points = append(limit.Points, chart.Point{T: end * float64(i) / 199, V: float64(*c.LimitBytes)})
		}
		lines = append(lines, limit)
	}
	p.line("")
	if p.err == nil {
		p.err = chart.Draw(p.w, chart.Options{Width: p.width, Height: 8, Format: human.Bytes, Paint: p.paint}, lines...)
	}
	return p.err
}

// composition prints what the usage was made of.
func (p *printer) composition(r *postmortem.Report) error {
	c := r.Composition
	if c == nil || p.err != nil {
		return p.err
	}
	head := "at the last look"
	if c.BeforeKill != nil && *c.BeforeKill >= 0 {
		head = before(*c.BeforeKill) + " before the kill"
	} else if !r.Killed {
		head = "now"
	}
	t := texttab.Table{Columns: []texttab.Column{{Head: "MEMORY " + strings.ToUpper(head[:1]) + head[1:]}, {Head: "BYTES", Right: true}, {Head: "SHARE", Right: true, Drop: 2}, {Head: "GREW", Right: true, Drop: 1}}}
	if c.WasTime != nil {
		t.Columns[3].Head = "GREW IN " + rule.FormatSeconds(c.Time.Sub(*c.WasTime).Seconds())
	}
	rows := slices.Clone(c.Rows)
	slices.SortStableFunc(rows, func(a, b postmortem.Row) int { return cmp.Compare(b.Bytes, a.Bytes) })
	for _, row := range rows {
		if little := c.TotalBytes / 200; row.Memory != r.Verdict.Memory && max(row.Bytes, -row.Bytes) < little && max(row.Grew(), -row.Grew()) < little {
			continue
		}
		style := term.Plain
		if row.Memory == r.Verdict.Memory {
			style = term.Bold
		}
		name := row.Name
		if row.How == "estimated" {
			name += t.Note("estimated: of what was allocated since the last collection, as much is taken to be alive as earlier collections found")
		}
		t.Row(texttab.Cell{Text: name, Style: style}, texttab.Cell{Text: size(row.Bytes), Style: style},
			texttab.Cell{Text: share(row.Bytes, c.TotalBytes)}, texttab.Cell{Text: grown(row.Was, row.Grew()), Style: style})
	}
	total := "in use"
	if c.LimitBytes != nil {
		total += " of " + human.Bytes(float64(*c.LimitBytes))
	}
	sum := int64(0)
	if c.WasBytes != nil {
		sum = c.TotalBytes - *c.WasBytes
	}
	t.Row(texttab.Cell{Text: total, Style: term.Bold}, texttab.Cell{Text: human.Bytes(float64(c.TotalBytes)), Style: term.Bold}, texttab.Cell{}, texttab.Cell{Text: grown(c.WasBytes, sum), Style: term.Bold})
	if c.UnseenBytes != nil && *c.UnseenBytes > c.TotalBytes/50 {
		note := ""
		if c.UnseenOwn != nil {
			note = t.Note(fmt.Sprintf("of that the process itself %s, by the kernel's record", human.Bytes(float64(*c.UnseenOwn))))
		}
		t.Row(texttab.Cell{Text: "after the last look" + note, Style: term.Faint}, texttab.Cell{Text: human.Bytes(float64(*c.UnseenBytes)), Style: term.Faint})
	}
	p.line("")
	if p.err == nil {
		p.err = t.Write(p.w, p.width, p.paint)
	}
	return p.err
}

func share(part, of int64) string {
	if of <= 0 {
		return "-"
	}
	return human.Percent(float64(part) / float64(of))
}

// size writes a number of bytes that may be negative.
func size(v int64) string {
	if v < 0 {
		return "-" + human.Bytes(float64(-v))
	}
	return human.Bytes(float64(v))
}

func grown(was *int64, by int64) string {
	switch {
	case was == nil:
		return "-"
	case by == 0:
		return "0"
	case by > 0:
		return "+" + human.Bytes(float64(by))
	}
	return "-" + human.Bytes(float64(-by))
}

// growth prints what grew in the program, by site.
func (p *printer) growth(r *postmortem.Report) error {
	g := r.Growth
	if g == nil || p.err != nil {
		return p.err
	}
	if len(g.Sites) > 0 {
		byAlloc := r.Verdict.Memory == postmortem.HeapGarbage
		kept := "KEPT MORE"
		if !g.Profiled {
			kept = "KEPT"
		}
		t := texttab.Table{Columns: []texttab.Column{{Head: "ALLOCATED AT", Min: 24}, {Head: kept, Right: true}, {Head: "90% INTERVAL", Right: true, Drop: 3}, {Head: "SHARE", Right: true, Drop: 2}, {Head: "ALLOCATED", Right: true, Drop: 1}}}
		for i, s := range g.Sites {
			if i == textSites {
				break
			}
			style := term.Plain
			if v := r.Verdict.Site; v != nil && v.Func == s.Site.Func && v.Line == s.Site.Line && i == 0 {
				style = term.Bold
			}
			if !byAlloc && !s.Significant && i > 0 && s.Share < 0.01 {
				continue
			}
			part := s.Share
			if byAlloc {
				part = s.AllocShare
			}
			t.Row(texttab.Cell{Text: rule.FrameString(s.Site), Style: style}, texttab.Cell{Text: human.Bytes(math.Max(0, math.Round(s.GrowthBytes/1024)*1024)), Style: style},
				texttab.Cell{Text: fmt.Sprintf("%s to %s", human.Bytes(max(0, s.Low)), human.Bytes(max(0, s.High)))}, texttab.Cell{Text: human.Percent(part)}, texttab.Cell{Text: human.Bytes(math.Round(s.AllocBytes/1024) * 1024)})
		}
		p.line("")
		if p.err == nil {
			p.err = t.Write(p.w, p.width, p.paint)
		}
	}
	if len(g.Goroutines) > 0 && p.err == nil {
		t := texttab.Table{Columns: []texttab.Column{{Head: "GOROUTINES STARTED AT", Min: 24}, {Head: "WERE", Right: true}, {Head: "ARE", Right: true}, {Head: "MOST ARE", Drop: 1}}}
		for i, s := range g.Goroutines {
			if i == textGoroutines {
				break
			}
			t.Text(rule.FrameString(s.CreatedBy), fmt.Sprint(s.Was), fmt.Sprint(s.Now), doing(s))
		}
		p.line("")
		if p.err == nil {
			p.err = t.Write(p.w, p.width, p.paint)
		}
	}
	return p.err
}

// doing says where most goroutines of a site are.
func doing(s postmortem.GoroutineSite) string {
	text := s.WaitReason
	if s.At != (record.Frame{}) {
		if text != "" {
			text += " at "
		}
		text += rule.FrameString(s.At)
	}
	return text
}

// clock writes an instant, "-" for none.
func clock(t time.Time) string {
	if y := t.Year(); t.IsZero() || y < 1970 || y > 9999 {
		return "-"
	}
	return t.UTC().Format("2006-01-02 15:04:05.000 UTC")
}
