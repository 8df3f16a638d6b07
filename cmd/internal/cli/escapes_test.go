package cli

import (
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/escape"
	"github.com/heapwright/heapwright/record"
)

// escapesExample is what escapes says of a program with a line of each kind.
func escapesExample() *escapesDocument {
	packages := []escape.Package{{ImportPath: "example.com/orders", Name: "main", Dir: "/src/orders"}}
	at := func(line int, what string, v escape.Verdict, why string) escape.Decision {
		return escape.Decision{File: "/src/orders/main.go", Line: line, Column: 5, Verdict: v, What: what, Why: why}
	}
	allocated := func(line int, bytes float64, callee string) escape.Allocation {
		stack := []record.Frame{{Func: "main.handle", File: "/build/orders/main.go", Line: line}}
		if callee != "" {
			stack = append([]record.Frame{{Func: callee, File: "x.go", Line: 1}}, stack...)
		}
		return escape.Allocation{Stack: stack, Bytes: bytes, Objects: bytes / 64, Samples: int64(bytes / (512 << 10))}
	}
	report := escape.Join([]escape.Decision{
		at(10, "&order{...}", escape.Escapes, "s.orders[id] = &order{...} (assign)"),
		at(10, "id", escape.Stays, ""),
		at(20, "make([]byte, n)", escape.Stays, ""),
		at(40, "err", escape.Moved, "&err (captured by a closure)"),
	}, []escape.Allocation{
		allocated(10, 300<<20, ""), allocated(20, 40<<20, ""), allocated(21, 20<<20, ""), allocated(30, 100<<20, "encoding/json.Marshal"),
		{Stack: []record.Frame{{Func: "net/http.readRequest", File: "request.go", Line: 1}}, Bytes: 40 << 20, Objects: 1},
	}, packages)
	report.Lines[3].Allocates = []string{"a map may grow"}
	doc := &escapesDocument{Schema: schemaEscapes, GoVersion: "go1.26.8", Packages: []string{"example.com/orders"}, Measured: true,
		Process: &record.Process{PID: 4123, Name: "orders", GoVersion: "go1.26.8"}, Lines: []escapesLine{}}
	doc.fill(report, escape.Measurement{Span: 10 * time.Second})
	return doc
}

func TestEscapesPrint(t *testing.T) {
	f := newFakeEnv()
	doc := escapesExample()
	if err := doc.print(f.Env, escapesOptions{top: 25}); err != nil {
		t.Fatal(err)
	}
	golden(t, "escapes/measured.txt", f.out.String())

	f = newFakeEnv()
	doc.Measured, doc.Seconds, doc.Process = false, nil, nil
	if err := doc.print(f.Env, escapesOptions{top: 2}); err != nil {
		t.Fatal(err)
	}
	golden(t, "escapes/compiler.txt", f.out.String())
}
