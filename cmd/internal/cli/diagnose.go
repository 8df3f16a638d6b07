package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/pflag"

	"github.com/heapwright/heapwright/cmd/internal/diagnose"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/rules/notenough"
	"github.com/heapwright/heapwright/cmd/internal/recorder"
	"github.com/heapwright/heapwright/cmd/internal/term"
	"github.com/heapwright/heapwright/record"
)

type diagnoseOptions struct {
	json   bool
	failOn string
	over   time.Duration
	hz     float64
	out    string
	life   int
}

// defaultWindow is how long a process is watched before it is diagnosed.
const defaultWindow = 30 * time.Second

// failNever is the --fail-on that no finding reaches.
const failNever = "never"

var failOnNames = []string{failNever, diagnose.Info.String(), diagnose.Warning.String(), diagnose.Critical.String()}

func diagnoseCommand() command {
	var opt diagnoseOptions
	return command{
		use:   "diagnose PID|NAME|FILE|URL | -- CMD [ARG...]",
		short: "what is wrong, with evidence, cause and remedy",
		long: `
Watches a process for a while, or reads a recording, and says what is wrong with
its memory and garbage collector: each finding with the numbers that show it,
the cause, and a remedy to paste. Nothing found says what was looked at.

The longer the window, the more can be said: rates need a few GC cycles, and a
leak shows only as a trend over many. Ctrl-C ends the window early.

A command is watched until it ends, or for --for, after which it is asked to end
(SIGTERM). Its stdout goes to stderr: stdout is the diagnosis.

Exit codes: 0, or 1 with a finding at or above --fail-on; 2 could not run; 3 not
enough data to tell.`,
		example: `
  heapwright diagnose 4123
  heapwright diagnose api-server --for 2m -o api.hwrec
  heapwright diagnose api.hwrec --fail-on warning
  heapwright diagnose --json http://10.0.0.7:9090/metrics
  heapwright diagnose --fail-on critical -- ./api-server --self-test`,
		flags: func(f *pflag.FlagSet) {
			f.DurationVar(&opt.over, "for", 0, fmt.Sprintf("watch this long (default %v; a command: until it ends)", defaultWindow))
			f.StringVar(&opt.failOn, "fail-on", failNever, "exit with 1 on a finding this severe: info, warning, critical")
			hzFlag(f, &opt.hz)
			f.StringVarP(&opt.out, "output", "o", "", "keep the recording in `FILE`")
			f.IntVar(&opt.life, "life", 0, "which life of a recording that has several; 0 is the last")
			jsonFlag(f, &opt.json)
		},
		complete:      completeTargets,
		completeFlags: map[string][]string{"fail-on": failOnNames},
		run: func(ctx context.Context, env Env, args arguments) error {
			return diagnoseRun(ctx, env, opt, args)
		},
	}
}

func (o diagnoseOptions) check(args arguments) error {
	if err := oneOf("diagnose", "fail-on", o.failOn, failOnNames); err != nil {
		return err
	}
	if o.over < 0 || o.hz < 0 {
		return usagef("diagnose", "--for and --hz must not be negative")
	}
	if len(args.targets)+min(len(args.command), 1) != 1 {
		return usagef("diagnose", "diagnose takes one process, recording or URL, or a command after --")
	}
	return nil
}

func diagnoseRun(ctx context.Context, env Env, opt diagnoseOptions, args arguments) error {
	if err := opt.check(args); err != nil {
		return err
	}
	rec, err := diagnoseInput(ctx, env, opt, args)
	if err != nil {
		return err
	}
	d := examine(rec)
	if opt.json {
		err = writeJSON(env.Stdout, d)
	} else {
		err = d.print(env)
	}
	if err != nil {
		return err
	}
	return d.exit(opt.failOn)
}

// diagnoseInput returns the recording to think about.
func diagnoseInput(ctx context.Context, env Env, opt diagnoseOptions, args arguments) (*record.Recording, error) {
	if len(args.command) > 0 {
		return watchCommand(ctx, env, opt, args.command)
	}
	ref, err := parseTarget(ctx, env, args.targets[0], true)
	if err != nil {
		return nil, err
	}
	if ref.kind == targetFile {
		return readLife(env, ref.text, opt.life)
	}
	t, err := ref.watch(ctx, env)
	if err != nil {
		return nil, err
	}
	defer t.Close()
	w, err := newWatch(env, opt)
	if err != nil {
		return nil, err
	}
	w.lasts = cmp.Or(opt.over, defaultWindow)
	if err := w.life(ctx, t); err != nil {
		return nil, errors.Join(err, w.close())
	}
	return &w.memory.Recording, w.close()
}

// readLife reads one life of a recording from a file.
func readLife(env Env, path string, life int) (*record.Recording, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	lives, err := record.ReadAll(f)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", path, err)
	}
	switch {
	case len(lives) == 0:
		return nil, fmt.Errorf("reading %s: there is no process in the recording", path)
	case life < 0 || life > len(lives):
		return nil, usagef("diagnose", "--life %d: the recording has %d", life, len(lives))
	case life == 0 && len(lives) > 1:
		env.warnf("%s holds %d lives of the process; this is the last, --life N picks another", path, len(lives))
		life = len(lives)
	case life == 0:
		life = 1
	}
	rec := lives[life-1]
	if rec.Truncated != "" {
		env.warnf("%s is cut short: %s", path, rec.Truncated)
	}
	return rec, nil
}

// A watch keeps a process's recording in memory, and in a file if wanted, while
// progress says how long it takes.
type watch struct {
	env      Env
	opt      diagnoseOptions
	memory   recorder.Memory
	sink     recorder.Sink
	file     *os.File
	writer   *record.Writer
	progress *term.Progress
	lasts    time.Duration // 0 without end
	shown    time.Time
}

func newWatch(env Env, opt diagnoseOptions) (*watch, error) {
	w := &watch{env: env, opt: opt, progress: env.progress()}
	w.sink = &w.memory
	if opt.out != "" {
		f, err := os.Create(opt.out)
		if err != nil {
			return nil, fmt.Errorf("creating the recording: %w", err)
		}
		w.file, w.writer = f, record.NewWriter(f)
		w.sink = recorder.Tee{&w.memory, w.writer}
	}
	return w, nil
}

// life watches a target until the window is over, it ends, or the user does not
// want to wait any longer.
func (w *watch) life(ctx context.Context, t Target) error {
	start := w.env.Now()
	defer w.progress.Clear()
	_, err := recorder.Record(ctx, t, t.Process(), w.sink, recorder.Options{
		Hz: rate(w.opt.hz, t), For: w.lasts,
		Observe: func(s *record.Sample, sum recorder.Summary) { w.show(t.Process(), start, s, sum) },
	})
	return err
}

func (w *watch) show(p record.Process, start time.Time, s *record.Sample, sum recorder.Summary) {
	now := w.env.Now()
	if s == nil || !w.progress.Active() || now.Sub(w.shown) < 200*time.Millisecond {
		return
	}
	w.shown = now
	elapsed := now.Sub(start)
	line := fmt.Sprintf("watching %s  %s", term.Cut(term.Clean(p.Name), 16), span(elapsed))
	if w.lasts > 0 {
		line += fmt.Sprintf(" of %s %s", span(w.lasts), term.Bar(elapsed.Seconds(), w.lasts.Seconds(), 8))
	}
	w.progress.Show(line + readingOf(s).text() + "  " + plural(sum.Cycles, "GC"))
}

func (w *watch) close() error {
	if w.file == nil {
		return nil
	}
	err := w.writer.Close()
	return errors.Join(err, w.file.Close())
}

// watchCommand runs a command and records it, to its end or that of the window.
func watchCommand(ctx context.Context, env Env, opt diagnoseOptions, argv []string) (*record.Recording, error) {
	w, err := newWatch(env, opt)
	if err != nil {
		return nil, err
	}
	w.progress = &term.Progress{} // it would mix with what the command prints
	c, err := startChild(env, argv, env.Stderr, env.Stderr, nil)
	if err != nil {
		return nil, errors.Join(err, w.close())
	}
	if opt.over > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, opt.over)
		defer cancel()
	}
	err = watchLives(ctx, w, c)
	c.stop(10 * time.Second)
	if err == nil && c.code != ExitOK && ctx.Err() == nil {
		env.warnf("the command ended with status %d", c.code)
	}
	return &w.memory.Recording, errors.Join(err, w.close())
}

// watchLives watches a command over the programs that it execs; the last one
// with samples is what is diagnosed.
func watchLives(ctx context.Context, w *watch, c *child) error {
	for c.running() && ctx.Err() == nil {
		t, err := c.attach(ctx, w.env)
		if err != nil {
			if len(w.memory.Recording.Samples) > 0 {
				return nil
			}
			return fmt.Errorf("the command could not be watched: %w", err)
		}
		err = w.life(ctx, t)
		t.Close()
		if err != nil {
			return err
		}
	}
	if len(w.memory.Recording.Samples) == 0 {
		return errors.New("the command ended before it could be watched")
	}
	return nil
}

// exit is how a diagnosis ends the command. Too little data fails no gate and
// passes none.
func (d *diagnosis) exit(failOn string) error {
	if threshold, err := diagnose.ParseSeverity(failOn); err == nil { // else failNever
		for _, f := range d.Findings {
			if f.Severity >= threshold && f.ID != notenough.Rule.ID {
				return exitWith(ExitFinding)
			}
		}
	}
	if d.inconclusive() {
		return exitWith(ExitInconclusive)
	}
	return nil
}

// print writes the diagnosis for people.
func (d *diagnosis) print(env Env) error {
	w, width, paint := env.Stdout, env.textColumns(env.Stdout), env.painter(env.Stdout)
	if err := d.head(w, width, paint); err != nil {
		return err
	}
	for i := range d.Findings {
		printFinding(w, &d.Findings[i], width, paint)
	}
	d.tail(w, width)
	return nil
}

// head says what was watched, and draws it.
func (d *diagnosis) head(w io.Writer, width int, paint term.Painter) error {
	p := d.Process
	who := paint.Paint(term.Bold, term.Clean(p.Name))
	if p.PID != 0 {
		who += fmt.Sprintf(" %d", p.PID)
	}
	if p.GoVersion != "" {
		who += ", " + term.Clean(p.GoVersion)
	}
	cycles := "GC cycles not known"
	if d.GCCycles != nil {
		cycles = plural(int(*d.GCCycles), "GC cycle")
	}
	fmt.Fprintf(w, "%s: %s, %s, %s\n", who, span(time.Duration(d.WindowSeconds*float64(time.Second))), plural(d.Samples, "sample"), cycles)
	return d.history.draw(w, width, paint)
}
