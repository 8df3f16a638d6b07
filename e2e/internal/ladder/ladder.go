// Package ladder chooses the settings of the garbage collector under which a
// program is run, to hold forecasts against. It runs nothing.
package ladder

import (
	"cmp"
	"fmt"
	"hash/fnv"
	"math"
	"math/rand/v2"
	"slices"

	"github.com/heapwright/heapwright/record"
)

// A Setting is one way to run a program.
type Setting struct {
	Name            string `json:"name"` // unique for a subject, and fit for a file name
	GOGCPercent     int64  `json:"gogc_percent"`
	GOMEMLIMITBytes int64  `json:"gomemlimit_bytes"` // math.MaxInt64 is none
}

// Env is the environment that sets it.
func (s Setting) Env() []string {
	gogc := fmt.Sprintf("GOGC=%d", s.GOGCPercent)
	if s.GOGCPercent < 0 {
		gogc = "GOGC=off"
	}
	if s.GOMEMLIMITBytes == math.MaxInt64 {
		return []string{gogc}
	}
	return []string{gogc, fmt.Sprintf("GOMEMLIMIT=%d", s.GOMEMLIMITBytes)}
}

// Calibration is how the program runs of which forecasts are made. Control is the
// same again: how far two runs of the same setting are apart.
var (
	Calibration = percent("gogc100", 100)
	Control     = percent("gogc100-again", 100)
)

func percent(name string, p int64) Setting {
	return Setting{Name: name, GOGCPercent: p, GOMEMLIMITBytes: math.MaxInt64}
}

// Limited is a setting with a memory limit alone.
func Limited(name string, bytes float64) Setting {
	return Setting{Name: name, GOGCPercent: -1, GOMEMLIMITBytes: int64(bytes)}
}

// Sizes are what a calibration run says of memory limits that make sense.
type Sizes struct {
	PeakBytes  float64 // the most memory that the runtime held
	FloorBytes float64 // below it a limit leaves hardly any room above what lives
}

// floorMargin is how far above what has to be there anyway the lowest limit is.
// Of the room above it, the runtime leaves 3% of the limit unused.
const floorMargin = 1.08

// Measure reads the sizes off a recording.
func Measure(rec *record.Recording) (Sizes, error) {
	var s Sizes
	var floors []float64
	for i := range rec.Samples {
		p := &rec.Samples[i]
		ready, ok1 := p.Value(record.FieldMappedReadyBytes)
		marked, ok2 := p.Value(record.FieldHeapMarkedBytes)
		inUse, ok3 := p.Value(record.FieldHeapInUseBytes)
		free, ok4 := p.Value(record.FieldHeapFreeBytes)
		if !ok1 || !ok2 || !ok3 || !ok4 {
			continue
		}
		s.PeakBytes = max(s.PeakBytes, ready)
		floors = append(floors, marked+max(0, ready-inUse-free))
	}
	if len(floors) == 0 {
		return s, fmt.Errorf("reading the sizes of %s: none of its %d samples has them", rec.Process.Name, len(rec.Samples))
	}
	// Phases of a program differ; a limit has to hold in most of them.
	slices.Sort(floors)
	s.FloorBytes = floorMargin * floors[len(floors)*9/10]
	return s, nil
}

// shares of the calibrated peak are the limits that are tried.
var shares = []float64{0.52, 0.65, 0.8, 1.0, 1.5}

// apart is the least ratio between two limits.
const apart = 1.03

// Settings are the settings to hold forecasts against, in the order in which to
// run them, which depends on nothing but the seed: what the machine does meanwhile
// must not fall on always the same ones.
func Settings(s Sizes, seed string) []Setting {
	out := []Setting{percent("gogc25", 25), percent("gogc50", 50), percent("gogc200", 200), percent("gogc400", 400)}
	limits := []Setting{Limited("off-floor", s.FloorBytes)}
	for _, share := range shares {
		bytes := max(share*s.PeakBytes, s.FloorBytes)
		// Where the floor is above a share, there is another limit between it and
		// the next share instead.
		for slices.ContainsFunc(limits, func(l Setting) bool { return near(float64(l.GOMEMLIMITBytes), bytes) }) {
			bytes *= 1.06
		}
		limits = append(limits, Limited(fmt.Sprintf("off-%.2f", share), bytes))
	}
	out = append(out, limits...)
	h := fnv.New64a()
	h.Write([]byte(seed))
	rand.New(rand.NewPCG(h.Sum64(), 0)).Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

func near(a, b float64) bool { return math.Abs(math.Log(a/b)) < math.Log(apart) }

// Compare orders settings as a reader expects them: by GOGC, then by limit.
func Compare(a, b Setting) int {
	off := func(s Setting) int64 {
		if s.GOGCPercent < 0 {
			return math.MaxInt64
		}
		return s.GOGCPercent
	}
	return cmp.Or(cmp.Compare(off(a), off(b)), cmp.Compare(a.GOMEMLIMITBytes, b.GOMEMLIMITBytes), cmp.Compare(a.Name, b.Name))
}
