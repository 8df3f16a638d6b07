package cli

import (
	"encoding/json"
	"io"

	stressreport "github.com/heapwright/heapwright/cmd/internal/chaos/report"
	"github.com/heapwright/heapwright/cmd/internal/exectrace"
	"github.com/heapwright/heapwright/cmd/internal/experiment/report"
	"github.com/heapwright/heapwright/cmd/internal/leak"
	"github.com/heapwright/heapwright/cmd/internal/postmortem"
	"github.com/heapwright/heapwright/record"
)

// The schemas of the documents that --json prints. Within one, keys may be
// added; a key never changes its meaning. See docs/cli-json.md.
const (
	schemaPS       = "heapwright.ps/1"
	schemaRecord   = "heapwright.record/1"
	schemaProfile  = "heapwright.profile/1"
	schemaDiagnose = "heapwright.diagnose/1"
	schemaLeaks    = leak.Schema
	schemaEscapes  = "heapwright.escapes/1"
	schemaOOM      = postmortem.Schema
	schemaOOMList  = "heapwright.oom-list/1"
	schemaPredict  = "heapwright.predict/1"
	schemaTrace    = exectrace.Schema
	schemaForecast = "heapwright.forecast/1"
	schemaBacktest = "heapwright.backtest/1"
	schemaCheck    = "heapwright.check/1"
	schemaTune     = "heapwright.tune/1"
	schemaSplit    = "heapwright.split/1"
	schemaUndo     = "heapwright.undo/1"
	schemaChanges  = "heapwright.changes/1"
	schemaHistory  = "heapwright.history/1"
	schemaExplain  = "heapwright.explain/1"
	schemaVersion  = "heapwright.version/1"
	schemaCompare  = report.Schema
	schemaVerify   = "heapwright.verify/1"
	// schemaExperiment is that of compare --check.
	schemaExperiment   = "heapwright.experiment-check/1"
	schemaStress       = stressreport.Schema
	schemaStressCheck  = "heapwright.stress-check/1"
	schemaStressPlan   = "heapwright.stress-plan/1"
	schemaStressExport = "heapwright.stress-export/1"
	schemaStressFaults = "heapwright.stress-faults/1"
)

// writeJSON prints one document.
func writeJSON(w io.Writer, doc any) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(doc)
}

// known returns a value if the sample has its field, and nil, which JSON writes
// as null, if not.
func known[T any](s *record.Sample, f record.Field, v T) *T {
	if !s.Has.Has(f) {
		return nil
	}
	return &v
}

// nonZero returns nil for a zero value, where zero is how "not known" is written.
func nonZero[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}
