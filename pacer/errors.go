package pacer

import (
	"fmt"
	"time"
)

// A ShortError says that a recording shows too little to fit a twin to.
type ShortError struct {
	Reason string        // what is missing, such as "1 GC cycle, 4 are needed"
	Record time.Duration // how long to record; 0 when longer would not help
}

func (e *ShortError) Error() string {
	if e.Record == 0 {
		return "the recording shows too little: " + e.Reason
	}
	return fmt.Sprintf("the recording shows too little: %s; record %v", e.Reason, e.Record)
}

// An UnfitError says that no one twin fits a recording: its source lacks what
// is needed, or it contradicts itself.
type UnfitError struct{ Reason string }

func (e *UnfitError) Error() string { return "no twin fits the recording: " + e.Reason }

// An UnsupportedError says that the pacer of a Go release is not known.
type UnsupportedError struct{ GoVersion string }

func (e *UnsupportedError) Error() string {
	return fmt.Sprintf("the pacer of %q is not known; those of go1.20 to go1.27 are", e.GoVersion)
}
