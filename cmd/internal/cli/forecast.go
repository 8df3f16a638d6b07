package cli

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/pflag"

	"github.com/heapwright/heapwright/cmd/internal/chart"
	"github.com/heapwright/heapwright/cmd/internal/horizon"
	"github.com/heapwright/heapwright/cmd/internal/setting"
	"github.com/heapwright/heapwright/cmd/internal/term"
	"github.com/heapwright/heapwright/record"
)

type forecastOptions struct {
	observeOptions
	json     bool
	limit    string
	within   time.Duration
	backtest bool
	number   int
}

// forecastWindow is how long a process is watched where nobody says: a trend takes longer
// than most of what else is looked for.
const forecastWindow = time.Minute

func forecastCommand() command {
	opt := forecastOptions{observeOptions: observeOptions{command: "forecast"}}
	return command{
		use:   "forecast PID|NAME|FILE|URL",
		short: "when the memory limit will be reached, and how sure that is",
		long: `
Watches a process for a while, or reads a recording or what is stored of it, and
says when its memory will reach the limit at which the kernel kills it: the
instant and its 95% interval, or that there is none to give, and why. It goes by
what each GC cycle finds alive, by what the heap grows to above that under GOGC
and GOMEMLIMIT, and by what is resident beside it. Where GOMEMLIMIT holds the
heap, it also says when the collector begins to take a quarter of the CPU, which
comes first.

A longer look sees further: from a minute nothing is said of the next day. With
two days of history a daily rhythm is taken into account (--store).

--backtest asks how good such forecasts are: it makes them at many instants of
each recording, from what was known then, and holds them against what came.
Without a file it takes simulated processes.

Exit codes: 0, or 1 when the limit is reached within --fail-within; 2 could not
run; 3 too little is known to say anything.`,
		example: `
  heapwright forecast 4123 --for 5m
  heapwright forecast api.hwrec --limit 512MiB
  heapwright forecast --store http://127.0.0.1:4327 nats-server --for 72h
  heapwright forecast 4123 --fail-within 1h --json | jq .killed
  heapwright forecast --backtest monday.hwrec tuesday.hwrec`,
		flags: func(f *pflag.FlagSet) {
			f.StringVar(&opt.limit, "limit", "", "`SIZE` at which the kernel kills (default: the container's)")
			f.DurationVar(&opt.over, "for", 0, fmt.Sprintf("watch a process this long (default %v)", forecastWindow))
			f.DurationVar(&opt.within, "fail-within", 0, "exit with 1 when the limit is reached within this time")
			f.BoolVar(&opt.backtest, "backtest", false, "hold forecasts against what came, in recordings or simulated")
			f.IntVar(&opt.number, "number", 10, "with --backtest and no file: how many of each kind are simulated")
			hzFlag(f, &opt.hz)
			f.StringVarP(&opt.keep, "output", "o", "", "keep the recording in `FILE`")
			lifeFlag(f, &opt.life)
			storedFlags(f, &opt.stored)
			jsonFlag(f, &opt.json)
		},
		complete: completeTargets,
		run: func(ctx context.Context, env Env, args arguments) error {
			all := append(args.targets, args.command...)
			limit, err := opt.check(all)
			if err != nil {
				return err
			}
			if opt.backtest {
				return backtest(ctx, env, opt, limit, all)
			}
			return forecastRun(ctx, env, opt, limit, all[0])
		},
	}
}

func (o forecastOptions) check(args []string) (limit float64, err error) {
	if err := o.observeOptions.check(); err != nil {
		return 0, err
	}
	if o.limit != "" {
		n, err := setting.ParseSize(o.limit)
		if err != nil || n <= 0 {
			return 0, usagef("forecast", "--limit %.40q is no size: write 512MiB", o.limit)
		}
		limit = float64(n)
	}
	switch {
	case o.within < 0:
		return 0, usagef("forecast", "--fail-within must not be negative")
	case o.backtest && (o.stored.url != "" || o.within > 0 || o.keep != "" || o.over > 0):
		return 0, usagef("forecast", "--backtest takes recordings: leave out --store, --for, --output and --fail-within")
	case o.backtest && (o.number < 1 || o.number > maxSimulated):
		return 0, usagef("forecast", "--number %d is not from 1 to %d", o.number, maxSimulated)
	case !o.backtest && len(args) != 1:
		return 0, usagef("forecast", "forecast takes one process, recording or URL")
	}
	return limit, nil
}

func forecastRun(ctx context.Context, env Env, opt forecastOptions, limit float64, arg string) error {
	watch := opt.observeOptions
	if opt.stored.url == "" {
		watch.over = cmp.Or(watch.over, forecastWindow)
	}
	rec, err := observe(ctx, env, watch, arg)
	if err != nil {
		return err
	}
	d := newOutlook(rec, limit)
	if opt.json {
		err = writeJSON(env.Stdout, d)
	} else {
		err = d.print(env)
	}
	switch {
	case err != nil:
		return err
	case d.outlook.Points == 0:
		return exitWith(ExitInconclusive)
	case opt.within > 0 && d.outlook.Killed != nil && d.outlook.Left(horizon.Furthest) <= opt.within:
		return exitWith(ExitFinding)
	}
	return nil
}

// An outlook is the document of forecast --json.
type outlook struct {
	Schema  string         `json:"schema"`
	Process record.Process `json:"process"`
	State   horizon.State  `json:"state"`
	At      time.Time      `json:"at"`
	Reason  string         `json:"reason"`

	LimitBytes     *float64 `json:"limit_bytes"`
	GOMEMLIMITByte *float64 `json:"gomemlimit_bytes"`
	NeedBytes      *float64 `json:"need_bytes"`
	LiveBytes      *float64 `json:"live_bytes"`

	Killed    *instant   `json:"killed"`
	NotBefore *time.Time `json:"not_before"`
	GCHurts   *instant   `json:"gc_hurts"`

	LiveSlope *slope     `json:"live_slope"`
	NeedSlope *slope     `json:"need_slope"`
	Since     *time.Time `json:"since"`
	Change    bool       `json:"change"`
	Points    int        `json:"points"`
	Daily     bool       `json:"daily"`

	Inflection *inflection `json:"inflection"`

	outlook *horizon.Outlook
	course  *horizon.Course
	samples int
	window  time.Duration
}

// An instant is one that was forecast. What may never come has no high edge.
type instant struct {
	Time        time.Time  `json:"time"`
	Low         time.Time  `json:"low"`
	High        *time.Time `json:"high"`
	Seconds     float64    `json:"in_seconds"`
	LowSeconds  float64    `json:"in_low_seconds"`
	HighSeconds *float64   `json:"in_high_seconds"`
}

type slope struct {
	PerSecond float64 `json:"bytes_per_second"`
	Low       float64 `json:"low_bytes_per_second"`
	High      float64 `json:"high_bytes_per_second"`
}

type inflection struct {
	Since     time.Time `json:"since"`
	Pause     float64   `json:"pause_p95_seconds"`
	PauseWas  float64   `json:"pause_p95_before_seconds"`
	Growth    float64   `json:"growth_per_cycle_ratio"`
	GrowthWas float64   `json:"growth_per_cycle_before_ratio"`
}

func newInstant(i *horizon.Instant, at time.Time) *instant {
	if i == nil {
		return nil
	}
	out := &instant{Time: i.Time, Low: i.Low, Seconds: i.Time.Sub(at).Seconds(), LowSeconds: i.Low.Sub(at).Seconds()}
	if !i.High.IsZero() {
		seconds := i.High.Sub(at).Seconds()
		out.High, out.HighSeconds = &i.High, &seconds
	}
	return out
}

func newOutlook(rec *record.Recording, limit float64) *outlook {
	d := &outlook{Schema: schemaForecast, Process: rec.Process, samples: len(rec.Samples), course: horizon.Read(rec, time.Time{})}
	if n := len(rec.Samples); n > 0 {
		d.At = rec.Samples[n-1].Time
		d.window = d.At.Sub(rec.Samples[0].Time)
	}
	o := horizon.Forecast(d.course, d.At, horizon.Options{Limit: limit})
	d.outlook = o
	d.State, d.Reason = o.State, o.Reason
	d.LimitBytes, d.GOMEMLIMITByte = nonZero(o.LimitBytes), nonZero(o.SoftLimitBytes)
	d.Killed, d.GCHurts, d.NotBefore = newInstant(o.Killed, o.At), newInstant(o.Hurts, o.At), o.NotBefore
	if o.Points > 0 {
		d.NeedBytes, d.LiveBytes = nonZero(o.NeedBytes), nonZero(o.LiveBytes)
		d.NeedSlope, d.Since = &slope{o.Need.PerSecond, o.Need.Low, o.Need.High}, &o.Since
		if o.LiveBytes > 0 {
			d.LiveSlope = &slope{o.Live.PerSecond, o.Live.Low, o.Live.High}
		}
	}
	d.Change, d.Points, d.Daily = o.Change, o.Points, o.Daily
	if w := o.Warning; w != nil {
		d.Inflection = &inflection{w.Since, w.PauseP95, w.PauseBefore, w.Growth, w.GrowthWas}
	}
	return d
}

// verdict is what it comes to, in a line.
func (d *outlook) verdict() (string, term.Style) {
	o := d.outlook
	limit := "the limit"
	if o.LimitBytes > 0 {
		limit += " of " + compactBytes(o.LimitBytes)
	}
	switch o.State {
	case horizon.Over:
		return "AT THE LIMIT: the process needs " + compactBytes(o.NeedBytes) + ", and " + limit + " is no more", term.Red
	case horizon.Reaches:
		return "REACHES " + limit + " " + when(o.Killed, o.At), term.Red
	case horizon.Rising:
		return "RISING: " + o.Reason, term.Yellow
	}
	return "NO DEADLINE: " + o.Reason, term.Green
}

// when says an instant and its interval, as times from now.
func when(i *horizon.Instant, at time.Time) string {
	text := "in " + span(i.Time.Sub(at)) + " (95%: "
	if i.High.IsZero() {
		text += "not before " + span(i.Low.Sub(at)) + ")"
	} else {
		text += span(i.Low.Sub(at)) + " to " + span(i.High.Sub(at)) + ")"
	}
	return text + ", at " + i.Time.UTC().Format(clock(i.Time.Sub(at))) + " UTC"
}

func clock(ahead time.Duration) string {
	if ahead > 20*time.Hour {
		return "2006-01-02 15:04"
	}
	return "15:04:05"
}

func (d *outlook) print(env Env) error {
	w, width, paint := env.Stdout, env.textColumns(env.Stdout), env.painter(env.Stdout)
	o := d.outlook
	twinHead(w, d.Process, fmt.Sprintf("%s, %s, %s", span(d.window), plural(d.samples, "sample"), plural(len(d.course.Cycles), "GC cycle")), width, paint)
	text, style := d.verdict()
	fmt.Fprintln(w, paint.Paint(style, term.Wrap(text, "", width)))
	if o.Points == 0 {
		return nil
	}
	fmt.Fprintln(w)
	if err := d.draw(w, width, paint); err != nil {
		return err
	}
	row := func(label, format string, args ...any) {
		section(w, label, fmt.Sprintf(format, args...), width, paint)
	}
	if o.LiveBytes > 0 {
		row("live heap", "%s, %s", compactBytes(o.LiveBytes), slopeText(o.Live))
	}
	row("its peak", "%s, %s", compactBytes(o.NeedBytes), slopeText(o.Need))
	since := "since the data begin"
	if o.Change {
		since = "since it changed"
	}
	row("trend", "%s, %s ago, over %s%s", since, span(o.At.Sub(o.Since)), plural(o.Points, "point"), map[bool]string{true: ", with a daily rhythm"}[o.Daily])
	if o.Killed != nil && o.State == horizon.Reaches {
		row("because", "%s", o.Reason)
	}
	if o.NotBefore != nil && o.State != horizon.Reaches && o.LimitBytes > 0 {
		row("not before", "%s from now, as it is", span(o.NotBefore.Sub(o.At)))
	}
	if o.Hurts != nil {
		row("GC hurts", "%s: then the collector takes a quarter of the CPU to stay below GOMEMLIMIT (%s)", when(o.Hurts, o.At), compactBytes(o.SoftLimitBytes))
	}
	if i := o.Warning; i != nil {
		row("inflection", "for %s: p95 pause %v (was %v), the live heap grows by %s a cycle (was %s)", span(o.At.Sub(i.Since)),
			round(i.PauseP95), round(i.PauseBefore), percent(i.Growth), percent(i.GrowthWas))
	}
	return nil
}

func round(seconds float64) time.Duration {
	return time.Duration(seconds * float64(time.Second)).Round(time.Microsecond)
}

// slopeText is growth an hour, with its interval.
func slopeText(s horizon.Slope) string {
	hour := func(v float64) string {
		text := compactBytes(max(v, -v) * 3600)
		if v < 0 {
			return "-" + text
		}
		return "+" + text
	}
	return fmt.Sprintf("%s an hour (95%%: %s to %s)", hour(s.PerSecond), hour(s.Low), hour(s.High))
}

// draw shows what was, what is forecast with its interval, and the limit.
func (d *outlook) draw(w io.Writer, columns int, paint term.Painter) error {
	o := d.outlook
	if len(d.course.Used) < 2 {
		return nil
	}
	start := d.course.Used[0].Time
	past := o.At.Sub(start)
	// The future as long as it takes to the limit, and not so long that the past vanishes.
	ahead := past / 2
	if o.Killed != nil {
		ahead = o.Killed.Time.Sub(o.At) * 5 / 4
		if !o.Killed.High.IsZero() {
			ahead = o.Killed.High.Sub(o.At)
		}
	}
	ahead = max(min(ahead, 3*past), past/4)
	used := chart.Line{Name: "used", Style: term.Blue}
	for _, p := range d.course.Used {
		used.Points = append(used.Points, chart.Point{T: p.Time.Sub(start).Seconds(), V: p.Bytes})
	}
	live := chart.Line{Name: "live", Style: term.Green}
	for _, c := range d.course.Cycles {
		if c.Live > 0 && !c.End.Before(start) {
			live.Points = append(live.Points, chart.Point{T: c.End.Sub(start).Seconds(), V: c.Live})
		}
	}
	mid := chart.Line{Name: "forecast", Style: term.Yellow}
	low, high := chart.Line{Name: "low", Style: term.Faint, Dotted: true}, chart.Line{Name: "high", Style: term.Faint, Dotted: true}
	limit := chart.Line{Name: "limit", Style: term.Red, Dotted: true}
	const steps = 100
	top := 2 * o.LimitBytes
	if top == 0 {
		top = 4 * o.NeedBytes
	}
	for i := range steps + 1 {
		at := o.At.Add(ahead / steps * time.Duration(i))
		t := at.Sub(start).Seconds()
		m, l, h, ok := o.Path(at)
		if !ok {
			break
		}
		for line, v := range map[*chart.Line]float64{&mid: m, &low: l, &high: h} {
			if v >= 0 && v <= top*0.6 {
				line.Points = append(line.Points, chart.Point{T: t, V: v})
			}
		}
	}
	if o.LimitBytes > 0 && o.LimitBytes < 4*max(o.NeedBytes, 1) {
		end := past + ahead
		for i := range steps + 1 {
			limit.Points = append(limit.Points, chart.Point{T: end.Seconds() * float64(i) / steps, V: o.LimitBytes})
		}
	}
	return chart.Draw(w, chart.Options{Width: columns, Height: 10, Format: compactBytes, Paint: paint}, used, live, high, mid, low, limit)
}

// backtestKind is what recordings of a person are called: by what became of them.
func backtestKind(killed bool) string {
	if killed {
		return "killed"
	}
	return "not killed"
}
