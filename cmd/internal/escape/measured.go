package escape

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/google/pprof/profile"

	"github.com/heapwright/heapwright/record"
)

// A Measurement is what a program allocated in a stretch of time.
type Measurement struct {
	Allocations []Allocation
	// Span is the time it is about; 0 when nobody knows, so that there are no rates.
	Span time.Duration
	// SinceStart says that it is all that the program allocated since it started.
	SinceStart bool
}

// FromRecording is what was allocated between the first and the last heap profile
// of a recording; or since the start of the process, where there is one profile
// only or no GC published another in between. It reports false where there is
// none.
func FromRecording(rec *record.Recording) (Measurement, bool) {
	var first, last *record.Profile
	for i := range rec.Profiles {
		p := &rec.Profiles[i]
		if p.Kind != record.ProfileHeap || p.PeriodBytes == 0 {
			continue
		}
		if first == nil {
			first = p
		}
		last = p
	}
	if last == nil {
		return Measurement{}, false
	}
	before := map[string]*record.ProfileSite{}
	if first != last {
		for i := range first.Sites {
			before[siteKey(first.Sites[i].Stack)] = &first.Sites[i]
		}
	}
	difference := func(sinceStart bool) []Allocation {
		var out []Allocation
		for i := range last.Sites {
			s := &last.Sites[i]
			a := Allocation{Stack: s.Stack, Bytes: s.AllocBytes, Objects: s.AllocObjects, Samples: s.SampledAllocs}
			if b := before[siteKey(s.Stack)]; b != nil && !sinceStart {
				a.Bytes, a.Objects, a.Samples = a.Bytes-b.AllocBytes, a.Objects-b.AllocObjects, a.Samples-b.SampledAllocs
			}
			if a.Bytes > 0 {
				out = append(out, a)
			}
		}
		return out
	}
	m := Measurement{Span: last.Time.Sub(first.Time)}
	if first != last {
		m.Allocations = difference(false)
	}
	if len(m.Allocations) == 0 {
		m = Measurement{Allocations: difference(true), SinceStart: true}
		if !rec.Process.StartTime.IsZero() {
			m.Span = max(0, last.Time.Sub(rec.Process.StartTime))
		}
	}
	return m, true
}

// A stack's key is its frames, each of which ends in a zero byte.
func siteKey(stack []record.Frame) string {
	var b strings.Builder
	for _, f := range stack {
		b.WriteString(f.Func)
		b.WriteByte(0)
		b.WriteString(f.File)
		b.WriteByte(0)
		b.WriteString(strconv.Itoa(f.Line))
		b.WriteByte(0)
	}
	return b.String()
}

// FromPprof is what a heap profile says was allocated, less what an earlier one
// of the same process said, if there is one. The time between is that of the
// profiles; of a single one it is the duration that it states, which a profile
// since the start has none of.
func FromPprof(p, base *profile.Profile) (Measurement, error) {
	m := Measurement{Span: time.Duration(p.DurationNanos), SinceStart: p.DurationNanos == 0}
	if base != nil {
		m.SinceStart = false
		m.Span = time.Duration(p.TimeNanos - base.TimeNanos)
		if m.Span <= 0 {
			return Measurement{}, fmt.Errorf("the base profile is not older than the profile")
		}
		b := base.Copy()
		b.Scale(-1)
		merged, err := profile.Merge([]*profile.Profile{p, b})
		if err != nil {
			return Measurement{}, fmt.Errorf("comparing the profiles: %w", err)
		}
		p = merged
	}
	bytes, objects := column(p, "alloc_space"), column(p, "alloc_objects")
	if bytes < 0 {
		return Measurement{}, fmt.Errorf("the profile has no alloc_space: it is no heap or allocs profile of a Go program")
	}
	for _, s := range p.Sample {
		a := Allocation{Bytes: float64(s.Value[bytes])}
		if a.Bytes <= 0 {
			continue
		}
		if objects >= 0 {
			a.Objects = float64(s.Value[objects])
		}
		for _, l := range s.Location {
			for _, line := range l.Line {
				if line.Function != nil {
					a.Stack = append(a.Stack, record.Frame{Func: line.Function.Name, File: line.Function.Filename, Line: int(line.Line)})
				}
			}
		}
		m.Allocations = append(m.Allocations, a)
	}
	return m, nil
}

func column(p *profile.Profile, name string) int {
	for i, t := range p.SampleType {
		if t.Type == name {
			return i
		}
	}
	return -1
}
