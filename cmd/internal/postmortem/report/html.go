package report

import (
	"bufio"
	"cmp"
	"embed"
	"fmt"
	"html"
	"html/template"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
	"github.com/heapwright/heapwright/cmd/internal/postmortem"
	"github.com/heapwright/heapwright/cmd/internal/term"
	"github.com/heapwright/heapwright/record"
)

//go:embed page
var pageFiles embed.FS

// Policy is what the page lets a browser do: show its own style, and nothing else. It
// has no script, and reaches nothing.
const Policy = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"

// Bounds of the page.
const (
	pageLines = 400
	pageStack = 24
)

// A page is what the template shows. Text in it is as it came, cleaned: the template
// escapes it. Drawings are made here, of numbers and escaped text.
type page struct {
	Style       template.CSS
	Policy      string
	Title       string
	Tone        string
	Word        string
	Cause       string
	Site        *fact
	Remedy      string
	Settings    string
	Confidence  string
	Reason      string
	Tiles       []fact
	Charts      []figure
	Composition *compositionView
	Growth      *growthView
	Chain       []fact
	Not         []fact
	Unknown     []string
	Captures    []captureRow
	Kernel      string
	Tasks       []taskRow
	Facts       []fact
}

type fact struct{ Name, Value string }

type figure struct {
	Title, Caption string
	Keys           []fact
	Body           template.HTML
}

type compositionView struct {
	Caption, Label, GrewHead string
	Bar                      []segment
	Rows                     []memoryRow
}

type segment struct {
	Class, Title string
	Flex         template.CSS
}

type memoryRow struct{ Class, Swatch, Name, Bytes, Share, Grew, How string }

type growthView struct {
	Caption, KeptHead, Left string
	Sites                   []siteRow
	Goroutines              []goroutineRow
}

type siteRow struct {
	Class, Name, Where, Stack, Kept, Interval, Share, Allocated string
	Range                                                       template.HTML
}

type goroutineRow struct {
	Name, Where, Doing string
	Was, Now           int
}

type captureRow struct{ Class, Time, Why, Before, Took, Used, What string }

type taskRow struct{ Class, PID, Name, RSS, Anon, File, Tables, Score string }

// HTML writes the report as one page that needs nothing else: no network, no script.
func HTML(w io.Writer, r *postmortem.Report) error {
	style, err := pageFiles.ReadFile("page/page.css")
	if err != nil {
		return fmt.Errorf("reading the style of the report: %w", err)
	}
	t, err := template.ParseFS(pageFiles, "page/page.gohtml")
	if err != nil {
		return fmt.Errorf("reading the template of the report: %w", err)
	}
	p := pageOf(r)
	p.Style = template.CSS(style)
	b := bufio.NewWriter(w)
	if err := t.Execute(b, p); err != nil {
		return fmt.Errorf("writing the report: %w", err)
	}
	return b.Flush()
}

// clean makes text of a process safe to show, and not longer than a page bears.
func clean(s string) string {
	const most = 2000
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + "…"
	}
	return term.Clean(s)
}

func pageOf(r *postmortem.Report) *page {
	v := &r.Verdict
	p := &page{
		Policy: Policy, Title: clean(Headline(r)), Tone: "killed", Word: strings.ReplaceAll(string(v.Memory), "-", " "),
		Cause: clean(v.Cause), Remedy: clean(v.Remedy), Settings: clean(r.Survival.Text), Confidence: string(v.Confidence), Reason: clean(v.ConfidenceReason),
	}
	switch {
	case !r.Killed:
		p.Tone = "lives"
	case v.Memory == postmortem.NotEnough:
		p.Tone = "unsure"
	}
	if s := v.Site; s != nil {
		name := strings.ReplaceAll(s.Role, "_", " ")
		p.Site = &fact{strings.ToUpper(name[:min(1, len(name))]) + name[min(1, len(name)):], clean(s.String() + "  " + s.Text)}
	}
	p.Tiles = tiles(r)
	if f, ok := timeline(r, 0); ok {
		f.Title = "Memory until the kill"
		if !r.Killed {
			f.Title = "Memory"
		}
		p.Charts = append(p.Charts, f)
		// What happens at the end is too narrow in a long course.
		if n := len(r.Course.Points); n > 0 {
			const long, end = 90 * time.Second, 20 * time.Second
			if span := r.Course.Points[n-1].Time.Sub(r.Course.Points[0].Time); span > long {
				if f, ok := timeline(r, end); ok {
					f.Title = "The last " + rule.FormatSeconds(end.Seconds())
					p.Charts = append(p.Charts, f)
				}
			}
		}
	}
	p.Composition = compositionOf(r)
	p.Growth = growthOf(r)
	for _, l := range r.Chain {
		p.Chain = append(p.Chain, fact{l.Step, clean(l.Text)})
	}
	for _, a := range r.Alternatives {
		p.Not = append(p.Not, fact{strings.ReplaceAll(string(a.Memory), "-", " "), clean(a.Why)})
	}
	for _, u := range r.Unknown {
		p.Unknown = append(p.Unknown, clean(u))
	}
	for _, c := range r.Captures {
		row := captureRow{Time: clock(c.Time), Why: clean(c.Why), Before: "-", Took: "-", Used: amountOf(c.UsageBytes), What: clean(strings.Join(c.Kinds, ", "))}
		if c.BeforeKill != nil {
			row.Before = before(*c.BeforeKill)
		}
		if c.Took > 0 {
			row.Took = rule.FormatSeconds(c.Took)
		}
		if c.Failed != "" {
			row.What += "; incomplete: " + clean(c.Failed)
		}
		if c.Role != "" {
			row.Class, row.Why = "it", row.Why+" ("+c.Role+" one)"
			if c.Why == c.Role {
				row.Why = clean(c.Why)
			}
		}
		p.Captures = append(p.Captures, row)
	}
	if k := r.Kill; k != nil {
		lines := k.Text[:min(len(k.Text), pageLines)]
		cleaned := make([]string, len(lines))
		for i, l := range lines {
			cleaned[i] = clean(l)
		}
		p.Kernel = strings.Join(cleaned, "\n")
		for _, t := range k.Tasks {
			size := func(v uint64) string { return rule.FormatBytes(float64(v)) }
			row := taskRow{PID: fmt.Sprint(t.PID), Name: clean(t.Name), RSS: size(t.RSSBytes), Anon: size(t.AnonBytes), File: size(t.FileBytes), Tables: size(t.PageTableBytes), Score: fmt.Sprint(t.OOMScoreAdj)}
			if t.PID == k.PID {
				row.Class = "it"
			}
			p.Tasks = append(p.Tasks, row)
		}
	}
	p.Facts = facts(r)
	return p
}

// before writes how long before the kill something was: the clocks agree to a
// millisecond at best.
func before(seconds float64) string {
	if seconds < 1e-3 {
		return "less than 1 ms"
	}
	return rule.FormatSeconds(seconds)
}

func amountOf(v *int64) string {
	if v == nil {
		return "-"
	}
	return rule.FormatBytes(float64(*v))
}

func tiles(r *postmortem.Report) []fact {
	var out []fact
	add := func(name, value string) {
		if value != "" && value != "-" {
			out = append(out, fact{name, value})
		}
	}
	if r.Kill != nil {
		add("killed", strings.TrimSuffix(clock(r.Kill.Time), " UTC"))
	}
	if c := r.Composition; c != nil {
		add("limit", amountOf(c.LimitBytes))
		add("in use at the last look", amountOf(&c.TotalBytes))
		if c.BeforeKill != nil {
			add("last look before the kill", before(*c.BeforeKill))
		}
	}
	if s := r.Survival.Now; s.GOGCPercent != nil {
		v := fmt.Sprint(*s.GOGCPercent)
		if *s.GOGCPercent < 0 {
			v = "off"
		}
		add("GOGC", v)
	}
	switch s := r.Survival.Now; {
	case s.GOMEMLIMITBytes != nil:
		add("GOMEMLIMIT", rule.MemLimit(float64(*s.GOMEMLIMITBytes)))
	case s.NoLimit:
		add("GOMEMLIMIT", "not set")
	}
	return out
}

func facts(r *postmortem.Report) []fact {
	var out []fact
	add := func(name, value string) {
		if value != "" {
			out = append(out, fact{name, clean(value)})
		}
	}
	p := &r.Process
	add("name", p.Name)
	if p.PID != 0 {
		add("PID", fmt.Sprint(p.PID))
	}
	if !p.StartTime.IsZero() {
		add("started", clock(p.StartTime))
	}
	add("program", p.Exe)
	add("main package", p.MainPackage)
	add("module", strings.TrimSpace(p.Module+" "+p.ModuleVersion))
	add("Go", p.GoVersion)
	add("build ID", p.BuildID)
	add("container", p.ContainerID)
	add("pod", p.PodUID)
	if g := r.Group; g != nil {
		add("cgroup", g.Path)
		if g.LimitPath != "" && g.LimitPath != g.Path {
			add("limit is of", g.LimitPath)
		}
		for _, s := range g.Siblings {
			add("beside it", fmt.Sprintf("%s (%d), %s resident", cmp.Or(s.Name, "a process"), s.PID, rule.FormatBytes(float64(s.RSSBytes))))
		}
	}
	if k := r.Kill; k != nil {
		var from []string
		for _, s := range k.Known {
			from = append(from, strings.ReplaceAll(string(s), "_", " "))
		}
		add("known from", strings.Join(from, ", "))
		add("invoked by", k.InvokedBy)
		add("constraint", k.Constraint)
	}
	return out
}

func compositionOf(r *postmortem.Report) *compositionView {
	c := r.Composition
	if c == nil {
		return nil
	}
	v := &compositionView{GrewHead: "Grew"}
	v.Caption = fmt.Sprintf("What the %s in use were made of at the last look", rule.FormatBytes(float64(c.TotalBytes)))
	if c.BeforeKill != nil && *c.BeforeKill >= 0 {
		v.Caption += ", " + before(*c.BeforeKill) + " before the kill"
	}
	if c.Of == "process" {
		v.Caption += ": of the process alone, since nothing is known of a cgroup"
	}
	v.Caption += "."
	if c.WasTime != nil {
		v.GrewHead = "Grew in " + rule.FormatSeconds(c.Time.Sub(*c.WasTime).Seconds())
	}
	rows := slices.Clone(c.Rows)
	slices.SortStableFunc(rows, func(a, b postmortem.Row) int { return cmp.Compare(b.Bytes, a.Bytes) })
	var label []string
	for _, row := range rows {
		m := memoryRow{Swatch: string(row.Memory), Name: row.Name, Bytes: rule.FormatBytes(float64(row.Bytes)), Share: percent(row.Bytes, c.TotalBytes), Grew: change(row.Was, row.Grew()), How: row.How}
		if row.Memory == r.Verdict.Memory {
			m.Class = "it"
		}
		v.Rows = append(v.Rows, m)
		if row.Bytes > 0 && len(label) < 5 {
			label = append(label, fmt.Sprintf("%s %s", row.Name, rule.FormatBytes(float64(row.Bytes))))
		}
	}
	v.Label = strings.Join(label, ", ")
	sum := memoryRow{Class: "sum", Name: "in use", Bytes: rule.FormatBytes(float64(c.TotalBytes)), Share: percent(c.TotalBytes, c.TotalBytes)}
	if c.WasBytes != nil {
		sum.Grew = change(c.WasBytes, c.TotalBytes-*c.WasBytes)
	}
	v.Rows = append(v.Rows, sum)
	if c.UnseenBytes != nil && *c.UnseenBytes > 0 {
		how := ""
		if c.UnseenOwn != nil {
			how = fmt.Sprintf("of that the process %s, by the kernel's record", rule.FormatBytes(float64(*c.UnseenOwn)))
		}
		v.Rows = append(v.Rows, memoryRow{Swatch: string(postmortem.AfterLastLook), Name: "came after the last look", Bytes: rule.FormatBytes(float64(*c.UnseenBytes)), Grew: "", How: how})
	}
	v.Bar = bar(c)
	return v
}

func percent(part, of int64) string {
	if of <= 0 {
		return "-"
	}
	return rule.FormatPercent(float64(part) / float64(of))
}

func change(was *int64, by int64) string {
	if was == nil {
		return "-"
	}
	sign := "+"
	if by <= 0 {
		sign = ""
	}
	return sign + rule.FormatBytes(float64(by))
}

// bar is the composition as one bar, as long as the limit. What is mapped and was never
// touched comes off the rows that are Go's, the last ones first.
func bar(c *postmortem.Composition) []segment {
	order := []postmortem.Memory{postmortem.HeapLive, postmortem.GoHeap, postmortem.WholeProcess, postmortem.HeapGarbage, postmortem.Fragmentation, postmortem.Stacks, postmortem.RuntimeMemory,
		postmortem.Outside, postmortem.SiblingMemory, postmortem.Shared, postmortem.KernelMemory, postmortem.PageCache, postmortem.OtherCharges, postmortem.Unaccounted}
	size := make(map[postmortem.Memory]float64)
	for _, r := range c.Rows {
		size[r.Memory] += float64(r.Bytes)
	}
	over := max(0, -size[postmortem.NotResident]) + max(0, -size[postmortem.Unaccounted])
	for _, m := range []postmortem.Memory{postmortem.RuntimeMemory, postmortem.Fragmentation, postmortem.HeapGarbage, postmortem.HeapLive, postmortem.GoHeap} {
		off := min(over, max(0, size[m]))
		size[m] -= off
		over -= off
	}
	var out []segment
	add := func(m postmortem.Memory, title string, v float64) {
		if v > 0 && !math.IsInf(v, 0) {
			// As a share, so that a huge number is no length of its own.
			out = append(out, segment{Class: string(m), Title: title + " " + rule.FormatBytes(v), Flex: template.CSS(fmt.Sprintf("%.6f", v/float64(max(1, c.TotalBytes))))})
		}
	}
	for _, m := range order {
		add(m, strings.ReplaceAll(string(m), "-", " "), size[m])
	}
	if c.UnseenBytes != nil {
		add(postmortem.AfterLastLook, "came after the last look", float64(*c.UnseenBytes))
	} else if c.LimitBytes != nil && *c.LimitBytes > c.TotalBytes {
		add("free", "free", float64(*c.LimitBytes-c.TotalBytes))
	}
	return out
}

func growthOf(r *postmortem.Report) *growthView {
	g := r.Growth
	if g == nil || len(g.Sites) == 0 && len(g.Goroutines) == 0 {
		return nil
	}
	v := &growthView{KeptHead: "Kept more"}
	switch {
	case len(g.Sites) == 0:
	case g.Profiled:
		v.Caption = fmt.Sprintf("Between two heap profiles, %s apart. A profile is a sample: the interval holds the truth nine times of ten.", rule.FormatSeconds(g.Seconds))
	default:
		v.Caption, v.KeptHead = "By one heap profile: what was held then, since the process started.", "Kept"
	}
	low, high := 0.0, 1.0
	for _, s := range g.Sites {
		low, high = min(low, s.Low), max(high, s.High)
	}
	for i, s := range g.Sites {
		row := siteRow{Name: clean(cmp.Or(s.Site.Func, "unknown function")), Where: where(s.Site), Kept: rule.FormatBytes(s.GrowthBytes), Interval: fmt.Sprintf("%s to %s", rule.FormatBytes(s.Low), rule.FormatBytes(s.High)),
			Share: rule.FormatPercent(s.Share), Allocated: rule.FormatBytes(s.AllocBytes), Range: rangeOf(s, low, high)}
		if r.Verdict.Memory == postmortem.HeapGarbage {
			row.Share = rule.FormatPercent(s.AllocShare)
		}
		if t := r.Verdict.Site; t != nil && i == 0 && t.Func == s.Site.Func {
			row.Class = "it"
		}
		var stack []string
		for _, f := range s.Stack[:min(len(s.Stack), pageStack)] {
			stack = append(stack, clean(rule.FrameString(f)))
		}
		row.Stack = strings.Join(stack, "\n")
		v.Sites = append(v.Sites, row)
	}
	if g.SitesLeft > 0 {
		v.Left = fmt.Sprintf("%d more sites did not grow, or by less.", g.SitesLeft)
	}
	for _, s := range g.Goroutines {
		v.Goroutines = append(v.Goroutines, goroutineRow{Name: clean(cmp.Or(s.CreatedBy.Func, "the start of the program")), Where: where(s.CreatedBy), Doing: clean(doing(s)), Was: s.Was, Now: s.Now})
	}
	return v
}

func where(f record.Frame) string {
	if f.File == "" {
		return ""
	}
	return clean(fmt.Sprintf("%s:%d", f.File, f.Line))
}

// rangeOf draws the interval of a site's growth.
func rangeOf(s postmortem.SiteGrowth, low, high float64) template.HTML {
	x := func(v float64) string { return at((v - low) / (high - low)) }
	return template.HTML(fmt.Sprintf(`<svg width="100%%" height="16" role="img" aria-label="%s"><line class="zero" x1="%s" x2="%s" y1="0" y2="16"/><line class="ci" x1="%s" x2="%s" y1="8" y2="8"/><circle class="dot" cx="%s" cy="8" r="3.5"/></svg>`,
		html.EscapeString(fmt.Sprintf("%s, %s to %s", rule.FormatBytes(s.GrowthBytes), rule.FormatBytes(s.Low), rule.FormatBytes(s.High))), x(0), x(0), x(s.Low), x(s.High), x(s.GrowthBytes)))
}

// at writes a place across, from 0 to 1. What lies outside is at the edge.
func at(x float64) string {
	if math.IsNaN(x) {
		x = 0
	}
	return fmt.Sprintf("%.2f%%", 100*min(max(x, 0), 1))
}
