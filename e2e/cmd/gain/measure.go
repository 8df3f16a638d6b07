package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/heapwright/heapwright/e2e/internal/gain"
	"github.com/heapwright/heapwright/e2e/internal/harness"
	"github.com/heapwright/heapwright/e2e/internal/ladder"
	"github.com/heapwright/heapwright/e2e/internal/subject"
	"github.com/heapwright/heapwright/pacer"
	"github.com/heapwright/heapwright/record"
)

type bench struct {
	heapwright  string
	dir         store
	release     string
	window      time.Duration
	calibration time.Duration
	hz          float64
	factor      float64
	out         io.Writer
}

func measure(ctx context.Context, args []string, out io.Writer) error {
	dir, err := defaultDir()
	if err != nil {
		return err
	}
	b := bench{out: out}
	fs := flag.NewFlagSet("run", flag.ContinueOnError)
	fs.StringVar(&b.heapwright, "heapwright", "", "the heapwright binary")
	fs.StringVar((*string)(&b.dir), "dir", dir, "where recordings and results are kept")
	fs.StringVar(&b.release, "go", runtime.Version(), "the Go release that builds the programs")
	subjects := fs.String("subjects", "nats,etcd,caddy,coredns,prometheus,webcache,pointers", "comma-separated names")
	shared := fs.String("shared", "webcache,pointers,json", "comma-separated names of those that share a budget, none if empty")
	reps := fs.Int("reps", 3, "repetitions")
	fs.DurationVar(&b.window, "for", 8*time.Second, "length of a recording")
	fs.DurationVar(&b.calibration, "calibrate", 20*time.Second, "length of the recording that a plan is made from")
	fs.Float64Var(&b.hz, "hz", 25, "samples a second")
	fs.Float64Var(&b.factor, "factor", 2, "live heaps in a budget")
	within := fs.Duration("within", 33*time.Minute, "begin nothing new after this time")
	quick := fs.Bool("quick", false, "a minute to see that it works: one program, one repetition, windows of 4 seconds")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if *quick {
		*subjects, *shared, *reps, b.window, b.calibration = "webcache", "", 1, 4*time.Second, 6*time.Second
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
	deadline := time.Now().Add(*within)
	var groups []*Group
	names := strings.Split(*subjects, ",")
	if *shared != "" {
		names = append(names, *shared)
	}
	for _, name := range names {
		g, err := b.prepare(ctx, name)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if err != nil {
			// The others are still of use.
			fmt.Fprintf(out, "%s: left out: %v\n", name, err)
			continue
		}
		groups = append(groups, g)
	}
	if len(groups) == 0 {
		return errors.New("nothing could be calibrated")
	}
	done, err := b.dir.results()
	if err != nil {
		return err
	}
	// All programs once, then all again: however early it ends, each was run as often.
	for block := range *reps {
		for _, g := range groups {
			if time.Now().After(deadline) {
				fmt.Fprintf(out, "%v are over: the rest is left out\n", *within)
				return b.dir.report(out)
			}
			for _, i := range gain.Order(len(g.Variants), fmt.Sprint(g.Name, block)) {
				if !has(done, g.Name, g.Variants[i].Name, block) {
					if err := b.variant(ctx, g, g.Variants[i], block); err != nil {
						return err
					}
				}
			}
		}
	}
	return b.dir.report(out)
}

func has(all []Result, group, variant string, block int) bool {
	for _, r := range all {
		if r.Group == group && r.Variant == variant && r.Block == block {
			return true
		}
	}
	return false
}

// prepare records the programs of a group as they are, and finds what to compare.
func (b *bench) prepare(ctx context.Context, names string) (*Group, error) {
	subjects := strings.Split(names, ",")
	name := strings.Join(subjects, "+")
	if g, err := b.dir.group(name); g != nil || err != nil {
		return g, err
	}
	g := &Group{Name: name, GoVersion: b.release, Subjects: subjects}
	recs, err := b.calibrate(ctx, g)
	if err != nil {
		return nil, fmt.Errorf("calibrating: %w", err)
	}
	for i, rec := range recs {
		twin, err := pacer.Fit(rec)
		if err != nil {
			return nil, fmt.Errorf("fitting a twin to %s: %w", subjects[i], err)
		}
		s := gain.SizesOf(twin.Workload())
		g.Sizes = append(g.Sizes, s)
		g.Budget += s.Budget(b.factor)
	}
	choose := b.plan
	if len(subjects) > 1 {
		choose = b.split
	}
	for raised := 0; ; raised++ {
		if err := choose(ctx, g); err != nil {
			return nil, err
		}
		larger := smallest(g.NoPlan)
		if larger <= g.Budget || raised == raises {
			break
		}
		// Too small for a plan says nothing of how good plans are.
		if g.Raised == 0 {
			g.Raised = g.Budget
		}
		g.Budget, g.NoPlan = larger, ""
	}
	fmt.Fprintf(b.out, "%s: %s\n", g.Name, g.describe())
	return g, b.dir.saveGroup(g)
}

// calibrate records the programs of a group as they are, unless that was done before.
func (b *bench) calibrate(ctx context.Context, g *Group) (recs []*record.Recording, err error) {
	as := Variant{Name: "calibration"}
	for i := range g.Subjects {
		as.Settings = append(as.Settings, ladder.Calibration)
		if rec, err := readRecording(b.recording(g, as.Name, i)); err == nil {
			recs = append(recs, rec)
		}
	}
	if len(recs) < len(g.Subjects) {
		recs, _, err = b.record(ctx, g, as, b.calibration, as.Name, nil)
	}
	return recs, err
}

// raises is how often a budget is raised to what heapwright says is the smallest
// that works.
const raises = 3

// smallest is the budget in what heapwright tune says of one that is too small, 0
// when it says none.
func smallest(refused string) uint64 {
	_, rest, ok := strings.Cut(refused, "the smallest budget that works is ")
	size, _, _ := strings.Cut(rest, "\n")
	size, mib := strings.CutSuffix(size, "MiB")
	n, err := strconv.ParseUint(size, 10, 32)
	if !ok || !mib || err != nil {
		return 0
	}
	return n << 20
}

// recording is where the recording of one program of a run is kept.
func (b *bench) recording(g *Group, run string, i int) string {
	return b.dir.path(fmt.Sprintf("%s.%s.%s.hwrec", g.Name, run, g.Subjects[i]))
}

// plan asks heapwright for a plan of the one program of a group, and adds what
// others would set.
func (b *bench) plan(ctx context.Context, g *Group) error {
	var doc struct {
		Plan struct {
			Keep            bool  `json:"keep"`
			GOGCPercent     int64 `json:"gogc_percent"`
			GOMEMLIMITBytes int64 `json:"gomemlimit_bytes"`
		} `json:"plan"`
		Expected Expected `json:"expected"`
	}
	g.Variants = nil
	for _, s := range gain.Rivals(g.Sizes[0], g.Budget) {
		g.Variants = append(g.Variants, Variant{s.Name, []ladder.Setting{s}})
	}
	refused, err := b.tune(ctx, &doc, b.recording(g, "calibration", 0), "--memory-limit", fmt.Sprintf("%dB", g.Budget))
	if refused != "" || err != nil {
		g.NoPlan = refused
		return err
	}
	g.Keep, g.Expected = doc.Plan.Keep, &doc.Expected
	s := ladder.Setting{Name: planName, GOGCPercent: doc.Plan.GOGCPercent, GOMEMLIMITBytes: doc.Plan.GOMEMLIMITBytes}
	g.Variants = append(g.Variants, Variant{planName, []ladder.Setting{s}})
	return nil
}

// split asks heapwright to split the budget of a group, and splits it in other ways,
// with the same reserve.
func (b *bench) split(ctx context.Context, g *Group) error {
	var doc struct {
		ReserveBytes uint64 `json:"reserve_bytes"`
		Processes    []struct {
			GOGCPercent     int64 `json:"gogc_percent"`
			GOMEMLIMITBytes int64 `json:"gomemlimit_bytes"`
		} `json:"processes"`
		Expected Expected `json:"expected"`
	}
	args := []string{"--budget", fmt.Sprintf("%dB", g.Budget)}
	for i := range g.Subjects {
		args = append(args, b.recording(g, "calibration", i))
	}
	refused, err := b.tune(ctx, &doc, args...)
	if err != nil {
		return err
	}
	g.Variants = []Variant{
		{"equal", gain.Split(g.Budget, doc.ReserveBytes, g.Sizes, gain.Equally)},
		{"by-live", gain.Split(g.Budget, doc.ReserveBytes, g.Sizes, gain.ByLive)},
	}
	if refused != "" {
		g.NoPlan = refused
		return nil
	}
	if len(doc.Processes) != len(g.Subjects) {
		return fmt.Errorf("heapwright tune split a budget among %d processes, not %d", len(doc.Processes), len(g.Subjects))
	}
	g.Expected = &doc.Expected
	v := Variant{Name: planName}
	for _, p := range doc.Processes {
		v.Settings = append(v.Settings, ladder.Setting{GOGCPercent: p.GOGCPercent, GOMEMLIMITBytes: p.GOMEMLIMITBytes})
	}
	g.Variants = append(g.Variants, v)
	return nil
}

// tune runs heapwright tune. What it refuses is no error.
func (b *bench) tune(ctx context.Context, doc any, args ...string) (refused string, err error) {
	cmd := exec.CommandContext(ctx, b.heapwright, append(append([]string{"tune"}, args...), "--json")...)
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) && exit.Exited() && ctx.Err() == nil {
			return strings.TrimSpace(stderr.String()), nil
		}
		return "", fmt.Errorf("heapwright tune: %w", err)
	}
	if err := json.Unmarshal(stdout.Bytes(), doc); err != nil {
		return "", fmt.Errorf("reading what heapwright tune says: %w", err)
	}
	return "", nil
}

// variant runs a group's programs under one variant, and keeps what came of it.
func (b *bench) variant(ctx context.Context, g *Group, v Variant, block int) error {
	r := Result{Group: g.Name, Variant: v.Name, Block: block, Started: time.Now().UTC(), Seconds: b.window.Seconds()}
	cgroup, err := harness.MakeCgroup(harness.Limits{MemoryBytes: g.Budget})
	r.Enforced = err == nil
	run := fmt.Sprintf("%s.%d", v.Name, block)
	recs, said, err := b.recordIn(ctx, g, v, run, cgroup, &r)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err == nil {
		err = r.read(g, v, recs, said)
	}
	if err != nil {
		r.Failed = err.Error()
	}
	fmt.Fprintf(b.out, "%d %s\n", block+1, r.line())
	return b.dir.saveResult(r)
}

// recordIn records in a cgroup, which may be nil, and removes it.
func (b *bench) recordIn(ctx context.Context, g *Group, v Variant, run string, cgroup *harness.Cgroup, r *Result) ([]*record.Recording, []string, error) {
	before, start := machineCPU(), time.Now()
	recs, said, err := b.record(ctx, g, v, b.window, run, cgroup)
	r.MachineCores = (machineCPU() - before) / time.Since(start).Seconds()
	if cgroup == nil {
		return recs, said, err
	}
	kills, killErr := cgroup.OOMKills()
	r.Killed = kills > 0
	return recs, said, errors.Join(err, killErr, cgroup.Remove())
}

// record runs the programs of a group, all at the same time, and records them.
func (b *bench) record(ctx context.Context, g *Group, v Variant, window time.Duration, run string, cgroup *harness.Cgroup) (recs []*record.Recording, said []string, err error) {
	found, err := subject.Find(g.Subjects)
	if err != nil {
		return nil, nil, err
	}
	n := len(found)
	running := make([]*subject.Run, n)
	recs, said = make([]*record.Recording, n), make([]string, n)
	errs := make([]error, 2*n)
	all := func(do func(i int)) {
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() { do(i) })
		}
		wg.Wait()
	}
	all(func(i int) {
		s := found[i]
		if cgroup != nil {
			s = s.Wrapped(cgroup.Enter)
		}
		running[i], errs[i] = s.Start(ctx, b.release, v.Settings[i].Env(), 2*window+4*time.Minute)
	})
	if errors.Join(errs...) == nil {
		all(func(i int) { recs[i], errs[i] = b.watch(ctx, running[i].PID, window, b.recording(g, run, i)) })
	}
	all(func(i int) {
		if running[i] != nil {
			said[i], errs[n+i] = running[i].Stop()
		}
	})
	return recs, said, errors.Join(errs...)
}

// watch records one process.
func (b *bench) watch(ctx context.Context, pid int, window time.Duration, file string) (*record.Recording, error) {
	cmd := exec.CommandContext(ctx, b.heapwright, "record", strconv.Itoa(pid), "--hz", fmt.Sprint(b.hz), "--for", window.String(), "--profiles", "0", "-o", file)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if said, err := cmd.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("recording: %w\n%s", err, said)
	}
	return readRecording(file)
}

// readRecording reads a file of one recording.
func readRecording(file string) (*record.Recording, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	all, err := record.ReadAll(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if len(all) != 1 {
		return nil, fmt.Errorf("%s: %d recordings, want one", file, len(all))
	}
	return all[0], nil
}

// read takes the numbers from recordings.
func (r *Result) read(g *Group, v Variant, recs []*record.Recording, said []string) error {
	rss := gain.HeldBy(record.FieldRSSBytes, recs...)
	r.RSSPeak, r.RSSMean = rss.PeakBytes, rss.MeanBytes
	r.AnonPeak = gain.HeldBy(record.FieldRSSAnonBytes, recs...).PeakBytes
	for i, rec := range recs {
		o, err := pacer.Measure(rec)
		if err != nil {
			return fmt.Errorf("%s: %w", g.Subjects[i], err)
		}
		rss := gain.HeldBy(record.FieldRSSBytes, rec)
		m := Member{g.Subjects[i], v.Settings[i], o.CyclesPerSecond, o.GCCPUCores, o.CPUCores, rss.PeakBytes, rss.MeanBytes, o.LimiterEngaged, said[i]}
		for _, x := range []float64{m.CyclesPerSecond, m.GCCores, m.Cores} {
			if math.IsNaN(x) || math.IsInf(x, 0) {
				return fmt.Errorf("the recording of %s does not tell its GC CPU", g.Subjects[i])
			}
		}
		r.Killed = r.Killed || o.OOMKilled
		r.Members = append(r.Members, m)
	}
	return nil
}

// machineCPU is the CPU time that the machine has used, in seconds.
func machineCPU() float64 {
	const tick = 0.01 // the unit of CPU time in /proc, the same on all of Linux
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0
	}
	line, _, _ := strings.Cut(string(text), "\n")
	sum := 0.0
	// cpu user nice system idle iowait irq softirq steal
	for i, f := range strings.Fields(line) {
		v, err := strconv.ParseFloat(f, 64)
		if i >= 1 && i <= 7 && i != 4 && i != 5 && err == nil {
			sum += v * tick
		}
	}
	return sum
}
