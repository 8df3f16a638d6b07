package view

import (
	"cmp"
	"math"
	"slices"
	"strconv"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/trend"
	"github.com/heapwright/heapwright/record"
)

// The kernel adds up memory.stat every two seconds, and what it says of a cgroup may be
// older than what it says of the process. What has been there at fewer looks in a row
// than this may never have been there.
const sureLooks = 3

// Sustained is the highest level that a series has held at three looks in a row.
func Sustained(pts []trend.Point) (float64, bool) {
	best, ok := math.Inf(-1), false
	for i := sureLooks - 1; i < len(pts); i++ {
		low := pts[i].V
		for _, p := range pts[i-sureLooks+1 : i] {
			low = min(low, p.V)
		}
		best, ok = max(best, low), true
	}
	return best, ok
}

// OthersAnon is the memory of processes that is charged to the container and is not
// this process's, as it was held. It is a lower bound when memory of this process is
// charged to another container, in which it was before.
func (v *View) OthersAnon() (float64, bool) {
	return Sustained(v.Combine(less, record.FieldCgroupAnonBytes, record.FieldRSSAnonBytes))
}

// OthersShmem is the shared memory, tmpfs included, that is charged to the container
// and that this process does not map.
func (v *View) OthersShmem() (float64, bool) {
	return Sustained(v.Combine(less, record.FieldCgroupShmemBytes, record.FieldRSSShmemBytes))
}

func less(x []float64) float64 { return max(0, x[0]-x[1]) }

// FixedPeak is the most of the container's memory that the kernel could not have
// dropped: that of processes, and shared memory. Swap is not reckoned with.
func (v *View) FixedPeak() (float64, bool) {
	return Sustained(v.Combine(func(x []float64) float64 { return x[0] + x[1] }, record.FieldCgroupAnonBytes, record.FieldCgroupShmemBytes))
}

// A Neighbour is another process of the container that had much memory.
type Neighbour struct {
	PID      string
	Name     string // as it called itself: to be quoted
	RSSBytes float64
}

// Neighbours are those that the recording tells of, the largest first.
func (v *View) Neighbours() []Neighbour {
	var all []Neighbour
	for _, e := range v.Rec.Events {
		if e.Kind != record.EventNeighbour {
			continue
		}
		rss, err := strconv.ParseUint(e.Data["rss_bytes"], 10, 63)
		pid, errPID := strconv.ParseUint(e.Data["pid"], 10, 31)
		if err != nil || errPID != nil {
			continue
		}
		n := Neighbour{strconv.FormatUint(pid, 10), e.Data["name"], float64(rss)}
		i := slices.IndexFunc(all, func(o Neighbour) bool { return o.PID == n.PID })
		if i < 0 {
			all = append(all, n)
			continue
		}
		all[i].Name, all[i].RSSBytes = n.Name, max(all[i].RSSBytes, n.RSSBytes)
	}
	slices.SortStableFunc(all, func(a, b Neighbour) int { return cmp.Compare(b.RSSBytes, a.RSSBytes) })
	return all
}
