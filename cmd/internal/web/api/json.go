package api

import (
	"math"
	"strconv"
	"time"
)

// A Time is an instant as documents have it: RFC 3339 in UTC, in milliseconds,
// and null for the zero time and for years that RFC 3339 cannot write.
type Time struct{ time.Time }

// MarshalJSON implements json.Marshaler.
func (t Time) MarshalJSON() ([]byte, error) {
	u := t.UTC()
	if u.IsZero() || u.Year() < 0 || u.Year() > 9999 {
		return []byte("null"), nil
	}
	return u.AppendFormat(make([]byte, 0, 26), `"2006-01-02T15:04:05.000Z07:00"`), nil
}

// Values are numbers over time, null for none. What is not known, NaN, is null. Whole numbers are
// written as they are, others with seven digits, which is more than a chart can show.
type Values []float64

// MarshalJSON implements json.Marshaler.
func (v Values) MarshalJSON() ([]byte, error) { return appendValues(v, 7), nil }

// Coarse are numbers for a small picture, written with three digits: a fleet has
// tens of thousands of them in one document.
type Coarse []float64

// MarshalJSON implements json.Marshaler.
func (v Coarse) MarshalJSON() ([]byte, error) { return appendValues(v, 3), nil }

func appendValues(v []float64, digits int) []byte {
	if v == nil {
		return []byte("null")
	}
	b := make([]byte, 0, 8*len(v)+2)
	b = append(b, '[')
	for i, x := range v {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendNumber(b, x, digits)
	}
	return append(b, ']')
}

// appendNumber writes a number in so many digits. Of many digits a whole number keeps
// all: a limit is to be recognised.
func appendNumber(b []byte, x float64, digits int) []byte {
	switch {
	case math.IsNaN(x) || math.IsInf(x, 0):
		return append(b, "null"...)
	case x == math.Trunc(x) && math.Abs(x) < 1<<53 && (digits > 3 || math.Abs(x) < 1000):
		return strconv.AppendInt(b, int64(x), 10)
	}
	return strconv.AppendFloat(b, x, 'g', digits, 64)
}

// finite returns nil, which JSON writes as null, for what is not a number.
func finite(v float64) *float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil
	}
	return &v
}

// finiteAt is finite for what may be missing already.
func finiteAt(p *float64) *float64 {
	if p == nil {
		return nil
	}
	return finite(*p)
}

// nonZero returns nil for a zero value, where zero is how "not known" is written.
func nonZero[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}
