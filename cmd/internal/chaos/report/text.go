package report

import (
	"fmt"
	"io"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
	"github.com/heapwright/heapwright/cmd/internal/term"
)

// Text writes a report for a terminal that is so wide, 0 for any.
func Text(w io.Writer, r *chaos.Run, v *chaos.Verdict, width int, paint term.Painter) error {
	o := of(r, v)
	_, err := fmt.Fprintf(w, "%s  %s\n", paint.Paint(term.Bold, string(word(o.verdict.Outcome))), o.reason())
	return err
}
