package view

import (
	"cmp"
	"slices"
	"strings"

	"github.com/heapwright/heapwright/record"
)

// A SiteDelta is what one place of the program did between two heap profiles,
// or since the start of the process when there is only one.
type SiteDelta struct {
	Site         record.Frame // the innermost frame that is not the runtime's or the standard library's
	Leaf         record.Frame // the frame that allocated
	AllocBytes   float64
	AllocObjects float64
	AllocShare   float64 // of all bytes allocated in the profile
	InUseBytes   float64 // growth; negative when it shrank
	Samples      int64   // how many samples AllocBytes rests on
}

// HeapSites compares the first and the last heap profile of the recording, by
// site, most allocated bytes first. window says whether it is the growth between
// two profiles (true) or the total since process start (false).
func (v *View) HeapSites() (sites []SiteDelta, window bool) {
	var a, b *record.Profile
	for i := range v.Rec.Profiles {
		p := &v.Rec.Profiles[i]
		if p.Kind != record.ProfileHeap || len(p.Sites) == 0 {
			continue
		}
		if a == nil {
			a = p
		}
		b = p
	}
	if b == nil {
		return nil, false
	}
	type key struct{ site, leaf record.Frame }
	sum := make(map[key]*SiteDelta)
	add := func(p *record.Profile, sign float64) {
		for i := range p.Sites {
			s := &p.Sites[i]
			k := key{v.userFrame(s.Stack), leafFrame(s.Stack)}
			d := sum[k]
			if d == nil {
				d = &SiteDelta{Site: k.site, Leaf: k.leaf}
				sum[k] = d
			}
			d.AllocBytes += sign * finite(s.AllocBytes)
			d.AllocObjects += sign * finite(s.AllocObjects)
			d.InUseBytes += sign * finite(s.InUseBytes)
			d.Samples += int64(sign) * s.SampledAllocs
		}
	}
	add(b, 1)
	if window = a != b; window {
		add(a, -1)
	}
	total := 0.0
	for _, d := range sum {
		d.AllocBytes = max(0, d.AllocBytes)
		total += d.AllocBytes
		sites = append(sites, *d)
	}
	for i := range sites {
		if total > 0 {
			sites[i].AllocShare = sites[i].AllocBytes / total
		}
	}
	slices.SortFunc(sites, func(x, y SiteDelta) int {
		return cmp.Or(cmp.Compare(y.AllocBytes, x.AllocBytes), compareFrames(x.Site, y.Site), compareFrames(x.Leaf, y.Leaf))
	})
	return sites, window
}

// TopBy returns up to n sites, largest first, that have more than nothing of
// what key says.
func TopBy(sites []SiteDelta, n int, key func(SiteDelta) float64) []SiteDelta {
	out := slices.Clone(sites)
	slices.SortStableFunc(out, func(x, y SiteDelta) int { return cmp.Compare(key(y), key(x)) })
	for i := range out {
		if i == n || !(key(out[i]) > 0) {
			return out[:i]
		}
	}
	return out
}

func finite(x float64) float64 {
	const most = 1e18 // an exbibyte: more is not a measurement
	if !(x > -most && x < most) {
		return 0
	}
	return x
}

func compareFrames(a, b record.Frame) int {
	return cmp.Or(cmp.Compare(a.Func, b.Func), cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
}

// A GoroutineSite is the goroutines of one creation site in the first and in the
// last snapshot.
type GoroutineSite struct {
	CreatedBy   record.Frame
	First, Last int // First is -1 when there was only one snapshot
	Waiting     int // of Last, how many wait
	WaitReason  string
	At          record.Frame // where most of them wait
}

// Growth is how many more there are.
func (g GoroutineSite) Growth() int {
	if g.First < 0 {
		return 0
	}
	return g.Last - g.First
}

// GoroutineSites compares the first and the last goroutine snapshot by creation
// site, most growth first, then most goroutines. The runtime's own are left out.
func (v *View) GoroutineSites() []GoroutineSite {
	snaps := v.Rec.Goroutines
	if len(snaps) == 0 {
		return nil
	}
	sites := make(map[record.Frame]*GoroutineSite)
	most := make(map[record.Frame]int)
	get := func(f record.Frame) *GoroutineSite {
		if sites[f] == nil {
			sites[f] = &GoroutineSite{CreatedBy: f, First: -1}
			if len(snaps) > 1 {
				sites[f].First = 0
			}
		}
		return sites[f]
	}
	eachGroup(&snaps[len(snaps)-1], func(g *record.GoroutineGroup) {
		s := get(g.CreatedBy)
		s.Last += g.Count
		if g.Status == "waiting" {
			s.Waiting += g.Count
		}
		if g.Count > most[g.CreatedBy] {
			most[g.CreatedBy] = g.Count
			s.WaitReason, s.At = g.WaitReason, v.userFrame(g.Stack)
		}
	})
	if len(snaps) > 1 {
		eachGroup(&snaps[0], func(g *record.GoroutineGroup) { get(g.CreatedBy).First += g.Count })
	}
	out := make([]GoroutineSite, 0, len(sites))
	for _, s := range sites {
		out = append(out, *s)
	}
	slices.SortFunc(out, func(a, b GoroutineSite) int {
		return cmp.Or(cmp.Compare(b.Growth(), a.Growth()), cmp.Compare(b.Last, a.Last), compareFrames(a.CreatedBy, b.CreatedBy))
	})
	return out
}

// GoroutineGrowth sums, over all sites, by how many the goroutines grew whose
// most frequent wait reason is the given one.
func (v *View) GoroutineGrowth(reason string) int {
	n := 0
	for _, s := range v.GoroutineSites() {
		if s.WaitReason == reason && s.Growth() > 0 {
			n += s.Growth()
		}
	}
	return n
}

// mostGoroutines bounds a count that comes from outside: more do not fit into
// any memory.
const mostGoroutines = 1 << 30

func eachGroup(s *record.Goroutines, fn func(*record.GoroutineGroup)) {
	for i := range s.Groups {
		g := &s.Groups[i]
		if !g.System && g.Count > 0 && g.Count <= mostGoroutines {
			fn(g)
		}
	}
}

// LastGoroutines returns the user groups of the newest snapshot.
func (v *View) LastGoroutines() []record.GoroutineGroup {
	if len(v.Rec.Goroutines) == 0 {
		return nil
	}
	var out []record.GoroutineGroup
	eachGroup(&v.Rec.Goroutines[len(v.Rec.Goroutines)-1], func(g *record.GoroutineGroup) { out = append(out, *g) })
	return out
}

// UserFrame is the innermost frame of a stack that is not the runtime's or the
// standard library's: where the program's own code stands. Without one it is the
// innermost that is not the runtime's.
func (v *View) UserFrame(stack []record.Frame) record.Frame { return v.userFrame(stack) }

func (v *View) userFrame(stack []record.Frame) record.Frame {
	for _, f := range stack {
		if f.Func != "" && !v.standard(f.Func) {
			return f
		}
	}
	return leafFrame(stack)
}

// leafFrame is the innermost frame that is not the runtime's.
func leafFrame(stack []record.Frame) record.Frame {
	for _, f := range stack {
		if !strings.HasPrefix(f.Func, "runtime.") && !strings.HasPrefix(f.Func, "internal/runtime/") {
			return f
		}
	}
	if len(stack) > 0 {
		return stack[0]
	}
	return record.Frame{}
}

// standard reports whether a function is of the standard library: its import
// path has no dot in the first element, and is neither main nor of the process's
// own module.
func (v *View) standard(fn string) bool {
	path := packagePath(fn)
	if path == "main" || path == "command-line-arguments" {
		return false
	}
	if m := v.Process.Module; m != "" && (path == m || strings.HasPrefix(path, m+"/")) {
		return false
	}
	root, _, _ := strings.Cut(path, "/")
	return !strings.Contains(root, ".")
}

// packagePath is the import path of a function name: "a.b/c/d" of "a.b/c/d.(*T).M".
func packagePath(fn string) string {
	slash := strings.LastIndexByte(fn, '/')
	// A type argument may hold slashes: f[a.b/c.T]. Look before it.
	if i := strings.IndexByte(fn, '['); i >= 0 && i < slash {
		slash = strings.LastIndexByte(fn[:i], '/')
	}
	rest := fn[slash+1:]
	if dot := strings.IndexByte(rest, '.'); dot >= 0 {
		return fn[:slash+1] + rest[:dot]
	}
	return fn
}

// LargeObjects is how many objects of 32 KiB and more were allocated in the window.
func (v *View) LargeObjects() (float64, bool) {
	var a, b *record.Sample
	for _, s := range v.samples {
		if s.Has.Has(record.FieldSizeClassAllocs) {
			if a == nil {
				a = s
			}
			b = s
		}
	}
	if a == b || b.SizeClassAllocs[0] < a.SizeClassAllocs[0] {
		return 0, false
	}
	return float64(b.SizeClassAllocs[0] - a.SizeClassAllocs[0]), true
}
