package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/heapwright/heapwright/cmd/internal/forecast"
	"github.com/heapwright/heapwright/cmd/internal/manifest"
	"github.com/heapwright/heapwright/cmd/internal/tune"
	"github.com/heapwright/heapwright/record"
)

type tuneOptions struct {
	observeOptions
	json        bool
	limit       string
	gcCPU       string
	assist      string
	pause       string
	priceMemory float64
	priceCPU    float64
	budget      string
	cgroup      string
	weights     []string
	apply       string
	out         string
	target      manifest.Target
	watch       time.Duration
	yes         bool
	dryRun      bool
	via         string
	parameters  bool
}

// applyLive is the --apply that changes the running process.
const applyLive = "live"

func applyNames() []string {
	var names []string
	for _, k := range manifest.Kinds() {
		names = append(names, string(k))
	}
	return append(names, applyLive)
}

func tuneCommand() command {
	opt := tuneOptions{observeOptions: observeOptions{command: "tune"}}
	return command{
		use:   "tune PID|NAME|FILE|URL | --budget SIZE PID... | --cgroup PATH",
		short: "the settings to use, why, and what they will do; applies them",
		long: `
Watches a process for a while, or reads a recording, and chooses GOGC and
GOMEMLIMIT for a memory limit: those with the least GC CPU that keep clear of
the kernel's OOM killer and of a GC storm. It says why these, what to expect,
with intervals, what would show the plan to be wrong, and why others lost. Where
the live heap grows it refuses: no setting fits a leak.

Other aims: --gc-cpu for the least memory at which GC takes no more than a share
of the CPU, --pause and --assist for bounds on what requests wait for the
collector, --price-memory and --price-cpu for the least cost of both together.

--budget splits one budget among several processes, where it saves the most.

--apply prints the settings in the form of what starts the process. --apply live
writes them into the running process, which need not know of it: it shows what
it would write and asks, checks that they do what was predicted, and puts the
old values back if not, or if heapwright itself dies. heapwright undo takes a
change back later. A program that uses Heapwright's memlimit is not written to:
--via names its debug page, and the program is asked to change itself.

Exit codes: 0 fine; 1 a live change was taken back; 2 could not run; 3 not
enough data to plan, or to tell whether a live change works.`,
		example: `
  heapwright tune 4123
  heapwright tune api-server --memory-limit 512MiB --for 2m
  heapwright tune api.hwrec --memory-limit 1GiB --apply k8s -o patch.yaml
  heapwright tune 4123 --gc-cpu 3%
  heapwright tune 4123 --price-memory 0.004 --price-cpu 0.03
  heapwright tune --budget 4GiB --weight 4123=2 4123 4207 4311
  heapwright tune 4123 --apply live --dry-run
  heapwright tune 4123 --apply live --yes
  heapwright tune 4123 --apply live --via http://127.0.0.1:6060`,
		flags: func(f *pflag.FlagSet) {
			f.StringVar(&opt.limit, "memory-limit", "", "`SIZE` that the container may use (default: the limit that the process has)")
			f.StringVar(&opt.gcCPU, "gc-cpu", "", "least memory at which GC takes at most this `SHARE` of the CPU: 3%")
			f.StringVar(&opt.pause, "pause", "", "least memory at which the world is stopped at most this `SHARE` of the time")
			f.StringVar(&opt.assist, "assist", "", "least memory at which assists take at most this `SHARE` of the CPU")
			f.Float64Var(&opt.priceMemory, "price-memory", 0, "price of a GiB for an hour, with --price-cpu")
			f.Float64Var(&opt.priceCPU, "price-cpu", 0, "price of a core for an hour, in the same currency")
			f.StringVar(&opt.budget, "budget", "", "split this `SIZE` among several processes")
			f.StringVar(&opt.cgroup, "cgroup", "", "all Go processes in the cgroup `PATH`; its limit is the budget")
			f.StringArrayVar(&opt.weights, "weight", nil, "what GC CPU of one of them counts, as `PID=N` (default 1; may be repeated)")
			f.StringVar(&opt.apply, "apply", "", "the form of the settings: "+strings.Join(applyNames(), ", "))
			f.StringVarP(&opt.out, "output", "o", "", "write that form to `FILE` and print the plan")
			f.StringVar(&opt.target.Name, "name", "", "`NAME` of the unit, service, container or workload (default: the process's)")
			f.StringVar(&opt.target.Container, "container", "", "`NAME` of the container in a workload's pods (default: as --name)")
			f.StringVar(&opt.target.Workload, "workload", "", "`KIND` of the workload: Deployment, StatefulSet or DaemonSet (default Deployment)")
			f.StringVar(&opt.target.Namespace, "namespace", "", "`NAME` of the workload's namespace")
			f.DurationVar(&opt.watch, "watch", 0, "hold a live change against the plan this long (default: 25 GC cycles)")
			f.BoolVarP(&opt.yes, "yes", "y", false, "change the process without asking")
			f.BoolVar(&opt.dryRun, "dry-run", false, "show what would be written into the process, and stop")
			f.StringVar(&opt.via, "via", "", "ask the program at its debug page `URL`, instead of writing into it")
			f.BoolVarP(&opt.parameters, "parameters", "v", false, "also print what was found out about the process")
			f.DurationVar(&opt.over, "for", 0, fmt.Sprintf("watch this long (default %v)", defaultWindow))
			hzFlag(f, &opt.hz)
			f.StringVar(&opt.keep, "keep", "", "keep the recording in `FILE`")
			lifeFlag(f, &opt.life)
			storedFlags(f, &opt.stored)
			jsonFlag(f, &opt.json)
		},
		complete:      completeTargets,
		completeFlags: map[string][]string{"apply": applyNames(), "workload": {"Deployment", "StatefulSet", "DaemonSet"}},
		run: func(ctx context.Context, env Env, args arguments) error {
			return tuneRun(ctx, env, opt, append(args.targets, args.command...))
		},
	}
}

func tuneRun(ctx context.Context, env Env, opt tuneOptions, args []string) error {
	req, err := opt.request(args)
	if err != nil {
		return err
	}
	if opt.shares() {
		return tuneMany(ctx, env, opt, args)
	}
	target := args[0]
	if opt.apply == applyLive {
		if opt.stored.url != "" {
			return usagef("tune", "--apply live changes a process that was looked at just now, and not one of which something is stored")
		}
		// The PID that was looked at is the one that is changed, whatever takes its
		// name meanwhile.
		ref, err := parseTarget(ctx, env, target, true)
		if err != nil {
			return err
		}
		if ref.kind != targetPID {
			return usagef("tune", "--apply live changes a process: give its PID or name, not %s", target)
		}
		target = strconv.Itoa(ref.pid)
	}
	rec, err := observe(ctx, env, opt.observeOptions, target)
	if err != nil {
		return err
	}
	t, err := fitTwin(rec, opt.observeOptions, args[0])
	if err != nil {
		return err
	}
	req.Process, req.FileBytes = rec.Process, tune.FileBytes(rec)
	plan, err := tune.Make(t, req)
	if err != nil {
		return unplanned(err, rec, opt.observeOptions, args[0])
	}
	doc := newTuning(rec.Process, t, plan)
	if opt.apply == applyLive {
		return doc.applyLive(ctx, env, opt, t)
	}
	return doc.show(env, opt)
}

// shares reports whether one budget is to be split.
func (o tuneOptions) shares() bool { return o.budget != "" || o.cgroup != "" }

// request checks the flags, and says what the plan is wanted for.
func (o tuneOptions) request(args []string) (tune.Request, error) {
	var r tune.Request
	if err := o.observeOptions.check(); err != nil {
		return r, err
	}
	if o.apply != "" {
		if err := oneOf("tune", "apply", o.apply, applyNames()); err != nil {
			return r, err
		}
	}
	switch {
	case !o.shares() && len(args) != 1:
		return r, usagef("tune", "tune takes one process, recording or URL, or several with --budget")
	case o.cgroup != "" && len(args) > 0:
		return r, usagef("tune", "--cgroup finds the processes itself")
	case o.budget != "" && o.cgroup == "" && len(args) == 0:
		return r, usagef("tune", "--budget takes the processes to split it among")
	case len(o.weights) > 0 && !o.shares():
		return r, usagef("tune", "--weight is about several processes: give a --budget")
	case o.shares() && o.limit != "":
		return r, usagef("tune", "--memory-limit is for one process, --budget for several")
	case o.apply == "" && o.out != "":
		return r, usagef("tune", "-o takes the form that --apply names")
	case o.apply == applyLive && o.out != "":
		return r, usagef("tune", "--apply live writes into the process: there is nothing for -o")
	case (o.apply == "" || o.apply == applyLive) && o.target != (manifest.Target{}):
		return r, usagef("tune", "--name, --container, --workload and --namespace are about the form that --apply names")
	case o.shares() && o.target.Name+o.target.Container != "":
		return r, usagef("tune", "--name and --container are of one process: of several, each has its own name")
	case o.apply != applyLive && (o.yes || o.dryRun || o.watch != 0 || o.via != ""):
		return r, usagef("tune", "--yes, --dry-run, --watch and --via are about --apply live")
	case o.watch < 0:
		return r, usagef("tune", "--watch must not be negative")
	case o.shares() && o.apply == applyLive:
		return r, usagef("tune", "--apply live changes one process at a time: give its part of the budget with --memory-limit")
	case o.shares() && o.keep != "":
		return r, usagef("tune", "--keep holds one recording: use heapwright record for several, and give the files")
	}
	var err error
	if o.limit != "" {
		if r.MemoryLimitBytes, err = parseSize(o.limit); err != nil {
			return r, usagef("tune", "--memory-limit: %s", err)
		}
		if r.MemoryLimitBytes == 0 {
			return r, usagef("tune", "--memory-limit: nothing runs in 0 bytes")
		}
	}
	r.Objective, err = o.objective()
	if err == nil && o.shares() && r.Objective.Kind != tune.LeastCPU {
		err = usagef("tune", "a --budget is split for the least GC CPU: the other aims are for one process")
	}
	return r, err
}

// objective is the one that the flags name.
func (o tuneOptions) objective() (tune.Objective, error) {
	var j tune.Objective
	ways := 0
	for _, s := range []struct {
		flag, text string
		kind       tune.Kind
		to         *float64
	}{
		{"gc-cpu", o.gcCPU, tune.LeastMemory, &j.MaxGCCPURatio},
		{"pause", o.pause, tune.Bound, &j.MaxPauseRatio},
		{"assist", o.assist, tune.Bound, &j.MaxAssistRatio},
	} {
		if s.text == "" {
			continue
		}
		v, err := parseShare(s.text)
		if err != nil {
			return j, usagef("tune", "--%s: %s", s.flag, err)
		}
		if j.Kind != s.kind {
			ways++
		}
		j.Kind, *s.to = s.kind, v
	}
	if o.priceMemory != 0 || o.priceCPU != 0 {
		ways++
		j.Kind, j.MemoryPrice, j.CPUPrice = tune.Price, o.priceMemory, o.priceCPU
		if !(o.priceMemory > 0 && o.priceCPU > 0) {
			return j, usagef("tune", "--price-memory and --price-cpu go together, and both are more than 0")
		}
	}
	if ways > 1 {
		return j, usagef("tune", "give one aim: --gc-cpu, or --pause and --assist, or the prices")
	}
	return j, nil
}

// unplanned says what to do about a process that no plan was made for.
func unplanned(err error, rec *record.Recording, opt observeOptions, named string) error {
	var leak *tune.LeakError
	if errors.As(err, &leak) {
		if watched(rec, named) {
			return hinted(err, "after its warm-up record it again; if it goes on it is a leak: heapwright diagnose %s --for 2m says what is kept, heapwright profile %s where it was allocated", named, named)
		}
		return hinted(err, "if this is not its warm-up it is a leak: heapwright diagnose %s says what is kept and where it was allocated", named)
	}
	return unfit(err, rec, opt, named)
}

// A tuning is the document of tune --json.
type tuning struct {
	forecast.Plan
	Manifest *string     `json:"manifest"` // of --apply
	File     *string     `json:"file"`     // it was written to
	Live     *liveReport `json:"live"`     // of --apply live

	plan *tune.Plan
}

func newTuning(process record.Process, t twin, p *tune.Plan) *tuning {
	return &tuning{Plan: *forecast.PlanOf(schemaTune, process, t, p), plan: p}
}

// show prints a plan as it was asked for: with a form to apply it, that alone has
// stdout, unless it goes to a file.
func (d *tuning) show(env Env, opt tuneOptions) error {
	if opt.apply != "" {
		text, err := manifest.Render(manifest.Kind(opt.apply), targetOf(d.Process, d.plan.Expected.Span, opt), d.plan)
		if err != nil {
			return err
		}
		if opt.out == "" && !opt.json {
			_, err := env.Stdout.Write(text)
			return err
		}
		s := string(text)
		d.Manifest = &s
		if opt.out != "" {
			if err := os.WriteFile(opt.out, text, 0o666); err != nil {
				return fmt.Errorf("saving the settings: %w", err)
			}
			d.File = &opt.out
		}
	}
	if opt.json {
		return writeJSON(env.Stdout, d)
	}
	return d.print(env, opt.parameters)
}
