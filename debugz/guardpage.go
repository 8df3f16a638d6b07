package debugz

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/heapwright/heapwright/guard"
	"github.com/heapwright/heapwright/guard/shed"
)

// tones are the colours of states. The word is always beside them.
var tones = map[guard.State]string{guard.Healthy: "good", guard.Degraded: "bad", guard.Recovering: "warn"}

func guardOf(d *document, lim budget) *guardPart {
	s := d.Guard
	g := &guardPart{Tone: tones[s.State], State: capital(s.State.String())}
	g.Since = fmt.Sprintf("For %s, %s.", spanText(d.Time.Sub(s.Since)), rungText(s, lim))
	if !s.Ready {
		g.Since += " Not ready: load balancers should send requests elsewhere."
	}
	if s.DryRun {
		g.Since += " A dry run: nothing is shed, no degradation is called."
	}
	var why []string
	if s.Broken != "" {
		g.Tone, g.State = "bad", "Off"
		why = append(why, "It ended, and every request is admitted: "+cut(s.Broken, lim.text)+".")
	}
	if e := lastState(s.Events); e != nil && e.Reason != "" {
		why = append(why, "It began so: "+cut(e.Reason, lim.text)+".")
	}
	if s.LimitedBy != "" {
		why = append(why, "Requests in flight are bounded: "+cut(s.LimitedBy, lim.text)+".")
	}
	if s.CallbackFailures > 0 {
		why = append(why, "Callbacks that failed: "+countText(s.CallbackFailures)+".")
	}
	g.Why = strings.Join(why, " ")
	g.ladder(s, lim)
	g.objectives(s, lim)
	g.admission(&s.Shed)
	g.events(s.Events, lim)
	g.bundles(d, lim)
	return g
}

func rungText(s *guard.Status, lim budget) string {
	if s.Rung <= 0 || s.Rung > len(s.Ladder) {
		return "nothing is degraded"
	}
	return fmt.Sprintf("on rung %d of %d, %s", s.Rung, len(s.Ladder), cut(s.Ladder[s.Rung-1].Name, lim.text))
}

func lastState(events []guard.Event) *guard.Event {
	for i := range slices.Backward(events) {
		if events[i].Kind == guard.EventState {
			return &events[i]
		}
	}
	return nil
}

// capital begins a sentence.
func capital(s string) string {
	if s == "" {
		return s
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

func (g *guardPart) ladder(s *guard.Status, lim budget) {
	g.LadderNote = "Degradations, the mildest first. One is added or taken back at a time."
	if s.MemoryRatio != nil {
		g.LadderNote += " It goes by memory in use, now " + percentText(*s.MemoryRatio) + " of the limit."
	} else {
		g.LadderNote += " How full memory is, is not known."
	}
	// Those around the current one, if not all have room.
	first := max(0, min(s.Rung-lim.rungs/2, len(s.Ladder)-lim.rungs))
	for i := len(s.Ladder) - 1; i >= 0; i-- {
		if i < first || i >= first+lim.rungs {
			continue
		}
		r := s.Ladder[i]
		row := rungRow{N: i + 1, Name: cut(r.Name, lim.text), Above: "-", Below: "-", Admits: "all"}
		if r.Above > 0 {
			row.Above, row.Below = percentText(r.Above), percentText(r.Below)
		}
		if r.Admit != nil {
			row.Admits = sharesText(*r.Admit)
		}
		if r.NotReady {
			row.Note = "and is not ready"
		}
		row.Tone = tones[s.State]
		switch {
		case i+1 == s.Rung:
			row.Here, row.Mark = true, "here"
		case r.On:
			row.Mark = "on"
		}
		g.Rungs = append(g.Rungs, row)
	}
	if len(g.Rungs) > 0 && first == 0 {
		ground := rungRow{Name: "ground", Note: "nothing is degraded", Above: "-", Below: "-", Admits: "all", Tone: tones[s.State]}
		if s.Rung == 0 {
			ground.Here, ground.Mark = true, "here"
		}
		g.Rungs = append(g.Rungs, ground)
	}
	if n := len(s.Ladder); n > lim.rungs {
		g.LadderNote += fmt.Sprintf(" %d of %d are shown.", lim.rungs, n)
	}
}

// sharesText names the classes of which not all are admitted.
func sharesText(s shed.Shares) string {
	var parts []string
	for _, c := range shed.Classes {
		switch v := s[c]; {
		case c == shed.Critical || v >= 1:
		case v <= 0:
			parts = append(parts, "no "+c.String())
		default:
			parts = append(parts, percentText(v)+" of "+c.String())
		}
	}
	if parts == nil {
		return "all"
	}
	return strings.Join(parts, ", ")
}

func (g *guardPart) objectives(s *guard.Status, lim budget) {
	for i, o := range s.Objectives {
		if i == lim.objectives {
			break
		}
		signal := string(o.Signal)
		row := objectiveRow{
			Name: cut(o.Name, lim.text), Bound: cut(signal, lim.text) + " ≤ " + signalText(signal, o.Max), Now: "not known",
			Meter: meterSVG(o.Violations / o.Ratio), Word: "kept", Tone: "good",
		}
		row.Window = fmt.Sprintf("each %s, over %s", roundSpan(o.Interval), roundSpan(o.Window))
		if o.Value != nil {
			row.Now = signalText(signal, *o.Value)
		}
		row.Violations = fmt.Sprintf("%s; %s trip it", percentText(o.Violations), percentText(o.Ratio))
		if len(o.Burns) > 0 {
			row.Violations = percentText(o.Violations) + "; burn rates trip it"
			row.Meter = meterSVG(o.Violations)
		}
		switch {
		case o.Tripped:
			row.Word, row.Tone = "violated", "bad"
		case o.Violations > 0:
			row.Word, row.Tone = "kept, so far", "warn"
		}
		g.Objectives = append(g.Objectives, row)
	}
}

func (g *guardPart) admission(s *shed.Stats) {
	g.Admission = fmt.Sprintf("%s requests are in flight", countText(uint64(max(0, s.InFlight))))
	if s.InFlightBytes > 0 {
		g.Admission += ", which count for " + bytesText(float64(s.InFlightBytes))
	}
	if s.Capacity < shed.NoBound {
		g.Admission += fmt.Sprintf("; %s may be", bytesText(float64(s.Capacity)))
	} else {
		g.Admission += "; there is no bound"
	}
	g.Admission += "."
	if n := s.Spared.Total(); n > 0 {
		g.Admission += fmt.Sprintf(" %s were admitted only because the budget for shedding was spent.", countText(n))
	}
	for _, c := range slices.Backward(shed.Classes[:]) {
		share := percentText(s.Shares[c])
		if c == shed.Critical {
			share = "100%"
		}
		g.Classes = append(g.Classes, classRow{capital(c.String()), share, countText(s.Admitted[c]), countText(s.ShedByShare[c]), countText(s.ShedByCapacity[c])})
	}
}

func (g *guardPart) events(events []guard.Event, lim budget) {
	for i, e := range slices.Backward(events) {
		if len(g.Transitions) == lim.transitions {
			g.TransitionNote = fmt.Sprintf("The last %d; the JSON has %d more.", lim.transitions, i+1)
			break
		}
		row := transitionRow{Time: e.Time.UTC().Format("01-02 15:04:05"), Why: cut(e.Reason, lim.text)}
		name, from, to := cut(e.Name, lim.text), cut(e.From, lim.text), cut(e.To, lim.text)
		switch e.Kind {
		case guard.EventState, guard.EventStep:
			row.What = from + " → " + to
		case guard.EventLimit:
			row.What = "requests in flight: " + to
		case guard.EventObjective:
			row.What = name + ": " + to
		case guard.EventEvidence:
			row.What = "evidence " + filepath.Base(name)
			if name == "" {
				row.What = "no evidence"
			}
		default:
			row.What = strings.ReplaceAll(cut(e.Kind, lim.text), "_", " ") + " " + name
		}
		g.Transitions = append(g.Transitions, row)
	}
}

func (g *guardPart) bundles(d *document, lim budget) {
	g.BundleNote = "What was to be seen when it tripped."
	if !d.evidence {
		g.BundleNote += " To download it here is not allowed."
	}
	for i, b := range slices.Backward(d.Guard.Evidence) {
		if len(g.Bundles) == lim.bundles {
			g.BundleNote += fmt.Sprintf(" %d more are in the JSON.", i+1)
			break
		}
		row := bundleRow{Time: b.Time.UTC().Format("01-02 15:04:05"), Reason: cut(b.Reason, lim.text), Size: bytesText(float64(b.Bytes)), Note: cut(strings.Join(b.Notes, " "), lim.text)}
		for j, f := range b.Files {
			if j == maxBundleFiles {
				break
			}
			l := fileLink{Name: cut(f, lim.text)}
			if d.evidence && b.Path != "" {
				l.Link = query("evidence", filepath.Base(b.Path), "file", f)
			}
			row.Files = append(row.Files, l)
		}
		g.Bundles = append(g.Bundles, row)
	}
}

// maxBundleFiles is how many files of a bundle are listed. There are five.
const maxBundleFiles = 8
