package cli

import (
	"bytes"
	"context"
	"fmt"
	"math"
	"os"
	"slices"
	"time"

	"github.com/spf13/pflag"

	"github.com/heapwright/heapwright/cmd/internal/front"
	"github.com/heapwright/heapwright/pacer"
	"github.com/heapwright/heapwright/record"
)

type predictOptions struct {
	observeOptions
	json       bool
	gogc       string
	limits     string
	container  string
	procs      int
	grid       bool
	goVersion  string
	plot       string
	parameters bool
	check      string
}

func predictCommand() command {
	opt := predictOptions{observeOptions: observeOptions{command: "predict"}}
	return command{
		use:   "predict PID|NAME|FILE|URL",
		short: "what other settings would do to memory and GC CPU",
		long: `
Watches a process for a while, or reads a recording, fits a model of the Go
garbage collector's pacer to it, and says what other settings of GOGC and
GOMEMLIMIT would have done in the same time: GC cycles, the collector's share of
the CPU, the highest memory, and whether the process would be killed or the
collector run into a storm.

Every number has the interval in which nine of ten outcomes lie. The model knows
the collector, not the program: one that fills its caches when it is given more
memory does something that was not recorded.

Without --gogc and --memory-limit a small set of settings is shown. With one of
them the other stays as it is; with both, every pair. --grid tries about 400 and
shows those than which none is better in both memory and GC CPU.

--check compares: the model is fitted to the first recording and asked about the
settings of the second, and what that shows is held against the intervals. Exit
code 1 means that a quantity lies outside of its own.`,
		example: `
  heapwright predict 4123
  heapwright predict api.hwrec --gogc 50,100,200 --memory-limit off,512MiB
  heapwright predict api.hwrec --container-limit 1GiB --grid -o front.svg
  heapwright predict before.hwrec --check after.hwrec
  heapwright predict 4123 --json | jq '.predictions[] | select(.best)'`,
		args: exactly(1, "one process, recording or URL"),
		flags: func(f *pflag.FlagSet) {
			f.StringVar(&opt.gogc, "gogc", "", "`VALUES` of GOGC, separated by commas: 50,100,off")
			f.StringVar(&opt.limits, "memory-limit", "", "`VALUES` of GOMEMLIMIT: 256MiB,512MiB,off")
			f.StringVar(&opt.container, "container-limit", "", "`SIZE` at which the kernel kills, or off (default: as recorded)")
			f.IntVar(&opt.procs, "gomaxprocs", 0, "GOMAXPROCS (default: as recorded)")
			f.BoolVar(&opt.grid, "grid", false, "try about 400 settings, and show the efficient ones")
			f.StringVar(&opt.goVersion, "go-version", "", "the pacer of another Go `RELEASE`, such as go1.27")
			f.StringVarP(&opt.plot, "output", "o", "", "draw GC CPU against memory into this SVG `FILE` (- is stdout)")
			f.BoolVarP(&opt.parameters, "parameters", "v", false, "also print what was found out about the process")
			f.StringVar(&opt.check, "check", "", "compare with what this recording `FILE` shows")
			f.DurationVar(&opt.over, "for", 0, fmt.Sprintf("watch a process this long (default %v)", defaultWindow))
			hzFlag(f, &opt.hz)
			f.StringVar(&opt.keep, "keep", "", "keep the recording of a process in `FILE`")
			lifeFlag(f, &opt.life)
			jsonFlag(f, &opt.json)
		},
		complete: completeTargets,
		run: func(ctx context.Context, env Env, args arguments) error {
			return predict(ctx, env, opt, append(args.targets, args.command...)[0])
		},
	}
}

func predict(ctx context.Context, env Env, opt predictOptions, arg string) error {
	asked, err := opt.parse()
	if err != nil {
		return err
	}
	rec, err := observe(ctx, env, opt.observeOptions, arg)
	if err != nil {
		return err
	}
	fitted, err := fitTwin(rec, opt.observeOptions, arg)
	if err != nil {
		return err
	}
	goVersion := rec.Process.GoVersion
	if opt.goVersion != "" {
		if fitted, err = fitted.Under(opt.goVersion); err != nil {
			return unfit(err, rec, opt.observeOptions, arg)
		}
		goVersion = opt.goVersion
	}
	if opt.check != "" {
		other, err := readLife(env, "predict", opt.check, 0)
		if err != nil {
			return err
		}
		return check(env, opt, fitted, rec, other)
	}
	doc := newPrediction(fitted, rec, goVersion, asked)
	return doc.show(env, opt)
}

// asked are the settings that a user wants to know about.
type asked struct {
	gogc      []int64
	limits    []int64
	container *uint64 // nil: as recorded
	procs     int
	grid      bool
}

func (o predictOptions) parse() (asked, error) {
	a := asked{procs: o.procs, grid: o.grid}
	if err := o.observeOptions.check(); err != nil {
		return a, err
	}
	var err error
	if o.gogc != "" {
		if a.gogc, err = parseList(o.gogc, parseGOGC); err != nil {
			return a, usagef("predict", "--gogc: %s", err)
		}
	}
	if o.limits != "" {
		if a.limits, err = parseList(o.limits, parseMemoryLimit); err != nil {
			return a, usagef("predict", "--memory-limit: %s", err)
		}
	}
	if o.container != "" {
		n, err := parseContainerLimit(o.container)
		if err != nil {
			return a, usagef("predict", "--container-limit: %s", err)
		}
		a.container = &n
	}
	switch {
	case max(len(a.gogc), 1)*max(len(a.limits), 1) > maxSettings:
		return a, usagef("predict", "these are more than %d settings", maxSettings)
	case o.procs < 0 || o.procs > 1<<16:
		return a, usagef("predict", "--gomaxprocs %d is no number of processors", o.procs)
	case o.grid && (o.gogc != "" || o.limits != ""):
		return a, usagef("predict", "--grid chooses the settings itself: leave out --gogc and --memory-limit")
	case o.check != "" && (o.grid || o.gogc != "" || o.limits != "" || o.container != "" || o.procs != 0 || o.plot != ""):
		return a, usagef("predict", "--check takes the settings from the recording that it compares with")
	case o.plot == "-" && o.json:
		return a, usagef("predict", "stdout takes the plot or the document, not both: give -o a file")
	}
	return a, nil
}

// settings are those to look at, the current ones first unless they are asked for.
func (a asked) settings(t twin, now *pacer.Forecast) []pacer.Settings {
	current := t.Current()
	base := current
	if a.container != nil {
		base.ContainerLimitBytes = *a.container
	}
	if a.procs > 0 {
		base.GOMAXPROCS = a.procs
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
	case a.grid:
		addGrid(add, peak, t.StormFloorBytes(), base.ContainerLimitBytes)
	case len(a.gogc) > 0 || len(a.limits) > 0:
		gogc, limits := a.gogc, a.limits
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
	if isKnown(floor) && floor.Estimate > 0 && floor.Estimate < peak {
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

// A predicted is the forecast of one setting, and how it compares with others.
type predicted struct {
	forecasted
	Now       bool  `json:"now"`
	Best      bool  `json:"best"`
	Efficient bool  `json:"efficient"`
	Fails     *fate `json:"fails"`
}

func newPredicted(f pacer.Forecast, floor pacer.Estimate) predicted {
	return predicted{forecasted: forecastedOf(f), Fails: nonZero(fateOf(&f, floor))}
}

// A parameter is something that was found out about the process.
type parameter struct {
	Name  string   `json:"name"`
	Value quantity `json:"value"`
	From  string   `json:"from"`

	estimate pacer.Estimate
}

// A prediction is the document of predict --json.
type prediction struct {
	Schema  string         `json:"schema"`
	Process record.Process `json:"process"`
	// GoVersion is that of the pacer that was modelled.
	GoVersion       string      `json:"go_version"`
	SpanSeconds     float64     `json:"span_seconds"`
	Predictions     []predicted `json:"predictions"`
	StormFloorBytes quantity    `json:"storm_floor_bytes"`
	Parameters      []parameter `json:"parameters"`
	Missing         []string    `json:"missing"`
	File            *string     `json:"file"` // of the plot

	floor pacer.Estimate
	grid  bool
	other bool // the pacer is not that of the process
}

func newPrediction(t twin, rec *record.Recording, goVersion string, a asked) *prediction {
	d := &prediction{
		Schema: schemaPredict, Process: rec.Process, GoVersion: goVersion, floor: t.StormFloorBytes(), grid: a.grid,
		Predictions: []predicted{}, Parameters: parametersOf(t), Missing: append([]string{}, t.Missing()...),
		other: goVersion != rec.Process.GoVersion,
	}
	d.StormFloorBytes = quantityOf(d.floor)
	now := t.Forecast(t.Current())
	d.SpanSeconds = now.Span.Seconds()
	settings := a.settings(t, &now)
	forecasts := t.Forecasts(settings)
	// The current settings may be for another container than the one asked about.
	asks := settings[len(settings)-1]
	best := pickBest(forecasts, &now, d.floor, func(s pacer.Settings) bool {
		return s.ContainerLimitBytes == asks.ContainerLimitBytes && s.GOMAXPROCS == asks.GOMAXPROCS
	})
	for i, f := range forecasts {
		p := newPredicted(f, d.floor)
		p.Now, p.Best = f.Settings == t.Current(), i == best
		d.Predictions = append(d.Predictions, p)
	}
	for _, i := range front.Efficient(d.points()) {
		d.Predictions[i].Efficient = true
	}
	return d
}

func parametersOf(t twin) []parameter {
	ps := []parameter{}
	for _, p := range t.Parameters() {
		ps = append(ps, parameter{p.Name, quantityOf(p.Value), p.From, p.Value})
	}
	return ps
}

// points are the settings as they are drawn.
func (d *prediction) points() []front.Point {
	var out []front.Point
	for i := range d.Predictions {
		p := &d.Predictions[i]
		f := &p.forecast
		out = append(out, front.Point{
			Label: settingsLabel(f.Settings), Now: p.Now, Best: p.Best, Fails: p.Fails != nil,
			RSS: interval(f.RSSPeakBytes), GCCPU: interval(f.GCCPURatio),
		})
	}
	return out
}

func interval(e pacer.Estimate) front.Interval {
	return front.Interval{Value: e.Estimate, Low: e.Low, High: e.High}
}

// plot is the drawing of the front.
func (d *prediction) plot() *front.Plot {
	p := &front.Plot{Points: d.points(), Bytes: compactBytes, Title: "What other settings of " + d.Process.Name + " would do",
		Subtitle: fmt.Sprintf("%s, from %s of its work", d.GoVersion, span(d.span()))}
	if now := d.now(); now != nil {
		p.Subtitle += "; now " + settingsText(now.forecast.Settings)
	}
	for i := range d.Predictions {
		if l := d.Predictions[i].ContainerLimitBytes; l != nil {
			p.Limit = float64(*l)
		}
	}
	return p
}

func (d *prediction) span() time.Duration { return time.Duration(d.SpanSeconds * float64(time.Second)) }

// now is the prediction for the settings in force.
func (d *prediction) now() *predicted { return d.first(func(p *predicted) bool { return p.Now }) }

// best is the prediction that is recommended, nil when none is.
func (d *prediction) best() *predicted { return d.first(func(p *predicted) bool { return p.Best }) }

func (d *prediction) first(is func(*predicted) bool) *predicted {
	for i := range d.Predictions {
		if is(&d.Predictions[i]) {
			return &d.Predictions[i]
		}
	}
	return nil
}

// show draws and prints a prediction as it was asked for.
func (d *prediction) show(env Env, opt predictOptions) error {
	if opt.plot != "" {
		var svg bytes.Buffer
		if err := d.plot().SVG(&svg); err != nil {
			return err
		}
		if opt.plot == "-" {
			_, err := env.Stdout.Write(svg.Bytes())
			return err
		}
		if err := os.WriteFile(opt.plot, svg.Bytes(), 0o666); err != nil {
			return fmt.Errorf("saving the plot: %w", err)
		}
		d.File = &opt.plot
	}
	if opt.json {
		return writeJSON(env.Stdout, d)
	}
	return d.print(env, opt.parameters)
}
