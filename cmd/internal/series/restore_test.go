package series

import (
	"math"
	"testing"
	"time"

	"github.com/heapwright/heapwright/record"
)

// TestRestore: what became points becomes a sample again, and so does a cycle.
func TestRestore(t *testing.T) {
	s := whole()
	for i, f := range []record.Field{record.FieldHeapGoalBytes, record.FieldRSSBytes, record.FieldHeapFreeBytes, record.FieldHeapReleasedBytes, record.FieldGOMAXPROCS, record.FieldPauseTotal} {
		set(s, f, float64(1000*(i+1)))
	}
	s.GOMEMLIMITBytes = math.MaxInt64
	values := map[string]float64{}
	for _, p := range all(s) {
		if p.Def != latency {
			values[p.Name] = p.Value
		}
	}
	var got record.Sample
	Restore(&got, values)
	for i := range sampled {
		for _, f := range sampled[i].from.fields {
			want, _ := s.Value(f)
			have, ok := got.Value(f)
			if f == record.FieldCPUProcUser {
				want = 4 // with the system's
			}
			if f == record.FieldCPUProcSystem {
				want = 0
			}
			if !ok || have != want {
				t.Errorf("%s is %g, %t; want %g", f, have, ok, want)
			}
		}
	}
	if got.GOGCPercent != -1 || got.GOMEMLIMITBytes != math.MaxInt64 {
		t.Errorf("settings: %d, %d", got.GOGCPercent, got.GOMEMLIMITBytes)
	}

	want := record.Cycle{N: 7, End: time.Unix(5, 0), Pause: time.Millisecond, Detail: true, Forced: true, Mark: time.Second, HeapGoalBytes: 9, Assist: time.Second, Procs: 4}
	values = map[string]float64{}
	for _, p := range FromCycle(nil, &want) {
		values[p.Name] = p.Value
	}
	if got, ok := RestoreCycle(want.End, values); !ok || got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	if _, ok := RestoreCycle(want.End, nil); ok {
		t.Error("a cycle of nothing")
	}
}

// FuzzRestore: numbers that no process ever had make no panic.
func FuzzRestore(f *testing.F) {
	f.Add(math.NaN(), -1.0)
	f.Add(math.Inf(1), 1e300)
	f.Fuzz(func(t *testing.T, a, b float64) {
		values := map[string]float64{}
		for i := range sampled {
			values[sampled[i].Name] = a
			if i%2 == 0 {
				values[sampled[i].Name] = b
			}
		}
		for i := range cycles {
			values[cycles[i].Name] = a
		}
		Restore(new(record.Sample), values)
		RestoreCycle(time.Time{}, values)
	})
}
