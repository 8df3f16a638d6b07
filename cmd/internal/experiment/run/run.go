// Package run runs experiments: it asks the schedule what comes next, has the lab
// measure it, writes it into the journal, and has the judge look at it when a
// declared look is reached. It decides nothing itself and measures nothing itself.
//
// Every block is safe in the journal before the next one begins, so that an
// experiment that is cut off, by a person or by the machine, goes on where it was.
package run

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
	"github.com/heapwright/heapwright/cmd/internal/experiment/journal"
	"github.com/heapwright/heapwright/cmd/internal/experiment/judge"
	"github.com/heapwright/heapwright/cmd/internal/experiment/schedule"
	"github.com/heapwright/heapwright/cmd/internal/term"
)

// A Lab builds and measures. One lab serves one experiment.
type Lab interface {
	// Prepare finds out all that is known before the first block: builds, rate,
	// machine, forecasts. The plan's own fields of the header are set by Run.
	Prepare(context.Context, func(Progress)) (experiment.Header, error)
	// Restore makes ready for the blocks of an experiment that was prepared earlier.
	Restore(context.Context, experiment.Header, func(Progress)) error
	// Block measures one block. N, Phase, Design, Round and Quad are set by Run.
	Block(context.Context, schedule.Item) (experiment.Block, error)
	// Release lets others have the machine.
	Release()
}

// Options say what to run.
type Options struct {
	Plan     *experiment.Plan
	Text     []byte // of the plan's file
	Hash     string // of the text
	Path     string // of the result
	Resume   bool   // go on with the result that is there
	Tool     string // name and version
	Lab      Lab
	Progress func(Progress)   // may be nil
	Now      func() time.Time // nil is time.Now
}

// Progress is where an experiment is.
type Progress struct {
	Doing string            // building etcd, calibration, comparison
	Done  int               // blocks
	Of    int               // blocks up to the next look, at least; 0 when not known
	Left  time.Duration     // up to the next look, about; 0 when not known
	Block *experiment.Block // the one that was just measured, or nil
}

// An UnfitError is an experiment that cannot be run: the subject or the plan is at
// fault, not chance.
type UnfitError struct {
	Variant string
	Why     string
	Err     error
}

func (e *UnfitError) Error() string {
	s := e.Why
	if e.Variant != "" {
		s = "variant " + e.Variant + ": " + s
	}
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

func (e *UnfitError) Unwrap() error { return e.Err }

// Run runs an experiment to its end: a verdict, the last look, the budget, or the
// end of the context, after which the result says that it was interrupted and can
// be resumed. The result is what was measured, also beside an error.
func Run(ctx context.Context, opt Options) (*experiment.Result, error) {
	if opt.Now == nil {
		opt.Now = time.Now
	}
	if opt.Progress == nil {
		opt.Progress = func(Progress) {}
	}
	r := &runner{Options: opt}
	defer opt.Lab.Release()
	if err := r.open(ctx); err != nil {
		return nil, err
	}
	defer r.journal.Close()
	how, text, err := r.run(ctx)
	if how == "" {
		return r.result, err
	}
	end := experiment.Ending{Time: r.Now(), How: how, Text: text}
	end.Verdict = Verdict(r.result.Header, r.result.Blocks, &end)
	if jerr := r.journal.End(end); jerr != nil {
		return r.result, errors.Join(err, jerr)
	}
	r.result.Ending = &end
	return r.result, err
}

// Verdict is the verdict on the blocks of an experiment that ended so; end is nil for
// one that was cut off. It is the judge's where the experiment came to its end: what
// was measured up to a refusal, or up to where a run was killed, is not a verdict.
func Verdict(h experiment.Header, blocks []experiment.Block, end *experiment.Ending) *experiment.Verdict {
	v := judge.Judge(h, blocks)
	switch {
	case end == nil:
		// Whatever was to come, it is not known that there was nothing.
		v.Outcome = experiment.Undecided
		v.Reasons = append([]string{fmt.Sprintf("the experiment was cut off after %d blocks: --resume goes on with it", len(blocks))}, v.Reasons...)
	case end.How == experiment.EndInterrupted && v.Outcome != experiment.Undecided:
		// A variant of several has passed, and a better one may have been to come; or
		// there are the pairs of a look that was not taken.
		v.Outcome = experiment.Undecided
		v.Reasons = append([]string{"the experiment was interrupted before its end: --resume goes on with it"}, v.Reasons...)
	case end.How == experiment.EndRefused:
		v.Outcome, v.Reasons = experiment.Undecided, []string{end.Text}
	}
	return v
}

// maxWhy bounds what is kept of an error, in characters.
const maxWhy = 300

type runner struct {
	Options
	journal *journal.Journal
	result  *experiment.Result
	spent   time.Duration // on blocks in this run
	blocks  int           // in this run
	at      int           // blocks of the result that were come to: fewer than there are only while resuming
	begun   time.Time     // of the blocks: builds and waiting are not on the budget
}

// open starts a result, or goes on with one.
func (r *runner) open(ctx context.Context) error {
	started := r.Now()
	if r.Resume {
		j, res, err := journal.Resume(r.Path)
		if err != nil {
			return err
		}
		r.journal, r.result = j, res
		if res.Header.PlanHash != r.Hash {
			err = fmt.Errorf("resuming %s: it is of another plan, or the plan was changed since: run it anew with another -o, since a plan is fixed before its data", r.Path)
		} else {
			err = r.Lab.Restore(ctx, res.Header, r.Progress)
		}
		if err != nil {
			j.Close()
		}
		return err
	}
	// Said here, before minutes of building, and again by the journal.
	if _, err := os.Lstat(r.Path); err == nil {
		return fmt.Errorf("%s is there already: go on with it by --resume, or name another file with -o", r.Path)
	} else if !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("creating a result: %w", err)
	}
	h, err := r.Lab.Prepare(ctx, r.Progress)
	if err != nil {
		return err
	}
	h.Schema, h.Tool, h.Started = experiment.ResultSchema, r.Tool, started
	h.Plan, h.PlanText, h.PlanHash = r.Plan, string(r.Text), r.Hash
	j, err := journal.Create(r.Path, h)
	if err != nil {
		return err
	}
	r.journal, r.result = j, &experiment.Result{Header: h}
	return nil
}

// run measures until there is a reason to end. An empty reason means that not even
// that can be written, as when the disk is full.
func (r *runner) run(ctx context.Context) (how, text string, err error) {
	r.begun = r.Now()
	cal := schedule.Calibration(r.Plan)
	for i, it := range cal {
		if how, text, err := r.block(ctx, it, "calibration", i, len(cal)); how != "" || err != nil {
			return how, text, err
		}
	}
	v := r.judge()
	if why := judge.Refusal(r.Plan, v.Calibration); why != "" {
		return experiment.EndRefused, why, nil
	}
	return r.compare(ctx)
}

// compare runs quad after quad, and looks when a declared number of pairs is reached.
func (r *runner) compare(ctx context.Context) (how, text string, err error) {
	var alive []int
	for v := 1; v < len(r.Plan.Variants); v++ {
		alive = append(alive, v)
	}
	looks := r.Plan.Design.Looks
	past := r.result.Looks // of an earlier run
	// Blocks that do not count cost a quad each; past thrice what would be needed
	// without them, the machine is not fit.
	most := 3 * (looks[len(looks)-1] + 1) / 2
	run := 0
	var gone []int // ended by themselves since the last look
	for quad := range most {
		items := schedule.Comparison(r.Plan, quad, alive)
		of := run + len(items)*max((looks[0]+1)/2-quad, 1)
		for _, it := range items {
			if how, text, err := r.block(ctx, it, "comparison", run, of); how != "" || err != nil {
				return how, text, err
			}
			run++
		}
		if alive, text = r.living(alive, &gone); len(alive) == 0 {
			return experiment.EndDecided, text, nil
		}
		pairs := judge.Pairs(r.Plan, r.seen(), alive)
		if len(looks) == 0 || pairs < looks[0] {
			continue
		}
		for len(looks) > 0 && pairs >= looks[0] {
			looks = looks[1:]
		}
		v := r.judge()
		stopped := judge.Hopeless(r.result.Header, r.seen(), v)
		var still []int
		look := experiment.Look{Pairs: pairs, Time: r.Now(), Outcome: v.Outcome, Stopped: gone}
		gone = nil
		for _, a := range alive {
			if stopped[a] != "" {
				look.Stopped = append(look.Stopped, a)
			} else {
				still = append(still, a)
			}
		}
		if len(past) > 0 {
			past = past[1:]
		} else if err := r.look(look); err != nil {
			return "", "", err
		}
		alive = still
		switch {
		case len(alive) == 0 || decided(v, alive):
			return experiment.EndDecided, "", nil
		case len(looks) == 0:
			return experiment.EndLooks, fmt.Sprintf("the last look, at %d pairs, is over", pairs), nil
		}
	}
	return experiment.EndRefused, fmt.Sprintf("after %d quads too few blocks count: %s", most, r.dropped()), nil
}

// decided says whether more pairs could change nothing that the plan asks for.
func decided(v *experiment.Verdict, alive []int) bool {
	for _, k := range v.Comparisons {
		for _, a := range alive {
			if k.Variant == a && k.Outcome == experiment.Undecided {
				return false
			}
		}
	}
	return true
}

// living are the variants that did not end by themselves where the baseline lived:
// those that did have failed, and have no pairs that a look could wait for. The text
// says how the last of them ended.
func (r *runner) living(alive []int, gone *[]int) (still []int, text string) {
	for _, v := range alive {
		if why := judge.Deaths(r.result.Header, r.seen(), v); why != "" {
			*gone, text = append(*gone, v), why
		} else {
			still = append(still, v)
		}
	}
	return still, text
}

// seen is the blocks up to where the run is. An earlier run's looks are taken
// again with what was known then, and so come out the same.
func (r *runner) seen() []experiment.Block { return r.result.Blocks[:r.at] }

func (r *runner) judge() *experiment.Verdict { return judge.Judge(r.result.Header, r.seen()) }

// dropped is the last reason why blocks do not count.
func (r *runner) dropped() string {
	for i := len(r.result.Blocks) - 1; i >= 0; i-- {
		if b := r.result.Blocks[i]; b.Invalid != "" {
			return fmt.Sprintf("block %d: %s", b.N, b.Invalid)
		}
	}
	return "pairs lack a half"
}

func (r *runner) look(l experiment.Look) error {
	if err := r.journal.Look(l); err != nil {
		return err
	}
	r.result.Looks = append(r.result.Looks, l)
	return nil
}

// block measures one block and keeps it, or takes the one that an earlier run
// measured.
func (r *runner) block(ctx context.Context, it schedule.Item, doing string, done, of int) (how, text string, err error) {
	if r.at < len(r.result.Blocks) {
		b := r.result.Blocks[r.at]
		if !it.Is(b) {
			err := fmt.Errorf("block %d is not the one that the plan's seed draws there (%s %s %d): the result is of another version of Heapwright, or was edited: run it anew", b.N, it.Phase, it.Design, it.Round)
			return experiment.EndRefused, err.Error(), err
		}
		r.at++
		return "", "", nil
	}
	if r.Now().Sub(r.begun) > r.Plan.Budget.Time {
		return experiment.EndBudget, fmt.Sprintf("the budget of %v is spent", r.Plan.Budget.Time), nil
	}
	p := Progress{Doing: doing, Done: done, Of: of}
	if r.blocks > 0 {
		p.Left = time.Duration(max(of-done, 0)) * (r.spent / time.Duration(r.blocks))
	}
	r.Progress(p)
	start := r.Now()
	b, err := r.Lab.Block(ctx, it)
	if err != nil && ctx.Err() == nil {
		// Once may be chance: a port that was taken, a machine that stood still. It is
		// kept with the block, as a program that seldom starts is no chance.
		why, _, _ := strings.Cut(err.Error(), "\n")
		b, err = r.Lab.Block(ctx, it)
		b.Retried = term.Cut(term.Clean(why), maxWhy)
	}
	if ctx.Err() != nil {
		return experiment.EndInterrupted, "interrupted; go on with --resume", nil
	}
	if err != nil {
		return experiment.EndRefused, err.Error(), err
	}
	b.N, b.Phase, b.Design, b.Round, b.Quad = len(r.result.Blocks), it.Phase, it.Design, it.Round, it.Quad
	b.Invalid = judge.Invalid(b)
	if err := r.journal.Block(b); err != nil {
		return "", "", err
	}
	r.result.Blocks = append(r.result.Blocks, b)
	r.at++
	r.spent += r.Now().Sub(start)
	r.blocks++
	p.Done, p.Block = done+1, &b
	r.Progress(p)
	unfit := new(judge.UnfitError)
	if err := judge.Fit(r.result.Header, r.seen()); errors.As(err, &unfit) {
		if unfit.Busy { // nobody's fault, and inconclusive
			return experiment.EndRefused, unfit.Why, nil
		}
		return experiment.EndRefused, unfit.Why, &UnfitError{Why: unfit.Why}
	}
	return "", "", nil
}
