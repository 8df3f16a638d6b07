package profile

import (
	"encoding/binary"
	"fmt"
	"math"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/pclntab"
	"github.com/heapwright/heapwright/cmd/internal/procmem"
	"github.com/heapwright/heapwright/record"
)

// Bounds of a bucket walk.
const (
	maxBuckets     = 1 << 20
	maxBucketStack = 1024    // runtime.maxProfStackDepth; 32 until Go 1.22
	maxStackWords  = 1 << 23 // of all buckets together
	maxPageCache   = 1 << 12
	maxWalks       = 3 // of a list that a GC publishes while it is read
)

// Types of buckets, runtime/mprof.go.
const (
	memProfile   = 1
	blockProfile = 2
	mutexProfile = 3
)

// logicalStackSentinel, as the first word of a stack, says that what inlined
// calls there are has a word of its own (runtime/tracestack.go).
const logicalStackSentinel = ^uint64(0)

// A Profile is the runtime's own record of allocations or contention, as it
// stands in the target's memory.
type Profile struct {
	Time time.Time
	Kind record.ProfileKind
	// Rate is runtime.MemProfileRate, the block profile rate in cycles, or the
	// mutex profile fraction. 0 means that nothing is being added now.
	Rate int64
	// TicksPerSecond converts the cycles of block and mutex profiles.
	TicksPerSecond int64
	Records        []Record
	// Unpublished says that no GC has published a heap profile yet, so that the
	// records are of all that happened until now: objects that are dead already
	// count as in use.
	Unpublished bool
	// Truncated says why records are missing, "" when none are.
	Truncated string
	// Moving says that a GC published a new profile during each reading, so
	// that records may disagree by one GC cycle.
	Moving bool

	symbols    *symbolizer
	hideInside bool // also hide internal/runtime at the leaf, as pprof does since Go 1.24
}

// A Record is one call stack of a Profile, and for heap profiles one object
// size: what was sampled there since the process began.
type Record struct {
	// Stack is return addresses, leaf first, inlined calls with or without one
	// of their own; see [Profile.Frames].
	Stack []uint64

	Size          int64 // heap: bytes of an object
	Allocs, Frees int64 // heap: objects sampled
	// SinceAllocs and SinceFrees are of objects sampled after what was published.
	SinceAllocs, SinceFrees int64
	Count                   int64 // block, mutex: contentions, already scaled by the runtime
	Cycles                  int64 // block, mutex: CPU ticks of waiting, already scaled by the runtime
}

// InUse is the number of sampled objects not yet freed.
func (r *Record) InUse() int64 { return r.Allocs - r.Frees }

// bucketReader walks one list of buckets.
type bucketReader struct {
	mem   procmem.Memory
	pages map[uint64][]byte
	free  [][]byte

	next, typ, size, nstk, header uint64
	active, future, cycleSize     uint64
	allocs, frees, recSize        uint64
	count, cycles, blockSize      uint64
}

func newBucketReader(rt Runtime, kind string) (*bucketReader, error) {
	fs := fieldSet{l: rt.Layout()}
	b := &bucketReader{
		mem: rt.Memory(), pages: make(map[uint64][]byte),
		next: fs.off("bucket.allnext"), typ: fs.off("bucket.typ"), size: fs.off("bucket.size"),
		nstk: fs.off("bucket.nstk"), header: fs.size("bucket"),
	}
	if kind == "heap" {
		b.active, b.future = fs.off("memRecord.active"), fs.off("memRecord.future")
		b.cycleSize, b.recSize = fs.size("memRecordCycle"), fs.size("memRecord")
		b.allocs, b.frees = fs.off("memRecordCycle.allocs"), fs.off("memRecordCycle.frees")
	} else {
		b.count, b.cycles, b.blockSize = fs.off("blockRecord.count"), fs.off("blockRecord.cycles"), fs.size("blockRecord")
	}
	if fs.missing != "" {
		return nil, &MissingError{kind, fs.missing}
	}
	if b.header > 1<<12 || b.recSize > 1<<12 || b.blockSize > 1<<12 || b.active+b.cycleSize > b.recSize || b.future+3*b.cycleSize > b.recSize ||
		max(b.next, b.typ, b.size, b.nstk)+8 > b.header {
		return nil, fmt.Errorf("layout of profile buckets is not plausible")
	}
	return b, nil
}

// read copies len(buf) bytes at addr through a cache of pages: buckets lie
// close together, and are never moved.
func (b *bucketReader) read(addr uint64, buf []byte) error {
	for done := 0; done < len(buf); {
		at := addr + uint64(done)
		base := at &^ 0xfff
		pg, ok := b.pages[base]
		if !ok {
			if len(b.pages) >= maxPageCache {
				b.drop()
			}
			if n := len(b.free); n > 0 {
				pg, b.free = b.free[n-1], b.free[:n-1]
			} else {
				pg = make([]byte, 0x1000)
			}
			if err := b.mem.Read(base, pg); err != nil {
				b.free = append(b.free, pg)
				return err
			}
			b.pages[base] = pg
		}
		done += copy(buf[done:], pg[at&0xfff:])
	}
	return nil
}

// drop forgets all pages.
func (b *bucketReader) drop() {
	for k, pg := range b.pages {
		b.free = append(b.free, pg)
		delete(b.pages, k)
	}
}

// walk calls fn with each bucket of the list at head: its header, stack words
// and record. It returns why it ended early, "" at the end of the list, and an
// error if the process has ended.
func (b *bucketReader) walk(head uint64, typ uint64, recSize uint64, fn func(size uint64, stack []byte, rec []byte)) (string, error) {
	hdr := make([]byte, b.header)
	var body []byte
	words := uint64(0)
	// Brent's cycle detection: the list is not trusted to end.
	tortoise, power, lam := uint64(0), 1, 0
	n := 0
	for at := head; at != 0; n++ {
		if n == maxBuckets {
			return fmt.Sprintf("more than %d buckets", maxBuckets), nil
		}
		if at == tortoise {
			return "the list of buckets runs in a circle", nil
		}
		if lam++; lam == power {
			tortoise, power, lam = at, 2*power, 0
		}
		if err := b.read(at, hdr); err != nil {
			return unreadable(n, err)
		}
		le := binary.LittleEndian
		nstk := le.Uint64(hdr[b.nstk:])
		if t := le.Uint64(hdr[b.typ:]); t != typ || nstk > maxBucketStack {
			return fmt.Sprintf("bucket %d is not one: type %d, %d frames", n, t, nstk), nil
		}
		if words += nstk; words > maxStackWords {
			return "the stacks of the buckets are too large", nil
		}
		body = grow(body, int(8*nstk+recSize))
		if err := b.read(at+b.header, body); err != nil {
			return unreadable(n, err)
		}
		fn(le.Uint64(hdr[b.size:]), body[:8*nstk], body[8*nstk:])
		at = le.Uint64(hdr[b.next:])
	}
	return "", nil
}

func unreadable(n int, err error) (string, error) {
	if gone(err) {
		return "", fmt.Errorf("reading profile buckets: %w", err)
	}
	return fmt.Sprintf("bucket %d is not readable: %v", n, err), nil
}

func stackWords(b []byte) []uint64 {
	out := make([]uint64, len(b)/8)
	for i := range out {
		out[i] = binary.LittleEndian.Uint64(b[8*i:])
	}
	if len(out) > 0 && out[0] == logicalStackSentinel {
		out = out[1:]
	}
	return out
}

func readWord(mem procmem.Memory, addr uint64, size int) (uint64, error) {
	var b [8]byte
	if err := mem.Read(addr, b[:size]); err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(b[:]), nil
}

func newProfile(rt Runtime, kind record.ProfileKind) *Profile {
	return &Profile{
		Time: time.Now(), Kind: kind, symbols: newSymbolizer(rt.Table()),
		hideInside: minor(rt.GoVersion()) >= 24,
	}
}

// TakeHeap takes the heap profile: what the last finished GC published, as
// runtime.MemProfile gives it. It returns a [DisabledError] when the target
// samples no allocations.
func TakeHeap(rt Runtime) (*Profile, error) {
	head, ok := rt.Global("runtime.mbuckets")
	if !ok {
		return nil, &MissingError{"heap", "runtime.mbuckets"}
	}
	rateAt, ok := rt.Global("runtime.MemProfileRate")
	if !ok {
		return nil, &MissingError{"heap", "runtime.MemProfileRate"}
	}
	cycleAt, ok := rt.Global("runtime.mProfCycle")
	if !ok {
		return nil, &MissingError{"heap", "runtime.mProfCycle"}
	}
	b, err := newBucketReader(rt, "heap")
	if err != nil {
		return nil, err
	}
	mem := rt.Memory()
	rate, err := readWord(mem, rateAt, 8)
	if err != nil {
		return nil, fmt.Errorf("reading runtime.MemProfileRate: %w", err)
	}
	p := newProfile(rt, record.ProfileHeap)
	p.Rate = int64(rate)

	// A GC publishes a new profile by adding one of three future cycles to the
	// active one. What MemProfile returns is the active one, together with the
	// cycle that is due (runtime/mprof.go).
	type raw struct{ all, now [2]int64 }
	var raws []raw
	for walks := 1; ; walks++ {
		before, err := readWord(mem, cycleAt, 4)
		if err != nil {
			return nil, fmt.Errorf("reading runtime.mProfCycle: %w", err)
		}
		first, err := readWord(mem, head, 8)
		if err != nil {
			return nil, fmt.Errorf("reading runtime.mbuckets: %w", err)
		}
		due := before >> 1 % 3
		p.Records, raws = p.Records[:0], raws[:0]
		b.drop()
		p.Truncated, err = b.walk(first, memProfile, b.recSize, func(size uint64, stack, rec []byte) {
			at := func(cycle uint64) [2]int64 {
				return [2]int64{
					int64(binary.LittleEndian.Uint64(rec[cycle+b.allocs:])),
					int64(binary.LittleEndian.Uint64(rec[cycle+b.frees:])),
				}
			}
			r := raw{now: at(b.active)}
			r.all = r.now
			for i := range uint64(3) {
				f := at(b.future + i*b.cycleSize)
				r.all[0] += f[0]
				r.all[1] += f[1]
				if i == due {
					r.now[0] += f[0]
					r.now[1] += f[1]
				}
			}
			raws = append(raws, r)
			p.Records = append(p.Records, Record{Stack: stackWords(stack), Size: int64(min(size, math.MaxInt64))})
		})
		if err != nil {
			return nil, err
		}
		after, err := readWord(mem, cycleAt, 4)
		if err != nil {
			return nil, fmt.Errorf("reading runtime.mProfCycle: %w", err)
		}
		if after == before {
			p.Moving = false
			break
		}
		p.Moving = true
		if walks == maxWalks {
			break
		}
	}
	p.Unpublished = len(raws) > 0 && !slices.ContainsFunc(raws, func(r raw) bool { return r.now != [2]int64{} })
	for i := range p.Records {
		v := raws[i].now
		if p.Unpublished {
			v = raws[i].all
		}
		r := &p.Records[i]
		r.Allocs, r.Frees = v[0], v[1]
		r.SinceAllocs, r.SinceFrees = raws[i].all[0]-v[0], raws[i].all[1]-v[1]
	}
	if p.Rate <= 0 && p.Truncated == "" && !p.hasProgram() {
		return nil, heapDisabled(rt)
	}
	return p, nil
}

// hasProgram reports whether any record is of the program, and not of the
// runtime, which is sampled while it starts even if profiling is off later.
func (p *Profile) hasProgram() bool {
	for i := range p.Records {
		for _, pc := range p.Records[i].Stack {
			name := p.symbols.t.FuncName(pc - 1)
			if name != "" && !strings.HasPrefix(name, "runtime.") && !strings.HasPrefix(name, "internal/") {
				return true
			}
		}
	}
	return false
}

func heapDisabled(rt Runtime) error {
	e := &DisabledError{"heap", "runtime.MemProfileRate is 0 in this process",
		"GODEBUG or the program set it, or the linker did because nothing in the program uses runtime/pprof"}
	at, ok := rt.Global("runtime.disableMemoryProfiling")
	if !ok {
		return e
	}
	switch v, err := readWord(rt.Memory(), at, 1); {
	case err != nil:
	case v != 0:
		e.Reason = "the linker left memory profiling out, because nothing in the program uses it"
		e.Hint = "import runtime/pprof or net/http/pprof in the program"
	default:
		e.Hint = "GODEBUG=memprofilerate=0 or the program set it so"
	}
	return e
}

// TakeBlock takes the profile of where goroutines wait for channels and locks.
func TakeBlock(rt Runtime) (*Profile, error) {
	return takeContention(rt, record.ProfileBlock, blockProfile, "runtime.bbuckets", "runtime.blockprofilerate", "runtime.SetBlockProfileRate")
}

// TakeMutex takes the profile of who holds the locks that others wait for.
func TakeMutex(rt Runtime) (*Profile, error) {
	return takeContention(rt, record.ProfileMutex, mutexProfile, "runtime.xbuckets", "runtime.mutexprofilerate", "runtime.SetMutexProfileFraction")
}

func takeContention(rt Runtime, kind record.ProfileKind, typ uint64, list, rateVar, setter string) (*Profile, error) {
	name := string(kind)
	head, ok := rt.Global(list)
	if !ok {
		return nil, &MissingError{name, list}
	}
	b, err := newBucketReader(rt, name)
	if err != nil {
		return nil, err
	}
	mem := rt.Memory()
	p := newProfile(rt, kind)
	rateKnown := false
	if at, ok := rt.Global(rateVar); ok {
		v, err := readWord(mem, at, 8)
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", rateVar, err)
		}
		p.Rate, rateKnown = int64(v), true
	}
	first, err := readWord(mem, head, 8)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", list, err)
	}
	p.Truncated, err = b.walk(first, typ, b.blockSize, func(_ uint64, stack, rec []byte) {
		r := Record{
			Stack:  stackWords(stack),
			Count:  int64(clampFloat(math.Float64frombits(binary.LittleEndian.Uint64(rec[b.count:])))),
			Cycles: int64(binary.LittleEndian.Uint64(rec[b.cycles:])),
		}
		if typ == blockProfile && r.Count == 0 {
			r.Count = 1 // as the runtime does: a fraction of a contention is one
		}
		p.Records = append(p.Records, r)
	})
	if err != nil {
		return nil, err
	}
	if len(p.Records) == 0 && p.Truncated == "" && rateKnown && p.Rate <= 0 {
		return nil, &DisabledError{name, "it is off in this process", "the program turns it on with " + setter}
	}
	p.TicksPerSecond = TicksPerSecond(rt)
	return p, nil
}

// clampFloat makes any float fit an int64.
func clampFloat(f float64) float64 {
	if math.IsNaN(f) {
		return 0
	}
	return min(max(f, -1<<62), 1<<62)
}

// TicksPerSecond returns the rate of the target's runtime.cputicks: what it
// worked out itself, or, until it has, what the runtime of this process did on
// the same machine.
func TicksPerSecond(rt Runtime) int64 {
	if at, ok := rt.Global("runtime.ticks"); ok {
		fs := fieldSet{l: rt.Layout()}
		off, ok := fs.opt("ticksType.val")
		if m := minor(rt.GoVersion()); !ok && (m == 20 || m == 21) {
			// {lock mutex; val atomic.Int64}: in these releases the probe programs
			// that layouts come from have no such variable (runtime/runtime.go).
			off, ok = 8, true
		}
		if ok {
			if v, err := readWord(rt.Memory(), at+off, 8); err == nil && v > 0 && v < 1<<50 {
				return int64(v)
			}
		}
	}
	return ownTicks()
}

// ownTicks asks this process's runtime, which tells it only in a text.
var ownTicks = sync.OnceValue(func() int64 {
	var b strings.Builder
	if err := pprof.Lookup("mutex").WriteTo(&b, 1); err == nil {
		if _, rest, ok := strings.Cut(b.String(), "cycles/second="); ok {
			line, _, _ := strings.Cut(rest, "\n")
			if v, err := strconv.ParseInt(line, 10, 64); err == nil && v > 0 {
				return v
			}
		}
	}
	return 1e9
})

// Delay is the waiting time of a record of a block or mutex profile.
func (p *Profile) Delay(r *Record) time.Duration {
	if p.TicksPerSecond <= 0 {
		return 0
	}
	return time.Duration(clampFloat(float64(r.Cycles) / (float64(p.TicksPerSecond) / 1e9)))
}

// scaleHeapSample estimates how many objects of a size and how many bytes count
// samples stand for (scaleHeapSample in runtime/pprof/protomem.go).
func scaleHeapSample(count, size, rate int64) (objects, bytes int64) {
	if count == 0 || size == 0 {
		return 0, 0
	}
	if rate <= 1 {
		// 1 samples everything; less is unknown.
		return count, count * size
	}
	scale := 1 / (1 - math.Exp(-float64(size)/float64(rate)))
	return int64(clampFloat(float64(count) * scale)), int64(clampFloat(float64(count*size) * scale))
}

// A location is one physical frame of a recorded stack, with what is inlined there.
type location struct {
	pc     uint64 // return address
	frames []pclntab.Frame
}

// locations divides a recorded stack into physical frames. Where inlined calls
// have addresses of their own in the stack, they belong to one location; where
// they have not, or were cut off at the end, they are added
// (runtime.CallersFrames; appendLocsForStack in runtime/pprof/proto.go).
func (p *Profile) locations(stack []uint64) []location {
	if p.Kind == record.ProfileHeap {
		if locs := p.expand(p.hideRuntime(stack)); len(locs) > 0 {
			return locs
		}
	}
	return p.expand(stack)
}

func (p *Profile) expand(stack []uint64) []location {
	var out []location
	for i := 0; i < len(stack); {
		frames := p.symbols.recorded(stack[i])
		if len(frames) == 0 || frames[0].Func == goexit {
			i++
			continue
		}
		out = append(out, location{stack[i], frames})
		i++
		for _, f := range frames[1:] {
			if i < len(stack) && stack[i] == f.PC+1 {
				i++
			}
		}
	}
	return out
}

// hideRuntime cuts the allocator's own frames off the leaf end, as pprof does.
func (p *Profile) hideRuntime(stack []uint64) []uint64 {
	for i, pc := range stack {
		name := p.symbols.t.FuncName(pc)
		if strings.HasPrefix(name, "runtime.") || p.hideInside && strings.HasPrefix(name, "internal/runtime/") {
			continue
		}
		return stack[i:]
	}
	return stack
}

// Frames returns a record's stack, leaf first, inlined functions expanded; for
// heap profiles without the allocator's own frames.
func (p *Profile) Frames(r *Record) []record.Frame {
	var out []record.Frame
	for _, l := range p.locations(r.Stack) {
		for i := range l.frames {
			out = append(out, l.frames[i].Frame)
		}
	}
	return out
}

// HeapSince is the kind of a profile of what was allocated and freed after a heap profile
// was published: added to that, it says how the heap stands now, with what has died since
// the last collection counted as alive. A site's bytes in use are less than zero where
// more was freed than allocated.
const HeapSince record.ProfileKind = "heap_since"

// Since returns what a heap profile does not have in it yet, nil when that is nothing.
func (p *Profile) Since() *record.Profile {
	if p.Kind != record.ProfileHeap {
		return nil
	}
	q := *p
	q.Records = make([]Record, 0, 64)
	for i := range p.Records {
		r := &p.Records[i]
		if r.SinceAllocs != 0 || r.SinceFrees != 0 {
			q.Records = append(q.Records, Record{Stack: r.Stack, Size: r.Size, Allocs: r.SinceAllocs, Frees: r.SinceFrees})
		}
	}
	if len(q.Records) == 0 {
		return nil
	}
	out := q.Record()
	out.Kind = HeapSince
	return out
}

// Record returns the profile in the form recordings keep: a site for each
// distinct stack, the most bytes in use or the longest delay first.
func (p *Profile) Record() *record.Profile {
	out := &record.Profile{Time: p.Time, Kind: p.Kind}
	if p.Kind == record.ProfileHeap {
		out.PeriodBytes = p.Rate
	}
	index := make(map[string]int)
	for i := range p.Records {
		r := &p.Records[i]
		frames := p.Frames(r)
		var key strings.Builder
		for _, f := range frames {
			key.WriteString(f.Func)
			key.WriteByte(0)
			key.WriteString(f.File)
			key.WriteByte(0)
			key.WriteString(strconv.Itoa(f.Line))
			key.WriteByte(0)
		}
		k, ok := index[key.String()]
		if !ok {
			k = len(out.Sites)
			index[key.String()] = k
			out.Sites = append(out.Sites, record.ProfileSite{Stack: frames})
		}
		s := &out.Sites[k]
		if p.Kind == record.ProfileHeap {
			objects, bytes := scaleHeapSample(r.Allocs, r.Size, p.Rate)
			s.AllocObjects += float64(objects)
			s.AllocBytes += float64(bytes)
			s.SampledAllocs += r.Allocs
			objects, bytes = scaleHeapSample(r.InUse(), r.Size, p.Rate)
			s.InUseObjects += float64(objects)
			s.InUseBytes += float64(bytes)
			s.SampledInUse += r.InUse()
		} else {
			s.Contentions += float64(r.Count)
			s.Delay += p.Delay(r)
		}
	}
	slices.SortStableFunc(out.Sites, func(a, b record.ProfileSite) int {
		switch {
		case a.InUseBytes != b.InUseBytes:
			return compareFloat(b.InUseBytes, a.InUseBytes)
		case a.AllocBytes != b.AllocBytes:
			return compareFloat(b.AllocBytes, a.AllocBytes)
		}
		return compareFloat(float64(b.Delay), float64(a.Delay))
	})
	return out
}

func compareFloat(a, b float64) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
