package heapgraph

import (
	"context"
	"math"
)

// A Tree says for each node which one dominates it: through which all ways from the
// roots lead, by references that keep (see Graph.Keeps). What a node dominates would
// be free without it.
type Tree struct {
	g        *Graph
	idom     []NodeID // None for the super-root and for what no root reaches
	retained []uint64
	count    []uint32
	order    []NodeID // the nodes that are reached, each after its dominator
}

// checkEvery is after how many nodes the context is asked.
const checkEvery = 1 << 18

// Dominators finds the dominators of all nodes that are reached from the roots, by
// the semi-NCA algorithm. It uses no recursion, and is nearly linear for heaps.
//
// Georgiadis, Tarjan, Werneck: Finding Dominators in Practice, Journal of Graph
// Algorithms and Applications 10 (2006), section 3; Lengauer, Tarjan: A Fast
// Algorithm for Finding Dominators in a Flowgraph, TOPLAS 1 (1979).
func Dominators(ctx context.Context, g *Graph) (*Tree, error) {
	f, err := search(ctx, g)
	if err != nil {
		return nil, err
	}
	if err := f.referrers(); err != nil {
		return nil, err
	}
	if err := f.dominate(ctx); err != nil {
		return nil, err
	}
	return f.tree(), nil
}

// A forest is a depth-first search with what is found out about it. Its nodes have
// the numbers in which the search came to them, from 0, the super-root; all slices
// but number are by them.
type forest struct {
	g      *Graph
	number []NodeID // by node: its number plus 1, 0 where it is not reached
	order  []NodeID // the node
	parent []uint32
	idom   []uint32
	semi   []uint32
	label  []uint32
	// preds[begin[i]:begin[i+1]] refer to i. A node that only its parent refers to
	// has none here: its parent dominates it.
	begin []uint32
	preds []uint32
	stack []uint32
}

func search(ctx context.Context, g *Graph) (*forest, error) {
	n := g.Len()
	f := &forest{g: g, number: make([]NodeID, n), order: make([]NodeID, 0, n), parent: make([]uint32, 0, n), label: make([]uint32, n)}
	next := f.label // which edge of a node to follow next; free for labels later
	visit := func(v NodeID, from uint32) {
		f.order = append(f.order, v)
		f.parent = append(f.parent, from)
		f.number[v] = NodeID(len(f.order))
	}
	visit(SuperRoot, 0)
	for at := uint32(0); ; {
		v := f.order[at]
		edges := g.Edges(v)
		i := next[at]
		for int(i) < len(edges) && (f.number[edges[i]] != 0 || !g.Keeps(v, edges[i])) {
			i++
		}
		next[at] = i
		switch {
		case int(i) < len(edges):
			next[at]++
			visit(edges[i], at)
			at = uint32(len(f.order) - 1)
			if at%checkEvery == 0 && ctx.Err() != nil {
				return nil, ctx.Err()
			}
		case at != 0:
			at = f.parent[at]
		default:
			return f, nil
		}
	}
}

func (f *forest) referrers() error {
	n := len(f.order)
	f.begin = make([]uint32, n+1)
	for _, v := range f.order {
		for _, to := range f.g.Edges(v) {
			if f.g.Keeps(v, to) {
				f.begin[f.number[to]-1]++
			}
		}
	}
	multi := make([]uint64, (n+63)/64)
	total := uint64(0)
	for i, c := range f.begin[:n] {
		if c > 1 {
			multi[i/64] |= 1 << (i % 64)
			total += uint64(c)
		}
		if total >= math.MaxUint32 {
			return &TooLargeError{Coarse: f.g.Coarse, What: "the references"}
		}
		f.begin[i] = uint32(total) // its end, which filling moves to its beginning
	}
	f.begin[n] = uint32(total)
	f.preds = make([]uint32, total)
	for at, v := range f.order {
		for _, to := range f.g.Edges(v) {
			if !f.g.Keeps(v, to) {
				continue
			}
			if w := f.number[to] - 1; multi[w/64]&(1<<(w%64)) != 0 {
				f.begin[w]--
				f.preds[f.begin[w]] = uint32(at)
			}
		}
	}
	return nil
}

func (f *forest) dominate(ctx context.Context) error {
	n := len(f.order)
	f.semi, f.idom, f.label = make([]uint32, n), make([]uint32, n), f.label[:n]
	copy(f.idom, f.parent)
	for i := range f.semi {
		f.semi[i], f.label[i] = uint32(i), uint32(i)
	}
	for w := uint32(n) - 1; w > 0; w-- {
		semi := f.parent[w]
		for _, v := range f.preds[f.begin[w]:f.begin[w+1]] {
			semi = min(semi, f.semi[f.eval(v, w+1)])
		}
		f.semi[w] = semi
		if w%checkEvery == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
	}
	for w := 1; w < n; w++ {
		d := f.idom[w]
		for d > f.semi[w] {
			d = f.idom[d]
		}
		f.idom[w] = d
	}
	return nil
}

// eval returns the node with the least semidominator on the way from v up to the
// last one that is linked, those from linked on, and shortens that way.
func (f *forest) eval(v, linked uint32) uint32 {
	if f.parent[v] < linked {
		return f.label[v]
	}
	f.stack = f.stack[:0]
	for f.parent[v] >= linked {
		f.stack = append(f.stack, v)
		v = f.parent[v]
	}
	top, least := f.parent[v], f.label[v]
	for i := len(f.stack) - 1; i >= 0; i-- {
		v = f.stack[i]
		f.parent[v] = top
		if f.semi[least] < f.semi[f.label[v]] {
			f.label[v] = least
		} else {
			least = f.label[v]
		}
	}
	return f.label[v]
}

// tree sums up, and gives the nodes their ids back.
func (f *forest) tree() *Tree {
	f.parent, f.semi, f.label, f.begin, f.preds, f.stack = nil, nil, nil, nil, nil, nil
	g := f.g
	t := &Tree{g: g, idom: f.number, order: f.order, retained: make([]uint64, g.Len()), count: make([]uint32, g.Len())}
	g.sizes(t.retained, t.count)
	for i := range t.idom {
		t.idom[i] = None
	}
	for w := len(f.order) - 1; w > 0; w-- {
		v, d := f.order[w], f.order[f.idom[w]]
		t.idom[v] = d
		t.retained[d] += t.retained[v]
		if c := t.count[d] + t.count[v]; c >= t.count[d] {
			t.count[d] = c
		} else {
			t.count[d] = math.MaxUint32
		}
	}
	return t
}

// sizes sets the bytes and objects of each node, without those it refers to.
func (g *Graph) sizes(size []uint64, count []uint32) {
	for i := range g.spans {
		s := &g.spans[i]
		objects := s.objects()
		for n := s.first; n < s.first+NodeID(s.nodes); n++ {
			size[n], count[n] = s.elem*objects, uint32(objects)
		}
	}
	for i, x := range g.extra {
		size[i+1] += uint64(x) * 8
		count[i+1] += g.extraN[i]
	}
}

// Reached says whether a root reaches the node.
func (t *Tree) Reached(n NodeID) bool {
	return n == SuperRoot || int(n) < len(t.idom) && t.idom[n] != None
}

// Dominator returns the closest node that all ways from roots to n lead through:
// SuperRoot where several roots keep it independently, None where none does.
func (t *Tree) Dominator(n NodeID) NodeID {
	if int(n) >= len(t.idom) {
		return None
	}
	return t.idom[n]
}

// Retained returns the bytes and the objects that would be free without the node,
// its own included. Those of the super-root are all that is reached. For a node
// that is not reached they are its own.
func (t *Tree) Retained(n NodeID) (bytes, objects uint64) {
	if int(n) >= len(t.retained) {
		return 0, 0
	}
	return t.retained[n], uint64(t.count[n])
}

// Order returns all nodes that are reached, each after its dominator. The slice is
// the tree's own.
func (t *Tree) Order() []NodeID { return t.order }

// Chain returns the dominators of a node, from a root (or an object that several
// roots keep) to the node itself, at most max of them: those closest to the root.
func (t *Tree) Chain(n NodeID, max int) []NodeID {
	if !t.Reached(n) || max <= 0 {
		return nil
	}
	depth := 0
	for v := n; v != SuperRoot; v = t.idom[v] {
		depth++
	}
	chain := make([]NodeID, min(depth, max))
	for v := n; v != SuperRoot; v = t.idom[v] {
		depth--
		if depth < len(chain) {
			chain[depth] = v
		}
	}
	return chain
}
