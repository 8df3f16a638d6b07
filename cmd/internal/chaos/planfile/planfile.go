// Package planfile reads the files that hold plans of stress: YAML, as a person wrote
// it, into a [chaos.Plan] that is complete and makes sense. Whatever is wrong is said
// with its line and what to write instead, all of it at once.
//
// docs/formats/stress.md says what each key means. This package looks at the text
// alone: whether a process is there, or its cgroup may be written, is found out by who
// needs it.
package planfile

import (
	"fmt"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
	"github.com/heapwright/heapwright/cmd/internal/experiment"
	experimentfile "github.com/heapwright/heapwright/cmd/internal/experiment/planfile"
	"github.com/heapwright/heapwright/cmd/internal/strictyaml"
)

// Parse reads a plan. The name is that of the file, for messages and where the plan
// has none of its own. The error is an [*strictyaml.Errors]. The plan has every
// default filled in.
func Parse(name string, text []byte) (*chaos.Plan, error) {
	d := newDecoder()
	if d.Decode(text, &d.file) {
		d.defaults(name)
		d.convert()
		d.criteria()
		d.check()
	}
	if err := d.Err(name); err != nil {
		return nil, err
	}
	return &d.plan, nil
}

// Load reads a plan from a file, and returns the text too: results keep it.
func Load(path string) (plan *chaos.Plan, text []byte, err error) {
	text, err = strictyaml.ReadFile(path)
	if err != nil {
		return nil, nil, fmt.Errorf("reading the plan: %w", err)
	}
	plan, err = Parse(path, text)
	return plan, text, err
}

// Hash identifies the text of a plan: SHA-256, in hex.
func Hash(text []byte) string { return experimentfile.Hash(text) }

// A file is a plan as it is written: levels and bounds are texts, since their units
// are those of the kind and of the metric beside them.
type file struct {
	Schema     string           `yaml:"schema"`
	Name       string           `yaml:"name"`
	Target     chaos.Target     `yaml:"target"`
	Load       *experiment.Load `yaml:"load,omitempty"`
	Hypothesis []criterion      `yaml:"hypothesis"`
	Faults     []fault          `yaml:"faults"`
	Abort      []criterion      `yaml:"abort"`
	Recovery   chaos.Recovery   `yaml:"recovery"`
	Caps       chaos.Caps       `yaml:"caps"`
	Before     time.Duration    `yaml:"before"`
	Between    time.Duration    `yaml:"between"`
	Seed       uint64           `yaml:"seed"`
}

// A fault is a [chaos.Fault] as it is written.
type fault struct {
	Name        string             `yaml:"name"`
	Kind        chaos.Kind         `yaml:"kind"`
	Level       string             `yaml:"level,omitempty"`
	From        string             `yaml:"from,omitempty"`
	Ramp        time.Duration      `yaml:"ramp"`
	Steps       int                `yaml:"steps,omitempty"`
	Hold        time.Duration      `yaml:"hold"`
	Until       *goal              `yaml:"until,omitempty"`
	Size        experiment.Bytes   `yaml:"size,omitempty"`
	Every       time.Duration      `yaml:"every,omitempty"`
	Count       int                `yaml:"count,omitempty"`
	Proxy       string             `yaml:"proxy,omitempty"`
	Direction   string             `yaml:"direction,omitempty"`
	End         string             `yaml:"end,omitempty"`
	Listen      string             `yaml:"listen,omitempty"`
	Upstream    string             `yaml:"upstream,omitempty"`
	Cut         experiment.Ratio   `yaml:"cut,omitempty"`
	Address     string             `yaml:"address,omitempty"`
	Send        string             `yaml:"send,omitempty"`
	Expect      *chaos.Expectation `yaml:"expect,omitempty"`
	Diagnosis   []string           `yaml:"diagnosis,omitempty"`
	AllowKill   bool               `yaml:"allow_kill,omitempty"`
	DirtyFiles  bool               `yaml:"dirty,omitempty"`
	Concurrency int                `yaml:"concurrency,omitempty"`
}

// A goal is a [chaos.Goal] as it is written.
type goal struct {
	Metric  chaos.Metric `yaml:"metric"`
	Reaches string       `yaml:"reaches"`
	Slope   string       `yaml:"slope,omitempty"`
}

// A criterion is a [chaos.Criterion] as it is written.
type criterion struct {
	Metric     chaos.Metric  `yaml:"metric"`
	AtMost     string        `yaml:"at_most,omitempty"`
	AtLeast    string        `yaml:"at_least,omitempty"`
	Tolerated  string        `yaml:"tolerated,omitempty"`
	OfBaseline bool          `yaml:"of_baseline,omitempty"`
	For        time.Duration `yaml:"for,omitempty"`
	Except     []chaos.Kind  `yaml:"except,omitempty"`
}

// A decoder reads a file, and looks for what it cannot mean.
type decoder struct {
	*experimentfile.Parts
	file file
	plan chaos.Plan // made of file
}

func newDecoder() *decoder {
	return &decoder{Parts: &experimentfile.Parts{Decoder: strictyaml.New(strictyaml.Words{
		Noun: "plan of stress", A: "a plan of stress", Key: "schema: " + chaos.PlanSchema,
		Writer: "heapwright stress --init writes one", Braces: `"127.0.0.1:{port}"`,
	}, experimentfile.Scalar)}}
}
