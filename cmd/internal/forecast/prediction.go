// Package forecast asks a twin what settings would do, and puts what it says, and the
// plans that are made with it, into the documents that the command line and the API
// answer with. It fits nothing and chooses no settings: packages pacer and tune do.
package forecast

import (
	"math"
	"slices"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/front"
	"github.com/heapwright/heapwright/pacer"
	"github.com/heapwright/heapwright/record"
)

// Asked are the settings that somebody wants to know about.
type Asked struct {
	GOGC       []int64
	Limits     []int64
	Container  *uint64 // nil: as recorded
	GOMAXPROCS int     // 0: as recorded
	Grid       bool
}

// settings are those to look at, the current ones first unless they are asked for.
func (a Asked) settings(t Twin, now *pacer.Forecast) []pacer.Settings {
	current := t.Current()
	base := current
	if a.Container != nil {
		base.ContainerLimitBytes = *a.Container
	}
	if a.GOMAXPROCS > 0 {
		base.GOMAXPROCS = a.GOMAXPROCS
	}
	var out []pacer.Settings
	add := func(gogc, limit int64) {
		s := base
		s.GOGCPercent, s.GOMEMLIMITBytes = gogc, limit
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	peak := goPeak(now, t.Workload())
	switch {
	case a.Grid:
		addGrid(add, peak, t.StormFloorBytes(), base.ContainerLimitBytes)
	case len(a.GOGC) > 0 || len(a.Limits) > 0:
		gogc, limits := a.GOGC, a.Limits
		if len(gogc) == 0 {
			gogc = []int64{current.GOGCPercent}
		}
		if len(limits) == 0 {
			limits = []int64{current.GOMEMLIMITBytes}
		}
		for _, l := range limits {
			for _, g := range gogc {
				add(g, l)
			}
		}
	default:
		for _, g := range []int64{25, 50, 100, 200, 400} {
			add(g, current.GOMEMLIMITBytes)
		}
		for _, f := range []float64{0.8, 1, 1.25, 1.5} {
			add(-1, roundLimit(f*peak))
		}
	}
	if !slices.Contains(out, current) {
		out = append([]pacer.Settings{current}, out...)
	}
	return out
}

// addGrid adds some 400 settings: GOGC from 10 to 1000 and off, and limits from
// below the storm to four times what the process needs now, or to the container's.
func addGrid(add func(gogc, limit int64), peak float64, floor pacer.Estimate, container uint64) {
	const n = 20
	gogc := []int64{}
	for i := range n - 1 {
		gogc = append(gogc, int64(math.Round(10*math.Pow(100, float64(i)/(n-2)))))
	}
	gogc = append(gogc, -1)
	from := peak / 2
	if Known(floor) && floor.Estimate > 0 && floor.Estimate < peak {
		from = 0.95 * floor.Estimate
	}
	to := 4 * peak
	if c := float64(container); c > from {
		to = min(to, c)
	}
	for i := range n {
		limit := int64(pacer.NoMemoryLimit)
		if i < n-1 {
			limit = roundLimit(from * math.Pow(to/from, float64(i)/(n-2)))
		}
		for _, g := range gogc {
			// Without either nothing is ever collected: that is no setting to choose.
			if g >= 0 || limit != pacer.NoMemoryLimit {
				add(g, limit)
			}
		}
	}
}

// A Predicted is the forecast of one setting, and how it compares with others.
type Predicted struct {
	Outlook
	Now       bool  `json:"now"`
	Best      bool  `json:"best"`
	Efficient bool  `json:"efficient"`
	Fails     *Fate `json:"fails"`
}

func newPredicted(f pacer.Forecast, floor pacer.Estimate) Predicted {
	return Predicted{Outlook: OutlookOf(f), Fails: nonZero(FateOf(&f, floor))}
}

// A Parameter is something that was found out about the process.
type Parameter struct {
	Name  string   `json:"name"`
	Value Quantity `json:"value"`
	From  string   `json:"from"`

	Estimate pacer.Estimate `json:"-"`
}

// A Prediction is what would come of several settings.
type Prediction struct {
	Schema  string         `json:"schema"`
	Process record.Process `json:"process"`
	// GoVersion is that of the pacer that was modelled.
	GoVersion       string      `json:"go_version"`
	SpanSeconds     float64     `json:"span_seconds"`
	Predictions     []Predicted `json:"predictions"`
	StormFloorBytes Quantity    `json:"storm_floor_bytes"`
	Parameters      []Parameter `json:"parameters"`
	Missing         []string    `json:"missing"`

	Floor pacer.Estimate `json:"-"`
	Grid  bool           `json:"-"`
}

// Predict asks a twin about settings. Schema is that of the document, and goVersion the
// release whose pacer it models.
func Predict(schema string, t Twin, process record.Process, goVersion string, a Asked) *Prediction {
	d := &Prediction{
		Schema: schema, Process: process, GoVersion: goVersion, Floor: t.StormFloorBytes(), Grid: a.Grid,
		Predictions: []Predicted{}, Parameters: ParametersOf(t), Missing: append([]string{}, t.Missing()...),
	}
	d.StormFloorBytes = QuantityOf(d.Floor)
	now := t.Forecast(t.Current())
	d.SpanSeconds = now.Span.Seconds()
	settings := a.settings(t, &now)
	forecasts := t.Forecasts(settings)
	// The current settings may be for another container than the one asked about.
	asks := settings[len(settings)-1]
	best := pickBest(forecasts, &now, d.Floor, func(s pacer.Settings) bool {
		return s.ContainerLimitBytes == asks.ContainerLimitBytes && s.GOMAXPROCS == asks.GOMAXPROCS
	})
	for i, f := range forecasts {
		p := newPredicted(f, d.Floor)
		p.Now, p.Best = f.Settings == t.Current(), i == best
		d.Predictions = append(d.Predictions, p)
	}
	for _, i := range front.Efficient(d.Points()) {
		d.Predictions[i].Efficient = true
	}
	return d
}

// ParametersOf are what was found out about the process of a twin.
func ParametersOf(t Twin) []Parameter {
	ps := []Parameter{}
	for _, p := range t.Parameters() {
		ps = append(ps, Parameter{p.Name, QuantityOf(p.Value), p.From, p.Value})
	}
	return ps
}

// Points are the settings as they are drawn, without labels.
func (d *Prediction) Points() []front.Point {
	var out []front.Point
	for i := range d.Predictions {
		p := &d.Predictions[i]
		out = append(out, front.Point{
			Now: p.Now, Best: p.Best, Fails: p.Fails != nil, RSS: interval(p.Forecast.RSSPeakBytes), GCCPU: interval(p.Forecast.GCCPURatio),
		})
	}
	return out
}

func interval(e pacer.Estimate) front.Interval {
	return front.Interval{Value: e.Estimate, Low: e.Low, High: e.High}
}

// Span is how much of the process's work was replayed.
func (d *Prediction) Span() time.Duration { return time.Duration(d.SpanSeconds * float64(time.Second)) }

// Now is the prediction for the settings in force.
func (d *Prediction) Now() *Predicted { return d.first(func(p *Predicted) bool { return p.Now }) }

// Best is the prediction that is recommended, nil when none is.
func (d *Prediction) Best() *Predicted { return d.first(func(p *Predicted) bool { return p.Best }) }

func (d *Prediction) first(is func(*Predicted) bool) *Predicted {
	for i := range d.Predictions {
		if is(&d.Predictions[i]) {
			return &d.Predictions[i]
		}
	}
	return nil
}
