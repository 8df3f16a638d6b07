package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/spf13/pflag"

	"github.com/heapwright/heapwright/cmd/internal/demo"
	"github.com/heapwright/heapwright/cmd/internal/term"
)

func demoCommand() command {
	var window time.Duration
	return command{
		use:   "demo",
		short: "see it work on a real server, in minutes, on this machine",
		long: `
Builds the NATS server, which nobody here wrote, without symbols; starts it on a
loopback port and keeps it busy; starts an example program that leaks; and then
runs the commands that you would run, one after another.

It needs a go command and, the first time, the network for the server's source.
The server's binary is kept in $HEAPWRIGHT_CACHE (default: heapwright in your
cache directory); all else is gone when the demo ends, also after Ctrl-C. It
needs no root: what it looks into are its own children.`,
		example: `
  heapwright demo`,
		args: exactly(0, "no arguments"),
		flags: func(f *pflag.FlagSet) {
			f.DurationVar(&window, "for", 20*time.Second, "watch each of the two programs this long")
		},
		run: func(ctx context.Context, env Env, _ arguments) error {
			if err := positive("demo", "for", window); err != nil {
				return err
			}
			return runDemo(ctx, env, window)
		},
	}
}

// A show is a demo that runs.
type show struct {
	env    Env
	ctx    context.Context
	cancel context.CancelFunc
	dir    string
	window time.Duration
}

func runDemo(ctx context.Context, env Env, window time.Duration) (err error) {
	dir, err := os.MkdirTemp("", "heapwright-demo-")
	if err != nil {
		return fmt.Errorf("making a place for the demo: %w", err)
	}
	defer os.RemoveAll(dir)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	s := &show{env: env, ctx: ctx, cancel: cancel, dir: dir, window: window}
	err = s.run()
	if ctx.Err() != nil && errors.Is(err, context.Canceled) {
		return errors.New("the demo was interrupted; nothing of it is left")
	}
	return err
}

// demoCache is where the built server is kept.
func demoCache(env Env, dir string) string {
	if cache := env.Getenv("HEAPWRIGHT_CACHE"); cache != "" {
		return filepath.Join(cache, "demo")
	}
	if cache, err := os.UserCacheDir(); err == nil {
		return filepath.Join(cache, "heapwright", "demo")
	}
	return filepath.Join(dir, "cache")
}

func (s *show) run() error {
	here, err := os.Getwd()
	if err != nil {
		return err
	}
	b := demo.Builder{Cache: demoCache(s.env, s.dir), Work: s.dir, Source: demo.FindSource(here)}
	s.say("Two programs, neither of which knows of Heapwright: the NATS server %s, built without symbols, and %s, which forgets to forget.", demo.NATSVersion, demo.Example)
	var natsPath, leakPath string
	if err := s.busy("building nats-server "+demo.NATSVersion+" (kept for the next time)", func() (err error) {
		natsPath, err = b.NATS(s.ctx)
		return err
	}); err != nil {
		return err
	}
	if err := s.busy("building "+demo.Example, func() (err error) {
		leakPath, err = b.Leak(s.ctx)
		return err
	}); err != nil {
		return err
	}

	nats, addr, err := demo.StartNATS(s.ctx, natsPath, s.dir)
	if err != nil {
		return err
	}
	defer nats.Stop()
	leak, err := demo.StartLeak(s.ctx, leakPath, s.dir)
	if err != nil {
		return err
	}
	defer leak.Stop()
	loadErr := make(chan error, 1)
	var delivered atomic.Int64
	loading, stopLoad := context.WithCancel(s.ctx)
	defer stopLoad()
	go func() { loadErr <- demo.Load(loading, addr, &delivered) }()

	if err := s.acts(nats.PID(), leak.PID()); err != nil {
		return err
	}
	// An experiment wants the machine for itself.
	leak.Stop()
	stopLoad()
	if err := <-loadErr; err != nil {
		return err
	}
	nats.Stop()
	if err := s.experiment(natsPath); err != nil {
		return err
	}
	s.say("Meanwhile the server delivered %d messages; neither program was stopped, restarted, or asked for anything.", delivered.Load())
	fmt.Fprintf(s.env.Stdout, `
Now your own service:

  heapwright ps                          which Go processes run here
  heapwright diagnose PID --for 2m       what is wrong with one of them
  heapwright record --name NAME -o FILE  a recording to keep, over restarts
`)
	return nil
}

// acts runs the commands.
func (s *show) acts(nats, leak int) error {
	recording := filepath.Join(s.dir, "nats.hwrec")
	// A moment of load first, so that there is something to see.
	if err := s.busy("the server is getting to work", func() error { return s.pause(3 * time.Second) }); err != nil {
		return err
	}
	before := ExitOK
	for _, act := range []struct {
		why  string
		args []string
	}{
		{"What runs here? Heap, goal, limits and GC cost come from the processes' own memory.",
			[]string{"ps", "nats-server", demo.Example}},
		{"A recording of the server under load, ten samples a second, with every GC cycle.",
			[]string{"record", fmt.Sprint(nats), "--for", s.window.String(), "-o", recording}},
		{"Is the server healthy? Diagnosis of the recording.",
			[]string{"diagnose", recording}},
		{"And the other program? Diagnosis of the live process.",
			[]string{"diagnose", fmt.Sprint(leak), "--for", s.window.String()}},
		{"What holds its memory? A heap profile, from a program that was not asked for one.",
			[]string{"profile", fmt.Sprint(leak), "--type", "heap", "--top=5"}},
		{"What would other settings do to the server? Its recording, replayed by a model of Go's GC pacer.",
			[]string{"predict", recording}},
		{"The best settings for a container of 64 MiB: planned, written into the running server, and held against what was predicted.",
			[]string{"tune", fmt.Sprint(nats), "--memory-limit", "64MiB", "--for", s.window.String(), "--apply", "live", "--watch", s.window.String(), "--yes"}},
		{"And back again, to the values from before.",
			[]string{"undo", fmt.Sprint(nats)}},
	} {
		// On a machine that has no time for it, the change takes itself back.
		if act.args[0] == "undo" && before != ExitOK {
			continue
		}
		code, err := s.act(act.why, act.args)
		if err != nil {
			return err
		}
		before = code
	}
	return nil
}

// experiment compares the server with itself under another setting.
func (s *show) experiment(natsPath string) error {
	plan := filepath.Join(s.dir, "gogc.yaml")
	if err := os.WriteFile(plan, demo.Experiment(natsPath), 0o600); err != nil {
		return fmt.Errorf("writing the experiment: %w", err)
	}
	_, err := s.act("Is GOGC=200 better for it? An experiment, a minute long: fresh servers under the same load, in an order drawn by lot, and a verdict with intervals.",
		[]string{"compare", plan, "-o", filepath.Join(s.dir, "gogc"+resultSuffix)})
	return err
}

// act runs a command.
func (s *show) act(why string, args []string) (ExitCode, error) {
	s.say("%s", why)
	line := "$ heapwright"
	for _, a := range args {
		line += " " + a
	}
	fmt.Fprintf(s.env.Stdout, "%s\n", s.env.painter(s.env.Stdout).Paint(term.Bold, line))
	code := run(s.ctx, s.env, args)
	if s.ctx.Err() != nil {
		return code, s.ctx.Err()
	}
	if code == ExitCouldNotRun {
		return code, fmt.Errorf("heapwright %s could not run", args[0])
	}
	return code, nil
}

// say prints what comes next.
func (s *show) say(format string, args ...any) {
	w := s.env.Stdout
	text := term.Wrap(fmt.Sprintf(format, args...), "", s.env.textColumns(w))
	fmt.Fprintf(w, "\n%s\n", s.env.painter(w).Paint(term.Cyan, text))
}

// busy shows that something takes its time.
func (s *show) busy(what string, f func() error) error {
	progress := s.env.progress()
	if !progress.Active() {
		fmt.Fprintln(s.env.Stderr, what)
	}
	defer progress.Clear()
	start := s.env.Now()
	done := make(chan error, 1)
	go func() { done <- f() }()
	t := time.NewTicker(200 * time.Millisecond)
	defer t.Stop()
	for {
		select {
		case err := <-done:
			return err
		case <-t.C:
			progress.Show(what + "  " + span(s.env.Now().Sub(start)))
		}
	}
}

func (s *show) pause(d time.Duration) error {
	select {
	case <-s.ctx.Done():
		return s.ctx.Err()
	case <-time.After(d):
		return nil
	}
}
