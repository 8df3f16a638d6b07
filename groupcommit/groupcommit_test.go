package groupcommit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/heapwright/heapwright/metric"
)

// disk is a File that a crash loses all of that was not synced.
type disk struct {
	mu     sync.Mutex
	data   []byte
	synced int
	writes [][]byte
	syncs  int

	gate     chan struct{} // where not nil, each Write waits for one
	entered  chan struct{} // where not nil, told of each Write before that
	writeErr func(n int) (int, error)
	syncErr  func(n int) error
}

func (d *disk) Write(b []byte) (int, error) {
	if d.entered != nil {
		d.entered <- struct{}{}
	}
	if d.gate != nil {
		<-d.gate
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.writes = append(d.writes, bytes.Clone(b))
	if d.writeErr != nil {
		if n, err := d.writeErr(len(d.writes)); n < len(b) {
			d.data = append(d.data, b[:n]...)
			return n, err
		}
	}
	d.data = append(d.data, b...)
	return len(b), nil
}

func (d *disk) Sync() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.syncs++
	if d.syncErr != nil {
		if err := d.syncErr(d.syncs); err != nil {
			return err
		}
	}
	d.synced = len(d.data)
	return nil
}

func (d *disk) durable() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	return string(d.data[:d.synced])
}

func (d *disk) counts() (writes, syncs int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.writes), d.syncs
}

func line(producer, n int) []byte {
	return fmt.Appendf(nil, "%d:%d:%s\n", producer, n, strings.Repeat("x", (producer*31+n*17)%200))
}

// checkLines tests that each producer's records are there whole and in order, and
// returns how many of each.
func checkLines(t *testing.T, data []byte, producers int) []int {
	t.Helper()
	next := make([]int, producers)
	for l := range bytes.Lines(data) {
		var p, n int
		if _, err := fmt.Sscanf(string(l), "%d:%d:", &p, &n); err != nil || p >= producers {
			t.Fatalf("line %q: %v", l, err)
		}
		if n != next[p] {
			t.Fatalf("producer %d: record %d came when %d was next", p, n, next[p])
		}
		if !bytes.Equal(l, line(p, n)) {
			t.Fatalf("producer %d: record %d is torn: %q", p, n, l)
		}
		next[p]++
	}
	return next
}

func TestManyProducers(t *testing.T) {
	for _, o := range []Options{
		{},
		{Sync: SyncBatch},
		{Sync: SyncInterval, Interval: time.Millisecond},
		{MaxBytes: 512},
		{Delay: time.Millisecond, BatchBytes: 1000},
		{Delay: time.Hour, MaxBytes: 600, BatchBytes: 1 << 20},
	} {
		t.Run(fmt.Sprintf("%+v", o), func(t *testing.T) {
			const producers, records = 8, 300
			d := &disk{}
			w := New(d, o)
			var wg sync.WaitGroup
			for p := range producers {
				wg.Add(1)
				go func() {
					defer wg.Done()
					for i := range records {
						var err error
						switch (i + p) % 3 {
						case 0:
							err = w.Append(t.Context(), line(p, i))
						case 1:
							_, err = w.Write(line(p, i))
						default:
							for {
								if err = w.TryWrite(line(p, i)); !errors.Is(err, ErrFull) {
									break
								}
								time.Sleep(100 * time.Microsecond)
							}
						}
						if err != nil {
							t.Errorf("producer %d, record %d: %v", p, i, err)
							return
						}
					}
				}()
			}
			wg.Wait()
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			for p, n := range checkLines(t, d.data, producers) {
				if n != records {
					t.Errorf("producer %d: %d of %d records", p, n, records)
				}
			}
			for _, b := range d.writes {
				if len(b) == 0 || b[len(b)-1] != '\n' {
					t.Errorf("a batch ends inside a record: %q", b)
				}
			}
			st := w.Stats()
			if st.Records != producers*records || st.Bytes != uint64(len(d.data)) || st.Batches != uint64(len(d.writes)) || st.QueuedBytes != 0 || st.Lost != 0 {
				t.Errorf("%+v of %d bytes in %d writes", st, len(d.data), len(d.writes))
			}
			if o.MaxBytes > 0 && st.PeakBytes > int64(o.MaxBytes) {
				t.Errorf("%d bytes were queued, the bound is %d", st.PeakBytes, o.MaxBytes)
			}
			if o.Sync != SyncNever && d.synced != len(d.data) {
				t.Errorf("%d of %d bytes are synced after Close", d.synced, len(d.data))
			}
		})
	}
}

// TestAppendIsDurable: what Append said is on disk survives a crash at that instant.
func TestAppendIsDurable(t *testing.T) {
	d := &disk{}
	w := New(d, Options{Sync: SyncBatch})
	var wg sync.WaitGroup
	for p := range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range 100 {
				if err := w.Append(t.Context(), line(p, i)); err != nil {
					t.Error(err)
				}
				if !strings.Contains(d.durable(), string(line(p, i))) {
					t.Errorf("producer %d: record %d is not on disk", p, i)
				}
			}
		}()
	}
	wg.Wait()
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	if d.syncs > len(d.writes) {
		t.Errorf("%d syncs of %d writes", d.syncs, len(d.writes))
	}
}

func TestSyncWhateverThePolicy(t *testing.T) {
	for _, policy := range []Policy{SyncNever, SyncBatch, SyncInterval} {
		d := &disk{}
		w := New(d, Options{Sync: policy, Interval: time.Hour, Delay: time.Hour})
		for i := range 3 {
			if _, err := w.Write(line(0, i)); err != nil {
				t.Fatal(err)
			}
		}
		if err := w.Sync(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n := checkLines(t, []byte(d.durable()), 1)[0]; n != 3 {
			t.Errorf("policy %d: %d of 3 records on disk after Sync", policy, n)
		}
		if err := w.Sync(t.Context()); err != nil { // of nothing new
			t.Error(err)
		}
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestGroups: what comes while the disk is busy is one write.
func TestGroups(t *testing.T) {
	d := &disk{gate: make(chan struct{}), entered: make(chan struct{}, 10)}
	w := New(d, Options{Sync: SyncBatch})
	errs := make(chan error, 64)
	go func() { errs <- w.Append(t.Context(), line(0, 0)) }()
	<-d.entered
	for i := range 63 {
		go func() { errs <- w.Append(t.Context(), line(1+i, 0)) }()
	}
	for w.Stats().Records < 64 {
		time.Sleep(time.Millisecond)
	}
	close(d.gate)
	for range 64 {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if len(d.writes) != 2 || d.syncs != 2 {
		t.Errorf("%d writes and %d syncs for 1 and 63 records", len(d.writes), d.syncs)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}

func TestBackPressure(t *testing.T) {
	d := &disk{gate: make(chan struct{}), entered: make(chan struct{}, 100)}
	w := New(d, Options{MaxBytes: 100})
	rec := bytes.Repeat([]byte("r"), 40)
	if err := w.TryWrite(make([]byte, 101)); !errors.Is(err, ErrTooLarge) {
		t.Errorf("a record larger than the queue: %v", err)
	}
	if _, err := w.Write(rec); err != nil {
		t.Fatal(err)
	}
	<-d.entered // it is on its way: room for two
	for range 2 {
		if err := w.TryWrite(rec); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.TryWrite(rec); !errors.Is(err, ErrFull) {
		t.Errorf("a full queue: %v", err)
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	gone := errors.New("the client has gone")
	done := make(chan error, 3)
	go func() { done <- w.Append(ctx, rec) }()
	waits := func(n uint64) {
		for w.Stats().Waits < n {
			time.Sleep(time.Millisecond)
		}
	}
	waits(1)
	go func() { _, err := w.Write(append([]byte("large"), make([]byte, 90)...)); done <- err }()
	waits(2)
	// There is room for a small one when the queue moves, but others came before.
	cancel(gone)
	if err := <-done; err != gone {
		t.Errorf("a producer that gave up: %v", err)
	}
	if err := w.TryWrite([]byte("small")); !errors.Is(err, ErrFull) {
		t.Errorf("passing by those who wait: %v", err)
	}
	close(d.gate)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if st := w.Stats(); len(d.data) != 3*40+95 || st.PeakBytes > 100 || st.Refused != 2 {
		t.Errorf("%d bytes are in the file; %+v", len(d.data), st)
	}
}

// TestCloseWhileWaiting: a producer that waits for room is told, and was not accepted.
func TestCloseWhileWaiting(t *testing.T) {
	d := &disk{gate: make(chan struct{}), entered: make(chan struct{}, 100)}
	w := New(d, Options{MaxBytes: 4})
	_, _ = w.Write([]byte("aaaa"))
	<-d.entered
	_, _ = w.Write([]byte("bbbb"))
	done := make(chan error)
	go func() { _, err := w.Write([]byte("cccc")); done <- err }()
	for w.Stats().Waits == 0 {
		time.Sleep(time.Millisecond)
	}
	closed := make(chan error, 2)
	go func() { closed <- w.Close() }()
	go func() { closed <- w.Close() }()
	for !isClosed(w) {
		time.Sleep(time.Millisecond)
	}
	if err := w.TryWrite(nil); !errors.Is(err, ErrClosed) { // and not that it is full, which would pass
		t.Errorf("TryWrite of a closed writer, for which another waits: %v", err)
	}
	close(d.gate)
	if err := <-done; !errors.Is(err, ErrClosed) {
		t.Errorf("the producer was told %v", err)
	}
	for range 2 {
		if err := <-closed; err != nil {
			t.Error(err)
		}
	}
	if string(d.data) != "aaaabbbb" {
		t.Errorf("in the file is %q", d.data)
	}
	for _, err := range []error{w.Append(t.Context(), nil), w.TryWrite(nil), w.Sync(t.Context())} {
		if !errors.Is(err, ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
	}
}

func isClosed(w *Writer) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.closed
}

// TestFailureSticks: after the file failed once nothing claims success, even if the
// file would work again.
func TestFailureSticks(t *testing.T) {
	broken := errors.New("input/output error")
	for _, tc := range []struct {
		name string
		disk *disk
		want error
	}{
		{"write", &disk{writeErr: func(n int) (int, error) {
			if n == 2 {
				return 3, broken
			}
			return 1 << 30, nil
		}}, broken},
		{"short write", &disk{writeErr: func(n int) (int, error) {
			if n == 2 {
				return 3, nil
			}
			return 1 << 30, nil
		}}, io.ErrShortWrite},
		{"sync", &disk{syncErr: func(n int) error {
			if n == 2 {
				return broken
			}
			return nil
		}}, broken},
		{"panic", &disk{syncErr: func(n int) error {
			if n == 2 {
				panic("mine")
			}
			return nil
		}}, nil},
		{"end of the goroutine", &disk{syncErr: func(n int) error {
			if n == 2 {
				runtime.Goexit()
			}
			return nil
		}}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			is := func(err error) bool {
				return err != nil && (tc.want == nil && (strings.Contains(err.Error(), "panicked: mine") || strings.Contains(err.Error(), "ended the goroutine")) || tc.want != nil && errors.Is(err, tc.want))
			}
			w := New(tc.disk, Options{Sync: SyncBatch})
			if err := w.Append(t.Context(), line(0, 0)); err != nil {
				t.Fatal(err)
			}
			if err := w.Append(t.Context(), line(0, 1)); !is(err) {
				t.Errorf("the record that failed: %v", err)
			}
			writes := len(tc.disk.writes)
			_, werr := w.Write(line(0, 2))
			for _, err := range []error{werr, w.Append(t.Context(), line(0, 2)), w.TryWrite(line(0, 2)), w.Sync(t.Context()), w.Close(), w.Close()} {
				if !is(err) {
					t.Errorf("after the failure: %v", err)
				}
			}
			if len(tc.disk.writes) != writes {
				t.Error("it wrote after the failure")
			}
			if st := w.Stats(); st.Lost != 1 || st.QueuedBytes != 0 {
				t.Errorf("%+v", st)
			}
		})
	}
}

// TestFailureReachesAll: those whose records wait behind the batch that failed, and
// those who wait for room, are told as well.
func TestFailureReachesAll(t *testing.T) {
	broken := errors.New("no space left on device")
	d := &disk{gate: make(chan struct{}), entered: make(chan struct{}, 10), writeErr: func(int) (int, error) { return 0, broken }}
	w := New(d, Options{MaxBytes: 8})
	errs := make(chan error, 4)
	app := func() { errs <- w.Append(t.Context(), []byte("12345678")) }
	go app()
	<-d.entered
	go app()
	for w.Stats().Records < 2 {
		time.Sleep(time.Millisecond)
	}
	go app()
	go app()
	for w.Stats().Waits < 2 {
		time.Sleep(time.Millisecond)
	}
	close(d.gate)
	for range 4 {
		if err := <-errs; !errors.Is(err, broken) {
			t.Errorf("a producer was told %v", err)
		}
	}
	if err := w.Close(); !errors.Is(err, broken) {
		t.Errorf("Close: %v", err)
	}
}

// TestHangingFile: who has a context is not held by a file that does not come back.
func TestHangingFile(t *testing.T) {
	d := &disk{gate: make(chan struct{})}
	w := New(d, Options{})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := w.Append(ctx, line(0, 0)); !errors.Is(err, context.Canceled) {
		t.Errorf("Append: %v", err)
	}
	if err := w.Sync(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Sync: %v", err)
	}
	close(d.gate)
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if n := checkLines(t, d.data, 1)[0]; n != 1 {
		t.Errorf("%d records: what was accepted is written", n)
	}
}

func TestRealFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := New(f, Options{Sync: SyncBatch})
	for i := range 20 {
		if err := w.Append(t.Context(), line(0, i)); err != nil {
			t.Fatal(err)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if n := checkLines(t, data, 1)[0]; n != i+1 {
			t.Errorf("%d records in the file after %d", n, i+1)
		}
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := w.Append(t.Context(), line(0, 20)); !errors.Is(err, os.ErrClosed) {
		t.Errorf("the file was closed: %v", err)
	}
	if err := w.Close(); !errors.Is(err, os.ErrClosed) {
		t.Errorf("Close: %v", err)
	}
}

func TestMetrics(t *testing.T) {
	w := New(&disk{}, Options{})
	if err := w.Append(t.Context(), []byte("abc")); err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	w.Metrics(func(m metric.Metric) { got[m.Name] = m.Value })
	if got["heapwright.groupcommit.records"] != 1 || got["heapwright.groupcommit.written"] != 3 {
		t.Errorf("%v", got)
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
}
