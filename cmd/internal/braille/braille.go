// Package braille is a canvas of dots in text: a cell of braille holds two dots
// across and four down. It knows where dots are and whose, not what they mean.
package braille

// A Canvas is a grid of cells. The zero value has none.
type Canvas struct {
	Cols, Rows int // in cells
	dots       []byte
	owner      []int // the one that set a dot of the cell last, -1 for nobody
}

// New returns an empty canvas of so many cells.
func New(cols, rows int) *Canvas {
	c := &Canvas{Cols: cols, Rows: rows, dots: make([]byte, cols*rows), owner: make([]int, cols*rows)}
	for i := range c.owner {
		c.owner[i] = -1
	}
	return c
}

// Bits of the dots by column and row in their cell (Unicode, block 2800).
var bits = [2][4]byte{{0x01, 0x02, 0x04, 0x40}, {0x08, 0x10, 0x20, 0x80}}

// Set puts a dot where x is from the left and y from the top, both in dots. A
// dot outside is left out.
func (c *Canvas) Set(x, y, owner int) {
	if x < 0 || y < 0 || x >= 2*c.Cols || y >= 4*c.Rows {
		return
	}
	i := y/4*c.Cols + x/2
	c.dots[i] |= bits[x%2][y%4]
	c.owner[i] = owner
}

// Line sets the dots from one place to another, both on the canvas or near it.
func (c *Canvas) Line(x0, y0, x1, y1, owner int) {
	n := max(abs(x1-x0), abs(y1-y0), 1)
	for i := range n + 1 {
		c.Set(x0+(x1-x0)*i/n, y0+(y1-y0)*i/n, owner)
	}
}

func abs(n int) int {
	if n < 0 {
		return -n
	}
	return n
}

// Cell returns the character of a cell and the owner of its dots, -1 when it has none.
func (c *Canvas) Cell(col, row int) (rune, int) {
	i := row*c.Cols + col
	return rune(0x2800 + int(c.dots[i])), c.owner[i]
}
