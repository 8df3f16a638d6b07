package cli

import (
	"fmt"
	"math"
	"strings"

	"github.com/heapwright/heapwright/cmd/internal/term"
	"github.com/heapwright/heapwright/cmd/internal/texttab"
	"github.com/heapwright/heapwright/pacer"
)

// A quantity is an estimate as JSON has it: null for what is not known.
type quantity struct {
	Estimate *float64 `json:"estimate"`
	Low      *float64 `json:"low"`
	High     *float64 `json:"high"`
}

func quantityOf(e pacer.Estimate) quantity {
	return quantity{finite(e.Estimate), finite(e.Low), finite(e.High)}
}

// finite returns nil, which JSON writes as null, for what is not a number.
func finite(v float64) *float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil
	}
	return &v
}

// A unit writes values of one kind, and the ends of an interval in the same
// digits as the estimate between them.
type unit func(v, like float64) string

// bytesUnit writes bytes; an end has no unit of its own where it has that of the estimate.
func bytesUnit(v, like float64) string {
	text := compactBytes(v)
	if v == like {
		return text
	}
	digits := strings.TrimLeft(compactBytes(like), "0123456789.-")
	return strings.TrimSuffix(text, digits)
}

func percentUnit(v, like float64) string {
	text := percent(v)
	if a := math.Abs(like); a > 0 && a < 0.0095 { // most pauses are less than a thousandth
		text = significant(100*v) + "%"
	}
	if v == like {
		return text
	}
	return strings.TrimSuffix(text, "%")
}

func rateUnit(v, _ float64) string { return significant(v) }

// significant writes a number with three digits.
func significant(v float64) string {
	switch a := math.Abs(v); {
	case a == 0:
		return "0"
	case a < 0.00995:
		return fmt.Sprintf("%.2g", v)
	case a < 0.0995:
		return fmt.Sprintf("%.3f", v)
	case a < 0.995:
		return fmt.Sprintf("%.2f", v)
	case a < 99.5:
		return fmt.Sprintf("%.1f", v)
	}
	return fmt.Sprintf("%.0f", v)
}

// isKnown reports whether an estimate is one.
func isKnown(e pacer.Estimate) bool { return finite(e.Estimate) != nil }

// estimateText is the estimate alone.
func estimateText(e pacer.Estimate, u unit) string {
	if !isKnown(e) {
		return "-"
	}
	return u(e.Estimate, e.Estimate)
}

// rangeText is the interval alone, "" when there is none.
func rangeText(e pacer.Estimate, u unit) string {
	if !isKnown(e) || finite(e.Low) == nil || finite(e.High) == nil || e.Low == e.High {
		return ""
	}
	low, high := u(e.Low, e.Estimate), u(e.High, e.Estimate)
	return "[" + low + ", " + high + "]"
}

// intervalText is an estimate with its interval, for running text.
func intervalText(e pacer.Estimate, u unit) string {
	if r := rangeText(e, u); r != "" {
		return estimateText(e, u) + " " + r
	}
	return estimateText(e, u)
}

// estimateCells are an estimate and its interval as two cells of a table.
func estimateCells(e pacer.Estimate, u unit) []texttab.Cell {
	return []texttab.Cell{{Text: estimateText(e, u)}, {Text: rangeText(e, u), Style: term.Faint}}
}

// A forecasted is a forecast as JSON has it.
type forecasted struct {
	GOGCPercent         int64    `json:"gogc_percent"`
	GOMEMLIMITBytes     int64    `json:"gomemlimit_bytes"`
	ContainerLimitBytes *uint64  `json:"container_limit_bytes"`
	GOMAXPROCS          *int     `json:"gomaxprocs"`
	CyclesPerSecond     quantity `json:"gc_cycles_per_second"`
	GCCPURatio          quantity `json:"gc_cpu_ratio"`
	GCCPUCores          quantity `json:"gc_cpu_cores"`
	AssistRatio         quantity `json:"assist_ratio"`
	PauseRatio          quantity `json:"pause_ratio"`
	HeapP50Bytes        quantity `json:"heap_p50_bytes"`
	HeapP90Bytes        quantity `json:"heap_p90_bytes"`
	HeapPeakBytes       quantity `json:"heap_peak_bytes"`
	RSSP50Bytes         quantity `json:"rss_p50_bytes"`
	RSSP90Bytes         quantity `json:"rss_p90_bytes"`
	RSSPeakBytes        quantity `json:"rss_peak_bytes"`
	OOMProbability      quantity `json:"oom_probability"`
	LimiterProbability  quantity `json:"limiter_probability"`
	Notes               []string `json:"notes"`

	forecast pacer.Forecast
}

func forecastedOf(f pacer.Forecast) forecasted {
	return forecasted{
		GOGCPercent: f.Settings.GOGCPercent, GOMEMLIMITBytes: f.Settings.GOMEMLIMITBytes,
		ContainerLimitBytes: nonZero(f.Settings.ContainerLimitBytes), GOMAXPROCS: nonZero(f.Settings.GOMAXPROCS),
		CyclesPerSecond: quantityOf(f.CyclesPerSecond), GCCPURatio: quantityOf(f.GCCPURatio), GCCPUCores: quantityOf(f.GCCPUCores),
		AssistRatio: quantityOf(f.AssistRatio), PauseRatio: quantityOf(f.PauseRatio),
		HeapP50Bytes: quantityOf(f.HeapP50Bytes), HeapP90Bytes: quantityOf(f.HeapP90Bytes), HeapPeakBytes: quantityOf(f.HeapPeakBytes),
		RSSP50Bytes: quantityOf(f.RSSP50Bytes), RSSP90Bytes: quantityOf(f.RSSP90Bytes), RSSPeakBytes: quantityOf(f.RSSPeakBytes),
		OOMProbability: quantityOf(f.OOMProbability), LimiterProbability: quantityOf(f.LimiterProbability),
		Notes: append([]string{}, f.Notes...), forecast: f,
	}
}
