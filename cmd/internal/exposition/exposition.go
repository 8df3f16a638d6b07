// Package exposition shows what an agent knows now as a /metrics page: every process
// it watches by client_golang's names, with the label process, and the agent's own
// counters. History is not in it: that is the store's.
package exposition

import (
	"net/http"
	"strconv"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/heapwright/heapwright/cmd/internal/agent"
	"github.com/heapwright/heapwright/cmd/internal/blackbox"
	"github.com/heapwright/heapwright/cmd/internal/series"
	"github.com/heapwright/heapwright/cmd/internal/store"
)

// An Agent is what is shown.
type Agent interface {
	Processes() []agent.Process
	Status() agent.Status
}

// Handler serves the page. Stats is how the store is, nil for no store.
// Box is how the black box is, nil for none.
func Handler(version string, a Agent, stats func() store.Stats, box func() blackbox.Stats) http.Handler {
	r := prometheus.NewPedanticRegistry()
	r.MustRegister(&collector{version: version, agent: a, stats: stats, box: box})
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{MaxRequestsInFlight: 4, ErrorHandling: promhttp.ContinueOnError})
}

type collector struct {
	version string
	agent   Agent
	stats   func() store.Stats
	box     func() blackbox.Stats
}

// descs are those of the names in package series.
var descs = func() map[*series.Def]*prometheus.Desc {
	m := map[*series.Def]*prometheus.Desc{}
	for _, d := range series.Defs() {
		labels := []string{series.ProcessLabel}
		for _, l := range d.Labels {
			if d.Kind != series.Histogram {
				labels = append(labels, l)
			}
		}
		m[d] = prometheus.NewDesc(d.Name, d.Help, labels, nil)
	}
	return m
}()

// An own is a number of the agent's.
type own struct {
	desc  *prometheus.Desc
	kind  prometheus.ValueType
	value func(agent.Status, store.Stats) float64
}

func ownMetric(name, help string, kind prometheus.ValueType, value func(agent.Status, store.Stats) float64) own {
	return own{prometheus.NewDesc("heapwright_agent_"+name, help, nil, nil), kind, value}
}

var owns = []own{
	ownMetric("processes", "Processes that are watched.", prometheus.GaugeValue,
		func(s agent.Status, _ store.Stats) float64 { return float64(s.Watched) }),
	ownMetric("unread_processes", "Watched processes that cannot be read now.", prometheus.GaugeValue,
		func(s agent.Status, _ store.Stats) float64 { return float64(s.Unread) }),
	ownMetric("samples_total", "Samples taken of processes.", prometheus.CounterValue,
		func(s agent.Status, _ store.Stats) float64 { return float64(s.Samples) }),
	ownMetric("stored_points_total", "Points stored.", prometheus.CounterValue,
		func(s agent.Status, _ store.Stats) float64 { return float64(s.Points) }),
	ownMetric("dropped_points_total", "Points that the store did not take.", prometheus.CounterValue,
		func(s agent.Status, _ store.Stats) float64 { return float64(s.Dropped) }),
	ownMetric("lost_gc_cycles_total", "GC cycles that ended unseen.", prometheus.CounterValue,
		func(s agent.Status, _ store.Stats) float64 { return float64(s.LostCycles) }),
	ownMetric("late_rounds_total", "Rounds of sampling in which a process did not answer in time.", prometheus.CounterValue,
		func(s agent.Status, _ store.Stats) float64 { return float64(s.Late) }),
	ownMetric("read_seconds_total", "Time spent reading processes.", prometheus.CounterValue,
		func(s agent.Status, _ store.Stats) float64 { return s.ReadTime.Seconds() }),
	ownMetric("store_series", "Time series with samples in the last hours.", prometheus.GaugeValue,
		func(_ agent.Status, s store.Stats) float64 { return float64(s.Series) }),
	ownMetric("store_bytes", "Bytes that the store has on disk.", prometheus.GaugeValue,
		func(_ agent.Status, s store.Stats) float64 { return float64(s.Bytes.Total()) }),
}

// A boxed is a number of the black box's.
type boxed struct {
	desc  *prometheus.Desc
	value func(*blackbox.Stats) float64
}

func boxMetric(name, help string, value func(*blackbox.Stats) float64) boxed {
	return boxed{prometheus.NewDesc("heapwright_agent_oom_"+name, help, nil, nil), value}
}

var boxes = []boxed{
	boxMetric("kills_total", "Watched processes that the kernel killed for want of memory, those whose whole container went with them too.",
		func(s *blackbox.Stats) float64 { return float64(s.Kills) }),
	boxMetric("captures_total", "Times that profiles were taken because a process neared its memory limit, or as what to hold that against.",
		func(s *blackbox.Stats) float64 { return float64(s.Captures) }),
	boxMetric("failed_captures_total", "Of these, those in which something could not be taken.",
		func(s *blackbox.Stats) float64 { return float64(s.Failed) }),
	boxMetric("capture_seconds_total", "Time that they took. No process is stopped meanwhile.",
		func(s *blackbox.Stats) float64 { return s.CaptureTime.Seconds() }),
	boxMetric("lost_log_records_total", "Records of the kernel's log that were overwritten before they were read.",
		func(s *blackbox.Stats) float64 { return float64(s.LostRecords) }),
}

var buildInfo = prometheus.NewDesc("heapwright_build_info", "1; the version of Heapwright, in the label.", []string{"version"}, nil)

// Describe implements prometheus.Collector.
func (c *collector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range descs {
		ch <- d
	}
	for _, o := range owns {
		ch <- o.desc
	}
	for _, b := range boxes {
		ch <- b.desc
	}
	ch <- buildInfo
}

// Collect implements prometheus.Collector.
func (c *collector) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.MustNewConstMetric(buildInfo, prometheus.GaugeValue, 1, c.version)
	status, stats := c.agent.Status(), store.Stats{}
	if c.stats != nil {
		stats = c.stats()
	}
	for _, o := range owns {
		ch <- prometheus.MustNewConstMetric(o.desc, o.kind, o.value(status, stats))
	}
	if c.box != nil {
		s := c.box()
		for _, b := range boxes {
			ch <- prometheus.MustNewConstMetric(b.desc, prometheus.CounterValue, b.value(&s))
		}
	}
	var points []series.Point
	for _, p := range c.agent.Processes() {
		points = Points(points[:0], &p)
		emit(ch, p.ID, points)
	}
}

// Points appends what is known of a process now.
func Points(dst []series.Point, p *agent.Process) []series.Point {
	up := 0.0
	if p.Up {
		up = 1
	}
	dst = append(dst, series.PointOf(series.Up, up))
	if !p.Up {
		return dst
	}
	dst = series.FromProcess(dst, &p.Info)
	if p.Latest != nil {
		for _, tier := range []series.Tier{series.Fast, series.Slow, series.Static} {
			dst = series.FromSample(dst, p.Latest, tier)
		}
	}
	for def, v := range map[*series.Def]*float64{
		series.GCCPURatio: p.GCCPURatio, series.AssistRatio: p.AssistRatio, series.Headroom: p.HeadroomBytes, series.TimeToLimit: p.TimeToLimitSeconds,
	} {
		if v != nil {
			dst = append(dst, series.PointOf(def, *v))
		}
	}
	return series.FromFindings(dst, p.Findings)
}

func emit(ch chan<- prometheus.Metric, process string, points []series.Point) {
	var (
		buckets = map[float64]uint64{}
		sum     float64
		count   uint64
		hist    *series.Def
	)
	for _, p := range points {
		if p.Def.Kind == series.Histogram {
			hist = p.Def
			switch p.Name[len(p.Def.Name):] {
			case "_sum":
				sum = p.Value
			case "_count":
				count = uint64(p.Value)
			default:
				if le, err := strconv.ParseFloat(p.Labels[0].Value, 64); err == nil {
					buckets[le] = uint64(p.Value)
				}
			}
			continue
		}
		kind := prometheus.GaugeValue
		if p.Def.Kind == series.Counter {
			kind = prometheus.CounterValue
		}
		values := []string{process}
		for _, l := range p.Labels {
			values = append(values, l.Value)
		}
		if m, err := prometheus.NewConstMetric(descs[p.Def], kind, p.Value, values...); err == nil {
			ch <- m
		}
	}
	if hist != nil {
		if m, err := prometheus.NewConstHistogram(descs[hist], count, sum, buckets, process); err == nil {
			ch <- m
		}
	}
}
