package escape

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"path/filepath"
	"slices"
)

// maxSource bounds what is read of a source file, in bytes.
const maxSource = 16 << 20

// Explain fills in what can allocate at the lines of which the compiler did not
// say that something escapes, from their source. open opens a file; files that it
// cannot open, or that do not parse, are passed over.
func (r *Report) Explain(open func(string) (io.ReadCloser, error)) {
	byFile := map[string][]*Line{}
	for i := range r.Lines {
		if l := &r.Lines[i]; l.Agreement == Denied || l.Agreement == Silent {
			byFile[l.File] = append(byFile[l.File], l)
		}
	}
	for file, lines := range byFile {
		src := readSource(file, open)
		if src == nil {
			continue
		}
		fset := token.NewFileSet()
		f, err := parser.ParseFile(fset, file, src, parser.SkipObjectResolution)
		if f == nil || err != nil {
			continue
		}
		found := allocators(fset, f)
		for _, l := range lines {
			l.Allocates = found[l.Line]
		}
	}
}

// OpenFile opens a file of this machine, for Explain.
func OpenFile(name string) (io.ReadCloser, error) { return os.Open(name) }

// readSource reads a source file. Its name is a package's directory and what the
// profile says: that may be anything.
func readSource(file string, open func(string) (io.ReadCloser, error)) []byte {
	if filepath.Ext(file) != ".go" {
		return nil
	}
	f, err := open(file)
	if err != nil {
		return nil
	}
	defer f.Close()
	src, err := io.ReadAll(io.LimitReader(f, maxSource+1))
	if err != nil || len(src) > maxSource {
		return nil
	}
	return src
}

// allocators finds, by line, what makes the runtime allocate whatever the escape
// analysis says: it decides where a value lies, and these grow one, or make it of
// a size that only the running program knows.
func allocators(fset *token.FileSet, f *ast.File) map[int][]string {
	out := map[int][]string{}
	note := func(n ast.Node, what string) {
		line := fset.PositionFor(n.Pos(), false).Line
		if !slices.Contains(out[line], what) {
			out[line] = append(out[line], what)
		}
	}
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.CallExpr:
			switch fun := ast.Unparen(n.Fun).(type) {
			case *ast.Ident:
				switch fun.Name {
				case "append":
					note(n, "append")
				case "make":
					note(n, "make, sized as it runs")
				case "string":
					note(n, "conversion to string")
				}
			case *ast.ArrayType:
				note(n, "conversion to a slice")
			}
		case *ast.AssignStmt:
			for _, l := range n.Lhs {
				if _, ok := l.(*ast.IndexExpr); ok {
					note(l, "a map may grow")
				}
			}
			if n.Tok == token.ADD_ASSIGN {
				note(n, "string concatenation")
			}
		case *ast.IncDecStmt:
			if _, ok := n.X.(*ast.IndexExpr); ok {
				note(n, "a map may grow")
			}
		case *ast.BinaryExpr:
			if n.Op == token.ADD {
				note(n, "string concatenation")
			}
		case *ast.GoStmt:
			note(n, "go statement")
		case *ast.DeferStmt:
			note(n, "defer, if in a loop")
		}
		return true
	})
	return out
}
