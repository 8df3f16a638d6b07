package sli

import (
	"time"

	"github.com/heapwright/heapwright/record"
)

// A Point is the state of the process at one instant. The sample's Has says which of
// its fields mean something; of what a sample has no field for, the Has fields here.
//
// A Point is about 9 kB, most of it histograms.
type Point struct {
	record.Sample

	// ProcessCPU is the CPU time of the process by the kernel's account.
	ProcessCPU    time.Duration
	HasProcessCPU bool
	// CycleCPU is ProcessCPU when the last GC cycle ended, as far as it can be told
	// from the readings before and after.
	CycleCPU    time.Duration
	HasCycleCPU bool
	// Cores is how many CPUs' worth of time the process can have: GOMAXPROCS, or the
	// quota of its cgroup when that is less. 0 is not known.
	Cores float64

	// The cgroup's effective limit and what is in use of it that the kernel can't
	// drop, in bytes.
	GroupLimitBytes  uint64 // 0: none
	GroupPinnedBytes uint64
	HasGroupPinned   bool
	// The limit that was given, and what of this process alone the kernel can't drop.
	OwnLimitBytes  uint64 // 0: none
	OwnPinnedBytes uint64
	HasOwnPinned   bool

	// OOMEvents counts what [OOMEvents] is made of, since the group was made.
	OOMEvents    uint64
	HasOOMEvents bool
}

// Options are what a Source cannot find out.
type Options struct {
	// Limit returns a memory limit of this process in bytes, 0 for none. It is asked at
	// each Read and must not block. Nil is none.
	Limit func() uint64
}

// A Source takes Points. It is not safe for concurrent use.
type Source struct {
	o Options
}

// NewSource returns a Source of this process.
func NewSource(o Options) (*Source, error) { return &Source{o: o}, nil }

// Read overwrites p with the present state. It does not allocate.
func (s *Source) Read(p *Point) {}

// Close closes the files that the Source keeps open.
func (s *Source) Close() error { return nil }

// Window says what happened between two Points of one Source.
func Window(older, newer *Point) Reading { return Reading{} }

// A Ring keeps Points of the past for windows of several lengths.
type Ring struct {
	points []Point
}

// NewRing returns a Ring of a fixed number of Points, at most 440 (4 MiB), for windows of up
// to the given length.
func NewRing(capacity int, longest time.Duration) *Ring { return &Ring{} }

// Read takes a Point of the source and keeps it. It is good until the next Read.
func (r *Ring) Read(s *Source) *Point { return &Point{} }

// Last is the youngest Point, nil if there is none.
func (r *Ring) Last() *Point { return nil }

// Before returns the youngest Point that is at least window older than now, the oldest
// of all when none is, and nil when there is none before now.
func (r *Ring) Before(now time.Time, window time.Duration) *Point { return nil }

// Window is Window from Before to Last, with TimeToFull.
func (r *Ring) Window(window time.Duration) (Reading, bool) { return Reading{}, false }

// Samples returns copies of the samples of the last Points, oldest first.
func (r *Ring) Samples(age time.Duration) []record.Sample { return nil }
