package blackbox

import (
	"math"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/postmortem"
)

// A Look is what was seen of one limit at an instant.
type Look struct {
	At    time.Duration // of a clock that only rises
	Used  uint64        // bytes, without page cache that the kernel drops before it kills
	Limit uint64        // bytes; 0 for none
	// Demand is what the runtime means to take before its next collection, beyond the
	// memory that it holds already; 0 when that is not known, or nothing.
	Demand uint64
	// Stalled is how long tasks have waited for memory so far (PSI); 0 when not known.
	Stalled time.Duration
	// Bells says that the kernel notifies when the usage rises.
	Bells bool
}

// A Verdict is what to do after a Look.
type Verdict struct {
	Next    time.Duration // until the next look, at the latest
	Capture bool
	Why     string        // postmortem.WhyQuiet, "slope", "room", "goal", "pressure"
	Left    time.Duration // to the limit at the rate that is feared; Never when it is not approached
	Room    uint64        // bytes
	Rate    float64       // bytes per second that is feared

	at   time.Duration // of the look
	used uint64
}

// Never is a time that does not come.
const Never = time.Duration(math.MaxInt64)

// Why captures are taken, beside postmortem.WhyQuiet.
const (
	whySlope    = "slope"    // at this rate the limit is near in time
	whyRoom     = "room"     // so little is left that it could be used up during a capture
	whyGoal     = "goal"     // the heap's goal lies beyond the limit
	whyPressure = "pressure" // tasks wait for memory
)

const (
	fastestLook = 5 * time.Millisecond
	slowestLook = 250 * time.Millisecond

	// lifetime is how long it takes the fastest growth that is reckoned with to fill an
	// empty group.
	lifetime = time.Second
	// looksAhead is how many looks there are to be before the limit can be reached.
	looksAhead = 6

	// A capture that was not followed by a kill stands for what comes after it until
	// the room is this share of what it was then.
	deeper = 0.6
	// firstTook stands for the duration of a capture until there was one.
	firstTook = 40 * time.Millisecond

	// purse is how many captures there may be at once for coming near the limit again
	// where the process was before, and refill is the time for one more.
	purse  = 6
	refill = 30 * time.Minute

	// grain is by how much the kernel's usage may jump without any growth: it charges
	// 64 pages ahead for each CPU (mm/memcontrol.c, MEMCG_CHARGE_BATCH).
	grain = 1 << 20
)

// A Trigger says when to capture and how soon to look again, for one process and one
// limit. It decides by time: how long it takes to reach the limit at the rate that is
// feared, held against how long captures take. It reads no clock and has no effects.
// The zero value, with Quiet set, is ready.
type Trigger struct {
	// Quiet is between captures while nothing is wrong, 0 for none. First is when the
	// first of them is due: not all processes at once.
	Quiet time.Duration
	First time.Duration

	past    [64]point
	n, next int

	limit     uint64
	captured  bool
	took      time.Duration // of a capture, at worst lately
	at        time.Duration // of the last capture
	usedAt    uint64        // what was used then
	quiet     time.Duration // of the last quiet one
	hadQuiet  bool
	deepest   float64 // room at the deepest capture, as a share of the limit; relaxes with time
	relaxed   time.Duration
	coins     float64
	paid      time.Duration
	calm      time.Duration // since when the usage hardly moved
	calmUsed  uint64
	stalled   time.Duration
	stalledAt time.Duration
	stall     float64 // share of the time in which tasks waited for memory
	began     bool
}

type point struct {
	at   time.Duration
	used float64
}

// point is the i-th newest, 0 the newest.
func (t *Trigger) point(i int) *point { return &t.past[(t.next-1-i+2*len(t.past))%len(t.past)] }

// Captured says that a capture was taken as a verdict wanted, and how long it took.
func (t *Trigger) Captured(v Verdict, took time.Duration) {
	t.captured = true
	t.at, t.usedAt = v.at, v.used
	t.took = max(took, t.took*9/10)
	if v.Why == postmortem.WhyQuiet {
		t.quiet, t.hadQuiet = v.at, true
	}
	if t.limit == 0 {
		return
	}
	share := max(0, float64(t.limit)-float64(v.used)) / float64(t.limit)
	if v.Why != postmortem.WhyQuiet && t.deepest > 0 && share > t.deepest*deeper {
		t.coins--
	}
	if t.deepest == 0 || share < t.deepest {
		t.deepest, t.relaxed = share, v.at
	}
}

// Look takes what was seen, and says what to do. Looks must be in the order of time.
func (t *Trigger) Look(l Look) Verdict {
	t.take(l)
	v := Verdict{Left: Never, Next: slowestLook, at: l.At, used: l.Used}
	took := t.took
	if took == 0 {
		took = firstTook
	}
	if l.Limit == 0 {
		v.Capture, v.Why = t.isQuiet(l.At, Never, took), postmortem.WhyQuiet
		return v
	}
	room := max(0, float64(l.Limit)-float64(l.Used))
	share := room / float64(l.Limit)
	v.Room = uint64(room)
	rate, gain := t.rate()
	v.Rate = rate
	v.Left = reach(room, rate, gain)

	// What could happen from now on, whatever happened so far.
	soonest := time.Duration(share * float64(lifetime))
	next := float64(min(v.Left, soonest)) / looksAhead
	if still := l.At - t.calm; still > 10*time.Second && v.Left > time.Minute {
		// It has lived here for a while: the kernel rings if it moves.
		most := 3.0
		if l.Bells {
			most = 8
		}
		next *= min(most, 1+float64(still-10*time.Second)/float64(10*time.Second))
	}
	if t.stall > 0.1 {
		next /= 2
	}
	v.Next = min(max(time.Duration(next), fastestLook), slowestLook)

	horizon := max(3*lifetime/2, 15*took)
	goal := l.Demand > 0 && float64(l.Demand) > room
	if goal || t.stall > 0.1 {
		horizon *= 2
	}
	// Room that is gone before a capture begun at the next look could end.
	lack := float64(took*3/2+v.Next) / float64(lifetime)
	switch {
	case v.Left <= horizon && goal:
		v.Why = whyGoal
	case v.Left <= horizon:
		v.Why = whySlope
	case share <= lack:
		v.Why = whyRoom
	case t.stall > 0.2 && share < 0.3:
		v.Why = whyPressure
	}
	switch {
	case v.Why == "":
		v.Capture, v.Why = t.isQuiet(l.At, v.Left, took), postmortem.WhyQuiet
		if !v.Capture {
			v.Why = ""
		}
	case t.captured && l.At-t.at < 4*took:
		// The last one has just been.
	case t.deepest == 0 || share <= t.deepest*deeper && t.deepest > t.floor():
		v.Capture = true // nearer than ever
	case t.coins >= 1 && l.At-t.at >= patience(v.Left) && (t.moved(l.Used, t.usedAt) || l.At-t.at >= refill):
		v.Capture = true
	}
	return v
}

// patience is how long a capture of the same place is good for: less when the end seems
// near.
func patience(left time.Duration) time.Duration {
	switch {
	case left < lifetime:
		return lifetime
	case left < 10*time.Second:
		return 10 * time.Second
	case left < time.Minute:
		return time.Minute
	}
	return 10 * time.Minute
}

// floor is a room, as a share of the limit, in which there are no places that differ.
func (t *Trigger) floor() float64 { return max(0.004, 2*grain/float64(t.limit)) }

// moved reports whether the usage is another than it was: by more than grains and noise.
func (t *Trigger) moved(used, was uint64) bool {
	return math.Abs(float64(used)-float64(was)) > max(grain, 0.01*float64(t.limit))
}

// isQuiet reports whether a capture is due that others can be held against: at a moment
// from which the limit is far.
func (t *Trigger) isQuiet(now, left, took time.Duration) bool {
	if t.Quiet <= 0 || t.captured && now-t.at < 10*took {
		return false
	}
	if !t.hadQuiet {
		// One that grows is not waited with.
		return now >= t.First || left < time.Minute
	}
	return now-t.quiet >= t.Quiet && left > 30*lifetime
}

// take notes a look.
func (t *Trigger) take(l Look) {
	if !t.began {
		t.began = true
		t.coins, t.paid, t.relaxed, t.calm, t.calmUsed = purse, l.At, l.At, l.At, l.Used
		t.stalled, t.stalledAt = l.Stalled, l.At
		t.First += l.At
	}
	if l.Limit != t.limit {
		// A limit that moves is another place: what was survived there says nothing.
		if t.limit == 0 || math.Abs(float64(l.Limit)-float64(t.limit)) > 0.02*float64(t.limit) {
			t.deepest = 0
		}
		t.limit = l.Limit
	}
	t.past[t.next] = point{l.At, float64(l.Used)}
	t.next = (t.next + 1) % len(t.past)
	t.n = min(t.n+1, len(t.past))
	t.coins = min(purse, t.coins+float64(l.At-t.paid)/float64(refill))
	t.paid = l.At
	if t.deepest > 0 && l.At-t.relaxed >= refill {
		t.deepest, t.relaxed = min(1, t.deepest*1.5), l.At
	}
	if t.moved(l.Used, t.calmUsed) {
		t.calm, t.calmUsed = l.At, l.Used
	}
	if d := l.At - t.stalledAt; d >= 200*time.Millisecond {
		t.stall = 0
		if l.Stalled >= t.stalled && t.stalled > 0 {
			t.stall = min(1, float64(l.Stalled-t.stalled)/float64(d))
		}
		t.stalled, t.stalledAt = l.Stalled, l.At
	}
}

// spans are the windows over which a rate is taken.
var spans = [...]time.Duration{30 * time.Millisecond, 100 * time.Millisecond, 300 * time.Millisecond, time.Second, 3 * time.Second, 10 * time.Second}

// rate is the rate of growth that is feared, in bytes per second: the highest of those
// over windows of several lengths, each at the upper end of what the scatter of its
// points allows; and by how much it rises per second.
func (t *Trigger) rate() (rate, gain float64) {
	now := t.point(0)
	var rates, middles []float64
	var room [2 * len(spans)]float64
	rates, middles = room[:0:len(spans)], room[len(spans):len(spans)]
	i := 1
	// Sums for a straight line through the points, the newest being the origin.
	var n, sx, sy, sxx, sxy, syy float64 = 1, 0, 0, 0, 0, 0
	for _, span := range spans {
		for i < t.n && now.at-t.point(i).at <= span {
			p := t.point(i)
			x, y := (p.at - now.at).Seconds(), p.used-now.used
			n, sx, sy, sxx, sxy, syy = n+1, sx+x, sy+y, sxx+x*x, sxy+x*y, syy+y*y
			i++
		}
		det := n*sxx - sx*sx
		if n < 2 || det <= 0 {
			continue
		}
		slope := (n*sxy - sx*sy) / det
		base := (sy - slope*sx) / n
		var scatter float64
		if n > 2 {
			rest := max(0, syy-base*sy-slope*sxy)
			scatter = math.Sqrt(rest / (n - 2) * n / det)
		}
		// A jump of one grain is no growth.
		length := -t.point(i-1).at.Seconds() + now.at.Seconds()
		sure := slope - grain/max(length, 1e-3)
		high := min(slope+2*scatter, 3*slope)
		if sure <= 0 || high <= 0 {
			continue
		}
		rates, middles = append(rates, high), append(middles, -sx/n)
		rate = max(rate, high)
	}
	// Rising when the short windows are faster than the long ones.
	for k := 1; k < len(rates); k++ {
		if d := middles[k] - middles[0]; d > 0 && rates[0] > rates[k] {
			gain = max(gain, (rates[0]-rates[k])/d)
		}
	}
	return rate, gain
}

// reach is the time in which a rate that rises uses up the room.
func reach(room, rate, gain float64) time.Duration {
	if room <= 0 {
		return 0
	}
	if rate <= 0 {
		return Never
	}
	seconds := room / rate
	if gain > 0 {
		// rate*t + gain*t*t/2 = room
		seconds = min(seconds, (math.Sqrt(rate*rate+2*gain*room)-rate)/gain)
	}
	if seconds > 1e9 {
		return Never
	}
	return time.Duration(seconds * float64(time.Second))
}
