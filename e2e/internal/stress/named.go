package stress

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A NamedPlan is a plan that asks one thing: does the diagnosis of a service owner name
// what happens. Before the first fault its target has lived and served for a minute: of
// that stretch nothing is to be said that is new about it.
type NamedPlan struct {
	Name    string
	Subject string
	Kinds   []string // in the order in which they happen; none: only a healthy minute
	text    func(kinds []string) string
}

// Text is the plan.
func (p NamedPlan) Text() string { return p.text(p.Kinds) }

// Again is the plan of the kinds that a run did not come to, or not to the end of, since
// the machine was too busy for it; false when there are none.
func (p NamedPlan) Again(all []Naming) (NamedPlan, bool) {
	var kinds []string
	for _, k := range p.Kinds {
		if !slices.ContainsFunc(all, func(n Naming) bool { return n.Kind == k && n.Whole }) {
			kinds = append(kinds, k)
		}
	}
	p.Name, p.Kinds = p.Name+"-again", kinds
	return p, len(kinds) > 0
}

// A serious fault takes ten seconds to come and stays for twenty, as things do in
// production. Levels are beside a limit of 480 MiB and a core.
var seriousInside = map[string]string{
	"cpu.quota":     "{kind: cpu.quota, level: 0.1 cores, ramp: 10s, hold: 20s}",
	"gc.forced":     "{kind: gc.forced, level: 4/s, ramp: 10s, hold: 20s}",
	"heap.churn":    "{kind: heap.churn, level: 200MiB/s, ramp: 10s, hold: 20s}",
	"heap.retain":   "{kind: heap.retain, level: 120MiB, ramp: 10s, hold: 20s}",
	"heap.pointers": "{kind: heap.pointers, level: 80MiB, ramp: 10s, hold: 20s}",
	"heap.large":    "{kind: heap.large, level: 100MiB, size: 1MiB, ramp: 10s, hold: 20s}",
	"goroutines":    "{kind: goroutines, level: 20000, ramp: 10s, hold: 20s}",
	"stacks":        "{kind: stacks, level: 60MiB, size: 64KiB, ramp: 10s, hold: 20s}",
	"finalizers":    "{kind: finalizers, level: 2000/s, ramp: 10s, hold: 20s}",
	"heap.off":      "{kind: heap.off, level: 120MiB, ramp: 10s, hold: 20s}",
	"reclaim":       "{kind: reclaim, level: 60%, ramp: 10s, hold: 20s}",
	"limit.hard":    "{kind: limit.hard, level: 50%, ramp: 10s, steps: 4, hold: 20s}",
}

var seriousOutside = map[string]string{
	"limit.soft":  "{kind: limit.soft, level: 96MiB, ramp: 10s, hold: 20s}",
	"cpu.quota":   "{kind: cpu.quota, level: 0.04 cores, ramp: 10s, hold: 20s}",
	"connections": `{kind: connections, level: 400, address: "127.0.0.1:{port}", ramp: 10s, hold: 20s}`,
	"freeze":      "{kind: freeze, level: 2s}",
	"pagecache":   "{kind: pagecache, level: 140MiB, ramp: 10s, hold: 20s}",
	"sibling":     "{kind: sibling, level: 100MiB, ramp: 10s, hold: 20s}",
	"shared":      "{kind: shared, level: 100MiB, ramp: 10s, hold: 20s}",
	"reclaim":     "{kind: reclaim, level: 60%, ramp: 10s, hold: 20s}",
	"limit.hard":  "{kind: limit.hard, level: 50%, ramp: 10s, steps: 4, hold: 20s}",
}

// NamedPlans are so many runs of every kind, and healthy minutes beside them. upstream
// and leaf are as for [Subjects].
func NamedPlans(runs int, upstream, leaf string) (all []NamedPlan) {
	subjects := map[string]Subject{}
	for _, s := range Subjects(upstream, leaf) {
		subjects[s.Name] = s
	}
	service, nats := subjects["service"], subjects["nats"]
	outside := maps.Clone(seriousOutside)
	outside["proxy.delay"] = fmt.Sprintf("{kind: proxy.delay, name: dependency, upstream: %q, level: 100ms, ramp: 10s, hold: 20s}", leaf)
	files := service
	files.Name = "service with files"
	files.start = strings.Replace(service.start, `"-addr"`, `"-files", "64", "-addr"`, 1)
	for i := range runs {
		add := func(s Subject, faults map[string]string, kinds ...string) {
			// Each run begins with another kind, so that none is always the first, and
			// what one leaves behind does not always meet the same.
			turn := i * len(kinds) / max(1, runs)
			kinds = slices.Concat(kinds[turn:], kinds[:turn])
			n := 0
			for some := range slices.Chunk(kinds, 3) {
				n++
				all = append(all, NamedPlan{fmt.Sprintf("named-%s-%d-%d", strings.ReplaceAll(s.Name, " ", "-"), i+1, n), s.Name, slices.Clone(some),
					func(kinds []string) string { return s.named(faults, kinds) }})
			}
		}
		add(service, seriousInside, "gc.forced", "heap.retain", "goroutines", "heap.off", "heap.churn", "stacks", "cpu.quota", "heap.pointers", "finalizers", "heap.large", "limit.hard")
		add(nats, outside, "sibling", "freeze", "limit.soft", "proxy.delay", "shared", "cpu.quota", "connections", "reclaim", "pagecache", "limit.hard")
		add(files, seriousInside, "reclaim")
	}
	return all
}

// HealthyMinutes are n plans in which nothing happens for a minute, of four servers
// under load.
func HealthyMinutes(n int, upstream, leaf string) (all []NamedPlan) {
	subjects := Subjects(upstream, leaf)
	for i := range n {
		s := subjects[i%len(subjects)]
		// A plan has a fault; it comes after what is looked at.
		all = append(all, NamedPlan{fmt.Sprintf("healthy-%s-%d", s.Name, i/len(subjects)+1), s.Name, nil,
			func([]string) string {
				return s.named(map[string]string{"freeze": "{kind: freeze, level: 100ms}"}, []string{"freeze"})
			}})
	}
	return all
}

// named is the plan of a subject for faults.
func (s Subject) named(faults map[string]string, kinds []string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "schema: heapwright.stress/1\nname: %s\ntarget:\n  memory_limit: 480MiB\n  cpu_quota: 1\n  start:\n", strings.ReplaceAll(s.Name, " ", "-"))
	start := s.start
	if !slices.Contains(kinds, "proxy.delay") {
		start = strings.ReplaceAll(start, "{proxy.dependency}", s.depends)
	}
	b.WriteString(start)
	b.WriteString(`before: 62s
between: 1s
recovery: {within: 30s, stable: 2s, memory: 30s, watch: 3s}
hypothesis:
- {metric: restarts, at_most: 0}
abort:
- {metric: latency_p99_seconds, at_most: 1m}
- {metric: error_ratio, at_most: 100%}
- {metric: ready, at_least: 1, for: 60s}
- {metric: gc_cpu_ratio, at_most: 100%}
faults:
`)
	for _, k := range kinds {
		b.WriteString("- " + faults[k] + "\n")
	}
	return b.String()
}

// A Naming is what became of one fault.
type Naming struct {
	Subject string   `json:"subject"`
	Kind    string   `json:"kind"`
	Whole   bool     `json:"whole"` // it happened, and for as long as it was to
	Rule    bool     `json:"rule"`  // there is one that names it
	Named   []string `json:"named"`
	Others  []string `json:"others"`
	After   *float64 `json:"after_seconds"`
}

// Namings are those of a result.
func Namings(subject string, r *Result) (all []Naming) {
	for _, f := range r.Report.Faults {
		n := Naming{subject, f.Kind, f.Happened && f.AbortedAfter == nil, len(f.Expected) > 0, f.Named, f.Others, f.Detected}
		if len(n.Named) == 0 {
			n.After = nil
		}
		all = append(all, n)
	}
	return all
}

// Alarms are the findings of a result's healthy minute; false when there was none.
func Alarms(r *Result) ([]Finding, bool) {
	for _, d := range r.Report.Findings {
		if d.Fault == nil && d.Error == nil {
			return d.Findings, true
		}
	}
	return nil, false
}
