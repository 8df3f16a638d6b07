package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"time"

	"github.com/heapwright/heapwright/e2e/internal/jsonl"
	"github.com/heapwright/heapwright/e2e/internal/peers"
)

// oomPhases are short: what is killed is killed within seconds.
var oomPhases = peers.Phases{Warm: 3 * time.Second, Healthy: 2 * time.Second, Fault: 12 * time.Second}

// oomFaults are those of which the live heap fits, one after the other.
var oomFaults = []string{"slow", "storm", "squeeze"}

func oomCommand(ctx context.Context, args []string, out io.Writer) error {
	dir, err := defaultDir()
	if err != nil {
		return err
	}
	fs := flag.NewFlagSet("oom", flag.ContinueOnError)
	fs.StringVar(&dir, "dir", dir, "where results are kept")
	service := fs.String("service", "", "the service's binary; built if empty")
	runs := fs.Int("runs", 20, "how often, of each of the two")
	within := fs.Duration("within", 15*time.Minute, "begin nothing new after this time")
	watch := fs.Bool("watch", false, "print what Heapwright's guard says, every second")
	if err := fs.Parse(args); err != nil {
		return err
	}
	b, err := newBench(ctx, dir, *service, out)
	if err != nil {
		return err
	}
	done, err := jsonl.Read[peers.Run](b.path(oomFile))
	if err != nil {
		return err
	}
	sides := []string{peers.Plain, peers.Heapwright}
	deadline := time.Now().Add(*within)
	// Who is started first changes from run to run.
	for n := len(done) / len(sides); n < *runs && time.Now().Before(deadline); n++ {
		fault, _ := peers.FaultNamed(oomFaults[n%len(oomFaults)])
		block := b.block()
		block.Phases, block.Fault, block.Seed = oomPhases, fault, uint64(n)
		block.Guards = []string{sides[n%2], sides[(n+1)%2]}
		if *watch {
			block.Watch = watcher(out)
		}
		runs, err := block.Run(ctx)
		if err != nil {
			return err
		}
		for _, r := range runs {
			r.Block = n
			fmt.Fprintf(out, "run %d: %s\n", n+1, line(r))
			if err := jsonl.Append(b.path(oomFile), r); err != nil {
				return err
			}
		}
	}
	all, err := jsonl.Read[peers.Run](b.path(oomFile))
	if err != nil {
		return err
	}
	for _, guard := range sides {
		lost, of := survivals(all, guard, "")
		fmt.Fprintf(out, "%s: killed in %d of %d runs\n", guard, lost, of)
	}
	return nil
}

// survivals counts the runs in which a guarded service was killed.
func survivals(all []peers.Run, guard, fault string) (lost, of int) {
	for _, r := range all {
		if r.Guard != guard || fault != "" && r.Fault != fault {
			continue
		}
		of++
		if r.Kills+r.EarlyKills > 0 {
			lost++
		}
	}
	return lost, of
}
