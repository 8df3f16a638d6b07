package blackbox

import (
	"cmp"
	"math"
	"slices"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/postmortem"
	"github.com/heapwright/heapwright/cmd/internal/profile"
	"github.com/heapwright/heapwright/record"
)

// A ring is what is kept of the near past of one process, in bounded memory: its samples
// the more sparsely the older they are, its last captures and a quiet one.
type ring struct {
	samples  thinned[lean]
	cycles   []record.Cycle
	captures []*capture // in order of time; the first is the quiet one that others are held against
	notices  []postmortem.Notice
}

// Bounds of a ring. A sample is 650 bytes, a capture as much as maxSites and maxGroups
// allow: 400 KiB at worst, 50 KiB mostly.
const (
	maxSamples  = 128
	maxCycles   = 200
	maxNear     = 4 // captures beside quiet ones
	maxNotices  = 40
	maxSites    = 300
	maxStacks   = 150
	maxFrames   = 64
	maxGroupLog = 150
)

// A capture is what was taken of a process at once.
type capture struct {
	postmortem.Capture
	heap, since *record.Profile
	goroutines  *record.Goroutines
}

// A thinned is a list that, when it is full, drops every second of its older half: so it
// reaches back ever further in ever larger steps, and the newest are all there.
type thinned[T any] struct {
	most  int
	items []T
}

func (l *thinned[T]) add(v T) {
	if len(l.items) >= l.most {
		kept := l.items[:0]
		for i, old := range l.items {
			if i >= len(l.items)/2 || i%2 == 0 {
				kept = append(kept, old)
			}
		}
		clear(l.items[len(kept):])
		l.items = kept
	}
	l.items = append(l.items, v)
}

// scalars are the fields that a lean holds as whole numbers: all but histograms, counts
// by size class, and what is no whole number.
var scalars = func() (out []record.Field) {
	var s record.Sample
	for f := range record.NumFields {
		switch s.Pointer(f).(type) {
		case *uint64, *int64, *time.Duration, *bool:
			out = append(out, f)
		}
	}
	return out
}()

// A lean is a sample without its histograms, which are 8 KiB.
type lean struct {
	time   time.Time
	source record.Source
	has    record.FieldSet
	values [72]int64
	lastGC time.Time
}

func newLean(s *record.Sample) lean {
	l := lean{time: s.Time, source: s.Source, lastGC: s.LastGC}
	for i, f := range scalars[:min(len(scalars), len(l.values))] {
		if !s.Has.Has(f) {
			continue
		}
		l.has.Add(f)
		switch p := s.Pointer(f).(type) {
		case *uint64:
			l.values[i] = int64(*p)
		case *int64:
			l.values[i] = *p
		case *time.Duration:
			l.values[i] = int64(*p)
		case *bool:
			if *p {
				l.values[i] = 1
			}
		}
	}
	if s.Has.Has(record.FieldLastGC) {
		l.has.Add(record.FieldLastGC)
	}
	return l
}

func (l *lean) sample() record.Sample {
	s := record.Sample{Time: l.time, Source: l.source, Has: l.has, LastGC: l.lastGC}
	for i, f := range scalars[:min(len(scalars), len(l.values))] {
		if !l.has.Has(f) {
			continue
		}
		switch p := s.Pointer(f).(type) {
		case *uint64:
			*p = uint64(l.values[i])
		case *int64:
			*p = l.values[i]
		case *time.Duration:
			*p = time.Duration(l.values[i])
		case *bool:
			*p = l.values[i] != 0
		}
	}
	return s
}

func newRing() *ring { return &ring{samples: thinned[lean]{most: maxSamples}} }

func (r *ring) addSample(s *record.Sample) { r.samples.add(newLean(s)) }

func (r *ring) addCycles(cs []record.Cycle) {
	r.cycles = append(r.cycles, cs...)
	if over := len(r.cycles) - maxCycles; over > 0 {
		r.cycles = slices.Delete(r.cycles, 0, over)
	}
}

func (r *ring) addNotice(n postmortem.Notice) {
	// The same again and again says nothing new.
	if k := len(r.notices); k > 0 && r.notices[k-1].Kind == n.Kind && n.Time.Sub(r.notices[k-1].Time) < time.Second {
		return
	}
	r.notices = append(r.notices, n)
	if len(r.notices) > maxNotices {
		r.notices = slices.Delete(r.notices, 0, 1)
	}
}

// addCapture keeps a capture. Of quiet ones the two newest stay: a leak may be in the
// newest already. Of the others the first of them all stays while there is room, and
// the newest do.
func (r *ring) addCapture(c *capture) {
	r.captures = append(r.captures, c)
	drop := func(most int, quiet bool) {
		var of []int
		for i, c := range r.captures {
			if (c.Why == postmortem.WhyQuiet) == quiet {
				of = append(of, i)
			}
		}
		if len(of) > most {
			r.captures = slices.Delete(r.captures, of[0], of[0]+1)
		}
	}
	drop(2, true)
	drop(maxNear, false)
}

// cutHeap bounds a profile: the sites with the most bytes in use and those that allocated
// most stay.
func cutHeap(p *record.Profile) *record.Profile {
	if p == nil {
		return nil
	}
	if len(p.Sites) > maxSites {
		byUse := func(a, b record.ProfileSite) int { return cmp.Compare(math.Abs(b.InUseBytes), math.Abs(a.InUseBytes)) }
		slices.SortStableFunc(p.Sites, byUse)
		slices.SortStableFunc(p.Sites[maxSites*2/3:], func(a, b record.ProfileSite) int { return cmp.Compare(b.AllocBytes, a.AllocBytes) })
		p.Sites = slices.Clone(p.Sites[:maxSites])
		slices.SortStableFunc(p.Sites, byUse)
	}
	for i := range p.Sites {
		p.Sites[i].Stack = cutStack(p.Sites[i].Stack)
	}
	return p
}

// cutStack leaves out the middle of what is too deep: the leaf says what allocates, the
// root for whom.
func cutStack(s []record.Frame) []record.Frame {
	if len(s) <= maxFrames {
		return s
	}
	return slices.Concat(s[:maxFrames*3/4], s[len(s)-maxFrames/4:])
}

// lendStacks gives groups that were read without stacks those that some of their
// goroutines have: of the largest group with the same state and origin.
func lendStacks(all, some *record.Goroutines) {
	type key struct {
		created            record.Frame
		status, waitReason string
	}
	keyOf := func(g *record.GoroutineGroup) key { return key{g.CreatedBy, g.Status, g.WaitReason} }
	best := map[key]*record.GoroutineGroup{}
	for i := range some.Groups {
		g := &some.Groups[i]
		if b := best[keyOf(g)]; len(g.Stack) > 0 && (b == nil || g.Count > b.Count) {
			best[keyOf(g)] = g
		}
	}
	for i := range all.Groups {
		g := &all.Groups[i]
		if b := best[keyOf(g)]; b != nil && len(g.Stack) == 0 {
			g.Stack = b.Stack
		}
	}
}

func cutGoroutines(g *record.Goroutines) *record.Goroutines {
	if g == nil {
		return nil
	}
	slices.SortStableFunc(g.Groups, func(a, b record.GoroutineGroup) int { return cmp.Compare(b.Count, a.Count) })
	for i := range g.Groups {
		if i >= maxStacks {
			g.Truncated += g.Groups[i].Count
			continue
		}
		g.Groups[i].Stack = cutStack(g.Groups[i].Stack)
	}
	g.Groups = slices.Clone(g.Groups[:min(len(g.Groups), maxStacks)])
	return g
}

// recording is what the ring holds, as a recording. It shares nothing that changes.
func (r *ring) recording(p record.Process) *record.Recording {
	rec := &record.Recording{Process: p, Cycles: slices.Clone(r.cycles)}
	for i := range r.samples.items {
		rec.Samples = append(rec.Samples, r.samples.items[i].sample())
	}
	for _, c := range r.captures {
		if c.heap != nil {
			rec.Profiles = append(rec.Profiles, *c.heap)
		}
		if c.since != nil {
			q := *c.since
			q.Kind = profile.HeapSince
			if c.heap != nil {
				q.Time = c.heap.Time
			}
			rec.Profiles = append(rec.Profiles, q)
		}
		if c.goroutines != nil {
			rec.Goroutines = append(rec.Goroutines, *c.goroutines)
		}
	}
	return rec
}
