package cli

import (
	"errors"
	"fmt"
	"io"

	"github.com/heapwright/heapwright/cmd/internal/term"
	"github.com/heapwright/heapwright/cmd/internal/texttab"
	"github.com/heapwright/heapwright/pacer"
	"github.com/heapwright/heapwright/record"
)

// A checked is one quantity that was predicted and measured.
type checked struct {
	Name      string   `json:"name"` // with its unit
	Predicted quantity `json:"predicted"`
	Measured  float64  `json:"measured"`
	// ErrorRatio is how far the estimate is off, of what was measured; nil when
	// that was nothing.
	ErrorRatio *float64 `json:"error_ratio"`
	Inside     bool     `json:"inside"`

	estimate pacer.Estimate
	unit     unit
}

// A checkDocument is what predict --check --json prints.
type checkDocument struct {
	Schema      string         `json:"schema"`
	Process     record.Process `json:"process"` // the one that was modelled
	Settings    checkSettings  `json:"settings"`
	SpanSeconds float64        `json:"span_seconds"` // of what was measured
	Quantities  []checked      `json:"quantities"`
	Inside      bool           `json:"inside"`
	Parameters  []parameter    `json:"parameters"`
	Missing     []string       `json:"missing"`
	Notes       []string       `json:"notes"`

	measured pacer.Settings
	from     pacer.Settings
}

// checkSettings are those that the second recording was made with.
type checkSettings struct {
	GOGCPercent         int64   `json:"gogc_percent"`
	GOMEMLIMITBytes     int64   `json:"gomemlimit_bytes"`
	ContainerLimitBytes *uint64 `json:"container_limit_bytes"`
	GOMAXPROCS          *int    `json:"gomaxprocs"`
}

// check scores what the twin of one recording says of the settings of another.
func check(env Env, opt predictOptions, t twin, rec, other *record.Recording) error {
	outcome, err := pacer.Measure(other)
	if err != nil {
		var short *pacer.ShortError
		if errors.As(err, &short) {
			return &exitError{ExitInconclusive, hinted(fmt.Errorf("%s: %w", opt.check, err), "record the same work for longer")}
		}
		return fmt.Errorf("%s: %w", opt.check, err)
	}
	doc := newCheck(t, rec, outcome)
	if opt.json {
		err = writeJSON(env.Stdout, doc)
	} else {
		err = doc.print(env, opt.parameters)
	}
	switch {
	case err != nil:
		return err
	case len(doc.Quantities) == 0:
		return exitWith(ExitInconclusive)
	case !doc.Inside:
		return exitWith(ExitFinding)
	}
	return nil
}

func newCheck(t twin, rec *record.Recording, o pacer.Outcome) *checkDocument {
	f := t.Forecast(o.Settings)
	d := &checkDocument{
		Schema: schemaCheck, Process: rec.Process, SpanSeconds: o.Span.Seconds(), Quantities: []checked{}, Inside: true,
		Settings: checkSettings{GOGCPercent: o.Settings.GOGCPercent, GOMEMLIMITBytes: o.Settings.GOMEMLIMITBytes,
			ContainerLimitBytes: nonZero(o.Settings.ContainerLimitBytes), GOMAXPROCS: nonZero(o.Settings.GOMAXPROCS)},
		Parameters: parametersOf(t), Missing: append([]string{}, t.Missing()...), Notes: append([]string{}, f.Notes...),
		measured: o.Settings, from: t.Current(),
	}
	for _, q := range []struct {
		name     string
		estimate pacer.Estimate
		measured float64
	}{
		{"gc_cycles_per_second", f.CyclesPerSecond, o.CyclesPerSecond},
		{"gc_cpu_ratio", f.GCCPURatio, o.GCCPURatio},
		{"gc_cpu_cores", f.GCCPUCores, o.GCCPUCores},
		{"assist_ratio", f.AssistRatio, o.AssistRatio},
		{"pause_ratio", f.PauseRatio, o.PauseRatio},
		{"heap_p50_bytes", f.HeapP50Bytes, o.HeapP50Bytes},
		{"heap_p90_bytes", f.HeapP90Bytes, o.HeapP90Bytes},
		{"heap_peak_bytes", f.HeapPeakBytes, o.HeapPeakBytes},
		{"rss_p50_bytes", f.RSSP50Bytes, o.RSSP50Bytes},
		{"rss_p90_bytes", f.RSSP90Bytes, o.RSSP90Bytes},
		{"rss_peak_bytes", f.RSSPeakBytes, o.RSSPeakBytes},
	} {
		if !isKnown(q.estimate) || finite(q.measured) == nil {
			continue
		}
		c := checked{Name: q.name, Predicted: quantityOf(q.estimate), Measured: q.measured, estimate: q.estimate,
			Inside: q.measured >= q.estimate.Low && q.measured <= q.estimate.High}
		_, c.unit = unitOf(q.name)
		if q.measured != 0 {
			c.ErrorRatio = finite((q.estimate.Estimate - q.measured) / q.measured)
		}
		d.Inside = d.Inside && c.Inside
		d.Quantities = append(d.Quantities, c)
	}
	return d
}

func (d *checkDocument) print(env Env, parameters bool) error {
	w, width, paint := env.Stdout, env.textColumns(env.Stdout), env.painter(env.Stdout)
	twinHead(w, d.Process, fmt.Sprintf("from %s to %s", settingsText(d.from), settingsText(d.measured)), width, paint)
	fmt.Fprintln(w)
	if len(d.Quantities) == 0 {
		fmt.Fprintln(w, "There is nothing that both recordings show.")
		return nil
	}
	tab := texttab.Table{Columns: []texttab.Column{{Head: "QUANTITY"}, {Head: "PREDICTED", Right: true}, {}, {Head: "MEASURED", Right: true}, {Head: "ERROR", Right: true}, {}}}
	outside := 0
	for _, q := range d.Quantities {
		name, _ := unitOf(q.Name)
		off := "-"
		if q.ErrorRatio != nil {
			off = fmt.Sprintf("%+.1f%%", 100**q.ErrorRatio)
		}
		verdict := texttab.Cell{Text: "inside", Style: term.Green}
		if !q.Inside {
			outside++
			verdict = texttab.Cell{Text: "OUTSIDE", Style: term.Red}
		}
		tab.Row(append(append([]texttab.Cell{{Text: name}}, estimateCells(q.estimate, q.unit)...),
			texttab.Cell{Text: q.unit(q.Measured, q.Measured)}, texttab.Cell{Text: off}, verdict)...)
	}
	if err := tab.Write(w, env.columns(w), paint); err != nil {
		return err
	}
	d.tail(w, outside, width)
	if !parameters {
		return nil
	}
	fmt.Fprintln(w)
	return printParameters(env, d.Parameters)
}

func (d *checkDocument) tail(w io.Writer, outside, width int) {
	fmt.Fprintln(w)
	text := fmt.Sprintf("All %d lie inside their intervals.", len(d.Quantities))
	if outside > 0 {
		text = fmt.Sprintf("%d of %d lie outside their intervals: the second recording is of other work, or the twin is wrong about this program.", outside, len(d.Quantities))
	}
	for _, line := range append(append([]string{text}, d.Notes...), d.Missing...) {
		fmt.Fprintln(w, term.Wrap(term.Clean(line), "", width))
	}
}
