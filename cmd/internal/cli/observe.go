package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/pflag"

	"github.com/heapwright/heapwright/cmd/internal/recorder"
	"github.com/heapwright/heapwright/cmd/internal/term"
	"github.com/heapwright/heapwright/record"
)

// observeOptions are those of a command that thinks about one process, which it
// watches for a while, or about a recording.
type observeOptions struct {
	command string        // its name, for hints
	over    time.Duration // 0 is defaultWindow
	hz      float64
	keep    string // file for the recording, "" to keep none
	life    int    // of a recording that has several, 0 is the last
	stored  stored
}

// defaultWindow is how long a process is watched before it is thought about.
const defaultWindow = 30 * time.Second

// lifeFlag adds --life.
func lifeFlag(f *pflag.FlagSet, v *int) {
	f.IntVar(v, "life", 0, "which life of a recording that has several; 0 is the last")
}

func (o observeOptions) check() error {
	if o.over < 0 || o.hz < 0 {
		return usagef(o.command, "--for and --hz must not be negative")
	}
	return o.stored.check(o.command)
}

// observe returns the recording to think about: of a process or an endpoint,
// watched now, or from a file.
func observe(ctx context.Context, env Env, opt observeOptions, arg string) (*record.Recording, error) {
	if opt.stored.url != "" {
		return opt.stored.recall(ctx, env, opt, arg)
	}
	ref, err := parseTarget(ctx, env, arg, true)
	if err != nil {
		return nil, err
	}
	if ref.kind == targetFile {
		return readLife(env, opt.command, ref.text, opt.life)
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
func readLife(env Env, command, path string, life int) (*record.Recording, error) {
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
		return nil, usagef(command, "--life %d: the recording has %d", life, len(lives))
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
	opt      observeOptions
	memory   recorder.Memory
	sink     recorder.Sink
	file     *os.File
	writer   *recorder.File
	progress *term.Progress
	lasts    time.Duration // 0 without end
	shown    time.Time
}

func newWatch(env Env, opt observeOptions) (*watch, error) {
	w := &watch{env: env, opt: opt, progress: env.progress()}
	w.sink = &w.memory
	if opt.keep != "" {
		f, err := os.Create(opt.keep)
		if err != nil {
			return nil, fmt.Errorf("creating the recording: %w", err)
		}
		w.file, w.writer = f, recorder.NewFile(f)
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
func watchCommand(ctx context.Context, env Env, opt observeOptions, argv []string) (*record.Recording, error) {
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
