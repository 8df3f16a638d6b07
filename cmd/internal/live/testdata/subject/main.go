// Subject is a program for tests to change from outside. It allocates as it is
// told, answers what its own runtime says of its settings, and watches that the
// settings never have a value that nobody wrote. It must build with Go 1.20, and
// uses no package that takes profiles.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"runtime/metrics"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// An answer is what the runtime says, by its public interface. A metric that the
// release does not have is absent.
type answer struct {
	GOGC   *uint64 `json:"gogc"` // as the runtime says it: off is a huge number
	Limit  int64   `json:"limit"`
	Goal   uint64  `json:"goal"`
	Cycles uint64  `json:"cycles"`
	Seen   *seen   `json:"seen"`
}

// A seen is the distinct values that readers have seen.
type seen struct {
	GOGC   map[uint64]uint64 `json:"gogc"`
	Limits map[uint64]uint64 `json:"limits"`
	Reads  uint64            `json:"reads"`
}

var (
	stop    atomic.Bool
	workers sync.WaitGroup
	watch   sync.Mutex
	saw     *seen
	hold    []any
)

// node is something with pointers, so that there is work for the collector.
type node struct {
	left, right *node
	pad         [4]uint64
}

func tree(depth int) *node {
	if depth == 0 {
		return &node{}
	}
	return &node{left: tree(depth - 1), right: tree(depth - 1)}
}

//go:noinline
func churn(n int) *node { return tree(n) }

func work() {
	defer workers.Done()
	var keep [8]*node
	for i := 0; !stop.Load(); i++ {
		keep[i%len(keep)] = churn(10)
	}
	runtime.KeepAlive(&keep)
}

const most = 1 << 10 // distinct values that are remembered

func note(m map[uint64]uint64, v uint64) {
	if _, ok := m[v]; ok || len(m) < most {
		m[v]++
	}
}

// reader reads the settings as fast as it can.
func reader(s *seen) {
	defer workers.Done()
	samples := settings()
	for !stop.Load() {
		watch.Lock()
		for i := 0; i < 100; i++ {
			metrics.Read(samples)
			for _, m := range samples {
				if m.Value.Kind() != metrics.KindUint64 {
					continue
				}
				switch m.Name {
				case "/gc/gogc:percent":
					note(s.GOGC, m.Value.Uint64())
				case "/gc/gomemlimit:bytes":
					note(s.Limits, m.Value.Uint64())
				}
			}
			if samples[1].Value.Kind() == metrics.KindBad { // before Go 1.21
				note(s.Limits, uint64(debug.SetMemoryLimit(-1)))
			}
			s.Reads++
		}
		watch.Unlock()
		runtime.Gosched()
	}
}

func settings() []metrics.Sample {
	return []metrics.Sample{{Name: "/gc/gogc:percent"}, {Name: "/gc/gomemlimit:bytes"}}
}

func read() answer {
	s := append(settings(), metrics.Sample{Name: "/gc/heap/goal:bytes"}, metrics.Sample{Name: "/gc/cycles/total:gc-cycles"})
	metrics.Read(s)
	a := answer{Limit: debug.SetMemoryLimit(-1), Goal: s[2].Value.Uint64(), Cycles: s[3].Value.Uint64()}
	if s[0].Value.Kind() == metrics.KindUint64 {
		v := s[0].Value.Uint64()
		a.GOGC = &v
	}
	watch.Lock()
	a.Seen = saw
	b, _ := json.Marshal(a) // while nobody writes to the maps
	watch.Unlock()
	json.Unmarshal(b, &a)
	return a
}

func main() {
	out := bufio.NewWriter(os.Stdout)
	in := bufio.NewScanner(os.Stdin)
	reply := func() {
		b, err := json.Marshal(read())
		if err != nil {
			panic(err)
		}
		fmt.Fprintf(out, "%s\n", b)
		out.Flush()
	}
	reply()
	for in.Scan() {
		f := strings.Fields(in.Text())
		num := func(i int) int64 { n, _ := strconv.ParseInt(f[i], 10, 64); return n }
		switch f[0] {
		case "read":
		case "gogc":
			debug.SetGCPercent(int(num(1)))
		case "limit":
			debug.SetMemoryLimit(num(1))
		case "fight": // set the limit again and again, as a tuner does
			limit := num(1)
			go func() {
				for {
					debug.SetMemoryLimit(limit)
					time.Sleep(time.Millisecond)
				}
			}()
		case "gc":
			runtime.GC()
		case "exec": // the same program anew in the same process, with another GOGC
			os.Setenv("GOGC", f[1])
			panic(syscall.Exec("/proc/self/exe", os.Args, os.Environ()))
		case "hold": // MiB of live heap
			for i := int64(0); i < num(1); i++ {
				hold = append(hold, make([]byte, 1<<20))
			}
		case "forest": // as many trees of 12 MiB, which take time to mark
			for i := int64(0); i < num(1); i++ {
				hold = append(hold, tree(17))
			}
		case "drop":
			hold = nil
		case "work": // goroutines that allocate, and one that reads
			stop.Store(false)
			saw = &seen{GOGC: map[uint64]uint64{}, Limits: map[uint64]uint64{}}
			workers.Add(int(num(1)) + 1)
			for i := int64(0); i < num(1); i++ {
				go work()
			}
			go reader(saw)
		case "rest":
			stop.Store(true)
			workers.Wait()
		}
		reply()
	}
}
