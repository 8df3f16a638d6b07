// Package recall makes recordings of what is stored: of the time series that an agent
// wrote, in its own store or in any that answers PromQL. So rules and forecasts can be
// asked about last night.
//
// What a store lacks stays unknown: histograms of pauses and size classes are not stored, goroutines
// and profiles lie elsewhere.
package recall

import (
	"context"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/series"
	"github.com/heapwright/heapwright/cmd/internal/store"
	"github.com/heapwright/heapwright/record"
)

// A Query says of what, and of when.
type Query struct {
	Process  string // the ID that the agent gave it
	Instance string // the machine, where a store has several; "" for the only one
	From, To time.Time
}

// limit is how many points are asked for at once: a day at 1 Hz of the series that
// are stored each second, and more.
const limit = 5_000_000

// A NothingError says that the store has nothing of the process.
type NothingError struct{ Query }

func (e *NothingError) Error() string {
	return fmt.Sprintf("nothing is stored of %q from %s to %s", e.Process, e.From.UTC().Format(time.RFC3339), e.To.UTC().Format(time.RFC3339))
}

// Hint says what to do.
func (e *NothingError) Hint() string {
	return "processes are called as on the agent's pages; --for and --until say which time is meant"
}

// An AmbiguousError says that several machines have a process of that name.
type AmbiguousError struct {
	Process   string
	Instances []string
}

func (e *AmbiguousError) Error() string {
	return fmt.Sprintf("%q is on several machines: %s", e.Process, strings.Join(e.Instances, ", "))
}

// Hint says what to do.
func (e *AmbiguousError) Hint() string { return "choose one with --instance" }

// Recording is what is stored of the last life of a process in a stretch of time.
func Recording(ctx context.Context, r store.Reader, q Query) (*record.Recording, error) {
	var names []string
	for _, d := range series.Defs() {
		if d.Kind != series.Histogram && d.Tier != series.PerSnapshot && d.Tier != series.PerDiagnosis {
			names = append(names, regexp.QuoteMeta(d.Name))
		}
	}
	selector := fmt.Sprintf("{__name__=~%q,%s=%q", strings.Join(names, "|"), series.ProcessLabel, q.Process)
	if q.Instance != "" {
		selector += fmt.Sprintf(",instance=%q", q.Instance)
	}
	matrix, err := r.Raw(ctx, selector+"}", q.From, q.To, limit)
	if err != nil {
		return nil, fmt.Errorf("reading what is stored of %s: %w", q.Process, err)
	}
	var instances []string
	at := instants{}
	rec := &record.Recording{Process: record.Process{Name: q.Process, GOOS: "linux"}}
	var newest int64 // of what says what the process is
	for _, s := range matrix {
		instance := s.Metric.Get("instance")
		if !slices.Contains(instances, instance) {
			instances = append(instances, instance)
		}
		name := s.Metric.Get("__name__")
		for _, p := range s.Floats {
			at.add(p.T, name, p.F)
		}
		if n := len(s.Floats); name == "heapwright_process_info" && n > 0 && s.Floats[n-1].T >= newest {
			newest = s.Floats[n-1].T
			p := &rec.Process
			p.PID, _ = strconv.Atoi(s.Metric.Get("pid"))
			p.GoVersion, p.GOARCH, p.Module, p.ModuleVersion = s.Metric.Get("go_version"), s.Metric.Get("goarch"), s.Metric.Get("module"), s.Metric.Get("module_version")
		}
	}
	if len(instances) > 1 {
		slices.Sort(instances)
		return nil, &AmbiguousError{q.Process, instances}
	}
	at.fill(rec)
	if len(rec.Samples) == 0 {
		return nil, &NothingError{q}
	}
	return rec, nil
}

// instants are values by their time in milliseconds, and by name.
type instants map[int64]map[string]float64

func (at instants) add(t int64, name string, v float64) {
	if at[t] == nil {
		at[t] = map[string]float64{}
	}
	at[t][name] = v
}

// together is how far apart points of one sample may be: a store moves times a little,
// each series for itself.
const together = 50 // ms

// sameStart is how far two reckonings of when one process started may lie apart: an agent
// that is restarted, or a clock that was set, has another.
const sameStart = 5 * time.Second

// fill makes samples and cycles, of the last life.
func (at instants) fill(rec *record.Recording) {
	times := make([]int64, 0, len(at))
	for t := range at {
		times = append(times, t)
	}
	slices.Sort(times)
	static := map[string]float64{}
	var values map[string]float64
	var begin, last int64
	flush := func() {
		if _, ok := values["heapwright_heap_live_bytes"]; !ok {
			return // a cycle, or a setting
		}
		s := record.Sample{Time: time.UnixMilli(begin), Source: record.SourceRemote}
		for k, v := range static {
			if _, own := values[k]; !own {
				values[k] = v
			}
		}
		series.Restore(&s, values)
		rec.Samples = append(rec.Samples, s)
	}
	for _, t := range times {
		if started, ok := at[t]["process_start_time_seconds"]; ok {
			if when := instant(started); when.Sub(rec.Process.StartTime).Abs() > sameStart {
				// Another life: what was before is not of it.
				if !rec.Process.StartTime.IsZero() {
					rec.Samples, rec.Cycles, values = nil, nil, nil
					clear(static)
				}
				rec.Process.StartTime = when
			}
		}
		if c, ok := series.RestoreCycle(time.UnixMilli(t), at[t]); ok {
			rec.Cycles = append(rec.Cycles, c)
		}
		if values != nil && t-last > together {
			flush()
			values = nil
		}
		if values == nil {
			values, begin = map[string]float64{}, t
		}
		last = t
		for name, v := range at[t] {
			values[name] = v
			if d, ok := series.Lookup(name); ok && d.Tier == series.Static {
				static[name] = v
			}
		}
	}
	if values != nil {
		flush()
	}
	if v, ok := static["heapwright_memory_limit_bytes"]; ok && v > 0 {
		rec.Process.MemoryLimitBytes = uint64(min(v, math.MaxInt64))
	}
}

func instant(unix float64) time.Time {
	if math.IsNaN(unix) || math.Abs(unix) > 1e11 {
		return time.Time{}
	}
	return time.UnixMilli(int64(unix * 1000))
}
