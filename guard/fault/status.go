package fault

import "time"

// A Status is what an Injector does.
type Status struct {
	Active []Fault `json:"active"` // oldest first
	// Held is what they hold or may take, and Goroutines how many.
	Held       uint64 `json:"held_bytes"`
	Goroutines int    `json:"held_goroutines"`
	// Returning is memory of faults that have ended, which is being given back.
	Returning uint64 `json:"returning_bytes"`
	// The bounds, as they are now.
	MaxBytes      uint64  `json:"max_bytes"`
	MaxGoroutines int     `json:"max_goroutines"`
	MaxLease      float64 `json:"max_lease_seconds"`
	Closed        bool    `json:"closed,omitempty"`
}

// A Fault is one that has not ended.
type Fault struct {
	ID    string    `json:"id"`
	Kind  Kind      `json:"kind"`
	Level float64   `json:"level"` // that is asked for
	Unit  Unit      `json:"unit"`
	Size  uint64    `json:"size_bytes,omitempty"` // as it was rounded
	Count uint64    `json:"count,omitempty"`      // of collections at most; 0 is no bound
	Until time.Time `json:"until"`                // when its lease ends
	// Reached is the level that there is: bytes or goroutines at this moment, or the rate
	// of the last second or so.
	Reached float64   `json:"reached"`
	Total   uint64    `json:"total"` // bytes allocated, goroutines started, objects made, collections forced so far
	Since   time.Time `json:"since"`
	By      string    `json:"by"`
	Ending  string    `json:"ending,omitempty"`  // why, while it lets go
	Problem string    `json:"problem,omitempty"` // why the level is not reached, where that is known
}

// Status says what goes on.
func (i *Injector) Status() Status {
	s := Status{Active: []Fault{}, MaxBytes: i.maxBytes(), MaxGoroutines: i.o.MaxGoroutines, MaxLease: i.o.MaxLease.Seconds()}
	i.mu.Lock()
	defer i.mu.Unlock()
	s.Returning, s.Closed = uint64(i.returning), i.closed
	bytes, goroutines := i.held(nil)
	s.Held, s.Goroutines = uint64(bytes-i.returning), int(goroutines)
	for _, a := range i.active {
		s.Active = append(s.Active, a.fault())
	}
	return s
}

func (a *active) fault() Fault {
	f := Fault{ID: a.id, Kind: a.kind.kind, Unit: a.kind.unit, Size: a.size, Count: a.count, Since: a.since, By: a.by}
	f.Reached, f.Total = a.effect.reached()
	a.mu.Lock()
	defer a.mu.Unlock()
	f.Level, f.Until, f.Ending, f.Problem = a.level, a.until, a.ending, a.problem
	return f
}
