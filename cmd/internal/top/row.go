package top

import (
	"math"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/diagnose"
	"github.com/heapwright/heapwright/record"
)

// A Round is all processes at one moment.
type Round struct {
	Time   time.Time
	Rows   []Row
	Unseen int   // processes that may be Go and could not be looked into
	Left   int   // processes that are not watched, because there are too many
	Err    error // why there could be no look for new processes; nil when there was one
}

// A Row is a process. Quantities that are not known are NaN, and pointers nil.
type Row struct {
	Process record.Process
	Uptime  time.Duration // when it was found
	Found   time.Time
	Seen    time.Time // of the newest sample
	Ended   time.Time // zero while it is there
	Error   string    // why it cannot be read, "" when it can
	Hint    string

	Latest *record.Sample // not to be changed; nil when there is none
	Live   float64        // bytes: live after the last mark and allocated since
	Goal   float64        // bytes
	RSS    float64        // bytes
	Used   float64        // bytes, of the limit
	Limit  float64        // bytes
	Kind   LimitKind      // whose limit it is

	GCCPU      float64 // of the time that processors were busy, 0 to 1
	AllocRate  float64 // bytes a second
	CycleRate  float64 // a second
	CPU        float64 // cores
	Goroutines float64
	LastPause  float64 // seconds that the last cycle stopped the program for
	MaxPause   float64 // seconds, the longest of the cycles that are remembered

	Points   []Point // oldest first; not to be changed
	Findings []diagnose.Finding
	Groups   *record.Goroutines // of the process that is looked at closer; not to be changed
	GroupErr string             // why there are none
	Trouble  float64            // what to look at first: more is worse
}

// A Point is what is kept of a sample for the charts.
type Point struct {
	T                                            time.Time
	Live, Goal, RSS, Limit                       float64 // bytes
	GCCPU                                        float64 // 0 to 1
	AllocRate, Goroutines, CPU, CycleRate, Pause float64
}

// A LimitKind says whose limit a process has.
type LimitKind byte

// The limits, the nearest first: what kills, what the collector works against, and
// the memory of the machine.
const (
	NoLimit LimitKind = iota
	Container
	Gomemlimit
	Machine
)

func (k LimitKind) String() string {
	return [...]string{"none", "container", "GOMEMLIMIT", "machine"}[k]
}

// limitOf is the memory that a process may use, and what counts against it.
func limitOf(p *record.Process, s *record.Sample) (used, limit float64, kind LimitKind) {
	rss, _ := orNaN(s, record.FieldRSSBytes)
	if v, ok := s.Value(record.FieldCgroupLimitBytes); ok && v > 0 {
		u, ok := s.Value(record.FieldCgroupUsageBytes)
		if !ok {
			u = rss
		}
		return u, v, Container
	}
	if v, ok := s.Value(record.FieldGOMEMLIMITBytes); ok && v < math.MaxInt64 && v > 0 {
		u, _ := orNaN(s, record.FieldMappedReadyBytes) // what the runtime holds against it
		return u, v, Gomemlimit
	}
	if p.HostMemoryBytes > 0 {
		return rss, float64(p.HostMemoryBytes), Machine
	}
	return rss, math.NaN(), NoLimit
}

func orNaN(s *record.Sample, f record.Field) (float64, bool) {
	if v, ok := s.Value(f); ok {
		return v, true
	}
	return math.NaN(), false
}

// trouble weighs what a person should look at first: findings, little room below a
// limit that is the process's own, and a collector that takes much.
func trouble(r *Row) float64 {
	t := 0.0
	if s, ok := diagnose.Worst(r.Findings); ok {
		t += map[diagnose.Severity]float64{diagnose.Info: 0.3, diagnose.Warning: 1.5, diagnose.Critical: 3}[s]
	}
	if room := 1 - r.Used/r.Limit; r.Kind == Container && room < 0.25 {
		t += 1 - max(room, 0)/0.25
	}
	if r.GCCPU > 0.05 {
		t += min(r.GCCPU, 0.5)
	}
	return t
}
