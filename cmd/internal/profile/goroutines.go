package profile

import (
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/pclntab"
	"github.com/heapwright/heapwright/cmd/internal/procmem"
	"github.com/heapwright/heapwright/record"
)

// Bounds of a goroutine walk.
const (
	defaultMaxGoroutines = 1 << 20
	maxDepth             = 128       // frames of one stack, as runtime.Stack and pprof show by default
	maxStackBytes        = 64 << 10  // of one stack
	firstStackBytes      = 640       // read at first: most parked goroutines use less
	chunkGoroutines      = 1024      // handled at a time
	maxRunBytes          = 128 << 10 // of neighbouring g's or stacks read at once
	maxRunGap            = 2 << 10   // bytes that may be read in vain between two of them: a request costs as much
	maxRoundBytes        = 4 << 20   // of stacks read at once
	maxRetries           = 3         // of a goroutine that moved while it was read
	maxFailures          = 1 << 12   // unreadable g's, until the list is not believed
	maxGroups            = 1 << 17   // of goroutines that have nothing in common
	maxArena             = 1 << 21   // return addresses of all groups' stacks
)

// Goroutine states, runtime/runtime2.go.
const (
	gIdle      = 0
	gRunnable  = 1
	gRunning   = 2
	gSyscall   = 3
	gWaiting   = 4
	gDead      = 6
	gCopystack = 8
	gPreempted = 9
	gLeaked    = 10 // Go 1.26
	gDeadextra = 11 // Go 1.26
	gScan      = 0x1000
)

var statusNames = [...]string{
	gIdle: "idle", gRunnable: "runnable", gRunning: "running", gSyscall: "syscall", gWaiting: "waiting",
	gDead: "dead", gCopystack: "copystack", gPreempted: "preempted", gLeaked: "leaked", gDeadextra: "dead",
}

// Options are how a goroutine profile is taken. The zero value is fine.
type Options struct {
	// MaxGoroutines bounds how many are read, the most recently created left
	// out; 0 means 1,048,576.
	MaxGoroutines int
	// NoStacks leaves out stacks, which are most of the cost.
	NoStacks bool
	// Now is the target's runtime.nanotime, for wait times; 0 means this
	// machine's monotonic clock.
	Now int64
	// NoWaits leaves wait times out, because nobody knows the target's
	// runtime.nanotime: it is in a time namespace of its own.
	NoWaits bool
}

// Goroutines is a snapshot of the goroutines of a process.
type Goroutines struct {
	Time   time.Time
	Total  int // user goroutines, as runtime.NumGoroutine counts them
	System int // the runtime's own
	Groups []Group
	// Truncated counts goroutines that were left out: there were too many, or
	// the list is not readable.
	Truncated int
	// Moved counts goroutines that ran whenever their stacks were read, so that
	// they are reported without one.
	Moved int
	// NoStack counts goroutines whose stacks could not be read or unwound.
	NoStack int
	// Incomplete counts stacks whose outer part is missing: the way through code
	// that is not Go's is not known, or the goroutine ran while it was read.
	Incomplete int
	// CutStacks counts stacks that are longer than what is read of one.
	CutStacks int
	// LabelsOmitted counts goroutines whose labels were not read, there being too many sets.
	LabelsOmitted int

	symbols *symbolizer
}

// A Group is goroutines that share state, wait reason, creation site, labels and stack.
type Group struct {
	Count      int
	Status     string // the runtime's word: runnable, running, syscall, waiting, ...
	WaitReason string // of waiting goroutines: "chan receive", ...
	// WaitMax is the longest wait. The runtime notes when a wait began only at
	// the next GC, so that it is a lower bound; 0 is not known.
	WaitMax time.Duration
	GoPC    uint64 // return address of the go statement, 0 for the main goroutine
	System  bool   // the runtime's own
	Labels  []Label
	// PCs is the stack, leaf first, a return address for each frame that was not inlined.
	PCs []uint64
	// GoID is one of them, the one that waits longest.
	GoID uint64
}

// A Label is one key of a goroutine's pprof labels.
type Label struct{ Key, Value string }

// A Walker takes goroutine profiles of one process. It keeps its buffers and
// what it learnt of the program's code for the next one. It is not for
// concurrent use.
type Walker struct {
	rt    Runtime
	mem   procmem.Memory
	names []string // wait reasons

	allglen, allgptr uint64
	fingStatus       uint64
	waitStrings      uint64

	f struct {
		lo, hi                             uint64 // of what is read of a g
		stackLo, stackHi, schedSP, schedPC uint64
		schedLR, syscallSP, syscallPC      uint64
		status, goid, waitsince            uint64
		waitreason, gopc, startpc, labels  uint64
		runningCleanups                    uint64
		hasLR, hasCleanups                 bool
	}

	code    codeCache
	symbols *symbolizer
	labels  labelReader

	ptrs     []byte
	gbuf     []byte
	stacks   []byte
	reqs     []procmem.Request
	runs     []run // of headers, by position in the list
	stkRuns  []run // of stacks, by position in order
	order    []stackOrder
	gs       []gInfo
	todo     []int32
	next     []int32
	pcs      []uint64
	tops     []uint64
	groups   []group
	index    map[uint64]int32
	seed     uint64 // of hashes, or a hostile target could make all of them equal
	arena    []uint64
	failures int
	gone     error // why reading failed, if the process has ended
}

// gInfo is what is read of one g.
type gInfo struct {
	addr             uint64
	lo, hi, sp, pc   uint64
	lr               uint64
	goid             uint64
	waitsince        int64
	gopc, startpc    uint64
	labels           uint64
	status           uint32
	waitreason       uint8
	cleanups         bool
	insys            bool // sp and pc are of a system call
	ok               bool
	want             uint32 // bytes of stack to read
	stackAt, stackSz uint32
	tries            uint8
}

// same reports whether g has not run between two readings.
func (g *gInfo) same(h *gInfo) bool {
	return g.sp == h.sp && g.pc == h.pc && g.status == h.status && g.goid == h.goid && g.hi == h.hi && g.lo == h.lo && g.startpc == h.startpc
}

// run is neighbouring g's or stacks that are read together.
type run struct {
	first, n int32  // of the list
	addr     uint64 // where they begin
	at, size int    // where they are in the buffer
	failed   bool
}

// stackOrder is a stack to read.
type stackOrder struct {
	sp uint64
	i  int32
}

// group is a Group under construction.
type group struct {
	next         int32 // same hash
	count        int32
	pcsAt, pcsN  int32
	status       uint32
	waitreason   uint8
	system       bool
	gopc, labels uint64
	waitMax      int64
	goid         uint64
}

// NewWalker checks that what goroutine profiles need is known of the target.
func NewWalker(rt Runtime) (*Walker, error) {
	w := &Walker{rt: rt, mem: rt.Memory(), names: waitReasonNames(rt.GoVersion())}
	for _, g := range []struct {
		name string
		addr *uint64
	}{{"runtime.allglen", &w.allglen}, {"runtime.allgptr", &w.allgptr}} {
		var ok bool
		if *g.addr, ok = rt.Global(g.name); !ok {
			// The slice holds the same two words, pointer first.
			allgs, ok := rt.Global("runtime.allgs")
			if !ok {
				return nil, &MissingError{"goroutine", g.name}
			}
			w.allgptr, w.allglen = allgs, allgs+8
			break
		}
	}
	w.fingStatus, _ = rt.Global("runtime.fingStatus")
	w.waitStrings, _ = rt.Global("runtime.waitReasonStrings")

	fs := fieldSet{l: rt.Layout()}
	f := &w.f
	f.stackLo, f.stackHi = fs.off("g.stack.lo"), fs.off("g.stack.hi")
	f.schedSP, f.schedPC = fs.off("g.sched.sp"), fs.off("g.sched.pc")
	f.syscallSP, f.syscallPC = fs.off("g.syscallsp"), fs.off("g.syscallpc")
	f.status, f.goid = fs.off("g.atomicstatus"), fs.off("g.goid")
	f.waitsince, f.waitreason = fs.off("g.waitsince"), fs.off("g.waitreason")
	f.gopc, f.startpc, f.labels = fs.off("g.gopc"), fs.off("g.startpc"), fs.off("g.labels")
	f.schedLR, f.hasLR = fs.opt("g.sched.lr")
	f.runningCleanups, f.hasCleanups = fs.opt("g.runningCleanups")
	if rt.Table().Quantum() != 1 && !f.hasLR {
		fs.off("g.sched.lr")
	}
	if fs.missing != "" {
		return nil, &MissingError{"goroutine", fs.missing}
	}
	offs := []uint64{f.stackLo, f.stackHi, f.schedSP, f.schedPC, f.syscallSP, f.syscallPC, f.status, f.goid,
		f.waitsince, f.waitreason, f.gopc, f.startpc, f.labels}
	if f.hasLR {
		offs = append(offs, f.schedLR)
	}
	if f.hasCleanups {
		offs = append(offs, f.runningCleanups)
	}
	f.lo, f.hi = slices.Min(offs), slices.Max(offs)+8
	if f.hi > 4<<10 {
		return nil, fmt.Errorf("layout of g is not plausible: a field at %d", f.hi)
	}
	w.symbols = newSymbolizer(rt.Table())
	w.seed = rand.Uint64()
	w.code = codeCache{t: rt.Table(), lr: rt.Table().Quantum() != 1, seed: w.seed}
	w.labels = labelReader{mem: w.mem, asMap: minor(rt.GoVersion()) < 24}
	w.index = make(map[uint64]int32)
	w.readWaitReasons()
	return w, nil
}

// readWaitReasons replaces the names by the target's own. Its table says how
// many there are only through the release's table, which must agree in length.
func (w *Walker) readWaitReasons() {
	if w.waitStrings == 0 || len(w.names) == 0 {
		return
	}
	heads := make([]byte, 16*len(w.names))
	if w.mem.Read(w.waitStrings, heads) != nil {
		return
	}
	names := make([]string, len(w.names))
	for i := range names {
		p, n := binary.LittleEndian.Uint64(heads[16*i:]), binary.LittleEndian.Uint64(heads[16*i+8:])
		if n > 64 || i == 0 && n != 0 {
			return
		}
		b := make([]byte, n)
		if w.mem.Read(p, b) != nil {
			return
		}
		for _, c := range b {
			if c < ' ' || c > '~' {
				return
			}
		}
		names[i] = string(b)
	}
	w.names = names
}

func (w *Walker) waitReason(n uint8) string {
	if int(n) < len(w.names) {
		return w.names[n]
	}
	return fmt.Sprintf("wait reason %d", n)
}

// TakeGoroutines takes one goroutine profile. Use a [Walker] to take several.
func TakeGoroutines(rt Runtime, opts Options) (*Goroutines, error) {
	w, err := NewWalker(rt)
	if err != nil {
		return nil, err
	}
	return w.Goroutines(opts)
}

// Goroutines reads all goroutines. It fails only when their list cannot be
// read; see the counts of [Goroutines] for what is missing.
func (w *Walker) Goroutines(opts Options) (*Goroutines, error) {
	out := &Goroutines{Time: time.Now(), symbols: w.symbols}
	now := opts.Now
	switch {
	case opts.NoWaits:
		now = 0 // nothing has waited since before that
	case now == 0:
		now = procmem.Nanotime()
	}
	var head [16]byte
	// The length first: it never exceeds that of the array (runtime.atomicAllG).
	if err := w.mem.Read(w.allglen, head[:8]); err != nil {
		return nil, fmt.Errorf("reading the number of goroutines: %w", err)
	}
	if err := w.mem.Read(w.allgptr, head[8:]); err != nil {
		return nil, fmt.Errorf("reading the list of goroutines: %w", err)
	}
	count, list := binary.LittleEndian.Uint64(head[:]), binary.LittleEndian.Uint64(head[8:])
	limit := uint64(defaultMaxGoroutines)
	if opts.MaxGoroutines > 0 {
		limit = uint64(opts.MaxGoroutines)
	}
	if count > limit {
		out.Truncated = int(min(count-limit, math.MaxInt32))
		count = limit
	}
	w.code.reset()
	w.labels.reset()
	w.groups, w.arena = w.groups[:0], w.arena[:0]
	clear(w.index)
	w.failures, w.gone = 0, nil

	fing := w.finalizerRuns()
	for done := uint64(0); done < count; {
		n := min(count-done, chunkGoroutines)
		w.ptrs = grow(w.ptrs, int(n)*8)
		if err := w.mem.Read(list+done*8, w.ptrs); err != nil {
			if done == 0 || gone(err) {
				return nil, fmt.Errorf("reading the list of %d goroutines: %w", count, err)
			}
			out.Truncated += int(count - done)
			break
		}
		w.gs = w.gs[:0]
		for i := range int(n) {
			if p := binary.LittleEndian.Uint64(w.ptrs[8*i:]); p != 0 {
				w.gs = append(w.gs, gInfo{addr: p})
			}
		}
		w.chunk(out, opts, fing, now)
		if w.gone != nil {
			return nil, fmt.Errorf("reading goroutines: %w", w.gone)
		}
		done += n
		if w.failures > maxFailures {
			out.Truncated += int(count - done)
			break
		}
	}
	w.finish(out)
	return out, nil
}

// finalizerRuns reports whether the finalizer goroutine calls a finalizer: then
// it counts as a user goroutine (runtime.isSystemGoroutine).
func (w *Walker) finalizerRuns() bool {
	const fingRunningFinalizer = 2 // runtime/mfinal.go
	var b [4]byte
	if w.fingStatus == 0 || w.mem.Read(w.fingStatus, b[:]) != nil {
		return false
	}
	return binary.LittleEndian.Uint32(b[:])&fingRunningFinalizer != 0
}

// chunk reads the g's in w.gs and adds them to the groups.
func (w *Walker) chunk(out *Goroutines, opts Options, fing bool, now int64) {
	w.todo = w.todo[:0]
	for i := range w.gs {
		w.todo = append(w.todo, int32(i))
	}
	w.planHeaders(w.todo)
	w.readAll(func(r int) { w.runs[r].failed = true })
	w.eachHeader(w.todo, func(i int32, g *gInfo, ok bool) {
		if !ok {
			w.failures++
			out.Truncated++
			return
		}
		old := w.gs[i].addr
		w.gs[i] = *g
		w.gs[i].addr = old
		w.gs[i].ok = true
	})

	keep := w.todo[:0]
	for _, i := range w.todo {
		g := &w.gs[i]
		switch {
		case !g.ok || g.status == gIdle || g.status == gDead || g.status == gDeadextra:
		case int(g.status) >= len(statusNames) || statusNames[g.status] == "":
			w.failures++
			out.Truncated++
		case opts.NoStacks || g.status == gRunning || g.status == gCopystack:
			w.add(out, g, nil, fing, now)
		case !w.stackPlausible(g):
			out.NoStack++
			w.add(out, g, nil, fing, now)
		default:
			g.want = uint32(min(g.hi-g.sp, firstStackBytes))
			keep = append(keep, i)
		}
	}
	w.todo = keep
	for len(w.todo) > 0 {
		w.next = w.next[:0]
		for len(w.todo) > 0 {
			// As many as fit a round.
			n, total := 0, 0
			for n < len(w.todo) && (n == 0 || total+int(w.gs[w.todo[n]].want) <= maxRoundBytes) {
				total += int(w.gs[w.todo[n]].want)
				n++
			}
			w.round(out, w.todo[:n], fing, now)
			w.todo = w.todo[n:]
		}
		w.todo, w.next = w.next, w.todo[:0]
	}
}

func (w *Walker) stackPlausible(g *gInfo) bool {
	return g.lo < g.hi && g.hi-g.lo <= 1<<30 && g.sp >= g.lo && g.sp < g.hi && g.sp&7 == 0 && g.pc != 0
}

// round reads the stacks of some goroutines, then their headers once more, and
// unwinds those that have not run in between. The others go to w.next.
func (w *Walker) round(out *Goroutines, list []int32, fing bool, now int64) {
	w.planStacks(list)
	stackReqs := len(w.reqs)
	w.planHeaders(list)
	w.readAll(func(r int) {
		if r < stackReqs {
			w.stkRuns[r].failed = true
		} else {
			w.runs[r-stackReqs].failed = true
		}
	})
	for r := range w.stkRuns {
		run := &w.stkRuns[r]
		if !run.failed {
			continue
		}
		for _, o := range w.order[run.first : run.first+run.n] {
			g := &w.gs[o.i]
			if run.n == 1 || w.note(w.mem.Read(g.sp, w.stacks[g.stackAt:g.stackAt+g.stackSz])) {
				g.stackSz = 0
			}
		}
	}
	w.eachHeader(list, func(i int32, h *gInfo, ok bool) {
		g := &w.gs[i]
		if !ok {
			w.failures++
			out.Truncated++
			return
		}
		if !g.same(h) || g.stackSz == 0 && g.tries < maxRetries {
			if h.status == gIdle || h.status == gDead || h.status == gDeadextra {
				return
			}
			h.addr, h.ok, h.tries = g.addr, true, g.tries+1
			*g = *h
			switch {
			case int(h.status) >= len(statusNames) || statusNames[h.status] == "":
				w.failures++
				out.Truncated++
			case h.status == gRunning || h.status == gCopystack:
				w.add(out, g, nil, fing, now)
			case h.tries > maxRetries || !w.stackPlausible(g):
				out.Moved++
				w.add(out, g, nil, fing, now)
			default:
				g.want = uint32(min(g.hi-g.sp, firstStackBytes))
				w.next = append(w.next, i)
			}
			return
		}
		if g.stackSz == 0 {
			out.NoStack++
			w.add(out, g, nil, fing, now)
			return
		}
		stack := w.stacks[g.stackAt : g.stackAt+g.stackSz]
		full := uint32(min(g.hi-g.sp, maxStackBytes))
		pcs, res := w.code.unwind(w.pcs[:0], g, stack)
		w.pcs = pcs
		if res == unwindShort && g.stackSz < full {
			// Most stacks are either short or a few kilobytes deep.
			g.want = min(full, max(4<<10, g.stackSz*4))
			w.next = append(w.next, i)
			return
		}
		if res == unwindLost && g.tries < maxRetries {
			// A goroutine that ran and came to rest in the same place again looks as
			// if it had not: its stack may be half old, half new.
			g.tries++
			w.next = append(w.next, i)
			return
		}
		switch {
		case res == unwindShort || res == unwindDeep:
			out.CutStacks++
		case len(pcs) == 0:
			out.NoStack++
		case res == unwindLost:
			out.Incomplete++
		}
		w.add(out, g, pcs, fing, now)
	})
}

// planStacks starts w.reqs with requests for the stacks of list and describes
// them in w.stkRuns. Small stacks lie side by side.
func (w *Walker) planStacks(list []int32) {
	w.order, w.stkRuns, w.reqs = w.order[:0], w.stkRuns[:0], w.reqs[:0]
	for _, i := range list {
		w.order = append(w.order, stackOrder{w.gs[i].sp, i})
	}
	slices.SortFunc(w.order, func(a, b stackOrder) int { return cmp.Compare(a.sp, b.sp) })
	total := 0
	for n := 0; n < len(w.order); {
		start := w.order[n].sp
		end := start
		k := n
		for ; k < len(w.order); k++ {
			g := &w.gs[w.order[k].i]
			to := g.sp + uint64(g.want)
			if k > n && (g.sp > end+maxRunGap || to-start > maxRunBytes) {
				break
			}
			g.stackAt, g.stackSz = uint32(uint64(total)+g.sp-start), g.want
			end = max(end, to)
		}
		w.stkRuns = append(w.stkRuns, run{first: int32(n), n: int32(k - n), addr: start, at: total, size: int(end - start)})
		total += int(end - start)
		n = k
	}
	w.stacks = grow(w.stacks, total)
	for i := range w.stkRuns {
		r := &w.stkRuns[i]
		w.reqs = append(w.reqs, procmem.Request{Addr: r.addr, Buf: w.stacks[r.at : r.at+r.size]})
	}
}

// planHeaders appends requests for the g's of list to w.reqs and describes them
// in w.runs. Goroutines made one after the other lie side by side, and reading
// neighbours at once costs less than a request each.
func (w *Walker) planHeaders(list []int32) {
	w.runs = w.runs[:0]
	size := w.f.hi - w.f.lo
	total := 0
	for n := 0; n < len(list); {
		start := w.gs[list[n]].addr + w.f.lo
		end := start + size
		k := n + 1
		for ; k < len(list); k++ {
			a := w.gs[list[k]].addr + w.f.lo
			if a < start || a > end+maxRunGap || a+size-start > maxRunBytes {
				break
			}
			end = max(end, a+size)
		}
		w.runs = append(w.runs, run{first: int32(n), n: int32(k - n), addr: start, at: total, size: int(end - start)})
		total += int(end - start)
		n = k
	}
	w.gbuf = grow(w.gbuf, total)
	for i := range w.runs {
		r := &w.runs[i]
		w.reqs = append(w.reqs, procmem.Request{Addr: r.addr, Buf: w.gbuf[r.at : r.at+r.size]})
	}
}

// readAll performs w.reqs and calls failed with the index of each that could
// not be read.
func (w *Walker) readAll(failed func(int)) {
	for done := 0; done < len(w.reqs); {
		n, err := w.mem.ReadBatch(w.reqs[done:])
		done += max(n, 0)
		if err == nil && n > 0 {
			continue
		}
		if done < len(w.reqs) {
			w.note(err)
			failed(done)
			done++
		}
	}
	clear(w.reqs)
	w.reqs = w.reqs[:0]
}

// note reports whether a reading failed, and remembers it if that was because
// there is no process any more.
func (w *Walker) note(err error) bool {
	if gone(err) {
		w.gone = err
	}
	return err != nil
}

// gone reports whether err says that the process has ended.
func gone(err error) bool {
	return errors.Is(err, procmem.ErrExited) || errors.Is(err, procmem.ErrReplaced)
}

// eachHeader calls fn with every g of list as planHeaders's requests have read
// it. Those of a run that failed are read one by one.
func (w *Walker) eachHeader(list []int32, fn func(i int32, g *gInfo, ok bool)) {
	var g gInfo
	size := int(w.f.hi - w.f.lo)
	for r := range w.runs {
		run := &w.runs[r]
		for _, i := range list[run.first : run.first+run.n] {
			addr := w.gs[i].addr + w.f.lo
			b := w.gbuf[run.at+int(addr-run.addr):][:size]
			if run.failed && (run.n == 1 || w.failures > maxFailures || w.note(w.mem.Read(addr, b))) {
				fn(i, nil, false)
				continue
			}
			w.parse(&g, b)
			fn(i, &g, true)
		}
	}
}

// parse decodes the part of a g that is read.
func (w *Walker) parse(g *gInfo, b []byte) {
	f := &w.f
	u64 := func(off uint64) uint64 { return binary.LittleEndian.Uint64(b[off-f.lo:]) }
	*g = gInfo{
		lo: u64(f.stackLo), hi: u64(f.stackHi),
		sp: u64(f.schedSP), pc: u64(f.schedPC),
		goid:      u64(f.goid),
		waitsince: int64(u64(f.waitsince)),
		gopc:      u64(f.gopc), startpc: u64(f.startpc), labels: u64(f.labels),
		status:     binary.LittleEndian.Uint32(b[f.status-f.lo:]) &^ gScan,
		waitreason: b[f.waitreason-f.lo],
	}
	if f.hasLR {
		g.lr = u64(f.schedLR)
	}
	if f.hasCleanups {
		g.cleanups = b[f.runningCleanups-f.lo] != 0
	}
	if g.status == gSyscall {
		if sp := u64(f.syscallSP); sp != 0 {
			g.sp, g.pc, g.lr, g.insys = sp, u64(f.syscallPC), 0, true
		}
	}
}

// add counts g, whose stack is pcs.
func (w *Walker) add(out *Goroutines, g *gInfo, pcs []uint64, fing bool, now int64) {
	kind := w.code.startKind(g.startpc)
	system := kind == startSystem || kind == startFinalizer && !fing || kind == startCleanup && !g.cleanups
	count := &out.Total
	if system {
		count = &out.System
	}
	gopc := g.gopc
	if g.goid == 1 {
		gopc = 0 // made by the runtime's own start, not by a go statement
	}
	var reason uint8
	if g.status == gWaiting || g.status == gLeaked {
		reason = g.waitreason
	}
	var wait int64
	if (g.status == gWaiting || g.status == gSyscall) && g.waitsince > 0 && now > g.waitsince {
		wait = now - g.waitsince
	}

	h := mix(w.seed, uint64(g.status)<<8|uint64(reason))
	h = mix(h, gopc)
	h = mix(h, g.labels)
	for _, pc := range pcs {
		h = mix(h, pc)
	}
	first, ok := w.index[h]
	if !ok {
		first = -1
	}
	for k := first; k >= 0; k = w.groups[k].next {
		e := &w.groups[k]
		if e.status == g.status && e.waitreason == reason && e.system == system && e.gopc == gopc && e.labels == g.labels &&
			slices.Equal(w.arena[e.pcsAt:e.pcsAt+e.pcsN], pcs) {
			e.count++
			*count++
			if wait > e.waitMax {
				e.waitMax, e.goid = wait, g.goid
			}
			return
		}
	}
	if len(w.groups) >= maxGroups {
		out.Truncated++
		return
	}
	if len(w.arena)+len(pcs) > maxArena {
		out.NoStack++
		pcs = nil
	}
	*count++
	w.index[h] = int32(len(w.groups))
	w.groups = append(w.groups, group{
		next: first, count: 1, pcsAt: int32(len(w.arena)), pcsN: int32(len(pcs)),
		status: g.status, waitreason: reason, system: system, gopc: gopc, labels: g.labels,
		waitMax: wait, goid: g.goid,
	})
	w.arena = append(w.arena, pcs...)
}

// finish turns what was counted into groups, the largest first.
func (w *Walker) finish(out *Goroutines) {
	byLabels := make(map[uint64][]Label)
	out.Groups = make([]Group, 0, len(w.groups))
	arena := slices.Clone(w.arena)
	type key struct {
		status uint32
		reason uint8
		system bool
		gopc   uint64
		labels string
		stackH uint64
	}
	merged := make(map[key]int)
	for i := range w.groups {
		e := &w.groups[i]
		labels, ok := byLabels[e.labels]
		if !ok {
			labels, ok = w.labels.read(e.labels)
			if !ok {
				out.LabelsOmitted += int(e.count)
			} else {
				byLabels[e.labels] = labels
			}
		}
		pcs := arena[e.pcsAt : e.pcsAt+e.pcsN : e.pcsAt+e.pcsN]
		k := key{status: e.status, reason: e.waitreason, system: e.system, gopc: e.gopc, labels: labelKey(labels)}
		for _, pc := range pcs {
			k.stackH = mix(k.stackH, pc)
		}
		if e.labels != 0 {
			// Equal sets of labels can lie in different places.
			if j, ok := merged[k]; ok && slices.Equal(out.Groups[j].PCs, pcs) {
				g := &out.Groups[j]
				g.Count += int(e.count)
				if wait := time.Duration(e.waitMax); wait > g.WaitMax {
					g.WaitMax, g.GoID = wait, e.goid
				}
				continue
			}
			merged[k] = len(out.Groups)
		}
		g := Group{
			Count: int(e.count), Status: statusNames[e.status], WaitMax: time.Duration(e.waitMax),
			GoPC: e.gopc, System: e.system, Labels: labels, PCs: pcs, GoID: e.goid,
		}
		if e.status == gWaiting || e.status == gLeaked {
			g.WaitReason = w.waitReason(e.waitreason)
		}
		out.Groups = append(out.Groups, g)
	}
	slices.SortStableFunc(out.Groups, func(a, b Group) int { return b.Count - a.Count })
}

// Stack returns the frames of a group's stack, leaf first, inlined functions
// expanded, without the runtime.goexit that every stack ends in.
func (g *Goroutines) Stack(group *Group) []record.Frame {
	var out []record.Frame
	callee := pclntab.Callee{}
	for _, pc := range group.PCs {
		var fr []pclntab.Frame
		fr, callee = g.symbols.unwound(pc, callee)
		for i := range fr {
			if fr[i].Func != goexit {
				out = append(out, fr[i].Frame)
			}
		}
	}
	return out
}

const goexit = "runtime.goexit"

// CreatedBy returns the go statement that made a group's goroutines, zero for
// the main goroutine.
func (g *Goroutines) CreatedBy(group *Group) record.Frame {
	if fr := g.symbols.recorded(group.GoPC); len(fr) > 0 {
		return fr[0].Frame
	}
	return record.Frame{}
}

// Record returns the snapshot in the form recordings keep.
func (g *Goroutines) Record() *record.Goroutines {
	out := &record.Goroutines{Time: g.Time, Total: g.Total, Truncated: g.Truncated}
	for i := range g.Groups {
		e := &g.Groups[i]
		r := record.GoroutineGroup{
			Count: e.Count, Status: e.Status, WaitReason: e.WaitReason, WaitMax: e.WaitMax,
			CreatedBy: g.CreatedBy(e), Stack: g.Stack(e), System: e.System,
		}
		if len(e.Labels) > 0 {
			r.Labels = make(map[string]string, len(e.Labels))
			for _, l := range e.Labels {
				r.Labels[l.Key] = l.Value
			}
		}
		out.Groups = append(out.Groups, r)
	}
	return out
}

func grow(b []byte, n int) []byte {
	if cap(b) < n {
		return make([]byte, n, n+n/4)
	}
	return b[:n]
}

// mix adds v to a hash.
func mix(h, v uint64) uint64 {
	h = (h ^ v) * 0x9e3779b97f4a7c15
	return h ^ h>>32
}
