package planfile

import (
	"fmt"

	"go.yaml.in/yaml/v3"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
)

// Format writes a plan as [Parse] reads it.
func Format(p *chaos.Plan) ([]byte, error) {
	f := file{Schema: p.Schema, Name: p.Name, Target: p.Target, Load: p.Load, Recovery: p.Recovery, Caps: p.Caps, Before: p.Before, Between: p.Between, Seed: p.Seed}
	for i := range p.Hypothesis {
		f.Hypothesis = append(f.Hypothesis, formatCriterion(&p.Hypothesis[i]))
	}
	for i := range p.Abort {
		f.Abort = append(f.Abort, formatCriterion(&p.Abort[i]))
	}
	for i := range p.Faults {
		f.Faults = append(f.Faults, formatFault(&p.Faults[i]))
	}
	text, err := yaml.Marshal(&f)
	if err != nil {
		return nil, fmt.Errorf("writing the plan: %w", err)
	}
	return text, nil
}

func formatCriterion(c *chaos.Criterion) criterion {
	info, _ := c.Metric.Info()
	return criterion{Metric: c.Metric, AtMost: formatBound(info, c.OfBaseline, c.AtMost), AtLeast: formatBound(info, c.OfBaseline, c.AtLeast),
		Tolerated: formatBound(info, c.OfBaseline, c.Tolerated), OfBaseline: c.OfBaseline, For: c.For, Except: c.Except}
}

// formatFault writes a fault. Only one that says how often has no level.
func formatFault(f *chaos.Fault) fault {
	kind, _ := f.Kind.Info()
	out := fault{Name: f.Name, Kind: f.Kind, Level: formatLevel(kind, f.Level), Ramp: f.Ramp, Steps: f.Steps, Hold: f.Hold,
		Size: f.Size, Every: f.Every, Count: f.Count, Proxy: f.Proxy, Direction: f.Direction, End: f.End, Listen: f.Listen, Upstream: f.Upstream, Cut: f.Cut, Address: f.Address, Send: f.Send, Expect: f.Expect,
		Diagnosis: f.Diagnosis, AllowKill: f.AllowKill, DirtyFiles: f.DirtyFiles, Concurrency: f.Concurrency}
	if f.Kind == chaos.ForcedGC && f.Every > 0 {
		out.Level = ""
	}
	if !f.From.IsZero() {
		out.From = formatLevel(kind, f.From)
	}
	if g := f.Until; g != nil {
		info, _ := g.Metric.Info()
		out.Until = &goal{Metric: g.Metric, Reaches: formatBound(info, false, &g.Reaches), Slope: formatSlope(kind.Unit, g.Slope)}
	}
	return out
}
