package forward

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	collector "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	metrics "go.opentelemetry.io/proto/otlp/metrics/v1"
	"google.golang.org/protobuf/proto"

	"github.com/heapwright/heapwright/cmd/internal/series"
)

var update = flag.Bool("update", false, "write docs/METRICS.md")

// table of docs/METRICS.md: every name, from the definitions themselves.
func metricsTable() string {
	var b strings.Builder
	for _, tier := range []series.Tier{series.Fast, series.Slow, series.Static, series.PerCycle, series.PerSnapshot, series.PerDiagnosis} {
		fmt.Fprintf(&b, "\n### With %s\n\n| name | kind, unit | what it is, and where it is read | OTLP name, unit |\n|---|---|---|---|\n",
			map[series.Tier]string{series.Fast: "every sample", series.Slow: "a sample every 10 seconds", series.Static: "a sample every minute, and on change",
				series.PerCycle: "every GC cycle, at its end", series.PerSnapshot: "every snapshot of goroutines", series.PerDiagnosis: "every diagnosis"}[tier])
		for _, d := range series.Defs() {
			if d.Tier != tier {
				continue
			}
			name, unit := OTelName(d)
			kind := d.Kind.String()
			if d.Unit != "" {
				kind += ", " + d.Unit
			}
			otel := "`" + name + "`"
			for _, l := range d.OTelLabels {
				otel += fmt.Sprintf(" {%s=%s}", l.Name, l.Value)
			}
			if unit != "" {
				otel += ", " + unit
			}
			prom := "`" + d.Name + "`"
			if len(d.Labels) > 0 {
				prom += " {" + strings.Join(d.Labels, ", ") + "}"
			}
			fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", prom, kind, strings.ReplaceAll(d.Help, "|", "\\|"), otel)
		}
	}
	return b.String()
}

func TestMetricsDocument(t *testing.T) {
	const begin, end = "<!-- the table is made by go test ./cmd/internal/forward -run MetricsDocument -update -->\n", "\n<!-- until here -->\n"
	name := filepath.Join("..", "..", "..", "docs", "METRICS.md")
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, ok1 := strings.Cut(string(text), begin)
	_, tail, ok2 := strings.Cut(rest, end)
	if !ok1 || !ok2 {
		t.Fatalf("%s lacks the marks around its table", name)
	}
	want := head + begin + metricsTable() + end + tail
	if want == string(text) {
		return
	}
	if !*update {
		t.Fatalf("%s is not what the definitions say: run with -update", name)
	}
	if err := os.WriteFile(name, []byte(want), 0o644); err != nil {
		t.Fatal(err)
	}
}

// Two series may share a metric of OTLP only where attributes tell them apart.
func TestOTelNames(t *testing.T) {
	seen := map[string]string{}
	for _, d := range series.Defs() {
		name, unit := OTelName(d)
		key := fmt.Sprint(name, d.OTelLabels)
		if was, ok := seen[key]; ok {
			t.Errorf("%s and %s are both %s", was, d.Name, key)
		}
		seen[key] = d.Name
		if strings.ContainsAny(name, "_/ ") && d.OTel == "" || !strings.Contains(name, ".") || d.Unit == "bytes" && unit != "By" {
			t.Errorf("%s is called %q, in %q", d.Name, name, unit)
		}
		if d.OTel == "" && !strings.HasPrefix(name, "heapwright.") {
			t.Errorf("%s is called %s, in a namespace of others", d.Name, name)
		}
	}
	for name, want := range map[string]string{
		"heapwright_heap_live_bytes": "heapwright.heap.live By", "go_gc_heap_live_bytes": "heapwright.go.gc.heap.live By",
		"go_memstats_next_gc_bytes": "go.memory.gc.goal By", "heapwright_gc_cpu_ratio": "heapwright.gc.cpu 1",
		"go_cpu_classes_gc_total_cpu_seconds_total": "heapwright.go.cpu.classes.gc.total.cpu s", "heapwright_oom_kills_total": "heapwright.oom.kills ",
	} {
		d, ok := series.Lookup(name)
		if !ok {
			t.Errorf("there is no %s", name)
			continue
		}
		if n, u := OTelName(d); n+" "+u != want {
			t.Errorf("%s is %s %s, not %s", name, n, u, want)
		}
	}
}

func at(name string, pts []promql.FPoint, more ...string) line {
	return newLine(labels.FromStrings(append([]string{"__name__", name, "process", "api:2", "instance", "web1", "job", "heapwright"}, more...)...), pts)
}

func export1(t *testing.T, o *otlp, lines []line) []*metrics.ResourceMetrics {
	t.Helper()
	o.learn(lines)
	body, err := o.encode(o.units(lines))
	if err != nil {
		t.Fatal(err)
	}
	zr, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := io.ReadAll(zr)
	if err != nil {
		t.Fatal(err)
	}
	req := &collector.ExportMetricsServiceRequest{}
	if err := proto.Unmarshal(raw, req); err != nil {
		t.Fatal(err)
	}
	return req.ResourceMetrics
}

func find(t *testing.T, rm *metrics.ResourceMetrics, name string) *metrics.Metric {
	t.Helper()
	for _, m := range rm.ScopeMetrics[0].Metrics {
		if m.Name == name {
			return m
		}
	}
	t.Fatalf("there is no %s", name)
	return nil
}

func resourceText(rm *metrics.ResourceMetrics) string {
	var out []string
	for _, a := range rm.Resource.Attributes {
		v := a.Value.GetStringValue()
		if v == "" {
			v = fmt.Sprint(a.Value.GetIntValue())
		}
		out = append(out, a.Key+"="+v)
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func TestOTLPEncoding(t *testing.T) {
	o := &otlp{}
	two := func(a, b float64) []promql.FPoint { return []promql.FPoint{{T: 1_000_000, F: a}, {T: 1_010_000, F: b}} }
	lines := []line{
		at(infoName, two(1, 1), "pid", "42", "go_version", "go1.26.8", "goarch", "arm64", "module_version", "v1.2.3"),
		at(startTimeName, two(900.5, 900.5)),
		at("heapwright_heap_live_bytes", two(1.5, 2)),
		at("go_memstats_alloc_bytes_total", two(10, 20)),
		at("heapwright_oom_kills_total", two(0, 1)),
		at("go_memstats_next_gc_bytes", two(4<<20, 8<<20)),
		at("go_gc_gogc_percent", two(math.MaxUint64, 100)),
		at("go_gc_gomemlimit_bytes", two(math.MaxInt64, 1<<30)),
		at("go_memstats_stack_inuse_bytes", two(100, 200)),
		at("heapwright_runtime_ready_bytes", two(1000, 150)),
		at("heapwright_goroutines", two(3, 4), "state", "waiting", "reason", "select"),
		at("go_sched_latencies_seconds_bucket", two(1, 2), "le", "0.1"),
		at("go_sched_latencies_seconds_bucket", two(5, 1), "le", "0.5"),
		at("go_sched_latencies_seconds_bucket", two(7, 7), "le", "+Inf"),
		at("go_sched_latencies_seconds_count", two(7, 7)),
		at("go_sched_latencies_seconds_sum", two(3.5, 3.5)),
		at("something_new", two(1, 2)),
	}
	all := export1(t, o, lines)
	if len(all) != 1 {
		t.Fatalf("%d resources", len(all))
	}
	rm := all[0]
	if got, want := resourceText(rm), "host.arch=arm64 host.name=web1 process.pid=42 process.runtime.name=go process.runtime.version=go1.26.8 service.instance.id=web1/api:2 service.name=api service.version=v1.2.3"; got != want {
		t.Errorf("the resource is\n%s, not\n%s", got, want)
	}
	live := find(t, rm, "heapwright.heap.live")
	if p := live.GetGauge().GetDataPoints(); len(p) != 2 || p[0].GetAsDouble() != 1.5 || p[1].TimeUnixNano != 1_010_000_000_000 || live.Unit != "By" || live.Description == "" {
		t.Errorf("live heap: %v", live)
	}
	alloc := find(t, rm, "go.memory.allocated").GetSum()
	if p := alloc.GetDataPoints(); len(p) != 2 || !alloc.IsMonotonic || p[1].GetAsInt() != 20 || p[0].StartTimeUnixNano != 900_500_000_000 ||
		alloc.AggregationTemporality != metrics.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE {
		t.Errorf("allocated: %v", alloc)
	}
	if p := find(t, rm, "heapwright.oom.kills").GetSum().DataPoints; p[0].StartTimeUnixNano != 0 {
		t.Errorf("OOM kills are counted since the process began: %v", p)
	}
	if s := find(t, rm, "go.memory.gc.goal").GetSum(); s.IsMonotonic || s.DataPoints[1].GetAsInt() != 8<<20 {
		t.Errorf("goal: %v", s)
	}
	if p := find(t, rm, "go.config.gogc").GetSum().DataPoints; p[0].GetAsInt() != math.MaxInt64 || p[1].GetAsInt() != 100 {
		t.Errorf("GOGC: %v", p)
	}
	if p := find(t, rm, "go.memory.limit").GetSum().DataPoints; len(p) != 1 || p[0].GetAsInt() != 1<<30 {
		t.Errorf("GOMEMLIMIT: %v", p)
	}
	used := map[string]int64{}
	for _, p := range find(t, rm, "go.memory.used").GetSum().DataPoints {
		used[p.Attributes[0].Value.GetStringValue()] += p.GetAsInt()
	}
	if used["stack"] != 300 || used["other"] != 900 || len(used) != 2 {
		t.Errorf("memory used: %v", used)
	}
	if p := find(t, rm, "heapwright.goroutines").GetGauge().DataPoints; len(p) != 2 || len(p[0].Attributes) != 2 {
		t.Errorf("goroutines: %v", p)
	}
	// At the second instant, buckets fall: that is no histogram.
	h := find(t, rm, "go.schedule.duration").GetHistogram()
	if p := h.GetDataPoints(); len(p) != 1 || fmt.Sprint(p[0].BucketCounts, p[0].ExplicitBounds, p[0].Count, p[0].GetSum()) != "[1 4 2] [0.1 0.5] 7 3.5" {
		t.Errorf("histogram: %v", h)
	}
	find(t, rm, "heapwright.something.new")
}

// A program that was started anew is another resource, with sums that begin anew.
func TestOTLPLives(t *testing.T) {
	o := &otlp{}
	p := func(t ...int64) []promql.FPoint {
		var out []promql.FPoint
		for _, x := range t {
			out = append(out, promql.FPoint{T: x * 1000, F: float64(x)})
		}
		return out
	}
	start := func(at int64, since float64) []promql.FPoint { return []promql.FPoint{{T: at * 1000, F: since}} }
	export1(t, o, []line{at(infoName, p(100), "pid", "1"), at(startTimeName, start(100, 50))})
	all := export1(t, o, []line{
		at(infoName, p(160), "pid", "1"), at(infoName, p(170), "pid", "2"),
		at(startTimeName, append(start(160, 50), start(170, 165)...)),
		at("go_memstats_alloc_bytes_total", p(159, 165, 170, 175)),
	})
	if len(all) != 2 {
		t.Fatalf("%d resources", len(all))
	}
	for i, want := range []struct {
		pid   string
		start uint64
		n     int
	}{{"process.pid=1", 50e9, 2}, {"process.pid=2", 165e9, 2}} {
		pts := find(t, all[i], "go.memory.allocated").GetSum().DataPoints
		if len(pts) != want.n || pts[0].StartTimeUnixNano != want.start || !strings.Contains(resourceText(all[i]), want.pid) {
			t.Errorf("run %d: %v of %s", i, pts, resourceText(all[i]))
		}
	}
	// An hour later only the last is remembered, and after silence none.
	export1(t, o, []line{at("heapwright_heap_live_bytes", p(200_000))})
	if len(o.lives) != 0 {
		t.Errorf("%d processes are remembered", len(o.lives))
	}
}
