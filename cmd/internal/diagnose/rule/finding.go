// Package rule holds the words of the diagnosis: what a finding is, what
// evidence is, and what a rule is made of. It decides nothing.
package rule

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/heapwright/heapwright/record"
)

// A Severity says what a reader has to do.
type Severity int

// The severities. There are no more: a finding is for reading, for acting on,
// or for acting on now.
const (
	Info     Severity = iota // worth knowing; a healthy service may have it
	Warning                  // an expert would change something
	Critical                 // the service is failing, or about to
)

var severityNames = [...]string{"info", "warning", "critical"}

// String returns the severity's name as it stands in JSON.
func (s Severity) String() string {
	if s < 0 || int(s) >= len(severityNames) {
		return fmt.Sprintf("severity(%d)", int(s))
	}
	return severityNames[s]
}

// MarshalText implements encoding.TextMarshaler.
func (s Severity) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (s *Severity) UnmarshalText(b []byte) error {
	got, err := ParseSeverity(string(b))
	if err != nil {
		return err
	}
	*s = got
	return nil
}

// ParseSeverity reads a severity's name.
func ParseSeverity(name string) (Severity, error) {
	for i, n := range severityNames {
		if n == name {
			return Severity(i), nil
		}
	}
	return 0, fmt.Errorf("parsing severity: %q is not one of %s", name, strings.Join(severityNames[:], ", "))
}

// A Confidence says how far the evidence carries. It is not a probability.
type Confidence string

// The confidences.
const (
	High   Confidence = "high"   // read directly, or significant with room to spare
	Medium Confidence = "medium" // estimated, or seen over a short time
	Low    Confidence = "low"    // something that would decide it is missing
)

// A Finding is one diagnosis of one process.
type Finding struct {
	ID               string     `json:"id"`
	Severity         Severity   `json:"severity"`
	Confidence       Confidence `json:"confidence"`
	ConfidenceReason string     `json:"confidence_reason"`
	Title            string     `json:"title"`
	Evidence         []Evidence `json:"evidence"`
	Cause            string     `json:"cause"`
	Remedy           string     `json:"remedy"`
	Sites            []Site     `json:"sites,omitempty"`
}

// Evidence is one measured number.
type Evidence struct {
	Name   string  `json:"name"` // snake_case, with the unit: heap_live_bytes
	Value  float64 `json:"value"`
	Unit   string  `json:"unit"`   // bytes, bytes_per_second, seconds, ratio, cores, count, per_second, percent
	Source string  `json:"source"` // where it was read: remote, proc, cgroup, cycles, ...
	Text   string  `json:"text"`   // the value for people: 12.3 MiB
}

// A Site is a place in the program that a finding points at.
type Site struct {
	Func string `json:"func"`
	File string `json:"file,omitempty"`
	Line int    `json:"line,omitempty"`
	Role string `json:"role"` // allocates, created_by, blocked_at, calls
	Text string `json:"text"` // what was measured there: 12.3 MiB/s, 61%
}

// String returns "func (file:line)".
func (s Site) String() string {
	return FrameString(record.Frame{Func: s.Func, File: s.File, Line: s.Line})
}

// FrameString returns "func (file:line)", as far as they are known.
func FrameString(f record.Frame) string {
	switch {
	case f.Func == "" && f.File == "":
		return "unknown function"
	case f.File == "":
		return f.Func
	case f.Func == "":
		return fmt.Sprintf("%s:%d", f.File, f.Line)
	}
	return fmt.Sprintf("%s (%s:%d)", f.Func, f.File, f.Line)
}

// At returns a Site for a frame.
func At(f record.Frame, role, text string) Site {
	return Site{Func: f.Func, File: f.File, Line: f.Line, Role: role, Text: text}
}

// Bytes is evidence in bytes.
func Bytes(name string, v float64, source string) Evidence {
	return Evidence{name, v, "bytes", source, FormatBytes(v)}
}

// ByteRate is evidence in bytes per second.
func ByteRate(name string, v float64, source string) Evidence {
	return Evidence{name, v, "bytes_per_second", source, FormatBytes(v) + "/s"}
}

// Ratio is evidence that is a share: 1 is everything.
func Ratio(name string, v float64, source string) Evidence {
	return Evidence{name, v, "ratio", source, FormatPercent(v)}
}

// Seconds is evidence that is a duration.
func Seconds(name string, v float64, source string) Evidence {
	return Evidence{name, v, "seconds", source, FormatSeconds(v)}
}

// Count is evidence that is a number of things.
func Count(name string, v float64, source string) Evidence {
	return Evidence{name, v, "count", source, fmt.Sprintf("%.0f", v)}
}

// PerSecond is evidence that is a rate of things.
func PerSecond(name string, v float64, source string) Evidence {
	return Evidence{name, v, "per_second", source, formatSignificant(v) + "/s"}
}

// Cores is evidence in CPU cores: CPU-seconds per second.
func Cores(name string, v float64, source string) Evidence {
	return Evidence{name, v, "cores", source, formatSignificant(v) + " cores"}
}

// Percent is evidence in percent where the setting itself is one: GOGC.
func Percent(name string, v float64, source string) Evidence {
	if v < 0 {
		return Evidence{name, v, "percent", source, "off"}
	}
	return Evidence{name, v, "percent", source, fmt.Sprintf("%.0f", v)}
}

// FormatBytes writes a number of bytes in IEC units.
func FormatBytes(v float64) string {
	const units = "KMGTPE"
	if math.IsNaN(v) {
		return "unknown"
	}
	sign := ""
	if v < 0 {
		sign, v = "-", -v
	}
	if v < 1024 {
		return fmt.Sprintf("%s%.0f B", sign, v)
	}
	i := -1
	for v >= 1023.95 && i+1 < len(units) {
		v /= 1024
		i++
	}
	return fmt.Sprintf("%s%.1f %ciB", sign, v, units[i])
}

// FormatPercent writes a ratio as percent.
func FormatPercent(v float64) string {
	p := 100 * v
	if a := math.Abs(p); a < 9.95 {
		return fmt.Sprintf("%.1f%%", p)
	}
	return fmt.Sprintf("%.0f%%", p)
}

// FormatSeconds writes a duration with three digits and a unit that fits.
func FormatSeconds(v float64) string {
	// The unit is that of the rounded value: 0.9996 s is 1 s, not 1e+03 ms.
	switch a := math.Abs(threeDigits(v)); {
	case a == 0:
		return "0 s"
	case a < 1e-6:
		return fmt.Sprintf("%.0f ns", v*1e9)
	case a < 1e-3:
		return fmt.Sprintf("%.3g µs", v*1e6)
	case a < 1:
		return fmt.Sprintf("%.3g ms", v*1e3)
	case a < 120:
		return fmt.Sprintf("%.3g s", v)
	case a < 2*3600:
		return fmt.Sprintf("%.3g min", v/60)
	case a < 2*86400:
		return fmt.Sprintf("%.3g h", v/3600)
	}
	return fmt.Sprintf("%.0f days", v/86400)
}

// threeDigits rounds to three significant digits.
func threeDigits(v float64) float64 {
	rounded, err := strconv.ParseFloat(strconv.FormatFloat(v, 'g', 3, 64), 64)
	if err != nil {
		return v
	}
	return rounded
}

func formatSignificant(v float64) string {
	if a := math.Abs(v); a >= 100 {
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.3g", v)
}

// MemLimit writes a GOMEMLIMIT value, rounded down to whole MiB, in the form
// the runtime reads (runtime.parseByteCount): 460MiB.
func MemLimit(v float64) string {
	if !(v >= 1<<20) {
		return "1MiB"
	}
	return fmt.Sprintf("%.0fMiB", math.Floor(v/(1<<20)))
}

// Finite reports whether the value is a number.
func (e Evidence) Finite() bool { return !math.IsNaN(e.Value) && !math.IsInf(e.Value, 0) }

// Quote writes text that comes from the target so that it is safe to print: no
// control characters, at most 40 bytes of it.
func Quote(s string) string {
	const most = 40
	if len(s) > most {
		s = s[:most] + "..."
	}
	return strconv.Quote(s)
}
