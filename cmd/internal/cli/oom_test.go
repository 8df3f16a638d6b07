package cli

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/blackbox"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/ruletest"
	"github.com/heapwright/heapwright/cmd/internal/oom"
	"github.com/heapwright/heapwright/cmd/internal/postmortem"
	"github.com/heapwright/heapwright/record"
)

// fakeDeaths knows of kills that nobody watched.
type fakeDeaths struct{ kills []oom.Kill }

func (f fakeDeaths) Kills(context.Context) ([]oom.Kill, error) { return f.kills, nil }
func (f fakeDeaths) Group(int) (*postmortem.Group, error)      { return nil, os.ErrNotExist }

// killed is a simulated leak that the kernel ended, as the black box would have kept it.
func killed(t *testing.T, dir string) string {
	t.Helper()
	stack := []record.Frame{{Func: "example.com/server.keep", File: "keep.go", Line: 7}}
	site := func(bytes float64) record.ProfileSite {
		return record.ProfileSite{Stack: stack, AllocBytes: bytes, AllocObjects: bytes / 1024, InUseBytes: bytes, InUseObjects: bytes / 1024, SampledAllocs: int64(bytes / (512 << 10)), SampledInUse: int64(bytes / (512 << 10))}
	}
	rec := ruletest.Server{Seconds: 30, Live: ruletest.Ramp(10<<20, 90<<20, 30), Container: 128 << 20,
		Profiles: []record.Profile{ruletest.HeapProfile(site(10 << 20)), ruletest.HeapProfile(site(90 << 20))}}.Recording()
	first, last := rec.Samples[0].Time, rec.Samples[len(rec.Samples)-1].Time
	waiting := func(n int) []record.GoroutineGroup {
		return []record.GoroutineGroup{{Count: n, Status: "waiting", WaitReason: "chan receive", CreatedBy: record.Frame{Func: "example.com/server.serve", File: "serve.go", Line: 3}, Stack: stack}}
	}
	rec.Goroutines = []record.Goroutines{{Time: first, Total: 10, Groups: waiting(10)}, {Time: last, Total: 400, Groups: waiting(400)}}
	parts := map[postmortem.Part]uint64{postmortem.PartFile: 1 << 20, postmortem.PartKernel: 1 << 20}
	beside := []postmortem.Sibling{{PID: 5, Name: "sidecar", RSSBytes: 1 << 20, AnonBytes: 1 << 20}}
	e := &postmortem.Evidence{Recording: rec,
		Groups: []postmortem.Group{{Time: first, Path: "/pod", LimitPath: "/", LimitBytes: 128 << 20, UsageBytes: 30 << 20, Parts: parts, Siblings: beside},
			{Time: last, Path: "/pod", LimitPath: "/", LimitBytes: 128 << 20, UsageBytes: 127 << 20, Parts: parts, Siblings: beside}},
		Captures: []postmortem.Capture{{Time: first, Why: postmortem.WhyQuiet, Took: time.Millisecond, Kinds: []string{"heap"}, Bytes: 30 << 20},
			{Time: last, Why: "slope", Took: time.Millisecond, Kinds: []string{"heap"}, Failed: "goroutines", Bytes: 127 << 20}},
		Kill: &postmortem.Kill{Time: last.Add(10 * time.Millisecond), PID: 4242, Name: "server", Known: []postmortem.Source{postmortem.FromKernelLog}, Constraint: "CONSTRAINT_MEMCG",
			OOMGroup: "/pod", TaskGroup: "/pod", InvokedBy: "server", GFP: "0xcc0", AnonRSSBytes: 126 << 20, LimitBytes: 128 << 20, Tasks: []postmortem.Task{{PID: 4242, Name: "server"}}, Text: []string{"Memory cgroup out of memory"}},
	}
	if err := os.MkdirAll(filepath.Join(dir, "oom"), 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "oom", "server-4242-20260102T030435.010Z.hwrec")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(postmortem.Write(f, e), f.Close()); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestOOM(t *testing.T) {
	dir := t.TempDir()
	file := killed(t, dir)
	kept, err := blackbox.List(filepath.Join(dir, "oom"))
	if err != nil || len(kept) != 1 {
		t.Fatalf("%d are kept, %v", len(kept), err)
	}
	for _, arg := range []string{file, "4242", "server", kept[0].ID} {
		env := newFakeEnv()
		env.Deaths = fakeDeaths{}
		env.run(t, ExitOK, "oom", arg, "--data", dir)
		at80(t, env.out.String())
		for _, want := range []string{"server 4242 was killed for want of memory: the live Go heap grew by", "example.com/server.keep", "in use of 128Mi"} {
			if !strings.Contains(env.out.String(), want) {
				t.Errorf("oom %s: %q is not in\n%s", arg, want, env.out.String())
			}
		}
	}
	page := filepath.Join(dir, "why.html")
	env := newFakeEnv()
	env.run(t, ExitOK, "oom", file, "--html", page)
	if text, err := os.ReadFile(page); err != nil || !strings.Contains(string(text), "example.com/server.keep") {
		t.Errorf("the page: %v", err)
	}
	env = newFakeEnv()
	env.run(t, ExitOK, "oom", "list", "--data", dir)
	if !strings.Contains(env.out.String(), "heap-live") {
		t.Errorf("the list:\n%s", env.out.String())
	}
	env = newFakeEnv()
	env.run(t, ExitOK, "oom", "list", "--data", t.TempDir())
	if !strings.Contains(env.out.String(), "No kill was kept") {
		t.Errorf("an empty list:\n%s", env.out.String())
	}
}

// Of who nobody watched the kernel's log is told, and what is not known.
func TestOOMFromTheLog(t *testing.T) {
	env := newFakeEnv()
	env.Deaths = fakeDeaths{[]oom.Kill{{Kill: postmortem.Kill{Time: time.Now(), PID: 77, Name: "batch", Known: []postmortem.Source{postmortem.FromKernelLog}, AnonRSSBytes: 64 << 20, LimitBytes: 64 << 20, OOMGroup: "/pod"}}}}
	env.run(t, ExitInconclusive, "oom", "77", "--data", t.TempDir())
	for _, want := range []string{"not enough evidence", "64.0 MiB of anonymous memory", "/pod"} {
		if !strings.Contains(env.out.String(), want) {
			t.Errorf("%q is not in\n%s", want, env.out.String())
		}
	}
	env = newFakeEnv()
	env.Deaths = fakeDeaths{}
	env.run(t, ExitCouldNotRun, "oom", "nobody", "--data", t.TempDir())
}

// What oom --json prints and what docs/cli-json.md says agree, both ways.
func TestOOMJSON(t *testing.T) {
	dir := t.TempDir()
	file := killed(t, dir)
	for schema, args := range map[string][]string{schemaOOM: {"oom", "--json", file}, schemaOOMList: {"oom", "list", "--json", "--data", dir}} {
		keys, seen := documented(t, schema), map[string]string{}
		env := newFakeEnv()
		env.run(t, ExitOK, args...)
		var doc map[string]any
		decode(t, env.out.Bytes(), &doc)
		if doc["schema"] != schema {
			t.Errorf("schema is %v", doc["schema"])
		}
		if schema == schemaOOMList {
			for _, p := range doc["postmortems"].([]any) {
				delete(p.(map[string]any), "verdict") // of the other document
			}
			delete(keys, "postmortems[].verdict")
		}
		compare(t, schema, keys, seen, "", doc)
		for k := range keys {
			if seen[k] == "" {
				t.Errorf("%s: documented, and not in the document: %s", schema, k)
			}
		}
	}
}
