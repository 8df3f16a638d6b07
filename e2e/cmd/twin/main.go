// Twin measures how far the forecasts of Heapwright's twin are from what happens.
// It runs programs under a steady load and under many settings of the garbage
// collector, and records each run from outside with `heapwright record`; then it
// fits a twin to one of the recordings, the one at GOGC=100, and holds what it
// forecasts for the other settings against what was recorded there.
//
//	twin collect -heapwright PATH [-dir DIR] [-subjects NAME,...] [-go RELEASE,...] [-settings NAME,...] [-for 12s]
//	twin score [-dir DIR] [-json] [-o FILE]
//
// The two are apart: recordings are made once, in about four minutes a program, on
// a machine that does nothing else; collect skips what DIR has already.
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
		fmt.Fprintln(os.Stderr, "twin:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) > 0 {
		switch args[0] {
		case "collect":
			return collect(ctx, args[1:], out)
		case "score":
			return score(ctx, args[1:], out)
		}
	}
	return errors.New("usage: twin collect -heapwright PATH [flags] | twin score [flags]")
}

// defaultDir is where recordings are kept.
func defaultDir() (string, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("finding the cache directory: %w", err)
	}
	return filepath.Join(base, "heapwright", "twin"), nil
}
