package procmem

import (
	"errors"
	"fmt"
)

// What can go wrong with another process's memory. They are the causes of an
// [*Error]; test for them with [errors.Is].
var (
	// ErrExited: the process is no more. Zombies count as exited.
	ErrExited = errors.New("the process has exited")
	// ErrReplaced: the process lives, but not with the memory that was opened:
	// it ran execve. A process that took over the PID of one that ended is
	// reported as ErrExited of the latter.
	ErrReplaced = errors.New("the process was replaced by another program")
	// ErrAccess: the kernel does not let us look.
	ErrAccess = errors.New("access denied")
	// ErrUnmapped: the range is not, or not wholly, mapped and readable.
	ErrUnmapped = errors.New("address not mapped")
	// ErrKernelThread: there is no user memory.
	ErrKernelThread = errors.New("that is a kernel thread, it has no memory of its own")
	// ErrThread: the number is that of a thread, not of a process.
	ErrThread = errors.New("that is a thread, not a process")
	// ErrUnsupported: reading another process's memory needs Linux.
	ErrUnsupported = errors.New("not supported on this operating system")
	// ErrTooLarge: more than the package is willing to parse or hold.
	ErrTooLarge = errors.New("too large")
)

// An Error is a failed operation on another process.
type Error struct {
	Op   string // what was done: "open", "read", ...
	PID  int    // 0 when it is about an Image
	Addr uint64 // of a read
	Len  int    // of a read
	Err  error  // one of the package's Err values, or another cause
	Hint string // one line of advice, "" when there is none
}

func (e *Error) Error() string {
	s := e.Op
	if e.PID != 0 {
		s += fmt.Sprintf(" process %d", e.PID)
	} else {
		s += " memory image"
	}
	if e.Len != 0 {
		s += fmt.Sprintf(", %d bytes at %#x", e.Len, e.Addr)
	}
	return s + ": " + e.Err.Error()
}

func (e *Error) Unwrap() error { return e.Err }
