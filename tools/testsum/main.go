// Command testsum runs go test in several modules and sums up: the closing line
// of each package with tests as go test prints it, the output of what failed, the skipped
// tests by reason, and a last line with the counts.
//
//	testsum [-modules .,cmd] -- [go test arguments, with packages]
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
	"os"
	"os/exec"
	"os/signal"
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
	if err := flags.Parse(args); err != nil {
		return false, err
	}
	s := newSummary(stdout)
	for _, dir := range strings.Split(*modules, ",") {
		if err := s.test(ctx, dir, flags.Args(), stderr); err != nil {
			return false, err
		}
	}
	s.print()
	return s.ok(), nil
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
