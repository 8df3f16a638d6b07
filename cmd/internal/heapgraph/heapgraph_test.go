package heapgraph

import (
	"context"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/heapwright/heapwright/record"
)

// A plan is a graph as a test writes it: edges[i] are the objects that object i
// refers to, each of size bytes at a fixed place.
type plan struct {
	edges  [][]int
	roots  [][]int
	noscan map[int]bool
	kinds  []RootKind
}

func (p plan) kind(i int) RootKind {
	if i < len(p.kinds) {
		return p.kinds[i]
	}
	return Global
}

const base, elem, slots = 0xc000000000, 32, 16

// addr is where object i lies: 16 a span, with the pointer-free ones in spans of
// their own far above.
func (p plan) addr(i int) uint64 {
	if p.noscan[i] {
		return base + 1<<30 + uint64(i)*elem
	}
	return base + uint64(i)*elem
}

func (p plan) builder(t testing.TB, opt BuildOptions) (*Builder, error) {
	t.Helper()
	b := NewBuilder(opt)
	// The last span first: any order will do.
	for s := (len(p.edges) - 1) / slots; s >= 0; s-- {
		var scan, plain uint64
		for i := s * slots; i < min((s+1)*slots, len(p.edges)); i++ {
			if p.noscan[i] {
				plain |= 1 << (i % slots)
			} else {
				scan |= 1 << (i % slots)
			}
		}
		must(t, b.AddSpan(Span{Base: base + uint64(s)*slots*elem, ElemSize: elem, Slots: slots, Live: []uint64{scan}}))
		must(t, b.AddSpan(Span{Base: base + 1<<30 + uint64(s)*slots*elem, ElemSize: elem, Slots: slots, Noscan: true, Live: []uint64{plain}}))
	}
	if err := b.Layout(); err != nil {
		return nil, err
	}
	for i, edges := range p.edges {
		n, offset, ok := b.Find(p.addr(i) + 5)
		if b.Coarse() == Exact && (!ok || offset != 5) {
			t.Fatalf("object %d is not found", i)
		}
		if p.noscan[i] || !ok {
			continue
		}
		if err := b.Begin(n); err != nil {
			return nil, err
		}
		for _, to := range edges {
			b.Edge(p.addr(to) + 8)
		}
	}
	for i, edges := range p.roots {
		r := b.AddRoot(Root{Name: string(rune('a' + i)), Kind: p.kind(i)})
		for _, to := range edges {
			b.RootEdge(r, p.addr(to))
		}
	}
	return b, nil
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func (p plan) graph(t testing.TB) *Graph {
	t.Helper()
	b, err := p.builder(t, BuildOptions{})
	must(t, err)
	g, err := b.Graph()
	must(t, err)
	return g
}

func dominators(t testing.TB, g *Graph) *Tree {
	t.Helper()
	tree, err := Dominators(context.Background(), g)
	must(t, err)
	return tree
}

func TestDominators(t *testing.T) {
	//   a -> 0 -> 1 -> 3     b -> 5 <- 4
	//         \-> 2 -/-> 4
	// 6 and 7 are an island.
	p := plan{
		edges: [][]int{{1, 2}, {3}, {3, 4}, {3}, {5}, {}, {7}, {6}},
		roots: [][]int{{0}, {5}},
	}
	g := p.graph(t)
	tree := dominators(t, g)
	a, b := NodeID(9), NodeID(10)
	if g.Root(a).Name != "a" || g.Root(b).Name != "b" || g.Root(8) != nil {
		t.Fatal("the roots are not where they belong")
	}
	for n, want := range map[NodeID]NodeID{0: None, 1: a, 2: 1, 3: 1, 4: 1, 5: 3, 6: SuperRoot, 7: None, 8: None, a: SuperRoot, b: SuperRoot} {
		if got := tree.Dominator(n); got != want {
			t.Errorf("the dominator of %d is %d, want %d", n, int32(got), int32(want))
		}
	}
	for n, want := range map[NodeID]uint64{0: 6, a: 5, b: 0, 1: 5, 2: 1, 3: 2, 4: 1, 5: 1, 6: 1} {
		if bytes, objects := tree.Retained(n); bytes != want*elem || objects != want {
			t.Errorf("%d retains %d bytes in %d objects, want %d objects", n, bytes, objects, want)
		}
	}
	if got := tree.Chain(5, 10); !slices.Equal(got, []NodeID{a, 1, 3, 5}) {
		t.Errorf("chain %v", got)
	}
	if got := tree.Chain(5, 2); !slices.Equal(got, []NodeID{a, 1}) {
		t.Errorf("cut chain %v", got)
	}
	paths, err := ShortestPaths(context.Background(), g)
	must(t, err)
	if got := paths.Path(6, 10); !slices.Equal(got, []NodeID{b, 6}) {
		t.Errorf("path %v", got)
	}
	if got := paths.Path(4, 10); !slices.Equal(got, []NodeID{a, 1, 2, 4}) {
		t.Errorf("path %v", got)
	}
	if got := paths.Path(4, 2); !slices.Equal(got, []NodeID{a, 4}) {
		t.Errorf("cut path %v", got)
	}
	if paths.Path(7, 10) != nil || paths.Path(1000, 10) != nil || tree.Chain(7, 10) != nil {
		t.Error("there is a way to an island")
	}
	if g.LiveObjects != 8 || g.LiveBytes != 8*elem {
		t.Errorf("%d objects live", g.LiveObjects)
	}
	for i := range p.edges {
		if got := g.Addr(NodeID(i + 1)); got != p.addr(i) {
			t.Errorf("object %d is at %#x, want %#x", i, got, p.addr(i))
		}
	}
}

// random makes plans of all shapes: sparse, dense, with long chains, with cycles.
func random(r *rand.Rand, size int) plan {
	n := 1 + r.IntN(size)
	p := plan{edges: make([][]int, n), noscan: map[int]bool{}}
	for range r.IntN(3 * n) {
		from, to := r.IntN(n), r.IntN(n)
		p.edges[from] = append(p.edges[from], to)
	}
	if r.IntN(2) == 0 {
		for i := range n - 1 {
			p.edges[i] = append(p.edges[i], i+1)
		}
	}
	for range r.IntN(4) {
		var root []int
		for range r.IntN(3) {
			root = append(root, r.IntN(n))
		}
		p.roots = append(p.roots, root)
		p.kinds = append(p.kinds, RootKind(r.IntN(int(Other)+1)))
	}
	return p
}

// naive finds dominators by taking each node away and looking what is reached.
func naive(g *Graph) []map[NodeID]bool {
	reach := func(without NodeID) map[NodeID]bool {
		seen := map[NodeID]bool{}
		var todo []NodeID
		if without != SuperRoot {
			seen[SuperRoot] = true
			todo = append(todo, SuperRoot)
		}
		for len(todo) > 0 {
			v := todo[len(todo)-1]
			todo = todo[:len(todo)-1]
			for _, to := range g.Edges(v) {
				if to != without && !seen[to] && g.Keeps(v, to) {
					seen[to] = true
					todo = append(todo, to)
				}
			}
		}
		return seen
	}
	all := reach(None)
	dominated := make([]map[NodeID]bool, g.Len())
	for v := range dominated {
		dominated[v] = map[NodeID]bool{}
		left := reach(NodeID(v))
		for w := range all {
			if all[NodeID(v)] && !left[w] {
				dominated[v][w] = true
			}
		}
	}
	return dominated
}

func TestDominatorsAgainstNaive(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	for range 3000 {
		g := random(r, 24).graph(t)
		compareNaive(t, g)
		// Whatever a root reaches at all, one that keeps reaches.
		all := map[NodeID]bool{SuperRoot: true}
		todo := []NodeID{SuperRoot}
		for len(todo) > 0 {
			for _, to := range g.Edges(todo[0]) {
				if !all[to] {
					all[to] = true
					todo = append(todo, to)
				}
			}
			todo = todo[1:]
		}
		tree := dominators(t, g)
		for n := range g.Len() {
			if tree.Reached(NodeID(n)) != all[NodeID(n)] {
				t.Fatalf("%d is reached: %v", n, tree.Reached(NodeID(n)))
			}
		}
	}
}

func compareNaive(t *testing.T, g *Graph) {
	t.Helper()
	tree := dominators(t, g)
	dominated := naive(g)
	for v := range g.Len() {
		var bytes, objects uint64
		for w := range dominated[v] {
			bytes += g.Size(w)
			objects += g.Count(w)
			on := false
			for d := w; d != None; d = tree.Dominator(d) {
				on = on || d == NodeID(v)
			}
			if !on {
				t.Fatalf("%d dominates %d and is not above it", v, w)
			}
		}
		if !tree.Reached(NodeID(v)) {
			if len(dominated[v]) > 0 {
				t.Fatalf("%d is reached", v)
			}
			continue
		}
		if b, o := tree.Retained(NodeID(v)); b != bytes || o != objects {
			t.Fatalf("%d retains %d bytes in %d objects, want %d in %d", v, b, o, bytes, objects)
		}
	}
	seen := map[NodeID]bool{None: true}
	for _, v := range tree.Order() {
		if !seen[tree.Dominator(v)] {
			t.Fatalf("%d comes before its dominator", v)
		}
		seen[v] = true
	}
}

func TestCoarseKeepsTotals(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 1000 {
		p := random(r, 60)
		for i := range p.edges {
			if r.IntN(2) == 0 {
				p.noscan[i], p.edges[i] = true, nil
			}
		}
		exact := p.graph(t)
		tree := dominators(t, exact)
		for coarse := FoldNoscan; coarse <= SpanPerNode; coarse++ {
			b, err := p.builder(t, BuildOptions{Coarse: coarse})
			must(t, err)
			g, err := b.Graph()
			must(t, err)
			if g.Coarse != coarse || g.LiveBytes != exact.LiveBytes || g.LiveObjects != exact.LiveObjects {
				t.Fatalf("%d: %d bytes in %d objects, want %d in %d", coarse, g.LiveBytes, g.LiveObjects, exact.LiveBytes, exact.LiveObjects)
			}
			bytes, objects := g.LooseBytes, g.LooseObjects
			for v := range g.Len() {
				bytes += g.Size(NodeID(v))
				objects += g.Count(NodeID(v))
			}
			if bytes != g.LiveBytes || objects != g.LiveObjects {
				t.Fatalf("%d: nodes have %d bytes in %d objects, want %d in %d", coarse, bytes, objects, g.LiveBytes, g.LiveObjects)
			}
			compareNaive(t, g)
			if all, _ := dominators(t, g).Retained(SuperRoot); coarse == FoldNoscan {
				// What was folded into something that no root reaches may be reached by another.
				if want, _ := tree.Retained(SuperRoot); all > want {
					t.Fatalf("%d bytes are reached, of %d", all, want)
				}
			}
		}
	}
}

func TestFoldGoesToTheFirst(t *testing.T) {
	p := plan{edges: [][]int{{2}, {2, 3}, nil, nil, nil}, roots: [][]int{{0, 1}, {4}}, noscan: map[int]bool{2: true, 3: true, 4: true}}
	b, err := p.builder(t, BuildOptions{Coarse: FoldNoscan})
	must(t, err)
	g, err := b.Graph()
	must(t, err)
	if g.Objects() != 2 || g.Size(1) != 2*elem || g.Size(2) != 2*elem || g.Size(4) != elem || g.Count(1) != 2 {
		t.Errorf("%d objects of %d, %d and a root of %d bytes", g.Objects(), g.Size(1), g.Size(2), g.Size(4))
	}
}

func TestRanksOfRoots(t *testing.T) {
	p := plan{edges: [][]int{{1}, nil, {3}, nil, {1}, nil}}
	b, err := p.builder(t, BuildOptions{})
	must(t, err)
	f := b.AddRoot(Root{Kind: Finalizer, Name: "main.close"})
	b.RootEdge(f, p.addr(1))
	b.RootEdge(f, p.addr(3))
	b.RootEdge(b.AddRoot(Root{Name: "main.files"}), p.addr(0))
	s := b.AddRoot(Root{Kind: Stack, Name: "main.main"})
	b.RootEdge(s, p.addr(1))
	b.RootEdge(s, p.addr(4))
	o := b.AddRoot(Root{Kind: Other, Name: "timers"})
	b.RootEdge(o, p.addr(4))
	b.RootEdge(o, p.addr(5))
	g, err := b.Graph()
	must(t, err)
	// Object 2 is dead, and its finalizer keeps 3. 1 is used by main.main and the
	// finalizer; 4, which a timer has, refers to it as well.
	tree := dominators(t, g)
	const finalizer, files, timers = 7, 8, 10
	for n, want := range map[NodeID]NodeID{1: files, 2: 1, 3: None, 4: finalizer, 5: timers, 6: timers} {
		if got := tree.Dominator(n); got != want {
			t.Errorf("the dominator of %d is %d, want %d", n, int32(got), int32(want))
		}
	}
}

// A channel refers to who waits at it, who waits to a thread, and that to the timers. A
// variable that has the channel keeps none of these, unless nobody else does.
func TestSchedulersObjects(t *testing.T) {
	// 1 channel -> 2 sudog -> 3 g -> 4 m -> 5 p -> 6 timers; 2 -> 7 what is sent; 8 sudog of nobody.
	p := plan{edges: [][]int{{1, 7}, {2, 6}, {3}, {4}, {5}, nil, nil, nil}}
	b, err := p.builder(t, BuildOptions{})
	must(t, err)
	for i, name := range []string{"runtime.hchan", "runtime.sudog", "runtime.g", "runtime.m", "runtime.p", "", "", "runtime.sudog"} {
		if n, _, ok := b.Find(p.addr(i)); ok && name != "" {
			b.SetType(n, b.AddType(Type{Name: name}))
		}
	}
	b.RootEdge(b.AddRoot(Root{Name: "main.wake"}), p.addr(0))
	all := b.AddRoot(Root{Kind: Other, Name: "runtime.allgs"})
	b.RootEdge(all, p.addr(2))
	b.RootEdge(all, p.addr(1))
	g, err := b.Graph()
	must(t, err)
	tree := dominators(t, g)
	const wake, allgs = 9, 10
	for n, want := range map[NodeID]NodeID{1: wake, 2: allgs, 3: allgs, 4: 3, 5: 4, 6: 5, 7: 2, 8: 1} {
		if got := tree.Dominator(n); got != want {
			t.Errorf("the dominator of %d is %d, want %d", n, int32(got), int32(want))
		}
	}
}

func TestSamplesStayNodes(t *testing.T) {
	b := NewBuilder(BuildOptions{Coarse: FoldNoscan})
	must(t, b.AddSpan(Span{Base: base, ElemSize: 16, Slots: 4, Noscan: true}))
	b.AddSample(base+16, 10, []record.Frame{{Func: "main.a"}})
	b.AddSample(base+33, 10, []record.Frame{{Func: "main.b"}})
	b.AddSample(base+40, 10, []record.Frame{{Func: "main.a"}})
	b.AddSample(7, 10, []record.Frame{{Func: "main.a"}})
	must(t, b.Layout())
	g, err := b.Graph()
	must(t, err)
	if g.Objects() != 2 || len(g.Sites) != 2 || len(g.Samples) != 3 || g.Addr(g.Samples[1].Node) != base+32 || g.LooseObjects != 2 {
		t.Errorf("%d objects, %d sites, samples %v", g.Objects(), len(g.Sites), g.Samples)
	}
}

func TestBudget(t *testing.T) {
	build := func(budget int64, coarse Coarse) (*Graph, error) {
		b := NewBuilder(BuildOptions{Budget: budget, Coarse: coarse})
		for i := range uint64(100) {
			must(t, b.AddSpan(Span{Base: base + i*8192, ElemSize: 8, Slots: 1024, Noscan: i%2 == 0}))
		}
		if err := b.Layout(); err != nil {
			return nil, err
		}
		for i := range b.SpanCount() {
			s := b.SpanAt(i)
			for slot := range uint64(s.Slots) {
				if n, _, ok := b.Find(s.Base + slot*8); ok && !s.Noscan {
					if err := b.Begin(n); err != nil {
						return nil, err
					}
					for j := range uint64(4) {
						b.Edge(base + (slot*7919+j*8192*3)%(100*8192))
					}
				}
			}
		}
		return b.Graph()
	}
	for _, c := range []struct {
		budget int64
		want   Coarse
	}{{0, Exact}, {1 << 30, Exact}, {4 << 20, FoldNoscan}, {1 << 20, SpanPerNode}} {
		level := Exact
		g, err := build(c.budget, level)
		for range 2 {
			var large *TooLargeError
			if errors.As(err, &large) {
				level, _ = large.Coarser()
				g, err = build(c.budget, level)
			}
		}
		if err != nil || g.Coarse != c.want {
			t.Errorf("a budget of %d: %v", c.budget, err)
			continue
		}
		if bytes := g.LiveBytes; bytes != 100*8192 {
			t.Errorf("a budget of %d: %d bytes", c.budget, bytes)
		}
	}
	_, err := build(100, Exact)
	var large *TooLargeError
	if !errors.As(err, &large) {
		t.Fatalf("a budget of 100 bytes: %v", err)
	}
	if _, ok := large.Coarser(); ok || large.Hint() == "" {
		t.Error("there is something coarser than spans")
	}
}

func TestHostileSpans(t *testing.T) {
	b := NewBuilder(BuildOptions{})
	for _, s := range []Span{
		{}, {Base: base}, {Base: base, ElemSize: 8}, {Base: base, ElemSize: 8, Slots: -1}, {Base: base, ElemSize: 8, Slots: MaxSlots + 1},
		{Base: ^uint64(0) - 7, ElemSize: 8, Slots: 2}, {Base: base, ElemSize: 1 << 60, Slots: 64}, {Base: 1 << 60, ElemSize: 8, Slots: 2},
	} {
		if b.AddSpan(s) == nil {
			t.Errorf("%+v is taken for a span", s)
		}
	}
	// Overlapping spans, spans far apart, spans that share a page.
	for _, s := range []Span{
		{Base: base, ElemSize: 100, Slots: 7}, {Base: base + 50, ElemSize: 8, Slots: 1000}, {Base: base + 700, ElemSize: 16, Slots: 3},
		{Base: 1 << 20, ElemSize: 8, Slots: 1}, {Base: 1 << 56, ElemSize: 8, Slots: 64},
	} {
		must(t, b.AddSpan(s))
	}
	must(t, b.Layout())
	for addr, want := range map[uint64]bool{
		0: false, base: true, base + 699: true, base + 700: true, base + 747: true, base + 748: false, base - 1: false,
		1 << 20: true, 1<<20 + 8: false, 1<<56 + 511: true, ^uint64(0): false,
	} {
		if _, _, ok := b.Find(addr); ok != want {
			t.Errorf("%#x is in an object: %v", addr, ok)
		}
	}
	if err := b.Begin(1000); !errors.Is(err, errOrder) {
		t.Errorf("a node that there is not: %v", err)
	}
	if _, err := b.Graph(); err == nil {
		t.Error("a mistake is forgotten")
	}
}

func TestContextEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	b := NewBuilder(BuildOptions{})
	must(t, b.AddSpan(Span{Base: base, ElemSize: 8, Slots: 1}))
	must(t, b.Layout())
	g, err := b.Graph()
	must(t, err)
	if _, err := ShortestPaths(ctx, g); !errors.Is(err, context.Canceled) {
		t.Errorf("paths: %v", err)
	}
}

func FuzzDominators(f *testing.F) {
	f.Add([]byte{3, 0, 1, 1, 2, 2, 0})
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) < 2 || len(data) > 200 {
			return
		}
		n := 1 + int(data[0])%40
		p := plan{edges: make([][]int, n), roots: [][]int{{int(data[1]) % n}, nil}, noscan: map[int]bool{}}
		for i := 2; i+1 < len(data); i += 2 {
			from, to := int(data[i])%n, int(data[i+1])%n
			switch {
			case data[i] > 250:
				p.roots[1] = append(p.roots[1], to)
			default:
				p.edges[from] = append(p.edges[from], to)
			}
		}
		compareNaive(t, p.graph(t))
	})
}

// BenchmarkDominators takes a heap of 10 million objects, with -short of one, with the
// shape of most: trees and maps, two references an object, a tenth of them shared.
func BenchmarkDominators(b *testing.B) {
	g := large(b, objects())
	b.ReportMetric(float64(g.EdgeCount())/float64(objects()), "edges/object")
	for b.Loop() {
		dominators(b, g)
	}
}

func BenchmarkBuild(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		large(b, objects())
	}
}

// objects is how many the heaps of benchmarks have.
func objects() int {
	if testing.Short() {
		return 1 << 20
	}
	return 10 << 20
}

func large(b *testing.B, n int) *Graph {
	r := rand.New(rand.NewPCG(5, 6))
	builder := NewBuilder(BuildOptions{})
	for s := range n / 256 {
		must(b, builder.AddSpan(Span{Base: base + uint64(s)*8192, ElemSize: 32, Slots: 256}))
	}
	must(b, builder.Layout())
	for i := range n {
		must(b, builder.Begin(NodeID(i+1)))
		for j := 2*i + 1; j <= 2*i+2 && j < n; j++ {
			builder.Edge(base + uint64(j)*32)
		}
		if r.IntN(5) == 0 {
			builder.Edge(base + uint64(r.IntN(n))*32)
		}
	}
	builder.RootEdge(builder.AddRoot(Root{Name: "main.tree"}), base)
	g, err := builder.Graph()
	must(b, err)
	return g
}
