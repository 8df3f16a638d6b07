package horizon

import (
	"math"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/heapwright/heapwright/record"
)

// A Trial is a recording that ended somehow, to try forecasts on.
type Trial struct {
	Kind      string
	Recording *record.Recording
	Killed    time.Time // zero: the process was not killed for its memory
	Limit     float64   // bytes, instead of the recording's
}

// Outcome says of a recording whether the process was killed for its memory, and when: by
// the events that say so at its end, or because it ended with its memory at its limit.
func Outcome(r *record.Recording) (killed time.Time) {
	if len(r.Samples) == 0 {
		return time.Time{}
	}
	last := &r.Samples[len(r.Samples)-1]
	for i := range r.Events {
		e := &r.Events[i]
		if e.Kind == record.EventOOMKill && e.Time.After(last.Time.Add(-atEnd)) {
			return e.Time
		}
		if e.Kind != record.EventExited {
			continue
		}
		limit, used := Read(r, time.Time{}).Limit, float64(0)
		if v, ok := last.Value(record.FieldRSSAnonBytes); ok {
			used = v
		}
		if limit > 0 && used >= atLimit*limit {
			return e.Time
		}
	}
	return time.Time{}
}

const (
	// A warning is one after so many looks in a row that have a deadline soon, and none any
	// more after so many that have not.
	fireAfter  = 2
	clearAfter = 4
	maxLooks   = 2000

	atEnd   = 5 * time.Second
	atLimit = 0.9
)

// BacktestOptions say what counts.
type BacktestOptions struct {
	Within time.Duration // a warning is a deadline within this time; 0 is an hour
	Looks  int           // instants of each recording at which a forecast is made; 0 is 150
	Least  time.Duration // a warning that comes later before the end is none
}

// A Score is what came of forecasts, at many instants of many recordings.
type Score struct {
	Kind       string `json:"kind"`
	Recordings int    `json:"recordings"`
	Killed     int    `json:"killed"` // of them
	Warned     int    `json:"warned"` // of the killed, before it, up to the end
	// Lead is how long before the end the warning began that lasted up to it, of the
	// warned: the quantiles 0.05, 0.25, 0.5, 0.75 and 0.95.
	Lead      [5]float64 `json:"lead_seconds"`
	LeadShare [5]float64 `json:"lead_ratio"` // the same, of what the recording was long
	Withdrawn int        `json:"withdrawn"`  // warnings in recordings of the killed that ended before

	HealthyDays float64 `json:"healthy_days"`
	False       int     `json:"false_alarms"`            // warnings in recordings of those that were not killed
	FalseIn     int     `json:"recordings_false_alarms"` // recordings that have any

	Deadlines int     `json:"deadlines"`      // instants at which there was one, and it is known what came
	Covered   float64 `json:"coverage_ratio"` // share of them where it lay in the interval; each recording counts the same
	CoverLow  float64 `json:"coverage_low_ratio"`
	CoverHigh float64 `json:"coverage_high_ratio"`
	Width     float64 `json:"width_ratio"` // median length of the interval, of the time that was left

	Inflections      int `json:"inflections"`       // killed with an inflection before the end
	FalseInflections int `json:"false_inflections"` // not killed, with one

	leads, shares, coverage, widths []float64
}

// A Backtest collects scores: trials are added one at a time, for they may be large.
type Backtest struct {
	opt  BacktestOptions
	rows []*Score
	all  *Score
}

// NewBacktest makes an empty one.
func NewBacktest(opt BacktestOptions) *Backtest {
	if opt.Within <= 0 {
		opt.Within = time.Hour
	}
	if opt.Looks <= 0 {
		opt.Looks = 150
	}
	return &Backtest{opt: opt, all: &Score{Kind: "all"}}
}

// Add makes forecasts at instants all over a recording, each from what was known at that
// instant only, and holds them against what came.
func (b *Backtest) Add(t Trial) {
	n := len(t.Recording.Samples)
	if n < 2 {
		return
	}
	i := slices.IndexFunc(b.rows, func(s *Score) bool { return s.Kind == t.Kind })
	if i < 0 {
		i = len(b.rows)
		b.rows = append(b.rows, &Score{Kind: t.Kind})
	}
	first, last := t.Recording.Samples[0].Time, t.Recording.Samples[n-1].Time
	if !t.Killed.IsZero() {
		last = t.Killed.Add(-b.opt.Least)
	}
	r := result{killed: t.Killed, length: last.Sub(first).Seconds()}
	end := t.Recording.Samples[n-1].Time
	// Of a long recording more, or a warning would have no time to be one.
	looks := max(b.opt.Looks, min(int(last.Sub(first)/(b.opt.Within/8)), maxLooks))
	step := last.Sub(first) / time.Duration(looks)
	for k := range looks {
		now := first.Add(step * time.Duration(k+1))
		o := Forecast(Read(t.Recording, now), now, Options{Limit: t.Limit})
		r.take(o, b.opt.Within, end)
	}
	b.rows[i].add(&r)
	b.all.add(&r)
}

// A result is what became of one trial's forecasts.
type result struct {
	killed            time.Time
	length            float64 // seconds
	warned            bool
	bad, good         int // looks in a row
	since             time.Time
	episodes          int
	covered, deadline int
	widths            []float64
	inflection        bool
}

func (r *result) take(o *Outlook, within time.Duration, end time.Time) {
	left := o.Left(Furthest)
	// Hysteresis, as alerts have it.
	if o.Killed != nil && left <= within {
		r.bad++
	} else {
		r.bad = 0
	}
	if o.Killed == nil || left > 2*within {
		r.good++
	} else {
		r.good = 0
	}
	switch {
	case !r.warned && r.bad >= fireAfter:
		r.warned, r.since = true, o.At
		r.episodes++
	case r.warned && r.good >= clearAfter:
		r.warned = false
	}
	r.inflection = r.inflection || o.Warning != nil
	if o.Killed == nil {
		return
	}
	k := o.Killed
	switch {
	case !r.killed.IsZero():
		r.deadline++
		if !r.killed.Before(k.Low) && (k.High.IsZero() || !r.killed.After(k.High)) {
			r.covered++
		}
		if left := r.killed.Sub(o.At).Seconds(); left > 0 && !k.High.IsZero() {
			r.widths = append(r.widths, k.High.Sub(k.Low).Seconds()/left)
		}
	case !k.High.IsZero() && k.High.Before(end): // it should have been by now
		r.deadline++
	}
}

func (s *Score) add(r *result) {
	s.Recordings++
	if r.deadline > 0 {
		s.Deadlines += r.deadline
		s.coverage = append(s.coverage, float64(r.covered)/float64(r.deadline))
		s.widths = append(s.widths, r.widths...)
	}
	if r.killed.IsZero() {
		s.HealthyDays += r.length / day
		s.False += r.episodes
		if r.episodes > 0 {
			s.FalseIn++
		}
		if r.inflection {
			s.FalseInflections++
		}
		return
	}
	s.Killed++
	if r.inflection {
		s.Inflections++
	}
	s.Withdrawn += r.episodes
	if r.warned {
		s.Warned++
		s.Withdrawn--
		lead := r.killed.Sub(r.since).Seconds()
		s.leads = append(s.leads, lead)
		s.shares = append(s.shares, lead/r.length)
	}
}

// Scores are the rows by kind, in the order in which kinds came, and all together.
func (b *Backtest) Scores() (rows []Score, all Score) {
	for _, s := range b.rows {
		s.finish()
		rows = append(rows, *s)
	}
	b.all.finish()
	return rows, *b.all
}

func (s *Score) finish() {
	for i, q := range []float64{0.05, 0.25, 0.5, 0.75, 0.95} {
		s.Lead[i], s.LeadShare[i] = zeroNaN(quantile(slices.Clone(s.leads), q)), zeroNaN(quantile(slices.Clone(s.shares), q))
	}
	s.Width = zeroNaN(median(slices.Clone(s.widths)))
	if len(s.coverage) == 0 {
		return
	}
	s.Covered = mean(s.coverage)
	// Instants of one recording are not independent: recordings are drawn, not instants.
	r := rand.New(rand.NewPCG(1, 2))
	means := make([]float64, 1000)
	for i := range means {
		for range s.coverage {
			means[i] += s.coverage[r.IntN(len(s.coverage))] / float64(len(s.coverage))
		}
	}
	s.CoverLow, s.CoverHigh = quantile(means, 0.025), min(1, quantile(means, 0.975))
}

func zeroNaN(v float64) float64 {
	if math.IsNaN(v) {
		return 0
	}
	return v
}

// Wilson is the 95% interval of a share of n of which k are (Wilson, 1927).
func Wilson(k, n int) (low, high float64) {
	if n == 0 {
		return 0, 1
	}
	p, m, z := float64(k)/float64(n), float64(n), z95
	middle := (p + z*z/(2*m)) / (1 + z*z/m)
	half := z / (1 + z*z/m) * math.Sqrt(p*(1-p)/m+z*z/(4*m*m))
	return max(0, middle-half), min(1, middle+half)
}
