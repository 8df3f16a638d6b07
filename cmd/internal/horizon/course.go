package horizon

import (
	"math"
	"sort"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/trend"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/view"
	"github.com/heapwright/heapwright/record"
)

// A Point is an amount of memory at an instant.
type Point struct {
	Time  time.Time
	Bytes float64
}

// A Cycle is what is used of a GC cycle.
type Cycle struct {
	End   time.Time
	Pause time.Duration
	Live  float64 // bytes found alive; 0: not known
}

// A Course is what is known of the memory of one life of a process, each slice in the
// order of time. What is not known is zero.
type Course struct {
	Start  time.Time // of the process
	Cycles []Cycle
	// Used is memory that the kernel cannot take back: anonymous resident memory.
	Used []Point

	Limit     float64 // bytes at which the kernel kills; 0: none is known
	SoftLimit float64 // GOMEMLIMIT; 0: none
	GOGC      float64 // percent; negative is off
	Roots     float64 // bytes of stacks and globals that cycles scan, which GOGC counts too
	NonHeap   float64 // bytes of the runtime that count against GOMEMLIMIT and are no objects
	GCShare   float64 // of the process's CPU time, lately; 0: not known
}

// warmup is how many of a process's first cycles say nothing: the heap is being made.
const warmup = 4

// Read makes a course of a recording up to an instant; the zero one is its end. Settings
// are those of then.
func Read(r *record.Recording, now time.Time) *Course {
	samples, cycles := r.Samples, r.Cycles
	if !now.IsZero() {
		samples = samples[:sort.Search(len(samples), func(i int) bool { return samples[i].Time.After(now) })]
		cycles = cycles[:sort.Search(len(cycles), func(i int) bool { return cycles[i].End.After(now) })]
	}
	c := &Course{Start: r.Process.StartTime, GOGC: 100, Limit: float64(r.Process.MemoryLimitBytes)}
	detailed := 0
	for i := range cycles {
		if cy := &cycles[i]; cy.N > warmup {
			one := Cycle{End: cy.End, Pause: cy.Pause}
			if cy.Detail {
				one.Live = float64(cy.HeapMarkedBytes)
				detailed++
			}
			c.Cycles = append(c.Cycles, one)
		}
	}
	c.fromSamples(samples, detailed)
	return c
}

func (c *Course) fromSamples(samples []record.Sample, detailed int) {
	var seen []Cycle // by samples: where cycles have no details
	last := math.Inf(-1)
	for i := range samples {
		s := &samples[i]
		if used, ok := s.Value(record.FieldRSSAnonBytes); ok {
			c.Used = append(c.Used, Point{s.Time, used})
		} else if used, ok := s.Value(record.FieldRSSBytes); ok {
			c.Used = append(c.Used, Point{s.Time, used})
		}
		n, okN := s.Value(record.FieldGCCycles)
		live, okL := s.Value(record.FieldHeapMarkedBytes)
		if okN && okL && n > warmup && n != last && live > 0 {
			seen = append(seen, Cycle{End: s.Time, Live: live})
			last = n
		}
		latest(s, record.FieldCgroupLimitBytes, &c.Limit)
		latest(s, record.FieldGOGCPercent, &c.GOGC)
		latest(s, record.FieldGOMEMLIMITBytes, &c.SoftLimit)
		stacks, ok1 := s.Value(record.FieldStackScanBytes)
		globals, ok2 := s.Value(record.FieldGlobalsScanBytes)
		if ok1 && ok2 {
			c.Roots = stacks + globals
		}
		ready, ok1 := s.Value(record.FieldMappedReadyBytes)
		free, ok2 := s.Value(record.FieldHeapFreeBytes)
		objects, ok3 := s.Value(record.FieldHeapObjectsBytes)
		if ok1 && ok2 && ok3 {
			c.NonHeap = max(0, ready-free-objects)
		}
	}
	if len(seen) > detailed {
		c.Cycles = seen
	}
	if c.SoftLimit >= math.MaxInt64/2 {
		c.SoftLimit = 0
	}
	if n := len(samples); n >= 2 {
		newest := &samples[n-1]
		for i := n - 2; i >= 0; i-- {
			if newest.Time.Sub(samples[i].Time) >= lately || i == 0 {
				if share, _, ok := view.GCShare(&samples[i], newest); ok {
					c.GCShare = share
				}
				break
			}
		}
	}
}

// lately is what the collector's share of the CPU is taken over.
const lately = time.Minute

func latest(s *record.Sample, f record.Field, to *float64) {
	if v, ok := s.Value(f); ok {
		*to = v
	}
}

// The runtime's, in runtime/mgcpacer.go of Go 1.21 to 1.27.
const (
	heapMinimum   = 4 << 20 // bytes at GOGC=100
	limitHeadroom = 0.03    // of the goal that GOMEMLIMIT gives: memoryLimitHeapGoalHeadroomPercent
)

// softGoal is the heap goal under GOMEMLIMIT, infinite without.
func (c *Course) softGoal() float64 {
	if c.SoftLimit <= 0 {
		return math.Inf(1)
	}
	return max(0, c.SoftLimit-c.NonHeap) * (1 - limitHeadroom)
}

// ownGoal is the heap goal that GOGC gives, infinite when it is off.
func (c *Course) ownGoal(live float64) float64 {
	if c.GOGC < 0 {
		return math.Inf(1)
	}
	return max(live+(live+c.Roots)*c.GOGC/100, heapMinimum*c.GOGC/100)
}

// peak is what the heap grows to before the next cycle has done its work.
func (c *Course) peak(live float64) float64 {
	goal := min(c.ownGoal(live), max(c.softGoal(), live))
	if math.IsInf(goal, 1) {
		return live
	}
	return max(goal, live)
}

// series are the live heap and what memory has been beside the heap's peak, in seconds
// from now. Points that are no numbers, or lie in the future, are left out, and those that
// go back in time.
func (c *Course) series(now time.Time) (live, beside, used []trend.Point) {
	last := math.Inf(-1)
	for _, p := range c.Used {
		if t := p.Time.Sub(now).Seconds(); usable(p.Bytes) && t <= 0 && t >= last {
			used = append(used, trend.Point{T: t, V: p.Bytes})
			last = t
		}
	}
	last = math.Inf(-1)
	i := 0
	// What a lone cycle finds alive moves its goal, and hardly what is resident.
	var near []trend.Point
	for _, cy := range c.Cycles {
		t := cy.End.Sub(now).Seconds()
		if !(cy.Live > 0) || !usable(cy.Live) || t > 0 || t < last {
			continue
		}
		last = t
		live = append(live, trend.Point{T: t, V: cy.Live})
		// From one cycle to the next the heap grows to its goal: then it is at its peak.
		most := math.Inf(-1)
		for ; i < len(used) && used[i].T <= t; i++ {
			most = max(most, used[i].V)
		}
		if !math.IsInf(most, -1) && len(near) > 0 {
			beside = append(beside, trend.Point{T: t, V: most - c.peak(newest(near))})
		}
		if near = append(near, trend.Point{T: t, V: cy.Live}); len(near) > neighbours {
			near = near[1:]
		}
	}
	return live, beside, used
}

const neighbours = 5

// newest is the last of a few points, levelled by the others.
func newest(near []trend.Point) float64 {
	last := near[len(near)-1]
	if len(near) < 3 {
		return last.V
	}
	var slopes, values []float64
	for i := range near {
		for j := i + 1; j < len(near); j++ {
			if dt := near[j].T - near[i].T; dt > 0 {
				slopes = append(slopes, (near[j].V-near[i].V)/dt)
			}
		}
	}
	if len(slopes) == 0 {
		return last.V
	}
	slope := median(slopes)
	for _, p := range near {
		values = append(values, p.V+slope*(last.T-p.T))
	}
	return max(0, median(values))
}

func usable(v float64) bool { return v >= 0 && v < 1e18 } // not a NaN either
