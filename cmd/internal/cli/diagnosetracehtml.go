package cli

import (
	_ "embed"
	"errors"
	"fmt"
	"html/template"
	"os"
	"strings"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
	"github.com/heapwright/heapwright/cmd/internal/term"
	"github.com/heapwright/heapwright/record"
)

//go:embed trace.html.tmpl
var tracePage string

// A tracePageLane is a lane of the timeline as the points of a polygon, in a box of
// 1000 by 30.
type tracePageLane struct {
	Name, Most, Points string
}

// writeTraceHTML writes a page that loads nothing.
func writeTraceHTML(path string, d *traceDocument) error {
	page, err := template.New("trace").Funcs(template.FuncMap{
		"seconds": rule.FormatSeconds, "percent": rule.FormatPercent, "clean": term.Clean, "upper": strings.ToUpper,
		"duration": duration, "name": evidenceName,
		"frame": func(f record.Frame) string { return term.Clean(rule.FrameString(f)) },
	}).Parse(tracePage)
	if err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return fmt.Errorf("writing the page: %w", err)
	}
	data := struct {
		*traceDocument
		Lanes []tracePageLane
		Cycle string
	}{traceDocument: d, Cycle: d.cycleText()}
	for _, l := range traceLanes(d.Report) {
		values, most := laneColumns(d.Report, l, 500)
		if most <= 0 {
			continue
		}
		full := l.full
		if full == 0 {
			full = most
		}
		var b strings.Builder
		b.WriteString("0,30")
		for i, v := range values {
			y := 30 - 30*min(v/full, 1)
			fmt.Fprintf(&b, " %.1f,%.1f %.1f,%.1f", float64(i)*1000/float64(len(values)), y, float64(i+1)*1000/float64(len(values)), y)
		}
		b.WriteString(" 1000,30")
		data.Lanes = append(data.Lanes, tracePageLane{l.name, l.text(most), b.String()})
	}
	err = page.Execute(f, data)
	return errors.Join(err, f.Close())
}
