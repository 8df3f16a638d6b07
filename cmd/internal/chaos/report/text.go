package report

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
	"github.com/heapwright/heapwright/cmd/internal/human"
	"github.com/heapwright/heapwright/cmd/internal/term"
	"github.com/heapwright/heapwright/cmd/internal/texttab"
)

// Bounds of what a terminal shows; the page and --json have more.
const (
	maxHappened = 14 // events
	maxRows     = 24 // of a table
	prose       = 80 // columns of running text where lines may be of any width
)

// more is what to do to see what was left out.
const more = "--json and the HTML report have all"

// A printer writes text, and remembers the first error.
type printer struct {
	w     io.Writer
	width int // of the terminal, in columns; 0 is any
	paint term.Painter
	err   error
}

func (p *printer) printf(format string, args ...any) {
	if p.err == nil {
		_, p.err = fmt.Fprintf(p.w, format, args...)
	}
}

// columns is how wide running text is.
func (p *printer) columns() int {
	if p.width <= 0 {
		return prose
	}
	return max(p.width, 24)
}

// text writes a paragraph behind something that stands first.
func (p *printer) text(first, s string) {
	indent := strings.Repeat(" ", term.Width(first))
	p.behind(first, indent, s)
}

// behind writes a paragraph behind something that may be painted.
func (p *printer) behind(first, indent, s string) {
	p.printf("%s%s\n", first, strings.TrimPrefix(term.Wrap(s, indent, p.columns()), indent))
}

func (p *printer) faint(s string) {
	p.printf("%s\n", p.paint.Paint(term.Faint, term.Wrap(s, "", p.columns())))
}

func (p *printer) head(s string) { p.printf("\n%s\n", p.paint.Paint(term.Bold, s)) }

func (p *printer) table(t *texttab.Table) {
	if p.err == nil {
		p.err = t.Write(p.w, p.width, p.paint)
	}
}

// Text writes a report for a terminal that is so many columns wide, 0 for any.
func Text(w io.Writer, r *chaos.Run, v *chaos.Verdict, width int, paint term.Painter) error {
	o := of(r, v)
	p := &printer{w: w, width: width, paint: paint}
	p.verdict(o)
	p.timeline(o)
	p.happened(o)
	p.faults(o)
	p.hypothesis(o)
	p.recovery(o)
	p.margin(o)
	p.score(o)
	p.notes(o)
	return p.err
}

func outcomeStyle(o chaos.Outcome) term.Style {
	switch o {
	case chaos.Pass:
		return term.Green
	case chaos.Deviated, chaos.Aborted:
		return term.Red
	}
	return term.Yellow
}

// verdict writes the line that a person in a hurry reads, and what it is of.
func (p *printer) verdict(o *outcome) {
	w := word(o.verdict.Outcome)
	p.behind(p.paint.Paint(term.Bold, p.paint.Paint(outcomeStyle(w), string(w)))+"  ", strings.Repeat(" ", len(w)+2), cmp.Or(sentence(o.reason()), o.name()))
	if s := o.rolledBack(); s != "" {
		p.text(strings.Repeat(" ", len(w)+2), s)
	}
	p.faint(o.name() + ": " + strings.Join(o.about(), ", "))
}

// rolledBack says of a run that was ended how soon all was undone.
func (o *outcome) rolledBack() string {
	for _, e := range o.events {
		if e.Kind != chaos.EventAbort {
			continue
		}
		s := fmt.Sprintf("Ended at %s", span(e.At))
		if e.Fault >= 0 {
			s += ", in " + o.fault(e.Fault)
		}
		if why := clean(e.Text); why != "" && !strings.Contains(strings.ToLower(o.reason()), strings.ToLower(why)) {
			s += ", because " + why
		}
		if finite(e.Value) && e.Value > 0 {
			s += "; everything was undone in " + amount(e.Value, chaos.Seconds)
		}
		return sentence(s)
	}
	return ""
}

// about is what was stressed, where, and for how long.
func (o *outcome) about() []string {
	var out []string
	add := func(s string) {
		if s != "" {
			out = append(out, s)
		}
	}
	target := term.Cut(clean(o.Target.Name), maxName)
	if o.Target.PID > 0 {
		target = strings.TrimSpace(target + fmt.Sprintf(" (PID %d)", o.Target.PID))
	}
	add(target)
	if v := clean(o.Target.GoVersion); v != "" {
		add("Go " + term.Cut(human.GoVersion(v), 24))
	}
	if l := o.Target.MemoryLimitBytes; l > 0 {
		s := "limit " + bytes(float64(l))
		if o.Version > 0 {
			s += fmt.Sprintf(" by cgroups v%d", o.Version)
		}
		add(s)
	}
	if o.Machine.CPUs > 0 {
		add(human.Plural(o.Machine.CPUs, "CPU"))
	}
	if n := len(o.Plan.Faults); n > 0 {
		add(human.Plural(n, "fault"))
	}
	if o.end > 0 {
		add(span(o.end))
	}
	if o.Interrupted {
		add("interrupted")
	}
	return out
}

// sentence gives text a full stop.
func sentence(s string) string {
	if s == "" || strings.HasSuffix(s, ".") || strings.HasSuffix(s, "!") || strings.HasSuffix(s, "?") {
		return s
	}
	return s + "."
}

// happened writes the events that matter most, in their order.
func (p *printer) happened(o *outcome) {
	events := o.telling(maxHappened)
	if len(events) == 0 {
		return
	}
	p.head("What happened")
	tab := texttab.Table{Columns: []texttab.Column{{Head: "AT", Right: true}, {Head: ""}, {Head: "FAULT", Drop: 1, Min: 8}, {Head: "WHAT", Min: 30}}}
	for _, e := range events {
		fault := "-"
		if e.Fault >= 0 {
			fault = o.fault(e.Fault)
		}
		sign, _ := letter(e.Kind)
		style := term.Plain
		switch e.Kind {
		case chaos.EventAbort, chaos.EventKill, chaos.EventGone, chaos.EventBroken:
			style = term.Red
		}
		tab.Row(texttab.Cell{Text: span(e.At)}, texttab.Cell{Text: string(sign), Style: style}, texttab.Cell{Text: fault}, texttab.Cell{Text: o.say(e)})
	}
	p.table(&tab)
	if n := len(o.telling(len(o.events))) - len(events); n > 0 {
		p.faint(fmt.Sprintf("%s of less weight; %s.", human.Plural(n, "more event"), more))
	}
}

// rank is how much an event matters; what is 0 is drawn, or stands in the notes.
func (o *outcome) rank(e chaos.Event) int {
	switch e.Kind {
	case chaos.EventAbort, chaos.EventGone, chaos.EventKill:
		return 6
	case chaos.EventBroken:
		return 5
	case chaos.EventState:
		return 4
	case chaos.EventFinding:
		if o.names(e) {
			return 4
		}
		return 1
	case chaos.EventHolds, chaos.EventRecover:
		return 3
	case chaos.EventRestored:
		return 1
	}
	return 0
}

// names reports whether a finding names the fault that it came with.
func (o *outcome) names(e chaos.Event) bool {
	v, ok := o.result(e.Fault)
	id, _, _ := strings.Cut(e.Text, " ")
	return ok && id != "" && slices.Contains(v.Named, id)
}

// telling are the events that matter most, at most so many, by time. What goes back and
// forth is told once.
func (o *outcome) telling(n int) []chaos.Event {
	var list []chaos.Event
	for _, e := range o.events {
		if o.rank(e) > 0 {
			list = append(list, e)
		}
	}
	list = folded(list)
	slices.SortStableFunc(list, func(a, b chaos.Event) int { return cmp.Compare(o.rank(b), o.rank(a)) })
	list = list[:min(len(list), n)]
	slices.SortStableFunc(list, func(a, b chaos.Event) int { return cmp.Compare(a.At, b.At) })
	return list
}

// folded makes one event of many in a row that only go back and forth, and one of all
// that recovered from a fault.
func folded(list []chaos.Event) []chaos.Event {
	const few = 4
	list = recoveredOnce(list)
	flaps := func(k chaos.EventKind) int {
		switch k {
		case chaos.EventState:
			return 1
		case chaos.EventBroken, chaos.EventHolds:
			return 2
		}
		return 0
	}
	var out []chaos.Event
	for i := 0; i < len(list); {
		j := i + 1
		for kind := flaps(list[i].Kind); kind > 0 && j < len(list) && flaps(list[j].Kind) == kind && list[j].Fault == list[i].Fault; {
			j++
		}
		if j-i <= few {
			out = append(out, list[i:j]...)
		} else {
			e, last := list[i], list[j-1]
			e.To = last.To
			e.Text = strings.TrimSpace(clean(e.Text) + fmt.Sprintf(" (%d changes until %s)", j-i, span(last.At)))
			out = append(out, e)
		}
		i = j
	}
	return out
}

// recoveredOnce leaves of what recovered from a fault the last, which says all.
func recoveredOnce(list []chaos.Event) []chaos.Event {
	texts, left := map[int][]string{}, map[int]int{}
	for _, e := range list {
		if e.Kind == chaos.EventRecover {
			left[e.Fault]++
			if what := strings.ReplaceAll(clean(e.Text), "_", " "); what != "" && !slices.Contains(texts[e.Fault], what) && len(texts[e.Fault]) < 12 {
				texts[e.Fault] = append(texts[e.Fault], what)
			}
		}
	}
	var out []chaos.Event
	for _, e := range list {
		if e.Kind == chaos.EventRecover {
			if left[e.Fault]--; left[e.Fault] > 0 {
				continue
			}
			e.Text = strings.Join(texts[e.Fault], ", ")
		}
		out = append(out, e)
	}
	return out
}

// letter stands for an event where there is room for no more, and text is what it
// stands for.
func letter(k chaos.EventKind) (letter rune, text string) {
	switch k {
	case chaos.EventAbort:
		return 'A', "aborted"
	case chaos.EventKill:
		return 'K', "killed for memory"
	case chaos.EventGone:
		return 'X', "target ended"
	case chaos.EventBroken:
		return '!', "hypothesis broken"
	case chaos.EventState:
		return 'g', "guard"
	case chaos.EventFinding:
		return 'd', "diagnosed"
	case chaos.EventHolds:
		return 'h', "holds again"
	case chaos.EventRecover:
		return 'r', "recovered"
	}
	return '·', "note"
}

// say is an event in words.
func (o *outcome) say(e chaos.Event) string {
	text := clean(e.Text)
	switch e.Kind {
	case chaos.EventAbort:
		if finite(e.Value) && e.Value > 0 {
			return "aborted, undone in " + amount(e.Value, chaos.Seconds) + prefix(": ", text)
		}
		return "aborted" + prefix(": ", text)
	case chaos.EventKill:
		return cmp.Or(text, "the kernel killed a process for memory")
	case chaos.EventGone:
		return "the target ended" + prefix(": ", text)
	case chaos.EventBroken:
		return "broken" + prefix(": ", text)
	case chaos.EventHolds:
		return "holds again" + prefix(": ", text)
	case chaos.EventState:
		return "guard " + cmp.Or(clean(e.From), "?") + " → " + cmp.Or(clean(e.To), "?") + prefix(": ", text)
	case chaos.EventFinding:
		return "diagnosed" + prefix(": ", text)
	case chaos.EventRecover:
		return "recovered" + prefix(": ", strings.ReplaceAll(text, "_", " "))
	case chaos.EventRestored:
		return "restored" + prefix(": ", text)
	}
	return cmp.Or(text, clean(string(e.Kind)))
}

// faults writes what became of each fault, and how the target took it.
func (p *printer) faults(o *outcome) {
	n := len(o.Plan.Faults)
	if n == 0 {
		return
	}
	p.head("Faults")
	tab := texttab.Table{Columns: []texttab.Column{{Head: "FAULT", Min: 18}, {Head: "KIND", Drop: 9}, {Head: "PEAK", Right: true}, {Head: "SEEN", Right: true}, {Head: "ALIVE"},
		{Head: "DETECT", Right: true, Drop: 3}, {Head: "DEGRADE", Right: true, Drop: 5}, {Head: "DEVIATE", Right: true, Drop: 4}, {Head: "ABORT", Right: true, Drop: 6}, {Head: "RECOVER", Right: true}}}
	var rows []faultRow
	for i := range min(n, maxRows) {
		rows = append(rows, o.row(i))
	}
	kinds := slices.ContainsFunc(rows, func(f faultRow) bool { return f.Kind != "-" })
	if !kinds { // their names say it
		tab.Columns = slices.Delete(tab.Columns, 1, 2)
	}
	if slices.ContainsFunc(rows, func(f faultRow) bool { return f.Left != "-" }) {
		tab.Columns = append(tab.Columns, texttab.Column{Head: "LEFT", Drop: 1})
	}
	for i, f := range rows {
		name := f.Name
		for _, why := range f.Why {
			name += tab.Note(sentence(why))
		}
		bad := func(on bool) term.Style {
			if on {
				return term.Red
			}
			return term.Plain
		}
		cells := []texttab.Cell{{Text: fmt.Sprintf("%d %s", i+1, name)}}
		if kinds {
			cells = append(cells, texttab.Cell{Text: f.Kind, Style: term.Faint})
		}
		tab.Row(append(cells, texttab.Cell{Text: f.Peak}, texttab.Cell{Text: f.Seen, Style: bad(f.Seen == "no")},
			texttab.Cell{Text: f.Survived, Style: bad(f.Survived == "NO")}, texttab.Cell{Text: f.Detected}, texttab.Cell{Text: f.Degraded}, texttab.Cell{Text: f.Deviated, Style: term.Red}, texttab.Cell{Text: f.Aborted, Style: term.Red},
			texttab.Cell{Text: f.Recovered, Style: bad(f.Recovered == "never")}, texttab.Cell{Text: f.Left, Style: term.Red})...)
	}
	p.table(&tab)
	if n > maxRows {
		p.faint(fmt.Sprintf("%s; %s.", human.Plural(n-maxRows, "more fault"), more))
	}
	s, clean := o.leftText()
	style := term.Red
	if clean {
		style = term.Faint
	}
	p.printf("%s\n", p.paint.Paint(style, term.Wrap(s, "", p.columns())))
}

// A faultRow is what a table has of a fault.
type faultRow struct {
	Name, Kind, Peak, Seen, By, Survived, Detected, Degraded, Deviated, Aborted, Recovered, Left string
	Why                                                                                          []string
}

func (o *outcome) row(i int) faultRow {
	k := o.kind(i)
	f := faultRow{Name: o.fault(i), Kind: clean(string(k.Kind)), Peak: "-", Seen: "-", Survived: "-", Detected: "-", Degraded: "-", Deviated: "-", Aborted: "-", Recovered: "-", Left: "-"}
	if f.Kind == f.Name {
		f.Kind = "-"
	}
	d, ran := o.done(i)
	v, judged := o.result(i)
	if ran {
		f.Seen, f.By, f.Left = "no", clean(d.By), "-"
		if d.Happened || d.Peak != 0 {
			f.Peak = amount(d.Peak, k.Unit)
		}
		if d.Happened {
			f.Seen = "yes"
			if d.By != "" {
				f.Seen = amount(d.Measured, k.Unit)
			}
		} else if v.Wrong == "" {
			f.Why = append(f.Why, "it did not happen"+prefix(", as measured by ", f.By))
		}
		if !d.Verified {
			f.Left = "not verified"
		}
		if !d.Contained {
			f.Why = append(f.Why, "it reached outside the cgroup of the target")
		}
		if d.Err != "" {
			f.Why = append(f.Why, clean(d.Err))
		}
		if d.KilledOurs > 0 {
			f.Why = append(f.Why, fmt.Sprintf("the kernel killed %s of ours", human.Plural(d.KilledOurs, "process")))
		}
	}
	if !judged {
		if !ran {
			f.Seen = "not run"
		}
		return f
	}
	if ran || v.Happened {
		f.Survived = "NO"
		if v.Survived {
			f.Survived = "yes"
		}
	}
	f.Detected, f.Degraded, f.Deviated, f.Aborted, f.Recovered = spanOr(v.Detected), spanOr(v.Degraded), spanOr(v.Deviated), spanOr(v.Aborted), spanOr(v.Recovered)
	if v.Recovered == nil && slices.ContainsFunc(v.Recovery, func(r chaos.Recovered) bool { return r.Known && r.Took == nil }) {
		f.Recovered = "never"
	}
	if v.Wrong != "" {
		f.Why = append(f.Why, clean(v.Wrong))
	}
	return f
}

// leftText says what was still there at the end, and whether that is nothing.
func (o *outcome) leftText() (string, bool) {
	if len(o.Left) == 0 {
		if slices.ContainsFunc(o.Run.Faults, func(d chaos.Done) bool { return !d.Verified }) {
			return "Nothing is known to be left behind; not all could be read back.", false
		}
		if len(o.Run.Faults) == 0 {
			return "Nothing was done.", true
		}
		return "Nothing was left behind: all that was undone was read back.", true
	}
	var names []string
	for _, l := range o.Left[:min(len(o.Left), 8)] {
		names = append(names, term.Cut(clean(l), 120))
	}
	s := "Left behind: " + strings.Join(names, "; ")
	if n := len(o.Left) - len(names); n > 0 {
		s += fmt.Sprintf("; and %d more", n)
	}
	return sentence(s), false
}

// A criterionRow is how one criterion of the hypothesis fared in all of the run.
type criterionRow struct {
	Text, Before, During, Tolerated, After string
	Held                                   string // held, BROKEN, not looked at
	Where                                  string // where it was broken, and for how long
}

// criteria gathers the results by criterion, in the order of the plan.
func (o *outcome) criteria() []criterionRow {
	type cell struct {
		chaos.CriterionResult
		any bool
	}
	type sum struct {
		c                     chaos.Criterion
		before, during, after cell
		where                 []string
		broken, looked        bool
	}
	var list []*sum
	byText := map[string]*sum{}
	for _, r := range o.verdict.Criteria {
		key := string(r.Criterion.Metric) + "/" + o.bound(r.Criterion)
		s := byText[key]
		if s == nil {
			s = &sum{c: r.Criterion}
			byText[key], list = s, append(list, s)
		}
		to := &s.after
		switch r.Phase {
		case chaos.PhaseBefore:
			to = &s.before
		case chaos.PhaseFault:
			to = &s.during
		}
		if r.Unknown {
			continue
		}
		s.looked = true
		low := r.Criterion.AtMost == nil
		if !to.any || !r.Held && to.Held || r.Held == to.Held && (low && r.Worst < to.Worst || !low && r.Worst > to.Worst) {
			*to = cell{r, true}
		}
		if !r.Held {
			s.broken = true
			in := "before the first fault"
			switch {
			case r.Phase == chaos.PhaseFault:
				in = "in " + o.fault(r.Fault)
			case r.Phase != chaos.PhaseBefore && r.Fault >= 0:
				in = "after " + o.fault(r.Fault)
			case r.Phase != chaos.PhaseBefore:
				in = "after the last fault"
			}
			s.where = append(s.where, span(r.Broken)+" "+in)
		}
	}
	var out []criterionRow
	for _, s := range list {
		row := criterionRow{Text: o.bound(s.c), Before: "-", During: "-", Tolerated: "-", After: "-", Held: "held"}
		show := func(c cell) string {
			if !c.any {
				return "-"
			}
			text := measure(s.c.Metric, c.Worst)
			if !c.Held {
				text = "✗ " + text
			}
			return text
		}
		row.Before, row.During, row.After = show(s.before), show(s.during), show(s.after)
		if s.during.any {
			row.Tolerated = measure(s.c.Metric, s.during.Bound)
		}
		switch {
		case s.broken:
			row.Held, row.Where = "BROKEN", strings.Join(s.where[:min(len(s.where), 4)], ", ")
		case !s.looked:
			row.Held = "not seen"
		}
		out = append(out, row)
	}
	return out
}

// hypothesis writes how each criterion fared before, during and after.
func (p *printer) hypothesis(o *outcome) {
	rows := o.criteria()
	if len(rows) == 0 {
		return
	}
	p.head("Hypothesis, worst of each time")
	tab := texttab.Table{Columns: []texttab.Column{{Head: "CRITERION", Min: 18}, {Head: "BEFORE", Right: true, Drop: 2}, {Head: "DURING", Right: true}, {Head: "TOLERATED", Right: true, Drop: 1}, {Head: "AFTER", Right: true}, {Head: "VERDICT"}}}
	for _, r := range rows[:min(len(rows), maxRows)] {
		style := term.Green
		verdict := r.Held
		switch r.Held {
		case "BROKEN":
			style = term.Red
			verdict += tab.Note("Broken for " + r.Where + ".")
		case "held":
		default:
			style = term.Yellow
		}
		tab.Row(texttab.Cell{Text: r.Text}, texttab.Cell{Text: r.Before}, texttab.Cell{Text: r.During}, texttab.Cell{Text: r.Tolerated, Style: term.Faint}, texttab.Cell{Text: r.After}, texttab.Cell{Text: verdict, Style: style})
	}
	p.table(&tab)
	if n := len(rows) - maxRows; n > 0 {
		p.faint(fmt.Sprintf("%d more criteria; %s.", n, more))
	}
}

// A slowRow is a criterion of the recovery that took long, or was not met.
type slowRow struct{ Fault, What, Before, After, Bound, Took string }

// slow are the criteria of the recovery that took half of the time that they have, or
// were not met; unknown are those that could not be measured.
func (o *outcome) slow() (rows []slowRow, unknown []string) {
	for _, f := range o.verdict.Faults {
		for _, r := range f.Recovery {
			what := strings.ReplaceAll(clean(r.What), "_", " ")
			if m, ok := recoveredMetric(r.What); ok {
				what = title(m)
			}
			if !r.Known {
				if !slices.Contains(unknown, what) && len(unknown) < maxRows {
					unknown = append(unknown, what)
				}
				continue
			}
			within := o.Plan.Recovery.Within
			if r.What == "working_set" && o.Plan.Recovery.Memory > 0 {
				within = o.Plan.Recovery.Memory
			}
			if r.Took != nil && (within <= 0 || *r.Took < within/2) {
				continue
			}
			row := slowRow{Fault: o.fault(f.Fault), What: what, Before: recovered(r.What, r.Before), After: recovered(r.What, r.After), Bound: recovered(r.What, r.Bound), Took: "never"}
			if r.Took != nil {
				row.Took = span(*r.Took)
			}
			rows = append(rows, row)
		}
	}
	return rows, unknown
}

// recovered writes a value of a criterion of the recovery.
func recovered(what string, v float64) string {
	switch what {
	case "errors":
		return percent(v)
	case "ready":
		return measure(chaos.Ready, v)
	case "guard":
		return stateName(v)
	}
	if m, ok := recoveredMetric(what); ok {
		return measure(m, v)
	}
	return amount(v, recoveryUnit(what))
}

// recoveredMetric is the metric that a criterion of the recovery is of, where it is none
// of the recovery's own.
func recoveredMetric(what string) (chaos.Metric, bool) {
	info, ok := chaos.Metric(what).Info()
	return info.Metric, ok && what != "goroutines"
}

// recovery writes what came back late, or not.
func (p *printer) recovery(o *outcome) {
	rows, unknown := o.slow()
	if len(rows) == 0 {
		return
	}
	p.head("Recovery that took long, or did not come")
	tab := texttab.Table{Columns: []texttab.Column{{Head: "FAULT", Min: 8}, {Head: "WHAT"}, {Head: "BEFORE", Right: true}, {Head: "AFTER", Right: true}, {Head: "BOUND", Right: true}, {Head: "TOOK", Right: true}}}
	for _, r := range rows[:min(len(rows), maxRows)] {
		style := term.Plain
		if r.Took == "never" {
			style = term.Red
		}
		tab.Row(texttab.Cell{Text: r.Fault}, texttab.Cell{Text: r.What}, texttab.Cell{Text: r.Before}, texttab.Cell{Text: r.After}, texttab.Cell{Text: r.Bound}, texttab.Cell{Text: r.Took, Style: style})
	}
	p.table(&tab)
	if n := len(rows) - maxRows; n > 0 {
		p.faint(fmt.Sprintf("%d more; %s.", n, more))
	}
	if len(unknown) > 0 {
		p.faint("Not measured: " + strings.Join(unknown, ", ") + ".")
	}
}

// score writes what our own diagnosis made of the faults.
func (p *printer) score(o *outcome) {
	s := o.verdict.Score
	if s == nil {
		return
	}
	p.head("Did the diagnosis name what was injected")
	p.text("", scoreText(s))
	tab := texttab.Table{Columns: []texttab.Column{{Head: "FAULT", Min: 8}, {Head: "NAMED BY", Min: 10}, {Head: "AFTER", Right: true, Drop: 2}, {Head: "WOULD NAME IT", Drop: 1, Min: 8}, {Head: "OTHERS", Drop: 3, Min: 8}}}
	for i := range min(len(o.Plan.Faults), maxRows) {
		row, ok := o.namedRow(i)
		if !ok {
			continue
		}
		style := term.Plain
		if row.Named == "nothing" {
			style = term.Yellow
		}
		tab.Row(texttab.Cell{Text: row.Fault}, texttab.Cell{Text: row.Named, Style: style}, texttab.Cell{Text: row.After}, texttab.Cell{Text: row.Expected, Style: term.Faint}, texttab.Cell{Text: row.Others, Style: term.Faint})
	}
	p.table(&tab)
}

// scoreText is the score in a sentence.
func scoreText(s *chaos.Score) string {
	text := fmt.Sprintf("It named %d of %d that rules exist for", s.Named, s.Faults)
	if s.NoRule > 0 {
		text += fmt.Sprintf("; no rule is for %d", s.NoRule)
	}
	if s.False > 0 {
		text += fmt.Sprintf("; %s named one before there was any", human.Plural(s.False, "finding"))
	}
	return text + "."
}

// A namedRow is which findings named a fault.
type namedRow struct{ Fault, Named, After, Expected, Others string }

func (o *outcome) namedRow(i int) (namedRow, bool) {
	v, ok := o.result(i)
	if !ok || !v.Happened {
		return namedRow{}, false
	}
	row := namedRow{Fault: o.fault(i), Named: ids(v.Named), After: "-", Expected: ids(v.Expected), Others: ids(v.Others)}
	if row.Named == "-" {
		row.Named = "nothing"
		if len(v.Expected) == 0 {
			row.Named = "no rule is for it"
		}
	}
	for _, f := range o.Findings {
		if f.Fault == i && f.First > 0 && len(v.Named) > 0 {
			row.After = span(f.First)
		}
	}
	return row, true
}

func ids(list []string) string {
	var out []string
	for _, s := range list[:min(len(list), 12)] {
		if s = term.Cut(clean(s), 24); s != "" {
			out = append(out, s)
		}
	}
	if len(out) == 0 {
		return "-"
	}
	return strings.Join(out, ", ")
}

// notes writes what else is to be known.
func (p *printer) notes(o *outcome) {
	list := o.remarks()
	if len(list) == 0 {
		return
	}
	p.head("Notes")
	for _, n := range list[:min(len(list), maxRows)] {
		p.text("- ", sentence(n))
	}
	if n := len(list) - maxRows; n > 0 {
		p.faint(fmt.Sprintf("%d more; %s.", n, more))
	}
}

// remarks are what was noted on the way, what could not be diagnosed and what is not
// there to be looked at.
func (o *outcome) remarks() []string {
	var out []string
	add := func(s string) {
		if s != "" && !slices.Contains(out, s) && len(out) < maxEvents {
			out = append(out, s)
		}
	}
	if r := clean(o.Refused); r != "" && !strings.Contains(o.reason(), strings.TrimSuffix(r, ".")) {
		add("Refused: " + r)
	}
	for _, e := range o.events {
		if e.Kind == chaos.EventNote {
			add(clean(e.Text))
		}
	}
	for _, f := range o.Findings {
		if e := clean(f.Err); e != "" {
			where := "before the first fault"
			if f.Fault >= 0 {
				where = "in " + o.fault(f.Fault)
			}
			add("No diagnosis " + where + ": " + e)
		}
	}
	for _, d := range o.Run.Faults {
		if by := clean(d.By); by != "" && d.Happened {
			undone := ""
			if d.Undo > 0 && d.Undo < time.Hour {
				undone = ", and undone in " + span(d.Undo)
			}
			add(fmt.Sprintf("%s was measured by %s%s", o.fault(d.Fault), by, undone))
		}
	}
	return out
}
