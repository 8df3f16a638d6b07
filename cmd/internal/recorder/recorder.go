// Package recorder runs the recording loop: it samples one process at a fixed
// rate and hands what it sees to a sink, together with GC cycles, changes of
// settings, and now and then profiles. It does not know how a process is read
// or how a recording is stored, and does not look for processes.
package recorder

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/heapwright/heapwright/record"
)

// ErrEnded is wrapped by the errors of a [Source] whose process is no more, or
// is another program now. Any other error is taken to be passing.
var ErrEnded = errors.New("the process has ended")

// A Source gives readings of one process.
type Source interface {
	// Sample fills s, which holds the previous sample on entry.
	Sample(s *record.Sample) error
	// Cycles appends the GC cycles since the previous call, and says how many were
	// lost between.
	Cycles(dst []record.Cycle) (cycles []record.Cycle, lost uint64, err error)
}

// A Snapshotter is a Source that can say more, at a higher cost.
type Snapshotter interface {
	Goroutines() (*record.Goroutines, error)
	// Profile returns nil without an error when the process has none of the kind.
	Profile(record.ProfileKind) (*record.Profile, error)
}

// A Neighbourly is a Source that knows who else is in the process's cgroup.
type Neighbourly interface {
	// Neighbours are those with most memory, the largest first, at most so many.
	Neighbours(most int) []Neighbour
}

// A Neighbour is another process of a process's cgroup.
type Neighbour struct {
	PID      int
	Name     string
	RSSBytes uint64
}

// A Sink takes a recording in the order of time. [*record.Writer] is one.
type Sink interface {
	Process(record.Process) error
	Sample(*record.Sample) error
	Cycle(*record.Cycle) error
	Event(*record.Event) error
	Goroutines(*record.Goroutines) error
	Profile(*record.Profile) error
	// Flush makes what was handed over so far safe.
	Flush() error
}

// Options say how to record. The zero value records ten samples a second and a
// snapshot every ten seconds until the context or the process ends.
type Options struct {
	Hz        float64       // samples a second; 0 for DefaultHz
	Snapshots time.Duration // between snapshots beside those at the start and the end; 0 for DefaultSnapshots, negative for none at all
	For       time.Duration // 0 is without end
	// Observe is called after every reading, on the recording goroutine; the
	// sample is the recorder's own, to be read only during the call.
	Observe func(*record.Sample, Summary)

	clocks func() (wall time.Time, monotonic time.Duration) // nil for this machine's
}

// What the zero Options mean, and the most that they may ask for.
const (
	DefaultHz        = 10
	MaxHz            = 1000
	DefaultSnapshots = 10 * time.Second
)

func (o *Options) setDefaults() {
	if o.Hz <= 0 {
		o.Hz = DefaultHz
	}
	o.Hz = min(o.Hz, MaxHz)
	if o.Snapshots == 0 {
		o.Snapshots = DefaultSnapshots
	}
	if o.Observe == nil {
		o.Observe = func(*record.Sample, Summary) {}
	}
	if o.clocks == nil {
		start := time.Now()
		o.clocks = func() (time.Time, time.Duration) {
			now := time.Now()
			return now.Round(0), now.Sub(start) // Round drops the monotonic reading, Sub takes it
		}
	}
}

// A Summary says what was recorded.
type Summary struct {
	Start, End time.Time
	Samples    int
	Cycles     int
	LostCycles uint64
	Failed     int    // readings that failed
	LastError  string // of the last one that failed
	Snapshots  int
	Exited     bool // the process ended before the recording did
}

// Record samples the process until the context ends, the time is over, or the
// process ends; none of these is an error. An error is one of the sink, or that
// not a single sample could be taken. Proc is handed to the sink first.
func Record(ctx context.Context, src Source, proc record.Process, sink Sink, opt Options) (Summary, error) {
	opt.setDefaults()
	r := &recorder{src: src, sink: sink, opt: opt}
	r.sum.Start = time.Now()
	err := r.run(ctx, proc)
	r.sum.End = time.Now()
	if err == nil && r.sum.Samples == 0 && r.sum.LastError != "" {
		err = errors.New(r.sum.LastError)
	}
	return r.sum, err
}

type recorder struct {
	src    Source
	sink   Sink
	opt    Options
	sum    Summary
	sample record.Sample
	last   settings
	cycles []record.Cycle
	inGap  bool
	clock  clock
	told   map[int]uint64 // neighbours by PID, and the memory that they had when it was told
}

func (r *recorder) run(ctx context.Context, proc record.Process) error {
	if err := r.sink.Process(proc); err != nil {
		return err
	}
	if err := r.event(record.EventStarted, "observation began", nil); err != nil {
		return err
	}
	var over <-chan time.Time
	if r.opt.For > 0 {
		t := time.NewTimer(r.opt.For)
		defer t.Stop()
		over = t.C
	}
	var snapshots <-chan time.Time
	if r.opt.Snapshots > 0 {
		t := time.NewTicker(r.opt.Snapshots)
		defer t.Stop()
		snapshots = t.C
	}
	ticks := time.NewTicker(time.Duration(float64(time.Second) / r.opt.Hz))
	defer ticks.Stop()
	flush := time.NewTicker(time.Second)
	defer flush.Stop()

	if ended, err := r.step(); ended || err != nil {
		return r.finish(err)
	}
	if err := r.snapshot(); err != nil {
		return r.finish(err)
	}
	for {
		select {
		case <-ctx.Done():
			return r.finish(r.closing())
		case <-over:
			return r.finish(r.closing())
		case <-ticks.C:
			if ended, err := r.step(); ended || err != nil {
				return r.finish(err)
			}
		case <-snapshots:
			if err := r.snapshot(); err != nil {
				return r.finish(err)
			}
		case <-flush.C:
			if err := r.sink.Flush(); err != nil {
				return err
			}
		}
	}
}

// closing takes the readings that end a recording.
func (r *recorder) closing() error {
	ended, err := r.step()
	if ended || err != nil {
		return err
	}
	return r.snapshot()
}

// finish flushes whatever the reason for the end was.
func (r *recorder) finish(err error) error {
	if ferr := r.sink.Flush(); err == nil {
		err = ferr
	}
	return err
}

// step takes one sample and the cycles since the last. In steady state it does
// not allocate.
func (r *recorder) step() (ended bool, err error) {
	if by := r.clock.stepped(r.opt.clocks()); by != 0 {
		if err := r.event(record.EventGap, fmt.Sprintf("clock stepped by %+.1fs", by.Seconds()), nil); err != nil {
			return false, err
		}
	}
	if err := r.src.Sample(&r.sample); err != nil {
		return r.failed(err)
	}
	cycles, lost, cycleErr := r.src.Cycles(r.cycles[:0])
	if cap(cycles) > cap(r.cycles) {
		r.cycles = cycles
	}
	if cycleErr != nil && errors.Is(cycleErr, ErrEnded) {
		// The sample was whole; it counts.
		if err := r.keep(); err != nil {
			return false, err
		}
		return r.failed(cycleErr)
	}
	// Cycles end before the sample that first counts them.
	if lost > 0 {
		r.sum.LostCycles += lost
		if err := r.event(record.EventLostCycles, fmt.Sprintf("%d GC cycles ended unseen", lost), nil); err != nil {
			return false, err
		}
	}
	for i := range cycles {
		if err := r.put(r.sink.Cycle(&cycles[i])); err != nil {
			return false, err
		}
		r.sum.Cycles++
	}
	return false, r.keep()
}

func (r *recorder) keep() error {
	r.inGap = false
	if err := r.changes(); err != nil {
		return err
	}
	failed := r.sum.Failed
	if err := r.put(r.sink.Sample(&r.sample)); err != nil {
		return err
	}
	if r.sum.Failed == failed {
		r.sum.Samples++
	}
	r.opt.Observe(&r.sample, r.sum)
	return nil
}

// failed notes a reading that could not be taken: the end of the process, or the
// beginning of a gap.
func (r *recorder) failed(cause error) (ended bool, err error) {
	if errors.Is(cause, ErrEnded) {
		r.sum.Exited = true
		return true, r.event(record.EventExited, cause.Error(), nil)
	}
	r.sum.Failed++
	r.sum.LastError = cause.Error()
	r.opt.Observe(nil, r.sum)
	if r.inGap {
		return false, nil
	}
	r.inGap = true
	return false, r.event(record.EventGap, cause.Error(), nil)
}

// snapshot takes what profiles there are. That one cannot be had is no reason to
// stop: it is noted.
func (r *recorder) snapshot() error {
	if r.opt.Snapshots < 0 {
		return nil
	}
	if err := r.neighbours(); err != nil {
		return err
	}
	s, ok := r.src.(Snapshotter)
	if !ok {
		return nil
	}
	g, err := s.Goroutines()
	if err := r.snapped("goroutines", g != nil, err, func() error { return r.sink.Goroutines(g) }); err != nil {
		return err
	}
	for _, kind := range []record.ProfileKind{record.ProfileHeap, record.ProfileBlock, record.ProfileMutex} {
		p, err := s.Profile(kind)
		if err := r.snapped(string(kind)+" profile", p != nil, err, func() error { return r.sink.Profile(p) }); err != nil {
			return err
		}
	}
	r.sum.Snapshots++
	return nil
}

// Which neighbours are told of: those with much memory, once, and again when it is
// much more or much less.
const (
	mostNeighbours  = 3
	leastNeighbour  = 16 << 20
	mostToldOf      = 1 << 10
	neighbourChange = 4 // a quarter
)

// neighbours tells who else in the cgroup has much memory.
func (r *recorder) neighbours() error {
	s, ok := r.src.(Neighbourly)
	if !ok {
		return nil
	}
	for _, n := range s.Neighbours(mostNeighbours) {
		was, known := r.told[n.PID]
		if n.RSSBytes < leastNeighbour || known && max(n.RSSBytes, was)-min(n.RSSBytes, was) < was/neighbourChange {
			continue
		}
		if r.told == nil || len(r.told) >= mostToldOf {
			r.told = map[int]uint64{}
		}
		r.told[n.PID] = n.RSSBytes
		text := fmt.Sprintf("process %d (%q) of the same cgroup has %d MiB resident", n.PID, n.Name, n.RSSBytes>>20)
		if err := r.event(record.EventNeighbour, text, map[string]string{
			"pid": strconv.Itoa(n.PID), "name": n.Name, "rss_bytes": strconv.FormatUint(n.RSSBytes, 10)}); err != nil {
			return err
		}
	}
	return nil
}

func (r *recorder) snapped(what string, have bool, err error, put func() error) error {
	switch {
	case errors.Is(err, ErrEnded):
		return nil // the next sample will say so
	case err != nil:
		return r.event(record.EventGap, what+": "+err.Error(), nil)
	case !have:
		return nil
	}
	return r.put(put())
}

func (r *recorder) event(kind record.EventKind, text string, data map[string]string) error {
	return r.put(r.sink.Event(&record.Event{Time: time.Now(), Kind: kind, Text: text, Data: data}))
}

// put takes the result of handing something to the sink. One thing that the sink
// could not take (a reading that is not a number, say) does not end a recording;
// a sink that can store nothing any more does.
func (r *recorder) put(err error) error {
	if err == nil {
		return nil
	}
	if ferr := r.sink.Flush(); ferr != nil {
		return ferr
	}
	r.sum.Failed++
	r.sum.LastError = err.Error()
	return nil
}
