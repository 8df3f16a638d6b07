// Command testsum runs go test in several modules and sums up: the closing line
// of each package with tests as go test prints it, the output of what failed, the skipped
// tests by reason, the ten slowest with their seconds, and a last line with the counts.
//
//	testsum [-modules .,cmd] [-race .] [-waiting cmd] [-again] -- [go test arguments, with packages]
//
// Of the modules that -waiting names, twice as many packages are tested at the same time
// as there are CPUs: their tests wait for processes, leases and windows for about as long
// as they compute.
//
// The modules that -race names are tested with the race detector, unless there is
// no C compiler for it; then testsum says so. Tests that skip because of the race
// detector, with these words as their reason, are run again without it.
//
// With -again, tests that failed are run once more, alone, where they are few: real
// servers on a machine that others use too fail now and then for reasons that are
// neither the program's nor the test's. One that passes then is no failure, and is
// listed by name, so that nobody mistakes it for steady. After a data race or a panic
// nothing is run again.
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
	"runtime"
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
	waiting := flags.String("waiting", "", "those of them to test twice as many packages of at the same time as there are CPUs")
	again := flags.Bool("again", false, "run what failed once more, alone")
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
		args := flags.Args()
		if slices.Contains(raced, dir) {
			args = append([]string{"-race"}, args...)
		}
		if slices.Contains(strings.Split(*waiting, ","), dir) {
			args = append([]string{fmt.Sprintf("-p=%d", 2*runtime.GOMAXPROCS(0))}, args...)
		}
		before := len(s.failures)
		if err := s.test(ctx, dir, args, stderr); err != nil {
			return false, err
		}
		if *again {
			if err := s.again(ctx, dir, before, args, stderr); err != nil {
				return false, err
			}
		}
		if !slices.Contains(raced, dir) {
			continue
		}
		skips := s.takeRaceSkips()
		for _, pkg := range slices.Sorted(maps.Keys(skips)) {
			if err := s.test(ctx, dir, only(flags.Args(), pkg, skips[pkg]), stderr); err != nil {
				return false, err
			}
		}
	}
	s.print()
	return s.ok(), nil
}

// only returns the arguments of go test for some tests of one package.
func only(args []string, pkg string, tests []string) []string {
	args = slices.DeleteFunc(slices.Clone(args), func(a string) bool { return !strings.HasPrefix(a, "-") })
	return append(args, "-run=^("+strings.Join(tests, "|")+")$", pkg)
}

// maxAgain is how many tests are run again: more than that fail for a reason.
const maxAgain = 5

// again runs once more the tests of a module that failed: the failures from the
// given one on.
func (s *summary) again(ctx context.Context, dir string, from int, args []string, stderr io.Writer) error {
	failed := s.takeFailedTests(from, maxAgain)
	for _, pkg := range slices.Sorted(maps.Keys(failed)) {
		for _, test := range failed[pkg] {
			fmt.Fprintf(s.w, "--- again: %s.%s\n", pkg, test)
		}
		before := s.failed
		if err := s.test(ctx, dir, append(only(args, pkg, failed[pkg]), "-count=1"), stderr); err != nil {
			return err
		}
		if s.failed == before {
			for _, test := range failed[pkg] {
				s.unsteady = append(s.unsteady, pkg+"."+test)
			}
		}
	}
	return nil
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
		s.fail(fmt.Sprintf("go test in %s: %v", dir, err), "")
	}
	return nil
}
