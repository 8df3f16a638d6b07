// Cgroup2 runs what reads and writes cgroups on a kernel with cgroup v2, in an emulated
// machine: tests of packages, heapwright stress with real servers, and kills of it. It needs qemu-system-x86_64, mkfs.ext4, and a kernel, which it gets from
// Debian's archive where there is none.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/heapwright/heapwright/e2e/internal/cgroup2"
	"github.com/heapwright/heapwright/e2e/internal/vm"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "cgroup2:", err)
		if hint, ok := errors.AsType[interface {
			error
			Hint() string
		}](err); ok {
			fmt.Fprintln(os.Stderr, hint.Hint())
		}
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	fs := flag.NewFlagSet("cgroup2", flag.ContinueOnError)
	root := fs.String("root", "..", "the repository")
	only := fs.String("only", "", "only suites with this in their name; slice is that of the test")
	step := fs.String("step", "", "only their steps with this in their name")
	keep := fs.String("keep", "", "keep what is built in this directory, and take what is there")
	fetch := fs.Bool("fetch", true, "get a kernel where there is none")
	verbose := fs.Bool("v", false, "print all that is said in the machine")
	if err := fs.Parse(args); err != nil {
		return err
	}
	tools, err := vm.Find()
	if missing := new(vm.MissingError); errors.As(err, &missing) && *fetch && missing.Kernel {
		if err := vm.Fetch(ctx); err != nil {
			return err
		}
		tools, err = vm.Find()
	}
	if err != nil {
		return err
	}
	dir := *keep
	if dir == "" {
		if dir, err = os.MkdirTemp("", "heapwright-cgroup2-"); err != nil {
			return err
		}
		defer os.RemoveAll(dir)
	}
	b := &cgroup2.Bench{Tools: tools}
	if b.Root, err = filepath.Abs(*root); err == nil {
		b.Dir, err = filepath.Abs(dir)
	}
	if err != nil {
		return err
	}
	if *verbose {
		b.Says = func(_ int, text []byte) { out.Write(text) }
	}
	suites := cgroup2.Named(cgroup2.Suites(), *only)
	if *only == cgroup2.Slice().Name {
		suites = []cgroup2.Suite{cgroup2.Slice()}
	}
	bad := 0
	for _, s := range suites {
		if s = s.Only(*step); len(s.Steps) == 0 {
			continue
		}
		began := time.Now()
		outcomes, kernel, err := b.Run(ctx, s)
		fmt.Fprintf(out, "%s: %s, %v\n", s.Name, kernel, time.Since(began).Round(time.Second))
		for _, o := range outcomes {
			bad += show(out, o, *verbose)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", s.Name, err)
		}
	}
	if bad > 0 {
		return fmt.Errorf("%d of what was run went wrong", bad)
	}
	return nil
}

// show prints what came of a step, and returns 1 for one that went wrong.
func show(out io.Writer, o cgroup2.Outcome, said bool) int {
	problem := o.Problem()
	words := "ok"
	if problem != "" {
		words = "WRONG: " + problem
	}
	fmt.Fprintf(out, "  %-34s %8s  %s", o.Step.Name, o.Result.Took.Round(100*time.Millisecond), words)
	if o.Step.Package != "" {
		fmt.Fprintf(out, "; %d passed, %d failed %q, %d skipped", o.Tests.Passed, len(o.Tests.Failed), o.Tests.Failed, len(o.Tests.Skipped))
	}
	fmt.Fprintln(out)
	for _, name := range slices.Sorted(maps.Keys(o.Tests.Skipped)) {
		fmt.Fprintf(out, "      skipped %s: %s\n", name, o.Tests.Skipped[name])
	}
	if !said && (problem != "" || o.Step.Package == "") {
		out.Write(o.Result.Text)
	}
	if o.Result.Cut > 0 {
		fmt.Fprintf(out, "      %d bytes of what it said are not shown\n", o.Result.Cut)
	}
	if problem != "" {
		return 1
	}
	return 0
}
