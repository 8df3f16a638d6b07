// Faults measures what `heapwright leaks` finds. It builds the programs of
// examples/faults, of which the truth is known, stripped; runs them, several at a
// time; has heapwright look at each from outside; and counts: the leaks that were
// found, the alarms about healthy programs, and how often the cause and the site are
// right. Programs that the kernel is to kill run in a memory cgroup (as root, cgroup
// v1), under `heapwright oom watch`.
//
//	faults run -heapwright PATH [-only NAME,...] [-for 4m] [-speed 5] [-parallel 10] [-go RELEASE,...] [-again]
//	faults truth [-only NAME,...] [-for 2m] [-speed 8] [-parallel 12]
//	faults report [-json]
//
// run skips what -dir has already, and reports in the end; it fails when a target is
// missed. truth runs the programs alone, and holds their own accounts of their memory
// against what examples/faults/faults.json says.
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
		fmt.Fprintln(os.Stderr, "faults:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) > 0 {
		switch args[0] {
		case "run":
			return runCommand(ctx, args[1:], out)
		case "truth":
			return truthCommand(ctx, args[1:], out)
		case "report":
			return reportCommand(args[1:], out)
		}
	}
	return errors.New("usage: faults run -heapwright PATH [flags] | faults truth [flags] | faults report [flags]")
}

// defaultDir is where programs and results are kept.
func defaultDir() (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("finding the cache directory: %w", err)
	}
	return filepath.Join(base, "heapwright", "faults"), nil
}
