// Package leak says whether a Go process leaks memory or goroutines, where, and
// why, from what was seen of it over some minutes.
//
// It is pure: [Judge] reads an [Observation] and returns a [Verdict], and the
// same observation gives the same verdict. It does not observe a process, and
// walks no heap; who holds the memory comes from package retention.
//
// A leak is growth that is significant, that does not slow down, and that nothing
// else explains. What grew and is none of that (a warm-up, a cache that filled, a
// sawtooth, one step, more load) is told too, as [NotLeak].
package leak

import (
	"time"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
	"github.com/heapwright/heapwright/cmd/internal/retention"
	"github.com/heapwright/heapwright/record"
)

// Schema names the JSON of a [Verdict].
const Schema = "heapwright.leaks/1"

// An Observation is what was seen of one process, each slice in the order of time.
type Observation struct {
	Process record.Process
	// Heap are heap profiles, at most one of each GC cycle; more are dropped.
	Heap       []*record.Profile
	Goroutines []*record.Goroutines
	// Recording holds the samples and cycles of the same time; nil for none.
	Recording *record.Recording
	// GoroutineLeaks is the target's own goroutine-leak profile (Go 1.27): what its
	// collector found that nothing can ever wake. Nil where it was not asked.
	GoroutineLeaks *record.Goroutines
	// Retention says who holds what, at the end; nil where nobody looked.
	Retention *retention.Report
	// NoHeapProfile says why there are no heap profiles, "" when there are.
	NoHeapProfile string
}

// An Outcome is what a verdict comes to.
type Outcome string

// The outcomes.
const (
	Leak         Outcome = "leak"
	NoLeak       Outcome = "no-leak"
	Inconclusive Outcome = "inconclusive" // the time was too short, or too little was seen
)

// A Kind says which memory a finding is about.
type Kind string

// The kinds.
const (
	Heap      Kind = "heap"
	Goroutine Kind = "goroutine"
	Stack     Kind = "stack"
	Outside   Kind = "outside" // memory that the Go runtime did not ask for
)

// A Verdict is what an observation comes to.
type Verdict struct {
	Schema  string         `json:"schema"`
	Process record.Process `json:"process"`
	Verdict Outcome        `json:"verdict"`
	// Reason is the verdict in a sentence.
	Reason string `json:"reason"`
	// WindowSeconds is the time between the first reading and the last.
	WindowSeconds float64 `json:"window_seconds"`
	// Snapshots are the heap profiles that differ by a GC cycle at least.
	Snapshots          int `json:"heap_snapshots"`
	GoroutineSnapshots int `json:"goroutine_snapshots"`
	GCCycles           int `json:"gc_cycles"`
	// SitesTested are the allocation sites that could have been significant.
	SitesTested int `json:"sites_tested"`
	// LiveHeap is the growth of what GC cycles find alive; nil when not known.
	LiveHeap *Growth   `json:"live_heap"`
	Findings []Finding `json:"findings"` // the largest first
	NotLeaks []NotLeak `json:"not_leaks"`
	// Hoards are memory that is kept, of which it was not shown that it grows, and much of
	// which could be let go of.
	Hoards []Hoard `json:"hoards"`
	// Needed says what an inconclusive verdict lacks, in sentences.
	Needed []string `json:"needed"`
	Notes  []string `json:"notes"`
}

// Growth is how fast something grows, per hour, with the 95% interval.
type Growth struct {
	PerHour float64 `json:"per_hour"`
	Low     float64 `json:"low"`
	High    float64 `json:"high"`
	Start   float64 `json:"start"` // at the start of the window
	End     float64 `json:"end"`
	Unit    string  `json:"unit"` // bytes, count
	// Series are the values over the window, for a picture: at most 32.
	Series []float64 `json:"series,omitempty"`
}

// A Finding is one leak.
type Finding struct {
	Kind     Kind          `json:"kind"`
	Cause    CauseID       `json:"cause"`
	Severity rule.Severity `json:"severity"`
	Title    string        `json:"title"`
	// Site is where what leaks is made: the allocation, or the go statement. It is
	// the innermost frame of the program's own, where there is one.
	Site  record.Frame   `json:"site"`
	Stack []record.Frame `json:"stack,omitempty"`
	// WaitReason and At are of goroutines: what they wait for, and where.
	WaitReason string       `json:"wait_reason,omitempty"`
	At         record.Frame `json:"at,omitzero"`
	// Stuck says that one of the goroutines has waited for half of the window or more:
	// they do not only come in numbers, each of them stays where it is.
	Stuck bool `json:"stuck,omitempty"`

	Growth     Growth          `json:"growth"`
	PValue     float64         `json:"p_value"` // corrected for the number of sites tested
	Confidence rule.Confidence `json:"confidence"`
	// ConfidenceReason says what the confidence rests on.
	ConfidenceReason string          `json:"confidence_reason"`
	HeldBy           []HeldBy        `json:"held_by,omitempty"`
	Evidence         []rule.Evidence `json:"evidence"`
	// Signs are what the cause was concluded from, the strongest first.
	Signs  []string `json:"signs"`
	Remedy string   `json:"remedy"`
	// LastsSeconds is the time until the nearest limit is reached at this growth;
	// 0 when there is none.
	LastsSeconds float64 `json:"lasts_seconds,omitempty"`
}

// HeldBy is who keeps memory alive: a root, and the way from it.
type HeldBy struct {
	Root     string   `json:"root"`
	Path     []string `json:"path,omitempty"`
	Share    float64  `json:"share_ratio"` // of the site's sampled objects, or of the live heap
	Retained uint64   `json:"retained_bytes,omitempty"`
}

// A Hoard is memory that is kept for no use, by what the graph of the heap shows.
type Hoard struct {
	Cause  CauseID  `json:"cause"`
	Title  string   `json:"title"`
	Text   string   `json:"text"`
	Bytes  uint64   `json:"bytes"`
	Share  float64  `json:"share_ratio"` // of the live heap
	Root   string   `json:"root"`
	Path   []string `json:"path,omitempty"`
	Remedy string   `json:"remedy"`
}

// A NotLeakKind says why growth is not a leak.
type NotLeakKind string

// The kinds of growth that are no leaks.
const (
	Warmup   NotLeakKind = "warm-up"  // grew, ever more slowly
	Bounded  NotLeakKind = "bounded"  // grew, and stopped
	Sawtooth NotLeakKind = "sawtooth" // comes and goes
	OneStep  NotLeakKind = "one-step" // grew once
	Load     NotLeakKind = "load"     // grows as what is allocated there, or as the clients
	Noise    NotLeakKind = "noise"    // the difference is within what sampling and chance do
)

// A NotLeak is growth that is no leak, as far as can be said.
type NotLeak struct {
	Kind   NotLeakKind  `json:"kind"`
	What   Kind         `json:"what"` // heap, goroutine
	Site   record.Frame `json:"site"`
	Growth Growth       `json:"growth"`
	Text   string       `json:"text"`
}

// Options say how to judge.
type Options struct {
	// Looks is how often the same observation was judged before, with less time, and
	// will be: the errors are shared out among the looks. 0 is once.
	Looks int
	// Alpha is the chance of calling something a leak that grew by chance only;
	// 0 is 0.01.
	Alpha float64
}

// Window is the time between the first reading and the last.
func (v *Verdict) Window() time.Duration {
	return time.Duration(v.WindowSeconds * float64(time.Second))
}
