package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

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

// setFutureAside is for a clock that was set back. The head then has samples from what is
// now the future, and takes none that are older than the newest of their series, until
// the clock has caught up: an hour, or years. So all of the head is written as blocks, and
// a new one is begun. Nothing that was stored is lost: blocks may overlap, and are merged.
// What is in the future is there when that time comes.
//
// The library expects that what is in its log is newer than all blocks but those that
// are marked as having come out of order, and reads no more of it. So from here on the
// blocks that end after the new head began are marked whenever the store is opened, for
// as long as there are any: markAside keeps that time in a file.
func (db *DB) setFutureAside(ctx context.Context) (err error) {
	if !db.mu.TryLock() {
		return nil // somebody reads: the next round
	}
	defer db.mu.Unlock()
	now, back := db.wentBack()
	if !back || db.closed || db.tsdb == nil || db.broken.Load() {
		return nil
	}
	defer db.survive(&err)
	head := db.tsdb.Head()
	db.log.Warn("the clock was set back: samples that are newer stay, and those that come now are kept beside them",
		"newest", time.UnixMilli(head.MaxTime()).UTC(), "now", time.UnixMilli(now).UTC())
	c, err := tsdb.NewLeveledCompactor(ctx, nil, db.log, []int64{blockRange.Milliseconds()}, chunkenc.NewPool(), nil)
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
	if err := db.markAside(now - blockRange.Milliseconds()); err != nil {
		return err
	}
	db.counts.carry(db.meters)
	t := db.tsdb
	db.tsdb, db.meters = nil, nil
	if err := closeTSDB(t); err != nil {
		db.log.Warn("closing the store's head", "err", err)
	}
	// The chunks go first: the log is complete without them, but they would be taken for
	// those of other series without it.
	for _, name := range []string{"chunks_head", "wal", "wbl"} {
		if err := db.discard(name); err != nil {
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

const (
	asideName     = "clock-set-back" // the file of markAside
	discardPrefix = "discarded-"
)

// discard takes a directory away at once, so that a kill does not leave half of it.
func (db *DB) discard(name string) error {
	to := filepath.Join(db.opt.Dir, discardPrefix+name)
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(db.opt.Dir, name), to); errors.Is(err, fs.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	return os.RemoveAll(to)
}

// markAside notes the time, in ms, from which on the head may have samples.
func (db *DB) markAside(since int64) error {
	if err := writeFile(filepath.Join(db.opt.Dir, asideName), fmt.Appendf(nil, "%d\n", since)); err != nil {
		return fmt.Errorf("noting when the clock was set back: %w", err)
	}
	return nil
}

// recoverAside takes up what setFutureAside left, before the library opens the directory.
func (db *DB) recoverAside() error {
	entries, err := os.ReadDir(db.opt.Dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), discardPrefix) {
			if err := os.RemoveAll(filepath.Join(db.opt.Dir, e.Name())); err != nil {
				return err
			}
		}
	}
	text, err := os.ReadFile(filepath.Join(db.opt.Dir, asideName))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	since, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		since = math.MinInt64 // all blocks are marked, and the whole log is read
	}
	for _, e := range entries {
		if !isBlock(e.Name()) {
			continue
		}
		if err := markOutOfOrder(filepath.Join(db.opt.Dir, e.Name(), "meta.json"), since); err != nil {
			return fmt.Errorf("marking block %s: %w", e.Name(), err)
		}
	}
	return nil
}

// markOutOfOrder marks a block that ends after a time, in ms.
func markOutOfOrder(path string, since int64) error {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // half deleted; the library sweeps it
	}
	if err != nil {
		return err
	}
	var m tsdb.BlockMeta
	if err := json.Unmarshal(text, &m); err != nil {
		return nil // damaged: that is found, and said, when it is opened
	}
	if m.MaxTime <= since || m.Compaction.FromOutOfOrder() {
		return nil
	}
	m.Compaction.SetOutOfOrder()
	if text, err = json.MarshalIndent(&m, "", "\t"); err != nil {
		return err
	}
	return writeFile(path, text)
}

// forgetAside removes the note when the head is newer than all blocks again.
func (db *DB) forgetAside() error {
	path := filepath.Join(db.opt.Dir, asideName)
	if _, err := os.Stat(path); errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	head := db.tsdb.Head().MinTime()
	for _, m := range db.tsdb.BlockMetas() {
		if m.MaxTime > head {
			return nil
		}
	}
	return os.Remove(path)
}

// writeFile writes a file so that there is the old or the new one, whatever happens.
func writeFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if e := f.Close(); err == nil {
		err = e
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
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
