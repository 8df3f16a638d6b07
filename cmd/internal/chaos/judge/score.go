package judge

import (
	"slices"
	"strings"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
)

// expected are the findings that name the cause which a kind of fault is. What only
// names its consequences, GC CPU (HW2003), assists (HW2002) or waiting for a P (HW4003),
// does not count: it comes with every other fault as well.
var expected = map[chaos.Kind][]string{
	chaos.SoftLimit:   {"HW1003", "HW1010"},           // GOMEMLIMIT is too near the live heap; it was changed
	chaos.CPUQuota:    {"HW4004", "HW1007", "HW1010"}, // throttled; GOMAXPROCS above the quota; it was changed
	chaos.Churn:       {"HW2001"},                     // most of what is allocated dies at once
	chaos.ForcedGC:    {"HW1006"},                     // collections are forced
	chaos.Retain:      {"HW3001", "HW3008"},           // the live heap rises; it has jumped, and stays
	chaos.Pointers:    {"HW3001", "HW3008"},           //
	chaos.Large:       {"HW2004", "HW3001", "HW3008"}, // large objects are allocated and dropped; they are kept, too
	chaos.Fragments:   {"HW3006"},                     // spans in use hold few objects
	chaos.Goroutines:  {"HW3002", "HW3003"},           // their number rises; they are blocked on one site
	chaos.Stacks:      {"HW3004"},                     // stacks are a large part of the memory
	chaos.OffHeap:     {"HW3005"},                     // much memory is outside of the runtime
	chaos.Connections: {"HW3002", "HW3003"},           // each has a goroutine that waits
	chaos.Freeze:      {"HW4006"},                     // the process was stopped
	chaos.Sibling:     {"HW3009"},                     // another process has memory of the container
	chaos.Shared:      {"HW3010"},                     // shared memory takes memory of the container
	chaos.PageCache:   {"HW3011"},                     // page cache does
	chaos.Reclaim:     {"HW4005"},                     // the kernel takes memory that is needed again
	chaos.HardLimit:   {"HW1001", "HW1002", "HW1010"}, // the container's limit, and GOMEMLIMIT above it or unset; it was changed
	// No rule is for Finalizers, of which the runtime's books as they are read say nothing,
	// and for SlowDependency, which is neither memory nor GC.
}

// Expected are the findings that name a fault of this kind; none where no rule is for it.
func Expected(kind chaos.Kind) []string { return slices.Clone(expected[kind]) }

// names are the findings that name a fault of a plan.
func names(f *chaos.Fault) []string {
	if len(f.Diagnosis) > 0 {
		return slices.Clone(f.Diagnosis)
	}
	return Expected(f.Kind)
}

// diagnosed are the findings of a fault's stretch; -1: of before. False where there was
// no diagnosis.
func diagnosed(run *chaos.Run, fault int) (ids []string, first time.Duration, ok bool) {
	for _, d := range run.Findings {
		if d.Fault != fault || d.Err != "" {
			continue
		}
		ok, first = true, max(d.First, 0)
		for _, f := range d.Findings {
			if !slices.Contains(ids, f.ID) {
				ids = append(ids, f.ID)
			}
		}
		break
	}
	return ids, first, ok
}

// findingID is the identifier of the finding that an event is about.
func findingID(e chaos.Event) string {
	if e.To != "" {
		return e.To
	}
	id, _, _ := strings.Cut(e.Text, " ")
	return id
}

// naming fills in what the diagnosis says of a fault. What was there before it does
// not count.
func naming(run *chaos.Run, f *chaos.FaultResult, plan *chaos.Fault) (known bool) {
	f.Named, f.Expected, f.Others = []string{}, names(plan), []string{}
	if f.Expected == nil {
		f.Expected = []string{}
	}
	ids, _, known := diagnosed(run, f.Fault)
	old, _, _ := diagnosed(run, -1)
	for _, id := range ids {
		switch {
		case slices.Contains(old, id):
		case slices.Contains(f.Expected, id):
			f.Named = append(f.Named, id)
		case strings.HasPrefix(id, "HW9"): // of the recording, not of the target
		default:
			f.Others = append(f.Others, id)
		}
	}
	return known
}

// score says how well our own rules named what happened; nil when nothing was diagnosed.
func score(run *chaos.Run, faults []chaos.FaultResult, known []bool) *chaos.Score {
	s := &chaos.Score{}
	some := false
	var all []string
	for i, f := range faults {
		all = append(all, f.Expected...)
		if !known[i] || !f.Happened {
			continue
		}
		some = true
		switch {
		case len(f.Expected) == 0:
			s.NoRule++
		case len(f.Named) > 0:
			s.Faults, s.Named = s.Faults+1, s.Named+1
		default:
			s.Faults, s.Unnamed = s.Faults+1, s.Unnamed+1
		}
	}
	old, _, ok := diagnosed(run, -1)
	for _, id := range old {
		if slices.Contains(all, id) {
			s.False++
		}
	}
	if !some && !ok {
		return nil
	}
	return s
}
