package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/series"
)

// A clock is set by a test, and read by the store's upkeep.
type clock struct{ ns atomic.Int64 }

func (c *clock) set(t time.Time) { c.ns.Store(t.UnixNano()) }

func (c *clock) now() time.Time { return time.Unix(0, c.ns.Load()) }

// raw is what is stored, by time in ms.
func raw(t *testing.T, db *DB, selector string) map[int64]float64 {
	t.Helper()
	m, err := db.Reader().Raw(context.Background(), selector, time.Unix(0, 0), time.Unix(1<<33, 0), 0)
	if err != nil {
		t.Fatal(err)
	}
	got := map[int64]float64{}
	for _, s := range m {
		last := int64(-1)
		for _, p := range s.Floats {
			if p.T <= last {
				t.Fatalf("%d after %d", p.T, last)
			}
			last = p.T
			got[p.T] = p.F
		}
	}
	return got
}

// TestClock sets the clock ahead and back, and asks that what was stored stays, that the
// store goes on storing within seconds, and that it does so after a restart.
func TestClock(t *testing.T) {
	for _, c := range []struct {
		name string
		jump []time.Duration // after each hour of samples
	}{
		{"back a second", []time.Duration{-time.Second}},
		{"back an hour", []time.Duration{-time.Hour}},
		{"back five hours", []time.Duration{-5 * time.Hour}},
		{"ahead a day, and back", []time.Duration{24 * time.Hour, -24 * time.Hour}},
		{"ahead a day for long, and back", []time.Duration{24 * time.Hour, 0, 0, 0, 0, 0, -24 * time.Hour}},
		{"ahead fifty years, and back", []time.Duration{50 * 365 * 24 * time.Hour, -50 * 365 * 24 * time.Hour}},
		{"back to 1970, and ahead", []time.Duration{-day.Sub(time.Unix(0, 0)), day.Sub(time.Unix(0, 0))}},
	} {
		t.Run(c.name, func(t *testing.T) {
			var now clock
			now.set(day.Add(30 * time.Minute))
			opt := Options{Dir: t.TempDir(), Now: now.now}
			db := open(t, opt)
			ctx := context.Background()
			want := map[int64]float64{}
			s := db.Series("clock")
			v, lost := 0.0, 0
			hour := func() {
				for i := range 180 {
					now.set(now.now().Add(20 * time.Second))
					v++
					b := db.Begin()
					b.Append(s, now.now(), v)
					n, err := b.Commit()
					if err != nil {
						t.Fatal(err)
					}
					if n == 1 {
						want[now.now().UnixMilli()] = v
					} else {
						lost++
					}
					if n == 0 || i%30 == 0 {
						db.upkeep(ctx)
					}
				}
			}
			check := func(when string) {
				got := raw(t, db, "clock")
				// What is older than the retention may be there or not.
				old := now.now().Add(-defaultRetention).UnixMilli()
				for ms, v := range want {
					if got[ms] != v && ms >= old {
						t.Fatalf("%s: the sample of %v was stored, and is %v and not %v", when, time.UnixMilli(ms).UTC(), got[ms], v)
					}
				}
				for ms, v := range got {
					if want[ms] != v {
						t.Fatalf("%s: nobody stored %v at %v", when, v, time.UnixMilli(ms).UTC())
					}
				}
			}
			for range 4 {
				hour()
			}
			for i, j := range c.jump {
				lost = 0
				// Between two samples, so that old and new ones differ.
				now.set(now.now().Add(j + 7*time.Millisecond))
				hour()
				if most := setBackCommits; lost > most {
					t.Errorf("%d samples were lost at jump %d", lost, i)
				}
				check(fmt.Sprintf("after jump %d", i))
			}
			if s := db.Stats(); s.Dropped.TooOld > int64(setBackCommits*len(c.jump)) {
				t.Errorf("%+v", s.Dropped)
			}
			for range 2 {
				if err := db.Close(); err != nil {
					t.Fatal(err)
				}
				db = open(t, opt)
				s = db.Series("clock")
				check("after a restart")
				lost = 0
				hour()
				if lost > 0 {
					t.Errorf("%d samples were lost after a restart", lost)
				}
			}
			// The head grows past all that was put aside, and blocks are merged.
			for range 10 {
				hour()
			}
			check("later")
			if !strings.Contains(c.name, "ahead") {
				if _, err := os.Stat(filepath.Join(opt.Dir, asideName)); err == nil {
					t.Error("the note of the clock stays")
				}
			}
		})
	}
}

// TestDay stores more than a day of history, and asks for retention by time and by size.
func TestDay(t *testing.T) {
	ctx := context.Background()
	const life = 40 * time.Hour
	for _, c := range []struct {
		name      string
		retention time.Duration
		maxBytes  int64
	}{
		{"by time", 12 * time.Hour, 0},
		{"by size", 0, 450_000},
		{"for all", 0, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			var now clock
			now.set(day)
			db := open(t, Options{Now: now.now, Retention: c.retention, MaxBytes: c.maxBytes})
			var all []*Series
			for i := range 10 {
				all = append(all, db.Series("day", series.Label{Name: "i", Value: strconv.Itoa(i)}))
			}
			largest := int64(0)
			for at := 30 * time.Second; at <= life; at += 30 * time.Second {
				now.set(day.Add(at))
				b := db.Begin()
				for i, s := range all {
					b.Append(s, now.now(), float64(at)*(1+float64(i)/7)) // which takes 8 bytes a sample
				}
				if n, err := b.Commit(); n != len(all) || err != nil {
					t.Fatal(n, err)
				}
				if at%(time.Hour) == 0 {
					db.upkeep(ctx)
					largest = max(largest, db.Stats().Bytes.Total())
				}
			}
			s := db.Stats()
			t.Logf("%+v, at most %d bytes", s, largest)
			if s.Appended != 10*int64(life/(30*time.Second)) || s.Dropped != (Dropped{}) {
				t.Errorf("%+v", s)
			}
			if !s.Newest.Equal(now.now()) {
				t.Errorf("the newest is of %v", s.Newest)
			}
			kept := now.now().Sub(s.Oldest)
			switch {
			case c.retention > 0:
				// Blocks go as a whole: one of 18 h may begin that much before.
				if kept < c.retention || kept > c.retention+maxBlockRange+blockRange {
					t.Errorf("%v are kept", kept)
				}
			case c.maxBytes > 0:
				if kept > life-blockRange || kept < 2*blockRange {
					t.Errorf("%v are kept", kept)
				}
				// Two hours may be above it.
				if largest > c.maxBytes*3/2 {
					t.Errorf("%d bytes", largest)
				}
			default:
				if kept < life-30*time.Second {
					t.Errorf("%v are kept", kept)
				}
				large := false
				for _, m := range db.tsdb.BlockMetas() {
					large = large || m.MaxTime-m.MinTime == maxBlockRange.Milliseconds()
				}
				if !large {
					t.Error("small blocks were not made into large ones")
				}
			}
			m, _, err := db.Reader().QueryRange(ctx, `count_over_time(day{i="3"}[1h])`, s.Oldest.Add(time.Hour).Truncate(time.Hour), now.now(), time.Hour)
			if err != nil || len(m) != 1 {
				t.Fatal(m, err)
			}
			for _, p := range m[0].Floats[1:] {
				if p.F != 120 {
					t.Errorf("%v samples in the hour before %v", p.F, time.UnixMilli(p.T))
				}
			}
		})
	}
}

func TestBeyond(t *testing.T) {
	id := func(n byte) (u [16]byte) { u[15] = n; return u }
	h := int64(time.Hour / time.Millisecond)
	for _, c := range []struct {
		name                           string
		blocks                         []block
		now, retention, maxBytes, head int64
		want                           string
	}{
		{"none", nil, 100 * h, 10 * h, 0, 0, ""},
		{"one is never dropped", []block{{id(1), 0, 2 * h, 100, false}}, 1000 * h, h, 10, 0, ""},
		{"old ones go", []block{{id(1), 0, 2 * h, 1, false}, {id(2), 2 * h, 4 * h, 1, false}, {id(3), 10 * h, 12 * h, 1, false}}, 13 * h, 9 * h, 0, 0, "1"},
		{"the agent was away", []block{{id(1), 0, 2 * h, 1, false}, {id(2), 2 * h, 4 * h, 1, false}}, 1000 * h, 9 * h, 0, 0, ""},
		{"one from the future pushes none out", []block{{id(1), 0, 2 * h, 1, false}, {id(2), 1000 * h, 1002 * h, 1, false}}, 4 * h, 9 * h, 0, 0, ""},
		{"the oldest go for room", []block{{id(1), 0, 2 * h, 5, false}, {id(2), 2 * h, 4 * h, 5, false}, {id(3), 4 * h, 6 * h, 5, false}}, 7 * h, 90 * h, 12, 0, "1"},
		{"the head takes room", []block{{id(1), 0, 2 * h, 5, false}, {id(2), 2 * h, 4 * h, 5, false}, {id(3), 4 * h, 6 * h, 5, false}}, 7 * h, 90 * h, 12, 5, "12"},
		{"replaced ones go", []block{{id(1), 0, 2 * h, 5, true}}, 7 * h, 90 * h, 0, 0, "1"},
	} {
		got := ""
		gone := beyond(c.blocks, c.now, c.retention, c.maxBytes, c.head)
		for _, b := range c.blocks {
			if _, ok := gone[b.id]; ok {
				got += strconv.Itoa(int(b.id[15]))
			}
		}
		if got != c.want {
			t.Errorf("%s: %q go, and not %q", c.name, got, c.want)
		}
	}
}

func TestLocked(t *testing.T) {
	dir := t.TempDir()
	db := open(t, Options{Dir: dir})
	_, err := Open(Options{Dir: dir})
	var locked *LockedError
	if !errors.As(err, &locked) || locked.PID != os.Getpid() || locked.Dir != dir || !strings.Contains(err.Error(), strconv.Itoa(os.Getpid())) {
		t.Fatalf("%v", err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Errorf("closing twice: %v", err)
	}
	b := db.Begin()
	b.Append(db.Series("a"), day, 1)
	if _, err := b.Commit(); !errors.Is(err, ErrClosed) {
		t.Errorf("storing after the end: %v", err)
	}
	if _, _, err := db.Reader().Query(context.Background(), "a", day); !errors.Is(err, ErrClosed) {
		t.Errorf("asking after the end: %v", err)
	}
	open(t, Options{Dir: dir})
}

func TestNoDirectory(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{"", file, filepath.Join(file, "below")} {
		if _, err := Open(Options{Dir: dir}); err == nil {
			t.Errorf("%q was opened", dir)
		} else {
			t.Log(err)
		}
	}
}

// TestDamage breaks the end of the log, and a block.
func TestDamage(t *testing.T) {
	dir := t.TempDir()
	fill := func(db *DB, from, n int) {
		s := db.Series("damage")
		for i := range n {
			b := db.Begin()
			b.Append(s, day.Add(time.Duration(from+i)*time.Minute), float64(from+i))
			if _, err := b.Commit(); err != nil {
				t.Fatal(err)
			}
		}
	}
	db := open(t, Options{Dir: dir})
	fill(db, 0, 600)
	if err := db.compact(context.Background()); err != nil {
		t.Fatal(err)
	}
	db.Close()
	logs, _ := filepath.Glob(filepath.Join(dir, "wal", "0*"))
	last := logs[len(logs)-1]
	f, err := os.OpenFile(last, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		t.Fatal(err)
	}
	f.Write([]byte("\x01\x00\x20garbage, and not a record of the log at all.."))
	f.Close()
	db = open(t, Options{Dir: dir})
	if s := db.Stats(); s.Repairs != 1 || s.Damaged != 0 {
		t.Errorf("%+v", s)
	}
	if got := raw(t, db, "damage"); len(got) != 600 {
		t.Errorf("%d samples", len(got))
	}
	fill(db, 600, 10)
	blocks := db.tsdb.BlockMetas()
	if len(blocks) < 2 {
		t.Fatalf("%d blocks", len(blocks))
	}
	db.Close()
	index := filepath.Join(dir, blocks[0].ULID.String(), "index")
	if err := os.Truncate(index, 30); err != nil {
		t.Fatal(err)
	}
	db = open(t, Options{Dir: dir})
	if s := db.Stats(); s.Repairs != 0 || s.Damaged != 1 || s.Bytes.Other == 0 {
		t.Errorf("%+v", s)
	}
	got := raw(t, db, "damage")
	if lost := 610 - len(got); lost != int(blocks[0].Stats.NumSamples) {
		t.Errorf("%d samples are lost, and %d were in the block", lost, blocks[0].Stats.NumSamples)
	}
	fill(db, 610, 10)
}

// TestLittleRoom has room for samples, but not for blocks.
func TestLittleRoom(t *testing.T) {
	db := open(t, Options{})
	s := db.Series("a")
	for i := range 3000 {
		b := db.Begin()
		b.Append(s, day.Add(time.Duration(i)*20*time.Second), float64(i)/7)
		if _, err := b.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	db.space = func(string) (int64, bool) { return db.opt.Reserve + 1, true }
	var full *FullError
	if err := db.compact(context.Background()); !errors.As(err, &full) || full.Missing() == 0 {
		t.Errorf("%v", err)
	}
	if n := db.Stats().Blocks; n != 0 {
		t.Errorf("%d blocks", n)
	}
	head := usage(db.opt.Dir).Head
	db.space = func(string) (int64, bool) {
		if usage(db.opt.Dir).Blocks > 0 {
			head = 0 // the first block took it
		}
		return db.opt.Reserve + head + 1, true
	}
	if err := db.compact(context.Background()); err != nil {
		t.Error(err)
	}
	small := db.Stats().Blocks
	db.space = freeSpace
	if err := db.compact(context.Background()); err != nil {
		t.Error(err)
	}
	if large := db.Stats().Blocks; large >= small || small < 5 {
		t.Errorf("%d blocks became %d", small, large)
	}
	if got := raw(t, db, "a"); len(got) != 3000 {
		t.Errorf("%d samples", len(got))
	}
}

// TestReopened shows that handles outlive the database that they were made for.
func TestReopened(t *testing.T) {
	db := open(t, Options{})
	a, b := db.Series("a"), db.Series("b")
	store := func(s *Series, i int) {
		batch := db.Begin()
		batch.Append(s, day.Add(time.Duration(i)*time.Second), float64(i))
		if n, err := batch.Commit(); n != 1 || err != nil {
			t.Fatal(n, err)
		}
	}
	store(a, 1)
	store(b, 2)
	db.broken.Store(true)
	batch := db.Begin()
	batch.Append(a, day.Add(3*time.Second), 3)
	if _, err := batch.Commit(); err == nil {
		t.Error("a broken store acknowledged")
	}
	db.upkeep(context.Background())
	store(b, 4) // in the other order, so that the library could give it the place of a
	store(a, 5)
	if got := fmt.Sprint(raw(t, db, "a"), raw(t, db, "b")); got != fmt.Sprint(
		map[int64]float64{day.UnixMilli() + 1000: 1, day.UnixMilli() + 5000: 5},
		map[int64]float64{day.UnixMilli() + 2000: 2, day.UnixMilli() + 4000: 4}) {
		t.Error(got)
	}
	if s := db.Stats(); s.Appended != 4 || s.Dropped.Failed != 1 || s.Reopened != 1 {
		t.Errorf("%+v", s)
	}
}

func TestDropped(t *testing.T) {
	db := open(t, Options{})
	s := db.Series("a")
	at := func(ts ...int) (n int) {
		b := db.Begin()
		for _, t := range ts {
			b.Append(s, day.Add(time.Duration(t)*time.Second), float64(t))
		}
		n, err := b.Commit()
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	for _, c := range []struct {
		ts   []int
		want int
	}{
		{[]int{10}, 1},
		{[]int{10}, 0},
		{[]int{5}, 0},
		{[]int{11, 11, 12, 9, 12}, 2},
		{nil, 0},
	} {
		if n := at(c.ts...); n != c.want {
			t.Errorf("%v: %d are stored", c.ts, n)
		}
	}
	if s := db.Stats(); s.Appended != 3 || s.Dropped.Duplicate+s.Dropped.TooOld != 5 {
		t.Errorf("%+v", s)
	}
}
