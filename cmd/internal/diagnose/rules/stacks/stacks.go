// Package stacks finds memory that is mostly goroutine stacks.
package stacks

import (
	"fmt"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/view"
	"github.com/heapwright/heapwright/record"
)

const (
	id = "HW3004"

	infoBytes = 64 << 20
	infoPart  = 0.25 // of the runtime's memory
	// Of grown stacks less is worth knowing: one begins at 2 KiB, or at what the
	// average of them has been, and most never need 16 KiB.
	deepBytes = 16 << 20
	deepMean  = 16 << 10
	warnBytes = 256 << 20
	warnPart  = 0.40
	topSites  = 3
)

// Rule is HW3004.
var Rule = rule.Rule{
	ID:         id,
	Name:       "stacks",
	Title:      "Goroutine stacks are a large part of the memory",
	Severities: []rule.Severity{rule.Info, rule.Warning},
	What:       `The stacks of goroutines take a large share of the memory that the runtime has mapped.`,
	Why: `Stacks count for GOMEMLIMIT and are scanned by every cycle. They are there because there are many goroutines, or because
		some went deep: a stack doubles when it is full, and is halved at a GC only while less than a quarter of it is used
		(runtime/stack.go, shrinkstack).`,
	How: `Stack memory in use over the memory that the runtime has ready, at the peak of the window: 25% and 64 MiB are information, or
		16 MiB when a goroutine has 16 KiB of stack on average; 40% and 256 MiB are a warning. With a goroutine snapshot, the creation sites with most goroutines are named.`,
	Remedy: `Fewer goroutines (a bounded pool, one reader for many connections), or shallower ones: no large arrays and no deep
		recursion in what waits for long; start the deep work in a goroutine that ends.`,
	FalseAlarms: `A service for very many idle connections: that is what it is made of.`,
	Since:       "0.1",
	Needs:       []record.Field{record.FieldStackInUseBytes, record.FieldMappedReadyBytes},
	Check:       check,
}

func check(v *view.View) []rule.Finding {
	part, ok := view.Quantile(v.Combine(func(x []float64) float64 {
		if x[1] <= 0 {
			return 0
		}
		return min(1, x[0]/x[1])
	}, record.FieldStackInUseBytes, record.FieldMappedReadyBytes), 1)
	bytes, okB := v.Max(record.FieldStackInUseBytes)
	least := float64(infoBytes)
	if n, ok := v.Max(record.FieldGoroutines); ok && n >= 1 && bytes/n >= deepMean {
		least = deepBytes
	}
	if !ok || !okB || bytes < least || part < infoPart {
		return nil
	}
	f := rule.Finding{
		ID: id, Severity: rule.Info, Confidence: rule.High, ConfidenceReason: "the runtime counts stack memory",
		Title: fmt.Sprintf("Goroutine stacks take %s of Go's memory", rule.FormatPercent(part)),
		Evidence: []rule.Evidence{
			rule.Bytes("stack_in_use_peak_bytes", bytes, v.Source(record.FieldStackInUseBytes)),
			rule.Ratio("stack_of_mapped_ratio", part, "computed"),
		},
		Cause:  fmt.Sprintf("Stacks take %s.", rule.FormatBytes(bytes)),
		Remedy: "Start fewer goroutines, or keep what waits for long shallow.",
	}
	if bytes >= warnBytes && part >= warnPart {
		f.Severity = rule.Warning
	}
	if n, ok := v.Max(record.FieldGoroutines); ok && n >= 1 {
		f.Evidence = append(f.Evidence,
			rule.Count("goroutines", n, v.Source(record.FieldGoroutines)),
			rule.Bytes("stack_mean_bytes", bytes/n, "computed"))
		f.Cause = fmt.Sprintf("%.0f goroutines have stacks of %s together, %s each on average.", n, rule.FormatBytes(bytes), rule.FormatBytes(bytes/n))
	}
	most := v.GoroutineSites()
	for len(most) > 0 && len(f.Sites) < topSites {
		best := 0
		for i := range most {
			if most[i].Last > most[best].Last {
				best = i
			}
		}
		s := most[best]
		if s.CreatedBy.Func == "" { // the main goroutine
			most = append(most[:best], most[best+1:]...)
			continue
		}
		f.Sites = append(f.Sites, rule.At(s.CreatedBy, "created_by", fmt.Sprintf("%d goroutines", s.Last)))
		most = append(most[:best], most[best+1:]...)
	}
	if len(f.Sites) > 0 {
		f.Cause += fmt.Sprintf(" Most of them were started at %s.", f.Sites[0])
		f.Remedy = fmt.Sprintf("Start fewer goroutines at %s, or keep what they wait in shallow: no recursion, no large arrays on the stack.", f.Sites[0])
	}
	return []rule.Finding{f}
}
