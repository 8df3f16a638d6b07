package history

import (
	"maps"
	"math"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/heapwright/heapwright/cmd/internal/diagnose"
	"github.com/heapwright/heapwright/record"
)

// What is kept of a finding and of an event. Names of functions come from the process,
// and may be of any length.
const (
	maxName     = 200  // bytes
	maxText     = 4000 // bytes
	maxEvidence = 64
	maxSites    = 32
	maxData     = 32
)

// valid reports whether names are such as the agent gives.
func valid(k key) bool {
	return k.process != "" && len(k.process) <= maxName && utf8.ValidString(k.process) &&
		k.id != "" && len(k.id) <= maxName && utf8.ValidString(k.id)
}

func clip(s string, n int) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) <= n {
		return s
	}
	for n > 0 && !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

// bounded returns a copy of a finding of which a line is not too long.
func bounded(f *diagnose.Finding) diagnose.Finding {
	out := *f
	out.ID = clip(f.ID, maxName)
	out.Confidence = diagnose.Confidence(clip(string(f.Confidence), maxName))
	out.ConfidenceReason = clip(f.ConfidenceReason, maxText)
	out.Title = clip(f.Title, maxText)
	out.Cause = clip(f.Cause, maxText)
	out.Remedy = clip(f.Remedy, maxText)
	out.Evidence = slices.Clone(f.Evidence[:min(len(f.Evidence), maxEvidence)])
	for i := range out.Evidence {
		e := &out.Evidence[i]
		e.Name, e.Unit, e.Source, e.Text = clip(e.Name, maxName), clip(e.Unit, maxName), clip(e.Source, maxName), clip(e.Text, maxName)
		if math.IsNaN(e.Value) || math.IsInf(e.Value, 0) {
			e.Value = 0 // JSON has no word for it; its text does
		}
	}
	out.Sites = slices.Clone(f.Sites[:min(len(f.Sites), maxSites)])
	for i := range out.Sites {
		s := &out.Sites[i]
		s.Func, s.File, s.Role, s.Text = clip(s.Func, maxText/8), clip(s.File, maxText/8), clip(s.Role, maxName), clip(s.Text, maxName)
	}
	return out
}

func boundedEvent(e record.Event) record.Event {
	e.Text = clip(e.Text, maxText)
	data := map[string]string{}
	for _, k := range slices.Sorted(maps.Keys(e.Data)) {
		if len(data) == maxData {
			break
		}
		data[clip(k, maxName)] = clip(e.Data[k], maxName)
	}
	if e.Data = data; len(data) == 0 {
		e.Data = nil
	}
	return e
}
