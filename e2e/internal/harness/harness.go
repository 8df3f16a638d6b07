// Package harness drives Heapwright as its users do: it builds the binary, runs
// it, and reads its --json. It also starts the programs that Heapwright is to
// look at. It knows nothing of Heapwright's packages.
package harness

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A Product is the built binary and the built example programs.
type Product struct {
	Binary string // heapwright
	dir    string
	root   string // of the repository
}

// Build builds heapwright and the examples of the repository at root into a
// directory that everybody may read: some tests run them as another user. With
// HEAPWRIGHT_E2E_BINARY it takes that for heapwright, to test a release.
func Build(root string) (*Product, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "heapwright-e2e-")
	if err != nil {
		return nil, fmt.Errorf("making a directory for the binaries: %w", err)
	}
	p := &Product{Binary: filepath.Join(dir, "heapwright"), dir: dir, root: root}
	if err := os.Chmod(dir, 0o755); err != nil {
		return p, err
	}
	if err := os.Mkdir(filepath.Join(dir, "examples"), 0o755); err != nil {
		return p, err
	}
	// Those of examples/faults are many, and built by who wants them.
	mains, err := filepath.Glob(filepath.Join(root, "examples", "*", "main.go"))
	if err != nil {
		return p, err
	}
	var examples []string
	for _, file := range mains {
		examples = append(examples, "./examples/"+filepath.Base(filepath.Dir(file)))
	}
	builds := []struct {
		dir, out string
		pkgs     []string
	}{
		{root, filepath.Join(dir, "examples") + "/", examples},
		{filepath.Join(root, "cmd"), p.Binary, []string{"./heapwright"}},
	}
	if binary := os.Getenv("HEAPWRIGHT_E2E_BINARY"); binary != "" {
		p.Binary, builds = binary, builds[:1]
	}
	for _, b := range builds {
		cmd := exec.Command("go", append([]string{"build", "-o", b.out}, b.pkgs...)...)
		cmd.Dir = b.dir
		if out, err := cmd.CombinedOutput(); err != nil {
			return p, fmt.Errorf("building %v: %w\n%s", b.pkgs, err, out)
		}
	}
	return p, nil
}

// Close removes what Build made.
func (p *Product) Close() { os.RemoveAll(p.dir) }

// Example returns the path of an example program's binary.
func (p *Product) Example(name string) string { return filepath.Join(p.dir, "examples", name) }

// Build builds a main package of the e2e module, such as ./testdata/small, with
// an environment of its own, such as GOARCH=386.
func (p *Product) Build(t testing.TB, pkg string, env ...string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "program")
	cmd := exec.Command("go", "build", "-o", path, pkg)
	cmd.Dir = filepath.Join(p.root, "e2e")
	cmd.Env = append(os.Environ(), env...)
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building %s with %v: %v\n%s", pkg, env, err, b)
	}
	return path
}

// CouldNotRun is the exit code for an error. The other codes come with a result:
// 0 and 1 say whether there is something to complain about, 3 that there was too
// little to go by.
const CouldNotRun = 2

// A Result is how a run of heapwright ended.
type Result struct {
	Args   []string
	Code   int
	Stdout []byte
	Stderr string
}

// String shows a result in a failure message.
func (r *Result) String() string {
	return fmt.Sprintf("heapwright %s: exit %d\nstdout: %.4000s\nstderr: %.4000s", strings.Join(r.Args, " "), r.Code, r.Stdout, r.Stderr)
}

// Run runs heapwright to its end and fails the test when it takes longer than
// two minutes or is killed by a signal. Any exit code is fine.
func (p *Product) Run(t testing.TB, args ...string) *Result {
	t.Helper()
	return p.RunWith(t, nil, args...)
}

// RunWith is Run with a change to the command before it starts.
func (p *Product) RunWith(t testing.TB, change func(*exec.Cmd), args ...string) *Result {
	t.Helper()
	return p.RunWithin(t, 2*time.Minute, change, args...)
}

// RunWithin is RunWith with another limit of time.
func (p *Product) RunWithin(t testing.TB, limit time.Duration, change func(*exec.Cmd), args ...string) *Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, p.Binary, args...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	cmd.Dir = t.TempDir()
	if change != nil {
		change(cmd)
	}
	err := cmd.Run()
	r := &Result{Args: args, Stdout: stdout.Bytes(), Stderr: stderr.String()}
	var exit *exec.ExitError
	switch {
	case err == nil:
	case errors.As(err, &exit) && exit.Exited():
		r.Code = exit.ExitCode()
	default:
		t.Fatalf("%v\n%v", err, r)
	}
	return r
}

// JSON runs heapwright with --json, demands that it could run, and decodes the one
// document it prints into doc.
func (p *Product) JSON(t testing.TB, doc any, args ...string) *Result {
	t.Helper()
	r := p.Run(t, append(args, "--json")...)
	if r.Code == CouldNotRun {
		t.Fatalf("want a result\n%v", r)
	}
	r.Decode(t, doc)
	return r
}

// Decode reads the one JSON document of stdout.
func (r *Result) Decode(t testing.TB, doc any) {
	t.Helper()
	dec := json.NewDecoder(bytes.NewReader(r.Stdout))
	if err := dec.Decode(doc); err != nil {
		t.Fatalf("stdout is not JSON: %v\n%v", err, r)
	}
	if dec.More() {
		t.Fatalf("stdout is more than one document\n%v", r)
	}
}

// A Finding is what `diagnose --json` says of one.
type Finding struct {
	ID         string `json:"id"`
	Severity   string `json:"severity"`
	Confidence string `json:"confidence"`
	Title      string `json:"title"`
	Cause      string `json:"cause"`
	Remedy     string `json:"remedy"`
	Evidence   []struct {
		Name  string  `json:"name"`
		Value float64 `json:"value"`
		Text  string  `json:"text"`
	} `json:"evidence"`
	Sites []struct {
		Func string `json:"func"`
		File string `json:"file"`
		Line int    `json:"line"`
		Role string `json:"role"`
		Text string `json:"text"`
	} `json:"sites"`
}

// Level orders severities: 0 info, 1 warning, 2 critical.
func (f *Finding) Level() int { return Level(f.Severity) }

// Level returns the rank of a severity, -1 for a word that is none.
func Level(severity string) int {
	for i, s := range []string{"info", "warning", "critical"} {
		if s == severity {
			return i
		}
	}
	return -1
}

// String shows a finding on a few lines.
func (f *Finding) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s (%s confidence): %s\n  cause: %s\n", f.ID, f.Severity, f.Confidence, f.Title, f.Cause)
	for _, e := range f.Evidence {
		fmt.Fprintf(&b, "  %s = %s\n", e.Name, e.Text)
	}
	for _, s := range f.Sites {
		fmt.Fprintf(&b, "  %s %s (%s:%d) %s\n", s.Role, s.Func, s.File, s.Line, s.Text)
	}
	return b.String()
}

// A Diagnosis is the document of `diagnose --json`.
type Diagnosis struct {
	Schema   string          `json:"schema"`
	Process  json.RawMessage `json:"process"`
	Findings []Finding       `json:"findings"`
}

// Find returns the finding with an ID, nil when there is none.
func (d *Diagnosis) Find(id string) *Finding {
	for i := range d.Findings {
		if d.Findings[i].ID == id {
			return &d.Findings[i]
		}
	}
	return nil
}

// String shows all findings.
func (d *Diagnosis) String() string {
	if len(d.Findings) == 0 {
		return "no findings\n"
	}
	var b strings.Builder
	for i := range d.Findings {
		b.WriteString(d.Findings[i].String())
	}
	return b.String()
}

// Diagnose runs `heapwright diagnose PID --for d`.
func (p *Product) Diagnose(t testing.TB, pid int, d time.Duration, more ...string) *Diagnosis {
	t.Helper()
	doc := &Diagnosis{}
	r := p.JSON(t, doc, append([]string{"diagnose", fmt.Sprint(pid), "--for", d.String()}, more...)...)
	if doc.Schema == "" {
		t.Errorf("the document has no schema\n%v", r)
	}
	for _, f := range doc.Findings {
		if f.Level() < 0 || f.ID == "" || f.Title == "" || f.Cause == "" || f.Remedy == "" || len(f.Evidence) == 0 {
			t.Errorf("a finding is incomplete: %+v", f)
		}
		for _, s := range f.Sites {
			if s.Func == "" || s.Role == "" {
				t.Errorf("a site without a name: %v", &f)
			}
		}
	}
	return doc
}

// Alive fails the test when the process has ended or is a zombie: looking at it
// must never harm it.
func Alive(t testing.TB, pid int) {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		t.Errorf("process %d is gone: %v", pid, err)
		return
	}
	// The state is the field after the command's name in parentheses.
	if _, rest, ok := strings.Cut(string(b[bytes.LastIndexByte(b, ')'):]), " "); !ok || rest == "" || rest[0] == 'Z' || rest[0] == 'T' {
		t.Errorf("process %d is not running: %s", pid, b)
	}
}

// dieWithTest has a child killed when this process dies, however it dies.
func dieWithTest(cmd *exec.Cmd) {
	if cmd.SysProcAttr == nil {
		cmd.SysProcAttr = &syscall.SysProcAttr{}
	}
	cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
}
