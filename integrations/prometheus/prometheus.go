// Package heapwrightprometheus gives what Heapwright's parts know of a service to a
// Prometheus registry that the service has: [NewCollector] makes a collector of
// metric sources, such as a guard, its gate and a memory limit.
//
// A service without client_golang needs none of it: metric.Handler of the root
// module serves the same text. The package has no numbers of its own and no
// goroutine; it reads the sources when it is collected.
package heapwrightprometheus

import (
	"fmt"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/heapwright/heapwright/metric"
)

// maxMetrics bounds what is taken from one source, should it not bound itself.
const maxMetrics = 4096

// NewCollector returns a collector of the sources' metrics, under the names of
// metric.PrometheusName.
//
// It is an unchecked collector: it describes nothing beforehand, because which
// metrics there are changes while the process runs. So the registry finds a
// collision with another collector's name only when it gathers. Among its own
// sources there are none: of metrics with the same name and labels the first
// counts, and so do the first kind and help of a name. A source that panics loses
// what it would have emitted after that.
func NewCollector(sources ...metric.Source) prometheus.Collector {
	return &collector{slices.Clone(sources)}
}

type collector struct{ sources []metric.Source }

// Describe sends nothing: see NewCollector.
func (*collector) Describe(chan<- *prometheus.Desc) {}

func (c *collector) Collect(out chan<- prometheus.Metric) {
	g := gathering{out: out, families: map[string]family{}, seen: map[string]bool{}}
	for _, s := range c.sources {
		g.collect(s)
	}
}

// A gathering is one run over the sources.
type gathering struct {
	out      chan<- prometheus.Metric
	families map[string]family // by name
	seen     map[string]bool   // names with labels
}

type family struct {
	help string
	kind metric.Kind
}

func (g *gathering) collect(s metric.Source) {
	if s == nil {
		return
	}
	defer func() { _ = recover() }() // a source is the service's own code
	n := 0
	s.Metrics(func(m metric.Metric) {
		if n < maxMetrics && m.Name != "" {
			n++
			g.emit(m)
		}
	})
}

func (g *gathering) emit(m metric.Metric) {
	name := metric.PrometheusName(m)
	f, ok := g.families[name]
	if !ok {
		f = family{m.Help, m.Kind}
		g.families[name] = f
	}
	if f.kind != m.Kind {
		return
	}
	keys, values := labels(m.Labels)
	series := fmt.Sprintf("%q%q%q", name, keys, values)
	if g.seen[series] {
		return
	}
	g.seen[series] = true
	kind := prometheus.GaugeValue
	if m.Kind == metric.Counter {
		kind = prometheus.CounterValue
	}
	// An error is about this value: the registry would refuse all of them for it.
	if v, err := prometheus.NewConstMetric(prometheus.NewDesc(name, f.help, keys, nil), kind, m.Value, values...); err == nil {
		g.out <- v
	}
}

// labels returns the labels as metric.WriteText has them: sorted, of two with the
// same key the first, and none that is empty.
func labels(ls []metric.Label) (keys, values []string) {
	type pair struct{ key, value string }
	pairs := make([]pair, 0, len(ls))
	for _, l := range ls {
		if key := labelName(l.Key); key != "" && l.Value != "" {
			pairs = append(pairs, pair{key, strings.ToValidUTF8(l.Value, "\uFFFD")})
		}
	}
	slices.SortStableFunc(pairs, func(a, b pair) int { return strings.Compare(a.key, b.key) })
	pairs = slices.CompactFunc(pairs, func(a, b pair) bool { return a.key == b.key })
	for _, p := range pairs {
		keys = append(keys, p.key)
		values = append(values, p.value)
	}
	return keys, values
}

func labelName(key string) string {
	b := make([]byte, 0, len(key)+len("label"))
	for i := range len(key) {
		c := key[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z':
		case c >= '0' && c <= '9':
			if i == 0 {
				b = append(b, '_')
			}
		default:
			c = '_'
		}
		b = append(b, c)
	}
	if strings.HasPrefix(string(b), "__") { // Prometheus' own
		return "label" + string(b)
	}
	return string(b)
}
