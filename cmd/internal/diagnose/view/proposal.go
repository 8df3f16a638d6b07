package view

import (
	"math"

	"github.com/heapwright/heapwright/record"
)

// The heap may grow into this share of the container's limit, or, without a
// container, the process may take this share of the host's memory: what is free
// there is not this process's alone.
const (
	containerUse = 0.70
	hostUse      = 0.05
)

// A Proposal is a higher GOGC, computed from GC CPU ~ 1/GOGC. The rule holds to
// within 5% between GOGC 25 and 400 where the cost of a cycle is constant.
type Proposal struct {
	GOGC   float64 // percent, a multiple of 50
	Share  float64 // expected GC share of the process's CPU
	More   float64 // bytes more at the peak
	Budget float64 // bytes that the process may have
	Within string  // what Budget is
}

// aimShare is the GC share that a proposal aims at, and mostGOGC bounds it:
// beyond, memory grows and CPU hardly falls. A step below leastStep is not worth
// a change.
const (
	aimShare  = 0.05
	mostGOGC  = 800
	leastStep = 1.5
)

// Propose computes a higher GOGC that the memory allows. It reports false when
// GOGC does not set the heap goal (the memory limit does), when there is no
// memory for a step worth taking, or when something is not known.
func (v *View) Propose() (Proposal, bool) {
	gogc, okG := v.GOGC()
	eff, okE := v.EffectiveGOGC()
	cpu, okC := v.CPU()
	_, live, nonHeap, okL := v.LeastLimit()
	outside, okO := v.OutsidePeak()
	if !okG || !okE || !okC || !okL || !okO || gogc <= 0 || eff < LimitDriven*gogc {
		return Proposal{}, false
	}
	stacks, _ := v.Max(record.FieldStackScanBytes)
	globals, _ := v.Max(record.FieldGlobalsScanBytes)
	roots := live + stacks + globals
	if roots <= 0 {
		return Proposal{}, false
	}
	p := Proposal{Budget: v.ContainerLimit() * containerUse, Within: "70% of the container's limit"}
	if p.Budget == 0 {
		p.Budget, p.Within = float64(v.Process.HostMemoryBytes)*hostUse, "5% of the host's memory"
	}
	if gml, set, ok := v.GOMEMLIMIT(); ok && set && gml+outside < p.Budget {
		p.Budget, p.Within = gml+outside, "GOMEMLIMIT"
	}
	spans := v.SpanOverhead()
	fits := 100 * (p.Budget - nonHeap - outside - live*spans) / (roots * spans)
	p.GOGC = math.Floor(min(gogc*cpu.Share/aimShare, fits, mostGOGC)/50) * 50
	if p.GOGC < leastStep*gogc || p.GOGC < 50 {
		return Proposal{}, false
	}
	p.Share = cpu.Share * gogc / p.GOGC
	p.More = roots * (p.GOGC - gogc) / 100 * spans
	return p, true
}

// LimitDriven is the share of GOGC below which the effective GOGC shows that the
// memory limit, not GOGC, sets the heap goal.
const LimitDriven = 0.80

// LimitSetsGoal reports whether the memory limit, and not GOGC, sets the goal.
func (v *View) LimitSetsGoal() bool {
	_, set, ok := v.GOMEMLIMIT()
	eff, okE := v.EffectiveGOGC()
	gogc, okG := v.GOGC()
	return ok && set && okE && okG && (gogc < 0 || eff < LimitDriven*gogc)
}
