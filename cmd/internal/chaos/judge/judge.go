package judge

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/trend"
)

// Judge is the verdict of a run.
//
// NOT-RUN comes first: nothing was done, or the hypothesis did not hold before any
// fault. Then ABORTED, whatever else there was. DEVIATED is what the target did: a
// criterion was broken, it did not survive, it did not recover, it did not do what the
// plan expects of it; and what we did to it beyond the plan, or left behind. Where none
// of these is so but something could not be seen (a fault that did not happen, an
// expectation or a recovery that nobody could look at), nothing is proved: that is
// NOT-RUN as well, and the reason says which.
func Judge(run *chaos.Run) *chaos.Verdict {
	v := &chaos.Verdict{Criteria: []chaos.CriterionResult{}, Faults: []chaos.FaultResult{}}
	if run.Refused != "" && !someBegan(run) && len(run.Points) == 0 {
		v.Outcome, v.Reason = chaos.NotRun, sentence("nothing was done: "+run.Refused)
		return v
	}
	j := newJudging(run)
	for _, t := range j.tallies {
		v.Criteria = append(v.Criteria, t.CriterionResult)
	}
	known := make([]bool, 0, len(run.Plan.Faults))
	for i := range run.Plan.Faults[:min(len(run.Plan.Faults), mostFaults)] {
		f := j.fault(i)
		known = append(known, naming(run, &f, &run.Plan.Faults[i]))
		j.detected(&f)
		v.Faults = append(v.Faults, f)
	}
	v.Margin = j.margin()
	v.Score = score(run, v.Faults, known)
	j.outcome(v)
	return v
}

// A judging is what is made of a run on the way to its verdict.
type judging struct {
	run     *chaos.Run
	points  []chaos.Point
	cycles  []chaos.Cycle
	phases  []chaos.Phase
	before  []chaos.Point
	start   time.Duration // of the first fault
	base    baseline
	tallies []tally
	end     time.Duration // of what was seen

	notBefore    error // why the hypothesis did not hold before any fault
	deviations   []deviation
	inconclusive []string
}

// A deviation is something that the target, or we, did wrong.
type deviation struct {
	at   time.Duration
	text string
}

func someBegan(run *chaos.Run) bool { return slices.ContainsFunc(run.Faults, began) }

func newJudging(run *chaos.Run) *judging {
	j := &judging{run: run, points: sorted(run.Points), cycles: sortedCycles(run.Cycles), phases: phases(run), before: before(run), start: firstFault(run)}
	j.base = newBaseline(j.before)
	j.notBefore = Before(run)
	if n := len(j.points); n > 0 {
		j.end = j.points[n-1].At
	}
	h := NewHypothesis(&run.Plan)
	h.Baseline(j.before)
	at := 0
	for _, p := range j.points {
		for at < len(j.phases) && p.At >= j.phases[at].To {
			at++
		}
		if at < len(j.phases) && p.At >= j.phases[at].From {
			h.Step(p, j.phases[at].Kind, j.phases[at].Fault)
		}
	}
	j.tallies = h.tallies()
	return j
}

// done is what the keeper says of a fault.
func (j *judging) done(i int) (chaos.Done, bool) {
	for _, d := range j.run.Faults {
		if d.Fault == i && began(d) {
			d.Began = max(d.Began, 0)
			if d.Ended < d.Began {
				d.Ended = max(j.end, d.Began)
			}
			return d, true
		}
	}
	return chaos.Done{}, false
}

// next is when the fault after i began, or the end of time.
func (j *judging) next(i int) time.Duration {
	d, _ := j.done(i)
	next := time.Duration(math.MaxInt64)
	for _, o := range j.run.Faults {
		if began(o) && o.Fault != i && o.Began >= d.Ended {
			next = min(next, o.Began)
		}
	}
	return next
}

// between are the points of a stretch of time.
func (j *judging) between(from, to time.Duration) []chaos.Point {
	by := func(p chaos.Point, t time.Duration) int { return cmp.Compare(p.At, t) }
	a, _ := slices.BinarySearchFunc(j.points, from, by)
	b, _ := slices.BinarySearchFunc(j.points, to, by)
	return j.points[a:max(a, b)]
}

// events are those of a stretch of time, of one kind, by time.
func (j *judging) events(kind chaos.EventKind, from, to time.Duration) []chaos.Event {
	var out []chaos.Event
	for _, e := range j.run.Events {
		if e.Kind == kind && e.At >= from && e.At < to {
			out = append(out, e)
		}
	}
	slices.SortStableFunc(out, func(a, b chaos.Event) int { return cmp.Compare(a.At, b.At) })
	return out
}

// rose is by how much a counter rose in a stretch.
func (j *judging) rose(m chaos.Metric, from, to time.Duration) float64 {
	was, has := 0.0, false
	points := j.between(0, from)
	for i := len(points) - 1; i >= 0 && !has; i-- {
		was, has = value(points[i], m)
	}
	most := was
	for _, p := range j.between(from, to) {
		if v, ok := value(p, m); ok {
			most = max(most, v)
		}
	}
	return most - was
}

// fault is how the target took the plan's fault i.
func (j *judging) fault(i int) chaos.FaultResult {
	plan := &j.run.Plan.Faults[i]
	f := chaos.FaultResult{Fault: i, Name: plan.Name, Kind: plan.Kind, Recovery: []chaos.Recovered{}}
	if f.Name == "" {
		f.Name = string(plan.Kind)
	}
	ended := j.run.Aborted != "" || j.run.Interrupted || j.run.Refused != ""
	d, ok := j.done(i)
	if !ok {
		f.Survived = true
		if !ended && j.notBefore == nil {
			f.Wrong = "it was not begun"
			j.unsure("the fault " + f.Name + " was not begun")
		}
		return f
	}
	f.Happened = d.Happened
	next := j.next(i)
	var wrong []string
	deviate := func(at time.Duration, text string) {
		wrong = append(wrong, text)
		j.deviate(at, "while there was the fault "+f.Name+", "+text)
	}
	later := func(at time.Duration, text string) {
		wrong = append(wrong, "after it, "+text)
		j.deviate(at, "after the fault "+f.Name+", "+text)
	}
	killed, ending := j.ended(d, next)
	f.Survived = !killed
	if !d.Happened && !ended && !killed {
		why := "it could not be seen from outside"
		switch {
		case d.Err != "":
			why = d.Err
		case d.Measured > 0:
			why = fmt.Sprintf("%s was seen from outside, and its level was %s", amount(plan.Kind, d.Measured), amount(plan.Kind, d.Peak))
		}
		wrong = append(wrong, "the fault did not happen: "+why)
		j.unsure(fmt.Sprintf("the fault %s did not happen (%s)", f.Name, why))
	}

	switch expects := plan.Expect != nil && plan.Expect.OOMKill; {
	case expects && !j.oomKilled(d, next):
		deviate(d.Ended, "the OOM kill that the plan expects did not come")
	case killed && !expects:
		deviate(ending, "the target ended")
	}
	f.Degraded = j.degraded(d, next)
	if plan.Expect != nil && plan.Expect.Degrade && f.Degraded == nil {
		if j.sawGuard(d, next) {
			deviate(d.Ended, "the guard stayed healthy, and the plan expects that it degrades")
		} else {
			wrong = append(wrong, "the state of the guard was not seen")
			j.unsure("the plan expects the guard to degrade during " + f.Name + ", and its state could not be seen")
		}
	}
	seen := false
	for _, t := range j.tallies {
		if t.Fault != i || t.Phase != chaos.PhaseFault && t.Phase != chaos.PhaseRecovery {
			continue
		}
		seen = seen || t.Points > 0
		if t.Held || t.Unknown {
			continue
		}
		if at := max(0, t.first-d.Began); f.Deviated == nil || at < *f.Deviated {
			f.Deviated = &at
		}
		switch {
		case t.Criterion.Metric == chaos.Restarts && killed: // said already
		case t.Phase == chaos.PhaseRecovery:
			later(t.first, t.text)
		default:
			deviate(t.first, t.text)
		}
	}
	switch {
	case ended || killed:
	case !seen && len(j.run.Plan.Hypothesis) > 0:
		j.unsure("nothing of the hypothesis could be looked at during " + f.Name)
	default:
		j.blind(&f, d)
	}
	for _, e := range j.run.Events {
		if e.Kind == chaos.EventAbort && (e.Fault == i || e.Fault < 0 && e.At >= d.Began && e.At < next) && f.Aborted == nil {
			f.Aborted = new(max(0, e.At-d.Began))
		}
	}
	if !d.Contained && d.Happened {
		deviate(d.Began, "the fault reached beyond the target's cgroup")
	}
	if killed {
		// There is nothing left to recover, but what we did is undone.
		f.Recovery = append(f.Recovery, j.settings(d))
	} else {
		j.recover(&f, d, next, ended, later)
	}
	f.Wrong = few(wrong)
	return f
}

// seldom is how often a metric has to be seen during a fault, as a share of how often it
// was seen before: less is not to have looked.
const seldom = 0.25

// blind tells of criteria that nobody could look at during a fault, and could before it:
// who answers nothing breaks no bound.
func (j *judging) blind(f *chaos.FaultResult, d chaos.Done) {
	share := func(points []chaos.Point, m chaos.Metric) float64 {
		n := 0
		for _, p := range points {
			if _, ok := value(p, m); ok {
				n++
			}
		}
		return float64(n) / float64(max(len(points), 1))
	}
	during := j.between(d.Began, d.Ended)
	if len(during) < leastPoints {
		return
	}
	told := map[chaos.Metric]bool{}
	for _, c := range j.run.Plan.Hypothesis {
		// It is absent while memory does not grow.
		if told[c.Metric] || c.Metric == chaos.HeadroomSeconds || excepted(&c, &j.run.Plan.Faults[f.Fault]) {
			continue
		}
		if was := share(j.before, c.Metric); was > 0 && share(during, c.Metric) < seldom*was {
			told[c.Metric] = true
			j.unsure(fmt.Sprintf("it could not be seen during %s: %s", f.Name, name(c.Metric)))
		}
	}
}

// unseen tells of criteria about the load or the readiness URL that nobody could look at
// from beginning to end. Others depend on the machine, and the report says so.
func (j *judging) unseen() {
	for _, c := range j.run.Plan.Hypothesis {
		info, _ := c.Metric.Info()
		any := slices.ContainsFunc(j.points, func(p chaos.Point) bool { _, ok := value(p, c.Metric); return ok })
		if text := "it could never be seen: " + name(c.Metric); (info.Load || info.Probe) && !any && !slices.Contains(j.inconclusive, text) {
			j.unsure(text)
		}
	}
}

func (j *judging) deviate(at time.Duration, text string) {
	j.deviations = append(j.deviations, deviation{at, text})
}

func (j *judging) unsure(text string) { j.inconclusive = append(j.inconclusive, text) }

// ended reports whether the target ended during a fault, or before the next one, and
// when.
func (j *judging) ended(d chaos.Done, next time.Duration) (bool, time.Duration) {
	if e := j.events(chaos.EventGone, d.Began, next); len(e) > 0 {
		return true, e[0].At
	}
	if d.KilledTarget {
		return true, d.Ended
	}
	if j.rose(chaos.Restarts, d.Began, next) > 0 {
		return true, d.Ended
	}
	return false, 0
}

// oomKilled reports whether the kernel killed for memory, and more than what is ours.
func (j *judging) oomKilled(d chaos.Done, next time.Duration) bool {
	return d.KilledTarget || j.rose(chaos.OOMKills, d.Began, next) > float64(max(d.KilledOurs, 0))
}

// degraded is how long it took the guard to leave healthy.
func (j *judging) degraded(d chaos.Done, next time.Duration) *time.Duration {
	end := min(next, max(d.Ended, d.Began)+1)
	for _, e := range j.events(chaos.EventState, d.Began, end) {
		if e.To != "" && e.To != "healthy" && e.From != "degraded" && e.From != "recovering" {
			return new(e.At - d.Began)
		}
	}
	was := false
	for _, p := range j.between(0, end) {
		v, ok := value(p, chaos.GuardState)
		if !ok {
			continue
		}
		if v > 0 && !was && p.At >= d.Began {
			return new(p.At - d.Began)
		}
		was = v > 0
	}
	return nil
}

func (j *judging) sawGuard(d chaos.Done, next time.Duration) bool {
	return slices.ContainsFunc(j.between(d.Began, min(next, d.Ended)), func(p chaos.Point) bool {
		_, ok := value(p, chaos.GuardState)
		return ok
	})
}

// detected fills in when the guard or the diagnosis saw a fault.
func (j *judging) detected(f *chaos.FaultResult) {
	d, ok := j.done(f.Fault)
	if !ok {
		return
	}
	f.Detected = f.Degraded
	if len(f.Named) == 0 {
		return
	}
	_, first, _ := diagnosed(j.run, f.Fault)
	named := time.Duration(-1)
	for _, e := range j.events(chaos.EventFinding, d.Began, j.next(f.Fault)) {
		if slices.Contains(f.Named, findingID(e)) {
			named = e.At - d.Began
			break
		}
	}
	if named < 0 && first > 0 {
		named = first
	}
	if named >= 0 && (f.Detected == nil || named < *f.Detected) {
		f.Detected = &named
	}
}

func (j *judging) settings(d chaos.Done) chaos.Recovered {
	r := chaos.Recovered{What: settings, Known: true}
	if d.Verified {
		r.Took = new(max(d.Undo, 0))
	}
	return r
}

// recover looks at the recovery from a fault, until the next one began.
func (j *judging) recover(f *chaos.FaultResult, d chaos.Done, next time.Duration, ended bool, deviate func(time.Duration, string)) {
	if d.Ended <= 0 {
		return
	}
	firstCycle, _ := slices.BinarySearchFunc(j.cycles, j.start, func(c chaos.Cycle, t time.Duration) int { return cmp.Compare(c.At, t) })
	r := NewRecovery(&j.run.Plan, j.before, j.cycles[:firstCycle], d)
	at, _ := slices.BinarySearchFunc(j.cycles, d.Ended, func(c chaos.Cycle, t time.Duration) int { return cmp.Compare(c.At, t) })
	last := d.Ended
	for _, p := range j.between(d.Ended, next) {
		from := at
		for at < len(j.cycles) && j.cycles[at].At <= p.At {
			at++
		}
		if done, _ := r.Step(p, j.cycles[from:at]); done {
			break
		}
		last = p.At
	}
	cut, all, some := false, true, false // some besides the settings, which we read ourselves
	longest := time.Duration(0)
	for _, g := range r.list {
		x := g.Recovered
		if x.What == settings {
			x = j.settings(d)
		}
		if x.Took == nil && x.What != settings && !g.absent && last < d.Ended+g.within {
			// Nobody looked until the time was over.
			x.Known, cut = false, true
		}
		if x.What == liveHeap && !x.Known && !r.few && r.ended > 0 && !r.nearlyBack(g) {
			cut = true // it was not back, in cycles that are too few to say so
		}
		some = some || x.What != settings && x.Known
		switch {
		case x.Took != nil:
			longest = max(longest, *x.Took)
		case x.Known:
			all = false
			deviate(d.Ended+g.within, why(x, g))
		}
		f.Recovery = append(f.Recovery, x)
	}
	if f.Fault == j.lastFault() {
		after := func(p chaos.Phase) bool { return p.Kind == chaos.PhaseAfter }
		if j.run.Plan.Recovery.Watch > 0 && !ended && !slices.ContainsFunc(j.phases, after) {
			j.unsure("it was not looked for growth after the faults, and the plan says so")
		}
		for _, x := range j.growth(d) {
			f.Recovery = append(f.Recovery, x)
			if x.Known && x.Took == nil {
				all = false
				deviate(d.Ended, why(x, &regain{}))
			}
		}
	}
	switch {
	case ended:
	case cut:
		j.unsure("it was not looked at for long enough whether the target recovered from " + f.Name)
	case !some:
		j.unsure("nothing could be seen of whether the target recovered from " + f.Name)
	}
	if all && some && !cut {
		f.Recovered = &longest
	}
}

func (j *judging) lastFault() int {
	last, at := -1, time.Duration(-1)
	for _, d := range j.run.Faults {
		if began(d) && d.Ended > at {
			last, at = d.Fault, d.Ended
		}
	}
	return last
}

const (
	// growthSpan is how long a slope takes to be one.
	growthSpan = 5 * time.Second
	// growthHeap and growthCount are what is no growth, and growthShare of what was there
	// is none either.
	growthHeap  = 4 << 20
	growthCount = 20
	growthShare = 0.05
)

// growth looks for growth after the last fault that was not there before the first: in
// the phases that are for it.
func (j *judging) growth(d chaos.Done) []chaos.Recovered {
	from, to := time.Duration(-1), time.Duration(0)
	for _, p := range j.phases {
		if p.Kind == chaos.PhaseAfter && p.From >= d.Ended {
			if from < 0 {
				from = p.From
			}
			to = p.To
		}
	}
	if from < 0 {
		return nil
	}
	heap := func(from, to time.Duration) []trend.Point {
		var out []trend.Point
		for _, c := range j.cycles {
			if c.At >= from && c.At < to && c.LiveBytes > 0 {
				out = append(out, trend.Point{T: c.At.Seconds(), V: float64(c.LiveBytes)})
			}
		}
		return out
	}
	goroutines := unexplained(j.base)
	many := func(points []chaos.Point) []trend.Point {
		var out []trend.Point
		for _, p := range points {
			if v, ok := goroutines(p); ok {
				out = append(out, trend.Point{T: p.At.Seconds(), V: v})
			}
		}
		return out
	}
	return []chaos.Recovered{
		grew(growth, heap(0, j.start), heap(from, to), growthHeap),
		grew(growthGoroutines, many(j.before), many(j.between(from, to)), growthCount),
	}
}

// grew compares slopes: Theil and Sen's, whose interval allows for what one value has of
// the one before. Growth is new when it is significant, steady, worth a word, and faster
// than anything that the interval of before allows.
func grew(what string, before, after []trend.Point, least float64) chaos.Recovered {
	r := chaos.Recovered{What: what}
	a, ok := trend.Theil(after)
	if !ok || a.Span < growthSpan.Seconds() {
		return r
	}
	r.Known, r.After = true, finite(a.Slope)
	if b, ok := trend.Theil(before); ok {
		r.Before, r.Bound = finite(b.Slope), finite(max(b.High, 0))
	}
	// As fast as before for the whole time, and what is no growth besides.
	worth := max(least, growthShare*math.Abs(a.Start))
	if a.Rising() && a.Steady() && a.Slope*a.Span > worth && a.Low > r.Bound {
		return r
	}
	r.Took = new(time.Duration(0))
	return r
}

// outcome comes to the outcome and its reason.
func (j *judging) outcome(v *chaos.Verdict) {
	run := j.run
	j.unseen()
	for _, t := range j.tallies {
		if !t.Held && !t.Unknown && t.Phase == chaos.PhaseAfter {
			j.deviate(t.first, "after all faults, "+t.text)
		}
	}
	if len(run.Left) > 0 {
		j.deviate(math.MaxInt64, "we left behind what was not there before: "+few(run.Left))
	}
	slices.SortStableFunc(j.deviations, func(a, b deviation) int { return cmp.Compare(a.at, b.at) })
	left := ""
	if len(run.Left) > 0 {
		left = "; left behind: " + few(run.Left)
	}
	switch {
	case j.notBefore != nil && !run.Interrupted && run.Aborted == "":
		v.Outcome, v.Reason = chaos.NotRun, sentence(j.notBefore.Error()+left)
	case run.Refused != "" && !someBegan(run):
		v.Outcome, v.Reason = chaos.NotRun, sentence(run.Refused+left)
	case run.Interrupted:
		v.Outcome, v.Reason = chaos.Aborted, sentence("the user ended it"+left)
	case run.Aborted != "" || run.Refused != "":
		v.Outcome, v.Reason = chaos.Aborted, sentence(cmp.Or(run.Aborted, run.Refused)+j.busy(run.Aborted, j.endedAt()-busyFor)+left)
	case !someBegan(run):
		v.Outcome, v.Reason = chaos.NotRun, sentence("no fault was begun"+left)
	case len(j.deviations) > 0:
		var texts []string
		for _, d := range j.deviations {
			texts = append(texts, d.text)
		}
		v.Outcome, v.Reason = chaos.Deviated, sentence(few(texts)+j.busy(texts[0], j.deviations[0].at))
	case len(j.inconclusive) > 0:
		v.Outcome, v.Reason = chaos.NotRun, sentence("nothing deviated, but it proves nothing: "+few(j.inconclusive))
	default:
		v.Outcome, v.Reason = chaos.Pass, j.passed(v)
	}
}

// endedAt is when a condition ended the run, or the end of what was seen.
func (j *judging) endedAt() time.Duration {
	for _, e := range j.run.Events {
		if e.Kind == chaos.EventAbort {
			return e.At
		}
	}
	return j.end
}

const (
	// busyFor is for how long it is looked how busy the machine was, worthSaying how late a
	// turn has to be, and lateFactor by how much more than before, to be worth a word.
	busyFor     = 15 * time.Second
	worthSaying = 20 * time.Millisecond
	lateFactor  = 3
)

// busy says of a latency that is held against the target how late we ourselves came to
// our turns then: a machine whose CPUs are taken makes everybody late.
func (j *judging) busy(what string, from time.Duration) string {
	if !strings.Contains(what, name(chaos.LatencyP99)) && !strings.Contains(what, name(chaos.LatencyP50)) {
		return ""
	}
	was, is := lateness(j.before), lateness(j.between(from, from+busyFor))
	if is < worthSaying || is < lateFactor*was {
		return ""
	}
	return fmt.Sprintf("; the CPUs of this machine were taken then, by the target or by others: one in twenty of our own turns came %s late, %s before", span(is), span(was))
}

// passed is why a run passes.
func (j *judging) passed(v *chaos.Verdict) string {
	what := "the hypothesis held before, during and after the fault " + firstName(v)
	if n := len(v.Faults); n != 1 {
		what = fmt.Sprintf("the hypothesis held before, during and after %d faults", n)
	}
	longest, all, died := time.Duration(0), true, 0
	var unknown []string
	for _, f := range v.Faults {
		for _, r := range f.Recovery {
			if text := measured[r.What].name; f.Survived && !r.Known && text != "" && !slices.Contains(unknown, text) {
				unknown = append(unknown, text)
			}
		}
		switch {
		case !f.Survived:
			died++
		case f.Recovered == nil:
			all = false
		default:
			longest = max(longest, *f.Recovered)
		}
	}
	switch {
	case died > 0:
		what += "; the target was killed " + times(died) + ", as the plan expects"
	case all && longest == 0:
		what += ", and the target was as it was at once"
	case all:
		what += ", and the target was as it was within " + span(longest)
	default:
		what += "; of the recovery not everything could be measured"
	}
	if len(unknown) > 0 {
		what += "; of its " + strings.Join(unknown, ", ") + " too little was seen to say that"
	}
	return sentence(what)
}

func firstName(v *chaos.Verdict) string {
	if len(v.Faults) == 0 {
		return ""
	}
	return v.Faults[0].Name
}

func times(n int) string {
	if n == 1 {
		return "once"
	}
	return strconv.Itoa(n) + " times"
}

// few is the first of several texts, and how many more there are.
func few(texts []string) string {
	const most = 3
	if len(texts) <= most {
		return strings.Join(texts, "; ")
	}
	return fmt.Sprintf("%s; and %d more", strings.Join(texts[:most], "; "), len(texts)-most)
}

// sentence has a capital letter and a full stop, and is not longer than a screen.
func sentence(s string) string {
	s = strings.ToValidUTF8(strings.TrimSpace(s), "\uFFFD")
	const most = 1000
	if len(s) > most {
		s = strings.ToValidUTF8(s[:most], "") + " ..."
	}
	r, n := utf8.DecodeRuneInString(s)
	s = string(unicode.ToUpper(r)) + s[n:]
	if !strings.HasSuffix(s, ".") {
		s += "."
	}
	return s
}
