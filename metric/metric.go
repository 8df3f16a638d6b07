// Package metric is how the parts of Heapwright that run inside a service say
// their numbers: a [Source] emits them, and who shows them (the debug page, the
// Prometheus text of this package, an OpenTelemetry bridge) needs to know no
// source by name.
//
// Names are in OpenTelemetry's form, "heapwright.guard.state", and units in
// UCUM's, "By", "s", "1", "{goroutine}". The package keeps no numbers, has no
// registry, and knows gauges and counters only.
package metric

// A Kind says what a value means over time.
type Kind uint8

const (
	Gauge   Kind = iota // as it is now
	Counter             // since the process started; never falls
)

// String returns the word of Prometheus and of OpenMetrics: "gauge", "counter".
func (k Kind) String() string {
	if k == Counter {
		return "counter"
	}
	return "gauge"
}

// A Label tells apart the values of one name. There must be few of each: a label
// is no place for what a client sent.
type Label struct{ Key, Value string }

// A Metric is one value at the instant it is emitted.
type Metric struct {
	Name   string // "heapwright.guard.state"
	Unit   string // UCUM: "By", "s", "1" for a ratio, "{goroutine}" for a count of those; "" for none
	Help   string // one sentence
	Kind   Kind
	Labels []Label // may be shared: who is given a Metric does not change it, nor keep it
	Value  float64
}

// A Source emits its metrics, the same ones each time but for those that it does
// not know now: an absent value is not emitted, rather than emitted as zero.
//
// Metrics is safe for concurrent use, does not block, and emits a bounded number.
// It does not keep emit.
type Source interface {
	Metrics(emit func(Metric))
}

// SourceFunc makes a Source of a function.
type SourceFunc func(emit func(Metric))

// Metrics calls f.
func (f SourceFunc) Metrics(emit func(Metric)) { f(emit) }
