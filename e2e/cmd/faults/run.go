package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/heapwright/heapwright/e2e/internal/faults"
	"github.com/heapwright/heapwright/e2e/internal/jsonl"
)

func runCommand(ctx context.Context, args []string, out io.Writer) error {
	b := &bench{out: out}
	fs := flag.NewFlagSet("run", flag.ContinueOnError)
	parse, err := b.flags(fs, 4*time.Minute, 5, 10)
	if err != nil {
		return err
	}
	heapwright := fs.String("heapwright", "", "the heapwright binary")
	again := fs.Bool("again", false, "run also what has a result")
	if err := parse(args); err != nil {
		return err
	}
	if *heapwright == "" {
		return errors.New("-heapwright is needed: the path of the binary")
	}
	if *heapwright, err = filepath.Abs(*heapwright); err != nil {
		return err
	}
	known, err := b.known()
	if err != nil {
		return err
	}
	done := map[string]bool{}
	for _, r := range known {
		done[r.Fault+" "+r.Go] = r.Failed == ""
	}
	noKills := killable()
	if noKills != nil {
		fmt.Fprintf(b.out, "programs that the kernel is to kill are left out: %v\n", noKills)
	}
	var jobs []job
	for _, release := range b.releases {
		full, err := b.build(ctx, release)
		if err != nil {
			return err
		}
		for _, f := range b.chosen() {
			if f.In(full) && (*again || !done[f.Name+" "+full]) && (f.Kind != faults.OOM || noKills == nil) {
				jobs = append(jobs, job{f, full})
			}
		}
	}
	var mu sync.Mutex
	finished := 0
	err = b.each(ctx, jobs, func(ctx context.Context, j job) error {
		r, err := b.one(ctx, *heapwright, j)
		if ctx.Err() != nil {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%s: %w", j.fault.Name, err)
		}
		mu.Lock()
		defer mu.Unlock()
		finished++
		fmt.Fprintf(b.out, "%d of %d: %s\n", finished, len(jobs), line(j.fault, &r))
		return jsonl.Append(b.results(), r)
	})
	if err != nil {
		return err
	}
	return b.report(false)
}

// one runs one program, and has it looked at. What goes wrong with heapwright is in
// what it returns; an error is that of this program.
func (b *bench) one(ctx context.Context, heapwright string, j job) (faults.Run, error) {
	r := faults.Run{Fault: j.fault.Name, Go: j.release, Speed: b.speed, Started: time.Now().UTC().Format(time.RFC3339)}
	p, err := b.start(ctx, j)
	if err != nil {
		return r, err
	}
	p.settle()
	var doc []byte
	if j.fault.Kind == faults.OOM {
		doc, err = b.postMortem(ctx, heapwright, p)
	} else {
		doc, err = output(ctx, b.window+2*time.Minute, heapwright, "leaks", fmt.Sprint(p.pid), "--json", "--for", b.window.String())
	}
	r.Seconds = time.Since(p.started).Seconds()
	points, stopErr := p.stop()
	if err == nil {
		r.Said, err = faults.Parse(j.fault.Kind, doc)
	}
	if err != nil {
		r.Failed = err.Error()
	}
	// In full, for who asks why.
	if err := os.WriteFile(b.path(j.release, j.fault.Name+".json"), doc, 0o644); err != nil {
		return r, err
	}
	if j.fault.Kind == faults.Leak {
		if len(points) > 5 {
			points = points[1:] // the first second is the program's start
		}
		r.Truth = faults.PerMinute(points, j.fault.Grows)
	}
	return r, stopErr
}

// output runs heapwright, which may have something to complain about.
func output(ctx context.Context, limit time.Duration, heapwright string, args ...string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, heapwright, args...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.WaitDelay = 10 * time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && (exit.ExitCode() == 1 || exit.ExitCode() == 3) {
		err = nil
	}
	if err != nil {
		return stdout.Bytes(), fmt.Errorf("heapwright %s: %w: %s", args[0], err, lastLine(stderr.String()))
	}
	return stdout.Bytes(), nil
}

func lastLine(s string) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return lines[len(lines)-1]
}

// line says in short what came of a run.
func line(f *faults.Fault, r *faults.Run) string {
	if r.Failed != "" {
		return f.Name + ": FAILED: " + r.Failed
	}
	s := faults.Judge(f, r)
	said := r.Said.Verdict
	if len(r.Said.Findings) > 0 {
		first := r.Said.Findings[0]
		said += fmt.Sprintf(", %s at %s", first.Cause, first.Site)
	}
	right := "right"
	if !s.Right || s.Cause == faults.Wrong || s.Site == faults.Wrong {
		right = "WRONG"
	}
	return fmt.Sprintf("%s after %.0f s: %s: %s", f.Name, r.Seconds, said, right)
}

// reportCommand prints what came of the runs.
func reportCommand(args []string, out io.Writer) error {
	b := &bench{out: out}
	fs := flag.NewFlagSet("report", flag.ContinueOnError)
	parse, err := b.flags(fs, time.Minute, 1, 1)
	if err != nil {
		return err
	}
	asJSON := fs.Bool("json", false, "print the runs with their scores as JSON")
	if err := parse(args); err != nil {
		return err
	}
	return b.report(*asJSON)
}

// report prints the table, and fails when a target is missed.
func (b *bench) report(asJSON bool) error {
	runs, err := b.known()
	if err != nil {
		return err
	}
	if len(runs) == 0 {
		return errors.New("there are no results: faults run makes them")
	}
	if asJSON {
		return json.NewEncoder(b.out).Encode(runs)
	}
	total := faults.Sum(b.faults, runs)
	if err := faults.Print(b.out, b.faults, runs, &total); err != nil {
		return err
	}
	if missed := total.Missed(); len(missed) > 0 {
		return errors.New(strings.Join(missed, "; "))
	}
	return nil
}
