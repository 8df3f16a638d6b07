package judge

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
	"github.com/heapwright/heapwright/cmd/internal/experiment/schedule"
)

// Limits on what a block may have suffered and still count. They are on
// covariates alone: to drop a block for its outcome would be to choose the verdict.
const (
	maxSteal = 0.10       // of the CPU, by the hypervisor
	maxSlip  = 1e-3       // seconds that half of the requests were sent late, with the generator to blame
	minShare = 0.9        // of the rate that the baseline must serve
	maxError = 0.10       // share of the baseline's requests that may fail
	fewest   = uint64(20) // requests below which nothing is said about a share
	enough   = 4          // blocks of the baseline after which its throughput is believed
)

// Invalid says why a block does not count, "" when it does.
func Invalid(b experiment.Block) string {
	if b.Host.Steal > maxSteal {
		return fmt.Sprintf("the hypervisor took %.0f%% of the CPU", 100*b.Host.Steal)
	}
	for _, a := range b.Arms {
		if a.Audit.SlipP50 > maxSlip {
			return fmt.Sprintf("the generator was the bottleneck: it sent half of the requests more than %.1f ms late", 1e3*a.Audit.SlipP50)
		}
	}
	return ""
}

// An UnfitError is a subject, or a load, that no experiment can be made with.
type UnfitError struct {
	Why string
	// Busy says that others kept the machine busy, so that it may be their doing.
	Busy bool
}

func (e *UnfitError) Error() string { return e.Why }

// Fit says whether the baseline serves the load at all: it is an *UnfitError when
// the last block, or all blocks together, show that it does not.
func Fit(h experiment.Header, blocks []experiment.Block) error {
	if len(blocks) == 0 {
		return nil
	}
	for _, a := range blocks[len(blocks)-1].Arms {
		if a.Variant != 0 {
			continue
		}
		if died(a) {
			return &UnfitError{Why: fmt.Sprintf("the baseline %q ended by itself under the load (%s): %s", h.Plan.Baseline().Name, a.End.How, orNothing(a.End.Text))}
		}
		if share := float64(a.Errors) / float64(a.Requests); a.Requests >= fewest && share > maxError {
			why := fmt.Sprintf("%.0f%% of the baseline's requests failed, the first with: %s", 100*share, orNothing(a.Audit.FirstError))
			if strings.Contains(a.Audit.FirstError, "no answer within") {
				why += ": perhaps the rate is above what it can serve here; lower it, or say `rate: knee`"
			}
			return &UnfitError{Why: why}
		}
	}
	var due, answered float64
	var hosts []experiment.Host
	n := 0
	for _, b := range blocks {
		hosts = append(hosts, b.Host)
		for _, a := range b.Arms {
			if got, ok := a.Values["throughput_per_second"]; ok && a.Variant == 0 {
				due += float64(a.Requests)
				answered += got * b.Seconds
				n++
			}
		}
	}
	// One block may have met a machine that stood still.
	if n >= enough && answered < minShare*due {
		e := &UnfitError{Why: fmt.Sprintf("the baseline answered %.0f of the %.0f requests that were due in time: the rate is above what it can serve here; lower it, or say `rate: knee`", answered, due)}
		if Grade(hosts) == "C" {
			e.Busy, e.Why = true, e.Why+"; or try again when the machine is less busy with other things"
		}
		return e
	}
	return nil
}

func orNothing(s string) string {
	if s == "" {
		return "it printed nothing"
	}
	return s
}

// Pairs is how many pairs count, of the design and the variant with the fewest. A
// variant that ended by itself has none, and is left out beside others.
func Pairs(p *experiment.Plan, blocks []experiment.Block, variants []int) int {
	c := &court{plan: p, blocks: blocks}
	if living := slices.DeleteFunc(slices.Clone(variants), func(v int) bool { return c.deaths(v) != "" }); len(living) > 0 {
		variants = living
	}
	least := math.MaxInt
	for _, v := range variants {
		for _, design := range schedule.Designs(p) {
			least = min(least, len(pairsOf(blocks, phaseOf(design), design, v)))
		}
	}
	if least == math.MaxInt {
		return 0
	}
	return least
}

// Deaths says how a variant failed to live where the baseline lived, "" when it
// lived, or when the baseline died as well.
func Deaths(h experiment.Header, blocks []experiment.Block, variant int) string {
	c := &court{header: h, plan: h.Plan, blocks: blocks}
	return c.deaths(variant)
}
