package cli

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/spf13/pflag"

	"github.com/heapwright/heapwright/cmd/internal/diagnose"
	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
	"github.com/heapwright/heapwright/cmd/internal/leak"
	"github.com/heapwright/heapwright/cmd/internal/object"
	"github.com/heapwright/heapwright/cmd/internal/pause"
	"github.com/heapwright/heapwright/cmd/internal/profile"
	"github.com/heapwright/heapwright/cmd/internal/recorder"
	"github.com/heapwright/heapwright/cmd/internal/remote"
	"github.com/heapwright/heapwright/cmd/internal/retention"
	"github.com/heapwright/heapwright/cmd/internal/scrape"
	"github.com/heapwright/heapwright/cmd/internal/term"
	"github.com/heapwright/heapwright/record"
)

type leaksOptions struct {
	observeOptions
	json      bool
	failOn    string
	retention string
	pause     bool
	pprof     string
	url       string
}

const (
	// leaksWindow is how long a process is watched.
	leaksWindow = 10 * time.Minute
	// snapshotsWanted is how many heap profiles the time is divided into, where the
	// process collects that often, and the least and the most between two.
	snapshotsWanted = 120
	leastSnapshots  = time.Second
	mostSnapshots   = 30 * time.Second
	// snapshotShare is the most of the time that taking snapshots may take.
	snapshotShare = 0.05
	// leastEarly is the shortest time that a verdict may end early after.
	leastEarly = 30 * time.Second
)

// leakLooks are the parts of the time after which a verdict of a leak ends it.
// Goroutines of which each stays where it is are plain early. Memory, and goroutines
// that come back to life, are looked at when three quarters are over: until then a
// cache or a pool that fills looks the same.
var leakLooks = []struct {
	at  float64
	all bool
}{{0.25, false}, {0.5, false}, {0.75, true}, {1, true}}

func leaksCommand() command {
	opt := leaksOptions{observeOptions: observeOptions{command: "leaks"}}
	return command{
		use:   "leaks PID|NAME|FILE|URL",
		short: "is memory leaking, where, and who holds it",
		long: `
Watches a process for a while, and says which allocation sites and which
goroutines grow without slowing down, how fast, and how sure that is; who keeps
what they allocate; and the cause, where it is a known one, with its remedy. A
warm-up, a cache that fills, a sawtooth, a single step and more load are told
apart from a leak.

A heap profile changes only when the process collects garbage: one is taken
after a GC cycle, up to 120 of them. A leak of goroutines may end it after a
quarter or half of the time, one of memory after three quarters; the chance of
error is shared out among these looks.

At the end the live heap is walked from outside to see who holds what leaks
(--retention=off does without). The process runs on meanwhile, so that a few
objects may move; --pause stops it for that time, and says for how long.

--url names the program's own /debug/pprof: from Go 1.27 on it is asked which
goroutines nothing can ever wake. That forces a garbage collection in it.

Exit codes: 0 no leak, 1 a leak (--fail-on), 2 could not run, 3 not enough to
tell, with what it would take.`,
		example: `
  heapwright leaks 4123
  heapwright leaks api-server --for 30m -o api.hwrec
  heapwright leaks api.hwrec
  heapwright leaks 4123 --pause --pprof retained.pb.gz
  heapwright leaks 4123 --url http://localhost:6060 --json`,
		args: exactly(1, "one process, recording or URL"),
		flags: func(f *pflag.FlagSet) {
			f.DurationVar(&opt.over, "for", leaksWindow, "watch this long, at most")
			f.StringVar(&opt.retention, "retention", "auto", "who holds what leaks: auto, off")
			f.BoolVar(&opt.pause, "pause", false, "stop the process while its heap is walked")
			f.StringVar(&opt.pprof, "pprof", "", "write who holds what as a pprof `FILE`")
			f.StringVar(&opt.url, "url", "", "ask the program's /debug/pprof for leaked goroutines (Go 1.27; forces a GC)")
			f.StringVar(&opt.failOn, "fail-on", diagnose.Warning.String(), "exit with 1 on a finding this severe: info, warning, critical, never")
			hzFlag(f, &opt.hz)
			f.StringVarP(&opt.keep, "output", "o", "", "keep the recording in `FILE`")
			lifeFlag(f, &opt.life)
			jsonFlag(f, &opt.json)
		},
		complete:      completeTargets,
		completeFlags: map[string][]string{"fail-on": failOnNames, "retention": retentionNames},
		run: func(ctx context.Context, env Env, args arguments) error {
			return leaksRun(ctx, env, opt, args)
		},
	}
}

var retentionNames = []string{"auto", "off"}

func (o leaksOptions) check() error {
	if err := oneOf("leaks", "fail-on", o.failOn, failOnNames); err != nil {
		return err
	}
	if err := oneOf("leaks", "retention", o.retention, retentionNames); err != nil {
		return err
	}
	if err := positive("leaks", "for", o.over); err != nil {
		return err
	}
	if o.retention == "off" && (o.pause || o.pprof != "") {
		return usagef("leaks", "--pause and --pprof are about --retention")
	}
	return o.observeOptions.check()
}

// A leaksDocument is what leaks --json prints.
type leaksDocument struct {
	*leak.Verdict
	// EndedEarly says that a leak was found before the time was over.
	EndedEarly bool `json:"ended_early"`
	// PausedSeconds is how long the process was stopped; 0 when it was not.
	PausedSeconds float64           `json:"paused_seconds"`
	Retention     *retention.Report `json:"retention"` // null where nobody looked
}

func leaksRun(ctx context.Context, env Env, opt leaksOptions, args arguments) error {
	if err := opt.check(); err != nil {
		return err
	}
	ref, err := parseTarget(ctx, env, append(args.targets, args.command...)[0], true)
	if err != nil {
		return err
	}
	doc := &leaksDocument{}
	if ref.kind == targetFile {
		if opt.pause || opt.pprof != "" || opt.url != "" {
			return usagef("leaks", "--pause, --pprof and --url are about a process that runs")
		}
		rec, err := readLife(env, "leaks", ref.text, opt.life)
		if err != nil {
			return err
		}
		doc.Verdict = leak.Judge(observationOf(rec), leak.Options{})
	} else if err := doc.watch(ctx, env, opt, ref); err != nil {
		return err
	}
	if opt.json {
		err = writeJSON(env.Stdout, doc)
	} else {
		err = doc.print(env)
	}
	if err != nil {
		return err
	}
	return doc.exit(opt.failOn)
}

// observationOf is what a recording holds for the judgement of leaks.
func observationOf(rec *record.Recording) leak.Observation {
	o := leak.Observation{Process: rec.Process, Recording: rec}
	for i := range rec.Profiles {
		if p := &rec.Profiles[i]; p.Kind == record.ProfileHeap {
			o.Heap = append(o.Heap, p)
		}
	}
	for i := range rec.Goroutines {
		o.Goroutines = append(o.Goroutines, &rec.Goroutines[i])
	}
	return o
}

func (d *leaksDocument) exit(failOn string) error {
	if threshold, err := diagnose.ParseSeverity(failOn); err == nil { // else failNever
		for i := range d.Findings {
			if d.Findings[i].Severity >= threshold {
				return exitWith(ExitFinding)
			}
		}
	}
	if d.Verdict.Verdict == leak.Inconclusive {
		return exitWith(ExitInconclusive)
	}
	return nil
}

// watch observes a process, and judges.
func (d *leaksDocument) watch(ctx context.Context, env Env, opt leaksOptions, ref targetRef) error {
	t, err := ref.watch(ctx, env)
	if err != nil {
		return err
	}
	defer t.Close()
	w, err := newWatch(env, opt.observeOptions)
	if err != nil {
		return err
	}
	s := newLeakSource(env, t, opt.over)
	ended, err := s.record(ctx, w, opt)
	if err := errors.Join(err, w.close()); err != nil {
		return err
	}
	d.EndedEarly = ended
	o := observationOf(&w.memory.Recording)
	o.NoHeapProfile = s.noHeap
	notes := d.ask(ctx, env, opt, &o)
	if rt, ok := t.(interface{ Runtime() *remote.Target }); ok && opt.retention == "auto" {
		more, err := d.retain(ctx, env, opt, rt.Runtime())
		notes = append(notes, more...)
		if err != nil {
			if opt.pprof != "" || opt.pause {
				return err
			}
			notes = append(notes, "Who holds what is not known: "+err.Error()+".")
		}
		o.Retention = d.Retention
	}
	d.Verdict = leak.Judge(o, leak.Options{Looks: len(leakLooks)})
	d.Notes = append(d.Notes, notes...)
	if s.noHeap != "" && ref.kind == targetPID {
		d.Notes = append(d.Notes, fmt.Sprintf("heapwright profile %d --type heap --enable switches heap profiles on for a while; to have them always, import runtime/pprof or net/http/pprof in the program, and do not set MemProfileRate to 0.", ref.pid))
	}
	return nil
}

// ask asks the program's own endpoint which goroutines nothing can wake.
func (d *leaksDocument) ask(ctx context.Context, env Env, opt leaksOptions, o *leak.Observation) []string {
	if opt.url == "" {
		return nil
	}
	c, err := scrape.New(opt.url, scrape.Limits{})
	if err == nil {
		defer c.Close()
		o.GoroutineLeaks, err = c.GoroutineLeaks(ctx)
	}
	if err != nil {
		env.warnf("the goroutine-leak profile: %v", err)
		return []string{"The program gave no goroutine-leak profile: it takes Go 1.27 and net/http/pprof."}
	}
	return []string{fmt.Sprintf("The program's own collector found %s that nothing can wake; it was made to collect for that.", plural(o.GoroutineLeaks.Total, "goroutine"))}
}

// retain walks the live heap.
func (d *leaksDocument) retain(ctx context.Context, env Env, opt leaksOptions, rt *remote.Target) (notes []string, err error) {
	progress := env.progress()
	defer progress.Clear()
	walk := object.Options{
		Paused: opt.pause,
		Progress: func(done, total uint64) {
			progress.Show("who holds it: read " + rule.FormatBytes(float64(done)) + " of " + rule.FormatBytes(float64(total)))
		},
	}
	resume := func() {}
	if opt.pause {
		proc := rt.Process()
		if proc == nil {
			return nil, errors.New("--pause: a captured image cannot be stopped")
		}
		stopped, err := pause.Stop(ctx, proc, pause.Options{})
		if err != nil {
			return nil, err
		}
		// What holds what is worked out when it runs again: that takes seconds of a large
		// heap, and reads of it only what names need.
		resume = sync.OnceFunc(func() {
			r := stopped.Resume()
			d.PausedSeconds = r.Stopped.Seconds()
			text := fmt.Sprintf("The process was stopped for %s while its heap was walked.", rule.FormatSeconds(d.PausedSeconds))
			if r.Expired {
				text += " That was all it was given: the end of the walk saw it run."
			}
			notes = append(notes, text)
		})
		defer resume() // in a panic, too
	}
	g, stats, err := object.Walk(ctx, rt, walk)
	resume()
	if err != nil {
		return notes, err
	}
	report, err := retention.Analyse(ctx, g, retention.Options{
		Precise: string(stats.Precision),
		Look: func(addr uint64, buf []byte) int {
			if rt.Memory().Read(addr, buf) != nil {
				return 0
			}
			return len(buf)
		},
	})
	if err != nil {
		return notes, err
	}
	d.Retention = report
	if opt.pprof != "" {
		f, err := os.Create(opt.pprof)
		if err != nil {
			return notes, err
		}
		if err := errors.Join(report.WritePprof(f), f.Close()); err != nil {
			return notes, fmt.Errorf("writing %s: %w", opt.pprof, err)
		}
	}
	return notes, nil
}

// A leakSource is a target whose snapshots are made for the judgement of leaks: a
// heap profile only when there was a GC cycle since the last, with the allocator's
// own frames, since they tell append from a map; and equal stacks once in memory.
type leakSource struct {
	Target
	env    Env
	period time.Duration
	noHeap string

	cycles, taken uint64 // GC cycles that ended: by now, and when the last profile was taken
	any           bool
	next          [2]time.Time // before which no snapshot is taken: it took too long
	seed          maphash.Seed
	stacks        map[uint64][]record.Frame
}

// snapshotPeriod is the time between snapshots.
func snapshotPeriod(over time.Duration) time.Duration {
	return min(max(over/snapshotsWanted, leastSnapshots), max(mostSnapshots, over/(2*snapshotsWanted)))
}

func newLeakSource(env Env, t Target, over time.Duration) *leakSource {
	return &leakSource{Target: t, env: env, period: snapshotPeriod(over), seed: maphash.MakeSeed(), stacks: map[uint64][]record.Frame{}}
}

// record watches until the time is over or a leak is found.
func (s *leakSource) record(ctx context.Context, w *watch, opt leaksOptions) (early bool, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer w.progress.Clear()
	w.lasts = opt.over
	start := s.env.Now()
	looks := leakLooks[:len(leakLooks)-1] // the last is the end
	_, err = recorder.Record(ctx, s, s.Target.Process(), w.sink, recorder.Options{
		Hz: rate(opt.hz, s.Target), For: opt.over, Snapshots: s.period,
		Observe: func(sample *record.Sample, sum recorder.Summary) {
			w.show(s.Target.Process(), start, sample, sum)
			if len(looks) == 0 || s.env.Now().Sub(start) < time.Duration(looks[0].at*float64(opt.over)) {
				return
			}
			all := looks[0].all
			looks = looks[1:]
			o := observationOf(&w.memory.Recording)
			o.NoHeapProfile = s.noHeap
			v := leak.Judge(o, leak.Options{Looks: len(leakLooks)})
			if v.Verdict == leak.Leak && v.Window() >= leastEarly && (all || slices.ContainsFunc(v.Findings, func(f leak.Finding) bool { return f.Stuck })) {
				early = true
				cancel()
			}
		},
	})
	return early, err
}

// Sample notes how many cycles there were.
func (s *leakSource) Sample(x *record.Sample) error {
	err := s.Target.Sample(x)
	if err == nil && x.Has.Has(record.FieldGCCycles) {
		s.cycles, s.any = x.GCCycles, true
	}
	return err
}

// paced takes a snapshot, and puts off the next when this took too long.
func (s *leakSource) paced(which int, take func() error) error {
	now := s.env.Now()
	if now.Before(s.next[which]) {
		return nil
	}
	err := take()
	s.next[which] = now.Add(time.Duration(float64(s.env.Now().Sub(now)) / snapshotShare))
	return err
}

// Goroutines takes a snapshot, unless the last took long.
func (s *leakSource) Goroutines() (g *record.Goroutines, err error) {
	err = s.paced(0, func() error {
		g, err = s.Target.Goroutines()
		return err
	})
	if g != nil {
		for i := range g.Groups {
			g.Groups[i].Stack = s.intern(g.Groups[i].Stack)
		}
	}
	return g, err
}

// Profile takes the heap profile when there was a GC cycle since the last.
func (s *leakSource) Profile(kind record.ProfileKind) (p *record.Profile, err error) {
	if kind != record.ProfileHeap || s.any && s.cycles == s.taken {
		return nil, nil
	}
	err = s.paced(1, func() error {
		if full, ok := s.Target.(interface {
			FullHeap() (*record.Profile, error)
		}); ok {
			p, err = full.FullHeap()
		} else {
			p, err = s.Target.Profile(kind)
		}
		return err
	})
	var off *profile.DisabledError
	if errors.As(err, &off) {
		s.noHeap = off.Reason
		return nil, nil
	}
	if p == nil || err != nil {
		return nil, err
	}
	s.taken = s.cycles
	for i := range p.Sites {
		p.Sites[i].Stack = s.intern(p.Sites[i].Stack)
	}
	return p, nil
}

// intern returns the stack that was seen before when it is equal: dozens of
// snapshots hold the same few thousand.
func (s *leakSource) intern(stack []record.Frame) []record.Frame {
	var h maphash.Hash
	h.SetSeed(s.seed)
	for _, f := range stack {
		h.WriteString(f.Func)
		h.WriteByte(0)
		h.WriteString(f.File)
		h.WriteByte(byte(f.Line))
		h.WriteByte(byte(f.Line >> 8))
	}
	key := h.Sum64()
	if known, ok := s.stacks[key]; ok && slices.Equal(known, stack) {
		return known
	}
	s.stacks[key] = stack
	return stack
}

// FullHeap is the heap profile with the runtime's own frames.
func (t *localTarget) FullHeap() (*record.Profile, error) {
	p, err := profile.TakeHeap(t.Runtime())
	if err != nil {
		var off *profile.DisabledError
		if errors.As(err, &off) {
			return nil, err
		}
		return nil, t.gone(err)
	}
	return p.RecordFull(), nil
}

// print writes the verdict for people.
func (d *leaksDocument) print(env Env) error {
	w, width, paint := env.Stdout, env.textColumns(env.Stdout), env.painter(env.Stdout)
	v := d.Verdict
	style := term.Green
	switch v.Verdict {
	case leak.Leak:
		style = term.Red
	case leak.Inconclusive:
		style = term.Yellow
	}
	who := term.Clean(v.Process.Name)
	if v.Process.PID != 0 {
		who += fmt.Sprintf(" %d", v.Process.PID)
	}
	fmt.Fprintf(w, "%s  %s\n", paint.Paint(style, strings.ToUpper(strings.ReplaceAll(string(v.Verdict), "-", " "))), term.Wrap(term.Clean(v.Reason), "", width))
	head := fmt.Sprintf("%s: %s, %s, %s, %s", who, span(v.Window()), plural(v.GCCycles, "GC cycle"),
		plural(v.Snapshots, "heap profile"), plural(v.GoroutineSnapshots, "goroutine snapshot"))
	if d.EndedEarly {
		head += "; ended early: the leak was plain"
	}
	fmt.Fprintln(w, paint.Paint(term.Faint, term.Wrap(head, "", width)))
	if g := v.LiveHeap; g != nil {
		fmt.Fprintf(w, "live heap %s %s\n", paint.Paint(term.Cyan, leakSpark(g.Series)), growthText(g))
	}
	for i := range v.Findings {
		printLeak(w, &v.Findings[i], i+1, width, paint)
	}
	for i, h := range v.Hoards {
		if i == 0 {
			fmt.Fprintln(w)
		}
		section(w, "kept", fmt.Sprintf("%s, %s of the live heap, of which it is not known that it grows: %s (%s)", rule.FormatBytes(float64(h.Bytes)), percent(h.Share), h.Text, h.Cause), width, paint)
	}
	for i, n := range v.NotLeaks {
		if i == 0 {
			fmt.Fprintf(w, "\n%s\n", paint.Paint(term.Bold, "Grew, and is no leak"))
		}
		section(w, string(n.Kind), fmt.Sprintf("%s: %s", rule.FrameString(n.Site), n.Text), width, paint)
	}
	if len(v.Needed) > 0 {
		fmt.Fprintln(w)
	}
	for _, n := range v.Needed {
		section(w, "needed", n, width, paint)
	}
	for i, n := range d.Notes {
		if i == 0 {
			fmt.Fprintln(w)
		}
		section(w, "note", n, width, paint)
	}
	return nil
}

// printLeak writes one finding.
func printLeak(w io.Writer, f *leak.Finding, n, width int, paint term.Painter) {
	fmt.Fprintf(w, "\n%s %s\n", paint.Paint(severityStyle(f.Severity), fmt.Sprintf("%d.", n)), paint.Paint(term.Bold, strings.TrimPrefix(term.Wrap(term.Clean(f.Title), "   ", width), "   ")))
	fmt.Fprintf(w, "   %s %s\n", paint.Paint(term.Cyan, leakSpark(f.Growth.Series)), growthText(&f.Growth))
	if f.Site.Func != "" {
		role := "allocated"
		if f.Kind == leak.Goroutine {
			role = "started"
		}
		section(w, role, rule.FrameString(f.Site), width, paint)
	}
	if f.At.Func != "" && f.At != f.Site {
		section(w, "waits at", rule.FrameString(f.At), width, paint)
	}
	for i, h := range f.HeldBy {
		if i == 2 {
			break
		}
		text := fmt.Sprintf("%s %s", percent(h.Share), h.Root)
		if len(h.Path) > 0 {
			text += " > " + strings.Join(h.Path, " > ")
		}
		section(w, "held by", text, width, paint)
	}
	cause := string(f.Cause)
	if len(f.Signs) > 0 {
		cause += ": " + strings.Join(f.Signs[:min(len(f.Signs), 2)], "; ")
	}
	section(w, "cause", cause, width, paint)
	section(w, "remedy", f.Remedy, width, paint)
	section(w, "sure?", fmt.Sprintf("%s: %s", f.Confidence, f.ConfidenceReason), width, paint)
	if f.LastsSeconds > 0 {
		section(w, "lasts", rule.FormatSeconds(f.LastsSeconds)+" until the memory limit, at this rate", width, paint)
	}
}

// growthText is growth with its 95% interval, and where it has got to.
func growthText(g *leak.Growth) string {
	if g.Unit == "count" {
		return fmt.Sprintf("%+.0f/h (%.0f to %.0f), now %.0f", g.PerHour, g.Low, g.High, g.End)
	}
	sign := "+"
	if g.PerHour < 0 {
		sign = ""
	}
	return fmt.Sprintf("%s%s/h (%s to %s), now %s", sign, bytesShort(g.PerHour), bytesShort(g.Low), bytesShort(g.High), bytesShort(g.End))
}

// bytesShort leaves out the digit after the point where there are enough before it.
func bytesShort(v float64) string {
	s := rule.FormatBytes(v)
	if i := strings.IndexByte(s, '.'); i >= 3 {
		return s[:i] + s[i+2:]
	}
	return s
}

// leakSpark draws values from the least to the largest.
func leakSpark(values []float64) string {
	const columns = 16
	if len(values) == 0 {
		return strings.Repeat(" ", columns)
	}
	low, high := math.Inf(1), math.Inf(-1)
	for _, v := range values {
		low, high = min(low, v), max(high, v)
	}
	low = min(low, high/2) // so that what hardly moves looks so
	var b strings.Builder
	marks := []rune("▁▂▃▄▅▆▇█")
	for i := range columns {
		v := values[i*len(values)/columns]
		k := 0
		if high > low {
			k = int((v - low) / (high - low) * float64(len(marks)))
		}
		b.WriteRune(marks[min(max(k, 0), len(marks)-1)])
	}
	return b.String()
}
