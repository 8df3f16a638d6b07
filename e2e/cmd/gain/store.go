package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/heapwright/heapwright/e2e/internal/gain"
	"github.com/heapwright/heapwright/e2e/internal/jsonl"
	"github.com/heapwright/heapwright/e2e/internal/ladder"
)

// A Group is a program, or several that share a budget, with what is to be compared.
type Group struct {
	Name      string       `json:"name"`
	GoVersion string       `json:"go_version"`
	Subjects  []string     `json:"subjects"`
	Sizes     []gain.Sizes `json:"sizes"` // of each
	Budget    uint64       `json:"budget_bytes"`
	// Raised is what the budget was to be, if that is too small for any plan.
	Raised uint64 `json:"budget_was_bytes,omitempty"`
	// Variants are the ways to set them. The plan is the last, unless there is none.
	Variants []Variant `json:"variants"`
	NoPlan   string    `json:"no_plan,omitempty"` // why there is none
	Keep     bool      `json:"keep,omitempty"`    // the plan is to change nothing
	Expected *Expected `json:"expected,omitempty"`
}

// planName is the variant that heapwright chose.
const planName = "plan"

// A Variant is one way to set all programs of a group.
type Variant struct {
	Name     string           `json:"name"`
	Settings []ladder.Setting `json:"settings"` // of each
}

// Expected is what a plan forecasts for itself.
type Expected struct {
	GCCores Interval `json:"gc_cpu_cores"`
	RSSPeak Interval `json:"rss_peak_bytes"`
}

// An Interval is a quantity of heapwright's documents.
type Interval struct {
	Estimate float64 `json:"estimate"`
	Low      float64 `json:"low"`
	High     float64 `json:"high"`
}

// Holds reports whether a value is in it.
func (i Interval) Holds(v float64) bool { return i.Low <= v && v <= i.High }

// A Result is what came of one run of all programs of a group.
type Result struct {
	Group   string    `json:"group"`
	Variant string    `json:"variant"`
	Block   int       `json:"block"`
	Started time.Time `json:"started"`
	Seconds float64   `json:"seconds"` // that were recorded
	// What the machine did meanwhile: the CPU that all of it used, in cores.
	MachineCores float64  `json:"machine_cores"`
	RSSPeak      float64  `json:"rss_peak_bytes"` // of all together
	RSSMean      float64  `json:"rss_mean_bytes"`
	AnonPeak     float64  `json:"rss_anon_peak_bytes"` // without pages of files, which the kernel takes back before it kills
	Members      []Member `json:"members"`
	// Enforced says that the kernel kept the programs to the budget.
	Enforced bool   `json:"enforced"`
	Killed   bool   `json:"oom_killed"`
	Failed   string `json:"failed,omitempty"` // why there are no numbers
}

// A Member is what came of one program.
type Member struct {
	Subject         string         `json:"subject"`
	Setting         ladder.Setting `json:"setting"`
	CyclesPerSecond float64        `json:"gc_cycles_per_second"`
	GCCores         float64        `json:"gc_cpu_cores"`
	Cores           float64        `json:"cpu_cores"`
	RSSPeak         float64        `json:"rss_peak_bytes"`
	RSSMean         float64        `json:"rss_mean_bytes"`
	Limiter         bool           `json:"limiter_engaged"`
	Said            string         `json:"said"` // by the load, of itself
}

// work is how much the load says that was done, and left out.
func (m Member) work() (done, left float64) {
	if n, _ := fmt.Sscanf(m.Said, "done %f, left out %f", &done, &left); n != 2 {
		return 0, 0
	}
	return done, left
}

// A store is a directory of groups and results.
type store string

func (s store) path(name string) string { return filepath.Join(string(s), name) }

// group reads a group, nil when it is not there.
func (s store) group(name string) (*Group, error) {
	var g Group
	text, err := os.ReadFile(s.path(name + ".group.json"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err == nil {
		err = json.Unmarshal(text, &g)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the group %s: %w", name, err)
	}
	return &g, nil
}

func (s store) saveGroup(g *Group) error {
	text, err := json.MarshalIndent(g, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(s.path(g.Name+".group.json"), append(text, '\n'), 0o644)
}

// groups reads all groups, those of one program first.
func (s store) groups() (out []Group, err error) {
	files, err := filepath.Glob(s.path("*.group.json"))
	if err != nil {
		return nil, err
	}
	for _, several := range []bool{false, true} {
		for _, file := range files {
			name := filepath.Base(file)
			g, err := s.group(name[:len(name)-len(".group.json")])
			if err != nil {
				return nil, err
			}
			if len(g.Subjects) > 1 == several {
				out = append(out, *g)
			}
		}
	}
	return out, nil
}

// results reads what came of all runs.
func (s store) results() ([]Result, error) { return jsonl.Read[Result](s.path("results.jsonl")) }

func (s store) saveResult(r Result) error { return jsonl.Append(s.path("results.jsonl"), r) }

// series is what came of one variant of a group.
func series(all []Result, group, variant string) gain.Series {
	out := gain.Series{Name: variant}
	for _, r := range all {
		if r.Group != group || r.Variant != variant {
			continue
		}
		switch {
		case r.Killed:
			out.Killed++
		case r.Failed != "":
			out.Failed++
		default:
			v := gain.Value{Block: r.Block, RSSPeak: r.RSSPeak, RSSMean: r.RSSMean, AnonPeak: r.AnonPeak}
			var done, left float64
			for _, m := range r.Members {
				v.GCCores += m.GCCores
				v.Cores += m.Cores
				v.Limiter = v.Limiter || m.Limiter
				d, l := m.work()
				done, left = done+d, left+l
			}
			v.LeftOut = left / max(done+left, 1)
			out.Values = append(out.Values, v)
		}
	}
	return out
}
