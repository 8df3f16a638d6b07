// Package toolkit translates plans of stress to experiments of the Chaos Toolkit and
// back, and results to its journals, by its open format.
//
// The Toolkit knows activities: a request, a process, a function of Python. What is
// measured inside of a process it does not know, nor ramps, closed loops, leases, or
// conditions that end an experiment. So an exported experiment has an activity for each
// fault that runs heapwright, what the Toolkit can probe itself is its hypothesis, and
// the whole plan is kept in an extension, which the Toolkit leaves alone: what was
// exported is imported without loss. What it cannot say is told.
//
// Nothing is run here.
package toolkit

import (
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
)

// extensionName is the name of the extension that holds our plan.
const extensionName = "heapwright"

// Options are what an export has to know that a plan does not say.
type Options struct {
	// File is the plan, as the activities name it; plan.yaml by default.
	File string
}

// An experiment is what the Toolkit reads. Keys are those of its reference.
type experiment struct {
	Version       string         `json:"version"`
	Title         string         `json:"title"`
	Description   string         `json:"description"`
	Tags          []string       `json:"tags,omitempty"`
	Configuration map[string]any `json:"configuration,omitempty"`
	Hypothesis    *hypothesis    `json:"steady-state-hypothesis,omitempty"`
	Method        []activity     `json:"method"`
	Rollbacks     []activity     `json:"rollbacks"`
	Extensions    []extension    `json:"extensions,omitempty"`
}

type hypothesis struct {
	Title  string     `json:"title"`
	Probes []activity `json:"probes"`
}

type activity struct {
	Type      string   `json:"type"` // probe, action
	Name      string   `json:"name"`
	Tolerance any      `json:"tolerance,omitempty"`
	Provider  provider `json:"provider"`
	Pauses    *pauses  `json:"pauses,omitempty"`
}

type provider struct {
	Type      string   `json:"type"` // http, process, python
	URL       string   `json:"url,omitempty"`
	Method    string   `json:"method,omitempty"`
	Path      string   `json:"path,omitempty"`
	Arguments []string `json:"arguments,omitempty"`
	Timeout   float64  `json:"timeout,omitempty"` // seconds
}

type pauses struct {
	Before float64 `json:"before,omitempty"` // seconds
	After  float64 `json:"after,omitempty"`
}

// An extension holds the plan that the experiment was made of.
type extension struct {
	Name   string      `json:"name"`
	Schema string      `json:"schema"`
	Plan   *chaos.Plan `json:"plan"`
	Notes  []string    `json:"notes"` // what the Toolkit cannot say
}

func seconds(d time.Duration) float64 { return d.Seconds() }
