package leak

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
	"github.com/heapwright/heapwright/record"
)

// maxGroups bounds the groups of goroutines that are followed: the largest at the end.
const maxGroups = 4096

// A group is the goroutines that one go statement made and that wait for the same
// at the same place, over time.
type group struct {
	created    record.Frame
	at         record.Frame // where they wait: the innermost frame of the program's own, else any
	waitReason string
	stack      []record.Frame
	waitMax    time.Duration
	curve
}

// A grownGroup is a group whose growth is significant.
type grownGroup struct {
	*group
	assessment
	p float64
}

func (j *judge) judgeGoroutines() {
	var snaps []*record.Goroutines
	for _, g := range j.o.Goroutines {
		if g != nil && (len(snaps) == 0 || g.Time.After(snaps[len(snaps)-1].Time)) {
			snaps = append(snaps, g)
		}
	}
	j.out.GoroutineSnapshots = len(snaps)
	if len(snaps) < minSnapshots {
		return
	}
	idx := thin(len(snaps), maxSnapshots)
	index := map[string]*group{}
	for k, i := range idx {
		for n := range snaps[i].Groups {
			g := &snaps[i].Groups[n]
			if g.System || g.Count <= 0 || len(g.Stack) == 0 {
				continue
			}
			at := j.code.site(g.Stack)
			key := fmt.Sprint(g.CreatedBy.Func, "\x00", g.CreatedBy.Line, "\x00", at.Func, "\x00", at.Line, "\x00", g.WaitReason, "\x00", innermost(g.Stack).Func)
			e := index[key]
			if e == nil {
				if len(index) >= 2*maxGroups {
					continue
				}
				e = &group{created: g.CreatedBy, at: at, waitReason: g.WaitReason, curve: newCurve(len(idx))}
				e.allocs = nil
				index[key] = e
				j.groups = append(j.groups, e)
			}
			e.v[k] += float64(g.Count)
			e.n[k] += int64(g.Count)
			if e.stack == nil {
				e.stack = g.Stack[:min(len(g.Stack), maxStack)]
			}
			if k == len(idx)-1 {
				e.waitMax = max(e.waitMax, g.WaitMax)
			}
		}
	}
	last := len(idx) - 1
	slices.SortStableFunc(j.groups, func(a, b *group) int { return cmp.Compare(b.v[last], a.v[last]) })
	j.groups = j.groups[:min(len(j.groups), maxGroups)]
	var ps []float64
	var tested []grownGroup
	for _, g := range j.groups {
		for k, i := range idx {
			g.t[k] = snaps[i].Time.Sub(snaps[0].Time).Seconds()
		}
		a := assess(&g.curve, false, false, j.alpha)
		if a.events < 8 { // it could not be significant
			continue
		}
		tested = append(tested, grownGroup{g, a, 0})
		ps = append(ps, a.p())
	}
	for i, p := range holm(ps, len(ps)) {
		if g := tested[i]; p <= j.alpha && g.growth >= leastGoroutines {
			g.p = p
			j.goroutines = append(j.goroutines, g)
		}
	}
	slices.SortStableFunc(j.goroutines, func(a, b grownGroup) int { return cmp.Compare(b.growth, a.growth) })
}

// innermost is the innermost frame that is not the runtime's.
func innermost(stack []record.Frame) record.Frame {
	for _, f := range stack {
		if !isRuntime(f.Func) && !strings.HasPrefix(f.Func, "sync.") && !strings.HasPrefix(f.Func, "internal/") {
			return f
		}
	}
	if len(stack) > 0 {
		return stack[0]
	}
	return record.Frame{}
}

func (g *grownGroup) perHour() Growth {
	return Growth{
		PerHour: 3600 * g.rate, Low: 3600 * g.low, High: 3600 * g.high, Start: g.start, End: g.end,
		Unit: "count", Series: g.picture(),
	}
}

// sortGoroutines puts groups that grow where they belong, and returns those that
// leak.
func (j *judge) sortGoroutines() []grownGroup {
	var leaks []grownGroup
	for i := range j.goroutines {
		g := &j.goroutines[i]
		kind, text := courseText(g.course)
		switch {
		case g.course == steady && j.clients(g):
			kind, text = Load, "clients that connect bring their goroutines along: these wait for what they send"
		case g.course == steady:
			leaks = append(leaks, *g)
			continue
		case g.course == unclear:
			j.unclear = append(j.unclear, fmt.Sprintf("goroutines in %s (+%.0f)", rule.FrameString(g.at), g.growth))
			continue
		case g.course == flat:
			continue
		}
		if len(j.out.NotLeaks) < maxNotLeaks {
			j.out.NotLeaks = append(j.out.NotLeaks, NotLeak{Kind: kind, What: Goroutine, Site: g.at, Growth: g.perHour(), Text: text})
		}
	}
	return leaks
}

// clients reports whether goroutines wait for what somebody sends on a connection
// that they serve.
func (j *judge) clients(g *grownGroup) bool {
	return g.waitReason == "IO wait" && !g.calls("net/http.(*persistConn)") && !g.calls("net/http.(*Transport)") && !g.calls("net/http.(*Client)") &&
		!g.calls("net.(*Dialer)")
}

// calls reports whether a function with the prefix is on the stack.
func (g *group) calls(prefix string) bool { return calls(g.stack, prefix) }

func calls(stack []record.Frame, prefix string) bool {
	return slices.ContainsFunc(stack, func(f record.Frame) bool { return strings.HasPrefix(f.Func, prefix) })
}

// goroutineFindings are the groups that leak; what an HTTP client's connection
// makes is one finding.
func (j *judge) goroutineFindings(leaks []grownGroup, heap []grown) []Finding {
	var out []Finding
	var client []grownGroup
	for i := range leaks {
		g := &leaks[i]
		if httpClient(g) {
			client = append(client, *g)
			continue
		}
		f := j.goroutineFinding(g)
		j.classifyGoroutine(&f, g, heap)
		out = append(out, f)
	}
	if len(client) > 0 {
		out = append(out, j.clientFinding(client, heap))
	}
	return merge(out)
}

// merge puts together findings of one go statement and one cause: the same loop
// may be found at several of its lines.
func merge(in []Finding) []Finding {
	var out []Finding
	for _, f := range in {
		k := slices.IndexFunc(out, func(o Finding) bool { return o.Cause == f.Cause && o.Site == f.Site })
		if k < 0 {
			out = append(out, f)
			continue
		}
		o := &out[k]
		o.Growth.PerHour += f.Growth.PerHour
		o.Growth.Low += f.Growth.Low
		o.Growth.High += f.Growth.High
		o.Growth.Start += f.Growth.Start
		o.Growth.End += f.Growth.End
		for s := range min(len(o.Growth.Series), len(f.Growth.Series)) {
			o.Growth.Series[s] += f.Growth.Series[s]
		}
	}
	return out
}

func (j *judge) goroutineFinding(g *grownGroup) Finding {
	f := Finding{
		Kind: Goroutine, Severity: rule.Warning, Site: g.created, Stack: g.stack, WaitReason: g.waitReason, At: g.at,
		Growth: g.perHour(), PValue: g.p,
		Evidence: []rule.Evidence{
			rule.Count("goroutines_start_count", g.start, "goroutines"),
			rule.Count("goroutines_end_count", g.end, "goroutines"),
		},
	}
	if f.Site.Func == "" {
		f.Site = g.at
	}
	f.Stuck = g.waitMax.Seconds() >= j.out.WindowSeconds/2 && g.waitMax > 0
	if g.waitMax > 0 {
		f.Evidence = append(f.Evidence, rule.Seconds("longest_wait_seconds", g.waitMax.Seconds(), "goroutines"))
	}
	if n := j.proven(g); n > 0 {
		f.Evidence = append(f.Evidence, rule.Count("proven_leaked_count", float64(n), "the target's goroutineleak profile"))
	}
	wait := g.waitReason
	if wait == "" {
		wait = "run"
	} else {
		wait = "wait in " + wait
	}
	f.Title = fmt.Sprintf("Goroutines started in %s never end: they %s at %s", shortName(f.Site.Func), wait, shortName(g.at.Func))
	f.Confidence, f.ConfidenceReason = j.confidence(g.p, fmt.Sprintf("%.0f goroutines more in %d snapshots, steady", g.growth, j.out.GoroutineSnapshots))
	if j.proven(g) > 0 {
		f.Confidence, f.ConfidenceReason = rule.High, "the target's own collector found that nothing can wake them"
	}
	return f
}

// proven is how many goroutines of a group the target's own collector found that
// nothing can wake: by its profile, or by their status after that (_Gleaked, Go 1.27).
func (j *judge) proven(g *grownGroup) int { return j.leaked()[g.at] }

// leaked are the goroutines that the target's own collector found, by where they
// wait.
func (j *judge) leaked() map[record.Frame]int {
	out := map[record.Frame]int{}
	add := func(snap *record.Goroutines, all bool) {
		if snap == nil {
			return
		}
		seen := map[record.Frame]int{}
		for i := range snap.Groups {
			if l := &snap.Groups[i]; len(l.Stack) > 0 && (all || l.Status == "leaked") {
				seen[j.code.site(l.Stack)] += l.Count
			}
		}
		for at, n := range seen {
			out[at] = max(out[at], n)
		}
	}
	add(j.o.GoroutineLeaks, true)
	if n := len(j.o.Goroutines); n > 0 {
		add(j.o.Goroutines[n-1], false)
	}
	return out
}

// provenFindings are goroutines that are proven to have leaked and that did not
// become significantly more while they were watched.
func (j *judge) provenFindings(before []Finding) []Finding {
	var out []Finding
	for at, n := range j.leaked() {
		if slices.ContainsFunc(before, func(f Finding) bool { return f.At == at }) {
			continue
		}
		g := &grownGroup{group: &group{at: at}, p: 0}
		for _, x := range j.groups {
			if x.at == at {
				g.group = x
				break
			}
		}
		g.start, g.end = float64(n), float64(n)
		f := j.goroutineFinding(g)
		f.Growth = Growth{Start: float64(n), End: float64(n), Unit: "count"}
		if n < leastGoroutines {
			f.Severity = rule.Info
		}
		f.Title = fmt.Sprintf("%s can never run again, at %s", plural(n, "goroutine"), shortName(at.Func))
		j.classifyGoroutine(&f, g, nil)
		out = append(out, f)
	}
	slices.SortFunc(out, func(x, y Finding) int {
		return cmp.Or(cmp.Compare(y.Growth.End, x.Growth.End), cmp.Compare(x.At.Func, y.At.Func), cmp.Compare(x.At.Line, y.At.Line))
	})
	return out
}
