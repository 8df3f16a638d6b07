package view

import "github.com/heapwright/heapwright/record"

// Histogram returns what a histogram field counted in the window, and how many
// durations that is. It reports false when fewer than two samples have the
// field, a count went down, or nothing was counted.
func (v *View) Histogram(f record.Field) (h record.TimeHistogram, count float64, ok bool) {
	var a, b *record.TimeHistogram
	for _, s := range v.samples {
		if !s.Has.Has(f) {
			continue
		}
		x := histogramField(s, f)
		if x == nil {
			return h, 0, false
		}
		if a == nil {
			a = x
		}
		b = x
	}
	if a == b {
		return h, 0, false
	}
	for i := range b.Counts {
		if b.Counts[i] < a.Counts[i] {
			return h, 0, false
		}
	}
	h = b.Sub(a)
	count = float64(h.Count())
	return h, count, count > 0
}

func histogramField(s *record.Sample, f record.Field) *record.TimeHistogram {
	switch f {
	case record.FieldSchedLatency:
		return &s.SchedLatency
	case record.FieldSTWStoppingGC:
		return &s.STWStoppingGC
	case record.FieldSTWStoppingOther:
		return &s.STWStoppingOther
	case record.FieldSTWTotalGC:
		return &s.STWTotalGC
	case record.FieldSTWTotalOther:
		return &s.STWTotalOther
	}
	return nil
}
