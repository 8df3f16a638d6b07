package debugz

import (
	"slices"
	"time"
)

const (
	// historyPoints is how many points are kept, and drawn.
	historyPoints = 120
	// historyEvery is how far apart they are at least, however often the page is
	// asked for.
	historyEvery = time.Second
	// historySeries bounds the signals that are kept.
	historySeries = 32
)

// A history keeps signals of the last points in time. They come when the page is
// asked for: that costs nothing between requests, and a page that refreshes itself
// draws its own past.
type history struct {
	times  []time.Time
	series []series // in the order in which their signals were first seen
}

type series struct {
	name   string
	values []*float64 // as many as times
}

// add appends a point, and forgets the oldest when there are enough.
func (h *history) add(at time.Time, signals []signalDoc) {
	if len(h.times) == historyPoints {
		h.times = slices.Delete(h.times, 0, 1)
		for i := range h.series {
			h.series[i].values = slices.Delete(h.series[i].values, 0, 1)
		}
	}
	h.times = append(h.times, at)
	for i := range h.series {
		h.series[i].values = append(h.series[i].values, nil)
	}
	for _, s := range signals {
		i := slices.IndexFunc(h.series, func(have series) bool { return have.name == s.Name })
		if i < 0 {
			if len(h.series) == historySeries {
				continue
			}
			i = len(h.series)
			h.series = append(h.series, series{s.Name, make([]*float64, len(h.times))})
		}
		v := s.Value
		h.series[i].values[len(h.times)-1] = &v
	}
}

// doc is a copy.
func (h *history) doc() historyDoc {
	d := historyDoc{Times: slices.Clone(h.times), Series: []historyRow{}}
	if d.Times == nil {
		d.Times = []time.Time{}
	}
	for _, s := range h.series {
		d.Series = append(d.Series, historyRow{s.name, slices.Clone(s.values)})
	}
	return d
}
