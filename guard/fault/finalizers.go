package fault

import (
	"runtime"
	"sync/atomic"
	"time"
)

const (
	// ghostBytes is what an object with a finalizer takes beside its body.
	ghostBytes = 128
	// ghostSeconds is how many seconds' worth of them may wait for a collection and for
	// their finalizers, of a few at least.
	ghostSeconds = 4
	fewGhosts    = 10_000
	manyGhosts   = 1_000_000
	// drainLimit is how long it is waited for finalizers when faults end, for those of all
	// of them. A finalizer of the service's own can keep ours from running for ever.
	drainLimit = 10 * time.Second
)

// mostGhosts is how many may wait at a rate.
func mostGhosts(rate float64) uint64 {
	return uint64(min(max(rate*ghostSeconds, fewGhosts), manyGhosts))
}

// A ghost is an object with a finalizer.
type ghost struct {
	of   *ghosts
	body []byte
}

// ghosts counts them.
type ghosts struct{ made, gone atomic.Uint64 }

func (g *ghost) finalize() { g.of.gone.Add(1) }

// Finalizers. When as many wait as may, it forces a collection: a quiet service would
// make none, and then there would be no storm.
type finalizers struct {
	size   uint64
	ghosts ghosts
	pace   pacer
	meter  meter
	forced time.Time
	most   float64
}

func (f *finalizers) waiting() uint64 {
	gone := f.ghosts.gone.Load() // before made, which is never behind
	return f.ghosts.made.Load() - gone
}

// holds is what those take that wait.
func (f *finalizers) holds() float64 { return float64(f.waiting()) * float64(ghostBytes+f.size) }

func (f *finalizers) step(level float64, now time.Time) (time.Duration, error) {
	wait := f.pace.until(now, level, max(1, level*tick.Seconds()))
	var n uint64
	if wait == 0 {
		waiting, most := f.waiting(), mostGhosts(level)
		if waiting < most {
			for due := min(uint64(f.pace.due), most-waiting, 1024); n < due; n++ {
				f.ghosts.made.Add(1)
				g := &ghost{of: &f.ghosts, body: make([]byte, f.size)}
				runtime.SetFinalizer(g, (*ghost).finalize)
			}
			f.pace.due -= float64(n)
		} else {
			wait = tick
			if now.Sub(f.forced) >= time.Second {
				f.forced = now
				runtime.GC()
			}
		}
		f.most = max(f.most, float64(waiting+n)*float64(ghostBytes+f.size))
	}
	f.meter.add(now, level, n)
	return min(wait, meterWindow), nil
}

func (f *finalizers) reached() (float64, uint64) { return f.meter.reached() }

func (f *finalizers) release() float64 { return f.most }

// drain has the finalizers run that have not, until then. The bodies go with the
// collection after.
func (f *finalizers) drain(until time.Time) {
	for f.waiting() > 0 && time.Now().Before(until) {
		runtime.GC()
		for n := 0; n < 100 && f.waiting() > 0; n++ {
			time.Sleep(time.Millisecond)
		}
	}
}
