package chart

import (
	"fmt"
	"math"
	"strings"
	"testing"

	"github.com/heapwright/heapwright/cmd/internal/term"
)

func draw(t *testing.T, opt Options, lines ...Line) string {
	t.Helper()
	if opt.Format == nil {
		opt.Format = func(v float64) string { return fmt.Sprintf("%.0f MiB", v) }
	}
	var b strings.Builder
	if err := Draw(&b, opt, lines...); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func sawtooth(n int) Line {
	l := Line{Name: "heap live"}
	for i := range n {
		l.Points = append(l.Points, Point{T: float64(i) / 10, V: 20 + float64(i%50)*0.8})
	}
	return l
}

func flat(name string, n int, v float64) Line {
	l := Line{Name: name}
	for i := range n {
		l.Points = append(l.Points, Point{T: float64(i) / 10, V: v})
	}
	return l
}

func dotted(l Line) Line {
	l.Dotted = true
	return l
}

func TestDraw(t *testing.T) {
	got := draw(t, Options{Width: 60, Height: 5}, sawtooth(300), dotted(flat("heap goal", 300, 64)), flat("RSS", 300, 80))
	want := `
80 MiB┤⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉⠉ RSS
      │⠁⠁⠁⠁⠁⣡⠵⡅⠁⠁⠁⠁⣡⠵⡅⠁⠁⠁⠁⣡⠵⡅⠁⠁⠁⠁⣡⠵⡅⠁⠁⠁⠁⣡⠵⡅⠁⠁⠁⠁⣡⠵ heap goal
      │⠀⠀⣠⠴⠋⠁⠀⡇⠀⣠⠴⠋⠁⠀⡇⠀⣠⠴⠋⠁⠀⡇⠀⣠⠴⠋⠁⠀⡇⠀⣠⠴⠋⠁⠀⡇⠀⣠⠴⠋⠁⠀ heap live
      │⠴⠋⠁⠀⠀⠀⠀⠗⠋⠁⠀⠀⠀⠀⠗⠋⠁⠀⠀⠀⠀⠗⠋⠁⠀⠀⠀⠀⠷⠋⠁⠀⠀⠀⠀⠷⠚⠁⠀⠀⠀⠀
 0 MiB┤⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀⠀
       0s                                     30s
`
	if "\n"+got != want {
		t.Errorf("got:\n%s\nwant:%s", got, want)
	}
	lines := strings.Split(strings.TrimSuffix(got, "\n"), "\n")
	if len(lines) != 6 {
		t.Fatalf("%d lines, want 5 rows and the axis:\n%s", len(lines), got)
	}
	for _, l := range lines {
		if term.Width(l) > 60 {
			t.Errorf("%d columns: %q", term.Width(l), l)
		}
	}
}

func TestShortPeakIsSeen(t *testing.T) {
	l := flat("x", 10000, 1)
	l.Points[5000].V = 100
	top := strings.SplitN(draw(t, Options{Width: 60, Height: 5}, l), "\n", 2)[0]
	if strings.Trim(strings.SplitN(top, "┤", 2)[1], "⠀ ") == "" {
		t.Errorf("the top row is empty: %q", top)
	}
}

func TestGapStaysAGap(t *testing.T) {
	l := flat("x", 100, 10)
	l.Points = append(l.Points[:30:30], l.Points[70:]...)
	got := draw(t, Options{Width: 60, Height: 2}, l)
	row := []rune(strings.SplitN(strings.SplitN(got, "\n", 2)[0], "┤", 2)[1])
	if mid := row[25]; mid != '⠀' {
		t.Errorf("the gap is drawn over with %q:\n%s", mid, got)
	}
}

func TestDrawOddInput(t *testing.T) {
	inf := math.Inf(1)
	for _, tc := range []struct {
		name  string
		lines []Line
		empty bool
	}{
		{"no lines", nil, true},
		{"no points", []Line{{Name: "x"}}, true},
		{"one point", []Line{{Name: "x", Points: []Point{{0, 5}}}}, false},
		{"zeros", []Line{flat("x", 5, 0)}, false},
		{"not finite", []Line{{Name: "x", Points: []Point{{0, math.NaN()}, {inf, 1}, {1, inf}, {2, 3}}}}, false},
		{"negative time", []Line{{Name: "x", Points: []Point{{-5, 1}, {1, 1}}}}, false},
		{"more lines than rows", []Line{flat("a", 5, 1), flat("b", 5, 1), flat("c", 5, 1)}, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			got := draw(t, Options{Width: 30, Height: 2}, tc.lines...)
			if (got == "") != tc.empty {
				t.Errorf("got %q", got)
			}
		})
	}
}

func TestPaint(t *testing.T) {
	l := flat("x", 100, 10)
	l.Style = term.Cyan
	if got := draw(t, Options{Width: 30, Height: 2, Paint: true}, l); !strings.Contains(got, "\x1b[36m") {
		t.Errorf("no colour in %q", got)
	}
	if got := draw(t, Options{Width: 30, Height: 2}, l); strings.Contains(got, "\x1b") {
		t.Errorf("colour in %q", got)
	}
}

func TestChartsOnOneAxis(t *testing.T) {
	opt := Options{Width: 60, Height: 2, Left: 9, Right: 12, End: 60, Bare: true}
	long := draw(t, opt, sawtooth(300))
	opt.Format = func(float64) string { return "1" }
	short := draw(t, opt, flat("x", 600, 1))
	for i, text := range []string{long, short} {
		lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
		if len(lines) != 2 {
			t.Errorf("%d lines, want the plot alone:\n%s", len(lines), text)
		}
		for _, l := range lines {
			if at := strings.IndexAny(l, "┤│"); at < 0 || term.Width(l[:at]) != opt.Left {
				t.Errorf("the plot of chart %d begins elsewhere: %q", i, l)
			}
		}
	}
	// What ends halfway leaves the other half empty.
	row := []rune(strings.SplitN(strings.SplitN(long, "\n", 3)[1], "┤", 2)[1])
	if c := opt.Columns(); row[c-1] != '⠀' || row[c/4] == '⠀' {
		t.Errorf("%d columns:\n%s", c, long)
	}
}
