//go:build unix

package scratch_test

import (
	"math/rand/v2"
	"runtime"
	"runtime/metrics"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/heapwright/heapwright/scratch"
)

// A pair is a key and a value of a query; both point into the request's text.
type pair struct{ key, value []byte }

// A node is part of what a request is parsed into: some pointers, some not.
type node struct {
	name  []byte
	attrs []pair
	kids  []*node
	depth int
}

// memory is how the parser comes by what it makes.
type memory struct {
	bytes func(n int) []byte
	pairs func(n int) []pair
	node  func() *node
	kids  func(n int) []*node
}

// handle parses a request into a tree, of which each value is unescaped into memory of
// its own, and builds the response from it.
func handle(m *memory, text, out []byte, depth int) []byte {
	root := parse(m, text, depth)
	return render(root, out[:0])
}

func parse(m *memory, text []byte, depth int) *node {
	n := m.node()
	n.depth = depth
	n.name = m.bytes(8)
	copy(n.name, text)
	fields := 2 + int(text[0])%6
	n.attrs = m.pairs(fields)
	for i := range n.attrs {
		part := text[i*16 : i*16+16]
		n.attrs[i].key = part[:4]
		n.attrs[i].value = unescape(m.bytes(12), part[4:])
	}
	if depth > 0 {
		n.kids = m.kids(1 + int(text[1])%4)
		for i := range n.kids {
			n.kids[i] = parse(m, text[i+1:], depth-1)
		}
	}
	return n
}

func unescape(dst, src []byte) []byte {
	for i, c := range src {
		if c == '+' {
			c = ' '
		}
		dst[i] = c
	}
	return dst
}

func render(n *node, out []byte) []byte {
	out = append(out, '{')
	out = append(out, n.name...)
	for _, a := range n.attrs {
		out = append(out, a.key...)
		out = append(out, ':')
		out = strconv.AppendQuote(out, string(a.value))
	}
	for _, k := range n.kids {
		out = render(k, out)
	}
	return append(out, '}')
}

type request struct {
	bytes scratch.Slab[byte]
	pairs scratch.Slab[pair]
	nodes scratch.Slab[node]
	kids  scratch.Slab[*node]
	m     memory
}

// byHand is what one writes without the package: slices that are kept, cut by index.
type byHand struct {
	bytes []byte
	pairs []pair
	nodes []node
	kids  []*node
	m     memory
}

func cut[T any](s *[]T, n int) []T {
	if cap(*s)-len(*s) < n {
		*s = make([]T, 0, max(2*cap(*s), n, 64))
	}
	at := len(*s)
	*s = (*s)[:at+n]
	return (*s)[at : at+n : at+n]
}

func again[T any](s *[]T) {
	clear(*s)
	*s = (*s)[:0]
}

type variant struct {
	name  string
	serve func(text, out []byte, depth int) []byte
}

func variants() []variant {
	plain := &memory{
		bytes: func(n int) []byte { return make([]byte, n) },
		pairs: func(n int) []pair { return make([]pair, n) },
		node:  func() *node { return new(node) },
		kids:  func(n int) []*node { return make([]*node, n) },
	}
	requests := scratch.NewPool(func(r *request) {
		r.bytes.Reset()
		r.pairs.Reset()
		r.nodes.Reset()
		r.kids.Reset()
	})
	hand := sync.Pool{New: func() any { return new(byHand) }}
	return []variant{
		{"make", func(text, out []byte, depth int) []byte { return handle(plain, text, out, depth) }},
		{"by-hand", func(text, out []byte, depth int) []byte {
			r := hand.Get().(*byHand)
			if r.m.node == nil {
				r.m = memory{
					bytes: func(n int) []byte { return cut(&r.bytes, n) },
					pairs: func(n int) []pair { return cut(&r.pairs, n) },
					node:  func() *node { return &cut(&r.nodes, 1)[0] },
					kids:  func(n int) []*node { return cut(&r.kids, n) },
				}
			}
			out = handle(&r.m, text, out, depth)
			again(&r.bytes)
			again(&r.pairs)
			again(&r.nodes)
			again(&r.kids)
			hand.Put(r)
			return out
		}},
		{"scratch", func(text, out []byte, depth int) []byte {
			r := requests.Get()
			if r.m.node == nil {
				r.m = memory{bytes: r.bytes.Make, pairs: r.pairs.Make, node: r.nodes.New, kids: r.kids.Make}
			}
			out = handle(&r.m, text, out, depth)
			requests.Put(r)
			return out
		}},
	}
}

func texts() [][]byte {
	rng := rand.New(rand.NewPCG(1, 2))
	all := make([][]byte, 256)
	for i := range all {
		all[i] = make([]byte, 256)
		for j := range all[i] {
			all[i][j] = byte('!' + rng.IntN(90))
		}
	}
	return all
}

type cost struct {
	cpu     time.Duration
	gcShare float64 // of the time that Ps were busy
	mallocs uint64
	bytes   uint64
}

func measure(f func()) cost {
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	cpu := processCPU()
	busy, gc := pTime()
	f()
	runtime.GC() // the last cycle's cost is known when the next one ends
	c := cost{cpu: processCPU() - cpu}
	busyThen, gcThen := pTime()
	c.gcShare = (gcThen - gc) / (busyThen - busy)
	runtime.ReadMemStats(&after)
	c.mallocs, c.bytes = after.Mallocs-before.Mallocs, after.TotalAlloc-before.TotalAlloc
	return c
}

// pTime is how long Ps were busy, and with the collector's work, as of the end of the
// last cycle.
func pTime() (busy, gc float64) {
	s := []metrics.Sample{{Name: "/cpu/classes/total:cpu-seconds"}, {Name: "/cpu/classes/idle:cpu-seconds"},
		{Name: "/cpu/classes/gc/total:cpu-seconds"}, {Name: "/cpu/classes/gc/mark/idle:cpu-seconds"}}
	metrics.Read(s)
	v := func(i int) float64 { return s[i].Value.Float64() }
	return v(0) - v(1) - v(3), v(2) - v(3)
}

func processCPU() time.Duration {
	var ru syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &ru); err != nil {
		panic(err)
	}
	return time.Duration(ru.Utime.Nano() + ru.Stime.Nano())
}

// BenchmarkRequest is the proof: requests are parsed into a tree of small slices and
// structs, and answered, on two goroutines, over a live heap of 8 MiB. An op is a round
// of all variants in an order that is drawn; ratios are of the process's CPU time, the
// collector's included, as the median over the rounds.
//
//	go test ./scratch -run '^$' -bench Request -benchtime 30x
func BenchmarkRequest(b *testing.B) {
	for _, size := range []struct {
		name     string
		depth, n int
	}{{"small", 0, 50_000}, {"medium", 2, 10_000}, {"large", 4, 2000}} {
		b.Run(size.name, func(b *testing.B) { benchmarkRequest(b, size.depth, size.n) })
	}
}

func benchmarkRequest(b *testing.B, depth, n int) {
	type live struct{ next, _ *live }
	var keep *live
	for range 8 << 20 / 16 {
		keep = &live{next: keep}
	}
	all, reqs := variants(), texts()
	serve := func(v variant) {
		var wg sync.WaitGroup
		for g := range 2 {
			wg.Add(1)
			go func() {
				defer wg.Done()
				var out []byte
				for i := range n / 2 {
					out = v.serve(reqs[(i+g*128)%len(reqs)], out, depth)
				}
			}()
		}
		wg.Wait()
	}
	for _, v := range all {
		serve(v)
	}
	costs := make([][]cost, len(all))
	for b.Loop() {
		for _, i := range rand.Perm(len(all)) {
			runtime.GC()
			costs[i] = append(costs[i], measure(func() { serve(all[i]) }))
		}
	}
	for i, v := range all {
		var ratio, us, share []float64
		for r, c := range costs[i] {
			ratio = append(ratio, float64(c.cpu)/float64(costs[0][r].cpu))
			us = append(us, float64(c.cpu.Nanoseconds())/1e3/float64(n))
			share = append(share, c.gcShare)
		}
		last := costs[i][len(costs[i])-1]
		b.ReportMetric(median(ratio), v.name+":cpu/make")
		b.ReportMetric(median(us), v.name+":cpu-µs/req")
		b.ReportMetric(median(share), v.name+":GC-share")
		b.ReportMetric(float64(last.mallocs)/float64(n), v.name+":allocs/req")
		b.ReportMetric(float64(last.bytes)/float64(n), v.name+":B/req")
	}
	runtime.KeepAlive(keep)
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}
