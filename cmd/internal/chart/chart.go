// Package chart draws lines over time in braille, small enough for a summary in
// a terminal. Each line is named at its right end, so that the chart reads
// without colour. It knows nothing of what it draws.
package chart

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/braille"
	"github.com/heapwright/heapwright/cmd/internal/term"
)

// A Point is a value at a time.
type Point struct {
	T, V float64 // T in seconds from the start
}

// A Line is one quantity over time. Points are in the order of time; where
// nothing is known there is no point.
type Line struct {
	Name   string
	Points []Point
	Style  term.Style
	Dotted bool // a limit or a goal rather than a measurement
}

// Options say how large the chart is and how its numbers read.
type Options struct {
	Width  int                  // of everything, in columns
	Height int                  // of the plot, in rows
	Format func(float64) string // of a value
	Paint  term.Painter
	// Several charts on one axis of time, one above the other, are told where it lies:
	// the least columns to the left and to the right of the plots, and the second at
	// which all end. Bare leaves out the line with the times.
	Left, Right int
	End         float64
	Bare        bool
}

// Columns are how many the plot has between its margins.
func (o Options) Columns() int { return max(o.Width-o.Left-2-o.Right-1, 8) }

// Draw writes a chart of the lines on one scale that starts at zero. Lines
// without points are left out; without any, nothing is written.
func Draw(w io.Writer, opt Options, lines ...Line) error {
	lines = slices.DeleteFunc(slices.Clone(lines), func(l Line) bool { return len(l.Points) == 0 })
	if len(lines) == 0 {
		return nil
	}
	top, end := 0.0, opt.End
	for _, l := range lines {
		for _, p := range l.Points {
			if finite(p) {
				top, end = max(top, p.V), max(end, p.T)
			}
		}
	}
	if top <= 0 {
		top = 1
	}
	if end <= 0 {
		end = 1
	}

	axis := max(term.Width(opt.Format(top)), term.Width(opt.Format(0)), opt.Left)
	names := opt.Right
	for _, l := range lines {
		names = max(names, term.Width(l.Name))
	}
	opt.Left, opt.Right = axis, names
	cols := opt.Columns()
	g := newGrid(cols, max(opt.Height, 2))
	for i, l := range lines {
		g.line(l, i, top, end)
	}

	labels := labelRows(lines, g, top)
	var b strings.Builder
	for row := range g.Rows {
		tick, mark := "", "┤"
		switch row {
		case 0:
			tick = opt.Format(top)
		case g.Rows - 1:
			tick = opt.Format(0)
		default:
			mark = "│"
		}
		text := fmt.Sprintf("%*s%s", axis, tick, mark)
		b.WriteString(opt.Paint.Paint(term.Faint, text))
		// Cells of one colour are painted together.
		var run strings.Builder
		runOwner := -1
		flush := func() {
			if runOwner >= 0 {
				b.WriteString(opt.Paint.Paint(lines[runOwner].Style, run.String()))
			} else {
				b.WriteString(run.String())
			}
			run.Reset()
		}
		for col := range g.Cols {
			r, owner := g.Cell(col, row)
			if owner != runOwner {
				flush()
				runOwner = owner
			}
			run.WriteRune(r)
		}
		flush()
		if l := labels[row]; l >= 0 {
			b.WriteString(" " + opt.Paint.Paint(lines[l].Style, lines[l].Name))
		}
		b.WriteByte('\n')
	}
	if stop := seconds(end); !opt.Bare {
		fmt.Fprintf(&b, "%s%s\n", strings.Repeat(" ", axis+1),
			opt.Paint.Paint(term.Faint, "0s"+strings.Repeat(" ", max(1, cols-2-term.Width(stop)))+stop))
	}
	_, err := io.WriteString(w, b.String())
	return err
}

func finite(p Point) bool {
	return !math.IsNaN(p.V) && !math.IsInf(p.V, 0) && !math.IsNaN(p.T) && !math.IsInf(p.T, 0) && p.T >= 0
}

func seconds(s float64) string {
	d := time.Duration(s * float64(time.Second))
	switch {
	case d < 10*time.Second:
		return d.Round(100 * time.Millisecond).String()
	case d < 2*time.Minute:
		return d.Round(time.Second).String()
	}
	return strings.TrimSuffix(d.Round(time.Minute).String(), "0s")
}

// A grid is the canvas of a chart.
type grid struct{ *braille.Canvas }

func newGrid(cols, rows int) grid { return grid{braille.New(cols, rows)} }

func (g grid) y(v, top float64) int {
	h := 4*g.Rows - 1
	return h - int(math.Round(min(max(v/top, 0), 1)*float64(h)))
}

// line draws a line as the range of its values in each column of dots, so that
// a short peak is never lost, and joins the ranges of neighbours.
func (g grid) line(l Line, owner int, top, end float64) {
	w := 2 * g.Cols
	lo, hi := make([]int, w), make([]int, w)
	for x := range lo {
		lo[x] = -1
	}
	for _, p := range l.Points {
		if !finite(p) {
			continue
		}
		x := min(int(p.T/end*float64(w)), w-1)
		y := g.y(p.V, top)
		if lo[x] < 0 {
			lo[x], hi[x] = y, y
		}
		lo[x], hi[x] = min(lo[x], y), max(hi[x], y)
	}
	prev := -1
	for x := range w {
		if lo[x] < 0 {
			continue
		}
		if prev >= 0 {
			// Points that are sparse, not missing: the line runs on between them.
			if d := x - prev; d > 1 && d <= sparse(l, w, end) {
				for i := prev + 1; i < x; i++ {
					if l.Dotted && i%2 == 1 {
						continue
					}
					from, to := (lo[prev]+hi[prev])/2, (lo[x]+hi[x])/2
					g.Set(i, from+(to-from)*(i-prev)/d, owner)
				}
			} else if d == 1 {
				lo[x], hi[x] = min(lo[x], hi[prev]), max(hi[x], lo[prev])
			}
		}
		prev = x
		if l.Dotted && x%2 == 1 {
			continue
		}
		for y := lo[x]; y <= hi[x]; y++ {
			g.Set(x, y, owner)
		}
	}
}

// sparse is how many columns of dots two neighbouring points may lie apart
// before what is between them counts as a gap: three times the usual.
func sparse(l Line, w int, end float64) int {
	if len(l.Points) < 2 {
		return 0
	}
	step := (l.Points[len(l.Points)-1].T - l.Points[0].T) / float64(len(l.Points)-1)
	return int(math.Ceil(3 * step / end * float64(w)))
}

// labelRows says which line's name stands at the end of each row, -1 for none:
// each at the row of its last value, or as near as it can be with the names in
// the order of the values.
func labelRows(lines []Line, g grid, top float64) []int {
	rows := make([]int, g.Rows)
	for i := range rows {
		rows[i] = -1
	}
	order := make([]int, len(lines))
	y := make([]int, len(lines))
	for i, l := range lines {
		order[i] = i
		y[i] = g.y(l.Points[len(l.Points)-1].V, top)
	}
	slices.SortStableFunc(order, func(a, b int) int { return y[a] - y[b] })
	order = order[:min(len(order), g.Rows)]
	next := 0
	for n, i := range order {
		// Those that follow need a row each.
		r := min(max(y[i]/4, next), g.Rows-len(order)+n)
		rows[r] = i
		next = r + 1
	}
	return rows
}
