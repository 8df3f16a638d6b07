package retention

import (
	"fmt"
	"io"

	pprof "github.com/google/pprof/profile"

	"github.com/heapwright/heapwright/cmd/internal/heapgraph"
)

// maxPprofDepth bounds the stacks of a pprof file.
const maxPprofDepth = 64

// WritePprof writes the report as a gzip-compressed pprof file. The stacks are paths
// from roots, the root outermost. In retained_space and retained_objects a path is
// of dominators: what is cumulated for a frame would be free without it. In
// inuse_space and inuse_objects a path is the shortest one, as other tools have it:
// what is reached through a frame first.
func (r *Report) WritePprof(w io.Writer) error {
	p := &pprof.Profile{
		SampleType: []*pprof.ValueType{
			{Type: "retained_objects", Unit: "count"}, {Type: "retained_space", Unit: "bytes"},
			{Type: "inuse_objects", Unit: "count"}, {Type: "inuse_space", Unit: "bytes"},
		},
		DefaultSampleType: "retained_space",
		PeriodType:        &pprof.ValueType{Type: "space", Unit: "bytes"},
		Period:            1,
	}
	locations := map[string]*pprof.Location{}
	location := func(name string) *pprof.Location {
		l := locations[name]
		if l == nil {
			f := &pprof.Function{ID: uint64(len(p.Function) + 1), Name: name, SystemName: name}
			p.Function = append(p.Function, f)
			l = &pprof.Location{ID: uint64(len(p.Location) + 1), Address: uint64(len(p.Location) + 1), Line: []pprof.Line{{Function: f}}}
			p.Location = append(p.Location, l)
			locations[name] = l
		}
		return l
	}
	names := make([]string, len(r.kinds))
	for i := range r.kinds {
		names[i] = shorten(r.kinds[i].name)
	}
	add := func(groups []group, first int) {
		for i := range groups {
			g := &groups[i]
			if g.own == 0 && g.objects == 0 {
				continue
			}
			s := &pprof.Sample{Value: make([]int64, 4)}
			s.Value[first], s.Value[first+1] = int64(g.objects), int64(g.own)
			depth := 0
			for at := uint32(i); at != 0; at = groups[at].parent {
				up := &groups[at]
				switch depth++; {
				case up.root != heapgraph.None:
					s.Location = append(s.Location, location(shorten(up.rootName)))
				case depth < maxPprofDepth:
					s.Location = append(s.Location, location(names[up.kind]))
				}
				if up.root == heapgraph.None && up.parent == 0 {
					s.Location = append(s.Location, location("(several roots)"))
				}
			}
			if len(s.Location) == 0 {
				s.Location = append(s.Location, location("(several roots)"))
			}
			p.Sample = append(p.Sample, s)
		}
	}
	add(r.owned, 0)
	add(r.reached, 2)
	p.Comments = append(p.Comments, r.Notes...)
	if err := p.CheckValid(); err != nil {
		return fmt.Errorf("building the pprof file: %w", err)
	}
	if err := p.Write(w); err != nil {
		return fmt.Errorf("writing the pprof file: %w", err)
	}
	return nil
}
