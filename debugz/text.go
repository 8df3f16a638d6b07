package debugz

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// bytesText writes bytes with three digits: "27.4 MiB".
func bytesText(n float64) string {
	if n < 1024 {
		return fmt.Sprintf("%.0f B", n)
	}
	for _, unit := range []string{"KiB", "MiB", "GiB", "TiB"} {
		if n /= 1024; n < 1023.5 || unit == "TiB" {
			return threeDigits(n) + " " + unit
		}
	}
	return ""
}

func threeDigits(v float64) string {
	switch a := math.Abs(v); {
	case a >= 1e6:
		return strconv.FormatFloat(v, 'g', 4, 64)
	case a >= 99.95:
		return fmt.Sprintf("%.0f", v)
	case a >= 9.995:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.2f", v)
}

func limitText(n int64) string {
	if n == math.MaxInt64 {
		return "off"
	}
	return bytesText(float64(n))
}

func gogcText(n int64) string {
	if n < 0 {
		return "off"
	}
	return strconv.FormatInt(n, 10)
}

func percentText(ratio float64) string {
	v := 100 * ratio
	switch {
	case math.Abs(v-math.Round(v)) < 1e-9 && math.Abs(v) < 1e6:
		return fmt.Sprintf("%.0f%%", v)
	case math.Abs(v) < 0.01:
		return "< 0.01%"
	}
	return threeDigits(v) + "%"
}

// spanText writes a length of time with its two largest units.
func spanText(d time.Duration) string {
	switch d = max(0, d); {
	case d < time.Minute:
		return fmt.Sprintf("%.0f s", d.Seconds())
	case d < time.Hour:
		return fmt.Sprintf("%dm %ds", d/time.Minute, d%time.Minute/time.Second)
	case d < 48*time.Hour:
		return fmt.Sprintf("%dh %dm", d/time.Hour, d%time.Hour/time.Minute)
	}
	return fmt.Sprintf("%dd %dh", d/(24*time.Hour), d%(24*time.Hour)/time.Hour)
}

// roundSpan writes a length of time that somebody chose: "5m", "90 s".
func roundSpan(d time.Duration) string {
	switch {
	case d >= time.Hour && d%time.Hour == 0:
		return fmt.Sprintf("%dh", d/time.Hour)
	case d >= 2*time.Minute && d%time.Minute == 0:
		return fmt.Sprintf("%dm", d/time.Minute)
	}
	return strconv.FormatFloat(d.Seconds(), 'g', 4, 64) + " s"
}

// secondsText writes a short time: "1.20 ms".
func secondsText(s float64) string {
	switch a := math.Abs(s); {
	case s == 0:
		return "0 s"
	case a < 1e-3:
		return threeDigits(s*1e6) + " µs"
	case a < 1:
		return threeDigits(s*1e3) + " ms"
	case a < 120:
		return threeDigits(s) + " s"
	case a < 1e9:
		return spanText(time.Duration(s * 1e9))
	}
	return "years"
}

// countText groups digits: "12 345".
func countText(n uint64) string {
	s := strconv.FormatUint(n, 10)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "\u202f" + s[i:]
	}
	return s
}

// signalText writes the value of a signal; its name ends in its unit, or it is a number.
func signalText(name string, v float64) string {
	switch {
	case name == "gc_limiter_on" && v == 0:
		return "no"
	case name == "gc_limiter_on":
		return "yes"
	case strings.HasSuffix(name, "_ratio"):
		return percentText(v)
	case strings.HasSuffix(name, "_seconds"):
		return secondsText(v)
	case strings.HasSuffix(name, "_bytes"):
		return bytesText(v)
	}
	return numberText(v)
}

func numberText(v float64) string {
	if v == math.Trunc(v) && math.Abs(v) < 1<<53 {
		if v < 0 {
			return "-" + countText(uint64(-v))
		}
		return countText(uint64(v))
	}
	return threeDigits(v)
}

// valueText writes the value of a metric by its unit.
func valueText(v *float64, unit string) string {
	if v == nil {
		return "not a number"
	}
	switch unit {
	case "By":
		if *v >= 1<<62 {
			return "none"
		}
		return bytesText(*v)
	case "s":
		return secondsText(*v)
	}
	return numberText(*v)
}
