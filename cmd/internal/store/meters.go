package store

import (
	"strings"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

// meters are the counters of one database of the library. Some of what it does it says
// nowhere else: how many samples of a commit it stored, and that it repaired its log. It gives them to a registry, and meters is one that keeps
// just these.
type meters struct {
	mu    sync.Mutex
	found map[string]prometheus.Collector
}

const (
	nameAppended    = "prometheus_tsdb_head_samples_appended_total"
	nameCorruptions = "prometheus_tsdb_wal_corruptions_total"
)

func newMeters() *meters { return &meters{found: map[string]prometheus.Collector{}} }

// Register implements prometheus.Registerer.
func (m *meters) Register(c prometheus.Collector) error {
	descs := make(chan *prometheus.Desc, 64)
	go func() {
		c.Describe(descs)
		close(descs)
	}()
	m.mu.Lock()
	defer m.mu.Unlock()
	for d := range descs {
		for _, name := range []string{nameAppended, nameCorruptions} {
			if strings.Contains(d.String(), `"`+name+`"`) {
				m.found[name] = c
			}
		}
	}
	return nil
}

// MustRegister implements prometheus.Registerer.
func (m *meters) MustRegister(cs ...prometheus.Collector) {
	for _, c := range cs {
		_ = m.Register(c) // which cannot fail
	}
}

// Unregister implements prometheus.Registerer.
func (m *meters) Unregister(prometheus.Collector) bool { return true }

// value is that of a counter: the one of floats where it has one for each type.
func (m *meters) value(name string) float64 {
	m.mu.Lock()
	c := m.found[name]
	m.mu.Unlock()
	if c == nil {
		return 0
	}
	var out dto.Metric
	if v, ok := c.(*prometheus.CounterVec); ok {
		if v.WithLabelValues("float").Write(&out) != nil {
			return 0
		}
		return out.GetCounter().GetValue()
	}
	ch := make(chan prometheus.Metric, 1)
	c.Collect(ch)
	if (<-ch).Write(&out) != nil {
		return 0
	}
	return out.GetCounter().GetValue()
}

func (m *meters) appended() float64       { return m.value(nameAppended) }
func (m *meters) walCorruptions() float64 { return m.value(nameCorruptions) }
