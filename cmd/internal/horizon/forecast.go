package horizon

import (
	"fmt"
	"math"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/trend"
	"github.com/heapwright/heapwright/cmd/internal/human"
)

// Options are what a forecast can be told.
type Options struct {
	Limit float64 // bytes, instead of the course's; 0: the course's
}

const (
	// ahead is how far is looked, in lengths of the time in which the trend held.
	ahead = 5
	// aheadYoung is the same while the trend is as old as the process: what it does then
	// may be its start, and as much again must go on.
	aheadYoung = 1
	young      = time.Minute // from the start of the process to that of the data
	// Furthest is how far is looked at most.
	Furthest = 30 * 24 * time.Hour

	overdue     = 3       // times that a cycle takes, after which the trend of cycles says nothing of now
	leastGrowth = 1 << 20 // bytes in the time of the trend, for a deadline
	hurts       = 0.25    // of the CPU; gc-cpu-high in the alerts goes by the same
	held        = 0.7     // of memory that the last cycle's goal must be, for growth to be kept
)

// An outlooker makes one forecast.
type outlooker struct {
	*Course
	limit        float64
	live, beside line
	hasLive      bool
	alloc        float64     // bytes a second by which the heap grows between cycles
	last         trend.Point // what the last cycle found
	reach        float64     // seconds ahead
	lead         *line       // the line that most of what is to come is of
}

// allocates is how many bytes a second the heap grew by from cycle to cycle, lately.
func (c *Course) allocates(live []trend.Point) float64 {
	var rates []float64
	for i := max(1, len(live)-8); i < len(live); i++ {
		if dt := live[i].T - live[i-1].T; dt > 0 {
			rates = append(rates, (c.peak(live[i-1].V)-live[i-1].V)/dt)
		}
	}
	return median(rates)
}

// Forecast says at an instant what the course up to then lets expect. What the course
// has of later is not looked at.
func Forecast(c *Course, now time.Time, opt Options) *Outlook {
	o := &Outlook{State: None, At: now, LimitBytes: c.Limit, SoftLimitBytes: c.SoftLimit}
	if opt.Limit > 0 {
		o.LimitBytes = opt.Limit
	}
	f := outlooker{Course: c, limit: o.LimitBytes}
	live, beside, used := c.series(now)
	var ok bool
	if len(live) >= leastPoints && len(beside) >= leastPoints {
		f.live, f.hasLive = fit(live)
		f.beside, ok = fit(beside)
		ok = ok && f.hasLive
		f.alloc, f.last = c.allocates(live), live[len(live)-1]
		// Where no cycle has ended for much longer than one takes, its trend is over.
		ok = ok && (!(f.alloc > 0) || -f.last.T <= overdue*max(f.climb(f.last.T), -live[0].T/float64(len(live))))
	}
	if !ok {
		// Too few cycles: memory itself, which rises whether it is garbage or not.
		f.hasLive = false
		if f.beside, ok = fit(used); !ok || len(used) < trend.MinPoints {
			o.Reason = fmt.Sprintf("too little is known yet: %d GC cycles, %d samples", len(live), len(used))
			return o
		}
	}
	o.Warning = inflection(c.Cycles, now)
	f.describe(o)
	f.judge(o, live)
	o.path = func(t time.Time) (mid, low, high float64) { return f.need(t.Sub(now).Seconds()) }
	return o
}

// rest is the memory beside the heap's peak at a time ahead, where it is high. It is below
// zero where the heap has not been at its goal yet: from that nothing grows beyond it.
func (f *outlooker) rest(t float64) float64 {
	v := f.beside.at(t)
	if f.hasLive && f.beside.at(0) < 0 {
		v = min(v, 0)
	}
	return v + f.beside.upper
}

// leading is the line that most of the growth up to a time ahead is of.
func (f *outlooker) leading(t float64) *line {
	if f.hasLive {
		heap := f.peak(max(0, f.live.at(t))) - f.peak(max(0, f.live.at(0)))
		if rest := f.rest(t) - f.rest(0); heap >= rest {
			return &f.live
		}
	}
	return &f.beside
}

// factor is by how much the peak grows with the live heap.
func (f *outlooker) factor() float64 {
	if !f.hasLive {
		return 0
	}
	at := max(f.live.at(0), 1)
	return max(0, f.peak(at*1.001)-f.peak(at)) / (at * 0.001)
}

// need is the peak of memory at a time ahead, in seconds, with its 95% interval.
func (f *outlooker) need(t float64) (mid, low, high float64) {
	// The kernel kills at a peak, not at a mean.
	rest := f.rest(t)
	lower := math.Hypot(f.beside.low95(t), f.beside.upper)
	if !f.hasLive {
		return rest, rest - lower, rest + f.beside.high95(t)
	}
	live := max(0, f.live.at(t))
	// What GOGC adds to a cycle's find is in what memory was; where GOMEMLIMIT holds the
	// heap, a cycle that finds more is a peak of its own.
	top := max(f.peak(live), live+f.live.upper)
	mid = top + rest
	up := max(0, f.peak(live+f.live.high95(t))-top)
	down := top - f.peak(max(0, live-f.live.low95(t)))
	return mid, mid - math.Hypot(down, lower), mid + math.Hypot(up, f.beside.high95(t))
}

// describe sets what is said whatever the state is.
func (f *outlooker) describe(o *Outlook) {
	oldest := f.beside.since
	if f.hasLive {
		oldest = min(oldest, f.live.since)
	}
	f.reach = min(ahead*-oldest, Furthest.Seconds())
	until := f.reach
	if t := f.first(f.middle); t > 0 {
		until = t
	}
	f.lead = f.leading(until)
	l := f.lead
	o.NeedBytes, _, _ = f.need(0)
	o.Since, o.Change, o.Points = o.At.Add(seconds(l.since)), l.changed, l.points
	o.Daily = f.beside.daily != nil || f.hasLive && f.live.daily != nil
	b, k := &f.beside, f.factor()
	o.Need = Slope{b.slope, b.low, b.high}
	if f.hasLive {
		a := &f.live
		o.LiveBytes = a.at(0)
		o.Live = Slope{a.slope, a.low, a.high}
		o.Need.PerSecond = b.slope + k*a.slope
		o.Need.Low = o.Need.PerSecond - math.Hypot(b.slope-b.low, k*(a.slope-a.low))
		o.Need.High = o.Need.PerSecond + math.Hypot(b.high-b.slope, k*(a.high-a.slope))
	}
	f.reach = ahead * -l.since
	if rises := o.At.Add(seconds(l.rises)); !f.Start.IsZero() && rises.Sub(f.Start) < max(young, o.At.Sub(f.Start)/20) {
		f.reach = aheadYoung * -l.rises
	}
	f.reach = min(f.reach, Furthest.Seconds())
}

func (f *outlooker) middle(t float64) bool { v, _, _ := f.need(t); return v >= f.limit }
func (f *outlooker) upper(t float64) bool  { _, _, v := f.need(t); return v >= f.limit }
func (f *outlooker) lower(t float64) bool  { _, v, _ := f.need(t); return v >= f.limit }

// climb is how long the heap takes from what a cycle leaves to its goal, at a time ahead.
func (f *outlooker) climb(t float64) float64 {
	if !f.hasLive || !(f.alloc > 0) {
		return 0
	}
	live := max(f.live.at(t), 1)
	return (f.peak(live) - live) / f.alloc
}

// ends is when the kernel kills, where the peak of memory passes the limit at a time
// ahead: a cycle has to end after that, and the heap to grow towards the goal that it
// sets. So many climbs that takes.
func (f *outlooker) ends(at, climbs float64) float64 {
	if at < 0 {
		return at
	}
	if at > 0 || !f.hasLive || !(f.alloc > 0) {
		return at + climbs*f.climb(at)
	}
	// It has passed it. If the last cycle's goal is beyond the limit it is the last.
	rest := f.rest(0)
	begin, live := f.last.T, f.last.V
	if peak := f.peak(live); peak+rest < f.limit {
		begin += (peak - live) / f.alloc
		live = f.live.at(max(begin, 0))
	}
	return max(0, begin+(f.limit-rest-live)/f.alloc) + (climbs-1)*f.climb(0)/2
}

// judge says where it goes.
func (f *outlooker) judge(o *Outlook, live []trend.Point) {
	l := f.lead
	rising := l.low > 0
	grown := l.slope * -l.since
	if f.hasLive {
		o.Hurts = f.hurting(o)
	}
	if f.limit <= 0 {
		o.Reason = "no limit is known"
		if rising && grown >= leastGrowth {
			o.State = Rising
			o.Reason = "memory rises, and no limit is known"
		}
		return
	}
	low, mid, high := f.first(f.upper), f.first(f.middle), f.first(f.lower)
	low, mid, high = f.ends(low, 0.5), f.ends(mid, 1.5), f.ends(high, 2.5)
	notBefore := o.At.Add(seconds(low))
	if low < 0 {
		notBefore = o.At.Add(seconds(f.reach))
	}
	o.NotBefore = &notBefore
	switch {
	case !rising && !o.Daily || grown < leastGrowth && !o.Daily:
		o.Reason = "memory does not rise for sure"
		return
	case mid < 0 && o.Daily && !rising:
		o.Reason = "memory comes and goes with the day"
		return
	}
	o.State = Rising
	switch {
	case mid < 0:
		o.Reason = fmt.Sprintf("memory rises, and the limit is further than can be said from %s", span(-l.since))
	case !f.hasLive && f.softGoal() < f.limit:
		o.Reason = "memory rises, and too few GC cycles have ended to say where GOMEMLIMIT holds it"
	case !f.hasLive && !f.kept(live):
		o.Reason = "memory rises, and too few GC cycles have ended to say what of it stays"
	case o.Daily:
		f.deadline(o, low, mid, high)
	case !l.steady:
		o.Reason = "memory rises, but not steadily: it may be steps, or come to an end"
	case l.within:
		o.Reason = "memory rises as it did before it fell back"
	case l.slows > 0 && !f.reachesThough(l):
		o.Reason = "memory rises ever more slowly, and would end below the limit"
	case l.slows > 0:
		f.deadline(o, low, mid, -1)
	default:
		f.deadline(o, low, mid, high)
	}
}

func (f *outlooker) deadline(o *Outlook, low, mid, high float64) {
	o.State = Reaches
	o.Reason = "memory rises steadily"
	if o.Daily {
		o.Reason = "memory rises with the day's rhythm"
	}
	if o.NeedBytes >= f.limit {
		o.State, o.Reason = Over, "the next GC cycles do not hold memory below the limit"
	}
	k := &Instant{Time: o.At.Add(seconds(mid)), Low: o.At.Add(seconds(max(0, min(low, mid))))}
	if high >= 0 {
		k.High = o.At.Add(seconds(max(high, mid)))
	}
	o.Killed, o.NotBefore = k, nil
	if o.Hurts != nil && o.Hurts.Time.After(k.Time) {
		o.Hurts = nil
	}
}

// kept reports, where too few cycles are known for a trend of them, whether what the heap
// holds is mostly alive. Without any cycle nobody can know.
func (f *outlooker) kept(live []trend.Point) bool {
	if len(live) == 0 {
		return false
	}
	return f.peak(live[len(live)-1].V) >= held*f.beside.level
}

// reachesThough reports whether growth that dies away still passes the limit, with half as
// much more than its course says.
func (f *outlooker) reachesThough(l *line) bool {
	more := 1.5 * l.slope * l.slows
	if l == &f.live {
		return f.peak(l.level+more)+f.beside.level >= f.limit
	}
	return f.need0()+more >= f.limit
}

func (f *outlooker) need0() float64 { v, _, _ := f.need(0); return v }

// hurting is when the live heap has come so near to the goal that GOMEMLIMIT gives that
// collecting takes a quarter of the CPU. The work of a cycle goes with the live heap, and
// the time between cycles with the room above it.
func (f *outlooker) hurting(o *Outlook) *Instant {
	goal := f.softGoal()
	if math.IsInf(goal, 1) || f.live.slope <= 0 || f.live.low <= 0 {
		return nil
	}
	level := max(f.live.at(0), 1)
	room := max(f.peak(level)-level, 1)
	share := func(live float64) float64 {
		left := f.peak(live) - live
		if left <= live/50 {
			return 1
		}
		if f.GCShare <= 0 {
			return hurts * (live / 10) / left // a room of a tenth
		}
		return f.GCShare * live / level * room / left
	}
	if f.ownGoal(level) < goal && share(goal) < hurts {
		return nil
	}
	when := func(live func(t float64) float64) float64 {
		return f.first(func(t float64) bool { return live(t) < goal*2 && share(live(t)) >= hurts || live(t) >= goal })
	}
	mid := when(f.live.at)
	if mid < 0 {
		return nil
	}
	h := &Instant{Time: o.At.Add(seconds(mid))}
	h.Low = o.At.Add(seconds(max(0, when(func(t float64) float64 { return f.live.at(t) + f.live.high95(t) }))))
	if high := when(func(t float64) float64 { return f.live.at(t) - f.live.low95(t) }); high >= 0 {
		h.High = o.At.Add(seconds(high))
	}
	return h
}

// first is the first time ahead, in seconds, at which something holds, -1 when it does not
// hold within reach.
func (f *outlooker) first(holds func(t float64) bool) float64 {
	if holds(0) {
		return 0
	}
	step := f.reach / 256
	if f.beside.daily != nil || f.live.daily != nil {
		step = min(step, day/hands)
	}
	if !(step > 0) {
		return -1
	}
	for t := step; t <= f.reach*1.0001; t += step {
		if holds(t) {
			lo, hi := t-step, t
			for range 24 {
				if m := (lo + hi) / 2; holds(m) {
					hi = m
				} else {
					lo = m
				}
			}
			return hi
		}
	}
	return -1
}

// seconds is a duration, bounded.
func seconds(s float64) time.Duration {
	const most = 100 * 365 * day
	return time.Duration(min(max(s, -most), most) * float64(time.Second))
}

func span(s float64) string { return human.Span(seconds(s)) }
