package run

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
	"github.com/heapwright/heapwright/cmd/internal/chaos/judge"
	"github.com/heapwright/heapwright/cmd/internal/diagnose"
	"github.com/heapwright/heapwright/record"
)

// diagnose looks at a stretch beside the points, which are not to wait for it.
func (c *conductor) diagnose(fault int, from, to time.Duration) {
	c.busy = true
	c.looking.Go(func() {
		findings, err := examine(c.watch.Recording(c.epoch.Add(from), c.epoch.Add(to)))
		if err != nil {
			findings = nil // said when the whole stretch is looked at
		}
		c.found <- diagnosis{fault, to, findings}
	})
}

// examine runs the rules on a recording. That one of them slips is no reason to lose
// the run.
func examine(rec *record.Recording) (out []chaos.Finding, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("diagnosing: %v", r)
		}
	}()
	out = []chaos.Finding{}
	for _, f := range diagnose.Run(rec, diagnose.Options{}) {
		out = append(out, chaos.Finding{ID: f.ID, Severity: f.Severity.String(), Title: f.Title})
	}
	return out, nil
}

// meta begins the findings that are about a recording, and not about its process.
const meta = "HW9"

// first takes note of findings that were not there before.
func (c *conductor) first(d diagnosis) {
	for _, f := range d.findings {
		if strings.HasPrefix(f.ID, meta) {
			continue // of half a stretch, that says nothing
		}
		known := slices.ContainsFunc(c.run.Events, func(e chaos.Event) bool {
			return e.Kind == chaos.EventFinding && e.Fault == d.fault && e.To == f.ID
		})
		if !known {
			c.event(chaos.Event{At: d.at, Kind: chaos.EventFinding, Fault: d.fault, Text: f.ID + " " + f.Title, To: f.ID})
			c.said[d.fault] = append(c.said[d.fault], f)
		}
	}
}

// conclude diagnoses the stretch before the first fault, and that of every fault.
func (c *conductor) conclude() {
	for _, p := range c.run.Phases {
		if p.Kind != chaos.PhaseBefore && p.Kind != chaos.PhaseFault {
			continue
		}
		d := chaos.Diagnosed{Fault: p.Fault, Findings: []chaos.Finding{}}
		findings, err := examine(c.watch.Recording(c.epoch.Add(p.From), c.epoch.Add(p.To)))
		if err != nil {
			d.Err = err.Error()
		} else {
			d.Findings = findings
		}
		// What rises while the level does has stopped to when it is held: what was said
		// while the fault lasted counts as much as what is said of all of it.
		for _, f := range c.said[p.Fault] {
			if !slices.ContainsFunc(d.Findings, func(have chaos.Finding) bool { return have.ID == f.ID }) {
				d.Findings = append(d.Findings, f)
			}
		}
		if p.Fault >= 0 {
			d.First = c.firstNamed(p, findings)
		}
		c.run.Findings = append(c.run.Findings, d)
	}
}

// firstNamed is how long after a fault began the first finding that names it was there;
// 0 when none was.
func (c *conductor) firstNamed(p chaos.Phase, whole []chaos.Finding) time.Duration {
	names := c.Plan.Faults[p.Fault].Diagnosis
	if len(names) == 0 {
		names = judge.Expected(c.Plan.Faults[p.Fault].Kind)
	}
	for _, e := range c.run.Events {
		if e.Kind == chaos.EventFinding && e.Fault == p.Fault && slices.Contains(names, e.To) {
			return e.At - p.From
		}
	}
	for _, f := range whole { // too late for a look while it lasted
		if slices.Contains(names, f.ID) {
			return p.To - p.From
		}
	}
	return 0
}

// cut is a recording's stretch between two instants, with the newest that was known of
// the profiles when it began. It shares nothing that a recorder changes.
func cut(rec *record.Recording, from, to time.Time) *record.Recording {
	within := func(t time.Time) bool { return !t.Before(from) && !t.After(to) }
	out := &record.Recording{Process: rec.Process, Thinned: rec.Thinned}
	for _, s := range rec.Samples {
		if within(s.Time) {
			out.Samples = append(out.Samples, s)
		}
	}
	for _, x := range rec.Cycles {
		if within(x.End) {
			out.Cycles = append(out.Cycles, x)
		}
	}
	for _, e := range rec.Events {
		if within(e.Time) {
			out.Events = append(out.Events, e)
		}
	}
	for i, g := range rec.Goroutines {
		if within(g.Time) || g.Time.Before(from) && (i+1 == len(rec.Goroutines) || !rec.Goroutines[i+1].Time.Before(from)) {
			out.Goroutines = append(out.Goroutines, g)
		}
	}
	newest := map[record.ProfileKind]time.Time{}
	for _, p := range rec.Profiles {
		if p.Time.Before(from) && p.Time.After(newest[p.Kind]) {
			newest[p.Kind] = p.Time
		}
	}
	for _, p := range rec.Profiles {
		if within(p.Time) || p.Time.Equal(newest[p.Kind]) {
			out.Profiles = append(out.Profiles, p)
		}
	}
	return out
}
