package forecast

import (
	"math"

	"github.com/heapwright/heapwright/pacer"
)

// A Quantity is an estimate as JSON has it: null for what is not known.
type Quantity struct {
	Estimate *float64 `json:"estimate"`
	Low      *float64 `json:"low"`
	High     *float64 `json:"high"`
}

// QuantityOf is the estimate as JSON has it.
func QuantityOf(e pacer.Estimate) Quantity {
	return Quantity{Finite(e.Estimate), Finite(e.Low), Finite(e.High)}
}

// Finite returns nil, which JSON writes as null, for what is not a number.
func Finite(v float64) *float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil
	}
	return &v
}

// Known reports whether an estimate is one.
func Known(e pacer.Estimate) bool { return Finite(e.Estimate) != nil }

// An Outlook is the forecast of one setting as JSON has it.
type Outlook struct {
	GOGCPercent         int64    `json:"gogc_percent"`
	GOMEMLIMITBytes     int64    `json:"gomemlimit_bytes"`
	ContainerLimitBytes *uint64  `json:"container_limit_bytes"`
	GOMAXPROCS          *int     `json:"gomaxprocs"`
	CyclesPerSecond     Quantity `json:"gc_cycles_per_second"`
	GCCPURatio          Quantity `json:"gc_cpu_ratio"`
	GCCPUCores          Quantity `json:"gc_cpu_cores"`
	AssistRatio         Quantity `json:"assist_ratio"`
	PauseRatio          Quantity `json:"pause_ratio"`
	HeapP50Bytes        Quantity `json:"heap_p50_bytes"`
	HeapP90Bytes        Quantity `json:"heap_p90_bytes"`
	HeapPeakBytes       Quantity `json:"heap_peak_bytes"`
	RSSP50Bytes         Quantity `json:"rss_p50_bytes"`
	RSSP90Bytes         Quantity `json:"rss_p90_bytes"`
	RSSPeakBytes        Quantity `json:"rss_peak_bytes"`
	OOMProbability      Quantity `json:"oom_probability"`
	LimiterProbability  Quantity `json:"limiter_probability"`
	Notes               []string `json:"notes"`

	Forecast pacer.Forecast `json:"-"`
}

// OutlookOf is the forecast as JSON has it.
func OutlookOf(f pacer.Forecast) Outlook {
	return Outlook{
		GOGCPercent: f.Settings.GOGCPercent, GOMEMLIMITBytes: f.Settings.GOMEMLIMITBytes,
		ContainerLimitBytes: nonZero(f.Settings.ContainerLimitBytes), GOMAXPROCS: nonZero(f.Settings.GOMAXPROCS),
		CyclesPerSecond: QuantityOf(f.CyclesPerSecond), GCCPURatio: QuantityOf(f.GCCPURatio), GCCPUCores: QuantityOf(f.GCCPUCores),
		AssistRatio: QuantityOf(f.AssistRatio), PauseRatio: QuantityOf(f.PauseRatio),
		HeapP50Bytes: QuantityOf(f.HeapP50Bytes), HeapP90Bytes: QuantityOf(f.HeapP90Bytes), HeapPeakBytes: QuantityOf(f.HeapPeakBytes),
		RSSP50Bytes: QuantityOf(f.RSSP50Bytes), RSSP90Bytes: QuantityOf(f.RSSP90Bytes), RSSPeakBytes: QuantityOf(f.RSSPeakBytes),
		OOMProbability: QuantityOf(f.OOMProbability), LimiterProbability: QuantityOf(f.LimiterProbability),
		Notes: append([]string{}, f.Notes...), Forecast: f,
	}
}

// nonZero returns nil for a zero value, where zero is how "not known" is written.
func nonZero[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}
