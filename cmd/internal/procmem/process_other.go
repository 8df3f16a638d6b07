//go:build !linux

package procmem

import (
	"os"
	"time"
)

// A Process is the memory of a live process. There is none on this operating
// system: [Open] always fails.
type Process struct{}

// Open fails with [ErrUnsupported].
func Open(pid int) (*Process, error) {
	return nil, unsupported("open", pid)
}

func unsupported(op string, pid int) error {
	return &Error{Op: op, PID: pid, Err: ErrUnsupported,
		Hint: "run heapwright on the Linux host of the process, or read its /metrics or /debug/pprof by URL"}
}

// PID returns 0.
func (p *Process) PID() int { return 0 }

// StartTicks returns 0.
func (p *Process) StartTicks() uint64 { return 0 }

// Alive fails with [ErrUnsupported].
func (p *Process) Alive() error { return unsupported("check", 0) }

// Read fails with [ErrUnsupported].
func (p *Process) Read(addr uint64, buf []byte) error { return unsupported("read", 0) }

// ReadBatch fails with [ErrUnsupported].
func (p *Process) ReadBatch(reqs []Request) (int, error) { return 0, unsupported("read", 0) }

// Maps fails with [ErrUnsupported].
func (p *Process) Maps() ([]Mapping, error) { return nil, unsupported("list mappings of", 0) }

// OpenExe fails with [ErrUnsupported].
func (p *Process) OpenExe() (*os.File, error) { return nil, unsupported("open", 0) }

// OpenProc fails with [ErrUnsupported].
func (p *Process) OpenProc(name string) (*os.File, error) { return nil, unsupported("open", 0) }

// SharesNanotime is false: there is no process.
func (p *Process) SharesNanotime() bool { return false }

// CPUTime fails with [ErrUnsupported].
func (p *Process) CPUTime() (time.Duration, error) { return 0, unsupported("read the CPU clock of", 0) }

// Close does nothing.
func (p *Process) Close() error { return nil }
