package pacer

import (
	"cmp"
	"math"
	"slices"

	"github.com/heapwright/heapwright/record"
)

// A spanFill is how much the spans in use hold beside what heapLive counts, when
// the heap is about to be collected: free slots beside live objects. It counts
// against a memory limit, and is resident.
//
// A cycle leaves free slots wherever garbage lay beside something that lives, and
// allocation fills some of them before it takes new spans: the more of them there
// are, the more of it. In a steady state both are equal, so that a heap that is
// collected after less growth keeps more of them.
//
// How many more cannot be told well from one setting: where long and short lives
// share spans, it also depends on how high the heap once was. A share of what the
// steady state would be is taken, and the doubt about it is large.
type spanFill struct {
	end         float64   // bytes left of the free slots at the end of the cycles that were seen
	share       float64   // of the way from there to the steady state
	grown, left []float64 // bytes left after so many bytes of growth in a steady state; grown ascends
}

// weakest is by how much faster than on average free slots must be filled where they
// are most, for there to be a steady state.
const weakest = 0.2

// usualShare is the share of the way to the steady state that is taken, weakShare
// where nothing drives the free slots there, and fillDoubt the standard deviation of
// either. Of four programs whose lives share spans, two were below 0.25, one was at
// 0.6, and one beyond 1.
const usualShare, weakShare, fillDoubt = 0.45, 0.1, 0.5

// at is what is left after a cycle's growth, so much more or less of the way to the
// steady state than is usual.
func (f *spanFill) at(grown, more float64) float64 {
	if len(f.grown) == 0 {
		return f.end
	}
	return max(f.end+(f.share+more)*(between(f.grown, f.left, grown)-f.end), 0)
}

// A slot is one look at the free slots within a cycle.
type slot struct {
	cycle uint64
	way   float64 // how far the heap has grown, as a share of the way to the goal
	grown float64 // bytes
	free  float64 // bytes of free slots: spans in use less heapLive
}

// slots looks at the heap of each sample that has been swept.
func (l *ledger) slots() []slot {
	var out []slot
	for _, s := range l.samples {
		has := true
		for _, f := range []record.Field{record.FieldHeapInUseBytes, record.FieldHeapLiveBytes, record.FieldHeapMarkedBytes, record.FieldHeapGoalBytes, record.FieldGCCycles} {
			has = has && s.Has.Has(f)
		}
		if !has || s.HeapLiveBytes < s.HeapMarkedBytes || s.HeapGoalBytes <= s.HeapMarkedBytes {
			continue
		}
		// While there are more objects than heapLive counts, some of them are garbage
		// that has not been swept.
		if s.Has.Has(record.FieldTotalAllocBytes) && s.Has.Has(record.FieldTotalFreeBytes) && s.TotalAllocBytes-s.TotalFreeBytes > s.HeapLiveBytes {
			continue
		}
		grown := float64(s.HeapLiveBytes - s.HeapMarkedBytes)
		out = append(out, slot{s.GCCycles, grown / float64(s.HeapGoalBytes-s.HeapMarkedBytes), grown, max(float64(s.HeapInUseBytes)-float64(s.HeapLiveBytes), 0)})
	}
	return out
}

// findSpans fits the fill of the spans to a recording.
func (c *course) findSpans(l *ledger, miss func(string, ...any)) {
	c.tail = 1 - 1/c.spanSlack
	slots := l.slots()
	if len(slots) == 0 {
		miss("How full the heap's spans are is not in the recording: they are taken for 3%% emptier than the live heap.")
		c.fill.end = 0.03 * c.marks[len(c.marks)-1].live
		return
	}
	// What is left at the end: the fullest twelfth of what was seen.
	full := slices.Clone(slots)
	slices.SortFunc(full, func(a, b slot) int { return cmp.Compare(b.way, a.way) })
	full = full[:(len(full)+11)/12]
	var left, grown []float64
	for _, s := range full {
		left, grown = append(left, s.free), append(grown, s.grown)
	}
	end, growth := median(left), median(grown)
	c.fill.end = end

	// How fast they are filled, by how many there are.
	type rate struct{ free, of, weight float64 }
	var rates []rate
	for i := 1; i < len(slots); i++ {
		a, b := slots[i-1], slots[i]
		if d := b.grown - a.grown; a.cycle == b.cycle && d > 0.005*growth && d > 0 {
			rates = append(rates, rate{(a.free + b.free) / 2, min(max((a.free-b.free)/d, 0), 1), d})
		}
	}
	const bins = 10
	if len(rates) < 4*bins || !(growth > 0) {
		return
	}
	slices.SortFunc(rates, func(a, b rate) int { return cmp.Compare(a.free, b.free) })
	var at, of []float64
	var filled, whole float64
	for i := range bins {
		var free, share []float64
		for _, r := range rates[i*len(rates)/bins : (i+1)*len(rates)/bins] {
			free, share = append(free, r.free), append(share, r.of)
			filled, whole = filled+r.of*r.weight, whole+r.weight
		}
		at = append(at, median(free))
		of = append(of, max(median(share), 0))
		if i > 0 { // more free slots are never filled more slowly
			of[i] = max(of[i], of[i-1])
		}
	}
	// As much as is filled in a cycle is left free by the next.
	share := filled / whole
	f := spanFill{end: end, share: usualShare}
	for i := 6; i >= -4; i-- {
		g := growth / math.Pow(2, float64(i))
		f.grown = append(f.grown, g)
		f.left = append(f.left, leftAfter(g, share, at, of))
	}
	// Where free slots are filled hardly faster the more of them there are, nothing
	// drives them back to where they were: they may stay as many as they ever were.
	if of[bins-1] < (1+weakest)*share {
		var most []float64
		for _, s := range slots {
			most = append(most, s.free)
		}
		c.fill.share, c.fill.grown, c.fill.left = weakShare, []float64{0, growth}, []float64{max(median(most), end), end}
		return
	}
	// The end was measured; the rates only say how it moves.
	offset := end - between(f.grown, f.left, growth)
	for i := range f.left {
		f.left[i] = max(f.left[i]+offset, 0)
	}
	c.fill = f
}

// leftAfter solves the steady state: how many bytes of free slots are left after so
// much growth, when a share of it goes to where others were left free, and they are
// filled at rates of that depend on how many there are.
func leftAfter(grown, share float64, at, of []float64) float64 {
	low, high := 0.0, 2*at[len(at)-1]
	for range 40 {
		end := (low + high) / 2
		// How much growth takes the free slots from where a cycle leaves them to end?
		const steps = 24
		need, width := 0.0, share*grown/steps
		for i := range steps {
			rate := between(at, of, end+width*(float64(i)+0.5))
			need += width / max(rate, 1e-3)
		}
		if need > grown {
			low = end // filled too slowly: there must be more
		} else {
			high = end
		}
	}
	return (low + high) / 2
}
