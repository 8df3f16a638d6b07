package pacer

import "github.com/heapwright/heapwright/record"

// A Twin is a model of one process. It is not changed by use, and may be used
// by several goroutines.
type Twin struct{}

// Fit makes the twin of the process that a recording shows. Errors: *ShortError,
// *UnfitError, *UnsupportedError.
func Fit(rec *record.Recording) (*Twin, error) { return nil, &UnfitError{"not yet"} }

// Current is what the process was set to at the end of the recording.
func (t *Twin) Current() Settings { return Settings{} }

// Forecast replays the recording under other settings.
func (t *Twin) Forecast(s Settings) Forecast { return Forecast{} }

// Forecasts replays it under many, on all CPUs.
func (t *Twin) Forecasts(s []Settings) []Forecast { return nil }

// Workload is what the recording says of the program.
func (t *Twin) Workload() Workload { return Workload{} }

// Parameters are what was fitted, for people to look at.
func (t *Twin) Parameters() []Parameter { return nil }

// Missing says what the recording lacked, and what is less sure for it, in full sentences.
func (t *Twin) Missing() []string { return nil }

// StormFloorBytes is the lowest GOMEMLIMIT, in bytes, at which the collector
// still keeps up with the program: below it, it would take more than a quarter
// of the CPU.
func (t *Twin) StormFloorBytes() Estimate { return Estimate{} }

// Measure says what a recording shows of what a Forecast predicts. Errors:
// *ShortError, *UnfitError.
func Measure(rec *record.Recording) (Outcome, error) { return Outcome{}, &UnfitError{"not yet"} }
