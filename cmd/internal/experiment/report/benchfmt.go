package report

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
)

// benchUnits are the names that metrics have in Go's benchmark format. By the
// word between dashes and slashes benchstat knows how to scale: B is bytes.
var benchUnits = map[string]string{
	"throughput_per_second":         "req/sec",
	"error_ratio":                   "errors/req",
	"latency_p50_seconds":           "p50-sec",
	"latency_p90_seconds":           "p90-sec",
	"latency_p99_seconds":           "p99-sec",
	"latency_p999_seconds":          "p99.9-sec",
	"sched_latency_p99_seconds":     "sched-p99-sec",
	"cpu_seconds_per_request":       "cpu-sec/req",
	"alloc_bytes_per_request":       "B/req",
	"alloc_objects_per_request":     "allocs/req",
	"gc_cycles_per_second":          "gc/sec",
	"gc_cpu_ratio":                  "gc-cpu-ratio",
	"gc_assist_ratio":               "gc-assist-ratio",
	"gc_pause_p50_seconds":          "pause-p50-sec",
	"gc_pause_p90_seconds":          "pause-p90-sec",
	"gc_pause_p99_seconds":          "pause-p99-sec",
	"stw_seconds_per_minute":        "stw-sec/min",
	"gc_pauses_over_1ms_per_minute": "pauses-over-1ms/min",
	"heap_live_bytes":               "heap-live-B",
	"heap_goal_bytes":               "heap-goal-B",
	"rss_mean_bytes":                "rss-B",
	"rss_peak_bytes":                "peak-rss-B",
	"start_seconds":                 "start-sec",
	"binary_bytes":                  "binary-B",
}

// Benchfmt writes the blocks in Go's benchmark format, which other tools read:
//
//	benchstat -col /variant -filter /design:duet FILE
//
// A line is one process of one block; an invalid block and those of the
// calibration are left out. benchstat knows nothing of pairs, so what it says is
// not the verdict.
func Benchfmt(w io.Writer, r *experiment.Result) error {
	o := of(r, nil, "")
	b := bufio.NewWriter(w)
	config := func(key, value string) {
		if value = strings.TrimSpace(clean(value)); value != "" {
			fmt.Fprintf(b, "%s: %s\n", key, value)
		}
	}
	h := &o.Header
	config("experiment", o.name())
	config("plan-sha256", h.PlanHash)
	config("seed", fmt.Sprint(o.plan.Seed))
	config("tool", h.Tool)
	config("cpu", h.Machine.CPU)
	config("kernel", h.Machine.Kernel)
	if h.Rate > 0 {
		config("rate", rate(h.Rate))
	}
	for i := range o.plan.Variants[:min(len(o.plan.Variants), maxLines)] {
		config("variant-"+strconv.Itoa(i), o.variant(i)+": "+o.settingsText(i))
	}
	b.WriteByte('\n')
	for _, m := range experiment.Metrics() {
		switch m.Better {
		case experiment.Lower:
			fmt.Fprintf(b, "Unit %s better=lower\n", benchUnits[m.Name])
		case experiment.Higher:
			fmt.Fprintf(b, "Unit %s better=higher\n", benchUnits[m.Name])
		}
		if m.Name == "binary_bytes" {
			fmt.Fprintf(b, "Unit %s assume=exact\n", benchUnits[m.Name])
		}
	}
	b.WriteByte('\n')
	names := o.benchNames()
	// A name that ends in -100 would be one that ran with GOMAXPROCS=100, so each
	// has a number of its own, and all the same: benchstat compares within names.
	procs := max(h.Machine.Cores, 1)
	for n := range o.Blocks {
		block := &o.Blocks[n]
		if block.Invalid != "" || block.Phase == experiment.PhaseCalibration {
			continue
		}
		for i := range block.Arms {
			a := &block.Arms[i]
			line := fmt.Sprintf("Benchmark%s/design=%s/variant=%s-%d\t%d", capital(benchWord(o.name())), benchWord(block.Design), names(a.Variant), procs, max(a.Requests, 1))
			values := 0
			for _, m := range experiment.Metrics() {
				if v, ok := a.Values[m.Name]; ok && finite(v) != nil {
					line += "\t" + strconv.FormatFloat(v, 'g', -1, 64) + " " + benchUnits[m.Name]
					values++
				}
			}
			if values > 0 {
				b.WriteString(line + "\n")
			}
		}
	}
	return b.Flush()
}

// benchNames gives every variant a word of its own: what makes two names one is
// what their letters have in common.
func (o *outcome) benchNames() func(variant int) string {
	taken := map[string]int{}
	for i := range o.plan.Variants {
		if _, ok := taken[benchWord(o.variant(i))]; !ok {
			taken[benchWord(o.variant(i))] = i
		}
	}
	return func(i int) string {
		word := benchWord(o.variant(i))
		if first, ok := taken[word]; ok && first != i {
			return fmt.Sprintf("%s.%d", word, i)
		}
		return word
	}
}

// benchWord writes a name as part of the name of a benchmark, in which spaces,
// slashes and equals signs mean something.
func benchWord(s string) string {
	word := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("-_.+", r):
			return r
		}
		return '_'
	}, s)
	if len(word) > 80 {
		word = word[:80]
	}
	if word == "" {
		return "_"
	}
	return word
}

// capital begins a name as those of benchmarks begin.
func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }
