package cli

import (
	"context"
	"io"

	"github.com/heapwright/heapwright/cmd/internal/goproc"
	"github.com/heapwright/heapwright/cmd/internal/recorder"
	"github.com/heapwright/heapwright/record"
)

// A Host has processes and can read them.
type Host interface {
	// Processes lists the Go processes, and those that may be.
	Processes(ctx context.Context) ([]goproc.Entry, error)
	// Attach finds a process's runtime, so that it can be read.
	Attach(ctx context.Context, pid int) (Target, error)
	// Endpoint reads a Go program by the URL of its /metrics or /debug/pprof.
	Endpoint(ctx context.Context, url string) (Target, error)
	// Readable says why a program, given by its file, cannot be read from memory
	// once it runs; nil when it can, or nobody knows yet.
	Readable(exe string) error
}

// A Target is a process that can be read.
type Target interface {
	recorder.Source
	recorder.Snapshotter
	Process() record.Process
	// Ready says why no samples can be taken, though perhaps profiles; nil when they can.
	Ready() error
	// Hz is how often to take samples where the user does not say.
	Hz() float64
	// WriteProfile writes a profile as pprof: heap, allocs, goroutine, block or mutex.
	WriteProfile(ctx context.Context, kind string, w io.Writer) error
	Close() error
}
