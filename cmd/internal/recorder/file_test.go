package recorder

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/heapwright/heapwright/record"
)

// slowDisk takes so long for each write.
type slowDisk struct {
	takes time.Duration

	mu   sync.Mutex
	data bytes.Buffer
}

func (d *slowDisk) Write(b []byte) (int, error) {
	time.Sleep(d.takes)
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.data.Write(b)
}

func (d *slowDisk) read(t *testing.T) *record.Recording {
	t.Helper()
	d.mu.Lock()
	defer d.mu.Unlock()
	all, err := record.ReadAll(bytes.NewReader(d.data.Bytes()))
	if err != nil {
		t.Fatal(err)
	}
	return all[0]
}

// slip is the longest time between two samples.
func slip(r *record.Recording) time.Duration {
	longest := time.Duration(0)
	for i := 1; i < len(r.Samples); i++ {
		longest = max(longest, r.Samples[i].Time.Sub(r.Samples[i-1].Time))
	}
	return longest
}

// TestSlowDisk: samples do not wait for a disk, which they would without a File.
func TestSlowDisk(t *testing.T) {
	for _, tc := range []struct {
		name    string
		sink    func(io.Writer) (Sink, io.Closer)
		samples int // at least, of 10 a second in half a minute
		slip    time.Duration
	}{
		{"as it comes", func(w io.Writer) (Sink, io.Closer) { r := record.NewWriter(w); return r, r }, 0, 800 * time.Millisecond},
		{"file", func(w io.Writer) (Sink, io.Closer) { f := NewFile(w); return f, f }, 300, 100 * time.Millisecond},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				d := &slowDisk{takes: 700 * time.Millisecond}
				sink, closer := tc.sink(d)
				sum, err := Record(t.Context(), &fake{}, record.Process{}, sink, Options{For: 30 * time.Second})
				if err != nil {
					t.Fatal(err)
				}
				if err := closer.Close(); err != nil {
					t.Fatal(err)
				}
				r := d.read(t)
				t.Logf("%d samples, at most %v apart", len(r.Samples), slip(r))
				if len(r.Samples) != sum.Samples || sum.Samples < tc.samples || r.Truncated != "" {
					t.Errorf("%d samples in the file, %d were taken; %s", len(r.Samples), sum.Samples, r.Truncated)
				}
				if slip(r) > tc.slip {
					t.Errorf("two samples are %v apart, want at most %v", slip(r), tc.slip)
				}
			})
		})
	}
}

// TestFlushedIsWritten: a recorder that is killed leaves what it flushed.
func TestFlushedIsWritten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := &slowDisk{}
		f := NewFile(d)
		if err := f.Process(record.Process{PID: 7}); err != nil {
			t.Fatal(err)
		}
		for i := range 5 {
			if err := f.Sample(&record.Sample{Time: time.Now(), Source: record.SourceRemote}); err != nil {
				t.Fatal(err)
			}
			if err := f.Flush(); err != nil {
				t.Fatal(err)
			}
			synctest.Wait() // an instant
			if r := d.read(t); len(r.Samples) != i+1 {
				t.Errorf("%d samples are in the file, %d were flushed", len(r.Samples), i+1)
			}
		}
		if err := f.Close(); err != nil {
			t.Fatal(err)
		}
	})
}

// TestDiskFails: the recording ends, and Close says why.
func TestDiskFails(t *testing.T) {
	full := errors.New("no space left on device")
	synctest.Test(t, func(t *testing.T) {
		f := NewFile(writerFunc(func(b []byte) (int, error) { return 0, full }))
		sum, err := Record(t.Context(), &fake{}, record.Process{}, f, Options{For: time.Hour})
		if !errors.Is(err, full) || sum.Samples > 40 {
			t.Errorf("%d samples, %v", sum.Samples, err)
		}
		if err := f.Close(); !errors.Is(err, full) {
			t.Errorf("Close: %v", err)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		f := NewFile(writerFunc(func(b []byte) (int, error) { return 0, full }))
		if _, err := Record(t.Context(), &fake{}, record.Process{}, f, Options{For: time.Millisecond}); err != nil && !errors.Is(err, full) {
			t.Error(err)
		}
		if err := f.Close(); !errors.Is(err, full) {
			t.Errorf("Close of a recording too short to notice: %v", err)
		}
	})
}

// TestLargeMember: what is larger than the queue goes through it in parts.
func TestLargeMember(t *testing.T) {
	var out bytes.Buffer
	q := &queue{out: &out}
	text := []byte(strings.Repeat("0123456789abcdef", fileQueue/8))
	if n, err := q.Write(text); n != len(text) || err != nil {
		t.Fatalf("wrote %d of %d bytes: %v", n, len(text), err)
	}
	if err := q.close(); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(out.Bytes(), text) {
		t.Error("it came out different")
	}
	if err := NewFile(nil).queue.close(); err != nil {
		t.Errorf("closing what was never written to: %v", err)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(b []byte) (int, error) { return f(b) }
