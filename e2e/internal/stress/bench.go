// Package stress runs `heapwright stress` against programs of which the truth is known
// and against real servers, and scores what it says: whether what was injected
// happened and was taken back, whether violations are caught, and whether the healthy
// are left alone. Of Heapwright it knows the binary and its documents.
package stress

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A Bench is where plans are run.
type Bench struct {
	Heapwright string
	Dir        string // for plans, results and what runs leave
	// Programs are paths of binaries by name, which plans refer to as {{.NAME}}.
	Programs map[string]string
	Env      []string  // added to our own
	Says     io.Writer // is given what heapwright says on the way; nil for nobody
}

// A Result is what came of a plan.
type Result struct {
	Name   string        `json:"name"`
	Exit   int           `json:"exit"`
	Took   time.Duration `json:"took_ns"`
	Report Report        `json:"report"`
	Stderr string        `json:"stderr,omitempty"`
	File   string        `json:"-"` // the result
}

// A Report is what is read of the document that stress --json prints.
type Report struct {
	Verdict  string      `json:"verdict"`
	Reason   string      `json:"reason"`
	Refused  *string     `json:"refused"`
	Aborted  *string     `json:"aborted"`
	RollBack *float64    `json:"rollback_seconds"`
	Left     []string    `json:"left"`
	Faults   []Fault     `json:"faults"`
	Criteria []Criterion `json:"criteria"`
	Findings []struct {
		Fault    *string   `json:"fault"` // nil: before any
		Error    *string   `json:"error"`
		Findings []Finding `json:"findings"`
	} `json:"findings"`
	Score *struct {
		Faults  int `json:"faults_count"`
		Named   int `json:"named_count"`
		Unnamed int `json:"unnamed_count"`
		NoRule  int `json:"no_rule_count"`
		False   int `json:"false_count"`
	} `json:"score"`
	Margin *struct {
		Fault  string   `json:"fault"`
		Safe   *float64 `json:"safe_limit_bytes"`
		Layers []struct {
			Name string   `json:"name"`
			Room *float64 `json:"room_bytes"`
		} `json:"layers"`
	} `json:"margin"`
}

// A Fault is one of a Report.
type Fault struct {
	Name         string     `json:"name"`
	Kind         string     `json:"kind"`
	Unit         string     `json:"unit"`
	Peak         *float64   `json:"peak_value"`
	Measured     *float64   `json:"measured_value"`
	By           string     `json:"measured_by"`
	Happened     bool       `json:"happened"`
	Contained    *bool      `json:"contained"`
	Verified     *bool      `json:"verified"`
	Undo         *float64   `json:"undo_seconds"`
	Error        *string    `json:"error"`
	KilledTarget bool       `json:"killed_target"`
	KilledOurs   int        `json:"killed_ours_count"`
	Detected     *float64   `json:"detected_seconds"`
	Degraded     *float64   `json:"degraded_seconds"`
	Deviated     *float64   `json:"deviated_seconds"`
	AbortedAfter *float64   `json:"aborted_seconds"`
	Recovered    *float64   `json:"recovered_seconds"`
	Recovery     []Recovery `json:"recovery"`
	Named        []string   `json:"named"`
	Expected     []string   `json:"expected"`
	Others       []string   `json:"others"`
	Wrong        *string    `json:"wrong"`
}

// A Finding is one of the diagnosis.
type Finding struct {
	ID       string `json:"id"`
	Severity string `json:"severity"`
	Title    string `json:"title"`
}

// A Recovery is one criterion of a fault's recovery.
type Recovery struct {
	What  string   `json:"what"`
	Took  *float64 `json:"took_seconds"`
	Known bool     `json:"known"`
}

// A Criterion is one of the hypothesis, in one kind of phase.
type Criterion struct {
	Metric string   `json:"metric"`
	Phase  string   `json:"phase"`
	Fault  *string  `json:"fault"`
	Bound  *float64 `json:"bound_value"`
	Worst  *float64 `json:"worst_value"`
	Held   *bool    `json:"held"`
}

// Wrong is all that a report holds against a target: metrics whose criterion was
// broken, and criteria of recovery that were not met, as recovery:NAME.
func (r *Report) Wrong() (out []string) {
	seen := map[string]bool{}
	add := func(s string) {
		if !seen[s] {
			seen[s] = true
			out = append(out, s)
		}
	}
	for _, c := range r.Criteria {
		if c.Held != nil && !*c.Held {
			add(c.Metric)
		}
	}
	for _, f := range r.Faults {
		for _, v := range f.Recovery {
			if v.Known && v.Took == nil {
				add("recovery:" + v.What)
			}
		}
	}
	return out
}

// runPatience is how long a plan may take beyond all reason.
const runPatience = 20 * time.Minute

// Run runs a plan and returns what came of it. That heapwright could not run it is in
// the result, not an error.
func (b *Bench) Run(ctx context.Context, name, plan string, more ...string) (*Result, error) {
	for program, path := range b.Programs {
		plan = strings.ReplaceAll(plan, "{{."+program+"}}", path)
	}
	if at := strings.Index(plan, "{{"); at >= 0 {
		return nil, fmt.Errorf("plan %s: nobody knows what %.20q is", name, plan[at:])
	}
	file := filepath.Join(b.Dir, strings.Map(func(r rune) rune {
		if r == '/' || r == ' ' {
			return '-'
		}
		return r
	}, name))
	if err := os.WriteFile(file+".yaml", []byte(plan), 0o666); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, runPatience)
	defer cancel()
	cmd := exec.CommandContext(ctx, b.Heapwright, append([]string{"stress", file + ".yaml", "--yes", "--json", "-o", file + ".hwstress", "--html", file + ".html"}, more...)...)
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGINT) }
	cmd.WaitDelay = 30 * time.Second
	cmd.Env = append(os.Environ(), b.Env...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	var out, said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &said
	if b.Says != nil {
		cmd.Stderr = io.MultiWriter(&said, b.Says)
	}
	began := time.Now()
	err := cmd.Run()
	r := &Result{Name: name, Took: time.Since(began), Exit: cmd.ProcessState.ExitCode(), Stderr: said.String(), File: file + ".hwstress"}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return r, fmt.Errorf("running plan %s: %w", name, err)
	}
	if out.Len() == 0 {
		return r, nil
	}
	if err := json.Unmarshal(out.Bytes(), &r.Report); err != nil {
		return r, fmt.Errorf("plan %s: what stress printed: %w", name, err)
	}
	return r, nil
}

// Each runs so many at a time of n, and returns the first error.
func Each(ctx context.Context, n, atOnce int, run func(ctx context.Context, i int) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	next := make(chan int)
	var workers sync.WaitGroup
	for range max(1, atOnce) {
		workers.Go(func() {
			for i := range next {
				if err := run(ctx, i); err != nil {
					cancel(err)
				}
			}
		})
	}
	for i := range n {
		if ctx.Err() != nil {
			break
		}
		select {
		case next <- i:
		case <-ctx.Done():
		}
	}
	close(next)
	workers.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return nil
}

// Build builds a program of this repository, or of a module at a version.
func Build(ctx context.Context, root, pkg, into string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", into, pkg)
	cmd.Dir = root
	if text, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building %s: %w\n%s", pkg, err, text)
	}
	return nil
}
