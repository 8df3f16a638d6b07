package recorder

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/heapwright/heapwright/record"
)

// fake is a process of which the n-th sample is what script makes of it.
type fake struct {
	n      int
	script func(n int, s *record.Sample) error
	lost   uint64
}

func (f *fake) Sample(s *record.Sample) error {
	f.n++
	s.Time = time.Now()
	s.Source = record.SourceRemote
	s.GCCycles = uint64(f.n)
	s.Has.Add(record.FieldGCCycles)
	if f.script == nil {
		return nil
	}
	return f.script(f.n, s)
}

func (f *fake) Cycles(dst []record.Cycle) ([]record.Cycle, uint64, error) {
	lost := f.lost
	f.lost = 0
	return append(dst, record.Cycle{N: uint64(f.n), End: time.Now()}), lost, nil
}

// snapper is a fake that can take snapshots too.
type snapper struct {
	fake
	err error
}

func (s *snapper) Goroutines() (*record.Goroutines, error) {
	return &record.Goroutines{Time: time.Now(), Total: 3}, s.err
}

func (s *snapper) Profile(k record.ProfileKind) (*record.Profile, error) {
	if k != record.ProfileHeap {
		return nil, nil
	}
	return &record.Profile{Time: time.Now(), Kind: k}, s.err
}

func kinds(r *record.Recording) []string {
	var out []string
	for _, e := range r.Events {
		out = append(out, string(e.Kind))
	}
	return out
}

func TestRecordRate(t *testing.T) {
	for _, tc := range []struct {
		name string
		opt  Options
		want int
	}{
		{"default", Options{For: 2 * time.Second}, 20},
		{"100 Hz", Options{For: 2 * time.Second, Hz: 100}, 200},
		{"slower than a second", Options{For: 10 * time.Second, Hz: 0.5}, 5},
		{"no more than the most", Options{For: time.Second, Hz: 1e9}, MaxHz},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var m Memory
				sum, err := Record(t.Context(), &fake{}, record.Process{PID: 7}, &m, tc.opt)
				if err != nil {
					t.Fatal(err)
				}
				// One at the start, one at the end; the last tick may fall on the end.
				if sum.Samples < tc.want || sum.Samples > tc.want+2 {
					t.Errorf("%d samples, want %d at the ticks and one at the end", sum.Samples, tc.want)
				}
				if len(m.Recording.Samples) != sum.Samples || len(m.Recording.Cycles) != sum.Cycles || m.Recording.Process.PID != 7 {
					t.Errorf("sink has %d samples and %d cycles of %d, summary says %d and %d",
						len(m.Recording.Samples), len(m.Recording.Cycles), m.Recording.Process.PID, sum.Samples, sum.Cycles)
				}
				if got := sum.End.Sub(sum.Start); got != tc.opt.For {
					t.Errorf("took %v, want %v", got, tc.opt.For)
				}
			})
		})
	}
}

func TestRecordUntilCancelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		var m Memory
		sum, err := Record(ctx, &fake{}, record.Process{}, &m, Options{})
		if err != nil || sum.Exited || sum.Samples < 30 {
			t.Errorf("got %+v, %v; want a whole recording", sum, err)
		}
	})
}

func TestSnapshots(t *testing.T) {
	for _, tc := range []struct {
		name   string
		period time.Duration
		want   int
	}{
		{"default", 0, 4}, // at 0, 10, 20 and the end
		{"often", 5 * time.Second, 7},
		{"never", -1, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var m Memory
				sum, err := Record(t.Context(), &snapper{}, record.Process{}, &m, Options{For: 25500 * time.Millisecond, Snapshots: tc.period})
				if err != nil {
					t.Fatal(err)
				}
				if sum.Snapshots != tc.want || len(m.Recording.Goroutines) != tc.want || len(m.Recording.Profiles) != tc.want {
					t.Errorf("%d snapshots, %d of goroutines, %d heap profiles; want %d", sum.Snapshots, len(m.Recording.Goroutines), len(m.Recording.Profiles), tc.want)
				}
			})
		})
	}
}

func TestFailedSnapshotIsAGap(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var m Memory
		if _, err := Record(t.Context(), &snapper{err: errors.New("no")}, record.Process{}, &m, Options{For: time.Second}); err != nil {
			t.Fatal(err)
		}
		var texts []string
		for _, e := range m.Recording.Events {
			if e.Kind == record.EventGap {
				texts = append(texts, e.Text)
			}
		}
		if !slices.Contains(texts, "goroutines: no") || !slices.Contains(texts, "heap profile: no") {
			t.Errorf("events %q", texts)
		}
		if len(m.Recording.Samples) < 10 {
			t.Errorf("%d samples", len(m.Recording.Samples))
		}
	})
}

func TestProcessEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &fake{script: func(n int, s *record.Sample) error {
			if n > 5 {
				return fmt.Errorf("reading: %w", ErrEnded)
			}
			return nil
		}}
		var m Memory
		sum, err := Record(t.Context(), src, record.Process{}, &m, Options{})
		if err != nil || !sum.Exited || sum.Samples != 5 {
			t.Errorf("got %+v, %v; want 5 samples and the exit", sum, err)
		}
		if got := kinds(&m.Recording); !slices.Equal(got, []string{"started", "exited"}) {
			t.Errorf("events %q", got)
		}
	})
}

func TestGapIsOneEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &fake{script: func(n int, s *record.Sample) error {
			if n >= 3 && n <= 6 || n == 9 {
				return errors.New("unsettled")
			}
			return nil
		}}
		var m Memory
		sum, err := Record(t.Context(), src, record.Process{}, &m, Options{For: 2 * time.Second})
		if err != nil || sum.Failed != 5 {
			t.Errorf("got %+v, %v; want 5 failures", sum, err)
		}
		if got := kinds(&m.Recording); !slices.Equal(got, []string{"started", "gap", "gap"}) {
			t.Errorf("events %q", got)
		}
	})
}

// TestClockSteps: a wall clock that is set is a gap; one that is corrected by
// less, or that goes wrong slowly, is not.
func TestClockSteps(t *testing.T) {
	for _, tc := range []struct {
		name string
		wall func(elapsed time.Duration) time.Duration
		want []string
	}{
		{"steady", func(d time.Duration) time.Duration { return d }, nil},
		{"slow", func(d time.Duration) time.Duration { return d / 2 }, nil},
		{"back", func(d time.Duration) time.Duration {
			if d > time.Second {
				d -= 3200 * time.Millisecond
			}
			return d
		}, []string{"clock stepped by -3.2s"}},
		{"suspended, then set", func(d time.Duration) time.Duration {
			switch {
			case d > 2*time.Second:
				return d + time.Hour - time.Second
			case d > time.Second:
				return d + time.Hour
			}
			return d
		}, []string{"clock stepped by +3600.0s", "clock stepped by -1.0s"}},
		{"a little", func(d time.Duration) time.Duration {
			if d > time.Second {
				d += 200 * time.Millisecond
			}
			return d
		}, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				opt := Options{For: 3 * time.Second, Snapshots: -1, clocks: func() (time.Time, time.Duration) {
					d := time.Since(start)
					return start.Round(0).Add(tc.wall(d)), d
				}}
				var m Memory
				sum, err := Record(t.Context(), &fake{}, record.Process{}, &m, opt)
				if err != nil || sum.Failed != 0 || sum.Samples < 30 {
					t.Errorf("got %+v, %v; want a whole recording", sum, err)
				}
				var got []string
				for _, e := range m.Recording.Events {
					if e.Kind == record.EventGap {
						got = append(got, e.Text)
					}
				}
				if !slices.Equal(got, tc.want) {
					t.Errorf("gaps %q, want %q", got, tc.want)
				}
			})
		})
	}
}

func TestNothingReadIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := &fake{script: func(int, *record.Sample) error { return errors.New("unsettled") }}
		if _, err := Record(t.Context(), src, record.Process{}, &Memory{}, Options{For: time.Second}); err == nil || err.Error() != "unsettled" {
			t.Errorf("error %v, want that of the readings", err)
		}
	})
}

func TestChanges(t *testing.T) {
	const max = math.MaxInt64
	for _, tc := range []struct {
		name   string
		script func(n int, s *record.Sample)
		want   []string
	}{
		{"nothing", func(n int, s *record.Sample) {}, nil},
		{"GOGC", func(n int, s *record.Sample) {
			s.Has.Add(record.FieldGOGCPercent)
			s.GOGCPercent = []int64{100, 100, -1, 50}[min(n-1, 3)]
		}, []string{"GOGC changed from 100 to off", "GOGC changed from off to 50"}},
		{"GOMEMLIMIT", func(n int, s *record.Sample) {
			s.Has.Add(record.FieldGOMEMLIMITBytes)
			s.GOMEMLIMITBytes = []int64{max, 1 << 30}[min(n-1, 1)]
		}, []string{"GOMEMLIMIT changed from off to 1073741824B"}},
		{"GOMAXPROCS", func(n int, s *record.Sample) {
			s.Has.Add(record.FieldGOMAXPROCS)
			s.GOMAXPROCS = []int64{2, 4}[min(n-1, 1)]
		}, []string{"GOMAXPROCS changed from 2 to 4"}},
		{"a field that appears is no change", func(n int, s *record.Sample) {
			if n > 1 {
				s.Has.Add(record.FieldGOGCPercent)
				s.GOGCPercent = 100
			}
		}, nil},
		{"a limit that appears is one", func(n int, s *record.Sample) {
			s.Has.Add(record.FieldCgroupUsageBytes)
			if n > 1 {
				s.Has.Add(record.FieldCgroupLimitBytes)
				s.CgroupLimitBytes = 4096
			}
		}, []string{"memory limit changed from none to 4096B"}},
		{"CPU quota", func(n int, s *record.Sample) {
			s.Has.Add(record.FieldCgroupPeriods)
			if n < 4 {
				s.Has.Add(record.FieldCgroupCPUQuota)
			} else {
				s.Has.Remove(record.FieldCgroupCPUQuota)
			}
			s.CgroupCPUQuota = []time.Duration{time.Second, time.Second / 4}[min(n/2, 1)]
		}, []string{"CPU quota changed from 1 cores to 0.25 cores", "CPU quota changed from 0.25 cores to none"}},
		{"OOM kill", func(n int, s *record.Sample) {
			s.Has.Add(record.FieldCgroupOOMKills)
			s.CgroupOOMKills = uint64(10 + n/3)
		}, []string{"1 OOM kills in the container"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			var m Memory
			src := &fake{script: func(n int, s *record.Sample) error { tc.script(n, s); return nil }}
			r := &recorder{src: src, sink: &m}
			r.opt.setDefaults()
			for range 5 {
				if _, err := r.step(); err != nil {
					t.Fatal(err)
				}
			}
			var got []string
			for _, e := range m.Recording.Events {
				got = append(got, e.Text)
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("events %q, want %q", got, tc.want)
			}
		})
	}
}

type crowded struct {
	fake
	looks int
}

func (c *crowded) Neighbours(int) []Neighbour {
	c.looks++
	return [][]Neighbour{
		{{7, "sidecar\n", 100 << 20}, {8, "sh", 1 << 20}},
		{{7, "sidecar\n", 110 << 20}},
		{{7, "sidecar\n", 140 << 20}, {9, "other", 20 << 20}},
		{},
		{{7, "sidecar\n", 16 << 20}},
	}[min(c.looks-1, 4)]
}

func TestNeighbours(t *testing.T) {
	var m Memory
	r := &recorder{src: &crowded{}, sink: &m}
	r.opt.setDefaults()
	for range 6 {
		if err := r.neighbours(); err != nil {
			t.Fatal(err)
		}
	}
	var got []string
	for _, e := range m.Recording.Events {
		if e.Kind != record.EventNeighbour {
			t.Errorf("an event %q", e.Kind)
		}
		got = append(got, e.Data["pid"]+" "+e.Data["rss_bytes"])
	}
	if want := []string{"7 104857600", "7 146800640", "9 20971520", "7 16777216"}; !slices.Equal(got, want) {
		t.Errorf("told of %q, want %q", got, want)
	}
	if text := m.Recording.Events[0].Text; text != `process 7 ("sidecar\n") of the same cgroup has 100 MiB resident` {
		t.Errorf("%q", text)
	}
}

func TestLostCycles(t *testing.T) {
	var m Memory
	r := &recorder{src: &fake{lost: 12}, sink: &m}
	r.opt.setDefaults()
	r.step()
	if got := kinds(&m.Recording); !slices.Equal(got, []string{"lost_cycles"}) || r.sum.LostCycles != 12 {
		t.Errorf("events %q, %d lost", got, r.sum.LostCycles)
	}
}

// brokenSink takes so many samples and then fails for good.
type brokenSink struct {
	Memory
	left int
}

func (b *brokenSink) Sample(s *record.Sample) error {
	if b.left--; b.left < 0 {
		return errors.New("disk full")
	}
	return nil
}

func (b *brokenSink) Flush() error {
	if b.left < 0 {
		return errors.New("disk full")
	}
	return nil
}

func TestBrokenSinkEndsTheRecording(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		sum, err := Record(t.Context(), &fake{}, record.Process{}, &brokenSink{left: 3}, Options{})
		if err == nil || err.Error() != "disk full" || sum.Samples != 3 {
			t.Errorf("got %+v, %v", sum, err)
		}
	})
}

func TestUnstorableSampleDoesNotEndTheRecording(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var file bytes.Buffer
		w := record.NewWriter(&file)
		src := &fake{script: func(n int, s *record.Sample) error {
			s.Has.Add(record.FieldLimiterFillRatio)
			s.LimiterFillRatio = 0
			if n == 2 {
				s.LimiterFillRatio = math.NaN()
			}
			return nil
		}}
		sum, err := Record(t.Context(), src, record.Process{Name: "x"}, w, Options{For: time.Second})
		if err != nil || sum.Failed != 1 || !strings.Contains(sum.LastError, "NaN") {
			t.Errorf("got %+v, %v", sum, err)
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		lives, err := record.ReadAll(&file)
		if err != nil || len(lives) != 1 || len(lives[0].Samples) != sum.Samples {
			t.Errorf("file has %d lives, error %v", len(lives), err)
		}
	})
}

func TestTee(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var a, b Memory
		if _, err := Record(t.Context(), &snapper{}, record.Process{PID: 1}, Tee{&a, &b}, Options{For: time.Second}); err != nil {
			t.Fatal(err)
		}
		if len(a.Recording.Samples) == 0 || len(a.Recording.Samples) != len(b.Recording.Samples) ||
			len(b.Recording.Profiles) != 2 || len(b.Recording.Goroutines) != 2 || len(b.Recording.Events) != 1 {
			t.Errorf("sinks differ: %d and %d samples", len(a.Recording.Samples), len(b.Recording.Samples))
		}
	})
}

func TestMemoryIsBounded(t *testing.T) {
	var m Memory
	if err := m.Process(record.Process{}); err != nil {
		t.Fatal(err)
	}
	const n = 5 * MemorySamples
	for i := range n {
		s := record.Sample{GCCycles: uint64(i)}
		if err := m.Sample(&s); err != nil {
			t.Fatal(err)
		}
		if got := m.Recording.Samples[len(m.Recording.Samples)-1].GCCycles; got != uint64(i) {
			t.Fatalf("the newest of %d samples is number %d", i+1, got)
		}
	}
	kept := m.Recording.Samples
	if len(kept) > MemorySamples+1 || m.Recording.Thinned != 8 || kept[0].GCCycles != 0 {
		t.Fatalf("%d of %d are kept, every %dth, from number %d", len(kept), n, m.Recording.Thinned, kept[0].GCCycles)
	}
	for i := range kept[:len(kept)-1] {
		if kept[i].GCCycles != uint64(8*i) {
			t.Fatalf("sample %d is number %d, want every 8th", i, kept[i].GCCycles)
		}
	}
}

func TestStepDoesNotAllocate(t *testing.T) {
	w := record.NewWriter(discard{})
	if err := w.Process(record.Process{Name: "x"}); err != nil {
		t.Fatal(err)
	}
	r := &recorder{src: &fake{}, sink: w}
	r.opt.setDefaults()
	for range 100 {
		r.step()
	}
	if n := testing.AllocsPerRun(1000, func() { r.step() }); n >= 1 {
		t.Errorf("%v allocations a step", n)
	}
}

type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
