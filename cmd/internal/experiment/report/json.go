package report

import (
	"math"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
)

// Schema is the schema field of the document that --json prints.
const Schema = "heapwright.compare/1"

// A Document is a report as JSON. What is not known is null, never 0; ratios are
// of the variant to the baseline, and 1 is no difference.
type Document struct {
	Schema      string                `json:"schema"`
	Verdict     experiment.Outcome    `json:"verdict"` // PASS, FAIL, INCONCLUSIVE; of the best variant
	Reasons     []string              `json:"reasons"`
	Name        string                `json:"name"`
	File        *string               `json:"file"` // the result's
	PlanSHA256  *string               `json:"plan_sha256"`
	Seed        uint64                `json:"seed"`
	Tool        *string               `json:"tool"`
	Started     *time.Time            `json:"started"`
	Ended       *time.Time            `json:"ended"`     // null: it was cut off
	EndedHow    *string               `json:"ended_how"` // decided, looks, budget, interrupted, refused
	EndedText   *string               `json:"ended_text"`
	Pairs       int                   `json:"pairs"`  // valid, of the design with the fewest
	Blocks      int                   `json:"blocks"` // measured, calibration and invalid ones included
	Rate        *float64              `json:"rate_per_second"`
	Knee        *float64              `json:"knee_rate_per_second"`
	HostGrade   *string               `json:"host_grade"` // A, B, C
	Machine     MachineDocument       `json:"machine"`
	Variants    []VariantDocument     `json:"variants"`    // the first is the baseline
	Comparisons []ComparisonDocument  `json:"comparisons"` // one for each variant but the baseline
	Metrics     []MetricDocument      `json:"metrics"`     // of all comparisons, in their order: goal, guards, the rest
	Calibration []CalibrationDocument `json:"calibration"`
	Looks       []LookDocument        `json:"looks"`
	Dropped     []string              `json:"dropped"` // pairs, and why
	Warnings    []string              `json:"warnings"`
}

// A MachineDocument is where it ran.
type MachineDocument struct {
	CPU    *string `json:"cpu"`
	Cores  *int    `json:"cores"`
	Memory *uint64 `json:"memory_bytes"`
	Kernel *string `json:"kernel"`
	Cgroup *string `json:"cgroup"` // v1, v2, hybrid, none
}

// A VariantDocument is a variant and its program.
type VariantDocument struct {
	Name      string   `json:"name"`
	Settings  []string `json:"settings"` // what differs from the subject: GOGC=200
	GoVersion *string  `json:"go_version"`
	SHA256    *string  `json:"binary_sha256"`
	Bytes     *int64   `json:"binary_bytes"`
	Pareto    bool     `json:"pareto"` // no other is at least as good in everything, and better in something
}

// A ComparisonDocument is the verdict on a variant.
type ComparisonDocument struct {
	Variant    string             `json:"variant"`
	Verdict    experiment.Outcome `json:"verdict"`
	Reasons    []string           `json:"reasons"`
	Eliminated *string            `json:"eliminated"`   // why it was stopped early
	Same       bool               `json:"same_program"` // as the baseline, settings and limits too: an A/A
}

// A MetricDocument is what the pairs show about a metric of a variant.
type MetricDocument struct {
	Variant   string             `json:"variant"`
	Name      string             `json:"name"`
	Verdict   experiment.Finding `json:"verdict"`
	Ratio     *float64           `json:"ratio"`
	Low       *float64           `json:"ci_low"`
	High      *float64           `json:"ci_high"`
	Level     *float64           `json:"ci_level_ratio"` // two-sided
	N         int                `json:"n"`              // pairs
	Role      experiment.Role    `json:"role"`           // goal, guard, exploratory
	Design    string             `json:"design"`         // switchback, duet
	Margin    *float64           `json:"margin_ratio"`
	Baseline  *float64           `json:"baseline"` // median over blocks, in the unit of the name
	Value     *float64           `json:"value"`
	MorePairs *int               `json:"more_pairs"` // about how many would decide it
	P         *float64           `json:"p"`          // of no difference; sign-flip, two-sided
	Q         *float64           `json:"q"`          // exploratory metrics: Benjamini-Hochberg
	Sigma     *float64           `json:"log_ratio_sd"`
	Why       *string            `json:"why"`
	Forecast  *ForecastDocument  `json:"forecast"` // the twin's
}

// A ForecastDocument is what the twin said before.
type ForecastDocument struct {
	Ratio *float64 `json:"ratio"`
	Low   *float64 `json:"low"`
	High  *float64 `json:"high"`
}

// A CalibrationDocument is what comparing the baseline with itself says.
type CalibrationDocument struct {
	Name            string   `json:"name"`
	Design          string   `json:"design"`
	N               int      `json:"n"`
	Sigma           *float64 `json:"log_ratio_sd"`
	Bias            *float64 `json:"bias_ratio"`
	Low             *float64 `json:"ci_low"`
	High            *float64 `json:"ci_high"`
	Autocorrelation *float64 `json:"autocorrelation"`       // of neighbouring pairs
	Smallest        *float64 `json:"smallest_margin_ratio"` // that the plan's last look can hold
	Failed          *string  `json:"failed"`
}

// A LookDocument is a look that was taken.
type LookDocument struct {
	Pairs   int                `json:"pairs"`
	Time    *time.Time         `json:"time"`
	Verdict experiment.Outcome `json:"verdict"`
	Stopped []string           `json:"stopped"` // variants that were not run any longer
}

// Of is the report of a result as JSON has it. The verdict may be nil: it is then
// that with which the result ended. File is the result's name, and may be unknown.
func Of(r *experiment.Result, v *experiment.Verdict, file string) *Document {
	o := of(r, v, file)
	h := &o.Header
	d := &Document{
		Schema: Schema, Verdict: word(o.verdict.Outcome), Reasons: texts(o.verdict.Reasons), Name: o.plan.Name, File: nonZero(file),
		PlanSHA256: nonZero(h.PlanHash), Seed: o.plan.Seed, Tool: nonZero(h.Tool), Started: instant(h.Started),
		Pairs: o.verdict.Pairs, Blocks: len(o.Blocks), Rate: nonZeroFinite(h.Rate), HostGrade: nonZero(o.verdict.Grade),
		Machine:  MachineDocument{CPU: nonZero(h.Machine.CPU), Cores: nonZero(h.Machine.Cores), Memory: nonZero(h.Machine.Memory), Kernel: nonZero(h.Machine.Kernel), Cgroup: nonZero(h.Machine.Cgroup)},
		Variants: []VariantDocument{}, Comparisons: []ComparisonDocument{}, Metrics: []MetricDocument{}, Calibration: []CalibrationDocument{}, Looks: []LookDocument{},
		Dropped: texts(o.verdict.Dropped), Warnings: texts(o.verdict.Warnings),
	}
	if h.Knee != nil {
		d.Knee = nonZeroFinite(h.Knee.Rate)
	}
	if e := o.Ending; e != nil {
		d.Ended, d.EndedHow, d.EndedText = instant(e.Time), nonZero(e.How), nonZero(e.Text)
	}
	for i, v := range o.plan.Variants {
		b := o.build(i)
		d.Variants = append(d.Variants, VariantDocument{Name: o.plainName(i), Settings: append([]string{}, settings(v)...),
			GoVersion: nonZero(b.GoVersion), SHA256: nonZero(b.SHA256), Bytes: nonZero(b.Bytes), Pareto: o.onFront(i)})
	}
	for _, c := range o.verdict.Comparisons {
		name := o.plainName(c.Variant)
		d.Comparisons = append(d.Comparisons, ComparisonDocument{Variant: name, Verdict: word(c.Outcome), Reasons: texts(c.Reasons), Eliminated: nonZero(c.Eliminated), Same: c.Same})
		for _, m := range ordered(c.Metrics) {
			d.Metrics = append(d.Metrics, metricDocument(name, m))
		}
	}
	for _, c := range o.verdict.Calibration {
		d.Calibration = append(d.Calibration, CalibrationDocument{Name: c.Name, Design: c.Design, N: c.N, Sigma: finite(c.Sigma), Bias: ratio(c.Bias),
			Low: ratio(c.Low), High: ratio(c.High), Autocorrelation: finite(c.ACF1), Smallest: nonZeroFinite(c.Smallest), Failed: nonZero(c.Failed)})
	}
	for _, l := range o.Looks {
		doc := LookDocument{Pairs: l.Pairs, Time: instant(l.Time), Verdict: word(l.Outcome), Stopped: []string{}}
		for _, i := range l.Stopped {
			doc.Stopped = append(doc.Stopped, o.plainName(i))
		}
		d.Looks = append(d.Looks, doc)
	}
	return d
}

func metricDocument(variant string, m experiment.MetricVerdict) MetricDocument {
	d := MetricDocument{
		Variant: variant, Name: m.Name, Verdict: m.Verdict, Ratio: ratio(m.Ratio), Low: ratio(m.Low), High: ratio(m.High), Level: nonZeroFinite(m.Level), N: m.N,
		Role: m.Role, Design: m.Design, Margin: nonZeroFinite(m.Margin), Baseline: finite(m.Baseline), Value: finite(m.Value),
		MorePairs: nonZero(m.MorePairs), P: nonZeroFinite(m.P), Q: nonZeroFinite(m.Q), Sigma: finite(m.Sigma), Why: nonZero(m.Why),
	}
	if f := m.Forecast; f != nil {
		d.Forecast = &ForecastDocument{ratio(f.Ratio), ratio(f.Low), ratio(f.High)}
	}
	return d
}

// plainName is a variant's name as the plan has it: JSON escapes what it holds.
func (o *outcome) plainName(i int) string {
	if i >= 0 && i < len(o.plan.Variants) && o.plan.Variants[i].Name != "" {
		return o.plan.Variants[i].Name
	}
	return o.variant(i)
}

func texts(s []string) []string { return append([]string{}, s...) }

// finite returns nil, which JSON writes as null, for what is not a number.
func finite(v float64) *float64 {
	if math.IsNaN(v) || math.IsInf(v, 0) {
		return nil
	}
	return &v
}

// nonZeroFinite is for numbers where 0 is how "not known" is written.
func nonZeroFinite(v float64) *float64 {
	if v == 0 {
		return nil
	}
	return finite(v)
}

func ratio(v float64) *float64 {
	if !known(v) {
		return nil
	}
	return &v
}

func nonZero[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

// instant leaves out times that RFC 3339 cannot write.
func instant(t time.Time) *time.Time {
	t = t.UTC()
	if t.IsZero() || t.Year() < 0 || t.Year() > 9999 {
		return nil
	}
	return &t
}
