// Package process is a Go process of this machine as a source of samples: its
// runtime's books, read from its memory (package remote), and what the kernel
// knows of it (package goproc), in one reading. It does not look for processes,
// does not walk stacks or profiles, and keeps nothing of what it reads.
package process

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/goproc"
	"github.com/heapwright/heapwright/cmd/internal/procmem"
	"github.com/heapwright/heapwright/cmd/internal/recorder"
	"github.com/heapwright/heapwright/cmd/internal/remote"
	"github.com/heapwright/heapwright/record"
)

// A Target is a process that was attached to. It is a [recorder.Source], and
// serves one reader at a time.
type Target struct {
	runtime  *remote.Target
	stat     *goproc.Stat
	identity record.Process
}

// Attach finds a process's runtime, and opens what the kernel says of it. The
// errors are those of goproc.Identify, remote.Attach and goproc.OpenStat; that of
// a process that is no more is a [recorder.ErrEnded] too.
func Attach(ctx context.Context, pid int) (*Target, error) {
	p, err := goproc.Identify(pid)
	if err != nil {
		return nil, Ended(err)
	}
	t, err := remote.Attach(ctx, pid)
	if err != nil {
		return nil, Ended(err)
	}
	stat, err := goproc.OpenStat(pid, p)
	if err != nil {
		t.Close()
		return nil, Ended(err)
	}
	return &Target{runtime: t, stat: stat, identity: p}, nil
}

// Process is what does not change about it.
func (t *Target) Process() record.Process { return t.identity }

// Runtime is its runtime, for who walks its memory.
func (t *Target) Runtime() *remote.Target { return t.runtime }

// Close lets go of the process.
func (t *Target) Close() error { return errors.Join(t.stat.Close(), t.runtime.Close()) }

// Sample reads the runtime's books, and then the kernel's. A sample without the
// kernel's is still one.
func (t *Target) Sample(s *record.Sample) error {
	if err := t.runtime.Sample(s); err != nil {
		return Ended(err)
	}
	if err := t.stat.Fill(s); err != nil && IsEnded(err) {
		return Ended(err)
	}
	return nil
}

// Quick is [Target.Sample] for those who look often: of what the kernel knows it has
// resident memory and CPU time only.
func (t *Target) Quick(s *record.Sample) error {
	if err := t.runtime.Sample(s); err != nil {
		return Ended(err)
	}
	if err := t.stat.FillQuick(s); err != nil && IsEnded(err) {
		return Ended(err)
	}
	return nil
}

// Cycles appends the GC cycles since the previous call.
func (t *Target) Cycles(dst []record.Cycle) ([]record.Cycle, uint64, error) {
	dst, lost, err := t.runtime.Cycles(dst)
	return dst, lost, Ended(err)
}

// Neighbours are the other processes of its cgroup that have most memory.
func (t *Target) Neighbours(most int) (all []recorder.Neighbour) {
	for _, n := range t.stat.Neighbours(most) {
		all = append(all, recorder.Neighbour(n))
	}
	return all
}

// CPUTime is the CPU time of the process since it started, all threads together,
// by the kernel's clock of it: in nanoseconds, where the times of a sample come in
// steps of 10 ms.
func (t *Target) CPUTime() (time.Duration, error) {
	p := t.runtime.Process()
	if p == nil {
		return 0, fmt.Errorf("reading the CPU clock: a captured image has none")
	}
	d, err := p.CPUTime()
	return d, Ended(err)
}

// IsEnded reports whether an error says that a process is no more, or is another
// program now.
func IsEnded(err error) bool {
	return errors.Is(err, recorder.ErrEnded) || errors.Is(err, procmem.ErrExited) || errors.Is(err, procmem.ErrReplaced)
}

// An EndedError is an error of a process that is no more, in the recorder's words.
type EndedError struct{ Err error }

func (e *EndedError) Error() string { return e.Err.Error() }
func (e *EndedError) Unwrap() error { return e.Err }

// Is makes it a recorder.ErrEnded.
func (e *EndedError) Is(target error) bool { return target == recorder.ErrEnded }

// Ended translates what the packages below say of a process that is no more into
// [recorder.ErrEnded]; other errors it returns as they are.
func Ended(err error) error {
	if err != nil && IsEnded(err) {
		return &EndedError{err}
	}
	return err
}
