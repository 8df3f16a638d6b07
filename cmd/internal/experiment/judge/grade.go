package judge

import (
	"math"
	"slices"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
)

// Bounds of the grades, of external CPU with steal: HW-AB/1, 2.2.
const (
	gradeA = 0.10
	gradeB = 0.50
)

// Grade says how quiet the machine was: A when others had less than 10% of its
// CPUs, B up to 50%, C above. It goes by the third quartile: three of four blocks
// had no more than that. CPU that a hypervisor took away counts as others'. It is
// empty when there are no blocks.
func Grade(hosts []experiment.Host) string {
	var others []float64
	for _, h := range hosts {
		x := h.ExternalCPU + h.Steal
		if math.IsNaN(x) {
			x = 1 // what is not known is not quiet
		}
		others = append(others, x)
	}
	if len(others) == 0 {
		return ""
	}
	slices.Sort(others)
	switch x := others[(3*len(others)+3)/4-1]; {
	case x < gradeA:
		return "A"
	case x <= gradeB:
		return "B"
	}
	return "C"
}
