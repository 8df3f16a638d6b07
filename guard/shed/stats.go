package shed

import "time"

// Stats are the numbers of a Gate since it was made. They are read while
// requests go on, so they agree with each other to a few requests only.
type Stats struct {
	Admitted       Counts `json:"admitted"`
	Completed      Counts `json:"completed"`
	ShedByShare    Counts `json:"shed_by_share"`    // the share of the class was below 1
	ShedByCapacity Counts `json:"shed_by_capacity"` // too many bytes in flight
	Spared         Counts `json:"spared"`           // not shed, because the budget was spent; Admitted, unless the capacity refused it then

	InFlight          int64  `json:"in_flight"` // requests
	InFlightBytes     int64  `json:"in_flight_bytes"`
	PeakInFlight      int64  `json:"peak_in_flight"` // since the last Window; see there
	PeakInFlightBytes int64  `json:"peak_in_flight_bytes"`
	Capacity          int64  `json:"capacity_bytes"` // NoBound when there is none
	Shares            Shares `json:"shares"`
	CallbackPanics    uint64 `json:"callback_panics"` // of functions in HandlerOptions
}

// Shed returns the requests that were refused, for whatever reason.
func (s Stats) Shed() Counts {
	sum := s.ShedByShare
	for c, n := range s.ShedByCapacity {
		sum[c] += n
	}
	return sum
}

// A Window is what happened since the last one.
type Window struct {
	Elapsed        time.Duration
	Admitted       Counts
	Completed      Counts
	ShedByShare    Counts
	ShedByCapacity Counts
	Spared         Counts

	InFlight      int64 // now
	InFlightBytes int64
	// The greatest that was seen, at the ends of the window, and by one request in 17
	// but not more than once in a millisecond: a short peak in between is missed.
	PeakInFlight      int64
	PeakInFlightBytes int64

	// ServiceTime is the mean time between Admit and Done of the requests that
	// completed, from Timed of them: every 17th of a class is timed. It is 0
	// when Timed is. What hangs does not complete, and is not in it.
	ServiceTime time.Duration
	Timed       uint64
}

// Shed returns the requests that were refused, for whatever reason.
func (w Window) Shed() Counts {
	sum := w.ShedByShare
	for c, n := range w.ShedByCapacity {
		sum[c] += n
	}
	return sum
}

// MeanInFlight returns how many requests were in flight on the average, by
// Little's law: those completed per second, times the seconds that one takes.
func (w Window) MeanInFlight() float64 {
	if w.Elapsed <= 0 {
		return 0
	}
	return float64(w.Completed.Total()) * w.ServiceTime.Seconds() / w.Elapsed.Seconds()
}

// totals are the sums over the stripes.
type totals struct {
	admitted, completed, byShare, byCapacity, spared Counts
	serviceNanos                                     int64
	timed                                            uint64
}

func (g *Gate) totals() totals {
	var t totals
	for i := range g.stripes {
		s := &g.stripes[i]
		t.timed += s.timed.Load()
		t.serviceNanos += s.serviceNanos.Load()
		for c := range t.admitted {
			// In this order: no more is completed than was admitted.
			t.completed[c] += s.completed[c].Load()
			t.admitted[c] += s.admitted[c].Load()
			t.byShare[c] += s.byShare[c].Load()
			t.byCapacity[c] += s.byCapacity[c].Load()
			t.spared[c] += s.spared[c].Load()
		}
	}
	return t
}

// inFlight returns the requests and bytes in flight now.
func (g *Gate) inFlight() (requests, bytes int64) {
	for i := range g.stripes {
		s := &g.stripes[i]
		bytes -= s.spare.Load()
		for c := range s.admitted {
			requests -= int64(s.completed[c].Load())
			requests += int64(s.admitted[c].Load())
		}
	}
	return requests, max(bytes+g.held.Load(), 0)
}

// look observes, unless that was done in the last millisecond: it takes the stripes'
// cache lines away from those who write them.
func (g *Gate) look(now time.Duration) {
	last := g.looked.Load()
	if int64(now)-last >= int64(time.Millisecond) && g.looked.CompareAndSwap(last, int64(now)) {
		g.observe()
	}
}

// observe takes what is in flight into the peaks.
func (g *Gate) observe() (requests, bytes int64) {
	requests, bytes = g.inFlight()
	for {
		peak := g.peakRequests.Load()
		if requests <= peak || g.peakRequests.CompareAndSwap(peak, requests) {
			break
		}
	}
	for {
		peak := g.peakBytes.Load()
		if bytes <= peak || g.peakBytes.CompareAndSwap(peak, bytes) {
			break
		}
	}
	return requests, bytes
}

// Stats returns the numbers as they are now.
func (g *Gate) Stats() Stats {
	requests, bytes := g.observe()
	t := g.totals()
	return Stats{
		Admitted: t.admitted, Completed: t.completed,
		ShedByShare: t.byShare, ShedByCapacity: t.byCapacity, Spared: t.spared,
		InFlight: requests, InFlightBytes: bytes,
		PeakInFlight: g.peakRequests.Load(), PeakInFlightBytes: g.peakBytes.Load(),
		Capacity: g.Capacity(), Shares: g.Shares(), CallbackPanics: g.panics.Load(),
	}
}

// Window returns what happened since it was called last, or since NewGate. It is
// for one caller, the guard: two would each see a part.
func (g *Gate) Window() Window {
	g.last.Lock()
	defer g.last.Unlock()
	requests, bytes := g.observe()
	t, at := g.totals(), g.now()
	was := &g.last.totals
	w := Window{
		Elapsed:  at - g.last.at,
		InFlight: requests, InFlightBytes: bytes,
		PeakInFlight: g.peakRequests.Swap(requests), PeakInFlightBytes: g.peakBytes.Swap(bytes),
		Timed: t.timed - was.timed,
	}
	for c := range t.admitted {
		w.Admitted[c] = t.admitted[c] - was.admitted[c]
		w.Completed[c] = t.completed[c] - was.completed[c]
		w.ShedByShare[c] = t.byShare[c] - was.byShare[c]
		w.ShedByCapacity[c] = t.byCapacity[c] - was.byCapacity[c]
		w.Spared[c] = t.spared[c] - was.spared[c]
	}
	if w.Timed > 0 {
		w.ServiceTime = time.Duration(t.serviceNanos-was.serviceNanos) / time.Duration(w.Timed)
	}
	g.last.totals, g.last.at = t, at
	return w
}
