package e2e

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/pprof/profile"

	"github.com/heapwright/heapwright/e2e/internal/harness"
	"github.com/heapwright/heapwright/e2e/servers"
)

// TestProfilesEqualTheServersOwn holds profiles taken from outside of stripped
// real servers against what the servers' own endpoints say.
func TestProfilesEqualTheServersOwn(t *testing.T) {
	t.Parallel()
	for _, s := range servers.All() {
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			inst := startServer(t, s)
			stop := underLoad(t, inst, inst.ModerateLoad())
			time.Sleep(3 * time.Second)
			stop()
			time.Sleep(time.Second)
			// The runtime publishes a heap profile one cycle late.
			for range 2 {
				if _, err := inst.Profile(t.Context(), "heap?gc=1"); err != nil {
					t.Fatal(err)
				}
			}
			own := func(kind string) func() ([]byte, error) {
				return func() ([]byte, error) { return inst.Profile(t.Context(), kind) }
			}
			// At rest means that no GC cycle came in between: then two readings from
			// outside are the same, and so must be the server's own between them.
			t.Run("heap", func(t *testing.T) {
				compareAtRest(t, inst.PID, own("heap"), "heap", func(*profile.Sample) bool { return true })
			})
			// Goroutines of the server's own endpoint are in its profile only; those
			// that are not parked have no stack that can be read from outside.
			t.Run("goroutine", func(t *testing.T) {
				compareAtRest(t, inst.PID, own("goroutine"), "goroutine", func(s *profile.Sample) bool {
					stack := frames(s)
					return len(stack) > 0 && strings.HasPrefix(stack[0], "runtime.gopark:") && !contains(s, "net/http.(*connReader).backgroundRead") &&
						!contains(s, "net/http.(*conn).serve")
				})
			})
		})
	}
}

// TestContentionProfiles does the same for block and mutex profiles, which the
// servers leave switched off.
func TestContentionProfiles(t *testing.T) {
	t.Parallel()
	p := harness.Start{Path: product.Build(t, "./testdata/contended", "CGO_ENABLED=0")}.Start(t)
	for _, kind := range []string{"block", "mutex"} {
		t.Run(kind, func(t *testing.T) {
			own := func() ([]byte, error) {
				resp, err := http.Get(p.Ready + "/" + kind)
				if err != nil {
					return nil, err
				}
				defer resp.Body.Close()
				return io.ReadAll(resp.Body)
			}
			// Its endpoint's own goroutines wait for locks, too.
			compareAtRest(t, p.PID, own, kind, func(s *profile.Sample) bool {
				stack := frames(s)
				return len(stack) > 0 && strings.HasPrefix(stack[len(stack)-1], "main.")
			})
			openInPprof(t, p.PID, kind, "Type: delay", "main.")
		})
	}
}

// compareAtRest compares the samples that count.
func compareAtRest(t *testing.T, pid int, own func() ([]byte, error), kind string, counts func(*profile.Sample) bool) {
	const tries = 8
	var unequal string
	for range tries {
		before := bySite(takeProfile(t, pid, kind), counts)
		raw, err := own()
		if err != nil {
			t.Fatal(err)
		}
		theirs, err := profile.ParseData(raw)
		if err != nil {
			t.Fatal(err)
		}
		after := bySite(takeProfile(t, pid, kind), counts)
		if d := difference(before, after); d != "" {
			unequal = "it was never at rest:\n" + d
			continue
		}
		want := bySite(theirs, counts)
		if len(want) == 0 {
			t.Fatalf("its own %s profile is empty", kind)
		}
		if d := difference(want, before); d != "" {
			t.Fatalf("%s profile: - is its own, + is ours\n%s", kind, d)
		}
		t.Logf("%d sites are equal", len(want))
		return
	}
	t.Fatal(unequal)
}

// takeProfile has heapwright write a profile, and lets `go tool pprof` open it.
func takeProfile(t *testing.T, pid int, kind string) *profile.Profile {
	t.Helper()
	file := filepath.Join(t.TempDir(), kind+".pb.gz")
	if r := product.Run(t, "profile", fmt.Sprint(pid), "--type", kind, "-o", file); r.Code != 0 {
		t.Fatalf("want a profile\n%v", r)
	}
	raw, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	p, err := profile.ParseData(raw)
	if err != nil {
		t.Fatalf("the file is not a profile: %v", err)
	}
	if err := p.CheckValid(); err != nil {
		t.Fatalf("the profile is not valid: %v", err)
	}
	return p
}

// bySite sums a profile's values over equal stacks, function and line.
func bySite(p *profile.Profile, counts func(*profile.Sample) bool) map[string][]int64 {
	sums := map[string][]int64{}
	for _, s := range p.Sample {
		if !counts(s) {
			continue
		}
		key := strings.Join(frames(s), "\n\t")
		if sums[key] == nil {
			sums[key] = make([]int64, len(s.Value))
		}
		for i, v := range s.Value {
			sums[key][i] += v
		}
	}
	// A bucket that has been made and not been published yet says nothing.
	maps.DeleteFunc(sums, func(_ string, v []int64) bool {
		return !slices.ContainsFunc(v, func(n int64) bool { return n != 0 })
	})
	return sums
}

// frames are a sample's functions with lines, leaf first, inlined ones expanded.
func frames(s *profile.Sample) (out []string) {
	for _, loc := range s.Location {
		for _, l := range loc.Line {
			out = append(out, fmt.Sprintf("%s:%d", l.Function.Name, l.Line))
		}
	}
	return out
}

func contains(s *profile.Sample, fn string) bool {
	return slices.ContainsFunc(frames(s), func(f string) bool { return strings.HasPrefix(f, fn+":") })
}

// difference shows at most five sites in which two profiles differ.
func difference(want, got map[string][]int64) string {
	var b strings.Builder
	shown := 0
	keys := map[string]bool{}
	for k := range want {
		keys[k] = true
	}
	for k := range got {
		keys[k] = true
	}
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		if slices.Equal(want[k], got[k]) {
			continue
		}
		if shown++; shown <= 5 {
			fmt.Fprintf(&b, "- %v\n+ %v\n\t%s\n", want[k], got[k], k)
		}
	}
	if shown > 5 {
		fmt.Fprintf(&b, "and %d more of %d sites\n", shown-5, len(keys))
	}
	return b.String()
}

// TestPprofOpensProfiles has `go tool pprof` read what comes from a server.
func TestPprofOpensProfiles(t *testing.T) {
	t.Parallel()
	// One that keeps what is published: what a server without work holds is so little
	// that by chance nothing of it is sampled.
	inst := startServer(t, servers.Laden()[0])
	stop := underLoad(t, inst, inst.ModerateLoad())
	defer stop()
	waitForHeapSite(t, inst, "nats-server/v2/server.")
	for kind, want := range map[string]string{"heap": "Type: inuse_space", "allocs": "Type: alloc_space", "goroutine": "Type: goroutine"} {
		t.Run(kind, func(t *testing.T) { openInPprof(t, inst.PID, kind, want, "nats-server/v2/server.") })
	}
	for _, kind := range []string{"block", "mutex"} {
		t.Run(kind, func(t *testing.T) {
			refused(t, product.Run(t, "profile", fmt.Sprint(inst.PID), "--type", kind, "-o", "profile.pb.gz"), `it is off`)
		})
	}
}

// waitForHeapSite waits until the server's own heap profile shows a function:
// few of its allocations are sampled, and they are published a cycle late.
func waitForHeapSite(t *testing.T, inst *servers.Instance, function string) {
	t.Helper()
	for range 50 {
		raw, err := inst.Profile(t.Context(), "heap?gc=1")
		if err != nil {
			t.Fatal(err)
		}
		p, err := profile.ParseData(raw)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range p.Sample {
			// The two last values are those in use.
			if s.Value[len(s.Value)-1] > 0 && slices.ContainsFunc(frames(s), func(f string) bool { return strings.Contains(f, function) }) {
				return
			}
		}
		time.Sleep(200 * time.Millisecond)
	}
	t.Fatalf("the server's own heap profile never showed %s", function)
}

// openInPprof demands that `go tool pprof` says what type the profile is, and
// shows a function.
func openInPprof(t *testing.T, pid int, kind, typeLine, function string) {
	t.Helper()
	file := filepath.Join(t.TempDir(), kind+".pb.gz")
	if r := product.Run(t, "profile", fmt.Sprint(pid), "--type", kind, "-o", file); r.Code != 0 {
		t.Fatalf("want a profile\n%v", r)
	}
	cmd := exec.Command("go", "tool", "pprof", "-top", "-symbolize=none", file)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go tool pprof: %v\n%s", err, stderr.String())
	}
	for _, want := range []string{typeLine, function} {
		if !strings.Contains(string(out), want) {
			t.Errorf("pprof does not say %q:\n%s", want, out)
		}
	}
}

// TestPS holds the row of each server against what is known of it.
func TestPS(t *testing.T) {
	var insts []*servers.Instance
	for _, s := range servers.All() {
		inst := startServer(t, s)
		// The share of the collector is not known before its first cycle.
		if _, err := inst.Profile(t.Context(), "heap?gc=1"); err != nil {
			t.Fatal(err)
		}
		insts = append(insts, inst)
	}
	var doc psDocument
	product.JSON(t, &doc, "ps")
	for _, inst := range insts {
		row := doc.find(inst.PID)
		if row == nil {
			t.Errorf("%s is not listed", inst.Server.Name)
			continue
		}
		r := inst.Server.Recipe
		switch {
		case row.Error != nil:
			t.Errorf("%s: %s", inst.Server.Name, *row.Error)
		case row.Module != r.Module, filepath.Base(row.Exe) != r.Name, !row.Stripped, !strings.HasPrefix(row.GoVersion, "go1."):
			t.Errorf("%s is taken for something else: %v", inst.Server.Name, row)
		case row.RSSBytes == nil, row.HeapLiveBytes == nil, row.HeapGoalBytes == nil, row.GOGCPercent == nil, row.GOMEMLIMITBytes == nil,
			row.GCCycles == nil, row.GCCPURatio == nil, row.Goroutines == nil:
			t.Errorf("%s: something is not known: %v", inst.Server.Name, row)
		case *row.HeapLiveBytes == 0, *row.HeapLiveBytes > *row.RSSBytes, *row.GOGCPercent != 100, *row.Goroutines < 2, *row.GCCPURatio < 0, *row.GCCPURatio > 1:
			t.Errorf("%s: that cannot be: %v", inst.Server.Name, row)
		}
	}
}
