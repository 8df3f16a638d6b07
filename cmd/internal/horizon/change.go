package horizon

import (
	"math"
	"slices"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/trend"
)

// maxBlocks is how many medians a series is condensed to before changes are looked for.
const maxBlocks = 96

// A segment is a stretch in which one straight line holds.
type segment struct {
	from, to   int     // blocks, to excluded
	start, end float64 // the line at its ends
	slope      float64
}

func (s *segment) rise() float64 { return s.end - s.start }

const (
	// leastSegment is the fewest blocks that are a segment.
	leastSegment = 5
	// changePenalty is what a further segment costs, in variances of the noise and
	// logarithms of the number of blocks: three numbers are fitted to each (Bayes'
	// information criterion), and as much again because neighbouring blocks are not
	// independent.
	changePenalty = 8
	// leastNoise is what of the level counts as noise where there is less: a change of the
	// trend that is smaller is of no consequence.
	leastNoise = 0.003
)

// segments cuts blocks where their trend changes: the cut of least cost among all, by
// optimal partitioning (Jackson et al., 2005; with the pruning of PELT, Killick, Fearnhead
// and Eckley, 2012), where the cost of a segment is the squared distance of its blocks
// from their line. Lone blocks that stick out are levelled first.
func segments(blocks []trend.Point) []segment {
	n := len(blocks)
	pts := slices.Clone(blocks)
	for i := 1; i+1 < n; i++ {
		pts[i].V = median([]float64{blocks[i-1].V, blocks[i].V, blocks[i+1].V})
	}
	penalty := changePenalty * noise(blocks) * math.Log(float64(n))
	sums := newSums(pts)
	best := make([]float64, n+1) // the least cost of the first i blocks
	prev := make([]int, n+1)
	best[0] = -penalty
	starts := []int{0}
	for i := leastSegment; i <= n; i++ {
		best[i] = math.Inf(1)
		costs := make([]float64, len(starts))
		for k, s := range starts {
			costs[k] = best[s] + sums.cost(s, i)
			if i-s >= leastSegment && costs[k]+penalty < best[i] {
				best[i], prev[i] = costs[k]+penalty, s
			}
		}
		// What is beaten by more than a segment costs never comes back.
		keep := starts[:0]
		for k, s := range starts {
			if i-s < leastSegment || costs[k] <= best[i] {
				keep = append(keep, s)
			}
		}
		starts = keep
		if s := i - leastSegment + 1; s >= leastSegment && !math.IsInf(best[s], 1) {
			starts = append(starts, s)
		}
	}
	var out []segment
	for i := n; i > 0; i = prev[i] {
		s := segment{from: prev[i], to: i}
		intercept, slope := sums.line(s.from, s.to)
		s.slope = slope
		s.start, s.end = intercept+slope*(pts[s.from].T-sums.t0), intercept+slope*(pts[s.to-1].T-sums.t0)
		out = append(out, s)
	}
	slices.Reverse(out)
	return out
}

// noise is the variance of blocks around what they do, from their second differences.
func noise(pts []trend.Point) float64 {
	d := make([]float64, 0, len(pts))
	levels := make([]float64, 0, len(pts))
	for i := range pts {
		levels = append(levels, math.Abs(pts[i].V))
		if i >= 2 {
			d = append(d, math.Abs(pts[i].V-2*pts[i-1].V+pts[i-2].V))
		}
	}
	sd := 1.4826 * median(d) / math.Sqrt(6)
	sd = max(sd, leastNoise*median(levels), 1)
	return sd * sd
}

// sums are running sums, with which the line through any run of blocks takes no loop.
type sums struct {
	t0, v0          float64
	t, v, tt, tv, w []float64
}

func newSums(pts []trend.Point) *sums {
	n := len(pts) + 1
	s := &sums{t0: pts[0].T, v0: pts[0].V,
		t: make([]float64, n), v: make([]float64, n), tt: make([]float64, n), tv: make([]float64, n), w: make([]float64, n)}
	for i, p := range pts {
		t, v := p.T-s.t0, p.V-s.v0
		s.t[i+1], s.v[i+1] = s.t[i]+t, s.v[i]+v
		s.tt[i+1], s.tv[i+1], s.w[i+1] = s.tt[i]+t*t, s.tv[i]+t*v, s.w[i]+v*v
	}
	return s
}

// moments are those of the blocks from i to j around their means.
func (s *sums) moments(i, j int) (mt, mv, tt, tv, vv float64) {
	n := float64(j - i)
	mt, mv = (s.t[j]-s.t[i])/n, (s.v[j]-s.v[i])/n
	tt = s.tt[j] - s.tt[i] - n*mt*mt
	tv = s.tv[j] - s.tv[i] - n*mt*mv
	vv = s.w[j] - s.w[i] - n*mv*mv
	return mt, mv, tt, tv, vv
}

func (s *sums) cost(i, j int) float64 {
	_, _, tt, tv, vv := s.moments(i, j)
	if tt <= 0 {
		return max(0, vv)
	}
	return max(0, vv-tv*tv/tt)
}

func (s *sums) line(i, j int) (intercept, slope float64) {
	mt, mv, tt, tv, _ := s.moments(i, j)
	if tt > 0 {
		slope = tv / tt
	}
	return s.v0 + mv - slope*mt, slope
}

// slowing is the time constant in which growth dies away: of the segments that rise one
// after the other and end now, each more slowly than the one before. 0 is that it does not.
func slowing(segs []segment, blocks []trend.Point) float64 {
	last := len(segs) - 1
	first := last
	for first > 0 && segs[first-1].slope > segs[first].slope && segs[first].slope > 0 && segs[first].start > segs[first-1].end-segs[first-1].rise()/2 {
		first--
	}
	if first == last {
		return 0
	}
	a, b := &segs[last-1], &segs[last]
	if last-first < 2 && b.to-b.from < 2*leastSegment || b.slope > 0.75*a.slope {
		return 0 // once, and lately, may be chance
	}
	mid := func(s *segment) float64 { return (blocks[s.from].T + blocks[s.to-1].T) / 2 }
	return (mid(b) - mid(a)) / math.Log(a.slope/b.slope)
}

// runOf is the first of the segments that rise one after the other, up to one, without
// falling back between.
func runOf(segs []segment, i int) int {
	for i > 0 && segs[i].slope > 0 && segs[i-1].slope > 0 && segs[i].start > segs[i-1].end-segs[i-1].rise()/2 {
		i--
	}
	return i
}

// within reports whether the rise that ends now is neither longer nor higher than rises
// before it that fell back: a cache that is emptied, a day that ends.
func within(segs []segment, blocks []trend.Point) bool {
	i := runOf(segs, len(segs)-1)
	lasts, now := blocks[len(blocks)-1].T-blocks[segs[i].from].T, segs[len(segs)-1].end
	// Rises before.
	for j := i - 1; j >= 0; {
		k := runOf(segs, j)
		if segs[j].slope > 0 {
			// It went on until the next began.
			end := blocks[segs[j+1].from].T
			gain, peak := segs[j].end-segs[k].start, segs[j].end+segs[j].slope*(end-blocks[segs[j].to-1].T)
			lowest := math.Inf(1)
			for _, s := range segs[j+1:] {
				lowest = min(lowest, s.start, s.end)
			}
			took := end - blocks[segs[k].from].T
			if gain > 0 && lowest < peak-gain/2 && lasts <= 1.25*took && now <= 1.05*peak {
				return true
			}
		}
		j = k - 1
	}
	return false
}
