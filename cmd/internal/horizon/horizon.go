// Package horizon says when a process will have used up its memory, and how sure
// that is: from what each GC cycle found alive, what the heap grows to above that
// under GOGC and GOMEMLIMIT, and what is resident beside it. The answer is an
// interval, or that there is none to give. Back-tests of it are here too.
//
// It reads no process and no clock: who asks gives the instant. What other settings
// would do is package forecast's question.
package horizon

import (
	"time"
)

// A State says where the memory of a process is going.
type State string

// The states.
const (
	None    State = "none"    // nothing says that the limit will be reached
	Rising  State = "rising"  // it rises, but no deadline can be given
	Reaches State = "reaches" // it will be reached, in the interval that is given
	Over    State = "over"    // what the process needs is at the limit now
)

// An Instant is a time that was forecast, with the interval in which it lies with 95%
// confidence. A zero High is no end: it may never come.
type Instant struct {
	Time time.Time `json:"time"`
	Low  time.Time `json:"low"`
	High time.Time `json:"high,omitzero"`
}

// A Slope is growth in bytes per second, with its 95% interval.
type Slope struct {
	PerSecond float64 `json:"bytes_per_second"`
	Low       float64 `json:"low_bytes_per_second"`
	High      float64 `json:"high_bytes_per_second"`
}

// An Outlook is what can be said at an instant of the time after it.
type Outlook struct {
	State  State     `json:"state"`
	At     time.Time `json:"at"` // the instant at which it is said
	Reason string    `json:"reason"`

	LimitBytes     float64 `json:"limit_bytes"`      // 0: there is none
	NeedBytes      float64 `json:"need_bytes"`       // the peak that the next cycles come to
	LiveBytes      float64 `json:"live_bytes"`       // the live heap by its trend, now
	SoftLimitBytes float64 `json:"soft_limit_bytes"` // GOMEMLIMIT; 0: none

	// Killed is when the peak of memory reaches the limit; of Reaches and Over only. Of
	// Rising and None there may be a NotBefore.
	Killed    *Instant   `json:"killed,omitempty"`
	NotBefore *time.Time `json:"not_before,omitempty"`
	// Hurts is when the collector, held by GOMEMLIMIT, begins to take a quarter of the CPU.
	Hurts *Instant `json:"gc_hurts,omitempty"`

	Live   Slope     `json:"live_slope"` // of the live heap
	Need   Slope     `json:"need_slope"` // of the peak
	Since  time.Time `json:"since"`      // the trend is that of the time since then
	Change bool      `json:"change"`     // because the trend changed then; false: it is where the data begin
	Points int       `json:"points"`     // that it rests on
	Daily  bool      `json:"daily"`      // a daily rhythm was taken into account

	Warning *Warning `json:"warning,omitempty"`

	// path is the peak as forecast, for drawing.
	path func(time.Time) (mid, low, high float64)
}

// A Warning is an inflection: pauses and the growth of the live heap have left the band
// of what they were.
type Warning struct {
	Since       time.Time `json:"since"`
	PauseP95    float64   `json:"pause_p95_seconds"`      // over the last cycles
	PauseBefore float64   `json:"pause_p95_was_seconds"`  // over those before
	Growth      float64   `json:"growth_per_cycle_ratio"` // of the live heap, a cycle
	GrowthWas   float64   `json:"growth_per_cycle_was_ratio"`
}

// Left is the time from the instant of the outlook to the limit, or most where the
// limit is further or not in sight.
func (o *Outlook) Left(most time.Duration) time.Duration {
	if o.Killed == nil {
		return most
	}
	return min(max(o.Killed.Time.Sub(o.At), 0), most)
}

// Path is the peak of memory as forecast for an instant, with the edges of its 95%
// interval. It reports false where nothing was forecast.
func (o *Outlook) Path(t time.Time) (mid, low, high float64, ok bool) {
	if o.path == nil {
		return 0, 0, 0, false
	}
	mid, low, high = o.path(t)
	return mid, low, high, true
}
