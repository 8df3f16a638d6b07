package main

import (
	"bytes"
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/heapwright/heapwright/e2e/internal/jsonl"
)

// The results stand between these lines in the page.
const (
	resultsBegin = "<!-- results: written by agentcost report -->"
	resultsEnd   = "<!-- end of results -->"
)

func reportCommand(args []string, out io.Writer) error {
	dir, err := defaultDir()
	if err != nil {
		return err
	}
	flags := flag.NewFlagSet("report", flag.ContinueOnError)
	flags.StringVar(&dir, "dir", dir, "where results are kept")
	into := flags.String("into", "", "a `page` whose results are replaced; printed if empty")
	if err := flags.Parse(args); err != nil {
		return err
	}
	runs, err := jsonl.Read[Run](filepath.Join(dir, resultsFile))
	if err != nil {
		return err
	}
	if len(runs) == 0 {
		return errors.New("there are no results: agentcost run makes them")
	}
	bench, err := os.ReadFile(filepath.Join(dir, benchFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var text bytes.Buffer
	for i := range runs {
		runs[i].write(&text)
	}
	writeBench(&text, string(bench))
	writeGoals(&text, runs, string(bench))
	if *into == "" {
		_, err := out.Write(text.Bytes())
		return err
	}
	page, err := os.ReadFile(*into)
	if err != nil {
		return err
	}
	before, rest, ok := bytes.Cut(page, []byte(resultsBegin+"\n"))
	_, after, ok2 := bytes.Cut(rest, []byte(resultsEnd+"\n"))
	if !ok || !ok2 {
		return fmt.Errorf("writing the results into %s: it needs the lines %q and %q", *into, resultsBegin, resultsEnd)
	}
	page = slices.Concat(before, []byte(resultsBegin+"\n"), text.Bytes(), []byte(resultsEnd+"\n"), after)
	return os.WriteFile(*into, page, 0o644)
}

const mib = 1 << 20

func (r *Run) write(w io.Writer) {
	n := 0
	for _, o := range r.Observers {
		n = max(n, len(o.Programs[0].Cores))
	}
	fmt.Fprintf(w, "\n### %d processes, %s UTC\n\n", r.Processes, r.Started.Format(time.DateTime))
	fmt.Fprintf(w, "%d CPUs, %s, %s, commit %s. %d windows of %g s, the first %g s after the observers watched everything. ", r.CPUs, r.Machine, r.Kernel, r.Commit, n, r.Window, r.Settle)
	if r.SubjectCores > 0 {
		fmt.Fprintf(w, "The processes used %.2f of a core together, what else ran on the machine %.2f. ", r.SubjectCores, r.OthersCores)
	}
	fmt.Fprintf(w, "Load average (1, 5, 15 min) at the begin %s, at the end %s. %s\n\n", r.Load[0], r.Load[1], r.Note)
	fmt.Fprintln(w, "| observer | CPU, % of one core (95%) | of it in the kernel | RSS, MiB: mean | highest | anonymous | file |\n|---|---|---|---|---|---|---|")
	for _, o := range r.Observers {
		total := Program{Name: "**" + o.Name + "**"}
		if len(o.Programs) > 1 {
			for _, p := range o.Programs {
				total.add(&p)
			}
			total.write(w)
			for _, p := range o.Programs {
				p.Name = "– " + p.Name
				p.write(w)
			}
			continue
		}
		total.add(&o.Programs[0])
		total.write(w)
	}
	if r.SubjectCores == 0 {
		return // the end is missing
	}
	fmt.Fprintln(w, "\n| observer | readings/s | points stored/s | series | rounds late | GC cycles missed | log and head, bytes a point | 20 series over all of it, ms: median | worst |\n|---|---|---|---|---|---|---|---|---|")
	for _, o := range r.Observers {
		if len(o.QuerySeconds) == 0 {
			fmt.Fprintf(w, "| %s | – | %.0f | %.0f | – | – | – | – | – |\n", o.Name, o.PointsPerSecond, o.Series)
			continue
		}
		fmt.Fprintf(w, "| %s | %.1f | %.0f | %.0f | %d | %d | %.1f | %.1f (n = %d) | %.1f |\n", o.Name, o.SamplesPerSecond, o.PointsPerSecond, o.Series, o.LateRounds, o.LostCycles,
			float64(o.WALBytes)/float64(max(o.Appended, 1)), 1000*median(o.QuerySeconds), len(o.QuerySeconds), 1000*slices.Max(o.QuerySeconds))
	}
	if p := r.Paint; p != nil {
		fmt.Fprintf(w, "\nThe fleet page of %d processes, nothing cached, %s: first contentful paint %.3f s (median of %d; worst %.3f s), rows after %.3f s (worst %.3f s).\n",
			p.Processes, p.Browser, median(p.First), len(p.First), slices.Max(p.First), median(p.Rows), slices.Max(p.Rows))
	}
}

// add adds what another program used at the same time.
func (p *Program) add(q *Program) {
	sumInto(&p.Cores, q.Cores)
	sumInto(&p.System, q.System)
	sumInto(&p.RSS, q.RSS)
	sumInto(&p.Anon, q.Anon)
	sumInto(&p.File, q.File)
	p.PeakRSS = slices.Max(p.RSS)
}

func sumInto[T float64 | uint64](to *[]T, from []T) {
	if *to == nil && from != nil {
		*to = make([]T, len(from))
	}
	for i, v := range from {
		(*to)[i] += v
	}
}

func (p *Program) write(w io.Writer) {
	m, half := interval(p.Cores)
	system, anon, file := "–", "–", "–"
	if len(p.System) > 0 {
		system, anon, file = fmt.Sprintf("%.2f", 100*mean(p.System)), fmt.Sprintf("%.0f", meanBytes(p.Anon)/mib), fmt.Sprintf("%.0f", meanBytes(p.File)/mib)
	}
	fmt.Fprintf(w, "| %s | %.2f ± %.2f | %s | %.0f | %.0f | %s | %s |\n", p.Name, 100*m, 100*half, system, meanBytes(p.RSS)/mib, float64(p.PeakRSS)/mib, anon, file)
}

func meanBytes(v []uint64) float64 {
	var sum float64
	for _, x := range v {
		sum += float64(x)
	}
	return sum / float64(max(len(v), 1))
}

// interval is the mean and half of its 95% interval, by Student's t. Windows that follow
// each other are not quite independent: it is a little too narrow.
func interval(v []float64) (m, half float64) {
	m = mean(v)
	n := float64(len(v))
	if n < 2 {
		return m, math.Inf(1)
	}
	var ss float64
	for _, x := range v {
		ss += (x - m) * (x - m)
	}
	// The 97.5% quantile of t, by its expansion around the normal's (Abramowitz and Stegun 26.7.5).
	const z = 1.959964
	d := n - 1
	t := z + (z*z*z+z)/(4*d) + (5*math.Pow(z, 5)+16*z*z*z+3*z)/(96*d*d)
	return m, t * math.Sqrt(ss/d/n)
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(v))
	return (s[(len(s)-1)/2] + s[len(s)/2]) / 2
}

func writeBench(w io.Writer, text string) {
	head, all := parseBench(text)
	if len(all) == 0 {
		return
	}
	fmt.Fprintf(w, "\n### Benchmarks\n\n%s.\n\n| benchmark | what it says |\n|---|---|\n", head)
	for _, b := range all {
		fmt.Fprintf(w, "| %s | %s |\n", strings.ReplaceAll(b.Name, "|", "\\|"), strings.Join(b.Values, ", "))
	}
}

// writeGoals holds what was measured against the goals that the agent was built with.
func writeGoals(w io.Writer, runs []Run, bench string) {
	_, all := parseBench(bench)
	fmt.Fprintln(w, "\n### Goals\n\n| goal | measured | met |\n|---|---|---|")
	line := func(goal, measured string, met bool) {
		word := "yes"
		if !met {
			word = "**no**"
		}
		fmt.Fprintf(w, "| %s | %s | %s |\n", goal, measured, word)
	}
	// The longest run has all that happens only now and then.
	long := slices.MaxFunc(runs, func(a, b Run) int {
		return cmp.Compare(float64(len(a.Observers[0].Programs[0].Cores))*a.Window, float64(len(b.Observers[0].Programs[0].Cores))*b.Window)
	})
	for _, o := range long.Observers {
		if !strings.HasPrefix(o.Name, "heapwright") {
			continue
		}
		p := &o.Programs[0]
		m, half := interval(p.Cores)
		line("at most 1% of one core, "+o.Name, fmt.Sprintf("%.2f ± %.2f%%", 100*m, 100*half), m <= 0.01)
		line("at most 120 MiB RSS, "+o.Name, fmt.Sprintf("%.0f MiB at most", float64(p.PeakRSS)/mib), p.PeakRSS <= 120*mib)
	}
	for _, r := range runs {
		if r.Paint != nil {
			line(fmt.Sprintf("first paint within 1 s with %d processes", r.Paint.Processes),
				fmt.Sprintf("%.2f s in the median, %.2f s at worst; rows after %.2f s", median(r.Paint.First), slices.Max(r.Paint.First), median(r.Paint.Rows)), slices.Max(r.Paint.First) < 1)
		}
	}
	for _, b := range all {
		for _, v := range b.Values {
			number, unit, _ := strings.Cut(v, " ")
			var f float64
			if _, err := fmt.Sscan(number, &f); err != nil {
				continue
			}
			switch {
			case unit == "B/sample":
				line("at most 2.5 bytes a stored sample, "+b.Name, v, f <= 2.5)
			case unit == "ms/query" && strings.HasPrefix(b.Name, "Query24h20Series"):
				line("20 series over 24 h within 100 ms, "+strings.TrimPrefix(b.Name, "Query24h20Series/"), v, f <= 100)
			case unit == "GiB/week/100":
				line("a week of 100 processes on disk, stated", v, true)
			}
		}
	}
}
