package measure

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/heapwright/heapwright/record"
)

// fake is a process that collects once every 300 ms.
type fake struct {
	born    time.Time
	every   time.Duration
	goal    func(cycle uint64) uint64
	fail    func(n int) error // of the n-th reading
	clock   error             // of the CPU clock
	n       int
	seen    uint64
	samples []time.Time
	closed  int
}

func newFake() *fake {
	return &fake{born: time.Now(), every: 300 * time.Millisecond,
		goal: func(uint64) uint64 { return 1 << 20 }, fail: func(int) error { return nil }}
}

func (f *fake) cycles() uint64 { return uint64(time.Since(f.born) / f.every) }

func (f *fake) Sample(s *record.Sample) error {
	f.n++
	if err := f.fail(f.n); err != nil {
		return err
	}
	*s = record.Sample{Time: time.Now(), Source: record.SourceRemote, GCCycles: f.cycles(), HeapGoalBytes: f.goal(f.cycles())}
	s.Has.Add(record.FieldGCCycles)
	s.Has.Add(record.FieldHeapGoalBytes)
	f.samples = append(f.samples, s.Time)
	return nil
}

func (f *fake) Cycles(dst []record.Cycle) ([]record.Cycle, uint64, error) {
	for f.seen < f.cycles() {
		f.seen++
		dst = append(dst, record.Cycle{N: f.seen, End: f.born.Add(time.Duration(f.seen) * f.every), Pause: time.Duration(f.seen)})
	}
	return dst, 0, nil
}

func (f *fake) CPUTime() (time.Duration, error) { return time.Since(f.born) / 2, f.clock }
func (f *fake) Process() record.Process         { return record.Process{PID: 7, Name: "fake"} }
func (f *fake) Close() error                    { f.closed++; return nil }

// betweenReadings changes what the process will say, while nobody asks it.
func betweenReadings(w *Watch, change func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	change()
}

func TestWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		w := begin(t.Context(), f, 0)
		time.Sleep(1010 * time.Millisecond) // between two readings, after cycle 3
		if _, err := w.Finish(); err == nil {
			t.Error("a window that was not begun is ended")
		}
		started := time.Now()
		if err := w.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(2 * time.Second) // cycle 10 ends 10 ms before
		raw, err := w.Finish()
		if err != nil {
			t.Fatal(err)
		}
		ended := time.Now()
		if !raw.First.Time.Equal(started) || !raw.Last.Time.Equal(ended) || raw.Span() != 2*time.Second {
			t.Errorf("window %v to %v, want %v to %v", raw.First.Time, raw.Last.Time, started, ended)
		}
		if raw.CPU != time.Second || !raw.CPUKnown {
			t.Errorf("CPU %v, %v", raw.CPU, raw.CPUKnown)
		}
		if n := len(raw.Points); n != 42 || !raw.Points[0].Time.Equal(started) || !raw.Points[41].Time.Equal(ended) {
			t.Errorf("%d points, want the edges and 40 between", n)
		}
		if len(raw.Cycles) != 7 || raw.Cycles[0].N != 4 || raw.Cycles[6].N != 10 || raw.Lost != 0 || raw.Failed != 0 {
			t.Errorf("cycles %v, lost %d, failed %d", raw.Cycles, raw.Lost, raw.Failed)
		}
		values, pauses, _, _ := Values(raw, 100, 2)
		if len(pauses) != 7 || values["gc_cycles_per_second"] != 3.5 || values["cpu_seconds_per_request"] != 0.01 {
			t.Errorf("pauses %v, values %v", pauses, values)
		}

		// A second window is its own.
		time.Sleep(time.Second)
		if err := w.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		raw, err = w.Finish()
		if err != nil || raw.Span() != time.Second || len(raw.Cycles) != int(raw.Last.GCCycles-raw.First.GCCycles) || raw.Points[0].Time != raw.First.Time {
			t.Errorf("second window of %v, %d cycles: %v", raw.Span(), len(raw.Cycles), err)
		}

		// The recording has each cycle once, and each before the sample that counts it.
		time.Sleep(51 * time.Millisecond)
		rec := w.Recording()
		for i, c := range rec.Cycles {
			if c.N != uint64(i+1) {
				t.Fatalf("cycle %d of the recording is number %d", i, c.N)
			}
		}
		if last := rec.Samples[len(rec.Samples)-1]; uint64(len(rec.Cycles)) != last.GCCycles || rec.Process.Name != "fake" {
			t.Errorf("%d cycles in the recording of %s, its last sample counts %d", len(rec.Cycles), rec.Process.Name, last.GCCycles)
		}
		if err := w.Close(); err != nil || f.closed != 1 {
			t.Errorf("closed %d times: %v", f.closed, err)
		}
	})
}

// TestEnds: the process ends at some reading, and whatever is asked then says so.
func TestEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		cause := fmt.Errorf("reading: %w", ErrEnded)
		alive := true
		f.fail = func(int) error {
			if !alive {
				return cause
			}
			return nil
		}
		w := begin(t.Context(), f, 0)
		defer w.Close()
		time.Sleep(500 * time.Millisecond)
		if err := w.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(990 * time.Millisecond)
		betweenReadings(w, func() { alive = false })
		raw, err := w.Finish()
		if !errors.Is(err, ErrEnded) || err.Error() != "ending the measured time: process 7 (fake) ended while it was measured: reading: the process has ended" {
			t.Errorf("Finish: %v", err)
		}
		if len(raw.Points) < 20 || len(raw.Cycles) != 3 {
			t.Errorf("what was seen until then: %d points, %d cycles", len(raw.Points), len(raw.Cycles))
		}
		if values, _, _, _ := Values(raw, 100, 1); len(values) != 0 {
			t.Errorf("a window without an end has values: %v", values)
		}
		if err := w.Start(); !errors.Is(err, ErrEnded) {
			t.Errorf("Start: %v", err)
		}
		if waited, err := w.Warm(t.Context(), time.Second, time.Minute); !errors.Is(err, ErrEnded) || waited != 0 {
			t.Errorf("Warm: %v after %v", err, waited)
		}
		if err := w.Ended(); !errors.Is(err, ErrEnded) {
			t.Errorf("Ended: %v", err)
		}
		if n := len(w.Recording().Samples); n < 30 {
			t.Errorf("%d samples in the recording", n)
		}
	})
}

// TestPassingFailures: readings that fail in passing are counted, those at an edge
// tried again.
func TestPassingFailures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		busy := errors.New("the books move")
		failing := 0
		f.fail = func(int) error {
			if failing > 0 {
				failing--
				return busy
			}
			return nil
		}
		w := begin(t.Context(), f, 0)
		defer w.Close()
		time.Sleep(10 * time.Millisecond)
		betweenReadings(w, func() { failing = 3 })
		if err := w.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Second)
		betweenReadings(w, func() { failing = 4 })
		time.Sleep(time.Second)
		betweenReadings(w, func() { f.clock = busy })
		raw, err := w.Finish()
		if err != nil || raw.Failed != 4 || raw.CPUKnown {
			t.Errorf("failed %d, CPU known %v, %v", raw.Failed, raw.CPUKnown, err)
		}
		betweenReadings(w, func() { failing = 1 << 30 })
		if err := w.Start(); !errors.Is(err, busy) || errors.Is(err, ErrEnded) {
			t.Errorf("Start: %v", err)
		}
	})
}

func TestWarm(t *testing.T) {
	const rate = 300 * time.Millisecond
	for _, c := range []struct {
		name        string
		goal        func(cycle uint64) uint64
		every       time.Duration
		least, most time.Duration
		wait        time.Duration // to the tick of 50 ms
		settled     bool
	}{
		{"three cycles", nil, rate, 0, time.Minute, 900 * time.Millisecond, true},
		{"at least", nil, rate, 5 * time.Second, time.Minute, 5 * time.Second, true},
		{"goals that grow by a hundred until cycle 8", func(n uint64) uint64 { return 1000 + 100*min(n, 8) }, rate, 0, time.Minute, 9 * rate, true},
		{"goals that double", func(n uint64) uint64 { return 1 << min(n, 60) }, rate, 0, 10 * time.Second, 10 * time.Second, false},
		{"no cycles", nil, time.Hour, 0, 3 * time.Second, 3 * time.Second, false},
		{"most is less than least", nil, time.Hour, 2 * time.Second, time.Second, 2 * time.Second, false},
		{"cycles faster than readings", nil, 20 * time.Millisecond, 0, time.Minute, 100 * time.Millisecond, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := newFake()
				f.every = c.every
				if c.goal != nil {
					f.goal = c.goal
				}
				w := begin(t.Context(), f, 0)
				defer w.Close()
				synctest.Wait()
				waited, err := w.Warm(t.Context(), c.least, c.most)
				if err != nil || waited < c.wait || waited > c.wait+100*time.Millisecond || w.Settled() != c.settled {
					t.Errorf("waited %v, settled %v, %v; want %v, %v", waited, w.Settled(), err, c.wait, c.settled)
				}
			})
		})
	}
}

// TestWarmAfterStart: the cycles of a quiet start say nothing of the heap under load.
func TestWarmAfterStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		w := begin(t.Context(), f, 0)
		defer w.Close()
		time.Sleep(5*300*time.Millisecond + 10*time.Millisecond)
		betweenReadings(w, func() { f.every, f.seen, f.born = time.Hour, 0, time.Now().Add(-5*time.Hour) })
		if waited, err := w.Warm(t.Context(), time.Second, 2*time.Second); err != nil || w.Settled() || waited < 2*time.Second {
			t.Errorf("settled %v after %v, %v", w.Settled(), waited, err)
		}
	})
}

func TestWarmIsInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := begin(t.Context(), newFake(), 0)
		defer w.Close()
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if waited, err := w.Warm(ctx, time.Minute, time.Hour); !errors.Is(err, context.DeadlineExceeded) || waited != time.Second {
			t.Errorf("Warm: %v after %v", err, waited)
		}
	})
}

// A flood is a process with more cycles than anybody wants.
type flood struct{ *fake }

func (flood) Cycles(dst []record.Cycle) ([]record.Cycle, uint64, error) {
	return append(dst, make([]record.Cycle, maxRecorded+1000)...), 0, nil
}

// TestBounds: a window as long as one likes keeps no more than it may.
func TestBounds(t *testing.T) {
	w := &Watch{target: newFake(), window: &Raw{}}
	s := record.Sample{Time: began}
	for range 3*maxPoints + 1 {
		s.Time = s.Time.Add(time.Second)
		w.point(&s)
	}
	points := w.window.Points
	if len(points) > maxPoints || len(points) < maxPoints/2 {
		t.Fatalf("%d points", len(points))
	}
	step := points[1].Time.Sub(points[0].Time)
	for i := 1; i < len(points); i++ {
		if points[i].Time.Sub(points[i-1].Time) != step {
			t.Fatalf("point %d is %v after the one before, others %v", i, points[i].Time.Sub(points[i-1].Time), step)
		}
	}
	w.target = flood{newFake()}
	w.window = &Raw{}
	if err := w.read(&s); err != nil {
		t.Fatal(err)
	}
	if len(w.window.Cycles) != maxCycles || w.window.Lost != maxRecorded+1000-maxCycles || len(w.pending) != maxRecorded || w.lost != 1000 {
		t.Errorf("%d cycles, %d lost; for the recording %d, %d", len(w.window.Cycles), w.window.Lost, len(w.pending), w.lost)
	}
}
