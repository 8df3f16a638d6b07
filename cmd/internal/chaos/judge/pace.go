package judge

import (
	"slices"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
)

const (
	// turn is the time between two points of a machine that has the time.
	turn = 100 * time.Millisecond
	// paceWindow is for how long a turn that came late stays in a latency: as long as in its
	// 99th percentile, and until the answer is there.
	paceWindow = 6 * time.Second
	// mostLate bounds what one late turn excuses: who stood still for longer is not what
	// makes answers take long for seconds on end.
	mostLate = 100 * time.Millisecond
	// turns are how many turns a request waits for here: that of who sends it, and that of
	// who answers.
	turns = 2
)

// A pace is how late points came that are taken ten times a second, by the process that
// also sends the load: what the machine does to a control. A machine whose CPUs were
// taken since the baseline makes every answer late, and that is not the target's.
type pace struct {
	last  time.Duration
	begun bool
	late  []lateTurn
}

type lateTurn struct {
	at time.Duration
	by time.Duration
}

func (q *pace) add(at time.Duration) {
	by := at - q.last - turn
	if q.begun && by > 0 {
		q.late = append(q.late, lateTurn{at, by})
	}
	q.begun, q.last = true, at
	old := 0
	for old < len(q.late) && q.late[old].at < at-paceWindow {
		old++
	}
	q.late = slices.Delete(q.late, 0, old)
}

// waited is how much longer than usual, in seconds, requests waited for their turns.
func (q *pace) waited(usual time.Duration) float64 {
	worst := time.Duration(0)
	for _, l := range q.late {
		worst = max(worst, l.by)
	}
	return turns * max(0, min(worst, mostLate)-usual).Seconds()
}

// lateness is how late one in twenty of points was, or later.
func lateness(points []chaos.Point) time.Duration {
	var late []float64
	for i := 1; i < len(points); i++ {
		late = append(late, float64(max(0, points[i].At-points[i-1].At-turn)))
	}
	if len(late) < leastPoints {
		return 0
	}
	slices.Sort(late)
	return time.Duration(quantile(late, 0.95))
}

// isLatency reports whether a metric has in it how long requests waited for their turn.
func isLatency(m chaos.Metric) bool { return m == chaos.LatencyP50 || m == chaos.LatencyP99 }

// unhurried is a latency without what requests waited longer than before any fault.
func unhurried(before []chaos.Point) func(chaos.Point) (float64, bool) {
	usual, q := lateness(before), &pace{}
	return func(p chaos.Point) (float64, bool) {
		q.add(p.At)
		v, ok := value(p, chaos.LatencyP99)
		return max(0, v-q.waited(usual)), ok
	}
}
