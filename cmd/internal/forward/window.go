package forward

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"

	"github.com/heapwright/heapwright/cmd/internal/series"
)

// A Source is what samples are read from: package store's DB.
type Source interface {
	// Scan calls each with every series that has points from one instant on and before
	// another, of each series in the order of time. A series may come more than once in a
	// row, and the points are only good until each returns.
	Scan(ctx context.Context, from, to time.Time, each func(ls labels.Labels, pts []promql.FPoint) error) error
}

// step is the grid along which the store is cut into requests, ms. Multiples of it
// count from 1970, so that the same samples are in the same request whoever cuts.
const step = 10_000

const (
	// maxRead is how many points are read ahead of what is sent; a cell of the grid is
	// read whole whatever it has.
	maxRead = 100_000
	// maxAhead is how much time is read at once, where little happened, ms.
	maxAhead = 3_600_000
)

// A line is the points of one series.
type line struct {
	ls      labels.Labels
	process string // the label of that name
	pts     []promql.FPoint
}

func newLine(ls labels.Labels, pts []promql.FPoint) line {
	return line{ls, ls.Get(series.ProcessLabel), pts}
}

// errMany ends a scan that found more than is wanted at once.
var errMany = errors.New("more points than are read at once")

// read returns all series with points in [from, to), ms, or errMany if they have more points
// than most. They are in the order of their processes, for what a server does not want is
// often all of a process, and then of their labels.
func read(ctx context.Context, src Source, from, to int64, most int) ([]line, error) {
	var lines []line
	var all []promql.FPoint
	var ends []int
	err := src.Scan(ctx, time.UnixMilli(from), time.UnixMilli(to), func(ls labels.Labels, pts []promql.FPoint) error {
		if len(pts) == 0 {
			return nil
		}
		if len(all)+len(pts) > most {
			return errMany
		}
		all = append(all, pts...)
		if n := len(lines); n > 0 && labels.Equal(lines[n-1].ls, ls) {
			ends[n-1] = len(all)
		} else {
			lines, ends = append(lines, newLine(ls.Copy(), nil)), append(ends, len(all))
		}
		return ctx.Err()
	})
	if err != nil {
		if errors.Is(err, errMany) {
			return nil, errMany
		}
		return nil, fmt.Errorf("reading the store: %w", err)
	}
	begin := 0
	for i, end := range ends {
		lines[i].pts = all[begin:end:end]
		begin = end
	}
	slices.SortFunc(lines, func(a, b line) int {
		return cmp.Or(cmp.Compare(a.process, b.process), labels.Compare(a.ls, b.ls))
	})
	return lines, nil
}

// cell takes the points before an instant off the lines, and returns them.
func cell(lines []line, before int64) []line {
	var out []line
	for i := range lines {
		l := &lines[i]
		n := 0
		for n < len(l.pts) && l.pts[n].T < before {
			n++
		}
		if n > 0 {
			out = append(out, line{l.ls, l.process, l.pts[:n]})
			l.pts = l.pts[n:]
		}
	}
	return out
}

// gridAfter is the first multiple of the step that is not before an instant, ms.
func gridAfter(ms int64) int64 { return -gridBefore(-ms) }

// gridBefore is the last one that is not after it.
func gridBefore(ms int64) int64 {
	n := ms / step
	if ms%step < 0 {
		n--
	}
	return n * step
}

func points(lines []line) int {
	n := 0
	for i := range lines {
		n += len(lines[i].pts)
	}
	return n
}

func pointsBefore(lines []line, t int64) int {
	n := 0
	for i := range lines {
		pts := lines[i].pts
		n += sort.Search(len(pts), func(k int) bool { return pts[k].T >= t })
	}
	return n
}
