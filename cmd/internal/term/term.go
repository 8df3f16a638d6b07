// Package term knows terminals: whether a stream is one, how wide it is, whether
// it wants colour, a line of progress that is erased at the end, and how to make
// text from a hostile process safe to print. It reads no keys.
package term

import (
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/term"
)

// Size returns the width of the terminal behind w in columns, and false when w
// is not a terminal.
func Size(w any) (columns int, ok bool) {
	f, isFile := w.(*os.File)
	if !isFile || !term.IsTerminal(int(f.Fd())) {
		return 0, false
	}
	columns, _, err := term.GetSize(int(f.Fd()))
	if err != nil || columns <= 0 {
		columns = 80
	}
	return columns, true
}

// A Style is an SGR attribute; "" is plain text.
type Style string

// The styles in use. They are never the only carrier of a meaning.
const (
	Plain  Style = ""
	Bold   Style = "1"
	Faint  Style = "2"
	Red    Style = "31"
	Green  Style = "32"
	Yellow Style = "33"
	Blue   Style = "34"
	Cyan   Style = "36"
)

// A Painter applies styles, or does not.
type Painter bool

// Paint returns s in the style.
func (p Painter) Paint(style Style, s string) string {
	if !p || style == Plain || s == "" {
		return s
	}
	return "\x1b[" + string(style) + "m" + s + "\x1b[0m"
}

// Clean makes text that came from elsewhere (the name of a process, a function
// of a program we do not know) safe to print: control characters, which could
// move the cursor or worse, and invisible ones become U+FFFD; newlines and tabs
// become spaces.
func Clean(s string) string {
	safe := true
	for i := 0; i < len(s); i++ {
		if s[i] < 0x20 || s[i] >= 0x7f {
			safe = false
			break
		}
	}
	if safe {
		return s
	}
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case r == utf8.RuneError || !unicode.IsPrint(r):
			return utf8.RuneError
		}
		return r
	}, s)
}

// Width is how many columns s takes, for text without control characters. Wide
// characters are counted as one: what is printed here is nearly always ASCII.
func Width(s string) int { return utf8.RuneCountInString(s) }

// Cut shortens s to at most n columns, the last of which says that it was cut.
func Cut(s string, n int) string {
	if Width(s) <= n {
		return s
	}
	if n <= 0 {
		return ""
	}
	r := []rune(s)
	return string(r[:n-1]) + "…"
}

// Wrap writes the words of s in lines of at most width columns, each starting
// with indent, and returns the lines without a newline at the end. A word that
// is longer than a line stands on its own, whole.
func Wrap(s, indent string, width int) string {
	var b strings.Builder
	n := 0
	for _, w := range strings.Fields(s) {
		switch {
		case n == 0:
			b.WriteString(indent)
			n = Width(indent)
		case n+1+Width(w) > width:
			b.WriteString("\n" + indent)
			n = Width(indent)
		default:
			b.WriteByte(' ')
			n++
		}
		b.WriteString(w)
		n += Width(w)
	}
	return b.String()
}

// Progress is one line on a terminal that is rewritten in place. The zero value,
// and one for something that is not a terminal, print nothing.
type Progress struct {
	w     io.Writer
	width int
	shown bool
}

// NewProgress returns a line on w, which does nothing unless w is a terminal.
func NewProgress(w io.Writer, columns int, isTerminal bool) *Progress {
	if !isTerminal {
		return &Progress{}
	}
	return &Progress{w: w, width: columns}
}

// Active reports whether the line is seen by anybody.
func (p *Progress) Active() bool { return p.w != nil }

// Show replaces the line.
func (p *Progress) Show(line string) {
	if p.w == nil {
		return
	}
	p.shown = true
	// One column is left free: a full line would wrap on some terminals.
	io.WriteString(p.w, "\r\x1b[2K"+Cut(line, p.width-1))
}

// Clear erases the line.
func (p *Progress) Clear() {
	if p.w == nil || !p.shown {
		return
	}
	p.shown = false
	io.WriteString(p.w, "\r\x1b[2K")
}

// Bar draws done of total in n columns.
func Bar(done, total float64, n int) string {
	if !(total > 0) || n <= 0 {
		return ""
	}
	full := int(min(max(done/total, 0), 1) * float64(n))
	return strings.Repeat("━", full) + strings.Repeat("─", n-full)
}
