package experiment

// A Metric is a number that is measured in every block, of every process.
type Metric struct {
	Name   string // with its unit: rss_peak_bytes
	Title  string // for people: peak RSS
	Unit   Unit
	Better Direction
	Family Family
}

// A Unit says how a value is printed.
type Unit string

// Units.
const (
	Seconds  Unit = "seconds"
	ByteSize Unit = "bytes"
	Share    Unit = "ratio"
	Count    Unit = "count"
	PerSec   Unit = "per_second"
)

// A Direction says which way is better.
type Direction int8

// Directions. Neither: a change is a fact, not a gain or a loss (the heap goal).
const (
	Lower   Direction = -1
	Neither Direction = 0
	Higher  Direction = +1
)

// A Family decides which design a metric is judged by.
type Family string

// Families.
const (
	Cost    Family = "cost"    // CPU, memory, GC: switchback, where one process has the machine
	Latency Family = "latency" // duet: both processes at once, since tails follow the machine's moods
	Pause   Family = "pause"   // switchback; quantiles are pooled over blocks
	Once    Family = "once"    // a fact of the build, or one value a start
)

// Metrics is every metric, in the order of reports. A block lacks those that
// could not be measured.
func Metrics() []Metric { return metrics }

// MetricByName finds a metric.
func MetricByName(name string) (Metric, bool) {
	for _, m := range metrics {
		if m.Name == name {
			return m, true
		}
	}
	return Metric{}, false
}

var metrics = []Metric{
	{"throughput_per_second", "throughput", PerSec, Higher, Latency},
	{"error_ratio", "errors", Share, Lower, Latency},
	{"latency_p50_seconds", "latency p50", Seconds, Lower, Latency},
	{"latency_p90_seconds", "latency p90", Seconds, Lower, Latency},
	{"latency_p99_seconds", "latency p99", Seconds, Lower, Latency},
	{"latency_p999_seconds", "latency p99.9", Seconds, Lower, Latency},
	{"sched_latency_p99_seconds", "scheduler latency p99", Seconds, Lower, Latency},
	{"cpu_seconds_per_request", "CPU per request", Seconds, Lower, Cost},
	{"alloc_bytes_per_request", "allocated per request", ByteSize, Lower, Cost},
	{"alloc_objects_per_request", "objects per request", Count, Lower, Cost},
	{"gc_cycles_per_second", "GC cycles", PerSec, Lower, Cost},
	{"gc_cpu_ratio", "GC CPU, of wall time of Ps", Share, Lower, Cost},
	{"gc_assist_ratio", "mark assist, of wall time of Ps", Share, Lower, Cost},
	{"gc_pause_p50_seconds", "GC pause p50", Seconds, Lower, Pause},
	{"gc_pause_p90_seconds", "GC pause p90", Seconds, Lower, Pause},
	{"gc_pause_p99_seconds", "GC pause p99", Seconds, Lower, Pause},
	{"stw_seconds_per_minute", "stopped per minute", Seconds, Lower, Cost},
	{"gc_pauses_over_1ms_per_minute", "pauses over 1 ms per minute", Count, Lower, Cost},
	{"heap_live_bytes", "heap live", ByteSize, Lower, Cost},
	{"heap_goal_bytes", "heap goal", ByteSize, Neither, Cost},
	{"rss_mean_bytes", "RSS", ByteSize, Lower, Cost},
	{"rss_peak_bytes", "peak RSS", ByteSize, Lower, Cost},
	{"start_seconds", "start", Seconds, Lower, Once},
	{"binary_bytes", "binary", ByteSize, Lower, Once},
}
