package heapgraph

import "context"

// Paths are the shortest ways from roots to all nodes: 8 bytes a node.
type Paths struct {
	from  []NodeID // by node: the one before it; None where it is not reached
	order []NodeID // nearest first
}

// ShortestPaths searches breadth-first from all roots at once, by references that
// keep (see Graph.Keeps).
func ShortestPaths(ctx context.Context, g *Graph) (*Paths, error) {
	p := &Paths{from: make([]NodeID, g.Len()), order: make([]NodeID, 0, g.Len())}
	for i := range p.from {
		p.from[i] = None
	}
	p.order = append(p.order, SuperRoot)
	for i := 0; i < len(p.order); i++ {
		v := p.order[i]
		for _, to := range g.Edges(v) {
			if p.from[to] == None && g.Keeps(v, to) {
				p.from[to] = v
				p.order = append(p.order, to)
			}
		}
		if i%checkEvery == 0 && ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	return p, nil
}

// Order returns the super-root and all nodes that are reached, each after the one
// before it on its path. The slice is the paths' own.
func (p *Paths) Order() []NodeID { return p.order }

// From returns the node before n on the shortest way to it, None where it is not
// reached.
func (p *Paths) From(n NodeID) NodeID {
	if int(n) >= len(p.from) {
		return None
	}
	return p.from[n]
}

// Path returns the way from a root to n, both included, at most max nodes: where it
// is longer, those closest to the root and n itself.
func (p *Paths) Path(n NodeID, max int) []NodeID {
	if n == SuperRoot || p.From(n) == None || max <= 0 {
		return nil
	}
	depth := 0
	for v := n; v != SuperRoot; v = p.from[v] {
		depth++
	}
	path := make([]NodeID, min(depth, max))
	for v := n; v != SuperRoot; v = p.from[v] {
		depth--
		if depth < len(path) {
			path[depth] = v
		}
	}
	path[len(path)-1] = n
	return path
}
