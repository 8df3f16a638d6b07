// Command testsum runs go test in several modules and sums up: the closing line
// of each package with tests as go test prints it, the output of what failed, the skipped
// tests by reason, and a last line with the counts.
//
//	testsum [-modules .,cmd] [-race .] -- [go test arguments, with packages]
//
// The modules that -race names are tested with the race detector, unless there is
// no C compiler for it; then testsum says so. Tests that skip because of the race
// detector, with these words as their reason, are run again without it.
//
// A test with subtests does not count, its subtests do. A package that fails
// without a failed test, because it does not compile or ends early, counts as
// one failure. The exit status is 1 when anything failed.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	ok, err := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	switch {
	case err != nil:
		fmt.Fprintln(os.Stderr, "testsum:", err)
		os.Exit(2)
	case !ok:
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) (ok bool, err error) {
	flags := flag.NewFlagSet("testsum", flag.ContinueOnError)
	flags.SetOutput(stderr)
	modules := flags.String("modules", ".", "comma-separated directories of the modules to test")
	race := flags.String("race", "", "those of them to test with the race detector")
	if err := flags.Parse(args); err != nil {
		return false, err
	}
	var raced []string
	if *race != "" {
		if why := noRace(); why != "" {
			fmt.Fprintf(stderr, "testsum: no race detector: %s\n", why)
		} else {
			raced = strings.Split(*race, ",")
		}
	}
	s := newSummary(stdout)
	for _, dir := range strings.Split(*modules, ",") {
		if !slices.Contains(raced, dir) {
			if err := s.test(ctx, dir, flags.Args(), stderr); err != nil {
				return false, err
			}
			continue
		}
		if err := s.test(ctx, dir, append([]string{"-race"}, flags.Args()...), stderr); err != nil {
			return false, err
		}
		again := s.takeRaceSkips()
		for _, pkg := range slices.Sorted(maps.Keys(again)) {
			args := append(onlyFlags(flags.Args()), "-run=^("+strings.Join(again[pkg], "|")+")$", pkg)
			if err := s.test(ctx, dir, args, stderr); err != nil {
				return false, err
			}
		}
	}
	s.print()
	return s.ok(), nil
}

// onlyFlags returns the arguments of go test without the packages.
func onlyFlags(args []string) []string {
	return slices.DeleteFunc(slices.Clone(args), func(a string) bool { return !strings.HasPrefix(a, "-") })
}

// noRace says why the race detector cannot be used, "" when it can.
func noRace() string {
	out, err := exec.Command("go", "env", "CGO_ENABLED", "CC").Output()
	if err != nil {
		return fmt.Sprintf("go env: %v", err)
	}
	cgo, cc, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
	if cgo != "1" {
		return "cgo is off"
	}
	fields := strings.Fields(cc)
	if len(fields) == 0 {
		return "no C compiler is set (go env CC)"
	}
	if _, err := exec.LookPath(fields[0]); err != nil {
		return "there is no C compiler " + fields[0]
	}
	return ""
}

// test runs go test in one module. A failing test is not an error.
func (s *summary) test(ctx context.Context, dir string, args []string, stderr io.Writer) error {
	cmd := exec.CommandContext(ctx, "go", append([]string{"test", "-json"}, args...)...)
	cmd.Dir = dir
	cmd.Stderr = stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = 10 * time.Second
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting go test in %s: %w", dir, err)
	}
	failedBefore := s.failed
	readErr := s.read(out)
	err = cmd.Wait()
	if readErr != nil {
		return fmt.Errorf("reading the output of go test in %s: %w", dir, readErr)
	}
	exit := new(exec.ExitError)
	switch {
	case ctx.Err() != nil:
		return fmt.Errorf("testing %s: %w", dir, ctx.Err())
	case err == nil:
	case !errors.As(err, &exit):
		return fmt.Errorf("running go test in %s: %w", dir, err)
	case s.failed == failedBefore:
		// go test itself gave up, and has said why on stderr.
		s.fail(fmt.Sprintf("go test in %s: %v", dir, err))
	}
	return nil
}
