// Package settingchanged finds limits and settings that moved while the process ran.
package settingchanged

import (
	"fmt"
	"math"
	"strings"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/trend"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/view"
	"github.com/heapwright/heapwright/record"
)

const (
	id = "HW1010"

	// least is the part that a limit has to move by: what a library leads goes up and
	// down by a little all the time.
	least    = 0.10
	warnFull = 0.80 // of a lowered memory limit in use
)

// Rule is HW1010.
var Rule = rule.Rule{
	ID:         id,
	Name:       "settingchanged",
	Title:      "A limit or setting was changed while the process ran",
	Severities: []rule.Severity{rule.Info, rule.Warning},
	What: `During the recording the container's memory limit or CPU quota, GOMEMLIMIT, GOGC or GOMAXPROCS was changed: by an
		orchestrator that resizes in place, by somebody at a shell, by a library in the process.`,
	Why: `What was sized for the old value no longer fits: a GOMEMLIMIT that was set when the process started does not follow a container's
		limit. And whoever compares before and after compares two settings.`,
	How: `The values of all samples are compared, each with the one before. A limit or a quota has to move by 10%; GOGC and GOMAXPROCS
		by anything. It is information, and a warning when the container's memory limit is lower in the end, and 80% of it are in use or
		GOMEMLIMIT is above it.`,
	Remedy: `Find out who changes it. Where it is meant to change, let the process follow: package memlimit, or GOMEMLIMIT set anew
		whenever the container's limit is.`,
	FalseAlarms: `Software that leads GOMEMLIMIT or GOGC itself by what is in use (package memlimit, a GOGC tuner): that is its work.`,
	Since:       "0.1",
	Check:       check,
}

// A setting is what can change.
type setting struct {
	name  string // for people
	key   string // in evidence
	field record.Field
	with  record.Field // that is there whenever the setting could be; NumFields for the setting itself
	none  float64      // stands for no limit, and beyond
	any   bool         // a change by anything counts
	say   func(float64) string
	put   func(name string, v float64, source string) rule.Evidence
}

var settings = []setting{
	{"the container's memory limit", "cgroup_limit", record.FieldCgroupLimitBytes, record.FieldCgroupUsageBytes, 1 << 60, false, rule.FormatBytes, rule.Bytes},
	{"the container's CPU quota", "cgroup_cpu_quota", record.FieldCgroupCPUQuota, record.FieldCgroupPeriods, math.Inf(1), false,
		func(v float64) string { return fmt.Sprintf("%.3g cores", v) }, rule.Cores},
	{"GOMEMLIMIT", "gomemlimit", record.FieldGOMEMLIMITBytes, record.NumFields, view.NoLimit, false, rule.FormatBytes, rule.Bytes},
	{"GOGC", "gogc", record.FieldGOGCPercent, record.NumFields, math.Inf(1), true,
		func(v float64) string {
			if v < 0 {
				return "off"
			}
			return fmt.Sprintf("%.0f", v)
		}, rule.Percent},
	{"GOMAXPROCS", "gomaxprocs", record.FieldGOMAXPROCS, record.NumFields, math.Inf(1), true,
		func(v float64) string { return fmt.Sprintf("%.0f", v) }, rule.Count},
}

// A course is how a setting moved.
type course struct {
	from, to    float64 // first and last; infinite for no limit
	low, high   float64
	times       int
	first, last float64 // when, in seconds
}

// values are a setting's over time; none are infinite.
func (s *setting) values(v *view.View) []trend.Point {
	limit := func(x float64) float64 {
		if x >= s.none {
			return math.Inf(1)
		}
		return x
	}
	var out []trend.Point
	given := v.Series(s.field)
	if s.with == record.NumFields {
		for _, p := range given {
			out = append(out, trend.Point{T: p.T, V: limit(p.V)})
		}
		return out
	}
	at := 0
	for _, p := range v.Series(s.with) {
		for at < len(given) && given[at].T < p.T {
			at++
		}
		x := math.Inf(1)
		if at < len(given) && given[at].T == p.T {
			x = limit(given[at].V)
		}
		out = append(out, trend.Point{T: p.T, V: x})
	}
	return out
}

func (s *setting) course(v *view.View) (c course, changed bool) {
	pts := s.values(v)
	if len(pts) == 0 {
		return c, false
	}
	c = course{from: pts[0].V, low: pts[0].V, high: pts[0].V}
	was := pts[0].V
	for _, p := range pts[1:] {
		if p.V != was {
			if c.times++; c.times == 1 {
				c.first = p.T
			}
			c.last = p.T
		}
		was, c.low, c.high = p.V, min(c.low, p.V), max(c.high, p.V)
	}
	c.to = was
	return c, c.times > 0 && (s.any || c.high-c.low >= least*c.low || math.IsInf(c.high, 1))
}

func (s *setting) text(v float64) string {
	if math.IsInf(v, 1) {
		return "none"
	}
	return s.say(v)
}

// clause says what became of the setting.
func (s *setting) clause(c course) string {
	when := rule.FormatSeconds(c.first) + " into the recording"
	if c.times > 1 {
		when = fmt.Sprintf("in %d steps, %s to %s into the recording", c.times, rule.FormatSeconds(c.first), rule.FormatSeconds(c.last))
	}
	switch {
	case c.from != c.to:
		verb := "raised"
		if c.to < c.from {
			verb = "lowered"
		}
		if s.field == record.FieldGOGCPercent {
			verb = "changed" // off is not less
		}
		return fmt.Sprintf("%s was %s from %s to %s (%s)", s.name, verb, s.text(c.from), s.text(c.to), when)
	case c.low < c.from:
		return fmt.Sprintf("%s was lowered from %s to %s for a time, and is what it was (%s)", s.name, s.text(c.from), s.text(c.low), when)
	}
	return fmt.Sprintf("%s was raised from %s to %s for a time, and is what it was (%s)", s.name, s.text(c.from), s.text(c.high), when)
}

func check(v *view.View) []rule.Finding {
	f := rule.Finding{ID: id, Severity: rule.Info, Confidence: rule.High, ConfidenceReason: "the values were read before and after"}
	var said []string
	for i := range settings {
		s := &settings[i]
		c, changed := s.course(v)
		if !changed {
			continue
		}
		src := v.Source(s.field)
		unit := map[record.Field]string{record.FieldCgroupLimitBytes: "_bytes", record.FieldGOMEMLIMITBytes: "_bytes", record.FieldCgroupCPUQuota: "_cores", record.FieldGOGCPercent: "_percent"}[s.field]
		for _, e := range []struct {
			name string
			v    float64
		}{{"_before", c.from}, {"_lowest", c.low}, {"_after", c.to}} {
			if !math.IsInf(e.v, 0) {
				f.Evidence = append(f.Evidence, s.put(s.key+e.name+unit, e.v, src))
			}
		}
		f.Evidence = append(f.Evidence, rule.Seconds(s.key+"_changed_after_seconds", c.first, src))
		if f.Title == "" {
			f.Title = strings.ToUpper(s.name[:1]) + s.name[1:] + " was changed while the process ran"
			if c.to < c.from && s.field != record.FieldGOGCPercent {
				f.Title = fmt.Sprintf("%s was lowered while the process ran: from %s to %s", strings.ToUpper(s.name[:1])+s.name[1:], s.text(c.from), s.text(c.to))
			}
		}
		clause := s.clause(c)
		if s.field == record.FieldCgroupLimitBytes && c.to < c.from {
			if why := tight(v, c.to); why != "" {
				f.Severity = rule.Warning
				clause += ": " + why
			}
		}
		said = append(said, clause)
	}
	if len(said) == 0 {
		return nil
	}
	text := strings.Join(said, "; ")
	f.Cause = strings.ToUpper(text[:1]) + text[1:] + "."
	f.Remedy = "Find out who changed it. If it is to stay, size the process for it anew: `heapwright tune`."
	return []rule.Finding{f}
}

// tight says why a lowered memory limit is too low, "" when it is not.
func tight(v *view.View, limit float64) string {
	if gml, set, ok := v.GOMEMLIMIT(); ok && set && gml > limit {
		return fmt.Sprintf("GOMEMLIMIT is %s, above it", rule.FormatBytes(gml))
	}
	if usage, ok := v.Last(record.FieldCgroupUsageBytes); ok && usage >= warnFull*limit {
		return fmt.Sprintf("%s of it are in use", rule.FormatPercent(usage/limit))
	}
	return ""
}
