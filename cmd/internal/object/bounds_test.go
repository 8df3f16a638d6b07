package object

import (
	"context"
	"errors"
	"slices"
	"testing"

	"github.com/heapwright/heapwright/cmd/internal/heapgraph"
	"github.com/heapwright/heapwright/cmd/internal/procmem"
)

// ones is memory that consists of ones.
type ones struct{}

func (ones) Read(_ uint64, buf []byte) error {
	for i := range buf {
		buf[i] = 1
	}
	return nil
}

func (o ones) ReadBatch(reqs []procmem.Request) (int, error) {
	for _, q := range reqs {
		o.Read(q.Addr, q.Buf)
	}
	return len(reqs), nil
}

// Spans of a process that has reserved addresses without end are refused before what
// is held of them takes as much memory.
func TestSpanListIsBounded(t *testing.T) {
	for name, tc := range map[string]struct {
		spans []span
		cost  int64
	}{
		"side by side": {[]span{{base: 1 << 26, npages: 1}, {base: 1<<26 + pageSize, npages: 1}}, 32 << 10},
		"apart":        {[]span{{base: 1 << 26, npages: 1}, {base: 3 << 26, npages: 1}}, 64 << 10},
		"across":       {[]span{{base: 2<<26 - pageSize, npages: 2}, {base: 2<<26 + pageSize, npages: 1}}, 64 << 10},
		"reserved":     {[]span{{base: 1 << 30, npages: 1<<32 - 1, slots: 1, elem: 8, large: true}}, 16 << 30},
		"none":         {nil, 0},
	} {
		if got := pagesCost(tc.spans); got != tc.cost {
			t.Errorf("%s: %d bytes, want %d", name, got, tc.cost)
		}
		w := &walk{opt: Options{MaxMemory: 1 << 20}, b: heapgraph.NewBuilder(heapgraph.BuildOptions{}), spans: slices.Clone(tc.spans)}
		if tc.cost <= 1<<20 {
			continue
		}
		var large *heapgraph.TooLargeError
		if err := w.placeSpans(); !errors.As(err, &large) {
			t.Errorf("%s: %v", name, err)
		}
	}
	w := &walk{opt: Options{MaxMemory: 100 * (spanCost + 8)}, room: 1 << 60}
	for i := range 1000 {
		w.addSpan(&rawSpan{span: span{base: uint64(i+1) << pageShift, npages: 1, slots: 1, elem: pageSize}}, nil)
	}
	var large *heapgraph.TooLargeError
	if !errors.As(w.refused, &large) || len(w.spans) != 100 {
		t.Errorf("%d spans were taken: %v", len(w.spans), w.refused)
	}
	if _, again := large.Coarser(); again {
		t.Error("a coarser graph would not help")
	}
}

// Variables that refer to the heap in every word are read as far as there is room.
func TestReferencesAreBounded(t *testing.T) {
	w := &walk{ctx: context.Background(), opt: Options{MaxMemory: 10 * referenceCost}, low: 1, high: 1 << 60}
	w.r = &reader{ctx: w.ctx, mem: ones{}}
	refs, err := w.segment(nil, 1<<20, 2<<20, 0, 0)
	if err != nil || len(refs) != 10 || !w.partGlobals {
		t.Errorf("%d references: %v", len(refs), err)
	}
}
