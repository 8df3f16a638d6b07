package top

import (
	"math"
	"strconv"
	"strings"

	"github.com/charmbracelet/x/ansi"

	"github.com/heapwright/heapwright/cmd/internal/human"
	"github.com/heapwright/heapwright/cmd/internal/term"
)

// A cell is a text in a column.
type cell struct {
	text  string
	style term.Style
}

func itoa(n int) string { return strconv.Itoa(n) }

// width is how many columns of the terminal a text takes: a name may have characters
// that take two.
func width(s string) int { return ansi.StringWidth(s) }

// cut shortens a text to n columns.
func cut(s string, n int) string {
	if n <= 0 {
		return ""
	}
	return ansi.Truncate(s, n, "…")
}

// fit makes a text exactly n columns wide.
func fit(s string, n int, right bool) string {
	s = cut(s, n)
	space := strings.Repeat(" ", max(n-width(s), 0))
	if right {
		return space + s
	}
	return s + space
}

// clean makes text that a process chose safe to print.
func clean(s string) string { return term.Clean(s) }

// number writes a quantity, or a dash for one that is not known.
func number(v float64, f func(float64) string) cell {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return cell{"-", term.Faint}
	}
	return cell{text: f(v)}
}

func bytes(v float64) cell { return number(v, human.Bytes) }

func goal(v float64) cell {
	return number(v, func(v float64) string { return human.Goal(uint64(min(max(v, 0), 1<<62))) })
}

func count(v float64) cell {
	return number(v, func(v float64) string { return strconv.FormatFloat(v, 'f', 0, 64) })
}

func share(v float64) cell { return number(v, human.Percent) }

// perSecond writes a rate with few digits.
func perSecond(v float64) cell {
	return number(v, func(v float64) string {
		if v < 9.95 {
			return strconv.FormatFloat(v, 'f', 1, 64)
		}
		return strconv.FormatFloat(v, 'f', 0, 64)
	})
}

// short writes a duration that is less than some seconds: 180µs, 2.1ms.
func short(seconds float64) cell {
	return number(seconds, func(v float64) string {
		switch {
		case v < 0.9995e-3:
			return strconv.FormatFloat(1e6*v, 'f', 0, 64) + "µs"
		case v < 0.9995:
			return strconv.FormatFloat(1e3*v, 'f', 1, 64) + "ms"
		}
		return strconv.FormatFloat(v, 'f', 1, 64) + "s"
	})
}

var sparks = []rune("▁▂▃▄▅▆▇█")

// spark draws values, of which the newest n are at its end, in n columns from zero to
// the largest; a gap is a space.
func spark(values []float64, n int) string {
	n = max(n, 0)
	if len(values) > n {
		values = values[len(values)-n:]
	}
	top := 0.0
	for _, v := range values {
		if !math.IsNaN(v) && !math.IsInf(v, 0) {
			top = max(top, v)
		}
	}
	var b strings.Builder
	b.WriteString(strings.Repeat(" ", max(n-len(values), 0)))
	for _, v := range values {
		switch {
		case math.IsNaN(v) || math.IsInf(v, 0) || v < 0:
			b.WriteByte(' ')
		case top == 0:
			b.WriteRune(sparks[0])
		default:
			b.WriteRune(sparks[min(int(v/top*float64(len(sparks))), len(sparks)-1)])
		}
	}
	return b.String()
}
