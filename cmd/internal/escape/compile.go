package escape

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// A BuildError says that the packages do not build.
type BuildError struct {
	Patterns []string
	Output   string // the last of what the go command said
}

func (e *BuildError) Error() string {
	text := "building " + strings.Join(e.Patterns, " ")
	if e.Output != "" {
		text += ": " + e.Output
	}
	return text
}

// Hint says what to do.
func (e *BuildError) Hint() string {
	return "go build of the same packages shows all that is wrong with them"
}

// Options say how packages are compiled.
type Options struct {
	Dir  string   // where the patterns are looked up; "" for the current directory
	Tags string   // as go build -tags
	Env  []string // added to the environment, such as GOTOOLCHAIN=go1.26.8
}

// Compiled is what the compiler said of packages.
type Compiled struct {
	GoVersion string // that of the compiler, such as "go1.26.8"
	Packages  []Package
	Decisions []Decision
}

// Compile builds the packages that the patterns name, keeps none of what is
// built, and reads what the compiler says. What is in the build cache is not
// compiled again: the go command remembers what was said.
func Compile(ctx context.Context, patterns []string, opt Options) (*Compiled, error) {
	for _, p := range patterns {
		if strings.HasPrefix(p, "-") {
			return nil, fmt.Errorf("%q is no package", p)
		}
	}
	dir, err := filepath.Abs(opt.Dir)
	if err != nil {
		return nil, fmt.Errorf("compiling: %w", err)
	}
	goCommand := func(args ...string) *exec.Cmd {
		cmd := exec.CommandContext(ctx, "go", args...)
		cmd.Dir, cmd.Env = dir, append(os.Environ(), opt.Env...)
		return cmd
	}
	tags := []string{}
	if opt.Tags != "" {
		tags = append(tags, "-tags", opt.Tags)
	}
	c := &Compiled{}
	version := goCommand("env", "GOVERSION")
	out, err := version.Output()
	if err != nil {
		return nil, buildError(err, patterns, nil)
	}
	c.GoVersion = strings.TrimSpace(string(out))

	list := goCommand(append(append([]string{"list", "-e=false", "-json=ImportPath,Name,Dir"}, tags...), patterns...)...)
	var stderr tail
	list.Stderr = &stderr
	if out, err = list.Output(); err != nil {
		return nil, buildError(err, patterns, stderr.Bytes())
	}
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p Package
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return nil, fmt.Errorf("reading go list: %w", err)
		}
		c.Packages = append(c.Packages, p)
	}

	build := goCommand(append(append([]string{"build", "-o", os.DevNull, "-gcflags=-m=2"}, tags...), patterns...)...)
	pipe, err := build.StderrPipe()
	if err != nil {
		return nil, fmt.Errorf("compiling: %w", err)
	}
	if err := build.Start(); err != nil {
		return nil, fmt.Errorf("compiling: %w", err)
	}
	var last tail
	var parsed error
	c.Decisions, parsed = Parse(io.TeeReader(pipe, &last), dir)
	// The go command waits for who reads it.
	_, drained := io.Copy(io.Discard, pipe)
	if err := build.Wait(); err != nil {
		return nil, buildError(err, patterns, last.Bytes())
	}
	return c, errors.Join(parsed, drained)
}

// buildError tells a package that does not build from a go command that cannot
// run.
func buildError(err error, patterns []string, output []byte) error {
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		return fmt.Errorf("running the go command: %w", err)
	}
	if len(output) == 0 {
		output = exit.Stderr
	}
	return &BuildError{Patterns: patterns, Output: complaint(output)}
}

// complaint is the last line that is not one of the escape analysis, and does not
// go on from the one before.
func complaint(output []byte) string {
	lines := strings.Split(strings.TrimSpace(string(output)), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		_, text, ok := splitPosition(lines[i])
		if ok {
			if _, explains := explanation(text); explains {
				continue
			}
			if _, decides, heading := decision(text); decides || heading || strings.Contains(text, "inlin") || strings.HasPrefix(text, "leaking param") {
				continue
			}
		}
		if lines[i] != "" && !strings.HasPrefix(lines[i], "#") && !strings.HasPrefix(lines[i], "\t") {
			return clip(lines[i])
		}
	}
	return ""
}

// A tail keeps the last bytes that are written to it.
type tail struct{ buf []byte }

const tailBytes = 64 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.buf = append(t.buf, p...)
	if n := len(t.buf) - tailBytes; n > tailBytes {
		t.buf = append(t.buf[:0], t.buf[n:]...)
	}
	return len(p), nil
}

// Bytes are the last of what was written.
func (t *tail) Bytes() []byte { return t.buf[max(0, len(t.buf)-tailBytes):] }
