package api

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
)

// How many cycles are looked at. A service that collects 20 times a second has a
// million in 14 hours.
const (
	maxCycles  = 20_000    // in one answer
	maxPauses  = 1_000_000 // of which the pauses are read
	maxDetails = 100_000   // of which everything is read
	sliceOf    = 20_000    // cycles that are read at a time, about
)

const cyclePrefix = "heapwright_gc_cycle_"

// cycleFields put what series of cycles say into a row.
var cycleFields = map[string]func(*CycleRow, float64){
	"number":                    func(c *CycleRow, v float64) { c.N = uint64(max(v, 0)) },
	"pause_seconds":             func(c *CycleRow, v float64) { c.PauseSeconds = finite(v) },
	"sweep_termination_seconds": func(c *CycleRow, v float64) { c.SweepTerminationSeconds = finite(v) },
	"mark_seconds":              func(c *CycleRow, v float64) { c.MarkSeconds = finite(v) },
	"mark_termination_seconds":  func(c *CycleRow, v float64) { c.MarkTerminationSeconds = finite(v) },
	"assist_cpu_seconds":        func(c *CycleRow, v float64) { c.AssistCPUSeconds = finite(v) },
	"dedicated_cpu_seconds":     func(c *CycleRow, v float64) { c.DedicatedCPUSeconds = finite(v) },
	"fractional_cpu_seconds":    func(c *CycleRow, v float64) { c.FractionalCPUSeconds = finite(v) },
	"idle_cpu_seconds":          func(c *CycleRow, v float64) { c.IdleCPUSeconds = finite(v) },
	"heap_start_bytes":          func(c *CycleRow, v float64) { c.HeapStartBytes = finite(v) },
	"heap_end_bytes":            func(c *CycleRow, v float64) { c.HeapEndBytes = finite(v) },
	"heap_marked_bytes":         func(c *CycleRow, v float64) { c.HeapMarkedBytes = finite(v) },
	"heap_goal_bytes":           func(c *CycleRow, v float64) { c.HeapGoalBytes = finite(v) },
	"stack_scan_bytes":          func(c *CycleRow, v float64) { c.StackScanBytes = finite(v) },
	"globals_scan_bytes":        func(c *CycleRow, v float64) { c.GlobalsScanBytes = finite(v) },
	"forced":                    func(c *CycleRow, v float64) { c.Forced = v > 0 },
	"procs":                     func(c *CycleRow, v float64) { c.Procs = finite(v) },
}

func (s *server) cycles(r *http.Request) (any, error) {
	q := parseQuery(r, s.Now(), "process", "from", "to", "limit")
	process := q.process()
	from, to := q.span()
	limit := q.count("limit", 2000, maxCycles)
	if err := q.failure(); err != nil {
		return nil, err
	}
	doc := CyclesDocument{Schema: schemaCycles, Process: process, From: Time{from}, To: Time{to}, LookedFrom: Time{from}, Cycles: []CycleRow{}}
	ctx, cancel := context.WithTimeout(r.Context(), maxQuery)
	defer cancel()
	total, err := s.countCycles(ctx, process, from, to)
	if err != nil {
		return nil, unanswered(err)
	}
	if total == 0 {
		return doc, nil
	}
	doc.Total = total
	if total > maxPauses {
		// As if they were spread evenly: it is a bound, and no statement.
		from = to.Add(-time.Duration(float64(to.Sub(from)) * maxPauses / float64(total)))
		doc.LookedFrom, total = Time{from}, maxPauses
	}
	rows, err := s.readCycles(ctx, process, from, to, total, limit)
	if err != nil {
		return nil, unanswered(err)
	}
	doc.Cycles = rows
	doc.Total = max(doc.Total, len(rows)) // one more may have ended meanwhile
	doc.Thinned = len(rows) < doc.Total
	return doc, nil
}

// countCycles is how many cycles of a process ended within a time.
func (s *server) countCycles(ctx context.Context, process string, from, to time.Time) (int, error) {
	over := max(to.Sub(from).Milliseconds(), 1)
	v, _, err := s.Store.Query(ctx, fmt.Sprintf("sum(count_over_time(%s[%dms]))", s.selector(cyclePrefix+"pause_seconds", process), over), to)
	if err != nil {
		return 0, err
	}
	vector, ok := v.(promql.Vector)
	if !ok || len(vector) == 0 || !(vector[0].F > 0) {
		return 0, nil
	}
	return int(min(vector[0].F, math.MaxInt32)), nil
}

// readCycles reads the cycles within a time, of which there are about so many, and
// keeps as many as the limit says: half of them those with the longest pauses, the
// others evenly from the rest.
func (s *server) readCycles(ctx context.Context, process string, from, to time.Time, total, limit int) ([]CycleRow, error) {
	var ends []promql.FPoint
	err := s.slices(ctx, s.selector(cyclePrefix+"pause_seconds", process), from, to, total, 2*sliceOf, func(m promql.Matrix) {
		for _, series := range m {
			ends = append(ends, series.Floats...)
		}
	})
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(ends, func(a, b promql.FPoint) int { return cmp.Compare(a.T, b.T) })
	ends = slices.CompactFunc(ends, func(a, b promql.FPoint) bool { return a.T == b.T })
	kept := thin(ends, limit)
	rows := make([]CycleRow, len(kept))
	at := make(map[int64]int, len(kept))
	for i, p := range kept {
		rows[i] = CycleRow{End: Time{time.UnixMilli(p.T).UTC()}, PauseSeconds: finite(p.F)}
		at[p.T] = i
	}
	if len(ends) > maxDetails {
		return rows, nil
	}
	all := len(cycleFields)
	err = s.slices(ctx, s.selector("", process, labels.MustNewMatcher(labels.MatchRegexp, "__name__", cyclePrefix+".+")), from, to, len(ends), 2*sliceOf*all, func(m promql.Matrix) {
		for _, series := range m {
			field := cycleFields[strings.TrimPrefix(series.Metric.Get("__name__"), cyclePrefix)]
			if field == nil {
				continue
			}
			for _, p := range series.Floats {
				if i, ok := at[p.T]; ok {
					field(&rows[i], p.F)
				}
			}
		}
	})
	return rows, err
}

// slices reads raw samples piece by piece, so that a long time takes no more memory
// than a short one.
func (s *server) slices(ctx context.Context, selector string, from, to time.Time, cycles, limit int, each func(promql.Matrix)) error {
	pieces := int64(cycles/sliceOf + 1)
	first, span := from.UnixMilli(), to.UnixMilli()-from.UnixMilli()
	for i := range pieces {
		begin, end := first+span*i/pieces, first+span*(i+1)/pieces
		if i > 0 {
			begin++ // both ends belong to it
		}
		if begin > end {
			continue
		}
		m, err := s.Store.Raw(ctx, selector, time.UnixMilli(begin), time.UnixMilli(end), limit)
		if err != nil {
			return err
		}
		each(m)
	}
	return nil
}

// thin keeps so many points, in the order of time: half of them the highest, and of
// the others each one of so many.
func thin(points []promql.FPoint, limit int) []promql.FPoint {
	if len(points) <= limit {
		return points
	}
	order := make([]int, len(points))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(points[b].F, points[a].F) })
	keep := make([]bool, len(points))
	highest := (limit + 1) / 2
	for _, i := range order[:highest] {
		keep[i] = true
	}
	var rest []int
	for i := range points {
		if !keep[i] {
			rest = append(rest, i)
		}
	}
	for i := range limit - highest {
		keep[rest[i*len(rest)/(limit-highest)]] = true
	}
	out := make([]promql.FPoint, 0, limit)
	for i, p := range points {
		if keep[i] {
			out = append(out, p)
		}
	}
	return out
}
