// Package goroutines finds goroutines that become more and more.
package goroutines

import (
	"fmt"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/trend"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/view"
	"github.com/heapwright/heapwright/record"
)

const (
	id = "HW3002"

	leastSpan   = 10 // seconds
	leastGrowth = 50
	leastPart   = 0.20
	warnGrowth  = 200
	warnPart    = 0.50
	// A warning wants the growth at one creation site, and its goroutines stuck.
	mainSite = 0.5
	stuck    = 0.8
	// connections is the share of the site's growth that goroutines waiting for
	// I/O must not reach: then clients arrive, and bring their goroutines along.
	connections = 0.5
	topSites    = 3
)

// Rule is HW3002.
var Rule = rule.Rule{
	ID:         id,
	Name:       "goroutines",
	Title:      "The number of goroutines rises",
	Severities: []rule.Severity{rule.Info, rule.Warning},
	What:       `More goroutines are started than end, all the time, and one go statement makes most of them.`,
	Why: `A goroutine that waits for ever is never collected. It keeps its stack (2 KiB and more), and all that the stack refers to. A
		process with a million of them holds gigabytes, and every GC cycle scans their stacks.`,
	How: `The trend of the number of goroutines over at least 10 seconds, with the tests of HW3001: a slope whose 95% interval is above
		zero, steady, not slowing down. 50 more and 20% is information. A warning needs 200 more and 50%, two snapshots of
		goroutines that put half of the growth on one creation site with 80% of its goroutines waiting, and that goroutines
		waiting for I/O do not grow half as fast: then it is clients that arrive.`,
	Remedy: `Give the goroutines of the site an end: a context that is cancelled, a channel that is closed, a send in a select with
		ctx.Done(), a buffered channel for a result that nobody may read.`,
	FalseAlarms: `Clients that connect at a constant rate over the whole recording.`,
	Since:       "0.1",
	Needs:       []record.Field{record.FieldGoroutines},
	Check:       check,
}

func check(v *view.View) []rule.Finding {
	fit, ok := trend.Theil(v.Series(record.FieldGoroutines))
	if !ok || !fit.Rising() || !fit.Steady() || fit.Span < leastSpan {
		return nil
	}
	growth := fit.Slope * fit.Span
	start := max(fit.Start, 1)
	if growth < leastGrowth || growth < leastPart*start {
		return nil
	}
	// The fitted line may begin below zero; people are told what was counted.
	first, _ := v.First(record.FieldGoroutines)
	last, _ := v.Last(record.FieldGoroutines)
	src := v.Source(record.FieldGoroutines)
	f := rule.Finding{
		ID: id, Severity: rule.Info, Confidence: rule.Medium,
		ConfidenceReason: "the growth is significant and steady, but where it comes from is not known: there are not two goroutine snapshots in the recording",
		Title:            "The number of goroutines rises steadily",
		Evidence: []rule.Evidence{
			rule.PerSecond("goroutines_slope_per_second", fit.Slope, src),
			rule.PerSecond("goroutines_slope_ci_low_per_second", fit.Low, src),
			rule.PerSecond("goroutines_slope_ci_high_per_second", fit.High, src),
			rule.Count("goroutines_start", first, src),
			rule.Count("goroutines_end", last, src),
			rule.Seconds("trend_span_seconds", fit.Span, src),
		},
		Cause: fmt.Sprintf("There were %.0f goroutines and are %.0f: %.3g more a second (95%%: %.3g to %.3g), without slowing down.",
			first, last, fit.Slope, fit.Low, fit.High),
		Remedy: "Compare two goroutine profiles, some minutes apart (`heapwright profile PID --type goroutine`): the creation site that grows is the one to look at.",
	}
	sites := v.GoroutineSites()
	if len(v.Rec.Goroutines) < 2 || len(sites) == 0 || sites[0].Growth() <= 0 {
		return []rule.Finding{f}
	}
	for _, s := range sites {
		if s.Growth() <= 0 || len(f.Sites) == topSites {
			break
		}
		text := fmt.Sprintf("+%d goroutines", s.Growth())
		if s.WaitReason != "" {
			text += ", most in " + s.WaitReason
		}
		f.Sites = append(f.Sites, rule.At(s.CreatedBy, "created_by", text))
	}
	top := sites[0]
	f.Cause += fmt.Sprintf(" %d of them were started at %s", top.Growth(), rule.FrameString(top.CreatedBy))
	if top.WaitReason != "" {
		f.Cause += fmt.Sprintf(" and wait in %s at %s", top.WaitReason, rule.FrameString(top.At))
	}
	f.Cause += "."
	f.Confidence, f.ConfidenceReason = rule.High, "the growth is significant and steady, and two snapshots name the site"
	f.Remedy = fmt.Sprintf("Give the goroutines started at %s an end: a context that is cancelled, a channel that is closed, a select with ctx.Done().", rule.FrameString(top.CreatedBy))
	ioGrowth := float64(v.GoroutineGrowth("IO wait"))
	switch {
	case ioGrowth >= connections*float64(top.Growth()):
		f.Confidence, f.ConfidenceReason = rule.Medium, "goroutines that wait for I/O grow with them: it may be clients that arrive"
		f.Cause += " Goroutines that wait for I/O grow too: it may be connections that are opened and stay."
	case growth >= warnGrowth && growth >= warnPart*start &&
		float64(top.Growth()) >= mainSite*growth && float64(top.Waiting) >= stuck*float64(top.Last):
		f.Severity = rule.Warning
		f.Title = "Goroutines leak: one go statement starts more than end"
	}
	return []rule.Finding{f}
}
