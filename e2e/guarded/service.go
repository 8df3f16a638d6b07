package main

import (
	"context"
	"fmt"
	"net/http"
	"runtime"
	"strconv"
	"sync/atomic"
	"time"
)

// A node is an object of 128 bytes that points to another.
type node struct {
	next *node
	sum  [15]uint64
}

const nodeBytes = 128

// chain allocates so many bytes of nodes, each of which points to the one before.
func chain(bytes int) (head *node) {
	for i := range bytes / nodeBytes {
		n := &node{next: head}
		n.sum[0] = uint64(i)
		head = n
	}
	return head
}

// walk reads all of a chain.
func walk(n *node) (sum uint64) {
	for ; n != nil; n = n.next {
		sum += n.sum[0]
	}
	return sum
}

type service struct {
	kept         []*node // the base
	set, garbage int     // bytes of a request
	spin         time.Duration
	dependency   atomic.Int64 // nanoseconds
	sink         atomic.Pointer[node]
}

func newService(base, set, garbage int, spin, dependency time.Duration) *service {
	const chunk = 64 << 10
	s := &service{set: set, garbage: garbage, spin: spin}
	for range base / chunk {
		s.kept = append(s.kept, chain(chunk))
	}
	s.dependency.Store(int64(dependency))
	return s
}

// work is a request: it builds a working set, computes, asks the dependency and
// answers from the set. The query's size is a factor to how large both are.
func (s *service) work(w http.ResponseWriter, r *http.Request) {
	size := 1.0
	if text := r.URL.Query().Get("size"); text != "" {
		v, err := strconv.ParseFloat(text, 64)
		if err != nil || !(v > 0 && v <= 8) {
			http.Error(w, "size is a number to 8", http.StatusBadRequest)
			return
		}
		size = v
	}
	set := chain(int(size * float64(s.set)))
	for left := int(size * float64(s.garbage)); left > 0; left -= 4 << 10 {
		s.sink.Store(chain(4 << 10))
	}
	sum := walk(set) + spin(s.spin)
	if err := s.ask(r.Context()); err != nil {
		// Nobody waits for the answer any more.
		return
	}
	fmt.Fprintln(w, sum+walk(set))
	runtime.KeepAlive(set)
}

// ask is the dependency, which takes a time and no CPU.
func (s *service) ask(ctx context.Context) error {
	t := time.NewTimer(time.Duration(s.dependency.Load()))
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// spinStep is how often one round of spin multiplies; spinRounds how many rounds a
// machine that is left alone does in a millisecond. It is a number and not measured
// at the start, so that a request costs the same work on a busy machine.
const (
	spinStep   = 1000
	spinRounds = 1000
)

// spin computes for about so long on a core of its own.
func spin(d time.Duration) uint64 {
	x := uint64(d) | 1
	for range int(d.Seconds() * 1000 * spinRounds) {
		for range spinStep {
			x = x*6364136223846793005 + 1442695040888963407
		}
	}
	return x & 1
}

func (s *service) setDependency(w http.ResponseWriter, r *http.Request) {
	d, err := time.ParseDuration(r.URL.Query().Get("latency"))
	if err != nil || d < 0 {
		http.Error(w, "latency is a duration", http.StatusBadRequest)
		return
	}
	s.dependency.Store(int64(d))
}

// storm starts a job that builds up what it keeps within the first second, allocates
// garbage at a steady rate, and ends by itself.
func (s *service) storm(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	live, err1 := strconv.Atoi(q.Get("live"))
	rate, err2 := strconv.Atoi(q.Get("rate"))
	d, err3 := time.ParseDuration(q.Get("for"))
	if err1 != nil || err2 != nil || err3 != nil || live < 0 || rate < 0 || d < 0 {
		http.Error(w, "live and rate are MiB, for is a duration", http.StatusBadRequest)
		return
	}
	go func() {
		const tick = 20 * time.Millisecond
		const ramp = time.Second
		var kept []*node
		begin := time.Now()
		t := time.NewTicker(tick)
		defer t.Stop()
		for n := 1; time.Since(begin) < d; n++ {
			if n <= int(ramp/tick) {
				kept = append(kept, chain(live<<20/int(ramp/tick)))
			}
			for left := rate << 20 / int(time.Second/tick); left > 0; left -= 4 << 10 {
				s.sink.Store(chain(4 << 10))
			}
			<-t.C
		}
		runtime.KeepAlive(kept)
	}()
}
