// Package alert decides when somebody has to be told about a process, and tells them.
//
// The engine is pure: rules, what was observed and the time go in, alerts come out. An
// alert fires and clears at different thresholds and after a time at each; what is not
// known neither fires nor clears one. It carries what was measured, what to do, and a
// link to the moment. Notifiers print alerts, post them to a webhook, or hand them to an
// Alertmanager; one that hangs holds up nobody.
//
// What to observe is the agent's; what a finding is, the diagnosis'.
package alert

import (
	"cmp"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/diagnose"
)

const (
	// staleAfter is how old a value may be, and how far apart two may be, for the time
	// between them to count as known; where steps are rarer, it is three of them.
	staleAfter = time.Minute
	// unknownAfter is after how long without a value an alert that fires says so.
	unknownAfter = 10 * time.Minute
	// endAfter is for how long a process has to be gone until its alerts end: one that is
	// killed and restarted over and over stays one alert.
	endAfter = 5 * time.Minute
	// maxStep is the longest time between steps that is meant.
	maxStep = 30 * time.Minute
	// maxTracks bounds the states that are kept.
	maxTracks = 100_000
)

// An Observation is a process at an instant.
type Observation struct {
	Process  string
	Time     time.Time // of the values; zero: now
	Up       bool
	Values   map[Signal]float64 // absent: not known
	Findings []diagnose.Finding // of the latest diagnosis; nil: there was none
}

// The states of an alert.
const (
	Firing   = "firing"
	Resolved = "resolved"
)

// An Alert is one process that a rule fired for.
type Alert struct {
	Rule      string              `json:"rule"`
	Process   string              `json:"process"`
	Signal    Signal              `json:"signal"`            // that the rule looks at
	Finding   string              `json:"finding,omitempty"` // ID, where the rule is about findings
	Severity  diagnose.Severity   `json:"severity"`
	State     string              `json:"state"` // firing or resolved
	Since     time.Time           `json:"since"` // when what it is about began
	At        time.Time           `json:"at"`    // when it came into this state
	Value     float64             `json:"value"` // the latest; 0 where the rule goes by no value
	Threshold float64             `json:"threshold"`
	Title     string              `json:"title"`
	Evidence  []diagnose.Evidence `json:"evidence"`
	Remedy    string              `json:"remedy,omitempty"`
	Link      string              `json:"link,omitempty"` // to the moment it fired
	Note      string              `json:"note,omitempty"` // what else is to be said: that the value is not known any more
}

const notInForce = "the rule is no longer in force"

// Key names what the alert is about: the same for firing and resolved.
func (a *Alert) Key() string { return a.Rule + "\x00" + a.Process + "\x00" + a.Finding }

// An Engine has the rules, and remembers for each process where it is with each. It is
// not safe for concurrent use.
type Engine struct {
	rules  []Rule
	repeat time.Duration
	tracks map[track]*progress
	lastUp map[string]time.Time // when the process was last seen up
	last   time.Time            // of the steps
	every  time.Duration        // between the last two
	gap    time.Duration        // that may be between two values
}

type track struct {
	rule             int
	process, finding string
}

// A progress is how far a rule is with a process.
type progress struct {
	known     time.Time // when something was last known
	bad, good time.Time // since when without interruption; zero: it is not
	firing    bool
	sent      time.Time
	count     float64 // OOM kills so far
	counted   bool
	unknown   bool // and it was said
	alert     Alert
}

// New returns an engine. The rules have passed Check.
func New(rules []Rule) *Engine {
	e := &Engine{repeat: 4 * time.Hour, tracks: map[track]*progress{}, lastUp: map[string]time.Time{}}
	for _, r := range rules {
		if !r.Disabled {
			e.rules = append(e.rules, r.complete())
		}
	}
	return e
}

// adopt takes over how far the rules of another engine are, where they have the same
// name and look at the same thing, and returns the end of the alerts of the others.
func (e *Engine) adopt(old *Engine) []Alert {
	var out []Alert
	e.last, e.every, e.gap, e.lastUp = old.last, old.every, old.gap, old.lastUp
	for t, p := range old.tracks {
		was := &old.rules[t.rule]
		t.rule = slices.IndexFunc(e.rules, func(r Rule) bool {
			return r.Name == was.Name && r.Signal == was.Signal && r.matches(t.process)
		})
		switch {
		case t.rule >= 0:
			e.tracks[t] = p
		case p.firing:
			a := copyOf(&p.alert)
			a.State, a.At, a.Note = Resolved, old.last, notInForce
			out = append(out, a)
		}
	}
	slices.SortFunc(out, func(a, b Alert) int { return strings.Compare(a.Key(), b.Key()) })
	return out
}

// Rules returns the rules in force, complete.
func (e *Engine) Rules() []Rule { return slices.Clone(e.rules) }

// A reading is what an observation says about one rule.
type reading struct {
	known     bool
	bad, good bool
	value     float64
	severity  diagnose.Severity
	finding   *diagnose.Finding
}

// Step takes in what was observed, and returns the alerts that came into a new state,
// became more severe, or are due to be said again. They are in a fixed order.
func (e *Engine) Step(now time.Time, obs []Observation) []Alert {
	var out []Alert
	e.gap = max(staleAfter, 3*e.every)
	e.every, e.last = now.Sub(e.last), now
	if e.every < 0 || e.every > maxStep {
		e.every = 0 // the first one, or a clock that was set
	}
	seen := map[track]bool{}
	for i := range obs {
		o := &obs[i]
		if o.Up {
			e.lastUp[o.Process] = now
		} else if _, ok := e.lastUp[o.Process]; !ok {
			e.lastUp[o.Process] = now // it counts from when it was first heard of
		}
		for r := range e.rules {
			if !e.rules[r].matches(o.Process) {
				continue
			}
			for t, got := range e.readings(now, r, o) {
				seen[t] = true
				out = e.step(out, now, t, got, o)
			}
		}
	}
	// What was said of a process that nobody observes any more.
	for t := range e.tracks {
		if !seen[t] {
			out = e.step(out, now, t, reading{}, nil)
		}
	}
	for process, up := range e.lastUp {
		if now.Sub(up) > maxDuration {
			delete(e.lastUp, process)
		}
	}
	slices.SortFunc(out, func(a, b Alert) int {
		return cmp.Or(strings.Compare(a.Process, b.Process), cmp.Compare(b.Severity, a.Severity), strings.Compare(a.Key(), b.Key()))
	})
	return out
}

// readings returns what an observation says about a rule: of one about findings, for
// each finding that there is, or was.
func (e *Engine) readings(now time.Time, r int, o *Observation) map[track]reading {
	rule := &e.rules[r]
	t := track{r, o.Process, ""}
	fresh := o.Time.IsZero() || now.Sub(o.Time).Abs() <= e.gap
	switch {
	case rule.Signal == ProcessGone:
		return map[track]reading{t: {known: true, bad: !o.Up, good: o.Up, severity: rule.Severity}}
	case (!o.Up || !fresh) && rule.Signal != OOMKills: // who was killed is not up
		out := map[track]reading{}
		if rule.Signal != Finding {
			out[t] = reading{}
		}
		return out
	case rule.Signal == Finding:
		return e.findings(r, o)
	}
	v, ok := o.Values[rule.Signal]
	if !ok || math.IsNaN(v) {
		return map[track]reading{t: {}}
	}
	got := reading{known: true, value: v, severity: rule.Severity}
	switch {
	case rule.Signal == OOMKills:
		p := e.tracks[t]
		rose := p != nil && p.counted && v > p.count
		got.bad, got.good = rose, !rose
	case rule.Above != nil:
		got.bad, got.good = v > *rule.Above, v <= *rule.ClearBelow
	default:
		got.bad, got.good = v < *rule.Below, v >= *rule.ClearAbove
	}
	for i := range rule.With {
		got.bad = got.bad && rule.With[i].holds(o.Values)
	}
	return map[track]reading{t: got}
}

func (e *Engine) findings(r int, o *Observation) map[track]reading {
	out := map[track]reading{}
	if o.Findings == nil {
		return out
	}
	for t := range e.tracks {
		if t.rule == r && t.process == o.Process {
			out[t] = reading{known: true, good: true}
		}
	}
	for i := range o.Findings {
		f := &o.Findings[i]
		t := track{r, o.Process, f.ID}
		if f.Severity < *e.rules[r].Level || out[t].bad && out[t].severity >= f.Severity {
			continue
		}
		out[t] = reading{known: true, bad: true, severity: f.Severity, finding: f}
	}
	return out
}

// step moves one rule on for one process. o is nil when the process was not observed.
func (e *Engine) step(out []Alert, now time.Time, t track, got reading, o *Observation) []Alert {
	p := e.tracks[t]
	if p == nil {
		if !got.bad && e.rules[t.rule].Signal != OOMKills || !got.known || len(e.tracks) >= maxTracks {
			return out
		}
		p = &progress{known: now}
		e.tracks[t] = p
	}
	rule := &e.rules[t.rule]
	if !got.known {
		return e.unknown(out, now, t, p)
	}
	if gap := now.Sub(p.known); gap < 0 || gap > e.gap {
		p.bad, p.good = time.Time{}, time.Time{} // nobody knows what was in between
	}
	p.known, p.unknown, p.alert.Note = now, false, ""
	since(&p.bad, got.bad, now)
	since(&p.good, got.good, now)
	switch {
	case !p.firing && got.bad && now.Sub(p.bad) >= rule.For:
		p.firing, p.good = true, time.Time{}
		p.alert = e.describe(now, t, got, o)
		p.alert.State, p.alert.Since, p.alert.At = Firing, p.bad, now
		if rule.Signal == OOMKills {
			p.alert.Value -= p.count
		}
		p.sent = now
		out = append(out, copyOf(&p.alert))
	case p.firing && got.good && now.Sub(p.good) >= rule.ClearFor:
		return e.resolve(out, now, t, p, "")
	case p.firing && got.bad:
		worse := got.severity > p.alert.Severity
		fresh := e.describe(now, t, got, o)
		fresh.State, fresh.Since, fresh.At, fresh.Severity = Firing, p.alert.Since, p.alert.At, max(got.severity, p.alert.Severity)
		if rule.Signal == OOMKills {
			fresh.Value = p.alert.Value + got.value - p.count
		}
		p.alert = fresh
		if worse {
			p.sent = now
			out = append(out, copyOf(&p.alert))
		}
	}
	if rule.Signal == OOMKills {
		p.count, p.counted = got.value, true
	}
	if p.firing && now.Sub(p.sent) >= e.repeat {
		p.sent = now
		out = append(out, copyOf(&p.alert))
	}
	if !p.firing && p.bad.IsZero() && rule.Signal != OOMKills {
		delete(e.tracks, t)
	}
	return out
}

// since keeps in from since when something holds without interruption.
func since(from *time.Time, holds bool, now time.Time) {
	switch {
	case !holds:
		*from = time.Time{}
	case from.IsZero():
		*from = now
	}
}

// unknown is a step without knowing anything. It neither fires nor clears; but who is
// told of an alert is told that nobody knows any more, and the alerts of a process that
// is gone end with it.
func (e *Engine) unknown(out []Alert, now time.Time, t track, p *progress) []Alert {
	gone := now.Sub(e.lastUp[t.process]) >= endAfter
	silent := now.Sub(p.known)
	rule := &e.rules[t.rule]
	switch {
	case !p.firing && (gone || silent > e.gap) && rule.Signal != OOMKills || gone && silent > maxDuration:
		delete(e.tracks, t)
	case p.firing && gone && rule.Signal == ProcessGone && silent > e.gap:
		return e.resolve(out, now, t, p, "the process is not watched any more")
	case p.firing && gone && rule.Signal != ProcessGone:
		return e.resolve(out, now, t, p, "the process has ended")
	case p.firing && !p.unknown && silent >= unknownAfter:
		p.unknown = true
		p.alert.Note = "the value has not been known since " + p.known.UTC().Format(time.RFC3339)
		p.sent = now
		out = append(out, copyOf(&p.alert))
	}
	return out
}

func (e *Engine) resolve(out []Alert, now time.Time, t track, p *progress, note string) []Alert {
	a := copyOf(&p.alert)
	a.State, a.At, a.Note = Resolved, now, note
	if e.rules[t.rule].Signal == OOMKills {
		// The count goes on: another life may be killed too.
		*p = progress{known: p.known, count: p.count, counted: p.counted}
	} else {
		delete(e.tracks, t)
	}
	return append(out, a)
}

// Active returns the alerts that fire, the most severe first.
func (e *Engine) Active() []Alert {
	out := []Alert{}
	for _, p := range e.tracks {
		if p.firing {
			out = append(out, copyOf(&p.alert))
		}
	}
	slices.SortFunc(out, func(a, b Alert) int {
		return cmp.Or(cmp.Compare(b.Severity, a.Severity), strings.Compare(a.Key(), b.Key()))
	})
	return out
}

func copyOf(a *Alert) Alert {
	c := *a
	c.Evidence = slices.Clone(c.Evidence)
	return c
}

// describe makes the alert of a reading: its words and its evidence.
func (e *Engine) describe(now time.Time, t track, got reading, o *Observation) Alert {
	r := &e.rules[t.rule]
	a := Alert{
		Rule: r.Name, Signal: r.Signal, Process: t.process, Finding: t.finding, Severity: got.severity,
		Value: got.value, Threshold: r.threshold(), Remedy: r.Remedy, Evidence: []diagnose.Evidence{},
	}
	if got.finding != nil {
		a.Title = got.finding.Title
		a.Evidence = slices.Clone(got.finding.Evidence)
		a.Remedy = cmp.Or(r.Remedy, got.finding.Remedy)
	} else {
		a.Title = title(r, got.value)
	}
	if o == nil {
		return a
	}
	for _, s := range slices.Sorted(maps.Keys(o.Values)) {
		unit, ok := units[s]
		if v := o.Values[s]; ok && !math.IsNaN(v) && !math.IsInf(v, 0) {
			a.Evidence = append(a.Evidence, unit(string(s), v, "agent"))
		}
	}
	return a
}

// title says in one line what is the case.
func title(r *Rule, v float64) string {
	unit := units[r.Signal]
	text := func(v float64) string { return unit("", v, "").Text }
	switch r.Signal {
	case ProcessGone:
		return "The process has ended and has not come back"
	case OOMKills:
		return "The kernel killed a process for want of memory"
	case HeadroomRatio:
		if r.Below != nil {
			return fmt.Sprintf("%s of the memory limit is left, less than %s", text(v), text(*r.Below))
		}
	case TimeToLimitSeconds:
		if r.Below != nil {
			return fmt.Sprintf("Memory is forecast to reach its limit in %s", text(v))
		}
	case GCCPURatio:
		if r.Above != nil {
			return fmt.Sprintf("GC takes %s of the CPU, more than %s", text(v), text(*r.Above))
		}
	case GoroutineGrowthRatio:
		if r.Above != nil {
			return fmt.Sprintf("There are %s more goroutines than some minutes ago", text(v))
		}
	}
	side, at := "above", r.Above
	if r.Below != nil {
		side, at = "below", r.Below
	}
	return fmt.Sprintf("%s is %s, %s %s", strings.ReplaceAll(string(r.Signal), "_", " "), text(v), side, text(*at))
}
