package postmortem

import (
	"math"
	"slices"
	"time"

	"github.com/heapwright/heapwright/record"
)

// A moment is one look: a sample, and the looks at the cgroup that are nearest to it.
type moment struct {
	s   *record.Sample
	g   *Group // that says what the usage is made of; nil when there is none
	use *Group // that says at least how much it is; nil when there is none
	own int    // PID of the process
}

// groupNear is how far a look at a cgroup may lie from a sample to say something about
// it: what is charged beside a process's own memory rarely changes faster.
const groupNear = 10 * time.Second

// value is a field in bytes; what is beyond any memory is not known.
func (m moment) value(f record.Field) (float64, bool) {
	if m.s == nil {
		return 0, false
	}
	v, ok := m.s.Value(f)
	if !ok || !(v >= 0 && v <= maxBytes) {
		return 0, false
	}
	return v, true
}

func (m moment) or0(f record.Field) float64 {
	v, _ := m.value(f)
	return v
}

// anon is the process's memory that no file stands behind.
func (m moment) anon() (float64, bool) {
	if v, ok := m.value(record.FieldRSSAnonBytes); ok {
		return v, true
	}
	rss, ok := m.value(record.FieldRSSBytes)
	return max(0, rss-m.or0(record.FieldRSSFileBytes)), ok
}

// total is the usage that a limit is held against, and of what it is.
func (m moment) total() (bytes float64, of string, ok bool) {
	if v, ok := m.value(record.FieldCgroupUsageBytes); ok && v > 0 {
		return v, "cgroup", true
	}
	if g := m.use; g != nil && g.UsageBytes > 0 && g.UsageBytes <= maxBytes {
		return float64(g.UsageBytes), "cgroup", true
	}
	v, ok := m.value(record.FieldRSSBytes)
	return v, "process", ok && v > 0
}

// rows is what the total was made of. survival is the share of what is allocated that
// a collection finds alive, NaN when that is not known. The rows add up to the total,
// to the byte but for rounding.
func (m moment) rows(survival float64) []Row {
	total, of, ok := m.total()
	if !ok {
		return nil
	}
	var out []Row
	left := total
	add := func(memory Memory, name string, v float64, how string) {
		if math.Round(v) != 0 {
			out = append(out, Row{Memory: memory, Name: name, Bytes: int64(math.Round(v)), How: how})
			left -= math.Round(v)
		}
	}
	anon, anonKnown := m.anon()
	if goTotal, ok := m.goRows(survival, add); ok && anonKnown {
		switch beyond := anon - goTotal; {
		case beyond > 0:
			add(Outside, "in the process, not Go's", beyond, measured)
		case beyond < 0:
			left += untouched(out, -beyond)
			if beyond = left - (total - anon); math.Round(beyond) < 0 {
				add(NotResident, "of that never touched or swapped out", beyond, measured)
			}
		}
	} else if !ok && anonKnown {
		add(WholeProcess, "the process", anon, measured)
	}
	switch {
	case of == "process":
		file := min(m.or0(record.FieldRSSFileBytes), max(0, left))
		add(PageCache, "pages of files", file, measured)
	case m.g == nil:
		add(OtherCharges, "page cache, kernel and what else is charged", left, "rest")
	default:
		p := m.g.Parts
		part := func(of Part) float64 { return float64(min(p[of], maxBytes)) }
		add(SiblingMemory, "other processes", m.siblings(anon, total), measured)
		add(PageCache, "page cache", max(0, part(PartFile)-part(PartShmem)), measured)
		add(Shared, "tmpfs and shared memory", part(PartShmem), measured)
		add(KernelMemory, "the kernel's own", part(PartKernel), measured)
		add(KernelMemory, "socket buffers", part(PartSock), measured)
	}
	add(Unaccounted, "not accounted for", left, "rest")
	return out
}

// untouched takes what was mapped and never written off the rows of the heap, and
// returns how much it took. A little of that is everywhere: spans are mapped in advance.
// Where it is much, the program asked for memory that it never used, or not yet: it is
// taken to be what was allocated last.
func untouched(rows []Row, bytes float64) (took float64) {
	const little = 8 << 20
	if bytes <= little {
		return 0
	}
	for _, m := range []Memory{HeapGarbage, HeapLive, GoHeap} {
		for i := range rows {
			if r := &rows[i]; r.Memory == m {
				off := min(float64(r.Bytes), math.Round(bytes-took))
				r.Bytes -= int64(off)
				r.How = estimated
				took += off
			}
		}
	}
	return took
}

const (
	measured  = "measured"
	estimated = "estimated"
)

// goRows adds what Go has mapped, and says how much that is together.
func (m moment) goRows(survival float64, add func(Memory, string, float64, string)) (sum float64, ok bool) {
	inUse, ok := m.value(record.FieldHeapInUseBytes)
	mapped, okMapped := m.value(record.FieldMappedReadyBytes)
	live, okLive := m.value(record.FieldHeapLiveBytes)
	if !ok && !okMapped && !okLive {
		return 0, false
	}
	put := func(memory Memory, name string, v float64, how string) {
		if v > 0 {
			add(memory, name, v, how)
			sum += math.Round(v)
		}
	}
	marked, okMarked := m.value(record.FieldHeapMarkedBytes)
	if okLive && okMarked {
		recent := max(0, live-marked)
		dead := max(0, m.or0(record.FieldHeapObjectsBytes)-live)
		marked = min(marked, live)
		if known(survival) {
			put(HeapLive, "Go heap, alive", marked+survival*recent, estimated)
			put(HeapGarbage, "Go heap, garbage awaiting collection", (1-survival)*recent+dead, estimated)
		} else {
			put(HeapLive, "Go heap, alive", marked, measured)
			put(HeapGarbage, "Go heap, allocated since the last collection", recent+dead, measured)
		}
		put(Fragmentation, "free slots in the heap's spans", max(0, inUse-live-dead), measured)
	} else {
		put(GoHeap, "Go heap", max(inUse, live), measured)
	}
	free, stacks := m.or0(record.FieldHeapFreeBytes), m.or0(record.FieldStackInUseBytes)
	put(Fragmentation, "free spans not returned to the system", free, measured)
	put(Stacks, "goroutine stacks", stacks, measured)
	if okMapped {
		put(RuntimeMemory, "the runtime's own", mapped-sum, measured)
	} else {
		put(RuntimeMemory, "the runtime's own", m.or0(record.FieldRuntimeOtherBytes), measured)
	}
	return sum, true
}

// siblings is what other processes of the group have. Where the group says how much
// anonymous memory it has, that counts too: not every process is looked at.
func (m moment) siblings(own, total float64) float64 {
	sum := 0.0
	for _, s := range m.g.Siblings {
		if s.PID == m.own && s.PID != 0 {
			continue
		}
		v := s.AnonBytes
		if v == 0 {
			v = s.RSSBytes
		}
		sum += float64(min(v, maxBytes))
	}
	// The two were not read at once: a small difference is no process.
	const atOnce, leastBytes, leastShare = 500 * time.Millisecond, 4 << 20, 0.02
	if anon, ok := m.g.Parts[PartAnon]; ok && m.s != nil && absolute(m.s.Time.Sub(m.g.Time)) <= atOnce {
		if rest := float64(min(anon, maxBytes)) - own; rest > sum && rest > leastBytes && rest > leastShare*total {
			sum = rest
		}
	}
	return min(sum, total)
}

func absolute(d time.Duration) time.Duration {
	if d < 0 {
		return max(-d, 0) // the least duration has no negative
	}
	return d
}

func known(v float64) bool { return !math.IsNaN(v) }

// survivalOf is how much of what the program allocated was found alive by the next
// collection, over the last cycles that were seen whole before the end; NaN when there
// are none. What is allocated while a cycle marks counts as alive in it, so that it is
// rather too high.
func survivalOf(rec *record.Recording, from, to time.Time) float64 {
	const cycles = 8
	list := make([]*record.Cycle, 0, len(rec.Cycles))
	for i := range rec.Cycles {
		if c := &rec.Cycles[i]; c.Detail && !c.End.After(to) {
			list = append(list, c)
		}
	}
	slices.SortStableFunc(list, func(a, b *record.Cycle) int { return a.End.Compare(b.End) })
	allocated, survived := 0.0, 0.0
	for i := len(list) - 1; i > 0 && len(list)-i <= cycles; i-- {
		a, b := list[i-1], list[i]
		if b.N != a.N+1 || a.End.Before(from) && i < len(list)-1 {
			continue
		}
		if b.HeapEndBytes > a.HeapMarkedBytes && b.HeapEndBytes <= maxBytes && b.HeapMarkedBytes <= maxBytes {
			allocated += float64(b.HeapEndBytes - a.HeapMarkedBytes)
			survived += float64(b.HeapMarkedBytes) - float64(a.HeapMarkedBytes)
		}
	}
	if allocated > 0 {
		return min(max(survived/allocated, 0), 1)
	}
	return survivalOfSamples(rec, from, to)
}

// survivalOfSamples is the same from what samples say between two collections.
func survivalOfSamples(rec *record.Recording, from, to time.Time) float64 {
	var first, last *record.Sample
	for i := range rec.Samples {
		s := &rec.Samples[i]
		if s.Time.Before(from) || s.Time.After(to) || !s.Has.Has(record.FieldHeapMarkedBytes) || !s.Has.Has(record.FieldTotalAllocBytes) {
			continue
		}
		if last != nil && s.HeapMarkedBytes == last.HeapMarkedBytes {
			continue // no collection ended in between
		}
		if first == nil {
			first = s
		}
		last = s
	}
	if first == last || last.TotalAllocBytes <= first.TotalAllocBytes {
		return math.NaN()
	}
	return min(max((float64(last.HeapMarkedBytes)-float64(first.HeapMarkedBytes))/float64(last.TotalAllocBytes-first.TotalAllocBytes), 0), 1)
}

// moments are the samples with memory in them, in order of time, up to the end.
func moments(e *Evidence) []moment {
	var out []moment
	for i := range e.Recording.Samples {
		s := &e.Recording.Samples[i]
		if n := len(out); n > 0 && s.Time.Before(out[n-1].s.Time) {
			continue
		}
		if e.Kill != nil && !e.Kill.Time.IsZero() && s.Time.After(e.Kill.Time.Add(clocks)) {
			continue
		}
		m := moment{s: s, own: e.Recording.Process.PID, g: nearestGroup(e.Groups, s.Time, func(g *Group) bool { return len(g.Parts) > 0 || len(g.Siblings) > 0 })}
		m.use = nearestGroup(e.Groups, s.Time, func(g *Group) bool { return g.UsageBytes > 0 })
		if _, _, ok := m.total(); !ok {
			continue
		}
		out = append(out, m)
	}
	return out
}

// clocks is by how much the kernel's clock, in which a kill has its time, and ours may
// differ: what was seen so little after a kill may have been before it.
const clocks = 100 * time.Millisecond

// nearestGroup is the look at a cgroup that is nearest to an instant, of those that will
// do. Looks are in order of time.
func nearestGroup(groups []Group, t time.Time, will func(*Group) bool) *Group {
	var best *Group
	consider := func(g *Group) bool {
		if !will(g) {
			return false
		}
		if d := absolute(g.Time.Sub(t)); d <= groupNear && (best == nil || d < absolute(best.Time.Sub(t))) {
			best = g
		}
		return true
	}
	at, _ := slices.BinarySearchFunc(groups, t, func(g Group, t time.Time) int { return g.Time.Compare(t) })
	for i := at; i < len(groups) && !consider(&groups[i]); i++ {
	}
	for i := at - 1; i >= 0 && !consider(&groups[i]); i-- {
	}
	return best
}

// nearest is the moment that is nearest to an instant, nil when there are none.
func nearest(ms []moment, t time.Time) *moment {
	var best *moment
	for i := range ms {
		if best == nil || absolute(ms[i].s.Time.Sub(t)) < absolute(best.s.Time.Sub(t)) {
			best = &ms[i]
		}
	}
	return best
}

// limitOf is the limit that was met, 0 when none is known.
func limitOf(e *Evidence, ms []moment) float64 {
	if k := e.Kill; k != nil && k.LimitBytes > 0 && k.LimitBytes < maxBytes {
		return float64(k.LimitBytes)
	}
	for i := len(e.Groups) - 1; i >= 0; i-- {
		if v := e.Groups[i].LimitBytes; v > 0 && v < maxBytes {
			return float64(v)
		}
	}
	host := float64(e.Recording.Process.HostMemoryBytes)
	for i := len(ms) - 1; i >= 0; i-- {
		if v, ok := ms[i].value(record.FieldCgroupLimitBytes); ok && v > 0 && v < maxBytes && (host == 0 || v < host) {
			return v
		}
	}
	if v := e.Recording.Process.MemoryLimitBytes; v > 0 && v < maxBytes {
		return float64(v)
	}
	if k := e.Kill; k != nil && k.Constraint == constraintNone && host > 0 {
		return host
	}
	return 0
}

// constraintNone is the kernel's word for the host having run out of memory.
const constraintNone = "CONSTRAINT_NONE"
