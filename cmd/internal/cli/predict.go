package cli

import (
	"bytes"
	"context"
	"fmt"
	"os"

	"github.com/spf13/pflag"

	"github.com/heapwright/heapwright/cmd/internal/forecast"
	"github.com/heapwright/heapwright/cmd/internal/front"
	"github.com/heapwright/heapwright/cmd/internal/setting"
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
			storedFlags(f, &opt.stored)
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

func (o predictOptions) parse() (asked, error) {
	a := asked{GOMAXPROCS: o.procs, Grid: o.grid}
	if err := o.observeOptions.check(); err != nil {
		return a, err
	}
	var err error
	if o.gogc != "" {
		if a.GOGC, err = setting.ParseList(o.gogc, parseGOGC); err != nil {
			return a, usagef("predict", "--gogc: %s", err)
		}
	}
	if o.limits != "" {
		if a.Limits, err = setting.ParseList(o.limits, parseMemoryLimit); err != nil {
			return a, usagef("predict", "--memory-limit: %s", err)
		}
	}
	if o.container != "" {
		n, err := parseContainerLimit(o.container)
		if err != nil {
			return a, usagef("predict", "--container-limit: %s", err)
		}
		a.Container = &n
	}
	switch {
	case max(len(a.GOGC), 1)*max(len(a.Limits), 1) > maxSettings:
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

// A prediction is the document of predict --json.
type prediction struct {
	forecast.Prediction
	File *string `json:"file"` // of the plot

	other bool // the pacer is not that of the process
}

func newPrediction(t twin, rec *record.Recording, goVersion string, a asked) *prediction {
	return &prediction{Prediction: *forecast.Predict(schemaPredict, t, rec.Process, goVersion, a), other: goVersion != rec.Process.GoVersion}
}

// points are the settings as they are drawn.
func (d *prediction) points() []front.Point {
	points := d.Points()
	for i := range points {
		points[i].Label = settingsLabel(d.Predictions[i].Forecast.Settings)
	}
	return points
}

// plot is the drawing of the front.
func (d *prediction) plot() *front.Plot {
	p := &front.Plot{Points: d.points(), Bytes: compactBytes, Title: "What other settings of " + d.Process.Name + " would do",
		Subtitle: fmt.Sprintf("%s, from %s of its work", d.GoVersion, span(d.Span()))}
	if now := d.Now(); now != nil {
		p.Subtitle += "; now " + settingsText(now.Forecast.Settings)
	}
	for i := range d.Predictions {
		if l := d.Predictions[i].ContainerLimitBytes; l != nil {
			p.Limit = float64(*l)
		}
	}
	return p
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
