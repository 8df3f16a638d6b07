package rule

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"strings"

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

// ProposalRemedy says which GOGC to set, what it costs and what it brings.
func ProposalRemedy(v *view.View, p view.Proposal) string {
	text := fmt.Sprintf("Set GOGC=%.0f: about %s more memory at the peak, within %s, and GC at about %s of the CPU.",
		p.GOGC, FormatBytes(p.More), p.Within, FormatPercent(p.Share))
	if limit := v.ContainerLimit(); limit > 0 {
		if s, ok := v.SizeLimit(limit); ok && s.Fits {
			text += fmt.Sprintf(" With it GOMEMLIMIT=%s, so that the container's limit holds.", MemLimit(s.GOMEMLIMIT))
		}
	}
	return text
}

// TopSites are the sites of a heap profile that allocate most, as evidence for
// people, and whether they were seen in the window rather than since the start.
func TopSites(v *view.View, n int) (sites []Site, window bool) {
	all, window := v.HeapSites()
	for _, s := range view.TopBy(all, n, func(s view.SiteDelta) float64 { return s.AllocBytes }) {
		sites = append(sites, At(s.Site, "allocates", FormatPercent(s.AllocShare)+" of allocated bytes"))
	}
	return sites, window
}

// growingSites bounds GrowingSites.
const growingSites = 5

// GrowingSites are the sites whose live bytes grew most between two heap profiles.
func GrowingSites(v *view.View) []Site {
	all, window := v.HeapSites()
	if !window {
		return nil
	}
	total := 0.0
	for _, s := range all {
		total += max(0, s.InUseBytes)
	}
	slices.SortStableFunc(all, func(a, b view.SiteDelta) int { return cmp.Compare(b.InUseBytes, a.InUseBytes) })
	var out []Site
	for _, s := range all {
		if len(out) == growingSites || s.InUseBytes <= 0 || s.InUseBytes < total/20 {
			break
		}
		out = append(out, At(s.Site, "allocates", fmt.Sprintf("+%s alive, %s of the growth", FormatBytes(s.InUseBytes), FormatPercent(s.InUseBytes/total))))
	}
	return out
}

// NamedSites says "A (f.go:1) 40%, B (g.go:2) 30%".
func NamedSites(sites []Site) string {
	parts := make([]string, len(sites))
	for i, s := range sites {
		parts[i] = s.String() + ", " + s.Text
	}
	return strings.Join(parts, "; ")
}
