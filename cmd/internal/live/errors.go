package live

import (
	"errors"
	"fmt"
	"strings"
	"time"
)

// A RangeError says that the runtime itself would not take a value.
type RangeError struct {
	Setting string // "GOGC", "GOMEMLIMIT", "heap sampling rate"
	Value   int64
	Reason  string
}

func (e *RangeError) Error() string {
	return fmt.Sprintf("%s cannot be %d: %s", e.Setting, e.Value, e.Reason)
}

// A StormFloorError says that a memory limit is so low that the process would do
// little but collect garbage.
type StormFloorError struct {
	LimitBytes int64
	FloorBytes int64
	Reason     string // what the floor is made of
}

func (e *StormFloorError) Error() string {
	return fmt.Sprintf("a memory limit of %d bytes is below the storm floor of %d bytes: %s", e.LimitBytes, e.FloorBytes, e.Reason)
}

// Hint says what to do.
func (e *StormFloorError) Hint() string {
	return fmt.Sprintf("choose a limit of at least %d MiB", (e.FloorBytes+1<<20-1)>>20)
}

// An UnboundedError says that a change would leave a process in which nothing
// ever starts a collection.
type UnboundedError struct{}

func (*UnboundedError) Error() string {
	return "GOGC=off without a memory limit: nothing would start a collection until the kernel kills the process"
}

// Hint says what to do.
func (*UnboundedError) Hint() string { return "set a memory limit with it" }

// A SelfTunedError says that a program changes its settings itself. Two
// controllers of one setting work against each other.
type SelfTunedError struct {
	By   string // the package that does
	Ours bool   // it is one of this project's
}

func (e *SelfTunedError) Error() string {
	return fmt.Sprintf("the program sets its own GC: it runs %s", e.By)
}

// Hint says what to do.
func (e *SelfTunedError) Hint() string {
	if e.Ours {
		return "ask the program itself: --via http://127.0.0.1:6060/debug/heapwright/, if it serves package debugz with AllowChange there"
	}
	return "change that package's configuration, or take it out of the program"
}

// An InconsistentError says that the pacer's settings contradict each other, so
// that it is not certain that they are what they seem.
type InconsistentError struct{ Reason string }

func (e *InconsistentError) Error() string {
	return "the pacer's settings contradict each other: " + e.Reason
}

// Hint says what may be the cause.
func (e *InconsistentError) Hint() string {
	return "if a tool died while it changed them, heapwright undo puts them back; otherwise the runtime is not the one it seems to be"
}

// An OwnerError says that a process belongs to another user.
type OwnerError struct{ PID, UID int }

func (e *OwnerError) Error() string {
	return fmt.Sprintf("process %d belongs to user %d: only that user and root may change it", e.PID, e.UID)
}

// Hint says what to do.
func (e *OwnerError) Hint() string { return "run as that user, or as root (sudo)" }

// An OwnedError says that another tool is changing a process now.
type OwnedError struct {
	PID   int
	Owner *Owner // nil when it is not known: another user's, or just starting
}

func (e *OwnedError) Error() string {
	if e.Owner == nil {
		return fmt.Sprintf("process %d is being changed by another tool", e.PID)
	}
	return fmt.Sprintf("process %d is being changed by %s, process %d of user %d, since %s",
		e.PID, e.Owner.Tool, e.Owner.PID, e.Owner.UID, e.Owner.Since.Format(time.RFC3339))
}

// Hint says what to do.
func (e *OwnedError) Hint() string {
	return "wait until it ends, or stop it: it puts back what it changed"
}

// An OrphanError says that a tool died with its watchdog, and left its change.
type OrphanError struct{ Lease *Lease }

func (e *OrphanError) Error() string {
	return fmt.Sprintf("process %d still has the values that %s set at %s, which died before it could put back the old ones",
		e.Lease.PID, e.Lease.Owner.Tool, e.Lease.Owner.Since.Format(time.RFC3339))
}

// Hint says what to do.
func (e *OrphanError) Hint() string {
	return fmt.Sprintf("heapwright undo %d puts back the old values", e.Lease.PID)
}

// A NoLeaseError says that nothing is known of a change of a process.
type NoLeaseError struct{ PID int }

func (e *NoLeaseError) Error() string {
	return fmt.Sprintf("nothing to undo: no change of process %d is on record", e.PID)
}

// Hint says what may be the cause.
func (e *NoLeaseError) Hint() string {
	return "changes are on record for the user who made them; if root did, undo as root"
}

// A ChangedError says that settings are not what they were when they were last
// read, or not what was written: the program, or another tool, set them.
type ChangedError struct{ Symbols []string }

func (e *ChangedError) Error() string {
	return "somebody else changed " + strings.Join(e.Symbols, " and ")
}

// Hint says what to do.
func (e *ChangedError) Hint() string { return "look at what the process does, and plan again" }

// A WatchdogError says that the watchdog could not be started. Nothing was written.
type WatchdogError struct{ Err error }

func (e *WatchdogError) Error() string { return "starting the watchdog: " + e.Err.Error() }

func (e *WatchdogError) Unwrap() error { return e.Err }

var (
	// ErrNothing: the process is set like that already.
	ErrNothing = errors.New("nothing to change: the process has these settings")
	// ErrApplied: a session applies one change.
	ErrApplied = errors.New("this session has applied a change already")
	// ErrNotApplied: what is to be amended was not applied.
	ErrNotApplied = errors.New("this session has applied no such change")
)
