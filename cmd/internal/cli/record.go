package cli

import (
	"context"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/heapwright/heapwright/cmd/internal/recorder"
)

type recordOptions struct {
	json      bool
	out       string
	name      string
	over      time.Duration
	hz        float64
	snapshots time.Duration
	source    string
}

func recordCommand() command {
	var opt recordOptions
	return command{
		use:   "record PID|NAME|URL... | --name NAME | -- CMD [ARG...]",
		short: "a recording of one or several processes, for later",
		long: `
Records samples, every GC cycle, changes of settings, and now and then a heap
profile and all goroutines, until Ctrl-C, the end of the process, or --for.

A recording is written as it grows: one that is cut short can be read. Several
processes are recorded into a directory, a file each. --name waits for processes
of that name and follows each over restarts, in one file.

With a command, its stdin, stdout and stderr are its own, signals are passed on
to it, and its exit status is ours; the summary goes to stderr. With --json the
document has stdout, and the command's stdout goes to stderr. The command itself
is recorded, not what it starts; --for ends the recording, not the command.`,
		example: `
  heapwright record 4123 --for 30s
  heapwright record -o today/ 4123 4207
  heapwright record --name api-server -o api.hwrec
  heapwright record http://10.0.0.7:6060/debug/pprof --for 5m --hz 1
  heapwright record -o run.hwrec -- ./api-server --port 8080`,
		flags: func(f *pflag.FlagSet) {
			f.StringVarP(&opt.out, "output", "o", "", "recording `FILE` (- is stdout), or a directory (default NAME-PID.hwrec)")
			f.DurationVar(&opt.over, "for", 0, "end the recording after this long (default: when the process ends, or Ctrl-C)")
			hzFlag(f, &opt.hz)
			f.DurationVar(&opt.snapshots, "profiles", recorder.DefaultSnapshots, "heap profile and goroutines this often, and at the start and end; 0 for none")
			f.StringVar(&opt.name, "name", "", "record processes of this `NAME`, over restarts")
			f.StringVar(&opt.source, "source", sourceAuto, "how a command is read: "+strings.Join(sources, ", "))
			jsonFlag(f, &opt.json)
		},
		complete:      completeTargets,
		completeFlags: map[string][]string{"source": sources},
		run: func(ctx context.Context, env Env, args arguments) error {
			return recordRun(ctx, env, opt, args)
		},
	}
}

// The sources of a recorded command.
const (
	sourceAuto    = "auto"    // memory where it can be read, else gctrace
	sourceRemote  = "remote"  // the process's memory
	sourceGCTrace = "gctrace" // what GODEBUG=gctrace=1 makes it print
)

var sources = []string{sourceAuto, sourceRemote, sourceGCTrace}

func (o recordOptions) check(args arguments) error {
	if o.over < 0 || o.snapshots < 0 || o.hz < 0 {
		return usagef("record", "--for, --profiles and --hz must not be negative")
	}
	if err := oneOf("record", "source", o.source, sources); err != nil {
		return err
	}
	ways := 0
	for _, given := range []bool{len(args.targets) > 0, o.name != "", len(args.command) > 0} {
		if given {
			ways++
		}
	}
	switch {
	case ways != 1:
		return usagef("record", "record takes processes, or --name, or a command after --, and just one of these")
	case o.source != sourceAuto && len(args.command) == 0:
		return usagef("record", "--source is about a command; other processes are read from memory, URLs by HTTP")
	}
	return nil
}

func recordRun(ctx context.Context, env Env, opt recordOptions, args arguments) error {
	if err := opt.check(args); err != nil {
		return err
	}
	s := &session{env: env, opt: opt, progress: env.progress(), start: env.Now(), tried: map[lifeKey]int{}}
	if opt.over > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, opt.over)
		defer cancel()
	}
	var err error
	switch {
	case len(args.command) > 0:
		err = s.command(ctx, args.command)
	case opt.name != "":
		err = s.follow(ctx)
	default:
		err = s.targets(ctx, args.targets)
	}
	s.progress.Clear()
	for _, l := range s.lanes {
		if cerr := l.close(); cerr != nil && l.err == nil {
			l.err = cerr
		}
	}
	summary := env.Stdout
	if (len(args.command) > 0 || opt.out == "-") && !opt.json {
		summary = env.Stderr
	}
	if perr := s.print(summary); err == nil {
		err = perr
	}
	if err == nil {
		err = s.failure()
	}
	if s.status == nil {
		return err
	}
	// A command ran: its status is ours, whatever became of the recording.
	if err != nil {
		printError(env.Stderr, err)
	}
	return exitWith(*s.status)
}
