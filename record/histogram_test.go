package record

import (
	"math"
	"math/rand/v2"
	"runtime/metrics"
	"slices"
	"testing"
	"time"
)

func TestTimeHistogramBoundsAreTheRuntimes(t *testing.T) {
	s := []metrics.Sample{{Name: "/sched/latencies:seconds"}}
	metrics.Read(s)
	got := s[0].Value.Float64Histogram().Buckets
	// The runtime's list is -Inf, the bounds, +Inf.
	if len(got) != TimeHistogramBuckets+3 {
		t.Fatalf("runtime has %d bucket boundaries, want %d", len(got), TimeHistogramBuckets+3)
	}
	for i := range TimeHistogramBuckets + 1 {
		if want := float64(TimeHistogramBound(i)) / 1e9; got[i+1] != want {
			t.Errorf("bound %d is %v s in the runtime, here %v", i, got[i+1], want)
		}
	}
	if TimeHistogramBound(TimeHistogramBuckets) != TimeHistogramMax {
		t.Errorf("last bound is %d, want TimeHistogramMax", TimeHistogramBound(TimeHistogramBuckets))
	}
}

func TestTimeHistogramAdd(t *testing.T) {
	for i := range TimeHistogramBuckets {
		lo, hi := TimeHistogramBound(i), TimeHistogramBound(i+1)
		for _, d := range []time.Duration{lo, (lo + hi) / 2, hi - 1} {
			var h TimeHistogram
			h.Add(d)
			if h.Counts[i] != 1 {
				t.Fatalf("%d ns is not in bucket %d [%d, %d)", d, i, lo, hi)
			}
		}
	}
	var h TimeHistogram
	h.Add(-1)
	h.Add(TimeHistogramMax)
	h.Add(math.MaxInt64)
	if h.Underflow != 1 || h.Overflow != 2 || h.Count() != 3 {
		t.Errorf("out of range: underflow %d, overflow %d, count %d", h.Underflow, h.Overflow, h.Count())
	}
}

// Quantile, Sum and CountAbove against the durations themselves.
func TestTimeHistogramEstimates(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	var h TimeHistogram
	var all []time.Duration
	var sum time.Duration
	for range 10000 {
		d := time.Duration(math.Exp(rng.Float64()*15+6)) + 256
		h.Add(d)
		all = append(all, d)
		sum += d
	}
	slices.Sort(all)
	for _, q := range []float64{0, 0.1, 0.5, 0.9, 0.99, 0.999, 1} {
		truth := all[max(int(math.Ceil(q*float64(len(all))))-1, 0)]
		if got := h.Quantile(q); got < truth || float64(got) > 1.26*float64(truth) {
			t.Errorf("quantile %v is %v, the truth is %v", q, got, truth)
		}
	}
	if got := h.Sum(); math.Abs(float64(got-sum)) > float64(sum)/8 {
		t.Errorf("sum is %v, the truth is %v", got, sum)
	}
	for _, limit := range []time.Duration{0, 300, time.Microsecond, time.Millisecond, time.Hour} {
		at, _ := slices.BinarySearch(all, limit)
		truth := uint64(len(all) - at)
		bucket := h.Counts[timeHistogramBucket(limit)]
		if got := h.CountAbove(limit); got > truth || got+bucket < truth {
			t.Errorf("%d counted at %v or above, the truth is %d, the bucket that is split has %d", got, limit, truth, bucket)
		}
	}
}

func TestTimeHistogramEdges(t *testing.T) {
	var h TimeHistogram
	if h.Quantile(0.5) != 0 || h.Sum() != 0 || h.Count() != 0 || h.CountAbove(0) != 0 {
		t.Error("an empty histogram has something in it")
	}
	h.Overflow = 1
	if h.Quantile(1) != math.MaxInt64 || h.Quantile(math.NaN()) != 0 {
		t.Errorf("quantile in the overflow: %v; of NaN: %v", h.Quantile(1), h.Quantile(math.NaN()))
	}
	for i := range h.Counts {
		h.Counts[i] = math.MaxUint64
	}
	if h.Count() != math.MaxUint64 || h.Sum() != math.MaxInt64 || h.CountAbove(0) != math.MaxUint64 {
		t.Error("huge counts wrap around")
	}
	if got := h.Quantile(0.5); got < 0 {
		t.Errorf("quantile of huge counts is %v", got)
	}
}

func TestTimeHistogramSub(t *testing.T) {
	var a, b TimeHistogram
	a.Add(1000)
	b = a
	b.Add(1000)
	b.Add(-5)
	b.Add(TimeHistogramMax)
	if d := b.Sub(&a); d.Counts[timeHistogramBucket(1000)] != 1 || d.Underflow != 1 || d.Overflow != 1 || d.Count() != 3 {
		t.Errorf("difference counts %d", d.Count())
	}
	if d := a.Sub(&b); d.Count() != 0 {
		t.Errorf("a histogram that went backwards counts %d", d.Count())
	}
}
