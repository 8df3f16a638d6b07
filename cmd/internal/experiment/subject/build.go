package subject

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
)

// A Builder builds the programs of an experiment and keeps them. Several may
// share a cache, in one process or in many.
type Builder struct {
	CacheDir string
	Base     string    // directory of the plan, which its paths are relative to
	Log      io.Writer // what is being built; nil for nothing
}

// A Program is an executable.
type Program struct {
	Path  string
	Build experiment.Build // all but Variant

	stamp stamp
}

// wrapper is the main module that packages at a version are built in: as a
// dependency, since go install refuses modules with replace directives.
const wrapper = "heapwright.invalid/subject"

// Build returns the program of a variant. What was built before from the same
// inputs is taken from the cache, without the network. The error is a
// [*BuildError], or the context's.
func (b *Builder) Build(ctx context.Context, s experiment.Subject, v experiment.Variant) (Program, error) {
	if err := CheckBuild(s, v); err != nil {
		return Program{}, &BuildError{Variant: v.Name, Err: err}
	}
	var p Program
	var err error
	switch {
	case len(s.Command) > 0:
		p, err = b.find(s.Command[0])
	case s.Package != "":
		p, err = b.buildPackage(ctx, s.Package, v)
	case s.Source != "":
		p, err = b.buildSource(ctx, s.Source, v)
	default:
		p, err = b.buildGit(ctx, *s.Git, v)
	}
	if err == nil {
		return p, nil
	}
	if ctx.Err() != nil {
		return Program{}, fmt.Errorf("building variant %s: %w", v.Name, ctx.Err())
	}
	if known := new(BuildError); errors.As(err, &known) {
		known.Variant = v.Name
		return Program{}, known
	}
	return Program{}, &BuildError{Variant: v.Name, Err: err}
}

// find finds an executable: by PATH when its name has no slash, relative to the
// plan otherwise.
func (b *Builder) find(name string) (Program, error) {
	path := name
	var err error
	if strings.ContainsRune(name, filepath.Separator) {
		// Absolute, as ./server beside the plan would else be looked for by PATH.
		if path, err = filepath.Abs(b.path(name)); err != nil {
			return Program{}, err
		}
	}
	if path, err = exec.LookPath(path); err != nil {
		return Program{}, &BuildError{Err: err, hint: "command is an executable in PATH, or a path relative to the plan"}
	}
	if path, err = filepath.Abs(path); err != nil {
		return Program{}, err
	}
	return inspect(path)
}

func (b *Builder) path(p string) string {
	if filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(b.Base, p)
}

func (b *Builder) say(format string, args ...any) {
	if b.Log != nil {
		fmt.Fprintf(b.Log, format+"\n", args...)
	}
}

// A recipe is how a variant is built, whatever it is built from.
type recipe struct {
	env   []string // over ours
	drop  []string // of ours
	flags []string
	key   string // the parts of the key that do not depend on the sources
}

// recipe makes the variant's, and asks the go command that it means for the
// environment that goes into a build. It runs in dir, whose go.mod may choose
// another toolchain.
func (b *Builder) recipe(ctx context.Context, v experiment.Variant, dir string, env, drop []string) (*recipe, error) {
	r := &recipe{env: env, drop: drop}
	// What is built here runs here; and neither where nor from which commit it
	// was built may make two equal programs differ.
	r.env = append(r.env, "GOOS="+runtime.GOOS, "GOARCH="+runtime.GOARCH)
	r.flags = append(r.flags, "-trimpath", "-buildvcs=false")
	if v.Toolchain != "" {
		r.env = append(r.env, "GOTOOLCHAIN="+v.Toolchain)
	}
	if v.GOEXPERIMENT != "" {
		r.env = append(r.env, "GOEXPERIMENT="+v.GOEXPERIMENT)
	}
	if len(v.Tags) > 0 {
		r.flags = append(r.flags, "-tags="+strings.Join(v.Tags, ","))
	}
	r.flags = append(r.flags, v.BuildFlags...)
	inputs := strings.Join(r.flags, "\x00")
	switch v.PGO {
	case "":
	case "off", "auto":
		r.flags = append(r.flags, "-pgo="+v.PGO)
		inputs += "\x00-pgo=" + v.PGO
	default:
		path, err := filepath.Abs(b.path(v.PGO))
		if err != nil {
			return nil, err
		}
		f, err := os.Open(path)
		if err != nil {
			return nil, &BuildError{Err: fmt.Errorf("opening the profile: %w", err), hint: "pgo is a CPU profile, relative to the plan"}
		}
		defer f.Close()
		sum := sha256.New()
		if _, err := io.Copy(sum, f); err != nil {
			return nil, fmt.Errorf("reading the profile: %w", err)
		}
		r.flags = append(r.flags, "-pgo="+path)
		// Its name goes into the binary, where its directory does not.
		inputs += fmt.Sprintf("\x00-pgo=%s\x00%x", filepath.Base(path), sum.Sum(nil))
	}
	out, err := r.goCommand(ctx, dir, "env", "GOVERSION", "GOOS", "GOARCH", "GOAMD64", "GOARM64", "GOFIPS140", "GOEXPERIMENT", "GOFLAGS",
		"CGO_ENABLED", "CC", "CXX", "CGO_CFLAGS", "CGO_CPPFLAGS", "CGO_CXXFLAGS", "CGO_FFLAGS", "CGO_LDFLAGS")
	if err != nil {
		return nil, err
	}
	r.key = "1\x00" + inputs + "\x00" + out
	return r, nil
}

// hash is the key of a build of these sources.
func (r *recipe) hash(sources ...string) string {
	return fmt.Sprintf("%x", sha256.Sum256([]byte(r.key+"\x00\x00"+strings.Join(sources, "\x00"))))
}

// goCommand runs the go command and returns what it printed to stdout.
func (r *recipe) goCommand(ctx context.Context, dir string, args ...string) (string, error) {
	env := os.Environ()
	for _, name := range r.drop {
		env = without(env, name)
	}
	return run(ctx, dir, append(append(env, r.env...), "PWD="+dir), "go", args...)
}

// compile builds one main package to a file of its own name below tmp.
func (r *recipe) compile(ctx context.Context, dir, tmp, pkg string) (string, error) {
	out := filepath.Join(tmp, "out") + string(filepath.Separator)
	if err := os.MkdirAll(out, 0o755); err != nil {
		return "", err
	}
	args := append(append([]string{"build", "-o", out}, r.flags...), "--", pkg)
	if _, err := r.goCommand(ctx, dir, args...); err != nil {
		return "", err
	}
	files, err := os.ReadDir(out)
	if err != nil {
		return "", err
	}
	if len(files) != 1 {
		return "", &BuildError{Command: "go build " + pkg, Err: fmt.Errorf("it made %d programs", len(files)), hint: "name one main package"}
	}
	return filepath.Join(out, files[0].Name()), nil
}

func (b *Builder) buildSource(ctx context.Context, source string, v experiment.Variant) (Program, error) {
	dir, err := filepath.Abs(b.path(source))
	if err != nil {
		return Program{}, err
	}
	if info, err := os.Stat(dir); err != nil {
		return Program{}, &BuildError{Err: err, hint: "source is the directory of a main package, relative to the plan"}
	} else if !info.IsDir() {
		return Program{}, &BuildError{Err: fmt.Errorf("%s is not a directory", dir), hint: "source is the directory of a main package, relative to the plan"}
	}
	r, err := b.recipe(ctx, v, dir, nil, nil)
	if err != nil {
		return Program{}, err
	}
	// The go command knows best what goes into a build and has it in its own cache:
	// it always runs, and the result is found by its content.
	tmp, done, err := b.workdir(ctx)
	if err != nil {
		return Program{}, err
	}
	defer done()
	b.say("building %s: %s", v.Name, source)
	path, err := r.compile(ctx, dir, tmp, ".")
	if err != nil {
		return Program{}, err
	}
	return b.keep(path, "")
}

// canonical are versions that always mean the same source.
var canonical = regexp.MustCompile(`^v\d+\.\d+\.\d+(-[0-9A-Za-z.-]+)?(\+incompatible)?$`)

func (b *Builder) buildPackage(ctx context.Context, pkg string, v experiment.Variant) (Program, error) {
	path, version, _ := strings.Cut(pkg, "@")
	if v.Version != "" {
		version = v.Version
	}
	if version == "" || strings.HasPrefix(path, "-") || strings.HasPrefix(path, ".") || filepath.IsAbs(path) {
		return Program{}, &BuildError{Err: fmt.Errorf("package %q", clean(pkg)), hint: "write a package with its version: example.com/cmd/x@v1.2.3"}
	}
	if err := os.MkdirAll(b.CacheDir, 0o755); err != nil {
		return Program{}, fmt.Errorf("making the cache: %w", err)
	}
	// What GOWORK and a go.mod around us say is about other code.
	r, err := b.recipe(ctx, v, b.CacheDir, []string{"GOWORK=off"}, nil)
	if err != nil {
		return Program{}, err
	}
	key := ""
	if canonical.MatchString(version) {
		key = r.hash("package", path, version)
		if p, ok := b.lookup(key); ok {
			return p, nil
		}
	}
	tmp, done, err := b.workdir(ctx)
	if err != nil {
		return Program{}, err
	}
	defer done()
	b.say("building %s: %s@%s", v.Name, path, version)
	// The go line is raised to what the package's module has, and with it the
	// defaults of GODEBUG are the ones that go install would give the program.
	if err := os.WriteFile(filepath.Join(tmp, "go.mod"), []byte("module "+wrapper+"\n\ngo 1.20\n"), 0o644); err != nil {
		return Program{}, err
	}
	if _, err := r.goCommand(ctx, tmp, "get", "--", path+"@"+version); err != nil {
		return Program{}, err
	}
	bin, err := r.compile(ctx, tmp, tmp, path)
	if err != nil {
		return Program{}, err
	}
	return b.keep(bin, key)
}

// buildGit builds a revision from files of its own: the repository's work tree and
// index are not touched, and no worktree is registered.
func (b *Builder) buildGit(ctx context.Context, g experiment.Git, v experiment.Variant) (Program, error) {
	revision := g.Revision
	if v.Revision != "" {
		revision = v.Revision
	}
	if revision == "" {
		return Program{}, &BuildError{Err: errors.New("there is no revision"), hint: "give git.revision, or a revision in each variant"}
	}
	repo, err := filepath.Abs(b.path(g.Repository))
	if err != nil {
		return Program{}, err
	}
	// Variables such as GIT_DIR, which hooks have, would mean another repository.
	env := os.Environ()
	for _, kv := range os.Environ() {
		if name, _, _ := strings.Cut(kv, "="); strings.HasPrefix(name, "GIT_") {
			env = without(env, name)
		}
	}
	git := func(dir string, more []string, args ...string) (string, error) {
		return run(ctx, dir, append(env[:len(env):len(env)], more...), "git", args...)
	}
	commit, err := git(repo, nil, "rev-parse", "--verify", "--quiet", "--end-of-options", revision+"^{commit}")
	if err != nil {
		if known := new(BuildError); errors.As(err, &known) && known.hint == "" {
			known.Err = fmt.Errorf("there is no revision %q in %s: %w", clean(revision), repo, known.Err)
			known.hint = "name a commit, tag or branch of that repository; git fetch may bring it"
		}
		return Program{}, err
	}
	where, err := git(repo, nil, "rev-parse", "--absolute-git-dir", "--show-prefix")
	if err != nil {
		return Program{}, err
	}
	gitDir, prefix, _ := strings.Cut(where, "\n")

	tmp, done, err := b.workdir(ctx)
	if err != nil {
		return Program{}, err
	}
	defer done()
	src := filepath.Join(tmp, "src")
	if err := os.Mkdir(src, 0o755); err != nil {
		return Program{}, err
	}
	index := []string{"GIT_INDEX_FILE=" + filepath.Join(tmp, "index")}
	if _, err := git(src, index, "--git-dir="+gitDir, "--work-tree="+src, "read-tree", commit); err != nil {
		return Program{}, err
	}
	if _, err := git(src, index, "--git-dir="+gitDir, "--work-tree="+src, "checkout-index", "--all", "--force"); err != nil {
		return Program{}, err
	}
	dir, pkg := filepath.Join(src, filepath.FromSlash(prefix)), g.Package
	if pkg == "" || strings.HasPrefix(pkg, ".") {
		// Built in its directory, as the module may begin below the repository's.
		if pkg = filepath.Join(filepath.FromSlash(prefix), pkg); !filepath.IsLocal(pkg) {
			return Program{}, &BuildError{Err: fmt.Errorf("the package %q is not in the repository", clean(g.Package)), hint: "git.package is relative to git.repository"}
		}
		dir, pkg = filepath.Join(src, pkg), "."
	}
	if info, err := os.Stat(dir); err != nil || !info.IsDir() {
		return Program{}, &BuildError{Err: fmt.Errorf("%s has no directory %s", clean(revision), strings.TrimPrefix(dir, src+"/")), hint: "git.package is relative to git.repository"}
	}
	r, err := b.recipe(ctx, v, dir, nil, []string{"GOWORK"})
	if err != nil {
		return Program{}, err
	}
	key := r.hash("git", commit, strings.TrimPrefix(dir, src), pkg)
	p, ok := b.lookup(key)
	if !ok {
		b.say("building %s: %s at %s", v.Name, g.Package, revision)
		bin, err := r.compile(ctx, dir, tmp, pkg)
		if err != nil {
			return Program{}, err
		}
		if p, err = b.keep(bin, key); err != nil {
			return Program{}, err
		}
	}
	p.Build.Module += "@" + commit[:min(12, len(commit))]
	return p, nil
}

// run runs a command that belongs to us: it ends with the context, and with us.
func run(ctx context.Context, dir string, env []string, name string, args ...string) (string, error) {
	const most = 1 << 20
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir, cmd.Env = dir, env
	var out bytes.Buffer
	tail := newRing(logBytes)
	cmd.Stdout, cmd.Stderr = &limited{w: &out, left: most, also: tail}, tail
	cmd.SysProcAttr = attributes()
	cmd.Cancel = func() error { return killGroup(cmd.Process.Pid) }
	cmd.WaitDelay = 5 * time.Second
	done := make(chan error)
	go func() {
		// The kernel kills the command when the thread that started it ends.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		done <- cmd.Run()
	}()
	if err := <-done; err != nil {
		shown := name
		if len(args) > 0 {
			shown += " " + args[0]
		}
		e := &BuildError{Command: shown, Output: lastLines(tail.String(), 20), Err: err}
		e.hint = advice(name, e.Output, err)
		return "", e
	}
	return strings.TrimSpace(out.String()), nil
}

// advice is what to do about the failures that are not the code's.
func advice(name, output string, err error) string {
	says := func(parts ...string) bool {
		for _, p := range parts {
			if strings.Contains(output, p) {
				return true
			}
		}
		return false
	}
	switch {
	case errors.Is(err, exec.ErrNotFound) && name == "go":
		return "install Go from https://go.dev/dl, or give a command as the subject"
	case errors.Is(err, exec.ErrNotFound):
		return "install " + name
	case says("toolchain not available", "toolchain@v0.0.1-go"):
		return "there is no such toolchain, or it cannot be fetched: check its name, the network and GOPROXY"
	case says("requires go >= ", "requires go1.", "requires newer Go version", "invalid go version"):
		return "the module needs a newer Go than this variant has: give the variant a later toolchain"
	case says("dial tcp", "no such host", "i/o timeout", "module lookup disabled by GOPROXY=off", "cannot query module due to -mod=vendor"):
		return "a module cannot be fetched: check the network and GOPROXY"
	case says("no main packages to build"):
		return "name the directory of a main package"
	case says("unknown GOEXPERIMENT"):
		return "this toolchain does not have that experiment; go doc goexperiment lists them"
	case says("missing go.sum entry", "updates to go.mod needed"):
		return "run go mod tidy in the subject's module first"
	}
	return ""
}

// without drops a variable from an environment.
func without(env []string, name string) []string {
	var out []string
	for _, kv := range env {
		if !strings.HasPrefix(kv, name+"=") {
			out = append(out, kv)
		}
	}
	return out
}
