package record

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"
)

// UnmarshalJSON decodes what AppendJSON encoded. Has is set to the fields that
// are there; everything else becomes zero. Keys that are not known are ignored,
// so that a later writer may add fields.
func (s *Sample) UnmarshalJSON(b []byte) error {
	if !json.Valid(b) {
		return errors.New("decoding a sample: it is not JSON")
	}
	return s.decode(b)
}

// decode is UnmarshalJSON for what is known to be valid JSON.
func (s *Sample) decode(b []byte) error {
	*s = Sample{}
	err := members(b, func(key, value []byte) error {
		switch string(key) {
		case "time":
			return parseTime(value, &s.Time)
		case "source":
			return json.Unmarshal(value, &s.Source)
		}
		f, known := fieldsByName[string(key)]
		if !known || string(value) == "null" {
			return nil
		}
		s.Has.Add(f)
		var err error
		switch p := fields[f].at(s).(type) {
		case *uint64:
			*p, err = strconv.ParseUint(string(value), 10, 64)
		case *int64:
			*p, err = strconv.ParseInt(string(value), 10, 64)
		case *time.Duration:
			var ns int64
			ns, err = strconv.ParseInt(string(value), 10, 64)
			*p = time.Duration(ns)
		case *bool:
			if *p = string(value) == "true"; !*p && string(value) != "false" {
				err = fmt.Errorf("%.20s is not true or false", value)
			}
		case *float64:
			// Valid JSON has no NaN and no infinity; too large a number is an error.
			*p, err = strconv.ParseFloat(string(value), 64)
		case *time.Time:
			err = parseTime(value, p)
		case *TimeHistogram:
			err = p.decode(value)
		case *[NumSizeClasses]uint64:
			err = parseSparse(value, p[:])
		}
		if err != nil {
			return fmt.Errorf("%s: %w", f, err)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("decoding a sample: %w", err)
	}
	return nil
}

// UnmarshalJSON decodes what MarshalJSON encoded.
func (h *TimeHistogram) UnmarshalJSON(b []byte) error {
	if !json.Valid(b) {
		return errors.New("decoding a histogram: it is not JSON")
	}
	return h.decode(b)
}

func (h *TimeHistogram) decode(b []byte) error {
	*h = TimeHistogram{}
	return members(b, func(key, value []byte) (err error) {
		switch string(key) {
		case "counts":
			err = parseSparse(value, h.Counts[:])
		case "underflow":
			h.Underflow, err = strconv.ParseUint(string(value), 10, 64)
		case "overflow":
			h.Overflow, err = strconv.ParseUint(string(value), 10, 64)
		}
		return err
	})
}

// parseSparse reads [[index,count],...] into counts.
func parseSparse(b []byte, counts []uint64) error {
	clear(counts)
	return elements(b, func(pair []byte) error {
		var v [2]uint64
		n := 0
		err := elements(pair, func(number []byte) (err error) {
			if n < len(v) {
				v[n], err = strconv.ParseUint(string(number), 10, 64)
			}
			n++
			return err
		})
		if err != nil {
			return err
		}
		if n != len(v) {
			return fmt.Errorf("%d numbers where an index and a count should be", n)
		}
		if v[0] >= uint64(len(counts)) {
			return fmt.Errorf("index %d of %d", v[0], len(counts))
		}
		counts[v[0]] = v[1]
		return nil
	})
}

// parseTime reads a JSON string of RFC 3339.
func parseTime(b []byte, t *time.Time) error {
	if len(b) < 2 || b[0] != '"' {
		return fmt.Errorf("%.40s is not a time", b)
	}
	parsed, err := time.Parse(time.RFC3339Nano, string(b[1:len(b)-1]))
	if err != nil {
		return err
	}
	if parsed = parsed.UTC(); parsed.Year() < 0 || parsed.Year() > 9999 {
		return errYear
	}
	*t = parsed
	return nil
}

// members calls f for each member of the object b, which must be valid JSON;
// that is what makes so little code enough. Keys are unescaped.
func members(b []byte, f func(key, value []byte) error) error {
	if b = trimSpace(b); len(b) == 0 || b[0] != '{' {
		return fmt.Errorf("%.20s is not an object", b)
	}
	for b = trimSpace(b[1:]); len(b) > 0 && b[0] != '}'; b = nextElement(b) {
		n := valueLen(b)
		key := b[1 : n-1]
		for _, c := range key {
			if c == '\\' {
				var s string
				if err := json.Unmarshal(b[:n], &s); err != nil {
					return err
				}
				key = []byte(s)
				break
			}
		}
		b = trimSpace(trimSpace(b[n:])[1:]) // the colon
		n = valueLen(b)
		if err := f(key, b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// elements calls f for each element of the array b, which must be valid JSON.
func elements(b []byte, f func(value []byte) error) error {
	if b = trimSpace(b); len(b) == 0 || b[0] != '[' {
		return fmt.Errorf("%.20s is not an array", b)
	}
	for b = trimSpace(b[1:]); len(b) > 0 && b[0] != ']'; b = nextElement(b) {
		n := valueLen(b)
		if err := f(b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// nextElement skips a comma and white space.
func nextElement(b []byte) []byte {
	if b = trimSpace(b); len(b) > 0 && b[0] == ',' {
		b = trimSpace(b[1:])
	}
	return b
}

// valueLen returns the length of the JSON value that b begins with.
func valueLen(b []byte) int {
	depth := 0
	for i := 0; i < len(b); i++ {
		switch b[i] {
		case '"':
			for i++; i < len(b) && b[i] != '"'; i++ {
				if b[i] == '\\' {
					i++
				}
			}
		case '{', '[':
			depth++
			continue
		case '}', ']':
			depth--
		case ',', ':', ' ', '\t', '\r', '\n':
			continue
		default: // a number or a word
			for i+1 < len(b) && isWord(b[i+1]) {
				i++
			}
		}
		if depth == 0 {
			return i + 1
		}
	}
	return len(b)
}

func isWord(c byte) bool {
	return c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c == 'E' || c == '+' || c == '-' || c == '.'
}

func trimSpace(b []byte) []byte {
	for len(b) > 0 && (b[0] == ' ' || b[0] == '\t' || b[0] == '\r' || b[0] == '\n') {
		b = b[1:]
	}
	return b
}
