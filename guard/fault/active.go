package fault

import (
	"sync"
	"time"
)

// never is how long a step waits that has nothing to do until something changes.
const never = time.Hour

// An effect is what a fault does. All but reached is called by one goroutine.
type effect interface {
	// step does a little of what brings it to a level and keeps it there, and says after
	// what time there is more to do; 0 is at once.
	step(level float64, now time.Time) (wait time.Duration, err error)
	// reached is the level that there is, and how much was done in all.
	reached() (level float64, total uint64)
	// release lets go of everything, and says how many bytes of the runtime's there were
	// at most since it began.
	release() (bytes float64)
}

// An active is a fault that has not ended.
type active struct {
	kind     *kindInfo
	id       string
	size     uint64
	count    uint64
	by, from string
	since    time.Time
	effect   effect
	changed  chan struct{}
	done     chan struct{}

	mu      sync.Mutex // of what follows
	level   float64
	highest float64
	until   time.Time
	ending  string // why, "" while it lasts
	problem string
}

func (a *active) wanted() (level float64, until time.Time, ending bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.level, a.until, a.ending != ""
}

func (a *active) history() (why string, highest float64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.ending, a.highest
}

// takes is what it may hold at its level, or still holds as it comes down to it.
func (a *active) takes() (bytes, goroutines float64) {
	level, _, _ := a.wanted()
	if a.kind.unit == Bytes || a.kind.unit == Count {
		there, _ := a.effect.reached()
		level = max(level, there)
	}
	bytes, goroutines = a.kind.takes(level, a.size)
	if f, ok := a.effect.(*finalizers); ok {
		// Of a lower rate fewer may wait, and those that there are stay until a collection.
		bytes = max(bytes, f.holds())
	}
	return bytes, goroutines
}

// renew is false when it has ended, or its lease has.
func (a *active) renew(level float64, until time.Time) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ending != "" || !time.Now().Before(a.until) {
		return false
	}
	a.level, a.highest, a.until = level, max(a.highest, level), until
	a.wake()
	return true
}

// end is false when it was ended before.
func (a *active) end(why string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ending != "" {
		return false
	}
	a.ending = why
	a.wake()
	return true
}

func (a *active) wake() {
	select {
	case a.changed <- struct{}{}:
	default:
	}
}

func (a *active) failed(err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.problem = ""
	if err != nil {
		a.problem = err.Error()
	}
}
