package shed

import "github.com/heapwright/heapwright/metric"

// Metrics emits the numbers of Stats.
func (g *Gate) Metrics(emit func(metric.Metric)) {
	s := g.Stats()
	for _, c := range Classes {
		class := metric.Label{Key: "class", Value: c.String()}
		counter := func(outcome string, n uint64) {
			emit(metric.Metric{
				Name: "heapwright.shed.requests", Unit: "{request}", Kind: metric.Counter,
				Help:   "Requests by class and by what was decided.",
				Labels: []metric.Label{class, {Key: "outcome", Value: outcome}}, Value: float64(n),
			})
		}
		counter("admitted", s.Admitted[c])
		counter("shed_by_share", s.ShedByShare[c])
		counter("shed_by_capacity", s.ShedByCapacity[c])
		emit(metric.Metric{
			Name: "heapwright.shed.spared", Unit: "{request}", Kind: metric.Counter,
			Help:   "Requests that were not shed because the budget for shedding was spent.",
			Labels: []metric.Label{class}, Value: float64(s.Spared[c]),
		})
		emit(metric.Metric{
			Name: "heapwright.shed.share", Unit: "1", Kind: metric.Gauge,
			Help:   "Part of the requests of a class that is admitted, before the capacity is looked at.",
			Labels: []metric.Label{class}, Value: s.Shares[c],
		})
	}
	gauge := func(name, unit, help string, v float64) {
		emit(metric.Metric{Name: name, Unit: unit, Help: help, Kind: metric.Gauge, Value: v})
	}
	gauge("heapwright.shed.in_flight.requests", "{request}", "Admitted requests that are not completed.", float64(s.InFlight))
	gauge("heapwright.shed.in_flight.memory", "By", "Bytes that requests in flight count for.", float64(s.InFlightBytes))
	if s.Capacity != NoBound {
		gauge("heapwright.shed.capacity", "By", "Bytes in flight from which on requests are refused.", float64(s.Capacity))
	}
	emit(metric.Metric{
		Name: "heapwright.shed.callback_panics", Unit: "{panic}", Kind: metric.Counter,
		Help: "Panics of functions that were given to the handler.", Value: float64(s.CallbackPanics),
	})
}
