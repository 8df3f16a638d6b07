// Command subject is the program that package remote's tests look into. It
// says what its own runtime/metrics and MemStats say, so that what was read from
// outside can be held against it.
//
// Commands on standard input, one byte each:
//
//	m  read runtime/metrics into memory that exists already, answer one byte,
//	   wait for one byte (now the outside reads: nothing moves), then print them
//	p  print the pause rings and totals of runtime.MemStats
//	g  run a GC
//	x  execute itself anew
//	q  exit
//
// It builds with every release from Go 1.20 on.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"math"
	"os"
	"runtime"
	"runtime/metrics"
	"strconv"
	"syscall"
	"time"
)

var (
	load       = flag.Int("load", 0, "goroutines that allocate")
	retain     = flag.Int("retain", 8, "MiB of live heap")
	goroutines = flag.Int("goroutines", 20, "goroutines that wait")
	pprofRate  = flag.Int("memprofilerate", -1, "runtime.MemProfileRate, if not negative")
	hold       [][]byte
	sink       [64][]byte
)

func main() {
	flag.Parse()
	if *pprofRate >= 0 {
		runtime.MemProfileRate = *pprofRate
	}
	for i := 0; i < *retain*16; i++ {
		hold = append(hold, make([]byte, 64<<10))
	}
	for i := 0; i < *goroutines; i++ {
		go func() { select {} }()
	}
	for i := 0; i < *load; i++ {
		go work(i)
	}
	samples := make([]metrics.Sample, 0, 128)
	for _, d := range metrics.All() {
		samples = append(samples, metrics.Sample{Name: d.Name})
	}
	metrics.Read(samples) // histograms are allocated now
	runtime.GC()
	metrics.Read(samples)

	in, one := os.Stdin, make([]byte, 1)
	fmt.Println("ready")
	for {
		if n, err := in.Read(one); n == 0 || err != nil {
			return
		}
		switch one[0] {
		case 'm':
			metrics.Read(samples)
			one[0] = '.'
			os.Stdout.Write(one)
			in.Read(one)
			print(samples)
		case 'p':
			var ms runtime.MemStats
			runtime.ReadMemStats(&ms)
			json.NewEncoder(os.Stdout).Encode(map[string]any{
				"numgc": ms.NumGC, "forced": ms.NumForcedGC, "pause_total": ms.PauseTotalNs,
				"pause_ns": ms.PauseNs, "pause_end": ms.PauseEnd, "next_gc": ms.NextGC, "last_gc": ms.LastGC,
				"mallocs": ms.Mallocs, "frees": ms.Frees,
			})
		case 'g':
			runtime.GC()
			fmt.Println("done")
		case 'x':
			panic(syscall.Exec("/proc/self/exe", os.Args, os.Environ()))
		case 'q':
			return
		}
	}
}

func work(i int) {
	for n := 0; ; n++ {
		sink[i%len(sink)] = make([]byte, 16<<(n%12))
		if n%1000 == 0 {
			time.Sleep(time.Millisecond)
		}
	}
}

// print writes the metrics as one JSON object. A histogram is its counts, with
// the buckets' bounds as strings, for JSON has no infinity.
func print(samples []metrics.Sample) {
	// Since Go 1.26 /sched/goroutines counts the runtime's own as well.
	out := map[string]any{"runtime.NumGoroutine": runtime.NumGoroutine()}
	for _, s := range samples {
		switch s.Value.Kind() {
		case metrics.KindUint64:
			out[s.Name] = s.Value.Uint64()
		case metrics.KindFloat64:
			if f := s.Value.Float64(); !math.IsNaN(f) && !math.IsInf(f, 0) {
				out[s.Name] = f
			}
		case metrics.KindFloat64Histogram:
			h := s.Value.Float64Histogram()
			bounds := make([]string, len(h.Buckets))
			for i, b := range h.Buckets {
				bounds[i] = strconv.FormatFloat(b, 'g', -1, 64)
			}
			out[s.Name] = map[string]any{"counts": h.Counts, "bounds": bounds}
		}
	}
	json.NewEncoder(os.Stdout).Encode(out)
}
