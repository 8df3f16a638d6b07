// Guarded is a small HTTP service to be broken on purpose: every variant has the
// same handlers, and differs in nothing but in what guards it. A request allocates
// a working set of small objects with pointers, which lives until a slow dependency
// has answered, and garbage beside it.
//
//	guarded -guard NAME -listen SOCKET -admin SOCKET [-base MiB] [-set KiB] [-garbage KiB] [-spin D] [-dependency D]
//
// It serves /work and /healthz on the one Unix socket, and on the other, to which
// no guard applies, what makes it suffer:
//
//	POST /dependency?latency=700ms         the dependency answers so late
//	POST /storm?live=40&rate=100&for=20s   a job in the background keeps so many MiB and allocates so many a second
//	GET  /status                           what the guard says of itself, for the log
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
	listen := flags.String("listen", "", "the Unix `socket` to serve on")
	admin := flags.String("admin", "", "the Unix `socket` for faults")
	base := flags.Int("base", 40, "live heap that is always there, in `MiB`")
	set := flags.Int("set", 1024, "a request's working set, in `KiB`")
	garbage := flags.Int("garbage", 1024, "a request's garbage, in `KiB`")
	spin := flags.Duration("spin", 2*time.Millisecond, "a request's computing, on the CPU")
	dependency := flags.Duration("dependency", 20*time.Millisecond, "how long the dependency takes")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if *listen == "" || *admin == "" {
		return errors.New("-listen and -admin are needed")
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

	failed := make(chan error, 2)
	for path, h := range map[string]http.Handler{*listen: g.handler, *admin: faults} {
		// A killed predecessor leaves its socket.
		if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
		l, err := net.Listen("unix", path)
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
