package report

import (
	"encoding/json"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
)

// A hostile draws what a result should not have.
type hostile struct{ *rand.Rand }

func (h hostile) number() float64 {
	odd := []float64{math.NaN(), math.Inf(1), math.Inf(-1), 0, math.Copysign(0, -1), -1, 1, math.MaxFloat64, -math.MaxFloat64, math.SmallestNonzeroFloat64, 1e-300, 1e18, 0.5}
	if h.IntN(3) == 0 {
		return odd[h.IntN(len(odd))]
	}
	return math.Exp(4 * h.NormFloat64())
}

func (h hostile) text() string {
	odd := []string{"", "a", "<script>alert(1)</script>", "\x1b[31m", "]]>", "</style>", "{{.}}", "`|*_[x](y)", "\xff\xfe", "\u202e", "javascript:x", strings.Repeat("w", 3000), "'\"&", "-100", "\n\n# h", "%s%d%!", "gc_cpu_ratio", "duet"}
	return odd[h.IntN(len(odd))]
}

func (h hostile) texts() (out []string) {
	for range h.IntN(4) {
		out = append(out, h.text())
	}
	return out
}

func (h hostile) index() int {
	return []int{0, 1, 2, 3, -1, -7, 99, math.MaxInt, math.MinInt}[h.IntN(9)]
}

func (h hostile) metric() string {
	if h.IntN(8) == 0 {
		return h.text()
	}
	return experiment.Metrics()[h.IntN(len(experiment.Metrics()))].Name
}

func (h hostile) design() string {
	return []string{experiment.Switchback, experiment.Duet, h.text()}[h.IntN(3)]
}

func (h hostile) time() time.Time {
	return []time.Time{{}, startTime, startTime.Add(time.Hour), time.Unix(1<<40, 0), time.Unix(-1<<50, 0)}[h.IntN(5)]
}

func (h hostile) arm() experiment.Arm {
	a := experiment.Arm{Variant: h.index(), Slot: h.index(), Requests: h.Uint64(), Errors: h.Uint64(), End: experiment.End{How: h.text()}, Values: map[string]float64{}}
	if h.IntN(2) == 0 {
		a.Variant, a.Slot = h.IntN(3), h.IntN(2)
	}
	for range h.IntN(12) {
		a.Values[h.metric()] = h.number()
	}
	for range h.IntN(6) {
		a.Cycles = append(a.Cycles, experiment.Mark{At: h.number(), Pause: h.number()})
		a.Heap = append(a.Heap, experiment.Level{At: h.number(), Live: h.Uint64(), Goal: h.Uint64() >> h.IntN(64), RSS: h.Uint64() >> h.IntN(64)})
	}
	switch h.IntN(8) {
	case 0:
		a.Latency = (&made{rnd: h.Rand}).histogram(0.001, 0.01)
	case 1:
		a.Latency = h.text()
	}
	a.Audit = experiment.Audit{SlipP99: h.number(), CPUSeconds: h.number(), GCCycles: h.Uint64(), FirstError: h.text()}
	return a
}

func (h hostile) result() (*experiment.Result, *experiment.Verdict) {
	r := &experiment.Result{Header: experiment.Header{Tool: h.text(), Started: h.time(), PlanText: h.text(), PlanHash: h.text(), Rate: h.number(), NoForecast: h.text()}}
	if h.IntN(6) > 0 {
		p := &experiment.Plan{Name: h.text(), Seed: h.Uint64(), Load: experiment.Load{Arrivals: h.text()}, Design: experiment.Design{Looks: []int{h.index(), h.index()}}}
		for range h.IntN(5) {
			p.Variants = append(p.Variants, experiment.Variant{Name: h.text(), GOGC: h.text(), CPUQuota: h.number(), MemoryLimit: experiment.Bytes(h.Uint64()), Env: map[string]string{h.text(): h.text()}})
		}
		if h.IntN(2) == 0 {
			p.Goal = &experiment.Goal{Metric: h.metric(), Margin: experiment.Ratio(h.number())}
		}
		for range h.IntN(3) {
			p.Guards = append(p.Guards, experiment.Guard{Metric: h.metric(), Margin: experiment.Ratio(h.number())})
		}
		r.Header.Plan = p
	}
	r.Header.Builds = []experiment.Build{{Variant: h.index(), SHA256: h.text(), Bytes: h.Int64()}}
	r.Header.Machine = experiment.Machine{Kernel: h.text(), CPU: h.text(), Cores: h.index(), Memory: h.Uint64(), Cgroup: h.text()}
	if h.IntN(2) == 0 {
		r.Header.Knee = &experiment.Knee{Rate: h.number(), Tries: []experiment.KneeTry{{Variant: h.index(), Rate: h.number(), Achieved: h.number(), P99: h.number(), Why: h.text()}}}
	}
	for range h.IntN(30) {
		b := experiment.Block{N: h.index(), Phase: []experiment.Phase{experiment.PhaseCalibration, experiment.PhaseSwitchback, experiment.PhaseDuet, "x"}[h.IntN(4)], Design: h.design(), Round: h.IntN(4), Start: h.time(), Seconds: h.number()}
		for range h.IntN(4) {
			b.Arms = append(b.Arms, h.arm())
		}
		b.Host = experiment.Host{ExternalCPU: h.number(), Steal: h.number(), SlipP99: h.number()}
		if h.IntN(5) == 0 {
			b.Invalid = h.text()
		}
		r.Blocks = append(r.Blocks, b)
	}
	for range h.IntN(3) {
		r.Looks = append(r.Looks, experiment.Look{Pairs: h.index(), Time: h.time(), Stopped: []int{h.index()}, Outcome: experiment.Outcome(h.text())})
	}
	if h.IntN(2) == 0 {
		r.Ending = &experiment.Ending{Time: h.time(), How: h.text(), Text: h.text()}
	}
	if h.IntN(10) == 0 {
		return r, nil
	}
	v := &experiment.Verdict{Outcome: experiment.Outcome(h.text()), Reasons: h.texts(), Grade: h.text(), Pairs: h.index(), Dropped: h.texts(), Warnings: h.texts(), Front: []int{h.index(), h.index()}}
	for range h.IntN(4) {
		c := experiment.Comparison{Variant: h.index(), Outcome: experiment.Outcome(h.text()), Reasons: h.texts(), Eliminated: h.text(), Same: h.IntN(2) == 0}
		if h.IntN(2) == 0 {
			c.Variant = 1 + h.IntN(2)
		}
		for range h.IntN(12) {
			m := experiment.MetricVerdict{Name: h.metric(), Role: []experiment.Role{experiment.RoleGoal, experiment.RoleGuard, experiment.RoleExploratory, "x"}[h.IntN(4)], Design: h.design(), Baseline: h.number(), Value: h.number(),
				Ratio: h.number(), Low: h.number(), High: h.number(), Level: h.number(), Margin: h.number(), Verdict: []experiment.Finding{experiment.Improved, experiment.Regressed, experiment.Inconclusive, "<v>"}[h.IntN(4)],
				N: h.index(), MorePairs: h.index(), P: h.number(), Q: h.number(), Sigma: h.number(), Why: h.text()}
			if h.IntN(3) == 0 {
				m.Forecast = &experiment.Forecast{Ratio: h.number(), Low: h.number(), High: h.number()}
			}
			c.Metrics = append(c.Metrics, m)
		}
		v.Comparisons = append(v.Comparisons, c)
	}
	for range h.IntN(4) {
		v.Calibration = append(v.Calibration, experiment.Calibration{Name: h.metric(), Design: h.design(), N: h.index(), Sigma: h.number(), Bias: h.number(), Low: h.number(), High: h.number(), ACF1: h.number(), Smallest: h.number(), Failed: h.text()})
	}
	return r, v
}

// FuzzReport draws results that no experiment has, and reports them in every form.
func FuzzReport(f *testing.F) {
	for seed := range uint64(24) {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, seed uint64) {
		r, v := hostile{rand.New(rand.NewPCG(seed, 7))}.result()
		for _, opt := range []TextOptions{{}, {Width: int(seed % 120), All: true, File: "x"}} {
			var text strings.Builder
			if err := Text(&text, r, v, opt); err != nil {
				t.Fatal(err)
			}
			if i := strings.IndexFunc(text.String(), func(r rune) bool { return r < ' ' && r != '\n' || r == 0x7f || r == 0x202e }); i >= 0 {
				t.Errorf("a control character: %q", text.String()[i:min(i+20, text.Len())])
			}
		}
		if _, err := json.Marshal(Of(r, v, "x")); err != nil {
			t.Error(err)
		}
		if err := Markdown(io.Discard, r, v, "x"); err != nil {
			t.Error(err)
		}
		if err := Benchfmt(io.Discard, r); err != nil {
			t.Error(err)
		}
		var page strings.Builder
		if err := HTML(&page, r, v, "x"); err != nil {
			t.Fatal(err)
		}
		checkPage(t, strings.ReplaceAll(page.String(), "%s%d%!", ""))
	})
}

func TestManyVariants(t *testing.T) {
	p := plan("gogc-100")
	v := &experiment.Verdict{}
	for i := range 500 {
		p.Variants = append(p.Variants, experiment.Variant{Name: fmt.Sprintf("v%d", i)})
		c := experiment.Comparison{Variant: i + 1}
		for _, m := range experiment.Metrics() {
			c.Metrics = append(c.Metrics, experiment.MetricVerdict{Name: m.Name, Ratio: 1 + float64(i)/1000, Low: 0.9, High: 2, Baseline: 1, Value: 1, N: 10})
		}
		v.Comparisons = append(v.Comparisons, c)
	}
	r := &experiment.Result{Header: experiment.Header{Plan: p}}
	var page, md strings.Builder
	if err := HTML(&page, r, v, ""); err != nil {
		t.Fatal(err)
	}
	if page.Len() > 4<<20 {
		t.Errorf("a page of %d bytes", page.Len())
	}
	checkPage(t, page.String())
	if err := Markdown(&md, r, v, ""); err != nil {
		t.Fatal(err)
	}
	if md.Len() > 65536 {
		t.Errorf("%d bytes of Markdown, more than a comment may have", md.Len())
	}
}
