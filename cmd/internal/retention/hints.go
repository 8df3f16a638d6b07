package retention

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/heapwright/heapwright/cmd/internal/heapgraph"
	"github.com/heapwright/heapwright/cmd/internal/human"
)

const (
	// hintShare and hintBytes are from how much on a fact is worth saying.
	hintShare = 0.01
	hintBytes = 64 << 10
	// crowd is from how many on objects of the runtime or the standard library, of
	// which a program has few, are worth saying.
	crowd = 1000
	// maxHeaders is how many headers of maps and channels are read, the largest first
	// by what is asked of them: the time for 10,000 is some tens of milliseconds.
	maxHeaders = 20_000
	// leastMap is below which the parts of a map are not looked at.
	leastMap = 2 << 10
	maxHints = 50
)

// A class is what a type is to the hints.
type class uint8

const (
	classNone class = iota
	classMap
	classChan
	classTimer
	classValueContext
	classCancelContext
	classDefer
	classPool
	classConn
	classFunc
	classTimers
)

// classOf goes by the names that types have in the standard library.
func classOf(t *heapgraph.Type) class {
	switch t.Kind {
	case heapgraph.KindMap:
		return classMap
	case heapgraph.KindChan:
		return classChan
	case heapgraph.KindTimer:
		return classTimer
	case heapgraph.KindFunc:
		return classFunc
	}
	switch base(t.Name) {
	case "context.valueCtx":
		return classValueContext
	case "context.cancelCtx", "context.timerCtx", "context.afterFuncCtx":
		return classCancelContext
	case "runtime._defer":
		return classDefer
	case "sync.poolLocal", "sync.poolChainElt":
		return classPool
	case "http.persistConn":
		return classConn
	case "runtime.timerWhen", "*runtime.timer":
		return classTimers
	}
	return classNone
}

// base returns the name of a type with only the last part of its package's path, as
// the types of a program themselves have it.
func base(name string) string {
	end := len(name)
	if i := strings.IndexByte(name, '['); i > 0 {
		end = i
	}
	return name[strings.LastIndexByte(name[:end], '/')+1:]
}

// A tally sums up objects of one class in one group.
type tally struct {
	objects, bytes uint64
	values         [3]float64
	structure      uint64
}

type hinter struct {
	*analysis
	least   uint64
	classes []class
	tallies map[class]map[uint32]*tally
	headers int
}

// hints finds the facts.
func (a *analysis) hints() error {
	h := &hinter{analysis: a, tallies: map[class]map[uint32]*tally{}}
	h.least = max(uint64(hintShare*float64(a.g.LiveBytes)), hintBytes)
	h.classes = make([]class, len(a.g.Types))
	for i := range a.g.Types {
		h.classes[i] = classOf(&a.g.Types[i])
	}
	h.classes[0] = classNone
	h.count()
	h.settle()
	if err := a.ctx.Err(); err != nil {
		return err
	}
	h.maps()
	h.channels()
	h.timers()
	h.contexts()
	h.crowds()
	h.funcs()
	h.finalizers()
	h.containers()
	if err := h.windows(); err != nil {
		return err
	}
	// What is special comes before what any container is.
	general := func(x Hint) int {
		if strings.HasSuffix(x.Kind, "-unbounded") {
			return 1
		}
		return 0
	}
	slices.SortStableFunc(a.r.Hints, func(x, y Hint) int {
		return cmp.Or(cmp.Compare(general(x), general(y)), cmp.Compare(y.Bytes, x.Bytes))
	})
	a.r.Hints = a.r.Hints[:min(len(a.r.Hints), maxHints)]
	return nil
}

// count goes through all objects once.
func (h *hinter) count() {
	for r := range h.g.Runs() {
		if r.Merged {
			continue
		}
		for n := r.First; n < r.First+heapgraph.NodeID(r.Nodes); n++ {
			c := h.classes[h.g.TypeOf(n)]
			if c == classNone || !h.tree.Reached(n) {
				continue
			}
			t := h.tally(c, h.owned.of[n])
			bytes, _ := h.tree.Retained(n)
			t.objects++
			// In a group whose objects keep each other, the first keeps the others' bytes.
			if d := h.tree.Dominator(n); d == heapgraph.SuperRoot || h.owned.of[d] != h.owned.of[n] {
				t.bytes += bytes
			}
			switch c {
			case classMap:
				if bytes >= leastMap && h.headers < maxHeaders {
					h.headers++
					if m, ok := h.readMap(n); ok {
						t.values[0] += float64(m.used)
						t.values[1] += float64(m.capacity)
						t.values[2]++
						t.structure += m.structure
					}
				}
			case classChan:
				if bytes >= leastMap && h.headers < maxHeaders {
					h.headers++
					if c, ok := h.readChan(n); ok {
						t.values[0] += float64(c.queued)
						t.values[1] += float64(c.capacity)
						t.values[2] = max(t.values[2], float64(c.queued))
					}
				}
			}
		}
	}
}

// settle bounds what objects keep together by what their group does.
func (h *hinter) settle() {
	for _, groups := range h.tallies {
		for id, t := range groups {
			t.bytes = min(t.bytes, h.owned.groups[id].retained)
		}
	}
}

func (h *hinter) tally(c class, id uint32) *tally {
	m := h.tallies[c]
	if m == nil {
		m = map[uint32]*tally{}
		h.tallies[c] = m
	}
	t := m[id]
	if t == nil {
		t = &tally{}
		m[id] = t
	}
	return t
}

// hint adds one about a group.
func (h *hinter) hint(kind string, id uint32, bytes uint64, values map[string]float64, format string, args ...any) {
	n := Hint{Kind: kind, Bytes: bytes, Values: values, Text: fmt.Sprintf(format, args...)}
	if id != 0 {
		n.Root, n.Path, _ = h.way(h.chain(id))
	}
	h.r.Hints = append(h.r.Hints, n)
}

// each calls fn for the groups of a class, in a fixed order.
func (h *hinter) each(c class, fn func(id uint32, t *tally)) {
	ids := make([]uint32, 0, len(h.tallies[c]))
	for id := range h.tallies[c] {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	for _, id := range ids {
		fn(id, h.tallies[c][id])
	}
}

// maps: room for four times as many entries as there are. A map that only grows has
// at least 7/16 of its slots in use after it grew.
func (h *hinter) maps() {
	h.each(classMap, func(id uint32, t *tally) {
		used, room := t.values[0], t.values[1]
		if room < 4*used+64 {
			return
		}
		waste := uint64(float64(t.structure) * (1 - used/room))
		if waste < h.least {
			return
		}
		h.hint("map-never-shrinks", id, waste, map[string]float64{"entries": used, "room": room, "maps": t.values[2]},
			"%s %s room for %s entries and %s: a map keeps the memory of its largest size until it is dropped as a whole.",
			maps(t.values[2]), h.name(&h.owned.groups[id]), thousands(uint64(room)), holdsOf(used))
	})
}

func maps(n float64) string {
	if n == 1 {
		return "A map has, of type"
	}
	return thousands(uint64(n)) + " maps have, each of type"
}

func holdsOf(used float64) string {
	if used == 0 {
		return "no entry"
	}
	return thousands(uint64(used)) + " of them in use"
}

// channels: many queued, and bytes with them.
func (h *hinter) channels() {
	h.each(classChan, func(id uint32, t *tally) {
		if t.bytes < h.least || t.values[0] < 64 || t.values[2]*2 < t.values[0]/float64(t.objects) {
			return
		}
		h.hint("channel-backlog", id, t.bytes, map[string]float64{"queued": t.values[0], "capacity": t.values[1], "channels": float64(t.objects)},
			"%s values are queued in %s with room for %s: who receives is slower than who sends.",
			thousands(uint64(t.values[0])), plural(t.objects, "channel"), thousands(uint64(t.values[1])))
	})
}

// timers: a thousand, or a weight.
func (h *hinter) timers() {
	h.each(classTimer, func(id uint32, t *tally) {
		// Those in a heap of timers are told below.
		if p := &h.owned.groups[h.owned.groups[id].parent]; p.root == heapgraph.None && h.classes[h.owned.kinds.list[p.kind].typ] == classTimers {
			return
		}
		h.timer(id, t.objects, t.bytes, strings.Contains(h.name(&h.owned.groups[id]), "Ticker"))
	})
	h.each(classTimers, func(id uint32, t *tally) {
		timers, bytes := uint64(0), uint64(0)
		for _, kid := range h.owned.children(id, 1) {
			timers += h.owned.groups[kid].objects
			bytes += h.owned.groups[kid].retained
		}
		h.timer(id, timers, bytes, h.tick(h.owned.groups[id].rep))
	})
}

func (h *hinter) timer(id uint32, timers, bytes uint64, ticks bool) {
	if timers < crowd || bytes < hintBytes {
		return
	}
	kind, what := "timer-forgotten", "timers"
	if ticks {
		kind, what = "ticker-forgotten", "tickers"
	}
	h.hint(kind, id, bytes, map[string]float64{"timers": float64(timers)},
		"%s %s are waiting, and keep %s with what they will call.", thousands(timers), what, human.Bytes(float64(bytes)))
}

// tick says whether most of the timers in a heap of them are periodic. An entry is a
// pointer to the timer and when it is due; in the timer, the word after when is the
// period (src/runtime/time.go of Go 1.23 to 1.27).
func (h *hinter) tick(heap heapgraph.NodeID) bool {
	w, ok := h.words(heap, int(min(h.g.SlotSize(heap), 4096)/8))
	if !ok {
		return false
	}
	ticks, others := 0, 0
	timer := make([]byte, 64)
	for ; len(w) >= 2 && w[0] != 0; w = w[2:] {
		n := h.opt.Look(w[0], timer) / 8
		for i := 0; i+1 < n; i++ {
			if binary.LittleEndian.Uint64(timer[i*8:]) != w[1] {
				continue
			}
			if binary.LittleEndian.Uint64(timer[i*8+8:]) != 0 {
				ticks++
			} else {
				others++
			}
			break
		}
	}
	return ticks > others
}

// contexts: long chains of values, and crowds of contexts that could be cancelled.
func (h *hinter) contexts() {
	h.each(classValueContext, func(id uint32, t *tally) {
		if t.objects < 100 {
			return
		}
		if depth := h.depth(id); depth >= 100 {
			p := &h.owned.groups[id]
			h.hint("context-values", id, p.retained, map[string]float64{"chain": float64(depth), "contexts": float64(t.objects)},
				"%s contexts with values lie one inside the other: something derives a context from the last one again and again.", thousands(uint64(depth)))
		}
	})
	h.each(classCancelContext, func(id uint32, t *tally) {
		if t.objects < crowd {
			return
		}
		h.hint("context-not-cancelled", id, t.bytes, map[string]float64{"contexts": float64(t.objects)},
			"%s contexts that can be cancelled are alive: their parent refers to each until its cancel function is called.", thousands(t.objects))
	})
}

// depth returns the length of the longest chain of contexts with values in a group.
func (h *hinter) depth(id uint32) int {
	depth := map[heapgraph.NodeID]int32{}
	most := int32(0)
	var todo []heapgraph.NodeID
	for r := range h.g.Runs() {
		for v := r.First; v < r.First+heapgraph.NodeID(r.Nodes); v++ {
			if h.owned.of[v] != id || h.classes[h.g.TypeOf(v)] != classValueContext || len(depth) > 1<<20 {
				continue
			}
			todo = todo[:0]
			for n := v; n != heapgraph.None; {
				if _, ok := depth[n]; ok {
					break
				}
				depth[n] = 0 // on the way: a cycle ends here
				todo = append(todo, n)
				next := heapgraph.None
				for _, to := range h.g.Edges(n) {
					if c := h.classes[h.g.TypeOf(to)]; c == classValueContext || c == classCancelContext {
						next = to
						break
					}
				}
				n = next
			}
			below := int32(0)
			if len(todo) > 0 {
				for _, to := range h.g.Edges(todo[len(todo)-1]) {
					below = max(below, depth[to])
				}
			}
			for i := len(todo) - 1; i >= 0; i-- {
				if h.classes[h.g.TypeOf(todo[i])] == classValueContext {
					below++
				}
				depth[todo[i]] = below
			}
			most = max(most, below)
		}
	}
	return int(most)
}

// crowds: objects of which a program has few.
func (h *hinter) crowds() {
	h.each(classDefer, func(id uint32, t *tally) {
		if t.objects >= crowd {
			h.hint("defer-in-loop", id, t.bytes, map[string]float64{"defers": float64(t.objects)},
				"%s deferred calls wait for their function to return: defer stands in a loop.", thousands(t.objects))
		}
	})
	h.each(classConn, func(id uint32, t *tally) {
		if t.objects >= 100 {
			h.hint("body-not-closed", id, t.bytes, map[string]float64{"connections": float64(t.objects)},
				"%s connections of HTTP clients are open: a connection is given back when the response's body has been read and closed.", thousands(t.objects))
		}
	})
	h.each(classPool, func(id uint32, t *tally) {
		// The topmost part of a pool has what is below it.
		for up := h.owned.groups[id].parent; up != 0; up = h.owned.groups[up].parent {
			if h.tallies[classPool][up] != nil {
				return
			}
		}
		if t.bytes >= 5*h.least {
			h.hint("pool-hoard", id, t.bytes, map[string]float64{"share": float64(t.bytes) / float64(max(h.g.LiveBytes, 1))},
				"A sync.Pool keeps %s, %s of what is live: it holds what was given back until two collections later, whatever its size.",
				human.Bytes(float64(t.bytes)), human.Percent(float64(t.bytes)/float64(max(h.g.LiveBytes, 1))))
		}
	})
}

// funcs: closures that keep much, in containers or alone.
func (h *hinter) funcs() {
	type sum struct {
		t     tally
		first uint32
	}
	parents := map[uint32]*sum{}
	var order []uint32
	h.each(classFunc, func(id uint32, t *tally) {
		up := h.owned.groups[id].parent
		s := parents[up]
		if s == nil {
			s = &sum{first: id}
			parents[up] = s
			order = append(order, up)
		}
		s.t.objects += t.objects
		s.t.bytes += t.bytes
		if t.bytes > h.tally(classFunc, s.first).bytes {
			s.first = id
		}
	})
	for _, up := range order {
		s := parents[up]
		if s.t.bytes < h.least {
			continue
		}
		values := map[string]float64{"closures": float64(s.t.objects)}
		p := &h.owned.groups[up]
		// A list that functions are appended to is at least half full; a table with a
		// place for each is not such.
		if s.t.objects >= 100 && up != 0 && p.nodes <= 4 && p.root == heapgraph.None && s.t.objects*24 >= p.own {
			h.hint("callbacks-never-removed", s.first, s.t.bytes, values,
				"%s functions are registered in one %s.", thousands(s.t.objects), h.name(p))
		}
		h.hint("closure-capture", s.first, s.t.bytes, values,
			"%s %s what they captured, %s.", plural(s.t.objects, "closure"), keepWord(s.t.objects), human.Bytes(float64(s.t.bytes)))
	}
}

func keepWord(n uint64) string {
	if n == 1 {
		return "keeps"
	}
	return "keep"
}

// finalizers: what is dead but for its finalizer, and waits.
func (h *hinter) finalizers() {
	for _, id := range h.owned.children(0, h.least) {
		p := &h.owned.groups[id]
		if p.root == heapgraph.None {
			continue
		}
		r := h.g.Root(p.root)
		if r == nil || r.Kind != heapgraph.Finalizer && r.Kind != heapgraph.Cleanup {
			continue
		}
		h.hint("finalizer-chain", id, p.retained, map[string]float64{"finalizers": float64(r.Count), "objects": float64(p.count)},
			"%s objects are kept by the finalizer %s alone: of objects that refer to each other, one is finalized in each collection, and none in a cycle.",
			thousands(p.count), shorten(r.Name))
	}
}

// containers: what holds the most, with how many elements.
func (h *hinter) containers() {
	for i := range h.r.Holders {
		k := &h.r.Holders[i]
		if k.Elements < crowd || k.RetainedBytes < h.least {
			continue
		}
		kind, what, verb := "", "", "has"
		switch k.Container {
		case "map":
			kind, what = "map-unbounded", "map"
			if h.interned(k.group) {
				kind, what = "string-interning", "map of strings to themselves"
			}
		case "slice":
			kind, what, verb = "slice-unbounded", "slice", "has room for"
		case "list":
			kind, what = "list-unbounded", "list"
		case "sync.Map":
			kind, what = "syncmap-unbounded", "sync.Map"
		default:
			continue
		}
		h.r.Hints = append(h.r.Hints, Hint{
			Kind: kind, Bytes: k.RetainedBytes, Root: k.Root, Path: k.Path,
			Values: map[string]float64{"elements": float64(k.Elements)},
			Text:   fmt.Sprintf("A %s %s %s elements, which with it make up %s of what is live.", what, verb, thousands(k.Elements), human.Percent(k.Share)),
		})
	}
}

// interned says whether the map of a group has strings as keys and as values, and
// each value is its key.
func (h *hinter) interned(id uint32) bool {
	p := &h.owned.groups[id]
	if p.root != heapgraph.None || !strings.Contains(h.owned.kinds.list[p.kind].name, "map[string]string") {
		return false
	}
	same, other := 0, 0
	// The groups of a map are at most three references away.
	todo := []heapgraph.NodeID{p.rep}
	for depth := 0; depth < 4 && same+other < 64; depth++ {
		var next []heapgraph.NodeID
		for _, n := range todo {
			if h.g.Type(n).Kind == heapgraph.KindMapGroups {
				w, ok := h.words(n, int(min(h.g.SlotSize(n), 4096)/8))
				for i := 0; ok && i+3 < len(w); i++ {
					// pointer, length, pointer, length
					if w[i] != 0 && w[i+1] > 0 && w[i+1] < 1<<20 && w[i+3] < 1<<20 && w[i] > 1<<20 && w[i+2] > 1<<20 {
						if w[i] == w[i+2] && w[i+1] == w[i+3] {
							same++
						} else {
							other++
						}
						i += 3
					}
				}
				continue
			}
			edges := h.g.Edges(n)
			next = append(next, edges[:min(len(edges), 16)]...)
		}
		todo = next[:min(len(next), 64)]
	}
	return same > 0 && same > 4*other
}

func plural(n uint64, noun string) string {
	if n == 1 {
		return "one " + noun
	}
	return thousands(n) + " " + noun + "s"
}
