// Package evidence keeps what was to be seen of a process when its guard tripped: the
// execution trace of the last seconds, the heap and goroutine profiles, and the last
// samples as a recording that `heapwright diagnose` reads. It goes to a bounded
// directory, or to a function of the service's, a bounded number of times an hour.
//
// It decides nothing: who calls Capture says why and when. It forces no collection, and
// stops the world for the goroutine profile alone.
package evidence

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/heapwright/heapwright/metric"
	"github.com/heapwright/heapwright/record"
)

// What can be refused; test with [errors.Is]. Errors of the file system are wrapped as
// they are.
var (
	// ErrRateLimited: there were as many in the last hour as there may be.
	ErrRateLimited = errors.New("enough evidence was captured in the last hour")
	// ErrBusy: another Capture of this Recorder is under way, or without a directory
	// the Sink has not returned from the last one.
	ErrBusy = errors.New("evidence is being captured already")
	// ErrClosed: the Recorder is closed.
	ErrClosed = errors.New("the recorder of evidence is closed")
	// ErrUnsafeDir: others than we could write into the directory, or lead us elsewhere.
	ErrUnsafeDir = errors.New("the directory is not safe for evidence")
	// ErrTooLarge: what has to be in a bundle does not fit into MaxBytes.
	ErrTooLarge = errors.New("the evidence is larger than it may be")
	// ErrNowhere: the Options have neither a directory nor a function.
	ErrNowhere = errors.New("there is nowhere for evidence to go: set Dir or Sink")
)

// The defaults of Options.
const (
	DefaultPerHour       = 4
	DefaultMaxBytes      = 64 << 20
	DefaultMaxGoroutines = 10000

	// maxInMemory is MaxBytes without Dir, when nothing is said.
	maxInMemory = 16 << 20
	maxReason   = 4 << 10
)

// Options say what is captured and where it goes. Dir or Sink must be set.
type Options struct {
	// Dir is the directory that holds bundles, a directory each. It is made if it is
	// not there, with mode 0700; if it is, it must be ours, and nobody else may have the
	// right to write to it. What else lies there is left alone, but counts for MaxBytes.
	Dir string
	// Sink is given each bundle when it is complete, in the goroutine of Capture and one
	// at a time. If there is no Dir, the bundle holds the contents of its files. While a
	// call has not returned, bundles in Dir are not given to it, and without Dir Capture
	// is ErrBusy. Close does not wait for it.
	Sink func(Bundle)
	// PerHour is how many times in any hour evidence may be captured, 4 when 0. The
	// bundles in Dir that an earlier run of the process left count too.
	PerHour int
	// MaxBytes bounds Dir: the oldest bundles make room for a new one, but not for what of
	// it is more than half of MaxBytes. 64 MiB when 0.
	// Without Dir it bounds a bundle, and is 16 MiB when 0.
	MaxBytes int64
	// Trace keeps the execution trace of the last ten seconds in memory all the time
	// (trace.FlightRecorder, Go 1.25 and later). It costs up to 8 MiB of memory, and
	// CPU time where there is much scheduling.
	Trace bool
	// MaxGoroutines is the number of goroutines above which they are not profiled,
	// since the world is stopped until the stack of each is noted. 10000 when 0.
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
	o      Options
	dir    *directory // nil without Options.Dir
	tracer tracer
	notes  []string // why there is no trace
	closed atomic.Bool

	busy sync.Mutex  // held while evidence is captured
	past []time.Time // the captures of the last hour, oldest first

	sinking atomic.Bool // the Sink has not returned

	captured, failed, refused, panics, unsunk atomic.Uint64
}

// New returns a Recorder, and starts the flight recorder if Trace asks for it. A process
// has one flight recorder: when another part of it has started one, or this version of Go
// has none, each bundle says that it has no trace.
func New(o Options) (*Recorder, error) {
	if o.Dir == "" && o.Sink == nil {
		return nil, ErrNowhere
	}
	if o.PerHour < 0 || o.MaxBytes < 0 || o.MaxGoroutines < 0 {
		return nil, fmt.Errorf("setting up evidence: a limit is negative: %d an hour, %d bytes, %d goroutines", o.PerHour, o.MaxBytes, o.MaxGoroutines)
	}
	setDefault(&o.PerHour, DefaultPerHour)
	setDefault(&o.MaxGoroutines, DefaultMaxGoroutines)
	if o.Dir == "" {
		setDefault(&o.MaxBytes, maxInMemory)
	}
	setDefault(&o.MaxBytes, DefaultMaxBytes)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	r := &Recorder{o: o}
	if o.Dir != "" {
		var err error
		if r.dir, err = openDirectory(o.Dir, o.MaxBytes); err != nil {
			return nil, fmt.Errorf("setting up evidence: %w", err)
		}
		now := time.Now()
		for _, b := range r.dir.bundles() {
			// A time in the future is that of a clock that was set.
			if age := now.Sub(b.time); age >= 0 && age < time.Hour {
				r.past = append(r.past, now.Add(-age)) // on the monotonic clock
			}
		}
	}
	if !o.Trace {
		r.notes = append(r.notes, "no trace: it was not asked for")
	} else if err := r.tracer.start(); err != nil {
		r.notes = append(r.notes, "no trace: "+err.Error())
		o.Logger.Warn("evidence will have no trace", "reason", err)
	}
	return r, nil
}

func setDefault[T int | int64](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

// Close stops the flight recorder, after a Capture that is under way, but for its Sink. What
// is on disk stays there.
func (r *Recorder) Close() error {
	if r.closed.Swap(true) {
		return nil
	}
	r.busy.Lock()
	defer r.busy.Unlock()
	r.tracer.stop()
	return nil
}

// Capture captures a bundle now, in the caller's goroutine, and one at a time. When ctx
// ends it stops between two files, and the bundle says what is missing. A bundle is there
// as a whole or not at all. It is not forced to the disk: it outlives the process, and perhaps
// not the machine.
//
// A Capture that fails counts for PerHour like one that does not.
func (r *Recorder) Capture(ctx context.Context, reason string, samples []record.Sample) (Bundle, error) {
	b, err := r.capture(ctx, reason, samples)
	switch {
	case err == nil:
		r.captured.Add(1)
		r.sink(b)
	case errors.Is(err, ErrRateLimited), errors.Is(err, ErrBusy), errors.Is(err, ErrClosed):
		r.refused.Add(1)
	default:
		r.failed.Add(1)
		r.o.Logger.Error("evidence is lost", "reason", reason, "error", err)
	}
	return b, err
}

func (r *Recorder) capture(ctx context.Context, reason string, samples []record.Sample) (Bundle, error) {
	if r.closed.Load() {
		return Bundle{}, ErrClosed
	}
	if !r.busy.TryLock() {
		return Bundle{}, ErrBusy
	}
	defer r.busy.Unlock()
	if r.closed.Load() { // since we have the lock, it stays so
		return Bundle{}, ErrClosed
	}
	if r.dir == nil && r.sinking.Load() {
		r.o.Logger.Warn("evidence is not captured: the sink has not returned from the last one", "reason", reason)
		return Bundle{}, fmt.Errorf("%w, or its sink has not returned", ErrBusy)
	}
	if err := ctx.Err(); err != nil {
		return Bundle{}, fmt.Errorf("capturing evidence: %w", err)
	}
	now := time.Now()
	r.past = slices.DeleteFunc(r.past, func(t time.Time) bool { return now.Sub(t) >= time.Hour })
	if len(r.past) >= r.o.PerHour {
		return Bundle{}, fmt.Errorf("%w: %d, the next in %v", ErrRateLimited, len(r.past), (time.Hour - now.Sub(r.past[0])).Round(time.Second))
	}
	r.past = append(r.past, now)

	if len(reason) > maxReason {
		reason = reason[:maxReason]
	}
	b := Bundle{Time: now, Reason: validText(reason), Notes: slices.Clone(r.notes)}
	var err error
	if r.dir == nil {
		err = r.toMemory(ctx, &b, samples)
	} else {
		err = r.toDir(ctx, &b, samples)
	}
	if err != nil {
		return Bundle{}, fmt.Errorf("capturing evidence: %w", err)
	}
	r.o.Logger.Info("evidence captured", "reason", b.Reason, "path", b.Path, "bytes", b.Bytes, "notes", b.Notes)
	return b, nil
}

func (r *Recorder) toMemory(ctx context.Context, b *Bundle, samples []record.Sample) error {
	m := &memory{left: r.o.MaxBytes, data: map[string][]byte{}}
	if err := r.write(ctx, m, b, samples); err != nil {
		return err
	}
	b.Data = m.data
	return nil
}

func (r *Recorder) toDir(ctx context.Context, b *Bundle, samples []record.Sample) error {
	p, err := r.dir.begin()
	if err != nil {
		return err
	}
	if err := r.write(ctx, p, b, samples); err != nil {
		return errors.Join(err, p.discard())
	}
	if b.Path, err = p.finish(b.Time); err != nil {
		return errors.Join(err, p.discard())
	}
	return nil
}

// sink hands the bundle to the service's function, if that has returned from the last one.
// Nothing is locked meanwhile: a function that does not return costs its goroutine alone.
func (r *Recorder) sink(b Bundle) {
	if r.o.Sink == nil {
		return
	}
	if !r.sinking.CompareAndSwap(false, true) {
		r.unsunk.Add(1)
		r.o.Logger.Warn("evidence is not given to the sink, which has not returned from the last one", "reason", b.Reason, "path", b.Path)
		return
	}
	defer r.sinking.Store(false)
	defer func() {
		if p := recover(); p != nil {
			r.panics.Add(1)
			r.o.Logger.Error("the sink of evidence panicked", "panic", fmt.Sprint(p))
		}
	}()
	r.o.Sink(b)
}

// Bundles returns what is in the directory, oldest first: the time, the path and the size of
// each.
func (r *Recorder) Bundles() []Bundle {
	if r.dir == nil {
		return nil
	}
	var all []Bundle
	for _, b := range r.dir.bundles() {
		all = append(all, Bundle{Time: b.time, Path: b.path, Bytes: diskUsage(b.path)})
	}
	return all
}

// Metrics emits how often evidence was captured. See [metric.Source].
func (r *Recorder) Metrics(emit func(metric.Metric)) {
	for _, c := range []struct {
		outcome string
		n       *atomic.Uint64
	}{{"captured", &r.captured}, {"failed", &r.failed}, {"refused", &r.refused}} {
		emit(metric.Metric{Name: "heapwright.evidence.captures", Unit: "{capture}", Kind: metric.Counter,
			Help:   "Times that evidence was asked for. Refused: there was enough in the last hour, or another was under way.",
			Labels: []metric.Label{{Key: "outcome", Value: c.outcome}}, Value: float64(c.n.Load())})
	}
	emit(metric.Metric{Name: "heapwright.evidence.sink_missed", Unit: "{bundle}", Kind: metric.Counter,
		Help: "Bundles that the service's function was not given, since it had not returned from the one before.", Value: float64(r.unsunk.Load())})
	emit(metric.Metric{Name: "heapwright.evidence.sink_panics", Unit: "{panic}", Kind: metric.Counter,
		Help: "Panics of the service's function that is given the evidence.", Value: float64(r.panics.Load())})
}
