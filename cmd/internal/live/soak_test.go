package live

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/remote"
	"github.com/heapwright/heapwright/pacer"
	"github.com/heapwright/heapwright/record"
)

var (
	soakFlag     = flag.String("soak", "slice", "how many writes and releases: slice or full")
	soakWrites   = flag.Int("soak-writes", 0, "writes for each release instead")
	soakReleases = flag.String("soak-releases", "", "comma-separated releases instead")
)

// The values that are written. The two halves of a word differ from value to
// value, so that a mixture of two would be a third.
var (
	soakLimits   = []int64{64<<20 + 0x111, math.MaxInt64, 5<<32 + 0x22222222, 40 << 20, 0x7abc<<32 + 3<<20, 256<<20 + 0x333}
	soakPercents = []int64{100, 50, 400, -1, 25, 0x10001, 10}
)

// A soak is what came of writing to one process, as fast as it goes.
type soak struct {
	release     string
	writes      int
	raced       int // writes that the runtime, or the reading of it, came before
	cycles      uint64
	reads       uint64 // of the settings, by the process itself
	changesSeen int    // distinct values that those saw
	torn        []uint64
	perSecond   float64
	goal        uint64 // afterwards, set from outside
	native      uint64 // by the runtime's own setter
}

// TestSoak writes to a program that allocates without pause and reads its own
// settings all the while: it must not crash, must never see a value that was not
// written, and its pacer must be in order afterwards. -soak=full is 10^6 writes.
func TestSoak(t *testing.T) {
	releases, writes := []string{"", "go1.20.14"}, 5000
	if *soakFlag == "full" {
		releases = []string{"go1.20.14", "go1.21.13", "go1.22.12", "go1.23.12", "go1.24.13", "go1.25.14", "go1.26.8", "go1.27.4"}
		writes = 125_000
	}
	if *soakWrites > 0 {
		writes = *soakWrites
	}
	if *soakReleases != "" {
		releases = strings.Split(*soakReleases, ",")
	}
	var done []soak
	for _, release := range releases {
		t.Run("go"+strings.TrimPrefix(release, "go"), func(t *testing.T) {
			k := runSoak(t, release, writes)
			done = append(done, k)
			if len(k.torn) > 0 {
				t.Errorf("the process saw values that nobody wrote: %#x", k.torn)
			}
			if k.goal != k.native {
				t.Errorf("the goal is %d from outside, %d by the runtime's setter", k.goal, k.native)
			}
			if k.cycles == 0 || k.changesSeen < 2 {
				t.Errorf("%d cycles and %d values seen: nothing was tested", k.cycles, k.changesSeen)
			}
		})
	}
	var b strings.Builder
	total := 0
	fmt.Fprintf(&b, "\n| Go | writes | per second | GC cycles meanwhile | own reads | values seen | torn | crashed | goal, from outside / native |\n|---|---|---|---|---|---|---|---|---|\n")
	for _, k := range done {
		total += k.writes
		fmt.Fprintf(&b, "| %s | %d | %.0f | %d | %d | %d | %d | no | %.6f |\n", k.release, k.writes, k.perSecond, k.cycles, k.reads, k.changesSeen, len(k.torn), float64(k.goal)/float64(k.native))
	}
	t.Logf("%d writes in total%s", total, b.String())
}

func runSoak(t *testing.T, release string, writes int) soak {
	tg := start(t, buildProgram(t, "subject", release))
	tg.ask("hold 60")
	before := tg.ask("work 1")
	s := tg.open(testHost(t.TempDir()))
	k := soak{release: s.target.GoVersion()}
	legal := map[uint64]bool{100: true, math.MaxInt64: true}
	for _, v := range soakLimits {
		legal[uint64(v)] = true
	}
	for _, v := range soakPercents {
		legal[uint64(v)] = true // off is what -1 is, in the metric too
	}
	// write counts what was written, and what the process was faster with.
	write := func(symbol string, value uint64) {
		w, err := s.target.Word(symbol)
		if err != nil {
			t.Fatal(err)
		}
		old, err := s.target.Value(w)
		if err == nil {
			err = set(s.target, symbol, old, value)
		}
		var changed *ChangedError
		switch {
		case errors.As(err, &changed) && symbol == remote.WordGCPercentHeapGoal:
			k.raced++ // the runtime writes this word itself
		case err != nil:
			t.Fatalf("after %d writes: %v", k.writes, err)
		default:
			k.writes++
		}
	}
	var sample record.Sample
	var heap pacer.Heap
	began := time.Now()
	for i := 0; k.writes < writes; i++ {
		if i%512 == 0 {
			b, err := readBooks(s.target, &sample)
			if err != nil && !errors.Is(err, remote.ErrUnsettled) {
				t.Fatal(err)
			} else if err == nil {
				heap = b.heap
			}
		}
		write(remote.WordMemoryLimit, uint64(soakLimits[i%len(soakLimits)]))
		p := soakPercents[i%len(soakPercents)]
		b := books{model: s.books.model, heap: heap, percent: int32(p) + 1} // any other
		for _, w := range b.words(Change{GOGCPercent: &p}) {
			write(w.symbol, w.value)
		}
	}
	k.perSecond = float64(k.writes) / time.Since(began).Seconds()
	write(remote.WordMemoryLimit, math.MaxInt64)
	write(remote.WordHeapMinimum, s.books.model.HeapMinimum(100))
	write(remote.WordGCPercent, 100)
	if _, err := commit(s.target, &sample); err != nil {
		t.Fatal(err)
	}
	end := tg.ask("rest")
	k.cycles = end.Cycles - before.Cycles
	k.reads = end.Seen.Reads
	for _, m := range []map[uint64]uint64{end.Seen.GOGC, end.Seen.Limits} {
		k.changesSeen += len(m)
		for v := range m {
			if !legal[v] {
				k.torn = append(k.torn, v)
			}
		}
	}
	slices.Sort(k.torn)

	// The pacer afterwards: a change from outside, then the same by the process.
	tg.ask("gc")
	if _, err := s.Describe(Change{GOGCPercent: ptr(80)}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Apply(context.Background(), Change{GOGCPercent: ptr(80)}, "a test"); err != nil {
		t.Fatal(err)
	}
	k.goal = tg.ask("read").Goal
	tg.ask("gogc 100")
	k.native = tg.ask("gogc 80").Goal
	return k
}
