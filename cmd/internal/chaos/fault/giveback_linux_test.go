package fault

import (
	"context"
	"errors"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
	"github.com/heapwright/heapwright/cmd/internal/hugepage"
)

// BenchmarkGiveBack is how long it takes until what an eater holds is the machine's again,
// from the decision on.
func BenchmarkGiveBack(b *testing.B) {
	for _, kind := range []chaos.Kind{chaos.Sibling, chaos.Shared, chaos.PageCache} {
		b.Run(string(kind), func(b *testing.B) {
			const level = 900 * mebi
			target := startLab(b, 1000*mebi, targetSpec{Heap: 8 * mebi}, "memory")
			t, err := Locate(b.Context(), target.pid, "")
			if err != nil {
				b.Fatal(err)
			}
			room, err := Look()
			if err != nil {
				b.Fatal(err)
			}
			var took []time.Duration
			for b.Loop() {
				r, err := Resolve(b.Context(), chaos.Fault{Name: "eat", Kind: kind, Level: chaos.Level{Value: level}}, t, chaos.Caps{Memory: 1 << 30}, room)
				if err != nil {
					b.Fatal(err)
				}
				e, err := Make(b.Context(), r, t, &listJournal{})
				if err != nil {
					b.Fatal(err)
				}
				if err := e.Set(b.Context(), level); err != nil {
					b.Fatal(err)
				}
				began := time.Now()
				if err := e.Undo(context.Background()); err != nil {
					b.Fatal(err)
				}
				took = append(took, time.Since(began))
			}
			slices.Sort(took)
			b.ReportMetric(took[len(took)/2].Seconds()*1e3, "median-ms")
			b.ReportMetric(took[len(took)-1].Seconds()*1e3, "most-ms")
		})
	}
}

// TestLargePages: memory is had in large pages where there are such, and what is charged
// is what was asked for all the same.
func TestLargePages(t *testing.T) {
	for key, shared := range map[string]bool{"RssAnon": false, "RssShmem": true} {
		t.Run(key, func(t *testing.T) { largePages(t, key, shared) })
	}
}

func largePages(t *testing.T, key string, shared bool) {
	m, err := newMapped(9*mebi, shared)
	if err != nil {
		t.Fatal(err)
	}
	if m.rest == nil {
		if !shared && hugepage.Size() == large {
			t.Error("there are large pages, and it has none")
		}
		f, err := hugepage.File(1 << 21)
		if err == nil {
			f.Close()
		}
		if hugepage.Size() == large && !errors.Is(err, hugepage.ErrNone) {
			t.Error("there are large pages, and it has none")
		}
		t.Skipf("needs large pages of 2 MiB and CAP_SYS_ADMIN: %d, %v", hugepage.Size(), err)
	}
	status := func() uint64 {
		text, err := readText(procPath("", os.Getpid(), "status"))
		if err != nil {
			t.Fatal(err)
		}
		n, _ := kib(text, key)
		return n
	}
	before, at := status(), uint64(0)
	page := uint64(os.Getpagesize())
	for _, to := range []uint64{page, mebi, 2 * mebi, 5 * mebi, 5*mebi + page, 9 * mebi, 7 * mebi, 4 * mebi, 3 * mebi, 2*mebi - page, 0, 6 * mebi} {
		if to > at {
			err = m.grow(at, to)
		} else {
			err = m.shrink(at, to)
		}
		if err != nil {
			t.Fatalf("from %d to %d: %v", at, to, err)
		}
		// This program has memory of its own, of one sort.
		if got := status() - before; got != to && (shared || got+mebi < to || got > to+mebi) {
			t.Errorf("from %d to %d: %d bytes are charged", at, to, got)
		}
		at = to
	}
}

func TestFreeBlocks(t *testing.T) {
	const text = `Node 0, zone      DMA      0      0      0      0      0      0      0      0      1      1      3
Node 0, zone    DMA32    198    196    205    180    149    112     72     56     49     40    702
Node 0, zone   Normal  17466  13939   4586   1973    748    759    554   1808   1645   1155   2009
`
	if got, want := freeBlocks(text), uint64(40+2*702+1155+2*2009); got != want {
		t.Errorf("%d free, want %d", got, want)
	}
	for _, text := range []string{"", "Node", "Node 0, zone Normal 1 2 3", "Node 0, zone Normal a b c d e f g h i j k"} {
		if got := freeBlocks(text); got != 0 {
			t.Errorf("%q: %d", text, got)
		}
	}
}
