//go:build go1.25

package groupcommit

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{}
		w := New(d, Options{Delay: 200 * time.Millisecond, BatchBytes: 100})
		written := func(want int) {
			t.Helper()
			synctest.Wait()
			if got, _ := d.counts(); got != want {
				t.Errorf("%d writes, want %d", got, want)
			}
		}
		small := func() { _, _ = w.Write([]byte("small\n")) }
		small()
		time.Sleep(199 * time.Millisecond)
		small()
		written(0)
		time.Sleep(time.Millisecond)
		written(1) // by time since the first, both in one
		small()
		_, _ = w.Write(bytes.Repeat([]byte("x"), 100))
		written(2) // by size
		time.Sleep(time.Second)
		written(2) // the delay of what was written is over
		small()
		time.Sleep(150 * time.Millisecond)
		if err := w.Append(t.Context(), []byte("wanted\n")); err != nil {
			t.Error(err)
		}
		written(3) // by somebody who waits
		small()
		time.Sleep(100 * time.Millisecond)
		written(3)
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		written(4)
	})
}

func TestSyncInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &disk{}
		w := New(d, Options{Sync: SyncInterval, Interval: time.Second})
		synced := func(want int) {
			t.Helper()
			synctest.Wait()
			if _, got := d.counts(); got != want {
				t.Errorf("%d syncs, want %d", got, want)
			}
		}
		for range 9 {
			if err := w.Append(t.Context(), []byte("a\n")); err != nil {
				t.Error(err)
			}
			time.Sleep(100 * time.Millisecond)
		}
		synced(0)
		time.Sleep(100 * time.Millisecond)
		synced(1)
		if d.durable() != strings.Repeat("a\n", 9) {
			t.Error("what was written more than a second ago is not on disk")
		}
		time.Sleep(time.Minute)
		synced(1) // nothing to sync
		_, _ = w.Write([]byte("b\n"))
		time.Sleep(time.Second)
		synced(2)
		_, _ = w.Write([]byte("c\n"))
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		synced(3)
	})
}

// TestSyncIntervalFails: records were acknowledged before; nothing is after.
func TestSyncIntervalFails(t *testing.T) {
	broken := errors.New("input/output error")
	synctest.Test(t, func(t *testing.T) {
		d := &disk{syncErr: func(int) error { return broken }}
		w := New(d, Options{Sync: SyncInterval, Interval: time.Second})
		if err := w.Append(t.Context(), []byte("a\n")); err != nil {
			t.Error(err)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if err := w.Append(t.Context(), []byte("b\n")); !errors.Is(err, broken) {
			t.Errorf("Append: %v", err)
		}
		if err := w.Close(); !errors.Is(err, broken) {
			t.Errorf("Close: %v", err)
		}
	})
}
