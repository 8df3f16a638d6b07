package report

import (
	"math"
	"slices"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
)

// Schema is the schema field of the document that --json prints.
const Schema = "heapwright.stress.report/1"

// maxEvents bounds how many events are told: levels first fall away, then the last.
const maxEvents = 400

// A Document is a report as JSON. What is not known is null, never 0. Values whose unit
// depends on what they are of have it beside them. The points are in the result file.
type Document struct {
	Schema        string              `json:"schema"`
	Verdict       chaos.Outcome       `json:"verdict"`
	Reason        string              `json:"reason"`
	Name          string              `json:"name"`
	PlanSHA256    *string             `json:"plan_sha256"`
	Seed          uint64              `json:"seed"`
	Tool          *string             `json:"tool"`
	Started       *time.Time          `json:"started"`
	Took          *float64            `json:"took_seconds"`
	Target        TargetDocument      `json:"target"`
	Machine       MachineDocument     `json:"machine"`
	Refused       *string             `json:"refused"`
	Aborted       *string             `json:"aborted"`
	AbortedAt     *float64            `json:"aborted_at_seconds"`
	RolledBack    *float64            `json:"rollback_seconds"`
	Interrupted   bool                `json:"interrupted"`
	Left          []string            `json:"left"`
	Phases        []PhaseDocument     `json:"phases"`
	Faults        []FaultDocument     `json:"faults"`
	Criteria      []CriterionDocument `json:"criteria"`
	Metrics       []MetricDocument    `json:"metrics"`
	GC            GCDocument          `json:"gc"`
	Margin        *MarginDocument     `json:"margin"`
	Score         *ScoreDocument      `json:"score"`
	Findings      []DiagnosisDocument `json:"findings"`
	Events        []EventDocument     `json:"events"`
	EventsLeftOut int                 `json:"events_left_out"`
}

// A TargetDocument is the process.
type TargetDocument struct {
	PID           int     `json:"pid"`
	Name          *string `json:"name"`
	GoVersion     *string `json:"go_version"`
	Cgroup        *string `json:"cgroup"`
	CgroupVersion *int    `json:"cgroup_version"`
	Limit         *uint64 `json:"memory_limit_bytes"`
}

// A MachineDocument is where it ran.
type MachineDocument struct {
	CPUs   *int    `json:"cpus"`
	Memory *uint64 `json:"memory_bytes"`
	Kernel *string `json:"kernel"`
}

// A PhaseDocument is a stretch of the run.
type PhaseDocument struct {
	Kind  chaos.PhaseKind `json:"kind"`
	Fault *string         `json:"fault"`
	From  float64         `json:"from_seconds"`
	To    float64         `json:"to_seconds"`
}

// A FaultDocument is a fault, what became of it and how the target took it.
type FaultDocument struct {
	Name         string             `json:"name"`
	Kind         chaos.Kind         `json:"kind"`
	Unit         *chaos.Unit        `json:"unit"` // of peak_value and measured_value
	Began        *float64           `json:"began_seconds"`
	Ended        *float64           `json:"ended_seconds"`
	Peak         *float64           `json:"peak_value"`
	Measured     *float64           `json:"measured_value"`
	By           *string            `json:"measured_by"`
	Happened     bool               `json:"happened"`
	Contained    *bool              `json:"contained"`
	Undo         *float64           `json:"undo_seconds"`
	Verified     *bool              `json:"verified"`
	Error        *string            `json:"error"`
	KilledTarget bool               `json:"killed_target"`
	KilledOurs   int                `json:"killed_ours_count"`
	Survived     *bool              `json:"survived"`
	Detected     *float64           `json:"detected_seconds"`
	Degraded     *float64           `json:"degraded_seconds"`
	Deviated     *float64           `json:"deviated_seconds"`
	Aborted      *float64           `json:"aborted_seconds"`
	Recovered    *float64           `json:"recovered_seconds"`
	Recovery     []RecoveryDocument `json:"recovery"`
	Named        []string           `json:"named"`
	Expected     []string           `json:"expected"`
	Others       []string           `json:"others"`
	Wrong        *string            `json:"wrong"`
}

// A RecoveryDocument is one criterion of the recovery.
type RecoveryDocument struct {
	What   string     `json:"what"`
	Unit   chaos.Unit `json:"unit"` // "" for a share or a plain number
	Before *float64   `json:"before_value"`
	After  *float64   `json:"after_value"`
	Bound  *float64   `json:"bound_value"`
	Took   *float64   `json:"took_seconds"` // null: not in time, or not known
	Known  bool       `json:"known"`
}

// A CriterionDocument is how a criterion of the hypothesis fared in one kind of phase.
type CriterionDocument struct {
	Metric  chaos.Metric    `json:"metric"`
	Unit    chaos.Unit      `json:"unit"`
	Sense   string          `json:"sense"` // at_most, at_least
	Phase   chaos.PhaseKind `json:"phase"`
	Fault   *string         `json:"fault"`
	Bound   *float64        `json:"bound_value"`
	Worst   *float64        `json:"worst_value"`
	WorstAt *float64        `json:"worst_at_seconds"`
	Broken  float64         `json:"broken_seconds"`
	Points  int             `json:"points"`
	Held    *bool           `json:"held"` // null: there was nothing to look at
}

// A MetricDocument is what a metric was in a phase.
type MetricDocument struct {
	Metric chaos.Metric    `json:"metric"`
	Unit   chaos.Unit      `json:"unit"`
	Phase  chaos.PhaseKind `json:"phase"`
	Fault  *string         `json:"fault"`
	Low    float64         `json:"low"`
	Median float64         `json:"median_value"`
	High   float64         `json:"high"`
	Points int             `json:"points"`
}

// A GCDocument is what the GC cycles were.
type GCDocument struct {
	Cycles   int      `json:"cycles"`
	Forced   int      `json:"forced_cycles"`
	PauseMax *float64 `json:"pause_max_seconds"`
	LiveLow  *uint64  `json:"live_low_bytes"`
	LiveHigh *uint64  `json:"live_high_bytes"`
}

// A MarginDocument is how much memory can be taken away before what fails.
type MarginDocument struct {
	Fault     string                `json:"fault"`
	SafeLimit *float64              `json:"safe_limit_bytes"`
	SafeGCCPU *float64              `json:"safe_gc_cpu_ratio"`
	Knee      *float64              `json:"knee_limit_bytes"`
	Taken     *float64              `json:"taken_bytes"`
	Points    []MarginPointDocument `json:"points"`
	Layers    []LayerDocument       `json:"layers"`
}

// A MarginPointDocument is what a level came to.
type MarginPointDocument struct {
	Room       *float64 `json:"room_bytes"`
	Taken      *float64 `json:"taken_bytes"`
	GCCPU      *float64 `json:"gc_cpu_ratio"`
	Assist     *float64 `json:"assist_ratio"`
	P99        *float64 `json:"latency_p99_seconds"`
	PauseP99   *float64 `json:"pause_p99_seconds"`
	ErrorRatio *float64 `json:"error_ratio"`
	Failed     []string `json:"failed"`
}

// A LayerDocument is a line of defence, and where it failed.
type LayerDocument struct {
	Name string   `json:"name"`
	At   *float64 `json:"at_seconds"`
	Room *float64 `json:"room_bytes"`
	Text string   `json:"text"`
}

// A ScoreDocument is how well our own rules named what was injected.
type ScoreDocument struct {
	Faults  int `json:"faults_count"`
	Named   int `json:"named_count"`
	Unnamed int `json:"unnamed_count"`
	NoRule  int `json:"no_rule_count"`
	False   int `json:"false_count"`
}

// A DiagnosisDocument is what the diagnosis said of a stretch of the run.
type DiagnosisDocument struct {
	Fault    *string           `json:"fault"` // null: before the first
	First    *float64          `json:"first_seconds"`
	Error    *string           `json:"error"`
	Findings []FindingDocument `json:"findings"`
}

// A FindingDocument is a finding in short.
type FindingDocument struct {
	ID       string `json:"id"`
	Severity string `json:"severity"`
	Title    string `json:"title"`
}

// An EventDocument is something that happened.
type EventDocument struct {
	At       float64         `json:"at_seconds"`
	Kind     chaos.EventKind `json:"kind"`
	Fault    *string         `json:"fault"`
	Text     *string         `json:"text"`
	From     *string         `json:"from"`
	To       *string         `json:"to"`
	Value    *float64        `json:"value"`        // of a level, in the fault's unit
	Took     *float64        `json:"took_seconds"` // undoing a fault, recovering
	Rollback *float64        `json:"rollback_seconds"`
}

// JSON is the report as a document.
func JSON(r *chaos.Run, v *chaos.Verdict) *Document {
	o := of(r, v)
	d := &Document{
		Schema: Schema, Verdict: word(o.verdict.Outcome), Reason: o.verdict.Reason, Name: o.Plan.Name, PlanSHA256: nonZero(o.PlanHash), Seed: o.Plan.Seed,
		Tool: nonZero(o.Tool), Started: instant(o.Started), Took: nonZero(o.end.Seconds()),
		Target: TargetDocument{PID: o.Target.PID, Name: nonZero(o.Target.Name), GoVersion: nonZero(o.Target.GoVersion), Cgroup: nonZero(o.Cgroup),
			CgroupVersion: nonZero(o.Version), Limit: nonZero(o.Target.MemoryLimitBytes)},
		Machine: MachineDocument{CPUs: nonZero(o.Machine.CPUs), Memory: nonZero(o.Machine.MemoryBytes), Kernel: nonZero(o.Machine.Kernel)},
		Refused: nonZero(o.Refused), Aborted: nonZero(o.Run.Aborted), Interrupted: o.Interrupted, Left: append([]string{}, o.Left...),
		Phases: []PhaseDocument{}, Faults: []FaultDocument{}, Criteria: []CriterionDocument{}, Findings: []DiagnosisDocument{}, Events: []EventDocument{},
	}
	for _, p := range o.Phases {
		d.Phases = append(d.Phases, PhaseDocument{p.Kind, o.faultName(p.Fault), p.From.Seconds(), p.To.Seconds()})
	}
	for i := range o.Plan.Faults {
		d.Faults = append(d.Faults, o.faultDocument(i))
	}
	for _, c := range o.verdict.Criteria {
		d.Criteria = append(d.Criteria, o.criterionDocument(c))
	}
	d.Metrics = o.metricDocuments()
	d.GC = o.gcDocument()
	d.Margin = o.marginDocument()
	if s := o.verdict.Score; s != nil {
		d.Score = &ScoreDocument{s.Faults, s.Named, s.Unnamed, s.NoRule, s.False}
	}
	for _, f := range o.Findings {
		doc := DiagnosisDocument{Fault: o.faultName(f.Fault), Error: nonZero(f.Err), First: nonZero(f.First.Seconds()), Findings: []FindingDocument{}}
		for _, g := range f.Findings {
			doc.Findings = append(doc.Findings, FindingDocument(g))
		}
		d.Findings = append(d.Findings, doc)
	}
	events := o.told(maxEvents)
	d.EventsLeftOut = len(o.Events) - len(events)
	for _, e := range events {
		doc := EventDocument{At: e.At.Seconds(), Kind: e.Kind, Fault: o.faultName(e.Fault), Text: nonZero(e.Text), From: nonZero(e.From), To: nonZero(e.To)}
		switch e.Kind {
		case chaos.EventLevel:
			doc.Value = number(e.Value)
		case chaos.EventFault, chaos.EventRecover:
			doc.Took = nonZeroNumber(e.Value)
		case chaos.EventAbort:
			doc.Rollback = number(e.Value)
			if d.AbortedAt == nil {
				d.AbortedAt, d.RolledBack = number(e.At.Seconds()), doc.Rollback
			}
		}
		d.Events = append(d.Events, doc)
	}
	return d
}

// told are the events, at most so many: the levels of faults are drawn from and not
// told one by one when there are more.
func (o *outcome) told(n int) []chaos.Event {
	events := o.events
	if len(events) > n {
		events = slices.DeleteFunc(slices.Clone(events), func(e chaos.Event) bool { return e.Kind == chaos.EventLevel })
	}
	return events[:min(len(events), n)]
}

// faultName is the name of a fault as the plan has it, nil for none.
func (o *outcome) faultName(i int) *string {
	if i < 0 {
		return nil
	}
	if i < len(o.Plan.Faults) && o.Plan.Faults[i].Name != "" {
		return &o.Plan.Faults[i].Name
	}
	name := o.fault(i)
	return &name
}

func (o *outcome) faultDocument(i int) FaultDocument {
	k := o.kind(i)
	d := FaultDocument{Name: *o.faultName(i), Kind: k.Kind, Unit: nonZero(k.Unit), Recovery: []RecoveryDocument{}, Named: []string{}, Expected: []string{}, Others: []string{}}
	if f, ok := o.done(i); ok {
		d.Began, d.Ended, d.Peak, d.By, d.Happened = seconds(&f.Began), seconds(&f.Ended), number(f.Peak), nonZero(f.By), f.Happened
		if f.By != "" {
			d.Measured = number(f.Measured)
		}
		d.Contained, d.Verified, d.Undo, d.Error, d.KilledTarget, d.KilledOurs = &f.Contained, &f.Verified, seconds(&f.Undo), nonZero(f.Err), f.KilledTarget, f.KilledOurs
	}
	if f, ok := o.result(i); ok {
		d.Happened, d.Survived = f.Happened, &f.Survived
		d.Detected, d.Degraded, d.Deviated, d.Aborted, d.Recovered = seconds(f.Detected), seconds(f.Degraded), seconds(f.Deviated), seconds(f.Aborted), seconds(f.Recovered)
		d.Named, d.Expected, d.Others, d.Wrong = append(d.Named, f.Named...), append(d.Expected, f.Expected...), append(d.Others, f.Others...), nonZero(f.Wrong)
		for _, r := range f.Recovery {
			doc := RecoveryDocument{What: r.What, Unit: recoveryUnit(r.What), Took: seconds(r.Took), Known: r.Known}
			if r.Known {
				doc.Before, doc.After, doc.Bound = number(r.Before), number(r.After), number(r.Bound)
			}
			d.Recovery = append(d.Recovery, doc)
		}
	}
	return d
}

func (o *outcome) criterionDocument(c chaos.CriterionResult) CriterionDocument {
	m, _ := c.Criterion.Metric.Info()
	d := CriterionDocument{Metric: c.Criterion.Metric, Unit: m.Unit, Sense: "at_most", Phase: c.Phase, Fault: o.faultName(c.Fault), Bound: number(c.Bound), Broken: c.Broken.Seconds(), Points: c.Points}
	if c.Criterion.AtMost == nil {
		d.Sense = "at_least"
	}
	if !c.Unknown {
		d.Worst, d.WorstAt, d.Held = number(c.Worst), seconds(&c.WorstAt), &c.Held
	}
	return d
}

// metricDocuments are what the metrics were in each phase.
func (o *outcome) metricDocuments() []MetricDocument {
	out := []MetricDocument{}
	for _, p := range o.Phases {
		from, _ := slices.BinarySearchFunc(o.points, p.From, func(q chaos.Point, at time.Duration) int { return int(min(max(q.At-at, -1), 1)) })
		values := map[chaos.Metric][]float64{}
		for _, q := range o.points[from:] {
			if q.At > p.To {
				break
			}
			for m, v := range q.Values {
				if finite(v) {
					values[m] = append(values[m], v)
				}
			}
		}
		for _, m := range chaos.Metrics() {
			list := values[m.Metric]
			if len(list) == 0 {
				continue
			}
			slices.Sort(list)
			out = append(out, MetricDocument{Metric: m.Metric, Unit: m.Unit, Phase: p.Kind, Fault: o.faultName(p.Fault),
				Low: list[0], Median: list[len(list)/2], High: list[len(list)-1], Points: len(list)})
		}
	}
	return out
}

func (o *outcome) gcDocument() GCDocument {
	d := GCDocument{Cycles: len(o.cycles)}
	for _, c := range o.cycles {
		if c.Forced {
			d.Forced++
		}
		if s := c.Pause.Seconds(); d.PauseMax == nil || s > *d.PauseMax {
			d.PauseMax = &s
		}
		if live := c.LiveBytes; live > 0 {
			if d.LiveLow == nil || live < *d.LiveLow {
				d.LiveLow = &live
			}
			if d.LiveHigh == nil || live > *d.LiveHigh {
				d.LiveHigh = &live
			}
		}
	}
	return d
}

func (o *outcome) marginDocument() *MarginDocument {
	m := o.verdict.Margin
	if m == nil {
		return nil
	}
	d := &MarginDocument{Fault: o.fault(m.Fault), SafeLimit: nonZeroNumber(m.SafeLimitBytes), SafeGCCPU: nonZeroNumber(m.SafeGCCPURatio), Knee: nonZeroNumber(m.KneeLimitBytes),
		Taken: number(m.TakenBytes), Points: []MarginPointDocument{}, Layers: []LayerDocument{}}
	for _, p := range m.Points {
		d.Points = append(d.Points, MarginPointDocument{Room: number(p.RoomBytes), Taken: number(p.TakenBytes), GCCPU: has(p, chaos.GCCPURatio), Assist: has(p, chaos.AssistRatio),
			P99: has(p, chaos.LatencyP99), PauseP99: has(p, chaos.PauseP99), ErrorRatio: has(p, chaos.ErrorRatio), Failed: append([]string{}, p.Failed...)})
	}
	for _, l := range m.Layers {
		d.Layers = append(d.Layers, LayerDocument{Name: l.Name, At: seconds(&l.At), Room: nonZeroNumber(l.RoomBytes), Text: l.Text})
	}
	return d
}

// has is a value of a level, nil where the metric was not known.
func has(p chaos.MarginPoint, m chaos.Metric) *float64 {
	if !slices.Contains(p.Has, m) {
		return nil
	}
	switch m {
	case chaos.GCCPURatio:
		return number(p.GCCPURatio)
	case chaos.AssistRatio:
		return number(p.AssistRatio)
	case chaos.LatencyP99:
		return number(p.P99Seconds)
	case chaos.PauseP99:
		return number(p.PauseP99)
	case chaos.ErrorRatio:
		return number(p.ErrorRatio)
	}
	return nil
}

// number returns nil, which JSON writes as null, for what is not a number.
func number(v float64) *float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil
	}
	return &v
}

// nonZeroNumber is for numbers where 0 is how "there is none" is written.
func nonZeroNumber(v float64) *float64 {
	if v == 0 {
		return nil
	}
	return number(v)
}

func nonZero[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

func seconds(d *time.Duration) *float64 {
	if d == nil {
		return nil
	}
	s := d.Seconds()
	return &s
}

// instant leaves out times that RFC 3339 cannot write.
func instant(t time.Time) *time.Time {
	t = t.UTC()
	if t.IsZero() || t.Year() < 0 || t.Year() > 9999 {
		return nil
	}
	return &t
}
