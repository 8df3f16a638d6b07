package peers

import (
	"cmp"
	"math"
	"slices"
	"time"
)

// Phases are the parts of a run, one after the other: warm is not measured.
type Phases struct {
	Warm, Healthy, Fault, After time.Duration
}

// Length is of the whole run.
func (p Phases) Length() time.Duration { return p.Warm + p.Healthy + p.Fault + p.After }

// onset and end are of the fault.
func (p Phases) onset() time.Duration { return p.Warm + p.Healthy }
func (p Phases) end() time.Duration   { return p.Warm + p.Healthy + p.Fault }

// A Part is what clients got of what was due in a phase.
type Part struct {
	Seconds  float64 `json:"seconds"`
	Due      int     `json:"due"`
	Good     int     `json:"good"` // answered within the deadline
	Late     int     `json:"late"` // answered after it
	Refused  int     `json:"refused"`
	TimedOut int     `json:"timed_out"`
	Failed   int     `json:"failed"`
	// P99 is of the requests that were neither refused nor failed, in seconds: those
	// that timed out took at least that long. It is 0 where there were none.
	P99 float64 `json:"p99_seconds"`
}

// Goodput is good answers a second.
func (p Part) Goodput() float64 {
	if p.Seconds <= 0 {
		return 0
	}
	return float64(p.Good) / p.Seconds
}

// A Score is what came of a run.
type Score struct {
	Healthy Part `json:"healthy"`
	Fault   Part `json:"fault"`
	After   Part `json:"after"`
	// Trip is how long after the onset of the fault the first request was refused, and
	// Recover how long after its end clients were served as before, in seconds. They
	// are negative where that did not happen within the run.
	Trip    float64 `json:"trip_seconds"`
	Recover float64 `json:"recover_seconds"`
}

// recovered is how clients have to be served, for how long: so much of the share of
// good answers before the fault, and none refused.
const (
	recoveredShare = 0.95
	recoveredFor   = 5 * time.Second
)

// Judge scores the requests of a run.
func Judge(requests []Request, p Phases) Score {
	all := slices.SortedFunc(slices.Values(requests), byDue)
	s := Score{
		Healthy: part(all, p.Warm, p.onset()),
		Fault:   part(all, p.onset(), p.end()),
		After:   part(all, p.end(), p.Length()),
		Trip:    -1,
	}
	for _, r := range between(all, p.onset(), p.end()) {
		if r.Outcome == Refused {
			s.Trip = (r.Due - p.onset()).Seconds()
			break
		}
	}
	s.Recover = recovery(all, p, s.Healthy)
	return s
}

func byDue(a, b Request) int { return cmp.Compare(a.Due, b.Due) }

// between is the requests that were due from a time to another, of sorted ones.
func between(sorted []Request, from, to time.Duration) []Request {
	at := func(t time.Duration) int {
		i, _ := slices.BinarySearchFunc(sorted, t, func(r Request, t time.Duration) int { return cmp.Compare(r.Due, t) })
		return i
	}
	return sorted[at(from):at(to)]
}

func part(sorted []Request, from, to time.Duration) Part {
	p := Part{Seconds: (to - from).Seconds()}
	var taken []float64
	for _, r := range between(sorted, from, to) {
		p.Due++
		switch {
		case r.Good():
			p.Good++
		case r.Outcome == Answered:
			p.Late++
		case r.Outcome == Refused:
			p.Refused++
		case r.Outcome == TimedOut:
			p.TimedOut++
		default:
			p.Failed++
		}
		if r.Outcome == Answered || r.Outcome == TimedOut {
			taken = append(taken, r.Latency.Seconds())
		}
	}
	if n := len(taken); n > 0 {
		slices.Sort(taken)
		p.P99 = taken[int(math.Ceil(0.99*float64(n)))-1]
	}
	return p
}

// recovery is the least time after the fault from which on clients were served as
// before for a while, to a quarter of a second.
func recovery(sorted []Request, p Phases, healthy Part) float64 {
	if healthy.Due == 0 {
		return -1
	}
	want := recoveredShare * float64(healthy.Good) / float64(healthy.Due)
	for from := p.end(); from+recoveredFor <= p.Length(); from += 250 * time.Millisecond {
		w := part(sorted, from, from+recoveredFor)
		if w.Due > 0 && w.Refused == 0 && float64(w.Good) >= want*float64(w.Due) {
			return (from - p.end()).Seconds()
		}
	}
	return -1
}
