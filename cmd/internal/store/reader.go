package store

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"sort"
	"strings"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/util/annotations"
)

// A Reader answers questions about what is stored, here or elsewhere. Its errors are
// of type *QueryError. Times are inclusive at both ends.
type Reader interface {
	// Query evaluates an expression at one instant. The strings are warnings.
	Query(ctx context.Context, expr string, at time.Time) (parser.Value, []string, error)
	// QueryRange evaluates an expression at each step.
	QueryRange(ctx context.Context, expr string, from, to time.Time, step time.Duration) (promql.Matrix, []string, error)
	// Raw returns samples as they were stored, of the series that a selector such as
	// `go_goroutines{process="a"}` matches. When they are more than limit (0: as many as
	// a query may read), that is an error and not a part of them.
	Raw(ctx context.Context, selector string, from, to time.Time, limit int) (promql.Matrix, error)
	// Series returns the labels of series that match any of the selectors and have
	// samples about that time, limit of them at most (0: all).
	Series(ctx context.Context, matchers []string, from, to time.Time, limit int) ([]labels.Labels, error)
	// LabelNames returns the names of labels, of all series or of those that match any
	// of the selectors.
	LabelNames(ctx context.Context, matchers []string, from, to time.Time) ([]string, error)
	// LabelValues returns the values of a label, of all series or of those that match
	// any of the selectors.
	LabelValues(ctx context.Context, name string, matchers []string, from, to time.Time) ([]string, error)
}

// QueryOptions bound what a question may cost.
type QueryOptions struct {
	MaxSamples int           // held in memory at once, 16 bytes each, by each of at most four parts of a range; 0: 50 million
	Timeout    time.Duration // 0: 2 minutes
	Concurrent int           // questions at once; 0: 20
	Wait       time.Duration // how long a question waits for its turn; 0: 10 s
}

// Bounds on questions, beside QueryOptions.
const (
	maxQuery    = 64 << 10 // bytes of an expression
	maxMatchers = 64       // selectors of a question
	maxSteps    = 11_000   // points of a series in a range, as in Prometheus
)

// engine is the query language, with a bound on how many use it at once.
type engine struct {
	promql *promql.Engine
	parser parser.Parser
	turns  chan struct{}
	opt    QueryOptions
}

func newEngine(o QueryOptions) *engine {
	if o.MaxSamples <= 0 {
		o.MaxSamples = 50_000_000
	}
	if o.Timeout <= 0 {
		o.Timeout = 2 * time.Minute
	}
	if o.Concurrent <= 0 {
		o.Concurrent = 20
	}
	if o.Wait <= 0 {
		o.Wait = 10 * time.Second
	}
	p := parser.NewParser(parser.Options{})
	return &engine{
		promql: promql.NewEngine(promql.EngineOpts{
			Logger:               slog.New(slog.DiscardHandler),
			MaxSamples:           o.MaxSamples,
			Timeout:              o.Timeout,
			Parser:               p,
			EnableAtModifier:     true,
			EnableNegativeOffset: true,
			// Prometheus takes the interval of its rules, which is a minute by default.
			NoStepSubqueryIntervalFn: func(int64) int64 { return time.Minute.Milliseconds() },
		}),
		parser: p,
		turns:  make(chan struct{}, o.Concurrent),
		opt:    o,
	}
}

// turn waits until a question may be answered. The function ends it.
func (e *engine) turn(ctx context.Context) (context.Context, func(), error) {
	select {
	case e.turns <- struct{}{}:
	default:
		t := time.NewTimer(e.opt.Wait)
		defer t.Stop()
		select {
		case e.turns <- struct{}{}:
		case <-ctx.Done():
			return nil, nil, queryError(ctx.Err())
		case <-t.C:
			return nil, nil, &QueryError{KindTooMany, fmt.Errorf("%d other queries are being answered; ask again in a moment", e.opt.Concurrent)}
		}
	}
	ctx, cancel := context.WithTimeout(ctx, e.opt.Timeout)
	return ctx, func() { cancel(); <-e.turns }, nil
}

// Reader answers from this store.
func (db *DB) Reader() Reader { return reader{db} }

type reader struct{ db *DB }

// ask prepares an answer. done must be called if there is no error.
func (r reader) ask(ctx context.Context) (_ context.Context, done func(), err error) {
	ctx, end, err := r.db.engine.turn(ctx)
	if err != nil {
		return nil, nil, err
	}
	r.db.mu.RLock()
	done = func() { r.db.mu.RUnlock(); end() }
	switch {
	case r.db.closed:
		err = ErrClosed
	case r.db.tsdb == nil || r.db.stuck.Load():
		err = errors.New("the store is being reopened")
	default:
		return ctx, done, nil
	}
	done()
	return nil, nil, &QueryError{KindInternal, err}
}

func (r reader) Query(ctx context.Context, expr string, at time.Time) (parser.Value, []string, error) {
	if err := checkExpr(expr); err != nil {
		return nil, nil, err
	}
	ctx, done, err := r.ask(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer done()
	q, err := r.db.engine.promql.NewInstantQuery(ctx, r.db.tsdb, nil, expr, at)
	if err != nil {
		return nil, nil, &QueryError{KindBadData, err}
	}
	defer q.Close()
	res := q.Exec(ctx)
	if res.Err != nil {
		return nil, nil, queryError(res.Err)
	}
	v := res.Value
	if m, ok := v.(promql.Matrix); ok {
		v = copyMatrix(m)
	}
	return v, warnings(res.Warnings, expr), nil
}

func (r reader) QueryRange(ctx context.Context, expr string, from, to time.Time, step time.Duration) (promql.Matrix, []string, error) {
	if err := checkExpr(expr); err != nil {
		return nil, nil, err
	}
	if err := checkSteps(from, to, step); err != nil {
		return nil, nil, err
	}
	ctx, done, err := r.ask(ctx)
	if err != nil {
		return nil, nil, err
	}
	defer done()
	return r.db.queryParts(ctx, expr, from, to, step)
}

// copyMatrix is a matrix that does not go back to the engine's pool when its query is
// closed.
func copyMatrix(m promql.Matrix) promql.Matrix {
	n := 0
	for _, s := range m {
		n += len(s.Floats)
	}
	all := make([]promql.FPoint, 0, n)
	out := make(promql.Matrix, len(m))
	for i, s := range m {
		at := len(all)
		all = append(all, s.Floats...)
		out[i] = promql.Series{Metric: s.Metric, Floats: all[at:len(all):len(all)], Histograms: append([]promql.HPoint(nil), s.Histograms...)}
	}
	return out
}

func checkExpr(expr string) error {
	if len(expr) > maxQuery {
		return &QueryError{KindBadData, fmt.Errorf("the expression has %d bytes; %d is the most", len(expr), maxQuery)}
	}
	return nil
}

func checkSteps(from, to time.Time, step time.Duration) error {
	switch {
	case step < time.Millisecond:
		return &QueryError{KindBadData, errors.New("the step must be a millisecond or more")}
	case to.Before(from):
		return &QueryError{KindBadData, errors.New("the end is before the start")}
	case to.Sub(from)/step > maxSteps:
		return &QueryError{KindBadData, fmt.Errorf("that is more than %d points in each series: take a longer step", maxSteps)}
	}
	return nil
}

// parseSelector reads a selector of one vector: not an expression, and not one that
// matches everything by leaving all out.
func (e *engine) parseSelector(s string) ([]*labels.Matcher, error) {
	if err := checkExpr(s); err != nil {
		return nil, err
	}
	ms, err := e.parser.ParseMetricSelector(s)
	if err != nil {
		return nil, &QueryError{KindBadData, err}
	}
	for _, m := range ms {
		if m != nil && !m.Matches("") {
			return ms, nil
		}
	}
	return nil, &QueryError{KindBadData, errors.New("a selector must name something: one of its matchers must not match the empty string")}
}

func (e *engine) parseSelectors(ss []string) ([][]*labels.Matcher, error) {
	if len(ss) > maxMatchers {
		return nil, &QueryError{KindBadData, fmt.Errorf("%d selectors; %d is the most", len(ss), maxMatchers)}
	}
	out := make([][]*labels.Matcher, len(ss))
	for i, s := range ss {
		ms, err := e.parseSelector(s)
		if err != nil {
			return nil, err
		}
		out[i] = ms
	}
	return out, nil
}

func (r reader) Raw(ctx context.Context, selector string, from, to time.Time, limit int) (promql.Matrix, error) {
	ms, err := r.db.engine.parseSelector(selector)
	if err != nil {
		return nil, err
	}
	if limit <= 0 || limit > r.db.engine.opt.MaxSamples {
		limit = r.db.engine.opt.MaxSamples
	}
	ctx, done, err := r.ask(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	var out promql.Matrix
	n := 0
	err = r.db.each(ctx, millis(from), millis(to), ms, true, func(ls labels.Labels, pts []promql.FPoint) error {
		if n += len(pts); n > limit {
			return tooMuch(limit)
		}
		if k := len(out); k > 0 && labels.Equal(out[k-1].Metric, ls) {
			out[k-1].Floats = append(out[k-1].Floats, pts...)
			return nil
		}
		out = append(out, promql.Series{Metric: ls, Floats: append([]promql.FPoint(nil), pts...)})
		return nil
	})
	if err != nil {
		return nil, queryError(err)
	}
	return out, nil
}

func tooMuch(limit int) error {
	return &QueryError{KindExecution, fmt.Errorf("more than %d samples: ask for a shorter time or fewer series", limit)}
}

// A span of samples is handed on at a time, so that the memory of who reads does not
// grow with the time that is read.
const spanPoints = 4096

// each hands on the samples of the series that match, series by series, in the order of
// their labels if sorted, and of each series by time. A series with many samples comes
// more than once in a row. Markers of the end of a series are left out. The slice is only
// good until the function returns. The caller holds mu.
func (db *DB) each(ctx context.Context, from, to int64, ms []*labels.Matcher, sorted bool, f func(labels.Labels, []promql.FPoint) error) error {
	q, err := db.tsdb.Querier(from, to)
	if err != nil {
		return err
	}
	defer q.Close()
	set := q.Select(ctx, sorted, &storage.SelectHints{Start: from, End: to}, ms...)
	pts := make([]promql.FPoint, 0, spanPoints)
	var it chunkenc.Iterator
	for set.Next() {
		s := set.At()
		ls := s.Labels()
		it = s.Iterator(it)
		for vt := it.Next(); vt != chunkenc.ValNone; vt = it.Next() {
			if vt != chunkenc.ValFloat {
				continue // native histograms: nothing here stores them
			}
			t, v := it.At()
			if t < from || t > to || value.IsStaleNaN(v) {
				continue
			}
			if pts = append(pts, promql.FPoint{T: t, F: v}); len(pts) == cap(pts) {
				if err := f(ls, pts); err != nil {
					return err
				}
				pts = pts[:0]
				if err := ctx.Err(); err != nil {
					return err
				}
			}
		}
		if err := it.Err(); err != nil {
			return err
		}
		if len(pts) > 0 {
			if err := f(ls, pts); err != nil {
				return err
			}
			pts = pts[:0]
		}
		if err := ctx.Err(); err != nil {
			return err
		}
	}
	return set.Err()
}

// Scan hands on every sample from from on and before to, series by series, of each
// series in the order of time. A series with many samples comes more than once in a row.
// The samples are only good until the function returns, and while it runs the store
// cannot drop old blocks: what takes long, such as sending, belongs after the scan. Memory
// does not grow with the time that is read.
func (db *DB) Scan(ctx context.Context, from, to time.Time, each func(ls labels.Labels, pts []promql.FPoint) error) error {
	db.mu.RLock()
	defer db.mu.RUnlock()
	if db.closed {
		return ErrClosed
	}
	if db.tsdb == nil || db.stuck.Load() {
		return errors.New("scanning the store: it is being reopened")
	}
	if !from.Before(to) {
		return nil
	}
	all := labels.MustNewMatcher(labels.MatchNotEqual, model.MetricNameLabel, "")
	if err := db.each(ctx, millis(from), millis(to)-1, []*labels.Matcher{all}, false, each); err != nil {
		return fmt.Errorf("scanning the store: %w", err)
	}
	return nil
}

// millis is a time in ms, within what the database can reckon with.
func millis(t time.Time) int64 {
	const least, most = math.MinInt64/1000 + 62135596801, math.MaxInt64/1000 - 62135596801
	if s := t.Unix(); s < least {
		return minTime
	} else if s > most {
		return maxTime
	}
	return min(max(t.UnixMilli(), minTime), maxTime)
}

const (
	minTime = math.MinInt64 / 2
	maxTime = math.MaxInt64 / 2
)

func (r reader) Series(ctx context.Context, matchers []string, from, to time.Time, limit int) ([]labels.Labels, error) {
	if len(matchers) == 0 {
		return nil, &QueryError{KindBadData, errors.New("no selector was given")}
	}
	sets, err := r.db.engine.parseSelectors(matchers)
	if err != nil {
		return nil, err
	}
	ctx, done, err := r.ask(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	q, err := r.db.tsdb.Querier(millis(from), millis(to))
	if err != nil {
		return nil, &QueryError{KindInternal, err}
	}
	defer q.Close()
	// "series" lets the library leave the samples alone.
	hints := &storage.SelectHints{Start: millis(from), End: millis(to), Func: "series", Limit: limit}
	selected := make([]storage.SeriesSet, len(sets))
	for i, ms := range sets {
		selected[i] = q.Select(ctx, true, hints, ms...)
	}
	set := storage.NewMergeSeriesSet(selected, limit, storage.ChainedSeriesMerge)
	var out []labels.Labels
	for set.Next() {
		out = append(out, set.At().Labels())
		if limit > 0 && len(out) == limit {
			break
		}
		if err := ctx.Err(); err != nil {
			return nil, queryError(err)
		}
	}
	if err := set.Err(); err != nil {
		return nil, queryError(err)
	}
	return out, nil
}

func (r reader) LabelNames(ctx context.Context, matchers []string, from, to time.Time) ([]string, error) {
	return r.names(ctx, matchers, from, to, func(ctx context.Context, q storage.Querier, ms []*labels.Matcher) ([]string, error) {
		names, _, err := q.LabelNames(ctx, nil, ms...)
		return names, err
	})
}

func (r reader) LabelValues(ctx context.Context, name string, matchers []string, from, to time.Time) ([]string, error) {
	if name == "" || len(name) > maxQuery {
		return nil, &QueryError{KindBadData, fmt.Errorf("%.100q is not the name of a label", name)}
	}
	return r.names(ctx, matchers, from, to, func(ctx context.Context, q storage.Querier, ms []*labels.Matcher) ([]string, error) {
		values, _, err := q.LabelValues(ctx, name, nil, ms...)
		return values, err
	})
}

// names joins what the selectors give.
func (r reader) names(ctx context.Context, matchers []string, from, to time.Time, get func(context.Context, storage.Querier, []*labels.Matcher) ([]string, error)) ([]string, error) {
	sets, err := r.db.engine.parseSelectors(matchers)
	if err != nil {
		return nil, err
	}
	if len(sets) == 0 {
		sets = append(sets, nil)
	}
	ctx, done, err := r.ask(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	q, err := r.db.tsdb.Querier(millis(from), millis(to))
	if err != nil {
		return nil, &QueryError{KindInternal, err}
	}
	defer q.Close()
	seen := map[string]bool{}
	out := []string{}
	for _, ms := range sets {
		names, err := get(ctx, q, ms)
		if err != nil {
			return nil, queryError(err)
		}
		for _, n := range names {
			if !seen[n] {
				n = strings.Clone(n) // it may lie in a file that is mapped only while q is open
				seen[n] = true
				out = append(out, n)
			}
		}
	}
	sort.Strings(out)
	return out, nil
}

// queryError sorts an error by the kinds of Prometheus' API.
func queryError(err error) error {
	var (
		already  *QueryError
		timeout  promql.ErrQueryTimeout
		canceled promql.ErrQueryCanceled
		storage  promql.ErrStorage
	)
	switch {
	case errors.As(err, &already):
		return already
	case errors.As(err, &timeout), errors.Is(err, context.DeadlineExceeded):
		return &QueryError{KindTimeout, err}
	case errors.As(err, &canceled), errors.Is(err, context.Canceled):
		return &QueryError{KindCanceled, err}
	case errors.As(err, &storage):
		return &QueryError{KindInternal, err}
	}
	return &QueryError{KindExecution, err}
}

// warnings are annotations as text, a few of them.
func warnings(a annotations.Annotations, expr string) []string {
	w, info := a.AsStrings(expr, 10, 10)
	return append(w, info...)
}
