// Package texttab lays out tables for a terminal, in the look of benchstat:
// columns two spaces apart, numbers to the right, notes below marked with
// superscript numbers. When the terminal is narrow it gives up columns: those that
// say nothing first, then those that matter least. It cleans every cell of control characters.
package texttab

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/heapwright/heapwright/cmd/internal/term"
)

// A Column is the head of one column and how its cells are set.
type Column struct {
	Head  string
	Right bool // numbers
	// Drop orders the columns that may go when there is no room: the highest
	// goes first; 0 always stays.
	Drop int
	// Min is how far the column may be cut down, in columns; 0 for never. Columns
	// are cut before any is dropped.
	Min int
}

// A Cell is the text of a cell and its style.
type Cell struct {
	Text  string
	Style term.Style
}

// A Table is a grid of text with notes.
type Table struct {
	Columns []Column
	rows    [][]Cell
	notes   []string
}

// Row adds a row. Missing cells at the end are empty.
func (t *Table) Row(cells ...Cell) {
	row := make([]Cell, len(t.Columns))
	for i := range row {
		if i < len(cells) {
			row[i] = Cell{term.Clean(cells[i].Text), cells[i].Style}
		}
	}
	t.rows = append(t.rows, row)
}

// Text adds a row of plain cells.
func (t *Table) Text(cells ...string) {
	row := make([]Cell, len(cells))
	for i, c := range cells {
		row[i] = Cell{Text: c}
	}
	t.Row(row...)
}

// Note adds a note below the table and returns its mark. Equal notes share one.
func (t *Table) Note(text string) string {
	text = term.Clean(text)
	for i, n := range t.notes {
		if n == text {
			return superscript(i + 1)
		}
	}
	t.notes = append(t.notes, text)
	return superscript(len(t.notes))
}

func superscript(n int) string {
	digits := []rune("⁰¹²³⁴⁵⁶⁷⁸⁹")
	var b strings.Builder
	for _, d := range fmt.Sprint(n) {
		b.WriteRune(digits[d-'0'])
	}
	return b.String()
}

const gap = 2

// noteColumns is how wide notes are where rows may be of any width: a note is
// prose, and read by people.
const noteColumns = 80

// Write prints the table in at most width columns, as far as the columns that
// have to stay allow; 0 is no limit. A cell that is empty or "-" says nothing.
func (t *Table) Write(w io.Writer, width int, paint term.Painter) error {
	shown, widths := t.fit(width)
	var b strings.Builder
	line := func(row []Cell) {
		var l strings.Builder
		for n, c := range shown {
			text := term.Cut(row[c].Text, widths[c])
			pad := strings.Repeat(" ", widths[c]-term.Width(text))
			if n > 0 {
				l.WriteString(strings.Repeat(" ", gap))
			}
			if t.Columns[c].Right {
				l.WriteString(pad + paint.Paint(row[c].Style, text))
			} else {
				l.WriteString(paint.Paint(row[c].Style, text) + pad)
			}
		}
		b.WriteString(strings.TrimRight(l.String(), " ") + "\n")
	}
	head := make([]Cell, len(t.Columns))
	for i, c := range t.Columns {
		head[i] = Cell{c.Head, term.Faint}
	}
	line(head)
	for _, row := range t.rows {
		line(row)
	}
	for i, n := range t.notes {
		mark := superscript(i + 1)
		columns := width
		if columns <= 0 {
			columns = noteColumns
		}
		wrapped := term.Wrap(n, strings.Repeat(" ", term.Width(mark)+1), columns)
		b.WriteString(mark + strings.TrimPrefix(wrapped, strings.Repeat(" ", term.Width(mark))) + "\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// fit chooses the columns to show and how wide each is.
func (t *Table) fit(width int) (shown []int, widths []int) {
	widths = make([]int, len(t.Columns))
	for i, c := range t.Columns {
		shown = append(shown, i)
		widths[i] = term.Width(c.Head)
		for _, row := range t.rows {
			widths[i] = max(widths[i], term.Width(row[i].Text))
		}
	}
	if width <= 0 {
		return shown, widths
	}
	total := func() int {
		n := gap * (len(shown) - 1)
		for _, c := range shown {
			n += widths[c]
		}
		return n
	}
	for over := total() - width; over > 0; over = total() - width {
		if n := t.leastOf(shown, t.saysNothing); n >= 0 {
			shown = slices.Delete(shown, n, n+1)
			continue
		}
		if c, ok := t.widest(shown, widths); ok {
			widths[c] = max(t.Columns[c].Min, widths[c]-over)
			continue
		}
		drop := t.leastOf(shown, func(c int) bool { return t.Columns[c].Drop > 0 })
		if drop < 0 {
			break
		}
		shown = slices.Delete(shown, drop, drop+1)
	}
	return shown, widths
}

// leastOf returns which of the columns that a test holds for matters least: the
// one that may be dropped first, and of equals the last. It is an index into
// shown, -1 for none.
func (t *Table) leastOf(shown []int, test func(column int) bool) int {
	least := -1
	for n, c := range shown {
		if test(c) && (least < 0 || t.Columns[c].Drop >= t.Columns[shown[least]].Drop) {
			least = n
		}
	}
	return least
}

// saysNothing reports whether there is nothing in any cell of a column.
func (t *Table) saysNothing(column int) bool {
	for _, row := range t.rows {
		if text := row[column].Text; text != "" && text != "-" {
			return false
		}
	}
	return len(t.rows) > 0
}

// widest returns the column with the most to give.
func (t *Table) widest(shown, widths []int) (int, bool) {
	best, spare := -1, 0
	for _, c := range shown {
		if min := t.Columns[c].Min; min > 0 && widths[c]-min > spare {
			best, spare = c, widths[c]-min
		}
	}
	return best, best >= 0
}
