package accuracy

import (
	"math"
	"testing"
	"time"

	"github.com/heapwright/heapwright/record"
)

func TestComparison(t *testing.T) {
	nan := math.NaN()
	for _, tt := range []struct {
		c          Comparison
		known, in  bool
		relative   float64
		difference float64
	}{
		{Comparison{110, 90, 130, 100}, true, true, 0.1, 10},
		{Comparison{80, 70, 90, 100}, true, false, -0.2, -20},
		{Comparison{80, 70, 100, 100}, true, true, -0.2, -20}, // the ends belong to it
		{Comparison{0, 0, 0, 0}, true, true, 0, 0},
		{Comparison{1, 0, 2, 0}, true, true, nan, 1},
		{Comparison{nan, nan, nan, 1}, false, false, nan, nan},
		{Comparison{1, 0, 2, nan}, false, false, nan, nan},
		{Comparison{math.Inf(1), 0, math.Inf(1), 1}, false, true, math.Inf(1), math.Inf(1)},
	} {
		if got := tt.c.Known(); got != tt.known {
			t.Errorf("%+v: known %v", tt.c, got)
		}
		if got := tt.c.Covered(); got != tt.in {
			t.Errorf("%+v: covered %v", tt.c, got)
		}
		if got := tt.c.Relative(); !same(got, tt.relative) {
			t.Errorf("%+v: relative %v, want %v", tt.c, got, tt.relative)
		}
		if got := tt.c.Difference(); !same(got, tt.difference) {
			t.Errorf("%+v: difference %v, want %v", tt.c, got, tt.difference)
		}
	}
}

func same(a, b float64) bool {
	return a == b || math.IsNaN(a) && math.IsNaN(b) || math.Abs(a-b) < 1e-9
}

func TestSummarise(t *testing.T) {
	errors := []float64{0.1, -0.3, math.NaN(), 0.2, -0.05, 0.0}
	covered := []bool{true, false, true, true, true, true}
	got := Summarise(errors, covered)
	// Sizes in order: 0, 0.05, 0.1, 0.2, 0.3; with signs: -0.3, -0.05, 0, 0.1, 0.2.
	want := Summary{N: 5, Median: 0.1, P90: 0.26, Worst: 0.3, WorstAt: 1, Bias: 0, Covered: 4}
	if got.N != want.N || !same(got.Median, want.Median) || !same(got.P90, want.P90) || !same(got.Worst, want.Worst) ||
		got.WorstAt != want.WorstAt || !same(got.Bias, want.Bias) || got.Covered != want.Covered {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got := Summarise([]float64{math.NaN()}, nil); got != (Summary{}) {
		t.Errorf("of nothing: %+v", got)
	}
}

func TestQuantile(t *testing.T) {
	v := []float64{4, 1, 3, 2}
	for q, want := range map[float64]float64{0: 1, 0.5: 2.5, 0.9: 3.7, 1: 4} {
		if got := Quantile(v, q); !same(got, want) {
			t.Errorf("quantile %g is %g, want %g", q, got, want)
		}
	}
	if v[0] != 4 {
		t.Error("the values were reordered")
	}
	if got := Quantile(nil, 0.5); !math.IsNaN(got) {
		t.Errorf("quantile of nothing is %g", got)
	}
}

func TestFindBoundary(t *testing.T) {
	nan := math.NaN()
	for name, tt := range map[string]struct {
		rungs []Rung
		want  Boundary
	}{
		// GC takes 10/(limit-100) of the CPUs: a quarter of them at 140.
		"on the line": {[]Rung{{200, 0.1, false}, {120, 0.5, false}, {150, 0.2, false}}, Boundary{120, 140, 150}},
		"no storm":    {[]Rung{{200, 0.1, false}, {150, 0.2, false}}, Boundary{nan, nan, 150}},
		"all storm":   {[]Rung{{110, 1, true}, {120, 0.5, false}}, Boundary{120, nan, nan}},
		// The limiter stepped in although the mean is low: only the middle is left.
		"limiter":                   {[]Rung{{120, 0.2, true}, {140, 0.1, false}}, Boundary{120, 130, 140}},
		"a storm above a calm rung": {[]Rung{{120, 0.2, false}, {130, 0.3, false}, {140, 0.1, false}}, Boundary{130, 131, 140}},
		"nothing tried":             {nil, Boundary{nan, nan, nan}},
	} {
		t.Run(name, func(t *testing.T) {
			got := FindBoundary(tt.rungs)
			if !same(got.Below, tt.want.Below) || !same(got.At, tt.want.At) || !same(got.Above, tt.want.Above) {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestBoundaryNext(t *testing.T) {
	nan := math.NaN()
	for _, tt := range []struct {
		b     Boundary
		limit float64
		ok    bool
	}{
		{Boundary{100, 110, 144}, 120, true},
		{Boundary{100, 100.5, 101}, math.Sqrt(10100), false},
		{Boundary{nan, nan, 100}, 95, true},
		{Boundary{95, nan, nan}, 100, true},
		{Boundary{nan, nan, nan}, 0, false},
	} {
		if limit, ok := tt.b.Next(); !same(limit, tt.limit) || ok != tt.ok {
			t.Errorf("%+v: next is %g, %t; want %g, %t", tt.b, limit, ok, tt.limit, tt.ok)
		}
	}
}

func TestNaive(t *testing.T) {
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	sample := func(second int, alloc, cycles uint64) record.Sample {
		s := record.Sample{
			Time: start.Add(time.Duration(second) * time.Second), TotalAllocBytes: alloc, GCCycles: cycles,
			HeapMarkedBytes: 50e6, StackScanBytes: 1e6, GlobalsScanBytes: 1e6, MappedReadyBytes: 120e6, HeapInUseBytes: 90e6, HeapFreeBytes: 20e6,
		}
		for _, f := range []record.Field{
			record.FieldTotalAllocBytes, record.FieldGCCycles, record.FieldHeapMarkedBytes, record.FieldStackScanBytes,
			record.FieldGlobalsScanBytes, record.FieldMappedReadyBytes, record.FieldHeapInUseBytes, record.FieldHeapFreeBytes,
		} {
			s.Has.Add(f)
		}
		return s
	}
	rec := &record.Recording{Samples: []record.Sample{sample(0, 0, 0), sample(10, 1000e6, 20)}}
	n, err := NewNaive(rec, 0.2)
	if err != nil {
		t.Fatal(err)
	}
	if want := (Naive{100e6, 50e6, 2e6, 10e6, 0.1}); n != want {
		t.Fatalf("got %+v, want %+v", n, want)
	}
	for _, tt := range []struct {
		gogc, limit  int64
		goal, cycles float64
	}{
		{100, math.MaxInt64, 102e6, 100. / 52},
		{25, math.MaxInt64, 63e6, 100. / 13},
		{-1, 90e6, 80e6, 100. / 30},
		{100, 90e6, 80e6, 100. / 30},
		{100, 900e6, 102e6, 100. / 52},
		{-1, 50e6, 40e6, math.NaN()},
		{2500, math.MaxInt64, 1350e6, 100. / 1300},
	} {
		goal := n.GoalBytes(tt.gogc, tt.limit)
		if cycles := n.CyclesPerSecond(goal); !same(goal, tt.goal) || !same(cycles, tt.cycles) {
			t.Errorf("GOGC=%d and %d: goal %g and %g cycles a second, want %g and %g", tt.gogc, tt.limit, goal, cycles, tt.goal, tt.cycles)
		}
	}
	if _, err := NewNaive(&record.Recording{}, 1); err == nil {
		t.Error("a recording of nothing is accepted")
	}
}
