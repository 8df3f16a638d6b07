// Package cgroup2 has what reads and writes cgroups run on a kernel with cgroup v2, in a
// machine of package vm: the tests of the packages that do, heapwright stress with real
// servers, and kills of it. Most hosts that
// build this have either version; this is for those that have v1.
//
// It knows what to run and what came of it. What is right is said by what is run.
package cgroup2

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/heapwright/heapwright/e2e/internal/vm"
	"github.com/heapwright/heapwright/e2e/servers"
)

// A Bench is where machines are made.
type Bench struct {
	Tools *vm.Tools
	Root  string // of the repository
	Dir   string // for what is built, disks, and so on
	// Says is called with what programs say, as it comes. It may be nil.
	Says func(program int, text []byte)
}

// A Suite is what runs in one machine.
type Suite struct {
	Name      string
	MemoryMiB int
	DiskMiB   int
	Steps     []Step
	needs     []string // names of programs
}

// A Step is one program of a suite.
type Step struct {
	Name string
	// Package is that whose tests it is, "" where it is a program.
	Package string
	argv    []string
	env     []string
	group   string
	within  time.Duration
}

// Where things are in the machine.
const (
	programs = "/programs"
	tests    = "/tests"
)

// An Outcome is what came of a step.
type Outcome struct {
	Step   Step
	Result vm.Result
	Tests  Tests // where it is tests
}

// Problem is what is wrong with it, "" for nothing.
func (o Outcome) Problem() string {
	switch {
	case !o.Result.Ran:
		return cmp.Or(o.Result.Why, "it was not run")
	case o.Result.Exit != 0:
		return cmp.Or(o.Result.Why, fmt.Sprintf("it ended with %d", o.Result.Exit))
	case o.Step.Package != "" && o.Tests.Passed == 0:
		return "no test ran"
	}
	return ""
}

// Run runs a suite, and says what came of it and on which kernel. An error is that it
// could not be run to its end.
func (b *Bench) Run(ctx context.Context, s Suite) ([]Outcome, string, error) {
	dir, err := os.MkdirTemp(b.Dir, "machine-")
	if err != nil {
		return nil, "", err
	}
	defer os.RemoveAll(dir)
	files, err := vm.Programs("/bin/sh", "/bin/cat", "/bin/sleep", "/bin/true")
	if err != nil {
		return nil, "", err
	}
	init := filepath.Join(dir, "init")
	if err := vm.Build(ctx, filepath.Join(b.Root, "e2e"), init); err != nil {
		return nil, "", err
	}
	for _, name := range s.needs {
		if files[path.Join(programs, name)], err = b.program(ctx, name); err != nil {
			return nil, "", err
		}
	}
	m := &vm.Machine{
		Tools: b.Tools, Init: init, Dir: dir, Files: files, MemoryMiB: s.MemoryMiB, DiskMiB: s.DiskMiB,
		Controllers: []string{"memory", "cpu", "pids", "io"}, Boot: 3 * time.Minute, Says: b.Says,
	}
	for _, step := range s.Steps {
		p := vm.Program{Name: step.Name, Argv: step.argv, Env: step.env, Group: step.group, Within: step.within}
		if step.Package != "" {
			if err := b.tests(ctx, step, files); err != nil {
				return nil, "", err
			}
			p.Dir = path.Join(tests, step.Package)
			p.Argv = append([]string{path.Join(p.Dir, "tests")}, step.argv...)
		}
		m.Programs = append(m.Programs, p)
	}
	results, kernel, err := m.Run(ctx)
	var out []Outcome
	for i, r := range results {
		o := Outcome{Step: s.Steps[i], Result: r}
		if o.Step.Package != "" {
			o.Tests = parseTests(r.Text)
		}
		out = append(out, o)
	}
	return out, kernel, err
}

// program builds a program, once, and says where it is.
func (b *Bench) program(ctx context.Context, name string) (string, error) {
	if name == "nats" {
		return servers.NATS.Recipe.Build(ctx)
	}
	pkg := "./e2e/" + name
	switch name {
	case "heapwright":
		pkg = "./cmd/heapwright"
	case "stress":
		pkg = "./e2e/cmd/stress"
	}
	into := filepath.Join(b.Dir, name)
	return into, b.build(ctx, into, "build", pkg)
}

func (b *Bench) build(ctx context.Context, into, verb, pkg string) error {
	if _, err := os.Stat(into); err == nil {
		return nil
	}
	args := []string{verb, "-trimpath", "-ldflags=-s -w", "-o", into, pkg}
	if verb == "test" {
		args = append([]string{"test", "-c"}, args[1:]...)
	}
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Dir = b.Root
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building %s: %w\n%s", pkg, err, text)
	}
	return nil
}

// tests adds the tests of a package and their data to the files.
func (b *Bench) tests(ctx context.Context, s Step, files map[string]string) error {
	into := filepath.Join(b.Dir, strings.ReplaceAll(s.Package, "/", "-")+".test")
	if err := b.build(ctx, into, "test", "./"+s.Package); err != nil {
		return err
	}
	there := path.Join(tests, s.Package)
	files[path.Join(there, "tests")] = into
	data := filepath.Join(b.Root, s.Package, "testdata")
	err := filepath.WalkDir(data, func(name string, d os.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		rel, err := filepath.Rel(data, name)
		files[path.Join(there, "testdata", filepath.ToSlash(rel))] = name
		return err
	})
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	return err
}

// Named are the suites that have a text in their name.
func Named(all []Suite, text string) []Suite {
	return slices.DeleteFunc(slices.Clone(all), func(s Suite) bool { return !strings.Contains(s.Name, text) })
}

// Only is the suite with those of its steps that have a text in their name.
func (s Suite) Only(text string) Suite {
	s.Steps = slices.DeleteFunc(slices.Clone(s.Steps), func(s Step) bool { return !strings.Contains(s.Name, text) })
	return s
}
