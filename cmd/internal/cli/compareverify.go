package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"

	"github.com/spf13/pflag"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
	"github.com/heapwright/heapwright/cmd/internal/experiment/journal"
	"github.com/heapwright/heapwright/cmd/internal/experiment/judge"
	"github.com/heapwright/heapwright/cmd/internal/experiment/planfile"
	runner "github.com/heapwright/heapwright/cmd/internal/experiment/run"
	"github.com/heapwright/heapwright/cmd/internal/experiment/schedule"
	"github.com/heapwright/heapwright/cmd/internal/term"
)

func verifyCommand() command {
	var asJSON bool
	return command{
		use:   "verify RESULT",
		short: "compute the verdict of a result again from its blocks",
		long: `
Holds every line of a result against its sum, the plan against its hash and its
text, the blocks against the order that the plan's seed draws, and what blocks
were left out for against their covariates; then computes the verdict from the
blocks, and says whether it is the one that the result has.

The exit code is that of the verdict: 0 PASS, 1 FAIL, 3 INCONCLUSIVE; or 2 when
something was changed, or the verdict is another.`,
		example: `
  heapwright compare verify tea.hwcmp
  heapwright compare verify tea.hwcmp --json | jq .same`,
		args:  exactly(1, "one result"),
		flags: func(f *pflag.FlagSet) { jsonFlag(f, &asJSON) },
		run: func(_ context.Context, env Env, args arguments) error {
			return verifyResult(env, asJSON, append(args.targets, args.command...)[0])
		},
	}
}

func compareReportCommand() command {
	var opt compareOutputs
	return command{
		use:   "report RESULT",
		short: "show a result again, in whatever form",
		long: `
Shows a result, whole or not, with the verdict that its blocks give. It runs
nothing, and its exit code is 0 whatever the verdict is.`,
		example: `
  heapwright compare report tea.hwcmp
  heapwright compare report tea.hwcmp --html tea.html --markdown tea.md
  heapwright compare report tea.hwcmp --benchfmt - | benchstat -col /variant -`,
		args:  exactly(1, "one result"),
		flags: opt.flags,
		run: func(_ context.Context, env Env, args arguments) error {
			path := append(args.targets, args.command...)[0]
			if err := opt.validate("compare report"); err != nil {
				return err
			}
			r, err := openResult(path)
			if err != nil {
				return err
			}
			if len(r.differences) > 0 {
				env.warnf("the verdict that %s has is not the one shown, which its blocks give: heapwright compare verify says more", path)
			}
			return opt.show(env, r.result, r.verdict, path)
		},
	}
}

// A judgedResult is a result that was read and judged anew.
type judgedResult struct {
	result      *experiment.Result
	sum         string
	verdict     *experiment.Verdict
	differences []string // between what the result says, and what follows from it
}

// openResult reads a result, and the plan in it from its text.
func openResult(path string) (*judgedResult, error) {
	r, sum, err := journal.ReadSum(path)
	if err != nil {
		return nil, err
	}
	h := &r.Header
	plan, err := planfile.Parse(h.Plan.Name+".yaml", []byte(h.PlanText))
	if err != nil {
		return nil, fmt.Errorf("reading the plan in %s: %w", path, err)
	}
	// --time sets the budget, which no verdict depends on.
	plan.Budget = h.Plan.Budget
	if !sameJSON(plan, h.Plan) {
		return nil, &journal.TamperedError{Path: path, Line: 1, Why: "has a plan that is not what its text says"}
	}
	h.Plan = plan
	j := &judgedResult{result: r, sum: sum, verdict: runner.Verdict(*h, r.Blocks, r.Ending)}
	j.compareWithStored()
	return j, nil
}

// maxDifferences bounds how many are said.
const maxDifferences = 20

func (j *judgedResult) differ(format string, args ...any) {
	if len(j.differences) < maxDifferences {
		j.differences = append(j.differences, fmt.Sprintf(format, args...))
	}
}

func (j *judgedResult) compareWithStored() {
	for _, b := range j.result.Blocks {
		says := b.Invalid
		b.Invalid = ""
		if now := judge.Invalid(b); (now == "") != (says == "") {
			j.differ("block %d counts: it says %s, and its covariates say %s", b.N, orNothing(says), orNothing(now))
		}
	}
	if err := schedule.Check(j.result.Header.Plan, j.result.Blocks, j.result.Looks); err != nil {
		j.differ("the order: %v", err)
	}
	if j.result.Ending == nil || j.result.Ending.Verdict == nil {
		return
	}
	stored, now := withoutWords(j.result.Ending.Verdict), withoutWords(asStored(j.verdict))
	if alike(stored, now) {
		return
	}
	if stored.Outcome != now.Outcome {
		j.differ("the verdict: it says %s, and the blocks give %s", stored.Outcome, now.Outcome)
	}
	findings := func(v *experiment.Verdict) map[string]experiment.MetricVerdict {
		m := map[string]experiment.MetricVerdict{}
		for _, c := range v.Comparisons {
			for _, mv := range c.Metrics {
				m[fmt.Sprintf("%d %s", c.Variant, mv.Name)] = mv
			}
		}
		return m
	}
	was := findings(stored)
	for _, c := range now.Comparisons {
		for _, mv := range c.Metrics {
			old, ok := was[fmt.Sprintf("%d %s", c.Variant, mv.Name)]
			if name := j.result.Header.Plan.Variants[c.Variant].Name; !ok {
				j.differ("%s, %s: it says nothing, and the blocks give %s", name, mv.Name, mv.Verdict)
			} else if !alike(old, mv) {
				j.differ("%s, %s: it says %s, %s [%s, %s], and the blocks give %s, %s [%s, %s]", name, mv.Name,
					old.Verdict, ratioDigits(old.Ratio), ratioDigits(old.Low), ratioDigits(old.High),
					mv.Verdict, ratioDigits(mv.Ratio), ratioDigits(mv.Low), ratioDigits(mv.High))
			}
		}
	}
	if len(j.differences) == 0 {
		j.differ("the verdict: its calibration, grade or front is not the one that the blocks give")
	}
}

// withoutWords is what a verdict says in numbers and findings. The sentences beside
// them may be put better by another release; those that are shown are always made
// from the blocks.
func withoutWords(v *experiment.Verdict) *experiment.Verdict {
	said := func(s string) string {
		if s == "" {
			return ""
		}
		return "said"
	}
	out := *v
	out.Reasons, out.Warnings, out.Dropped = nil, nil, nil
	out.Calibration = slices.Clone(v.Calibration)
	for i := range out.Calibration {
		c := &out.Calibration[i]
		c.Failed = said(c.Failed)
	}
	out.Comparisons = slices.Clone(v.Comparisons)
	for i := range out.Comparisons {
		c := &out.Comparisons[i]
		c.Reasons, c.Eliminated = nil, said(c.Eliminated)
		c.Metrics = slices.Clone(c.Metrics)
		for k := range c.Metrics {
			c.Metrics[k].Why = said(c.Metrics[k].Why)
		}
	}
	return &out
}

// asStored is a verdict as it is read from a result, which holds no infinities.
func asStored(v *experiment.Verdict) *experiment.Verdict {
	text, err := json.Marshal(v)
	out := new(experiment.Verdict)
	if err != nil || json.Unmarshal(text, out) != nil {
		return v
	}
	return out
}

func ratioDigits(r float64) string { return fmt.Sprintf("%.4f", r) }

func orNothing(s string) string {
	if s == "" {
		return "nothing against it"
	}
	return fmt.Sprintf("%q", s)
}

// sameJSON reports whether two values are written the same.
func sameJSON(a, b any) bool {
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}

// alike reports whether two verdicts say the same. Of numbers the last digits are
// left to the machine: another architecture rounds a product and a sum once where
// this one does twice, and has another logarithm.
func alike(a, b any) bool {
	plain := func(v any) (out any, err error) {
		text, err := json.Marshal(v)
		if err == nil {
			err = json.Unmarshal(text, &out)
		}
		return out, err
	}
	x, errX := plain(a)
	y, errY := plain(b)
	return errX == nil && errY == nil && alikeJSON(x, y)
}

func alikeJSON(a, b any) bool {
	switch a := a.(type) {
	case float64:
		b, ok := b.(float64)
		return ok && math.Abs(a-b) <= 1e-9*max(math.Abs(a), math.Abs(b), 1e-3) // what is nearly nothing has no digits
	case []any:
		b, ok := b.([]any)
		return ok && slices.EqualFunc(a, b, alikeJSON)
	case map[string]any:
		b, ok := b.(map[string]any)
		return ok && maps.EqualFunc(a, b, alikeJSON)
	}
	return a == b
}

// A verification is the document of compare verify --json.
type verification struct {
	Schema      string              `json:"schema"`
	File        string              `json:"file"`
	Same        bool                `json:"same"`
	Verdict     experiment.Outcome  `json:"verdict"`        // that the blocks give
	Stored      *experiment.Outcome `json:"stored_verdict"` // null: the experiment was not finished
	Differences []string            `json:"differences"`
	Reasons     []string            `json:"reasons"`
	Blocks      int                 `json:"blocks"`
	Dropped     int                 `json:"dropped_blocks"`
	PlanSHA256  string              `json:"plan_sha256"`
	Sum         string              `json:"sum"`
	Tool        string              `json:"tool"`
}

func verifyResult(env Env, asJSON bool, path string) error {
	r, err := openResult(path)
	if err != nil {
		return err
	}
	doc := verification{
		Schema: schemaVerify, File: path, Same: len(r.differences) == 0, Verdict: r.verdict.Outcome, Differences: append([]string{}, r.differences...),
		Reasons: append([]string{}, r.verdict.Reasons...), Blocks: len(r.result.Blocks), PlanSHA256: r.result.Header.PlanHash, Sum: r.sum, Tool: r.result.Header.Tool,
	}
	for _, b := range r.result.Blocks {
		if b.Invalid != "" {
			doc.Dropped++
		}
	}
	if e := r.result.Ending; e != nil && e.Verdict != nil {
		doc.Stored = &e.Verdict.Outcome
	}
	if asJSON {
		err = writeJSON(env.Stdout, doc)
	} else {
		err = doc.print(env)
	}
	switch {
	case err != nil:
		return err
	case !doc.Same:
		return &exitError{ExitCouldNotRun, hinted(fmt.Errorf("%s does not say what its blocks give", path),
			"it was edited, or judged by another version (%s): compare the blocks with its author's", doc.Tool)}
	}
	return exitWith(verdictCode(doc.Verdict))
}

func (d *verification) print(env Env) error {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		wrapped := term.Wrap(term.Clean(fmt.Sprintf(format, args...)), "         ", env.textColumns(env.Stdout))
		fmt.Fprintf(&b, "%-8s %s\n", name, strings.TrimPrefix(wrapped, "         "))
	}
	line("lines", "each has its sum; the last one's is %s", d.Sum)
	line("plan", "it is what its text says, with the hash %s", d.PlanSHA256)
	line("blocks", "%d, of which %d do not count", d.Blocks, d.Dropped)
	switch {
	case len(d.Differences) > 0:
		line("verdict", "%s: computed again, and NOT what the result says", d.Verdict)
		for _, s := range d.Differences {
			line("", "%s", s)
		}
	case d.Stored == nil:
		line("verdict", "%s: the experiment was not finished, and has none of its own", d.Verdict)
	default:
		line("verdict", "%s: computed again, and what the result says", d.Verdict)
	}
	for _, s := range d.Reasons {
		line("", "%s", s)
	}
	_, err := fmt.Fprint(env.Stdout, b.String())
	return err
}
