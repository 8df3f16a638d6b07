package ladder

import (
	"math"
	"slices"
	"testing"

	"github.com/heapwright/heapwright/record"
)

func TestSettings(t *testing.T) {
	const mib = 1 << 20
	for name, s := range map[string]Sizes{
		"room":             {PeakBytes: 130 * mib, FloorBytes: 60 * mib},
		"floor above half": {PeakBytes: 100 * mib, FloorBytes: 70 * mib},
		"hardly any room":  {PeakBytes: 100 * mib, FloorBytes: 99 * mib},
		"no room":          {PeakBytes: 8 * mib, FloorBytes: 9 * mib},
	} {
		t.Run(name, func(t *testing.T) {
			got := Settings(s, "a seed")
			names := map[string]bool{}
			var limits []float64
			var gogc []int64
			for _, set := range got {
				if names[set.Name] {
					t.Errorf("two settings are called %s", set.Name)
				}
				names[set.Name] = true
				if set.GOGCPercent >= 0 {
					gogc = append(gogc, set.GOGCPercent)
					continue
				}
				limits = append(limits, float64(set.GOMEMLIMITBytes))
			}
			slices.Sort(gogc)
			if !slices.Equal(gogc, []int64{25, 50, 200, 400}) {
				t.Errorf("GOGC is %v", gogc)
			}
			slices.Sort(limits)
			if len(limits) != 6 || limits[0] != math.Floor(s.FloorBytes) {
				t.Fatalf("limits are %.0f, want six from the floor of %.0f on", limits, s.FloorBytes)
			}
			for i := 1; i < len(limits); i++ {
				if limits[i] < limits[i-1]*1.029 {
					t.Errorf("%.0f and %.0f are as good as the same limit", limits[i-1], limits[i])
				}
			}
			if name == "room" && math.Abs(limits[1]-0.52*s.PeakBytes) > 1 {
				t.Errorf("limits are %.0f, want the second to be 0.52 of the peak", limits)
			}
			if again := Settings(s, "a seed"); !slices.Equal(got, again) {
				t.Error("the same seed gives another order")
			}
			if other := Settings(s, "another seed"); slices.Equal(got, other) {
				t.Error("another seed gives the same order")
			}
		})
	}
}

func TestEnv(t *testing.T) {
	for _, tt := range []struct {
		s    Setting
		want []string
	}{
		{Calibration, []string{"GOGC=100"}},
		{Limited("x", 1e6), []string{"GOGC=off", "GOMEMLIMIT=1000000"}},
		{Setting{GOGCPercent: 50, GOMEMLIMITBytes: 7}, []string{"GOGC=50", "GOMEMLIMIT=7"}},
	} {
		if got := tt.s.Env(); !slices.Equal(got, tt.want) {
			t.Errorf("%+v: %q, want %q", tt.s, got, tt.want)
		}
	}
}

func TestCompare(t *testing.T) {
	want := []Setting{percent("a", 25), Calibration, Control, percent("b", 400), Limited("c", 10), Limited("d", 20)}
	got := slices.Clone(want)
	slices.Reverse(got)
	slices.SortFunc(got, Compare)
	if !slices.Equal(got, want) {
		t.Errorf("got %v", got)
	}
}

func TestMeasure(t *testing.T) {
	rec := &record.Recording{}
	for i := range 10 {
		s := record.Sample{HeapMarkedBytes: 50e6, MappedReadyBytes: 110e6 + uint64(i)*1e6, HeapInUseBytes: 90e6 + uint64(i)*1e6, HeapFreeBytes: 10e6}
		for _, f := range []record.Field{record.FieldHeapMarkedBytes, record.FieldMappedReadyBytes, record.FieldHeapInUseBytes, record.FieldHeapFreeBytes} {
			s.Has.Add(f)
		}
		rec.Samples = append(rec.Samples, s)
	}
	got, err := Measure(rec)
	if err != nil {
		t.Fatal(err)
	}
	if got.PeakBytes != 119e6 || math.Abs(got.FloorBytes-floorMargin*60e6) > 1 {
		t.Errorf("got %+v", got)
	}
	if _, err := Measure(&record.Recording{Samples: make([]record.Sample, 3)}); err == nil {
		t.Error("a recording without sizes is accepted")
	}
}
