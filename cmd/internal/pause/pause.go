// Package pause stops a process for a moment, for those who want to read all of its
// memory as it is at one instant. It is the one package that stops a process, and
// stopping is all that it does: it neither reads nor writes what it stops.
//
// The kernel holds the threads for the thread of ours that stopped them, and lets go
// of them when that ends: whatever becomes of this process, its crash and kill -9
// included, the other one goes on. A deadline does the same while this process
// lives; only if this process itself is stopped (SIGSTOP), the other one stays
// stopped with it.
//
// Signals that arrive meanwhile are delivered when the process goes on. A thread in
// a system call that cannot be interrupted does not stop before that returns; it can
// change memory only through what the kernel does for it.
package pause

import (
	"errors"
	"fmt"
	"time"
)

// Options are how a process is stopped.
type Options struct {
	// For is the longest that the process may be stopped; 0 means DefaultFor. What
	// holds it longer is cut off.
	For time.Duration
}

// DefaultFor is Options.For where that is 0.
const DefaultFor = 10 * time.Second

// A Report is how long a process was stopped.
type Report struct {
	Threads int
	// Stopping is from the first thread that was told to stop to the last that did,
	// Stopped from the first to when all were let go: the longest that any thread was
	// stopped.
	Stopping, Stopped time.Duration
	// Expired says that the deadline ended it: what was read after that is not of
	// one instant.
	Expired bool
}

// ErrNotStopped says that some thread did not stop before the deadline.
var ErrNotStopped = errors.New("not all of its threads stopped in time")

// ErrUnsupported says that this needs Linux.
var ErrUnsupported = errors.New("stopping a process is not supported on this operating system")

// A TracedError says that a debugger or tracer has the process already.
type TracedError struct{ PID, Tracer int }

func (e *TracedError) Error() string {
	return fmt.Sprintf("stopping process %d: process %d traces it already", e.PID, e.Tracer)
}

// Hint says what to do.
func (e *TracedError) Hint() string {
	return "end the debugger or strace that holds it, or do without --pause"
}

// An Error says that a process could not be stopped.
type Error struct {
	PID  int
	Err  error
	hint string
}

func (e *Error) Error() string { return fmt.Sprintf("stopping process %d: %v", e.PID, e.Err) }

// Hint says what to do, "" when there is nothing to say.
func (e *Error) Hint() string { return e.hint }

func (e *Error) Unwrap() error { return e.Err }
