// Package human writes numbers as people read them in a table: a few digits and a
// unit. It aligns and colours nothing.
package human

import (
	"fmt"
	"math"
	"strings"
	"time"
)

// Bytes writes a number of bytes for a table, in IEC units: 12.3Mi.
func Bytes(n float64) string {
	const units = "KMGTPE"
	if math.IsNaN(n) || n < 0 {
		return "-"
	}
	if n < 1024 {
		return fmt.Sprintf("%.0f", n)
	}
	i := -1
	for n >= 999.5 && i+1 < len(units) {
		n /= 1024
		i++
	}
	if n >= 99.95 {
		return fmt.Sprintf("%.0f%ci", n, units[i])
	}
	return fmt.Sprintf("%.1f%ci", n, units[i])
}

// Percent writes a ratio for a table.
func Percent(r float64) string {
	if r < 0.0995 {
		return fmt.Sprintf("%.1f%%", 100*r)
	}
	return fmt.Sprintf("%.0f%%", 100*r)
}

// GOGC writes a GOGC in percent.
func GOGC(percent int64) string {
	if percent < 0 {
		return "off"
	}
	return fmt.Sprint(percent)
}

// Goal writes a heap goal. With GOGC=off and no GOMEMLIMIT the runtime's is
// as large as numbers go (runtime/mgcpacer.go, heapGoalInternal).
func Goal(bytes uint64) string {
	if bytes >= 1<<48 {
		return "none"
	}
	return Bytes(float64(bytes))
}

// Memlimit writes a GOMEMLIMIT.
func Memlimit(bytes int64) string {
	if bytes == math.MaxInt64 {
		return "off"
	}
	return Bytes(float64(bytes))
}

// Span writes a duration for people, to about two digits.
func Span(d time.Duration) string {
	switch {
	case d < 0:
		return "-"
	case d < 10*time.Second:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < 2*time.Minute:
		return fmt.Sprintf("%.0fs", d.Seconds())
	case d < 2*time.Hour:
		return fmt.Sprintf("%.0fm", d.Minutes())
	case d < 48*time.Hour:
		return fmt.Sprintf("%.0fh", d.Hours())
	}
	return fmt.Sprintf("%.0fd", d.Hours()/24)
}

// Plural writes a count and its noun.
func Plural(n int, noun string) string {
	switch {
	case n == 1:
		return "1 " + noun
	case strings.HasSuffix(noun, "s"):
		return fmt.Sprintf("%d %ses", n, noun)
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// GoVersion is a Go version without its prefix and experiments: 1.26.8.
func GoVersion(v string) string {
	v, _, _ = strings.Cut(strings.TrimPrefix(v, "go"), " ")
	return v
}
