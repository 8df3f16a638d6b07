package record

import "time"

// A Point is the value of a field at an instant.
type Point struct {
	Time  time.Time
	Value float64
}

// Series returns the values of a field of one number (see [Sample.Value]) in
// the samples that have it.
func (r *Recording) Series(f Field) []Point {
	var series []Point
	for i := range r.Samples {
		if v, ok := r.Samples[i].Value(f); ok {
			series = append(series, Point{r.Samples[i].Time, v})
		}
	}
	return series
}

// Ends returns the first and the last sample that have the field: the ends of
// the widest window over which it can be compared. Both are nil when fewer than
// two samples have it.
func (r *Recording) Ends(f Field) (first, last *Sample) {
	for i := range r.Samples {
		if s := &r.Samples[i]; f < NumFields && s.Has.Has(f) {
			if first == nil {
				first = s
			}
			last = s
		}
	}
	if first == last {
		return nil, nil
	}
	return first, last
}

// Delta returns by how much a cumulative field of one number grew between two
// samples: bytes and counts as they are, durations in seconds. There is no
// answer when a sample lacks the field, when it is not cumulative, or when it
// went backwards, as it does when the process was replaced.
func Delta(earlier, later *Sample, f Field) (growth float64, ok bool) {
	if !f.Cumulative() || !earlier.Has.Has(f) || !later.Has.Has(f) {
		return 0, false
	}
	// In integers, so that a small growth of a huge counter is exact.
	at := fields[f].at
	switch a := at(earlier).(type) {
	case *uint64:
		if b := at(later).(*uint64); *b >= *a {
			return float64(*b - *a), true
		}
	case *time.Duration:
		if b := at(later).(*time.Duration); *b >= *a {
			return (*b - *a).Seconds(), true
		}
	}
	return 0, false
}

// Rate returns the growth of a cumulative field per second of wall time between
// two samples, as [Delta] has it; of a duration that is seconds per second.
// There is no answer either when no time passed.
func Rate(earlier, later *Sample, f Field) (perSecond float64, ok bool) {
	growth, ok := Delta(earlier, later, f)
	seconds := later.Time.Sub(earlier.Time).Seconds()
	if !ok || seconds <= 0 {
		return 0, false
	}
	return growth / seconds, true
}
