package profile

import (
	"hash/maphash"

	"github.com/heapwright/heapwright/record"
)

// RecordFull returns a heap profile as [Profile.Record] does, with the runtime's
// own frames at the leaf: they tell whether append, a map or a new object asked for
// the memory. Sites are in no particular order.
func (p *Profile) RecordFull() *record.Profile {
	out := &record.Profile{Time: p.Time, Kind: p.Kind, PeriodBytes: p.Rate}
	seed := maphash.MakeSeed()
	index := make(map[uint64]int)
	for i := range p.Records {
		r := &p.Records[i]
		// Records of one stack differ by the size of the object.
		var h maphash.Hash
		h.SetSeed(seed)
		for _, pc := range r.Stack {
			maphash.WriteComparable(&h, pc)
		}
		k, ok := index[h.Sum64()]
		if !ok {
			k = len(out.Sites)
			index[h.Sum64()] = k
			var stack []record.Frame
			for _, l := range p.expand(r.Stack) {
				for j := range l.frames {
					stack = append(stack, l.frames[j].Frame)
				}
			}
			out.Sites = append(out.Sites, record.ProfileSite{Stack: stack})
		}
		s := &out.Sites[k]
		objects, bytes := scaleHeapSample(r.Allocs, r.Size, p.Rate)
		s.AllocObjects += float64(objects)
		s.AllocBytes += float64(bytes)
		s.SampledAllocs += r.Allocs
		objects, bytes = scaleHeapSample(r.InUse(), r.Size, p.Rate)
		s.InUseObjects += float64(objects)
		s.InUseBytes += float64(bytes)
		s.SampledInUse += r.InUse()
	}
	return out
}
