package front

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"

	"github.com/heapwright/heapwright/cmd/internal/braille"
	"github.com/heapwright/heapwright/cmd/internal/term"
)

// Options say how large a plot in a terminal is.
type Options struct {
	Width  int // of everything, in columns
	Height int // of the plot, in rows
	Paint  term.Painter
}

// A cell is a character of the plot.
type cell struct {
	r     rune
	style term.Style
	kind  kind
}

// kind orders what may stand over what.
type kind int

const (
	empty kind = iota
	curve
	line
	mark
	text
)

type page struct {
	cols, rows int
	cells      []cell
}

func (p *page) at(col, row int) *cell { return &p.cells[row*p.cols+col] }

// free reports whether n columns, and one more on either side, hold nothing above a kind.
func (p *page) free(col, row, n int, up kind) bool {
	if row < 0 || row >= p.rows || col < 0 || col+n > p.cols {
		return false
	}
	for c := max(col-1, 0); c < min(col+n+1, p.cols); c++ {
		k := p.at(c, row).kind
		if inside := c >= col && c < col+n; k > up && (inside || k == text) {
			return false
		}
	}
	return true
}

func (p *page) write(col, row int, s string, style term.Style, k kind) {
	for i, r := range []rune(s) {
		if c := col + i; c >= 0 && c < p.cols && row >= 0 && row < p.rows {
			*p.at(c, row) = cell{r, style, k}
		}
	}
}

// The marks of points.
const (
	markOther = '∘'
	markFront = '●'
	markNow   = '◆'
	markBest  = '★'
	markFails = '✕'
)

func (q *Point) mark(efficient bool) (rune, term.Style) {
	switch {
	case q.Best:
		return markBest, term.Green
	case q.Now:
		return markNow, term.Yellow
	case q.Fails:
		return markFails, term.Red
	case efficient:
		return markFront, term.Blue
	}
	return markOther, term.Faint
}

// Text draws the plot for a terminal. Without points nothing is written.
func (p *Plot) Text(w io.Writer, opt Options) error {
	x, y, ok := p.scales()
	if !ok {
		return nil
	}
	step := y.hi
	if len(y.ticks) > 1 {
		step = y.ticks[1] - y.ticks[0]
	}
	axis := 0
	for _, t := range y.ticks {
		axis = max(axis, term.Width(share(t, step)))
	}
	pg := &page{cols: max(opt.Width-axis-1, 20), rows: max(opt.Height, 4)}
	pg.cells = make([]cell, pg.cols*pg.rows)
	for i := range pg.cells {
		pg.cells[i].r = ' '
	}
	col := func(v float64) int { return int(math.Round(x.at(v) * float64(pg.cols-1))) }
	row := func(v float64) int { return pg.rows - 1 - int(math.Round(y.at(v)*float64(pg.rows-1))) }

	efficient := Efficient(p.Points)
	canvas := braille.New(pg.cols, pg.rows)
	dot := func(i int) (int, int) {
		q := &p.Points[i]
		return 2*col(q.RSS.Value) + 1, 4*row(q.GCCPU.Value) + 2
	}
	for n := 1; n < len(efficient); n++ {
		x0, y0 := dot(efficient[n-1])
		x1, y1 := dot(efficient[n])
		canvas.Line(x0, y0, x1, y1, 0)
	}
	for r := range pg.rows {
		for c := range pg.cols {
			if ch, owner := canvas.Cell(c, r); owner >= 0 {
				*pg.at(c, r) = cell{ch, term.Blue, curve}
			}
		}
	}
	if p.Limit > 0 && x.in(p.Limit) {
		c := col(p.Limit)
		for r := range pg.rows {
			*pg.at(c, r) = cell{'┊', term.Red, line}
		}
	}
	order := p.rank(efficient)
	order = slices.DeleteFunc(order, func(i int) bool {
		q := &p.Points[i]
		return !q.finite() || !x.in(q.RSS.Value) || !y.in(q.GCCPU.Value)
	})
	for _, i := range order {
		q := &p.Points[i]
		r, style := q.mark(slices.Contains(efficient, i))
		*pg.at(col(q.RSS.Value), row(q.GCCPU.Value)) = cell{r, style, mark}
	}
	// The label of the limit stands before those of points, for it says what the
	// line is.
	if p.Limit > 0 && x.in(p.Limit) {
		name := "limit " + p.Bytes(p.Limit)
		c := col(p.Limit) + 2
		if c+len(name) > pg.cols {
			c = col(p.Limit) - 1 - len(name)
		}
		pg.write(c, 0, name, term.Red, text)
	}
	slices.Reverse(order)
	for _, i := range order {
		q := &p.Points[i]
		named := q.Now || q.Best
		if !named && !slices.Contains(efficient, i) {
			continue
		}
		p.label(pg, q, col(q.RSS.Value), row(q.GCCPU.Value), named)
	}

	var b strings.Builder
	paint := opt.Paint
	fmt.Fprintf(&b, "%s\n", paint.Paint(term.Faint, "GC CPU"))
	tickRow := map[int]string{}
	for _, t := range y.ticks {
		tickRow[row(t)] = share(t, step)
	}
	for r := range pg.rows {
		name, ok := tickRow[r]
		edge := "│"
		if ok {
			edge = "┤"
		}
		b.WriteString(paint.Paint(term.Faint, strings.Repeat(" ", axis-term.Width(name))+name+edge))
		line := pg.cells[r*pg.cols : (r+1)*pg.cols]
		for len(line) > 0 && line[len(line)-1].kind == empty {
			line = line[:len(line)-1]
		}
		for i := 0; i < len(line); {
			j := i
			var run strings.Builder
			for ; j < len(line) && line[j].style == line[i].style; j++ {
				run.WriteRune(line[j].r)
			}
			b.WriteString(paint.Paint(line[i].style, run.String()))
			i = j
		}
		b.WriteByte('\n')
	}
	b.WriteString(p.foot(x, axis, pg.cols, col, paint))
	if n := p.left(x, y); n > 0 {
		s := "s that fail lie"
		if n == 1 {
			s = " that fails lies"
		}
		fmt.Fprintf(&b, "%s\n", paint.Paint(term.Faint, fmt.Sprintf("%s%d setting%s outside.", strings.Repeat(" ", axis+1), n, s)))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// label writes the name of a point beside it, where there is room. What has to
// be named may stand on the curve.
func (p *Plot) label(pg *page, q *Point, col, row int, must bool) {
	name := term.Clean(q.caption())
	n := term.Width(name)
	_, style := q.mark(true)
	places := [][2]int{{col + 2, row}, {col + 1, row - 1}, {col + 1, row + 1}, {col - 1 - n, row}, {col - n, row - 1}, {col - n, row + 1}}
	try := func(up kind) bool {
		for _, at := range places {
			if pg.free(at[0], at[1], n, up) {
				pg.write(at[0], at[1], name, style, text)
				return true
			}
		}
		return false
	}
	if !try(empty) && must {
		try(curve)
	}
}

// foot writes the axis of memory and its name.
func (p *Plot) foot(x scale, axis, cols int, col func(float64) int, paint term.Painter) string {
	rule := []rune(strings.Repeat("─", cols))
	names := []rune(strings.Repeat(" ", cols))
	const title = "peak RSS"
	end := 0
	for _, t := range x.ticks {
		c, name := col(t), []rune(p.Bytes(t))
		rule[c] = '┬'
		at := min(max(c-len(name)/2, 0), cols-len(name))
		if at < end || at+len(name)+1 > cols-len(title) {
			continue
		}
		copy(names[at:], name)
		end = at + len(name) + 2
	}
	copy(names[max(cols-len(title), 0):], []rune(title))
	pad := strings.Repeat(" ", axis)
	return paint.Paint(term.Faint, pad+"└"+string(rule)) + "\n" + paint.Paint(term.Faint, pad+" "+strings.TrimRight(string(names), " ")) + "\n"
}
