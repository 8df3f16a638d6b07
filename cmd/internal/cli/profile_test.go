package cli

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/pprof/profile"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/ruletest"
	"github.com/heapwright/heapwright/record"
)

func profileHost() *fakeEnv {
	f := newFakeEnv()
	at := func(fn, file string, line int) record.Frame { return ruletest.F(fn, file, line) }
	park := at("runtime.gopark", "/go/src/runtime/proc.go", 402)
	f.serve(4123, "server", ruletest.Server{LastGoroutines: &record.Goroutines{Total: 1203, Groups: []record.GoroutineGroup{
		{Count: 800, Status: "waiting", WaitReason: "chan send", WaitMax: 5 * time.Minute, CreatedBy: at("main.handle", "/src/app/main.go", 12),
			Stack: []record.Frame{park, at("runtime.chansend", "/go/src/runtime/chan.go", 283), at("main.query", "/src/app/query.go", 44)}},
		{Count: 400, Status: "waiting", WaitReason: "chan send", WaitMax: time.Minute, CreatedBy: at("main.handle", "/src/app/main.go", 12), Labels: map[string]string{"a": "b"},
			Stack: []record.Frame{park, at("main.query", "/src/app/query.go", 44)}},
		{Count: 2, Status: "running"},
		{Count: 5, Status: "waiting", WaitReason: "GC worker (idle)", System: true, Stack: []record.Frame{park}},
		{Count: 1, Status: "waiting", WaitReason: "IO wait", Stack: []record.Frame{park}},
	}}})
	return f
}

func TestProfileTop(t *testing.T) {
	for _, kind := range []string{"heap", "allocs", "goroutine", "mutex"} {
		t.Run(kind, func(t *testing.T) {
			f := profileHost()
			t.Chdir(t.TempDir())
			f.run(t, ExitOK, "profile", "4123", "--type", kind, "--top=2")
			at80(t, f.out.String())
			if files, _ := filepath.Glob("*"); len(files) > 0 {
				t.Errorf("--top wrote %q", files)
			}
			t.Chdir(sourceDir)
			golden(t, "profile/"+kind+".txt", f.out.String()+"--- stderr\n"+f.err.String())
		})
	}
}

func TestProfileFile(t *testing.T) {
	f := profileHost()
	t.Chdir(t.TempDir())
	f.run(t, ExitOK, "profile", "server")
	f.run(t, ExitOK, "profile", "server", "--json")
	var doc profileDocument
	if err := json.Unmarshal(f.out.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	if *doc.File != "server-4123.heap-2.pb.gz" || doc.Type != "heap" || *doc.TotalBytes != 32*mib || len(doc.Top) != 3 {
		t.Errorf("document %+v", doc)
	}
	if s := doc.Top[0]; *s.FlatBytes != 30*mib || *s.CumBytes != 30*mib || s.FlatSeconds != nil {
		t.Errorf("first site %+v", s)
	}
	if s := doc.Top[2]; s.Func != "main.main" && s.Func != "main.work" || s.CumRatio < 0.9 {
		t.Errorf("third site %+v", s)
	}
	f.run(t, ExitOK, "profile", "4123", "-o", "-")
	if p, err := profile.ParseData(f.out.Bytes()); err != nil || len(p.Sample) != 3 {
		t.Errorf("stdout is no profile: %v", err)
	}
	f.run(t, ExitOK, "profile", "4123", "-o", "x.pb.gz", "--top", "10", "-t", "allocs")
	if !bytes.HasPrefix(f.out.Bytes(), []byte("x.pb.gz: 139.0 MiB allocated")) || !strings.Contains(f.out.String(), "FLAT") {
		t.Errorf("stdout %s", &f.out)
	}
}

func TestProfileGoroutinesJSON(t *testing.T) {
	f := profileHost()
	t.Chdir(t.TempDir())
	f.run(t, ExitOK, "profile", "4123", "--type", "goroutine", "--json", "--top=10")
	var doc profileDocument
	if err := json.Unmarshal(f.out.Bytes(), &doc); err != nil {
		t.Fatal(err)
	}
	g := doc.Goroutines[0]
	if len(doc.Goroutines) != 3 || g.Count != 1200 || *g.WaitReason != "chan send" || *g.WaitMaxSeconds != 300 || !strings.HasPrefix(g.At, "main.query") || !strings.HasPrefix(*g.CreatedBy, "main.handle") {
		t.Errorf("%d groups, the first is %+v", len(doc.Goroutines), g)
	}
	if doc.File != nil || doc.TotalBytes != nil || doc.TotalCount == nil || len(doc.Top) != 0 {
		t.Errorf("document %+v", doc)
	}
}

func TestProfileErrors(t *testing.T) {
	for _, tc := range []struct {
		name string
		args []string
		want string
	}{
		{"kind", []string{"4123", "--type", "cpu"}, "--type is one of heap"},
		{"not collected", []string{"4123", "--type", "block"}, "hint: call runtime.SetBlockProfileRate"},
		{"two on stdout", []string{"4123", "-o", "-", "--json"}, "not both"},
		{"no target", nil, "takes one process"},
		{"no process", []string{"5"}, "no process 5"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			f := profileHost()
			f.run(t, ExitCouldNotRun, append([]string{"profile"}, tc.args...)...)
			if f.out.Len() > 0 || !strings.Contains(f.err.String(), tc.want) {
				t.Errorf("stdout %q, stderr %q", &f.out, &f.err)
			}
		})
	}
}
