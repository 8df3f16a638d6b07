package recall

import (
	"errors"
	"math"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/series"
	"github.com/heapwright/heapwright/cmd/internal/store"
	"github.com/heapwright/heapwright/record"
)

// lives stores two lives of a process as the agent does, a sample a second, of which
// every tenth is whole.
func lives(t *testing.T, db *store.DB, start time.Time, seconds int) {
	t.Helper()
	for i := range seconds {
		at := start.Add(time.Duration(i) * time.Second)
		life, n := 1, i
		if i >= seconds/2 {
			life, n = 2, i-seconds/2
		}
		b := db.Begin()
		put := func(at time.Time, ps []series.Point) {
			for _, p := range ps {
				b.Append(db.Series(p.Name, append([]series.Label{{Name: series.ProcessLabel, Value: "svc"}}, p.Labels...)...), at, p.Value)
			}
		}
		s := &record.Sample{Time: at, HeapLiveBytes: uint64(life)<<24 + uint64(n)<<12, GCCycles: uint64(n), GOGCPercent: -1, GOMEMLIMITBytes: 1 << 30}
		for _, f := range []record.Field{record.FieldHeapLiveBytes, record.FieldGCCycles, record.FieldGOGCPercent, record.FieldGOMEMLIMITBytes} {
			s.Has.Add(f)
		}
		put(at, series.FromSample(nil, s, series.Fast))
		if n%10 == 0 {
			put(at, series.FromSample(nil, s, series.Static))
			put(at, series.FromProcess(nil, &record.Process{PID: 100 * life, GoVersion: "go1.26.8", StartTime: start.Add(time.Duration(life)*time.Hour + time.Duration(n)*time.Millisecond)}))
		}
		if n > 0 {
			end := at.Add(-300 * time.Millisecond)
			put(end, series.FromCycle(nil, &record.Cycle{N: uint64(n), End: end, Pause: time.Millisecond, Detail: true, HeapGoalBytes: 1 << 25, Mark: time.Millisecond}))
		}
		if _, err := b.Commit(); err != nil {
			t.Fatal(err)
		}
	}
}

// TestRecording: what was stored comes back: of the last life all samples and cycles,
// with the settings that hold.
func TestRecording(t *testing.T) {
	db, err := store.Open(store.Options{Dir: t.TempDir(), External: []series.Label{{Name: "instance", Value: "here"}}})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	start := time.Now().Add(-10 * time.Minute).Truncate(time.Second)
	lives(t, db, start, 200)
	q := Query{Process: "svc", From: start.Add(-time.Minute), To: start.Add(time.Hour)}
	rec, err := Recording(t.Context(), db.Reader(), q)
	if err != nil {
		t.Fatal(err)
	}
	if rec.Process.PID != 200 || rec.Process.GoVersion != "go1.26.8" || !rec.Process.StartTime.Equal(start.Add(2*time.Hour)) {
		t.Errorf("the process is %+v", rec.Process)
	}
	if len(rec.Samples) != 100 || len(rec.Cycles) < 98 {
		t.Fatalf("%d samples and %d cycles of the last life", len(rec.Samples), len(rec.Cycles))
	}
	for i := range rec.Samples {
		s := &rec.Samples[i]
		want := float64(2<<24 + uint64(i)<<12)
		if live, ok := s.Value(record.FieldHeapLiveBytes); !ok || math.Abs(live/want-1) > 1e-4 {
			t.Fatalf("sample %d: %g, want %g", i, live, want)
		}
		if s.GOGCPercent != -1 || s.GOMEMLIMITBytes != 1<<30 {
			t.Fatalf("sample %d has other settings: %d, %d", i, s.GOGCPercent, s.GOMEMLIMITBytes)
		}
		if s.Has.Has(record.FieldRSSBytes) || s.Has.Has(record.FieldSchedLatency) {
			t.Fatalf("sample %d has what was not stored", i)
		}
	}
	if c := rec.Cycles[len(rec.Cycles)-1]; c.N != 99 || !c.Detail || c.HeapGoalBytes != 1<<25 {
		t.Errorf("the last cycle is %+v", c)
	}

	var nothing *NothingError
	if _, err := Recording(t.Context(), db.Reader(), Query{Process: "nobody", From: q.From, To: q.To}); !errors.As(err, &nothing) {
		t.Errorf("of nobody: %v", err)
	}
	b := db.Begin()
	b.Append(db.Series("heapwright_heap_live_bytes", series.Label{Name: series.ProcessLabel, Value: "svc"}, series.Label{Name: "instance", Value: "there"}), start.Add(time.Minute), 1)
	if _, err := b.Commit(); err != nil {
		t.Fatal(err)
	}
	var several *AmbiguousError
	if _, err := Recording(t.Context(), db.Reader(), q); !errors.As(err, &several) || len(several.Instances) != 2 {
		t.Errorf("of two machines: %v", err)
	}
	q.Instance = "here"
	if rec, err := Recording(t.Context(), db.Reader(), q); err != nil || len(rec.Samples) != 100 {
		t.Errorf("of one of them: %v", err)
	}
}
