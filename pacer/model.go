package pacer

import (
	"math"
	"strconv"
	"strings"
	"time"
)

//go:generate go run ../tools/pacervectors -o testdata/runtime.txt

// A Model is the arithmetic of the pacer of one Go release, to the digit: the
// same operations on integers and floats in the same order as the runtime, so
// that its results can be compared with what a process has in its books. It
// holds no state and is made by [ModelOf]. Where a quantity is not named
// otherwise, it is in bytes.
//
// A GC cycle goes through the model like this:
//
//   - a cycle starts when the heap reaches [Model.Trigger], after [ForcedPeriod]
//     without one, or when the program asks for it;
//   - [Model.Workers] says who marks, [Model.Assist] how much goroutines must
//     mark before they may allocate, and a [Limiter] when they need not;
//   - at the end, [Model.NextConsMark] compares what was allocated with what was
//     marked, and [Model.Commit] sets the pace of the next cycle from it;
//   - [Model.ScavengeGoals] says how much memory the scavenger returns.
//
// All of it goes by the bytes that the runtime itself counts: heap bytes
// allocated and marked, memory mapped and not released. Resident memory (RSS)
// plays no part in it, nor does memory that the runtime did not map.
//
// # Differences between releases
//
// The sources of Go 1.20 to 1.27 were compared, all patch releases of each:
// runtime/mgcpacer.go and mgclimit.go are the same in all patch releases of a
// minor release, and so is the arithmetic of mgcscavenge.go.
//
//   - 1.20: 1 MiB of headroom below a memory limit; the cons/mark ratio is the
//     mean of the last two cycles'.
//   - 1.21: 3% of headroom, at least 1 MiB; the cons/mark ratio is the largest of
//     the last five cycles'. A goroutine that exceeds the memory limit now
//     returns memory wherever there is some; the background scavenger leaves dense
//     chunks alone (96.875% in use, now or in the cycle before).
//   - 1.22: the background scavenger begins at 95% of the memory limit. Before, it
//     compared with 95 times the limit, and so never began because of it.
//   - 1.24: a P that no background worker is meant for no longer takes one out of
//     their pool. Nothing that is computed differs from 1.22, nor in 1.23.
//   - 1.25: in /cpu/classes, marking on idle Ps no longer counts as time that they
//     idled as well; the limiter counts as before. With Green Tea (an experiment,
//     the default in 1.26), idle Ps are woken to mark when work appears. Nothing that
//     the pacer computes differs.
//   - 1.26: idle Ps are given their dedicated worker when a cycle starts, not when
//     they next look for work. Nothing that is computed differs.
//   - 1.27: nothing.
//
// Floats that do not fit the integer they are converted to become what amd64
// makes of them. On arm64 they become the nearest integer. That is all the
// difference, and it shows only where a cycle scanned nothing at all, assists took
// three quarters of the CPU, or a size is beyond 8 EiB.
type Model struct {
	minor     uint8
	smallHeap bool // GOEXPERIMENT=heapminimum512kib
}

const oldestMinor, newestMinor = 20, 27

// ModelOf returns the model of a Go release, named as [runtime.Version] does:
// "go1.26.8", or with experiments "go1.25.9 X:greenteagc" and, since Go 1.26,
// "go1.26.8-X:nogreenteagc". What a vendor appends, as in "go1.24.4-1", is passed
// over. The experiment heapminimum512kib is in the model; others leave the pacer
// as it is. The error is an *[UnsupportedError]: for releases that are not known,
// for release candidates, and for development versions.
func ModelOf(goVersion string) (Model, error) {
	minor, ok := minorOf(goVersion)
	if !ok || minor < oldestMinor || minor > newestMinor {
		return Model{}, &UnsupportedError{goVersion}
	}
	m := Model{minor: uint8(minor)}
	for _, sep := range []string{" X:", "-X:"} {
		if _, x, ok := strings.Cut(goVersion, sep); ok {
			x, _, _ = strings.Cut(x, " ")
			for e := range strings.SplitSeq(x, ",") {
				m.smallHeap = m.smallHeap || e == "heapminimum512kib"
			}
		}
	}
	return m, nil
}

// minorOf returns 26 for "go1.26", "go1.26.8" and either with something after a
// space or a hyphen, except for "go1.26-devel_...".
func minorOf(goVersion string) (int, bool) {
	s, ok := strings.CutPrefix(goVersion, "go1.")
	if !ok {
		return 0, false
	}
	if i := strings.IndexAny(s, " -"); i >= 0 {
		if strings.HasPrefix(s[i+1:], "devel") {
			return 0, false
		}
		s = s[:i]
	}
	s, patch, dotted := strings.Cut(s, ".")
	if _, err := strconv.ParseUint(patch, 10, 16); dotted && err != nil {
		return 0, false
	}
	minor, err := strconv.ParseUint(s, 10, 8)
	return int(minor), err == nil
}

// String returns the minor release, such as "go1.26".
func (m Model) String() string {
	s := "go1." + strconv.Itoa(int(m.minor))
	if m.smallHeap {
		s += " X:heapminimum512kib"
	}
	return s
}

// ForcedPeriod is how long the runtime goes without a cycle before it forces one,
// unless GOGC is off: a process that only has a memory limit is never forced
// (runtime/proc.go, forcegcperiod, and mgc.go, gcTrigger.test; Go 1.20 to 1.27).
const ForcedPeriod = 2 * time.Minute

// NoGoal is the goal of what has none: the heap when GOGC is off, the scavenger
// when it has nothing to do. It is also [Pacing.Triggered] between cycles.
const NoGoal = math.MaxUint64

const (
	// backgroundUtilization is the share of GOMAXPROCS that marks in the
	// background, and with it the goal for marking as a whole: 25%
	// (runtime/mgcpacer.go, gcBackgroundUtilization and gcGoalUtilization).
	backgroundUtilization = 0.25
	goalUtilization       = backgroundUtilization

	// sweepMinDistance is the least that may be allocated while sweeping
	// (runtime/mgc.go, sweepMinHeapDistance).
	sweepMinDistance = 1 << 20
	// minRunway is the least between where a cycle started and its goal
	// (runtime/mgcpacer.go, heapGoalInternal).
	minRunway = 64 << 10

	limitMinHeadroom     = 1 << 20 // memoryLimitMinHeapGoalHeadroom; before Go 1.21, all of it
	limitHeadroomPercent = 3       // memoryLimitHeapGoalHeadroomPercent

	triggerRatioDen    = 64
	minTriggerRatioNum = 45 // ~0.7
	maxTriggerRatioNum = 61 // ~0.95
)

// defaultHeapMinimum is heapMinimum at GOGC=100 (runtime/mgcpacer.go,
// defaultHeapMinimum; Go 1.20 to 1.27).
func (m Model) defaultHeapMinimum() uint64 {
	if m.smallHeap {
		return 512 << 10
	}
	return 4 << 20
}

// gcPercent is GOGC as the runtime keeps it: an int32, any negative is -1.
func gcPercent(gogc int64) int32 {
	return int32(min(max(gogc, -1), math.MaxInt32))
}

// toUint64 and toInt64 convert as compiled code does on amd64, whatever they run
// on: out of range, and NaN, become 1<<63; a negative number keeps its two's
// complement.
func toUint64(f float64) uint64 {
	if f >= 1<<63 && f < 1<<64 {
		return uint64(f-1<<63) | 1<<63
	}
	return uint64(toInt64(f))
}

func toInt64(f float64) int64 {
	if f >= -1<<63 && f < 1<<63 {
		return int64(f)
	}
	return math.MinInt64
}
