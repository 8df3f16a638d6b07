// Package faults holds what heapwright says of programs against what is known of
// them: the truth about the programs of examples/faults, what was said, and the
// score. It runs nothing.
package faults

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
)

// The kinds of programs.
const (
	Leak    = "leak"    // it leaks
	OOM     = "oom"     // the kernel kills it in a cgroup
	Healthy = "healthy" // it grows too, but that is no leak
)

// What of a leaking program grows.
const (
	GrowsLive       = "live"
	GrowsGoroutines = "goroutines"
	GrowsStacks     = "stacks"
	GrowsRSS        = "rss" // and it is not Go's memory
)

// A Fault is the truth about a program. The keys are explained in
// examples/faults/README.md.
type Fault struct {
	Name      string   `json:"name"`
	Kind      string   `json:"kind"`
	Cause     string   `json:"cause,omitempty"`
	Also      []string `json:"also,omitempty"`
	Sites     []string `json:"sites,omitempty"`
	Held      string   `json:"held,omitempty"`
	Grows     string   `json:"grows,omitempty"`
	PerMinute float64  `json:"per_minute,omitempty"`
	Env       []string `json:"env,omitempty"`
	Releases  []string `json:"releases,omitempty"`
	LimitMiB  uint64   `json:"limit_mib,omitempty"`
	Memory    []string `json:"memory,omitempty"`
}

// In says whether the program has its fault with a Go release, such as go1.26.8.
func (f *Fault) In(release string) bool {
	if len(f.Releases) == 0 {
		return true
	}
	return slices.ContainsFunc(f.Releases, func(r string) bool {
		return release == r || strings.HasPrefix(release, r+".")
	})
}

// Read reads the file of all programs.
func Read(path string) ([]Fault, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var all []Fault
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&all); err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	seen := map[string]bool{}
	for i := range all {
		if err := all[i].check(); err != nil {
			return nil, fmt.Errorf("reading %s: %s: %w", path, all[i].Name, err)
		}
		if seen[all[i].Name] {
			return nil, fmt.Errorf("reading %s: %s is there twice", path, all[i].Name)
		}
		seen[all[i].Name] = true
	}
	return all, nil
}

func (f *Fault) check() error {
	switch f.Kind {
	case Healthy:
		if f.Cause != "" || f.Grows != "" {
			return errors.New("it is healthy, and has a cause or grows")
		}
	case Leak:
		if f.Cause == "" || !(f.PerMinute > 0) {
			return errors.New("a leak without a cause, or that does not grow")
		}
		if !slices.Contains([]string{GrowsLive, GrowsGoroutines, GrowsStacks, GrowsRSS}, f.Grows) {
			return fmt.Errorf("what grows is %q", f.Grows)
		}
	case OOM:
		if f.LimitMiB == 0 || len(f.Memory) == 0 {
			return errors.New("an OOM kill without a limit, or without its kind of memory")
		}
	default:
		return fmt.Errorf("the kind is %q", f.Kind)
	}
	return nil
}

// A Run is one run of a program, and what was said of it.
type Run struct {
	Fault   string  `json:"fault"`
	Go      string  `json:"go"`
	Speed   float64 `json:"speed"`
	Started string  `json:"started"`
	Failed  string  `json:"failed,omitempty"` // why nothing was said
	// Seconds is the time from the start of the program to the verdict.
	Seconds float64 `json:"seconds"`
	Said    Said    `json:"said"`
	// Truth is by how much a minute what grows did grow, in bytes or goroutines, by the
	// program's own account of the same time; of OOM kills it is 0.
	Truth float64 `json:"truth_per_minute"`
}

// Said is what heapwright said.
type Said struct {
	// Verdict is leak, no-leak or inconclusive; of an OOM kill the kind of memory.
	Verdict  string    `json:"verdict"`
	Reason   string    `json:"reason,omitempty"`
	Findings []Finding `json:"findings,omitempty"` // the largest first
	// LivePerMinute is the growth of the live heap, bytes.
	LivePerMinute float64 `json:"live_per_minute,omitempty"`
	// Captured says of an OOM kill that there was a heap profile from before it.
	Captured bool `json:"captured,omitempty"`
}

// A Finding is one that was reported.
type Finding struct {
	Kind      string   `json:"kind"`
	Cause     string   `json:"cause"`
	Site      string   `json:"site"`
	At        string   `json:"at,omitempty"`
	Held      []string `json:"held,omitempty"` // roots, the most important first
	PerMinute float64  `json:"per_minute"`
	Unit      string   `json:"unit"`
}
