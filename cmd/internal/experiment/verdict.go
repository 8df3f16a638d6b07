package experiment

import "time"

// A Finding is what the pairs show about one metric.
type Finding string

// Findings. The margin decides what is the same. Without one a metric is
// exploratory: IMPROVED, REGRESSED or CHANGED where the pairs differ by more than
// chance, among all exploratory metrics; else INCONCLUSIVE.
const (
	Improved     Finding = "IMPROVED"
	NonInferior  Finding = "NON-INFERIOR"
	Equivalent   Finding = "EQUIVALENT"
	Regressed    Finding = "REGRESSED"
	Inconclusive Finding = "INCONCLUSIVE"
	Changed      Finding = "CHANGED"  // of a metric that has no good direction
	Unusable     Finding = "UNUSABLE" // zero or absent in some blocks, or refused on this host; Why says it
)

// An Outcome is the verdict on a variant, or on an experiment.
type Outcome string

// Outcomes: exit statuses 0, 1 and 3.
const (
	Pass      Outcome = "PASS"
	Fail      Outcome = "FAIL"
	Undecided Outcome = "INCONCLUSIVE"
)

// A Verdict is what an experiment shows. It follows from the plan and the blocks alone.
type Verdict struct {
	Outcome     Outcome       `json:"outcome"` // of the best variant: PASS when one passes, FAIL when all fail
	Reasons     []string      `json:"reasons"`
	Comparisons []Comparison  `json:"comparisons"` // a variant each, with the baseline
	Calibration []Calibration `json:"calibration,omitempty"`
	Grade       string        `json:"host_grade"` // A, B, C
	Pairs       int           `json:"pairs"`      // valid, of the design with the fewest
	Dropped     []string      `json:"dropped,omitempty"`
	Warnings    []string      `json:"warnings,omitempty"`
	Front       []int         `json:"pareto,omitempty"` // variants that no other beats in everything
}

// A Comparison is a variant against the baseline.
type Comparison struct {
	Variant    int             `json:"variant"`
	Outcome    Outcome         `json:"outcome"`
	Reasons    []string        `json:"reasons"`
	Metrics    []MetricVerdict `json:"metrics"`
	Eliminated string          `json:"eliminated,omitempty"`   // why it was stopped early
	Same       bool            `json:"same_program,omitempty"` // the same binary, settings and limits as the baseline: an A/A
}

// Metric finds what is said about a metric; ok is false when nothing is.
func (c Comparison) Metric(name string) (mv MetricVerdict, ok bool) {
	for _, mv := range c.Metrics {
		if mv.Name == name {
			return mv, true
		}
	}
	return MetricVerdict{}, false
}

// A MetricVerdict is what the pairs show about one metric. Ratios are variant over baseline.
type MetricVerdict struct {
	Name      string    `json:"name"`
	Role      Role      `json:"role"`
	Design    string    `json:"design"`
	Baseline  float64   `json:"baseline"` // median over blocks
	Value     float64   `json:"value"`
	Ratio     float64   `json:"ratio"`
	Low       float64   `json:"ci_low"`
	High      float64   `json:"ci_high"`
	Level     float64   `json:"ci_level"` // two-sided: 0.90, or wider when there are looks
	Margin    float64   `json:"margin_ratio,omitempty"`
	Verdict   Finding   `json:"verdict"`
	N         int       `json:"n"`
	MorePairs int       `json:"more_pairs,omitempty"` // about how many would decide it; 0 is unknown
	P         float64   `json:"p,omitempty"`          // of a difference; sign-flip, two-sided
	Q         float64   `json:"q,omitempty"`          // exploratory metrics: Benjamini-Hochberg
	Sigma     float64   `json:"sigma"`                // of the log ratios
	Why       string    `json:"why,omitempty"`
	Forecast  *Forecast `json:"forecast,omitempty"` // the twin's, where there is one
}

// A Forecast is what the twin said before: a ratio to the baseline.
type Forecast struct {
	Ratio float64 `json:"ratio"`
	Low   float64 `json:"low"`
	High  float64 `json:"high"`
}

// A Calibration is what comparing the baseline with itself says about a metric.
type Calibration struct {
	Name     string  `json:"name"`
	Design   string  `json:"design"`
	N        int     `json:"n"`
	Sigma    float64 `json:"sigma"`
	Bias     float64 `json:"bias_ratio"`
	Low      float64 `json:"ci_low"`
	High     float64 `json:"ci_high"`
	ACF1     float64 `json:"autocorrelation"`
	Smallest float64 `json:"smallest_margin_ratio"` // that the plan's last look can hold
	Failed   string  `json:"failed,omitempty"`
}

// A Build is the program of a variant.
type Build struct {
	Variant   int    `json:"variant"`
	SHA256    string `json:"sha256"`
	GoVersion string `json:"go_version"`
	Module    string `json:"module,omitempty"`
	Settings  string `json:"settings,omitempty"`
	Bytes     int64  `json:"bytes"`
}

// A Header is what is known before the first block.
type Header struct {
	Schema   string    `json:"schema"` // ResultSchema
	Tool     string    `json:"tool"`
	Started  time.Time `json:"started"`
	PlanText string    `json:"plan_text"` // the file, as it was
	PlanHash string    `json:"plan_sha256"`
	Plan     *Plan     `json:"plan"`
	Builds   []Build   `json:"builds"`
	Rate     float64   `json:"rate_per_second"` // of one process
	Knee     *Knee     `json:"knee,omitempty"`
	// Forecasts are the twin's, of the variants that differ from the baseline in
	// what the twin knows: made before the first block, from one long look at the
	// baseline. By variant, then by metric.
	Forecasts  map[int]map[string]Forecast `json:"forecasts,omitempty"`
	NoForecast string                      `json:"no_forecast,omitempty"` // why there are none
	Machine    Machine                     `json:"machine"`
}

// A Machine is where an experiment ran.
type Machine struct {
	Kernel string `json:"kernel"`
	CPU    string `json:"cpu"`
	Cores  int    `json:"cores"`
	Memory uint64 `json:"memory_bytes"`
	Cgroup string `json:"cgroup"` // v1, v2, hybrid; none when limits cannot be set
}

// A Knee is the search for the highest rate that can be served.
type Knee struct {
	Rate  float64   `json:"rate_per_second"`
	Tries []KneeTry `json:"tries"`
}

// A KneeTry is one rate.
type KneeTry struct {
	Variant  int     `json:"variant"`
	Rate     float64 `json:"rate_per_second"`
	Achieved float64 `json:"achieved_per_second"`
	P99      float64 `json:"latency_p99_seconds"`
	Slip     float64 `json:"slip_p99_seconds"`
	Held     bool    `json:"held"`
	Why      string  `json:"why,omitempty"`
}

// ResultSchema is the schema of results.
const ResultSchema = "heapwright.result/1"

// A Result is an experiment that was run, whole or not.
type Result struct {
	Header Header
	Blocks []Block
	Looks  []Look
	Ending *Ending // nil when the experiment was cut off
}

// A Look is a verdict that was reached, or not, at a declared number of pairs.
type Look struct {
	Pairs   int       `json:"pairs"`
	Time    time.Time `json:"time"`
	Stopped []int     `json:"stopped,omitempty"` // variants that are not run any longer
	Outcome Outcome   `json:"outcome"`
}

// An Ending says that an experiment is whole, and how it ended.
type Ending struct {
	Time    time.Time `json:"time"`
	How     string    `json:"how"`
	Text    string    `json:"text,omitempty"`
	Verdict *Verdict  `json:"verdict"`
}

// How experiments end.
const (
	EndDecided     = "decided"
	EndLooks       = "looks"       // the last declared look was reached
	EndBudget      = "budget"      // of time
	EndInterrupted = "interrupted" // by a person; it can be resumed
	EndRefused     = "refused"     // by the calibration, or a subject that cannot be measured
)
