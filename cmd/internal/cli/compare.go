package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
	"github.com/heapwright/heapwright/cmd/internal/experiment/journal"
	"github.com/heapwright/heapwright/cmd/internal/experiment/planfile"
	"github.com/heapwright/heapwright/cmd/internal/experiment/report"
	runner "github.com/heapwright/heapwright/cmd/internal/experiment/run"
	"github.com/heapwright/heapwright/cmd/internal/term"
)

// resultSuffix is that of result files.
const resultSuffix = ".hwcmp"

type compareOptions struct {
	compareOutputs
	init, check bool
	out         string
	resume      bool
	over        time.Duration
	verbose     bool
}

func compareCommand() command {
	var opt compareOptions
	return command{
		use:   "compare EXPERIMENT.yaml | --init [KIND] | --check EXPERIMENT.yaml",
		short: "an experiment: variants of a server under load, and a verdict with intervals",
		long: `
Runs an experiment: two or more variants of a program, which differ in settings,
toolchain, build or code, take turns under the same load until the differences
are shown or the budget is spent. The baseline is compared with itself first.
Nothing needs to be built into the program.

For each metric it says IMPROVED, NON-INFERIOR, EQUIVALENT, REGRESSED or
INCONCLUSIVE, with an interval and how many more pairs would decide. A variant
passes when the goal of the experiment has improved and no guard is broken.

The experiment is a YAML file. --init writes one with comments, for a subject
that is a command, package, source or git. --check says what is wrong with one,
line by line, and what it comes to. docs/formats/experiment.md has every key.

Every block is in the result (NAME.hwcmp) before the next one begins. Ctrl-C
ends with what there is; --resume goes on. compare verify computes the verdict
again from the blocks of a result, compare report shows it anew.

Exit codes: 0 PASS, 1 FAIL, 3 INCONCLUSIVE; 2 could not run.`,
		example: `
  heapwright compare --init source > tea.yaml
  heapwright compare --check tea.yaml
  heapwright compare tea.yaml --html tea.html
  heapwright compare tea.yaml --time 10m --json
  heapwright compare tea.yaml -o tea.hwcmp --resume
  heapwright compare verify tea.hwcmp
  heapwright compare report tea.hwcmp --markdown - >> $GITHUB_STEP_SUMMARY`,
		args: func(c *cobra.Command, args []string) error {
			if len(args) == 1 || opt.init && len(args) == 0 {
				return nil
			}
			return usagef("compare", "compare takes one experiment; --init writes one to start from")
		},
		flags: func(f *pflag.FlagSet) {
			f.StringVarP(&opt.out, "output", "o", "", "result `FILE` (default NAME"+resultSuffix+"), or with --init the experiment (default stdout)")
			f.BoolVar(&opt.resume, "resume", false, "go on with the result that is there")
			f.DurationVar(&opt.over, "time", 0, "end without a verdict after this long (default: the budget of the experiment)")
			opt.flags(f)
			f.BoolVar(&opt.init, "init", false, "write an experiment to start from; KIND is "+strings.Join(planfile.Kinds(), ", "))
			f.BoolVar(&opt.check, "check", false, "check the experiment, and run nothing")
			f.BoolVarP(&opt.verbose, "verbose", "v", false, "print what builds print")
		},
		run: func(ctx context.Context, env Env, args arguments) error {
			if err := opt.validate(); err != nil {
				return err
			}
			words := append(args.targets, args.command...)
			switch {
			case opt.init:
				return initExperiment(env, opt, cmp.Or(strings.Join(words, ""), planfile.Kinds()[0]))
			case opt.check:
				return checkExperiment(env, opt, words[0])
			}
			return runExperiment(ctx, env, opt, words[0])
		},
		sub: []command{verifyCommand(), compareReportCommand()},
	}
}

func (o compareOptions) validate() error {
	runs := o.resume || o.over != 0
	switch {
	case o.init && o.check:
		return usagef("compare", "give one of --init and --check")
	case o.init && (runs || o.shows()):
		return usagef("compare", "--init writes an experiment: it takes -o and nothing else")
	case o.check && (runs || o.out != "" || o.html+o.markdown+o.benchfmt != "" || o.all):
		return usagef("compare", "--check runs nothing: it takes --json and nothing else")
	case o.over < 0:
		return usagef("compare", "--time must not be negative")
	case o.out == "-":
		return usagef("compare", "a result is a file, which is kept while the experiment runs; --json prints its report")
	}
	return o.compareOutputs.validate("compare")
}

// A labFunc makes what an experiment is measured with. It is a function of Env.
type labFunc func(plan *experiment.Plan, base, cache string, log io.Writer) runner.Lab

// localLab measures on this machine.
func localLab(plan *experiment.Plan, base, cache string, log io.Writer) runner.Lab {
	return &runner.Bench{Plan: plan, Base: base, CacheDir: cache, Log: log}
}

func runExperiment(ctx context.Context, env Env, opt compareOptions, path string) error {
	plan, text, err := planfile.Load(path)
	if err != nil {
		return err
	}
	if opt.over > 0 {
		plan.Budget.Time = opt.over
	}
	cache, err := compareCache(env)
	if err != nil {
		return err
	}
	log := io.Discard
	if opt.verbose {
		log = env.Stderr
	}
	out := cmp.Or(opt.out, strings.TrimSuffix(strings.TrimSuffix(filepath.Base(path), ".yml"), ".yaml")+resultSuffix)
	watcher := &compareWatcher{env: env, progress: env.progress(), name: plan.Name}
	result, err := runner.Run(ctx, runner.Options{
		Plan: plan, Text: text, Hash: planfile.Hash(text), Path: out, Resume: opt.resume, Tool: toolName(),
		Lab: env.Lab(plan, filepath.Dir(path), cache, log), Progress: watcher.show, Now: env.Now,
	})
	watcher.progress.Clear()
	if err != nil {
		if result == nil && ctx.Err() != nil {
			return errors.New("interrupted before the first block: there is no result")
		}
		if result != nil && len(result.Blocks) > 0 && hintOf(err) == "" {
			err = hinted(err, "heapwright compare report %s shows what was measured", out)
		}
		return err
	}
	if err := opt.show(env, result, result.Ending.Verdict, out); err != nil {
		return err
	}
	if !opt.json && opt.stdout() == "" {
		if _, sum, err := journal.ReadSum(out); err == nil {
			fmt.Fprintf(env.Stdout, "%s has every block; its last sum is %s\n", out, sum)
		}
	}
	return exitWith(verdictCode(result.Ending.Verdict.Outcome))
}

// verdictCode is how a verdict ends heapwright.
func verdictCode(o experiment.Outcome) ExitCode {
	switch o {
	case experiment.Pass:
		return ExitOK
	case experiment.Fail:
		return ExitFinding
	}
	return ExitInconclusive
}

// compareCache is where built programs are kept.
func compareCache(env Env) (string, error) {
	if cache := env.Getenv("HEAPWRIGHT_CACHE"); cache != "" {
		return filepath.Join(cache, "compare"), nil
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", hinted(fmt.Errorf("looking for a place to keep built programs: %w", err), "set HEAPWRIGHT_CACHE to a directory")
	}
	return filepath.Join(cache, "heapwright", "compare"), nil
}

// toolName is what results say has written them.
func toolName() string {
	v := versionOf()
	name := "heapwright " + v.Version
	if v.Revision != "" {
		name += " " + v.Revision
	}
	return name
}

// A compareWatcher says how far an experiment is: on a line of a terminal that is
// rewritten, and elsewhere with a line for each thing that begins.
type compareWatcher struct {
	env      Env
	progress *term.Progress
	name     string
	doing    string
}

func (w *compareWatcher) show(p runner.Progress) {
	if w.progress.Active() {
		w.progress.Show(w.line(p))
		return
	}
	if p.Doing == w.doing {
		return
	}
	w.doing = p.Doing
	w.env.warnf("%s: %s", w.name, w.doing)
}

func (w *compareWatcher) line(p runner.Progress) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s", term.Cut(term.Clean(w.name), 24), term.Clean(p.Doing))
	if p.Of > 0 {
		fmt.Fprintf(&b, "  block %d of %d %s", min(p.Done+1, p.Of), p.Of, term.Bar(float64(p.Done), float64(p.Of), 12))
	}
	if p.Left > 0 {
		fmt.Fprintf(&b, "  %s to the next look", span(p.Left))
	}
	return b.String()
}

// compareOutputs are the forms in which a result is shown.
type compareOutputs struct {
	json                     bool
	html, markdown, benchfmt string
	all                      bool
}

func (o *compareOutputs) flags(f *pflag.FlagSet) {
	f.StringVar(&o.html, "html", "", "write a report with figures, which needs nothing else, to `FILE`")
	f.StringVar(&o.markdown, "markdown", "", "write a summary for a pull request to `FILE` (- is stdout)")
	f.StringVar(&o.benchfmt, "benchfmt", "", "write all blocks in the format of Go benchmarks, for benchstat, to `FILE` (- is stdout)")
	f.BoolVar(&o.all, "all", false, "print every metric, and of more than two variants the table of each")
	jsonFlag(f, &o.json)
}

func (o compareOutputs) shows() bool {
	return o.json || o.all || o.html+o.markdown+o.benchfmt != ""
}

// stdout is the flag whose output has stdout, "" when that is for the report.
func (o compareOutputs) stdout() string {
	switch "-" {
	case o.html:
		return "html"
	case o.markdown:
		return "markdown"
	case o.benchfmt:
		return "benchfmt"
	}
	return ""
}

func (o compareOutputs) validate(command string) error {
	n := 0
	for _, file := range []string{o.html, o.markdown, o.benchfmt} {
		if file == "-" {
			n++
		}
	}
	if n > 1 || n == 1 && o.json {
		return usagef(command, "stdout takes one of the report, the document and a file: give the others names")
	}
	return nil
}

// show writes a result in every form that is asked for.
func (o compareOutputs) show(env Env, r *experiment.Result, v *experiment.Verdict, path string) error {
	for _, f := range []struct {
		what, file string
		write      func(io.Writer) error
	}{
		{"the HTML report", o.html, func(w io.Writer) error { return report.HTML(w, r, v, path) }},
		{"the summary", o.markdown, func(w io.Writer) error { return report.Markdown(w, r, v, path) }},
		{"the benchmarks", o.benchfmt, func(w io.Writer) error { return report.Benchfmt(w, r) }},
	} {
		if err := writeReport(env, f.file, f.write); err != nil {
			return fmt.Errorf("writing %s: %w", f.what, err)
		}
	}
	switch {
	case o.stdout() != "":
		return nil
	case o.json:
		return writeJSON(env.Stdout, report.Of(r, v, path))
	}
	return report.Text(env.Stdout, r, v, report.TextOptions{Width: env.columns(env.Stdout), Paint: env.painter(env.Stdout), File: path, All: o.all})
}

func writeReport(env Env, file string, write func(io.Writer) error) error {
	switch file {
	case "":
		return nil
	case "-":
		return write(env.Stdout)
	}
	f, err := os.Create(file)
	if err != nil {
		return err
	}
	err = write(f)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}
