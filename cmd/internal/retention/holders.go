package retention

import (
	"fmt"
	"slices"
	"strings"

	"github.com/heapwright/heapwright/cmd/internal/heapgraph"
	"github.com/heapwright/heapwright/cmd/internal/term"
)

const (
	// contentShare is which part of what a group keeps one group below it must keep
	// for the path to go on there.
	contentShare = 0.5
	// many is from how many siblings on objects are the content of what holds them.
	many = 8
	// maxReferrers is how many other roots of what is shared are named.
	maxReferrers = 4
)

// holders finds what keeps the most: from the roots down, to where one object keeps
// many or several kinds of things.
func (a *analysis) holders() []Holder {
	least := max(uint64(a.opt.Share*float64(a.g.LiveBytes)), 1)
	var out []Holder
	var descend func(id uint32, depth int)
	descend = func(id uint32, depth int) {
		kids := a.owned.children(id, least)
		p := &a.owned.groups[id]
		// A single object with several things of weight: each is a holder of its own.
		if p.nodes == 1 && depth < maxSteps {
			split := uint64(0)
			for _, k := range kids {
				split += a.owned.groups[k].retained
			}
			if len(kids) > 1 || len(kids) == 1 && a.owned.groups[kids[0]].nodes == 1 {
				for _, k := range kids {
					descend(k, depth+1)
				}
				if rest := p.retained - split; rest >= least && rest*2 > p.retained {
					out = append(out, a.holder(id, true))
				}
				return
			}
		}
		out = append(out, a.holder(id, false))
	}
	for _, k := range a.owned.children(0, least) {
		descend(k, 0)
	}
	slices.SortStableFunc(out, func(x, y Holder) int {
		switch {
		case x.RetainedBytes > y.RetainedBytes:
			return -1
		case x.RetainedBytes < y.RetainedBytes:
			return 1
		}
		return 0
	})
	seen := map[uint32]bool{}
	out = slices.DeleteFunc(out, func(h Holder) bool {
		again := seen[h.group]
		seen[h.group] = true
		return again
	})
	if len(out) > a.opt.Holders {
		out = out[:a.opt.Holders]
	}
	a.sharedBy(out)
	return out
}

// holder describes a group of a trie of dominators. alone leaves out what is below
// it.
func (a *analysis) holder(id uint32, alone bool) Holder {
	chain := a.chain(id)
	// What is in it: as long as one kind of thing makes up most.
	for at := id; !alone; {
		kids := a.owned.children(at, 1)
		if len(kids) == 0 || float64(a.owned.groups[kids[0]].retained) < contentShare*float64(a.owned.groups[at].retained) {
			break
		}
		at = kids[0]
		chain = append(chain, at)
	}
	// The holder is the last of the single objects, or of the few.
	holding := 0
	for i, c := range chain {
		if a.owned.groups[c].nodes >= many && i > 0 {
			break
		}
		holding = i
	}
	holding, container, elements := a.container(chain, holding)
	p := &a.owned.groups[chain[holding]]
	h := Holder{
		Type: a.name(p), Container: container, Elements: elements,
		OwnBytes: p.own, RetainedBytes: p.retained, RetainedObjects: p.count, group: chain[holding],
		Share: float64(p.retained) / float64(max(a.g.LiveBytes, 1)),
	}
	if alone {
		// The rest below is listed by itself.
		for _, k := range a.owned.children(id, max(uint64(a.opt.Share*float64(a.g.LiveBytes)), 1)) {
			h.RetainedBytes -= a.owned.groups[k].retained
			h.RetainedObjects -= a.owned.groups[k].count
		}
		h.Share = float64(h.RetainedBytes) / float64(max(a.g.LiveBytes, 1))
	}
	if p.root == heapgraph.None {
		h.Address = fmt.Sprintf("%#x", a.g.Addr(p.rep))
	}
	h.Root, h.Path, h.Shared = a.way(chain)
	return h
}

// chain returns the groups from the one below the super-root down to id.
func (a *analysis) chain(id uint32) []uint32 {
	var chain []uint32
	for ; id != 0; id = a.owned.groups[id].parent {
		chain = append(chain, id)
	}
	slices.Reverse(chain)
	return chain
}

// container says what kind of container the holder of a chain is, and of how many
// elements; a map is one together with its groups.
func (a *analysis) container(chain []uint32, holding int) (at int, container string, elements uint64) {
	group := func(i int) *group { return &a.owned.groups[chain[i]] }
	at = holding
	// Up from the parts of a map, and from what is behind a slice or a sync.Map, to
	// the object that the program knows.
	for i := holding; i >= 0 && i > holding-5; i-- {
		p := group(i)
		if p.root != heapgraph.None {
			break
		}
		k := &a.owned.kinds.list[p.kind]
		name := k.name
		switch {
		case strings.HasPrefix(name, "sync.poolLocal") || strings.HasPrefix(name, "[]sync.poolLocal") || strings.HasPrefix(name, "sync.poolChain"):
			container, at = "pool", i
		case strings.Contains(name, "sync.HashTrieMap[") || strings.Contains(name, "sync.indirect[") ||
			base(name) == "sync.Map" || strings.HasSuffix(name, "]*sync.entry") || strings.HasPrefix(name, "sync.entry["):
			container, at = "sync.Map", i
		case base(name) == "list.List":
			container, at = "list", i
		case (container == "" && i == holding || container == "slice" && at == holding && i == holding-1) && k.is == heapgraph.KindChan:
			container, at = "chan", i
		case k.is == heapgraph.KindMap && (container == "" || container == "map"):
			container, at = "map", i
		case (k.is == heapgraph.KindMapGroups || k.is == heapgraph.KindMapTable) && container == "":
			container, at = "map", i
		case (k.array || k.is == heapgraph.KindArray || k.is == heapgraph.KindPointers && !directory(&a.g.Types[k.typ])) && container == "" && i >= holding-1:
			container, at = "slice", i
		}
	}
	if container == "" && holding+1 < len(chain) {
		// The single object may hold a list by its first element.
		if n := group(holding + 1); n.recursive && n.nodes >= many && a.owned.kinds.list[n.kind].typ != 0 {
			container = "list"
		}
	}
	if p := group(holding); container == "" && p.root == heapgraph.None && p.recursive && p.nodes >= many && a.owned.kinds.list[p.kind].typ != 0 {
		container = "list"
	}
	elements = a.elements(chain, at, container)
	return at, container, elements
}

// elements counts what a container holds: entries where its header says how many,
// and otherwise the most objects that one group below it has.
func (a *analysis) elements(chain []uint32, at int, container string) uint64 {
	p := &a.owned.groups[chain[at]]
	switch container {
	case "":
		return 0
	case "map":
		if m, ok := a.readMap(p.rep); ok && p.nodes == 1 {
			return m.used
		}
	case "chan":
		if c, ok := a.readChan(p.rep); ok && p.nodes == 1 {
			return c.queued
		}
	case "slice":
		if k := &a.owned.kinds.list[p.kind]; p.root == heapgraph.None && p.nodes == 1 && a.g.Types[k.typ].Size > 0 {
			return a.g.SlotSize(p.rep) / a.g.Types[k.typ].Size
		}
	}
	most := uint64(0)
	if p.recursive {
		most = p.objects
	}
	for _, c := range chain[at+1:] {
		most = max(most, a.owned.groups[c].objects)
	}
	return most
}

func (a *analysis) name(p *group) string { return a.owned.kinds.nameOf(a.g, p) }

// nameOf returns what a group is called.
func (k *kinds) nameOf(g *heapgraph.Graph, p *group) string {
	if p.root != heapgraph.None {
		return shorten(p.rootName)
	}
	return shorten(k.list[p.kind].name)
}

// shorten cleans a name that came from a process and bounds it.
func shorten(s string) string {
	if len(s) > 4*maxName {
		s = s[:4*maxName]
	}
	return term.Cut(term.Clean(s), maxName)
}

func (a *analysis) root(n heapgraph.NodeID) Root {
	r := a.g.Root(n)
	if r == nil {
		return Root{Kind: "other"}
	}
	out := Root{Kind: r.Kind.String(), Name: shorten(r.Name), CreatedBy: shorten(r.CreatedBy), Count: r.Count}
	for _, f := range r.Frames[:min(len(r.Frames), 64)] {
		f.Func, f.File = shorten(f.Func), shorten(f.File)
		out.Stack = append(out.Stack, f)
	}
	return out
}

// way returns the root of a chain of groups and the steps of its path. What several
// roots keep has the shortest way from one of them.
func (a *analysis) way(chain []uint32) (root Root, steps []Step, shared bool) {
	top := &a.owned.groups[chain[0]]
	var before heapgraph.NodeID
	if top.root != heapgraph.None {
		root, before = a.root(top.root), top.root
		chain = chain[1:]
	} else {
		shared = true
		path := a.paths.Path(top.rep, maxSteps)
		if len(path) > 0 {
			root, before = a.root(path[0]), path[0]
			for i, n := range path[1 : len(path)-1] {
				bytes, _ := a.tree.Retained(n)
				steps = append(steps, Step{Type: a.typeName(n), Field: a.field(path[i], n), Objects: 1, RetainedBytes: bytes})
				before = n
			}
		}
	}
	for _, c := range chain {
		p := &a.owned.groups[c]
		steps = append(steps, Step{
			Type: a.name(p), Field: a.fieldTo(before, p), Objects: p.objects, RetainedBytes: p.retained, Recursive: p.recursive,
		})
		before = p.rep
	}
	if len(steps) > maxSteps {
		// Both ends say the most.
		head := maxSteps / 2
		steps = slices.Concat(steps[:head], []Step{{Type: fmt.Sprintf("%d more", len(steps)-maxSteps+1)}}, steps[len(steps)-maxSteps+head+1:])
	}
	return root, steps, shared
}

// typeName names the kind of one node.
func (a *analysis) typeName(n heapgraph.NodeID) string {
	if r := a.g.Root(n); r != nil {
		return shorten(r.Name)
	}
	k := a.owned.kinds
	return shorten(k.list[k.id(a.g.TypeOf(n), &heapgraph.Run{Size: a.g.SlotSize(n), Noscan: a.g.Noscan(n), Merged: a.g.Coarse == heapgraph.SpanPerNode})].name)
}

// fieldTo names the field that leads from an object to one of a group: to its
// largest, or else to the one on the way to that.
func (a *analysis) fieldTo(from heapgraph.NodeID, p *group) string {
	if p.root != heapgraph.None {
		return ""
	}
	if f := a.field(from, p.rep); f != "" {
		return f
	}
	// The largest of the group may hang below another of it, as in a list.
	d := a.tree.Dominator(p.rep)
	if d == from || d == heapgraph.None {
		return ""
	}
	return a.field(d, p.rep)
}

// sharedBy finds who else refers to what the holders hold: one pass over all
// references.
func (a *analysis) sharedBy(holders []Holder) {
	wanted := map[heapgraph.NodeID][]int{}
	want := func(n heapgraph.NodeID, i int) {
		if a.g.IsObject(n) && !slices.Contains(wanted[n], i) {
			wanted[n] = append(wanted[n], i)
		}
	}
	for i := range holders {
		for _, c := range a.chain(holders[i].group) {
			want(a.owned.groups[c].rep, i)
		}
	}
	if len(wanted) == 0 {
		return
	}
	filter := make([]uint64, (a.g.Len()+63)/64)
	for n := range wanted {
		filter[n/64] |= 1 << (n % 64)
	}
	roots := make([]heapgraph.NodeID, a.g.Len())
	type seen struct {
		root heapgraph.NodeID
		to   heapgraph.NodeID
	}
	known := map[seen]bool{}
	for _, from := range a.paths.Order() {
		if roots[from] = from; a.g.IsObject(from) {
			roots[from] = roots[a.paths.From(from)]
		}
		for _, to := range a.g.Edges(from) {
			if from == heapgraph.SuperRoot || filter[to/64]&(1<<(to%64)) == 0 || known[seen{roots[from], to}] {
				continue
			}
			if len(known) < 1<<16 {
				known[seen{roots[from], to}] = true
			}
			r := a.root(roots[from])
			for _, i := range wanted[to] {
				h := &holders[i]
				list := &h.UsedBy
				if a.g.Keeps(from, to) {
					if !h.Shared {
						continue
					}
					list = &h.SharedBy
				}
				if name := r.String(); (r.Name != h.Root.Name || r.Kind != h.Root.Kind) && len(*list) < maxReferrers && !slices.Contains(*list, name) {
					*list = append(*list, name)
				}
			}
		}
	}
}
