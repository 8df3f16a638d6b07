package subject

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
)

// older is another toolchain than the one that runs the tests.
const older = "go1.24.13"

const smallProgram = `package main

import "os"

var what = "plain"

func main() { os.Stdout.WriteString(what) }
`

// small are the files of a program that builds quickly.
var small = map[string]string{
	"go.mod":   "module example.com/small\n\ngo 1.20\n",
	"main.go":  smallProgram,
	"extra.go": "//go:build extra\n\npackage main\n\nfunc init() { what = \"extra\" }\n",
}

func lay(t testing.TB, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// builder has an own cache and plan directory, and no network.
func builder(t testing.TB) (*Builder, *bytes.Buffer) {
	t.Helper()
	t.Setenv("GOPROXY", "off")
	t.Setenv("GOFLAGS", "")
	t.Setenv("GOTOOLCHAIN", "local")
	log := new(bytes.Buffer)
	return &Builder{CacheDir: filepath.Join(t.TempDir(), "cache"), Base: t.TempDir(), Log: log}, log
}

func mustBuild(t testing.TB, b *Builder, s experiment.Subject, v experiment.Variant) Program {
	t.Helper()
	p, err := b.Build(t.Context(), s, v)
	if err != nil {
		t.Fatal(err)
	}
	left, err := filepath.Glob(filepath.Join(b.CacheDir, building+"*"))
	if err != nil || len(left) > 0 {
		t.Errorf("the build has left %v, %v", left, err)
	}
	return p
}

func says(t testing.TB, p Program) string {
	t.Helper()
	out, err := exec.Command(p.Path).Output()
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// haveToolchain skips a test if a Go release is not here.
func haveToolchain(t testing.TB, name string) {
	t.Helper()
	cmd := exec.Command("go", "version")
	cmd.Env = append(os.Environ(), "GOTOOLCHAIN="+name, "GOPROXY=off")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Skipf("no toolchain %s here: %s", name, out)
	}
}

func TestBuildSource(t *testing.T) {
	b, _ := builder(t)
	lay(t, filepath.Join(b.Base, "small"), small)
	lay(t, filepath.Join(b.Base, "copy"), small)
	// An empty profile is one, and always the same: the standard library is built
	// anew for another.
	lay(t, b.Base, map[string]string{"cpu.pprof": ""})

	s := experiment.Subject{Source: "small"}
	base := mustBuild(t, b, s, experiment.Variant{Name: "base"})
	if got := says(t, base); got != "plain" {
		t.Errorf("it says %q", got)
	}
	info, err := os.Stat(base.Path)
	if err != nil {
		t.Fatal(err)
	}
	if got := base.Build; got.GoVersion != runtime.Version() || got.Module != "example.com/small" || got.Bytes != info.Size() || len(got.SHA256) != 64 {
		t.Errorf("the build is %+v", got)
	}
	for _, tt := range []struct {
		name     string
		source   string
		v        experiment.Variant
		same     bool
		says     string
		settings string
	}{
		{name: "again", same: true, says: "plain"},
		{name: "elsewhere", source: "copy", same: true, says: "plain"},
		{name: "settings of the run", v: experiment.Variant{GOGC: "50", Args: []string{"x"}, MemoryLimit: 1 << 30}, same: true, says: "plain"},
		{name: "tags", v: experiment.Variant{Tags: []string{"extra", "other"}}, says: "extra", settings: "-tags=extra,other"},
		{name: "ldflags", v: experiment.Variant{BuildFlags: []string{"-ldflags", "-s -w -X main.what=linked"}}, says: "linked"},
		{name: "gcflags", v: experiment.Variant{BuildFlags: []string{"-gcflags=-N -l"}}, says: "plain", settings: `-gcflags="-N -l"`},
		{name: "experiment", v: experiment.Variant{GOEXPERIMENT: "nogreenteagc"}, says: "plain", settings: "GOEXPERIMENT=nogreenteagc"},
		{name: "profile", v: experiment.Variant{PGO: "cpu.pprof"}, says: "plain", settings: "-pgo=cpu.pprof"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := s
			if tt.source != "" {
				s.Source = tt.source
			}
			tt.v.Name = "v"
			p := mustBuild(t, b, s, tt.v)
			if (p.Build.SHA256 == base.Build.SHA256) != tt.same {
				t.Errorf("the same binary as the base: %t", !tt.same)
			}
			if got := says(t, p); got != tt.says {
				t.Errorf("it says %q, want %q", got, tt.says)
			}
			if !strings.Contains(" "+p.Build.Settings+" ", " "+tt.settings) {
				t.Errorf("its settings are %s", p.Build.Settings)
			}
		})
	}
	t.Run("toolchain", func(t *testing.T) {
		haveToolchain(t, older)
		if p := mustBuild(t, b, s, experiment.Variant{Name: "v", Toolchain: older}); p.Build.GoVersion != older {
			t.Errorf("it was built with %s", p.Build.GoVersion)
		}
	})
}

func TestBuildCommand(t *testing.T) {
	b, _ := builder(t)
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(exe, filepath.Join(b.Base, "prog")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", b.Base+string(filepath.ListSeparator)+os.Getenv("PATH"))
	var sums []string
	for _, name := range []string{exe, "./prog", "prog"} {
		p := mustBuild(t, b, experiment.Subject{Command: []string{name, "x"}}, experiment.Variant{Name: "v", GOGC: "50"})
		if !filepath.IsAbs(p.Path) || p.Build.GoVersion != runtime.Version() || p.Build.Bytes == 0 {
			t.Errorf("%s: %+v", name, p)
		}
		sums = append(sums, p.Build.SHA256)
	}
	if sums[0] != sums[1] || sums[0] != sums[2] {
		t.Errorf("one program has the sums %v", sums)
	}
	// A plan in the current directory has no name of a directory before its own.
	here, _ := builder(t)
	t.Chdir(b.Base)
	t.Setenv("PATH", "")
	here.Base = "."
	if p := mustBuild(t, here, experiment.Subject{Command: []string{"./prog"}}, experiment.Variant{Name: "v"}); p.Build.SHA256 != sums[0] {
		t.Errorf("./prog is %+v", p)
	}
	t.Setenv("PATH", os.Getenv("PATH")+"/bin:/usr/bin")
	if p := mustBuild(t, b, experiment.Subject{Command: []string{"sh"}}, experiment.Variant{}); p.Build.GoVersion != "" || p.Build.SHA256 == "" {
		t.Errorf("the shell is %+v", p.Build)
	}
}

func git(t testing.TB, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", append([]string{"-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false", "-C", dir}, args...)...)
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_SYSTEM=/dev/null")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

func TestBuildGit(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skipf("no git here: %v", err)
	}
	b, log := builder(t)
	repo := filepath.Join(b.Base, "repo")
	module := filepath.Join(repo, "server") // not at the top of the repository
	lay(t, filepath.Join(module, "cmd", "small"), map[string]string{"main.go": smallProgram})
	lay(t, module, map[string]string{"go.mod": small["go.mod"]})
	// What archives leave out is in a build all the same.
	lay(t, repo, map[string]string{".gitattributes": "*.go export-ignore\n"})
	git(t, repo, "init", "-q", "-b", "main")
	git(t, repo, "add", ".")
	git(t, repo, "commit", "-q", "-m", "one")
	lay(t, repo, map[string]string{"README": "only words\n"})
	git(t, repo, "add", ".")
	git(t, repo, "commit", "-q", "-m", "two")
	lay(t, filepath.Join(module, "cmd", "small"), map[string]string{"main.go": strings.Replace(smallProgram, "plain", "three", 1)})
	git(t, repo, "commit", "-q", "-a", "-m", "three")
	git(t, repo, "tag", "v3")
	lay(t, filepath.Join(module, "cmd", "small"), map[string]string{"main.go": "not committed"})
	before := git(t, repo, "status", "--porcelain")

	// A hook would have this, and mean its own repository by it.
	t.Setenv("GIT_DIR", filepath.Join(b.Base, "none"))
	s := experiment.Subject{Git: &experiment.Git{Repository: "repo/server", Package: "./cmd/small", Revision: "main~2"}}
	one := mustBuild(t, b, s, experiment.Variant{Name: "one"})
	two := mustBuild(t, b, s, experiment.Variant{Name: "two", Revision: "main~1"})
	three := mustBuild(t, b, s, experiment.Variant{Name: "three", Revision: "v3"})
	if a, b, c := says(t, one), says(t, two), says(t, three); a != "plain" || b != "plain" || c != "three" {
		t.Errorf("they say %q, %q, %q", a, b, c)
	}
	if one.Build.SHA256 != two.Build.SHA256 || one.Build.SHA256 == three.Build.SHA256 {
		t.Error("two revisions with the same code must give the same binary, and only they")
	}
	log.Reset()
	if again := mustBuild(t, b, s, experiment.Variant{Name: "again", Revision: "v3"}); again.Build != three.Build || again.Path != three.Path || log.Len() > 0 {
		t.Errorf("built again: %+v; %s", again, log)
	}
	os.Unsetenv("GIT_DIR")
	if want := "example.com/small@" + git(t, repo, "rev-parse", "v3")[:12]; three.Build.Module != want {
		t.Errorf("the module is %s, want %s", three.Build.Module, want)
	}
	if after := git(t, repo, "status", "--porcelain"); after != before {
		t.Errorf("the work tree is\n%s\nand was\n%s", after, before)
	}
	if trees := git(t, repo, "worktree", "list"); strings.Count(trees, "\n") > 0 {
		t.Errorf("there is another work tree:\n%s", trees)
	}

	bare := filepath.Join(b.Base, "bare.git")
	git(t, b.Base, "clone", "-q", "--bare", repo, bare)
	s.Git = &experiment.Git{Repository: "bare.git", Package: "./server/cmd/small"}
	if p := mustBuild(t, b, s, experiment.Variant{Name: "bare", Revision: "v3"}); p.Build != three.Build {
		t.Errorf("from a bare repository: %+v", p.Build)
	}
	for _, pkg := range []string{"./server/nonesuch", "../x", "./server/go.mod", "example.com/small"} {
		s.Git.Package = pkg
		_, err := b.Build(t.Context(), s, experiment.Variant{Name: "v", Revision: "v3"})
		if e := new(BuildError); !errors.As(err, &e) {
			t.Errorf("package %s: error %v", pkg, err)
		}
	}
}

// proxy makes a module proxy of files that has one module, and has the go command
// use it.
func proxy(t testing.TB, dir, module, version string, files map[string]string) {
	t.Helper()
	var z bytes.Buffer
	w := zip.NewWriter(&z)
	for name, text := range files {
		f, err := w.Create(module + "@" + version + "/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write([]byte(text)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	lay(t, filepath.Join(dir, module, "@v"), map[string]string{
		"list": version + "\n", version + ".mod": files["go.mod"], version + ".zip": z.String(),
		version + ".info": fmt.Sprintf(`{"Version":%q}`, version),
	})
	t.Setenv("GOPROXY", "file://"+dir)
	t.Setenv("GONOSUMDB", "*")
}

func TestBuildPackage(t *testing.T) {
	b, log := builder(t)
	t.Setenv("GOMODCACHE", filepath.Join(t.TempDir(), "mod"))
	t.Setenv("GOFLAGS", "-modcacherw")
	dir := t.TempDir()
	// A replace directive, which go install would refuse.
	mod := "module example.com/small\n\ngo 1.22\n\nreplace example.com/x => ../x\n"
	proxy(t, dir, "example.com/small", "v1.2.3", map[string]string{"go.mod": mod, "cmd/hello/main.go": smallProgram})
	s := experiment.Subject{Package: "example.com/small/cmd/hello@v1.2.3"}
	p := mustBuild(t, b, s, experiment.Variant{Name: "v"})
	if got := says(t, p); got != "plain" || filepath.Base(p.Path) != "hello" {
		t.Errorf("%s says %q", p.Path, got)
	}
	if p.Build.Module != "example.com/small@v1.2.3" {
		t.Errorf("the module is %s", p.Build.Module)
	}
	// The defaults of the package's own go line, as go install has them.
	if !strings.Contains(p.Build.Settings, "DefaultGODEBUG=") || strings.Contains(p.Build.Settings, "panicnil=1") {
		t.Errorf("the settings are %s", p.Build.Settings)
	}

	// Once built, nothing is asked for.
	t.Setenv("GOPROXY", "off")
	t.Setenv("GOMODCACHE", filepath.Join(t.TempDir(), "empty"))
	log.Reset()
	if again := mustBuild(t, b, s, experiment.Variant{Name: "w"}); again != p || log.Len() > 0 {
		t.Errorf("built again: %+v; %s", again, log)
	}
	_, err := b.Build(t.Context(), s, experiment.Variant{Name: "w", Version: "v1.2.4"})
	if e := new(BuildError); !errors.As(err, &e) || !strings.Contains(e.Hint(), "GOPROXY") {
		t.Errorf("another version: %v", err)
	}

	// A binary in the cache that was changed is not taken.
	if err := os.Chmod(p.Path, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p.Path, []byte("changed"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := b.Build(t.Context(), s, experiment.Variant{Name: "v"}); err == nil {
		t.Error("a changed binary was taken from the cache")
	}
}

func TestBuildErrors(t *testing.T) {
	b, _ := builder(t)
	lay(t, filepath.Join(b.Base, "small"), small)
	lay(t, filepath.Join(b.Base, "broken"), map[string]string{"go.mod": small["go.mod"], "main.go": "package main\n\nfunc main() { undefined() }\n"})
	lay(t, filepath.Join(b.Base, "library"), map[string]string{"go.mod": small["go.mod"], "x.go": "package x\n"})
	lay(t, filepath.Join(b.Base, "newer"), map[string]string{"go.mod": "module x\n\ngo 1.99\n", "main.go": smallProgram})
	lay(t, filepath.Join(b.Base, "needs"), map[string]string{"go.mod": small["go.mod"], "main.go": "package main\n\nimport _ \"example.com/absent\"\n\nfunc main() {}\n"})
	source := func(dir string) experiment.Subject { return experiment.Subject{Source: dir} }
	for _, tt := range []struct {
		name string
		s    experiment.Subject
		v    experiment.Variant
		want string // in the error
		hint string // in the hint
	}{
		{"does not compile", source("broken"), experiment.Variant{}, "main.go:3:15: undefined: undefined", ""},
		{"no program", source("library"), experiment.Variant{}, "no main packages to build", "main package"},
		{"no directory", source("absent"), experiment.Variant{}, "no such file", "relative to the plan"},
		{"a file", source("small/main.go"), experiment.Variant{}, "is not a directory", "relative to the plan"},
		{"needs a newer Go", source("newer"), experiment.Variant{}, "go >= 1.99", "later toolchain"},
		{"missing module", source("needs"), experiment.Variant{}, "example.com/absent", ""},
		{"missing toolchain", source("small"), experiment.Variant{Toolchain: "go1.99.1"}, "go1.99.1", "no such toolchain"},
		{"unknown experiment", source("small"), experiment.Variant{GOEXPERIMENT: "strange"}, "unknown GOEXPERIMENT strange", "does not have that experiment"},
		{"missing profile", source("small"), experiment.Variant{PGO: "absent.pprof"}, "opening the profile", "CPU profile"},
		{"a flag of ours", source("small"), experiment.Variant{BuildFlags: []string{"-o=x"}}, "-o has a key", ""},
		{"missing command", experiment.Subject{Command: []string{"heapwright-nonesuch"}}, experiment.Variant{}, "not found", "PATH"},
		{"command no file", experiment.Subject{Command: []string{"./small"}}, experiment.Variant{}, "", "PATH"},
		{"no version", experiment.Subject{Package: "example.com/x"}, experiment.Variant{}, `"example.com/x"`, "@v1.2.3"},
		{"a path", experiment.Subject{Package: "./x@v1.0.0"}, experiment.Variant{}, `"./x@v1.0.0"`, "@v1.2.3"},
		{"no repository", experiment.Subject{Git: &experiment.Git{Repository: "small", Revision: "main"}}, experiment.Variant{}, `no revision "main"`, "git fetch"},
		{"no revision", experiment.Subject{Git: &experiment.Git{Repository: "small"}}, experiment.Variant{}, "there is no revision", "git.revision"},
		{"an option as a revision", experiment.Subject{Git: &experiment.Git{Repository: "small", Revision: "--help"}}, experiment.Variant{}, `no revision "--help"`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.v.Name = "fast"
			_, err := b.Build(t.Context(), tt.s, tt.v)
			e := new(BuildError)
			if !errors.As(err, &e) {
				t.Fatalf("error %v", err)
			}
			if !strings.Contains(err.Error(), tt.want) || !strings.HasPrefix(err.Error(), "building variant fast: ") || !strings.Contains(e.Hint(), tt.hint) {
				t.Errorf("error %v\nhint %s\nwant %q, %q", err, e.Hint(), tt.want, tt.hint)
			}
		})
	}
	t.Run("no go", func(t *testing.T) {
		t.Setenv("PATH", t.TempDir())
		_, err := b.Build(t.Context(), source("small"), experiment.Variant{Name: "v"})
		if e := new(BuildError); !errors.As(err, &e) || !strings.Contains(e.Hint(), "install Go") {
			t.Errorf("error %v", err)
		}
	})
	t.Run("interrupted", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := b.Build(ctx, source("small"), experiment.Variant{Name: "v"}); !errors.Is(err, context.Canceled) {
			t.Errorf("error %v", err)
		}
	})
	t.Run("cache is no directory", func(t *testing.T) {
		other := *b
		other.CacheDir = filepath.Join(b.Base, "small", "main.go")
		if _, err := other.Build(t.Context(), source("small"), experiment.Variant{Name: "v"}); err == nil || !strings.Contains(err.Error(), "making the cache") {
			t.Errorf("error %v", err)
		}
	})
}

// TestBuildAtOnce builds the same in two builders that share a cache.
func TestBuildAtOnce(t *testing.T) {
	b, _ := builder(t)
	lay(t, filepath.Join(b.Base, "small"), small)
	var wg sync.WaitGroup
	paths := make([]string, 4)
	for i := range paths {
		wg.Go(func() {
			mine := Builder{CacheDir: b.CacheDir, Base: b.Base}
			p, err := mine.Build(t.Context(), experiment.Subject{Source: "small"}, experiment.Variant{Name: "v"})
			if err != nil {
				t.Error(err)
			}
			paths[i] = p.Path
		})
	}
	wg.Wait()
	for _, p := range paths {
		if p != paths[0] {
			t.Errorf("the paths are %q", paths)
		}
	}
}

func TestCheckBuild(t *testing.T) {
	source := experiment.Subject{Source: "x"}
	command := experiment.Subject{Command: []string{"x"}}
	flags := func(f ...string) experiment.Variant { return experiment.Variant{BuildFlags: f} }
	for _, tt := range []struct {
		name string
		s    experiment.Subject
		v    experiment.Variant
		want string // "" is fine
	}{
		{"nothing", experiment.Subject{}, experiment.Variant{}, "has 0 of command"},
		{"two", experiment.Subject{Source: "x", Package: "y@v1.0.0"}, experiment.Variant{}, "has 2 of command"},
		{"command", command, experiment.Variant{GOGC: "50"}, ""},
		{"command with a toolchain", command, experiment.Variant{Toolchain: "go1.24.1"}, "a command is run as it is"},
		{"command with tags", command, experiment.Variant{Tags: []string{"x"}}, "a command is run as it is"},
		{"revision of a source", source, experiment.Variant{Revision: "x"}, "revision needs"},
		{"version of a source", source, experiment.Variant{Version: "v1.0.0"}, "version needs"},
		{"toolchain", source, experiment.Variant{Toolchain: "go1.24.13"}, ""},
		{"release candidate", source, experiment.Variant{Toolchain: "go1.28rc1"}, ""},
		{"toolchain without go", source, experiment.Variant{Toolchain: "1.24.1"}, "write go1.27.4"},
		{"toolchain and more", source, experiment.Variant{Toolchain: "go1.24.1+auto"}, "write go1.27.4"},
		{"experiments", source, experiment.Variant{GOEXPERIMENT: "nogreenteagc,jsonv2"}, ""},
		{"no experiment", source, experiment.Variant{GOEXPERIMENT: "a b"}, "write names with commas"},
		{"bad tag", source, experiment.Variant{Tags: []string{"a,b"}}, "a tag is letters"},
		{"flags", source, flags("-race", "-ldflags=-s -w", "--gcflags", "-N -l", "-p=2"), ""},
		{"output", source, flags("-o", "x"), "-o has a key"},
		{"output with two dashes", source, flags("--o=x"), "-o has a key"},
		{"tags as a flag", source, flags("-tags=x"), "-tags has a key of its own: tags"},
		{"toolexec", source, flags("-toolexec=rm"), "may not be set here"},
		{"exec", source, flags("-exec=rm"), "may not be set here"},
		{"overlay", source, flags("-overlay=x.json"), "may not be set here"},
		{"chdir", source, flags("-C=/"), "may not be set here"},
		{"package", source, flags("./other"), "is not a flag"},
		{"no value", source, flags("-race", "-ldflags"), "needs a value"},
		{"hidden in a value", source, flags("-race", "x", "-ldflags=y"), "is not a flag"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := CheckBuild(tt.s, tt.v)
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
		})
	}
}
