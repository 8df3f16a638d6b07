package postmortem

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/view"
	"github.com/heapwright/heapwright/record"
)

// Bounds of what is shown.
const (
	maxSites      = 20
	maxGoroutines = 12
	maxStack      = 32
)

// z90 is the standard normal quantile for an interval that holds nine times of ten.
const z90 = 1.644854

// profileNear is how far a profile may lie from the capture that it belongs to.
const profileNear = 2 * time.Second

// heapAt is the heap profile that was taken at an instant, or nearest to it, with what
// was sampled since it was published.
func heapAt(rec *record.Recording, t time.Time, within time.Duration) (published, since *record.Profile) {
	best := within + 1
	for i := range rec.Profiles {
		p := &rec.Profiles[i]
		if d := absolute(p.Time.Sub(t)); p.Kind == record.ProfileHeap && d < best {
			best, published = d, p
		}
	}
	if published == nil {
		return nil, nil
	}
	for i := range rec.Profiles {
		if p := &rec.Profiles[i]; p.Kind == ProfileSince && absolute(p.Time.Sub(published.Time)) <= 100*time.Millisecond {
			since = p
		}
	}
	return published, since
}

func goroutinesAt(rec *record.Recording, t time.Time, within time.Duration) *record.Goroutines {
	var best *record.Goroutines
	for i := range rec.Goroutines {
		g := &rec.Goroutines[i]
		if d := absolute(g.Time.Sub(t)); d <= within && (best == nil || d < absolute(best.Time.Sub(t))) {
			best = g
		}
	}
	return best
}

// A siteSum is what one place did, as it is added up. Variances are of bytes.
type siteSum struct {
	SiteGrowth
	variance float64
	heaviest float64 // in use of the stack that is kept
}

// grow compares two heap profiles by site. survival is the share of what was allocated
// since the later profile was published that is taken to be alive.
func grow(v *view.View, was, now, wasSince, nowSince *record.Profile, survival float64) []SiteGrowth {
	type key struct{ site, leaf record.Frame }
	sums := make(map[key]*siteSum)
	at := func(stack []record.Frame) *siteSum {
		k := key{v.UserFrame(stack), leafOf(stack)}
		s := sums[k]
		if s == nil {
			s = &siteSum{SiteGrowth: SiteGrowth{Site: k.site, Leaf: k.leaf}}
			sums[k] = s
		}
		return s
	}
	// The bytes of a site rest on n samples, each with a weight that is nearly the same:
	// their number is Poisson's.
	variance := func(bytes float64, n int64, period int64) float64 {
		if n > 0 {
			return bytes * bytes / float64(n)
		}
		if bytes == 0 {
			return 0
		}
		return bytes * float64(max(period, 1))
	}
	add := func(p *record.Profile, sign float64) {
		if p == nil {
			return
		}
		for i := range p.Sites {
			ps := &p.Sites[i]
			s := at(ps.Stack)
			inUse := plain(ps.InUseBytes)
			s.GrowthBytes += sign * inUse
			s.GrowthCount += sign * plain(ps.InUseObjects)
			s.AllocBytes += sign * plain(ps.AllocBytes)
			s.variance += variance(inUse, ps.SampledInUse, p.PeriodBytes)
			if sign > 0 {
				s.InUseBytes += inUse
				s.Samples += max(0, ps.SampledInUse)
				if inUse >= s.heaviest {
					s.heaviest, s.Stack = inUse, ps.Stack[:min(len(ps.Stack), maxStack)]
				}
			}
		}
	}
	add(now, 1)
	add(was, -1)
	recent := func(p *record.Profile, sign float64) {
		if p == nil {
			return
		}
		for i := range p.Sites {
			ps := &p.Sites[i]
			s := at(ps.Stack)
			s.AllocBytes += sign * plain(ps.AllocBytes)
			// Less than nothing is in use where what was allocated before was freed.
			alive := signed(ps.InUseBytes)
			if alive > 0 && known(survival) {
				alive *= survival
			}
			s.GrowthBytes += sign * alive
			s.variance += variance(math.Abs(alive), max(ps.SampledAllocs, ps.SampledInUse), p.PeriodBytes)
			if sign > 0 {
				s.InUseBytes = max(0, s.InUseBytes+alive)
				s.RecentBytes += plain(ps.AllocBytes)
				if alive >= s.heaviest {
					s.heaviest, s.Stack = alive, ps.Stack[:min(len(ps.Stack), maxStack)]
				}
				s.Samples += max(0, ps.SampledAllocs)
			}
		}
	}
	recent(nowSince, 1)
	recent(wasSince, -1)

	out := make([]SiteGrowth, 0, len(sums))
	for _, s := range sums {
		half := z90 * math.Sqrt(s.variance)
		s.Low, s.High = s.GrowthBytes-half, s.GrowthBytes+half
		s.Significant = s.Low > 0
		s.AllocBytes = max(0, s.AllocBytes)
		out = append(out, s.SiteGrowth)
	}
	slices.SortFunc(out, func(a, b SiteGrowth) int {
		return cmp.Or(cmp.Compare(b.GrowthBytes, a.GrowthBytes), cmp.Compare(b.AllocBytes, a.AllocBytes), compareFrames(a.Site, b.Site), compareFrames(a.Leaf, b.Leaf))
	})
	// In this order, so that the sums are the same each time.
	grown, allocated := 0.0, 0.0
	for i := range out {
		grown += max(0, out[i].GrowthBytes)
		allocated += out[i].AllocBytes
	}
	for i := range out {
		if grown > 0 {
			out[i].Share = max(0, out[i].GrowthBytes) / grown
		}
		if allocated > 0 {
			out[i].AllocShare = out[i].AllocBytes / allocated
		}
	}
	return out
}

// plain is a number of bytes or objects that can be.
func plain(v float64) float64 {
	if !(v >= 0 && v <= maxBytes) {
		return 0
	}
	return v
}

// signed is the same of a difference.
func signed(v float64) float64 {
	if v < 0 {
		return -plain(-v)
	}
	return plain(v)
}

func compareFrames(a, b record.Frame) int {
	return cmp.Or(cmp.Compare(a.Func, b.Func), cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line))
}

// leafOf is the frame that allocated: the innermost that is not the runtime's.
func leafOf(stack []record.Frame) record.Frame {
	for _, f := range stack {
		if !strings.HasPrefix(f.Func, "runtime.") {
			return f
		}
	}
	if len(stack) == 0 {
		return record.Frame{}
	}
	return stack[0]
}

// growGoroutines compares two snapshots by the go statement.
func growGoroutines(rec *record.Recording, was, now *record.Goroutines) ([]GoroutineSite, *GoroutineTotals) {
	if was == nil || now == nil || was == now {
		return nil, nil
	}
	two := view.New(&record.Recording{Process: rec.Process, Goroutines: []record.Goroutines{*was, *now}})
	var out []GoroutineSite
	for _, s := range two.GoroutineSites() {
		if s.Growth() > 0 && len(out) < maxGoroutines {
			out = append(out, GoroutineSite{CreatedBy: s.CreatedBy, Was: s.First, Now: s.Last, WaitReason: s.WaitReason, At: s.At})
		}
	}
	return out, &GoroutineTotals{Was: max(0, was.Total), Now: max(0, now.Total)}
}
