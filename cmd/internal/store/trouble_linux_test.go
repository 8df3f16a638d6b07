package store

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/series"
)

// small mounts a file system of so many bytes.
func small(t *testing.T, bytes int) string {
	t.Helper()
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, fmt.Sprintf("size=%d", bytes)); err != nil {
		t.Skipf("no small file system can be mounted here: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmounting: %v", err)
		}
	})
	return dir
}

// A writer stores one sample of each of its series at a time, and knows which were
// acknowledged.
type writer struct {
	db    *DB
	all   []*Series
	t     time.Time
	acked map[int64]bool
}

func newWriter(db *DB, n int) *writer {
	w := &writer{db: db, t: day, acked: map[int64]bool{}}
	w.use(db, n)
	return w
}

func (w *writer) use(db *DB, n int) {
	w.db, w.all = db, nil
	for i := range n {
		w.all = append(w.all, db.Series("trouble", series.Label{Name: "i", Value: fmt.Sprint(i)}))
	}
}

func (w *writer) value(i int, t int64) float64 { return float64(t%1e9) * (1 + float64(i)/7) }

func (w *writer) write() error {
	w.t = w.t.Add(time.Second)
	b := w.db.Begin()
	ms := w.t.UnixMilli()
	for i, s := range w.all {
		b.Append(s, w.t, w.value(i, ms))
	}
	n, err := b.Commit()
	if err == nil && n != len(w.all) {
		return fmt.Errorf("stored %d of %d", n, len(w.all))
	}
	if err == nil {
		w.acked[ms] = true
	}
	return err
}

// check asks for every sample that was acknowledged.
func (w *writer) check(t *testing.T) {
	t.Helper()
	m, err := w.db.Reader().Raw(context.Background(), "trouble", day, w.t, 0)
	if err != nil {
		t.Fatal(err)
	}
	if len(m) != len(w.all) {
		t.Fatalf("%d series of %d", len(m), len(w.all))
	}
	for _, s := range m {
		var i int
		fmt.Sscan(s.Metric.Get("i"), &i)
		got := map[int64]float64{}
		for _, p := range s.Floats {
			got[p.T] = p.F
		}
		for ms := range w.acked {
			if v, ok := got[ms]; !ok || v != w.value(i, ms) {
				t.Fatalf("series %d at %d was acknowledged, and is %v, %v", i, ms, v, ok)
			}
		}
	}
}

func TestDiskFull(t *testing.T) {
	root := small(t, 14<<20)
	ballast := filepath.Join(root, "ballast")
	if err := os.WriteFile(ballast, make([]byte, 6<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	opt := Options{Dir: filepath.Join(root, "tsdb"), Reserve: 2 << 20}
	db := open(t, opt)
	w := newWriter(db, 500)
	var full *FullError
	for i, err := 1, error(nil); !errors.As(err, &full); i, err = i+1, w.write() {
		if err != nil {
			t.Fatal(err)
		}
		if i%60 == 0 {
			db.upkeep(context.Background())
		}
	}
	if full.Missing() <= 0 || full.Missing() > full.Need || full.Need != opt.Reserve || !strings.Contains(full.Error(), "missing") {
		t.Errorf("%v: %+v", full, full)
	}
	t.Log(full)
	if len(w.acked) < 100 {
		t.Fatalf("only %d batches fit", len(w.acked))
	}
	for range 3 {
		if err := w.write(); !errors.As(err, &full) {
			t.Fatal(err)
		}
		db.upkeep(context.Background())
	}
	w.check(t)
	if s := db.Stats(); s.Dropped.Failed != 2000 || s.FreeBytes >= 2<<20 || s.FreeBytes < 0 {
		t.Errorf("%+v", s)
	}
	if err := db.Close(); !errors.As(err, &full) {
		t.Errorf("closing without room: %v", err)
	}
	if _, err := Open(opt); !errors.As(err, &full) {
		t.Errorf("opening without room: %v", err)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	db = open(t, opt)
	w.use(db, 500)
	for range 10 {
		if err := w.write(); err != nil {
			t.Fatal(err)
		}
	}
	w.check(t)
}

// TestDiskFullUnseen is the same when another program takes the room after it was asked
// for: the log ends in half a record, and chunks cannot be written.
func TestDiskFullUnseen(t *testing.T) {
	for _, compact := range []bool{false, true} {
		t.Run(fmt.Sprintf("compacting=%v", compact), func(t *testing.T) {
			root := small(t, 24<<20)
			ballast := filepath.Join(root, "ballast")
			if err := os.WriteFile(ballast, make([]byte, 20<<20), 0o600); err != nil {
				t.Fatal(err)
			}
			opt := Options{Dir: filepath.Join(root, "tsdb"), Reserve: 1 << 20}
			db := open(t, opt)
			honest := db.space
			db.space = func(string) (int64, bool) { return 1 << 30, true }
			// More than a page of the log, 32 KiB, in a record, and full chunks to write.
			w := newWriter(db, 2000)
			var err error
			for err == nil {
				err = w.write()
			}
			var full *FullError
			if !errors.As(err, &full) || !errors.Is(err, syscall.ENOSPC) {
				t.Fatal(err)
			}
			if compact {
				db.broken.Store(false) // as if the chunks had been written first
				if err := db.compact(context.Background()); err == nil {
					t.Fatal("chunks were written to a full disk")
				}
				if !db.stuck.Load() {
					t.Error("the database goes on after a panic")
				}
				if _, _, err := db.Reader().Query(context.Background(), "trouble", w.t); err == nil {
					t.Error("a database with locks held is asked")
				}
			} else {
				w.check(t)
			}
			if err := w.write(); err == nil {
				t.Error("what cannot be written was acknowledged")
			}
			db.space = honest
			if err := os.Remove(ballast); err != nil {
				t.Fatal(err)
			}
			db.upkeep(context.Background())
			for range 5 {
				if err := w.write(); err != nil {
					t.Fatal(err)
				}
			}
			w.check(t)
			if s := db.Stats(); s.Reopened != 1 {
				t.Errorf("%+v", s)
			}
			if err := db.Close(); err != nil {
				t.Error(err)
			}
			db = open(t, opt)
			w.use(db, 2000)
			w.check(t)
		})
	}
}

func TestReadOnlyDirectory(t *testing.T) {
	root := small(t, 1<<20)
	if err := syscall.Mount("", root, "", syscall.MS_REMOUNT|syscall.MS_RDONLY, ""); err != nil {
		t.Skipf("the file system cannot be made read-only here: %v", err)
	}
	for _, dir := range []string{root, filepath.Join(root, "new")} {
		if _, err := Open(Options{Dir: dir}); !errors.Is(err, syscall.EROFS) {
			t.Errorf("%s: %v", dir, err)
		} else {
			t.Log(err)
		}
	}
}
