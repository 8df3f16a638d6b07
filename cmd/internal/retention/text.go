package retention

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/heapwright/heapwright/cmd/internal/human"
	"github.com/heapwright/heapwright/cmd/internal/term"
)

// minWidth is below which lines are not made shorter.
const minWidth = 40

// WriteText writes the report for a terminal of so many columns: each holder with
// its path, a step a line.
func (r *Report) WriteText(out io.Writer, width int, paint term.Painter) error {
	width = max(width, minWidth)
	w := bufio.NewWriter(out)
	fmt.Fprintln(w, term.Wrap(fmt.Sprintf("%s in %s objects; no root reaches %s of them.",
		human.Bytes(float64(r.LiveBytes)), thousands(r.Objects), human.Bytes(float64(r.UnreachedBytes))), "", width))
	for i := range r.Holders {
		h := &r.Holders[i]
		head := fmt.Sprintf("%10s %6s  ", human.Bytes(float64(h.RetainedBytes)), human.Percent(h.Share))
		fmt.Fprintf(w, "\n%s%s\n", head, paint.Paint(term.Bold, term.Cut(h.Root.String(), width-len(head))))
		for j, s := range h.Path {
			fmt.Fprintln(w, stepLine(&s, strings.Repeat(" ", min(19+j, width/2)), width))
		}
		if h.Shared {
			line := "also kept by " + strings.Join(h.SharedBy, ", ")
			if len(h.SharedBy) == 0 {
				line = "kept on several ways"
			}
			fmt.Fprintln(w, term.Cut(strings.Repeat(" ", 19)+line, width))
		}
		if len(h.UsedBy) > 0 {
			fmt.Fprintln(w, term.Cut(strings.Repeat(" ", 19)+"in use by "+strings.Join(h.UsedBy, ", "), width))
		}
	}
	for i := range r.Hints {
		h := &r.Hints[i]
		fmt.Fprintf(w, "\n%s %s\n", paint.Paint(term.Bold, h.Kind), human.Bytes(float64(h.Bytes)))
		fmt.Fprintln(w, term.Wrap(h.Text, "  ", width))
	}
	for _, n := range r.Notes {
		fmt.Fprintf(w, "\n%s\n", term.Wrap(n, "", width))
	}
	return w.Flush()
}

func stepLine(s *Step, indent string, width int) string {
	line := indent + "└ "
	if s.Field != "" {
		line += "." + s.Field + " "
	}
	tail := ""
	if s.Objects > 1 {
		tail = " ×" + thousands(s.Objects)
	}
	if s.Recursive {
		tail += ", one after the other"
	}
	return term.Cut(line+s.Type, max(width-term.Width(tail), term.Width(line)+8)) + tail
}

// String says what a root is: "global main.cache", "3 goroutines in main.worker".
func (r Root) String() string {
	name := term.Clean(r.Name)
	switch r.Kind {
	case "stack":
		if r.Count > 1 {
			return thousands(uint64(r.Count)) + " goroutines in " + name
		}
		return "goroutine in " + name
	case "other":
		return name
	}
	return r.Kind + " " + name
}

// thousands writes a number with separators.
func thousands(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
