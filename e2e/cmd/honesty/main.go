// Honesty measures how often the verdicts of `heapwright compare` are wrong. It runs
// many short experiments on a real service (examples/orders) of which the truth is
// known, one after the other:
//
//	a/a      both variants are the same
//	drift    the same, beside another program whose use of the CPU rises or falls
//	         from the begin of the experiment to its end
//	burn     the variant burns a tenth more CPU
//	alloc    the variant allocates twice as much
//	duet     both variants are the same, and run at the same time
//
// and counts: in the first two and the last each IMPROVED and REGRESSED is false, in
// the others the harm is to be found. Beside it stands what others would have said
// of the same measurements: benchstat, after all runs of A and then all of B, and a
// fixed threshold.
//
//	honesty run -heapwright PATH [-dir DIR] [-null 40] [-power 20] [-duets 0] [-kinds NAME,...] [-within 50m]
//	honesty judge -heapwright PATH [-dir DIR]
//	honesty report [-dir DIR] [-json]
//
// run skips what DIR has already, and reports in the end. It begins nothing new
// after -within. judge has all experiments judged again, from their blocks, by a
// heapwright that judges otherwise than the one that ran them.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "honesty:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) > 0 {
		switch args[0] {
		case "run":
			return measure(ctx, args[1:], out)
		case "judge":
			return judgeCommand(ctx, args[1:], out)
		case "report":
			return reportCommand(args[1:], out)
		case "burn":
			return burnCommand(ctx, args[1:])
		}
	}
	return errors.New("usage: honesty run -heapwright PATH [flags] | honesty judge -heapwright PATH [flags] | honesty report [flags]")
}

// defaultDir is where experiments and results are kept.
func defaultDir() (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("finding the cache directory: %w", err)
	}
	return filepath.Join(base, "heapwright", "honesty"), nil
}
