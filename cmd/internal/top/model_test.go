package top

import (
	"errors"
	"flag"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"
	"github.com/charmbracelet/x/ansi"

	"github.com/heapwright/heapwright/cmd/internal/diagnose"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/ruletest"
	"github.com/heapwright/heapwright/record"
)

// updating is the -update flag, which ruletest defines.
func updating() bool { return flag.Lookup("update").Value.String() == "true" }

// rowOf is a process as it looks after its recording was watched at one sample a
// second.
func rowOf(pid int, name string, sv ruletest.Server, change ...func(*record.Process)) Row {
	sv.Hz = 1
	rec := sv.Recording()
	rec.Process.PID, rec.Process.Name, rec.Process.User = pid, name, "svc"
	for _, f := range change {
		f(&rec.Process)
	}
	t := track{keep: maxSamples}
	t.row.Process, t.row.Uptime, t.row.Found = rec.Process, 3*time.Hour, ruletest.Epoch
	done := 0
	for i := range rec.Samples {
		n := done
		for n < len(rec.Cycles) && !rec.Cycles[n].End.After(rec.Samples[i].Time) {
			n++
		}
		t.add(&rec.Samples[i], rec.Cycles[done:n])
		done = n
	}
	if len(rec.Goroutines) > 0 {
		t.row.Groups = &rec.Goroutines[len(rec.Goroutines)-1]
	}
	t.diagnose()
	return t.row
}

func groups() *record.Goroutines {
	f := ruletest.F
	return &record.Goroutines{Total: 1205, Groups: []record.GoroutineGroup{
		{Count: 1, Status: "waiting", WaitReason: "IO wait", Stack: []record.Frame{f("internal/poll.runtime_pollWait", "netpoll.go", 351), f("net.(*netFD).accept", "/go/src/net/fd_unix.go", 172), f("main.main", "/src/main.go", 20)}},
		{Count: 1200, Status: "waiting", WaitReason: "chan receive", WaitMax: 65 * time.Minute, CreatedBy: f("github.com/acme/shop/orders.(*Service).Watch", "/src/orders/watch.go", 88), Stack: []record.Frame{f("runtime.gopark", "proc.go", 424), f("github.com/acme/shop/orders.(*Service).loop", "/src/orders/watch.go", 102)}},
		{Count: 4, Status: "running", CreatedBy: f("net/http.(*Server).Serve", "/go/src/net/http/server.go", 3454)},
		{Count: 9, Status: "waiting", WaitReason: "GC worker (idle)", System: true},
	}}
}

// fleet is a round with a process of every kind.
var fleet = sync.OnceValue(func() Round {
	leak := rowOf(41213, "orders-api", ruletest.Server{
		Seconds: 240, Live: ruletest.Ramp(60<<20, 180<<20, 240), Alloc: ruletest.Const(40 << 20), Container: 512 << 20, Limit: 460 << 20,
		Goroutines: ruletest.Ramp(200, 1205, 240), LastGoroutines: groups(), Module: "github.com/acme/shop",
	}, func(p *record.Process) {
		p.GoEnv = map[string]string{"GOMEMLIMIT": "460MiB"}
		p.ModuleVersion = "v1.4.2"
	})
	tight := rowOf(812, "nats-server", ruletest.Server{
		Seconds: 120, Live: ruletest.Const(70 << 20), Alloc: ruletest.Const(40 << 20), Container: 128 << 20, UserCores: 1.5, Limit: 100 << 20,
	})
	calm := rowOf(4007311, "caddy", ruletest.Server{Seconds: 60, Live: ruletest.Const(8 << 20), Alloc: ruletest.Const(1 << 20)})
	off := rowOf(77, "batch", ruletest.Server{Seconds: 60, GOGC: -1, Live: ruletest.Const(30 << 20), Alloc: ruletest.Const(4 << 20)})
	hostile := rowOf(99, "e\x1b[2Jvil\n\u202ename-日本語-of-a-program", ruletest.Server{Seconds: 30, Live: ruletest.Const(2 << 20), Alloc: ruletest.Const(1 << 19)}, func(p *record.Process) {
		p.Module, p.User = "evil\x1b]0;x\x07.example/m", "ro\rot"
	})
	gone := rowOf(1300, "migrate", ruletest.Server{Seconds: 20, Live: ruletest.Const(20 << 20), Alloc: ruletest.Const(8 << 20)})
	nan := math.NaN()
	unread := Row{Process: record.Process{PID: 5, Name: "vault"}, Error: "reading memory: operation not permitted", Hint: "run heapwright as root, or give it CAP_SYS_PTRACE",
		Live: nan, Goal: nan, RSS: 40 << 20, Used: nan, Limit: nan, GCCPU: nan, AllocRate: nan, CycleRate: nan, CPU: nan, Goroutines: nan, LastPause: nan, MaxPause: nan}
	now := ruletest.Epoch.Add(4 * time.Minute)
	rows := []Row{unread, off, hostile, tight, gone, leak, calm}
	for i := range rows {
		rows[i].Uptime, rows[i].Found, rows[i].Seen = time.Duration(i+1)*time.Hour, now, now
	}
	rows[4].Ended = now.Add(-12 * time.Second)
	return Round{Time: now, Rows: rows, Unseen: 2}
})

// keyOf makes the message of a key from its name.
func keyOf(name string) tea.KeyPressMsg {
	special := map[string]rune{"enter": tea.KeyEnter, "esc": tea.KeyEscape, "up": tea.KeyUp, "down": tea.KeyDown, "left": tea.KeyLeft, "right": tea.KeyRight,
		"tab": tea.KeyTab, "backspace": tea.KeyBackspace, "pgup": tea.KeyPgUp, "pgdown": tea.KeyPgDown, "home": tea.KeyHome, "end": tea.KeyEnd, "space": tea.KeySpace}
	if r, ok := special[name]; ok {
		return tea.KeyPressMsg{Code: r}
	}
	if rest, ok := strings.CutPrefix(name, "ctrl+"); ok {
		return tea.KeyPressMsg{Code: rune(rest[0]), Mod: tea.ModCtrl}
	}
	if name == "shift+tab" {
		return tea.KeyPressMsg{Code: tea.KeyTab, Mod: tea.ModShift}
	}
	return tea.KeyPressMsg{Code: []rune(name)[0], Text: name}
}

// press sends messages and keys, by name, and returns the model after them.
func press(t *testing.T, m Model, msgs ...any) Model {
	t.Helper()
	for _, msg := range msgs {
		if name, ok := msg.(string); ok {
			msg = keyOf(name)
		}
		next, _ := m.Update(msg)
		m = next.(Model)
		checkFrame(t, m)
	}
	return m
}

// checkFrame holds a frame against what a terminal can take.
func checkFrame(t *testing.T, m Model) {
	t.Helper()
	frame := m.Frame()
	lines := strings.Split(frame, "\n")
	if len(lines) > max(m.height, 1) {
		t.Errorf("%d lines of %d:\n%s", len(lines), m.height, frame)
	}
	for _, l := range lines {
		if w := ansi.StringWidth(l); w > max(m.width, 0) {
			t.Errorf("a line of %d columns in %d: %q", w, m.width, l)
		}
		plain := ansi.Strip(l)
		if !bool(m.Paint) && plain != l {
			t.Errorf("an escape where there is no colour: %q", l)
		}
		if strings.ContainsAny(plain, "\x1b\a\r\t") {
			t.Errorf("a control character: %q", l)
		}
	}
}

func size(w, h int) tea.WindowSizeMsg { return tea.WindowSizeMsg{Width: w, Height: h} }

func TestFrames(t *testing.T) {
	sizes := map[string]tea.WindowSizeMsg{"80x24": size(80, 24), "120x40": size(120, 40), "60x20": size(60, 20)}
	for name, keys := range map[string][]any{
		"table":      nil,
		"filter":     {"/", "n", "a"},
		"filtered":   {"/", "n", "a", "enter"},
		"sorted":     {"s", "r", "down"},
		"overview":   {"enter"},
		"findings":   {"enter", "2"},
		"goroutines": {"end", "home", "enter", "3"},
		"settings":   {"enter", "4"},
		"unread":     {"/", "v", "a", "u", "enter", "enter"},
		"paused":     {"p", Round{Time: ruletest.Epoch.Add(time.Hour)}},
		"help":       {"?"},
	} {
		for sz, msg := range sizes {
			t.Run(name+"-"+sz, func(t *testing.T) {
				m, _ := Model{Source: "this machine"}.Sorted("trouble")
				if name == "goroutines" {
					m, _ = Model{}.Sorted("goroutines")
				}
				m = press(t, m, msg, fleet())
				m = press(t, m, keys...)
				golden(t, name+"-"+sz, m.Frame()+"\n")
			})
		}
	}
	t.Run("colour", func(t *testing.T) {
		m, _ := Model{Paint: true}.Sorted("trouble")
		golden(t, "colour-80x24", press(t, m, size(80, 24), fleet()).Frame()+"\n")
	})
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name+".txt")
	if updating() {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs; go test ./internal/top -update rewrites it\n%s", file, got)
	}
}

// TestEverySize draws everything in every size, also those that are too small.
func TestEverySize(t *testing.T) {
	for w := 1; w <= 130; w += 7 {
		for _, h := range []int{1, 2, 7, 8, 9, 13, 24, 60} {
			m := press(t, Model{}, size(w, h))
			press(t, m, fleet(), "?", "?", "down", "enter", "tab", "tab", "tab", "end", "pgup", "esc", "/", "x", "y", "z")
		}
	}
}

// screen is the frame without colours.
func screen(m Model) string { return ansi.Strip(m.Frame()) }

func TestKeys(t *testing.T) {
	start := press(t, Model{}, size(80, 24), fleet())
	names := func(m Model) string {
		var out []string
		for _, r := range m.rows() {
			out = append(out, itoa(r.Process.PID))
		}
		return strings.Join(out, " ")
	}
	t.Run("orders", func(t *testing.T) {
		m, ok := start.Sorted("pid")
		if !ok || names(m) != "5 77 99 812 1300 41213 4007311" {
			t.Error(names(m))
		}
		if m = press(t, m, "r"); names(m) != "4007311 41213 1300 812 99 77 5" {
			t.Error(names(m))
		}
		if m, _ = start.Sorted("live"); !strings.HasSuffix(names(m), " 5") {
			t.Errorf("what is not known is not last: %s", names(m))
		}
		if _, ok := start.Sorted("nothing"); ok {
			t.Error("there is an order called nothing")
		}
		m = start
		for range orders {
			m = press(t, m, "s")
		}
		if m.sort != start.sort || press(t, m, "S").sort != len(orders)-1 {
			t.Error("the orders are no ring")
		}
	})
	t.Run("the chosen row stays chosen", func(t *testing.T) {
		m := press(t, start, "down", "down")
		pid := m.cursor
		if m = press(t, m, "r"); m.cursor != pid {
			t.Errorf("%d is chosen, was %d", m.cursor, pid)
		}
		round := fleet()
		round.Rows = round.Rows[:0]
		if m = press(t, m, round); m.cursor != pid || len(m.rows()) != 0 {
			t.Error("the choice is lost with an empty round")
		}
		if m = press(t, m, fleet()); m.cursor != pid {
			t.Error("the choice does not come back")
		}
	})
	t.Run("ends of the table", func(t *testing.T) {
		rows := start.rows()
		first, last := rows[0].Process.PID, rows[len(rows)-1].Process.PID
		for _, keys := range [][]any{{"up"}, {"end", "home"}, {"G", "g"}, {"pgdown", "pgdown", "pgup", "pgup"}} {
			if m := press(t, start, keys...); m.cursor != first {
				t.Errorf("%v: %d", keys, m.cursor)
			}
		}
		if m := press(t, start, "end", "down", "j", "pgdown"); m.cursor != last {
			t.Errorf("%d", m.cursor)
		}
	})
	t.Run("filter", func(t *testing.T) {
		m := press(t, start, "/", "N", "A", "T")
		if names(m) != "812" || !strings.Contains(screen(m), "filter: NAT▏") {
			t.Errorf("%s\n%s", names(m), screen(m))
		}
		m = press(t, m, "q", "backspace", "enter") // q is a letter here
		if names(m) != "812" || m.typing {
			t.Error(names(m))
		}
		if m = press(t, m, "esc"); m.filter != "" || len(m.rows()) != 7 {
			t.Error("esc does not clear the filter")
		}
		m = press(t, m, "/", tea.PasteMsg{Content: "41213\x1b[2J\n"})
		if m.filter != "41213[2J" {
			t.Errorf("%q", m.filter)
		}
		m = press(t, m, "ctrl+u", tea.PasteMsg{Content: strings.Repeat("é", 1000)})
		if len(m.filter) > maxFilter {
			t.Error("the filter has no end")
		}
		if m = press(t, m, "backspace"); !strings.HasSuffix(m.filter, "é") {
			t.Errorf("%q is cut inside of a letter", m.filter)
		}
		if m = press(t, m, "enter"); !strings.Contains(screen(m), "no process matches the filter") {
			t.Error(screen(m))
		}
	})
	t.Run("closer", func(t *testing.T) {
		asked := []int{}
		m := start
		m.Focus = func(pid int) { asked = append(asked, pid) }
		follow := func(key string) {
			next, cmd := m.Update(keyOf(key))
			m = next.(Model)
			if cmd != nil {
				cmd()
			}
			checkFrame(t, m)
		}
		rows := m.rows()
		follow("enter")
		follow("tab")
		follow("]")
		follow("[")
		follow("[")
		follow("3")
		follow("end")
		follow("shift+tab")
		follow("esc")
		a, b := rows[0].Process.PID, rows[1].Process.PID
		if want := []int{a, b, a, 0}; !reflect.DeepEqual(asked, want) {
			t.Errorf("asked for %v, want %v", asked, want)
		}
		if m.open != 0 || m.cursor != a {
			t.Errorf("open %d, chosen %d", m.open, m.cursor)
		}
		// It goes back to the table when the process is forgotten.
		follow("enter")
		round := fleet()
		round.Rows = nil
		if m = press(t, m, round); m.open != 0 {
			t.Error("it shows a process that is not there")
		}
	})
	t.Run("pause", func(t *testing.T) {
		m := press(t, start, "p", Round{Time: ruletest.Epoch.Add(time.Hour)})
		if len(m.rows()) != 7 || !strings.Contains(screen(m), "PAUSED") {
			t.Error("the picture moves while it is paused")
		}
		if m = press(t, m, "space"); len(m.rows()) != 0 || strings.Contains(screen(m), "PAUSED") {
			t.Error("the newest is not shown afterwards")
		}
	})
	t.Run("quit", func(t *testing.T) {
		for _, key := range []string{"q", "ctrl+c"} {
			if _, cmd := start.Update(keyOf(key)); cmd == nil || cmd() != tea.Quit() {
				t.Errorf("%s does not quit", key)
			}
		}
		typing := press(t, start, "/")
		if _, cmd := typing.Update(keyOf("ctrl+c")); cmd == nil || cmd() != tea.Quit() {
			t.Error("ctrl+c does not quit while the filter is typed")
		}
		help := press(t, start, "?")
		if next, cmd := help.Update(keyOf("q")); cmd != nil || next.(Model).help {
			t.Error("q does not close the help")
		}
	})
}

func TestWithoutProcesses(t *testing.T) {
	for want, msgs := range map[string][]any{
		"looking for Go processes":                 {},
		"no Go processes here":                     {Round{Time: ruletest.Epoch}},
		"no look for new processes: no /proc here": {Round{Time: ruletest.Epoch, Err: errors.New("no /proc\x1b here")}},
	} {
		m := press(t, Model{}, append([]any{size(80, 24)}, msgs...)...)
		if !strings.Contains(strings.ReplaceAll(screen(m), "\uFFFD", ""), want) {
			t.Errorf("no %q in\n%s", want, screen(m))
		}
	}
	m := press(t, Model{Empty: "no Go process matches x"}, size(80, 24), Round{})
	if !strings.Contains(screen(m), "matches x") {
		t.Error(screen(m))
	}
}

func TestTrouble(t *testing.T) {
	find := func(s diagnose.Severity) []diagnose.Finding { return []diagnose.Finding{{Severity: s}} }
	rising := []Row{
		{Kind: Machine, Used: 99, Limit: 100},
		{Findings: find(diagnose.Info)},
		{Kind: Container, Used: 90, Limit: 100, Findings: find(diagnose.Info)},
		{Findings: find(diagnose.Warning)},
		{Findings: find(diagnose.Warning), GCCPU: 0.4},
		{Findings: find(diagnose.Critical)},
		{Kind: Container, Used: 100, Limit: 100, Findings: find(diagnose.Critical)},
	}
	last := -1.0
	for i := range rising {
		if got := trouble(&rising[i]); !(got > last) {
			t.Errorf("%d: %v is not more than %v", i, got, last)
		} else {
			last = got
		}
	}
	nan := math.NaN()
	if got := trouble(&Row{Used: nan, Limit: nan, GCCPU: nan}); got != 0 {
		t.Errorf("what is not known is trouble: %v", got)
	}
}

func TestSpark(t *testing.T) {
	nan := math.NaN()
	for _, c := range []struct {
		values []float64
		n      int
		want   string
	}{
		{nil, 3, "   "},
		{[]float64{0, 0}, 3, " ▁▁"},
		{[]float64{0, 4, 8}, 3, "▁▅█"},
		{[]float64{9, 1, nan, 2}, 3, "▅ █"},
		{[]float64{math.Inf(1), -1, 1}, 3, "  █"},
		{[]float64{1}, 0, ""},
		{[]float64{1}, -2, ""},
	} {
		if got := spark(c.values, c.n); got != c.want {
			t.Errorf("%v in %d: %q, want %q", c.values, c.n, got, c.want)
		}
	}
}

func TestPointsAreBounded(t *testing.T) {
	rec := ruletest.Server{Seconds: 20, Hz: 1}.Recording()
	tr := track{keep: 5}
	s := rec.Samples[0]
	var first Row
	for i := range 5 * maxPoints {
		s.Time = ruletest.Epoch.Add(time.Duration(i) * time.Second)
		tr.add(&s, []record.Cycle{{N: uint64(i), Pause: time.Duration(i)}})
		if i == maxPoints {
			first = tr.row
		}
	}
	if len(tr.row.Points) != maxPoints || cap(tr.points) > 4*maxPoints || len(tr.rec.Samples) != 5 || len(tr.rec.Cycles) != maxCycles {
		t.Errorf("%d points of %d, %d samples, %d cycles", len(tr.row.Points), cap(tr.points), len(tr.rec.Samples), len(tr.rec.Cycles))
	}
	// A row that was handed out does not change.
	if got := first.Points[len(first.Points)-1].T; !got.Equal(ruletest.Epoch.Add(maxPoints * time.Second)) {
		t.Errorf("an old row ends at %v now", got)
	}
}

func FuzzModel(f *testing.F) {
	f.Add("name", "finding", "jk\r/abc\x1b", 80, 24)
	f.Add("\x1b]0;x\a", "\u202e\n", "ss???ppG", 41, 8)
	keys := []string{"up", "down", "enter", "esc", "tab", "shift+tab", "pgup", "pgdown", "home", "end", "space", "backspace", "ctrl+u"}
	f.Fuzz(func(t *testing.T, name, text, typed string, w, h int) {
		row := rowOf(1, name, ruletest.Server{Seconds: 3, LastGoroutines: &record.Goroutines{Groups: []record.GoroutineGroup{{Count: 2, WaitReason: text, CreatedBy: record.Frame{Func: name, File: text, Line: 1}}}}})
		row.Findings = []diagnose.Finding{{ID: "HW1", Title: text, Cause: name, Remedy: text, Evidence: []diagnose.Evidence{{Name: name, Text: text}}, Sites: []diagnose.Site{{Func: text}}}}
		row.Process.GoVersion, row.Process.User, row.Process.Module = text, name, text
		m := press(t, Model{}, size(w%200, h%80), Round{Rows: []Row{row}})
		for i, r := range []rune(typed) {
			if i > 40 {
				break
			}
			if r < ' ' {
				m = press(t, m, keys[int(r)%len(keys)])
			} else {
				m = press(t, m, string(r))
			}
		}
	})
}

func ExampleModel() {
	m, _ := Model{}.Sorted("name")
	next, _ := m.Update(tea.WindowSizeMsg{Width: 60, Height: 8})
	next, _ = next.Update(Round{})
	fmt.Println(strings.Split(next.(Model).Frame(), "\n")[3])
	// Output: no Go processes here
}
