// Package blocked finds goroutines that wait for minutes where nobody should.
package blocked

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/view"
	"github.com/heapwright/heapwright/record"
)

const (
	id = "HW3003"

	// long is the wait, in seconds, from which on a lock or a send is not slow but
	// stuck. The runtime stamps a wait at the first GC that meets it, so it is
	// known too short, never too long.
	long = 60
	// Two goroutines that wait for a lock for a minute are a deadlock; sends come
	// in numbers when nobody receives.
	leastLocks = 2
	leastSends = 10
	// leastIdle is how many goroutines waiting as idle workers do are worth a word.
	leastIdle = 1000
	topSites  = 5
)

// kinds of waits, by the runtime's words (runtime/runtime2.go, waitReasonStrings).
var (
	locks = []string{"sync.Mutex.Lock", "sync.RWMutex.Lock", "sync.RWMutex.RLock"}
	sends = []string{"chan send", "chan send (nil chan)", "chan receive (nil chan)", "select (no cases)"}
	idles = []string{"chan receive", "select", "sync.Cond.Wait", "semacquire", "sync.WaitGroup.Wait"}
)

// Rule is HW3003.
var Rule = rule.Rule{
	ID:         id,
	Name:       "blocked",
	Title:      "Goroutines are blocked for minutes on one site",
	Severities: []rule.Severity{rule.Info, rule.Warning},
	What:       `Many goroutines wait at the same place, and the longest has waited for a minute or more.`,
	Why: `A send that nobody receives, a lock that nobody gives back: these goroutines will not come back by themselves. They hold
		memory, and often a request or a connection.`,
	How: `Goroutines of the newest snapshot by wait reason and place, by the first frame that is not the standard library's. Ten or
		more in a channel send, on a nil channel or in an empty select, or two or more in a Mutex or RWMutex lock, are a warning when the longest has
		waited for a minute. Channel receives, selects, condition variables and semaphores look the same in idle workers and are
		information from 1,000 on. The runtime stamps a wait at the first GC that meets it: waits are at least as long as said.`,
	Remedy:      `At the place named: receive until the channel is closed, or send in a select with ctx.Done(); look for the path that returns without Unlock.`,
	FalseAlarms: `Producers that wait for a consumer that is meant to be slow.`,
	Since:       "0.1",
	Check:       check,
}

type group struct {
	reason  string
	at      record.Frame
	created record.Frame
	count   int
	longest float64
}

func check(v *view.View) []rule.Finding {
	type key struct {
		reason string
		at     record.Frame
	}
	groups := make(map[key]*group)
	for _, g := range v.LastGoroutines() {
		if g.Status != "waiting" || len(g.Stack) == 0 {
			continue
		}
		k := key{g.WaitReason, v.UserFrame(g.Stack)}
		if groups[k] == nil {
			groups[k] = &group{reason: g.WaitReason, at: k.at, created: g.CreatedBy}
		}
		groups[k].count += g.Count
		groups[k].longest = max(groups[k].longest, g.WaitMax.Seconds())
	}
	var bad, idle []*group
	for _, g := range groups {
		switch {
		case g.longest < long:
		case slices.Contains(locks, g.reason) && g.count >= leastLocks,
			slices.Contains(sends, g.reason) && g.count >= leastSends:
			bad = append(bad, g)
		case slices.Contains(idles, g.reason) && g.count >= leastIdle:
			idle = append(idle, g)
		}
	}
	f := rule.Finding{ID: id, Severity: rule.Warning, Confidence: rule.High,
		ConfidenceReason: "the wait reason, the place and the least time waited were read from the goroutines"}
	if len(bad) == 0 {
		bad = idle
		f.Severity = rule.Info
		f.Confidence, f.ConfidenceReason = rule.Low, "idle workers wait in the same way"
	}
	if len(bad) == 0 {
		return nil
	}
	slices.SortFunc(bad, func(a, b *group) int {
		return cmp.Or(cmp.Compare(b.count, a.count), cmp.Compare(a.at.Func, b.at.Func), cmp.Compare(a.at.Line, b.at.Line), cmp.Compare(a.reason, b.reason))
	})
	top := bad[0]
	total := 0
	for _, g := range bad {
		total += g.count
	}
	f.Title = fmt.Sprintf("%d goroutines have waited in %s for %s or more", top.count, top.reason, rule.FormatSeconds(long))
	f.Evidence = []rule.Evidence{
		rule.Count("blocked_goroutines", float64(total), "goroutines"),
		rule.Seconds("blocked_longest_seconds", top.longest, "goroutines"),
	}
	f.Cause = fmt.Sprintf("%d goroutines wait in %s at %s, the longest for at least %s.", top.count, top.reason, rule.FrameString(top.at), rule.FormatSeconds(top.longest))
	if top.created.Func != "" {
		f.Cause += fmt.Sprintf(" They were started at %s.", rule.FrameString(top.created))
	}
	for _, g := range bad[:min(len(bad), topSites)] {
		f.Sites = append(f.Sites, rule.At(g.at, "blocked_at", fmt.Sprintf("%d in %s", g.count, g.reason)))
	}
	switch {
	case slices.Contains(locks, top.reason):
		f.Remedy = fmt.Sprintf("Find who holds the lock that is taken at %s: a path that returns or blocks without Unlock.", rule.FrameString(top.at))
	case f.Severity == rule.Info:
		f.Remedy = fmt.Sprintf("Check that so many goroutines are meant to wait at %s, and that something ends them.", rule.FrameString(top.at))
	default:
		f.Remedy = fmt.Sprintf("At %s, make sure that somebody receives until the end, or send in a select with ctx.Done().", rule.FrameString(top.at))
	}
	return []rule.Finding{f}
}
