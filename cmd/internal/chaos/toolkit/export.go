package toolkit

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
	"github.com/heapwright/heapwright/cmd/internal/chaos/planfile"
)

// Export writes a plan as an experiment, and says what the Toolkit cannot say of it.
func Export(p *chaos.Plan, o Options) (text []byte, notes []string, err error) {
	e := export(p, o)
	text, err = json.MarshalIndent(e, "", "  ")
	if err != nil {
		return nil, nil, fmt.Errorf("writing the experiment: %w", err)
	}
	return append(text, '\n'), e.Extensions[0].Notes, nil
}

func export(p *chaos.Plan, o Options) *experiment {
	file := o.File
	if file == "" {
		file = "plan.yaml"
	}
	e := &experiment{
		Version: "1.0.0", Title: p.Name, Description: description(p), Tags: []string{"heapwright", "memory", "go"},
		Configuration: map[string]any{"heapwright_plan": map[string]string{"type": "env", "key": "HEAPWRIGHT_PLAN", "default": file}},
		Method:        []activity{}, Rollbacks: []activity{},
	}
	var notes []string
	if probe, ok := readiness(p); ok {
		e.Hypothesis = &hypothesis{Title: "it is ready", Probes: []activity{probe}}
	} else {
		e.Hypothesis = &hypothesis{Title: "what heapwright checks by itself", Probes: []activity{}}
		if p.Target.Ready != "" {
			notes = append(notes, "target.ready: its port is known when the target is started, and each action starts it anew; heapwright asks it itself")
		}
	}
	for i := range p.Faults {
		e.Method = append(e.Method, action(p, i))
	}
	e.Rollbacks = append(e.Rollbacks, activity{Type: "action", Name: "put back what was left",
		Provider: provider{Type: "process", Path: "heapwright", Arguments: []string{"undo", "--all"}, Timeout: 60}})
	notes = append(notes, unsaid(p)...)
	e.Extensions = []extension{{Name: extensionName, Schema: chaos.PlanSchema, Plan: p, Notes: notes}}
	return e
}

func description(p *chaos.Plan) string {
	var kinds []string
	for _, f := range p.Faults {
		if k := string(f.Kind); !slices.Contains(kinds, k) {
			kinds = append(kinds, k)
		}
	}
	return "A plan of heapwright stress: " + strings.Join(kinds, ", ") + "."
}

// readiness is the probe of the readiness URL, where it has an address that is known.
func readiness(p *chaos.Plan) (activity, bool) {
	if p.Target.Ready == "" || strings.Contains(p.Target.Ready, "{") {
		return activity{}, false
	}
	return activity{Type: "probe", Name: "ready", Tolerance: 200,
		Provider: provider{Type: "http", URL: p.Target.Ready, Method: "GET", Timeout: 2}}, true
}

// action runs one fault of the plan, with its own look before and after it.
func action(p *chaos.Plan, i int) activity {
	f := &p.Faults[i]
	one := *p
	one.Faults = []chaos.Fault{*f}
	longest := planfile.Summarize(&one).Longest
	a := activity{Type: "action", Name: f.Name, Provider: provider{Type: "process", Path: "heapwright",
		Arguments: []string{"stress", "--yes", "--only", f.Name, "${heapwright_plan}"}, Timeout: seconds(longest + 2*time.Minute)}}
	if i+1 < len(p.Faults) && p.Between > 0 {
		a.Pauses = &pauses{After: seconds(p.Between)}
	}
	return a
}

// metrics are those of criteria, each once.
func metrics(all []chaos.Criterion) string {
	var names []string
	for _, c := range all {
		if n := string(c.Metric); !slices.Contains(names, n) {
			names = append(names, n)
		}
	}
	return strings.Join(names, ", ")
}

// unsaid is what the Toolkit has no words for, by the keys of the plan.
func unsaid(p *chaos.Plan) []string {
	var notes []string
	measured := slices.DeleteFunc(slices.Clone(p.Hypothesis), func(c chaos.Criterion) bool { return c.Metric == chaos.Ready })
	if len(measured) > 0 {
		notes = append(notes, "hypothesis: no activity measures "+metrics(measured)+"; heapwright checks them in each action")
	}
	if len(p.Abort) > 0 {
		notes = append(notes, "abort: nothing ends an experiment when a bound of "+metrics(p.Abort)+" is broken; heapwright ends its action")
	}
	if p.Load != nil {
		notes = append(notes, "load: an experiment has none; each action sends it")
	}
	for i, f := range p.Faults {
		if f.Until != nil {
			notes = append(notes, fmt.Sprintf("faults[%d].until: an action has no closed loop; heapwright has", i))
		}
		if f.Expect != nil {
			notes = append(notes, fmt.Sprintf("faults[%d].expect: what an action is to do is not judged by the Toolkit; the exit status of heapwright says it, and the Toolkit only warns of it", i))
		}
	}
	notes = append(notes, "recovery: rollbacks are not checked by the Toolkit; each action waits until the target has recovered")
	if p.Target.Start != nil {
		notes = append(notes, "target.start: each action starts the target anew")
	}
	return notes
}
