// Oomkills has programs killed by the kernel while heapwright oom watch looks on, and
// prints how many of the kills it had a profile of from before, and how many of those
// name what grew. It needs root and the memory controller of cgroup v1.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"slices"
	"time"

	"github.com/heapwright/heapwright/e2e/internal/oomkill"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "oomkills:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, out io.Writer) error {
	fs := flag.NewFlagSet("oomkills", flag.ContinueOnError)
	binary := fs.String("heapwright", "../bin/heapwright", "the binary")
	root := fs.String("root", "..", "the repository")
	runs := fs.Int("runs", 0, "how many of the cases, spread over all; 0 for all")
	within := fs.Duration("within", time.Hour, "begin nothing new after this time")
	keep := fs.String("keep", "", "keep the post-mortems in this directory")
	if err := fs.Parse(args); err != nil {
		return err
	}
	dir := *keep
	if dir == "" {
		var err error
		if dir, err = os.MkdirTemp("", "heapwright-oomkills-"); err != nil {
			return err
		}
		defer os.RemoveAll(dir)
	}
	b := &oomkill.Bench{Heapwright: *binary, Dir: dir, Subjects: map[string]string{}}
	cases := oomkill.Slice(oomkill.Cases(), *runs)
	build, err := os.MkdirTemp("", "heapwright-oomsubjects-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(build)
	for _, c := range cases {
		if b.Subjects[c.Go] == "" {
			if b.Subjects[c.Go], err = oomkill.BuildSubject(ctx, *root, c.Go, build); err != nil {
				return err
			}
		}
	}
	ctx, cancel := context.WithTimeout(ctx, *within)
	defer cancel()
	var all []oomkill.Result
	fmt.Fprintf(out, "%-44s %-10s %9s %9s %8s %7s  %s\n", "kill", "go", "captures", "before", "filled", "took", "what grew")
	err = b.Run(ctx, cases, func(r oomkill.Result) {
		all = append(all, r)
		named := "wrong: "
		if r.Named {
			named = ""
		}
		if r.Problem != "" {
			named = r.Problem + " "
		}
		fmt.Fprintf(out, "%-44s %-10s %9d %9s %7.0f%% %7s  %s%s (%s)\n", r.Case, r.Go, r.Captures, r.Before.Round(time.Millisecond), 100*r.Filled, r.Took.Round(100*time.Microsecond), named, r.Found, r.Verdict)
	})
	summarise(out, all)
	return err
}

func summarise(out io.Writer, all []oomkill.Result) {
	count := func(f func(r oomkill.Result) bool) (n int) {
		for _, r := range all {
			if f(r) {
				n++
			}
		}
		return n
	}
	killed := count(func(r oomkill.Result) bool { return r.Killed })
	if killed == 0 {
		fmt.Fprintln(out, "nothing was killed")
		return
	}
	rate := func(what string, n int) {
		fmt.Fprintf(out, "%-48s %3d of %d  %5.1f%%\n", what, n, killed, 100*float64(n)/float64(killed))
	}
	fmt.Fprintf(out, "\n%d cases, %d kills by the kernel\n", len(all), killed)
	rate("told of", count(func(r oomkill.Result) bool { return r.Reported }))
	rate("captured before the kill", count(func(r oomkill.Result) bool { return r.Any }))
	rate("captured on the way to the limit", count(func(r oomkill.Result) bool { return r.Captures > 0 }))
	rate("what grew was named", count(func(r oomkill.Result) bool { return r.Killed && r.Named }))
	var took, before []time.Duration
	for _, r := range all {
		if r.Any {
			took, before = append(took, r.Took), append(before, r.Before)
		}
	}
	for _, row := range []struct {
		what string
		of   []time.Duration
	}{{"the longest capture of a life", took}, {"the last capture before the kill", before}} {
		if slices.Sort(row.of); len(row.of) > 0 {
			q := func(p float64) time.Duration {
				return row.of[int(p*float64(len(row.of)-1))].Round(100 * time.Microsecond)
			}
			fmt.Fprintf(out, "%-48s median %v, 90%% %v, most %v\n", row.what, q(0.5), q(0.9), q(1))
		}
	}
}
