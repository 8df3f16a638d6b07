package report

import (
	"fmt"
	"html/template"
	"io"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
)

// HTML writes the report as one page that needs nothing else.
func HTML(w io.Writer, r *chaos.Run, v *chaos.Verdict) error {
	_, err := fmt.Fprintf(w, "<!DOCTYPE html>\n<title>%s</title>\n", template.HTMLEscapeString(Headline(r, v)))
	return err
}
