package store

import (
	"io/fs"
	"math"
	"path/filepath"
	"strings"
	"sync/atomic"
	"time"
)

// counts are since the store was opened.
type counts struct {
	carried   atomic.Int64 // samples that databases before a reopening stored
	duplicate atomic.Int64
	tooOld    atomic.Int64
	failed    atomic.Int64
	repairs   atomic.Int64
	damaged   atomic.Int64
	reopened  atomic.Int64
	jumps     atomic.Int64
}

// carry keeps what a database that is given up had counted.
func (c *counts) carry(m *meters) {
	if m != nil {
		c.carried.Add(int64(m.appended()))
	}
}

// Stats say how a store is. Counts are since it was opened.
type Stats struct {
	Series     int       // that have samples in the last hours
	Blocks     int       // on disk
	Oldest     time.Time // zero: nothing is stored
	Newest     time.Time
	Appended   int64   // samples
	Dropped    Dropped // samples that were not stored
	Repairs    int64   // times that a damaged end of the log was cut off
	Damaged    int64   // blocks that could not be read and were put aside
	Reopened   int64   // times that the database was opened anew after it could not be written to
	ClockJumps int64   // times that the clock had gone back so far that the future was put aside
	Bytes      Bytes
	FreeBytes  int64 // of the file system; -1: not known
}

// Dropped counts samples by why they were not stored.
type Dropped struct {
	Duplicate int64 // one with its time was there
	TooOld    int64 // older than the newest of their series: the clock was set back
	Failed    int64 // their commit failed
}

// Bytes are what parts of the store take on disk.
type Bytes struct {
	Blocks int64 // compressed history
	WAL    int64 // the log of the last hours
	Head   int64 // chunks of the last hours
	Other  int64 // damaged blocks that were put aside, and what is not known
}

// Total is the sum.
func (b Bytes) Total() int64 { return b.Blocks + b.WAL + b.Head + b.Other }

// Stats says how the store is. It walks the directory, so once a second is plenty.
func (db *DB) Stats() Stats {
	db.mu.RLock()
	defer db.mu.RUnlock()
	s := Stats{
		Appended:   db.counts.carried.Load(),
		Dropped:    Dropped{Duplicate: db.counts.duplicate.Load(), TooOld: db.counts.tooOld.Load(), Failed: db.counts.failed.Load()},
		Repairs:    db.counts.repairs.Load(),
		Damaged:    db.counts.damaged.Load(),
		Reopened:   db.counts.reopened.Load(),
		ClockJumps: db.counts.jumps.Load(),
		Bytes:      usage(db.opt.Dir),
		FreeBytes:  -1,
	}
	if free, ok := db.space(db.opt.Dir); ok {
		s.FreeBytes = free
	}
	if db.tsdb == nil {
		return s
	}
	s.Appended += int64(db.meters.appended())
	head := db.tsdb.Head()
	s.Series = int(head.NumSeries())
	oldest, newest := int64(math.MaxInt64), int64(math.MinInt64)
	for _, m := range db.tsdb.BlockMetas() {
		s.Blocks++
		oldest, newest = min(oldest, m.MinTime), max(newest, m.MaxTime-1)
	}
	oldest = min(oldest, head.MinTime())
	newest = max(newest, head.MaxTime())
	if oldest <= newest {
		s.Oldest, s.Newest = time.UnixMilli(oldest).UTC(), time.UnixMilli(newest).UTC()
	}
	return s
}

// usage adds up a store's directory.
func usage(dir string) Bytes {
	var b Bytes
	// What vanishes while it is looked at was being deleted.
	_ = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return nil
		}
		rel, err := filepath.Rel(dir, path)
		if err != nil {
			return nil
		}
		top, _, _ := strings.Cut(filepath.ToSlash(rel), "/")
		switch {
		case top == "wal":
			b.WAL += info.Size()
		case top == "chunks_head":
			b.Head += onDisk(info)
		case isBlock(top):
			b.Blocks += info.Size()
		default:
			b.Other += info.Size()
		}
		return nil
	})
	return b
}
