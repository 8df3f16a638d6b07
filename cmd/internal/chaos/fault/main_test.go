package fault

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
	"testing"

	"github.com/heapwright/heapwright/cmd/internal/live"
)

// TestMain is also the processes that faults start: this program, by another name.
func TestMain(m *testing.M) {
	// Most groups here are directories that look like some.
	onCgroups = func(string) (bool, error) { return true, nil }
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case Verb:
			os.Exit(asChild(func(ctx context.Context) error { return Eat(ctx, os.Stdin, os.Stdout) }))
		case targetVerb:
			os.Exit(asChild(beTarget))
		case holderVerb:
			os.Exit(asChild(beHolder))
		case softVerb:
			os.Exit(asChild(beSoft))
		case leakyVerb:
			os.Exit(asChild(beLeaky))
		case "live-watchdog":
			os.Exit(asChild(func(ctx context.Context) error {
				pid, err := strconv.Atoi(os.Args[2])
				if err != nil {
					return err
				}
				return live.Host{}.RunWatchdog(ctx, pid, os.Stdin, os.Stdout)
			}))
		}
	}
	code := m.Run()
	removePrograms()
	os.Exit(code)
}

func asChild(f func(context.Context) error) int {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	if err := f(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}
