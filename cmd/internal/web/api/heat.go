package api

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"
)

// maxBuckets bounds the buckets of a histogram that comes from a store.
const maxBuckets = 200

// A bucket is what was counted up to a bound in each step.
type bucket struct {
	upper  float64 // seconds; +Inf for all
	counts Values
}

// latencies adds how long goroutines waited for a processor, as a histogram for each
// step, and three quantiles of it.
func (s *server) latencies(ctx context.Context, doc *SeriesDocument, g grid, process string, now time.Time) error {
	window := max(g.step, 2*staleSlow)
	m, warnings, err := s.Store.QueryRange(ctx, fmt.Sprintf("sum by (le) (increase(%s[%dms]))",
		s.selector("go_sched_latencies_seconds_bucket", process), window.Milliseconds()), g.from, g.to, g.step)
	if err != nil {
		return err
	}
	doc.Warnings = append(doc.Warnings, warnings...)
	var buckets []bucket
	for _, series := range m[:min(len(m), maxBuckets)] {
		upper, err := strconv.ParseFloat(series.Metric.Get("le"), 64)
		if err != nil || math.IsNaN(upper) || math.IsInf(upper, -1) {
			continue
		}
		b := bucket{upper, g.empty()}
		g.place(b.counts, series.Floats)
		unfinished(b.counts, g, now)
		// Where steps are shorter than the window, each has its part of it.
		for i := range b.counts {
			b.counts[i] *= float64(g.step) / float64(window)
		}
		buckets = append(buckets, b)
	}
	slices.SortFunc(buckets, func(a, b bucket) int { return cmp.Compare(a.upper, b.upper) })
	buckets = slices.CompactFunc(buckets, func(a, b bucket) bool { return a.upper == b.upper })
	if len(buckets) < 2 {
		return nil
	}
	doc.Heat = heatOf(buckets, g)
	for _, q := range []struct {
		name, label string
		of          float64
	}{{"latency_p50_seconds", "half waited less", 0.5}, {"latency_p99_seconds", "1 of 100 waited longer", 0.99}, {"latency_p999_seconds", "1 of 1000 waited longer", 0.999}} {
		line := Line{Name: q.name, Label: q.label, Unit: "seconds", Values: g.empty()}
		for i := range line.Values {
			line.Values[i] = quantile(doc.Heat, i, q.of)
		}
		if slices.ContainsFunc(line.Values, isNumber) {
			doc.Series = append(doc.Series, line)
		}
	}
	return nil
}

// heatOf is what was counted in each bucket, from what was counted up to each bound.
func heatOf(buckets []bucket, g grid) *Heat {
	h := &Heat{Bounds: []float64{}, Counts: make([]Values, g.n)}
	for _, b := range buckets {
		if !math.IsInf(b.upper, 1) {
			h.Bounds = append(h.Bounds, b.upper)
		}
	}
	for i := range h.Counts {
		row := make(Values, len(h.Bounds)+1)
		before := 0.0
		for j, b := range buckets {
			n := b.counts[i]
			if math.IsNaN(n) {
				row = nil // a step of which a bucket is missing is one of which nothing is known
				break
			}
			// The parts of an increase are estimated each for itself, and may be less
			// than what they are parts of by a rounding.
			row[min(j, len(h.Bounds))] += max(n-before, 0)
			before = max(n, before)
		}
		h.Counts[i] = row
	}
	return h
}

// quantile estimates a quantile of a step: within a bucket, on a logarithmic scale.
func quantile(h *Heat, step int, q float64) float64 {
	row := h.Counts[step]
	total := 0.0
	for _, n := range row {
		total += n
	}
	if !(total > 0) {
		return math.NaN()
	}
	rank, below := q*total, 0.0
	for i, n := range row {
		if below+n < rank || n == 0 {
			below += n
			continue
		}
		if i >= len(h.Bounds) {
			break
		}
		upper := h.Bounds[i]
		lower := upper / 4
		if i > 0 {
			lower = h.Bounds[i-1]
		}
		if !(lower > 0 && upper > lower) {
			return upper
		}
		return lower * math.Pow(upper/lower, (rank-below)/n)
	}
	return h.Bounds[len(h.Bounds)-1] // it is longer than the longest that is counted
}
