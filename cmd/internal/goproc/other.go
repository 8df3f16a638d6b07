//go:build !linux

package goproc

import (
	"context"

	"github.com/heapwright/heapwright/record"
)

func unsupported(pid int) error {
	return &Error{PID: pid, Err: ErrUnsupported, hint: "run heapwright on the Linux host of the process, or read its /metrics or /debug/pprof by URL"}
}

// Identify fails with [ErrUnsupported].
func Identify(pid int) (record.Process, error) {
	return record.Process{PID: pid}, unsupported(pid)
}

// List fails with [ErrUnsupported].
func List(ctx context.Context) ([]Entry, error) { return nil, unsupported(0) }

// A Stat follows what the kernel knows of one process. There is none on this
// operating system.
type Stat struct{}

// OpenStat fails with [ErrUnsupported].
func OpenStat(pid int, proc record.Process) (*Stat, error) { return nil, unsupported(pid) }

// Fill fails with [ErrUnsupported].
func (s *Stat) Fill(sample *record.Sample) error { return unsupported(0) }

// FillQuick fails with [ErrUnsupported].
func (s *Stat) FillQuick(sample *record.Sample) error { return unsupported(0) }

// Neighbours finds none.
func (s *Stat) Neighbours(most int) []Neighbour { return nil }

// A Watch looks for Go processes again and again. There are none on this operating
// system.
type Watch struct{}

// NewWatch returns a Watch that finds nothing.
func NewWatch() *Watch { return &Watch{} }

// Look fails with [ErrUnsupported].
func (w *Watch) Look(ctx context.Context) ([]Entry, error) { return nil, unsupported(0) }

// Close does nothing.
func (s *Stat) Close() error { return nil }
