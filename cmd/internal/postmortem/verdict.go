package postmortem

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/trend"
	"github.com/heapwright/heapwright/record"
)

// words are how the kinds of memory are called in a sentence.
var words = map[Memory]string{
	HeapLive: "the live Go heap", HeapGarbage: "garbage in the Go heap", Stacks: "goroutine stacks", Fragmentation: "free memory that Go's heap held",
	Outside: "memory of the process that is not Go's", PageCache: "page cache", Shared: "tmpfs and shared memory", KernelMemory: "the kernel's memory",
	SiblingMemory: "another process in the cgroup", LimitTooSmall: "nothing in particular", GoHeap: "the Go heap", WholeProcess: "the process",
}

// judged are the kinds of memory that a verdict may name, in the order in which they win
// where two are alike.
var judged = []Memory{HeapLive, HeapGarbage, Stacks, Outside, SiblingMemory, KernelMemory, Shared, PageCache, Fragmentation}

func (x *examination) unknown(format string, a ...any) {
	x.r.Unknown = append(x.r.Unknown, fmt.Sprintf(format, a...))
}

// verdict finds which memory it was.
func (x *examination) verdict() {
	v := &x.r.Verdict
	v.Samples = len(x.ms)
	x.lacks()
	defer func() {
		if g := x.r.Growth; g != nil {
			g.trim(v.Memory == HeapGarbage)
		}
	}()
	if len(x.ms) < 2 {
		x.notEnough()
		return
	}
	// Without a quiet moment, or where nothing much came after it, what is there counts
	// and not what grew: a heap may have been as full at the quiet moment by chance.
	amount, total := x.grew, x.total-x.was
	if !known(x.was) || total < enoughGrowth*x.total {
		amount, total, x.byShare = x.has, x.total, true
	}
	amount = x.roomIsGarbage(amount)
	switch {
	case x.flat():
		x.tooSmall()
	default:
		v.Memory = x.largest(amount)
		x.name(v.Memory, amount, total)
	}
	x.confidence(amount, total)
	x.alternatives(amount)
	if x.e.Kill == nil {
		x.living()
	}
}

// living rewords a verdict about a process that was not killed: what a kill would be for.
func (x *examination) living() {
	v := &x.r.Verdict
	what := words[v.Memory]
	if v.Memory == LimitTooSmall {
		what = "what it needs at rest"
	}
	if x.limit == 0 {
		v.Title = fmt.Sprintf("%s in use, no limit is known; most of it is %s", rule.FormatBytes(x.total), what)
	} else {
		v.Title = fmt.Sprintf("%s of its limit of %s in use; a kill now would be for %s", rule.FormatPercent(x.total/x.limit), rule.FormatBytes(x.limit), what)
	}
	c := &x.r.Course
	switch {
	case x.limit == 0 || c.BytesPerSecond == nil:
	case c.Shape == shapeSteady && *c.BytesPerSecond > 0:
		v.Cause += fmt.Sprintf(" At this rate the limit is met in %s.", rule.FormatSeconds(max(0, x.limit-x.total) / *c.BytesPerSecond))
	case c.Shape == shapeFlat:
		v.Cause += fmt.Sprintf(" It did not grow in the %s that it was watched.", rule.FormatSeconds(x.last.s.Time.Sub(x.ms[0].s.Time).Seconds()))
	}
	if x.byShare {
		v.Remedy = "Nothing has to be done now. \"heapwright serve\", or \"heapwright oom watch\", keeps the evidence if it is killed."
	}
}

// lacks says what is not known.
func (x *examination) lacks() {
	if x.e.Kill != nil {
		if !slices.Contains(x.e.Kill.Known, FromKernelLog) {
			x.unknown("The kernel's own record of the kill was not read: which process it chose and what that had is not known.")
		}
		if x.otherPID() {
			x.unknown("The kernel killed process %d, not the one that was recorded.", x.e.Kill.PID)
		}
	}
	if x.limit == 0 {
		x.unknown("No memory limit is known.")
	}
	if x.last != nil && x.last.g == nil {
		x.unknown("The cgroup was not looked at near the end: page cache, kernel memory and other processes are not told apart.")
	}
	if x.r.Growth == nil || !x.r.Growth.Profiled {
		x.unknown("There are not two heap profiles: where the program allocated what grew is not known for certain.")
	}
	if x.last != nil && !known(x.survival) {
		x.unknown("No two collections were seen after each other: how much of what was allocated last was alive is not known.")
	}
	if x.rec.Truncated != "" {
		x.unknown("The end of the recording is missing: %s.", x.rec.Truncated)
	}
}

func (x *examination) notEnough() {
	v := &x.r.Verdict
	v.Memory, v.Confidence = NotEnough, rule.Low
	v.Title = "not enough evidence to say which memory it was"
	switch len(x.ms) {
	case 0:
		v.Cause = "The process was gone before the first look at its memory."
		if k := x.e.Kill; k != nil && k.AnonRSSBytes > 0 {
			v.Cause += fmt.Sprintf(" The kernel counted %s of anonymous memory in it.", rule.FormatBytes(float64(k.AnonRSSBytes)))
		}
	default:
		v.Cause = "The kill came before the second look: there is nothing to hold the one look against."
		if m := x.largest(x.has); x.has[m] > 0.5*x.total {
			v.Cause += fmt.Sprintf(" At that look, most of it was %s: %s of %s.", words[m], rule.FormatBytes(x.has[m]), rule.FormatBytes(x.total))
		}
	}
	v.ConfidenceReason = fmt.Sprintf("it rests on %d looks", len(x.ms))
	v.Remedy = "Have it watched before it starts to grow: \"heapwright serve\", or \"heapwright oom watch\", running before the process does."
	if k := x.e.Kill; k != nil && x.limit > 0 && len(k.Tasks) > 1 {
		x.tasksSay()
	}
}

// tasksSay adds what the kernel's table of processes alone shows.
func (x *examination) tasksSay() {
	k := x.e.Kill
	var own, others uint64
	for _, t := range k.Tasks {
		rss := min(t.RSSBytes, maxBytes)
		if t.PID == k.PID {
			own += rss
		} else {
			others += rss
		}
	}
	x.r.Verdict.Cause += fmt.Sprintf(" By the kernel's table it had %s resident, and %d other processes %s.", rule.FormatBytes(float64(own)), len(k.Tasks)-1, rule.FormatBytes(float64(others)))
}

// garbage is what of the heap a collection could have given back.
func (x *examination) garbage() float64 { return max(0, x.has[HeapGarbage]) }

// flat reports whether the limit was met although nothing much grew, and although the
// collector could not have helped.
func (x *examination) flat() bool {
	const atRest = 10 * time.Second
	if x.limit == 0 || !known(x.was) || x.quiet == nil && x.last.s.Time.Sub(x.base.s.Time) < atRest || x.leaking() {
		return false
	}
	unseen := 0.0
	if known(x.unseen) {
		unseen = x.unseen
	}
	return x.was >= fullAlready*x.limit && x.total-x.was+unseen <= flatGrowth*x.limit && x.total-x.garbage() >= fullAlready*x.limit
}

// roomIsGarbage counts free memory of the heap that comes and goes with collections as
// garbage: it is the room that the collector has, and the next cycle fills it again. What
// stays free through the last third of the time is fragmentation.
func (x *examination) roomIsGarbage(amount map[Memory]float64) map[Memory]float64 {
	free := func(m *moment) (float64, bool) {
		inUse, ok1 := m.value(record.FieldHeapInUseBytes)
		live, ok2 := m.value(record.FieldHeapLiveBytes)
		return max(0, inUse-max(live, m.or0(record.FieldHeapObjectsBytes))) + m.or0(record.FieldHeapFreeBytes), ok1 && ok2
	}
	stays, ok := free(x.last)
	if !ok || amount[Fragmentation] <= 0 {
		return amount
	}
	since := x.ms[0].s.Time
	if x.base != nil {
		since = x.base.s.Time
	}
	third := x.last.s.Time.Add(-x.last.s.Time.Sub(since) / 3)
	for i := range x.ms {
		if v, ok := free(&x.ms[i]); ok && x.ms[i].s.Time.After(third) {
			stays = min(stays, v)
		}
	}
	if !x.byShare && x.base != nil {
		was, _ := free(x.base)
		stays = max(0, stays-was)
	}
	out := maps.Clone(amount)
	out[Fragmentation] = min(amount[Fragmentation], stays)
	out[HeapGarbage] += amount[Fragmentation] - out[Fragmentation]
	return out
}

// leaking reports whether what collections found alive rose steadily to the end.
func (x *examination) leaking() bool {
	var pts []trend.Point
	for i := range x.ms {
		if v, ok := x.ms[i].value(record.FieldHeapMarkedBytes); ok {
			pts = append(pts, trend.Point{T: x.ms[i].s.Time.Sub(x.ms[0].s.Time).Seconds(), V: v})
		}
	}
	f, ok := trend.Theil(pts)
	return ok && f.Rising() && f.Steady() && f.Growth > littleOf*x.limit
}

// largest is the kind that an amount is most of. The heap is taken as one first: its
// garbage follows what is alive.
func (x *examination) largest(amount map[Memory]float64) Memory {
	heap := amount[HeapLive] + amount[HeapGarbage] + amount[GoHeap]
	follows := followsStacks(amount)
	best, most := HeapLive, heap-follows
	amount = maps.Clone(amount)
	amount[Stacks] += follows
	for _, m := range judged {
		if m == PageCache && x.e.Kill == nil {
			continue // as long as nobody was killed, the kernel drops it first
		}
		if m != HeapLive && m != HeapGarbage && amount[m] > most {
			best, most = m, amount[m]
		}
	}
	if best != HeapLive {
		return best
	}
	switch {
	case amount[GoHeap] > amount[HeapLive]+amount[HeapGarbage]:
		return HeapLive
	case amount[HeapLive] < liveOfHeap*heap:
		return HeapGarbage
	}
	return HeapLive
}

// followsStacks is how much of the garbage there is for the stacks' sake: the heap's goal
// lies above what is alive by a share of that and of the stacks (runtime/mgcpacer.go since
// Go 1.18, gcController.commitInternal), at GOGC=100 by as much as the stacks are at most.
func followsStacks(amount map[Memory]float64) float64 {
	live, stacks, garbage := max(0, amount[HeapLive]), max(0, amount[Stacks]), max(0, amount[HeapGarbage])
	if stacks == 0 {
		return 0
	}
	return min(stacks, garbage*stacks/(live+stacks))
}

// topSite is the site that grew most, when it grew beyond what sampling explains.
func (x *examination) topSite() *SiteGrowth {
	g := x.r.Growth
	if g == nil {
		return nil
	}
	for i := range g.Sites {
		if s := &g.Sites[i]; s.GrowthBytes > 0 && (s.Significant || !g.Profiled) {
			return s
		}
	}
	return nil
}

// topAlloc is the site that allocated most.
func (x *examination) topAlloc() *SiteGrowth {
	g := x.r.Growth
	if g == nil || len(g.Sites) == 0 {
		return nil
	}
	s := slices.MaxFunc(g.Sites, func(a, b SiteGrowth) int { return cmp.Compare(a.AllocBytes, b.AllocBytes) })
	if !(s.AllocBytes > 0) {
		return nil
	}
	return &s
}

// topGoroutines is the go statement whose goroutines grew most, when that is many.
func (x *examination) topGoroutines() *GoroutineSite {
	if g := x.r.Growth; g != nil && len(g.Goroutines) > 0 {
		if s := &g.Goroutines[0]; s.Now-s.Was >= 50 && s.Now >= 2*s.Was {
			return s
		}
	}
	return nil
}

// name fills in title, cause and remedy for a kind of memory.
func (x *examination) name(m Memory, amount map[Memory]float64, total float64) {
	v := &x.r.Verdict
	grew := rule.FormatBytes(amount[m])
	of := "of " + rule.FormatBytes(total)
	grown := "grew by " + grew
	if x.byShare {
		grown = "was " + grew
	} else {
		of = "usage by " + rule.FormatBytes(total)
	}
	v.Title = fmt.Sprintf("%s %s", words[m], grown)
	switch m {
	case HeapLive:
		x.nameLive(grown, of)
	case HeapGarbage:
		x.nameGarbage(grown, of)
	case Stacks:
		v.Cause = fmt.Sprintf("Goroutine stacks %s, %s.", grown, of)
		v.Remedy = "Bound the depth of recursion, and how many goroutines run at once."
		if s := x.topGoroutines(); s != nil {
			v.Cause += fmt.Sprintf(" Goroutines started at %s went from %d to %d.", rule.FrameString(s.CreatedBy), s.Was, s.Now)
			x.atGoroutines(s)
			v.Remedy = fmt.Sprintf("Bound how many goroutines %s starts, and see that they end.", rule.FrameString(s.CreatedBy))
		} else if g := x.deepest(); g != nil {
			v.Cause += fmt.Sprintf(" At the last capture the deepest stacks were in %s, %d frames and more.", rule.FrameString(x.view.UserFrame(g.Stack)), len(g.Stack))
			at := rule.At(x.view.UserFrame(g.Stack), "calls", fmt.Sprintf("%d goroutines with %d frames and more", g.Count, len(g.Stack)))
			v.Site = &at
		}
	case Fragmentation:
		v.Cause = fmt.Sprintf("Memory that Go's heap held without objects in it %s, %s: spans that a peak left behind, or spans with a few objects in each.", grown, of)
		v.Remedy = "Set GOMEMLIMIT somewhat below the container's limit: Go then returns free spans to the system before it is met. Where objects of one size outlive others, allocate them together."
	case Outside:
		v.Cause = fmt.Sprintf("Memory of the process that the Go runtime does not know of %s, %s: C code, mmap, or threads.", grown, of)
		v.Remedy = "Look into what the program allocates through cgo or maps itself: the heap profile does not show it, and GOGC and GOMEMLIMIT do not bound it. Lower GOMEMLIMIT by what it needs."
		if x.rec.Process.PID != 0 && !x.rec.Process.Cgo {
			v.Cause += " The program is built without cgo: it maps memory itself, or it is thread stacks."
		}
	case PageCache:
		v.Cause = fmt.Sprintf("Page cache %s, %s, and could not be dropped in time: pages that wait to be written, or that are locked.", grown, of)
		v.Remedy = "Write files in smaller steps and sync them, or with O_DIRECT, or give what writes a cgroup of its own."
	case Shared:
		v.Cause = fmt.Sprintf("Files in memory (tmpfs, /dev/shm, memfd) and shared memory %s, %s. The kernel cannot drop them.", grown, of)
		v.Remedy = "Delete what is kept in tmpfs, or give the mount a size limit; an emptyDir of medium Memory counts against the container."
	case KernelMemory:
		v.Cause = fmt.Sprintf("The kernel's memory for the cgroup %s, %s: page tables, file and socket buffers.", grown, of)
		v.Remedy = "Look at how many sockets, files and mappings the processes have open: each has memory of the kernel."
	case SiblingMemory:
		x.nameSibling(grown, of)
	}
}

// deepest is the group of goroutines with the deepest stack in the last snapshot.
func (x *examination) deepest() *record.GoroutineGroup {
	var best *record.GoroutineGroup
	groups := x.view.LastGoroutines()
	for i := range groups {
		if g := &groups[i]; len(g.Stack) >= 50 && (best == nil || len(g.Stack) > len(best.Stack)) {
			best = g
		}
	}
	return best
}

func (x *examination) atGoroutines(s *GoroutineSite) {
	text := fmt.Sprintf("%d goroutines more", s.Now-s.Was)
	if s.WaitReason != "" {
		text += ", waiting: " + s.WaitReason
	}
	at := rule.At(s.CreatedBy, "created_by", text)
	x.r.Verdict.Site = &at
}

func (x *examination) nameLive(grown, of string) {
	v := &x.r.Verdict
	v.Cause = fmt.Sprintf("What the program holds on to in the Go heap %s, %s.", grown, of)
	v.Remedy = "Take a heap profile of a process that grows, and bound what it keeps: heapwright leaks PID."
	s := x.topSite()
	if s == nil {
		return
	}
	verb := "kept"
	if x.r.Growth.Profiled {
		v.Cause += fmt.Sprintf(" %s of the growth was allocated at %s, and kept.", rule.FormatPercent(s.Share), rule.FrameString(s.Site))
		verb = "more kept"
	} else {
		v.Cause += fmt.Sprintf(" Most of it, %s, was allocated at %s since the process started.", rule.FormatPercent(s.Share), rule.FrameString(s.Site))
	}
	at := rule.At(s.Site, "allocates", fmt.Sprintf("%s %s", rule.FormatBytes(s.GrowthBytes), verb))
	v.Site = &at
	v.Remedy = fmt.Sprintf("Bound what %s allocates and the program keeps. Who holds it: heapwright leaks PID, on a process that grows again.", rule.FrameString(s.Site))
	if s := x.topGoroutines(); s != nil {
		waits := ""
		if s.WaitReason != "" {
			waits = ", most of them waiting: " + s.WaitReason
		}
		v.Cause += fmt.Sprintf(" Goroutines started at %s went from %d to %d%s; what they hold stays.", rule.FrameString(s.CreatedBy), s.Was, s.Now, waits)
	}
}

func (x *examination) nameGarbage(grown, of string) {
	v := &x.r.Verdict
	v.Cause = fmt.Sprintf("Garbage that awaited a collection %s, %s.", grown, of)
	goal, okGoal := x.last.value(record.FieldHeapGoalBytes)
	beside := max(0, x.total-x.has[HeapLive]-x.has[HeapGarbage])
	gogc, okGOGC := x.last.s.Value(record.FieldGOGCPercent)
	off := okGOGC && gogc < 0
	if off && settingsOf(x.last.s).NoLimit {
		v.Cause += " The collector was off: GOGC=off, and no GOMEMLIMIT."
	}
	if okGoal && !off && x.limit > 0 && goal+beside > x.limit {
		v.Cause += fmt.Sprintf(" The collector was not due before a heap of %s, and with the %s beside it that is more than the limit.", rule.FormatBytes(goal), rule.FormatBytes(beside))
	}
	v.Remedy = "Set GOMEMLIMIT somewhat below the container's limit, so that the collector runs before the limit is met."
	if s := x.topAlloc(); s != nil {
		at := rule.At(s.Site, "allocates", fmt.Sprintf("%s of what was allocated", rule.FormatPercent(s.AllocShare)))
		v.Site = &at
		v.Cause += fmt.Sprintf(" %s of what was allocated came from %s.", rule.FormatPercent(s.AllocShare), rule.FrameString(s.Site))
	}
}

func (x *examination) nameSibling(grown, of string) {
	v := &x.r.Verdict
	v.Cause = fmt.Sprintf("Other processes in the same cgroup: their memory %s, %s.", grown, of)
	v.Remedy = "Give the processes a cgroup, a container each, or bound the one that grew: this one was killed for what another took."
	if s, was := x.topSibling(); s != nil {
		who := fmt.Sprintf("%s (%d)", cmp.Or(s.Name, "a process"), s.PID)
		v.Title = fmt.Sprintf("%s in the same cgroup %s", who, grown)
		if was != nil {
			v.Cause += fmt.Sprintf(" %s went from %s to %s.", who, rule.FormatBytes(float64(min(was.RSSBytes, maxBytes))), rule.FormatBytes(float64(min(s.RSSBytes, maxBytes))))
		} else {
			v.Cause += fmt.Sprintf(" %s had %s.", who, rule.FormatBytes(float64(min(s.RSSBytes, maxBytes))))
		}
		v.Remedy = fmt.Sprintf("Give %s a cgroup, a container of its own, or bound it: this process was killed for what that one took.", who)
	}
}

// topSibling is the other process that grew most, or that is the largest.
func (x *examination) topSibling() (s, was *Sibling) {
	if x.last == nil || x.last.g == nil {
		return nil, nil
	}
	most := int64(-1)
	for i := range x.last.g.Siblings {
		now := &x.last.g.Siblings[i]
		if now.PID == x.rec.Process.PID {
			continue
		}
		var before *Sibling
		if x.base != nil && x.base.g != nil && x.base.g != x.last.g {
			for j := range x.base.g.Siblings {
				if x.base.g.Siblings[j].PID == now.PID {
					before = &x.base.g.Siblings[j]
				}
			}
		}
		grew := int64(min(now.RSSBytes, maxBytes))
		if before != nil {
			grew -= int64(min(before.RSSBytes, maxBytes))
		}
		if grew > most {
			most, s, was = grew, now, before
		}
	}
	return s, was
}

func (x *examination) tooSmall() {
	v := &x.r.Verdict
	v.Memory = LimitTooSmall
	need := x.total - x.garbage()
	v.Title = fmt.Sprintf("the limit of %s leaves no room: nothing had grown", rule.FormatBytes(x.limit))
	v.Cause = fmt.Sprintf("Usage was at %s of the limit already when nothing was wrong, and grew by %s only. Without garbage it is %s.",
		rule.FormatPercent(x.was/x.limit), rule.FormatBytes(x.total-x.was), rule.FormatBytes(need))
	v.Remedy = "Raise the limit, or make less live."
}

// confidence says how far the evidence carries.
func (x *examination) confidence(amount map[Memory]float64, total float64) {
	v := &x.r.Verdict
	var against []string
	level := 2 // high
	lower := func(to int, format string, a ...any) {
		level = min(level, to)
		against = append(against, fmt.Sprintf(format, a...))
	}
	part, what := amount[v.Memory], "the growth"
	if x.byShare {
		what = "the usage"
	}
	if v.Memory == HeapLive || v.Memory == HeapGarbage {
		part = amount[HeapLive] + amount[HeapGarbage] + amount[GoHeap]
	}
	if v.Memory != LimitTooSmall && total > 0 {
		switch share := part / total; {
		case share < fairShare:
			lower(0, "it made only %s of %s", rule.FormatPercent(share), what)
		case share < clearShare:
			lower(1, "it made %s of %s", rule.FormatPercent(share), what)
		}
	}
	if !known(x.was) {
		lower(1, "there was no quiet moment to hold it against")
	}
	if b := x.r.Composition.BeforeKill; b != nil {
		switch late := time.Duration(min(max(*b, 0), 1e6) * float64(time.Second)); {
		case late > staleLook:
			lower(0, "the last look was %s before the kill", rule.FormatSeconds(*b))
		case late > latestLook:
			lower(1, "the last look was %s before the kill", rule.FormatSeconds(*b))
		}
	}
	if known(x.unseen) && total > 0 {
		switch share := x.unseen / (x.unseen + max(total, 0)); {
		case share > halfSeen:
			lower(0, "%s came after the last look", rule.FormatBytes(x.unseen))
		case share > littleUnseen:
			lower(1, "%s came after the last look", rule.FormatBytes(x.unseen))
		}
	}
	if (v.Memory == HeapLive || v.Memory == HeapGarbage) && !known(x.survival) && x.garbage() > 0.3*x.total {
		to := 0
		if x.last.s.Has.Has(record.FieldGOGCPercent) && x.last.s.GOGCPercent < 0 {
			to = 1 // with the collector off, that is why
		}
		lower(to, "no collection ended after it was allocated, so whether it was alive is not known")
	}
	if v.Memory == HeapLive && v.Site == nil {
		lower(1, "no site stands out of the heap profiles")
	}
	if age, ok := x.view.Age(); ok && x.base != nil && v.Memory == HeapLive {
		if start := x.base.s.Time.Sub(x.rec.Process.StartTime); start >= 0 && start < startUp && age < 2*startUp.Seconds() {
			lower(1, "the process never came to rest: a start that needs more than the limit looks alike")
		}
	}
	if k := x.e.Kill; k != nil && !slices.Contains(k.Known, FromKernelLog) && !slices.Contains(k.Known, FromCounter) && !slices.Contains(k.Known, FromContainer) {
		lower(1, "that it was an OOM kill is concluded")
	}
	v.Confidence = []rule.Confidence{rule.Low, rule.Medium, rule.High}[level]
	v.ConfidenceReason = strings.Join(against, "; ")
	if len(against) == 0 {
		v.ConfidenceReason = fmt.Sprintf("it made %s of %s, which was seen to the end", rule.FormatPercent(min(1, max(0, part/max(total, 1)))), what)
		if v.Memory == LimitTooSmall {
			v.ConfidenceReason = "usage was level to the end"
		}
	}
}

// alternatives say of what it was not, why not.
func (x *examination) alternatives(amount map[Memory]float64) {
	v := &x.r.Verdict
	for _, m := range judged {
		if m == v.Memory {
			continue
		}
		has := x.has[m]
		var why string
		switch {
		case m == HeapLive && v.Memory == HeapGarbage:
			why = fmt.Sprintf("of what was allocated, a collection found %s alive", rule.FormatPercent(orZero(x.survival)))
			if !known(x.survival) {
				why = fmt.Sprintf("only %s of it was known to be alive", rule.FormatBytes(has))
			}
		case m == HeapGarbage && v.Memory == HeapLive && has > 0:
			why = fmt.Sprintf("it was %s at the last look, and grows with what is alive", rule.FormatBytes(has))
		case (m == PageCache || m == Shared || m == KernelMemory || m == SiblingMemory) && x.last.g == nil:
			if x.r.Composition.Of == "process" || x.has[OtherCharges] < 0.2*x.total {
				continue
			}
			why = fmt.Sprintf("not told apart: all that is charged beside the process was %s", rule.FormatBytes(x.has[OtherCharges]))
		case has <= 0 && amount[m] <= 0:
			why = "there was none"
		case known(x.was) && amount[m] <= 0:
			why = fmt.Sprintf("it was %s and did not grow", rule.FormatBytes(has))
		case known(x.was):
			why = fmt.Sprintf("it grew by %s, to %s", rule.FormatBytes(amount[m]), rule.FormatBytes(has))
		default:
			why = fmt.Sprintf("it was %s", rule.FormatBytes(has))
		}
		x.r.Alternatives = append(x.r.Alternatives, Alternative{m, why, amount[m] > littleOf*max(x.total, 1) || x.byShare && has > 0})
	}
	if v.Memory != LimitTooSmall && x.limit > 0 && known(x.was) {
		x.r.Alternatives = append(x.r.Alternatives, Alternative{LimitTooSmall, fmt.Sprintf("at the quiet moment %s of the limit was in use", rule.FormatPercent(x.was/x.limit)), true})
	}
}

func orZero(v float64) float64 {
	if !known(v) {
		return 0
	}
	return v
}
