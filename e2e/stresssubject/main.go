// Stresssubject is a service of which the truth is known: it takes every fault well, or
// it does the one wrong thing that -violate names, from when the first fault happens
// inside of it. The experiments on heapwright stress hold its verdicts against that.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/signal"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/heapwright/heapwright/debugz"
	"github.com/heapwright/heapwright/guard"
	"github.com/heapwright/heapwright/guard/fault"
	"github.com/heapwright/heapwright/guard/sli"
)

// Violations are the wrong things.
var violations = []string{
	"", "ill", "errors", "slow", "stuck", "unready", "goroutines", "retained", "growth", "offheap", "gccpu", "exits", "oom", "guardstuck", "pauses",
}

var (
	addr    = flag.String("addr", "127.0.0.1:0", "address of the service")
	page    = flag.String("debug", "127.0.0.1:0", "address of the debug page")
	base    = flag.Int("base", 24, "MiB that are always alive")
	files   = flag.Int("files", 0, "MiB of a file that requests read parts of")
	cache   = flag.Int("cache", 0, "MiB of a file that it reads: page cache, which the kernel can reclaim")
	violate = flag.String("violate", "", "the wrong thing: "+strings.Join(violations[1:], ", "))
	breaker = flag.Bool("breaker", false, "the guard has one objective: p99 of the pauses below 15 ms, 0.2 of 300 s, 60 s to cool down")
)

func main() {
	flag.Parse()
	if !slices.Contains(violations, *violate) {
		log.Fatalf("there is no violation %q", *violate)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := serve(ctx); err != nil {
		log.Fatal(err)
	}
}

func serve(ctx context.Context) error {
	cached, err := fillCache(*cache << 20)
	if err != nil {
		return err
	}
	defer cached.Close()
	s := &service{violate: *violate, faults: fault.New(fault.Options{}), kept: chain(*base << 20)}
	defer s.faults.Close()
	if *files > 0 {
		if err := s.open(*files << 20); err != nil {
			return fmt.Errorf("making a file to read: %w", err)
		}
		defer s.file.Close()
	}
	config := guard.Config{Signals: []sli.Custom{{Name: "wrong", Read: s.wrong}}}
	config.Objectives = append(guard.DefaultObjectives(), guard.Objective{
		Name: "wrong", Signal: "wrong", Max: 0.5, Interval: time.Second, Window: 4 * time.Second, Ratio: 0.3, Cooldown: 2 * time.Second})
	if *breaker {
		config = guard.Config{NoLimiter: true, Objectives: []guard.Objective{
			{Name: "gc_pause", Signal: sli.PauseP99, Max: 0.015, Window: 300 * time.Second, Ratio: 0.2, Cooldown: 60 * time.Second}}}
	}
	g, err := guard.Start(config)
	if err != nil {
		return err
	}
	defer g.Close()
	mux := http.NewServeMux()
	mux.Handle("/work", g.Handler(http.HandlerFunc(s.work)))
	mux.HandleFunc("/readyz", s.ready)
	inside := http.NewServeMux()
	inside.Handle("/debug/heapwright/", debugz.Handler(debugz.Options{Guard: g, Faults: s.faults}))
	for _, l := range []struct {
		at string
		h  http.Handler
	}{{*addr, mux}, {*page, inside}} {
		listener, err := net.Listen("tcp", l.at)
		if err != nil {
			return err
		}
		server := &http.Server{Handler: l.h, ReadHeaderTimeout: 5 * time.Second}
		context.AfterFunc(ctx, func() { server.Close() })
		go server.Serve(listener)
	}
	fmt.Println("ready")
	go s.misbehave(ctx)
	<-ctx.Done()
	return nil
}

// A node is an object of 128 bytes that points to another.
type node struct {
	next *node
	sum  [15]uint64
}

// chain allocates so many bytes of nodes, each of which points to the one before.
func chain(bytes int) (head *node) {
	for i := range bytes / 128 {
		n := &node{next: head}
		n.sum[0] = uint64(i)
		head = n
	}
	return head
}

type service struct {
	violate string
	faults  *fault.Injector
	kept    *node

	faulted atomic.Bool // a fault has happened
	now     atomic.Bool // there is one now
	served  atomic.Uint64

	file *os.File // nil: it reads none
	size int64

	mu   sync.Mutex
	held [][]byte
}

// block is how much of the file a request reads.
const block = 64 << 10

// open makes the file, which is there for as long as it is open, and no longer.
func (s *service) open(size int) error {
	f, err := os.CreateTemp("", "stresssubject-")
	if err != nil {
		return err
	}
	os.Remove(f.Name())
	if _, err := f.Write(make([]byte, size)); err != nil {
		f.Close()
		return err
	}
	s.file, s.size = f, int64(size)
	return f.Sync() // what is not on the disk yet cannot be reclaimed
}

// work is a request: a working set of 128 KiB, read again before the answer.
func (s *service) work(w http.ResponseWriter, r *http.Request) {
	n := s.served.Add(1)
	if s.file != nil {
		at := int64(n*2654435761%uint64(s.size)) / block * block
		if _, err := s.file.ReadAt(make([]byte, block), at); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
	}
	set := chain(128 << 10)
	sum := uint64(0)
	for at := set; at != nil; at = at.next {
		sum += at.sum[0]
	}
	switch s.violate {
	case "ill":
		if n%10 == 0 {
			http.Error(w, "ill from the beginning", http.StatusInternalServerError)
			return
		}
	case "errors":
		if s.now.Load() && n%5 == 0 {
			http.Error(w, "overwhelmed", http.StatusInternalServerError)
			return
		}
	case "slow":
		if s.now.Load() && n%8 == 0 {
			time.Sleep(900 * time.Millisecond)
		}
	case "stuck":
		if s.faulted.Load() && n%8 == 0 {
			time.Sleep(900 * time.Millisecond)
		}
	case "goroutines":
		if s.faulted.Load() && n%4 == 0 {
			go func() { select {} }()
		}
	}
	fmt.Fprintln(w, sum)
	runtime.KeepAlive(set)
}

func (s *service) ready(w http.ResponseWriter, _ *http.Request) {
	if s.violate == "unready" && s.faulted.Load() {
		http.Error(w, "never again", http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ready")
}

// wrong is a signal of the service's own, which its guard goes by.
func (s *service) wrong() (float64, bool) {
	if s.violate == "guardstuck" && s.faulted.Load() {
		return 1, true
	}
	return 0, true
}

// misbehave looks for faults, and does what goes wrong by itself.
func (s *service) misbehave(ctx context.Context) {
	t := time.NewTicker(100 * time.Millisecond)
	defer t.Stop()
	begun := false
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		active := len(s.faults.Status().Active) > 0
		s.now.Store(active)
		if active {
			s.faulted.Store(true)
		}
		if !s.faulted.Load() {
			continue
		}
		first := !begun
		begun = true
		switch {
		case s.violate == "retained" && first:
			s.hold(48 << 20)
		case s.violate == "growth":
			s.hold(128 << 10)
		case s.violate == "offheap" && first:
			mapped(64 << 20)
		case s.violate == "gccpu" && first:
			debug.SetGCPercent(1)
			for range 2 * runtime.GOMAXPROCS(0) {
				go func() {
					for ctx.Err() == nil {
						runtime.KeepAlive(chain(64 << 10))
					}
				}()
			}
		case s.violate == "exits" && first:
			time.AfterFunc(time.Second, func() { os.Exit(3) })
		case s.violate == "pauses" && active:
			go unyielding(30 * time.Millisecond)
		case s.violate == "oom":
			s.hold(16 << 20)
		}
	}
}

func (s *service) hold(bytes int) {
	b := make([]byte, bytes)
	for i := 0; i < len(b); i += 4096 {
		b[i] = 1
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.held = append(s.held, b)
}

// mapped takes memory that the runtime does not know of, for ever.
func mapped(bytes int) {
	b, err := syscall.Mmap(-1, 0, bytes, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		log.Fatal(err)
	}
	for i := 0; i < len(b); i += 4096 {
		b[i] = 1
	}
}

// unyielding computes for about so long without a call: with GODEBUG=asyncpreemptoff=1
// whoever stops the world has to wait for it, as for code that no signal can interrupt.
func unyielding(d time.Duration) {
	x := uint64(d) | 1
	for range int(d.Microseconds()) * 1000 {
		x = x*6364136223846793005 + 1442695040888963407
	}
	spun.Store(x)
}

var spun atomic.Uint64

// fillCache reads so much of a file without a name, whose page cache goes when it is
// closed.
func fillCache(size int) (*os.File, error) {
	f, err := os.CreateTemp("", "stresssubject-")
	if err != nil {
		return nil, err
	}
	err = errors.Join(os.Remove(f.Name()), f.Truncate(int64(size)))
	if err == nil {
		_, err = io.Copy(io.Discard, f)
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}
