package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"math"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/heapwright/heapwright/e2e/internal/gain"
	"github.com/heapwright/heapwright/e2e/internal/ladder"
	"github.com/heapwright/heapwright/e2e/internal/stat"
)

func reportCommand(args []string, out io.Writer) error {
	dir, err := defaultDir()
	if err != nil {
		return err
	}
	fs := flag.NewFlagSet("report", flag.ContinueOnError)
	fs.StringVar(&dir, "dir", dir, "where the results are kept")
	if err := fs.Parse(args); err != nil {
		return err
	}
	return store(dir).report(out)
}

// report prints the tables: the summary first, what was measured of each program
// after it.
func (s store) report(out io.Writer) error {
	groups, err := s.groups()
	if err != nil {
		return err
	}
	results, err := s.results()
	if err != nil {
		return err
	}
	if len(results) == 0 {
		return errors.New("there are no results: gain run makes them")
	}
	var one, several []Group
	for _, g := range groups {
		if len(g.Subjects) > 1 {
			several = append(several, g)
		} else {
			one = append(one, g)
		}
	}
	w := &errWriter{w: out}
	fmt.Fprintf(w, "\nMeasured on %d CPUs; %s. Ratios are geometric means over blocks, with 95%% intervals.\n", runtime.NumCPU(), seen(results))
	if len(one) > 0 {
		fmt.Fprint(w, "\nONE PROGRAM IN A BUDGET: the plan against the best of the others that lived and did their work\n\n")
		summary(w, one, results)
	}
	if len(several) > 0 {
		fmt.Fprint(w, "\nSEVERAL PROGRAMS IN ONE BUDGET: the plan against the best of the other splits that lived and did their work\n\n")
		summary(w, several, results)
	}
	for _, g := range groups {
		if err := g.detail(w, results); err != nil {
			return err
		}
	}
	return w.err
}

// seen says when, and how.
func seen(results []Result) string {
	enforced, seconds := 0, 0.0
	first, last := results[0].Started, results[0].Started
	machine := 0.0
	for _, r := range results {
		if r.Enforced {
			enforced++
		}
		seconds = r.Seconds
		if r.Started.Before(first) {
			first = r.Started
		}
		if r.Started.After(last) {
			last = r.Started
		}
		machine += r.MachineCores / float64(len(results))
	}
	return fmt.Sprintf("%s of %gs from %s to %s UTC, %d of them in a cgroup with the budget as its limit; the whole machine used %.2f cores in the mean",
		plural(len(results), "run"), seconds, first.Format("2006-01-02 15:04"), last.Format("15:04"), enforced, machine)
}

// summary is a table of the plans against their best rivals.
func summary(w io.Writer, groups []Group, results []Result) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "program\tbudget\tplan\tbest other\tGC CPU\tGC/other CPU\tall CPU\tRSS peak\tRSS mean\tverdict")
	for _, g := range groups {
		plan, rivals := g.series(results)
		row := []string{g.Name, mib(float64(g.Budget)), settingText(g.variant(planName)), "-", "-", "-", "-", "-", "-"}
		best, ok := gain.Best(rivals)
		verdict := ""
		switch {
		case g.NoPlan != "":
			verdict = "no plan: " + firstLine(g.NoPlan)
		case !plan.Worked():
			verdict = fmt.Sprintf("the plan did not do it: of %s, %d killed, %d failed, %s of the work left out",
				plural(plan.Killed+plan.Failed+len(plan.Values), "run"), plan.Killed, plan.Failed, number("%.1f%%", 100*plan.Mean(gain.LeftOut)))
		case !ok:
			verdict = "none of the others lived and did its work, the plan did"
		default:
			gc, rss := gain.Ratio(plan, best, gain.GCCores), gain.Ratio(plan, best, gain.RSSPeak)
			row = append(row[:3], best.Name, ratioText(gc), ratioText(gain.Ratio(plan, best, gain.PerWork)), ratioText(gain.Ratio(plan, best, gain.Cores)), ratioText(rss), ratioText(gain.Ratio(plan, best, gain.RSSMean)))
			if len(g.Subjects) > 1 {
				verdict = gain.SplitVerdict(gc)
			} else {
				verdict = gain.Verdict(gc, rss)
			}
		}
		fmt.Fprintln(t, strings.Join(append(row, verdict), "\t"))
	}
	t.Flush()
}

// series are the plan's and the others'.
func (g *Group) series(results []Result) (plan gain.Series, rivals []gain.Series) {
	for _, v := range g.Variants {
		s := series(results, g.Name, v.Name)
		if v.Name == planName {
			plan = s
		} else {
			rivals = append(rivals, s)
		}
	}
	return plan, rivals
}

// variant finds a variant's settings, nil when there is none.
func (g *Group) variant(name string) []ladder.Setting {
	i := slices.IndexFunc(g.Variants, func(v Variant) bool { return v.Name == name })
	if i < 0 {
		return nil
	}
	return g.Variants[i].Settings
}

// describe says how large the programs are, and the budget.
func (g *Group) describe() string {
	var parts []string
	for i, s := range g.Sizes {
		part := fmt.Sprintf("%s live, %s of the runtime beside it, %s not Go's", mib(s.LiveBytes), mib(s.RuntimeBytes), mib(s.NonGoBytes))
		if len(g.Sizes) > 1 {
			part = g.Subjects[i] + " " + part
		}
		parts = append(parts, part)
	}
	text := fmt.Sprintf("%s; budget %s", strings.Join(parts, "; "), mib(float64(g.Budget)))
	if g.Raised > 0 {
		text += fmt.Sprintf(", the smallest that works, instead of %s", mib(float64(g.Raised)))
	}
	switch {
	case g.NoPlan != "":
		text += "; no plan: " + firstLine(g.NoPlan)
	case g.Keep:
		text += "; the plan is to change nothing"
	}
	return text
}

// detail is what was measured of a group.
func (g *Group) detail(w *errWriter, results []Result) error {
	plan, rivals := g.series(results)
	fmt.Fprintf(w, "\n%s (%s): %s\n\n", g.Name, g.GoVersion, g.describe())
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "variant\tsettings\tn\tGC CPU, cores\tof all\tCPU, cores\tRSS peak\tRSS mean\tanon peak\tof budget\tkilled\tlimiter\tleft out\tplan/it: GC CPU\tRSS peak")
	all := rivals
	if g.variant(planName) != nil {
		all = append(all, plan)
	}
	for _, s := range all {
		against := "\t"
		if s.Name != planName && g.NoPlan == "" {
			against = ratioText(gain.Ratio(plan, s, gain.GCCores)) + "\t" + ratioText(gain.Ratio(plan, s, gain.RSSPeak))
		}
		n := len(s.Values) + s.Killed + s.Failed
		gc, cpu, anon := s.Mean(gain.GCCores), s.Mean(gain.Cores), s.Mean(gain.AnonPeak)
		fmt.Fprintf(t, "%s\t%s\t%d\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%d\t%d\t%s\t%s\n", s.Name, settingText(g.variant(s.Name)), n, number("%.4f", gc), number("%.1f%%", 100*gc/cpu), number("%.3f", cpu),
			mib(s.Mean(gain.RSSPeak)), mib(s.Mean(gain.RSSMean)), mib(anon), number("%.2f", anon/float64(g.Budget)), s.Killed, s.Limited(), number("%.1f%%", 100*s.Mean(gain.LeftOut)), against)
	}
	if err := t.Flush(); err != nil {
		return err
	}
	if g.Expected != nil && len(plan.Values) > 0 {
		gc, rss := plan.Mean(gain.GCCores), plan.Mean(gain.RSSPeak)
		e := g.Expected
		fmt.Fprintf(w, "The plan forecast %.4f [%.4f, %.4f] cores of GC CPU for itself (%s) and an RSS peak of %s [%s, %s] (%s).\n",
			e.GCCores.Estimate, e.GCCores.Low, e.GCCores.High, cameTrue(e.GCCores, gc), mib(e.RSSPeak.Estimate), mib(e.RSSPeak.Low), mib(e.RSSPeak.High), cameTrue(e.RSSPeak, rss))
	}
	for _, r := range results {
		if r.Group == g.Name && r.Failed != "" && !r.Killed {
			fmt.Fprintf(w, "%s, block %d, failed: %s\n", r.Variant, r.Block+1, firstLine(r.Failed))
		}
	}
	return w.err
}

func cameTrue(i Interval, v float64) string {
	if i.Holds(v) {
		return "the mean is in it"
	}
	return fmt.Sprintf("the mean is not in it: %+.0f%%", 100*(v/i.Estimate-1))
}

// line says what came of a run in a line.
func (r *Result) line() string {
	text := fmt.Sprintf("%s %s:", r.Group, r.Variant)
	for _, m := range r.Members {
		text += fmt.Sprintf(" %s GC %.4f of %.3f cores, %.1f cycles/s, RSS peak %s; %s;", settingText([]ladder.Setting{m.Setting}), m.GCCores, m.Cores, m.CyclesPerSecond, mib(m.RSSPeak), m.Said)
		if m.Limiter {
			text += " the limiter stepped in;"
		}
	}
	if r.Killed {
		text += " killed for want of memory;"
	}
	if r.Failed != "" {
		text += " " + firstLine(r.Failed)
	}
	return strings.TrimSuffix(text, ";")
}

// settingText writes GOGC and GOMEMLIMIT in short, of each program.
func settingText(all []ladder.Setting) string {
	var parts []string
	for _, s := range all {
		gogc, limit := fmt.Sprint(s.GOGCPercent), ""
		if s.GOGCPercent < 0 {
			gogc = "off"
		}
		if s.GOMEMLIMITBytes != math.MaxInt64 {
			limit = "/" + mib(float64(s.GOMEMLIMITBytes))
		}
		parts = append(parts, gogc+limit)
	}
	if parts == nil {
		return "-"
	}
	return strings.Join(parts, " ")
}

func ratioText(r stat.Ratio) string {
	switch {
	case math.IsNaN(r.Estimate):
		return "-"
	case math.IsNaN(r.Low):
		return fmt.Sprintf("%.2f", r.Estimate)
	}
	return fmt.Sprintf("%.2f [%.2f, %.2f]", r.Estimate, r.Low, r.High)
}

func mib(bytes float64) string { return number("%.0fMi", bytes/(1<<20)) }

// number is a dash for what is none.
func number(format string, v float64) string {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return "-"
	}
	return fmt.Sprintf(format, v)
}

func firstLine(s string) string {
	s, _, _ = strings.Cut(s, "\n")
	return s
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// An errWriter remembers the first error.
type errWriter struct {
	w   io.Writer
	err error
}

func (w *errWriter) Write(p []byte) (int, error) {
	if w.err == nil {
		_, w.err = w.w.Write(p)
	}
	return len(p), w.err
}
