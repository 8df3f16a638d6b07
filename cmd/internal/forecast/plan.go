package forecast

import (
	"github.com/heapwright/heapwright/cmd/internal/diagnose/rule"
	"github.com/heapwright/heapwright/cmd/internal/tune"
	"github.com/heapwright/heapwright/record"
)

// A Plan is the settings to use, and why.
type Plan struct {
	Schema       string          `json:"schema"`
	Process      record.Process  `json:"process"`
	Objective    Objective       `json:"objective"`
	Chosen       Chosen          `json:"plan"`
	Current      Outlook         `json:"current"`
	Expected     Outlook         `json:"expected"`
	Why          []string        `json:"why"`
	Risk         []string        `json:"risk"`
	Falsifiers   []Falsifier     `json:"falsifiers"`
	Alternatives []Alternative   `json:"alternatives"`
	Notes        []string        `json:"notes"`
	Confidence   rule.Confidence `json:"confidence"`
	Reason       string          `json:"confidence_reason"`
	Parameters   []Parameter     `json:"parameters"`
}

// Chosen are the settings of a plan.
type Chosen struct {
	// Keep says that the settings in effect are as good as any: nothing is to be changed.
	Keep                  bool     `json:"keep"`
	GOGCPercent           int64    `json:"gogc_percent"`
	GOMEMLIMITBytes       int64    `json:"gomemlimit_bytes"`
	GOMAXPROCS            *int     `json:"gomaxprocs"` // null: leave it alone
	GOMAXPROCSAdvice      string   `json:"gomaxprocs_advice"`
	ContainerRequestBytes uint64   `json:"container_request_bytes"`
	ContainerLimitBytes   *uint64  `json:"container_limit_bytes"`
	NonGoBytes            uint64   `json:"non_go_bytes"`
	BesideBytes           uint64   `json:"beside_bytes"`
	SpareBytes            uint64   `json:"spare_bytes"`
	SetInCode             []string `json:"set_in_code"`
}

// An Objective is what a plan was made for.
type Objective struct {
	Name           string   `json:"name"`
	MaxGCCPURatio  *float64 `json:"max_gc_cpu_ratio"`
	MaxPauseRatio  *float64 `json:"max_pause_ratio"`
	MaxAssistRatio *float64 `json:"max_assist_ratio"`
	MemoryPrice    *float64 `json:"price_per_gib_hour"`
	CPUPrice       *float64 `json:"price_per_core_hour"`
}

// A Falsifier is what would show a plan to be wrong.
type Falsifier struct {
	Quantity string  `json:"quantity"`
	Above    float64 `json:"above"`
	Cycles   int     `json:"gc_cycles"`
	Text     string  `json:"text"`
}

// An Alternative is a setting that was not chosen.
type Alternative struct {
	Name     string  `json:"name"`
	Fits     bool    `json:"fits"`
	Lost     string  `json:"lost"`
	Forecast Outlook `json:"forecast"`
}

// kindNames are the names of objectives, in documents and for people.
var kindNames = map[tune.Kind]string{
	tune.LeastCPU: "least_gc_cpu", tune.LeastMemory: "least_memory", tune.Bound: "bound", tune.Price: "price",
}

func objectiveOf(o tune.Objective) Objective {
	return Objective{kindNames[o.Kind], nonZero(o.MaxGCCPURatio), nonZero(o.MaxPauseRatio), nonZero(o.MaxAssistRatio), nonZero(o.MemoryPrice), nonZero(o.CPUPrice)}
}

// PlanOf is a plan as JSON has it. Schema is that of the document.
func PlanOf(schema string, process record.Process, t Twin, p *tune.Plan) *Plan {
	list := func(s []string) []string { return append([]string{}, s...) }
	d := &Plan{
		Schema: schema, Process: process, Objective: objectiveOf(p.Objective), Current: OutlookOf(p.Current), Expected: OutlookOf(p.Expected),
		Why: list(p.Why), Risk: list(p.Risk), Falsifiers: []Falsifier{}, Alternatives: []Alternative{}, Notes: list(p.Notes),
		Confidence: p.Confidence, Reason: p.ConfidenceReason, Parameters: ParametersOf(t),
		Chosen: Chosen{
			Keep: p.Keep, GOGCPercent: p.Settings.GOGCPercent, GOMEMLIMITBytes: p.Settings.GOMEMLIMITBytes, GOMAXPROCS: nonZero(p.Settings.GOMAXPROCS),
			GOMAXPROCSAdvice: p.GOMAXPROCS, ContainerRequestBytes: p.Container.RequestBytes, ContainerLimitBytes: nonZero(p.Container.LimitBytes),
			NonGoBytes: p.Reserve.NonGoBytes, BesideBytes: p.Reserve.BesideBytes, SpareBytes: p.Reserve.SpareBytes, SetInCode: list(p.SetInCode),
		},
	}
	for _, f := range p.Falsifiers {
		d.Falsifiers = append(d.Falsifiers, Falsifier(f))
	}
	for _, a := range p.Alternatives {
		f := a.Forecast
		f.Settings = a.Settings
		d.Alternatives = append(d.Alternatives, Alternative{a.Name, a.Fits, a.Lost, OutlookOf(f)})
	}
	return d
}
