// Package report shows what an experiment found: in a terminal, as JSON, in the
// benchmark format of Go, as Markdown for a pull request, and as one HTML page
// that needs nothing else.
//
// It judges nothing: every number of a verdict is the verdict's own. From the
// blocks it takes what it draws, the values of pairs, distributions and time
// lines. A result file is hostile: names are cleaned or escaped, an index that
// leads nowhere has a name that says so, what is not a number is left out.
package report

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
	"github.com/heapwright/heapwright/cmd/internal/term"
)

// A subject of a report: a result and the verdict on it, neither of them nil.
type outcome struct {
	*experiment.Result
	verdict *experiment.Verdict
	plan    *experiment.Plan
	file    string // the result's, as a person would type it; may be unknown
}

// of gathers what is reported. A result may lack anything: the verdict is then
// the one that it ended with, or none.
func of(r *experiment.Result, v *experiment.Verdict, file string) *outcome {
	o := &outcome{Result: r, verdict: v, file: file}
	if o.Result == nil {
		o.Result = &experiment.Result{}
	}
	if o.verdict == nil && o.Ending != nil {
		o.verdict = o.Ending.Verdict
	}
	if o.verdict == nil {
		o.verdict = &experiment.Verdict{Outcome: experiment.Undecided, Reasons: []string{"no verdict was reached"}}
	}
	if o.plan = o.Header.Plan; o.plan == nil {
		o.plan = &experiment.Plan{}
	}
	return o
}

// outcome is the word of the verdict: what is not one of the three is none.
func word(o experiment.Outcome) experiment.Outcome {
	switch o {
	case experiment.Pass, experiment.Fail:
		return o
	}
	return experiment.Undecided
}

// name is the experiment's.
func (o *outcome) name() string { return cmp.Or(term.Cut(clean(o.plan.Name), maxName), "experiment") }

// variant is the name of a variant, also of one that the plan does not have.
func (o *outcome) variant(i int) string {
	if i >= 0 && i < len(o.plan.Variants) {
		if name := term.Cut(clean(o.plan.Variants[i].Name), maxName); name != "" {
			return name
		}
	}
	return fmt.Sprintf("variant %d", i)
}

// sweep reports whether there are more than two variants.
func (o *outcome) sweep() bool { return len(o.plan.Variants) > 2 || len(o.verdict.Comparisons) > 1 }

// onFront reports whether no other variant beats this one in everything.
func (o *outcome) onFront(variant int) bool { return slices.Contains(o.verdict.Front, variant) }

// build is the program of a variant, the zero value when it is unknown.
func (o *outcome) build(variant int) experiment.Build {
	for _, b := range o.Header.Builds {
		if b.Variant == variant {
			return b
		}
	}
	return experiment.Build{Variant: variant}
}

// clean makes hostile text safe to print, and no longer than anybody reads.
func clean(s string) string { return term.Cut(term.Clean(s), maxText) }

// maxText bounds a piece of text from a result, in characters.
const maxText = 2000

// maxName bounds a name.
const maxName = 60

func cleanAll(list []string) []string {
	out := make([]string, 0, len(list))
	for _, s := range list {
		if s = strings.TrimSpace(clean(s)); s != "" {
			out = append(out, s)
		}
	}
	return out
}

// settings says in what a variant differs from the subject, in the words of a
// command line.
func settings(v experiment.Variant) []string {
	var out []string
	add := func(key, value string) {
		if value != "" {
			out = append(out, clean(key+"="+value))
		}
	}
	add("GOGC", v.GOGC)
	add("GOMEMLIMIT", v.GOMEMLIMIT)
	if v.GOMAXPROCS != 0 {
		add("GOMAXPROCS", fmt.Sprint(v.GOMAXPROCS))
	}
	add("GODEBUG", v.GODEBUG)
	keys := make([]string, 0, len(v.Env))
	for k := range v.Env {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		add(k, v.Env[k])
	}
	add("toolchain", v.Toolchain)
	add("GOEXPERIMENT", v.GOEXPERIMENT)
	add("revision", v.Revision)
	add("version", v.Version)
	add("flags", strings.Join(v.BuildFlags, " "))
	add("tags", strings.Join(v.Tags, ","))
	add("pgo", v.PGO)
	add("args", strings.Join(v.Args, " "))
	if v.MemoryLimit > 0 {
		add("memory limit", round(float64(v.MemoryLimit), experiment.ByteSize))
	}
	if v.CPUQuota > 0 {
		add("CPU quota", trim(number(v.CPUQuota))+" cores")
	}
	return out
}

// settingsText is the settings in one line.
func (o *outcome) settingsText(variant int) string {
	if variant < 0 || variant >= len(o.plan.Variants) {
		return ""
	}
	if s := settings(o.plan.Variants[variant]); len(s) > 0 {
		return strings.Join(s, " ")
	}
	return "as the subject is"
}

// title is a metric's name for people.
func title(name string) string {
	if m, ok := experiment.MetricByName(name); ok {
		return m.Title
	}
	return cmp.Or(clean(name), "unnamed")
}

// short is a metric's name for a table that has no room for more.
func short(name string) string {
	switch name {
	case "alloc_objects_per_request":
		return "objects/request"
	case "alloc_bytes_per_request":
		return "alloc per request"
	case "sched_latency_p99_seconds":
		return "sched latency p99"
	case "gc_pauses_over_1ms_per_minute":
		return "pauses >1 ms/min"
	case "stw_seconds_per_minute":
		return "stopped/min"
	}
	s, _, _ := strings.Cut(title(name), ",")
	return term.Cut(s, 30)
}

// tiny is a metric's name as the head of a column in a row of many.
func tiny(name string) string {
	if name == "cpu_seconds_per_request" {
		return "CPU/req"
	}
	return strings.TrimPrefix(short(name), "latency ")
}

func unitOf(name string) experiment.Unit {
	m, _ := experiment.MetricByName(name)
	return m.Unit
}

// ordered is the metrics of a comparison as they are shown: the goal, the guards,
// then what was measured besides.
func ordered(list []experiment.MetricVerdict) []experiment.MetricVerdict {
	rank := func(m experiment.MetricVerdict) int {
		switch m.Role {
		case experiment.RoleGoal:
			return 0
		case experiment.RoleGuard:
			return 1
		}
		return 2
	}
	place := map[string]int{}
	for i, m := range experiment.Metrics() {
		place[m.Name] = i - len(experiment.Metrics()) // before those that are unknown
	}
	out := slices.Clone(list)
	slices.SortStableFunc(out, func(a, b experiment.MetricVerdict) int {
		return cmp.Or(cmp.Compare(rank(a), rank(b)), cmp.Compare(place[a.Name], place[b.Name]))
	})
	return out
}

// known reports whether a ratio is one.
func known(ratio float64) bool {
	return ratio > 0 && !math.IsInf(ratio, 0) // NaN is not above 0
}

// differs reports whether the interval leaves out that nothing differs.
func differs(m experiment.MetricVerdict) bool {
	return known(m.Ratio) && known(m.Low) && known(m.High) && (m.Low > 1 || m.High < 1)
}

// levels says how wide the intervals are: of most metrics the same.
func levels(c experiment.Comparison) string {
	var seen []string
	for _, m := range c.Metrics {
		if m.Level > 0 && m.Level < 1 {
			if s := percentOf(m.Level); !slices.Contains(seen, s) {
				seen = append(seen, s)
			}
		}
	}
	if len(seen) == 1 {
		return seen[0]
	}
	return ""
}

// levelsText says at which level intervals hold, and differences are claimed: one
// could be claimed in either direction, and so at half the chance of an error.
func levelsText(c experiment.Comparison) string {
	for _, m := range c.Metrics {
		if m.Level > 0 && m.Level < 1 && levels(c) != "" {
			return fmt.Sprintf("Intervals hold at %s, and differences are claimed at %s.", levels(c), percentOf((1+m.Level)/2))
		}
	}
	return ""
}

// took is how long the experiment ran, 0 when that is not known.
func (o *outcome) took() time.Duration {
	end := time.Time{}
	switch {
	case o.Ending != nil:
		end = o.Ending.Time
	case len(o.Blocks) > 0:
		end = o.Blocks[len(o.Blocks)-1].Start
	}
	if end.IsZero() || o.Header.Started.IsZero() || end.Before(o.Header.Started) {
		return 0
	}
	return end.Sub(o.Header.Started)
}

// ending says how the experiment ended, "" when it ended as it should.
func (o *outcome) ending() string {
	if o.Ending == nil {
		return "The experiment was cut off: this is what was measured until then."
	}
	text := ""
	switch o.Ending.How {
	case experiment.EndDecided, experiment.EndLooks:
		return ""
	case experiment.EndBudget:
		text = "The time was up before every look was reached."
	case experiment.EndInterrupted:
		text = "The experiment was interrupted: this is what was measured until then."
	case experiment.EndRefused:
		text = "The experiment was refused."
	default:
		text = "The experiment ended otherwise than it can: " + clean(o.Ending.How) + "."
	}
	if why := strings.TrimSpace(clean(o.Ending.Text)); why != "" {
		text = strings.TrimSpace(text) + " " + sentence(why)
	}
	return strings.TrimSpace(text)
}

// resume is the command that goes on with what was cut off, "" for what is whole.
func (o *outcome) resume() string {
	if o.Ending != nil && o.Ending.How != experiment.EndInterrupted || len(o.Blocks) == 0 {
		return ""
	}
	return fmt.Sprintf("heapwright compare EXPERIMENT.yaml -o %s --resume", quote(cmp.Or(o.file, "RESULT")))
}

// recompute is the command that comes to the verdict again, from the raw blocks.
func (o *outcome) recompute() string {
	return "heapwright compare verify " + quote(cmp.Or(o.file, "RESULT"))
}

// quote writes an argument as a shell takes it.
func quote(arg string) string {
	arg = clean(arg)
	if arg != "" && !strings.ContainsFunc(arg, func(r rune) bool {
		return !strings.ContainsRune("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_./+,:@%=", r)
	}) {
		return arg
	}
	return "'" + strings.ReplaceAll(arg, "'", `'\''`) + "'"
}

// sentence gives text that is one a full stop.
func sentence(s string) string {
	if s == "" || strings.HasSuffix(s, ".") || strings.HasSuffix(s, "!") || strings.HasSuffix(s, "?") {
		return s
	}
	return s + "."
}

// note is what is to be said about a metric beside its verdict, "" for nothing.
func (o *outcome) note(m experiment.MetricVerdict) string {
	notes := cleanAll([]string{m.Why})
	looks := o.plan.Design.Looks
	if before := len(looks) > 0 && m.N < looks[0]; m.Verdict == experiment.Inconclusive && m.MorePairs > 0 && !before {
		notes = append(notes, fmt.Sprintf("about %s would decide it", plural(m.MorePairs, "more pair")))
	}
	return strings.Join(notes, "; ")
}

// dropped is what does not count, with blocks of one reason together.
func (o *outcome) dropped() []string {
	var reasons, out []string
	blocks := map[string][]string{}
	for _, d := range cleanAll(first(o.verdict.Dropped, maxRaw)) {
		number, reason, ok := strings.Cut(strings.TrimPrefix(d, "block "), ": ")
		if _, err := strconv.Atoi(number); !ok || err != nil || !strings.HasPrefix(d, "block ") {
			number, reason = "", d
		}
		if _, ok := blocks[reason]; !ok {
			reasons = append(reasons, reason)
			blocks[reason] = nil
		}
		if number != "" {
			blocks[reason] = append(blocks[reason], number)
		}
	}
	for _, reason := range first(reasons, maxLines) {
		switch n := blocks[reason]; {
		case len(n) == 0:
			out = append(out, reason)
		case len(n) == 1:
			out = append(out, "block "+n[0]+": "+reason)
		case len(n) > 12:
			out = append(out, fmt.Sprintf("%d blocks, %s to %s: %s", len(n), n[0], n[len(n)-1], reason))
		default:
			out = append(out, "blocks "+strings.Join(n, ", ")+": "+reason)
		}
	}
	return out
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// machine says where it ran.
func (o *outcome) machine() string {
	m := o.Header.Machine
	var out []string
	if cpu := strings.TrimSpace(clean(m.CPU)); cpu != "" {
		out = append(out, cpu)
	}
	if m.Cores > 0 {
		out = append(out, plural(m.Cores, "core"))
	}
	if m.Memory > 0 {
		out = append(out, round(float64(m.Memory), experiment.ByteSize))
	}
	if k := strings.TrimSpace(clean(m.Kernel)); k != "" {
		out = append(out, k)
	}
	if c := strings.TrimSpace(clean(m.Cgroup)); c != "" {
		out = append(out, "cgroups "+c)
	}
	return strings.Join(out, ", ")
}

// grade says what a grade means.
func grade(g string) string {
	switch g {
	case "A":
		return "grade A: under 10% of the CPU was used by others"
	case "B":
		return "grade B: 10 to 50% of the CPU was used by others"
	case "C":
		return "grade C: more than half of the CPU was used by others"
	}
	return "not graded"
}

// hash is a hash as short as git writes one.
func hash(sum string) string {
	sum = clean(sum)
	if len(sum) > 12 {
		return sum[:12]
	}
	return sum
}

// rate is requests a second, of which somebody chose the number.
func rate(r float64) string { return trim(number(r)) + "/s" }

// smallest is the smallest margin that a calibration allows.
func smallest(c experiment.Calibration) string {
	if !(c.Smallest > 0) {
		return "-"
	}
	return value(c.Smallest, experiment.Share)
}

// deciding reports whether the verdict depends on the metric.
func deciding(m experiment.MetricVerdict) bool {
	return m.Role == experiment.RoleGoal || m.Role == experiment.RoleGuard
}
