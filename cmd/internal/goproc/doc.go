// Package goproc finds the Go processes of this host and says what they are:
// the program and its module, the Go release that built it and how, whose it
// is, in which container, and what the kernel lets it use. [Stat] follows what
// the kernel knows of one process.
//
// It looks at executables and at /proc only. It does not read a process's memory
// (package remote), does not keep arguments, and of the environment keeps only
// the variables of the Go runtime. Executables are hostile input: every read of
// one is bounded.
package goproc

import (
	"errors"
	"fmt"

	"github.com/heapwright/heapwright/cmd/internal/procmem"
)

// Why a process cannot be identified, or not be read; test with [errors.Is].
var (
	// ErrNotGo: the executable holds no Go program.
	ErrNotGo = errors.New("not a Go program")
	// ErrNoBuildInfo: a Go program, but nothing says of which Go release.
	ErrNoBuildInfo = errors.New("a Go program without build information")
	// Err32Bit: a Go program for a 32-bit architecture.
	Err32Bit = errors.New("a 32-bit Go program")
	// ErrArch: a Go program for another architecture than amd64 and arm64.
	ErrArch = errors.New("a Go program for an unsupported architecture")

	// The same values as package procmem's, so that either can be tested for.

	ErrAccess       = procmem.ErrAccess
	ErrExited       = procmem.ErrExited
	ErrKernelThread = procmem.ErrKernelThread
	ErrThread       = procmem.ErrThread
	ErrUnsupported  = procmem.ErrUnsupported
)

// An Error says why a process cannot be identified.
type Error struct {
	PID    int
	Name   string // of the process, "" when not known
	Err    error  // one of the package's Err values, or another cause
	Detail string // more about it, may be ""
	hint   string
}

func (e *Error) Error() string {
	s := fmt.Sprintf("process %d", e.PID)
	if e.Name != "" {
		s += fmt.Sprintf(" (%s)", e.Name)
	}
	s += ": " + e.Err.Error()
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// Hint is one line of advice, "" when there is none.
func (e *Error) Hint() string { return e.hint }
