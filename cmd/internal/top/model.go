package top

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	tea "charm.land/bubbletea/v2"

	"github.com/heapwright/heapwright/cmd/internal/term"
)

// A Model is what a person sees, and what they asked for. The zero value, with a
// size, waits for the first round.
type Model struct {
	Paint  term.Painter
	Source string        // what is watched, for the title: "this machine"
	Empty  string        // what to say when there is no process
	Focus  func(pid int) // asks for the goroutines of a process; nil for nobody to ask

	width, height int
	latest, shown Round
	have          bool // there was a round
	paused        bool
	sort          int // of orders
	reverse       bool
	filter        string
	typing        bool // the filter
	cursor        int  // PID of the chosen row
	top           int  // the first row on screen
	open          int  // PID of the process that is looked at closer, 0 for none
	tab           tab
	scroll        int // lines of the tab that are above the screen
	help          bool
}

// A tab is a page about one process.
type tab int

const (
	overview tab = iota
	findings
	goroutines
	settings
	tabs // how many there are
)

func (t tab) String() string {
	return [...]string{"overview", "findings", "goroutines", "settings"}[t]
}

// An order sorts rows; less is first.
type order struct {
	name string
	cmp  func(a, b *Row) int
}

var orders = []order{
	{"trouble", most(func(r *Row) float64 { return r.Trouble })},
	{"name", func(a, b *Row) int { return strings.Compare(a.Process.Name, b.Process.Name) }},
	{"pid", func(a, b *Row) int { return cmp.Compare(a.Process.PID, b.Process.PID) }},
	{"live", most(func(r *Row) float64 { return r.Live })},
	{"goal", most(func(r *Row) float64 { return r.Goal })},
	{"rss", most(func(r *Row) float64 { return r.RSS })},
	{"used", most(used)},
	{"gc cpu", most(func(r *Row) float64 { return r.GCCPU })},
	{"goroutines", most(func(r *Row) float64 { return r.Goroutines })},
	{"alloc/s", most(func(r *Row) float64 { return r.AllocRate })},
}

// Orders are the names of what rows can be sorted by.
func Orders() []string {
	var out []string
	for _, o := range orders {
		out = append(out, o.name)
	}
	return out
}

// Sorted is the model with another order; false when there is none of that name.
func (m Model) Sorted(name string) (Model, bool) {
	m.sort = slices.IndexFunc(orders, func(o order) bool { return o.name == name })
	return m, m.sort >= 0
}

// most puts the largest first, and what is not known last.
func most(f func(*Row) float64) func(a, b *Row) int {
	of := func(r *Row) float64 {
		if v := f(r); !math.IsNaN(v) {
			return v
		}
		return math.Inf(-1)
	}
	return func(a, b *Row) int { return cmp.Compare(of(b), of(a)) }
}

// used is the share of the limit; the machine's memory is not a limit of the process.
func used(r *Row) float64 {
	if r.Kind == Machine {
		return math.NaN()
	}
	return r.Used / r.Limit
}

// Init implements tea.Model.
func (m Model) Init() tea.Cmd { return nil }

// Update implements tea.Model.
func (m Model) Update(msg tea.Msg) (tea.Model, tea.Cmd) {
	before := m.open
	var cmd tea.Cmd
	switch msg := msg.(type) {
	case tea.WindowSizeMsg:
		m.width, m.height = msg.Width, msg.Height
	case Round:
		m.latest, m.have = msg, true
		if !m.paused {
			m.shown = msg
		}
	case tea.KeyPressMsg:
		m, cmd = m.key(msg)
	case tea.PasteMsg:
		if m.typing {
			m = m.typed(msg.Content)
		}
	}
	m = m.settle()
	if m.open != before && m.Focus != nil {
		focus, pid := m.Focus, m.open
		cmd = tea.Batch(cmd, func() tea.Msg { focus(pid); return nil })
	}
	return m, cmd
}

// key does what a key is for.
func (m Model) key(msg tea.KeyPressMsg) (Model, tea.Cmd) {
	key := msg.String()
	switch {
	case key == "ctrl+c":
		return m, tea.Quit
	case key == "ctrl+z":
		return m, tea.Suspend
	case m.typing:
		return m.filterKey(key, msg.Text), nil
	case m.help:
		switch key {
		case "?", "esc", "q", "enter", "backspace":
			m.help = false
		}
		return m, nil
	}
	switch key {
	case "q":
		return m, tea.Quit
	case "?", "f1":
		m.help = true
		return m, nil
	case "p", "space", " ":
		m.paused = !m.paused
		m.shown = m.latest
		return m, nil
	}
	if m.open != 0 {
		return m.closerKey(key), nil
	}
	return m.tableKey(key), nil
}

// filterKey edits the filter.
func (m Model) filterKey(key, text string) Model {
	switch key {
	case "enter":
		m.typing = false
	case "esc":
		m.typing, m.filter = false, ""
	case "backspace":
		_, n := utf8.DecodeLastRuneInString(m.filter)
		m.filter = m.filter[:len(m.filter)-n]
	case "ctrl+u":
		m.filter = ""
	default:
		m = m.typed(text)
	}
	return m
}

const maxFilter = 64 // bytes

func (m Model) typed(text string) Model {
	for _, r := range text {
		if unicode.IsPrint(r) && len(m.filter)+utf8.RuneLen(r) <= maxFilter {
			m.filter += string(r)
		}
	}
	return m
}

// tableKey moves in the table.
func (m Model) tableKey(key string) Model {
	rows := m.rows()
	at := m.index(rows)
	page := max(m.tableRows()-1, 1)
	move := func(to int) {
		if len(rows) > 0 {
			m.cursor = rows[min(max(to, 0), len(rows)-1)].Process.PID
		}
	}
	switch key {
	case "up", "k":
		move(at - 1)
	case "down", "j":
		move(at + 1)
	case "pgup", "ctrl+b":
		move(at - page)
	case "pgdown", "ctrl+f":
		move(at + page)
	case "home", "g":
		move(0)
	case "end", "G":
		move(len(rows) - 1)
	case "enter", "right", "l":
		if len(rows) > 0 {
			m.open, m.tab, m.scroll = rows[at].Process.PID, overview, 0
		}
	case "/":
		m.typing = true
	case "esc":
		m.filter = ""
	case "s", ">":
		m.sort, m.reverse = (m.sort+1)%len(orders), false
	case "S", "<":
		m.sort, m.reverse = (m.sort+len(orders)-1)%len(orders), false
	case "r":
		m.reverse = !m.reverse
	}
	return m
}

// closerKey moves in what is said of one process.
func (m Model) closerKey(key string) Model {
	page := max(m.bodyRows()-1, 1)
	turn := func(to tab) { m.tab, m.scroll = (to+tabs)%tabs, 0 }
	switch key {
	case "esc", "backspace", "h":
		m.open = 0
	case "tab", "right", "l":
		turn(m.tab + 1)
	case "shift+tab", "left":
		turn(m.tab - 1)
	case "1", "2", "3", "4":
		turn(tab(key[0] - '1'))
	case "up", "k":
		m.scroll--
	case "down", "j":
		m.scroll++
	case "pgup", "ctrl+b":
		m.scroll -= page
	case "pgdown", "ctrl+f":
		m.scroll += page
	case "home", "g":
		m.scroll = 0
	case "end", "G":
		m.scroll = math.MaxInt32
	case "[", "]":
		rows := m.rows()
		at := slices.IndexFunc(rows, func(r Row) bool { return r.Process.PID == m.open })
		if to := at + map[string]int{"[": -1, "]": 1}[key]; to >= 0 && to < len(rows) {
			m.open, m.scroll = rows[to].Process.PID, 0
			m.cursor = m.open
		}
	}
	return m
}

// settle brings what follows from the rows and the size up to date.
func (m Model) settle() Model {
	if m.open != 0 {
		if m.find(m.open) == nil {
			m.open = 0 // it ended a while ago
		} else {
			m.scroll = min(max(m.scroll, 0), max(len(m.body())-m.bodyRows(), 0))
		}
	}
	rows := m.rows()
	if len(rows) == 0 {
		m.top = 0
		return m
	}
	at, n := m.index(rows), m.tableRows()
	m.cursor = rows[at].Process.PID
	m.top = min(max(m.top, at-n+1), at)
	m.top = max(min(m.top, len(rows)-n), 0)
	return m
}

// rows are those to be shown, in order.
func (m Model) rows() []Row {
	var out []Row
	want := strings.ToLower(m.filter)
	for _, r := range m.shown.Rows {
		if want == "" || strings.Contains(strings.ToLower(searched(&r)), want) {
			out = append(out, r)
		}
	}
	o := orders[m.sort]
	slices.SortStableFunc(out, func(a, b Row) int {
		c := o.cmp(&a, &b)
		if m.reverse {
			c = -c
		}
		return cmp.Or(c, cmp.Compare(a.Process.PID, b.Process.PID))
	})
	return out
}

// searched is what the filter looks in.
func searched(r *Row) string {
	var b strings.Builder
	for _, s := range []string{r.Process.Name, r.Process.Module, r.Process.MainPackage, r.Process.User, r.Process.ContainerID} {
		b.WriteString(s + "\n")
	}
	for _, f := range r.Findings {
		b.WriteString(f.ID + "\n" + f.Severity.String() + "\n")
	}
	b.WriteString(itoa(r.Process.PID))
	return b.String()
}

// index is where the chosen row is; the first, when it is not there any more.
func (m Model) index(rows []Row) int {
	return max(slices.IndexFunc(rows, func(r Row) bool { return r.Process.PID == m.cursor }), 0)
}

func (m Model) find(pid int) *Row {
	for i := range m.shown.Rows {
		if m.shown.Rows[i].Process.PID == pid {
			return &m.shown.Rows[i]
		}
	}
	return nil
}
