package judge

import (
	"fmt"
	"math"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
	"github.com/heapwright/heapwright/cmd/internal/experiment/paired"
)

// biasAlpha is two-sided, over all metrics of the plan (Holm): how often a sound
// experiment is refused for a bias of its calibration. It is small since each
// experiment has one.
const biasAlpha = 0.01

// leeway is how far below the smallest margin that the calibration allows a
// declared margin may lie: twelve pairs know a spread to about a fifth.
const leeway = 0.75

// Calibrate is what comparing the baseline with itself says about each metric.
func Calibrate(p *experiment.Plan, blocks []experiment.Block) []experiment.Calibration {
	var out []experiment.Calibration
	var ps []float64
	var primary []int
	c := &court{plan: p}
	for _, m := range experiment.Metrics() {
		if m.Family == experiment.Pause || m.Family == experiment.Once {
			continue
		}
		design := c.design(m)
		pairs := pairsOf(blocks, experiment.PhaseCalibration, design, 0)
		s := seriesOf(pairs, m, false)
		if len(pairs) > 0 && s.why != "" && p.Role(m.Name) != experiment.RoleExploratory {
			out = append(out, experiment.Calibration{Name: m.Name, Design: design, Bias: 1, Failed: "it cannot be judged here: " + s.why})
			continue
		}
		if len(s.d) < 2 || s.why != "" {
			continue
		}
		iv := paired.SignedRank(s.d, 0.025)
		k := experiment.Calibration{
			Name: m.Name, Design: design, N: len(s.d), Sigma: paired.SD(s.d),
			Bias: s.ratio(iv.Estimate), Low: s.ratio(iv.Low), High: s.ratio(iv.High),
			ACF1:     paired.Autocorrelation(s.d),
			Smallest: paired.SmallestMargin(paired.SD(s.d), last(p.Design.Looks)),
		}
		if p.Role(m.Name) != experiment.RoleExploratory {
			primary = append(primary, len(out))
			ps = append(ps, paired.SignFlip(s.d, p.Seed))
		}
		out = append(out, k)
	}
	for i, q := range paired.Holm(ps) {
		if k := &out[primary[i]]; q <= biasAlpha {
			k.Failed = fmt.Sprintf("the baseline differs from itself by %+.1f%% (p=%.3f): something else than the variant decides", 100*(k.Bias-1), q)
		}
	}
	return out
}

// alike says whether neighbouring pairs resemble each other by more than so few of
// them do by chance: the autocorrelation of n independent values has a standard
// deviation of about 1/sqrt(n).
func alike(k experiment.Calibration) bool {
	return k.N > 0 && k.ACF1 > max(0.3, 2/math.Sqrt(float64(k.N)))
}

// Refusal is why an experiment ends after its calibration, "" when it goes on.
func Refusal(p *experiment.Plan, cal []experiment.Calibration) string {
	for _, k := range cal {
		if k.Failed != "" {
			return k.Name + ": " + k.Failed
		}
		role := p.Role(k.Name)
		margin, _ := p.Margin(k.Name)
		if role == experiment.RoleGuard && k.Name != "error_ratio" && float64(margin) < leeway*k.Smallest {
			return fmt.Sprintf("%s: a margin of %.2g%% cannot be held here; the smallest that %d pairs can hold is %.2g%%: widen it, measure longer blocks, or look later",
				k.Name, 100*float64(margin), last(p.Design.Looks), 100*k.Smallest)
		}
	}
	return ""
}

func last(looks []int) int {
	if len(looks) == 0 {
		return 0
	}
	return looks[len(looks)-1]
}
