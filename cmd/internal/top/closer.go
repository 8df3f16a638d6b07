package top

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chart"
	"github.com/heapwright/heapwright/cmd/internal/human"
	"github.com/heapwright/heapwright/cmd/internal/term"
	"github.com/heapwright/heapwright/record"
)

// closer is the screen of one process.
func (m Model) closer() []string {
	r := m.find(m.open)
	lines := []string{m.sides(cell{m.who(r), term.Bold}, m.state()), m.tabLine(r)}
	body := m.body()
	from := min(m.scroll, max(len(body)-m.bodyRows(), 0))
	body = body[from:min(from+m.bodyRows(), len(body))]
	lines = append(lines, body...)
	for len(lines) < m.height-1 {
		lines = append(lines, "")
	}
	return append(lines, m.keys("esc back", "tab next page", "↑↓ scroll", "[ ] other process", "p pause", "? help", "q quit"))
}

func (m Model) who(r *Row) string {
	parts := []string{clean(r.Process.Name), fmt.Sprintf("pid %d", r.Process.PID)}
	if !r.Ended.IsZero() {
		parts = append(parts, "ENDED "+human.Span(m.shown.Time.Sub(r.Ended))+" ago")
	}
	if v := r.Process.GoVersion; v != "" {
		parts = append(parts, clean("go"+human.GoVersion(v)))
	}
	parts = append(parts, "up "+human.Span(r.age()))
	if r.Process.User != "" {
		parts = append(parts, clean(r.Process.User))
	}
	if r.Process.Module != "" {
		parts = append(parts, clean(strings.TrimSpace(r.Process.Module+" "+r.Process.ModuleVersion)))
	}
	return strings.Join(parts, "  ")
}

func (m Model) tabLine(r *Row) string {
	var b strings.Builder
	n := 0
	for t := range tabs {
		text := fmt.Sprintf("%d %s", t+1, t)
		if t == findings && len(r.Findings) > 0 {
			text += fmt.Sprintf(" (%d)", len(r.Findings))
		}
		style := term.Faint
		if t == m.tab {
			text, style = "["+text+"]", term.Bold
		} else {
			text = " " + text + " "
		}
		if n+width(text) > m.width {
			break
		}
		n += width(text)
		b.WriteString(m.paint(style, text))
	}
	return b.String()
}

// body is all lines of the tab, also those that are not on screen.
func (m Model) body() []string {
	r := m.find(m.open)
	if r == nil {
		return nil
	}
	var lines []string
	if r.Error != "" {
		lines = append(lines, m.wrap("This process cannot be read: "+clean(r.Error), "", term.Yellow)...)
		if r.Hint != "" {
			lines = append(lines, m.wrap(clean(r.Hint), "", term.Plain)...)
		}
		if r.Latest == nil {
			return lines
		}
	}
	switch m.tab {
	case findings:
		return append(lines, m.findingsTab(r)...)
	case goroutines:
		return append(lines, m.goroutinesTab(r)...)
	case settings:
		return append(lines, m.settingsTab(r)...)
	}
	return append(lines, m.overviewTab(r, m.bodyRows()-len(lines))...)
}

const maxText = 100 // columns of running text, which reads badly in longer lines

func (m Model) wrap(text, indent string, s term.Style) []string {
	lines := strings.Split(term.Wrap(text, indent, min(m.width, maxText)), "\n")
	for i := range lines {
		lines[i] = m.paint(s, cut(lines[i], m.width))
	}
	return lines
}

// overviewTab is the memory over the last minutes, and below it what belongs to it.
func (m Model) overviewTab(r *Row, height int) []string {
	below := m.gauges(r)
	if len(r.Findings) > 0 {
		f := r.Findings[0]
		k := mark(r)
		text := f.ID + "  " + clean(f.Title)
		if n := len(r.Findings) - 1; n > 0 {
			text += fmt.Sprintf("  (and %d more)", n)
		}
		below = append(below, m.paint(cmp.Or(k.style, term.Plain), cut(k.text+" "+text, m.width)))
	}
	// The chart has an axis below it; the memory line stands above it.
	plot := height - len(below) - 2
	lines := []string{m.memoryLine(r)}
	if plot >= 3 {
		lines = append(lines, m.memoryChart(r, min(plot, 20))...)
	}
	return append(lines, below...)
}

// memoryLine says the numbers that the chart draws.
func (m Model) memoryLine(r *Row) string {
	parts := []string{"live " + bytes(r.Live).text, "goal " + goal(r.Goal).text, "rss " + bytes(r.RSS).text}
	if r.Kind != NoLimit && !math.IsNaN(r.Limit) {
		parts = append(parts, fmt.Sprintf("%s %s, %s used", limitName(r.Kind), bytes(r.Limit).text, share(r.Used/r.Limit).text))
	}
	return cut(strings.Join(parts, "  "), m.width)
}

func limitName(k LimitKind) string {
	if k == Gomemlimit {
		return "GOMEMLIMIT"
	}
	return k.String() + " limit"
}

func (m Model) memoryChart(r *Row, height int) []string {
	if len(r.Points) < 2 {
		return []string{m.paint(term.Faint, "the chart begins with the second sample")}
	}
	first := r.Points[0].T
	line := func(name string, style term.Style, dotted bool, f func(*Point) float64) chart.Line {
		l := chart.Line{Name: name, Style: style, Dotted: dotted}
		for i := range r.Points {
			p := &r.Points[i]
			if v := f(p); !math.IsNaN(v) {
				l.Points = append(l.Points, chart.Point{T: p.T.Sub(first).Seconds(), V: v})
			}
		}
		return l
	}
	var b strings.Builder
	// It writes to memory, which does not fail.
	_ = chart.Draw(&b, chart.Options{Width: m.width - 1, Height: height, Format: human.Bytes, Paint: m.Paint},
		line("limit", term.Red, true, func(p *Point) float64 { return p.Limit }),
		line("rss", term.Blue, false, func(p *Point) float64 { return p.RSS }),
		line("goal", term.Faint, true, func(p *Point) float64 { return p.Goal }),
		line("live", term.Green, false, func(p *Point) float64 { return p.Live }))
	if b.Len() == 0 {
		return []string{m.paint(term.Faint, "there is nothing to draw: the process gives no sizes")}
	}
	return strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
}

// gauges are the other quantities, each with its value and its course.
func (m Model) gauges(r *Row) []string {
	var lines []string
	for _, g := range []struct {
		name string
		now  cell
		of   func(*Point) float64
	}{
		{"GC CPU", share(r.GCCPU), func(p *Point) float64 { return p.GCCPU }},
		{"cycles/s", perSecond(r.CycleRate), func(p *Point) float64 { return p.CycleRate }},
		{"pause", short(r.LastPause), func(p *Point) float64 { return p.Pause }},
		{"alloc/s", bytes(r.AllocRate), func(p *Point) float64 { return p.AllocRate }},
		{"goroutines", count(r.Goroutines), func(p *Point) float64 { return p.Goroutines }},
		{"CPU cores", perSecond(r.CPU), func(p *Point) float64 { return p.CPU }},
	} {
		values := make([]float64, len(r.Points))
		top := math.NaN()
		for i := range r.Points {
			values[i] = g.of(&r.Points[i])
			if !(values[i] <= top) && !math.IsNaN(values[i]) {
				top = values[i]
			}
		}
		if g.name == "pause" {
			top = r.MaxPause
		}
		max := ""
		if !math.IsNaN(top) && m.width >= 60 {
			max = "  most " + format(g.name, top)
		}
		const name, value = 11, 8
		n := m.width - name - value - 2 - width(max)
		line := fit(g.name, name, false) + fit(g.now.text, value, true) + "  " + m.paint(term.Cyan, spark(values, n)) + m.paint(term.Faint, max)
		lines = append(lines, line)
	}
	return lines
}

// format writes a gauge's largest value as its newest is written.
func format(name string, v float64) string {
	switch name {
	case "GC CPU":
		return share(v).text
	case "pause":
		return short(v).text
	case "alloc/s":
		return bytes(v).text
	case "goroutines":
		return count(v).text
	}
	return perSecond(v).text
}

func (m Model) findingsTab(r *Row) []string {
	if len(r.Findings) == 0 {
		return m.wrap("Nothing was found in the last minute. heapwright diagnose "+itoa(r.Process.PID)+" --for 5m looks longer, and at profiles too.", "", term.Plain)
	}
	var lines []string
	for i, f := range r.Findings {
		if i > 0 {
			lines = append(lines, "")
		}
		lines = append(lines, m.wrap(fmt.Sprintf("%s %s: %s", f.ID, f.Severity, clean(f.Title)), "", severityStyle(f.Severity))...)
		for _, e := range f.Evidence {
			lines = append(lines, cut("  "+fit(clean(e.Name), min(m.width/2, 42), false)+" "+clean(e.Text), m.width))
		}
		for _, s := range f.Sites {
			lines = append(lines, m.wrap(clean(s.Role+" "+s.String()+"  "+s.Text), "  ", term.Faint)...)
		}
		lines = append(lines, m.wrap("cause: "+clean(f.Cause), "  ", term.Plain)...)
		// A remedy may have lines to copy.
		for j, l := range strings.Split(f.Remedy, "\n") {
			switch {
			case j == 0:
				lines = append(lines, m.wrap("remedy: "+clean(l), "  ", term.Bold)...)
			case strings.HasPrefix(l, " ") || strings.HasPrefix(l, "\t"):
				lines = append(lines, m.paint(term.Bold, cut("  "+clean(l), m.width))) // code, as it is
			default:
				lines = append(lines, m.wrap(clean(l), "  ", term.Bold)...)
			}
		}
	}
	return lines
}

// maxGroups bounds what is shown of a process with a great many kinds of goroutines.
const maxGroups = 200

func (m Model) goroutinesTab(r *Row) []string {
	switch {
	case r.GroupErr != "":
		return m.wrap("The goroutines cannot be read: "+clean(r.GroupErr), "", term.Yellow)
	case r.Groups == nil && !r.Ended.IsZero():
		return []string{"the process ended before its goroutines were read"}
	case r.Groups == nil:
		return []string{"reading the goroutines"}
	}
	g := r.Groups
	var groups []record.GoroutineGroup
	reasons := map[string]int{}
	for _, x := range g.Groups {
		if !x.System {
			groups = append(groups, x)
			reasons[waits(&x)] += x.Count
		}
	}
	slices.SortStableFunc(groups, func(a, b record.GoroutineGroup) int { return cmp.Compare(b.Count, a.Count) })
	names := make([]string, 0, len(reasons))
	for n := range reasons {
		names = append(names, n)
	}
	slices.SortFunc(names, func(a, b string) int {
		return cmp.Or(cmp.Compare(reasons[b], reasons[a]), cmp.Compare(a, b))
	})
	var by []string
	for _, n := range names[:min(len(names), 8)] {
		by = append(by, fmt.Sprintf("%d %s", reasons[n], n))
	}
	lines := m.wrap(fmt.Sprintf("%s: %s", human.Plural(g.Total, "goroutine"), clean(strings.Join(by, ", "))), "", term.Plain)
	if g.Truncated > 0 {
		lines = append(lines, m.wrap(fmt.Sprintf("%d more were not read", g.Truncated), "", term.Faint)...)
	}
	head := fmt.Sprintf("%7s  %s %6s  %s", "COUNT", fit("STATE", 20, false), "WAIT", "CREATED BY, AND WHERE IT STANDS")
	lines = append(lines, m.paint(term.Faint, cut(head, m.width)))
	for _, x := range groups[:min(len(groups), maxGroups)] {
		wait := "-"
		if x.WaitMax > 0 {
			wait = human.Span(x.WaitMax)
		}
		made := "main goroutine"
		if x.CreatedBy.Func != "" {
			made = place(x.CreatedBy)
		}
		lines = append(lines, cut(fmt.Sprintf("%7d  %s %6s  %s", x.Count, fit(clean(waits(&x)), 20, false), wait, clean(made)), m.width))
		if at, ok := own(x.Stack); ok {
			lines = append(lines, m.paint(term.Faint, cut(strings.Repeat(" ", 38)+"at "+clean(place(at)), m.width)))
		}
	}
	if n := len(groups) - maxGroups; n > 0 {
		lines = append(lines, fmt.Sprintf("and %d groups more", n))
	}
	return lines
}

// waits says what a group does.
func waits(x *record.GoroutineGroup) string {
	return cmp.Or(x.WaitReason, x.Status, "unknown")
}

// place is a function and its line; of the file only its name is of use here.
func place(f record.Frame) string {
	s := f.Func
	if i := strings.LastIndexByte(s, '/'); i >= 0 {
		s = s[i+1:]
	}
	if f.Line > 0 {
		file := f.File[strings.LastIndexByte(f.File, '/')+1:]
		s += fmt.Sprintf(" (%s:%d)", file, f.Line)
	}
	return s
}

// own is the innermost frame that is not the runtime's.
func own(stack []record.Frame) (record.Frame, bool) {
	for _, f := range stack {
		if !strings.HasPrefix(f.Func, "runtime.") && !strings.HasPrefix(f.Func, "internal/") && f.Func != "" {
			return f, true
		}
	}
	return record.Frame{}, false
}

func (m Model) settingsTab(r *Row) []string {
	s, p := r.Latest, &r.Process
	var lines []string
	add := func(name, value string) {
		if value != "" {
			lines = append(lines, cut(fit(name, 20, false)+clean(value), m.width))
		}
	}
	field := func(name string, f record.Field, text func(float64) string) {
		if s == nil {
			return
		}
		if v, ok := s.Value(f); ok {
			add(name, text(v))
		}
	}
	field("GOGC", record.FieldGOGCPercent, func(v float64) string { return human.GOGC(int64(v)) })
	field("GOMEMLIMIT", record.FieldGOMEMLIMITBytes, func(v float64) string {
		if v >= math.MaxInt64 {
			return "off"
		}
		return human.Bytes(v)
	})
	field("GOMAXPROCS", record.FieldGOMAXPROCS, func(v float64) string { return count(v).text })
	for _, k := range []string{"GOGC", "GOMEMLIMIT", "GOMAXPROCS", "GODEBUG", "GOTRACEBACK"} {
		if v, ok := p.GoEnv[k]; ok {
			add("started with", k+"="+v)
		}
	}
	if p.MemoryLimitBytes > 0 {
		add("container memory", human.Bytes(float64(p.MemoryLimitBytes)))
	}
	if p.CPUQuotaCores > 0 {
		add("container CPU", fmt.Sprintf("%g cores", p.CPUQuotaCores))
	}
	if p.HostMemoryBytes > 0 {
		add("machine", fmt.Sprintf("%s, %s", human.Bytes(float64(p.HostMemoryBytes)), human.Plural(p.HostCPUs, "CPU")))
	}
	add("executable", p.Exe)
	add("main package", p.MainPackage)
	add("module", strings.TrimSpace(p.Module+" "+p.ModuleVersion))
	var build []string
	for _, b := range []struct {
		is   bool
		word string
	}{{p.Stripped, "stripped"}, {p.PIE, "PIE"}, {p.Static, "static"}, {p.Cgo, "cgo"}, {p.Race, "race detector"}} {
		if b.is {
			build = append(build, b.word)
		}
	}
	add("Go", strings.TrimSpace(p.GoVersion+" "+strings.Join(build, ", ")))
	add("user", p.User)
	add("container", p.ContainerID)
	add("pod", p.PodUID)
	add("cgroup", p.CgroupPath)
	if !p.StartTime.IsZero() {
		add("started", p.StartTime.Format(time.DateTime))
	}
	if s != nil {
		add("heap in use", sizeOf(s, record.FieldHeapInUseBytes))
		add("heap free", sizeOf(s, record.FieldHeapFreeBytes))
		add("heap released", sizeOf(s, record.FieldHeapReleasedBytes))
		add("stacks", sizeOf(s, record.FieldStackInUseBytes))
		add("runtime's own", sizeOf(s, record.FieldRuntimeOtherBytes))
		field("GC cycles", record.FieldGCCycles, func(v float64) string { return count(v).text })
		field("threads", record.FieldThreads, func(v float64) string { return count(v).text })
	}
	return lines
}

func sizeOf(s *record.Sample, f record.Field) string {
	if v, ok := s.Value(f); ok {
		return human.Bytes(v)
	}
	return ""
}
