// Stress holds heapwright stress against what is known.
//
//	stress faults    every fault on NATS, Caddy, etcd and a service with hooks: it
//	                 happens, stays inside, ends, and leaves nothing behind
//	stress honest    violations that have to be caught, and healthy services that
//	                 must not be accused
//	stress guarded   the same plan for the same service with and without a guard
//	stress breaker   a breaker that trips at a p99 pause of 15 ms in 0.2 of 300 s, and
//	                 cools down for 60 s, from end to end
//	stress named     does the diagnosis name what was injected, and is it silent of
//	                 those to whom nothing happens
//	stress kill      the tool, its keeper and both are killed at random moments, and
//	                 nothing is left
//
// It needs root and the memory and cpu controllers of cgroup v1 or v2.
package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/heapwright/heapwright/e2e/internal/stress"
	"github.com/heapwright/heapwright/e2e/servers"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "stress:", err)
		os.Exit(1)
	}
}

type options struct {
	*stress.Bench
	root    string
	built   string
	only    string
	pace    int
	atATime int
	kinds   string
	runs    int
	atOnce  int
	seed    uint64
	results string
	out     io.Writer
}

func run(ctx context.Context, args []string, out io.Writer) error {
	commands := map[string]func(context.Context, *options) error{"faults": faults, "honest": honest, "guarded": guarded, "breaker": breaker, "named": named, "kill": kill}
	if len(args) == 0 || commands[args[0]] == nil {
		return errors.New("give one of faults, honest, guarded, breaker, named and kill")
	}
	fs := flag.NewFlagSet("stress "+args[0], flag.ContinueOnError)
	binary := fs.String("heapwright", "../bin/heapwright", "the binary")
	keep := fs.String("keep", "", "keep plans, results and reports in this directory")
	o := &options{out: out}
	fs.StringVar(&o.root, "root", "..", "the repository")
	fs.StringVar(&o.built, "programs", "", "where the programs are built already; where they are not, they are built")
	fs.IntVar(&o.pace, "pace", 1, "faults: how many times as long everything lasts, and how many times fewer requests come: for a slow machine")
	fs.StringVar(&o.kinds, "kinds", "", "faults: only these kinds, with commas between them")
	fs.IntVar(&o.atATime, "at-a-time", 3, "faults: how many a plan has, so that a server that does not recover from one is not in the way of all the others")
	fs.StringVar(&o.only, "only", "", "only what has this in its name")
	fs.IntVar(&o.runs, "n", 0, "runs of each; 0 for as many as the documents tell of")
	fs.IntVar(&o.atOnce, "at-once", 1, "plans that run at the same time")
	fs.Uint64Var(&o.seed, "seed", 1, "decides at which moments is killed")
	said := fs.Bool("v", false, "print what heapwright says on the way, too")
	fs.StringVar(&o.results, "json", "", "write the results to this file, too")
	if err := fs.Parse(args[1:]); err != nil {
		return err
	}
	path, err := filepath.Abs(*binary)
	if err != nil {
		return err
	}
	dir := *keep
	if dir == "" {
		if dir, err = os.MkdirTemp("", "heapwright-stress-"); err != nil {
			return err
		}
		defer os.RemoveAll(dir)
	} else if err := os.MkdirAll(dir, 0o777); err != nil {
		return err
	}
	o.Bench = &stress.Bench{Heapwright: path, Dir: dir, Programs: map[string]string{}}
	if *said {
		o.Says = os.Stderr
	}
	return commands[args[0]](ctx, o)
}

// build builds a program of this repository for plans.
func (o *options) build(ctx context.Context, names ...string) error {
	for _, name := range names {
		if o.built != "" {
			o.Programs[name] = filepath.Join(o.built, name)
			continue
		}
		path := filepath.Join(o.Dir, name)
		if err := stress.Build(ctx, o.root, "./e2e/"+name, path); err != nil {
			return err
		}
		o.Programs[name] = path
	}
	return nil
}

// buildServers builds the servers that nobody here wrote.
func (o *options) buildServers(ctx context.Context) error {
	for _, s := range []servers.Server{servers.NATS, servers.Caddy, servers.Etcd} {
		if o.built != "" {
			o.Programs[s.Name] = filepath.Join(o.built, s.Name)
			continue
		}
		path, err := s.Recipe.Build(ctx)
		if err != nil {
			return err
		}
		o.Programs[s.Name] = path
	}
	return nil
}

func (o *options) write(v any) error {
	if o.results == "" {
		return nil
	}
	text, err := json.MarshalIndent(v, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(o.results, append(text, '\n'), 0o666)
}

func faults(ctx context.Context, o *options) error {
	if err := o.build(ctx, "stresssubject"); err != nil {
		return err
	}
	if err := o.buildServers(ctx); err != nil {
		return err
	}
	upstream, err := stress.Upstream(ctx)
	if err != nil {
		return err
	}
	leaf, end, err := stress.Hub(ctx, o.Programs["nats"], o.Dir)
	if err != nil {
		return err
	}
	defer end()
	var tally stress.Tally
	var lines sync.Mutex
	fmt.Fprintf(o.out, "%-8s %-14s %12s %12s  %-34s %9s %9s  %s\n", "subject", "fault", "peak", "measured", "by", "undone ms", "recovered", "")
	type part struct {
		stress.Subject
		kinds []string
	}
	var parts []part
	for _, s := range stress.Subjects(upstream, leaf) {
		if strings.Contains(s.Name, o.only) {
			s.Pace = o.pace
			all := slices.DeleteFunc(s.Kinds(), func(k string) bool {
				return o.kinds != "" && !slices.Contains(strings.Split(o.kinds, ","), k)
			})
			for kinds := range slices.Chunk(all, max(1, o.atATime)) {
				parts = append(parts, part{s, kinds})
			}
		}
	}
	err = stress.Each(ctx, len(parts), o.atOnce, func(ctx context.Context, i int) error {
		s := parts[i]
		r, err := o.Run(ctx, fmt.Sprintf("faults-%s-%s", s.Name, s.kinds[0]), s.Plan(s.kinds...))
		if err != nil {
			return err
		}
		met := stress.Check(s.Name, r)
		if len(met) < len(s.kinds) {
			met = append(met, stress.Met{Subject: s.Name, Problem: fmt.Sprintf("%d of %d faults are in the report: %s %s", len(met), len(s.kinds), r.Report.Reason, r.Stderr)})
		}
		if len(r.Report.Left) > 0 {
			met = append(met, stress.Met{Subject: s.Name, Problem: fmt.Sprintf("left behind: %q", r.Report.Left)})
		}
		tally.Add(met...)
		lines.Lock()
		defer lines.Unlock()
		for _, m := range met {
			f := m.Fault
			fmt.Fprintf(o.out, "%-8s %-14s %12s %12s  %-34.34s %9s %9s  %s\n", m.Subject, f.Kind, amount(f.Peak, f.Unit), amount(f.Measured, f.Unit), f.By,
				number(f.Undo, 1000, "%.0f"), number(f.Recovered, 1, "%.1f s"), cmp.Or(m.Problem, "ok"))
		}
		if r.Report.Verdict != "PASS" {
			fmt.Fprintf(o.out, "%-8s %s: %s\n", s.Name, r.Report.Verdict, r.Report.Reason)
		}
		return nil
	})
	bad := 0
	for _, m := range tally.All() {
		if m.Problem != "" {
			bad++
		}
	}
	fmt.Fprintf(o.out, "%d faults on real servers, %d with a problem\n", len(tally.All()), bad)
	if err := errors.Join(err, o.write(tally.All())); err != nil {
		return err
	}
	if bad > 0 {
		return fmt.Errorf("%d faults have a problem", bad)
	}
	return nil
}

func honest(ctx context.Context, o *options) error {
	if err := o.build(ctx, "stresssubject"); err != nil {
		return err
	}
	cases := append(stress.Violations(), stress.Healthy(cmp.Or(o.runs, 20))...)
	cases = slices.DeleteFunc(cases, func(c stress.Case) bool { return !strings.Contains(c.Name, o.only) })
	type line struct {
		Case    string `json:"case"`
		Verdict string `json:"verdict"`
		Reason  string `json:"reason"`
		Problem string `json:"problem,omitempty"`
	}
	results := make([]line, len(cases))
	var lines sync.Mutex
	err := stress.Each(ctx, len(cases), o.atOnce, func(ctx context.Context, i int) error {
		c := cases[i]
		r, err := o.Run(ctx, c.Name, c.Plan())
		if err != nil {
			return err
		}
		results[i] = line{c.Name, r.Report.Verdict, r.Report.Reason, c.Right(r)}
		lines.Lock()
		defer lines.Unlock()
		fmt.Fprintf(o.out, "%-22s %-9s %5.0fs  %-60s  %s\n", c.Name, r.Report.Verdict, r.Took.Seconds(), r.Report.Reason, cmp.Or(results[i].Problem, "right"))
		return nil
	})
	caught, accused, ill, well := 0, 0, 0, 0
	for i, c := range cases {
		right := results[i].Problem == "" && results[i].Case != ""
		switch {
		case c.Violate == "":
			well++
			if !right {
				accused++
			}
		default:
			ill++
			if right {
				caught++
			}
		}
	}
	fmt.Fprintf(o.out, "%d of %d violations were caught for what they were; %d of %d healthy runs were accused\n", caught, ill, accused, well)
	if err := errors.Join(err, o.write(results)); err != nil {
		return err
	}
	if caught < ill || accused > 0 {
		return errors.New("not all verdicts are right")
	}
	return nil
}

func guarded(ctx context.Context, o *options) error {
	if err := o.build(ctx, "guarded"); err != nil {
		return err
	}
	n := cmp.Or(o.runs, 5)
	results := map[string][]*stress.Result{}
	var lines sync.Mutex
	fmt.Fprintf(o.out, "%-10s %-4s %-9s %-10s %9s %9s %9s %9s  %s\n", "guard", "run", "verdict", "fault", "detected", "degraded", "deviated", "recovered", "")
	err := stress.Each(ctx, n*len(stress.Guards), o.atOnce, func(ctx context.Context, i int) error {
		guard := stress.Guards[i%len(stress.Guards)]
		if !strings.Contains(guard, o.only) {
			return nil
		}
		r, err := o.Run(ctx, fmt.Sprintf("guarded-%s-%d", guard, i/len(stress.Guards)+1), stress.GuardedPlan(guard, uint64(i/len(stress.Guards)+1)))
		if err != nil {
			return err
		}
		lines.Lock()
		defer lines.Unlock()
		results[guard] = append(results[guard], r)
		for _, f := range r.Report.Faults {
			what := "survived"
			if f.Wrong != nil {
				what = *f.Wrong
			}
			fmt.Fprintf(o.out, "%-10s %-4d %-9s %-10s %9s %9s %9s %9s  %s\n", guard, i/len(stress.Guards)+1, r.Report.Verdict, f.Name,
				number(f.Detected, 1, "%.1f s"), number(f.Degraded, 1, "%.1f s"), number(f.Deviated, 1, "%.1f s"), number(f.Recovered, 1, "%.1f s"), what)
		}
		if len(r.Report.Faults) == 0 {
			fmt.Fprintf(o.out, "%-10s %-4d %-9s %s %s\n", guard, i/len(stress.Guards)+1, r.Report.Verdict, r.Report.Reason, r.Stderr)
		}
		return nil
	})
	for _, guard := range stress.Guards {
		passed := 0
		for _, r := range results[guard] {
			if r.Report.Verdict == "PASS" {
				passed++
			}
		}
		fmt.Fprintf(o.out, "%s: %d of %d passed\n", guard, passed, len(results[guard]))
	}
	return errors.Join(err, o.write(results))
}

func breaker(ctx context.Context, o *options) error {
	if err := o.build(ctx, "stresssubject"); err != nil {
		return err
	}
	text, err := os.ReadFile(filepath.Join(o.root, "examples/stress/breaker.yaml"))
	if err != nil {
		return err
	}
	plan := strings.Replace(string(text), "source: ../../e2e/stresssubject", `command: ["{{.stresssubject}}"]`, 1)
	n := cmp.Or(o.runs, 3)
	results := make([]*stress.Result, n)
	var lines sync.Mutex
	fmt.Fprintf(o.out, "%-4s %-9s %14s %12s  %s\n", "run", "verdict", "degraded after", "well again", "")
	tripped := 0
	err = stress.Each(ctx, n, o.atOnce, func(ctx context.Context, i int) error {
		r, err := o.Run(ctx, fmt.Sprintf("breaker-%d", i+1), plan)
		if err != nil {
			return err
		}
		results[i] = r
		lines.Lock()
		defer lines.Unlock()
		for _, f := range r.Report.Faults {
			if f.Degraded != nil {
				tripped++
			}
			fmt.Fprintf(o.out, "%-4d %-9s %14s %12s  %s\n", i+1, r.Report.Verdict, number(f.Degraded, 1, "%.1f s"), number(f.Recovered, 1, "%.1f s"), r.Report.Reason)
		}
		return nil
	})
	if err := errors.Join(err, o.write(results)); err != nil {
		return err
	}
	if tripped < n {
		return fmt.Errorf("it tripped in %d of %d runs", tripped, n)
	}
	return nil
}

// killShares are how many of 100 moments are whose; every fourth target is started by
// heapwright itself.
var killShares = map[string]int{"tool": 60, "keeper": 20, "both": 20}

func kill(ctx context.Context, o *options) error {
	if err := o.build(ctx, "stresssubject"); err != nil {
		return err
	}
	var whose []string
	for _, who := range stress.Killers {
		if strings.Contains(who, o.only) {
			whose = append(whose, slices.Repeat([]string{who}, max(1, killShares[who]*cmp.Or(o.runs, 100)/100))...)
		}
	}
	moments := make([]*stress.Moment, len(whose))
	draw := rand.New(rand.NewPCG(o.seed, 0))
	var seeds []uint64
	for range whose {
		seeds = append(seeds, draw.Uint64())
	}
	var lines sync.Mutex
	fmt.Fprintf(o.out, "%-7s %-7s %-12s %-24s %8s %10s  %-12s %s\n", "killed", "target", "fault", "while", "after", "settled", "put back by", "")
	err := stress.Each(ctx, len(whose), o.atOnce, func(ctx context.Context, i int) error {
		m, err := o.Kill(ctx, whose[i], seeds[i]%4 == 0, i, rand.New(rand.NewPCG(seeds[i], o.seed)))
		if err != nil {
			return fmt.Errorf("moment %d: %w", i, err)
		}
		moments[i] = m
		lines.Lock()
		defer lines.Unlock()
		whole := "nothing is left"
		if len(m.Left) > 0 {
			whole = fmt.Sprintf("LEFT: %q", m.Left)
		}
		fmt.Fprintf(o.out, "%-7s %-7s %-12s %-24s %7.2fs %8.0fms  %-12s %s\n", m.Who, map[bool]string{true: "started", false: "found"}[m.Started], m.Fault,
			cmp.Or(m.Doing, "-"), m.After.Seconds(), m.Settled.Seconds()*1000, cmp.Or(m.By, "-"), whole)
		return nil
	})
	bad := 0
	for _, who := range stress.Killers {
		var settled []float64
		n, changed, left := 0, 0, 0
		for _, m := range moments {
			if m == nil || m.Who != who {
				continue
			}
			n++
			settled = append(settled, m.Settled.Seconds()*1000)
			if len(m.Changed) > 0 {
				changed++
			}
			if len(m.Left) > 0 {
				left++
			}
		}
		if n == 0 {
			continue
		}
		bad += left
		slices.Sort(settled)
		fmt.Fprintf(o.out, "%s killed: %d moments, %d while the target was changed, %d left something; nothing left after %.0f ms (median; 90%%: %.0f, most: %.0f)\n",
			who, n, changed, left, settled[n/2], settled[min(n-1, n*9/10)], settled[n-1])
	}
	if err := errors.Join(err, o.write(moments)); err != nil {
		return err
	}
	if bad > 0 {
		return fmt.Errorf("%d moments have left something", bad)
	}
	return nil
}

func number(v *float64, factor float64, format string) string {
	if v == nil {
		return "-"
	}
	return fmt.Sprintf(format, *v*factor)
}

// amount is a level in its unit.
func amount(v *float64, unit string) string {
	switch {
	case v == nil || math.IsNaN(*v):
		return "-"
	case strings.HasPrefix(unit, "bytes"):
		return fmt.Sprintf("%.1f Mi%s", *v/(1<<20), strings.TrimPrefix(unit, "bytes"))
	case unit == "seconds":
		return (time.Duration(*v * float64(time.Second))).Round(time.Millisecond).String()
	}
	return fmt.Sprintf("%.4g %s", *v, unit)
}
