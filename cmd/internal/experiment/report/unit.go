package report

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
)

// value writes a measured value with its unit, in three digits: 41.3MiB, 1.25ms,
// 4.20%. What is not a number is "-".
func value(v float64, u experiment.Unit) string {
	if !(math.Abs(v) < 1e200) { // not a number, or none when its unit is another
		return "-"
	}
	switch u {
	case experiment.Seconds:
		if v == 0 {
			return "0s"
		}
		return scaled(v*1e9, 1000, 999.5, "ns", "µs", "ms", "s")
	case experiment.ByteSize:
		return scaled(v, 1024, 999.5, "B", "KiB", "MiB", "GiB", "TiB")
	case experiment.Share:
		return number(100*v) + "%"
	case experiment.PerSec:
		return scaled(v, 1000, 9999.5, "", "k", "M", "G") + "/s"
	}
	return scaled(v, 1000, 9999.5, "", "k", "M", "G")
}

// measured is the value of a metric on one side: of no pairs there is none.
func measured(m experiment.MetricVerdict, v float64) string {
	if m.N <= 0 && v == 0 {
		return "-"
	}
	return value(v, unitOf(m.Name))
}

// round writes a value that somebody chose: 512MiB, not 512.0MiB.
func round(v float64, u experiment.Unit) string {
	s := value(v, u)
	unit := strings.TrimLeft(s, "0123456789.-")
	return strings.TrimSuffix(trim(strings.TrimSuffix(s, unit)), ".") + unit
}

// trim takes zeros off that say nothing: 2.5 for 2.50, 8 for 8.00.
func trim(s string) string {
	if strings.Contains(s, ".") {
		return strings.TrimRight(strings.TrimRight(s, "0"), ".")
	}
	return s
}

// scaled chooses the unit by what is printed: there is never as much of one as
// the limit says where there is a larger.
func scaled(v, step, limit float64, units ...string) string {
	i := 0
	for math.Abs(v) >= limit && i+1 < len(units) {
		v /= step
		i++
	}
	return number(v) + units[i]
}

// number writes a number with three digits, and those before the point whole.
func number(v float64) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return "-"
	}
	a := math.Abs(v)
	switch {
	case a == 0:
		return "0"
	case a >= 1e9: // no unit is left
		return fmt.Sprintf("%.2e", v)
	case a >= 99.95:
		return fmt.Sprintf("%.0f", v)
	case a >= 9.995:
		return fmt.Sprintf("%.1f", v)
	case a >= 0.0995:
		return fmt.Sprintf("%.2f", v)
	case a >= 0.00995:
		return fmt.Sprintf("%.3f", v)
	}
	return fmt.Sprintf("%.2g", v)
}

// percentOf writes a share in as many digits as it has: 90%, 96.8%, 96.84%.
func percentOf(r float64) string {
	return trim(fmt.Sprintf("%.2f", 100*r)) + "%"
}

// A percenter writes differences in percent, all in the same digits: one after
// the point, more where the interval is narrow, none where it is wide.
type percenter int

// digitsFor are the digits that suit an interval.
func digitsFor(ratio, low, high float64) percenter {
	width := math.Abs(100 * (ratio - 1))
	if known(low) && known(high) {
		width = 100 * (high - low)
	}
	switch {
	case width >= 200:
		return 0
	case width < 1:
		return 2
	}
	return 1
}

// diff writes a ratio as a difference: +12.5%.
func (p percenter) diff(ratio float64) string {
	if !known(ratio) {
		return "-"
	}
	d := 100 * (ratio - 1)
	if d >= 1e6 {
		return fmt.Sprintf("×%.2g", ratio)
	}
	s := fmt.Sprintf("%+.*f%%", int(p), d)
	if strings.Trim(s, "+-0.%") == "" {
		return s[1:] // nothing has no sign
	}
	return s
}

// difference is the difference of a metric: "~" where nothing is shown to differ.
func difference(m experiment.MetricVerdict) string {
	switch {
	case !known(m.Ratio):
		return "-"
	case !differs(m):
		return "~"
	}
	return effect(m)
}

// effect is the difference of a metric, also where it is not shown.
func effect(m experiment.MetricVerdict) string {
	return points(m.Name, digitsFor(m.Ratio, m.Low, m.High).diff(m.Ratio))
}

// points are what shares differ by: 1.01 is one percentage point more errors, and
// not one percent of them.
func points(metric, diff string) string {
	if metric == "error_ratio" {
		return strings.Replace(diff, "%", "pp", 1)
	}
	return diff
}

// interval is the interval of a ratio, in percent.
func interval(ratio, low, high float64) string {
	if !known(low) || !known(high) {
		return "-"
	}
	p := digitsFor(ratio, low, high)
	return strings.TrimSuffix(p.diff(low), "%") + " to " + p.diff(high)
}

// intervalOf is the interval of a metric.
func intervalOf(m experiment.MetricVerdict) string {
	return points(m.Name, interval(m.Ratio, m.Low, m.High))
}

// marginOf is how far a metric may differ and still be the same.
func marginOf(m experiment.MetricVerdict) string { return points(m.Name, margin(m.Margin)) }

// margin is how far is still the same.
func margin(m float64) string {
	if !(m > 0) || m > 1e6 {
		return "-"
	}
	return percentOf(m)
}

// span writes a duration for people: 1h12m, 4m30s, 12s.
func span(d time.Duration) string {
	switch {
	case d <= 0:
		return "-"
	case d < 10*time.Second:
		return fmt.Sprintf("%.1fs", d.Seconds())
	case d < time.Minute:
		return fmt.Sprintf("%.0fs", d.Seconds())
	case d < time.Hour:
		return whole(d.Round(time.Second).String(), "m0s")
	}
	return whole(whole(d.Round(time.Minute).String(), "m0s"), "h0m")
}

// whole takes off the last unit of a duration where there is none of it.
func whole(s, none string) string {
	if strings.HasSuffix(s, none) {
		return s[:len(s)-2]
	}
	return s
}
