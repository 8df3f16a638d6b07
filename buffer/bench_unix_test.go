//go:build unix

package buffer_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"runtime/metrics"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/heapwright/heapwright/buffer"
)

// A lender is a way to come by buffers. Serve has one for the body of a request,
// whose size is known, and one for the response, whose size is not.
type lender struct {
	name  string
	serve func(x *exchange)
}

// An exchange is a request, and where its response goes.
type exchange struct {
	body  io.Reader
	size  int // of body, in bytes
	rows  int
	parse bool
	out   io.Writer
	text  []byte // what body reads, for each goroutine
	into  payload
	work  *item
}

// An item is what the service itself allocates: no pool of buffers spares it that.
type item struct {
	next *item
	_    [7]*item
}

type payload struct {
	ID    int    `json:"id"`
	Query string `json:"query"`
}

// build appends a response of some rows.
func (x *exchange) build(b []byte) []byte {
	b = append(b, `{"items":[`...)
	for i := range x.rows {
		b = x.row(b, i)
	}
	return append(b, `]}`...)
}

func (x *exchange) row(b []byte, i int) []byte {
	b = append(b, `{"id":`...)
	b = strconv.AppendInt(b, int64(i), 10)
	b = append(b, `,"name":"an item of the answer","price":`...)
	b = strconv.AppendFloat(b, float64(i)*1.25, 'f', 2, 64)
	return append(b, `},`...)
}

func (x *exchange) read(b []byte) {
	x.work = nil
	for range 16 {
		x.work = &item{next: x.work}
	}
	if _, err := io.ReadFull(x.body, b); err != nil {
		panic(err)
	}
	if x.parse {
		if err := json.Unmarshal(b, &x.into); err != nil {
			panic(err)
		}
	}
}

func plainMake(x *exchange) {
	in := make([]byte, x.size)
	x.read(in)
	_, _ = x.out.Write(x.build(make([]byte, 0, 512)))
}

// oneSyncPool is what most services have: one pool, whatever the size.
func oneSyncPool() func(x *exchange) {
	pool := sync.Pool{New: func() any { b := make([]byte, 0, 512); return &b }}
	return func(x *exchange) {
		in := pool.Get().(*[]byte)
		*in = slices.Grow((*in)[:0], x.size)
		x.read((*in)[:x.size])
		out := pool.Get().(*[]byte)
		*out = x.build((*out)[:0])
		_, _ = x.out.Write(*out)
		pool.Put(out)
		pool.Put(in)
	}
}

// classPools is the careful way without a bound: a sync.Pool for each power of two, and
// nothing above a megabyte.
type classPools [mostLog + 1]sync.Pool

const leastLog, mostLog = 9, 20

func (c *classPools) get(n int) *[]byte {
	log := leastLog
	for 1<<log < n {
		log++
	}
	if log > mostLog {
		b := make([]byte, 0, n)
		return &b
	}
	if b, ok := c[log].Get().(*[]byte); ok {
		return b
	}
	b := make([]byte, 0, 1<<log)
	return &b
}

func (c *classPools) put(b *[]byte) {
	log := leastLog
	for 1<<(log+1) <= cap(*b) {
		log++
	}
	if log <= mostLog {
		*b = (*b)[:0]
		c[log].Put(b)
	}
}

func classSyncPools() func(x *exchange) {
	var pools classPools
	return func(x *exchange) {
		in := pools.get(x.size)
		x.read((*in)[:x.size])
		out := pools.get(512)
		*out = x.build((*out)[:0])
		_, _ = x.out.Write(*out)
		pools.put(out)
		pools.put(in)
	}
}

func leased(o buffer.Options) func(x *exchange) {
	pool := buffer.NewPool(o)
	return func(x *exchange) {
		in := pool.Get(x.size)
		defer in.Release()
		x.read(in.Bytes())
		out := pool.Get(0)
		defer out.Release()
		// What is appended beyond the buffer moves to a greater one.
		b := append(out.Bytes(), `{"items":[`...)
		for i := range x.rows {
			if cap(b)-len(b) < 128 {
				out.Resize(len(b))
				out.Resize(len(b) + 128)
				b = out.Bytes()[:len(b)]
			}
			b = x.row(b, i)
		}
		_, _ = x.out.Write(append(b, `]}`...))
	}
}

func lenders() []lender {
	return []lender{
		{"make", plainMake},
		{"sync.Pool", oneSyncPool()},
		{"sync.Pool-by-class", classSyncPools()},
		{"buffer.Pool", leased(buffer.Options{})},
	}
}

// A mix is how large requests and responses are: log-normal, with a long tail.
type mix struct {
	name   string
	body   float64 // median bytes
	rows   float64 // median rows of about 60 bytes
	spread float64
	parse  bool
	http   bool
}

var mixes = []mix{
	{"json-small", 400, 10, 0.7, true, false},
	{"json", 2000, 60, 1.4, true, false},
	{"proxy", 16 << 10, 2, 1.4, false, false},
	{"http-json", 2000, 60, 1.4, true, true},
	{"http-proxy", 16 << 10, 2, 1.4, false, true},
}

// requests makes bodies and sizes, the same for every lender.
func (m mix) requests() []exchange {
	rng := rand.New(rand.NewPCG(1, 2))
	draw := func(median float64) int {
		return int(min(median*math.Exp(rng.NormFloat64()*m.spread), 2<<20))
	}
	all := make([]exchange, 512)
	for i := range all {
		body := fmt.Appendf(nil, `{"id":%d,"query":"`, i)
		body = append(body, bytes.Repeat([]byte("q"), draw(m.body))...)
		body = append(body, `"}`...)
		all[i] = exchange{rows: draw(m.rows), parse: m.parse, out: io.Discard}
		all[i].text, all[i].size = body, len(body)
	}
	return all
}

// overHTTP has a real server between the clients and a lender: net/http over loopback,
// with clients that take no part in what is measured but for their CPU time.
func overHTTP(b *testing.B, l lender, parse bool) lender {
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		rows, err := strconv.Atoi(r.URL.RawQuery)
		if err != nil {
			panic(err)
		}
		l.serve(&exchange{body: r.Body, size: int(r.ContentLength), rows: rows, parse: parse, out: lengthFirst{w}})
	}))
	b.Cleanup(srv.Close)
	conns := make(chan *bufio.ReadWriter, 2)
	for range cap(conns) {
		c, err := net.Dial("tcp", srv.Listener.Addr().String())
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { c.Close() })
		conns <- bufio.NewReadWriter(bufio.NewReaderSize(c, 64<<10), bufio.NewWriterSize(c, 64<<10))
	}
	return lender{l.name, func(x *exchange) {
		c := <-conns
		defer func() { conns <- c }()
		fmt.Fprintf(c, "POST /?%d HTTP/1.1\r\nHost: bench\r\nContent-Length: %d\r\n\r\n", x.rows, x.size)
		_, _ = io.Copy(c, x.body)
		if err := c.Flush(); err != nil {
			panic(err)
		}
		length := 0
		for {
			line, err := c.ReadSlice('\n')
			if err != nil {
				panic(err)
			}
			if len(line) == 2 {
				break
			}
			if n, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
				length, _ = strconv.Atoi(string(bytes.TrimSpace(n)))
			}
		}
		if _, err := c.Discard(length); err != nil {
			panic(err)
		}
	}}
}

// lengthFirst says how long the response is.
type lengthFirst struct{ http.ResponseWriter }

func (w lengthFirst) Write(b []byte) (int, error) {
	w.Header().Set("Content-Length", strconv.Itoa(len(b)))
	return w.ResponseWriter.Write(b)
}

// liveHeap is what the collector has to mark, as in a service that caches.
func liveHeap(megabytes int) any {
	type node struct {
		next *node
		_    [13]*int
	}
	var list *node
	for range megabytes << 20 / 112 {
		list = &node{next: list}
	}
	return list
}

// serve has two goroutines serve n requests.
func serve(l lender, reqs []exchange, n int) {
	var wg sync.WaitGroup
	for g := range 2 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			var text bytes.Reader
			for i := range n / 2 {
				x := reqs[(g*len(reqs)/2+i)%len(reqs)]
				text.Reset(x.text)
				x.body = &text
				l.serve(&x)
			}
		}()
	}
	wg.Wait()
}

// cost is what serving n requests took.
type cost struct {
	cpu        time.Duration
	gcShare    float64 // of the time that Ps were busy
	gcs        uint32
	mallocs    uint64
	allocBytes uint64
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
	c.gcs = after.NumGC - before.NumGC
	c.mallocs = after.Mallocs - before.Mallocs
	c.allocBytes = after.TotalAlloc - before.TotalAlloc
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

// BenchmarkServe is the proof: the same requests by every way to come by buffers, in
// turns, so that what else the machine does meets all alike. An op is a round, a block
// of requests for each lender in an order that is drawn. Reported is, for each lender,
// the CPU time of the process a request, with the collector's, as the median over the
// rounds of its ratio to that of make; and allocations and heap a request.
//
//	go test ./buffer -run '^$' -bench Serve -benchtime 30x
func BenchmarkServe(b *testing.B) {
	for _, m := range mixes {
		b.Run(m.name, func(b *testing.B) {
			keep := liveHeap(8)
			reqs := m.requests()
			all := lenders()
			for i := range all {
				if m.http {
					all[i] = overHTTP(b, all[i], m.parse)
				}
			}
			n := requestsFor(all[0], reqs, 150*time.Millisecond)
			costs := make([][]cost, len(all))
			for _, l := range all {
				serve(l, reqs, n) // warm
			}
			rounds := 0
			for b.Loop() {
				rounds++
				for _, i := range rand.Perm(len(all)) {
					runtime.GC()
					costs[i] = append(costs[i], measure(func() { serve(all[i], reqs, n) }))
				}
			}
			base := costs[0]
			for i, l := range all {
				var ratio, us, share []float64
				for r, c := range costs[i] {
					ratio = append(ratio, float64(c.cpu)/float64(base[r].cpu))
					us = append(us, float64(c.cpu.Nanoseconds())/1e3/float64(n))
					share = append(share, c.gcShare)
				}
				last := costs[i][rounds-1]
				b.ReportMetric(median(ratio), l.name+":cpu/make")
				b.ReportMetric(median(us), l.name+":cpu-µs/req")
				b.ReportMetric(median(share), l.name+":GC-share")
				b.ReportMetric(float64(last.gcs)*1e3/float64(n), l.name+":GC/1000req")
				b.ReportMetric(float64(last.mallocs)/float64(n), l.name+":allocs/req")
				b.ReportMetric(float64(last.allocBytes)/float64(n), l.name+":B/req")
			}
			runtime.KeepAlive(keep)
		})
	}
}

// requestsFor is how many requests take about so long.
func requestsFor(l lender, reqs []exchange, d time.Duration) int {
	for n := 512; ; n *= 2 {
		start := time.Now()
		serve(l, reqs, n)
		if took := time.Since(start); took > d/4 {
			return int(float64(n)*float64(d)/float64(took))/2*2 + 2
		}
	}
}

func median(v []float64) float64 {
	slices.Sort(v)
	return v[len(v)/2]
}

// A holder has clients hold buffers: of n bytes for the i-th one, instead of what it held
// before; of a negative n none.
type holder struct {
	name string
	make func(clients int) (hold func(i, n int))
}

var holders = []holder{
	{"make", func(clients int) func(i, n int) {
		held := make([][]byte, clients)
		return func(i, n int) {
			if held[i] = nil; n >= 0 {
				held[i] = make([]byte, n)
			}
		}
	}},
	{"sync.Pool", func(clients int) func(i, n int) {
		pool := sync.Pool{New: func() any { b := make([]byte, 0, 512); return &b }}
		held := make([]*[]byte, clients)
		return func(i, n int) {
			if held[i] != nil {
				pool.Put(held[i])
			}
			if held[i] = nil; n >= 0 {
				held[i] = pool.Get().(*[]byte)
				*held[i] = slices.Grow((*held[i])[:0], n)
			}
		}
	}},
	{"sync.Pool-by-class", func(clients int) func(i, n int) {
		var pools classPools
		held := make([]*[]byte, clients)
		return func(i, n int) {
			if held[i] != nil {
				pools.put(held[i])
			}
			if held[i] = nil; n >= 0 {
				held[i] = pools.get(n)
			}
		}
	}},
	{"buffer.Pool", func(clients int) func(i, n int) {
		pool := buffer.NewPool(buffer.Options{})
		held := make([]buffer.Lease, clients)
		return func(i, n int) {
			held[i].Release()
			if held[i] = (buffer.Lease{}); n >= 0 {
				held[i] = pool.Get(n)
			}
		}
	}},
}

// BenchmarkHeld is about memory: 256 buffers of the sizes of a mix are held at any
// time, by clients that take long, and one after the other is exchanged for one of
// another size. Reported is how many bytes are in the heap for a byte that was asked
// for, right after a collection: 1 would be perfect.
//
//	go test ./buffer -run '^$' -bench Held -benchtime 1x
func BenchmarkHeld(b *testing.B) {
	const clients = 256
	for _, h := range holders {
		for _, spread := range []float64{0.7, 1.4, 2} {
			b.Run(fmt.Sprintf("%s/spread=%g", h.name, spread), func(b *testing.B) {
				var per []float64
				for b.Loop() {
					before := settled()
					rng := rand.New(rand.NewPCG(3, 4))
					hold := h.make(clients)
					var asked [clients]int
					for step := range 20 * clients {
						i := rng.IntN(clients)
						asked[i] = int(min(8192*math.Exp(rng.NormFloat64()*spread), 4<<20))
						hold(i, asked[i])
						if step%clients == 0 {
							runtime.GC()
						}
					}
					sum := 0
					for _, n := range asked {
						sum += n
					}
					per = append(per, float64(heapAlloc()-before)/float64(sum))
					for i := range clients {
						hold(i, -1)
					}
				}
				b.ReportMetric(median(per), "B/B-asked")
			})
		}
	}
}

// BenchmarkBurst is about what stays: 256 buffers of 1 MiB are held at once, and all
// given back. Reported is what the heap has of it right after the next collections.
//
//	go test ./buffer -run '^$' -bench Burst -benchtime 1x
func BenchmarkBurst(b *testing.B) {
	for _, h := range holders {
		b.Run(h.name, func(b *testing.B) {
			var left [3][]float64
			for b.Loop() {
				before := settled()
				hold := h.make(256)
				for i := range 256 {
					hold(i, 1<<20)
				}
				for i := range 256 {
					hold(i, -1)
				}
				for gc := range left {
					left[gc] = append(left[gc], float64(heapAlloc()-before)/(1<<20))
				}
				hold(0, 1)
			}
			for gc, v := range left {
				b.ReportMetric(median(v), fmt.Sprintf("MiB-after-%d-GC", gc+1))
			}
		})
	}
}

// settled is the heap once sync.Pools have given up what they had.
func settled() uint64 {
	heapAlloc()
	heapAlloc()
	return heapAlloc()
}

func heapAlloc() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
