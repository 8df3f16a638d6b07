package oom

// A Ring is a bell that rang.
type Ring struct {
	Group string // what the bell was hung for; "" for the machine
	Kind  RingKind
}

// A RingKind is what a bell rings for.
type RingKind string

// The bells.
const (
	RingThreshold RingKind = "threshold" // v1: the usage crossed a threshold, up or down
	RingPressure  RingKind = "pressure"  // v1: reclaim has become hard (memory.pressure_level)
	RingOOM       RingKind = "oom"       // v1: out of memory, or the group was removed
	RingEvents    RingKind = "events"    // v2: memory.events changed: low, high, max, oom, oom_kill
	RingPSI       RingKind = "psi"       // tasks stalled for memory (PSI trigger)
)

// thresholds are the shares of a limit at which usage rings.
var thresholds = []float64{0.5, 0.75, 0.88, 0.94, 0.97}
