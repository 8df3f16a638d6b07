// Package series says what everything that is measured is called as a time
// series: the names of client_golang where it measures the same, heapwright_*
// where it does not, and OpenTelemetry's semantic conventions beside them. It turns
// samples, GC cycles and snapshots into points; it stores and sends nothing.
package series

import (
	"slices"
	"strings"
)

// ProcessLabel is the label of every point that says which process it is about.
const ProcessLabel = "process"

// A Label is a name and a value.
type Label struct{ Name, Value string }

// A Kind says how a value behaves.
type Kind uint8

// The kinds.
const (
	Gauge     Kind = iota
	Counter        // only rises, but for a restart
	Histogram      // of durations: series with _bucket, _count and _sum
)

func (k Kind) String() string { return [...]string{"gauge", "counter", "histogram"}[k] }

// A Tier says how often a series gets a point.
type Tier uint8

// The tiers.
const (
	Fast         Tier = iota // with every sample
	Slow                     // every ten seconds: rates and levels that are read over minutes
	Static                   // each minute, and when it changes
	PerCycle                 // once a GC cycle, at the cycle's end
	PerSnapshot              // with every goroutine snapshot
	PerDiagnosis             // with every diagnosis
)

func (t Tier) String() string {
	return [...]string{"every sample", "every 10 s", "every minute", "every GC cycle", "every snapshot", "every diagnosis"}[t]
}

// A Def is what is to be known of a name.
type Def struct {
	Name string // as Prometheus has it, with the unit
	Help string // one sentence, with where it is read in parentheses
	Unit string // bytes, seconds, ratio, percent, or "" for counts
	Kind Kind
	Tier Tier
	// Labels are the names of labels beside the process.
	Labels []string
	// OTel is the name in OpenTelemetry's semantic conventions where there is one that
	// means the same, with its unit in UCUM and its attributes.
	OTel       string
	OTelUnit   string
	OTelLabels []Label
	// OTelScale is what a value is multiplied by to be in OTelUnit; 0 is 1.
	OTelScale float64
}

// A Point is a value of a series of one process, at an instant that the caller knows.
type Point struct {
	Def    *Def
	Name   string  // Def.Name; of a histogram with _bucket, _count or _sum
	Labels []Label // beside the process; sorted by name, not to be changed
	Value  float64
}

// Defs returns all definitions, by tier and then in the order in which points
// come. The caller must not change them.
func Defs() []*Def { return defs }

// Lookup returns the definition of a name, for a histogram also by the names of
// its series.
func Lookup(name string) (*Def, bool) {
	if d, ok := byName[name]; ok {
		return d, true
	}
	for _, suffix := range []string{"_bucket", "_count", "_sum"} {
		if base, cut := strings.CutSuffix(name, suffix); cut {
			if d, ok := byName[base]; ok && d.Kind == Histogram {
				return d, true
			}
		}
	}
	return nil, false
}

var byName = func() map[string]*Def {
	m := make(map[string]*Def, len(defs))
	for _, d := range defs {
		m[d.Name] = d
	}
	return m
}()

// defs are the definitions of all tables.
var defs = slices.Concat(sampleDefs(), cycleDefs(), otherDefs)
