package top

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/heapwright/heapwright/cmd/internal/diagnose"
	"github.com/heapwright/heapwright/cmd/internal/human"
	"github.com/heapwright/heapwright/cmd/internal/term"
)

// The smallest terminal in which there is anything to see.
const (
	minWidth  = 40
	minHeight = 8
)

// View implements tea.Model.
func (m Model) View() tea.View {
	v := tea.NewView(m.Frame())
	v.AltScreen = true
	return v
}

// Frame is the screen: at most height lines of at most width columns.
func (m Model) Frame() string {
	if m.width <= 0 || m.height <= 0 {
		return ""
	}
	if m.width < minWidth || m.height < minHeight {
		return m.tooSmall()
	}
	var lines []string
	switch {
	case m.help:
		lines = m.helpPage()
	case m.open != 0 && m.find(m.open) != nil:
		lines = m.closer()
	default:
		lines = m.table()
	}
	lines = lines[:min(len(lines), m.height)]
	for i := range lines {
		lines[i] = strings.TrimRight(lines[i], " ")
	}
	return strings.Join(lines, "\n")
}

func (m Model) tooSmall() string {
	text := term.Wrap(fmt.Sprintf("a terminal of %d by %d is the least; this one has %d by %d", minWidth, minHeight, m.width, m.height), "", m.width)
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = cut(lines[i], m.width)
	}
	return strings.Join(lines[:min(len(lines), m.height)], "\n")
}

// tableRows is how many rows the table has room for: the title, the order, the head of
// the table and the keys take a line each.
func (m Model) tableRows() int { return max(m.height-4, 1) }

// bodyRows is how many lines a tab has room for: the title, the tabs and the keys take
// a line each.
func (m Model) bodyRows() int { return max(m.height-3, 1) }

func (m Model) paint(s term.Style, text string) string { return m.Paint.Paint(s, text) }

// sides writes one text at the left and one at the right of a line. The right one
// stays whole.
func (m Model) sides(left, right cell) string {
	n := max(m.width-width(right.text)-1, 0)
	if right.text == "" {
		n = m.width
	}
	line := m.paint(left.style, fit(left.text, n, false))
	if right.text != "" {
		line += " " + m.paint(right.style, right.text)
	}
	return line
}

// state says whether the picture stands still, and of when it is.
func (m Model) state() cell {
	at := ""
	if m.have {
		at = m.shown.Time.Format("15:04:05")
	}
	if m.paused {
		return cell{"PAUSED " + at, term.Yellow}
	}
	return cell{at, term.Faint}
}

func (m Model) table() []string {
	rows := m.rows()
	lines := []string{m.sides(cell{m.title(rows), term.Bold}, m.state()), m.sides(m.second(), cell{})}
	if len(rows) == 0 {
		lines = append(lines, "", m.nothing())
	} else {
		cols, widths := m.columns(rows)
		lines = append(lines, m.head(cols, widths))
		for i := m.top; i < min(m.top+m.tableRows(), len(rows)); i++ {
			lines = append(lines, m.row(&rows[i], cols, widths))
		}
	}
	for len(lines) < m.height-1 {
		lines = append(lines, "")
	}
	if m.typing {
		return append(lines, m.keys("enter keep", "esc clear"))
	}
	return append(lines, m.keys("↑↓ choose", "enter look closer", "/ filter", "s sort", "p pause", "? help", "q quit"))
}

// title counts what is there.
func (m Model) title(rows []Row) string {
	up, bad := 0, map[diagnose.Severity]int{}
	for i := range m.shown.Rows {
		r := &m.shown.Rows[i]
		if r.Ended.IsZero() {
			up++
		}
		if s, ok := diagnose.Worst(r.Findings); ok {
			bad[s]++
		}
	}
	s := "heapwright top"
	if m.Source != "" && m.width >= 100 {
		s += "  " + m.Source
	}
	if !m.have {
		return s
	}
	if m.filter != "" {
		s += fmt.Sprintf("  %d of %s", len(rows), human.Plural(len(m.shown.Rows), "process"))
	} else {
		s += "  " + human.Plural(up, "process")
	}
	for _, sev := range []diagnose.Severity{diagnose.Critical, diagnose.Warning} {
		if bad[sev] > 0 {
			s += fmt.Sprintf(", %d %s", bad[sev], sev)
		}
	}
	return s
}

// second is the line below the title: the filter while it is typed, what went wrong,
// or the order.
func (m Model) second() cell {
	if m.typing {
		return cell{"filter: " + m.filter + "▏", term.Plain}
	}
	if m.shown.Err != nil {
		return cell{"no look for new processes: " + clean(m.shown.Err.Error()), term.Red}
	}
	way := "▾"
	if m.reverse {
		way = "▴"
	}
	s := "sort: " + orders[m.sort].name + " " + way
	if m.filter != "" {
		s += "   filter: " + m.filter + " (esc clears it)"
	}
	if m.shown.Unseen > 0 {
		s += fmt.Sprintf("   %d not readable, perhaps Go: heapwright ps --all", m.shown.Unseen)
	}
	if m.shown.Left > 0 {
		s += fmt.Sprintf("   %d more are not watched", m.shown.Left)
	}
	return cell{s, term.Faint}
}

// nothing says why there is no table.
func (m Model) nothing() string {
	text := "looking for Go processes"
	switch {
	case m.have && m.filter != "" && len(m.shown.Rows) > 0:
		text = "no process matches the filter"
	case m.have && m.Empty != "":
		text = m.Empty
	case m.have:
		text = "no Go processes here"
	}
	return cut(text, m.width)
}

// keys is the last line: what can be pressed, as much as there is room for; the last
// ones, that lead to help and out, before the others.
func (m Model) keys(keys ...string) string {
	const gap = "  "
	for len(keys) > 1 && width(strings.Join(keys, gap)) > m.width {
		drop := max(len(keys)-3, 0)
		keys = append(keys[:drop:drop], keys[drop+1:]...)
	}
	return m.paint(term.Faint, cut(strings.Join(keys, gap), m.width))
}

// A column of the table. Those with the lowest rank stay the longest when there is
// little room.
type column struct {
	head  string
	width int
	right bool
	rank  int
	cell  func(m *Model, r *Row) cell // nil for the finding, which knows its width
}

// The columns that grow: the name, and what is said at the end.
const (
	minName    = 10
	maxName    = 28
	minFinding = 9  // HW2001 +1
	findingAt  = 34 // with some of its title, on a terminal of wide columns
	wide       = 100
)

var columns = []column{
	{"NAME", minName, false, 0, func(_ *Model, r *Row) cell { return cell{clean(r.Process.Name), term.Bold} }},
	{"PID", 7, true, 5, func(_ *Model, r *Row) cell { return cell{text: itoa(r.Process.PID)} }},
	{"GO", 7, false, 12, func(_ *Model, r *Row) cell { return cell{text: clean(human.GoVersion(r.Process.GoVersion))} }},
	{"UP", 4, true, 13, func(_ *Model, r *Row) cell { return cell{text: human.Span(r.age())} }},
	{"LIVE", 6, true, 1, func(_ *Model, r *Row) cell { return bytes(r.Live) }},
	{"GOAL", 6, true, 6, func(_ *Model, r *Row) cell { return goal(r.Goal) }},
	{"RSS", 6, true, 8, func(_ *Model, r *Row) cell { return bytes(r.RSS) }},
	{"LIMIT", 6, true, 9, func(_ *Model, r *Row) cell { return limitCell(r) }},
	{"USED", 9, true, 2, func(m *Model, r *Row) cell { return m.usedCell(r) }},
	{"GC CPU", 6, true, 3, func(_ *Model, r *Row) cell {
		c := share(r.GCCPU)
		if r.GCCPU >= 0.25 {
			c.style = term.Yellow
		}
		return c
	}},
	{"CYC/s", 5, true, 11, func(_ *Model, r *Row) cell { return perSecond(r.CycleRate) }},
	{"GOROUT.", 7, true, 4, func(_ *Model, r *Row) cell { return count(r.Goroutines) }},
	{"ALLOC/s", 7, true, 7, func(_ *Model, r *Row) cell { return bytes(r.AllocRate) }},
	{"CPU", 5, true, 10, func(_ *Model, r *Row) cell { return perSecond(r.CPU) }},
	{"FINDING", minFinding, false, 0, nil},
}

// age is how long a process has been there.
func (r *Row) age() time.Duration {
	end := r.Seen
	if !r.Ended.IsZero() {
		end = r.Ended
	}
	return r.Uptime + end.Sub(r.Found)
}

func limitCell(r *Row) cell {
	if r.Kind == Machine {
		return cell{"-", term.Faint}
	}
	return bytes(r.Limit)
}

// usedCell is a bar and a number: how much of its limit a process uses.
func (m *Model) usedCell(r *Row) cell {
	u := used(r)
	c := share(u)
	if math.IsNaN(u) {
		return c
	}
	if r.Kind == Container {
		switch {
		case u >= 0.95:
			c.style = term.Red
		case u >= 0.85:
			c.style = term.Yellow
		}
	}
	c.text = term.Bar(u, 1, 4) + fit(" "+c.text, 5, true)
	return c
}

// findingCell says the worst that was found, in n columns: its title as well, where
// enough of it can be read.
func (m *Model) findingCell(r *Row, n int) cell {
	const least = 12 // columns of a title
	full := func(short, more string) string {
		if n < width(short)+2+least || more == "" {
			return short
		}
		return short + "  " + more
	}
	switch {
	case !r.Ended.IsZero():
		return cell{full("ended", human.Span(m.shown.Time.Sub(r.Ended))+" ago"), term.Faint}
	case r.Error != "":
		return cell{full("unread", clean(r.Error)), term.Faint}
	case len(r.Findings) == 0:
		return cell{}
	}
	f := r.Findings[0]
	text := f.ID
	if n := len(r.Findings) - 1; n > 0 {
		text += fmt.Sprintf(" +%d", n)
	}
	return cell{full(text, clean(f.Title)), severityStyle(f.Severity)}
}

// mark is one character for the worst finding, since colour alone says nothing.
func mark(r *Row) cell {
	s, ok := diagnose.Worst(r.Findings)
	switch {
	case !r.Ended.IsZero():
		return cell{"×", term.Faint}
	case r.Error != "" && r.Latest == nil:
		return cell{"?", term.Faint}
	case !ok:
		return cell{text: " "}
	case s == diagnose.Critical:
		return cell{"‼", term.Red}
	case s == diagnose.Warning:
		return cell{"!", term.Yellow}
	}
	return cell{"·", term.Cyan}
}

func severityStyle(s diagnose.Severity) term.Style {
	switch s {
	case diagnose.Critical:
		return term.Red
	case diagnose.Warning:
		return term.Yellow
	}
	return term.Cyan
}

// lead is what stands before the columns: the chosen row's arrow, and the mark.
const lead = 3

// columns chooses those that fit, and how wide the ones are that grow.
func (m Model) columns(rows []Row) ([]column, []int) {
	chosen := slices.Clone(columns)
	if m.width >= wide {
		chosen[len(chosen)-1].width = findingAt
	}
	for total(chosen) > m.width {
		worst := 0
		for i, c := range chosen {
			if c.rank > chosen[worst].rank {
				worst = i
			}
		}
		if chosen[worst].rank == 0 {
			break
		}
		chosen = slices.Delete(chosen, worst, worst+1)
	}
	widths := make([]int, len(chosen))
	for i, c := range chosen {
		widths[i] = c.width
	}
	spare := max(m.width-total(chosen), 0)
	name := minName
	for i := range rows {
		name = max(name, width(clean(rows[i].Process.Name)))
	}
	more := min(min(name, maxName)-minName, spare)
	widths[0] += more
	widths[len(widths)-1] += spare - more
	return chosen, widths
}

func total(cols []column) int {
	n := lead
	for _, c := range cols {
		n += c.width + 1
	}
	return n - 1
}

func (m Model) head(cols []column, widths []int) string {
	var b strings.Builder
	b.WriteString(strings.Repeat(" ", lead))
	for i, c := range cols {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(fit(c.head, widths[i], c.right))
	}
	return m.paint(term.Faint, b.String())
}

func (m Model) row(r *Row, cols []column, widths []int) string {
	var b strings.Builder
	chosen := r.Process.PID == m.cursor
	arrow := cell{text: " "}
	if chosen {
		arrow = cell{"▸", term.Bold}
	}
	k := mark(r)
	b.WriteString(m.paint(arrow.style, arrow.text) + m.paint(k.style, k.text) + " ")
	for i, c := range cols {
		if i > 0 {
			b.WriteByte(' ')
		}
		var x cell
		if c.cell != nil {
			x = c.cell(&m, r)
		} else {
			x = m.findingCell(r, widths[i])
		}
		text := fit(x.text, widths[i], c.right)
		switch {
		case !r.Ended.IsZero():
			x.style = term.Faint
		case chosen && x.style == term.Plain:
			x.style = term.Bold
		}
		b.WriteString(m.paint(x.style, text))
	}
	return b.String()
}

func (m Model) helpPage() []string {
	lines := []string{m.sides(cell{"heapwright top: keys", term.Bold}, cell{}), ""}
	for _, k := range [][2]string{
		{"↑ ↓ j k", "choose a process, or scroll"},
		{"PgUp PgDn g G", "a page, or to the first and the last"},
		{"enter l", "look closer; esc or h goes back"},
		{"tab 1 2 3 4", "overview, findings, goroutines, settings"},
		{"[ ]", "the process before, and the one after"},
		{"/", "filter by name, module, user, finding or PID"},
		{"s S r", "next order, the one before, the other way round"},
		{"p space", "pause the picture; sampling goes on"},
		{"ctrl+z", "put it aside"},
		{"q ctrl+c", "quit"},
	} {
		lines = append(lines, cut("  "+fit(k[0], 15, false)+k[1], m.width))
	}
	lines = append(lines, "")
	for _, text := range []string{
		"‼ critical  ! warning  · worth knowing  ? cannot be read  × ended",
		"USED is of the container's limit, or of GOMEMLIMIT where there is none. GC CPU is the collector's share of the time that processors were busy. heapwright explain ID says more of a finding.",
	} {
		lines = append(lines, strings.Split(term.Wrap(text, "  ", m.width), "\n")...)
	}
	if len(lines) > m.height-1 {
		lines = lines[:m.height-1]
	}
	for len(lines) < m.height-1 {
		lines = append(lines, "")
	}
	return append(lines, m.keys("? back"))
}
