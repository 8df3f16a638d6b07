package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"path"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/spf13/pflag"

	"github.com/heapwright/heapwright/cmd/internal/blackbox"
	"github.com/heapwright/heapwright/cmd/internal/postmortem"
	"github.com/heapwright/heapwright/cmd/internal/term"
	"github.com/heapwright/heapwright/record"
)

type oomWatchOptions struct {
	json, verbose bool
	name, data    string
	over          time.Duration
}

func oomWatchCommand() command {
	var opt oomWatchOptions
	return command{
		use:   "watch [PID... | all] [--name PATTERN] | -- CMD [ARG...]",
		short: "be there when processes are killed, and keep what they held",
		long: `
Watches Go processes, and takes heap profile, goroutines and memory while there
is still time: when the limit is near in time, by the rate at which the usage
grows and rises, and not at a fixed percentage. When the kernel kills one, what
it saw becomes a post-mortem: heapwright oom shows it.

No process is stopped, and none is written to. It watches all Go processes that
it may read, those that start later too, or those that are named. With a command
it runs it, watches it alone, and ends with its exit status.

Who was killed it knows from the kernel's log, for which it needs root or
CAP_SYSLOG; without, from the counters of the cgroups, whose kills it can
ascribe to who ended at that moment.`,
		example: `
  heapwright oom watch
  heapwright oom watch 4123 4207
  heapwright oom watch --name 'api-*' --for 24h
  heapwright oom watch --json | jq -r .file
  heapwright oom watch --data ./deaths -- ./api-server --port 8080`,
		flags: func(f *pflag.FlagSet) {
			f.StringVar(&opt.name, "name", "", "watch processes whose name, module or main package is like this `PATTERN`")
			f.DurationVar(&opt.over, "for", 0, "end after this long (default: never)")
			f.StringVar(&opt.data, "data", "", "directory for everything that is kept; post-mortems are in its oom")
			f.BoolVarP(&opt.verbose, "verbose", "v", false, "say on stderr what is watched and captured")
			f.BoolVar(&opt.json, "json", false, "print a line of JSON for each kill (docs/cli-json.md)")
		},
		complete: completeTargets,
		run: func(ctx context.Context, env Env, args arguments) error {
			return oomWatch(ctx, env, opt, args)
		},
	}
}

// selection is which processes are to be watched: nil is all.
func (o *oomWatchOptions) selection(targets []string) (func(*record.Process) bool, error) {
	var pids []int
	for _, t := range targets {
		if t == "all" && len(targets) == 1 {
			continue
		}
		pid, err := strconv.Atoi(t)
		if err != nil || pid <= 0 {
			return nil, usagef("oom watch", "%q is not a PID; --name takes names", t)
		}
		pids = append(pids, pid)
	}
	if len(pids) > 0 && o.name != "" {
		return nil, usagef("oom watch", "oom watch takes PIDs or --name, not both")
	}
	if _, err := path.Match(o.name, ""); err != nil {
		return nil, usagef("oom watch", "--name %q: %v", o.name, err)
	}
	switch {
	case len(pids) > 0:
		return func(p *record.Process) bool { return slices.Contains(pids, p.PID) }, nil
	case o.name != "":
		part := !strings.ContainsAny(o.name, `*?[\`)
		return func(p *record.Process) bool {
			return slices.ContainsFunc([]string{p.Name, p.Module, p.MainPackage}, func(s string) bool {
				ok, _ := path.Match(o.name, s)
				return s != "" && (ok || part && strings.Contains(s, o.name))
			})
		}, nil
	}
	return nil, nil
}

func oomWatch(ctx context.Context, env Env, opt oomWatchOptions, args arguments) error {
	if opt.over < 0 {
		return usagef("oom watch", "--for must not be negative")
	}
	if args.dash && len(args.command) == 0 || len(args.command) > 0 && (len(args.targets) > 0 || opt.name != "") {
		return usagef("oom watch", "oom watch takes processes, or --name, or a command after --, and just one of these")
	}
	which, err := opt.selection(args.targets)
	if err != nil {
		return err
	}
	dir, err := oomDir(env, opt.data)
	if err != nil {
		return err
	}
	if opt.over > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, opt.over)
		defer cancel()
	}
	out := &oomPrinter{env: env, json: opt.json, toStderr: len(args.command) > 0}
	var c *child
	if len(args.command) > 0 {
		// The watcher looks before the command has a PID: whoever it is then.
		var mine sync.Map
		which = func(p *record.Process) bool { _, ok := mine.Load(p.PID); return ok }
		if c, err = startChild(env, args.command, env.Stdout, env.Stderr, nil); err != nil {
			return err
		}
		mine.Store(c.pid(), true)
	}
	level := slog.LevelWarn
	if opt.verbose {
		level = slog.LevelDebug
	}
	w, err := blackbox.New(blackbox.Options{
		Dir: dir, Select: which, On: out.killed,
		Logger: slog.New(slog.NewTextHandler(env.Stderr, &slog.HandlerOptions{Level: level})),
	})
	if err != nil {
		if c != nil {
			c.stop(10 * time.Second)
		}
		return err
	}
	if c == nil {
		if err := w.Run(ctx); err != nil {
			return err
		}
		return out.err
	}
	watched, end := context.WithCancel(ctx)
	defer end()
	ended := make(chan error, 1)
	go func() { ended <- w.Run(watched) }()
	select {
	case <-c.done:
		if c.code == killedStatus {
			w.Killed(c.pid())
			// The kernel's log and the counters come after the end.
			select {
			case <-ctx.Done():
			case <-time.After(blackbox.Settling):
			}
		}
	case <-ctx.Done():
		c.stop(10 * time.Second)
	}
	end()
	if err := errors.Join(<-ended, out.err); err != nil {
		printError(env.Stderr, err)
	}
	return exitWith(c.code)
}

// schemaOOMWatch is that of each line of oom watch --json.
const schemaOOMWatch = "heapwright.oom-watch/1"

// killedStatus is what a shell says of who was ended by SIGKILL.
const killedStatus ExitCode = 137

// An oomPrinter tells of kills. Its err is read after the watcher has ended.
type oomPrinter struct {
	env            Env
	json, toStderr bool
	mu             sync.Mutex
	err            error
}

// oomLine is a line of oom watch --json.
type oomLine struct {
	Schema      string        `json:"schema"`
	Time        time.Time     `json:"time"`
	PID         int           `json:"pid"`
	Name        string        `json:"name"`
	File        string        `json:"file,omitempty"`
	Error       string        `json:"error,omitempty"`
	Known       []string      `json:"known"`
	Member      bool          `json:"member,omitempty"`
	Group       string        `json:"group,omitempty"`
	LimitBytes  uint64        `json:"limit_bytes,omitempty"`
	AnonBytes   uint64        `json:"anon_rss_bytes,omitempty"`
	GroupKills  uint64        `json:"group_kills_count"`
	Captures    []captureLine `json:"captures"`
	KernelTasks int           `json:"kernel_tasks_count"`
}

type captureLine struct {
	Why          string   `json:"why"`
	Kinds        []string `json:"kinds"`
	Took         float64  `json:"took_seconds"`
	Before       float64  `json:"before_kill_seconds"`
	GroupBytes   uint64   `json:"group_bytes"`
	FailedPartly string   `json:"failed,omitempty"`
}

func (o *oomPrinter) killed(p blackbox.Postmortem) {
	o.mu.Lock()
	defer o.mu.Unlock()
	w := o.env.Stdout
	if o.toStderr {
		w = o.env.Stderr
	}
	k := p.Evidence.Kill
	var err error
	if o.json {
		l := oomLine{
			Schema: schemaOOMWatch, Time: k.Time, PID: k.PID, Name: p.Process.Name, File: p.File, Member: k.Member,
			Group: k.OOMGroup, LimitBytes: k.LimitBytes, AnonBytes: k.AnonRSSBytes, GroupKills: p.GroupKills,
			Captures: []captureLine{}, KernelTasks: len(k.Tasks),
		}
		if p.Err != nil {
			l.Error = p.Err.Error()
		}
		for _, s := range k.Known {
			l.Known = append(l.Known, string(s))
		}
		for _, c := range p.Evidence.Captures {
			l.Captures = append(l.Captures, captureLine{c.Why, c.Kinds, c.Took.Seconds(), k.Time.Sub(c.Time).Seconds(), c.Bytes, c.Failed})
		}
		err = json.NewEncoder(w).Encode(l)
	} else {
		_, err = fmt.Fprintln(w, oomText(&p))
	}
	if err != nil && o.err == nil {
		o.err = err
	}
}

// oomText is one line about a kill.
func oomText(p *blackbox.Postmortem) string {
	k := p.Evidence.Kill
	var b strings.Builder
	fmt.Fprintf(&b, "%s  %s (%d) was killed", k.Time.Local().Format("15:04:05"), term.Clean(p.Process.Name), k.PID)
	if k.LimitBytes > 0 {
		fmt.Fprintf(&b, " at a limit of %s", compactBytes(float64(k.LimitBytes)))
	}
	if k.AnonRSSBytes > 0 {
		fmt.Fprintf(&b, ", holding %s", compactBytes(float64(k.AnonRSSBytes)))
	}
	if c := lastCapture(p.Evidence); c != nil {
		fmt.Fprintf(&b, "; captured %s before", span(k.Time.Sub(c.Time)))
	} else {
		b.WriteString("; nothing was captured")
	}
	switch {
	case p.Err != nil:
		fmt.Fprintf(&b, "; not kept: %s", term.Clean(p.Err.Error()))
	default:
		fmt.Fprintf(&b, "\n          heapwright oom %s", term.Clean(p.File))
	}
	return b.String()
}

// lastCapture is the last capture that has profiles, nil when there is none.
func lastCapture(e *postmortem.Evidence) *postmortem.Capture {
	for i := len(e.Captures) - 1; i >= 0; i-- {
		if len(e.Captures[i].Kinds) > 0 {
			return &e.Captures[i]
		}
	}
	return nil
}
