package cli

import "fmt"

// ExitCode is how heapwright ends.
type ExitCode int

// The exit codes. `record -- CMD` ends with the status of CMD instead, as a
// shell has it: 128 and the number of the signal that killed it.
const (
	ExitOK           ExitCode = 0 // nothing to complain about
	ExitFinding      ExitCode = 1 // a finding at or above --fail-on, or a failed gate
	ExitCouldNotRun  ExitCode = 2 // wrong usage, or it could not be done
	ExitInconclusive ExitCode = 3 // it ran, but there was not enough to go by
)

// An exitError ends heapwright with a code of its own. Err, which may be nil, is
// printed like any other.
type exitError struct {
	code ExitCode
	err  error
}

func (e *exitError) Error() string {
	if e.err == nil {
		return fmt.Sprintf("exit code %d", e.code)
	}
	return e.err.Error()
}

func (e *exitError) Unwrap() error { return e.err }

// exitWith ends with a code and says nothing more.
func exitWith(code ExitCode) error {
	if code == ExitOK {
		return nil
	}
	return &exitError{code: code}
}

// A hintError carries advice on what to do about an error.
type hintError struct {
	err  error
	hint string
}

func (e *hintError) Error() string { return e.err.Error() }
func (e *hintError) Unwrap() error { return e.err }

// Hint returns the advice.
func (e *hintError) Hint() string { return e.hint }

// hinted adds advice to an error.
func hinted(err error, format string, args ...any) error {
	return &hintError{err, fmt.Sprintf(format, args...)}
}

// usagef is an error in how a command was called.
func usagef(command, format string, args ...any) error {
	return hinted(fmt.Errorf(format, args...), "heapwright %s --help shows how it is used", command)
}
