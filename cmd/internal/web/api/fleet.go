package api

import (
	"cmp"
	"math"
	"net/http"
	"slices"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/agent"
	"github.com/heapwright/heapwright/cmd/internal/diagnose"
	"github.com/heapwright/heapwright/cmd/internal/horizon"
	"github.com/heapwright/heapwright/record"
)

func (s *server) processes(r *http.Request) (any, error) {
	q := parseQuery(r, s.Now())
	if err := q.failure(); err != nil {
		return nil, err
	}
	return fleet(s.Agent, q.now), nil
}

// fleet is all processes now.
func fleet(a Agent, now time.Time) ProcessesDocument {
	doc := ProcessesDocument{Schema: schemaProcesses, Now: Time{now}, Processes: rows(a.Processes(), now), Unseen: []Unseen{}}
	for _, u := range a.Unseen() {
		doc.Unseen = append(doc.Unseen, Unseen{PID: u.PID, Name: shown(u.Name), Reason: shown(u.Reason), Hint: nonZero(shown(u.Hint))})
	}
	slices.SortFunc(doc.Unseen, func(a, b Unseen) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.PID, b.PID)) })
	return doc
}

// rows are processes as the list of them has them, the most troubled first.
func rows(ps []agent.Process, now time.Time) []ProcessRow {
	out := make([]ProcessRow, len(ps))
	for i := range ps {
		out[i] = rowOf(&ps[i], now)
	}
	slices.SortFunc(out, func(a, b ProcessRow) int { return cmp.Or(cmp.Compare(b.Trouble, a.Trouble), cmp.Compare(a.ID, b.ID)) })
	return out
}

func outlookOf(o *horizon.Outlook) *Outlook {
	if o == nil {
		return nil
	}
	out := &Outlook{State: o.State, Reason: o.Reason, At: Time{o.At}, Need: finite(o.NeedBytes)}
	if k := o.Killed; k != nil {
		out.Killed, out.KilledLow, out.KilledHigh = Time{k.Time}, Time{k.Low}, Time{k.High}
	}
	if o.NotBefore != nil {
		out.NotBefore = Time{*o.NotBefore}
	}
	if o.Hurts != nil {
		out.GCHurts = Time{o.Hurts.Time}
	}
	return out
}

func rowOf(p *agent.Process, now time.Time) ProcessRow {
	i := &p.Info
	row := ProcessRow{
		ID: p.ID, Name: shown(i.Name), PID: i.PID, Up: p.Up, FirstSeen: Time{p.First}, LastSeen: Time{p.Seen}, Ended: Time{p.Ended}, Lives: p.Lives,
		GoVersion: nonZero(shown(i.GoVersion)), Module: nonZero(shown(i.Module)), ModuleVersion: nonZero(shown(i.ModuleVersion)), User: nonZero(shown(i.User)),
		ContainerID: nonZero(shown(i.ContainerID)), Unit: nonZero(shown(agent.UnitOf(i.CgroupPath))), Stripped: i.Stripped,
		SampleIntervalSeconds: nonZero(p.Interval.Seconds()),
		LimitBytes:            finiteAt(p.LimitBytes), LimitKind: nonZero(p.LimitKind), HeadroomBytes: finiteAt(p.HeadroomBytes), HeadroomRatio: finiteAt(p.HeadroomRatio),
		GCCPURatio: finiteAt(p.GCCPURatio), AssistRatio: finiteAt(p.AssistRatio), CyclesPerSecond: finiteAt(p.CyclesPerSecond),
		AllocBytesPerSecond: finiteAt(p.AllocBytesPerSecond), CPUCores: finiteAt(p.CPUCores), GoroutineGrowthRatio: finiteAt(p.GoroutineGrowthRatio),
		TimeToLimitSeconds: finiteAt(p.TimeToLimitSeconds), Outlook: outlookOf(p.Outlook),
		Worst: p.Worst, Findings: []Brief{}, Error: nonZero(shown(p.Error)), Hint: nonZero(shown(p.Hint)),
	}
	if finite(p.Trouble) != nil {
		row.Trouble = p.Trouble
	}
	if !i.StartTime.IsZero() {
		end := now
		if !p.Ended.IsZero() {
			end = p.Ended
		}
		if d := end.Sub(i.StartTime); d >= 0 {
			seconds := math.Round(d.Seconds()*1000) / 1000
			row.UptimeSeconds = &seconds
		}
	}
	for _, f := range p.Findings {
		row.Findings = append(row.Findings, Brief{f.ID, f.Severity, shown(f.Title)})
	}
	if s := p.Latest; s != nil {
		row.RSSBytes = known(s, record.FieldRSSBytes, s.RSSBytes)
		row.HeapLiveBytes = known(s, record.FieldHeapLiveBytes, s.HeapLiveBytes)
		row.HeapMarkedBytes = known(s, record.FieldHeapMarkedBytes, s.HeapMarkedBytes)
		row.HeapGoalBytes = known(s, record.FieldHeapGoalBytes, s.HeapGoalBytes)
		row.Goroutines = known(s, record.FieldGoroutines, s.Goroutines)
		row.GOGCPercent = known(s, record.FieldGOGCPercent, s.GOGCPercent)
		row.GOMEMLIMITBytes = known(s, record.FieldGOMEMLIMITBytes, s.GOMEMLIMITBytes)
		row.GOMAXPROCS = known(s, record.FieldGOMAXPROCS, s.GOMAXPROCS)
	}
	row.Spark = sparkOf(&p.Spark)
	return row
}

// known returns a value if the sample has its field, and nil, which JSON writes
// as null, if not.
func known[T any](s *record.Sample, f record.Field, v T) *T {
	if !s.Has.Has(f) {
		return nil
	}
	return &v
}

// sparkPoints is how many points a small picture has at most. It is about as many
// pixels wide.
const sparkPoints = 60

func sparkOf(s *agent.Spark) *Spark {
	n := max(len(s.RSSBytes), len(s.LiveBytes), len(s.GCCPURatio))
	if n == 0 || s.Step <= 0 {
		return nil
	}
	every := (n + sparkPoints - 1) / sparkPoints
	return &Spark{
		End: Time{s.End}, StepSeconds: s.Step.Seconds() * float64(every),
		RSSBytes: peaks(s.RSSBytes, every), HeapLiveBytes: peaks(s.LiveBytes, every), GCCPURatio: peaks(s.GCCPURatio, every),
	}
}

// peaks are the highest of each n values, counted from the end: it is what happens
// now that has to keep its place.
func peaks(v []float64, n int) Coarse {
	out := make(Coarse, 0, len(v)/n+1)
	for end := len(v); end > 0; end -= n {
		most := math.NaN()
		for _, x := range v[max(end-n, 0):end] {
			if !(x <= most) { // also where most is none yet
				if !math.IsNaN(x) {
					most = x
				}
			}
		}
		out = append(out, most)
	}
	slices.Reverse(out)
	return out
}

// shown makes text from a process safe to show: one line, and not longer than
// anybody reads.
func shown(s string) string {
	if s == "" {
		return ""
	}
	return oneLine(s)
}

func (s *server) process(r *http.Request) (any, error) {
	q := parseQuery(r, s.Now())
	id := r.PathValue("id")
	if err := checkProcessID(id); err != nil {
		q.keep(err)
	}
	if err := q.failure(); err != nil {
		return nil, err
	}
	p, err := s.watched(id)
	if err != nil {
		return nil, err
	}
	doc := ProcessDocument{
		Schema: schemaProcess, Now: Time{q.now}, ProcessRow: rowOf(&p, q.now), Findings: append([]diagnose.Finding{}, p.Findings...),
		Identity: p.Info, Sample: p.Latest,
	}
	if l := p.Latest; l != nil {
		if _, err := l.AppendJSON(nil); err != nil {
			doc.Sample = nil // it has a number that JSON cannot hold
		}
	}
	doc.Settings = Settings{
		GOGCPercent: doc.GOGCPercent, GOMEMLIMITBytes: doc.GOMEMLIMITBytes, GOMAXPROCS: doc.GOMAXPROCS,
		ContainerLimitBytes: nonZero(p.Info.MemoryLimitBytes), CPUQuotaCores: finite(p.Info.CPUQuotaCores), Environment: p.Info.GoEnv,
	}
	if p.Info.CPUQuotaCores == 0 {
		doc.Settings.CPUQuotaCores = nil
	}
	if l := p.Latest; l != nil && l.Has.Has(record.FieldCgroupLimitBytes) {
		doc.Settings.ContainerLimitBytes = nonZero(l.CgroupLimitBytes)
	}
	if doc.Settings.Environment == nil {
		doc.Settings.Environment = map[string]string{}
	}
	return doc, nil
}

// watched is the process with an ID.
func (s *server) watched(id string) (agent.Process, error) {
	p, ok := s.Agent.Process(id)
	if !ok {
		return p, failf(http.StatusNotFound, "no process is called %.40q", id).hint("/processes lists the ids")
	}
	return p, nil
}
