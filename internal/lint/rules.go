package lint

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"fmt"
	"go/ast"
	"go/token"
	"io"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A Rule is something that the source has to keep to.
type Rule struct {
	Name  string
	Why   string
	check func(*Tree, Config) []Breach
}

// A Breach is one place where a rule is broken.
type Breach struct {
	Path string
	Line int // 0 when it is about the whole file
	What string
	Rule Rule
}

func (b Breach) String() string {
	at := b.Path
	if b.Line > 0 {
		at = fmt.Sprintf("%s:%d", b.Path, b.Line)
	}
	return fmt.Sprintf("%s: %s\n\t[%s] %s", at, b.What, b.Rule.Name, b.Rule.Why)
}

// A Config holds the exceptions, each with its reason. One that nothing needs
// any more is a breach too.
type Config struct {
	// LowLevel are the directories whose packages may use unsafe, go:linkname
	// and golang.org/x/sys/unix.
	LowLevel map[string]string
	// Exits are the directories of packages other than programs that may end the
	// process.
	Exits map[string]string
	// Inits are the directories of packages that act on being imported: that is
	// what they are for.
	Inits map[string]string
	// Writes are the directories of packages that may write to a process's memory.
	Writes map[string]string
	// Traces are the directories of packages that may stop a process.
	Traces map[string]string
	// Modules are, by directory, the modules other than the root that a module may
	// import.
	Modules map[string]map[string]string
	// Reserved are packages, by directory, of which only those directories and
	// files may import them that are named with the reason.
	Reserved map[string]map[string]string
}

// Check applies every rule. The breaches are sorted by path and line.
func Check(t *Tree, c Config) []Breach {
	var all []Breach
	for _, r := range Rules {
		for _, b := range r.check(t, c) {
			b.Rule = r
			all = append(all, b)
		}
	}
	slices.SortFunc(all, func(a, b Breach) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Line, b.Line), cmp.Compare(a.What, b.What))
	})
	return all
}

// Rules are all the rules there are.
var Rules = []Rule{
	{
		Name:  "root-std-only",
		Why:   "services import the root module: what it requires, they would have to audit, build and update. The standard library is all it may use, also in its tests",
		check: rootStdOnly,
	},
	{
		Name:  "record-alone",
		Why:   "everything observes into package record or thinks from it; if it imported any of ours, every source and every rule would import that too",
		check: recordAlone,
	},
	{
		Name:  "module-direction",
		Why:   "only the root module is for others to import: cmd, operator, tools, e2e and the integrations are ends of the graph, and their heavy dependencies stay in them. Where one stands on another all the same, the test says why",
		check: moduleDirection,
	},
	{
		Name:  "internal-own-module",
		Why:   "Go lets a nested module import the internal packages of the module around it, but the two are released apart: a change inside the one would break the other at some pair of versions",
		check: internalOwnModule,
	},
	{
		Name:  "thinking-is-pure",
		Why:   "a diagnosis is a function of the recording: the same file gives the same findings anywhere, and a rule is tested without a process",
		check: thinkingIsPure,
	},
	{
		Name:  "low-level-named",
		Why:   "unsafe code and system calls are where a wrong line corrupts memory or touches the target: they stay in few packages, each listed in the test with its reason",
		check: lowLevelNamed,
	},
	{
		Name:  "reads-only",
		Why:   "SECURITY.md promises that a target is traced, stopped or written to only where a user asks for it by name: one package has the calls that stop, another the call that writes a word, and there is no other way to either",
		check: readsOnly,
	},
	{
		Name:  "reserved",
		Why:   "what changes a process is reached from few places, each of which a user asks for by name: a package that only reads cannot come to write because somebody calls one function more",
		check: reserved,
	},
	{
		Name:  "no-replace",
		Why:   "go install PACKAGE@VERSION refuses a module whose go.mod has replace lines; go.work joins the modules for development",
		check: noReplace,
	},
	{
		Name:  "no-init",
		Why:   "importing a package must not do anything: no func init in what is not a program, nor in what says by its name that its import is the call",
		check: noInit,
	},
	{
		Name:  "no-exit",
		Why:   "a package returns errors; only func main ends the process, when everyone has cleaned up",
		check: noExit,
	},
	{
		Name:  "no-machine-paths",
		Why:   "a path of somebody's machine is of no use on another, and says more about its owner than it should",
		check: noMachinePaths,
	},
	{
		Name:  "generated-named-z",
		Why:   ".gitattributes marks z*.go as generated, for reviews and for make generate-check: a generated file with another name is not compared with what its generator writes",
		check: generatedNamedZ,
	},
	{
		Name:  "skip-says-why",
		Why:   "make test ends with a table of the skipped tests by reason: an empty reason hides what was not tested",
		check: skipSaysWhy,
	},
	{
		Name:  "no-leftovers",
		Why:   "what is left to do is an issue, where others see it",
		check: noLeftovers,
	},
	{
		Name:  "package-name",
		Why:   "a package is named for the one thing that it is about; these names are about nothing, and gather everything",
		check: packageName,
	},
}

func rootStdOnly(t *Tree, _ Config) []Breach {
	root := t.root()
	if root == nil {
		return []Breach{{Path: "go.mod", What: "there is no go.mod at the root"}}
	}
	var out []Breach
	for _, d := range root.Directives {
		if d.Verb == "require" || d.Verb == "tool" {
			out = append(out, Breach{Path: "go.mod", Line: d.Line, What: d.Verb + " " + d.Args})
		}
	}
	for _, s := range t.Sources {
		if s.Module != root {
			continue
		}
		for _, i := range s.Imports {
			if _, ours := t.dirOf(i.Path); !ours && !standard(i.Path) {
				out = append(out, Breach{Path: s.Path, Line: i.Line, What: "imports " + i.Path})
			}
		}
	}
	return out
}

// standard reports whether a package is in the standard library: the first
// element of every other import path has a dot.
func standard(importPath string) bool {
	first, _, _ := strings.Cut(importPath, "/")
	return !strings.Contains(first, ".") && first != "C"
}

func recordAlone(t *Tree, _ Config) []Breach {
	return t.imports(func(s *Source, dir string) bool {
		return under(s.Dir, "record") && dir != "record"
	})
}

func moduleDirection(t *Tree, c Config) []Breach {
	used := map[[2]string]bool{}
	out := t.imports(func(s *Source, dir string) bool {
		to := t.moduleOf(dir)
		if to == s.Module || to == t.root() {
			return false
		}
		_, ok := c.Modules[s.Module.Dir][to.Dir]
		used[[2]string{s.Module.Dir, to.Dir}] = true
		return !ok
	})
	for from, modules := range c.Modules {
		for to, why := range modules {
			if !used[[2]string{from, to}] {
				out = append(out, Breach{Path: from, What: "may import " + to + " (" + why + ") but does not: take it off the list"})
			}
		}
	}
	return out
}

func internalOwnModule(t *Tree, _ Config) []Breach {
	return t.imports(func(s *Source, dir string) bool {
		return slices.Contains(strings.Split(dir, "/"), "internal") && t.moduleOf(dir) != s.Module
	})
}

// thinking are the directories of packages that decide from recordings, acting
// those of packages that observe or show.
var (
	thinking = []string{"record", "cmd/internal/diagnose", "cmd/internal/tune", "cmd/internal/manifest"}
	acting   = []string{
		"rtmetrics", "cgroup", "cmd/internal/procmem", "cmd/internal/remote", "cmd/internal/goproc", "cmd/internal/profile",
		"cmd/internal/scrape", "cmd/internal/gctrace", "cmd/internal/process", "cmd/internal/recorder", "cmd/internal/cli", "cmd/internal/term",
	}
)

func thinkingIsPure(t *Tree, _ Config) []Breach {
	in := func(dir string, parents []string) bool {
		return slices.ContainsFunc(parents, func(p string) bool { return under(dir, p) })
	}
	return t.imports(func(s *Source, dir string) bool {
		return !s.Test && in(s.Dir, thinking) && in(dir, acting)
	})
}

// imports returns a breach for every import of a package of ours, in directory
// dir, that bad says is one.
func (t *Tree) imports(bad func(s *Source, dir string) bool) []Breach {
	var out []Breach
	for i := range t.Sources {
		s := &t.Sources[i]
		for _, imp := range s.Imports {
			if dir, ours := t.dirOf(imp.Path); ours && bad(s, dir) {
				out = append(out, Breach{Path: s.Path, Line: imp.Line, What: "imports " + imp.Path})
			}
		}
	}
	return out
}

func lowLevelNamed(t *Tree, c Config) []Breach {
	var out []Breach
	used := map[string]bool{}
	for _, s := range t.Sources {
		var found []Breach
		for _, i := range s.Imports {
			if i.Path == "unsafe" || i.Path == "golang.org/x/sys/unix" {
				found = append(found, Breach{Path: s.Path, Line: i.Line, What: "imports " + i.Path})
			}
		}
		for _, group := range s.AST.Comments {
			for _, com := range group.List {
				if strings.HasPrefix(com.Text, "//go:linkname ") {
					found = append(found, Breach{Path: s.Path, Line: s.line(com.Pos()), What: "uses go:linkname"})
				}
			}
		}
		if _, ok := c.LowLevel[s.Dir]; !ok {
			out = append(out, found...)
		} else if len(found) > 0 {
			used[s.Dir] = true
		}
	}
	for dir, why := range c.LowLevel {
		if !used[dir] {
			out = append(out, Breach{Path: dir, What: "may use unsafe code (" + why + ") but does not: take it off the list"})
		}
	}
	return out
}

// tracing matches what package unix, or syscall, has to trace a process, and
// writing what writes to its memory.
var (
	tracing = regexp.MustCompile(`^(?:Ptrace\w*|PTRACE_\w+|SYS_PTRACE)$`)
	writing = regexp.MustCompile(`^(?:ProcessVMWritev|SYS_PROCESS_VM_WRITEV)$`)
)

// procMem matches the path of the file that is a process's memory.
var procMem = regexp.MustCompile(`^(?:/proc/.*)?(?:^|/)mem$`)

func readsOnly(t *Tree, c Config) []Breach {
	var out []Breach
	used := map[string]bool{}
	for _, s := range t.Sources {
		if s.Test || !under(s.Dir, "cmd") {
			continue
		}
		ast.Inspect(s.AST, func(n ast.Node) bool {
			switch n := n.(type) {
			case *ast.SelectorExpr:
				x, ok := n.X.(*ast.Ident)
				if !ok || x.Name != "unix" && x.Name != "syscall" {
					break
				}
				bad := false
				if tracing.MatchString(n.Sel.Name) {
					_, allowed := c.Traces[s.Dir]
					used[s.Dir] = used[s.Dir] || allowed
					bad = !allowed
				}
				if writing.MatchString(n.Sel.Name) {
					_, allowed := c.Writes[s.Dir]
					used[s.Dir] = used[s.Dir] || allowed
					bad = !allowed
				}
				if bad {
					out = append(out, Breach{Path: s.Path, Line: s.line(n.Pos()), What: "uses " + x.Name + "." + n.Sel.Name})
				}
			case *ast.BasicLit:
				if text, err := strconv.Unquote(n.Value); err == nil && n.Kind == token.STRING && procMem.MatchString(text) {
					out = append(out, Breach{Path: s.Path, Line: s.line(n.Pos()), What: fmt.Sprintf("names the file %q", text)})
				}
			}
			return true
		})
	}
	for dir, why := range c.Writes {
		if !used[dir] {
			out = append(out, Breach{Path: dir, What: "may write to a process (" + why + ") but does not: take it off the list"})
		}
	}
	for dir, why := range c.Traces {
		if !used[dir] {
			out = append(out, Breach{Path: dir, What: "may stop a process (" + why + ") but does not: take it off the list"})
		}
	}
	return out
}

func reserved(t *Tree, c Config) []Breach {
	used := map[[2]string]bool{}
	out := t.imports(func(s *Source, dir string) bool {
		by, ok := c.Reserved[dir]
		if !ok || s.Dir == dir || s.Test { // a test does not run where there is a process to change
			return false
		}
		for _, who := range []string{s.Dir, s.Path} {
			if _, ok := by[who]; ok {
				used[[2]string{dir, who}] = true
				return false
			}
		}
		return true
	})
	for dir, by := range c.Reserved {
		for who, why := range by {
			if !used[[2]string{dir, who}] {
				out = append(out, Breach{Path: who, What: "may import " + dir + " (" + why + ") but does not: take it off the list"})
			}
		}
	}
	return out
}

func noReplace(t *Tree, _ Config) []Breach {
	var out []Breach
	for _, m := range t.Modules {
		for _, d := range m.Directives {
			if d.Verb == "replace" {
				out = append(out, Breach{Path: path.Join(m.Dir, "go.mod"), Line: d.Line, What: "replace " + d.Args})
			}
		}
	}
	return out
}

// library reports whether the file is part of a package that programs import.
// The examples are programs, and what they share is part of them.
func (s *Source) library() bool {
	return s.Package != "main" && !s.Test && !under(s.Dir, "examples")
}

func noInit(t *Tree, c Config) []Breach {
	var out []Breach
	used := map[string]bool{}
	for _, s := range t.Sources {
		if !s.library() {
			continue
		}
		for _, d := range s.AST.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && f.Recv == nil && f.Name.Name == "init" {
				if _, ok := c.Inits[s.Dir]; ok {
					used[s.Dir] = true
					continue
				}
				out = append(out, Breach{Path: s.Path, Line: s.line(f.Pos()), What: "has func init"})
			}
		}
	}
	for dir, why := range c.Inits {
		if !used[dir] {
			out = append(out, Breach{Path: dir, What: "may have func init (" + why + ") but has not: take it off the list"})
		}
	}
	return out
}

func noExit(t *Tree, c Config) []Breach {
	used := map[string]bool{}
	out := t.calls(func(s *Source, in string, call *ast.CallExpr, pkg, name string) bool {
		exits := s.library() && (pkg == "os" && name == "Exit" || pkg == "log" && strings.HasPrefix(name, "Fatal"))
		if _, ok := c.Exits[s.Dir]; ok && exits {
			used[s.Dir] = true
			return false
		}
		return exits
	})
	for dir, why := range c.Exits {
		if !used[dir] {
			out = append(out, Breach{Path: dir, What: "may end the process (" + why + ") but does not: take it off the list"})
		}
	}
	return out
}

// A fuzz target may skip inputs that are not worth its time; those are not tests.
func skipSaysWhy(t *Tree, _ Config) []Breach {
	return t.calls(func(s *Source, in string, call *ast.CallExpr, _, name string) bool {
		return s.Test && !strings.HasPrefix(in, "Fuzz") && len(call.Args) == 0 && (name == "Skip" || name == "SkipNow")
	})
}

// calls returns a breach for every call x.name(...) in function in that bad says
// is one, where x is a plain name: a package or a variable.
func (t *Tree) calls(bad func(s *Source, in string, call *ast.CallExpr, x, name string) bool) []Breach {
	var out []Breach
	for i := range t.Sources {
		s := &t.Sources[i]
		for _, d := range s.AST.Decls {
			in := ""
			if f, ok := d.(*ast.FuncDecl); ok {
				in = f.Name.Name
			}
			ast.Inspect(d, func(n ast.Node) bool {
				call, ok := n.(*ast.CallExpr)
				if !ok {
					return true
				}
				sel, ok := call.Fun.(*ast.SelectorExpr)
				if !ok {
					return true
				}
				if x, ok := sel.X.(*ast.Ident); ok && bad(s, in, call, x.Name, sel.Sel.Name) {
					out = append(out, Breach{Path: s.Path, Line: s.line(call.Pos()), What: "calls " + x.Name + "." + sel.Sel.Name})
				}
				return true
			})
		}
	}
	return out
}

// machineDirs begin the paths that no file may name. They are joined from parts
// so that this file keeps the rule. A user's name of one letter is an example's.
var machineDirs = []string{"/" + "work/", "/" + "root/", "/" + "home/", "/" + "Users/"}

var machinePath = regexp.MustCompile(`(?:^|[^\w.\-/$}])(/(?:wor` + `k|roo` + `t|hom` + `e/[a-z][a-z0-9_-]+|User` + `s/[A-Za-z][A-Za-z0-9_-]+)/[\w.])`)

// maxUnpacked bounds how much of a compressed file is searched, in bytes.
const maxUnpacked = 64 << 20

func noMachinePaths(t *Tree, _ Config) []Breach {
	var out []Breach
	for _, f := range t.Files {
		data := f.Data
		if bytes.HasPrefix(data, []byte{0x1f, 0x8b}) {
			if z, err := gzip.NewReader(bytes.NewReader(data)); err == nil {
				// A recording that was cut short is readable up to the cut.
				data, _ = io.ReadAll(io.LimitReader(z, maxUnpacked))
			}
		}
		// Few files name any of the directories; the expression is slow on the rest.
		if !slices.ContainsFunc(machineDirs, func(d string) bool { return bytes.Contains(data, []byte(d)) }) {
			continue
		}
		if at := machinePath.FindSubmatchIndex(data); at != nil {
			line := 1 + bytes.Count(data[:at[2]], []byte("\n"))
			end := at[2]
			for end < len(data) && end-at[2] < 80 && data[end] > ' ' && data[end] < 0x7f {
				end++
			}
			out = append(out, Breach{Path: f.Path, Line: line, What: fmt.Sprintf("names %q", data[at[2]:end])})
		}
	}
	return out
}

func generatedNamedZ(t *Tree, _ Config) []Breach {
	var out []Breach
	for _, s := range t.Sources {
		if ast.IsGenerated(s.AST) != strings.HasPrefix(path.Base(s.Path), "z") {
			what := "is generated, but not named z*.go"
			if !ast.IsGenerated(s.AST) {
				what = "is named z*.go, but has no header that says it is generated"
			}
			out = append(out, Breach{Path: s.Path, What: what})
		}
	}
	return out
}

var leftover = regexp.MustCompile(`\b(?:TODO|FIXME|XXX)\b`)

func noLeftovers(t *Tree, _ Config) []Breach {
	var out []Breach
	for _, s := range t.Sources {
		for _, group := range s.AST.Comments {
			for _, com := range group.List {
				if word := leftover.FindString(com.Text); word != "" {
					out = append(out, Breach{Path: s.Path, Line: s.line(com.Pos()), What: "says " + word})
				}
			}
		}
	}
	return out
}

var emptyNames = []string{"util", "utils", "common", "helper", "helpers", "misc", "types", "manager", "service", "base", "shared"}

func packageName(t *Tree, _ Config) []Breach {
	var out []Breach
	for _, s := range t.Sources {
		if slices.Contains(emptyNames, strings.TrimSuffix(s.Package, "_test")) {
			out = append(out, Breach{Path: s.Path, Line: s.line(s.AST.Name.Pos()), What: "is in package " + s.Package})
		}
	}
	return out
}
