package store

import (
	"context"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
)

const (
	maxParts  = 4
	leastPart = 100 // steps, below which a part costs more than it saves
)

// A part is some of the steps of a range.
type part struct{ from, to time.Time }

// parts divides a range for as many processors as may be used: each step is evaluated on
// its own, so that the parts together are the whole. That is so unless the expression
// speaks of the start or the end of the range.
func parts(x parser.Expr, from, to time.Time, step time.Duration, procs int) []part {
	steps := int(to.Sub(from)/step) + 1
	n := min(procs, maxParts, steps/leastPart)
	parser.Inspect(x, func(node parser.Node, _ []parser.Node) error {
		switch node := node.(type) {
		case *parser.VectorSelector:
			if node.StartOrEnd != 0 {
				n = 1
			}
		case *parser.SubqueryExpr:
			if node.StartOrEnd != 0 {
				n = 1
			}
		}
		return nil
	})
	if n < 2 {
		return []part{{from, to}}
	}
	out := make([]part, n)
	for i := range out {
		first, end := i*steps/n, (i+1)*steps/n
		out[i] = part{from.Add(time.Duration(first) * step), from.Add(time.Duration(end-1) * step)}
	}
	return out
}

// queryParts evaluates the parts of a range at once, and joins them. The caller holds mu.
func (db *DB) queryParts(ctx context.Context, expr string, from, to time.Time, step time.Duration) (promql.Matrix, []string, error) {
	x, err := db.engine.parser.ParseExpr(expr)
	if err != nil {
		return nil, nil, &QueryError{KindBadData, err}
	}
	ps := parts(x, from, to, step, runtime.GOMAXPROCS(0))
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	results := make([]promql.Matrix, len(ps))
	said := make([][]string, len(ps))
	var wg sync.WaitGroup
	for i, p := range ps {
		wg.Go(func() {
			m, w, err := db.queryRange(ctx, expr, p.from, p.to, step)
			if err != nil {
				cancel(err) // the first is the reason
			}
			results[i], said[i] = m, w
		})
	}
	wg.Wait()
	if err := context.Cause(ctx); err != nil {
		return nil, nil, queryError(err)
	}
	warn := slices.Concat(said...)
	slices.Sort(warn)
	return join(results), slices.Compact(warn), nil
}

// queryRange evaluates one part.
func (db *DB) queryRange(ctx context.Context, expr string, from, to time.Time, step time.Duration) (promql.Matrix, []string, error) {
	q, err := db.engine.promql.NewRangeQuery(ctx, db.tsdb, nil, expr, from, to, step)
	if err != nil {
		return nil, nil, &QueryError{KindBadData, err}
	}
	defer q.Close()
	res := q.Exec(ctx)
	m, err := res.Matrix()
	if err != nil {
		return nil, nil, queryError(err)
	}
	return copyMatrix(m), warnings(res.Warnings, expr), nil
}

// join puts the series of parts that follow one another together.
func join(ms []promql.Matrix) promql.Matrix {
	if len(ms) == 1 {
		return ms[0]
	}
	at := map[string]int{}
	out := promql.Matrix{}
	var key []byte
	for _, m := range ms {
		for _, s := range m {
			key = s.Metric.Bytes(key)
			i, ok := at[string(key)]
			if !ok {
				at[string(key)] = len(out)
				out = append(out, s)
				continue
			}
			out[i].Floats = append(out[i].Floats, s.Floats...)
			out[i].Histograms = append(out[i].Histograms, s.Histograms...)
		}
	}
	slices.SortFunc(out, func(a, b promql.Series) int { return labels.Compare(a.Metric, b.Metric) })
	return out
}
