// Package subject starts the programs on which forecasts are tested: each the same
// way every time, under a load that does not depend on how fast it is. It does not
// use Heapwright.
package subject

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"
)

// A Subject is a program and its load.
type Subject struct {
	Name string
	// build returns the path of the program.
	build func(ctx context.Context, toolchain string) (string, error)
	// start returns when the program is under load and warm.
	start func(ctx context.Context, s start) (*Run, error)
	wrap  func(*exec.Cmd)
}

// start is what a start needs.
type start struct {
	bin, toolchain, dir string
	env                 []string
	limit               time.Duration // the run ends itself after this time
	wrap                func(*exec.Cmd)
}

// A Run is a subject under load.
type Run struct {
	PID int
	// Stop ends the load and the program, and says what the load did. A program
	// that had ended before is an error.
	Stop func() (string, error)
}

// All lists the subjects: the workloads, and then the servers.
func All() []Subject { return slices.Concat(Workloads(), Servers()) }

// Find returns the subjects with the names, or with a name's prefix before a "*".
func Find(names []string) ([]Subject, error) {
	var out []Subject
	for _, name := range names {
		n := len(out)
		for _, s := range All() {
			prefix, glob := strings.CutSuffix(name, "*")
			if s.Name == name || glob && strings.HasPrefix(s.Name, prefix) {
				out = append(out, s)
			}
		}
		if len(out) == n {
			var all []string
			for _, s := range All() {
				all = append(all, s.Name)
			}
			return nil, fmt.Errorf("there is no subject %q; there are %s", name, strings.Join(all, ", "))
		}
	}
	return out, nil
}

// Build builds the subject with a Go release such as "go1.27.4", or takes it from
// the cache.
func (s Subject) Build(ctx context.Context, toolchain string) (string, error) {
	return s.build(ctx, toolchain)
}

// Wrapped is the same subject, whose commands are changed before they start, for
// example to put them into a cgroup.
func (s Subject) Wrapped(wrap func(*exec.Cmd)) Subject {
	s.wrap = wrap
	return s
}

// Start starts the subject, with variables added to an environment that has none
// of the Go runtime's, and returns when it is under load and warm.
func (s Subject) Start(ctx context.Context, toolchain string, env []string, limit time.Duration) (*Run, error) {
	bin, err := s.build(ctx, toolchain)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "heapwright-"+s.Name+"-")
	if err != nil {
		return nil, err
	}
	r, err := s.start(ctx, start{bin, toolchain, dir, env, limit, s.wrap})
	if err != nil {
		os.RemoveAll(dir)
		return nil, fmt.Errorf("starting %s with %v: %w", s.Name, env, err)
	}
	stop := r.Stop
	r.Stop = func() (string, error) {
		said, err := stop()
		return said, errors.Join(err, os.RemoveAll(dir))
	}
	return r, nil
}

// run runs the go command of a toolchain, apart from any workspace.
func run(ctx context.Context, dir, toolchain string, args ...string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-buildvcs=false", "CGO_ENABLED=0", "GOEXPERIMENT=", "GOAMD64=v1", "GOTOOLCHAIN="+toolchain)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go %s with %s: %w\n%s", strings.Join(args, " "), toolchain, err, out)
	}
	return strings.TrimSpace(string(out)), nil
}

// cleanEnv is this process's environment without the Go runtime's settings.
func cleanEnv() []string {
	return slices.DeleteFunc(os.Environ(), func(kv string) bool {
		name, _, _ := strings.Cut(kv, "=")
		return slices.Contains([]string{"GOGC", "GOMEMLIMIT", "GOMAXPROCS", "GODEBUG", "GOTRACEBACK"}, name)
	})
}

// dieWithUs has a child killed when this process dies, however it dies.
var dieWithUs = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
