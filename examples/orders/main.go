// Orders is a small HTTP service that starts at once and allocates in each request,
// as services do: a subject for `heapwright compare`. It keeps orders, and answers
// GET /orders/{id} with the first few of a page of them as JSON.
//
// Two variables of its environment make it worse by a known amount, so that an
// experiment can be held against the truth:
//
//	BURN_RATIO=0.1    it takes a tenth more CPU than it would
//	ALLOC_FACTOR=2    it allocates twice as much in a request
//
// Try it:
//
//	go run ./examples/orders -listen 127.0.0.1:8080
//	heapwright compare examples/experiments/orders.yaml
package main

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"os/signal"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
)

// An order is what is kept, and sent.
type order struct {
	ID       uint64            `json:"id"`
	Customer string            `json:"customer"`
	Lines    []line            `json:"lines"`
	Labels   map[string]string `json:"labels"`
}

type line struct {
	Article  string  `json:"article"`
	Quantity int     `json:"quantity"`
	Price    float64 `json:"price"`
}

const (
	kept   = 4096 // orders that are kept, some 4 MiB
	page   = 64   // orders that a request goes through
	answer = 4    // of which it sends so many
)

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "orders:", err)
		os.Exit(1)
	}
}

func run() error {
	listen := flag.String("listen", "127.0.0.1:8080", "address to serve on")
	flag.Parse()
	burn, err := fromEnv("BURN_RATIO", 0, 10)
	if err != nil {
		return err
	}
	factor, err := fromEnv("ALLOC_FACTOR", 1, 100)
	if err != nil {
		return err
	}
	s := &service{page: int(factor * page), burnRatio: burn}
	for i := range s.orders {
		s.orders[i].Store(newOrder(uint64(i)))
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /orders/{id}", s.get)
	mux.HandleFunc("GET /ready", func(http.ResponseWriter, *http.Request) {})
	server := &http.Server{Addr: *listen, Handler: mux}

	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ended := make(chan error, 1)
	go func() { ended <- server.ListenAndServe() }()
	select {
	case err := <-ended:
		return err
	case <-ctx.Done():
	}
	// What is under way may end, for a second.
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := server.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return server.Close()
}

// fromEnv is a number of the environment from least to most, least when it is not
// set.
func fromEnv(name string, least, most float64) (float64, error) {
	text := os.Getenv(name)
	if text == "" {
		return least, nil
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || !(v >= least && v <= most) {
		return 0, fmt.Errorf("%s=%q: want a number from %g to %g", name, text, least, most)
	}
	return v, nil
}

type service struct {
	orders    [kept]atomic.Pointer[order]
	page      int
	burnRatio float64
	burned    atomic.Int64 // CPU, ns
}

// get makes a page of orders, as if it decoded them, keeps one and sends a few.
func (s *service) get(w http.ResponseWriter, r *http.Request) {
	id, err := strconv.ParseUint(r.PathValue("id"), 10, 64)
	if err != nil {
		http.Error(w, "the ID of an order is a number", http.StatusBadRequest)
		return
	}
	var found []*order
	for i := range uint64(s.page) {
		o := newOrder(id + i)
		s.orders[o.ID%kept].Store(o)
		if i < answer {
			found = append(found, o)
		}
	}
	s.burn()
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(found)
}

func newOrder(id uint64) *order {
	o := &order{ID: id, Customer: "customer " + strconv.FormatUint(id%1000, 10), Lines: make([]line, 8)}
	for i := range o.Lines {
		n := id*31 + uint64(i)
		o.Lines[i] = line{"article " + strconv.FormatUint(n%50000, 10), int(n%9) + 1, float64(n%10000) / 100}
	}
	o.Labels = map[string]string{"channel": "web", "region": strconv.FormatUint(id%9, 10)}
	return o
}

// burnMost bounds what one request burns, so that a start or a pause is paid off
// over many.
const burnMost = time.Millisecond

// burn takes CPU until what was burned is the ratio of what everything else in this
// process took: the handlers, net/http, the collector and the kernel.
func (s *service) burn() {
	if s.burnRatio == 0 {
		return
	}
	burned := s.burned.Load()
	owed := s.burnRatio*float64(cpu()-burned) - float64(burned)
	most := min(time.Duration(owed), burnMost)
	// By the clock: the kernel adds a thread's CPU up at its ticks alone, which are
	// longer than a burn.
	spent := time.Duration(0)
	for start := time.Now(); spent < most; {
		hash()
		spent = max(time.Since(start), spent+1)
	}
	s.burned.Add(int64(spent))
}

// hash is a unit of what is burned: some microseconds, in no memory to speak of.
func hash() {
	var block [4096]byte
	sum := sha256.Sum256(block[:])
	copy(block[:], sum[:])
}

// cpu is what this process has used of the CPU, in ns; 0 where the system does not
// say.
func cpu() int64 {
	var ru syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &ru); err != nil {
		return 0
	}
	return ru.Utime.Nano() + ru.Stime.Nano()
}
