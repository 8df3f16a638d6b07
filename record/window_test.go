package record

import (
	"math"
	"reflect"
	"testing"
	"time"
)

func TestWindow(t *testing.T) {
	at := func(second int64) time.Time { return time.Unix(second, 0) }
	with := func(s Sample, fields ...Field) Sample {
		for _, f := range fields {
			s.Has.Add(f)
		}
		return s
	}
	r := Recording{Samples: []Sample{
		with(Sample{Time: at(0)}),
		with(Sample{Time: at(1), TotalAllocBytes: math.MaxUint64 - 40, PauseTotal: time.Second, HeapLiveBytes: 5}, FieldTotalAllocBytes, FieldPauseTotal, FieldHeapLiveBytes),
		with(Sample{Time: at(2), HeapLiveBytes: 4}, FieldHeapLiveBytes),
		with(Sample{Time: at(5), TotalAllocBytes: math.MaxUint64, PauseTotal: 3 * time.Second}, FieldTotalAllocBytes, FieldPauseTotal),
	}}

	if got, want := r.Series(FieldHeapLiveBytes), []Point{{at(1), 5}, {at(2), 4}}; !reflect.DeepEqual(got, want) {
		t.Errorf("series is %v, want %v", got, want)
	}
	first, last := r.Ends(FieldTotalAllocBytes)
	if first != &r.Samples[1] || last != &r.Samples[3] {
		t.Fatal("Ends returns other samples")
	}
	if a, b := r.Ends(FieldRSSBytes); a != nil || b != nil {
		t.Error("Ends of a field that no sample has")
	}
	if got, ok := Delta(first, last, FieldTotalAllocBytes); !ok || got != 40 {
		t.Errorf("delta is %v, %v; want exactly 40", got, ok)
	}
	if got, ok := Rate(first, last, FieldTotalAllocBytes); !ok || got != 10 {
		t.Errorf("rate is %v, %v; want 10", got, ok)
	}
	if got, ok := Rate(first, last, FieldPauseTotal); !ok || got != 0.5 {
		t.Errorf("rate is %v, %v; want 0.5", got, ok)
	}

	for name, f := range map[string]func() (float64, bool){
		"backwards":        func() (float64, bool) { return Delta(last, first, FieldTotalAllocBytes) },
		"of time":          func() (float64, bool) { return Delta(last, first, FieldPauseTotal) },
		"not cumulative":   func() (float64, bool) { return Delta(&r.Samples[1], &r.Samples[2], FieldHeapLiveBytes) },
		"not there":        func() (float64, bool) { return Delta(&r.Samples[0], last, FieldTotalAllocBytes) },
		"not a field":      func() (float64, bool) { return Delta(first, last, NumFields) },
		"not one number":   func() (float64, bool) { return Delta(first, last, FieldSchedLatency) },
		"no time has gone": func() (float64, bool) { return Rate(first, first, FieldTotalAllocBytes) },
	} {
		if got, ok := f(); ok || got != 0 {
			t.Errorf("%s: %v, %v", name, got, ok)
		}
	}
}
