package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/heapwright/heapwright/e2e/internal/honesty"
	"github.com/heapwright/heapwright/e2e/internal/jsonl"
)

// An Experiment is one that was run.
type Experiment struct {
	Kind     string             `json:"kind"`
	N        int                `json:"n"`
	Down     bool               `json:"drift_down,omitempty"`
	Protocol protocol           `json:"protocol"`
	Started  time.Time          `json:"started"`
	Seconds  float64            `json:"seconds"`
	Failed   string             `json:"failed,omitempty"` // why there is no verdict
	Outcome  string             `json:"outcome,omitempty"`
	Grade    string             `json:"host_grade,omitempty"`
	Pairs    int                `json:"pairs"`
	Dropped  int                `json:"dropped_blocks"`
	Findings map[string]Finding `json:"findings,omitempty"`
	Blocks   []Block            `json:"blocks,omitempty"` // those that count, in the order of time
	// External is the CPU that others used, in the mean over the blocks.
	External float64 `json:"external_cpu_ratio"`
}

// A Finding is what heapwright says of a metric.
type Finding struct {
	Verdict string  `json:"verdict"`
	Role    string  `json:"role"`
	Ratio   float64 `json:"ratio"`
	Low     float64 `json:"ci_low"`
	High    float64 `json:"ci_high"`
	N       int     `json:"n"`
	Sigma   float64 `json:"log_ratio_sd"`
}

// claims says that something is claimed: the variant is better, or worse.
func (f Finding) claims() bool { return f.Verdict == "IMPROVED" || f.Verdict == "REGRESSED" }

// A Block is what was measured of one process.
type Block struct {
	Variant int                `json:"variant"`
	Values  map[string]float64 `json:"values"`
}

// of is a metric's values, in the order of time.
func (e *Experiment) of(metric string) (out []honesty.Block) {
	for _, b := range e.Blocks {
		if v, ok := b.Values[metric]; ok {
			out = append(out, honesty.Block{Variant: b.Variant, Value: v})
		}
	}
	return out
}

// A store is a directory of experiments.
type store string

func (s store) path(name string) string { return filepath.Join(string(s), name) }

func (s store) experiments() ([]Experiment, error) {
	return jsonl.Read[Experiment](s.path("experiments.jsonl"))
}

func (s store) save(e Experiment) error { return jsonl.Append(s.path("experiments.jsonl"), e) }

// replace keeps these experiments in the place of what there was.
func (s store) replace(all []Experiment) error {
	var text []byte
	for _, e := range all {
		line, err := json.Marshal(e)
		if err != nil {
			return err
		}
		text = append(append(text, line...), '\n')
	}
	beside := s.path("experiments.new")
	if err := os.WriteFile(beside, text, 0o644); err != nil {
		return err
	}
	return os.Rename(beside, s.path("experiments.jsonl"))
}

// readBlocks reads the blocks that count from a result file of heapwright.
func readBlocks(text []byte) (out []Block, external float64, err error) {
	n := 0
	for line := range bytes.Lines(text) {
		var entry struct {
			Kind string `json:"kind"`
			Body struct {
				Phase string `json:"phase"`
				Arms  []struct {
					Variant int                `json:"variant"`
					Values  map[string]float64 `json:"values"`
				} `json:"arms"`
				Host struct {
					ExternalCPU float64 `json:"external_cpu_ratio"`
				} `json:"host"`
				Invalid string `json:"invalid"`
			} `json:"body"`
		}
		if err := json.Unmarshal(line, &entry); err != nil {
			return nil, 0, fmt.Errorf("reading a result: %w", err)
		}
		b := entry.Body
		if entry.Kind != "block" || b.Phase == "calibration" || b.Invalid != "" {
			continue
		}
		external += b.Host.ExternalCPU
		n++
		for _, a := range b.Arms {
			out = append(out, Block{a.Variant, a.Values})
		}
	}
	return out, external / float64(max(n, 1)), nil
}
