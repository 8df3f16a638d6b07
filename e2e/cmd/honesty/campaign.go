package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
)

type bench struct {
	heapwright string
	orders     string // the service
	dir        store
	protocol   protocol
	most       float64 // of the other program's CPU
	out        io.Writer
}

func measure(ctx context.Context, args []string, out io.Writer) error {
	dir, err := defaultDir()
	if err != nil {
		return err
	}
	b := bench{out: out}
	fs := flag.NewFlagSet("run", flag.ContinueOnError)
	fs.StringVar(&b.heapwright, "heapwright", "", "the heapwright binary")
	fs.StringVar((*string)(&b.dir), "dir", dir, "where experiments and results are kept")
	fs.IntVar(&b.protocol.Pairs, "pairs", 10, "pairs in an experiment")
	fs.DurationVar(&b.protocol.Warmup, "warmup", 300*time.Millisecond, "warm-up of a block, at least")
	fs.DurationVar(&b.protocol.Measure, "measure", 600*time.Millisecond, "measured time of a block")
	fs.IntVar(&b.protocol.Rate, "rate", 800, "requests a second")
	fs.Float64Var(&b.most, "most", 0.75, "share of each CPU that the other program uses at its height; 0 is none")
	null := fs.Int("null", 40, "experiments in which there is nothing to find: so many a/a, and so many under drift")
	power := fs.Int("power", 20, "experiments in which there is something to find, of each kind")
	duets := fs.Int("duets", 0, "a/a experiments as duets")
	only := fs.String("kinds", "", "comma-separated kinds to run now; all if empty")
	within := fs.Duration("within", 50*time.Minute, "begin nothing new after this time")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if b.heapwright == "" {
		return errors.New("-heapwright is needed: the path of the binary")
	}
	if b.heapwright, err = filepath.Abs(b.heapwright); err != nil {
		return err
	}
	if err := os.MkdirAll(string(b.dir), 0o755); err != nil {
		return err
	}
	if err := b.build(ctx); err != nil {
		return err
	}
	done, err := b.dir.experiments()
	if err != nil {
		return err
	}
	deadline := time.Now().Add(*within)
	counts := map[string]int{"a/a": *null, "drift": *null, "burn": *power, "alloc": *power, "duet": *duets}
	if *only != "" {
		chosen := strings.Split(*only, ",")
		for _, name := range chosen {
			if _, ok := counts[name]; !ok {
				return fmt.Errorf("there is no kind %q", name)
			}
		}
		maps.DeleteFunc(counts, func(name string, _ int) bool { return !slices.Contains(chosen, name) })
	}
	items := campaign(counts)
	failed := 0
	for i, it := range items {
		if has(done, it) {
			continue
		}
		if time.Now().After(deadline) {
			fmt.Fprintf(out, "%v are over: %d experiments are left out\n", *within, len(items)-i)
			break
		}
		e, err := b.experiment(ctx, it)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%d of %d: %s\n", i+1, len(items), e.line())
		if err := b.dir.save(e); err != nil {
			return err
		}
		if e.Failed == "" {
			failed = 0
		} else if failed++; failed == 3 {
			return fmt.Errorf("three experiments in a row could not be run: %s", e.Failed)
		}
	}
	return b.dir.report(out)
}

// has says whether an experiment was made. One that failed is not made again: it
// counts as failed.
func has(done []Experiment, it item) bool {
	for _, e := range done {
		if e.Kind == it.kind.Name && e.N == it.n {
			return true
		}
	}
	return false
}

// build builds the service, once for all experiments.
func (b *bench) build(ctx context.Context) error {
	b.orders = b.dir.path("orders")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", b.orders, "github.com/heapwright/heapwright/examples/orders")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building the service (run this inside the repository): %w\n%s", err, out)
	}
	return nil
}

// experiment runs one. What goes wrong in it is in what it returns; an error is that
// of this program, or of who interrupts it.
func (b *bench) experiment(ctx context.Context, it item) (Experiment, error) {
	e := Experiment{Kind: it.kind.Name, N: it.n, Protocol: b.protocol, Down: it.kind.Drift && it.n%2 == 1, Started: time.Now().UTC()}
	plan, result := b.dir.path(it.kind.file(it.n)+".yaml"), b.dir.path(it.kind.file(it.n)+".hwcmp")
	if err := os.WriteFile(plan, []byte(b.protocol.plan(it, b.orders)), 0o644); err != nil {
		return e, err
	}
	// What an interrupted campaign left is not resumed: the other program would be
	// elsewhere in its course.
	if err := os.RemoveAll(result); err != nil {
		return e, err
	}
	if it.kind.Drift && b.most > 0 {
		stop, err := burn(time.Duration(b.protocol.seconds()*float64(time.Second)), b.most, e.Down)
		if err != nil {
			return e, fmt.Errorf("starting the other program: %w", err)
		}
		defer stop()
	}
	doc, err := b.compare(ctx, plan, "-o", result)
	e.Seconds = time.Since(e.Started).Seconds()
	if ctx.Err() != nil {
		return e, ctx.Err()
	}
	if err == nil {
		err = e.read(doc, result)
	}
	if err != nil {
		e.Failed = err.Error()
	}
	return e, nil
}

// compare runs heapwright compare, whose verdict may be any.
func (b *bench) compare(ctx context.Context, args ...string) (document, error) {
	var doc document
	cmd := exec.CommandContext(ctx, b.heapwright, append(append([]string{"compare"}, args...), "--json")...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 20 * time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && (exit.ExitCode() == 1 || exit.ExitCode() == 3) {
		err = nil
	}
	if err != nil {
		return doc, fmt.Errorf("heapwright compare: %w: %s", err, lastLine(stderr.String()))
	}
	if err := json.Unmarshal(stdout.Bytes(), &doc); err != nil {
		return doc, fmt.Errorf("reading what heapwright compare says: %w", err)
	}
	return doc, nil
}

// judgeCommand has the results judged again.
func judgeCommand(ctx context.Context, args []string, out io.Writer) error {
	dir, err := defaultDir()
	if err != nil {
		return err
	}
	b := bench{out: out}
	fs := flag.NewFlagSet("judge", flag.ContinueOnError)
	fs.StringVar(&b.heapwright, "heapwright", "", "the heapwright binary")
	fs.StringVar((*string)(&b.dir), "dir", dir, "where experiments are kept")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if b.heapwright == "" {
		return errors.New("-heapwright is needed: the path of the binary")
	}
	all, err := b.dir.experiments()
	if err != nil {
		return err
	}
	for i := range all {
		e := &all[i]
		if e.Failed != "" {
			continue
		}
		k, ok := kindNamed(e.Kind)
		if !ok {
			return fmt.Errorf("there is an experiment of kind %q", e.Kind)
		}
		result := b.dir.path(k.file(e.N) + ".hwcmp")
		doc, err := b.compare(ctx, "report", result)
		if err == nil {
			err = e.read(doc, result)
		}
		if err != nil {
			return fmt.Errorf("judging %s %d again: %w", e.Kind, e.N, err)
		}
	}
	if err := b.dir.replace(all); err != nil {
		return err
	}
	return b.dir.report(out)
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-1]
}

// A document is what is needed of that of heapwright compare --json.
type document struct {
	Verdict string   `json:"verdict"`
	Grade   string   `json:"host_grade"`
	Pairs   int      `json:"pairs"`
	Dropped []string `json:"dropped"`
	Metrics []struct {
		Name string `json:"name"`
		Finding
	} `json:"metrics"`
}

// read takes what is needed from the document, and from the result.
func (e *Experiment) read(doc document, result string) error {
	e.Outcome, e.Grade, e.Pairs, e.Dropped = doc.Verdict, doc.Grade, doc.Pairs, len(doc.Dropped)
	e.Findings = map[string]Finding{}
	for _, m := range doc.Metrics {
		e.Findings[m.Name] = m.Finding
	}
	text, err := os.ReadFile(result)
	if err != nil {
		return err
	}
	e.Blocks, e.External, err = readBlocks(text)
	if err == nil && len(e.Blocks) == 0 {
		err = errors.New("the result has no blocks")
	}
	return err
}

// line says in short what came of an experiment.
func (e *Experiment) line() string {
	head := fmt.Sprintf("%s %d, %.0fs", e.Kind, e.N, e.Seconds)
	if e.Failed != "" {
		return head + ": failed: " + e.Failed
	}
	k, _ := kindNamed(e.Kind)
	var found []string
	for _, d := range k.declared() {
		f := e.Findings[d.metric]
		found = append(found, fmt.Sprintf("%s %s %+.1f%% (%+.1f%% to %+.1f%%)", d.metric, f.Verdict, 100*(f.Ratio-1), 100*(f.Low-1), 100*(f.High-1)))
	}
	return fmt.Sprintf("%s, grade %s, %d pairs, %d dropped: %s; %s", head, e.Grade, e.Pairs, e.Dropped, e.Outcome, strings.Join(found, ", "))
}
