package e2e

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/pprof/profile"

	"github.com/heapwright/heapwright/e2e/servers"
)

type leaksDocument struct {
	Verdict  string        `json:"verdict"`
	Reason   string        `json:"reason"`
	Findings []leakFinding `json:"findings"`
}

type leakFinding struct {
	Cause  string       `json:"cause"`
	Title  string       `json:"title"`
	HeldBy []leakHolder `json:"held_by"`
}

type leakHolder struct {
	Root string   `json:"root"`
	Path []string `json:"path"`
}

// TestRealLeak finds a leak that a real server had and whose cause its project
// documents, in the stripped binary of the release that had it, from outside; does not
// find that one in the release that mended it; and finds nothing in one of today. See
// servers.LeafNode.
func TestRealLeak(t *testing.T) {
	t.Parallel()
	start := func(t *testing.T, version string, more ...string) *servers.Instance {
		t.Helper()
		s := servers.LeafNode(version, more...)
		bin, err := s.Recipe.Build(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		// With GOGC=20 there are GC cycles enough within a minute. Its users had days.
		inst, err := s.Start(t.Context(), bin, t.TempDir(), servers.Options{Env: []string{"GOGC=20"}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() {
			if err := inst.Stop(); err != nil {
				t.Error(err)
			}
		})
		// What a server sets up when it starts is no leak, and no business of this test.
		time.Sleep(10 * time.Second)
		return inst
	}
	leaks := func(t *testing.T, inst *servers.Instance) *leaksDocument {
		t.Helper()
		var doc leaksDocument
		r := product.Run(t, "leaks", strconv.Itoa(inst.PID), "--for", "90s", "--json")
		r.Decode(t, &doc)
		return &doc
	}
	timer := func(doc *leaksDocument) bool {
		return slices.ContainsFunc(doc.Findings, func(f leakFinding) bool {
			return f.Cause == "timer-forgotten" && slices.ContainsFunc(f.HeldBy, func(h leakHolder) bool {
				return slices.ContainsFunc(h.Path, func(s string) bool { return strings.Contains(s, "doTLSHandshake.func1") })
			})
		})
	}
	t.Run("v2.6.2", func(t *testing.T) {
		t.Parallel()
		doc := leaks(t, start(t, "v2.6.2"))
		if doc.Verdict != "leak" {
			t.Fatalf("the verdict is %s: %s", doc.Verdict, doc.Reason)
		}
		// The project's words: a closure that time.AfterFunc was given keeps the client.
		if !timer(doc) {
			t.Errorf("no finding says that the timer of doTLSHandshake keeps it: %+v", doc.Findings)
		}
	})
	// This one keeps the clients of such attempts, too, but by the subscriptions that it
	// makes for them: the server's own heap profile, after a GC that it is asked for, is
	// the witness.
	t.Run("v2.6.3", func(t *testing.T) {
		t.Parallel()
		inst := start(t, "v2.6.3")
		before := ownInUse(t, inst, "server.(*Server).createLeafNode")
		doc := leaks(t, inst)
		after := ownInUse(t, inst, "server.(*Server).createLeafNode")
		if timer(doc) {
			t.Errorf("the timer of doTLSHandshake is said to keep it in the release that mended it: %+v", doc.Findings)
		}
		if after < 2*before+4<<20 && doc.Verdict == "leak" {
			t.Errorf("said to leak, and by its own profile it holds %d bytes of clients, after %d: %+v", after, before, doc.Findings)
		}
	})
	// A ring of the last connections that were closed, which otherwise takes minutes to
	// fill, is full at once here.
	t.Run("v2.15.2", func(t *testing.T) {
		t.Parallel()
		if doc := leaks(t, start(t, "v2.15.2", "max_closed_clients: 50")); doc.Verdict == "leak" {
			t.Errorf("a release that keeps nothing is said to leak: %+v", doc.Findings)
		}
	})
}

// ownInUse is how many bytes a server's own heap profile has in use that a function
// allocated, after a GC.
func ownInUse(t *testing.T, inst *servers.Instance, function string) (bytes int64) {
	t.Helper()
	raw, err := inst.Profile(t.Context(), "heap?gc=1")
	if err != nil {
		t.Fatal(err)
	}
	p, err := profile.ParseData(raw)
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range p.Sample {
		if len(s.Location) > 0 && len(s.Location[0].Line) > 0 && strings.HasSuffix(s.Location[0].Line[0].Function.Name, function) {
			bytes += s.Value[3] // inuse_space
		}
	}
	return bytes
}
