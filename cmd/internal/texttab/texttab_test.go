package texttab

import (
	"strings"
	"testing"

	"github.com/heapwright/heapwright/cmd/internal/term"
)

func sample() *Table {
	t := &Table{Columns: []Column{
		{Head: "PID", Right: true},
		{Head: "NAME", Min: 6},
		{Head: "LIVE", Right: true},
		{Head: "GOGC", Right: true, Drop: 1},
		{Head: "THREADS", Right: true, Drop: 2},
	}}
	t.Text("7", "nats-server", "12.3Mi", "100", "9")
	t.Text("12345", "etcd", "1.5Gi", "off", "112")
	t.Row(Cell{Text: "99"}, Cell{Text: "old" + t.Note("Go 1.12 is not supported")}, Cell{Text: "-", Style: term.Faint})
	return t
}

func write(t *testing.T, tab *Table, width int, paint term.Painter) string {
	t.Helper()
	var b strings.Builder
	if err := tab.Write(&b, width, paint); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestWrite(t *testing.T) {
	for _, tc := range []struct {
		name  string
		width int
		want  string
	}{
		{"wide", 80, `
  PID  NAME           LIVE  GOGC  THREADS
    7  nats-server  12.3Mi   100        9
12345  etcd          1.5Gi   off      112
   99  old¹              -
¹ Go 1.12 is not supported
`},
		{"names are cut first", 38, `
  PID  NAME        LIVE  GOGC  THREADS
    7  nats-se…  12.3Mi   100        9
12345  etcd       1.5Gi   off      112
   99  old¹           -
¹ Go 1.12 is not supported
`},
		{"then columns go", 30, `
  PID  NAME      LIVE  GOGC
    7  nats-…  12.3Mi   100
12345  etcd     1.5Gi   off
   99  old¹         -
¹ Go 1.12 is not supported
`},
		{"what must stay stays", 10, `
  PID  NAME      LIVE
    7  nats-…  12.3Mi
12345  etcd     1.5Gi
   99  old¹         -
¹ Go 1.12
  is not
  supported
`},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := write(t, sample(), tc.width, false)
			if got != tc.want[1:] {
				t.Errorf("got:\n%s\nwant:\n%s", got, tc.want[1:])
			}
			for _, l := range strings.Split(got, "\n") {
				if tc.width >= 30 && term.Width(l) > tc.width {
					t.Errorf("%d columns: %q", term.Width(l), l)
				}
			}
		})
	}
}

func TestColumnsThatSayNothingGoFirst(t *testing.T) {
	tab := &Table{Columns: []Column{{Head: "PID"}, {Head: "LIMIT"}, {Head: "LONG", Drop: 1}}}
	tab.Text("1", "-", "text")
	tab.Text("2", "", "more")
	// Of several, those that matter least go first.
	wide := &Table{Columns: []Column{{Head: "PID"}, {Head: "LIVE"}, {Head: "UP", Drop: 1}}}
	wide.Text("1", "-", "-")
	if got := write(t, wide, 11, false); !strings.Contains(got, "LIVE") || strings.Contains(got, "UP") {
		t.Errorf("got:\n%s", got)
	}
	if got := write(t, tab, 80, false); !strings.Contains(got, "LIMIT") {
		t.Errorf("where there is room they stay:\n%s", got)
	}
	if got := write(t, tab, 10, false); strings.Contains(got, "LIMIT") || !strings.Contains(got, "LONG") {
		t.Errorf("got:\n%s", got)
	}
}

func TestStylesDoNotMoveColumns(t *testing.T) {
	got := write(t, sample(), 80, true)
	plain := strings.NewReplacer("\x1b[2m", "", "\x1b[0m", "").Replace(got)
	if got == plain {
		t.Error("nothing is painted")
	}
	trim := func(s string) string { // paint may leave spaces at the end of a line
		var out []string
		for _, l := range strings.Split(s, "\n") {
			out = append(out, strings.TrimRight(l, " "))
		}
		return strings.Join(out, "\n")
	}
	if want := write(t, sample(), 80, false); trim(plain) != want {
		t.Errorf("got:\n%s\nwant:\n%s", plain, want)
	}
}

func TestHostileCell(t *testing.T) {
	tab := &Table{Columns: []Column{{Head: "NAME"}}}
	tab.Text("a\x1b[2Jb\nc")
	tab.Note("\x1b]0;x\a")
	if got := write(t, tab, 80, false); strings.ContainsAny(got, "\x1b\a") || strings.Count(got, "\n") != 3 {
		t.Errorf("got %q", got)
	}
}

func TestEqualNotesShareAMark(t *testing.T) {
	tab := &Table{Columns: []Column{{Head: "X"}}}
	if a, b, c := tab.Note("one"), tab.Note("two"), tab.Note("one"); a != "¹" || b != "²" || c != "¹" {
		t.Errorf("marks %s %s %s", a, b, c)
	}
	for range 10 {
		tab.Note(strings.Repeat("x", len(tab.notes)+5))
	}
	if got := superscript(12); got != "¹²" {
		t.Errorf("superscript(12) = %s", got)
	}
}
