package heapwrightprometheus

import (
	"bytes"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/heapwright/heapwright/guard/shed"
	"github.com/heapwright/heapwright/metric"
)

func emits(ms ...metric.Metric) metric.Source {
	return metric.SourceFunc(func(emit func(metric.Metric)) {
		for _, m := range ms {
			emit(m)
		}
	})
}

var sample = emits(
	metric.Metric{Name: "heapwright.guard.state", Help: "1 for the state that the guard is in.", Labels: []metric.Label{{Key: "state", Value: "healthy"}}, Value: 1},
	metric.Metric{Name: "heapwright.guard.state", Help: "1 for the state that the guard is in.", Labels: []metric.Label{{Key: "state", Value: "degraded"}}},
	metric.Metric{Name: "heapwright.shed.requests", Unit: "{request}", Help: "Requests refused.", Kind: metric.Counter, Labels: []metric.Label{{Key: "heapwright.class", Value: "low"}}, Value: 17},
	metric.Metric{Name: "heapwright.memlimit.gomemlimit", Unit: "By", Help: "GOMEMLIMIT.", Value: 536870912},
	metric.Metric{Name: "heapwright.memory.used", Unit: "1", Help: "Share of the limit.", Value: 0.7321},
	metric.Metric{Name: "heapwright.gc.pause", Unit: "s", Help: "A pause.", Value: math.Inf(1)},
)

func TestCollectAndLint(t *testing.T) {
	problems, err := testutil.CollectAndLint(NewCollector(sample))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
	const want = `
# HELP heapwright_guard_state 1 for the state that the guard is in.
# TYPE heapwright_guard_state gauge
heapwright_guard_state{state="degraded"} 0
heapwright_guard_state{state="healthy"} 1
# HELP heapwright_shed_requests_total Requests refused.
# TYPE heapwright_shed_requests_total counter
heapwright_shed_requests_total{heapwright_class="low"} 17
`
	if err := testutil.CollectAndCompare(NewCollector(sample), strings.NewReader(want), "heapwright_guard_state", "heapwright_shed_requests_total"); err != nil {
		t.Error(err)
	}
}

// TestAsWriteText holds what a registry gathers against the text of the root
// module, as Prometheus itself reads it: same names, kinds, labels and values.
func TestAsWriteText(t *testing.T) {
	label := func(kv ...string) (ls []metric.Label) {
		for i := 0; i < len(kv); i += 2 {
			ls = append(ls, metric.Label{Key: kv[i], Value: kv[i+1]})
		}
		return ls
	}
	for name, sources := range map[string][]metric.Source{
		"ours": {sample},
		"none": {},
		"nil":  {nil, sample},
		"one series from two sources": {
			emits(metric.Metric{Name: "a.b", Help: "One.", Value: 1}),
			emits(metric.Metric{Name: "a.b", Help: "Another.", Value: 2}, metric.Metric{Name: "a.b", Labels: label("k", "v"), Value: 3}),
		},
		"one name of two kinds": {emits(
			metric.Metric{Name: "a.total", Kind: metric.Counter, Value: 1},
			metric.Metric{Name: "a_total", Value: 2},
			metric.Metric{Name: "a", Kind: metric.Counter, Labels: label("k", "v"), Value: 3},
		)},
		"odd labels": {emits(
			metric.Metric{Name: "a", Labels: label("b", "", "c.d-e", "\xff\"\n\\", "c.d_e", "second", "0x", "y", "__name__", "z", "a:b", "colon")},
			metric.Metric{Name: "a", Labels: label("é", "x"), Value: math.NaN()},
		)},
		"odd names": {emits(
			metric.Metric{Name: "", Value: 1},
			metric.Metric{Name: "0 a/b", Unit: "furlongs/h", Help: "back\\slash and\nline", Value: math.Inf(-1)},
		)},
		"a source that panics": {
			metric.SourceFunc(func(emit func(metric.Metric)) {
				emit(metric.Metric{Name: "before", Value: 1})
				panic("broken")
			}),
			sample,
		},
		"a source without end": {metric.SourceFunc(func(emit func(metric.Metric)) {
			for i := range 10_000 {
				emit(metric.Metric{Name: "a", Labels: label("k", fmt.Sprint(i))})
			}
		})},
	} {
		t.Run(name, func(t *testing.T) {
			registry := prometheus.NewPedanticRegistry()
			registry.MustRegister(NewCollector(sources...))
			gathered, err := registry.Gather()
			if err != nil {
				t.Fatal(err)
			}
			var text bytes.Buffer
			if err := metric.WriteText(&text, sources...); err != nil {
				t.Fatal(err)
			}
			parser := expfmt.NewTextParser(model.LegacyValidation)
			parsed, err := parser.TextToMetricFamilies(&text)
			if err != nil {
				t.Fatalf("the text does not parse: %v", err)
			}
			got, want := series(gathered), series(slices.Collect(maps.Values(parsed)))
			if !slices.Equal(got, want) {
				t.Errorf("the registry has\n%s\nand the text has\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
			}
			if name != "none" && len(got) == 0 {
				t.Error("there are no series")
			}
		})
	}
}

func series(families []*dto.MetricFamily) (out []string) {
	for _, f := range families {
		for _, m := range f.GetMetric() {
			v := m.GetGauge().GetValue() + m.GetCounter().GetValue()
			out = append(out, fmt.Sprintf("%s %v %q %v %v", f.GetName(), f.GetType(), f.GetHelp(), m.GetLabel(), v))
		}
	}
	slices.Sort(out)
	return out
}

func TestCollectInParallel(t *testing.T) {
	c := NewCollector(sample, sample)
	want := testutil.CollectAndCount(c)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				if n := testutil.CollectAndCount(c); n != want {
					t.Errorf("%d series, want %d", n, want)
					return
				}
			}
		})
	}
	wg.Wait()
}

// BenchmarkGather is a scrape of a gate: 23 series.
func BenchmarkGather(b *testing.B) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(NewCollector(shed.NewGate(shed.Options{})))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := registry.Gather(); err != nil {
			b.Fatal(err)
		}
	}
}
