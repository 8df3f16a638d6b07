package store

import (
	"errors"
	"fmt"
)

// ErrClosed says that the store was closed.
var ErrClosed = errors.New("the store is closed")

// A LockedError says that another process has the store open.
type LockedError struct {
	Dir string
	PID int // 0: not known
}

func (e *LockedError) Error() string {
	who := "another process"
	if e.PID != 0 {
		who = fmt.Sprintf("process %d", e.PID)
	}
	return fmt.Sprintf("%s has the store %s open", who, e.Dir)
}

// Hint says what to do.
func (e *LockedError) Hint() string {
	return "one agent writes a data directory: stop that one, or give this one a directory of its own"
}

// A FullError says that the file system of the store has no room. Nothing that was
// stored before is lost, and the store goes on by itself when there is room again.
type FullError struct {
	Dir  string
	Free int64 // bytes that are free; -1 where that is not known
	Need int64 // bytes that must be free for the store to go on
	Err  error // of the system call that failed; nil where the store did not try
}

func (e *FullError) Error() string {
	if e.Free < 0 || e.Free >= e.Need {
		return fmt.Sprintf("there is no room for %s: %v", e.Dir, e.Err)
	}
	return fmt.Sprintf("there is no room for %s: %s are free, and %s are needed: %s are missing",
		e.Dir, mib(e.Free), mib(e.Need), mib(e.Missing()))
}

func (e *FullError) Unwrap() error { return e.Err }

// Missing is how much must become free, in bytes.
func (e *FullError) Missing() int64 { return max(e.Need-max(e.Free, 0), 0) }

// Hint says what to do.
func (e *FullError) Hint() string {
	return "make room on the disk, or keep less: a shorter retention or a limit in bytes"
}

// mib is an amount of bytes for people, rounded up: what is missing must suffice.
func mib(n int64) string {
	return fmt.Sprintf("%.1f MiB", float64((n+104857)/104858)/10)
}

// Kinds of QueryError, as Prometheus' API names them, and one more.
const (
	KindBadData   = "bad_data"    // the question is wrong
	KindTimeout   = "timeout"     // it took too long
	KindCanceled  = "canceled"    // who asked went away
	KindExecution = "execution"   // it could not be answered, or touches too much
	KindTooMany   = "too_many"    // too many others are being answered
	KindInternal  = "internal"    // the storage failed
	KindRemote    = "unavailable" // the server that was asked did not answer, or not in Prometheus' way
)

// A QueryError says why a question has no answer.
type QueryError struct {
	Kind string
	Err  error
}

func (e *QueryError) Error() string { return e.Err.Error() }

func (e *QueryError) Unwrap() error { return e.Err }
