package run

import (
	"math"
	"testing"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
	"github.com/heapwright/heapwright/cmd/internal/experiment/load"
	"github.com/heapwright/heapwright/record"
)

func histogram(micros ...int64) *hdrhistogram.Histogram {
	h := hdrhistogram.New(1, 60e6, 2)
	for _, m := range micros {
		_ = h.RecordValue(m)
	}
	return h
}

func TestWindow(t *testing.T) {
	start := time.Unix(1000, 0)
	at := func(s float64) time.Time { return start.Add(time.Duration(s * float64(time.Second))) }
	near := func(t *testing.T, name string, got, want float64) {
		t.Helper()
		if math.Abs(got-want) > 0.02*want {
			t.Errorf("%s is %v, not %v", name, got, want)
		}
	}
	var w window
	read := func(s float64) map[chaos.Metric]float64 {
		v := map[chaos.Metric]float64{}
		w.values(at(s), v)
		return v
	}
	if v := read(0); len(v) != 0 {
		t.Errorf("of nothing it says %v", v)
	}
	for i := range 30 {
		w.add(load.Tick{At: at(float64(i) / 10), Answered: 9, Errors: 1, Latency: histogram(10_000, 10_000, 10_000), Pending: histogram()})
	}
	v := read(2.95)
	near(t, "throughput", v[chaos.Throughput], 90)
	near(t, "errors", v[chaos.ErrorRatio], 0.1)
	near(t, "p50", v[chaos.LatencyP50], 0.010)
	near(t, "p99", v[chaos.LatencyP99], 0.010)

	// A target that answers nothing has neither answers nor errors, and its latency is
	// the age of what waits.
	for i := range 20 {
		w.add(load.Tick{At: at(3 + float64(i)/10), Latency: histogram(), Pending: histogram(int64(100_000*(i+1)), int64(50_000*(i+1)))})
	}
	v = read(4.95)
	if _, ok := v[chaos.ErrorRatio]; ok || v[chaos.Throughput] != 0 {
		t.Errorf("a silent target has %v", v)
	}
	near(t, "p50 of what waits", v[chaos.LatencyP50], 2)
	near(t, "p99 of what waits", v[chaos.LatencyP99], 2)

	// What was said long ago is not known now.
	if v := read(6.5); len(v) != 0 {
		t.Errorf("of a load that says nothing it says %v", v)
	}
	if len(w.ticks) > 50 {
		t.Errorf("%d ticks are kept", len(w.ticks))
	}
}

func TestCut(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(int64(1000+s), 0) }
	var rec record.Recording
	for i := range 100 {
		rec.Samples = append(rec.Samples, record.Sample{Time: at(i)})
		rec.Cycles = append(rec.Cycles, record.Cycle{End: at(i)})
		rec.Events = append(rec.Events, record.Event{Time: at(i)})
		if i%10 == 5 {
			rec.Goroutines = append(rec.Goroutines, record.Goroutines{Time: at(i)})
			rec.Profiles = append(rec.Profiles, record.Profile{Time: at(i), Kind: record.ProfileHeap}, record.Profile{Time: at(i), Kind: record.ProfileMutex})
		}
	}
	c := cut(&rec, at(30), at(50))
	if len(c.Samples) != 21 || len(c.Cycles) != 21 || len(c.Events) != 21 {
		t.Errorf("%d samples, %d cycles, %d events", len(c.Samples), len(c.Cycles), len(c.Events))
	}
	// Those of 25 are what was known when it began.
	if len(c.Goroutines) != 3 || !c.Goroutines[0].Time.Equal(at(25)) || len(c.Profiles) != 6 || !c.Profiles[0].Time.Equal(at(25)) {
		t.Errorf("%d goroutine snapshots, %d profiles", len(c.Goroutines), len(c.Profiles))
	}
}

func FuzzQuantile(f *testing.F) {
	f.Add(int64(1), int64(2), int64(3), 0.5)
	f.Fuzz(func(t *testing.T, a, b, c int64, q float64) {
		if !(q >= 0 && q <= 1) {
			return
		}
		var of []count
		var most, n int64
		for _, v := range []int64{a, b, c} {
			if v > 0 && v < 1<<40 {
				of = append(of, count{v, v%7 + 1})
				most, n = max(most, v), n+1
			}
		}
		v, ok := quantile(of, q)
		if ok != (n > 0) || v < 0 || v > float64(most)/1e6 {
			t.Errorf("%v, %v of %v", v, ok, of)
		}
	})
}
