package scrape

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"strings"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/heapwright/heapwright/record"
)

// fields lists the metrics that are a field as they stand. Where two give the
// same field, the later one counts.
var fields = []struct {
	metric string
	field  record.Field
}{
	// Of runtime.MemStats and friends, in every generation of client_golang
	// (prometheus/go_collector.go; "_total" in heap_released before v0.9).
	{"go_goroutines", record.FieldGoroutines}, // runtime.NumGoroutine; go_sched_goroutines_goroutines has the runtime's own too
	{"go_threads", record.FieldThreads},
	{"go_memstats_heap_alloc_bytes", record.FieldHeapObjectsBytes},
	{"go_memstats_alloc_bytes_total", record.FieldTotalAllocBytes},
	{"go_memstats_mallocs_total", record.FieldAllocObjects},
	{"go_memstats_frees_total", record.FieldFreeObjects},
	{"go_memstats_heap_inuse_bytes", record.FieldHeapInUseBytes},
	{"go_memstats_heap_released_bytes_total", record.FieldHeapReleasedBytes},
	{"go_memstats_heap_released_bytes", record.FieldHeapReleasedBytes},
	{"go_memstats_stack_inuse_bytes", record.FieldStackInUseBytes},
	{"go_memstats_next_gc_bytes", record.FieldHeapGoalBytes},
	{"go_memstats_last_gc_time_seconds", record.FieldLastGC},
	{"process_resident_memory_bytes", record.FieldRSSBytes},

	// Of runtime/metrics, since client_golang v1.12 where they are switched on;
	// the three settings always, since v1.20.
	{"go_gc_gogc_percent", record.FieldGOGCPercent},
	{"go_gc_gomemlimit_bytes", record.FieldGOMEMLIMITBytes},
	{"go_sched_gomaxprocs_threads", record.FieldGOMAXPROCS},
	{"go_gc_heap_live_bytes", record.FieldHeapMarkedBytes},
	{"go_gc_heap_goal_bytes", record.FieldHeapGoalBytes},
	{"go_gc_heap_allocs_bytes_total", record.FieldTotalAllocBytes},
	{"go_gc_heap_frees_bytes_total", record.FieldTotalFreeBytes},
	{"go_gc_heap_tiny_allocs_objects_total", record.FieldTinyAllocs},
	{"go_gc_scan_stack_bytes", record.FieldStackScanBytes},
	{"go_gc_scan_globals_bytes", record.FieldGlobalsScanBytes},
	{"go_gc_cycles_total_gc_cycles_total", record.FieldGCCycles},
	{"go_gc_cycles_forced_gc_cycles_total", record.FieldGCForced},
	{"go_gc_limiter_last_enabled_gc_cycle", record.FieldLimiterLastCycle},
	{"go_memory_classes_heap_objects_bytes", record.FieldHeapObjectsBytes},
	{"go_memory_classes_heap_free_bytes", record.FieldHeapFreeBytes},
	{"go_memory_classes_heap_released_bytes", record.FieldHeapReleasedBytes},
	{"go_memory_classes_heap_stacks_bytes", record.FieldStackInUseBytes},
	{"go_sched_goroutines_runnable_goroutines", record.FieldRunnable},
	{"go_cpu_classes_gc_mark_assist_cpu_seconds_total", record.FieldCPUGCAssist},
	{"go_cpu_classes_gc_mark_dedicated_cpu_seconds_total", record.FieldCPUGCDedicated},
	{"go_cpu_classes_gc_mark_idle_cpu_seconds_total", record.FieldCPUGCIdle},
	{"go_cpu_classes_gc_pause_cpu_seconds_total", record.FieldCPUGCPause},
	{"go_cpu_classes_gc_total_cpu_seconds_total", record.FieldCPUGCTotal},
	{"go_cpu_classes_scavenge_assist_cpu_seconds_total", record.FieldCPUScavengeAssist},
	{"go_cpu_classes_scavenge_background_cpu_seconds_total", record.FieldCPUScavengeBackground},
	{"go_cpu_classes_scavenge_total_cpu_seconds_total", record.FieldCPUScavengeTotal},
	{"go_cpu_classes_idle_cpu_seconds_total", record.FieldCPUIdle},
	{"go_cpu_classes_user_cpu_seconds_total", record.FieldCPUUser},
	{"go_cpu_classes_total_cpu_seconds_total", record.FieldCPUTotal},
}

// The metrics from which something else is made.
const (
	gcDuration = "go_gc_duration_seconds" // a summary of the pauses, one a cycle
	heapIdle   = "go_memstats_heap_idle_bytes"
	heapSys    = "go_memstats_heap_sys_bytes"
	sys        = "go_memstats_sys_bytes"
	goInfo     = "go_info"
	buildInfo  = "go_build_info"
	startTime  = "process_start_time_seconds"
)

// wanted holds the names of all metrics that are of use.
var wanted = func() map[string]bool {
	m := map[string]bool{}
	for _, f := range fields {
		m[f.metric] = true
	}
	for _, name := range []string{gcDuration, heapIdle, heapSys, sys, goInfo, buildInfo, startTime} {
		m[name] = true
	}
	return m
}()

// Sample reads /metrics: the sample, with those fields in Has that the endpoint
// tells, and what it tells of the process. It has no histograms: client_golang
// merges their buckets (prometheus/internal/go_runtime_metrics.go), and what was
// merged can't be taken apart. It has no user and system CPU time: there is only
// the sum.
func (c *Client) Sample(ctx context.Context) (*record.Sample, record.Process, error) {
	b, err := c.get(ctx, c.metrics, "text/plain;version=0.0.4;q=1,*/*;q=0.1", c.limits.MetricsBytes, 10*time.Second)
	if err != nil {
		return nil, record.Process{}, err
	}
	defer b.close()
	now := time.Now()
	switch b.mediaType {
	case "text/plain":
	case "text/html":
		return nil, record.Process{}, b.fail("it is a web page, not metrics", "most programs have them at /metrics", nil)
	case "application/openmetrics-text", "application/vnd.google.protobuf":
		return nil, record.Process{}, b.fail("the server sends "+b.mediaType+" although it was asked for text", "", nil)
	default:
		return nil, record.Process{}, b.fail("it is not metrics in Prometheus' text format", "most programs have them at /metrics", nil)
	}
	s, p, err := parseMetrics(b)
	if err != nil {
		return nil, record.Process{}, b.fail("parsing the metrics", "", err)
	}
	if s.Has == (record.FieldSet{}) {
		return nil, record.Process{}, b.fail("there are metrics, but none of a Go runtime", "it is not a Go program, or it has switched off its Go collector", nil)
	}
	s.Time = now
	p.Name = c.metrics.Host
	return s, p, nil
}

// maxKept is how much of /metrics can be of use: the metrics of a Go runtime
// are fewer than 100 lines.
const maxKept = 1 << 20

// parseMetrics reads Prometheus' text format.
func parseMetrics(r io.Reader) (*record.Sample, record.Process, error) {
	text, err := filter(r)
	if err != nil {
		return nil, record.Process{}, err
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(text))
	if err != nil {
		return nil, record.Process{}, err
	}
	return sample(families), process(families), nil
}

// filter returns the lines of r that are about wanted metrics. A program may
// have a hundred thousand other lines, and to build values of them all would
// take many times their size.
func filter(r io.Reader) ([]byte, error) {
	var kept []byte
	lines := bufio.NewReaderSize(r, 16<<10)
	inLine, keep := false, false
	for {
		part, err := lines.ReadSlice('\n')
		if !inLine {
			keep = wanted[metricName(part)]
		}
		if keep {
			if len(kept)+len(part) > maxKept {
				return nil, errTooMuch
			}
			kept = append(kept, part...)
		}
		inLine = err == bufio.ErrBufferFull
		switch err {
		case nil, bufio.ErrBufferFull:
		case io.EOF:
			// A cut line would have a wrong value.
			if len(part) > 0 && keep {
				return nil, io.ErrUnexpectedEOF
			}
			return kept, nil
		default:
			return nil, err
		}
	}
}

var errTooMuch = errors.New("there is more of the Go runtime's metrics than there can be")

// metricName returns the name of the family that a line is about, "" when it is
// about none.
func metricName(line []byte) string {
	line = bytes.TrimLeft(line, " \t")
	if bytes.HasPrefix(line, []byte("#")) {
		// # HELP name text, or # TYPE name type
		words := bytes.Fields(line[:min(len(line), 256)])
		if len(words) < 3 || string(words[0]) != "#" {
			return ""
		}
		return string(words[2])
	}
	end := bytes.IndexAny(line, "{ \t\n")
	if end < 0 || end > 128 {
		return ""
	}
	name := string(line[:end])
	for _, suffix := range []string{"_sum", "_count"} {
		if base, ok := strings.CutSuffix(name, suffix); ok && base == gcDuration {
			return base
		}
	}
	return name
}

// sample makes a Sample of the families.
func sample(families map[string]*dto.MetricFamily) *record.Sample {
	s := &record.Sample{Source: record.SourcePrometheus}
	for _, f := range fields {
		v, ok := value(families[f.metric])
		switch {
		case !ok:
			continue
		case f.field == record.FieldGOGCPercent && v == 1<<64: // off is -1, and it went through a uint64
			s.GOGCPercent = -1
		case f.field == record.FieldGOMEMLIMITBytes && v == 1<<63: // rounded
			s.GOMEMLIMITBytes = math.MaxInt64
		case !store(s.Pointer(f.field), v):
			continue
		}
		s.Has.Add(f.field)
	}
	// 0 is the zero of Unix time: there was no cycle yet.
	if s.LastGC.Unix() == 0 {
		s.Has.Remove(record.FieldLastGC)
	}

	if f := families[gcDuration]; f != nil && len(f.Metric) == 1 && f.Metric[0].Summary != nil {
		pauses := f.Metric[0].Summary
		if !s.Has.Has(record.FieldGCCycles) {
			s.GCCycles = pauses.GetSampleCount()
			s.Has.Add(record.FieldGCCycles)
		}
		if store(&s.PauseTotal, pauses.GetSampleSum()) {
			s.Has.Add(record.FieldPauseTotal)
		}
	}
	// As runtime.MemStats has them, they add up (runtime/mstats.go,
	// readmemstats_m).
	difference := func(f record.Field, v uint64, minus ...uint64) {
		for _, m := range minus {
			if m > v {
				return
			}
			v -= m
		}
		*s.Pointer(f).(*uint64) = v
		s.Has.Add(f)
	}
	has := func(fields ...record.Field) bool {
		for _, f := range fields {
			if !s.Has.Has(f) {
				return false
			}
		}
		return true
	}
	var idle, heap, all uint64
	idleOK, heapOK, allOK := number(families[heapIdle], &idle), number(families[heapSys], &heap), number(families[sys], &all)
	if idleOK && has(record.FieldHeapReleasedBytes) && !has(record.FieldHeapFreeBytes) {
		difference(record.FieldHeapFreeBytes, idle, s.HeapReleasedBytes)
	}
	if has(record.FieldTotalAllocBytes, record.FieldHeapObjectsBytes) && !has(record.FieldTotalFreeBytes) {
		difference(record.FieldTotalFreeBytes, s.TotalAllocBytes, s.HeapObjectsBytes)
	}
	if allOK && has(record.FieldHeapReleasedBytes) {
		difference(record.FieldMappedReadyBytes, all, s.HeapReleasedBytes)
	}
	if allOK && heapOK && has(record.FieldStackInUseBytes) {
		difference(record.FieldRuntimeOtherBytes, all, heap, s.StackInUseBytes)
	}
	return s
}

// process makes a Process of the families. Its name is the caller's to give.
func process(families map[string]*dto.MetricFamily) record.Process {
	var p record.Process
	if f := families[goInfo]; f != nil && len(f.Metric) == 1 {
		p.GoVersion = label(f.Metric[0], "version")
	}
	if f := families[buildInfo]; f != nil && len(f.Metric) == 1 {
		p.Module, p.ModuleVersion = label(f.Metric[0], "path"), label(f.Metric[0], "version")
	}
	if v, ok := value(families[startTime]); ok && v > 0 {
		store(&p.StartTime, v)
	}
	return p
}

// label returns the value of a label, "" when it can't be shown.
func label(m *dto.Metric, name string) string {
	for _, l := range m.GetLabel() {
		if v := l.GetValue(); l.GetName() == name && len(v) <= 256 && strings.IndexFunc(v, func(r rune) bool { return r < ' ' || r == 0x7f }) < 0 {
			return v
		}
	}
	return ""
}

// value returns the value of a family that has one alone.
func value(f *dto.MetricFamily) (float64, bool) {
	if f == nil || len(f.Metric) != 1 {
		return 0, false // absent, or of several processes behind one endpoint
	}
	switch m := f.Metric[0]; {
	case m.Gauge != nil:
		return m.Gauge.GetValue(), true
	case m.Counter != nil:
		return m.Counter.GetValue(), true
	case m.Untyped != nil:
		return m.Untyped.GetValue(), true
	}
	return 0, false
}

func number(f *dto.MetricFamily, to *uint64) bool {
	v, ok := value(f)
	return ok && store(to, v)
}

// store stores a value in what p points to; it reports whether it can be true.
func store(p any, v float64) bool {
	if math.IsNaN(v) || math.IsInf(v, 0) || v < 0 {
		return false
	}
	switch p := p.(type) {
	case *uint64:
		if v >= 1<<64 {
			return false
		}
		*p = uint64(v)
	case *int64:
		if v >= 1<<63 {
			return false
		}
		*p = int64(v)
	case *time.Duration:
		if v >= math.MaxInt64/1e9 {
			return false
		}
		*p = time.Duration(math.Round(v * 1e9))
	case *time.Time:
		if v >= 1<<37 { // the year 6325
			return false
		}
		whole, fraction := math.Modf(v)
		*p = time.Unix(int64(whole), int64(fraction*1e9)).UTC()
	default:
		return false
	}
	return true
}
