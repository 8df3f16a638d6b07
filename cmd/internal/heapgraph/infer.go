package heapgraph

import "strings"

// Sizes of what a map consists of: runtime.hmap and internal/runtime/maps.Map are 48
// bytes (src/runtime/map.go of Go 1.20 to 1.23, src/internal/runtime/maps/map.go of
// 1.24 to 1.27), maps.table is 32.
const (
	mapSize   = 48
	tableSize = 32
)

// inferMaps gives types to the headers and tables of maps of which only the groups
// have one: what keeps the groups of a map is that map, and groups are large enough
// to have their type with them.
func (g *Graph) inferMaps() {
	ids := map[string]TypeID{}
	named := func(name string, like Type) TypeID {
		name = strings.Replace(name, "map", like.Name+"map", 1)
		id, ok := ids[name]
		if !ok && len(g.Types) < maxTypes {
			like.Name = name
			id = TypeID(len(g.Types))
			g.Types = append(g.Types, like)
			ids[name] = id
		}
		return id
	}
	// From the groups up: tables, then directories, then headers.
	of := func(n NodeID, size uint64) string {
		for _, to := range g.Edges(n) {
			t := g.Type(to)
			switch {
			case t.Kind == KindMapGroups && (size == tableSize || size == mapSize):
				return mapName(t.Name)
			case t.Kind == KindMapTable && size != mapSize:
				return strings.TrimPrefix(t.Name, "table of ")
			case directory(t) && size == mapSize:
				return strings.TrimPrefix(t.Name, "tables of ")
			}
		}
		return ""
	}
	for _, step := range []struct {
		fits func(size uint64) bool
		like Type
	}{
		{func(size uint64) bool { return size == tableSize }, Type{Name: "table of ", Kind: KindMapTable, Size: tableSize}},
		{func(size uint64) bool { return size != mapSize }, Type{Name: "tables of ", Kind: KindPointers, Size: 8}},
		{func(size uint64) bool { return size == mapSize }, Type{Kind: KindMap, Size: mapSize}},
	} {
		for r := range g.Runs() {
			if r.Noscan || r.Merged || !step.fits(r.Size) {
				continue
			}
			for n := r.First; n < r.First+NodeID(r.Nodes); n++ {
				if g.types[n-1] != 0 {
					continue
				}
				if name := of(n, r.Size); name != "" {
					g.types[n-1] = named(name, step.like)
				}
			}
		}
	}
}

func directory(t *Type) bool {
	return t.Kind == KindPointers && strings.HasPrefix(t.Name, "tables of ")
}

// mapName returns the map's type by that of its groups or buckets.
func mapName(groups string) string {
	groups = strings.TrimPrefix(groups, "noalg.")
	for _, p := range []string{"map.group[", "map.bucket["} {
		if rest, ok := strings.CutPrefix(groups, p); ok {
			return "map[" + rest
		}
	}
	return "map"
}
