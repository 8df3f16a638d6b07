package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/heapwright/heapwright/e2e/internal/faults"
)

func truthCommand(ctx context.Context, args []string, out io.Writer) error {
	b := &bench{out: out}
	fs := flag.NewFlagSet("truth", flag.ContinueOnError)
	parse, err := b.flags(fs, 2*time.Minute, 8, 12)
	if err != nil {
		return err
	}
	if err := parse(args); err != nil {
		return err
	}
	var (
		jobs  []job
		mu    sync.Mutex
		wrong int
	)
	for _, release := range b.releases {
		full, err := b.build(ctx, release)
		if err != nil {
			return err
		}
		for _, f := range b.chosen() {
			if f.Kind != faults.OOM && f.In(full) {
				jobs = append(jobs, job{f, full})
			}
		}
	}
	err = b.each(ctx, jobs, func(ctx context.Context, j job) error {
		p, err := b.start(ctx, j)
		if err != nil {
			return err
		}
		select {
		case <-time.After(b.window):
		case <-p.ended:
		case <-ctx.Done():
		}
		points, err := p.stop()
		if err != nil || ctx.Err() != nil {
			return err
		}
		err = faults.True(j.fault, points, b.speed)
		mu.Lock()
		defer mu.Unlock()
		said := "as said"
		if err != nil {
			said = "NOT as said: " + err.Error()
			wrong++
		}
		fmt.Fprintf(b.out, "%s with %s: %s\n", j.fault.Name, j.release, said)
		return nil
	})
	if err == nil && wrong > 0 {
		err = fmt.Errorf("%d of %d programs are not as faults.json says", wrong, len(jobs))
	}
	return err
}
