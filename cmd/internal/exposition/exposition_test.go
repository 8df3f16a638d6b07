package exposition

import (
	"fmt"
	"io"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/heapwright/heapwright/cmd/internal/agent"
	"github.com/heapwright/heapwright/cmd/internal/blackbox"
	"github.com/heapwright/heapwright/cmd/internal/diagnose"
	"github.com/heapwright/heapwright/cmd/internal/series"
	"github.com/heapwright/heapwright/cmd/internal/store"
	"github.com/heapwright/heapwright/record"
)

type fake struct{ ps []agent.Process }

func (f fake) Processes() []agent.Process { return f.ps }
func (f fake) Status() agent.Status       { return agent.Status{Watched: len(f.ps), Samples: 42} }

func process(id string) agent.Process {
	s := &record.Sample{Time: time.Unix(1700000000, 0), HeapLiveBytes: 7 << 20}
	for f := range record.NumFields {
		s.Has.Add(f)
	}
	s.SchedLatency.Add(time.Millisecond)
	ratio := 0.25
	return agent.Process{ID: id, Up: true, Latest: s, GCCPURatio: &ratio, AssistRatio: &ratio, HeadroomBytes: &ratio, TimeToLimitSeconds: &ratio,
		Info:     record.Process{PID: 7, StartTime: time.Unix(1600000000, 0), GoVersion: "go1.26.8", Module: "evil\n\"\\\xff"},
		Findings: []diagnose.Finding{{ID: "HW1001", Severity: diagnose.Warning}}}
}

// TestHandler: the page is what Prometheus reads, and has every name of package series
// that a process can have now.
func TestHandler(t *testing.T) {
	gone := agent.Process{ID: "gone"}
	h := Handler("v1", fake{[]agent.Process{process("a"), process("a:2"), gone}}, func() store.Stats { return store.Stats{Series: 3} }, func() blackbox.Stats { return blackbox.Stats{Kills: 2, Captures: 7} })
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	if w.Code != 200 {
		t.Fatalf("%d\n%s", w.Code, w.Body)
	}
	p := expfmt.NewTextParser(model.LegacyValidation)
	families, err := p.TextToMetricFamilies(w.Body)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range series.Defs() {
		f := families[d.Name]
		if d.Tier == series.PerCycle || d.Tier == series.PerSnapshot {
			continue
		}
		if f == nil {
			t.Errorf("no %s", d.Name)
			continue
		}
		want := 2
		if d == series.Up {
			want = 3
		}
		if len(f.Metric) != want {
			t.Errorf("%s of %d processes, want %d", d.Name, len(f.Metric), want)
		}
	}
	if v := families["heapwright_agent_samples_total"].Metric[0].Counter.GetValue(); v != 42 {
		t.Errorf("samples %g", v)
	}
	if hs := families["go_sched_latencies_seconds"].Metric[0].Histogram; hs.GetSampleCount() != 1 || len(hs.Bucket) < 5 {
		t.Errorf("histogram %v", hs)
	}
}

func BenchmarkHandler(b *testing.B) {
	var ps []agent.Process
	for i := range 1000 {
		ps = append(ps, process(fmt.Sprint("p", i)))
	}
	h := Handler("v1", fake{ps}, nil, nil)
	for b.Loop() {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
		if n, _ := io.Copy(io.Discard, w.Body); w.Code != 200 || n < 1<<20 {
			b.Fatal(w.Code, n)
		}
	}
}
