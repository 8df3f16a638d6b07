package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
	"github.com/heapwright/heapwright/cmd/internal/chaos/judge"
	"github.com/heapwright/heapwright/cmd/internal/chaos/keeper"
	"github.com/heapwright/heapwright/cmd/internal/chaos/planfile"
	stressreport "github.com/heapwright/heapwright/cmd/internal/chaos/report"
	"github.com/heapwright/heapwright/cmd/internal/chaos/resultfile"
	conductor "github.com/heapwright/heapwright/cmd/internal/chaos/run"
	"github.com/heapwright/heapwright/cmd/internal/chaos/toolkit"
	"github.com/heapwright/heapwright/cmd/internal/engine"
	"github.com/heapwright/heapwright/cmd/internal/human"
	"github.com/heapwright/heapwright/cmd/internal/strictyaml"
	"github.com/heapwright/heapwright/cmd/internal/term"
	"github.com/heapwright/heapwright/record"
)

type stressOptions struct {
	stressOutputs
	init, check, dryRun, yes bool
	only                     []string
	out                      string
	verbose                  bool
}

func stressCommand() command {
	var opt stressOptions
	return command{
		use:   "stress PLAN.yaml | --init [KIND] | --check PLAN.yaml",
		short: "memory and GC faults with a hypothesis: does it recover",
		long: `
Makes faults happen to a Go process, one after the other, and says whether a
hypothesis held before, during and after, and whether the process recovered:
its live heap, its memory, its goroutines and its latency are back, and its
settings are as they were. Nothing needs to be built into the program; faults
inside of it need package guard/fault, and say so.

The plan is a YAML file, or - for stdin: the target (a process that runs, or
one that is started in a cgroup of its own), the load on it, the hypothesis, the
faults, the conditions that end everything, and what recovery means. --init
writes one with comments; --check says what is wrong with one, line by line;
docs/formats/stress.md has every key, stress faults lists what can be done.

What would be done is shown, and asked for, before anything is: --dry-run only
shows it. A keeper, a process of its own, looks at the conditions ten times a
second, and takes everything back when one is broken, when you press Ctrl-C and
when heapwright is killed. What is left when both are killed is put back by the
next heapwright stress, or by heapwright undo --all.

The result (NAME.hwstress) has all that was seen; stress report judges it anew.

Exit codes: 0 PASS, 1 DEVIATED or ABORTED, 3 when you ended it; 2 NOT-RUN.`,
		example: `
  heapwright stress --init command > orders.yaml
  heapwright stress --check orders.yaml
  heapwright stress orders.yaml --dry-run
  heapwright stress orders.yaml --html orders.html
  heapwright stress orders.yaml --yes --json -o orders.hwstress
  heapwright stress report orders.hwstress --html orders.html
  heapwright stress export orders.yaml --to chaos-mesh`,
		args: func(c *cobra.Command, args []string) error {
			if len(args) == 1 || opt.init && len(args) == 0 {
				return nil
			}
			return usagef("stress", "stress takes one plan; --init writes one to start from")
		},
		flags: func(f *pflag.FlagSet) {
			f.BoolVar(&opt.dryRun, "dry-run", false, "show what would be done, and do nothing")
			f.BoolVarP(&opt.yes, "yes", "y", false, "do it without asking")
			f.StringArrayVar(&opt.only, "only", nil, "of the faults of the plan only the one of this `NAME`; may be repeated")
			f.StringVarP(&opt.out, "output", "o", "", "result `FILE` (default NAME"+resultfile.Suffix+"), or with --init the plan (default stdout)")
			opt.flags(f)
			f.BoolVar(&opt.init, "init", false, "write a plan to start from; KIND is "+strings.Join(planfile.Kinds(), ", "))
			f.BoolVar(&opt.check, "check", false, "check the plan, and do nothing")
			f.BoolVarP(&opt.verbose, "verbose", "v", false, "print what builds print")
		},
		run: func(ctx context.Context, env Env, args arguments) error {
			if err := opt.validate(); err != nil {
				return err
			}
			words := append(args.targets, args.command...)
			switch {
			case opt.init:
				return initPlan(env, opt, cmp.Or(strings.Join(words, ""), planfile.Kinds()[0]))
			case opt.check:
				return checkPlan(env, opt, words[0])
			}
			return stress(ctx, env, opt, words[0])
		},
		sub: []command{stressReportCommand(), stressExportCommand(), stressImportCommand(), stressFaultsCommand()},
	}
}

func (o stressOptions) validate() error {
	runs := o.dryRun || o.yes || len(o.only) > 0
	switch {
	case o.init && o.check:
		return usagef("stress", "give one of --init and --check")
	case o.init && (runs || o.shows()):
		return usagef("stress", "--init writes a plan: it takes -o and nothing else")
	case o.check && (runs || o.out != "" || o.html+o.journal != ""):
		return usagef("stress", "--check does nothing: it takes --json and nothing else")
	case o.dryRun && (o.yes || o.out != "" || o.html+o.journal != ""):
		return usagef("stress", "--dry-run does nothing: it takes --json and nothing else")
	case o.out == "-":
		return usagef("stress", "a result is a file; --json prints its report")
	}
	return o.stressOutputs.validate("stress")
}

// A stressLab makes what plans are carried out on. It is a function of Env.
type stressLab func(env Env, base string, log io.Writer) (conductor.Lab, error)

// localStress is this machine.
func localStress(env Env, base string, log io.Writer) (conductor.Lab, error) {
	cache, err := compareCache(env)
	if err != nil {
		return nil, err
	}
	journals, state, err := keeper.Places(env.Getenv)
	if err != nil {
		return nil, err
	}
	return &conductor.Machine{
		Base: base, CacheDir: cache, JournalDir: journals, StateDir: state, Log: log, Tool: toolName(),
		Processes: func(ctx context.Context) ([]record.Process, error) {
			entries, err := env.Host.Processes(ctx)
			var all []record.Process
			for _, e := range entries {
				if e.IsGo || e.Err == nil {
					all = append(all, e.Process)
				}
			}
			return all, err
		},
		Attach: func(ctx context.Context, pid int) (conductor.Source, error) { return env.Host.Attach(ctx, pid) },
		Containers: func(ctx context.Context) ([]engine.Container, error) {
			sockets, err := engine.Sockets(env.Getenv)
			if err != nil {
				return nil, err
			}
			return engine.Running(ctx, sockets)
		},
	}, nil
}

// sweepStress puts back what runs that were killed have left.
func sweepStress(ctx context.Context, env Env) ([]string, error) {
	lab, err := env.Stress(env, ".", io.Discard)
	if err != nil {
		return nil, err
	}
	return lab.Sweep(ctx)
}

func stress(ctx context.Context, env Env, opt stressOptions, path string) error {
	plan, text, err := loadStress(env, path)
	if err != nil {
		return err
	}
	// Before anything is built and started.
	if _, ok := env.Terminal(env.Stdin); !ok && !opt.dryRun && !opt.yes {
		return errNobody()
	}
	if path == "-" && opt.out == "" && !opt.dryRun {
		return usagef("stress", "a plan from stdin has no name: give the result one with -o")
	}
	if err := opt.choose(plan); err != nil {
		return err
	}
	log := io.Discard
	if opt.verbose {
		log = env.Stderr
	}
	lab, err := env.Stress(env, filepath.Dir(path), log)
	if err != nil {
		return err
	}
	if opt.dryRun {
		return dryRun(ctx, env, opt, lab, plan)
	}
	out := cmp.Or(opt.out, strings.TrimSuffix(strings.TrimSuffix(filepath.Base(path), ".yml"), ".yaml")+resultfile.Suffix)
	if err := resultfile.Check(out); err != nil {
		return err
	}
	watcher := &stressWatcher{env: env, progress: env.progress(), plan: plan}
	result, err := conductor.Run(ctx, conductor.Options{
		Plan: plan, Text: text, Hash: planfile.Hash(text), Tool: toolName(), Lab: lab,
		Confirm: func(ctx context.Context, p conductor.Preview) (bool, error) {
			watcher.progress.Clear()
			return opt.agree(ctx, env, p)
		},
		Progress: watcher.show,
		Note:     func(s string) { watcher.progress.Clear(); env.warnf("%s", s) },
	})
	watcher.progress.Clear()
	if errors.Is(err, conductor.ErrDeclined) {
		env.warnf("%v", err)
		return exitWith(ExitInconclusive)
	}
	if result == nil {
		return err
	}
	verdict := judge.Judge(result)
	if result.Refused != "" {
		if opt.json {
			if jerr := opt.show(env, result, verdict); jerr != nil {
				return jerr
			}
		}
		if len(result.Phases) == 0 {
			return err
		}
		// What was seen says why.
		if kept := resultfile.Save(out, result); kept != nil {
			return errors.Join(err, kept)
		}
		env.warnf("%s has what was seen", out)
		return err
	}
	kept := resultfile.Save(out, result)
	if err := opt.show(env, result, verdict); err != nil {
		return errors.Join(err, kept)
	}
	if kept != nil {
		return kept
	}
	if !opt.json && opt.stdout() == "" {
		fmt.Fprintf(env.Stdout, "%s has all that was seen\n", out)
	}
	return exitWith(stressCode(result, verdict))
}

// loadStress reads a plan; - is stdin.
func loadStress(env Env, path string) (*chaos.Plan, []byte, error) {
	if path != "-" {
		plan, text, err := planfile.Load(path)
		if errors.Is(err, fs.ErrNotExist) {
			err = hinted(err, "heapwright stress --init -o %s writes one to start from", path)
		}
		return plan, text, err
	}
	text, err := io.ReadAll(io.LimitReader(env.Stdin, strictyaml.MaxFile+1))
	if err != nil {
		return nil, nil, fmt.Errorf("reading the plan from stdin: %w", err)
	}
	plan, err := planfile.Parse("stdin", text)
	return plan, text, err
}

// choose leaves the faults in the plan that are to be.
func (o stressOptions) choose(p *chaos.Plan) error {
	if len(o.only) == 0 {
		return nil
	}
	var all []string
	for _, f := range p.Faults {
		all = append(all, f.Name)
	}
	for _, name := range o.only {
		if !slices.Contains(all, name) {
			return usagef("stress", "--only %s: the plan's faults are %s", name, strings.Join(all, ", "))
		}
	}
	var chosen []chaos.Fault
	for _, f := range p.Faults {
		if slices.Contains(o.only, f.Name) {
			chosen = append(chosen, f)
		} else {
			p.Idle = append(p.Idle, f)
		}
	}
	p.Faults = chosen
	return nil
}

// stressCode is how a verdict ends heapwright.
func stressCode(r *chaos.Run, v *chaos.Verdict) ExitCode {
	switch {
	case r.Interrupted:
		return ExitInconclusive
	case v.Outcome == chaos.Pass:
		return ExitOK
	case v.Outcome == chaos.NotRun:
		return ExitCouldNotRun
	}
	return ExitFinding
}

// agree shows what is going to be done, and asks.
func (o stressOptions) agree(ctx context.Context, env Env, p conductor.Preview) (bool, error) {
	to := env.Stdout
	if o.json || o.stdout() != "" {
		to = env.Stderr
	}
	if err := printPreview(env, to, p); err != nil || o.yes {
		return true, err
	}
	return confirm(ctx, env, fmt.Sprintf("Do this to %s %d?", term.Clean(p.Process.Name), p.Process.PID))
}

// dryRun shows what would be done.
func dryRun(ctx context.Context, env Env, opt stressOptions, lab conductor.Lab, plan *chaos.Plan) error {
	p, err := conductor.Look(ctx, lab, plan)
	if err != nil {
		return err
	}
	if opt.json {
		return writeJSON(env.Stdout, previewOf(p))
	}
	return printPreview(env, env.Stdout, p)
}

// printPreview shows a plan as it would be carried out.
func printPreview(env Env, w io.Writer, p conductor.Preview) error {
	var b strings.Builder
	s := planfile.Summarize(p.Plan)
	width := env.textColumns(w)
	line := func(name, text string) {
		indent := strings.Repeat(" ", 12)
		fmt.Fprintf(&b, "%-12s%s\n", name, strings.TrimPrefix(term.Wrap(term.Clean(text), indent, width), indent))
	}
	line("plan", p.Plan.Name)
	target := s.Target
	if p.Process.PID != 0 {
		target = fmt.Sprintf("%s %d", p.Process.Name, p.Process.PID)
		if p.Cgroup != "" {
			target += " in " + p.Cgroup
		}
	}
	line("target", target)
	line("load", cmp.Or(s.Load, "none: what it is asked anyway"))
	for i, step := range s.Steps {
		name := ""
		if i == 0 {
			name = "steps"
		}
		line(name, step)
		// Faults come after the step before them.
		if f := i - 1; f >= 0 && f < len(p.Faults) {
			for _, word := range p.Faults[f].Words {
				line("", "- "+word)
			}
		}
	}
	line("time", fmt.Sprintf("%s to %s", span(s.Shortest), span(s.Longest)))
	if s.Risk > 0 {
		line("risk", fmt.Sprintf("%d of 4, of %s: %s", s.Risk, s.Riskiest, planfile.RiskWord(s.Risk)))
	}
	for i, n := range s.Notes {
		name := ""
		if i == 0 {
			name = "notes"
		}
		line(name, n)
	}
	if p.Process.PID == 0 {
		line("", "the target is not started for this, so that it was not tried whether every fault can be had")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// A stressWatcher says where a run is: on a line of a terminal that is rewritten, and
// elsewhere with a line for each phase.
type stressWatcher struct {
	env      Env
	progress *term.Progress
	plan     *chaos.Plan
	said     string
	shown    time.Time
}

func (w *stressWatcher) show(p conductor.Progress) {
	what := p.Doing
	if p.Phase != "" {
		what = string(p.Phase)
		if p.Fault >= 0 {
			what += " " + w.plan.Faults[p.Fault].Name
		}
	}
	now := w.env.Now()
	if w.progress.Active() {
		if what != w.said || now.Sub(w.shown) >= 200*time.Millisecond {
			w.shown, w.said = now, what
			w.progress.Show(w.line(what, p))
		}
		return
	}
	if what != w.said && what != "" {
		w.said = what
		w.env.warnf("%s: %s", w.plan.Name, what)
	}
}

func (w *stressWatcher) line(what string, p conductor.Progress) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s", term.Cut(term.Clean(w.plan.Name), 20), term.Clean(what))
	if p.Phase == "" {
		return b.String()
	}
	fmt.Fprintf(&b, " %s", span(p.For))
	if p.Phase == chaos.PhaseFault {
		if info, ok := w.plan.Faults[p.Fault].Kind.Info(); ok {
			fmt.Fprintf(&b, "  at %s", levelText(info.Unit, p.Level))
		}
	}
	for _, m := range []struct {
		metric chaos.Metric
		name   string
		text   func(float64) string
	}{
		{chaos.Headroom, "headroom", compactBytes},
		{chaos.LatencyP99, "p99", func(v float64) string { return levelText(chaos.Seconds, v) }},
		{chaos.ErrorRatio, "errors", percent},
		{chaos.GCCPURatio, "GC CPU", percent},
		{chaos.GuardState, "guard", guardText},
	} {
		if v, ok := p.Point.Values[m.metric]; ok {
			fmt.Fprintf(&b, "  %s %s", m.name, m.text(v))
		}
	}
	if len(p.Broken) > 0 {
		fmt.Fprintf(&b, "  broken: %s", term.Clean(strings.Join(p.Broken, ", ")))
	}
	return b.String()
}

func guardText(state float64) string {
	switch state {
	case 0:
		return "healthy"
	case 1:
		return "recovering"
	}
	return "degraded"
}

// levelText writes a level in its unit.
func levelText(u chaos.Unit, v float64) string {
	switch u {
	case chaos.Bytes:
		return compactBytes(v)
	case chaos.BytesPerSecond:
		return compactBytes(v) + "/s"
	case chaos.Seconds:
		if v < 1 {
			return significant(1e3*v) + "ms"
		}
		return human.Span(time.Duration(v * float64(time.Second)))
	case chaos.Cores:
		return significant(v) + " cores"
	case chaos.CountPerSecond:
		return significant(v) + "/s"
	case chaos.Ratio:
		return significant(100*v) + "%"
	}
	return significant(v)
}

// stressOutputs are the forms in which a result is shown.
type stressOutputs struct {
	json          bool
	html, journal string
}

func (o *stressOutputs) flags(f *pflag.FlagSet) {
	f.StringVar(&o.html, "html", "", "write a report with figures, which needs nothing else, to `FILE`")
	f.StringVar(&o.journal, "journal", "", "write a journal of the Chaos Toolkit to `FILE` (- is stdout)")
	jsonFlag(f, &o.json)
}

func (o stressOutputs) shows() bool { return o.json || o.html+o.journal != "" }

// stdout is the flag whose output has stdout, "" when that is for the report.
func (o stressOutputs) stdout() string {
	switch "-" {
	case o.html:
		return "html"
	case o.journal:
		return "journal"
	}
	return ""
}

func (o stressOutputs) validate(command string) error {
	if o.html == "-" && o.journal == "-" || o.json && o.stdout() != "" {
		return usagef(command, "stdout takes one of the report, the document and a file: give the others names")
	}
	return nil
}

// show writes a result in every form that is asked for.
func (o stressOutputs) show(env Env, r *chaos.Run, v *chaos.Verdict) error {
	for _, f := range []struct {
		what, file string
		write      func(io.Writer) error
	}{
		{"the HTML report", o.html, func(w io.Writer) error { return stressreport.HTML(w, r, v) }},
		{"the journal", o.journal, func(w io.Writer) error {
			b, err := toolkit.Journal(r, v, toolkit.Options{})
			if err == nil {
				_, err = w.Write(b)
			}
			return err
		}},
	} {
		if err := writeReport(env, f.file, f.write); err != nil {
			return fmt.Errorf("writing %s: %w", f.what, err)
		}
	}
	switch {
	case o.stdout() != "":
		return nil
	case o.json:
		return writeJSON(env.Stdout, stressreport.JSON(r, v))
	}
	return stressreport.Text(env.Stdout, r, v, env.columns(env.Stdout), env.painter(env.Stdout))
}

// stressKeeperCommand is the process that makes faults. People have no use for it.
func stressKeeperCommand() command {
	return command{
		use: keeper.Verb, short: "makes and undoes faults; started by heapwright itself", hidden: true,
		args: exactly(0, "no arguments"),
		run: func(ctx context.Context, env Env, _ arguments) error {
			// It ends when it has undone everything, not when a terminal says so.
			return keeper.Serve(context.WithoutCancel(ctx), env.Stdin, env.Stdout)
		},
	}
}
