package rule

import (
	"fmt"
	"math"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/view"
)

// MemLimitUp writes a size in whole MiB, rounded up.
func MemLimitUp(v float64) string { return MemLimit(math.Ceil(v/(1<<20)) * (1 << 20)) }

// SizingRemedy says which GOMEMLIMIT fits the container, how it was computed,
// and, when the live heap has no room in it, what the container would need.
func SizingRemedy(s view.Sizing) string {
	how := fmt.Sprintf("%s of the container minus %s outside of Go minus %s of reserve",
		FormatBytes(s.Limit), FormatBytes(s.Outside), FormatBytes(s.Reserve))
	if s.Fits {
		return fmt.Sprintf("Set GOMEMLIMIT=%s (%s) and leave GOGC as it is.", MemLimit(s.GOMEMLIMIT), how)
	}
	return fmt.Sprintf("Raise the container's limit to at least %s and set GOMEMLIMIT=%s, or make less live: the live heap is %s. "+
		"In today's container only GOMEMLIMIT=%s fits (%s), which leaves the collector less than half of its room at GOGC=100: it would run all the time.",
		MemLimitUp(s.ContainerFor(s.Need)), MemLimitUp(s.Need), FormatBytes(s.Live), MemLimit(s.GOMEMLIMIT), how)
}
