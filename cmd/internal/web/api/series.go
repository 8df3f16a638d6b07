package api

import (
	"context"
	"fmt"
	"math"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
)

// A Reader answers questions about the past: the embedded store, or a server that
// speaks Prometheus' language.
type Reader interface {
	Query(ctx context.Context, expr string, at time.Time) (parser.Value, []string, error)
	QueryRange(ctx context.Context, expr string, from, to time.Time, step time.Duration) (promql.Matrix, []string, error)
	Raw(ctx context.Context, selector string, from, to time.Time, limit int) (promql.Matrix, error)
}

// How long a value is shown: two and a half of the times between two of its kind, so
// that one that is missing makes no gap. The agent says how often it takes samples and
// snapshots.
const (
	staleSlow   = 25 * time.Second
	staleStatic = 150 * time.Second
)

// A lineKind says what becomes of the samples of a step.
type lineKind uint8

const (
	level lineKind = iota // the mean, with the least and the most
	last                  // the last: settings and what they make
	rate                  // of a counter, per second
	peak                  // the most
	mean                  // the mean alone, of what moves slowly
)

// A lineDef is a line of a set: which series it comes from, and how.
type lineDef struct {
	name, label, unit string
	metric            string
	kind              lineKind
	stale             time.Duration // 0: that of every sample
	// none is the value from which on there is none: the runtime writes no limit as a
	// very large one.
	none float64
}

// noLimit is less than what the runtime writes for none, 2^63 and 2^64, and more than
// any machine has.
const noLimit = 1 << 48

// The sets of lines that are asked for together: each is a picture.
var lineSets = map[string][]lineDef{
	"memory": {
		{name: "heap_live_bytes", label: "live heap", unit: "bytes", metric: "heapwright_heap_live_bytes"},
		{name: "heap_goal_bytes", label: "heap goal", unit: "bytes", metric: "go_memstats_next_gc_bytes", kind: last, none: noLimit},
		{name: "heap_trigger_bytes", label: "GC trigger", unit: "bytes", metric: "heapwright_heap_trigger_bytes", kind: last, stale: staleSlow, none: noLimit},
		{name: "heap_marked_bytes", label: "found alive by the last GC", unit: "bytes", metric: "go_gc_heap_live_bytes", kind: mean, stale: staleSlow},
		{name: "heap_in_use_bytes", label: "heap in use", unit: "bytes", metric: "go_memstats_heap_inuse_bytes", kind: mean, stale: staleSlow},
		{name: "heap_idle_bytes", label: "heap idle", unit: "bytes", metric: "go_memstats_heap_idle_bytes", kind: mean, stale: staleSlow},
		{name: "heap_released_bytes", label: "heap returned to the system", unit: "bytes", metric: "go_memstats_heap_released_bytes", kind: mean, stale: staleSlow},
		{name: "stack_in_use_bytes", label: "goroutine stacks", unit: "bytes", metric: "go_memstats_stack_inuse_bytes", kind: mean, stale: staleSlow},
		{name: "runtime_ready_bytes", label: "held by the Go runtime", unit: "bytes", metric: "heapwright_runtime_ready_bytes", kind: mean, stale: staleSlow},
		{name: "rss_bytes", label: "resident", unit: "bytes", metric: "process_resident_memory_bytes"},
		{name: "rss_anon_bytes", label: "resident, no file's", unit: "bytes", metric: "heapwright_resident_anon_bytes", kind: mean, stale: staleSlow},
		{name: "container_usage_bytes", label: "charged to the container", unit: "bytes", metric: "heapwright_memory_usage_bytes"},
		{name: "gomemlimit_bytes", label: "GOMEMLIMIT", unit: "bytes", metric: "go_gc_gomemlimit_bytes", kind: last, stale: staleStatic, none: noLimit},
		{name: "container_limit_bytes", label: "container's limit", unit: "bytes", metric: "heapwright_memory_limit_bytes", kind: last, stale: staleStatic, none: noLimit},
		{name: "headroom_bytes", label: "headroom", unit: "bytes", metric: "heapwright_headroom_bytes", stale: staleSlow},
	},
	"gc": {
		{name: "gc_cpu_ratio", label: "GC CPU", unit: "ratio", metric: "heapwright_gc_cpu_ratio", stale: staleSlow},
		{name: "assist_ratio", label: "assists", unit: "ratio", metric: "heapwright_gc_assist_ratio", stale: staleSlow},
		{name: "pause_ratio", label: "world stopped", unit: "ratio", metric: "heapwright_gc_pause_seconds_total", kind: rate},
		{name: "pause_max_seconds", label: "longest pause", unit: "seconds", metric: "heapwright_gc_cycle_pause_seconds", kind: peak},
		{name: "gc_cycles_per_second", label: "GC cycles", unit: "per_second", metric: "go_gc_cycles_total_gc_cycles_total", kind: rate},
		{name: "alloc_bytes_per_second", label: "allocated", unit: "bytes_per_second", metric: "go_memstats_alloc_bytes_total", kind: rate},
		{name: "alloc_objects_per_second", label: "objects allocated", unit: "per_second", metric: "go_memstats_mallocs_total", kind: rate, stale: staleSlow},
		{name: "limiter_fill_ratio", label: "GC CPU limiter", unit: "ratio", metric: "heapwright_gc_limiter_fill_ratio", stale: staleSlow},
		{name: "gogc_percent", label: "GOGC", unit: "percent", metric: "go_gc_gogc_percent", kind: last, stale: staleStatic, none: 1e18},
	},
	"cpu": {
		{name: "cpu_cores", label: "process", unit: "cores", metric: "process_cpu_seconds_total", kind: rate},
		{name: "user_cores", label: "program, by the runtime's clock", unit: "cores", metric: "go_cpu_classes_user_cpu_seconds_total", kind: rate, stale: staleSlow},
		{name: "gc_cores", label: "GC, by the runtime's clock", unit: "cores", metric: "go_cpu_classes_gc_total_cpu_seconds_total", kind: rate, stale: staleSlow},
		{name: "gc_assist_cores", label: "GC assists", unit: "cores", metric: "go_cpu_classes_gc_mark_assist_cpu_seconds_total", kind: rate, stale: staleSlow},
		{name: "gc_dedicated_cores", label: "GC workers", unit: "cores", metric: "go_cpu_classes_gc_mark_dedicated_cpu_seconds_total", kind: rate, stale: staleSlow},
		{name: "gc_idle_cores", label: "GC on idle processors", unit: "cores", metric: "go_cpu_classes_gc_mark_idle_cpu_seconds_total", kind: rate, stale: staleSlow},
		{name: "gc_pause_cores", label: "stopped for GC", unit: "cores", metric: "go_cpu_classes_gc_pause_cpu_seconds_total", kind: rate, stale: staleSlow},
		{name: "scavenge_cores", label: "returning memory", unit: "cores", metric: "go_cpu_classes_scavenge_total_cpu_seconds_total", kind: rate, stale: staleSlow},
		{name: "gomaxprocs", label: "GOMAXPROCS", unit: "cores", metric: "go_sched_gomaxprocs_threads", kind: last, stale: staleStatic},
	},
	"goroutines": {
		{name: "goroutines", label: "goroutines", unit: "count", metric: "go_goroutines"},
		{name: "runnable", label: "waiting for a processor", unit: "count", metric: "heapwright_runnable_goroutines", stale: staleSlow},
		{name: "threads", label: "threads", unit: "count", metric: "go_threads", kind: mean, stale: staleSlow},
	},
	"sched": {
		{name: "runnable", label: "waiting for a processor", unit: "count", metric: "heapwright_runnable_goroutines", stale: staleSlow},
	},
	"pressure": {
		{name: "memory_stall_ratio", label: "waiting for memory", unit: "ratio", metric: "heapwright_memory_stall_seconds_total", kind: rate, stale: staleSlow},
		{name: "cpu_stall_ratio", label: "waiting for a CPU", unit: "ratio", metric: "heapwright_cpu_stall_seconds_total", kind: rate, stale: staleSlow},
		{name: "throttled_ratio", label: "held up by the CPU quota", unit: "ratio", metric: "heapwright_cpu_throttled_seconds_total", kind: rate, stale: staleSlow},
		{name: "oom_kills_per_second", label: "OOM kills", unit: "per_second", metric: "heapwright_oom_kills_total", kind: rate, stale: staleSlow},
		{name: "swap_bytes", label: "in swap", unit: "bytes", metric: "heapwright_swap_bytes", kind: mean, stale: staleSlow},
		{name: "container_usage_bytes", label: "charged to the container", unit: "bytes", metric: "heapwright_memory_usage_bytes"},
		{name: "container_limit_bytes", label: "container's limit", unit: "bytes", metric: "heapwright_memory_limit_bytes", kind: last, stale: staleStatic, none: noLimit},
	},
}

// setNames are the sets, the one that is meant without a name first.
var setNames = []string{"memory", "gc", "cpu", "goroutines", "sched", "pressure"}

// steps are lengths that people can read off an axis.
var steps = []time.Duration{
	time.Second / 2, time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 15 * time.Second, 30 * time.Second,
	time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 15 * time.Minute, 30 * time.Minute,
	time.Hour, 2 * time.Hour, 6 * time.Hour, 12 * time.Hour, 24 * time.Hour, 48 * time.Hour, 7 * 24 * time.Hour,
}

// A grid is instants at equal distances, which fall on multiples of the distance, so
// that a picture that moves along does not flicker.
type grid struct {
	from, to time.Time // the first and the last
	step     time.Duration
	n        int
}

// gridOf covers a time with at most so many points.
func gridOf(from, to time.Time, points int) grid {
	step := steps[len(steps)-1]
	for _, s := range steps {
		// One more than fit, since both ends are rounded outwards.
		if to.Sub(from) <= s*time.Duration(max(points-1, 1)) {
			step = s
			break
		}
	}
	ms := step.Milliseconds()
	first := floorDiv(from.UnixMilli()+ms-1, ms) * ms
	end := floorDiv(to.UnixMilli()+ms-1, ms) * ms
	return grid{time.UnixMilli(first).UTC(), time.UnixMilli(end).UTC(), step, int((end-first)/ms) + 1}
}

func floorDiv(a, b int64) int64 {
	q := a / b
	if a%b != 0 && (a < 0) != (b < 0) {
		q--
	}
	return q
}

// seconds are the instants in Unix seconds.
func (g grid) seconds() []float64 {
	out := make([]float64, g.n)
	for i := range out {
		out[i] = float64(g.from.UnixMilli()+int64(i)*g.step.Milliseconds()) / 1000
	}
	return out
}

// empty are values of which none is known.
func (g grid) empty() Values {
	v := make(Values, g.n)
	for i := range v {
		v[i] = math.NaN()
	}
	return v
}

// place puts the points of a series at their instants.
func (g grid) place(into Values, points []promql.FPoint) {
	first, ms := g.from.UnixMilli(), g.step.Milliseconds()
	for _, p := range points {
		i := p.T - first
		if i < 0 || i%ms != 0 || i/ms >= int64(g.n) {
			continue
		}
		into[i/ms] = p.F
	}
}

// A question is one query of a line, and where its answer goes.
type question struct {
	expr string
	into *Values
}

// selector picks the series of a process out of all that are stored.
func (s *server) selector(metric, process string, more ...*labels.Matcher) string {
	ms := []*labels.Matcher{labels.MustNewMatcher(labels.MatchEqual, "process", process)}
	for _, l := range s.Labels {
		ms = append(ms, labels.MustNewMatcher(labels.MatchEqual, l.Name, l.Value))
	}
	ms = append(ms, more...)
	text := make([]string, len(ms))
	for i, m := range ms {
		text[i] = m.String()
	}
	return metric + "{" + strings.Join(text, ",") + "}"
}

// questions are the queries that answer a line. Pace is the time between two samples
// of the process now; before, it may have been sampled more rarely, and a sample is
// shown for as long as stale.
func (d *lineDef) questions(selector string, g grid, pace, stale time.Duration, into *Line) []question {
	if d.stale > 0 {
		pace, stale = d.stale*2/5, d.stale
	}
	// One process has one series of a name. Where a server has two of them all the same,
	// the larger one is shown.
	over := func(function string, window time.Duration) string {
		return fmt.Sprintf("max(%s(%s[%dms]))", function, selector, window.Milliseconds())
	}
	// Where nothing is in the step itself, what was last there holds.
	either := func(function string, window, fallback time.Duration, other string) string {
		if window >= fallback {
			return over(function, window)
		}
		return over(function, window) + " or " + over(other, fallback)
	}
	into.Values = g.empty()
	switch d.kind {
	case last:
		return []question{{over("last_over_time", max(g.step, stale)), &into.Values}}
	case rate:
		// Two samples make a rate, and one may be missing.
		return []question{{either("rate", max(g.step, 4*pace), 2*stale, "rate"), &into.Values}}
	case peak:
		return []question{{over("max_over_time", g.step), &into.Values}}
	}
	if g.step < 2*pace {
		return []question{{over("last_over_time", max(g.step, stale)), &into.Values}}
	}
	average := question{either("avg_over_time", g.step, stale, "last_over_time"), &into.Values}
	if d.kind == mean {
		return []question{average}
	}
	into.Min, into.Max = g.empty(), g.empty()
	return []question{
		average,
		{either("min_over_time", g.step, stale, "last_over_time"), &into.Min},
		{either("max_over_time", g.step, stale, "last_over_time"), &into.Max},
	}
}

// What one request may take of a store.
const (
	maxParallel = 3                // queries at a time
	maxQuery    = 30 * time.Second // for all of them
)

// askAll runs queries, a few at a time, and returns what was to be said about them.
func (s *server) askAll(ctx context.Context, g grid, questions []question) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, maxQuery)
	defer cancel()
	var (
		mu       sync.Mutex
		failure  error
		warnings = []string{}
		next     = make(chan question)
		wg       sync.WaitGroup
	)
	for range min(maxParallel, len(questions)) {
		wg.Go(func() {
			for q := range next {
				m, w, err := s.Store.QueryRange(ctx, q.expr, g.from, g.to, g.step)
				mu.Lock()
				if err != nil && failure == nil {
					failure = err
					cancel()
				}
				warnings = append(warnings, w...)
				mu.Unlock()
				if len(m) > 0 {
					g.place(*q.into, m[0].Floats)
				}
			}
		})
	}
	for _, q := range questions {
		next <- q
	}
	close(next)
	wg.Wait()
	slices.Sort(warnings)
	return slices.Compact(warnings), failure
}

func (s *server) series(r *http.Request) (any, error) {
	q := parseQuery(r, s.Now(), "process", "from", "to", "points", "set")
	process := q.process()
	from, to := q.span()
	set := q.oneOf("set", setNames...)
	points := q.count("points", 600, maxPoints)
	if err := q.failure(); err != nil {
		return nil, err
	}
	g := gridOf(from, to, max(points, 2))
	pace, stale := s.pace(process)
	doc := &SeriesDocument{
		Schema: schemaSeries, Process: process, Set: set, From: Time{from}, To: Time{to}, StepSeconds: g.step.Seconds(),
		Time: g.seconds(), Series: []Line{}, Warnings: []string{},
	}
	defs := lineSets[set]
	lines := make([]Line, len(defs))
	var questions []question
	for i := range defs {
		d := &defs[i]
		lines[i] = Line{Name: d.name, Label: d.label, Unit: d.unit}
		questions = append(questions, d.questions(s.selector(d.metric, process), g, pace, stale, &lines[i])...)
	}
	warnings, err := s.askAll(r.Context(), g, questions)
	if err != nil {
		return nil, unanswered(err)
	}
	doc.Warnings = append(doc.Warnings, warnings...)
	for i := range lines {
		d := &defs[i]
		if d.none > 0 {
			for j, v := range lines[i].Values {
				if v >= d.none {
					lines[i].Values[j] = math.NaN()
				}
			}
		}
		if d.kind == rate {
			unfinished(lines[i].Values, g, q.now)
		}
		if slices.ContainsFunc(lines[i].Values, isNumber) {
			doc.Series = append(doc.Series, lines[i])
		}
	}
	switch set {
	case "goroutines":
		err = s.byReason(r.Context(), doc, g, process)
	case "sched":
		err = s.latencies(r.Context(), doc, g, process, q.now)
	}
	if err != nil {
		return nil, unanswered(err)
	}
	return doc, nil
}

func isNumber(v float64) bool { return !math.IsNaN(v) }

// unfinished takes out the rates of steps that are not over: the last samples of a
// step are not there yet, and it would look as if less happened.
func unfinished(v Values, g grid, now time.Time) {
	for i := g.n - 1; i >= 0 && g.from.Add(time.Duration(i)*g.step).Sub(now) > g.step/10; i-- {
		v[i] = math.NaN()
	}
}

// pace is the time between two samples of a process, and how long one is shown.
func (s *server) pace(process string) (pace, stale time.Duration) {
	pace = time.Second
	if p, ok := s.Agent.Process(process); ok && p.Interval > 0 {
		pace = p.Interval
	}
	return pace, 5 * max(pace, s.SampleInterval) / 2
}

// maxReasons is how many reasons to wait are shown on their own.
const maxReasons = 12

// byReason adds the goroutines by what they do and wait for, the most first.
func (s *server) byReason(ctx context.Context, doc *SeriesDocument, g grid, process string) error {
	m, warnings, err := s.Store.QueryRange(ctx, fmt.Sprintf("sum by (state, reason) (last_over_time(%s[%dms]))",
		s.selector("heapwright_goroutines", process), max(g.step, 5*s.SnapshotInterval/2).Milliseconds()), g.from, g.to, g.step)
	if err != nil {
		return err
	}
	doc.Warnings = append(doc.Warnings, warnings...)
	type part struct {
		line Line
		sum  float64
	}
	parts := make([]part, 0, len(m))
	for _, series := range m {
		state, reason := shown(series.Metric.Get("state")), shown(series.Metric.Get("reason"))
		p := part{line: Line{Name: "goroutines_" + state, Label: state, Unit: "count", Values: g.empty()}}
		if reason != "" {
			p.line.Name, p.line.Label = p.line.Name+"/"+reason, reason
		}
		g.place(p.line.Values, series.Floats)
		for _, point := range series.Floats {
			if isNumber(point.F) {
				p.sum += point.F
			}
		}
		parts = append(parts, p)
	}
	slices.SortFunc(parts, func(a, b part) int {
		if a.sum != b.sum {
			return sign(b.sum - a.sum)
		}
		return strings.Compare(a.line.Name, b.line.Name)
	})
	if len(parts) > maxReasons {
		rest := part{line: Line{Name: "goroutines_other", Label: "other", Unit: "count", Values: g.empty()}}
		for _, p := range parts[maxReasons:] {
			for i, v := range p.line.Values {
				switch {
				case math.IsNaN(v):
				case math.IsNaN(rest.line.Values[i]):
					rest.line.Values[i] = v
				default:
					rest.line.Values[i] += v
				}
			}
		}
		parts = append(parts[:maxReasons], rest)
	}
	for _, p := range parts {
		doc.Series = append(doc.Series, p.line)
	}
	return nil
}

func sign(v float64) int {
	if v < 0 {
		return -1
	}
	return 1
}
