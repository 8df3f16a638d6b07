package series

import (
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/heapwright/heapwright/cmd/internal/diagnose"
	"github.com/heapwright/heapwright/record"
)

// whole is a sample that has every field.
func whole() *record.Sample {
	s := &record.Sample{Time: time.Unix(1700000000, 0), GOGCPercent: -1, HeapLiveBytes: 1 << 20}
	for f := range record.NumFields {
		s.Has.Add(f)
	}
	s.CPUProcUser, s.CPUProcSystem = 3*time.Second, time.Second
	for _, d := range []time.Duration{-1, 500, 900 * time.Microsecond, 3 * time.Millisecond, 100 * time.Hour} {
		s.SchedLatency.Add(d)
	}
	return s
}

func all(s *record.Sample) []Point {
	ps := FromSample(nil, s, Fast)
	return FromSample(FromSample(ps, s, Slow), s, Static)
}

// TestNames: names are Prometheus', units stand in them, and no two are the same.
func TestNames(t *testing.T) {
	valid := regexp.MustCompile(`^(go|process|heapwright)_[a-z0-9_]+$`)
	seen := map[string]bool{}
	for _, d := range Defs() {
		if !valid.MatchString(d.Name) || seen[d.Name] {
			t.Errorf("%s: not a name, or there twice", d.Name)
		}
		seen[d.Name] = true
		if d.Help == "" || !strings.HasSuffix(d.Help, ".") {
			t.Errorf("%s: help %q is no sentence", d.Name, d.Help)
		}
		if d.Unit != "" && !strings.Contains(d.Name, "_"+d.Unit) {
			t.Errorf("%s does not say its unit, %s", d.Name, d.Unit)
		}
		if total := strings.HasSuffix(d.Name, "_total"); total != (d.Kind == Counter) {
			t.Errorf("%s is a %s", d.Name, d.Kind)
		}
		if got, ok := Lookup(d.Name); !ok || got != d {
			t.Errorf("Lookup(%s) = %v, %t", d.Name, got, ok)
		}
	}
	for _, name := range []string{"go_sched_latencies_seconds_bucket", "go_sched_latencies_seconds_sum"} {
		if d, ok := Lookup(name); !ok || d != latency {
			t.Errorf("Lookup(%s) = %v, %t", name, d, ok)
		}
	}
	for _, name := range []string{"", "_sum", "go_goroutines_sum", "nonsense"} {
		if d, ok := Lookup(name); ok {
			t.Errorf("Lookup(%s) = %v", name, d)
		}
	}
}

// TestFromSample: a sample with every field gives a point for every definition of a
// sample, once; one without fields gives none.
func TestFromSample(t *testing.T) {
	points := map[string]float64{}
	for _, p := range all(whole()) {
		if p.Name != latencyBucket {
			if _, twice := points[p.Name]; twice {
				t.Errorf("%s twice", p.Name)
			}
			points[p.Name] = p.Value
		}
		if !slices.IsSortedFunc(p.Labels, func(a, b Label) int { return strings.Compare(a.Name, b.Name) }) {
			t.Errorf("%s: labels %v are not sorted", p.Name, p.Labels)
		}
	}
	for i := range sampled {
		if _, ok := points[sampled[i].Name]; !ok {
			t.Errorf("no point of %s", sampled[i].Name)
		}
	}
	for name, want := range map[string]float64{
		"heapwright_heap_live_bytes": 1 << 20,
		"process_cpu_seconds_total":  4,
		"go_gc_gogc_percent":         math.MaxUint64,
		latencyCount:                 5,
	} {
		if points[name] != want {
			t.Errorf("%s = %g, want %g", name, points[name], want)
		}
	}
	if ps := all(&record.Sample{}); len(ps) != 0 {
		t.Errorf("an empty sample has %v", ps)
	}
}

// TestLatency: the buckets rise to the count, and hold what is no longer than they say.
func TestLatency(t *testing.T) {
	want := map[string]float64{"1.024e-06": 2, "0.001048576": 3, "0.004194304": 4, "4.294967296": 4, "+Inf": 5}
	var last float64
	for _, p := range FromSample(nil, whole(), Slow) {
		if p.Name != latencyBucket {
			continue
		}
		le := p.Labels[0].Value
		if p.Value < last {
			t.Errorf("bucket %s is below the one before", le)
		}
		last = p.Value
		if w, ok := want[le]; ok && p.Value != w {
			t.Errorf("bucket %s = %g, want %g", le, p.Value, w)
		}
		delete(want, le)
	}
	if len(want) != 0 {
		t.Errorf("no buckets %v", want)
	}
}

func TestFromCycle(t *testing.T) {
	if got := len(FromCycle(nil, &record.Cycle{N: 1, Pause: time.Millisecond})); got != 2 {
		t.Errorf("a cycle without detail has %d points, want its number and its pause", got)
	}
	if got := len(FromCycle(nil, &record.Cycle{Detail: true})); got != len(cycles) {
		t.Errorf("a cycle has %d points of %d", got, len(cycles))
	}
}

// TestHostileLabels: what a process says of itself becomes labels that a TSDB takes.
func TestHostileLabels(t *testing.T) {
	evil := strings.Repeat("ü", 300) + "\xff"
	g := &record.Goroutines{}
	for i := range 1000 {
		g.Groups = append(g.Groups, record.GoroutineGroup{Count: i, Status: evil, WaitReason: strings.Repeat("x", i%300)})
	}
	points := FromGoroutines(nil, g)
	if len(points) > maxReasons {
		t.Errorf("%d points of one snapshot", len(points))
	}
	points = FromProcess(points, &record.Process{GoVersion: evil, Module: "\x80"})
	points = FromFindings(points, []diagnose.Finding{{ID: "HW1001"}})
	for _, p := range points {
		for _, l := range p.Labels {
			if !utf8.ValidString(l.Value) || len(l.Value) > 200 {
				t.Errorf("%s: %s=%q", p.Name, l.Name, l.Value)
			}
		}
	}
}

func BenchmarkFromSample(b *testing.B) {
	s := whole()
	var dst []Point
	b.ReportAllocs()
	for b.Loop() {
		dst = FromSample(dst[:0], s, Fast)
		dst = FromSample(dst, s, Slow)
	}
}
