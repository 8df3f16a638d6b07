package store

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"

	"github.com/oklog/ulid/v2"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/storage"
	"github.com/prometheus/prometheus/tsdb"
	"github.com/prometheus/prometheus/tsdb/chunkenc"
	"github.com/prometheus/prometheus/tsdb/chunks"
	"github.com/prometheus/prometheus/tsdb/index"
)

// isBlock reports whether a block's directory has such a name.
func isBlock(name string) bool {
	_, err := ulid.ParseStrict(name)
	return err == nil
}

// blocksToDelete is retention. The library's own goes by the newest block alone, so that
// one block with times of a clock that was wrong would push out all history; here the
// clock has a say as well.
func (db *DB) blocksToDelete(blocks []*tsdb.Block) map[ulid.ULID]struct{} {
	bs := make([]block, len(blocks))
	for i, b := range blocks {
		m := b.Meta()
		bs[i] = block{id: m.ULID, from: m.MinTime, to: m.MaxTime, bytes: b.Size(), replaced: m.Compaction.Deletable}
	}
	var head int64
	if db.opt.MaxBytes > 0 {
		u := usage(db.opt.Dir)
		head = u.WAL + u.Head
	}
	return beyond(bs, db.opt.Now().UnixMilli(), db.opt.Retention.Milliseconds(), db.opt.MaxBytes, head)
}

// A block is what retention goes by.
type block struct {
	id       ulid.ULID
	from, to int64 // ms
	bytes    int64
	replaced bool // by one that compaction made of it and others
}

// beyond chooses the blocks that must go: those that end before what is kept, and the
// oldest ones while all together, with the bytes of the head, are more than may be. The
// newest block is never one of them. Times are in ms; maxBytes 0 is no bound.
func beyond(blocks []block, now, retention, maxBytes, head int64) map[ulid.ULID]struct{} {
	gone := map[ulid.ULID]struct{}{}
	var rest []block
	for _, b := range blocks {
		if b.replaced {
			gone[b.id] = struct{}{}
			continue
		}
		rest = append(rest, b)
	}
	if len(rest) == 0 {
		return gone
	}
	slices.SortFunc(rest, func(a, b block) int {
		if a.to != b.to {
			if a.to > b.to {
				return -1
			}
			return 1
		}
		return b.id.Compare(a.id)
	})
	// The clock, unless nothing is as new as it says: when it is ahead of its time, or
	// the agent was away, what was last stored is the measure. A block may end up to its
	// range after its newest sample.
	until := min(now, rest[0].to)
	bytes := head
	for i, b := range rest {
		bytes += b.bytes
		if i == 0 {
			continue
		}
		if until-b.to >= retention || maxBytes > 0 && bytes > maxBytes {
			gone[b.id] = struct{}{}
		}
	}
	return gone
}

// setFutureAside is for a clock that was ahead, and has come back. The head then has
// samples from the future, and would take all that comes as out of order, and free
// nothing of its log, until the clock has caught up: days, or years. So all of it is
// written as blocks, of which the library does not expect that samples come after them,
// and a new head is begun. Nothing that was stored is lost. What is in the future is
// there when that time comes, or goes when it is as old as what is kept.
func (db *DB) setFutureAside(ctx context.Context) (err error) {
	if !db.mu.TryLock() {
		return nil // somebody reads: the next round
	}
	defer db.mu.Unlock()
	if db.closed || db.tsdb == nil || db.broken.Load() {
		return nil
	}
	defer db.survive(&err)
	head := db.tsdb.Head()
	db.log.Warn("the clock went back: what was stored of the time after it is put aside",
		"newest", head.MaxTime(), "now", db.opt.Now().UnixMilli())
	c, err := tsdb.NewLeveledCompactor(ctx, nil, db.log, tsdb.ExponentialBlockRanges(blockRange.Milliseconds(), 3, 3), chunkenc.NewPool(), nil)
	if err != nil {
		return err
	}
	step := blockRange.Milliseconds()
	froms, err := ranges(ctx, head, step)
	if err != nil {
		return fmt.Errorf("looking through the head: %w", err)
	}
	for _, from := range froms {
		meta := &tsdb.BlockMeta{}
		meta.Compaction.SetOutOfOrder()
		r := tsdb.NewRangeHeadWithIsolationDisabled(head, from, from+step-1)
		if _, err := c.Write(db.opt.Dir, r, from, from+step, meta); err != nil {
			return fmt.Errorf("writing the head as blocks: %w", err)
		}
	}
	if err := db.tsdb.CompactOOOHead(ctx); err != nil {
		return fmt.Errorf("writing what is out of order as blocks: %w", err)
	}
	db.counts.carry(db.meters)
	t := db.tsdb
	db.tsdb = nil
	if err := closeTSDB(t); err != nil {
		db.log.Warn("closing the store's head", "err", err)
	}
	for _, name := range []string{"wal", "wbl", "chunks_head"} {
		if err := os.RemoveAll(filepath.Join(db.opt.Dir, name)); err != nil {
			db.broken.Store(true)
			return fmt.Errorf("beginning a new head: %w", err)
		}
	}
	if err := db.openTSDB(); err != nil {
		db.broken.Store(true)
		return fmt.Errorf("beginning a new head: %w", err)
	}
	db.counts.jumps.Add(1)
	return nil
}

// floor is the beginning of the range that a time is in.
func floor(t, step int64) int64 {
	f := t / step * step
	if f > t {
		f -= step // before 1970
	}
	return f
}

// ranges are the beginnings of those ranges that the head has in-order samples in: two
// clusters, when the clock was wrong, with what may be years between them.
func ranges(ctx context.Context, head *tsdb.Head, step int64) ([]int64, error) {
	ix, err := head.Index()
	if err != nil {
		return nil, err
	}
	defer ix.Close()
	name, value := index.AllPostingsKey()
	p, err := ix.Postings(ctx, name, value)
	if err != nil {
		return nil, err
	}
	in := map[int64]bool{}
	var (
		b     labels.ScratchBuilder
		metas []chunks.Meta
	)
	for p.Next() {
		if err := ix.Series(p.At(), &b, &metas); errors.Is(err, storage.ErrNotFound) {
			continue // it went meanwhile
		} else if err != nil {
			return nil, err
		}
		for _, c := range metas {
			// The newest chunk is open, and says that it has no end.
			to := min(c.MaxTime, head.MaxTime())
			for t := floor(c.MinTime, step); t <= to; t += step {
				in[t] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(in)), p.Err()
}
