package retention

import (
	"fmt"
	"slices"
	"strings"

	"github.com/heapwright/heapwright/cmd/internal/heapgraph"
)

// A kind is what objects are grouped by: their type, and whether they are arrays of
// it; where the type is not known, their size.
type kind struct {
	typ    heapgraph.TypeID
	array  bool
	noscan bool
	size   uint64 // where the type is not known
	name   string
	is     heapgraph.Kind
}

type kindKey struct {
	typ    heapgraph.TypeID
	array  bool
	noscan bool
	size   uint64
}

// kinds are all kinds of a graph.
type kinds struct {
	g    *heapgraph.Graph
	list []kind
	ids  map[kindKey]uint32
	// what is being asked for again and again
	last   kindKey
	lastID uint32
}

func kindsOf(g *heapgraph.Graph) *kinds {
	return &kinds{g: g, ids: map[kindKey]uint32{}, last: kindKey{size: 1}}
}

// id returns the kind of an object of a type with the size.
func (k *kinds) id(typ heapgraph.TypeID, r *heapgraph.Run) uint32 {
	key := kindKey{typ: typ}
	t := &k.g.Types[typ]
	switch {
	case r.Merged:
		key = kindKey{size: r.Size, noscan: r.Noscan, array: true}
	case typ == 0 && r.Noscan:
		key.noscan = true
	case typ == 0:
		key.size = r.Size
	case t.Size > 0 && r.Size >= 2*t.Size && t.Kind != heapgraph.KindMapGroups && t.Kind != heapgraph.KindMapTable && !directory(t):
		key.array = true
	}
	if key == k.last {
		return k.lastID
	}
	id, ok := k.ids[key]
	if !ok {
		id = uint32(len(k.list))
		k.ids[key] = id
		n := kind{typ: typ, array: key.array, noscan: key.noscan, size: key.size, is: t.Kind}
		switch {
		case r.Merged:
			n.name = fmt.Sprintf("objects of %d bytes", r.Size)
			if r.Noscan {
				n.name += " without pointers"
			}
		case typ == 0 && key.noscan:
			n.name, n.is = "memory without pointers", heapgraph.KindBytes
		case typ == 0:
			n.name = fmt.Sprintf("object of %d bytes", r.Size)
		case key.array:
			n.name = "[]" + t.Name
		default:
			n.name = t.Name
		}
		k.list = append(k.list, n)
	}
	k.last, k.lastID = key, id
	return id
}

// directory says whether a type is what a swiss map has its tables in.
func directory(t *heapgraph.Type) bool {
	return t.Kind == heapgraph.KindPointers && strings.HasPrefix(t.Name, "tables of ")
}

// A group is all objects of one kind whose dominators (or whose predecessors on the
// shortest path) are one group: a place in a trie of paths of kinds. The first is
// the super-root. A root that keeps something is a group of its own.
type group struct {
	parent    uint32
	kind      uint32
	root      heapgraph.NodeID // None: objects
	rootName  string
	nodes     uint32
	objects   uint64 // in the group itself
	own       uint64 // their bytes
	retained  uint64 // with all below
	count     uint64 // objects with all below
	rep       heapgraph.NodeID
	repBytes  uint64
	recursive bool
}

// A trie groups all nodes that are reached.
type trie struct {
	g      *heapgraph.Graph
	kinds  *kinds
	groups []group
	of     []uint32 // by node
	full   bool
	kids   map[uint32][]uint32
}

type groupKey struct {
	parent uint32
	kind   uint32
}

// upward is how many groups above an object's are looked at for one of its own
// kind: objects that refer to each other in turn, such as the elements of a list and
// what they hold, are one group a kind and not a path of a million steps.
const upward = 6

// newTrie groups the nodes of order by their predecessors; each must come after its
// own. tree is for choosing the largest of each group, and may be nil.
func newTrie(g *heapgraph.Graph, k *kinds, order []heapgraph.NodeID, from func(heapgraph.NodeID) heapgraph.NodeID, tree *heapgraph.Tree) *trie {
	t := &trie{g: g, kinds: k, of: make([]uint32, g.Len()), groups: []group{{root: heapgraph.SuperRoot}}}
	// First the kind of each, in order of their places in memory.
	for r := range g.Runs() {
		for n := r.First; n < r.First+heapgraph.NodeID(r.Nodes); n++ {
			t.of[n] = k.id(g.TypeOf(n), &r)
		}
	}
	ids := map[groupKey]uint32{}
	var lastKey groupKey
	var lastID uint32
	for _, v := range order {
		if v == heapgraph.SuperRoot {
			continue
		}
		parent := uint32(0)
		if d := from(v); d != heapgraph.SuperRoot {
			parent = t.of[d]
		}
		if r := g.Root(v); r != nil {
			t.of[v] = t.addRoot(v, r, tree)
			continue
		}
		key := groupKey{parent, t.of[v]}
		id := lastID
		if key != lastKey || lastID == 0 {
			id = t.find(ids, key)
			lastKey, lastID = key, id
		}
		t.of[v] = id
		p := &t.groups[id]
		p.nodes++
		if tree != nil {
			if bytes, _ := tree.Retained(v); bytes > p.repBytes || p.nodes == 1 {
				p.rep, p.repBytes = v, bytes
			}
		} else if p.nodes == 1 {
			p.rep = v
		}
	}
	t.sum(tree, from)
	return t
}

func (t *trie) addRoot(v heapgraph.NodeID, r *heapgraph.Root, tree *heapgraph.Tree) uint32 {
	bytes, _ := t.g.Folded(v)
	if tree != nil {
		bytes, _ = tree.Retained(v)
	} else {
		bytes += uint64(len(t.g.Edges(v)))
	}
	if bytes == 0 {
		return 0
	}
	if len(t.groups) >= maxGroups {
		t.full = true
		return 0
	}
	t.groups = append(t.groups, group{root: v, rootName: r.Name, rep: v, nodes: 1})
	return uint32(len(t.groups) - 1)
}

// find returns the group of a kind below another.
func (t *trie) find(ids map[groupKey]uint32, key groupKey) uint32 {
	if id, ok := ids[key]; ok {
		return id
	}
	up := key.parent
	for range upward {
		p := &t.groups[up]
		if p.root != heapgraph.None {
			break
		}
		if p.kind == key.kind {
			p.recursive = true
			ids[key] = up
			return up
		}
		up = p.parent
	}
	if len(t.groups) >= maxGroups {
		// It counts as part of what is above it.
		t.full = true
		return key.parent
	}
	id := uint32(len(t.groups))
	t.groups = append(t.groups, group{parent: key.parent, kind: key.kind, root: heapgraph.None})
	ids[key] = id
	return id
}

// sum adds up the bytes and objects.
func (t *trie) sum(tree *heapgraph.Tree, from func(heapgraph.NodeID) heapgraph.NodeID) {
	for r := range t.g.Runs() {
		for n := r.First; n < r.First+heapgraph.NodeID(r.Nodes); n++ {
			if from(n) == heapgraph.None {
				continue
			}
			bytes, objects := t.g.Folded(n)
			p := &t.groups[t.of[n]]
			p.own += r.Size*r.Objects + bytes
			p.objects += r.Objects + objects
		}
	}
	for i := range t.g.Roots {
		n := heapgraph.NodeID(t.g.Objects() + 1 + i)
		bytes, objects := t.g.Folded(n)
		p := &t.groups[t.of[n]]
		p.own += bytes
		p.objects += objects
	}
	for i := len(t.groups) - 1; i >= 0; i-- {
		p := &t.groups[i]
		p.retained += p.own
		p.count += p.objects
		if i > 0 {
			t.groups[p.parent].retained += p.retained
			t.groups[p.parent].count += p.count
		}
	}
	t.kids = map[uint32][]uint32{}
}

// children returns the groups right below one that keep at least so much, the
// largest first.
func (t *trie) children(id uint32, least uint64) []uint32 {
	if len(t.kids) == 0 {
		// Those that matter are few.
		floor := t.groups[0].retained / 100_000
		for i := 1; i < len(t.groups); i++ {
			if p := &t.groups[i]; p.retained > floor {
				t.kids[p.parent] = append(t.kids[p.parent], uint32(i))
			}
		}
		for _, kids := range t.kids {
			slices.SortFunc(kids, func(a, b uint32) int {
				x, y := t.groups[a].retained, t.groups[b].retained
				switch {
				case x > y:
					return -1
				case x < y:
					return 1
				}
				return int(a) - int(b)
			})
		}
	}
	kids := t.kids[id]
	n := 0
	for n < len(kids) && t.groups[kids[n]].retained >= max(least, 1) {
		n++
	}
	return kids[:n]
}
