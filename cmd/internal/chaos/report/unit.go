package report

import (
	"fmt"
	"strings"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
	"github.com/heapwright/heapwright/cmd/internal/human"
)

// amount writes a value in its unit, as short as a table wants it: 121MiB, 4.2ms, 37.
func amount(v float64, u chaos.Unit) string {
	if !finite(v) {
		return "-"
	}
	switch u {
	case chaos.Bytes:
		return bytes(v)
	case chaos.BytesPerSecond:
		return bytes(v) + "/s"
	case chaos.Cores:
		return plain(v) + " cores"
	case chaos.Seconds:
		return strings.ReplaceAll(rule.FormatSeconds(v), " ", "")
	case chaos.CountPerSecond:
		return plain(v) + "/s"
	case chaos.Ratio:
		return percent(v)
	}
	return plain(v)
}

func bytes(v float64) string {
	sign := ""
	if v < 0 {
		sign, v = "-", -v
	}
	s := human.Bytes(v)
	if number, unit := strings.TrimRight(s, "KMGTPEi"), strings.TrimLeft(s, "0123456789."); strings.HasSuffix(number, ".0") {
		s = strings.TrimSuffix(number, ".0") + unit
	}
	return sign + s + "B"
}

// plain writes a number in up to three digits, and those before the point whole.
func plain(v float64) string {
	switch a := max(v, -v); {
	case a >= 1e15:
		return fmt.Sprintf("%.3g", v)
	case a >= 99.95 || v == float64(int64(v)):
		return fmt.Sprintf("%.0f", v)
	}
	return fmt.Sprintf("%.3g", v)
}

func percent(v float64) string {
	if !finite(v) {
		return "-"
	}
	switch a := max(v, -v); {
	case v == 0:
		return "0%"
	case a < 1e-5:
		return "<0.001%"
	case a < 0.0005:
		return fmt.Sprintf("%.1g%%", 100*v)
	}
	return strings.Replace(rule.FormatPercent(v), ".0%", "%", 1)
}

// measure writes a value of a metric.
func measure(m chaos.Metric, v float64) string {
	if !finite(v) {
		return "-"
	}
	info, _ := m.Info()
	switch {
	case m == chaos.Ready && (v == 0 || v == 1):
		return []string{"not ready", "ready"}[int(v)]
	case m == chaos.LimiterOn && (v == 0 || v == 1):
		return []string{"off", "on"}[int(v)]
	case m == chaos.GuardState:
		return stateName(v)
	case strings.HasSuffix(string(m), "_ratio"):
		return percent(v)
	case strings.HasSuffix(string(m), "_per_second"):
		return plain(v) + "/s"
	}
	return amount(v, info.Unit)
}

// stateName is a state of the guard.
func stateName(v float64) string {
	switch v {
	case 0:
		return "healthy"
	case 1:
		return "recovering"
	case 2:
		return "degraded"
	}
	return "-"
}

// title is a metric's name for people.
func title(m chaos.Metric) string {
	switch m {
	case chaos.ErrorRatio:
		return "errors"
	case chaos.LatencyP50:
		return "latency p50"
	case chaos.LatencyP99:
		return "latency p99"
	case chaos.GCCPURatio:
		return "GC CPU"
	case chaos.AssistRatio:
		return "mark assists"
	case chaos.PauseP99:
		return "GC pause p99"
	case chaos.PauseMax:
		return "GC pause, longest"
	case chaos.CyclesPerSecond:
		return "GC cycles"
	case chaos.MemoryLimitGo:
		return "GOMEMLIMIT"
	case chaos.GoTotal:
		return "Go memory"
	case chaos.Usage:
		return "memory"
	case chaos.RSS:
		return "RSS"
	case chaos.Limit:
		return "memory limit"
	case chaos.OOMKills:
		return "OOM kills"
	case chaos.PressureSome:
		return "PSI memory some"
	case chaos.PressureFull:
		return "PSI memory full"
	case chaos.CPUUsed:
		return "CPU used"
	case chaos.LimiterOn:
		return "GC CPU limiter"
	}
	s := strings.ReplaceAll(clean(string(m)), "_", " ")
	for _, unit := range []string{" seconds", " bytes", " per second"} {
		if m != chaos.HeadroomSeconds {
			s = strings.TrimSuffix(s, unit)
		}
	}
	return s
}

// bound writes what a criterion demands: latency p99 ≤ 20ms.
func (o *outcome) bound(c chaos.Criterion) string {
	side := func(sign string, v *float64) string {
		if v == nil {
			return ""
		}
		if c.OfBaseline {
			return " " + sign + " " + plain(*v) + "× before"
		}
		return " " + sign + " " + measure(c.Metric, *v)
	}
	if c.Metric == chaos.Ready && c.AtMost == nil && c.AtLeast != nil && *c.AtLeast == 1 {
		return "ready" + forText(c)
	}
	if c.AtLeast == nil && c.AtMost != nil && *c.AtMost == 0 && !c.OfBaseline {
		switch c.Metric {
		case chaos.LimiterOn:
			return title(c.Metric) + " off" + forText(c)
		case chaos.OOMKills, chaos.LimitEvents, chaos.Restarts:
			return "no " + title(c.Metric) + forText(c)
		}
	}
	return title(c.Metric) + side("≤", c.AtMost) + side("≥", c.AtLeast) + forText(c)
}

// forText is how long a criterion may be broken before it counts.
func forText(c chaos.Criterion) string {
	if c.For <= 0 {
		return ""
	}
	return " for " + span(c.For)
}

// span writes a duration for people: 1h12m, 4m30s, 12.5s, 84ms.
func span(d time.Duration) string {
	switch {
	case d < 0:
		return "-"
	case d == 0:
		return "0s"
	case d < time.Second:
		return strings.ReplaceAll(rule.FormatSeconds(d.Seconds()), " ", "")
	case d < 59950*time.Millisecond:
		return strings.TrimSuffix(fmt.Sprintf("%.1f", d.Seconds()), ".0") + "s"
	case d < time.Hour:
		return strings.TrimSuffix(d.Round(time.Second).String(), "m0s") + whole(d.Round(time.Second))
	}
	s := strings.TrimSuffix(d.Round(time.Minute).String(), "m0s")
	if s, ok := strings.CutSuffix(s, "h0"); ok {
		return s + "h"
	}
	return s + "m"
}

// whole is the minutes' unit where there are no seconds beside.
func whole(d time.Duration) string {
	if d%time.Minute == 0 {
		return "m"
	}
	return ""
}

// spanOr is a duration that may never have come.
func spanOr(d *time.Duration) string {
	if d == nil {
		return "-"
	}
	return span(*d)
}
