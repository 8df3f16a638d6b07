package subject

import (
	"bufio"
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/heapwright/heapwright/e2e/servers"
)

// workloadsPackage is the program that does the work.
const workloadsPackage = "github.com/heapwright/heapwright/e2e/workloads"

// workloads are its kinds of work.
var workloads = []string{"webcache", "pointers", "gotypes", "json", "kv", "bytes", "phases", "tinyheap"}

// Workloads are the subjects that were written for the purpose.
func Workloads() (out []Subject) {
	for _, name := range workloads {
		out = append(out, Subject{Name: name, build: buildWorkloads, start: func(ctx context.Context, s start) (*Run, error) {
			return startWorkload(ctx, name, s)
		}})
	}
	return out
}

// buildWorkloads builds the program in a module of its own, whose go line is the
// toolchain's: it then runs with that release's defaults, and it may be older than
// this module allows.
func buildWorkloads(ctx context.Context, toolchain string) (string, error) {
	src, err := exec.CommandContext(ctx, "go", "list", "-f", "{{.Dir}}", workloadsPackage).Output()
	if err != nil {
		return "", fmt.Errorf("finding the sources of %s (run this inside the repository): %w", workloadsPackage, err)
	}
	files, err := filepath.Glob(filepath.Join(strings.TrimSpace(string(src)), "*.go"))
	if err != nil {
		return "", err
	}
	cache, err := servers.CacheDir()
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	tmp, err := os.MkdirTemp(cache, ".building-workloads-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(tmp)
	sum := sha256.New()
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		text, err := os.ReadFile(file)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(sum, "%s %d\n%s", filepath.Base(file), len(text), text)
		if err := os.WriteFile(filepath.Join(tmp, filepath.Base(file)), text, 0o644); err != nil {
			return "", err
		}
	}
	dir := filepath.Join(cache, fmt.Sprintf("workloads-%s-%x", toolchain, sum.Sum(nil)[:4]))
	bin := filepath.Join(dir, "workloads")
	if _, err := os.Stat(bin); err == nil {
		return bin, nil
	}
	mod := "module workloads\n\ngo " + strings.TrimPrefix(toolchain, "go") + "\n"
	if err := os.WriteFile(filepath.Join(tmp, "go.mod"), []byte(mod), 0o644); err != nil {
		return "", err
	}
	if _, err := run(ctx, tmp, toolchain, "build", "-trimpath", "-o", "workloads", "."); err != nil {
		return "", err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	return bin, os.Rename(filepath.Join(tmp, "workloads"), bin)
}

// readyTimeout is long: near the lowest limits a program gets ready slowly.
const readyTimeout = 2 * time.Minute

func startWorkload(ctx context.Context, name string, s start) (*Run, error) {
	goroot, err := run(ctx, s.dir, s.toolchain, "env", "GOROOT")
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(s.bin, "-run", name, "-for", s.limit.String(), "-goroot", goroot)
	cmd.Env = append(cleanEnv(), s.env...)
	cmd.SysProcAttr = dieWithUs
	if s.wrap != nil {
		s.wrap(cmd)
	}
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	ready := make(chan struct{})
	ended := make(chan struct{})
	var said string
	var waitErr error
	go func() {
		defer close(ended)
		for sc := bufio.NewScanner(stdout); sc.Scan(); {
			if said = sc.Text(); said == "ready" {
				close(ready)
			}
		}
		waitErr = cmd.Wait()
	}()
	kill := func() {
		cmd.Process.Kill()
		<-ended
	}
	select {
	case <-ready:
	case <-ended:
		return nil, fmt.Errorf("it ended: %v\n%.2000s", waitErr, stderr.Bytes())
	case <-time.After(readyTimeout):
		kill()
		return nil, errors.New("it does not get ready")
	case <-ctx.Done():
		kill()
		return nil, ctx.Err()
	}
	return &Run{PID: cmd.Process.Pid, Stop: func() (string, error) {
		select {
		case <-ended:
			return said, fmt.Errorf("%s had ended by itself: %v\n%.2000s", name, waitErr, stderr.Bytes())
		default:
		}
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(20 * time.Second):
			kill()
		}
		return said, nil
	}}, nil
}
