package e2e

import (
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

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
// documents, in the stripped binary of the release that had it, from outside; and
// does not find that one in the release that mended it. See servers.LeafNode.
//
// The later release keeps a subscription and the client for each attempt, too, in an
// index of subscriptions of the server: what is held so is not looked at here.
func TestRealLeak(t *testing.T) {
	leaks := func(t *testing.T, version string) *leaksDocument {
		t.Helper()
		s := servers.LeafNode(version)
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
		doc := leaks(t, "v2.6.2")
		if doc.Verdict != "leak" {
			t.Fatalf("the verdict is %s: %s", doc.Verdict, doc.Reason)
		}
		// The project's words: a closure that time.AfterFunc was given keeps the client.
		if !timer(doc) {
			t.Errorf("no finding says that the timer of doTLSHandshake keeps it: %+v", doc.Findings)
		}
	})
	t.Run("v2.6.3", func(t *testing.T) {
		t.Parallel()
		if doc := leaks(t, "v2.6.3"); timer(doc) {
			t.Errorf("the timer of doTLSHandshake is said to keep it in the release that mended it: %+v", doc.Findings)
		}
	})
}
