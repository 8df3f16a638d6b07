package remote

import (
	"errors"
	"fmt"
)

// An UnsupportedError says that this kind of program cannot be read: its Go
// release, architecture or form is not one that the tables know.
type UnsupportedError struct {
	What string // what about the program
	hint string
	err  error
}

func (e *UnsupportedError) Error() string { return "unsupported program: " + e.What }

// Hint says what is supported, or what to do.
func (e *UnsupportedError) Hint() string { return e.hint }

func (e *UnsupportedError) Unwrap() error { return e.err }

// A RefusedError says that the program looked supported, but what was found in
// it contradicts itself or /proc, so that no number from it can be trusted.
type RefusedError struct {
	Reason string
	hint   string
}

func (e *RefusedError) Error() string { return "refusing to read: " + e.Reason }

// Hint says what may be the cause.
func (e *RefusedError) Hint() string {
	if e.hint != "" {
		return e.hint
	}
	return "the program's Go runtime is modified, damaged or hostile; please report its Go version and build settings (heapwright ps --json)"
}

func refuse(format string, args ...any) error {
	return &RefusedError{Reason: fmt.Sprintf(format, args...)}
}

// ErrNotReady says that the target's runtime has not finished starting. It may be tried again at once.
var ErrNotReady = errors.New("the Go runtime of the process is still starting")

// ErrUnsettled says that the target's books kept moving under every attempt to
// read them. It is about this one reading; the next may succeed.
var ErrUnsettled = errors.New("the runtime's books changed under every reading")
