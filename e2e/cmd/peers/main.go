// Peers holds a service that Heapwright guards against the same service under the
// guards that others offer, and under none. Faults happen to several of them at the
// same time, each in a memory cgroup and with a CPU quota of its own, under requests
// that come whether or not those before were answered.
//
//	peers run [-dir DIR] [-reps 3] [-together 4] [-guards NAME,...] [-faults NAME,...] [-within 30m] [-watch]
//	peers oom [-dir DIR] [-runs 20] [-within 15m]
//	peers healthy [-dir DIR] [-for 1h] [-rate 5] [-guards NAME,...]
//	peers report [-dir DIR] [-bench FILE] [-into PAGE]
//
// run, oom and healthy go on where they stopped. oom is the kernel's OOM killer
// alone: the service as it is, and guarded by Heapwright, in many short runs. healthy
// is an hour of uneven load with nothing wrong, in which every refusal is a mistake.
// They need root and the controllers memory, cpu and cpuacct of cgroup v1.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/heapwright/heapwright/e2e/internal/peers"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "peers:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) > 0 {
		switch args[0] {
		case "run":
			return faultsCommand(ctx, args[1:], out)
		case "oom":
			return oomCommand(ctx, args[1:], out)
		case "healthy":
			return healthyCommand(ctx, args[1:], out)
		case "report":
			return reportCommand(args[1:], out)
		case "eat": // what the others start, to take memory away from a service
			fs := flag.NewFlagSet("eat", flag.ContinueOnError)
			dir := fs.String("cgroup", "", "")
			bytes := fs.Uint64("bytes", 0, "")
			over := fs.Duration("over", time.Second, "")
			if err := fs.Parse(args[1:]); err != nil {
				return err
			}
			return peers.Eat(ctx, *dir, *bytes, *over)
		}
	}
	return errors.New("usage: peers run|oom|healthy|report [flags]")
}

// defaultDir is where results are kept.
func defaultDir() (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("finding the cache directory: %w", err)
	}
	return filepath.Join(base, "heapwright", "peers"), nil
}
