package faults

import (
	"encoding/json"
	"fmt"
	"slices"
)

// Parse takes what counts from the document of heapwright leaks --json, or, of an OOM
// kill, of heapwright oom --json.
func Parse(kind string, doc []byte) (Said, error) {
	if kind == OOM {
		return parseOOM(doc)
	}
	var v struct {
		Schema   string `json:"schema"`
		Verdict  string `json:"verdict"`
		Reason   string `json:"reason"`
		LiveHeap *struct {
			PerHour float64 `json:"per_hour"`
		} `json:"live_heap"`
		Findings []struct {
			Kind   string `json:"kind"`
			Cause  string `json:"cause"`
			Site   frame  `json:"site"`
			At     frame  `json:"at"`
			Growth struct {
				PerHour float64 `json:"per_hour"`
				Unit    string  `json:"unit"`
			} `json:"growth"`
			HeldBy []struct {
				Root string `json:"root"`
			} `json:"held_by"`
		} `json:"findings"`
	}
	if err := json.Unmarshal(doc, &v); err != nil {
		return Said{}, fmt.Errorf("reading what heapwright leaks says: %w", err)
	}
	if v.Schema != "heapwright.leaks/1" {
		return Said{}, fmt.Errorf("heapwright leaks printed the schema %q", v.Schema)
	}
	said := Said{Verdict: v.Verdict, Reason: v.Reason}
	if v.LiveHeap != nil {
		said.LivePerMinute = v.LiveHeap.PerHour / 60
	}
	for _, f := range v.Findings {
		to := Finding{Kind: f.Kind, Cause: f.Cause, Site: f.Site.Func, At: f.At.Func, PerMinute: f.Growth.PerHour / 60, Unit: f.Growth.Unit}
		for _, h := range f.HeldBy {
			to.Held = append(to.Held, h.Root)
		}
		said.Findings = append(said.Findings, to)
	}
	return said, nil
}

type frame struct {
	Func string `json:"func"`
}

func parseOOM(doc []byte) (Said, error) {
	var v struct {
		Schema  string `json:"schema"`
		Verdict struct {
			Memory string `json:"memory"`
			Title  string `json:"title"`
			Site   *frame `json:"site"`
		} `json:"verdict"`
		Captures []struct {
			Kinds  []string `json:"kinds"`
			Failed string   `json:"failed"`
		} `json:"captures"`
	}
	if err := json.Unmarshal(doc, &v); err != nil {
		return Said{}, fmt.Errorf("reading what heapwright oom says: %w", err)
	}
	if v.Schema != "heapwright.oom/1" {
		return Said{}, fmt.Errorf("heapwright oom printed the schema %q", v.Schema)
	}
	said := Said{Verdict: v.Verdict.Memory, Reason: v.Verdict.Title}
	if v.Verdict.Site != nil {
		said.Findings = []Finding{{Kind: v.Verdict.Memory, Site: v.Verdict.Site.Func}}
	}
	for _, c := range v.Captures {
		said.Captured = said.Captured || c.Failed == "" && slices.Contains(c.Kinds, "heap")
	}
	return said, nil
}
