package cli

import (
	"bytes"
	"compress/gzip"
	"strings"
	"testing"
	"time"

	"github.com/google/pprof/profile"

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

// A profile that is small on disk and has no end in memory is refused.
func TestPprofIsBounded(t *testing.T) {
	var good bytes.Buffer
	p := &profile.Profile{SampleType: []*profile.ValueType{{Type: "alloc_space", Unit: "bytes"}}, Sample: []*profile.Sample{{Value: []int64{7}}}}
	if err := p.Write(&good); err != nil {
		t.Fatal(err)
	}
	if got, err := parsePprof(good.Bytes()); err != nil || len(got.Sample) != 1 {
		t.Errorf("%v, %v", got, err)
	}
	var bomb bytes.Buffer
	z, _ := gzip.NewWriterLevel(&bomb, gzip.BestSpeed)
	zeros := make([]byte, 1<<20)
	for range maxPprof/len(zeros) + 1 {
		z.Write(zeros)
	}
	z.Close()
	if _, err := parsePprof(bomb.Bytes()); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("%d bytes: %v", bomb.Len(), err)
	}
	var twice bytes.Buffer
	z = gzip.NewWriter(&twice)
	z.Write(good.Bytes())
	z.Close()
	for name, raw := range map[string][]byte{"cut": good.Bytes()[:good.Len()-9], "twice": twice.Bytes(), "none": nil, "noise": []byte("no profile")} {
		if _, err := parsePprof(raw); err == nil {
			t.Errorf("%s is a profile", name)
		}
	}
}
