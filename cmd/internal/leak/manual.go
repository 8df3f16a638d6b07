package leak

import (
	_ "embed"
	"strings"
)

//go:embed manual.md
var manual string

// Manual returns docs/LEAKS.md: how leaks are judged, and the catalogue of causes.
func Manual() string {
	var b strings.Builder
	b.WriteString("<!-- Generated from cmd/internal/leak by go generate. Do not edit. -->\n\n")
	b.WriteString(manual)
	for i := range catalogue {
		if i > 0 {
			b.WriteString("\n")
		}
		b.WriteString(catalogue[i].Markdown())
	}
	return b.String()
}
