package heapwrightotel

import (
	"context"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/otel"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

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

func labels(kv ...string) (ls []metric.Label) {
	for i := 0; i < len(kv); i += 2 {
		ls = append(ls, metric.Label{Key: kv[i], Value: kv[i+1]})
	}
	return ls
}

// newReader returns a reader, and the provider that it reads.
func newReader(t testing.TB) (*sdkmetric.ManualReader, *sdkmetric.MeterProvider) {
	reader := sdkmetric.NewManualReader()
	provider := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))
	t.Cleanup(func() {
		if err := provider.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return reader, provider
}

// collect returns what a reader finds, a line a value.
func collect(t testing.TB, reader *sdkmetric.ManualReader) []string {
	t.Helper()
	var rm metricdata.ResourceMetrics
	if err := reader.Collect(context.Background(), &rm); err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, scope := range rm.ScopeMetrics {
		if scope.Scope.Name != ScopeName {
			t.Errorf("a metric of scope %q", scope.Scope.Name)
		}
		for _, m := range scope.Metrics {
			var points []metricdata.DataPoint[float64]
			kind := ""
			switch data := m.Data.(type) {
			case metricdata.Gauge[float64]:
				kind, points = "gauge", data.DataPoints
			case metricdata.Sum[float64]:
				kind, points = "sum", data.DataPoints
				if !data.IsMonotonic || data.Temporality != metricdata.CumulativeTemporality {
					t.Errorf("%s is not a cumulative counter: %+v", m.Name, data)
				}
			default:
				t.Errorf("%s is a %T", m.Name, data)
			}
			for _, p := range points {
				var attrs []string
				for _, kv := range p.Attributes.ToSlice() {
					attrs = append(attrs, fmt.Sprintf("%s=%q", kv.Key, kv.Value.AsString()))
				}
				out = append(out, fmt.Sprintf("%s [%s] %s {%s} %v", m.Name, m.Unit, kind, strings.Join(attrs, ","), p.Value))
			}
		}
	}
	slices.Sort(out)
	return out
}

// errorsOf collects what goes to OpenTelemetry's error handler.
func errorsOf(t *testing.T) func() []string {
	var mu sync.Mutex
	var got []string
	before := otel.GetErrorHandler()
	otel.SetErrorHandler(otel.ErrorHandlerFunc(func(err error) {
		mu.Lock()
		defer mu.Unlock()
		got = append(got, err.Error())
	}))
	t.Cleanup(func() { otel.SetErrorHandler(before) })
	return func() []string {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(got)
	}
}

func TestRegister(t *testing.T) {
	for _, tt := range []struct {
		name    string
		sources []metric.Source
		want    []string
	}{
		{"none", nil, nil},
		{
			"gauges and counters",
			[]metric.Source{nil, emits(
				metric.Metric{Name: "heapwright.a", Unit: "By", Help: "A.", Value: 1.5},
				metric.Metric{Name: "heapwright.b", Unit: "{request}", Kind: metric.Counter, Labels: labels("class", "low"), Value: 7},
				metric.Metric{Name: "heapwright.b", Unit: "{request}", Kind: metric.Counter, Labels: labels("class", "high"), Value: 8},
			)},
			[]string{
				`heapwright.a [By] gauge {} 1.5`,
				`heapwright.b [{request}] sum {class="high"} 8`,
				`heapwright.b [{request}] sum {class="low"} 7`,
			},
		},
		{
			"one series from two sources",
			[]metric.Source{
				emits(metric.Metric{Name: "a", Kind: metric.Counter, Labels: labels("k", "v", "l", "w"), Value: 1}),
				emits(metric.Metric{Name: "a", Kind: metric.Counter, Labels: labels("l", "w", "k", "v"), Value: 2}),
			},
			[]string{`a [] sum {k="v",l="w"} 1`},
		},
		{
			"one name of two kinds and units",
			[]metric.Source{emits(
				metric.Metric{Name: "a", Unit: "s", Value: 1},
				metric.Metric{Name: "a", Unit: "s", Kind: metric.Counter, Labels: labels("k", "v"), Value: 2},
				metric.Metric{Name: "a", Unit: "ms", Labels: labels("k", "w"), Value: 3},
			)},
			[]string{`a [s] gauge {} 1`},
		},
		{
			"odd labels",
			[]metric.Source{emits(metric.Metric{Name: "a", Labels: labels("k", "first", "k", "second", "empty", "", "", "x", "bad", "\xff"), Value: math.Inf(1)})},
			[]string{`a [] gauge {bad="�",k="first"} +Inf`},
		},
		{
			"a source that panics",
			[]metric.Source{
				metric.SourceFunc(func(emit func(metric.Metric)) {
					emit(metric.Metric{Name: "before", Value: 1})
					panic("broken")
				}),
				emits(metric.Metric{Name: "after", Value: 2}),
			},
			[]string{"after [] gauge {} 2", "before [] gauge {} 1"},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			reader, provider := newReader(t)
			r, err := Register(provider.Meter(ScopeName), tt.sources...)
			if err != nil {
				t.Fatal(err)
			}
			for range 2 { // a cumulative counter says the same when nothing happened
				if got := collect(t, reader); !slices.Equal(got, tt.want) {
					t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
				}
			}
			for range 2 {
				if err := r.Unregister(); err != nil {
					t.Error(err)
				}
			}
			if got := collect(t, reader); len(got) > 0 {
				t.Errorf("after Unregister: %q", got)
			}
		})
	}
}

func TestRegisterRefuses(t *testing.T) {
	if _, err := Register(nil); err == nil || !strings.Contains(err.Error(), "no meter") {
		t.Errorf("without a meter: error %v", err)
	}
	reader, provider := newReader(t)
	var asked atomic.Int64
	counting := metric.SourceFunc(func(emit func(metric.Metric)) {
		asked.Add(1)
		emit(metric.Metric{Name: "fine"})
	})
	_, err := Register(provider.Meter(ScopeName), counting, emits(metric.Metric{Name: "0 no name"}))
	if err == nil || !strings.Contains(err.Error(), `"0 no name"`) {
		t.Errorf("a bad name: error %v", err)
	}
	asked.Store(0)
	if got := collect(t, reader); len(got) > 0 || asked.Load() > 0 {
		t.Errorf("a failed Register left %q behind", got)
	}
}

// TestNewNames has sources that come to emit more while they are observed.
func TestNewNames(t *testing.T) {
	failures := errorsOf(t)
	reader, provider := newReader(t)
	var ms atomic.Pointer[[]metric.Metric]
	ms.Store(&[]metric.Metric{{Name: "a", Value: 1}})
	r, err := Register(provider.Meter(ScopeName), metric.SourceFunc(func(emit func(metric.Metric)) {
		for _, m := range *ms.Load() {
			emit(m)
		}
	}))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Unregister()
	until := func(want ...string) {
		t.Helper()
		deadline := time.Now().Add(30 * time.Second)
		for {
			got := collect(t, reader)
			if slices.Equal(got, want) {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("got %q, want %q", got, want)
			}
			time.Sleep(time.Millisecond)
		}
	}
	until("a [] gauge {} 1")
	ms.Store(&[]metric.Metric{{Name: "a", Value: 1}, {Name: "a", Labels: labels("k", "v"), Value: 2}})
	until(`a [] gauge {k="v"} 2`, "a [] gauge {} 1")
	ms.Store(&[]metric.Metric{{Name: "a", Value: 1}, {Name: "b", Kind: metric.Counter, Value: 3}, {Name: "0 no name"}})
	until("a [] gauge {} 1", "b [] sum {} 3")
	ms.Store(&[]metric.Metric{{Name: "b", Kind: metric.Counter, Value: 4}, {Name: "0 no name"}})
	until("b [] sum {} 4")
	if got := failures(); len(got) != 1 || !strings.Contains(got[0], `"0 no name"`) {
		t.Errorf("the error handler was told %q", got)
	}

	var many []metric.Metric
	for i := range 2 * maxInstruments {
		many = append(many, metric.Metric{Name: fmt.Sprintf("n%d", i)})
	}
	ms.Store(&many)
	deadline := time.Now().Add(30 * time.Second)
	for len(failures()) < 2 && time.Now().Before(deadline) {
		collect(t, reader)
	}
	// "0 no name" has a place too.
	if got := len(collect(t, reader)); got != maxInstruments-3 {
		t.Errorf("%d of %d names are observed, want %d", got, len(many), maxInstruments-3)
	}
	if got := failures(); len(got) != 2 || !strings.Contains(got[1], "1024 names are the most") {
		t.Errorf("the error handler was told %q", got)
	}
}

// TestRegisterInParallel collects with two readers while names come and the
// registration ends.
func TestRegisterInParallel(t *testing.T) {
	errorsOf(t)
	readers := []*sdkmetric.ManualReader{sdkmetric.NewManualReader(), sdkmetric.NewManualReader()}
	provider := sdkmetric.NewMeterProvider(sdkmetric.WithReader(readers[0]), sdkmetric.WithReader(readers[1]))
	defer provider.Shutdown(context.Background())
	var n atomic.Int64
	source := metric.SourceFunc(func(emit func(metric.Metric)) {
		for i := range n.Add(1) % 100 {
			emit(metric.Metric{Name: fmt.Sprintf("n%d", i), Kind: metric.Counter, Value: 1})
		}
	})
	for range 5 {
		r, err := Register(provider.Meter(ScopeName), source, source)
		if err != nil {
			t.Fatal(err)
		}
		var wg sync.WaitGroup
		for _, reader := range readers {
			wg.Go(func() {
				for range 100 {
					for _, line := range collect(t, reader) {
						if !strings.HasSuffix(line, " 1") {
							t.Errorf("counted twice: %s", line)
						}
					}
				}
			})
		}
		time.Sleep(5 * time.Millisecond)
		if err := r.Unregister(); err != nil {
			t.Error(err)
		}
		asked := n.Load()
		wg.Wait()
		if got := n.Load(); got != asked {
			t.Errorf("the sources were asked %d times after Unregister", got-asked)
		}
	}
}

// names are how OpenTelemetry's naming rules have a metric: lower case, namespaces
// with dots, words with underscores, no unit and no "total" in it.
var names = regexp.MustCompile(`^heapwright(\.[a-z][a-z0-9]*(_[a-z0-9]+)*)+$`)

// checkNames holds the names of a source against the rules of OpenTelemetry's
// semantic conventions.
func checkNames(t *testing.T, s metric.Source) {
	t.Helper()
	type family struct {
		unit, help string
		kind       metric.Kind
	}
	seen := map[string]family{}
	s.Metrics(func(m metric.Metric) {
		f := family{m.Unit, m.Help, m.Kind}
		was, again := seen[m.Name]
		seen[m.Name] = f
		switch {
		case again && was != f:
			t.Errorf("%s is %v, and %v", m.Name, was, f)
		case again:
		case !names.MatchString(m.Name) || len(m.Name) > 255:
			t.Errorf("%q is no name", m.Name)
		case strings.HasSuffix(m.Name, "total"), strings.HasSuffix(m.Name, "_bytes"), strings.HasSuffix(m.Name, "_seconds"), strings.HasSuffix(m.Name, "_ratio"):
			t.Errorf("%s: what it is in, or that it counts, is no part of a name", m.Name)
		case !slices.Contains([]string{"By", "s", "1", "%"}, m.Unit) && !regexp.MustCompile(`^(By/s|\{[a-z_]+\})?$`).MatchString(m.Unit):
			t.Errorf("%s has unit %q", m.Name, m.Unit)
		case m.Help == "":
			t.Errorf("%s has no help", m.Name)
		}
		for _, l := range m.Labels {
			if !regexp.MustCompile(`^[a-z][a-z0-9]*([._][a-z0-9]+)*$`).MatchString(l.Key) {
				t.Errorf("%s has attribute %q", m.Name, l.Key)
			}
		}
	})
	for a := range seen {
		for b := range seen {
			if strings.HasPrefix(b, a+".") {
				t.Errorf("%s is a metric, and the namespace of %s", a, b)
			}
		}
	}
	if len(seen) == 0 {
		t.Error("there are no metrics")
	}
}

func TestNames(t *testing.T) {
	t.Run("gate", func(t *testing.T) { checkNames(t, shed.NewGate(shed.Options{Capacity: 1 << 30})) })
}

func BenchmarkCollect(b *testing.B) {
	reader, provider := newReader(b)
	if _, err := Register(provider.Meter(ScopeName), shed.NewGate(shed.Options{})); err != nil {
		b.Fatal(err)
	}
	var rm metricdata.ResourceMetrics
	b.ReportAllocs()
	for b.Loop() {
		if err := reader.Collect(context.Background(), &rm); err != nil {
			b.Fatal(err)
		}
	}
}
