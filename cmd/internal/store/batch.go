package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"

	"github.com/heapwright/heapwright/cmd/internal/series"
)

// A Series is a handle on one series: what is appended to it finds its place without a
// look at its labels. It is good for as long as the DB is.
type Series struct {
	labels labels.Labels
	shape  shape
	// The rest is guarded by DB.writing.
	ref            storage.SeriesRef
	gen            uint64 // of the database that ref is of
	last, interval int64  // ms: the newest sample, and how long after the one before it came
}

// Labels are those that the series is stored under.
func (s *Series) Labels() labels.Labels { return s.labels }

// Series makes a handle. Labels without a value are left out, and the store's external
// labels are added where the series has none of that name.
func (db *DB) Series(name string, ls ...series.Label) *Series {
	b := labels.NewBuilder(labels.EmptyLabels())
	for _, l := range db.opt.External {
		b.Set(l.Name, l.Value)
	}
	for _, l := range ls {
		b.Set(l.Name, l.Value)
	}
	b.Set(model.MetricNameLabel, name)
	return &Series{labels: b.Labels(), shape: shapeOf(name)}
}

// A point waits for a commit.
type point struct {
	series *Series
	t      int64 // ms
	v      float64
}

// A Batch is samples that are stored together. One goroutine uses it.
type Batch struct {
	db     *DB
	points []point
}

// Begin begins a batch. Commit ends it.
func (db *DB) Begin() *Batch {
	b := db.batches.Get().(*Batch)
	b.db = db
	return b
}

// Append adds a sample. Times are kept in milliseconds. Of the series that package
// series names, durations and ratios are rounded to less than they are measured with
// (60 ns, 0.12 ms for sums of CPU time, 0.0015%), and times that are at most 1% and
// 10 ms off the series' interval are moved onto it: half the room is saved by that.
func (b *Batch) Append(s *Series, t time.Time, v float64) {
	b.points = append(b.points, point{s, t.UnixMilli(), v})
}

// maxKept bounds the buffer that a batch leaves for the next one, in samples.
const maxKept = 1 << 16

// Commit stores the samples, and says how many it stored: those that are older than the
// newest of their series, or there already, are counted in Stats and are no error. When it returns without one,
// what it stored is in the log, and outlives the process. After an error nothing of the
// batch counts as stored. The batch must not be used again.
func (b *Batch) Commit() (stored int, err error) {
	db := b.db
	defer func() {
		clear(b.points)
		if b.points = b.points[:0]; cap(b.points) > maxKept {
			b.points = nil
		}
		b.db = nil
		db.batches.Put(b)
	}()
	if len(b.points) == 0 {
		return 0, nil
	}
	db.mu.RLock()
	defer db.mu.RUnlock()
	db.writing.Lock()
	defer db.writing.Unlock()
	stored, err = db.commit(b.points)
	if err != nil {
		db.counts.failed.Add(int64(len(b.points)))
		return 0, fmt.Errorf("storing %d samples: %w", len(b.points), err)
	}
	return stored, nil
}

// commit is Commit with the locks held.
func (db *DB) commit(points []point) (int, error) {
	if db.closed {
		return 0, ErrClosed
	}
	// Asked before anything is written: the log that ran out of room in the middle of a
	// record is of no use after it.
	if err := db.room(); err != nil {
		return 0, err
	}
	if db.tsdb == nil || db.broken.Load() {
		return 0, errors.New("the store is being reopened after it could not be written to; this goes by within two minutes")
	}
	app := db.tsdb.Appender(context.Background())
	taken, newest := 0, points[0].t
	for i := range points {
		p := &points[i]
		s := p.series
		newest = max(newest, p.t)
		ref := s.ref
		if s.gen != db.gen {
			ref = 0
		}
		t := s.shape.time(p.t, s.last, s.interval)
		ref, err := app.Append(ref, s.labels, t, s.shape.value(p.v))
		switch {
		case err == nil:
			s.ref, s.gen = ref, db.gen
			s.last, s.interval = t, t-s.last
			taken++
		case errors.Is(err, storage.ErrDuplicateSampleForTimestamp):
			db.counts.duplicate.Add(1)
		case errors.Is(err, storage.ErrTooOldSample), errors.Is(err, storage.ErrOutOfBounds), errors.Is(err, storage.ErrOutOfOrderSample):
			db.counts.tooOld.Add(1)
		default:
			if e := app.Rollback(); e != nil {
				db.broken.Store(true)
			}
			return 0, err
		}
	}
	before := db.meters.appended()
	if err := app.Commit(); err != nil {
		db.broken.Store(true)
		if full := db.full(err); full != nil {
			return 0, full
		}
		return 0, err
	}
	stored := int(db.meters.appended() - before)
	db.counts.duplicate.Add(int64(taken - stored))
	db.follow(newest)
	return stored, nil
}

// follow sees whether the clock was set back, by the newest sample of a commit, in ms.
func (db *DB) follow(newest int64) {
	if db.newest-newest <= setBack.Milliseconds() || db.newest == 0 {
		db.newest, db.behind = max(db.newest, newest), 0
		return
	}
	db.since = newest
	if db.behind++; db.behind >= setBackCommits {
		select {
		case db.wake <- struct{}{}:
		default:
		}
	}
}
