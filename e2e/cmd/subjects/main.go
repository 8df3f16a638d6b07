// Subjects builds the real servers of the end-to-end tests ahead of time, or
// runs one of them under load until it is interrupted, to try things on.
//
//	subjects build [NAME...]
//	subjects run [-rate N] [-load=false] NAME
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"syscall"
	"time"

	"github.com/heapwright/heapwright/e2e/servers"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "subjects:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	if len(args) == 0 {
		return errors.New("usage: subjects build [NAME...] | subjects run [-rate N] [-load=false] NAME")
	}
	switch args[0] {
	case "build":
		return build(ctx, args[1:], out)
	case "run":
		return serve(ctx, args[1:], out)
	}
	return fmt.Errorf("unknown command %q: build or run", args[0])
}

func build(ctx context.Context, names []string, out io.Writer) error {
	for _, s := range servers.All() {
		if len(names) > 0 && !slices.Contains(names, s.Name) {
			continue
		}
		start := time.Now()
		path, err := s.Recipe.Build(ctx)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%-8s %s (%s)\n", s.Name, path, time.Since(start).Round(time.Second))
	}
	return nil
}

func serve(ctx context.Context, args []string, out io.Writer) error {
	fs := flag.NewFlagSet("run", flag.ContinueOnError)
	rate := fs.Float64("rate", -1, "operations per second, 0 for full speed, -1 for a moderate load")
	load := fs.Bool("load", true, "put load on it")
	limit := fs.Duration("for", 30*time.Minute, "stop after this time")
	if err := fs.Parse(args); err != nil {
		return err
	}
	i := slices.IndexFunc(servers.All(), func(s servers.Server) bool { return s.Name == fs.Arg(0) })
	if i < 0 {
		return fmt.Errorf("no server is called %q", fs.Arg(0))
	}
	s := servers.All()[i]
	ctx, cancel := context.WithTimeout(ctx, *limit)
	defer cancel()
	bin, err := s.Recipe.Build(ctx)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "heapwright-"+s.Name+"-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	inst, err := s.Start(ctx, bin, dir, servers.Options{})
	if err != nil {
		return err
	}
	fmt.Fprintf(out, "%s: pid %d, pprof %s\n", s.Name, inst.PID, inst.Pprof)
	if *load {
		l := inst.ModerateLoad()
		if *rate >= 0 {
			l.Rate = *rate
		}
		var st servers.Stats
		st, err = inst.Load(ctx, l)
		fmt.Fprintf(out, "%d operations, %d errors, %.0f/s\n", st.Ops, st.Errors, st.PerSecond())
	} else {
		<-ctx.Done()
	}
	return errors.Join(err, inst.Stop())
}
