package main

import (
	"fmt"
	"go/ast"
	"go/build"
	"go/parser"
	"go/token"
	"go/types"
	"math/rand/v2"
	"os"
	"path/filepath"
)

// checked are the packages that are checked again and again.
var checked = []string{
	"bufio", "bytes", "compress/flate", "encoding/binary", "encoding/json", "errors", "flag", "fmt", "go/ast", "go/constant",
	"go/scanner", "go/token", "io", "path/filepath", "regexp", "regexp/syntax", "sort", "strconv", "strings", "text/scanner",
	"text/tabwriter", "text/template", "text/template/parse", "unicode/utf8",
}

// goTypes parses and type-checks packages of the standard library from sources in
// memory, and keeps the last results, as a language server does.
func goTypes(e env) (func(int, *rand.Rand), error) {
	const keep = 36
	l := &loader{context: build.Default, sources: map[string][]source{}, packages: map[string]*types.Package{"unsafe": types.Unsafe}}
	l.context.CgoEnabled = false
	if e.goroot != "" {
		l.context.GOROOT = e.goroot
	}
	for _, path := range checked {
		if _, err := l.Import(path); err != nil {
			return nil, err
		}
	}
	type result struct {
		files []*ast.File
		info  *types.Info
		pkg   *types.Package
	}
	results := make([]result, keep)
	check := func(rnd *rand.Rand) error {
		files, info, pkg, err := l.check(checked[rnd.IntN(len(checked))], false)
		if err == nil {
			results[rnd.IntN(keep)] = result{files, info, pkg}
		}
		return err
	}
	for i := 0; i < 2*keep; i++ {
		if err := check(e.rnd); err != nil {
			return nil, err
		}
	}
	return func(w int, rnd *rand.Rand) {
		if err := check(rnd); err != nil {
			panic(err) // it went well in the set-up
		}
	}, nil
}

type source struct {
	name string
	text []byte
}

// A loader imports packages from the sources of a Go distribution.
type loader struct {
	context  build.Context
	sources  map[string][]source // by import path
	packages map[string]*types.Package
}

// Import checks a package once; it is a types.Importer.
func (l *loader) Import(path string) (*types.Package, error) {
	if p, ok := l.packages[path]; ok {
		return p, nil
	}
	_, _, p, err := l.check(path, true)
	if err != nil {
		return nil, err
	}
	l.packages[path] = p
	return p, nil
}

func (l *loader) read(path string) ([]source, error) {
	if s, ok := l.sources[path]; ok {
		return s, nil
	}
	dir := filepath.Join(l.context.GOROOT, "src", path)
	if _, err := os.Stat(dir); err != nil {
		dir = filepath.Join(l.context.GOROOT, "src", "vendor", path)
	}
	p, err := l.context.ImportDir(dir, 0)
	if err != nil {
		return nil, fmt.Errorf("finding the sources of %s: %w", path, err)
	}
	var out []source
	for _, name := range p.GoFiles {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		out = append(out, source{name, text})
	}
	l.sources[path] = out
	return out, nil
}

// check parses and checks a package; without the function bodies when it is only
// imported by others.
func (l *loader) check(path string, exportsOnly bool) ([]*ast.File, *types.Info, *types.Package, error) {
	sources, err := l.read(path)
	if err != nil {
		return nil, nil, nil, err
	}
	fset := token.NewFileSet()
	var files []*ast.File
	for _, s := range sources {
		f, err := parser.ParseFile(fset, s.name, s.text, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, nil, nil, fmt.Errorf("parsing %s: %w", path, err)
		}
		files = append(files, f)
	}
	info := &types.Info{
		Types: map[ast.Expr]types.TypeAndValue{}, Defs: map[*ast.Ident]types.Object{}, Uses: map[*ast.Ident]types.Object{},
		Selections: map[*ast.SelectorExpr]*types.Selection{},
	}
	conf := types.Config{Importer: l, IgnoreFuncBodies: exportsOnly, FakeImportC: true, Sizes: types.SizesFor("gc", l.context.GOARCH)}
	pkg, err := conf.Check(path, fset, files, info)
	if err != nil {
		return nil, nil, nil, fmt.Errorf("checking %s: %w", path, err)
	}
	return files, info, pkg, nil
}
