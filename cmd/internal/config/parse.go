package config

import (
	"fmt"
	"math"
	"reflect"
	"regexp"
	"strconv"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/strictyaml"
)

var words = strictyaml.Words{
	Noun: "configuration", A: "a configuration", Key: "listen: " + DefaultListen,
	Writer: "heapwright serve --print-config writes one", Empty: true,
}

// Parse reads a file's text. The name is for messages. The error is a
// [*strictyaml.Errors].
func Parse(name string, text []byte) (*File, error) {
	f := Default()
	d := strictyaml.New(words, scalar)
	if d.Decode(text, f) {
		check(d, f)
	}
	if err := d.Err(name); err != nil {
		return nil, err
	}
	return f, nil
}

// scalar reads sizes, and durations that may be days and weeks.
func scalar(v reflect.Value, s string) (bool, error) {
	switch to := v.Addr().Interface().(type) {
	case *Bytes:
		b, err := parseBytes(s)
		*to = b
		return true, err
	case *time.Duration:
		t, err := parseDuration(s)
		*to = t
		return true, err
	}
	return false, nil
}

var longForm = regexp.MustCompile(`^([0-9]{1,6}(?:\.[0-9]{1,3})?)([dw])$`)

// parseDuration reads 30s, 1m30s, 15d, 2w and 0.
func parseDuration(s string) (time.Duration, error) {
	if s == "0" {
		return 0, nil
	}
	if m := longForm.FindStringSubmatch(s); m != nil {
		v, err := strconv.ParseFloat(m[1], 64)
		unit := day
		if m[2] == "w" {
			unit = 7 * day
		}
		if v *= float64(unit); err != nil || v > math.MaxInt64/2 {
			return 0, fmt.Errorf("%s is longer than anything is kept", strictyaml.Quote(s))
		}
		return time.Duration(v), nil
	}
	return strictyaml.ParseDuration(s)
}

// formatDuration writes a duration as the file has it.
func formatDuration(t time.Duration) string {
	switch {
	case t == 0:
		return "0"
	case t%day == 0:
		return fmt.Sprintf("%dd", t/day)
	case t%time.Hour == 0:
		return fmt.Sprintf("%dh", t/time.Hour)
	case t%time.Minute == 0:
		return fmt.Sprintf("%dm", t/time.Minute)
	}
	return t.String()
}

var sizeForm = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?) ?(B|KiB|MiB|GiB|TiB)?$`)

var sizeUnits = map[string]float64{"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}

// maxBytes keeps sums of sizes within 64 bits.
const maxBytes = 1 << 56

// parseBytes reads 512MiB, 1.5GiB or a number of bytes.
func parseBytes(s string) (Bytes, error) {
	m := sizeForm.FindStringSubmatch(s)
	if m == nil {
		return 0, fmt.Errorf("%s is no size: write 512MiB or 1.5GiB (B, KiB, MiB, GiB, TiB)", strictyaml.Quote(s))
	}
	v, err := strconv.ParseFloat(m[1], 64)
	if v *= sizeUnits[m[2]]; err != nil || v > maxBytes {
		return 0, fmt.Errorf("%s is more than any disk holds", strictyaml.Quote(s))
	}
	return Bytes(v), nil
}
