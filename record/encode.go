package record

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"
)

// AppendJSON appends the sample as a JSON object: the time, the source, and
// those fields that are in Has, by their names in [Field.String]. A field that
// the source could not give has no key. It does not allocate when b has room.
//
// A value that JSON can't hold, such as a NaN or a year after 9999, is an
// error, and b is returned as it was.
func (s *Sample) AppendJSON(b []byte) ([]byte, error) {
	return s.appendMembers(append(b, '{'), len(b))
}

// MarshalJSON encodes the sample as AppendJSON does.
func (s *Sample) MarshalJSON() ([]byte, error) { return s.AppendJSON(nil) }

// appendMembers appends what follows the opening brace (and a kind, if any).
// start is the length to go back to on an error.
func (s *Sample) appendMembers(b []byte, start int) ([]byte, error) {
	b = append(b, `"time":`...)
	b, err := appendTime(b, s.Time)
	if err != nil {
		return b[:start], fmt.Errorf("encoding a sample: time: %w", err)
	}
	b = append(b, `,"source":`...)
	b = appendString(b, string(s.Source))
	for f := range NumFields {
		if !s.Has.Has(f) {
			continue
		}
		b = append(b, ',', '"')
		b = append(b, fields[f].name...)
		b = append(b, '"', ':')
		switch p := fields[f].at(s).(type) {
		case *uint64:
			b = strconv.AppendUint(b, *p, 10)
		case *int64:
			b = strconv.AppendInt(b, *p, 10)
		case *time.Duration:
			b = strconv.AppendInt(b, int64(*p), 10)
		case *bool:
			b = strconv.AppendBool(b, *p)
		case *float64:
			if math.IsNaN(*p) || math.IsInf(*p, 0) {
				return b[:start], fmt.Errorf("encoding a sample: %s is %v", f, *p)
			}
			b = strconv.AppendFloat(b, *p, 'g', -1, 64)
		case *time.Time:
			if b, err = appendTime(b, *p); err != nil {
				return b[:start], fmt.Errorf("encoding a sample: %s: %w", f, err)
			}
		case *TimeHistogram:
			b = p.appendJSON(b)
		case *[NumSizeClasses]uint64:
			b = appendSparse(b, p[:])
		}
	}
	return append(b, '}'), nil
}

// MarshalJSON encodes the histogram as in a sample: an object with the buckets
// that are not empty as [bucket, count] pairs under "counts", and "underflow"
// and "overflow" when they are not zero.
func (h *TimeHistogram) MarshalJSON() ([]byte, error) { return h.appendJSON(nil), nil }

func (h *TimeHistogram) appendJSON(b []byte) []byte {
	b = append(b, `{"counts":`...)
	b = appendSparse(b, h.Counts[:])
	if h.Underflow != 0 {
		b = append(b, `,"underflow":`...)
		b = strconv.AppendUint(b, h.Underflow, 10)
	}
	if h.Overflow != 0 {
		b = append(b, `,"overflow":`...)
		b = strconv.AppendUint(b, h.Overflow, 10)
	}
	return append(b, '}')
}

// appendSparse appends the non-zero counts as [[index,count],...].
func appendSparse(b []byte, counts []uint64) []byte {
	b = append(b, '[')
	n := 0
	for i, c := range counts {
		if c == 0 {
			continue
		}
		if n > 0 {
			b = append(b, ',')
		}
		n++
		b = append(b, '[')
		b = strconv.AppendInt(b, int64(i), 10)
		b = append(b, ',')
		b = strconv.AppendUint(b, c, 10)
		b = append(b, ']')
	}
	return append(b, ']')
}

// appendMembers appends what follows the opening brace and the kind, in the
// form that encoding/json gives it.
func (c *Cycle) appendMembers(b []byte, start int) ([]byte, error) {
	b = append(b, `"n":`...)
	b = strconv.AppendUint(b, c.N, 10)
	b = append(b, `,"end":`...)
	b, err := appendTime(b, c.End)
	if err != nil {
		return b[:start], fmt.Errorf("encoding cycle %d: end: %w", c.N, err)
	}
	b = append(b, `,"pause_ns":`...)
	b = strconv.AppendInt(b, int64(c.Pause), 10)
	if c.Detail {
		b = append(b, `,"detail":true`...)
	}
	if c.Forced {
		b = append(b, `,"forced":true`...)
	}
	b = appendNonZero(b, `,"sweep_termination_ns":`, c.SweepTermination)
	b = appendNonZero(b, `,"mark_ns":`, c.Mark)
	b = appendNonZero(b, `,"mark_termination_ns":`, c.MarkTermination)
	b = appendNonZero(b, `,"heap_start_bytes":`, c.HeapStartBytes)
	b = appendNonZero(b, `,"heap_end_bytes":`, c.HeapEndBytes)
	b = appendNonZero(b, `,"heap_marked_bytes":`, c.HeapMarkedBytes)
	b = appendNonZero(b, `,"heap_goal_bytes":`, c.HeapGoalBytes)
	b = appendNonZero(b, `,"stack_scan_bytes":`, c.StackScanBytes)
	b = appendNonZero(b, `,"globals_scan_bytes":`, c.GlobalsScanBytes)
	b = appendNonZero(b, `,"assist_ns":`, c.Assist)
	b = appendNonZero(b, `,"dedicated_ns":`, c.Dedicated)
	b = appendNonZero(b, `,"fractional_ns":`, c.Fractional)
	b = appendNonZero(b, `,"idle_ns":`, c.Idle)
	b = appendNonZero(b, `,"procs":`, c.Procs)
	return append(b, '}'), nil
}

func appendNonZero[T int | uint64 | time.Duration](b []byte, key string, v T) []byte {
	switch {
	case v == 0:
		return b
	case v < 0:
		return strconv.AppendInt(append(b, key...), int64(v), 10)
	}
	return strconv.AppendUint(append(b, key...), uint64(v), 10)
}

var errYear = errors.New("year is outside 0 to 9999")

// appendTime appends t as JSON, in UTC.
func appendTime(b []byte, t time.Time) ([]byte, error) {
	t = t.UTC()
	if y := t.Year(); y < 0 || y > 9999 {
		return b, errYear
	}
	b = append(b, '"')
	b = t.AppendFormat(b, time.RFC3339Nano)
	return append(b, '"'), nil
}

// appendString appends s as JSON.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			quoted, _ := json.Marshal(s) // a string always can be
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}
