// Workloads is a program that does one of several kinds of work, at a fixed rate,
// with the same random choices in each run: what differs between two runs under
// different settings of the garbage collector is then the collector's doing.
//
//	workloads -run NAME [-seed 1] [-warm 3s] [-for 1m]
//
// It prints "ready" when the heap has its size and the load has run for -warm, and
// at its end how many operations it did, and how many it left out because it was
// late. It is built by many Go releases, from 1.22 on, and uses the standard
// library only.
package main

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"sort"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// A workload is one kind of work.
type workload struct {
	perSecond float64 // operations, of all workers together
	workers   int
	// setup fills the heap and returns the operation, which the workers call
	// concurrently, each with a source of its own.
	setup func(env) (op func(worker int, rnd *rand.Rand), err error)
}

// env is what a workload is set up with.
type env struct {
	rnd    *rand.Rand
	goroot string
	// elapsed is the time since the program said that it is ready, negative before.
	elapsed func() time.Duration
}

var workloads = map[string]workload{
	"webcache": {perSecond: 18000, workers: 2, setup: webCache},
	"phases":   {perSecond: 4000, workers: 1, setup: phases},
	"pointers": {perSecond: 2000, workers: 1, setup: pointers},
	"bytes":    {perSecond: 400, workers: 2, setup: bigBytes},
	"gotypes":  {perSecond: 36, workers: 1, setup: goTypes},
	"json":     {perSecond: 2400, workers: 8, setup: jsonServer},
	"kv":       {perSecond: 1600, workers: 4, setup: kvServer},
	"tinyheap": {perSecond: 20000, workers: 1, setup: tinyHeap},
}

func main() {
	name := flag.String("run", "", "the workload")
	seed := flag.Uint64("seed", 1, "seed of all random choices")
	warm := flag.Duration("warm", 3*time.Second, "time under load before it is ready")
	limit := flag.Duration("for", time.Minute, "end after this time under load")
	scale := flag.Float64("scale", 1, "factor on the rate")
	goroot := flag.String("goroot", "", "a Go distribution, for the workload that reads its sources")
	flag.Parse()
	if err := run(*name, *seed, *warm, *limit, *scale, *goroot); err != nil {
		fmt.Fprintln(os.Stderr, "workloads:", err)
		os.Exit(1)
	}
}

func run(name string, seed uint64, warm, limit time.Duration, scale float64, goroot string) error {
	w, ok := workloads[name]
	if !ok {
		var names []string
		for n := range workloads {
			names = append(names, n)
		}
		sort.Strings(names)
		return fmt.Errorf("there is no workload %q, only %v", name, names)
	}
	var readyAt atomic.Int64
	readyAt.Store(time.Now().Add(time.Hour).UnixNano())
	op, err := w.setup(env{
		rnd:     rand.New(rand.NewPCG(seed, 0)),
		goroot:  goroot,
		elapsed: func() time.Duration { return time.Duration(time.Now().UnixNano() - readyAt.Load()) },
	})
	if err != nil {
		return fmt.Errorf("setting up %s: %w", name, err)
	}

	stop := make(chan struct{})
	var all sync.WaitGroup
	counts := make([]count, w.workers)
	for i := 0; i < w.workers; i++ {
		i, rnd := i, rand.New(rand.NewPCG(seed, uint64(i)+1))
		all.Add(1)
		go func() {
			defer all.Done()
			counts[i] = pace(stop, w.perSecond*scale/float64(w.workers), func() { op(i, rnd) })
		}()
	}
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	end := time.After(limit)
	ready := time.After(warm)
	for ended := false; !ended; {
		select {
		case <-ready:
			readyAt.Store(time.Now().UnixNano())
			fmt.Println("ready")
		case <-signals:
			ended = true
		case <-end:
			ended = true
		}
	}
	close(stop)
	all.Wait()
	var sum count
	for _, c := range counts {
		sum.done += c.done
		sum.left += c.left
	}
	fmt.Printf("done %d, left out %d\n", sum.done, sum.left)
	return nil
}

type count struct{ done, left int64 }

const (
	// sleepAhead is by how much a worker is ahead when it sleeps: short sleeps
	// cost more than they pace.
	sleepAhead = 4 * time.Millisecond
	// late is how far a worker may lag behind before it leaves operations out: a
	// program that was slow for a while is not flooded afterwards.
	late = 500 * time.Millisecond
)

// pace calls op at a rate until stop is closed.
func pace(stop <-chan struct{}, perSecond float64, op func()) (c count) {
	start := time.Now()
	for {
		select {
		case <-stop:
			return c
		default:
		}
		ahead := time.Duration(float64(c.done+c.left)/perSecond*float64(time.Second)) - time.Since(start)
		switch {
		case ahead > sleepAhead:
			time.Sleep(ahead)
		case ahead < -late:
			c.left += int64((-late-ahead).Seconds()*perSecond) + 1
		}
		op()
		c.done++
	}
}
