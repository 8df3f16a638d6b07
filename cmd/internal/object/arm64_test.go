package object

import (
	"strings"
	"testing"

	"github.com/heapwright/heapwright/cmd/internal/heapgraph"
	"github.com/heapwright/heapwright/cmd/internal/targettest"
)

// A program for arm64, under an emulator where the machine is not one: its layouts,
// its stacks, and references in its code.
func TestARM64(t *testing.T) {
	s := targettest.Start(t, targettest.Build(t, targettest.Local, "GOARCH=arm64", "CGO_ENABLED=0"))
	s.Ask(t, "gc")
	h := walkHeap(t, s, Options{})
	books := s.Books(t)
	want := uint64(books["/gc/heap/objects:objects"])
	if h.LiveObjects+64 < want/2 || h.LiveObjects > want*2+64 {
		t.Errorf("%d objects, the program has %d", h.LiveObjects, want)
	}
	if objects, _ := h.lost(); objects > h.LiveObjects/4 {
		t.Errorf("no root reaches %d of %d objects", objects, h.LiveObjects)
	}
	byMain := 0
	for _, r := range h.Roots {
		if r.Kind == heapgraph.Global && strings.Contains(r.Name, " main.") {
			byMain++
		}
	}
	if byMain == 0 {
		t.Error("no variable is known to be used by a function of main")
	}
	if h.stats.Precision != Typed || h.stats.LostStacks > 0 || h.stats.GlobalsConservative || h.stats.TypedObjects == 0 {
		t.Errorf("stats %+v", *h.stats)
	}
	t.Logf("%d objects, %d typed, the program says %d", h.LiveObjects, h.stats.TypedObjects, want)
}
