package run

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
	"github.com/heapwright/heapwright/cmd/internal/experiment/load"
	"github.com/heapwright/heapwright/cmd/internal/experiment/measure"
	"github.com/heapwright/heapwright/cmd/internal/experiment/schedule"
	"github.com/heapwright/heapwright/cmd/internal/experiment/subject"
)

// A Bench is the lab of this machine: real programs under real load.
type Bench struct {
	Plan     *experiment.Plan
	Base     string // the plan's directory, which its paths are relative to
	CacheDir string // of builds
	Log      io.Writer

	programs []subject.Program
	rate     float64
	warmup   time.Duration // the longest that an arm has needed so far
	release  func()
}

// Release implements Lab.
func (b *Bench) Release() {
	if b.release != nil {
		b.release()
	}
}

// Prepare implements Lab.
func (b *Bench) Prepare(ctx context.Context, progress func(Progress)) (experiment.Header, error) {
	var h experiment.Header
	if err := b.ready(ctx, progress); err != nil {
		return h, err
	}
	for i, p := range b.programs {
		build := p.Build
		build.Variant = i
		h.Builds = append(h.Builds, build)
	}
	h.Machine = machine()
	b.rate = float64(b.Plan.Load.Rate)
	if b.rate == 0 {
		k, err := b.knee(ctx, progress)
		if err != nil {
			return h, err
		}
		h.Knee = k
		b.rate = k.Rate * float64(b.Plan.Load.KneeShare)
	}
	h.Rate = b.rate
	if why := tooSeldom(b.Plan, b.rate); why != "" {
		return h, &UnfitError{Why: why}
	}
	var err error
	h.Forecasts, h.NoForecast, err = b.forecast(ctx, progress)
	return h, err
}

// Restore implements Lab.
func (b *Bench) Restore(ctx context.Context, h experiment.Header, progress func(Progress)) error {
	b.rate = h.Rate
	if err := sameMachine(h.Machine, machine()); err != nil {
		return err
	}
	if err := b.ready(ctx, progress); err != nil {
		return err
	}
	for _, was := range h.Builds {
		if was.Variant < 0 || was.Variant >= len(b.programs) {
			return fmt.Errorf("resuming: the result has a build of variant %d, which the plan lacks", was.Variant)
		}
		if now := b.programs[was.Variant].Build; now.SHA256 != was.SHA256 {
			return fmt.Errorf("resuming: variant %s is another program now (SHA-256 %.12s, was %.12s): its source changed; run the experiment anew",
				b.Plan.Variants[was.Variant].Name, now.SHA256, was.SHA256)
		}
	}
	return nil
}

// ready waits for the machine, removes what a killed run left behind, and builds.
func (b *Bench) ready(ctx context.Context, progress func(Progress)) error {
	builder := &subject.Builder{CacheDir: b.CacheDir, Base: b.Base, Log: b.Log}
	var err error
	b.release, err = builder.Alone(ctx, func() {
		progress(Progress{Doing: "waiting for another experiment on this machine to end"})
	})
	if err != nil {
		return err
	}
	if err := subject.Sweep(); err != nil {
		return err
	}
	if err := subject.CheckLimits(b.Plan); err != nil {
		return err
	}
	b.programs = nil
	for _, v := range b.Plan.Variants {
		progress(Progress{Doing: "building " + v.Name})
		p, err := builder.Build(ctx, b.Plan.Subject, v)
		if err != nil {
			return err
		}
		b.programs = append(b.programs, p)
	}
	return nil
}

// A running is an arm that runs.
type running struct {
	process *subject.Process
	watch   *measure.Watch
	warmup  time.Duration
	end     *experiment.End // of a process that was stopped, or never came to be ready
	raw     measure.Raw
	report  load.Report
	has     bool // raw and report are there
}

// start starts a variant. One that ends by itself before it is ready, or that the
// kernel kills for memory, is a result, and running.end says so; of the baseline only
// the latter is.
func (b *Bench) start(ctx context.Context, variant int) (*running, error) {
	p, err := subject.Start(ctx, subject.Spec{Program: b.programs[variant], Subject: b.Plan.Subject, Variant: b.Plan.Variants[variant], Group: subject.Needed(b.Plan)})
	if early := new(subject.NotReadyError); errors.As(err, &early) &&
		(early.End.How == experiment.EndedOOM || early.End.How == experiment.EndedCrashed && variant > 0) {
		return &running{end: &early.End}, nil
	}
	if err != nil {
		return nil, err
	}
	w, err := measure.Begin(ctx, p.PID(), 0)
	if err != nil {
		end := p.Stop(ctx)
		if errors.Is(err, measure.ErrEnded) && end.How != experiment.EndedAsked {
			return &running{end: &end}, nil
		}
		return nil, fmt.Errorf("variant %s: %w", b.Plan.Variants[variant].Name, err)
	}
	return &running{process: p, watch: w}, nil
}

// patience is how long a process may take to end after an interrupt, whatever the
// plan says.
const patience = 3 * time.Second

// stop ends a process, within the plan's time to stop. The context may be over.
func (r *running) stop(ctx context.Context) experiment.End {
	if r.watch != nil {
		r.watch.Close()
	}
	if r.end == nil {
		stopping, cancel := context.WithCancel(context.WithoutCancel(ctx))
		defer cancel()
		hurry := context.AfterFunc(ctx, func() { time.AfterFunc(patience, cancel) })
		defer hurry()
		end := r.process.Stop(stopping)
		r.end = &end
	}
	return *r.end
}

// Block implements Lab.
func (b *Bench) Block(ctx context.Context, it schedule.Item) (experiment.Block, error) {
	arms := make([]*running, 0, len(it.Arms))
	defer func() {
		for _, r := range arms {
			r.stop(ctx)
		}
	}()
	alive := true
	for _, a := range it.Arms {
		r, err := b.start(ctx, a.Variant)
		if err != nil {
			return experiment.Block{}, err
		}
		arms = append(arms, r)
		alive = alive && r.end == nil
	}
	block := experiment.Block{Start: time.Now().UTC()}
	if alive {
		host, start, seconds, err := b.measure(ctx, arms, b.seed(it))
		if err != nil {
			return experiment.Block{}, err
		}
		block.Host, block.Start, block.Seconds = host, start, seconds
	}
	for i, r := range arms {
		var took float64
		if r.process != nil {
			took = r.process.StartSeconds()
		}
		end := r.stop(ctx)
		block.Arms = append(block.Arms, arm(it.Arms[i], r, b.programs[it.Arms[i].Variant], took, end))
		if r.has {
			block.Host.SlipP99 = max(block.Host.SlipP99, r.report.Audit.SlipP99)
		}
	}
	return block, nil
}

// seed gives every block arrivals of its own, and both processes of a pair of
// blocks different ones: arrivals are a part of the noise, not of the variant.
func (b *Bench) seed(it schedule.Item) uint64 {
	h := b.Plan.Seed*0x9e3779b97f4a7c15 + uint64(it.Round)*0xbf58476d1ce4e5b9
	for _, a := range it.Arms {
		h = (h ^ uint64(a.Variant*2+a.Slot+1)) * 0x94d049bb133111eb
	}
	return h
}

// slowWarmup is how many times its least length a warm-up may last, for a heap
// goal that does not settle; programs that collect seldom are not waited for longer.
const slowWarmup = 4

// measure loads the arms, warms them up, and measures them at the same time. What
// a process did until it died is not kept: the death is the result.
func (b *Bench) measure(ctx context.Context, arms []*running, seed uint64) (host experiment.Host, start time.Time, seconds float64, err error) {
	cfg := load.Config{
		// A duet shares out what one process gets in a switchback: the machine is
		// loaded the same.
		Rate:     b.rate / float64(len(arms)),
		Arrivals: b.Plan.Load.Arrivals, Connections: b.Plan.Load.Connections, Timeout: b.Plan.Load.Timeout,
		Seed: seed, Seconds: b.Plan.Design.Measure.Seconds(),
	}
	var groups []string
	for _, r := range arms {
		cfg.Targets = append(cfg.Targets, load.Of(b.Plan.Load, r.process.Expand))
		groups = append(groups, r.process.Cgroup())
	}
	gen, err := load.Start(ctx, cfg)
	if err != nil {
		return host, start, 0, err
	}
	defer gen.Close()
	if died, err := b.warm(ctx, arms); died || err != nil {
		return host, start, 0, err
	}
	watch, err := measure.BeginHost(groups...)
	if err != nil {
		return host, start, 0, err
	}
	if err := gen.Measure(); err != nil {
		return host, start, 0, err
	}
	start = time.Now()
	died, err := each(arms, func(r *running) error { return r.watch.Start() })
	if died || err != nil {
		return host, start.UTC(), 0, err
	}
	select {
	case <-ctx.Done():
		return host, start, 0, ctx.Err()
	case <-arms[0].process.Done():
	case <-arms[len(arms)-1].process.Done():
	case <-time.After(b.Plan.Design.Measure):
	}
	died, err = each(arms, func(r *running) (err error) { r.raw, err = r.watch.Finish(); return err })
	seconds = time.Since(start).Seconds()
	if died || err != nil {
		return host, start.UTC(), seconds, err
	}
	// Late answers are waited for, but are not of the measured time.
	if err := watch.End(); err != nil {
		return host, start, 0, err
	}
	reports, err := gen.Stop()
	if err != nil {
		return host, start, 0, err
	}
	var used time.Duration
	for i, r := range arms {
		r.report, r.has = reports[i], true
		used += r.raw.CPU
		if i == 0 || len(b.Plan.Load.Command) > 0 {
			used += time.Duration(r.report.Audit.CPUSeconds * float64(time.Second))
		}
	}
	host, err = watch.Finish(used)
	return host, start.UTC(), seconds, err
}

// warm waits until the heap of every arm is settled, and for no less than any arm
// before has taken for that: processes that are compared are of the same age.
func (b *Bench) warm(ctx context.Context, arms []*running) (died bool, err error) {
	most := slowWarmup * b.Plan.Design.Warmup
	least := max(b.Plan.Design.Warmup, min(b.warmup, most))
	died, err = each(arms, func(r *running) (err error) {
		r.warmup, err = r.watch.Warm(ctx, least, most)
		return err
	})
	for _, r := range arms {
		b.warmup = max(b.warmup, r.warmup)
	}
	return died, err
}

// each does the same to all arms at once. An arm whose process has ended is no
// error: died says that there was one.
func each(arms []*running, do func(*running) error) (died bool, err error) {
	errs := make([]error, len(arms))
	var wg sync.WaitGroup
	for i, r := range arms {
		wg.Go(func() { errs[i] = do(r) })
	}
	wg.Wait()
	for _, e := range errs {
		switch {
		case errors.Is(e, measure.ErrEnded):
			died = true
		case e != nil:
			err = e
		}
	}
	return died, err
}

// fewestBeyond is how many requests must lie beyond a quantile of latency in a
// block before the block has one.
const fewestBeyond = 5

// latencies are the quantiles of latency.
var latencies = map[string]float64{"latency_p50_seconds": 0.5, "latency_p90_seconds": 0.9, "latency_p99_seconds": 0.99, "latency_p999_seconds": 0.999}

// tooSeldom says that a quantile which the plan decides by would be missing from its
// blocks, for want of requests; "" when none would.
func tooSeldom(p *experiment.Plan, rate float64) string {
	for _, m := range experiment.Metrics() {
		q, ok := latencies[m.Name]
		if !ok || p.Role(m.Name) == experiment.RoleExploratory {
			continue
		}
		in := rate * p.Design.Measure.Seconds()
		where := "a block"
		if slices.Contains(schedule.Designs(p), experiment.Duet) {
			in, where = in/2, "a block of a duet, whose two processes share the rate"
		}
		// Arrivals are at random: what is enough on average is too few in every other block.
		if want := fewestBeyond / (1 - q); in < want+2*math.Sqrt(want) {
			return fmt.Sprintf("%s takes %.0f requests to a process in %s, and %.4g a second for %v are %.0f: raise the rate, measure longer, or take a lower quantile",
				m.Name, want+2*math.Sqrt(want), where, rate, p.Design.Measure, in)
		}
	}
	return ""
}

// arm is what is kept of one process.
func arm(a schedule.Arm, r *running, p subject.Program, took float64, end experiment.End) experiment.Arm {
	out := experiment.Arm{Variant: a.Variant, Slot: a.Slot, Values: map[string]float64{}, WarmupSeconds: r.warmup.Seconds(), End: end}
	if !r.has {
		return out
	}
	out.Unsettled = !r.watch.Settled()
	rep := r.report
	values, pauses, marks, levels := measure.Values(r.raw, rep.Answered, rep.Seconds)
	out.Values, out.Pauses, out.Cycles, out.Heap = values, pauses, thin(marks), levels
	out.Requests, out.Errors, out.Audit = rep.Requests, rep.Errors, rep.Audit
	out.Values["throughput_per_second"] = rep.Throughput()
	if rep.Requests > 0 {
		out.Values["error_ratio"] = float64(rep.Errors) / float64(rep.Requests)
	}
	for name, q := range latencies {
		if n := float64(rep.Latency.TotalCount()); n*(1-q) >= fewestBeyond {
			out.Values[name] = float64(rep.Latency.ValueAtPercentile(100*q)) / 1e6
		}
	}
	if text, err := rep.Latency.Encode(hdrhistogram.V2CompressedEncodingCookieBase); err == nil {
		out.Latency = string(text)
	}
	out.Values["start_seconds"] = took
	out.Values["binary_bytes"] = float64(p.Build.Bytes)
	for name, v := range out.Values { // what JSON cannot hold is not known
		if math.IsNaN(v) || math.IsInf(v, 0) {
			delete(out.Values, name)
		}
	}
	return out
}

// mostMarks bounds the cycles that are kept for the time line of a block, whose line
// in the journal is bounded. What is computed has them all.
const mostMarks = 1 << 14

// thin takes every second mark, or every fourth, ...
func thin(marks []experiment.Mark) []experiment.Mark {
	for len(marks) > mostMarks {
		n := 0
		for i := 0; i < len(marks); i += 2 {
			marks[n] = marks[i]
			n++
		}
		marks = marks[:n]
	}
	return marks
}

// sameMachine refuses blocks of two machines in one result: the rate and the
// calibration are of the one.
func sameMachine(was, now experiment.Machine) error {
	if was.CPU == now.CPU && was.Cores == now.Cores {
		return nil
	}
	return fmt.Errorf("resuming: the experiment began on another machine (%d cores of %q, here %d of %q): run it anew", was.Cores, was.CPU, now.Cores, now.CPU)
}

// machine says where we are.
func machine() experiment.Machine {
	m := experiment.Machine{Cgroup: subject.Cgroups()}
	if text, err := os.ReadFile("/proc/sys/kernel/osrelease"); err == nil {
		m.Kernel = strings.TrimSpace(string(text))
	}
	if text, err := os.ReadFile("/proc/cpuinfo"); err == nil {
		for line := range strings.Lines(string(text)) {
			if name, ok := strings.CutPrefix(line, "model name"); ok && m.CPU == "" {
				m.CPU = strings.TrimLeft(strings.TrimSpace(name), ": \t")
			}
			if strings.HasPrefix(line, "processor") {
				m.Cores++
			}
		}
	}
	if text, err := os.ReadFile("/proc/meminfo"); err == nil {
		var kib uint64
		if _, err := fmt.Sscanf(string(text), "MemTotal: %d kB", &kib); err == nil {
			m.Memory = kib << 10
		}
	}
	return m
}
