// Package gain chooses the settings that a plan has to beat, and judges whether it
// did. It runs nothing.
package gain

import (
	"hash/fnv"
	"math"
	"math/rand/v2"

	"github.com/heapwright/heapwright/e2e/internal/ladder"
	"github.com/heapwright/heapwright/pacer"
	"github.com/heapwright/heapwright/record"
)

const mib = 1 << 20

// Sizes are what of a program has to fit into a budget, in bytes.
type Sizes struct {
	LiveBytes    float64 `json:"live_bytes"` // heap that survives a cycle, in the median
	RootBytes    float64 `json:"root_bytes"`
	RuntimeBytes float64 `json:"runtime_bytes"` // the runtime's memory beside the heap
	NonGoBytes   float64 `json:"non_go_bytes"`  // resident, and not the runtime's
	PerHeapByte  float64 `json:"resident_per_heap_byte"`
}

// SizesOf takes them from what a twin found out.
func SizesOf(w pacer.Workload) Sizes {
	return Sizes{w.LiveBytes.Estimate, w.RootBytes.Estimate, w.RuntimeBytes.Estimate, w.NonGoBytes.Estimate, w.ResidentPerHeapByte.Estimate}
}

// Budget is a memory limit of a multiple of the live heap, and the memory beside
// Go, in whole MiB.
func (s Sizes) Budget(factor float64) uint64 {
	return uint64(math.Ceil((factor*s.LiveBytes+s.NonGoBytes)/mib)) * mib
}

const (
	// limitRule is the share of a container's limit that automemlimit and
	// Prometheus set GOMEMLIMIT to.
	limitRule = 0.9
	// A GOGC tuner in Uber's manner has the heap fill this share of the container;
	// the bounds of its GOGC are those of ByteDance's gctuner.
	tunerRule             = 0.7
	leastTuned, mostTuned = 50, 500
)

// Rivals are the settings that others would make in a container of a size.
func Rivals(s Sizes, budget uint64) []ladder.Setting {
	limit := int64(limitRule * float64(budget))
	tuned := 100 * (tunerRule*float64(budget)/s.LiveBytes - 1)
	return []ladder.Setting{
		{Name: "default", GOGCPercent: 100, GOMEMLIMITBytes: math.MaxInt64},
		{Name: "limit-90%", GOGCPercent: 100, GOMEMLIMITBytes: limit},
		ladder.Limited("off-90%", float64(limit)),
		// The tuner is code in the program, which sets GOGC after each cycle. Where the
		// live heap is steady, it is this GOGC that it arrives at.
		{Name: "tuner-70%", GOGCPercent: int64(math.Round(min(max(tuned, leastTuned), mostTuned))), GOMEMLIMITBytes: math.MaxInt64},
	}
}

// A Shares is a way to split a budget: the part of each program, which add up to 1.
type Shares func([]Sizes) []float64

// Equally gives all programs the same part.
func Equally(s []Sizes) []float64 {
	out := make([]float64, len(s))
	for i := range out {
		out[i] = 1 / float64(len(s))
	}
	return out
}

// ByLive gives each program a part in proportion to its live heap.
func ByLive(s []Sizes) []float64 {
	sum := 0.0
	for _, one := range s {
		sum += one.LiveBytes
	}
	out := make([]float64, len(s))
	for i, one := range s {
		out[i] = one.LiveBytes / sum
	}
	return out
}

// limitHeadroom is what the runtime keeps below its limit.
const limitHeadroom = 0.03

// leastSplit is the least GOGC of a split, which the product has, too: a program
// whose part is too small for more collects all the time, up to its limit.
const leastSplit = 25

// Split gives each program its part of what a budget has for Go: all but the memory
// beside Go and a reserve. GOMEMLIMIT is the part, and GOGC fills it.
func Split(budget, reserve uint64, s []Sizes, shares Shares) []ladder.Setting {
	forGo := float64(budget) - float64(reserve)
	for _, one := range s {
		forGo -= one.NonGoBytes
	}
	forGo = max(forGo, 0)
	var out []ladder.Setting
	for i, part := range shares(s) {
		limit := max(math.Floor(part*forGo/mib), 1) * mib
		room := (limit-s[i].RuntimeBytes)*(1-limitHeadroom)/s[i].PerHeapByte - s[i].LiveBytes
		gogc := 100 * room / (s[i].LiveBytes + s[i].RootBytes)
		out = append(out, ladder.Setting{GOGCPercent: int64(math.Round(max(gogc, leastSplit))), GOMEMLIMITBytes: int64(limit)})
	}
	return out
}

// Order is an order in which to run n things, which depends on the seed alone: what
// the machine does meanwhile must not fall on always the same one.
func Order(n int, seed string) []int {
	h := fnv.New64a()
	h.Write([]byte(seed))
	return rand.New(rand.NewPCG(h.Sum64(), 1)).Perm(n)
}

// A Held is the memory of a program, or of several, over a recording.
type Held struct{ PeakBytes, MeanBytes float64 }

// HeldBy adds up a field of programs that were recorded at the same time: while all
// of them were, each with its newest sample. It is 0 when there is no such time.
func HeldBy(f record.Field, recs ...*record.Recording) Held {
	type reading struct {
		at    int64 // ns
		of    int
		bytes float64
	}
	next := make([]int, len(recs))
	last := make([]float64, len(recs))
	seen := 0
	var out Held
	var area float64
	var from, before int64
	for {
		var r reading
		found := false
		for i, rec := range recs {
			for next[i] < len(rec.Samples) && !rec.Samples[next[i]].Has.Has(f) {
				next[i]++
			}
			if next[i] == len(rec.Samples) {
				continue
			}
			s := &rec.Samples[next[i]]
			if at := s.Time.UnixNano(); !found || at < r.at {
				v, _ := s.Value(f)
				r, found = reading{at, i, v}, true
			}
		}
		if !found {
			break
		}
		next[r.of]++
		if seen == len(recs) {
			area += sum(last) * float64(r.at-before)
		}
		if last[r.of] == 0 && r.bytes > 0 {
			if seen++; seen == len(recs) {
				from = r.at
			}
		}
		last[r.of] = max(r.bytes, 1)
		before = r.at
		if seen == len(recs) {
			out.PeakBytes = max(out.PeakBytes, sum(last))
		}
		// The first of them that ends, ends it.
		if next[r.of] == len(recs[r.of].Samples) {
			break
		}
	}
	if seen == len(recs) && before > from {
		out.MeanBytes = area / float64(before-from)
	}
	return out
}

func sum(v []float64) float64 {
	s := 0.0
	for _, x := range v {
		s += x
	}
	return s
}
