package fault

import (
	"reflect"
	"runtime"
	"sync/atomic"
	"time"
)

const (
	// spanBytes is how large the runtime's spans of small objects are whose size is a power
	// of two: one page of the heap. An object keeps all of its span.
	spanBytes = 8 << 10
	// thinAfter is how long no span has been added when they are thinned out, and how far
	// collections are apart; thinEvery is how long it takes where the level goes on rising.
	thinAfter = time.Second
	thinEvery = 5 * time.Second
	// strand is how many objects that go again are linked to each other.
	strand = 256
)

// holeSizes are those of the objects where none is asked for: spans serve one size each,
// and so holes in spans of several.
var holeSizes = []uint64{32, 64, 128, 256, 512}

// Fragments. Spans are filled to the last object first, as at a peak: those that the
// runtime has must be full before it takes another. Then all but one object in each go.
// At any time all objects of the fault are in the spans that are counted.
type fragments struct {
	size uint64 // 0 is several
	next int
	held map[uintptr]struct{} // the spans
	kept pile[ptr]            // an object in each of them
	// going are the objects that go when the spans are thinned out: the last of each
	// strand, through which the others are found. The last strand has so many.
	going  pile[ptr]
	last   ptr
	linked int
	full   time.Time // since when there are such objects
	moved  time.Time // when the last of them came

	garbage   bool // something went, and was not collected
	loose     int  // spans of it
	collected time.Time

	count atomic.Uint64 // of kept, and of loose
	total atomic.Uint64
	most  uint64
}

// spanOf tells spans from each other. An object never moves to another.
func spanOf(p ptr) uintptr { return reflect.ValueOf(p).Pointer() / spanBytes }

func (f *fragments) step(level float64, now time.Time) (time.Duration, error) {
	want := int(level / spanBytes)
	if f.kept.n > want {
		f.thin() // some of those that are to go are in spans that are to go
		for f.kept.n > want {
			delete(f.held, spanOf(f.kept.pop()))
			f.loose++
		}
		f.garbage = true
	}
	wait := never
	if f.dense() && f.kept.n == want {
		if wait = min(thinAfter-now.Sub(f.moved), thinEvery-now.Sub(f.full)); wait <= 0 {
			f.thin()
		}
	}
	if f.garbage {
		// A quiet service would collect in two minutes, and have garbage until then in place
		// of holes. Nor does a collection come sooner for spans that are let go, of which the
		// runtime sees one small object each; more of them wait for it.
		if wait = thinAfter - now.Sub(f.collected); wait <= 0 {
			runtime.GC()
			f.garbage, f.loose, f.collected = false, 0, now
			wait = 0
		}
	} else if f.kept.n < want {
		f.fill(want, now)
		wait = 0
	}
	f.count.Store(uint64(f.kept.n + f.loose))
	f.most = max(f.most, uint64(f.kept.n+f.loose)*spanBytes)
	return wait, nil
}

// fill allocates until so many spans are held, as far as one step goes.
func (f *fragments) fill(want int, now time.Time) {
	if f.held == nil {
		f.held = map[uintptr]struct{}{}
	}
	if !f.dense() {
		f.full = now
	}
	f.moved = now
	for bytes := uint64(0); bytes < stepBytes && f.kept.n < want; {
		size := f.size
		if size == 0 {
			size = holeSizes[f.next%len(holeSizes)]
		}
		o := make([]ptr, size/8)
		p := ptr(&o[0])
		bytes += size
		f.total.Add(size)
		if _, ok := f.held[spanOf(p)]; !ok {
			f.held[spanOf(p)] = struct{}{}
			f.kept.push(p)
			f.next++ // so that there are as many spans of each size
			continue
		}
		o[0] = f.last
		f.last = p
		if f.linked++; f.linked == strand {
			f.going.push(p)
			f.last, f.linked = nil, 0
		}
	}
}

// thin lets all go but one object in each span.
func (f *fragments) thin() {
	f.garbage = f.garbage || f.dense()
	f.going, f.last, f.linked = pile[ptr]{}, nil, 0
}

// dense reports whether there is more than one object in the spans.
func (f *fragments) dense() bool { return f.last != nil || f.going.n > 0 }

func (f *fragments) reached() (float64, uint64) {
	return float64(f.count.Load() * spanBytes), f.total.Load()
}

func (f *fragments) release() float64 {
	f.thin()
	f.kept, f.held = pile[ptr]{}, nil
	f.count.Store(0)
	return float64(f.most)
}
