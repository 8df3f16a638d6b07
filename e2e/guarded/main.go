// Guarded is a small HTTP service to be broken on purpose: every variant has the
// same handlers, and differs in nothing but in what guards it. A request allocates
// a working set of small objects with pointers, which lives until a slow dependency
// has answered, and garbage beside it.
//
//	guarded -guard NAME -listen ADDR [-admin ADDR] [-debug ADDR] [-faults MiB] [-base MiB] [-set KiB] [-garbage KiB] [-spin D] [-dependency D]
//
// An address is a path, of a Unix socket, or a host and a port. It serves /work and
// /healthz on the first, and on the second, to which no guard applies, what makes it
// suffer:
//
//	POST /dependency?latency=700ms         the dependency answers so late
//	POST /storm?live=40&rate=100&for=20s   a job in the background keeps so many MiB and allocates so many a second
//	GET  /status                           what the guard says of itself, for the log
//
// On the third is the debug page of Heapwright under /debug/heapwright/, with hooks for
// faults whatever guards it, so that one plan of stress does for all, and with the state
// of the guard where that is Heapwright's; and /readyz, which is 200 for all others.
//
// It ends on SIGTERM.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	automemlimit "github.com/KimMachineGun/automemlimit/memlimit"

	"github.com/heapwright/heapwright/debugz"
	"github.com/heapwright/heapwright/guard/fault"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "guarded:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("guarded", flag.ContinueOnError)
	name := flags.String("guard", "plain", "what guards it: "+strings.Join(guardNames(), ", "))
	listen := flags.String("listen", "", "the `address` to serve on")
	admin := flags.String("admin", "", "the `address` for what makes it suffer")
	debugAt := flags.String("debug", "", "the `address` of the debug page with the fault hooks")
	most := flags.Uint64("faults", 0, "what faults may hold, in `MiB`; 0: as much as the memory limit")
	base := flags.Int("base", 40, "live heap that is always there, in `MiB`")
	set := flags.Int("set", 1024, "a request's working set, in `KiB`")
	garbage := flags.Int("garbage", 1024, "a request's garbage, in `KiB`")
	spin := flags.Duration("spin", 2*time.Millisecond, "a request's computing, on the CPU")
	dependency := flags.Duration("dependency", 20*time.Millisecond, "how long the dependency takes")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *listen == "" {
		return errors.New("-listen is needed")
	}
	s := newService(*base<<20, *set<<10, *garbage<<10, *spin, *dependency)
	work := http.NewServeMux()
	work.HandleFunc("GET /work", s.work)
	work.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") })
	g, err := newGuard(*name, work)
	if err != nil {
		return fmt.Errorf("guarding with %s: %w", *name, err)
	}
	defer g.close()
	faults := http.NewServeMux()
	faults.HandleFunc("POST /dependency", s.setDependency)
	faults.HandleFunc("POST /storm", s.storm)
	faults.HandleFunc("GET /status", g.serveStatus)

	injector := fault.New(fault.Options{MaxBytes: mostBytes(*most << 20)})
	defer injector.Close()
	pages := http.NewServeMux()
	pages.Handle("/debug/heapwright/", debugz.Handler(debugz.Options{Guard: g.ours, Limit: g.limit, Faults: injector}))
	pages.Handle("/readyz", g.ready())

	failed := make(chan error, 3)
	for addr, h := range map[string]http.Handler{*listen: g.handler, *admin: faults, *debugAt: pages} {
		if addr == "" {
			continue
		}
		l, err := listenOn(addr)
		if err != nil {
			return err
		}
		server := &http.Server{Handler: h}
		defer server.Close()
		go func() { failed <- server.Serve(l) }()
	}
	select {
	case <-ctx.Done():
		return nil
	case err := <-failed:
		return err
	}
}

// listenOn listens on a Unix socket, which is a path, or on a port.
func listenOn(addr string) (net.Listener, error) {
	if !strings.Contains(addr, "/") {
		return net.Listen("tcp", addr)
	}
	// A killed predecessor leaves its socket.
	if err := os.Remove(addr); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	return net.Listen("unix", addr)
}

// mostBytes is what faults may hold: all of the memory limit, as it is here to be broken,
// or what the package has by default where there is none.
func mostBytes(asked uint64) uint64 {
	if asked > 0 {
		return asked
	}
	limit, err := automemlimit.FromCgroup()
	if err != nil {
		return 0
	}
	return limit
}
