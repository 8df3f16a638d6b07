package leak

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/heapwright/heapwright/cmd/internal/retention"
)

const (
	maxHeldBy = 3
	// leastHeld is the part of a site's sampled objects below which a holder is left
	// out.
	leastHeld = 0.1
	// maxPath is how many steps of a path are told.
	maxPath = 8
)

// containerCauses say what a container that holds what leaks makes of the cause.
var containerCauses = map[string]struct {
	cause CauseID
	what  string
}{
	"map":      {MapUnbounded, "a map"},
	"slice":    {SliceUnbounded, "a slice"},
	"list":     {ListUnbounded, "a list"},
	"chan":     {ChannelBacklog, "the buffer of a channel"},
	"sync.Map": {SyncMapUnbounded, "a sync.Map"},
	"pool":     {PoolHoard, "a sync.Pool"},
}

// heldBy fills in who holds what a site allocated, and adds what that says of the
// cause.
func (j *judge) heldBy(f *Finding, b *ballot) {
	r := j.o.Retention
	if r == nil {
		return
	}
	sum := map[string]*HeldBy{}
	containers := map[string]float64{}
	roots := map[string]bool{}
	samples, lost := 0, 0
	for i := range r.Sites {
		if j.code.site(r.Sites[i].Stack).Func == f.Site.Func {
			samples += r.Sites[i].Samples
			lost += r.Sites[i].Unreached
		}
	}
	if lost >= 5 && 10*lost >= 9*samples {
		b.add(DeferInLoop, breaks, "no variable, stack, timer or finalizer holds them: deferred calls are what is left")
	}
	for i := range r.Sites {
		s := &r.Sites[i]
		if j.code.site(s.Stack).Func != f.Site.Func {
			continue
		}
		for k := range s.Holders {
			h := &s.Holders[k]
			n := h.Share * float64(s.Samples)
			name := rootName(h.Root)
			roots[name] = true
			e := sum[name]
			if e == nil {
				e = &HeldBy{Root: name, Path: pathOf(h.Path)}
				sum[name] = e
			}
			e.Share += n
			if h.Holder >= 0 && h.Holder < len(r.Holders) {
				e.Retained = max(e.Retained, r.Holders[h.Holder].RetainedBytes)
				if name, _ := container(h.Path); name == "" {
					containers[r.Holders[h.Holder].Container] += n / 2
				}
			}
			j.pathSigns(b, h, n/float64(samples))
		}
	}
	if samples == 0 {
		return
	}
	for _, h := range sum {
		h.Share /= float64(samples)
		if h.Share >= leastHeld {
			f.HeldBy = append(f.HeldBy, *h)
		}
	}
	slices.SortFunc(f.HeldBy, func(x, y HeldBy) int {
		return cmp.Or(cmp.Compare(y.Share, x.Share), strings.Compare(x.Root, y.Root))
	})
	f.HeldBy = f.HeldBy[:min(len(f.HeldBy), maxHeldBy)]
	for name, n := range containers {
		if c, ok := containerCauses[name]; ok {
			b.add(c.cause, typical*n/float64(samples), "%s holds them", c.what)
		}
	}
	// Whether what holds them is made larger itself, as append and maps do.
	growing := slices.ContainsFunc(b.votes, func(v vote) bool {
		return v.grows && (v.cause == SliceUnbounded || v.cause == MapUnbounded || v.cause == SyncMapUnbounded || v.cause == ListUnbounded)
	})
	for i := range r.Hints {
		h := &r.Hints[i]
		if _, ok := Find(h.Kind); !ok || f.Growth.End <= 0 || !roots[rootName(h.Root)] {
			continue
		}
		cause := CauseID(h.Kind)
		if cause == TimerForgotten {
			cause = timerCause(b)
		}
		w := hintWeight(cause, growing)
		switch share := float64(h.Bytes) / f.Growth.End; {
		case share >= 0.5:
			b.add(cause, w, "%s", h.Text)
		case share >= 0.2:
			b.add(cause, w/2, "%s", h.Text)
		}
	}
}

// timerCause is why timers hold what they hold. That they do is the same for each of
// these; who made them stands in the stacks.
func timerCause(b *ballot) CauseID {
	for _, cause := range []CauseID{ContextNotDone, TimeAfterLoop, TickerForgotten} {
		if slices.ContainsFunc(b.votes, func(v vote) bool { return v.cause == cause && v.grows }) {
			return cause
		}
	}
	return TimerForgotten
}

// hintWeight is what a fact that the graph shows counts. A large container is a
// fact about most heaps. That much is kept for little (a part of an array, what a
// closure captured) explains growth where the container stays as it is; where that
// grows too, it comes first.
func hintWeight(cause CauseID, growing bool) float64 {
	switch cause {
	case SliceUnbounded, MapUnbounded, ListUnbounded, SyncMapUnbounded:
		return hints
	case MapNeverShrinks: // it is empty: nothing is put into it that stays
		return 2 * decides
	case Callbacks:
		if growing {
			return typical + hints
		}
		return hints
	case ClosureCapture:
		return typical + breaks
	case SubSlice, Substring, AppendAliasing, BufferNeverSmall:
		if growing {
			return typical
		}
		return decides + 1
	}
	return decides + 1
}

// pathSigns are what the types on the way from a root tell; part is how many of the
// sampled objects are kept so.
func (j *judge) pathSigns(b *ballot, h *retention.SiteHolder, part float64) {
	if h.Root.Kind == "finalizer" {
		b.add(FinalizerChain, part*(typical), "finalizers hold them")
	}
	for i := range h.Path {
		s := &h.Path[i]
		switch {
		case strings.Contains(s.Type, "runtime.timer"):
			b.add(timerCause(b), part*(typical+hints), "the runtime's timers hold them")
		case strings.Contains(s.Type, "runtime._defer"):
			b.add(DeferInLoop, part*(typical+hints), "deferred calls hold them")
		case strings.Contains(s.Type, ".deferwrap") && s.Objects > 100:
			// What the compiler makes of a deferred call with arguments
			// (cmd/compile/internal/ir/func.go, closureName): none of these returns soon.
			b.add(DeferInLoop, part*(decides+1), "%d deferred calls wait", s.Objects)
		case strings.Contains(s.Type, "context.valueCtx") && s.Recursive && s.Objects > 100:
			b.add(ContextValues, part*(typical+hints), "a chain of %d contexts with values is on the way", s.Objects)
		case strings.Contains(s.Type, "context.cancelCtx") && s.Objects > 10 && !s.Recursive, strings.Contains(s.Type, "context.canceler"),
			strings.Contains(s.Type, "context.timerCtx") && s.Objects > 10:
			b.add(ContextNotDone, part*(typical+hints), "they are children of a context that lives on")
		case strings.HasPrefix(s.Type, "[]func(") || strings.HasPrefix(s.Type, "map[") && strings.Contains(s.Type, "]func("):
			b.add(Callbacks, part*(hints), "%s holds them", s.Type)
		}
	}
	if name, what := container(h.Path); name != "" {
		w := typical
		if name == "sync.Map" && h.Path[len(h.Path)-1].Objects >= 1000 {
			w = decides + 1 // entry by entry, whatever appends to what lies in one
		}
		b.add(containerCauses[name].cause, w*part, "%s holds them: %s", containerCauses[name].what, what)
	}
}

// container is what holds the many on a path: the last step at which one object, or
// a few, refer to many; or what the path ends in.
func container(path []retention.Step) (name, what string) {
	const many = 8.0 // at least so many for one
	for i := len(path) - 1; i > 0; i-- {
		if float64(path[i].Objects) < many*float64(max(path[i-1].Objects, 1)) {
			continue
		}
		for _, s := range []*retention.Step{&path[i-1], &path[i]} {
			if n := containerOf(s.Type); n != "" {
				return n, s.Type
			}
		}
	}
	if n := len(path); n > 0 {
		if name := containerOf(path[n-1].Type); name == "map" || name == "list" || name == "sync.Map" {
			return name, path[n-1].Type
		}
	}
	return "", ""
}

// containerOf is what a type of the runtime or the standard library is part of. The
// names are those of Go 1.20 to 1.27: map.group and map.bucket stand for the types
// that the compiler makes for maps.
func containerOf(typ string) string {
	switch {
	case typ == "runtime.hmap":
		return "map"
	case typ == "runtime.hchan":
		return "chan"
	case strings.Contains(typ, "runtime."):
		return "" // timers, deferred calls: not the program's
	case strings.HasPrefix(typ, "map.") || strings.HasPrefix(typ, "map[") || strings.HasPrefix(typ, "maps.") || strings.HasPrefix(typ, "table of map[") || strings.HasPrefix(typ, "tables of map["):
		return "map"
	case strings.Contains(typ, "sync.entry") || strings.Contains(typ, "HashTrieMap") || strings.Contains(typ, "sync.indirect") || strings.HasPrefix(typ, "sync.Map"):
		return "sync.Map"
	case strings.HasPrefix(typ, "list.Element") || strings.HasPrefix(typ, "ring.Ring"):
		return "list"
	case strings.HasPrefix(typ, "sync.pool") || strings.HasPrefix(typ, "sync.Pool"):
		return "pool"
	case strings.HasPrefix(typ, "chan ") || strings.HasPrefix(typ, "[]chan "):
		return "chan"
	case strings.HasPrefix(typ, "[]") && !strings.HasPrefix(typ, "[]uint8") && !strings.HasPrefix(typ, "[]func("):
		return "slice"
	}
	return ""
}

// rootName is a root for people.
func rootName(r retention.Root) string {
	switch r.Kind {
	case "global":
		return "global " + r.Name
	case "stack":
		name := r.Name
		if r.Count > 1 {
			name += fmt.Sprintf(" (%d goroutines)", r.Count)
		}
		return "stack of " + name
	}
	return r.Name
}

// pathOf is the way from a root, a step a string.
func pathOf(steps []retention.Step) []string {
	var out []string
	for i := range steps {
		if i == maxPath {
			return append(out, "...")
		}
		s := &steps[i]
		text := s.Type
		if text == "" {
			text = "?"
		}
		if s.Field != "" {
			text = "." + s.Field + " " + text
		}
		if s.Objects > 1 {
			text += fmt.Sprintf(" x%d", s.Objects)
		}
		out = append(out, text)
	}
	return out
}

// hoards are facts that the graph shows about a large part of the live heap,
// without anything growing while it was watched.
func (j *judge) hoards() {
	r := j.o.Retention
	if r == nil {
		return
	}
	for i := range r.Hints {
		h := &r.Hints[i]
		c, ok := Find(h.Kind)
		if !ok || h.Bytes < leastHoard || float64(h.Bytes) < leastHoardPart*float64(r.LiveBytes) ||
			slices.ContainsFunc(j.out.Findings, func(f Finding) bool { return string(f.Cause) == h.Kind }) {
			continue
		}
		j.out.Hoards = append(j.out.Hoards, Hoard{
			Cause: c.ID, Title: c.Title, Text: h.Text, Bytes: h.Bytes,
			Share: float64(h.Bytes) / float64(max(r.LiveBytes, 1)), Root: rootName(h.Root), Path: pathOf(h.Path), Remedy: c.short(),
		})
	}
	slices.SortStableFunc(j.out.Hoards, func(a, b Hoard) int { return cmp.Compare(b.Bytes, a.Bytes) })
	j.out.Hoards = j.out.Hoards[:min(len(j.out.Hoards), maxHoards)]
}

const (
	leastHoard     = 4 << 20
	leastHoardPart = 0.1
	maxHoards      = 5
)
