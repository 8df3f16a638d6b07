package cli

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
	"github.com/heapwright/heapwright/cmd/internal/live"
	"github.com/heapwright/heapwright/cmd/internal/term"
	"github.com/heapwright/heapwright/cmd/internal/texttab"
	"github.com/heapwright/heapwright/pacer"
)

// A liveReport says what became of --apply live.
type liveReport struct {
	// Outcome is one of the words below.
	Outcome  outcome    `json:"outcome"`
	Why      *string    `json:"why"`
	Steps    []liveStep `json:"steps"`
	Reverted []liveStep `json:"reverted"`
	// GCCPURatio and RSSPeakBytes are what was seen under the change; null when
	// that was not long enough.
	GCCPURatio   *float64 `json:"gc_cpu_ratio"`
	RSSPeakBytes *uint64  `json:"rss_peak_bytes"`
	WatchSeconds float64  `json:"watch_seconds"`
	// Via is the debug page through which the change was asked for; null when it was
	// written into the process.
	Via   *string  `json:"via"`
	Notes []string `json:"notes"`
}

// An outcome is how a live change ended.
type outcome string

const (
	outcomeNothing  outcome = "nothing_to_change"
	outcomeDryRun   outcome = "dry_run"
	outcomeDeclined outcome = "declined"
	outcomeKept     outcome = "kept"
	outcomeReverted outcome = "reverted" // something spoke against it
	outcomeUnclear  outcome = "unclear"  // taken back, because it could not be told
	outcomeEnded    outcome = "process_ended"
)

type liveStep struct {
	Symbol  string `json:"symbol"`
	Address uint64 `json:"address"`
	Size    int    `json:"size_bytes"`
	Old     string `json:"old"`
	New     string `json:"new"`
}

func liveSteps(steps []live.Step) []liveStep {
	out := []liveStep{}
	for _, s := range steps {
		from, to := s.Values()
		out = append(out, liveStep{s.Symbol, s.Addr, s.Size, from, to})
	}
	return out
}

// changeOf is what a plan changes in a process.
func (d *tuning) changeOf(t twin) live.Change {
	s := d.plan.Settings
	c := live.Change{GOGCPercent: &s.GOGCPercent, GOMEMLIMITBytes: &s.GOMEMLIMITBytes}
	if floor := t.StormFloorBytes(); isKnown(floor) && floor.Estimate < math.MaxInt64/2 {
		c.StormFloorBytes = int64(floor.Estimate)
	}
	return c
}

// applyLive shows a plan and what it would write, asks, writes, watches, and
// keeps what does as was predicted.
func (d *tuning) applyLive(ctx context.Context, env Env, opt tuneOptions, t twin) error {
	d.Live = &liveReport{Steps: []liveStep{}, Reverted: []liveStep{}, Notes: []string{}, Via: nonZero(opt.via)}
	if !opt.json {
		if err := d.print(env, opt.parameters); err != nil {
			return err
		}
	}
	err := d.change(ctx, env, opt, t)
	if !opt.json || d.Live.Outcome == "" {
		return err
	}
	if jerr := writeJSON(env.Stdout, d); jerr != nil {
		return jerr
	}
	return err
}

func (d *tuning) change(ctx context.Context, env Env, opt tuneOptions, t twin) (err error) {
	if d.plan.Keep {
		d.Live.Outcome = outcomeNothing
		return nil
	}
	if err := d.mayApply(ctx, env); err != nil {
		return err
	}
	changer, err := env.Changes()
	if err != nil {
		return err
	}
	var c Change
	if opt.via != "" {
		c, err = changer.OpenVia(ctx, d.Process.PID, opt.via)
	} else {
		c, err = changer.Open(ctx, d.Process.PID)
	}
	if err != nil {
		return err
	}
	defer func() {
		if cerr := c.Close(); err == nil {
			err = cerr
		}
	}()
	change := d.changeOf(t)
	steps, err := c.Describe(change)
	if errors.Is(err, live.ErrNothing) {
		d.Live.Outcome = outcomeNothing
		d.tell(env, opt, "The process has these settings already.")
		return nil
	}
	if err != nil {
		return err
	}
	d.Live.Steps = liveSteps(steps)
	d.Live.Notes = append(d.Live.Notes, c.Notes()...)
	if !opt.json {
		head := "What would be written:"
		if opt.via != "" {
			head = "What the program would be asked for:"
		}
		if err := printSteps(env, d.Live.Steps, head); err != nil {
			return err
		}
	}
	d.tell(env, opt, d.Live.Notes...)
	if opt.dryRun {
		d.Live.Outcome = outcomeDryRun
		return nil
	}
	if !opt.yes {
		question := "Write this into %s %d?"
		if opt.via != "" {
			question = "Ask this of %s %d?"
		}
		yes, err := confirm(ctx, env, fmt.Sprintf(question, term.Clean(d.Process.Name), d.Process.PID))
		if err != nil {
			return err
		}
		if !yes {
			d.Live.Outcome = outcomeDeclined
			env.warnf("nothing was written")
			return nil
		}
	}
	if _, err := c.Apply(ctx, change, "tune: "+aim(d.plan)); err != nil {
		return err
	}
	return d.watch(ctx, env, opt, c)
}

// mayApply refuses what is true of the plan but not of the process: a container
// that is smaller than the one that was planned for, and a process that took the
// PID of the one that was recorded.
func (d *tuning) mayApply(ctx context.Context, env Env) error {
	if ctx.Err() != nil { // who ends the recording early did not ask for a change made of it
		return errors.New("interrupted: nothing was written")
	}
	has, wants := d.Process.MemoryLimitBytes, d.plan.Container.LimitBytes
	if has > 0 && wants > has {
		return hinted(fmt.Errorf("the plan is for a limit of %s, and the process is in one of %s", rule.FormatBytes(float64(wants)), rule.FormatBytes(float64(has))),
			"raise the container's limit first, or leave out --memory-limit to plan for the one that it has")
	}
	entries, err := env.Host.Processes(ctx)
	if err != nil {
		return err
	}
	for _, e := range entries {
		// Start times are the kernel's, to a hundredth of a second, on a clock that
		// may be set meanwhile.
		if p := e.Process; p.PID == d.Process.PID && p.StartTime.Sub(d.Process.StartTime).Abs() > time.Minute {
			return fmt.Errorf("process %d is another one than was recorded: nothing was written", p.PID)
		}
	}
	if n := d.plan.Settings.GOMAXPROCS; n > 0 {
		d.Live.Notes = append(d.Live.Notes, fmt.Sprintf("GOMAXPROCS=%d is not set: in a running process it stays as it is.", n))
	}
	return nil
}

// tell prints sentences for people.
func (d *tuning) tell(env Env, opt tuneOptions, texts ...string) {
	if opt.json {
		return
	}
	for _, t := range texts {
		fmt.Fprintln(env.Stdout, term.Wrap(term.Clean(t), "", env.textColumns(env.Stdout)))
	}
}

func printSteps(env Env, steps []liveStep, head string) error {
	w := env.Stdout
	fmt.Fprintf(w, "\n%s\n\n", head)
	tab := texttab.Table{Columns: []texttab.Column{{Head: "WORD", Min: 24}, {Head: "ADDRESS", Right: true, Drop: 1}, {Head: "BYTES", Right: true, Drop: 2}, {Head: "OLD", Right: true}, {}, {Head: "NEW", Right: true}}}
	for _, s := range steps {
		tab.Text(s.Symbol, fmt.Sprintf("%#x", s.Address), fmt.Sprint(s.Size), s.text(s.Old), "→", s.text(s.New))
	}
	if err := tab.Write(w, env.columns(w), env.painter(w)); err != nil {
		return err
	}
	fmt.Fprintln(w)
	return nil
}

// errNobody is that there is nobody to confirm anything.
func errNobody() error {
	return hinted(errors.New("nobody is there to be asked"), "--yes goes ahead without asking, --dry-run only shows it")
}

// confirm asks a question that only a person at a terminal can answer.
func confirm(ctx context.Context, env Env, question string) (bool, error) {
	if _, ok := env.Terminal(env.Stdin); !ok {
		return false, errNobody()
	}
	fmt.Fprintf(env.Stderr, "%s [y/N] ", question)
	answer := make(chan string, 1)
	go func() {
		line, _ := bufio.NewReader(io.LimitReader(env.Stdin, 1<<10)).ReadString('\n') // an end of input is a no
		answer <- line
	}()
	select {
	case <-ctx.Done():
		fmt.Fprintln(env.Stderr)
		return false, nil
	case line := <-answer:
		line = strings.ToLower(strings.TrimSpace(line))
		return line == "y" || line == "yes", nil
	}
}

const (
	// watchCycles is over how many GC cycles a change is watched, by default.
	watchCycles                   = 25
	shortestWatch, longestWatched = 20 * time.Second, 5 * time.Minute
)

// watchFor is how long to watch a change: long enough for a number of GC cycles.
func watchFor(asked time.Duration, f *pacer.Forecast) time.Duration {
	if asked > 0 {
		return asked
	}
	rate := f.CyclesPerSecond.Low
	if !(rate > 0) {
		return longestWatched
	}
	return min(max(time.Duration(watchCycles/rate*float64(time.Second)), shortestWatch), longestWatched)
}

// watch holds a change against what was predicted, and keeps it if that is what
// happens.
func (d *tuning) watch(ctx context.Context, env Env, opt tuneOptions, c Change) error {
	f := &d.plan.Expected
	e := live.Expectation{For: watchFor(opt.watch, f)}
	if isKnown(f.GCCPURatio) {
		e.GCCPURatio, e.GCCPURatioHigh = f.GCCPURatio.Estimate, f.GCCPURatio.High
	}
	if isKnown(f.RSSPeakBytes) {
		e.RSSPeakBytes = f.RSSPeakBytes.Estimate
	}
	progress := env.progress()
	out, err := c.Watch(ctx, e, func(s live.Status) { progress.Show(watchLine(s, e)) })
	progress.Clear()
	if err != nil {
		return err
	}
	r := d.Live
	r.GCCPURatio, r.RSSPeakBytes = finite(out.Status.GCCPURatio), nonZero(out.Status.RSSPeakBytes)
	r.WatchSeconds = out.Status.Elapsed.Seconds()
	r.Reverted = liveSteps(out.Reverted.Steps)
	r.Why = nonZero(out.Verdict.Why)
	r.Notes = append(append(r.Notes, out.Notes...), out.Reverted.Notes...)
	d.tell(env, opt, out.Notes...)
	pid := d.Process.PID
	switch out.Verdict.Decision {
	case live.End:
		r.Outcome = outcomeEnded
		return errors.New("the process ended while its change was watched: nothing is left to take back")
	case live.TakeBack, live.StandAside:
		r.Outcome = outcomeReverted
		d.tell(env, opt, fmt.Sprintf("Taken back: %s.", strings.TrimSuffix(out.Verdict.Why, ".")))
		if out.Verdict.Decision == live.StandAside {
			d.tell(env, opt, "What somebody else has set meanwhile was left alone.")
		}
		return exitWith(ExitFinding)
	}
	// What was not seen to work does not stay.
	if !out.Status.Effective || r.GCCPURatio == nil && e.GCCPURatio > 0 {
		r.Outcome = outcomeUnclear
		receipt, err := c.Revert("it could not be told whether the change works")
		if err != nil {
			return err
		}
		r.Reverted = liveSteps(receipt.Steps)
		return &exitError{ExitInconclusive, hinted(fmt.Errorf("in %s there were too few GC cycles to tell whether the change works: it was taken back", span(out.Status.Elapsed)),
			"watch it for longer: --watch %v", 4*e.For.Round(time.Second))}
	}
	if err := c.Keep(); err != nil {
		return err
	}
	r.Outcome = outcomeKept
	stays := fmt.Sprintf("It stays until the process ends. heapwright undo %d takes it back; --apply env, systemd, docker, compose or k8s makes it last.", pid)
	if opt.via != "" {
		stays = fmt.Sprintf("It stays for %d hours. heapwright undo %d --via %s takes it back; what is to stay for longer belongs into the program's configuration.", int(live.ViaKept.Hours()), pid, opt.via)
	}
	d.tell(env, opt, fmt.Sprintf("It works: in %s GC took %s of the CPU (%s was predicted), and RSS reached %s (%s).", span(out.Status.Elapsed),
		percentUnit(out.Status.GCCPURatio, out.Status.GCCPURatio), intervalText(f.GCCPURatio, percentUnit),
		compactBytes(float64(out.Status.RSSPeakBytes)), intervalText(f.RSSPeakBytes, bytesUnit)),
		stays)
	return nil
}

// watchLine is the progress while a change is watched.
func watchLine(s live.Status, e live.Expectation) string {
	line := fmt.Sprintf("watching the change  %s of %s %s", span(s.Elapsed), span(e.For), term.Bar(s.Elapsed.Seconds(), e.For.Seconds(), 8))
	if s.Effective {
		line += "  in effect"
	}
	if finite(s.GCCPURatio) != nil {
		line += "  GC CPU " + percentUnit(s.GCCPURatio, s.GCCPURatio)
	}
	if s.RSSPeakBytes > 0 {
		line += "  RSS " + compactBytes(float64(s.RSSPeakBytes))
	}
	return line
}
