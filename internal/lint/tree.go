package lint

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
)

// A Tree is a repository's source, read and parsed.
type Tree struct {
	Files   []File // every file that is not ignored, sorted by path
	Modules []Module
	Sources []Source
}

// A File is any file of the tree.
type File struct {
	Path string // slash-separated, from the root of the tree
	Data []byte
}

// A Module is a go.mod file outside testdata.
type Module struct {
	Dir        string // "." is the root
	Path       string
	Directives []Directive
}

// A Directive is one entry of a go.mod file; those of a block come one by one.
type Directive struct {
	Verb string // "require", "replace", "tool", ...
	Args string
	Line int
}

// A Source is a Go file outside testdata.
type Source struct {
	Path    string
	Dir     string // directory of its package
	Test    bool
	Package string  // name in the package clause
	Module  *Module // that the file belongs to
	Imports []Import
	AST     *ast.File
	Fset    *token.FileSet
}

// An Import is one import of a Source.
type Import struct {
	Path string
	Line int
}

// Load reads the tree at the root of fsys, without what the .gitignore there
// names. Of that file it understands "/dir/" and patterns on the last element.
func Load(fsys fs.FS) (*Tree, error) {
	ignored, err := ignorer(fsys)
	if err != nil {
		return nil, err
	}
	t := &Tree{}
	err = fs.WalkDir(fsys, ".", func(p string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case p != "." && (d.Name() == ".git" || ignored(p, d.IsDir())):
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		case !d.Type().IsRegular():
			return nil
		}
		data, err := fs.ReadFile(fsys, p)
		if err != nil {
			return err
		}
		t.Files = append(t.Files, File{p, data})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("reading the source tree: %w", err)
	}
	for _, f := range t.Files {
		if path.Base(f.Path) == "go.mod" && !inTestdata(f.Path) {
			t.Modules = append(t.Modules, parseModule(f))
		}
	}
	for _, f := range t.Files {
		if path.Ext(f.Path) != ".go" || inTestdata(f.Path) {
			continue
		}
		s, err := t.parseSource(f)
		if err != nil {
			return nil, err
		}
		t.Sources = append(t.Sources, s)
	}
	return t, nil
}

// inTestdata reports whether the go command overlooks the path.
func inTestdata(p string) bool {
	for _, elem := range strings.Split(p, "/") {
		if elem == "testdata" || strings.HasPrefix(elem, "_") || strings.HasPrefix(elem, ".") {
			return true
		}
	}
	return false
}

func ignorer(fsys fs.FS) (func(p string, dir bool) bool, error) {
	data, err := fs.ReadFile(fsys, ".gitignore")
	if err != nil {
		return nil, fmt.Errorf("reading the list of ignored files: %w", err)
	}
	patterns := strings.Fields(string(data))
	return func(p string, dir bool) bool {
		return slices.ContainsFunc(patterns, func(pattern string) bool {
			if rooted, ok := strings.CutPrefix(pattern, "/"); ok {
				return dir && p == strings.TrimSuffix(rooted, "/")
			}
			match, _ := path.Match(pattern, path.Base(p))
			return match && !dir
		})
	}, nil
}

func parseModule(f File) Module {
	m := Module{Dir: path.Dir(f.Path)}
	block := ""
	for i, line := range strings.Split(string(f.Data), "\n") {
		line, _, _ = strings.Cut(line, "//")
		line = strings.TrimSpace(line)
		verb, args, _ := strings.Cut(line, " ")
		args = strings.TrimSpace(args)
		switch {
		case line == "":
		case block != "" && line == ")":
			block = ""
		case block != "":
			m.Directives = append(m.Directives, Directive{block, line, i + 1})
		case args == "(":
			block = verb
		case verb == "module":
			m.Path = args
		default:
			m.Directives = append(m.Directives, Directive{verb, args, i + 1})
		}
	}
	return m
}

func (t *Tree) parseSource(f File) (Source, error) {
	s := Source{Path: f.Path, Dir: path.Dir(f.Path), Test: strings.HasSuffix(f.Path, "_test.go"), Fset: token.NewFileSet()}
	var err error
	if s.AST, err = parser.ParseFile(s.Fset, f.Path, f.Data, parser.ParseComments|parser.SkipObjectResolution); err != nil {
		return s, err
	}
	s.Package = s.AST.Name.Name
	s.Module = t.moduleOf(s.Dir)
	for _, spec := range s.AST.Imports {
		p, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return s, fmt.Errorf("%s: import %s: %w", f.Path, spec.Path.Value, err)
		}
		s.Imports = append(s.Imports, Import{p, s.line(spec.Pos())})
	}
	return s, nil
}

func (s *Source) line(p token.Pos) int { return s.Fset.Position(p).Line }

// moduleOf returns the innermost module that holds dir, nil for none.
func (t *Tree) moduleOf(dir string) *Module {
	for ; ; dir = path.Dir(dir) {
		for i := range t.Modules {
			if t.Modules[i].Dir == dir {
				return &t.Modules[i]
			}
		}
		if dir == "." {
			return nil
		}
	}
}

// root is the module at the root of the tree.
func (t *Tree) root() *Module { return t.moduleOf(".") }

// dirOf returns the directory of the tree that holds the package, and whether
// it is one of ours.
func (t *Tree) dirOf(importPath string) (dir string, ours bool) {
	root := t.root()
	if root == nil {
		return "", false
	}
	if importPath == root.Path {
		return ".", true
	}
	return strings.CutPrefix(importPath, root.Path+"/")
}

// under reports whether dir is parent or lies below it.
func under(dir, parent string) bool {
	return parent == "." || dir == parent || strings.HasPrefix(dir, parent+"/")
}
