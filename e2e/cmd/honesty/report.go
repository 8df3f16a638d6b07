package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"runtime"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/heapwright/heapwright/e2e/internal/honesty"
)

func reportCommand(args []string, out io.Writer) error {
	dir, err := defaultDir()
	if err != nil {
		return err
	}
	fs := flag.NewFlagSet("report", flag.ContinueOnError)
	fs.StringVar(&dir, "dir", dir, "where experiments are kept")
	asJSON := fs.Bool("json", false, "print a document")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if !*asJSON {
		return store(dir).report(out)
	}
	all, err := store(dir).experiments()
	if err != nil {
		return err
	}
	enc := json.NewEncoder(out)
	enc.SetIndent("", "  ")
	return enc.Encode(count(all))
}

// threshold is the fixed one of the gates that are compared with.
const threshold = 0.15

// A Report is how often judgements were wrong, or right.
type Report struct {
	Kinds []KindReport `json:"kinds"`
}

// A KindReport is what came of the experiments of a kind.
type KindReport struct {
	Kind     string         `json:"kind"`
	Truth    string         `json:"truth"`
	Runs     int            `json:"runs"` // that came to an end
	Failed   int            `json:"failed"`
	Pairs    float64        `json:"pairs"` // in the mean
	First    time.Time      `json:"first"`
	Last     time.Time      `json:"last"`
	Seconds  float64        `json:"seconds"`            // of all together
	External float64        `json:"external_cpu_ratio"` // used by others, in the mean
	Grades   map[string]int `json:"host_grades"`
	Outcomes map[string]int `json:"verdicts"`
	// Claimed is in how many runs the plan's goal was said to be better or worse, or
	// a guard to be worse: what a verdict is made of. It is false where there is
	// nothing to find.
	Claimed honesty.Rate `json:"claimed"`
	// Found is in how many runs the metric that is to show the harm was said to be
	// worse.
	Found   *honesty.Rate  `json:"found,omitempty"`
	Metrics []MetricReport `json:"metrics"`
}

// A MetricReport is in how many runs something was said of a metric. Where there is
// nothing to find, it is whatever was said; else that it is worse.
type MetricReport struct {
	Metric     string       `json:"metric"`
	Role       string       `json:"role"`
	Heapwright honesty.Rate `json:"heapwright"`
	Benchstat  honesty.Rate `json:"benchstat"`
	Threshold  honesty.Rate `json:"threshold_15_percent"`
	// Ratio is the median of the ratios that were measured, Sigma that of the
	// standard deviations of a pair's logarithm.
	Ratio float64 `json:"median_ratio"`
	Sigma float64 `json:"median_log_ratio_sd"`
}

// shown are exploratory metrics that are reported beside those of the plan.
var shown = []string{"alloc_bytes_per_request", "rss_mean_bytes", "latency_p50_seconds", "latency_p90_seconds"}

func kindNamed(name string) (kind, bool) {
	i := slices.IndexFunc(kinds, func(k kind) bool { return k.Name == name })
	if i < 0 {
		return kind{}, false
	}
	return kinds[i], true
}

func count(all []Experiment) Report {
	var r Report
	for _, k := range kinds {
		var of []Experiment
		kr := KindReport{Kind: k.Name, Truth: "nothing to find", Grades: map[string]int{}, Outcomes: map[string]int{}}
		if !k.null() {
			kr.Truth = k.Env
		}
		claimed, found := 0, 0
		for _, e := range all {
			if e.Kind != k.Name {
				continue
			}
			if e.Failed != "" {
				kr.Failed++
				continue
			}
			of = append(of, e)
			if kr.First.IsZero() || e.Started.Before(kr.First) {
				kr.First = e.Started
			}
			if end := e.Started.Add(time.Duration(e.Seconds * float64(time.Second))); end.After(kr.Last) {
				kr.Last = end
			}
			kr.Pairs += float64(e.Pairs)
			kr.Seconds += e.Seconds
			kr.External += e.External
			kr.Grades[e.Grade]++
			kr.Outcomes[e.Outcome]++
			if e.claims(k) {
				claimed++
			}
			if e.Findings[k.Finds].Verdict == "REGRESSED" {
				found++
			}
		}
		if kr.Runs = len(of); kr.Runs+kr.Failed == 0 {
			continue
		}
		kr.External /= float64(max(kr.Runs, 1))
		kr.Pairs /= float64(max(kr.Runs, 1))
		kr.Claimed = honesty.RateOf(claimed, kr.Runs)
		if !k.null() {
			rate := honesty.RateOf(found, kr.Runs)
			kr.Found = &rate
		}
		var metrics []string
		for _, d := range k.declared() {
			metrics = append(metrics, d.metric)
		}
		for _, m := range shown {
			if !slices.Contains(metrics, m) {
				metrics = append(metrics, m)
			}
		}
		for _, m := range metrics {
			kr.Metrics = append(kr.Metrics, countMetric(k, of, m))
		}
		r.Kinds = append(r.Kinds, kr)
	}
	return r
}

// claims says that the verdict claims something that is not the absence of harm.
func (e *Experiment) claims(k kind) bool {
	for i, d := range k.declared() {
		f := e.Findings[d.metric]
		if f.Verdict == "REGRESSED" || i == 0 && f.Verdict == "IMPROVED" {
			return true
		}
	}
	return false
}

// countMetric counts the runs that have the metric.
func countMetric(k kind, of []Experiment, metric string) MetricReport {
	r := MetricReport{Metric: metric}
	var ours, runs, benchstat, fixed, peers int
	var ratios, sigmas []float64
	for i := range of {
		e := &of[i]
		f, ok := e.Findings[metric]
		if ok {
			runs++
			r.Role = f.Role
			ratios = append(ratios, f.Ratio)
			sigmas = append(sigmas, f.Sigma)
			if k.null() && f.claims() || f.Verdict == "REGRESSED" {
				ours++
			}
		}
		blocks := e.of(metric)
		if len(blocks) == 0 || k.Duet {
			continue
		}
		peers++
		a, b := honesty.Arms(blocks)
		said := honesty.Worse(a, b)
		if k.null() {
			a, b = honesty.Halves(blocks)
			said = true
		}
		if said && honesty.Benchstat(a, b) {
			benchstat++
		}
		if said && honesty.Threshold(a, b, threshold) {
			fixed++
		}
	}
	r.Heapwright, r.Benchstat, r.Threshold = honesty.RateOf(ours, runs), honesty.RateOf(benchstat, peers), honesty.RateOf(fixed, peers)
	r.Ratio, r.Sigma = median(ratios), median(sigmas)
	return r
}

func median(v []float64) float64 {
	if len(v) == 0 {
		return 0
	}
	slices.Sort(v)
	return (v[(len(v)-1)/2] + v[len(v)/2]) / 2
}

// report prints the tables.
func (s store) report(out io.Writer) error {
	all, err := s.experiments()
	if err != nil {
		return err
	}
	if len(all) == 0 {
		return errors.New("there are no results: honesty run makes them")
	}
	r := count(all)
	fmt.Fprintf(out, "\nMeasured on %d CPUs. Intervals are exact (Clopper and Pearson), 95%%.\n", runtime.NumCPU())
	for _, k := range r.Kinds {
		said := "SAID ANYTHING, and was wrong"
		if k.Truth != "nothing to find" {
			said = "FOUND IT TO BE WORSE"
		}
		fmt.Fprintf(out, "\n%s: %s. %d runs of %.1f pairs in the mean, %s to %s UTC (%.0f minutes); %d failed; others used %.0f%% of the CPU in the mean; grades %v; verdicts %v\n",
			k.Kind, k.Truth, k.Runs, k.Pairs, k.First.Format("2006-01-02 15:04"), k.Last.Format("15:04"), k.Seconds/60, k.Failed, 100*k.External, k.Grades, k.Outcomes)
		fmt.Fprintf(out, "goal better or worse, or a guard worse: %v\n", k.Claimed)
		if k.Found != nil {
			fmt.Fprintf(out, "found: %v\n", k.Found)
		}
		fmt.Fprintln(out)
		w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
		fmt.Fprintf(w, "%s\theapwright\tbenchstat\t±15%%\tratio\tsigma\n", said)
		for _, m := range k.Metrics {
			fmt.Fprintf(w, "%s (%s)\t%v\t%v\t%v\t%.3f\t%.1f%%\n", m.Metric, m.Role, m.Heapwright, m.Benchstat, m.Threshold, m.Ratio, 100*m.Sigma)
		}
		if err := w.Flush(); err != nil {
			return err
		}
	}
	return nil
}
