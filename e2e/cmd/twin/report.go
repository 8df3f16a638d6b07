package main

import (
	"fmt"
	"io"
	"math"
	"slices"
	"strings"
	"text/tabwriter"

	"github.com/heapwright/heapwright/e2e/internal/accuracy"
	"github.com/heapwright/heapwright/e2e/internal/subject"
)

// A regime is a part of the settings that is summed up by itself.
type regime struct {
	name string
	in   func(Case) bool
}

var regimes = []regime{
	{"all settings", func(c Case) bool { return true }},
	{"GOGC 25 to 400", func(c Case) bool { return c.Run.Setting.GOGCPercent >= 0 }},
	{"limits where GC uses up to a quarter of the CPUs", func(c Case) bool { return c.Run.Setting.GOGCPercent < 0 && !storms(c) }},
	{"real servers", func(c Case) bool { return server(c.Run.Subject) }},
	{"without the tiny heap, and without limits at the floor and next to storms", func(c Case) bool {
		name := c.Run.Setting.Name
		return c.Run.Subject != "tinyheap" && name != "off-floor" && !strings.HasPrefix(name, "off-storm")
	}},
	{"runs in which GC uses a hundredth of a core or more", func(c Case) bool { return c.Outcome != nil && c.Outcome.GCCPUCores >= 0.01 }},
	{"limits in the storm", func(c Case) bool { return c.Run.Setting.GOGCPercent < 0 && storms(c) }},
}

func server(name string) bool {
	return slices.ContainsFunc(subject.Servers(), func(s subject.Subject) bool { return s.Name == name })
}

func storms(c Case) bool {
	return c.Outcome != nil && rung(c.Run, c.Outcome).Storms()
}

// report prints the tables: the summary first, the single forecasts last.
func report(out io.Writer, cases []Case, storms []Storm) error {
	var scored, control []Case
	failed := 0
	for _, c := range cases {
		switch {
		case len(c.Values) == 0:
			failed++
		case c.Control:
			control = append(control, c)
		default:
			scored = append(scored, c)
		}
	}
	w := &errWriter{w: out}
	fmt.Fprintf(w, "Forecasts from one run at GOGC=100, against runs under other settings: %d runs of %s.\n", len(scored), plural(len(groups(scored, goSubject)), "program"))
	if failed > 0 {
		fmt.Fprintf(w, "%s could not be recorded.\n", plural(failed, "run"))
	}
	fmt.Fprintln(w, "Errors are absolute, in % of the measured value; of the GC share in percentage points. The twin's interval is to hold nine times out of ten.")
	fmt.Fprintln(w, "Naive is the goal formula alone. A/A are two runs at GOGC=100 against each other: what reality errs against itself.")
	for _, r := range regimes {
		var in []Case
		for _, c := range scored {
			if r.in(c) {
				in = append(in, c)
			}
		}
		if len(in) == 0 {
			continue
		}
		fmt.Fprintf(w, "\n%s (%s)\n", strings.ToUpper(r.name[:1])+r.name[1:], plural(len(in), "run"))
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
		fmt.Fprintln(t, "quantity\tmedian\tp90\tworst\tn\tbias\tin interval\tnaive median\tp90\tA/A median\tp90\tworst at\t")
		for i, q := range quantities {
			s, naive, again := q.summaries(i, in, of(control, in))
			fmt.Fprintf(t, "%s\t%.1f\t%.1f\t%.1f\t%d\t%+.1f\t%.0f%%\t%s\t%s\t%s\t%s\t%s\t\n", q.name, 100*s.Median, 100*s.P90, 100*s.Worst, s.N, 100*s.Bias,
				100*float64(s.Covered)/float64(s.N), known(naive, naive.Median), known(naive, naive.P90), known(again, again.Median), known(again, again.P90), at(in[s.WorstAt]))
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}

	fmt.Fprintf(w, "\nBy program, median / worst error\n")
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(t, "program\t")
	for _, q := range quantities {
		fmt.Fprintf(t, "%s\t", q.name)
	}
	fmt.Fprintln(t)
	for _, g := range groups(scored, goSubject) {
		fmt.Fprintf(t, "%s\t", g.name)
		for i, q := range quantities {
			s, _, _ := q.summaries(i, g.cases, nil)
			fmt.Fprintf(t, "%.1f / %.1f\t", 100*s.Median, 100*s.Worst)
		}
		fmt.Fprintln(t)
	}
	if err := t.Flush(); err != nil {
		return err
	}

	fmt.Fprintf(w, "\nWhere storms begin: the GOMEMLIMIT, with GOGC=off, below which the collector takes more than a quarter of all CPUs or its limiter steps in\n")
	t = tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(t, "program\tmeasured between\tabout, MiB\tforecast, MiB\tinterval\terror, %\t")
	for _, s := range storms {
		m := s.Measured
		e := accuracy.Comparison{Predicted: s.Predicted.Estimate, Measured: m.At}
		fmt.Fprintf(t, "%s %s\t%s and %s\t%s\t%s\t%s to %s\t%s\t\n", s.GoVersion, s.Subject, mebi(m.Below), mebi(m.Above), mebi(m.At), mebi(s.Predicted.Estimate),
			mebi(s.Predicted.Low), mebi(s.Predicted.High), percentOf(e))
	}
	if err := t.Flush(); err != nil {
		return err
	}

	var boundary []float64
	for _, s := range storms {
		if e := (accuracy.Comparison{Predicted: s.Predicted.Estimate, Measured: s.Measured.At}); e.Known() {
			boundary = append(boundary, e.Relative())
		}
	}
	if s := accuracy.Summarise(boundary, nil); s.N > 0 {
		fmt.Fprintf(w, "error of the boundary: median %.1f, p90 %.1f, worst %.1f %%, of %s with storms\n", 100*s.Median, 100*s.P90, 100*s.Worst, plural(s.N, "program"))
	}

	fmt.Fprintf(w, "\nEach run: forecast > measured, error; * is outside the interval\n")
	for _, g := range groups(cases, goSubject) {
		fmt.Fprintf(w, "\n%s\n", g.name)
		t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
		fmt.Fprint(t, "setting\tGOMEMLIMIT\t")
		for _, q := range quantities {
			fmt.Fprintf(t, "%s, %s\t\t", q.name, q.unit)
		}
		fmt.Fprintln(t, "notes")
		for _, c := range g.cases {
			limit := ""
			if c.Run.Setting.GOMEMLIMITBytes < math.MaxInt64 {
				limit = fmt.Sprintf("%.1f MiB", float64(c.Run.Setting.GOMEMLIMITBytes)/mib)
			}
			fmt.Fprintf(t, "%s\t%s\t", c.Run.Setting.Name, limit)
			for i, v := range c.Values {
				mark := ""
				if v.comparison().Known() && !v.comparison().Covered() {
					mark = "*"
				}
				fmt.Fprintf(t, "%s > %s\t%+.1f%s\t", digits(v.Predicted), digits(v.Measured), 100*quantities[i].errorOf(v.Predicted, v.Measured), mark)
			}
			for range len(quantities) - len(c.Values) {
				fmt.Fprint(t, "\t\t")
			}
			fmt.Fprintln(t, strings.Join(c.Notes, "; "))
		}
		if err := t.Flush(); err != nil {
			return err
		}
	}
	return w.err
}

// summaries sums up the i-th quantity: of the twin, of the formula, and of the
// control runs against the calibration.
func (q quantity) summaries(i int, cases, control []Case) (twin, naive, again accuracy.Summary) {
	var errs, naiveErrs, againErrs []float64
	var covered []bool
	for _, c := range cases {
		v := c.Values[i]
		errs = append(errs, q.errorOf(v.Predicted, v.Measured))
		covered = append(covered, v.comparison().Covered())
		naiveErrs = append(naiveErrs, q.errorOf(v.Naive, v.Measured))
	}
	for _, c := range control {
		againErrs = append(againErrs, q.errorOf(c.Values[i].Again, c.Values[i].Measured))
	}
	return accuracy.Summarise(errs, covered), accuracy.Summarise(naiveErrs, nil), accuracy.Summarise(againErrs, nil)
}

// of are the control runs of the programs of other cases.
func of(control, cases []Case) []Case {
	programs := groups(cases, goSubject)
	return slices.DeleteFunc(slices.Clone(control), func(c Case) bool {
		return !slices.ContainsFunc(programs, func(g group) bool { return g.name == goSubject(c) })
	})
}

type group struct {
	name  string
	cases []Case
}

func groups(cases []Case, by func(Case) string) []group {
	var out []group
	for _, c := range cases {
		name := by(c)
		i := slices.IndexFunc(out, func(g group) bool { return g.name == name })
		if i < 0 {
			i = len(out)
			out = append(out, group{name: name})
		}
		out[i].cases = append(out[i].cases, c)
	}
	return out
}

func goSubject(c Case) string { return c.Run.GoVersion + " " + c.Run.Subject }

func at(c Case) string { return goSubject(c) + " " + c.Run.Setting.Name }

func known(s accuracy.Summary, v float64) string {
	if s.N == 0 {
		return "-"
	}
	return fmt.Sprintf("%.1f", 100*v)
}

func mebi(bytes float64) string {
	if math.IsNaN(bytes) {
		return "-"
	}
	return fmt.Sprintf("%.1f", bytes/mib)
}

func percentOf(c accuracy.Comparison) string {
	if !c.Known() {
		return "-"
	}
	return fmt.Sprintf("%+.1f", 100*c.Relative())
}

// digits shows a number with three digits or so.
func digits(v float64) string {
	switch a := math.Abs(v); {
	case a >= 100:
		return fmt.Sprintf("%.0f", v)
	case a >= 10:
		return fmt.Sprintf("%.1f", v)
	case a >= 1:
		return fmt.Sprintf("%.2f", v)
	}
	return fmt.Sprintf("%.3f", v)
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
