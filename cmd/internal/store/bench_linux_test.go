package store

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/series"
)

// history stores a time of processes, compacting as the clock goes, and returns the
// store with all of it in blocks but the last hours.
func history(tb testing.TB, opt Options, processes int, d, jitter time.Duration) (*DB, int) {
	var now clock
	now.set(day)
	opt.Now = now.now
	db := open(tb, opt)
	var fs []*feeder
	for i := range processes {
		fs = append(fs, newFeeder(db, fmt.Sprintf("service-%d", i), uint64(i)))
	}
	r := rand.New(rand.NewPCG(9, 9))
	for at := time.Second; at <= d; at += time.Second {
		now.set(day.Add(at))
		b := db.Begin()
		for _, f := range fs {
			t := now.now()
			if jitter > 0 {
				t = t.Add(time.Duration(r.Int64N(int64(jitter))))
			}
			f.second(b, t)
		}
		if _, err := b.Commit(); err != nil {
			tb.Fatal(err)
		}
		if at%(10*time.Minute) == 0 {
			if err := db.compact(context.Background()); err != nil {
				tb.Fatal(err)
			}
		}
	}
	n := 0
	for _, f := range fs {
		n += f.n
	}
	return db, n
}

// BenchmarkBytesPerSample stores a day of a modelled service and says what a sample of
// it takes on disk, index included.
func BenchmarkBytesPerSample(b *testing.B) {
	for _, jitter := range []time.Duration{0, 4 * time.Millisecond} {
		b.Run(fmt.Sprintf("jitter=%v", jitter), func(b *testing.B) {
			for b.Loop() {
				db, n := history(b, Options{}, 1, 24*time.Hour, jitter)
				var samples uint64
				for _, m := range db.tsdb.BlockMetas() {
					samples += m.Stats.NumSamples
				}
				s := db.Stats()
				b.ReportMetric(float64(s.Bytes.Blocks)/float64(samples), "B/sample")
				b.ReportMetric(float64(n)/86400, "samples/s/process")
				b.ReportMetric(float64(s.Series), "series")
				b.ReportMetric(float64(s.Bytes.WAL+s.Bytes.Head), "log-and-head-B")
				db.Close()
			}
		})
	}
}

// BenchmarkWeek stores some hours of ten services, of the load that the agent has, and
// says what a week of a hundred takes on disk, and what their head takes in memory.
func BenchmarkWeek(b *testing.B) {
	for b.Loop() {
		const processes, hours = 10, 7
		before := heap()
		db, n := history(b, Options{}, processes, hours*time.Hour, 4*time.Millisecond)
		after := heap()
		s := db.Stats()
		var samples uint64
		for _, m := range db.tsdb.BlockMetas() {
			samples += m.Stats.NumSamples
		}
		perSample := float64(s.Bytes.Blocks) / float64(samples)
		week := float64(n) / hours / processes * 24 * 7 * 100
		b.ReportMetric(perSample, "B/sample")
		b.ReportMetric(week/1e9, "Gsamples/week/100")
		b.ReportMetric(week*perSample/(1<<30), "GiB/week/100")
		b.ReportMetric(float64(s.Bytes.WAL+s.Bytes.Head)*100/processes/(1<<20), "log-and-head-MiB/100")
		b.ReportMetric(float64(s.Series)/processes, "series/process")
		b.ReportMetric(float64(after-before)/float64(s.Series)*75*100/(1<<20), "heap-MiB/100")
		db.Close()
	}
}

// heap is what is alive on the heap, in bytes.
func heap() uint64 {
	runtime.GC()
	runtime.GC() // what pools hold goes with the second
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// cpuTime is what the kernel charged this process: on a machine that does other things as
// well it says more than the time that went by.
func cpuTime() time.Duration {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

// BenchmarkOpen is what an open store takes in memory without a series.
func BenchmarkOpen(b *testing.B) {
	for b.Loop() {
		before := heap()
		db := open(b, Options{})
		b.ReportMetric(float64(heap()-before)/(1<<20), "heap-MiB")
		db.Close()
	}
}

// BenchmarkAppend stores one second of 100 services at a time.
func BenchmarkAppend(b *testing.B) {
	db := open(b, Options{})
	const n = 900
	var all []*Series
	for i := range n {
		all = append(all, db.Series("heapwright_heap_live_bytes", series.Label{Name: "process", Value: fmt.Sprint(i)}))
	}
	t := day
	v := 0.0
	b.ReportAllocs()
	before := cpuTime()
	for b.Loop() {
		t = t.Add(time.Second)
		batch := db.Begin()
		for _, s := range all {
			v += 4096
			batch.Append(s, t, v)
		}
		if _, err := batch.Commit(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64((cpuTime()-before).Nanoseconds())/float64(b.N*n), "cpu-ns/sample")
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/sample")
}

// BenchmarkQuery24h20Series asks for a day of 20 series that have a sample each second,
// for a chart of 800 points, and for all of one.
func BenchmarkQuery24h20Series(b *testing.B) {
	now := day
	db := open(b, Options{})
	var all []*Series
	for i := range 20 {
		all = append(all, db.Series("heapwright_heap_live_bytes", series.Label{Name: "process", Value: fmt.Sprint(i)}))
	}
	r := rand.New(rand.NewPCG(1, 1))
	live := make([]float64, 20)
	for at := time.Second; at <= 24*time.Hour; at += time.Second {
		now = day.Add(at)
		batch := db.Begin()
		for i, s := range all {
			if live[i] += float64(r.IntN(20 << 20)); live[i] > 200<<20 {
				live[i] = float64(90<<20 + r.IntN(10<<20))
			}
			batch.Append(s, now, live[i])
		}
		if _, err := batch.Commit(); err != nil {
			b.Fatal(err)
		}
		if at%(10*time.Minute) == 0 {
			if err := db.compact(context.Background()); err != nil {
				b.Fatal(err)
			}
		}
	}
	rd, ctx, step := db.Reader(), context.Background(), 24*time.Hour/800
	for _, expr := range []string{"heapwright_heap_live_bytes", "max_over_time(heapwright_heap_live_bytes[108s])", "rate(heapwright_heap_live_bytes[108s])"} {
		b.Run(expr, func(b *testing.B) {
			b.ReportAllocs()
			before := cpuTime()
			for b.Loop() {
				m, _, err := rd.QueryRange(ctx, expr, day.Add(time.Minute), now, step)
				if err != nil || len(m) != 20 || len(m[0].Floats) < 790 {
					b.Fatal(len(m), err)
				}
			}
			b.ReportMetric(float64((cpuTime()-before).Milliseconds())/float64(b.N), "cpu-ms/query")
			b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N), "ms/query")
		})
	}
	b.Run("raw, one series", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			m, err := rd.Raw(ctx, `heapwright_heap_live_bytes{process="7"}`, day, now, 0)
			if err != nil || len(m) != 1 || len(m[0].Floats) != 86400 {
				b.Fatal(len(m), err)
			}
		}
		b.ReportMetric(float64(b.Elapsed().Milliseconds())/float64(b.N), "ms/query")
	})
}
