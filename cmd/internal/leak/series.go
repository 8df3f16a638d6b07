package leak

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/heapwright/heapwright/record"
)

// Bounds of what an observation is worked on with.
const (
	maxSites     = 4096 // with the most bytes in use at the end
	maxSnapshots = 512  // more are thinned, evenly
	maxStack     = 128
	pictureWide  = 32
)

// A curve is one number over time, with what of it was counted in samples.
type curve struct {
	t []float64 // seconds from the first reading
	v []float64 // bytes, or goroutines
	// n are samples in use and allocs those ever allocated, of a heap profile; of
	// goroutines n is their number and allocs is nil.
	n, allocs []int64
}

// A site is one allocation site over time: the frames from the allocator to the
// first function that is not of the standard library.
type site struct {
	frame record.Frame   // that function
	stack []record.Frame // of the record with the most bytes in use
	key   string
	curve
	objects float64 // in use at the end
	exact   bool    // objects so large that the profiler samples every one
	refills bool    // the room of a slice or a map

	stackBytes float64
}

// snapshotTimes gives each heap profile the instant that it is of, drops those
// of the same GC cycle, and says how many there were.
//
// What a profile shows is the heap as the GC cycle before the last one left it:
// the runtime publishes the events of a cycle when the next one ends marking
// (runtime/mprof.go, mProf_NextCycle and mProf_Flush; only runtime.GC publishes
// at once).
func snapshotTimes(profiles []*record.Profile, cycles []record.Cycle) (kept []*record.Profile, at []time.Time) {
	var last *record.Profile
	lastCycle := -1
	for _, p := range profiles {
		if p == nil || p.Kind != record.ProfileHeap || len(p.Sites) == 0 {
			continue
		}
		// The cycles that ended before the profile was read.
		i, _ := slices.BinarySearchFunc(cycles, p.Time, func(c record.Cycle, t time.Time) int { return c.End.Compare(t) })
		when := p.Time
		known := i >= 1 && p.Time.Sub(cycles[i-1].End) < time.Hour
		if known && i == lastCycle || last != nil && same(last, p) {
			continue
		}
		if known {
			lastCycle = i
			if i >= 2 && !cycles[i-1].Forced {
				when = cycles[i-2].End
			} else {
				when = cycles[i-1].End
			}
		}
		if n := len(at); n > 0 && !when.After(at[n-1]) {
			when = at[n-1].Add(time.Nanosecond)
		}
		kept, at, last = append(kept, p), append(at, when), p
	}
	return kept, at
}

// same reports whether two profiles are of the same publication: nothing was
// sampled or freed between them.
func same(a, b *record.Profile) bool {
	if len(a.Sites) != len(b.Sites) {
		return false
	}
	var sa, sb [4]float64
	for i := range a.Sites {
		add := func(sum *[4]float64, s *record.ProfileSite) {
			sum[0] += s.InUseBytes
			sum[1] += s.AllocBytes
			sum[2] += float64(s.SampledAllocs)
			sum[3] += s.InUseObjects
		}
		add(&sa, &a.Sites[i])
		add(&sb, &b.Sites[i])
	}
	return sa == sb
}

// thin keeps at most n of the indices from 0 to have, the first and the last
// among them.
func thin(have, n int) []int {
	out := make([]int, 0, min(have, n))
	for i := range min(have, n) {
		k := i
		if have > n {
			k = i * (have - 1) / (n - 1)
		}
		out = append(out, k)
	}
	return out
}

// sites makes a curve of each allocation site.
func sites(profiles []*record.Profile, at []time.Time, code *code) []*site {
	idx := thin(len(profiles), maxSnapshots)
	index := map[string]*site{}
	var all []*site
	last := len(idx) - 1
	for k, i := range idx {
		p := profiles[i]
		for j := range p.Sites {
			s := &p.Sites[j]
			key, own := code.siteKey(s.Stack)
			e := index[key]
			if e == nil {
				if len(all) >= 4*maxSites {
					continue
				}
				e = &site{key: key, frame: own, curve: newCurve(len(idx))}
				index[key] = e
				all = append(all, e)
			}
			n, allocs := sampled(s, p.PeriodBytes)
			e.v[k] += max(0, finite(s.InUseBytes))
			e.n[k] += n
			e.allocs[k] += allocs
			if k == last {
				e.objects += max(0, finite(s.InUseObjects))
			}
			if s.InUseBytes > e.stackBytes || e.stack == nil {
				e.stackBytes, e.stack = s.InUseBytes, s.Stack[:min(len(s.Stack), maxStack)]
			}
		}
	}
	for _, e := range all {
		for k, i := range idx {
			e.t[k] = at[i].Sub(at[0]).Seconds()
		}
		period := float64(max(1, profiles[idx[last]].PeriodBytes))
		e.exact = e.objects >= 0.5 && e.v[last]/e.objects >= 4*period
		e.refills = refills(e.stack)
	}
	slices.SortStableFunc(all, func(a, b *site) int { return cmp.Compare(b.v[last], a.v[last]) })
	return all[:min(len(all), maxSites)]
}

// refills reports whether what is allocated at a stack is the room of a slice or
// a map, which is made larger by a factor each time that it is full. Recordings
// keep no frames of the runtime; there it is not known.
func refills(stack []record.Frame) bool {
	for _, f := range stack {
		if !isRuntime(f.Func) {
			return false
		}
		if strings.HasPrefix(f.Func, "runtime.growslice") || strings.HasPrefix(f.Func, "runtime.mapassign") ||
			strings.HasPrefix(f.Func, "runtime.hashGrow") || strings.HasPrefix(f.Func, "internal/runtime/maps.") {
			return true
		}
	}
	return false
}

func newCurve(n int) curve {
	return curve{t: make([]float64, n), v: make([]float64, n), n: make([]int64, n), allocs: make([]int64, n)}
}

// sampled is how many samples a record of a heap profile rests on. Profiles from
// a pprof endpoint do not say; it follows from the period: an object of s bytes
// is sampled with the chance 1-exp(-s/period) (runtime/mprof.go, scaleHeapSample
// in runtime/pprof turns that round).
func sampled(s *record.ProfileSite, period int64) (inUse, allocs int64) {
	if s.SampledAllocs > 0 {
		return max(0, s.SampledInUse), s.SampledAllocs
	}
	count := func(bytes, objects float64) int64 {
		if !(bytes > 0) || !(objects > 0) || period <= 0 {
			return 0
		}
		n := objects * -math.Expm1(-bytes/objects/float64(period))
		return int64(math.Round(min(n, 1e12)))
	}
	return count(s.InUseBytes, s.InUseObjects), count(s.AllocBytes, s.AllocObjects)
}

// picture condenses a curve for a sparkline.
func (c *curve) picture() []float64 {
	n := min(len(c.v), pictureWide)
	out := make([]float64, 0, n)
	for i := range n {
		lo, hi := i*len(c.v)/n, (i+1)*len(c.v)/n
		out = append(out, median(c.v[lo:hi]))
	}
	return out
}

// code tells a program's own functions from those of the standard library.
type code struct{ process record.Process }

// standard reports whether a function is of the standard library: its import path
// has no dot in its first element, and is neither main nor of the process's module.
func (c *code) standard(fn string) bool {
	path := packagePath(fn)
	if path == "main" || path == "command-line-arguments" || path == c.process.MainPackage && path != "" {
		return false
	}
	if m := c.process.Module; m != "" && (path == m || strings.HasPrefix(path, m+"/")) {
		return false
	}
	root, _, _ := strings.Cut(path, "/")
	return !strings.Contains(root, ".")
}

// own reports whether a function is of the program itself, not of a library.
func (c *code) own(fn string) bool {
	path := packagePath(fn)
	m := c.process.Module
	return path == "main" || path == "command-line-arguments" || m != "" && (path == m || strings.HasPrefix(path, m+"/"))
}

// site is the frame that a stack is known by: the innermost of the program's own,
// else the innermost that is not of the standard library, else of the runtime.
func (c *code) site(stack []record.Frame) record.Frame {
	var lib, leaf record.Frame
	for _, f := range stack {
		switch {
		case f.Func == "":
		case c.own(f.Func):
			return f
		case lib.Func == "" && !c.standard(f.Func):
			lib = f
		case leaf.Func == "" && !isRuntime(f.Func):
			leaf = f
		}
	}
	switch {
	case lib.Func != "":
		return lib
	case leaf.Func != "":
		return leaf
	case len(stack) > 0:
		return stack[0]
	}
	return record.Frame{}
}

// siteKey is what records of one site share, and the frame that it is known by.
func (c *code) siteKey(stack []record.Frame) (string, record.Frame) {
	own := c.site(stack)
	var b strings.Builder
	for i, f := range stack {
		if i == maxStack {
			break
		}
		b.WriteString(f.Func)
		b.WriteByte(0)
		b.WriteString(strconv.Itoa(f.Line))
		b.WriteByte(0)
		if f == own {
			break
		}
	}
	return b.String(), own
}

func isRuntime(fn string) bool {
	return strings.HasPrefix(fn, "runtime.") || strings.HasPrefix(fn, "internal/runtime/")
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
