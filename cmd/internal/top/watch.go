package top

import (
	"cmp"
	"context"
	"math"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/goproc"
	"github.com/heapwright/heapwright/cmd/internal/process"
	"github.com/heapwright/heapwright/cmd/internal/recorder"
	"github.com/heapwright/heapwright/record"
)

// How the machine is watched.
const (
	roundEvery    = time.Second
	listEvery     = 3 * time.Second
	listShare     = 20 // a look for new processes takes at most one part in so many of the time
	diagnoseEvery = 10 * time.Second
	groupsEvery   = 3 * time.Second
	retryAfter    = 30 * time.Second // of a process that could not be read
	keepEnded     = time.Minute      // a process that ended stays in the table
	maxWatched    = 500              // processes
	maxSamples    = 60               // kept of a process for the rules
	minSamples    = 12
	allSamples    = 6000 // of all processes; one takes some 8 KiB
)

// A Host has processes and can read them.
type Host interface {
	Processes(ctx context.Context) ([]goproc.Entry, error)
	Attach(ctx context.Context, pid int) (Source, error)
}

// A Source is a process that can be read.
type Source interface {
	recorder.Source
	recorder.Snapshotter
	Process() record.Process
	Close() error
}

// A Watcher samples the processes of a host.
type Watcher struct {
	Host  Host
	Match func(goproc.Entry) bool           // which to watch; nil for all
	Hint  func(error) (text, advice string) // how an error reads; nil for its own text
	Now   func() time.Time                  // nil for time.Now

	focus  atomic.Int64 // the PID whose goroutines are wanted, 0 for none
	wake   chan struct{}
	known  map[int]*watched
	listed time.Time
	took   time.Duration
	unseen int
	left   int
	err    error
}

// A watched is a process that is sampled, or could not be.
type watched struct {
	track
	source    Source // nil for one that could not be read, or ended
	started   time.Time
	tried     time.Time
	diagnosed time.Time
	grouped   time.Time
	last      record.Sample // what the source reads over
	cycles    []record.Cycle
	gone      bool
}

// Focus asks for the goroutines of a process too; 0 for none.
func (w *Watcher) Focus(pid int) {
	if w.focus.Swap(int64(pid)) != int64(pid) {
		select {
		case w.wake <- struct{}{}:
		default:
		}
	}
}

// NewWatcher returns a watcher of a host.
func NewWatcher(h Host) *Watcher {
	return &Watcher{Host: h, wake: make(chan struct{}, 1), known: map[int]*watched{}, Now: time.Now}
}

// Watch samples once a second until ctx is done, and hands every round to show. The
// first comes as soon as all processes were read once.
func (w *Watcher) Watch(ctx context.Context, show func(Round)) {
	defer w.close()
	tick := time.NewTicker(roundEvery)
	defer tick.Stop()
	for {
		round := w.Round(ctx)
		if ctx.Err() != nil {
			return
		}
		show(round)
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		case <-w.wake:
		}
	}
}

func (w *Watcher) close() {
	for _, p := range w.known {
		p.close()
	}
}

func (p *watched) close() {
	if p.source != nil {
		p.source.Close()
		p.source = nil
	}
}

// Round looks at all processes once.
func (w *Watcher) Round(ctx context.Context) Round {
	now := w.Now()
	if now.Sub(w.listed) >= max(listEvery, listShare*w.took) {
		w.list(ctx, now)
	}
	keep := min(max(allSamples/max(len(w.known), 1), minSamples), maxSamples)
	focus := int(w.focus.Load())
	var wg sync.WaitGroup
	slots := make(chan struct{}, 2*runtime.GOMAXPROCS(0))
	for pid, p := range w.known {
		p.keep = keep
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			w.read(ctx, p, pid == focus)
		})
	}
	wg.Wait()
	r := Round{Time: now, Unseen: w.unseen, Left: w.left, Err: w.err}
	for pid, p := range w.known {
		if p.gone || !p.row.Ended.IsZero() && now.Sub(p.row.Ended) > keepEnded {
			p.close()
			delete(w.known, pid)
			continue
		}
		r.Rows = append(r.Rows, p.row)
	}
	slices.SortFunc(r.Rows, func(a, b Row) int { return cmp.Compare(a.Process.PID, b.Process.PID) })
	return r
}

// list looks for processes that came, and that went.
func (w *Watcher) list(ctx context.Context, now time.Time) {
	entries, err := w.Host.Processes(ctx)
	w.listed, w.took, w.err = now, w.Now().Sub(now), err
	if err != nil {
		return
	}
	w.unseen, w.left = 0, 0
	there := map[int]bool{}
	for _, e := range entries {
		pid := e.Process.PID
		switch {
		case w.Match != nil && !w.Match(e):
			continue
		case e.Err != nil && !e.IsGo:
			w.unseen++
			continue
		}
		there[pid] = true
		old := w.known[pid]
		if old != nil && old.started.Equal(e.Process.StartTime) && old.row.Ended.IsZero() {
			continue
		}
		if old == nil && len(w.known) >= maxWatched {
			w.left++
			continue
		}
		if old != nil {
			old.close() // another process has its number now
		}
		p := &watched{started: e.Process.StartTime}
		p.row = Row{Process: e.Process, Uptime: e.Uptime, Found: now, Seen: now}
		nan := math.NaN()
		p.row.Live, p.row.Goal, p.row.RSS, p.row.Used, p.row.Limit, p.row.GCCPU, p.row.AllocRate = nan, nan, nan, nan, nan, nan, nan
		p.row.CycleRate, p.row.CPU, p.row.Goroutines, p.row.LastPause, p.row.MaxPause = nan, nan, nan, nan, nan
		if e.RSS > 0 {
			p.row.RSS = float64(e.RSS)
		}
		if e.Err != nil {
			p.row.Error, p.row.Hint = w.text(e.Err)
			p.tried = now
		}
		w.known[pid] = p
	}
	for pid, p := range w.known {
		if !there[pid] {
			p.end(now)
		}
	}
}

// end marks a process as gone. One that was never read goes at once: it has nothing
// to show.
func (p *watched) end(now time.Time) {
	if p.row.Ended.IsZero() {
		p.row.Ended = now
		p.gone = p.row.Latest == nil
	}
	p.close()
}

func (w *Watcher) text(err error) (text, hint string) {
	if w.Hint != nil {
		return w.Hint(err)
	}
	return err.Error(), ""
}

// read takes a sample of a process, and what else is due.
func (w *Watcher) read(ctx context.Context, p *watched, focused bool) {
	now := w.Now()
	if !p.row.Ended.IsZero() {
		return
	}
	if p.source == nil {
		if !p.tried.IsZero() && now.Sub(p.tried) < retryAfter {
			return
		}
		p.tried = now
		s, err := w.Host.Attach(ctx, p.row.Process.PID)
		switch {
		case process.IsEnded(err):
			p.end(now)
			return
		case err != nil:
			if ctx.Err() == nil {
				p.row.Error, p.row.Hint = w.text(err)
			}
			return
		}
		p.source, p.row.Process = s, s.Process()
	}
	if err := p.source.Sample(&p.last); err != nil {
		if process.IsEnded(err) {
			p.end(now)
		} else {
			p.row.Error, p.row.Hint = w.text(err)
		}
		return
	}
	p.cycles = p.cycles[:0]
	p.cycles, _, _ = p.source.Cycles(p.cycles) // without them there are no pauses
	p.add(&p.last, p.cycles)
	switch {
	case !focused:
		p.row.Groups, p.row.GroupErr, p.grouped = nil, "", time.Time{}
	case now.Sub(p.grouped) >= groupsEvery:
		p.grouped = now
		g, err := p.source.Goroutines()
		if err != nil {
			p.row.GroupErr, _ = w.text(err)
		} else {
			p.row.Groups, p.row.GroupErr = g, ""
		}
	}
	// The first time comes soon, with what the settings alone show.
	if due := now.Sub(p.diagnosed); due >= diagnoseEvery {
		p.diagnosed = now
		p.diagnose()
	}
}
