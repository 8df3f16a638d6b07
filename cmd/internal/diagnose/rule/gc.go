package rule

import (
	"github.com/heapwright/heapwright/cmd/internal/diagnose/view"
	"github.com/heapwright/heapwright/record"
)

// GCEvidence is what the collector costs, as far as the recording tells.
func GCEvidence(v *view.View) []Evidence {
	var out []Evidence
	if c, ok := v.CPU(); ok {
		src := v.Source(record.FieldCPUGCTotal)
		out = append(out, Ratio("gc_cpu_ratio", c.Share, src))
		if c.CoresKnown {
			out = append(out, Cores("gc_cpu_cores", c.Cores, "kernel"))
		}
		if c.AssistShare > 0 {
			out = append(out, Ratio("gc_assist_cpu_ratio", c.AssistShare, src))
		}
	}
	if n, ok := v.CycleCount(); ok && v.Window() > 0 {
		out = append(out, PerSecond("gc_cycles_per_second", n/v.Window(), v.Source(record.FieldGCCycles)))
	}
	return out
}
