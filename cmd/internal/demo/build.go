package demo

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
)

// What is built. The server is pinned: the demo is to show the same everywhere.
const (
	natsModule  = "github.com/nats-io/nats-server/v2"
	NATSVersion = "v2.15.2"

	module  = "github.com/heapwright/heapwright"
	Example = "liveheap"
)

// A MissingGoError says that there is no go command to build the demo with.
type MissingGoError struct{ err error }

func (e *MissingGoError) Error() string {
	return "the demo builds two Go programs, and there is no go command"
}
func (e *MissingGoError) Unwrap() error { return e.err }

// Hint says where to get one, and what works without it.
func (e *MissingGoError) Hint() string {
	return "install Go from https://go.dev/dl, or look at what runs here already: heapwright ps"
}

// An outsideError is that the example could not be had from the network.
type outsideError struct{ err error }

func (e *outsideError) Error() string { return e.err.Error() }
func (e *outsideError) Unwrap() error { return e.err }

// Hint says where the example is at hand.
func (e *outsideError) Hint() string {
	return "run the demo in a checkout of the repository, where the example's source is"
}

// A Builder builds the programs of the demo and keeps the server's binary.
type Builder struct {
	Cache string // directory for what is kept
	Work  string // directory for what is not
	// Source is the directory of Heapwright's own repository, "" when it is not at hand.
	Source string
}

// FindSource returns the root of Heapwright's repository if dir is inside of it.
func FindSource(dir string) string {
	for {
		b, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && strings.HasPrefix(string(b), "module "+module+"\n") {
			return dir
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return ""
		}
		dir = parent
	}
}

// NATS returns the path of the server's binary, stripped, and builds it unless
// it was built before.
func (b Builder) NATS(ctx context.Context) (string, error) {
	dir := filepath.Join(b.Cache, fmt.Sprintf("nats-server-%s-%s-%s", NATSVersion, runtime.GOARCH, toolchain(ctx)))
	path := filepath.Join(dir, "nats-server")
	if _, err := os.Stat(path); err == nil {
		return path, nil
	}
	if err := os.MkdirAll(dir, 0o777); err != nil {
		return "", fmt.Errorf("making the demo's cache: %w", err)
	}
	// Built elsewhere and moved: an interrupted build leaves nothing that looks done.
	tmp, err := os.MkdirTemp(b.Cache, ".building-")
	if err != nil {
		return "", fmt.Errorf("making the demo's cache: %w", err)
	}
	defer os.RemoveAll(tmp)
	if err := run(ctx, b.Work, []string{"GOBIN=" + tmp}, "install", "-trimpath", "-ldflags=-s -w", natsModule+"@"+NATSVersion); err != nil {
		return "", fmt.Errorf("building nats-server %s: %w", NATSVersion, err)
	}
	if err := os.Rename(filepath.Join(tmp, "nats-server"), path); err != nil {
		return "", fmt.Errorf("keeping nats-server: %w", err)
	}
	return path, nil
}

// Leak returns the path of the example's binary.
func (b Builder) Leak(ctx context.Context) (string, error) {
	var err error
	if b.Source != "" {
		err = run(ctx, b.Source, nil, "build", "-trimpath", "-ldflags=-s -w", "-o", filepath.Join(b.Work, Example), "./examples/"+Example)
	} else {
		err = run(ctx, b.Work, []string{"GOBIN=" + b.Work}, "install", "-trimpath", "-ldflags=-s -w", module+"/examples/"+Example+"@latest")
		if err != nil && ctx.Err() == nil {
			err = &outsideError{err}
		}
	}
	if err != nil {
		return "", fmt.Errorf("building examples/%s: %w", Example, err)
	}
	return filepath.Join(b.Work, Example), nil
}

// toolchain is the version of the go command, for the name of a directory.
func toolchain(ctx context.Context) string {
	out, err := exec.CommandContext(ctx, "go", "env", "GOVERSION").Output()
	if err != nil {
		return "go"
	}
	v, _, _ := strings.Cut(strings.TrimSpace(string(out)), " ")
	return filepath.Base("x/" + v)
}

// run runs the go command apart from any workspace.
func run(ctx context.Context, dir string, env []string, args ...string) error {
	if _, err := exec.LookPath("go"); err != nil {
		return &MissingGoError{err}
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(append(os.Environ(), "GOWORK=off", "CGO_ENABLED=0"), env...)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("go %s: %w: %s", args[0], err, lastLine(out.String()))
	}
	return nil
}

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return s[strings.LastIndexByte(s, '\n')+1:]
}
