package debugz

import (
	"fmt"
	"time"

	"github.com/heapwright/heapwright/guard/fault"
)

// A faultsPart is what the page shows of faults that are injected: on top of it, and so
// that nobody takes what is below for how the service is by itself.
type faultsPart struct {
	Head, Note string
	Rows       []faultRow
}

type faultRow struct{ Kind, What, Level, Reached, By, For, Note string }

// faultNames are what the kinds are for people.
var faultNames = map[fault.Kind]string{
	fault.Churn:      "garbage",
	fault.Retain:     "memory kept, without pointers",
	fault.Pointers:   "memory kept, small objects full of pointers",
	fault.Large:      "memory kept, large objects that are replaced",
	fault.Fragments:  "spans kept by an object each",
	fault.Goroutines: "goroutines that wait",
	fault.Stacks:     "stacks of goroutines that wait",
	fault.Finalizers: "objects with finalizers",
	fault.OffHeap:    "memory that is not Go's",
	fault.ForcedGC:   "collections forced",
}

// faultsOf is nil while nothing is injected, and nothing of it is left.
func faultsOf(d *document, lim budget) *faultsPart {
	s := d.Faults
	p := &faultsPart{}
	switch n := len(s.Active); {
	case n == 1:
		p.Head = "A fault is injected into this service"
	case n > 1:
		p.Head = fmt.Sprintf("%d faults are injected into this service", n)
	case s.Returning > 0:
		p.Head = "Faults have ended, and their memory is being given back"
	default:
		return nil
	}
	if len(s.Active) > 0 {
		p.Note = "What is below is not how it is by itself. Each ends with its lease, unless that is renewed."
	}
	if s.Returning > 0 {
		p.Note += fmt.Sprintf(" Up to %s of faults that have ended are being given back.", bytesText(float64(s.Returning)))
	}
	for i, f := range s.Active {
		if i >= lim.faults {
			p.Note += fmt.Sprintf(" %d more are in the JSON.", len(s.Active)-i)
			break
		}
		row := faultRow{
			Kind: string(f.Kind), What: faultNames[f.Kind], Level: levelText(f.Level, f.Unit), Reached: levelText(f.Reached, f.Unit), By: cut(f.By, lim.text),
			For: fmt.Sprintf("for %s, ends in %s", spanText(d.Time.Sub(f.Since)), leaseText(f.Until.Sub(d.Time))), Note: cut(f.Problem, lim.text),
		}
		if f.Ending != "" {
			row.For = "ends: " + cut(f.Ending, lim.text)
		}
		p.Rows = append(p.Rows, row)
	}
	return p
}

// leaseText writes how long a lease lasts, which is seconds as a rule.
func leaseText(d time.Duration) string {
	if d < time.Minute {
		return fmt.Sprintf("%.1f s", max(0, d.Seconds()))
	}
	return spanText(d)
}

// levelText writes a level of a fault.
func levelText(v float64, unit fault.Unit) string {
	switch unit {
	case fault.Bytes:
		return bytesText(v)
	case fault.BytesPerSecond:
		return bytesText(v) + "/s"
	case fault.CountPerSecond:
		return numberText(v) + "/s"
	}
	return numberText(v)
}
