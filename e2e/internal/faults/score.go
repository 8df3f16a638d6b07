package faults

import (
	"fmt"
	"math"
	"slices"
	"strings"
)

// A Score is what a run is worth.
type Score struct {
	// Right is: a leak that was called a leak, a healthy program that was not, an OOM
	// kill with the kind of memory that ran out.
	Right bool
	// Exact is the cause itself; Cause is that or another that is not wrong either.
	Exact, Cause, Site, Held Mark
	// Growth is what was said of the growth over the truth; 0 where nothing was.
	Growth float64
}

// A Mark is whether something is right, where there is something to be right about.
type Mark int

// The marks.
const (
	NotAsked Mark = iota
	Wrong
	Right
)

func mark(right bool) Mark {
	if right {
		return Right
	}
	return Wrong
}

// String is how a table has it.
func (m Mark) String() string { return [...]string{"", "WRONG", "right"}[m] }

// Judge scores a run by the truth. Of several findings the first counts.
func Judge(f *Fault, r *Run) Score {
	var s Score
	if r.Failed != "" {
		return s
	}
	switch f.Kind {
	case Healthy:
		s.Right = r.Said.Verdict != "leak"
		return s
	case OOM:
		s.Right = slices.Contains(f.Memory, r.Said.Verdict)
		if s.Right && len(f.Sites) > 0 {
			s.Site = mark(len(r.Said.Findings) > 0 && f.site(r.Said.Findings[0].Site))
		}
		return s
	}
	s.Right = r.Said.Verdict == "leak" && len(r.Said.Findings) > 0
	if !s.Right {
		return s
	}
	first := r.Said.Findings[0]
	s.Exact = mark(first.Cause == f.Cause)
	s.Cause = mark(first.Cause == f.Cause || slices.Contains(f.Also, first.Cause))
	if len(f.Sites) > 0 {
		s.Site = mark(f.site(first.Site))
	}
	if f.Held != "" && len(first.Held) > 0 {
		s.Held = mark(slices.ContainsFunc(first.Held, f.held))
	}
	if r.Truth > 0 {
		switch f.Grows {
		case GrowsLive:
			s.Growth = r.Said.LivePerMinute / r.Truth
		case GrowsGoroutines:
			// A connection of an HTTP client has two: what was said is the sum.
			for _, f := range r.Said.Findings {
				if f.Unit == "count" {
					s.Growth += f.PerMinute / r.Truth
				}
			}
		default:
			if first.Unit == "bytes" {
				s.Growth = first.PerMinute / r.Truth
			}
		}
	}
	return s
}

// site says whether a function, or a closure in one, is one of those to be named.
func (f *Fault) site(fn string) bool {
	return slices.ContainsFunc(f.Sites, func(want string) bool {
		return fn == want || strings.HasPrefix(fn, want+".")
	})
}

// held says whether a root that was named is the one that holds. The binary is
// stripped: a global has no name, and is known by what refers to it.
func (f *Fault) held(root string) bool {
	kind, name, _ := strings.Cut(f.Held, " ")
	switch kind {
	case "global":
		return strings.Contains(root, "global")
	case "stack":
		return strings.Contains(root, name) || strings.Contains(root, "goroutine") || strings.Contains(root, "stack")
	case "finalizers":
		return strings.Contains(root, "finalizer")
	}
	return strings.Contains(root, "timer") || strings.Contains(root, "runtime")
}

// A Rate is how often something was so, with the 95% interval of Wilson.
type Rate struct {
	Count, Of int
	Low, High float64
}

// RateOf is a rate with its interval.
func RateOf(count, of int) Rate {
	r := Rate{Count: count, Of: of, High: 1}
	if of == 0 {
		return r
	}
	const z = 1.959964
	n, p := float64(of), float64(count)/float64(of)
	middle := (p + z*z/(2*n)) / (1 + z*z/n)
	half := z / (1 + z*z/n) * math.Sqrt(p*(1-p)/n+z*z/(4*n*n))
	r.Low, r.High = max(middle-half, 0), min(middle+half, 1)
	return r
}

// Ratio is the rate itself, NaN of nothing.
func (r Rate) Ratio() float64 { return float64(r.Count) / float64(r.Of) }

// String shows a rate as "38 of 40 = 95% (83% to 99%)".
func (r Rate) String() string {
	if r.Of == 0 {
		return "none of none"
	}
	return fmt.Sprintf("%d of %d = %.0f%% (%.0f%% to %.0f%%)", r.Count, r.Of, 100*r.Ratio(), 100*r.Low, 100*r.High)
}

// A Total is the score of many runs.
type Total struct {
	Found, FalseAlarms, Inconclusive     Rate
	Exact, Cause, Site, Held, OOM, OOMAt Rate
	Captured                             Rate
	MedianSeconds, MedianGrowth          float64
}

// Sum adds up the runs of the programs; a run that failed is one in which nothing
// was found, or, of a healthy program, one that is not counted.
func Sum(all []Fault, runs []Run) Total {
	var found, alarms, inconclusive, exact, cause, site, held, oom, oomAt, captured [2]int
	count := func(to *[2]int, yes bool) {
		to[1]++
		if yes {
			to[0]++
		}
	}
	countMark := func(to *[2]int, m Mark) {
		if m != NotAsked {
			count(to, m == Right)
		}
	}
	var seconds, growth []float64
	for i := range runs {
		r := &runs[i]
		at := slices.IndexFunc(all, func(f Fault) bool { return f.Name == r.Fault })
		if at < 0 {
			continue
		}
		f := &all[at]
		s := Judge(f, r)
		switch f.Kind {
		case Healthy:
			if r.Failed == "" {
				count(&alarms, !s.Right)
				count(&inconclusive, r.Said.Verdict == "inconclusive")
			}
		case OOM:
			count(&oom, s.Right)
			countMark(&oomAt, s.Site)
			count(&captured, r.Said.Captured)
		case Leak:
			count(&found, s.Right)
			countMark(&exact, s.Exact)
			countMark(&cause, s.Cause)
			countMark(&site, s.Site)
			countMark(&held, s.Held)
			if s.Right {
				seconds = append(seconds, r.Seconds)
			}
			if s.Growth > 0 {
				growth = append(growth, s.Growth)
			}
		}
	}
	rate := func(c [2]int) Rate { return RateOf(c[0], c[1]) }
	return Total{
		Found: rate(found), FalseAlarms: rate(alarms), Inconclusive: rate(inconclusive),
		Exact: rate(exact), Cause: rate(cause), Site: rate(site), Held: rate(held),
		OOM: rate(oom), OOMAt: rate(oomAt), Captured: rate(captured),
		MedianSeconds: Median(seconds), MedianGrowth: Median(growth),
	}
}

// Missed are the targets that were missed, in sentences.
func (t *Total) Missed() (out []string) {
	if t.Found.Of > 0 && t.Found.Ratio() < 0.95 {
		out = append(out, fmt.Sprintf("found %v of the leaks, and 95%% is the target", t.Found))
	}
	if t.FalseAlarms.Count > 0 {
		out = append(out, fmt.Sprintf("false alarms: %v, and 0 is the target", t.FalseAlarms))
	}
	if t.Cause.Of > 0 && t.Cause.Ratio() < 0.90 {
		out = append(out, fmt.Sprintf("the cause is right in %v, and 90%% is the target", t.Cause))
	}
	return out
}

// Median is the middle of the values, 0 of none.
func Median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	v = slices.Sorted(slices.Values(v))
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}
