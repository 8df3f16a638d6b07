// Gain measures what the plans of `heapwright tune` are worth, against the settings
// that others would make. It runs programs under a steady load in a memory cgroup,
// once for each way to set GOGC and GOMEMLIMIT and repetition, in an order drawn by
// lot, and records each run from outside with `heapwright record`.
//
//	gain run -heapwright PATH [-dir DIR] [-subjects NAME,...] [-shared NAME,...] [-reps 3] [-for 8s] [-within 33m] [-quick]
//	gain report [-dir DIR]
//
// Each program is recorded first as it is, with Go's defaults and no memory limit.
// `heapwright tune` makes a plan from that recording alone, for a budget of twice
// the live heap and what is not Go's. Then several programs share one budget in the
// same manner.
//
// run skips what DIR has already, and reports in the end. It begins nothing new
// after -within.
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
		fmt.Fprintln(os.Stderr, "gain:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) > 0 {
		switch args[0] {
		case "run":
			return measure(ctx, args[1:], out)
		case "report":
			return reportCommand(args[1:], out)
		}
	}
	return errors.New("usage: gain run -heapwright PATH [flags] | gain report [flags]")
}

// defaultDir is where recordings and results are kept.
func defaultDir() (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("finding the cache directory: %w", err)
	}
	return filepath.Join(base, "heapwright", "gain"), nil
}
