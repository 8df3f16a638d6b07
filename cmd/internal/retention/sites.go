package retention

import (
	"cmp"
	"slices"
	"strings"

	"github.com/heapwright/heapwright/cmd/internal/heapgraph"
)

// maxWays is how many samples of a holder the shortest way is looked at of.
const maxWays = 64

// A leap is a holder of a site whose path of dominators leaves out the way: several
// lead to it from something of the runtime's, such as the heaps of timers, which the
// program knows nothing of.
type leap struct {
	site, holder int
	samples      []heapgraph.NodeID
}

// leaps says whether the dominators of a group leave out a part of the way to it
// from something of the runtime's.
func (a *analysis) leaps(id uint32) bool {
	for ; id != 0; id = a.owned.groups[id].parent {
		p, above := &a.owned.groups[id], &a.owned.groups[a.owned.groups[id].parent]
		if p.root != heapgraph.None || above.root != heapgraph.None || !strings.HasPrefix(strings.TrimLeft(a.name(above), "[]*"), "runtime.") {
			continue
		}
		if d := a.tree.Dominator(p.rep); d != heapgraph.None && !slices.Contains(a.g.Edges(d), p.rep) {
			return true
		}
	}
	return false
}

// fill gives holders whose path leaps the shortest way, which most of their samples
// have, instead.
func (a *analysis) fill(reached *trie) {
	for _, l := range a.leaping {
		votes := map[uint32]int{}
		best := uint32(0)
		for _, n := range l.samples {
			id := reached.of[n]
			if votes[id]++; id != 0 && (votes[id] > votes[best] || best == 0) {
				best = id
			}
		}
		var chain []uint32
		for id := best; id != 0; id = reached.groups[id].parent {
			chain = append(chain, id)
		}
		slices.Reverse(chain)
		if len(chain) < 2 || reached.groups[chain[0]].root == heapgraph.None {
			continue
		}
		h := &a.r.Sites[l.site].Holders[l.holder]
		before := reached.groups[chain[0]].root
		h.Root, h.Path = a.root(before), nil
		for _, id := range chain[1:min(len(chain), maxSteps+1)] {
			p := &reached.groups[id]
			h.Path = append(h.Path, Step{
				Type: reached.kinds.nameOf(a.g, p), Field: a.field(before, p.rep), Objects: p.objects, RetainedBytes: p.retained, Recursive: p.recursive,
			})
			before = p.rep
		}
	}
	a.leaping = nil
}

// sites joins what the heap profiler sampled with who keeps it.
func (a *analysis) sites() []SiteHolders {
	type part struct {
		samples int
		weight  float64
		some    []heapgraph.NodeID
	}
	type site struct {
		samples, unreached int
		weight             float64
		parts              map[uint32]*part // by group
	}
	sites := make([]site, len(a.g.Sites))
	holderOf := map[uint32]int{}
	for i, h := range a.r.Holders {
		if _, ok := holderOf[h.group]; !ok {
			holderOf[h.group] = i
		}
	}
	for _, s := range a.g.Samples {
		if s.Site < 0 || s.Site >= len(sites) {
			continue
		}
		at := &sites[s.Site]
		at.samples++
		if !a.tree.Reached(s.Node) {
			at.unreached++
			continue
		}
		// An object that is smaller than the rate stands for as many bytes as the rate.
		size := max(uint64(max(s.Size, 0)), a.g.SlotSize(s.Node))
		weight := float64(max(size, uint64(a.opt.SampleRate)))
		at.weight += weight
		id := a.owned.of[s.Node]
		for up := id; up != 0; up = a.owned.groups[up].parent {
			if _, ok := holderOf[up]; ok {
				id = up
				break
			}
		}
		if at.parts == nil {
			at.parts = map[uint32]*part{}
		}
		p := at.parts[id]
		if p == nil {
			p = &part{}
			at.parts[id] = p
		}
		p.samples++
		p.weight += weight
		if len(p.some) < maxWays {
			p.some = append(p.some, s.Node)
		}
	}
	order := make([]int, 0, len(sites))
	for i := range sites {
		if sites[i].samples > 0 {
			order = append(order, i)
		}
	}
	slices.SortFunc(order, func(x, y int) int {
		return cmp.Or(cmp.Compare(sites[y].weight, sites[x].weight), cmp.Compare(x, y))
	})
	var out []SiteHolders
	for _, i := range order[:min(len(order), maxSites)] {
		s := &sites[i]
		h := SiteHolders{Stack: a.g.Sites[i].Stack, Samples: s.samples, Unreached: s.unreached}
		ids := make([]uint32, 0, len(s.parts))
		for id := range s.parts {
			ids = append(ids, id)
		}
		slices.SortFunc(ids, func(x, y uint32) int {
			return cmp.Or(cmp.Compare(s.parts[y].weight, s.parts[x].weight), cmp.Compare(x, y))
		})
		for _, id := range ids[:min(len(ids), maxSiteHolders)] {
			sh := SiteHolder{Holder: -1, Samples: s.parts[id].samples, Share: s.parts[id].weight / s.weight}
			if n, ok := holderOf[id]; ok {
				sh.Holder, sh.Root, sh.Path = n, a.r.Holders[n].Root, a.r.Holders[n].Path
			} else if id != 0 {
				sh.Root, sh.Path, _ = a.way(a.chain(id))
			}
			if some := s.parts[id].some; a.leaps(a.owned.of[some[0]]) {
				a.leaping = append(a.leaping, leap{len(out), len(h.Holders), some})
			}
			h.Holders = append(h.Holders, sh)
		}
		out = append(out, h)
	}
	return out
}
