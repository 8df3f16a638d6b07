package braille

import "testing"

func TestCell(t *testing.T) {
	c := New(2, 1)
	c.Set(0, 0, 7)
	c.Set(1, 3, 8)
	for _, outside := range [][2]int{{-1, 0}, {0, -1}, {4, 0}, {0, 4}} {
		c.Set(outside[0], outside[1], 9)
	}
	if r, owner := c.Cell(0, 0); r != '⢁' || owner != 8 {
		t.Errorf("first cell is %c of %d", r, owner)
	}
	if r, owner := c.Cell(1, 0); r != '⠀' || owner != -1 {
		t.Errorf("second cell is %c of %d", r, owner)
	}
}

func TestLine(t *testing.T) {
	text := func(x0, y0, x1, y1 int) string {
		c := New(4, 2)
		c.Line(x0, y0, x1, y1, 0)
		s := ""
		for row := range c.Rows {
			for col := range c.Cols {
				r, _ := c.Cell(col, row)
				s += string(r)
			}
			s += "\n"
		}
		return s
	}
	for _, tc := range []struct {
		x0, y0, x1, y1 int
		want           string
	}{
		{0, 0, 7, 7, "⠑⢄⠀⠀\n⠀⠀⠑⢄\n"},
		{7, 7, 0, 0, "⠑⢄⠀⠀\n⠀⠀⠑⢄\n"},
		{0, 3, 7, 3, "⣀⣀⣀⣀\n⠀⠀⠀⠀\n"},
		{2, 0, 2, 7, "⠀⡇⠀⠀\n⠀⡇⠀⠀\n"},
		{3, 3, 3, 3, "⠀⢀⠀⠀\n⠀⠀⠀⠀\n"},
	} {
		if got := text(tc.x0, tc.y0, tc.x1, tc.y1); got != tc.want {
			t.Errorf("from %d,%d to %d,%d:\n%swant\n%s", tc.x0, tc.y0, tc.x1, tc.y1, got, tc.want)
		}
	}
}
