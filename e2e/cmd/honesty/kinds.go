package main

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A kind of experiment, of which the truth is known.
type kind struct {
	Name  string
	Env   string // NAME=VALUE of the variant that is to be found, "" when there is nothing to find
	Finds string // the metric that shows it
	Drift bool
	Duet  bool
	Looks []int // pairs at which it may end, after the first; the others have one look
}

var kinds = []kind{
	{Name: "a/a"},
	{Name: "drift", Drift: true},
	// A tenth is not far above the noise of blocks that are so short: it has more looks,
	// and nothing beside it to decide, as who asks for so little would declare.
	{Name: "burn", Env: "BURN_RATIO=0.1", Finds: "cpu_seconds_per_request", Looks: []int{16, 24, 32}},
	{Name: "alloc", Env: "ALLOC_FACTOR=2", Finds: "alloc_bytes_per_request"},
	{Name: "duet", Duet: true},
}

// null says that there is nothing to find.
func (k kind) null() bool { return k.Env == "" }

// file is the kind's name in the names of files.
func (k kind) file(n int) string {
	return fmt.Sprintf("%s-%03d", strings.ReplaceAll(k.Name, "/", ""), n)
}

// declared are the metrics that the plans have a margin for, the goal first, with the
// margin. Others are exploratory.
func (k kind) declared() []declared {
	switch {
	case k.Duet:
		return []declared{{"latency_p99_seconds", 0.25}, {"latency_p50_seconds", 0.10}}
	case len(k.Looks) > 0:
		return []declared{{k.Finds, 0.02}}
	}
	return []declared{
		{"cpu_seconds_per_request", 0.03},
		{"alloc_bytes_per_request", 0.05},
		{"gc_cycles_per_second", 0.10},
		{"rss_mean_bytes", 0.10},
	}
}

type declared struct {
	metric string
	margin float64
}

// An item is one experiment of the campaign.
type item struct {
	kind kind
	n    int
}

// campaign is so many experiments of each kind, mixed evenly: however early it ends,
// it has had about the same share of each.
func campaign(counts map[string]int) []item {
	type placed struct {
		item
		at float64
	}
	var all []placed
	for _, k := range kinds {
		for n := range counts[k.Name] {
			all = append(all, placed{item{k, n}, (float64(n) + 0.5) / float64(counts[k.Name])})
		}
	}
	slices.SortStableFunc(all, func(a, b placed) int { return cmp.Compare(a.at, b.at) })
	out := make([]item, len(all))
	for i, p := range all {
		out[i] = p.item
	}
	return out
}

// A protocol is how long an experiment is.
type protocol struct {
	Pairs   int           `json:"pairs"`
	Warmup  time.Duration `json:"warmup_ns"`
	Measure time.Duration `json:"measure_ns"`
	Rate    int           `json:"rate_per_second"`
}

// seconds is about how long an experiment of a switchback takes.
func (p protocol) seconds() float64 {
	const start = 250 * time.Millisecond // and stop
	return float64(2*p.Pairs) * (p.Warmup + p.Measure + start).Seconds()
}

// plan is the file of an experiment. The variants of a null have different
// environments, which change nothing, so that nothing can tell that they are the
// same.
func (p protocol) plan(it item, orders string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "schema: heapwright.experiment/1\nname: %s %d\n", it.kind.Name, it.n)
	fmt.Fprintf(&b, "subject:\n  command: [%q]\n  args: [-listen, \"127.0.0.1:{port}\"]\n  ready:\n    http: http://127.0.0.1:{port}/ready\n    within: 20s\n", orders)
	fmt.Fprintf(&b, "variants:\n  - name: a\n    env: {ARM: a}\n  - name: b\n    env: {ARM: b")
	if name, value, ok := strings.Cut(it.kind.Env, "="); ok {
		fmt.Fprintf(&b, ", %s: %q", name, value)
	}
	fmt.Fprintf(&b, "}\nload:\n  http:\n    protocol: http1\n    requests:\n      - url: http://127.0.0.1:{port}/orders/{seq}\n")
	fmt.Fprintf(&b, "  rate: %d/s\n  arrivals: poisson\n  connections: 16\n", p.Rate)
	for i, d := range it.kind.declared() {
		switch i {
		case 0:
			fmt.Fprintf(&b, "goal:\n  metric: %s\n  margin: %g%%\n", d.metric, 100*d.margin)
		case 1:
			fmt.Fprintf(&b, "guards:\n  - metric: %s\n    margin: %g%%\n", d.metric, 100*d.margin)
		default:
			fmt.Fprintf(&b, "  - metric: %s\n    margin: %g%%\n", d.metric, 100*d.margin)
		}
	}
	design := "switchback"
	if it.kind.Duet {
		design = "duet"
	}
	looks := strconv.Itoa(p.Pairs)
	for _, l := range it.kind.Looks {
		looks += ", " + strconv.Itoa(l)
	}
	fmt.Fprintf(&b, "design:\n  kind: %s\n  calibration: 0\n  looks: [%s]\n  warmup: %v\n  measure: %v\n", design, looks, p.Warmup, p.Measure)
	fmt.Fprintf(&b, "budget:\n  time: 5m\nseed: %d\n", seed(it))
	return b.String()
}

// seed differs between the experiments of a campaign.
func seed(it item) int {
	return 1000*(1+slices.IndexFunc(kinds, func(k kind) bool { return k.Name == it.kind.Name })) + it.n
}
