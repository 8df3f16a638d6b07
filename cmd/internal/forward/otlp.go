package forward

import (
	"bytes"
	"cmp"
	"math"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/klauspost/compress/gzip"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	collector "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	metrics "go.opentelemetry.io/proto/otlp/metrics/v1"
	resource "go.opentelemetry.io/proto/otlp/resource/v1"
	"google.golang.org/protobuf/proto"

	"github.com/heapwright/heapwright/cmd/internal/series"
)

// scope is who measured, for OTLP.
const scope = "github.com/heapwright/heapwright"

// otlp writes export requests of OTLP/HTTP.
//
// A process is a resource, and its series, which are Prometheus', become metrics of
// OpenTelemetry again: buckets a histogram, counters sums since the start of the
// process. When it started and what it is says the process itself, in series that come
// once a minute; so the encoder remembers.
type otlp struct {
	lives map[string]*history // by the label process
	buf   bytes.Buffer
	zip   *gzip.Writer
}

// history is the lives of a process that matter still.
type history struct {
	lives []life
	seen  int64 // when it last had a point, ms
}

// A life is one run of a program.
type life struct {
	from  int64  // when it was first heard of, ms
	start uint64 // ns since 1970, 0 for not known
	info  labels.Labels
}

const (
	// maxLives is how many runs of one program are told apart in what is read at once.
	maxLives = 100
	// forgotten is for how long a process can be silent before it is forgotten, ms.
	forgotten = 3_600_000
)

func (*otlp) header() http.Header {
	return http.Header{"Content-Type": {"application/x-protobuf"}, "Content-Encoding": {"gzip"}}
}

// learn takes from lines what the processes are, and since when.
func (o *otlp) learn(lines []line) {
	if o.lives == nil {
		o.lives = map[string]*history{}
	}
	var newest int64
	for i := range lines {
		l := &lines[i]
		newest = max(newest, l.pts[len(l.pts)-1].T)
		name := l.ls.Get(model.MetricNameLabel)
		if name != startTimeName && name != infoName {
			continue
		}
		h := o.lives[l.process]
		if h == nil {
			h = &history{}
			o.lives[l.process] = h
		}
		for _, p := range l.pts {
			if name == infoName {
				if x := h.at(p.T); x == nil || !labels.Equal(x.info, l.ls) {
					h.add(life{from: p.T, info: l.ls})
				}
			} else if start := p.F * 1e9; start > 0 && start < math.MaxInt64 {
				if x := h.at(p.T); x == nil || x.start != uint64(start) {
					h.add(life{from: p.T, start: uint64(start)})
				}
			}
		}
		h.seen = max(h.seen, l.pts[len(l.pts)-1].T)
	}
	for process, h := range o.lives {
		if h.seen < newest-forgotten {
			delete(o.lives, process)
		}
	}
}

const (
	startTimeName = "process_start_time_seconds"
	infoName      = "heapwright_process_info"
)

// add puts in what was heard at an instant. Start and info of one run are two series
// with the same instants: the second of them completes the first.
func (h *history) add(x life) {
	i, found := slices.BinarySearchFunc(h.lives, x.from, func(l life, t int64) int { return cmp.Compare(l.from, t) })
	if found {
		if x.start != 0 {
			h.lives[i].start = x.start
		} else {
			h.lives[i].info = x.info
		}
		return
	}
	h.lives = slices.Insert(h.lives, i, x)
	if len(h.lives) > maxLives {
		h.lives = slices.Delete(h.lives, 0, len(h.lives)-maxLives)
	}
}

// at returns the life at an instant, nil where none is known yet.
func (h *history) at(t int64) *life {
	if h == nil || len(h.lives) == 0 {
		return nil
	}
	for i := len(h.lives) - 1; i > 0; i-- {
		if h.lives[i].from <= t {
			return &h.lives[i]
		}
	}
	return &h.lives[0]
}

// units are the processes: what belongs to one metric stays together.
func (o *otlp) units(lines []line) [][]line {
	var out [][]line
	for begin := 0; begin < len(lines); {
		end := begin + 1
		for end < len(lines) && lines[end].process == lines[begin].process {
			end++
		}
		out = append(out, lines[begin:end:end])
		begin = end
	}
	return out
}

// encode returns a request's body, which is valid until the next call.
func (o *otlp) encode(units [][]line) ([]byte, error) {
	req := &collector.ExportMetricsServiceRequest{}
	for _, u := range units {
		req.ResourceMetrics = append(req.ResourceMetrics, o.process(u)...)
	}
	raw, err := proto.Marshal(req)
	if err != nil {
		return nil, err
	}
	o.buf.Reset()
	if o.zip == nil {
		if o.zip, err = gzip.NewWriterLevel(&o.buf, gzip.BestSpeed); err != nil {
			return nil, err
		}
	}
	o.zip.Reset(&o.buf)
	if _, err := o.zip.Write(raw); err != nil {
		return nil, err
	}
	if err := o.zip.Close(); err != nil {
		return nil, err
	}
	return o.buf.Bytes(), nil
}

// partly reads what the server says when it took a request in part.
func (*otlp) partly(body []byte) (int, string) {
	var resp collector.ExportMetricsServiceResponse
	if len(body) == 0 || proto.Unmarshal(body, &resp) != nil {
		return 0, "" // of a proxy, or cut: it took the request
	}
	p := resp.GetPartialSuccess()
	return int(min(max(p.GetRejectedDataPoints(), 0), math.MaxInt32)), clean([]byte(p.GetErrorMessage()))
}

// process returns the metrics of one process: a resource for each run of it.
func (o *otlp) process(lines []line) []*metrics.ResourceMetrics {
	id := lines[0].process
	h := o.lives[id]
	rest := slices.Clone(lines)
	var out []*metrics.ResourceMetrics
	for {
		var x life
		if l := h.at(first(rest)); l != nil {
			x = *l
		}
		mine := rest
		if h != nil {
			if i := slices.IndexFunc(h.lives, func(l life) bool { return l.from > x.from && l.from > first(rest) }); i >= 0 {
				mine = cell(rest, h.lives[i].from)
				rest = slices.DeleteFunc(rest, func(l line) bool { return len(l.pts) == 0 })
			} else {
				rest = nil
			}
		} else {
			rest = nil
		}
		out = append(out, export(id, &x, mine))
		if len(rest) == 0 {
			return out
		}
	}
}

// first is the earliest instant of lines.
func first(lines []line) int64 {
	t := int64(math.MaxInt64)
	for i := range lines {
		t = min(t, lines[i].pts[0].T)
	}
	return t
}

// severalForm is the end of the ID of a process of whose program there are several.
var severalForm = regexp.MustCompile(`:[0-9]+$`)

func export(id string, x *life, lines []line) *metrics.ResourceMetrics {
	host := ""
	for i := range lines {
		if host = lines[i].ls.Get("instance"); host != "" {
			break
		}
	}
	res := &resource.Resource{}
	add := func(key, value string) {
		if value != "" {
			res.Attributes = append(res.Attributes, attribute(key, value))
		}
	}
	if id == "" { // of the agent, not of a process
		add("service.name", "heapwright")
		add("service.instance.id", host)
		add("host.name", host)
	} else {
		add("service.name", severalForm.ReplaceAllString(id, ""))
		add("service.instance.id", strings.TrimPrefix(host+"/"+id, "/"))
		if v := x.info.Get("module_version"); v != "(devel)" {
			add("service.version", v)
		}
		add("host.name", host)
		add("host.arch", x.info.Get("goarch"))
		if pid, err := strconv.ParseInt(x.info.Get("pid"), 10, 64); err == nil {
			res.Attributes = append(res.Attributes, &common.KeyValue{Key: "process.pid",
				Value: &common.AnyValue{Value: &common.AnyValue_IntValue{IntValue: pid}}})
		}
		add("process.runtime.name", "go")
		add("process.runtime.version", x.info.Get("go_version"))
	}
	b := builder{start: x.start, metrics: map[string]*metrics.Metric{}}
	hist := map[string]*histogram{}
	for i := range lines {
		l := &lines[i]
		name := l.ls.Get(model.MetricNameLabel)
		d, known := series.Lookup(name)
		switch {
		case !known:
			b.add(&series.Def{Name: name}, l)
		case d.Kind == series.Histogram:
			key := d.Name + "\xff" + rest(l.ls).String()
			if hist[key] == nil {
				hist[key] = &histogram{def: d, ls: rest(l.ls), at: map[int64]*buckets{}}
			}
			hist[key].add(name, l)
		default:
			b.add(d, l)
		}
	}
	b.other(lines)
	for _, key := range sortedKeysOf(hist) {
		b.addHistogram(hist[key])
	}
	return &metrics.ResourceMetrics{Resource: res,
		ScopeMetrics: []*metrics.ScopeMetrics{{Scope: &common.InstrumentationScope{Name: scope}, Metrics: b.all}}}
}

func sortedKeysOf[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func attribute(key, value string) *common.KeyValue {
	return &common.KeyValue{Key: key, Value: &common.AnyValue{Value: &common.AnyValue_StringValue{StringValue: strings.ToValidUTF8(value, "?")}}}
}

// rest are the labels of a series that its resource and its name do not say.
func rest(ls labels.Labels) labels.Labels {
	b := labels.NewBuilder(ls)
	b.Del(model.MetricNameLabel, labels.BucketLabel, series.ProcessLabel, "instance", "job")
	return b.Labels()
}

// A builder collects the metrics of one resource.
type builder struct {
	start   uint64
	metrics map[string]*metrics.Metric
	all     []*metrics.Metric
}

func (b *builder) metric(d *series.Def) *metrics.Metric {
	name, unit := OTelName(d)
	m := b.metrics[name]
	if m != nil {
		return m
	}
	m = &metrics.Metric{Name: name, Unit: unit, Description: d.Help}
	switch {
	case d.Kind == series.Histogram:
		m.Data = &metrics.Metric_Histogram{Histogram: &metrics.Histogram{AggregationTemporality: metrics.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE}}
	case d.Kind == series.Counter || d.OTel != "":
		// What the conventions have as a level is an UpDownCounter there.
		m.Data = &metrics.Metric_Sum{Sum: &metrics.Sum{IsMonotonic: d.Kind == series.Counter,
			AggregationTemporality: metrics.AggregationTemporality_AGGREGATION_TEMPORALITY_CUMULATIVE}}
	default:
		m.Data = &metrics.Metric_Gauge{Gauge: &metrics.Gauge{}}
	}
	b.metrics[name] = m
	b.all = append(b.all, m)
	return m
}

// ofContainer are counters that count for the container, and began with it.
var ofContainer = map[string]bool{
	"heapwright_cpu_throttled_seconds_total": true, "heapwright_oom_kills_total": true,
	"heapwright_memory_stall_seconds_total": true, "heapwright_cpu_stall_seconds_total": true,
}

func (b *builder) add(d *series.Def, l *line) {
	var attrs []*common.KeyValue
	for _, x := range d.OTelLabels {
		attrs = append(attrs, attribute(x.Name, x.Value))
	}
	rest(l.ls).Range(func(x labels.Label) { attrs = append(attrs, attribute(x.Name, x.Value)) })
	whole := d.OTel != "" && d.OTelUnit != "s" && d.OTelUnit != "1"
	var start uint64
	if d.Kind == series.Counter && !ofContainer[d.Name] {
		start = b.start
	}
	pts := make([]*metrics.NumberDataPoint, 0, len(l.pts))
	for _, p := range l.pts {
		if d.OTel == "go.memory.limit" && p.F >= math.MaxInt64 {
			continue // there is none
		}
		v := p.F
		if d.OTelScale != 0 {
			v *= d.OTelScale
		}
		n := &metrics.NumberDataPoint{Attributes: attrs, TimeUnixNano: nanos(p.T), StartTimeUnixNano: min(start, nanos(p.T))}
		if whole {
			n.Value = &metrics.NumberDataPoint_AsInt{AsInt: integer(v)}
		} else {
			n.Value = &metrics.NumberDataPoint_AsDouble{AsDouble: v}
		}
		pts = append(pts, n)
	}
	if len(pts) == 0 {
		return
	}
	switch data := b.metric(d).Data.(type) {
	case *metrics.Metric_Sum:
		data.Sum.DataPoints = append(data.Sum.DataPoints, pts...)
	case *metrics.Metric_Gauge:
		data.Gauge.DataPoints = append(data.Gauge.DataPoints, pts...)
	}
}

// integer is a value as the conventions want it for what is counted. GOGC=off is the
// largest that there is, as in OpenTelemetry's own instrumentation.
func integer(v float64) int64 {
	switch {
	case v >= math.MaxInt64:
		return math.MaxInt64
	case v <= math.MinInt64:
		return math.MinInt64
	case v != v:
		return 0
	}
	return int64(math.Round(v))
}

func nanos(ms int64) uint64 { return uint64(max(ms, 0)) * 1_000_000 }

// other adds what go.memory.used has beside stacks: the sum of its points is all that
// the runtime holds. It is the difference of two series, so it has no definition of its
// own in package series.
func (b *builder) other(lines []line) {
	var all, stacks *line
	for i := range lines {
		switch lines[i].ls.Get(model.MetricNameLabel) {
		case "heapwright_runtime_ready_bytes":
			all = &lines[i]
		case "go_memstats_stack_inuse_bytes":
			stacks = &lines[i]
		}
	}
	if all == nil || stacks == nil {
		return
	}
	stack := make(map[int64]float64, len(stacks.pts))
	for _, p := range stacks.pts {
		stack[p.T] = p.F
	}
	used := line{ls: stacks.ls}
	for _, p := range all.pts {
		if s, ok := stack[p.T]; ok && p.F >= s {
			used.pts = append(used.pts, promql.FPoint{T: p.T, F: p.F - s})
		}
	}
	d, _ := series.Lookup("go_memstats_stack_inuse_bytes")
	rest := *d
	rest.OTelLabels = []series.Label{{Name: "go.memory.type", Value: "other"}}
	if len(used.pts) > 0 {
		b.add(&rest, &used)
	}
}

// A histogram is the series of one, put together again.
type histogram struct {
	def *series.Def
	ls  labels.Labels
	at  map[int64]*buckets
}

type buckets struct {
	bounds     []float64 // upper, without +Inf; not sorted
	counts     []float64 // cumulative
	count, sum float64
	has        uint8
}

const (
	hasCount = 1 << iota
	hasSum
)

func (h *histogram) add(name string, l *line) {
	suffix := strings.TrimPrefix(name, h.def.Name)
	bound := math.NaN()
	if suffix == "_bucket" {
		v, err := strconv.ParseFloat(l.ls.Get(labels.BucketLabel), 64)
		if err != nil || math.IsInf(v, 1) {
			return // of all: that is the count
		}
		bound = v
	}
	for _, p := range l.pts {
		b := h.at[p.T]
		if b == nil {
			b = &buckets{}
			h.at[p.T] = b
		}
		switch suffix {
		case "_bucket":
			b.bounds, b.counts = append(b.bounds, bound), append(b.counts, p.F)
		case "_count":
			b.count, b.has = p.F, b.has|hasCount
		case "_sum":
			b.sum, b.has = p.F, b.has|hasSum
		}
	}
}

// point is the histogram at an instant, or nil where parts of it are missing or do not
// fit together.
func (b *buckets) point(t int64, start uint64) *metrics.HistogramDataPoint {
	if b.has&hasCount == 0 {
		return nil
	}
	order := make([]int, len(b.bounds))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int { return cmp.Compare(b.bounds[i], b.bounds[j]) })
	p := &metrics.HistogramDataPoint{TimeUnixNano: nanos(t), StartTimeUnixNano: min(start, nanos(t)), Count: uint64(max(b.count, 0))}
	below := 0.0
	for k, i := range order {
		if b.counts[i] < below || k > 0 && b.bounds[i] == b.bounds[order[k-1]] {
			return nil
		}
		p.ExplicitBounds, p.BucketCounts = append(p.ExplicitBounds, b.bounds[i]), append(p.BucketCounts, uint64(b.counts[i]-below))
		below = b.counts[i]
	}
	if b.count < below {
		return nil
	}
	if len(order) > 0 {
		p.BucketCounts = append(p.BucketCounts, uint64(b.count-below))
	}
	if b.has&hasSum != 0 {
		p.Sum = &b.sum
	}
	return p
}

func (b *builder) addHistogram(h *histogram) {
	var attrs []*common.KeyValue
	h.ls.Range(func(x labels.Label) { attrs = append(attrs, attribute(x.Name, x.Value)) })
	times := make([]int64, 0, len(h.at))
	for t := range h.at {
		times = append(times, t)
	}
	slices.Sort(times)
	for _, t := range times {
		p := h.at[t].point(t, b.start)
		if p == nil {
			continue
		}
		p.Attributes = attrs
		if data, ok := b.metric(h.def).Data.(*metrics.Metric_Histogram); ok {
			data.Histogram.DataPoints = append(data.Histogram.DataPoints, p)
		}
	}
}

// OTelName is what a series is called for OTLP, and in which unit: as in OpenTelemetry's
// semantic conventions where they have it. All else is in the namespace heapwright, for
// the others belong to somebody: the name as Prometheus has it with dots, without the
// unit and without total, which a server that translates to Prometheus' names puts back.
func OTelName(d *series.Def) (name, unit string) {
	if d.OTel != "" {
		return d.OTel, d.OTelUnit
	}
	name = d.Name
	if d.Kind == series.Counter {
		name = strings.TrimSuffix(name, "_total")
	}
	if d.Unit != "" {
		name = strings.TrimSuffix(name, "_"+d.Unit)
	}
	name = strings.ReplaceAll(name, "_", ".")
	if !strings.HasPrefix(name, "heapwright.") {
		name = "heapwright." + name
	}
	return name, map[string]string{"bytes": "By", "seconds": "s", "ratio": "1", "percent": "%"}[d.Unit]
}
