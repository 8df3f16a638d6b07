package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/heapwright/heapwright/e2e/internal/jsonl"
	"github.com/heapwright/heapwright/e2e/internal/peers"
)

// A Minute is what one guarded service did in a minute in which nothing was wrong.
type Minute struct {
	Guard   string     `json:"guard"`
	Minute  int        `json:"minute"`
	Started time.Time  `json:"started"`
	Part    peers.Part `json:"part"`
	Kills   int        `json:"oom_kills"`
	CPU     float64    `json:"cpu_seconds"`
	MiB     int        `json:"mib"`
	Status  string     `json:"status,omitempty"` // at its end, of Heapwright's guard
}

func healthyCommand(ctx context.Context, args []string, out io.Writer) error {
	dir, err := defaultDir()
	if err != nil {
		return err
	}
	fs := flag.NewFlagSet("healthy", flag.ContinueOnError)
	fs.StringVar(&dir, "dir", dir, "where results are kept")
	service := fs.String("service", "", "the service's binary; built if empty")
	length := fs.Duration("for", time.Hour, "how long, with what was done before")
	rate := fs.Float64("rate", 5, "requests a second, on average")
	guards := fs.String("guards", strings.Join(peers.Guards, ","), "comma-separated guards")
	if err := fs.Parse(args); err != nil {
		return err
	}
	b, err := newBench(ctx, dir, *service, out)
	if err != nil {
		return err
	}
	done, err := jsonl.Read[Minute](b.path(healthyFile))
	if err != nil {
		return err
	}
	have := 0
	for _, m := range done {
		have = max(have, m.Minute+1)
	}
	minutes := int(*length/time.Minute) - have
	if minutes <= 0 {
		return nil
	}
	var services []*peers.Service
	stop := func() (err error) {
		for _, s := range services {
			_, stopErr := s.Stop()
			err = errors.Join(err, stopErr)
		}
		services = nil
		return err
	}
	for _, guard := range strings.Split(*guards, ",") {
		s, err := peers.StartService(ctx, b.service, guard, b.dir, peers.DefaultBox, "-dependency", peers.DefaultDependency.String())
		if err != nil {
			return errors.Join(err, stop())
		}
		services = append(services, s)
	}
	begin := time.Now()
	total := time.Duration(minutes) * time.Minute
	var all sync.WaitGroup
	var mu sync.Mutex
	var failed error
	for i, s := range services {
		s.Begin(begin)
		// Not all have their spikes at the same time: together they would be more than
		// the machine can do.
		seed := uint64(have*len(services) + i)
		load := peers.NewLoad(s.Socket, begin, seed)
		noise := peers.Noise{Seed: seed, Rate: *rate, Dependency: peers.DefaultDependency}
		all.Go(func() { load.Run(ctx, total, noise.At) })
		all.Go(func() { noise.Disturb(ctx, s, begin, total) })
		all.Go(func() {
			cpu := s.CPUSeconds()
			kills := 0
			for n := range minutes {
				from := time.Duration(n) * time.Minute
				// Requests of a minute have all ended when the clients give up.
				select {
				case <-ctx.Done():
					return
				case <-time.After(time.Until(begin.Add(from + time.Minute + peers.GiveUp + time.Second))):
				}
				m := Minute{Guard: s.Guard, Minute: have + n, Started: begin.Add(from), Part: load.Between(from, from+time.Minute), MiB: int(s.MemoryBytes() >> 20)}
				m.CPU, cpu = s.CPUSeconds()-cpu, s.CPUSeconds()
				m.Kills, kills = len(s.Deaths())-kills, len(s.Deaths())
				if s.Guard == peers.Heapwright {
					m.Status = brief(s.Status())
				}
				mu.Lock()
				failed = errors.Join(failed, jsonl.Append(b.path(healthyFile), m))
				if m.Part.Refused+m.Part.Failed+m.Part.TimedOut+m.Kills > 0 {
					fmt.Fprintf(out, "minute %d, %s: %+v, %d kills\n", m.Minute, m.Guard, m.Part, m.Kills)
				}
				mu.Unlock()
			}
		})
	}
	all.Wait()
	return errors.Join(failed, stop(), ctx.Err())
}
