package layout_test

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/heapwright/heapwright/cmd/internal/layout"
	"github.com/heapwright/heapwright/cmd/internal/layout/probe"
)

func TestParseVersion(t *testing.T) {
	for _, c := range []struct{ in, version, experiment string }{
		{"go1.26.8", "go1.26.8", ""},
		{"go1.20", "go1.20.0", ""},
		{"go1.26.8 X:nogreenteagc", "go1.26.8", "nogreenteagc"},
		{"go1.26.8 X:jsonv2,nogreenteagc", "go1.26.8", "nogreenteagc"},
		{"go1.24.6 X:boringcrypto", "go1.24.6", ""},
		{"go1.24.6 X:b,a", "go1.24.6", "a,b"},
		{"go1.26.8-X:jsonv2,nogreenteagc", "go1.26.8", "nogreenteagc"},
		{"go1.26.8-vendor", "go1.26.8-vendor", ""},
		{"go1.24.6 (Vendor 1.2)", "go1.24.6 (Vendor 1.2)", ""},
		{"devel go1.28-abc", "devel go1.28-abc", ""},
		{"", "", ""},
	} {
		if v, x := layout.ParseVersion(c.in); v != c.version || x != c.experiment {
			t.Errorf("ParseVersion(%q) = %q, %q; want %q, %q", c.in, v, x, c.version, c.experiment)
		}
	}
}

func TestUnknownIsRefused(t *testing.T) {
	for _, c := range []struct{ version, goarch string }{
		{"go1.26.8", "riscv64"}, {"go1.19.13", "amd64"}, {"go1.26.99", "amd64"}, {"go1.99.0", "arm64"}, {"go1.26.8 X:something", "amd64"},
		{"go1.26.8 (Vendor)", "amd64"}, {"go1.26rc1", "amd64"}, {"devel go1.28-abc", "amd64"}, {"", "amd64"}, {"go1.+26.8", "amd64"}, {"go1..", "amd64"},
	} {
		_, err := layout.Lookup(c.version, c.goarch)
		unknown, ok := errors.AsType[*layout.UnknownError](err)
		if !ok {
			t.Errorf("Lookup(%q, %q): %v", c.version, c.goarch, err)
			continue
		}
		if unknown.Hint() == "" {
			t.Errorf("Lookup(%q, %q): no hint", c.version, c.goarch)
		}
	}
}

// TestTables: every release of every table has what the product cannot do without.
func TestTables(t *testing.T) {
	for _, goarch := range []string{"amd64", "arm64"} {
		releases := layout.Releases(goarch)
		for _, minor := range []string{"1.20", "1.21", "1.22", "1.23", "1.24", "1.25", "1.26", "1.27"} {
			if !strings.Contains(strings.Join(releases, "\n"), "go"+minor+".") {
				t.Errorf("no release of Go %s for %s", minor, goarch)
			}
		}
		for _, v := range releases {
			r, err := layout.Lookup(v, goarch)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range []string{"g", "m", "p", "schedt", "gcControllerState", "workType", "cpuStats", "mstats", "heapStatsDelta", "timeHistogram", "moduledata", "bucket", "memRecord", "blockRecord"} {
				if r.Layout.Size(s) == 0 {
					t.Errorf("%s %s: no %s", goarch, v, s)
				}
			}
			anchors := map[string]int{}
			for _, a := range r.Anchors {
				seen := map[string]bool{}
				for _, ref := range a.Refs {
					if !seen[ref.Symbol] {
						seen[ref.Symbol] = true
						anchors[ref.Symbol]++
					}
				}
			}
			for _, g := range []string{"runtime.gcController", "runtime.memstats", "runtime.work", "runtime.sched", "runtime.allglen", "runtime.allgptr", "runtime.allp", "runtime.gcphase", "runtime.mbuckets"} {
				if anchors[g] < 2 {
					t.Errorf("%s %s: %d anchors for %s", goarch, v, anchors[g], g)
				}
			}
		}
	}
}

// TestKnownOffsets holds the generated tables against offsets that were taken by
// hand from the runtime's sources and debuggers.
func TestKnownOffsets(t *testing.T) {
	for _, c := range []struct {
		version, field string
		off            uint32
	}{
		{"go1.20.14", "gcControllerState.heapLive", 80}, {"go1.21.13", "gcControllerState.heapLive", 104}, {"go1.27.4", "gcControllerState.heapMarked", 152},
		{"go1.24.13", "mstats.pause_total_ns", 3600}, {"go1.26.11", "mstats.pause_total_ns", 3576}, {"go1.26.11", "mstats.numgc", 7680},
		{"go1.23.0", "workType.cycles", 392}, {"go1.23.4", "workType.cycles", 424}, {"go1.25.14", "workType.cycles", 512}, {"go1.26.11", "workType.cycles", 648},
		{"go1.20.14", "schedt.timeToRun", 320}, {"go1.26.11", "schedt.timeToRun", 360}, {"go1.24.13", "g.goid", 160}, {"go1.26.11", "g.goid", 152},
		{"go1.20.14", "g.gopc", 296}, {"go1.24.13", "g.gopc", 288},
	} {
		r, err := layout.Lookup(c.version, "amd64")
		if err != nil {
			t.Error(err)
			continue
		}
		if f, ok := r.Layout.Field(c.field); !ok || f.Off != c.off {
			t.Errorf("%s %s is at %d, want %d", c.version, c.field, f.Off, c.off)
		}
	}
}

// TestProbe builds a probe with the toolchain at hand and holds the table
// against it, as the generator's -check does for any release.
func TestProbe(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{"go.mod": "module example.com/probe\n\ngo 1.20\n", "main.go": "package main\n\nfunc main() {}\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.Command("go", "env", "GOVERSION").Output()
	if err != nil {
		t.Fatal(err)
	}
	version := strings.TrimSpace(string(out))
	for _, goarch := range []string{"amd64", "arm64"} {
		rel, err := layout.Lookup(version, goarch)
		if err != nil {
			t.Skipf("the toolchain at hand is not in the tables: %v", err)
		}
		exe := filepath.Join(dir, "probe-"+goarch)
		cmd := exec.Command("go", "build", "-o", exe, ".")
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=", "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+goarch)
		if b, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, b)
		}
		p, err := probe.Read(exe)
		if err != nil {
			t.Fatal(err)
		}
		for s, fields := range p.Structs {
			for f, want := range fields {
				got, ok := rel.Layout.Field(strings.TrimSuffix(s+"."+f, "."))
				if !ok || got != (layout.Field{Off: want[0], Size: want[1]}) {
					t.Errorf("%s: %s.%s is %v, the table says %v", goarch, s, f, want, got)
				}
			}
		}
	}
}

func TestTableRoundTrip(t *testing.T) {
	names, err := filepath.Glob("tables/*.json.gz")
	if err != nil || len(names) == 0 {
		t.Fatal("no tables", err)
	}
	for _, name := range names {
		b, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		table, err := layout.ReadTable(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		var again bytes.Buffer
		if err := table.Write(&again); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(b, again.Bytes()) {
			t.Errorf("%s changes when it is written again", name)
		}
	}
}

func BenchmarkLookup(b *testing.B) {
	f, err := os.ReadFile("tables/" + layout.FileName("1.26", "amd64"))
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		if _, err := layout.ReadTable(bytes.NewReader(f)); err != nil {
			b.Fatal(err)
		}
	}
}
