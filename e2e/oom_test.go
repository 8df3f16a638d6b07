package e2e

import (
	"os"
	"testing"
	"time"

	"github.com/heapwright/heapwright/e2e/internal/harness"
	"github.com/heapwright/heapwright/e2e/internal/oomkill"
)

// TestOOMWatch has programs killed by the kernel while heapwright oom watch looks on: a
// few of those that make oomkills has killed, and all of them in a long run. Each must be
// told of with a capture from before; what grew must be named.
func TestOOMWatch(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, for the kernel's log")
	}
	g, err := harness.MakeCgroup(harness.Limits{MemoryBytes: 64 << 20})
	if err != nil {
		t.Skip(err)
	}
	if err := g.Remove(); err != nil {
		t.Fatal(err)
	}
	if f, err := os.Open("/dev/kmsg"); err != nil {
		t.Skip("needs the kernel's log:", err)
	} else {
		f.Close()
	}
	var cases []oomkill.Case
	if os.Getenv("HEAPWRIGHT_E2E_LONG") != "" {
		cases = oomkill.Cases()
	} else {
		// One of each kind, at rates that a machine whose processors are taken by others
		// keeps up with.
		for _, c := range oomkill.Cases() {
			switch c.Name {
			case "heap, 64 MiB, in 6s", "mmap, 64 MiB, in 5s", "stacks, 128 MiB, in 2s", "sibling, 128 MiB, in 2s", "garbage, 64 MiB, in 1.5s", "pagecache, 64 MiB, in 3s":
				c.Go = "" // other toolchains may have to be fetched
				cases = append(cases, c)
			}
		}
		if len(cases) != 6 {
			t.Fatalf("%d cases of those that are meant", len(cases))
		}
	}
	dir := t.TempDir()
	b := &oomkill.Bench{Heapwright: product.Binary, Dir: dir, Subjects: map[string]string{}}
	for _, c := range cases {
		if b.Subjects[c.Go] == "" {
			if b.Subjects[c.Go], err = oomkill.BuildSubject(t.Context(), "..", c.Go, t.TempDir()); err != nil {
				t.Fatal(err)
			}
		}
	}
	var killed, captured, named int
	err = b.Run(t.Context(), cases, func(r oomkill.Result) {
		t.Logf("%s (%s): %d captures, the last %v before and %.0f%% full, took %v; %s", r.Case, r.Go, r.Captures, r.Before.Round(time.Millisecond), 100*r.Filled, r.Took, r.Found)
		if !r.Killed {
			t.Errorf("%s: %s", r.Case, r.Problem)
			return
		}
		killed++
		if r.Any {
			captured++
		} else {
			t.Logf("%s: nothing was captured: %s", r.Case, r.Problem)
		}
		if r.Named {
			named++
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	// Of many kills two in a hundred may be missed, of few none.
	if captured < killed*98/100 || named < killed*95/100 || killed == 0 {
		t.Errorf("of %d kills %d were captured before, and what grew was named in %d", killed, captured, named)
	}
}
