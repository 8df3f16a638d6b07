package servers

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
)

// A Recipe says which program to build and how. Two equal recipes give the same
// binary, so the cache is keyed by all of it.
type Recipe struct {
	Name    string // base name of the binary
	Package string // import path of the main package
	Module  string // module that holds it
	Version string // pinned version of the module

	// Wrapped recipes are built as a dependency of a throw-away module:
	// `go install` refuses a module whose go.mod has replace directives.
	Wrapped bool

	// Main, when set, is the source of the main package, for a program that its project
	// means to be put together from parts. Requires are the modules of the parts, at
	// their versions, a line each as in go.mod; Package, Module and Version only name it.
	Main, Requires string

	// Symbols keeps the symbol table and DWARF. The default is stripped, as
	// these projects ship their releases.
	Symbols bool
	// Toolchain is a Go release such as "go1.24.6", "" for the one in use.
	Toolchain string
}

// flags are the arguments of the build beside the package.
func (r Recipe) flags() []string {
	f := []string{"-trimpath"}
	if !r.Symbols {
		f = append(f, "-ldflags=-s -w")
	}
	return f
}

func (r Recipe) toolchain() string {
	if r.Toolchain != "" {
		return r.Toolchain
	}
	return runtime.Version()
}

// dir is the recipe's directory below the cache, named for people and made
// unique by a hash of everything that goes into the build.
func (r Recipe) dir() string {
	key := fmt.Sprintf("1|%s|%s@%s|%s|%s/%s|%q|%t", r.Package, r.Module, r.Version, r.toolchain(), runtime.GOOS, runtime.GOARCH, r.flags(), r.Wrapped)
	if r.Main != "" {
		key += "|" + r.Main + "|" + r.Requires
	}
	sum := sha256.Sum256([]byte(key))
	return fmt.Sprintf("%s-%s-%s-%x", r.Name, r.Version, r.toolchain(), sum[:4])
}

// CacheDir is where built servers are kept: $HEAPWRIGHT_CACHE/subjects, or
// heapwright/subjects below the user's cache directory.
func CacheDir() (string, error) {
	if dir := os.Getenv("HEAPWRIGHT_CACHE"); dir != "" {
		return filepath.Join(dir, "subjects"), nil
	}
	base, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("finding the cache directory: %w", err)
	}
	return filepath.Join(base, "heapwright", "subjects"), nil
}

// Path is where Build puts the binary, and whether it is there already.
func (r Recipe) Path() (path string, built bool, err error) {
	cache, err := CacheDir()
	if err != nil {
		return "", false, err
	}
	path = filepath.Join(cache, r.dir(), r.Name)
	_, err = os.Stat(path)
	return path, err == nil, nil
}

// Build returns the path of the recipe's binary, building it unless the cache
// has it. A second process that wants the same binary waits for the first, and
// all builds of the cache take turns: two at once only make both slower.
func (r Recipe) Build(ctx context.Context) (string, error) {
	path, built, err := r.Path()
	if err != nil || built {
		return path, err
	}
	cache := filepath.Dir(filepath.Dir(path))
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", fmt.Errorf("making the cache of %s: %w", r.Name, err)
	}
	unlock, err := lock(ctx, filepath.Join(cache, "build.lock"))
	if err != nil {
		return "", fmt.Errorf("waiting to build %s: %w", r.Name, err)
	}
	defer unlock()
	if _, built, err := r.Path(); err != nil || built {
		return path, err
	}

	// Built beside its place and renamed into it: an interrupted build leaves
	// nothing that looks finished.
	tmp, err := os.MkdirTemp(cache, ".building-"+r.Name+"-")
	if err != nil {
		return "", fmt.Errorf("building %s: %w", r.Name, err)
	}
	defer os.RemoveAll(tmp)
	if err := r.build(ctx, tmp); err != nil {
		return "", fmt.Errorf("building %s %s: %w", r.Name, r.Version, err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return "", err
	}
	if err := os.Rename(filepath.Join(tmp, "bin", r.Name), path); err != nil {
		return "", fmt.Errorf("keeping %s: %w", r.Name, err)
	}
	return path, nil
}

func (r Recipe) build(ctx context.Context, dir string) error {
	bin := filepath.Join(dir, "bin")
	if r.Main != "" {
		return r.assemble(ctx, dir, filepath.Join(bin, r.Name))
	}
	if !r.Wrapped {
		return r.run(ctx, dir, append(append([]string{"install"}, r.flags()...), r.Package+"@"+r.Version)...)
	}
	mod := "module heapwright.invalid/subject\n\ngo " + strings.TrimPrefix(r.toolchain(), "go") + "\n"
	if err := os.WriteFile(filepath.Join(dir, "go.mod"), []byte(mod), 0o644); err != nil {
		return err
	}
	if err := r.run(ctx, dir, "get", r.Package+"@"+r.Version); err != nil {
		return err
	}
	return r.run(ctx, dir, append(append([]string{"build"}, r.flags()...), "-o", filepath.Join(bin, r.Name), r.Package)...)
}

// assemble builds a program from its main package's source.
func (r Recipe) assemble(ctx context.Context, dir, bin string) error {
	mod := "module heapwright.invalid/subject\n\ngo " + strings.TrimPrefix(r.toolchain(), "go") + "\n\nrequire (\n" + r.Requires + "\n)\n"
	for name, text := range map[string]string{"go.mod": mod, "main.go": r.Main} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return r.run(ctx, dir, append(append([]string{"build", "-mod=mod"}, r.flags()...), "-o", bin, ".")...)
}

// run runs the go command in dir, apart from any workspace or flags of the
// caller, so that the same recipe gives the same binary everywhere.
func (r Recipe) run(ctx context.Context, dir string, args ...string) error {
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOBIN="+filepath.Join(dir, "bin"), "GOWORK=off", "GOFLAGS=-buildvcs=false",
		"CGO_ENABLED=0", "GOEXPERIMENT=", "GOAMD64=v1", "GOTOOLCHAIN="+r.toolchain())
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("go %s: %w\n%s", strings.Join(args, " "), err, tail(out.String(), 20))
	}
	return nil
}

// lock takes an exclusive lock on a file until unlock or the end of the process.
func lock(ctx context.Context, path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	done := make(chan error, 1)
	go func() {
		for {
			err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX)
			if !errors.Is(err, syscall.EINTR) {
				done <- err
				return
			}
		}
	}()
	select {
	case err := <-done:
		if err != nil {
			f.Close()
			return nil, err
		}
		return func() { f.Close() }, nil
	case <-ctx.Done():
		// The goroutine may still get the lock; it is given back with the file.
		go func() { <-done; f.Close() }()
		return nil, ctx.Err()
	}
}

func tail(s string, lines int) string {
	all := strings.Split(strings.TrimRight(s, "\n"), "\n")
	if len(all) > lines {
		all = all[len(all)-lines:]
	}
	return strings.Join(all, "\n")
}
