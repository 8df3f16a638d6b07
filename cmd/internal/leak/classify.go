package leak

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/heapwright/heapwright/record"
)

// A ballot collects the signs of causes; each has a weight, and the cause with the
// most wins. Weights are of four sizes: what alone decides, what is typical, what
// is a hint, and what breaks a tie.
type ballot struct{ votes []vote }

type vote struct {
	cause  CauseID
	weight float64
	sign   string
	grows  bool // a container, which itself grew
}

const (
	decides = 8.0
	typical = 4.0
	hints   = 2.0
	breaks  = 0.5
)

func (b *ballot) add(cause CauseID, weight float64, format string, args ...any) {
	b.votes = append(b.votes, vote{cause: cause, weight: weight, sign: fmt.Sprintf(format, args...)})
}

// result is the cause with the most votes, and its signs, the strongest first.
func (b *ballot) result() (CauseID, []string) {
	sum := map[CauseID]float64{}
	best := UnknownCause
	for _, v := range b.votes {
		sum[v.cause] += v.weight
		if sum[v.cause] > sum[best] || sum[v.cause] == sum[best] && v.cause < best {
			best = v.cause
		}
	}
	// The loop above sees sums that are not yet whole; a later vote can only add.
	for c, s := range sum {
		if s > sum[best] || s == sum[best] && c < best {
			best = c
		}
	}
	var own []vote
	for _, v := range b.votes {
		if v.cause == best {
			own = append(own, v)
		}
	}
	slices.SortStableFunc(own, func(x, y vote) int { return cmp.Compare(y.weight, x.weight) })
	var signs []string
	for _, v := range own {
		if !slices.Contains(signs, v.sign) {
			signs = append(signs, v.sign)
		}
	}
	return best, signs
}

// A mark is a function in an allocation's stack that tells of a cause. The stacks
// are those of the runtime and the standard library of Go 1.20 to 1.27.
type mark struct {
	prefix string // of the function's name
	cause  CauseID
	weight float64
	sign   string
}

// allocationMarks are looked for between the allocator and the first function that
// is not of the standard library. The first that matches counts: the narrow ones
// come first.
var allocationMarks = []mark{
	{"context.WithValue", ContextValues, typical, "context.WithValue allocates what grows"},
	{"context.WithoutCancel", ContextValues, hints, "contexts are derived from contexts"},
	{"context.", ContextNotDone, typical, "package context allocates what grows: children that their parent remembers"},
	{"time.AfterFunc", TimerForgotten, decides, "time.AfterFunc allocates what grows"},
	{"time.After", TimeAfterLoop, decides, "time.After allocates a timer and a channel for each call"},
	{"time.NewTicker", TickerForgotten, decides, "time.NewTicker allocates what grows"},
	{"time.Tick", TickerForgotten, decides, "time.Tick allocates what grows, and nobody can stop it"},
	{"time.NewTimer", TimerForgotten, decides, "time.NewTimer allocates what grows"},
	{"time.newTimer", TimerForgotten, decides, "timers are what grows"},
	{"container/list.", ListUnbounded, typical, "the elements of a container/list grow"},
	{"container/ring.", ListUnbounded, typical, "the elements of a container/ring grow"},
	{"internal/sync.", SyncMapUnbounded, typical, "a sync.Map grows"},
	{"sync.(*Map)", SyncMapUnbounded, typical, "a sync.Map grows"},
	{"sync.(*HashTrieMap", SyncMapUnbounded, typical, "a sync.Map grows"},
	{"unique.", StringInterning, typical, "unique.Make keeps what is made canonical"},
	{"sync.(*Pool).Put", PoolHoard, typical, "a sync.Pool is given more and more"},
	{"sync.(*poolChain)", PoolHoard, typical, "a sync.Pool is given more and more"},
	{"sync.(*Pool)", PoolHoard, hints, "a sync.Pool makes what grows"},
	{"bytes.(*Buffer)", BufferNeverSmall, hints, "the buffers of bytes.Buffer grow"},
	{"bytes.growSlice", BufferNeverSmall, hints, "the buffers of bytes.Buffer grow"},
	{"bufio.", BufferNeverSmall, breaks, "buffers of bufio grow"},
	{"runtime.SetFinalizer", FinalizerChain, decides, "objects with a finalizer grow"},
	{"runtime.AddCleanup", FinalizerChain, hints, "objects with a cleanup grow"},
	{"runtime.newdefer", DeferInLoop, decides, "deferred calls pile up: defer is called in a function that does not return"},
	{"runtime.deferproc", DeferInLoop, decides, "deferred calls pile up: defer is called in a function that does not return"},
	{"runtime.deferrangefunc", DeferInLoop, decides, "deferred calls pile up: defer is called in a loop"},
	{"runtime.makechan", ChannelBacklog, breaks, "channels are made that stay"},
	{"runtime.mapassign", MapUnbounded, typical, "a map grows"},
	{"runtime.hashGrow", MapUnbounded, typical, "a map grows"},
	{"runtime.makemap", MapUnbounded, hints, "maps are made that stay"},
	{"internal/runtime/maps.", MapUnbounded, typical, "a map grows"},
	{"runtime.growslice", SliceUnbounded, typical, "append makes a slice larger"},
}

// marksOf are the marks in a stack, up to the program's own function.
func (j *judge) markOf(stack []record.Frame) (mark, bool) {
	own := 0
	for own < len(stack) && (j.code.standard(stack[own].Func) || stack[own].Func == "") {
		own++
	}
	for _, m := range allocationMarks {
		for _, f := range stack[:own] {
			if strings.HasPrefix(f.Func, m.prefix) {
				return m, true
			}
		}
	}
	return mark{}, false
}

// classifyHeap concludes the cause of a leak of memory.
func (j *judge) classifyHeap(f *Finding, parts []grown, goroutines []Finding) {
	var b ballot
	total := 0.0
	for i := range parts {
		total += max(0, parts[i].growth)
	}
	for i := range parts {
		if m, ok := j.markOf(parts[i].stack); ok {
			share := 1.0
			if total > 0 {
				share = max(0.25, parts[i].growth/total)
			}
			b.votes = append(b.votes, vote{m.cause, m.weight * share, m.sign, true})
		}
	}
	j.httpSigns(&b, f.Stack)
	j.companions(&b, f)
	j.heldBy(f, &b)

	// What stuck goroutines refer to is theirs.
	for i := range goroutines {
		g := &goroutines[i]
		if fn, ok := j.shared(f, g); ok {
			b.add(g.Cause, decides+1, "goroutines of %s never end, and keep what they refer to", shortName(fn))
			break
		}
	}
	f.Cause, f.Signs = b.result()
}

// companions are sites of the same function, or called by the same function, that
// make the room which what grows is put into: too few samples to be significant by
// themselves, and yet they tell what holds it.
func (j *judge) companions(b *ballot, f *Finding) {
	callers := map[string]int{} // own functions of the stack, by distance
	for _, fr := range f.Stack {
		if _, seen := callers[fr.Func]; !seen && !j.code.standard(fr.Func) && fr.Func != "main.main" {
			callers[fr.Func] = len(callers)
		}
	}
	best := map[CauseID]vote{}
	for _, s := range j.sites {
		last := len(s.v) - 1
		if s.n[last] <= 0 || s.v[last] < s.v[0] {
			continue
		}
		m, ok := j.markOf(s.stack)
		if !ok || m.weight < hints {
			continue
		}
		near := -1
		for _, fr := range s.stack {
			if d, ok := callers[fr.Func]; ok {
				near = d
				break
			}
		}
		if near < 0 {
			// What nothing else explains counts wherever it grows.
			if m.weight >= decides && s.n[last] >= s.n[0]+2 && best[m.cause].weight < 1 {
				best[m.cause] = vote{m.cause, 1, fmt.Sprintf("%s, in %s", m.sign, shortName(s.frame.Func)), false}
			}
			continue
		}
		w := hints
		if near > 0 {
			w = 1
		}
		if s.frame.Func == f.Site.Func {
			w += 1
		}
		if s.v[last] <= s.v[0] {
			w /= 2 // it stood still meanwhile
		}
		if m.weight >= decides {
			w *= 1.5
		}
		if w > best[m.cause].weight {
			best[m.cause] = vote{m.cause, w, fmt.Sprintf("%s, nearby, in %s", m.sign, shortName(s.frame.Func)), s.v[last] > s.v[0]}
		}
	}
	for _, v := range best {
		b.votes = append(b.votes, v)
	}
	slices.SortFunc(b.votes, func(x, y vote) int {
		return cmp.Or(cmp.Compare(y.weight, x.weight), cmp.Compare(x.cause, y.cause), cmp.Compare(x.sign, y.sign))
	})
	for _, word := range []string{"callback", "subscri", "listener", "observer", "register", "hook", "onchange", "onevent", "addhandler"} {
		for _, fr := range f.Stack {
			if !j.code.standard(fr.Func) && strings.Contains(strings.ToLower(shortName(fr.Func)), word) {
				b.add(Callbacks, hints, "%s is called, and what it is given stays", shortName(fr.Func))
				return
			}
		}
	}
	for _, fr := range f.Stack {
		if name := strings.ToLower(shortName(fr.Func)); !j.code.standard(fr.Func) && strings.Contains(name, "intern") && !strings.Contains(name, "internal") {
			b.add(StringInterning, hints, "%s keeps strings", shortName(fr.Func))
			return
		}
	}
}

// shared is the function of the program that a leak of memory has in common with
// one of goroutines: what it allocated, they refer to.
func (j *judge) shared(f, g *Finding) (string, bool) {
	own := map[string]bool{}
	for _, fr := range f.Stack {
		if j.code.own(fr.Func) && fr.Func != "main.main" && !strings.HasPrefix(fr.Func, "main.main.func") {
			own[fr.Func] = true
		}
	}
	for _, fn := range []string{g.Site.Func, g.At.Func} {
		if own[fn] {
			return fn, true
		}
	}
	for _, fr := range g.Stack {
		if own[fr.Func] {
			return fr.Func, true
		}
	}
	if calls(f.Stack, "net/http.(*Transport)") && (g.Cause == BodyNotClosed || g.Cause == NoClientTimeout) ||
		calls(f.Stack, "net/http.(*persistConn)") && (g.Cause == BodyNotClosed || g.Cause == NoClientTimeout) {
		return "net/http", true
	}
	return "", false
}

// httpSigns are those of HTTP clients in an allocation's stack.
func (j *judge) httpSigns(b *ballot, stack []record.Frame) {
	if !calls(stack, "net/http.(*Transport).dialConn") && !calls(stack, "net/http.(*persistConn)") && !calls(stack, "net/http.(*Client)") {
		return
	}
	b.add(BodyNotClosed, hints, "connections of an HTTP client grow")
	for i := range j.goroutines {
		g := &j.goroutines[i]
		switch {
		case waitsForBody(g.group):
			b.add(BodyNotClosed, typical, "connections wait for the body of a response to be read")
		case g.calls("net/http.(*persistConn).roundTrip"):
			b.add(NoClientTimeout, typical, "requests wait for an answer")
		}
	}
}

// httpClient reports whether a group is part of what an HTTP client's request
// makes: the caller in roundTrip, the connection's readLoop and writeLoop.
func httpClient(g *grownGroup) bool {
	return g.calls("net/http.(*persistConn).") || g.calls("net/http.(*Transport).") || g.calls("net/http.(*http2clientStream)") || g.calls("net/http.(*http2ClientConn)")
}

// waitsForBody reports whether goroutines are a client's readLoop that waits until
// the body of a response is read to its end or closed (net/http/transport.go).
func waitsForBody(g *group) bool {
	in := innermost(g.stack)
	return g.waitReason == "select" && strings.HasPrefix(in.Func, "net/http.(*persistConn).readLoop")
}

// clientFinding is the one finding about the goroutines of an HTTP client.
func (j *judge) clientFinding(groups []grownGroup, heap []grown) Finding {
	var b ballot
	var lead *grownGroup // who asks
	var loop *grownGroup
	for i := range groups {
		g := &groups[i]
		in := innermost(g.stack).Func
		switch {
		case waitsForBody(g.group):
			b.add(BodyNotClosed, decides, "%.0f more connections wait until somebody reads the response to its end, or closes it", g.growth)
			loop = g
		case strings.HasPrefix(in, "net/http.(*persistConn).roundTrip"):
			b.add(NoClientTimeout, decides, "%.0f more requests wait for an answer that does not come", g.growth)
			lead = g
		case strings.HasPrefix(in, "net/http.(*Transport).getConn"), strings.HasPrefix(in, "net/http.(*Transport).dial"):
			b.add(NoClientTimeout, typical, "%.0f more requests wait for a connection", g.growth)
			if lead == nil {
				lead = g
			}
		case g.waitReason == "IO wait":
			b.add(NoClientTimeout, breaks, "%.0f more connections wait for what the server sends", g.growth)
			if loop == nil {
				loop = g
			}
		}
	}
	if lead == nil {
		lead = loop
	}
	if lead == nil {
		lead = &groups[0]
	}
	f := j.goroutineFinding(lead)
	f.Cause, f.Signs = b.result()
	switch f.Cause {
	case BodyNotClosed:
		f.Title = "Connections of an HTTP client are never given back: response bodies are not closed"
	case NoClientTimeout:
		f.Title = "Requests of an HTTP client wait for ever: it has no time-out"
	}
	// Who calls stands in what the calls allocate, where the goroutines do not show it.
	if !j.code.own(f.Site.Func) {
		f.Site = f.At
	}
	if !j.code.own(f.Site.Func) {
		if caller, ok := j.clientCaller(heap); ok {
			f.Site = caller
		}
	}
	return f
}

// clientCaller is the function of the program that most of what an HTTP client
// allocates and what stays is allocated for.
func (j *judge) clientCaller(heap []grown) (record.Frame, bool) {
	sum := map[record.Frame]float64{}
	add := func(s *site, growth float64) {
		if growth > 0 && j.code.own(s.frame.Func) && (calls(s.stack, "net/http.(*Client)") || calls(s.stack, "net/http.(*Transport)") || calls(s.stack, "net/http.NewRequest")) {
			sum[s.frame] += growth
		}
	}
	for i := range heap {
		add(heap[i].site, 1e6*heap[i].growth)
	}
	for _, s := range j.sites {
		add(s, s.v[len(s.v)-1]+0.01*float64(s.allocs[len(s.allocs)-1]))
	}
	var best record.Frame
	for f, v := range sum {
		if v > sum[best] || v == sum[best] && f.Func < best.Func {
			best = f
		}
	}
	return best, best.Func != ""
}

// classifyGoroutine concludes why goroutines do not end.
func (j *judge) classifyGoroutine(f *Finding, g *grownGroup, heap []grown) {
	var b ballot
	where := shortName(g.at.Func)
	switch {
	case strings.HasPrefix(g.created.Func, "context.") || calls(g.stack, "context.(*cancelCtx).propagateCancel"):
		b.add(ContextNotDone, decides, "package context started them, to wait for a parent that is never done")
	case strings.HasPrefix(g.waitReason, "chan send"):
		b.add(GoroutineSend, typical, "they wait to send in %s, and nobody receives", where)
	case strings.HasPrefix(g.waitReason, "chan receive"):
		b.add(GoroutineReceive, typical, "they wait to receive in %s, and nobody sends or closes", where)
	case strings.HasPrefix(g.waitReason, "select"):
		b.add(GoroutineSelect, typical, "they wait in a select in %s, and no case of it ever comes", where)
	case g.waitReason == "sleep":
		b.add(GoroutineSleep, typical, "they sleep in %s, and begin again", where)
	case strings.HasPrefix(g.waitReason, "sync.") || g.waitReason == "semacquire":
		b.add(GoroutineLock, typical, "they wait in %s (%s) for one who does not let go", where, g.waitReason)
	case g.waitReason == "IO wait":
		b.add(NoClientTimeout, typical, "they wait for the network in %s, without a deadline", where)
	}
	// Where they wait for a ticker or a timer, that is what was forgotten.
	own := map[string]bool{g.created.Func: true}
	for _, fr := range g.stack {
		if j.code.own(fr.Func) {
			own[fr.Func] = true
		}
	}
	delete(own, "main.main")
	delete(own, "")
	if strings.HasPrefix(g.waitReason, "chan receive") || strings.HasPrefix(g.waitReason, "select") {
		for _, s := range j.sites {
			m, ok := j.markOf(s.stack)
			last := len(s.v) - 1
			if !ok || !own[s.frame.Func] || s.v[last] <= s.v[0] {
				continue
			}
			switch m.cause {
			case TickerForgotten, TimerForgotten:
				b.add(m.cause, typical+hints, "%s in %s, where they wait", m.sign, shortName(s.frame.Func))
			}
		}
	}
	for i := range heap {
		if m, ok := j.markOf(heap[i].stack); ok && own[heap[i].frame.Func] && m.cause == DeferInLoop {
			b.add(DeferInLoop, hints, "%s", m.sign)
		}
	}
	f.Cause, f.Signs = b.result()
}
