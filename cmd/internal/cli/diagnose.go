package cli

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/spf13/pflag"

	"github.com/heapwright/heapwright/cmd/internal/diagnose"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/rules/notenough"
	"github.com/heapwright/heapwright/cmd/internal/term"
	"github.com/heapwright/heapwright/record"
)

type diagnoseOptions struct {
	observeOptions
	json   bool
	failOn string
	trace  string // FILE, PID or URL of an execution trace
	html   string // file for a page of it
}

// failNever is the --fail-on that no finding reaches.
const failNever = "never"

var failOnNames = []string{failNever, diagnose.Info.String(), diagnose.Warning.String(), diagnose.Critical.String()}

func diagnoseCommand() command {
	opt := diagnoseOptions{observeOptions: observeOptions{command: "diagnose"}}
	return command{
		use:   "diagnose PID|NAME|FILE|URL | -- CMD [ARG...] | --trace FILE|PID|URL",
		short: "what is wrong, with evidence, cause and remedy",
		long: `
Watches a process for a while, or reads a recording, and says what is wrong with
its memory and garbage collector: each finding with the numbers that show it,
the cause, and a remedy to paste. Nothing found says what was looked at.

The longer the window, the more can be said: rates need a few GC cycles, and a
leak shows only as a trend over many. Ctrl-C ends the window early.

A command is watched until it ends, or for --for, after which it is asked to end
(SIGTERM). Its stdout goes to stderr: stdout is the diagnosis.

With --trace an execution trace is looked at (Go 1.22 to 1.27): what GC did to
each kind of goroutine and to the program's tasks, and who kept the world from
stopping. It is read from a file; or the program is made to trace itself for 5s,
or --for, through its /debug/pprof, which for a PID is looked for on the sockets
that it listens on. Ctrl-C ends the tracing early. The URL of a flight
recorder's snapshot will do too.

Exit codes: 0, or 1 with a finding at or above --fail-on; 2 could not run; 3 not
enough data to tell.`,
		example: `
  heapwright diagnose 4123
  heapwright diagnose api-server --for 2m -o api.hwrec
  heapwright diagnose api.hwrec --fail-on warning
  heapwright diagnose --json http://10.0.0.7:9090/metrics
  heapwright diagnose --store http://127.0.0.1:4327 nats-server --for 1h
  heapwright diagnose --fail-on critical -- ./api-server --self-test
  heapwright diagnose --trace trace.out --html trace.html
  heapwright diagnose --trace 4123 --for 10s -o trace.out
  heapwright diagnose --trace http://localhost:6060`,
		flags: func(f *pflag.FlagSet) {
			f.DurationVar(&opt.over, "for", 0, fmt.Sprintf("watch this long (default %v; a command: until it ends)", defaultWindow))
			f.StringVar(&opt.failOn, "fail-on", failNever, "exit with 1 on a finding this severe: info, warning, critical")
			hzFlag(f, &opt.hz)
			f.StringVarP(&opt.keep, "output", "o", "", "keep the recording, or the trace, in `FILE`")
			lifeFlag(f, &opt.life)
			f.StringVar(&opt.trace, "trace", "", "look at the execution trace in `FILE`, or of a PID or URL")
			f.StringVar(&opt.html, "html", "", "with --trace: write a page of it to `FILE`")
			storedFlags(f, &opt.stored)
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
	if o.html != "" {
		return usagef("diagnose", "--html is for --trace")
	}
	if err := oneOf("diagnose", "fail-on", o.failOn, failOnNames); err != nil {
		return err
	}
	if err := o.observeOptions.check(); err != nil {
		return err
	}
	if len(args.targets)+min(len(args.command), 1) != 1 {
		return usagef("diagnose", "diagnose takes one process, recording or URL, or a command after --")
	}
	return nil
}

func diagnoseRun(ctx context.Context, env Env, opt diagnoseOptions, args arguments) error {
	if opt.trace != "" {
		return diagnoseTrace(ctx, env, opt, args)
	}
	if err := opt.check(args); err != nil {
		return err
	}
	var rec *record.Recording
	var err error
	if len(args.command) > 0 {
		rec, err = watchCommand(ctx, env, opt.observeOptions, args.command)
	} else {
		rec, err = observe(ctx, env, opt.observeOptions, args.targets[0])
	}
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
