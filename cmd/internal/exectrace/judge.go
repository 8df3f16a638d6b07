package exectrace

import (
	"fmt"
	"slices"
	"strings"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
	"github.com/heapwright/heapwright/record"
)

// The thresholds. Shares are of the time in which goroutines ran, could have run,
// or waited for the collector.
const (
	// As HW2002 has them: background marking has 25% of the Ps, and a pacer that
	// keeps up needs hardly any assist. Below 5% nobody sees it in a latency.
	infoAssist = 0.05
	warnAssist = 0.15
	// A kind of goroutine may be hit hard while the average is not: the one that
	// allocates. It has to matter: 1% of the Ps.
	kindAssist = 0.20
	kindRuns   = 0.01

	// The runtime asks a goroutine to stop by a signal, which takes tens of
	// microseconds: a millisecond is another order, and 10 ms are a time slice
	// (runtime/proc.go, forcePreemptNS).
	infoStopping = 0.001
	warnStopping = 0.010
	warnStops    = 3
	// concentrated is the share of the lateness from which one function is to
	// blame: a machine that is short of CPU is late in all of them.
	concentrated = 0.5

	infoDelayed = 0.05
	warnDelayed = 0.20

	infoSweep = 0.05
	warnSweep = 0.15

	// A stop by the program, not by GC: five in a second are a habit.
	stopsPerSecond = 5
	stopsShare     = 0.01

	fewTasks  = 20
	infoTasks = 0.20
	warnTasks = 0.50

	infoOn    = 0.50
	warnOn    = 0.80
	fewCycles = 3

	// Of a program that hardly runs every share is noise: HW2002 has the same gate.
	// In goroutine-seconds for each second, of running and wanting to.
	fewWanted = 0.1

	// Below it GC is not what makes a program slow.
	notGC = 0.05
)

const source = "trace"

// Judge fills in the findings, the worst first, and the verdict.
func Judge(r *Report) {
	r.Findings = []rule.Finding{}
	checks := []func(*Report) []rule.Finding{tasks, stopping, assists, steals, sweeps, always, forced}
	if r.quiet() {
		checks = []func(*Report) []rule.Finding{tasks, stopping, forced}
	}
	for _, check := range checks {
		for _, f := range check(r) {
			f.Evidence = slices.DeleteFunc(f.Evidence, func(e rule.Evidence) bool { return !e.Finite() })
			if r.Cycles.N < fewCycles && f.Confidence == rule.High && f.ID != idForced {
				f.Confidence, f.ConfidenceReason = rule.Medium, fmt.Sprintf("there were only %d cycles in the trace", r.Cycles.N)
			}
			r.Findings = append(r.Findings, f)
		}
	}
	slices.SortStableFunc(r.Findings, func(a, b rule.Finding) int { return int(b.Severity - a.Severity) })
	switch {
	case r.Trace.Seconds <= 0:
		r.Verdict = "There is nothing in the trace to go by."
	case r.Inconclusive():
		r.Verdict = fmt.Sprintf("No garbage collection ran in these %s: nothing here is its doing, and nothing tells what it does when it runs.", rule.FormatSeconds(r.Trace.Seconds))
	case len(r.Findings) > 0 && r.Findings[0].Severity > rule.Info, r.Impact.Share >= notGC && !r.quiet():
		r.Verdict = fmt.Sprintf("GC took %s of the time in which goroutines ran or wanted to: %s.", rule.FormatPercent(r.Impact.Share), r.parts())
	default:
		f := not(r)
		r.Findings = append(r.Findings, f)
		r.Verdict = f.Title + ": " + r.parts() + "."
	}
}

// Inconclusive reports whether there was no collection to judge.
func (r *Report) Inconclusive() bool {
	return r.Trace.Seconds <= 0 || r.Cycles.N == 0 && r.Cycles.Marking == 0
}

// quiet reports whether goroutines hardly ran, nor wanted to.
func (r *Report) quiet() bool { return r.Impact.Wanted < fewWanted*r.Trace.Seconds }

// parts says what GC's share is made of, the largest first.
func (r *Report) parts() string {
	type part struct {
		name string
		v    float64
	}
	c := r.Impact.Cost
	all := []part{{"assisting", c.Assist}, {"waiting in assists", c.Blocked}, {"standing still", c.Stopped}, {"waiting for Ps that marked", c.Delayed}, {"sweeping", c.Sweep}}
	slices.SortStableFunc(all, func(a, b part) int {
		if a.v > b.v {
			return -1
		}
		return 1
	})
	var out []string
	for _, p := range all {
		if share := p.v / max(r.Impact.Wanted, 1e-9); share >= 0.0005 {
			out = append(out, p.name+" "+rule.FormatPercent(share))
		}
	}
	if len(out) == 0 {
		return "no part of it reaches 0.1%"
	}
	return strings.Join(out, ", ")
}

// share is a part of what goroutines wanted.
func (r *Report) share(v float64) float64 { return v / max(r.Impact.Wanted, 1e-9) }

// users are the kinds that are the program's own.
func (r *Report) users() []*Kind {
	var out []*Kind
	for i := range r.Kinds {
		if k := &r.Kinds[i]; !system(k.Func) {
			out = append(out, k)
		}
	}
	return out
}

const runway = "Give the cycle more runway: a higher GOGC, or GOMEMLIMIT where that sets the goal (heapwright tune works it out)."

func assists(r *Report) []rule.Finding {
	c := r.Impact.Cost
	whole := r.share(c.Assist + c.Blocked)
	var worst *Kind
	var most float64
	for _, k := range r.users() {
		wanted := k.Running + k.Runnable + k.Cost.Blocked
		if k.Running < kindRuns*r.Processors.Available {
			continue
		}
		if s := (k.Cost.Assist + k.Cost.Blocked) / max(wanted, 1e-9); s > most {
			worst, most = k, s
		}
	}
	if whole < infoAssist && most < kindAssist {
		return nil
	}
	f := rule.Finding{
		ID: idAssist, Severity: rule.Info, Confidence: rule.High, ConfidenceReason: "every assist is in the trace",
		Title: fmt.Sprintf("Goroutines mark for %s of their time before they get memory", rule.FormatPercent(whole)),
		Evidence: []rule.Evidence{
			rule.Ratio("assist_ratio", whole, source),
			rule.Seconds("assist_running_seconds", c.Assist, source),
			rule.Seconds("assist_blocked_seconds", c.Blocked, source),
			rule.Seconds("assist_p99_seconds", r.Assist.Spread.P99, source),
			rule.Seconds("assist_max_seconds", r.Assist.Spread.Max, source),
			rule.Count("assists", float64(r.Assist.Spread.N), source),
		},
		Cause:  "Allocation outruns background marking: who allocates while a cycle runs has to mark in proportion.",
		Remedy: runway + " Allocate less at the places named, above all objects with pointers.",
	}
	if whole >= warnAssist {
		f.Severity = rule.Warning
	}
	if worst != nil {
		f.Cause += fmt.Sprintf(" Hit most: goroutines of %s, %s of their time.", worst.Func, rule.FormatPercent(most))
		f.Evidence = append(f.Evidence, rule.Ratio("assist_worst_kind_ratio", most, source))
		for _, p := range worst.AssistedAt[:min(len(worst.AssistedAt), 3)] {
			if len(p.Stack) > 0 {
				f.Sites = append(f.Sites, rule.At(p.Stack[0], "allocates", fmt.Sprintf("%d assists, %s", p.N, rule.FormatSeconds(p.Assist))))
			}
		}
	}
	return []rule.Finding{f}
}

func stopping(r *Report) []rule.Finding {
	var late []Stop
	var worst Stop
	var sum, n float64
	for _, s := range r.WorstStops {
		if s.Stopping >= infoStopping {
			late = append(late, s)
			if s.Stopping > worst.Stopping {
				worst = s
			}
		}
	}
	for _, k := range r.Stops {
		sum += k.Stopping.Sum
		n += float64(k.Stopping.N)
	}
	if len(late) == 0 {
		return nil
	}
	f := rule.Finding{
		ID: idStopping, Severity: rule.Info, Confidence: rule.Medium,
		Title: fmt.Sprintf("The world took up to %s to stop", rule.FormatSeconds(worst.Stopping)),
		Evidence: []rule.Evidence{
			rule.Seconds("stw_stopping_max_seconds", worst.Stopping, source),
			rule.Seconds("stw_stopping_sum_seconds", sum, source),
			rule.Count("stw_stops", n, source),
			rule.Count("stw_late_stops", float64(len(late)), source),
		},
		Cause:  fmt.Sprintf("%d times, of the stops that lasted longest, a P came %s late or later, while the others stood still.", len(late), rule.FormatSeconds(infoStopping)),
		Remedy: "Cut up operations on very large blocks (copy, clear, the growth of a big map); assembly and cgo callbacks need safepoints of their own; take asyncpreemptoff=1 out of GODEBUG where it is set.",
	}
	long := 0
	for _, s := range late {
		if s.Stopping >= warnStopping {
			long++
		}
	}
	var lateness float64
	for _, c := range r.Culprits {
		lateness += c.Sum
	}
	for _, c := range r.Culprits[:min(len(r.Culprits), 3)] {
		if c.Max < infoStopping {
			break
		}
		f.Sites = append(f.Sites, rule.At(record.Frame{Func: c.Func, File: c.File, Line: c.Line}, "stops_late", fmt.Sprintf("last in %d stops, up to %s after the others, in goroutines of %s", c.N, rule.FormatSeconds(c.Max), c.Kind)))
	}
	switch {
	case len(r.Culprits) > 0 && r.Culprits[0].Sum >= concentrated*lateness && r.Culprits[0].Late >= warnStops:
		f.Confidence, f.ConfidenceReason = rule.High, "one function is the last to stop again and again"
		f.Cause += fmt.Sprintf(" %s was so late %d times, %s of all lateness.", r.Culprits[0].Func, r.Culprits[0].Late, rule.FormatPercent(r.Culprits[0].Sum/max(lateness, 1e-9)))
		if long >= warnStops {
			f.Severity = rule.Warning
		}
	default:
		f.ConfidenceReason = "no one function is to blame: a thread that the kernel took off the CPU stops late too, and a trace does not show that"
	}
	return []rule.Finding{f}
}

func steals(r *Report) []rule.Finding {
	share := r.share(r.Impact.Cost.Delayed)
	if share < infoDelayed {
		return nil
	}
	f := rule.Finding{
		ID: idSteal, Severity: rule.Info, Confidence: rule.High, ConfidenceReason: "every wait for a P and every mark worker is in the trace",
		Title: fmt.Sprintf("Goroutines wait for Ps that mark: %s of their time", rule.FormatPercent(share)),
		Evidence: []rule.Evidence{
			rule.Ratio("delayed_by_marking_ratio", share, source),
			rule.Seconds("taken_p_seconds", r.Steal.Taken, source),
			rule.Seconds("taken_idle_p_seconds", r.Steal.Idle, source),
			rule.Seconds("sched_delay_marking_p99_seconds", r.Delay.Marking.P99, source),
			rule.Seconds("sched_delay_other_p99_seconds", r.Delay.Other.P99, source),
			rule.Ratio("marking_on_ratio", r.Cycles.On, source),
		},
		Cause:  fmt.Sprintf("While marking is on, a quarter of the Ps is given to it, and idle ones help. On average %.1f goroutines waited for a P while it was on, and %.1f while it was not.", r.Steal.RunnableMarking, r.Steal.RunnableOther),
		Remedy: "Fewer cycles, by a higher GOGC, or GOMEMLIMIT where that sets the goal (heapwright tune works it out); or more CPU: the Ps were all taken.",
	}
	if share >= warnDelayed && r.Delay.Marking.P99 > r.Delay.Other.P99 {
		f.Severity = rule.Warning
	}
	if r.Steal.RunnableOther > float64(r.Processors.GOMAXPROCS) && r.Processors.GOMAXPROCS > 0 {
		f.Cause += " Goroutines queue without marking too: the program wants more CPU than it has."
	}
	return []rule.Finding{f}
}

func sweeps(r *Report) []rule.Finding {
	share := r.share(r.Impact.Cost.Sweep)
	if share < infoSweep {
		return nil
	}
	f := rule.Finding{
		ID: idSweep, Severity: rule.Info, Confidence: rule.High, ConfidenceReason: "every sweep on the way to an allocation is in the trace",
		Title: fmt.Sprintf("Goroutines sweep for %s of their time before they get memory", rule.FormatPercent(share)),
		Evidence: []rule.Evidence{
			rule.Ratio("sweep_ratio", share, source),
			rule.Seconds("sweep_p99_seconds", r.Sweep.Spread.P99, source),
			rule.Seconds("sweep_max_seconds", r.Sweep.Spread.Max, source),
			rule.Bytes("swept_bytes", float64(r.Sweep.Swept), source),
			rule.Bytes("reclaimed_bytes", float64(r.Sweep.Reclaimed), source),
		},
		Cause:  "A span has to be swept before anything is allocated in it. The background sweeper did not come to them first: allocation is fast, or the Ps have no idle time.",
		Remedy: "Allocate less. " + runway + " A heap of few large spans sweeps faster than one of many small.",
	}
	if share >= warnSweep {
		f.Severity = rule.Warning
	}
	return []rule.Finding{f}
}

func always(r *Report) []rule.Finding {
	if r.Cycles.On < infoOn || r.Cycles.N < fewCycles {
		return nil
	}
	f := rule.Finding{
		ID: idAlways, Severity: rule.Info, Confidence: rule.High, ConfidenceReason: "every mark phase is in the trace",
		Title: fmt.Sprintf("Marking is on for %s of the time", rule.FormatPercent(r.Cycles.On)),
		Evidence: []rule.Evidence{
			rule.Ratio("marking_on_ratio", r.Cycles.On, source),
			rule.Count("gc_cycles", float64(r.Cycles.N), source),
			rule.Seconds("mark_p50_seconds", r.Cycles.Mark.P50, source),
			rule.Ratio("marking_cpu_ratio", r.Cycles.CPU, source),
		},
		Cause:  "A cycle hardly ends before the next begins: the heap has little room above what lives in it, for the rate of allocation.",
		Remedy: runway,
	}
	if r.Cycles.On >= warnOn {
		f.Severity = rule.Warning
	}
	return []rule.Finding{f}
}

// forced finds stops that are not for GC, nor for the trace itself.
func forced(r *Report) []rule.Finding {
	for _, k := range r.Stops {
		if k.GC || k.Reason == "start trace" || k.Reason == "stop trace" || r.Trace.Seconds <= 0 {
			continue
		}
		rate, share := float64(k.Spread.N)/r.Trace.Seconds, k.Spread.Sum/r.Trace.Seconds
		if k.Spread.N < 2 || rate < stopsPerSecond && share < stopsShare {
			continue
		}
		f := rule.Finding{
			ID: idForced, Severity: rule.Info, Confidence: rule.High, ConfidenceReason: "every stop is in the trace with its reason",
			Title: fmt.Sprintf("The world is stopped %.3g times a second, not by GC but to %s", rate, reasonText(k.Reason)),
			Evidence: []rule.Evidence{
				rule.PerSecond("stw_stops_per_second", rate, source),
				rule.Ratio("stw_ratio", share, source),
				rule.Seconds("stw_max_seconds", k.Spread.Max, source),
			},
			Cause:  "The program, or a library that watches it, asks for what needs all goroutines to stand still.",
			Remedy: "Ask less often; for numbers use runtime/metrics, which stops nothing.",
		}
		if share >= stopsShare {
			f.Severity = rule.Warning
		}
		if len(k.From) > 0 {
			f.Sites = append(f.Sites, rule.At(k.From[0], "calls", fmt.Sprintf("%d stops, %s", k.Spread.N, rule.FormatSeconds(k.Spread.Sum))))
		}
		return []rule.Finding{f}
	}
	return nil
}

func reasonText(reason string) string {
	switch reason {
	case "read mem stats":
		return "read memory statistics"
	case "GOMAXPROCS":
		return "change GOMAXPROCS"
	case "goroutine profile", "goroutine profile cleanup":
		return "take a goroutine profile"
	case "all goroutines stack trace":
		return "print all stacks"
	}
	return "do: " + rule.Quote(reason)
}

func tasks(r *Report) []rule.Finding {
	var out []rule.Finding
	for _, t := range r.Tasks {
		if t.N < fewTasks || t.ShareWorst < infoTasks {
			continue
		}
		f := rule.Finding{
			ID: idTasks, Severity: rule.Info, Confidence: rule.High, ConfidenceReason: "the program says what its tasks are, and the trace what they waited for",
			Title: fmt.Sprintf("GC is %s of the slowest tasks %s", rule.FormatPercent(t.ShareWorst), rule.Quote(t.Type)),
			Evidence: []rule.Evidence{
				rule.Ratio("task_gc_slowest_ratio", t.ShareWorst, source),
				rule.Ratio("task_gc_ratio", t.Share, source),
				rule.Seconds("task_p50_seconds", t.Wall.P50, source),
				rule.Seconds("task_p99_seconds", t.Wall.P99, source),
				rule.Seconds("task_gc_p99_seconds", t.GC.P99, source),
				rule.Count("tasks", float64(t.N), source),
			},
			Cause:  "Of what the slowest hundredth of these tasks took, the collector's part: " + costText(t.Cost) + ".",
			Remedy: runway + " The other findings say which part is worth beginning with.",
		}
		if t.N < 200 {
			f.Confidence, f.ConfidenceReason = rule.Medium, fmt.Sprintf("of %d tasks the slowest hundredth are only a few", t.N)
		}
		if t.ShareWorst >= warnTasks {
			f.Severity = rule.Warning
		}
		out = append(out, f)
		if len(out) == 3 {
			break
		}
	}
	return out
}

// costText says what a cost is made of over all.
func costText(c Cost) string {
	total := max(c.Total(), 1e-9)
	return fmt.Sprintf("over all of them %s is assisting, %s waiting in assists, %s standing still, %s waiting for Ps that mark, %s sweeping",
		rule.FormatPercent(c.Assist/total), rule.FormatPercent(c.Blocked/total), rule.FormatPercent(c.Stopped/total), rule.FormatPercent(c.Delayed/total), rule.FormatPercent(c.Sweep/total))
}

// not is the answer that it is something else.
func not(r *Report) rule.Finding {
	var longest float64
	for _, s := range r.Stops {
		if s.GC {
			longest = max(longest, s.Spread.Max)
		}
	}
	f := rule.Finding{
		ID: idNot, Severity: rule.Info, Confidence: rule.High, ConfidenceReason: "every assist, stop, sweep and wait for a P is in the trace",
		Title: fmt.Sprintf("It is not GC: it took %s of the time in which goroutines ran or wanted to", rule.FormatPercent(r.Impact.Share)),
		Evidence: []rule.Evidence{
			rule.Ratio("gc_cost_ratio", r.Impact.Share, source),
			rule.Count("gc_cycles", float64(r.Cycles.N), source),
			rule.Seconds("gc_stop_max_seconds", longest, source),
			rule.Seconds("assist_max_seconds", r.Assist.Spread.Max, source),
			rule.Seconds("sched_delay_marking_p99_seconds", r.Delay.Marking.P99, source),
			rule.Seconds("sched_delay_other_p99_seconds", r.Delay.Other.P99, source),
		},
		Cause:  "Assists, stops of the world, sweeping and Ps that mark were looked at one by one, and are small.",
		Remedy: "Look elsewhere: CPU and blocking profiles, what the tasks wait for.",
	}
	if r.quiet() {
		f.Title = fmt.Sprintf("It is not GC: goroutines ran or wanted to for %s of each second, and it took %s of that", rule.FormatSeconds(r.Impact.Wanted/max(r.Trace.Seconds, 1e-9)), rule.FormatPercent(r.Impact.Share))
		f.Cause = "Whatever takes long here waits for something else than the collector or a processor."
	}
	switch {
	case r.Cycles.N < fewCycles:
		f.Confidence, f.ConfidenceReason = rule.Medium, fmt.Sprintf("there were only %d cycles in the trace", r.Cycles.N)
	case r.Trace.Cut != "":
		f.Confidence, f.ConfidenceReason = rule.Medium, "the trace is cut short"
	}
	if d := r.Delay.Other; d.P99 >= warnStopping {
		f.Cause += fmt.Sprintf(" Outside of marking one goroutine in a hundred waited %s or more for a P: the program, or its machine, is short of CPU.", rule.FormatSeconds(d.P99))
	}
	return f
}
