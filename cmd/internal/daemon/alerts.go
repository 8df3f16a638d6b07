package daemon

import (
	"time"

	"github.com/heapwright/heapwright/cmd/internal/agent"
	"github.com/heapwright/heapwright/cmd/internal/alert"
	"github.com/heapwright/heapwright/cmd/internal/web"
	"github.com/heapwright/heapwright/record"
)

// observe hands what the agent knows to the alerts.
func (d *daemon) observe(now time.Time, ps []agent.Process) {
	obs := make([]alert.Observation, len(ps))
	for i := range ps {
		obs[i] = observation(&ps[i])
		if n := d.deaths.count(ps[i].ID); n > 0 {
			obs[i].Values[alert.OOMKills] = max(obs[i].Values[alert.OOMKills], n)
		}
	}
	d.alerts.Observe(now, obs)
}

// observation is a process as the alerts see it.
func observation(p *agent.Process) alert.Observation {
	o := alert.Observation{Process: p.ID, Time: p.Seen, Up: p.Up, Values: map[alert.Signal]float64{}, Findings: p.Findings}
	set := func(s alert.Signal, v *float64) {
		if v != nil {
			o.Values[s] = *v
		}
	}
	if p.LimitKind != "host" {
		// The host's memory is nobody's limit: what is left of it says nothing of this process.
		set(alert.HeadroomRatio, p.HeadroomRatio)
		set(alert.HeadroomBytes, p.HeadroomBytes)
		set(alert.TimeToLimitSeconds, p.TimeToLimitSeconds)
	}
	start := p.Info.StartTime
	if start.IsZero() {
		start = p.First // of a URL nobody knows more
	}
	o.Values[alert.AgeSeconds] = p.Seen.Sub(start).Seconds()
	set(alert.GCCPURatio, p.GCCPURatio)
	set(alert.AssistRatio, p.AssistRatio)
	set(alert.CyclesPerSecond, p.CyclesPerSecond)
	set(alert.AllocBytesPerSecond, p.AllocBytesPerSecond)
	set(alert.CPUCores, p.CPUCores)
	set(alert.GoroutineGrowthRatio, p.GoroutineGrowthRatio)
	if s := p.Latest; s != nil {
		for signal, f := range map[alert.Signal]record.Field{
			alert.RSSBytes: record.FieldRSSBytes, alert.Goroutines: record.FieldGoroutines, alert.OOMKills: record.FieldCgroupOOMKills,
		} {
			if v, ok := s.Value(f); ok {
				o.Values[signal] = v
			}
		}
	}
	return o
}

// rules are the alerts as Prometheus' API has them.
func (d *daemon) rules() []web.Rule {
	active := d.alerts.Active()
	var rs []web.Rule
	for _, r := range d.alerts.Rules() {
		out := web.Rule{Name: r.Name, Query: string(r.Signal), For: r.For, Labels: map[string]string{"severity": r.Severity.String()},
			Annotations: map[string]string{"remedy": r.Remedy}}
		for _, a := range active {
			if a.Rule == r.Name {
				out.Alerts = append(out.Alerts, web.Alert{
					Labels:      map[string]string{"alertname": a.Rule, "process": a.Process, "severity": a.Severity.String()},
					Annotations: map[string]string{"title": a.Title, "remedy": a.Remedy, "link": a.Link}, Since: a.Since, Value: a.Value,
				})
			}
		}
		rs = append(rs, out)
	}
	return rs
}
