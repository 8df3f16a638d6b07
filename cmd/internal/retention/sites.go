package retention

import (
	"cmp"
	"slices"
)

// sites joins what the heap profiler sampled with who keeps it.
func (a *analysis) sites() []SiteHolders {
	type part struct {
		samples int
		weight  float64
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
			h.Holders = append(h.Holders, sh)
		}
		out = append(out, h)
	}
	return out
}
