package api

import (
	"cmp"
	"slices"
	"strings"

	"github.com/heapwright/heapwright/record"
)

// Bounds of the tree of a profile. What is read comes from a process, and nobody can
// look at more.
const (
	maxNodes = 5000
	maxDepth = 512
	maxName  = 400     // bytes of the name of a function or a file
	maxBuilt = 400_000 // nodes before the heaviest are chosen
)

// A stack is what one site of a profile counts, outermost frame last, at the moment
// that is shown and at the one that it is compared with.
type stack struct {
	frames      []record.Frame // leaf first
	value, base float64
}

// A profileType is what can be drawn of a snapshot.
type profileType struct {
	name string
	unit string
	kind record.ProfileKind // "" for goroutines
	// cumulative says that values only rise while a process lives: of two moments the
	// difference is shown.
	cumulative bool
	value      func(*record.ProfileSite) float64
}

var profileTypes = []profileType{
	{"inuse_space", "bytes", record.ProfileHeap, false, func(s *record.ProfileSite) float64 { return s.InUseBytes }},
	{"inuse_objects", "objects", record.ProfileHeap, false, func(s *record.ProfileSite) float64 { return s.InUseObjects }},
	{"alloc_space", "bytes", record.ProfileHeap, true, func(s *record.ProfileSite) float64 { return s.AllocBytes }},
	{"alloc_objects", "objects", record.ProfileHeap, true, func(s *record.ProfileSite) float64 { return s.AllocObjects }},
	{"goroutines", "goroutines", "", false, nil},
	{"block", "seconds", record.ProfileBlock, true, func(s *record.ProfileSite) float64 { return s.Delay.Seconds() }},
	{"mutex", "seconds", record.ProfileMutex, true, func(s *record.ProfileSite) float64 { return s.Delay.Seconds() }},
}

func profileTypeNames() []string {
	var names []string
	for _, t := range profileTypes {
		names = append(names, t.name)
	}
	return names
}

// stacksOf are the stacks of a snapshot with what each counts; ok is false where it
// has no profile of the kind.
func (t *profileType) stacksOf(rec *record.Recording) (stacks []stack, ok bool) {
	if t.kind == "" {
		g := lastGoroutines(rec)
		if g == nil {
			return nil, false
		}
		for i := range g.Groups {
			if gr := &g.Groups[i]; !gr.System {
				stacks = append(stacks, stack{frames: goroutineFrames(gr), value: float64(max(gr.Count, 0))})
			}
		}
		return stacks, true
	}
	p := lastProfile(rec, t.kind)
	if p == nil {
		return nil, false
	}
	for i := range p.Sites {
		s := &p.Sites[i]
		stacks = append(stacks, stack{frames: s.Stack, value: counted(t.value(s))})
	}
	return stacks, true
}

// goroutineFrames is the stack of a group, or where that is not known, as of those
// that run, what it does.
func goroutineFrames(g *record.GoroutineGroup) []record.Frame {
	if len(g.Stack) > 0 {
		return g.Stack
	}
	frames := []record.Frame{{Func: "(" + g.Status + ")"}}
	if g.CreatedBy.Func != "" {
		frames = append(frames, record.Frame{Func: "created by " + g.CreatedBy.Func, File: g.CreatedBy.File, Line: g.CreatedBy.Line})
	}
	return frames
}

// counted is a value as a profile can have it: never negative, and no more than any
// machine has, so that sums are numbers too.
func counted(v float64) float64 {
	const most = 1 << 62
	if !(v > 0 && v <= most) {
		return 0
	}
	return v
}

func lastProfile(rec *record.Recording, kind record.ProfileKind) *record.Profile {
	for i := len(rec.Profiles) - 1; i >= 0; i-- {
		if rec.Profiles[i].Kind == kind {
			return &rec.Profiles[i]
		}
	}
	return nil
}

func lastGoroutines(rec *record.Recording) *record.Goroutines {
	if n := len(rec.Goroutines); n > 0 {
		return &rec.Goroutines[n-1]
	}
	return nil
}

// between is what was counted from one moment to the next, for values that only
// rise. A stack that has less than before was counted anew, and counts for nothing.
func between(at, base []stack) []stack {
	before := make(map[string]float64, len(base))
	for _, s := range base {
		before[stackKey(s.frames)] += s.value
	}
	sums := make(map[string]int, len(at))
	var out []stack
	for _, s := range at {
		k := stackKey(s.frames)
		if i, ok := sums[k]; ok {
			out[i].value += s.value
			continue
		}
		sums[k] = len(out)
		out = append(out, s)
	}
	for k, i := range sums {
		out[i].value = max(out[i].value-before[k], 0)
	}
	return slices.DeleteFunc(out, func(s stack) bool { return s.value == 0 })
}

// compared is both moments together.
func compared(at, base []stack) []stack {
	out := slices.Clone(at)
	for _, s := range base {
		out = append(out, stack{frames: s.frames, base: s.value})
	}
	return out
}

// stackKey tells stacks apart.
func stackKey(frames []record.Frame) string {
	var b strings.Builder
	for i := range frames {
		b.WriteString(frames[i].Func)
		b.WriteByte(0)
		b.WriteString(frames[i].File)
		b.WriteByte(0)
		for n := frames[i].Line; n > 0; n >>= 7 {
			b.WriteByte(byte(n&0x7f) | 0x80)
		}
		b.WriteByte(0)
	}
	return b.String()
}

// A tree grows from stacks.
type tree struct {
	root  *grown
	count int
}

// grown is a node with its children by name while the tree grows.
type grown struct {
	Node
	below map[nodeKey]*grown
	order []*grown // the children by name, once the tree is whole
	depth int
}

type nodeKey struct{ name, file string }

// flame makes the tree of stacks, and returns how many of its nodes were left out for
// being light. The order of stacks makes no difference.
func flame(stacks []stack) (root *Node, left int) {
	t := &tree{root: &grown{Node: Node{Name: "root"}}}
	// Sums of floats depend on their order, so that is fixed first.
	stacks = slices.Clone(stacks)
	keys := make(map[*record.Frame]string, len(stacks))
	key := func(s *stack) string {
		if len(s.frames) == 0 {
			return ""
		}
		k, ok := keys[&s.frames[0]]
		if !ok {
			k = stackKey(s.frames)
			keys[&s.frames[0]] = k
		}
		return k
	}
	slices.SortStableFunc(stacks, func(a, b stack) int {
		return cmp.Or(cmp.Compare(b.value, a.value), cmp.Compare(b.base, a.base), cmp.Compare(key(&a), key(&b)))
	})
	for i := range stacks {
		left += t.add(&stacks[i])
	}
	return t.heaviest(left)
}

// add adds a stack; it returns how many nodes it could not.
func (t *tree) add(s *stack) (left int) {
	n := t.root
	n.Value, n.Base = n.Value+s.value, n.Base+s.base
	frames := s.frames
	if len(frames) > maxDepth {
		frames = frames[len(frames)-maxDepth:]
	}
	for i := len(frames) - 1; i >= 0; i-- {
		f := &frames[i]
		k := nodeKey{cut(f.Func), cut(f.File)}
		if k.name == "" {
			k.name = "unknown function"
		}
		child := n.below[k]
		if child == nil {
			if t.count == maxBuilt {
				n.Self += s.value
				return i + 1
			}
			t.count++
			child = &grown{Node: Node{Name: k.name, File: k.file, Line: max(f.Line, 0)}, depth: n.depth + 1}
			if n.below == nil {
				n.below = map[nodeKey]*grown{}
			}
			n.below[k] = child
		}
		n = child
		if f.Line > 0 && (n.Line == 0 || f.Line < n.Line) {
			n.Line = f.Line
		}
		n.Value, n.Base = n.Value+s.value, n.Base+s.base
	}
	n.Self += s.value
	return 0
}

// cut bounds a name, and makes it one line that is safe to show.
func cut(name string) string {
	plain := len(name) <= maxName
	for i := 0; i < len(name) && plain; i++ {
		plain = name[i] > ' ' && name[i] < 0x7f
	}
	if plain {
		return name
	}
	if len(name) > maxName {
		name = name[:maxName] + "..."
	}
	return oneLine(name)
}

// heaviest takes the nodes with the most in them. A node has at least what its
// children have, and comes before them, so that what is taken hangs together.
func (t *tree) heaviest(left int) (*Node, int) {
	var all []*grown
	var walk func(*grown)
	walk = func(n *grown) {
		all = append(all, n)
		n.settle()
		for _, c := range n.order {
			walk(c)
		}
	}
	walk(t.root)
	taken := all
	if len(all) > maxNodes {
		taken = slices.Clone(all)
		slices.SortStableFunc(taken, func(a, b *grown) int {
			return cmp.Or(cmp.Compare(max(b.Value, b.Base), max(a.Value, a.Base)), cmp.Compare(a.depth, b.depth))
		})
		left += len(taken) - maxNodes
		taken = taken[:maxNodes]
	}
	in := make(map[*grown]bool, len(taken))
	for _, n := range taken {
		in[n] = true
	}
	for _, n := range all {
		if !in[n] {
			continue
		}
		for _, c := range n.order {
			if in[c] {
				n.Children = append(n.Children, &c.Node)
			}
		}
		slices.SortStableFunc(n.Children, func(a, b *Node) int { return cmp.Compare(max(b.Value, b.Base), max(a.Value, a.Base)) })
	}
	return &t.root.Node, left
}

// settle puts the children in order.
func (n *grown) settle() {
	for _, c := range n.below {
		n.order = append(n.order, c)
	}
	slices.SortFunc(n.order, func(a, b *grown) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.File, b.File)) })
}
