package cli

import (
	"context"
	"errors"
	"os"
	"path"
	"strconv"
	"strings"

	"github.com/spf13/pflag"

	"github.com/heapwright/heapwright/cmd/internal/goproc"
	"github.com/heapwright/heapwright/cmd/internal/top"
)

type topOptions struct{ sort string }

func topCommand() command {
	var opt topOptions
	return command{
		use:   "top [PID|NAME...]",
		short: "live view of the Go processes here, in the terminal",
		long: `
Shows the Go processes of this machine as they are now, what needs a look first,
and any one of them closer: its memory, collector and goroutines over the last
minutes, findings with what to do about them, goroutines by what they wait for,
settings. PID or NAME shows only those; a NAME may be a part of the process's
name, module or main package, or a shell pattern.

Processes are read once a second; nothing is written to them, and nothing is
kept. USED is the share of the container's memory limit that is used, or of
GOMEMLIMIT where there is no other. A process that ends stays in the table for a
minute.

The keys: arrows or j and k choose, enter looks closer and esc goes back, /
filters, s sorts, p pauses the picture, ? shows all keys, q quits. It works at
80 columns over SSH, and without colour. For scripts there is ps --json.`,
		example: `
  heapwright top
  heapwright top nats-server etcd
  heapwright top --sort rss`,
		flags: func(f *pflag.FlagSet) {
			f.StringVar(&opt.sort, "sort", "trouble", "order by "+strings.Join(topSorts(), ", "))
		},
		completeFlags: map[string][]string{"sort": topSorts()},
		complete:      completeTargets,
		run: func(ctx context.Context, env Env, args arguments) error {
			return runTop(ctx, env, opt, append(args.targets, args.command...))
		},
	}
}

// topSorts are the orders as words of a command line.
func topSorts() []string {
	var out []string
	for _, s := range top.Orders() {
		out = append(out, strings.ReplaceAll(s, " ", "-"))
	}
	return out
}

func runTop(ctx context.Context, env Env, opt topOptions, names []string) error {
	if err := oneOf("top", "sort", opt.sort, topSorts()); err != nil {
		return err
	}
	pids := map[int]bool{}
	var patterns []string
	for _, n := range names {
		if pid, err := strconv.Atoi(n); err == nil {
			pids[pid] = true
			continue
		}
		if _, err := path.Match(n, ""); err != nil {
			return usagef("top", "%q is not a pattern: %s", n, err)
		}
		patterns = append(patterns, n)
	}
	const instead = "heapwright ps shows the same once, and heapwright ps --json for scripts"
	if _, ok := env.Terminal(env.Stdout); !ok {
		return hinted(errors.New("top draws on a terminal, and stdout is none"), instead)
	}
	if env.Getenv("TERM") == "dumb" {
		return hinted(errors.New("top draws on a terminal that can move its cursor, and TERM=dumb says that this one cannot"), instead)
	}
	in := env.Stdin
	if _, ok := env.Terminal(in); !ok {
		// The keys come from the terminal, whatever stdin is.
		tty, err := os.Open("/dev/tty")
		if err != nil {
			return hinted(errors.New("top reads keys from a terminal, and there is none"), instead)
		}
		defer tty.Close()
		in = tty
	}
	self := os.Getpid()
	w := top.NewWatcher(topHost{env.Host, goproc.NewWatch()})
	w.Match = func(e goproc.Entry) bool {
		if e.Process.PID == self {
			return false
		}
		return len(names) == 0 || pids[e.Process.PID] || matchesAny(e.Process, patterns)
	}
	w.Hint = func(err error) (text, hint string) { return oneLine(err.Error()), oneLine(hintOf(err)) }
	m, _ := top.Model{Paint: env.painter(env.Stdout), Source: "this machine"}.Sorted(strings.ReplaceAll(opt.sort, "-", " "))
	if len(names) > 0 {
		m.Empty = oneLine("no Go process matches " + strings.Join(names, " "))
	}
	return top.Run(ctx, top.Terminal{In: in, Out: env.Stdout, Env: topEnviron(env)}, m, w)
}

// topEnviron is what the drawing asks the environment for.
func topEnviron(env Env) []string {
	var out []string
	for _, k := range []string{"TERM", "COLORTERM", "NO_COLOR", "CLICOLOR", "CLICOLOR_FORCE", "TMUX", "STY", "SSH_TTY", "TERM_PROGRAM", "WT_SESSION"} {
		if v := env.Getenv(k); v != "" {
			out = append(out, k+"="+v)
		}
	}
	return out
}

// A topHost is a Host as top wants it, which looks for processes all the time.
type topHost struct {
	host  Host
	watch *goproc.Watch
}

func (h topHost) Processes(ctx context.Context) ([]goproc.Entry, error) { return h.watch.Look(ctx) }

func (h topHost) Attach(ctx context.Context, pid int) (top.Source, error) {
	t, err := h.host.Attach(ctx, pid)
	if err != nil {
		return nil, err
	}
	return t, nil
}
