package cli

import (
	"io"
	"math"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chart"
	"github.com/heapwright/heapwright/cmd/internal/term"
	"github.com/heapwright/heapwright/record"
)

// A reading is what a chart and a progress line show of a sample. NaN is what
// the source could not give.
type reading struct {
	at                     time.Time
	live, goal, rss, limit float64
}

func readingOf(s *record.Sample) reading {
	get := func(f record.Field) float64 {
		if v, ok := s.Value(f); ok {
			return v
		}
		return math.NaN()
	}
	return reading{s.Time, get(record.FieldHeapLiveBytes), get(record.FieldHeapGoalBytes),
		get(record.FieldRSSBytes), get(record.FieldCgroupLimitBytes)}
}

// text is the reading for a progress line: live of goal, and RSS.
func (r reading) text() string {
	s := ""
	if r.live >= 0 {
		s += "  live " + compactBytes(r.live)
		if r.goal >= 0 {
			s += "/" + goalText(uint64(r.goal))
		}
	}
	if r.rss > 0 {
		s += "  RSS " + compactBytes(r.rss)
	}
	return s
}

// A history is the course of a recording, thinned out so that one of a month
// takes no more memory than one of an hour.
type history struct {
	readings []reading
	stride   int // of how many samples one is kept
	skipped  []reading
}

const maxReadings = 4096

func (h *history) add(r reading) {
	if h.stride == 0 {
		h.stride = 1
	}
	h.skipped = append(h.skipped, r)
	if len(h.skipped) < h.stride {
		return
	}
	h.readings = append(h.readings, highest(h.skipped))
	h.skipped = h.skipped[:0]
	if len(h.readings) < maxReadings {
		return
	}
	n := 0
	for i := 0; i+1 < len(h.readings); i += 2 {
		h.readings[n] = highest(h.readings[i : i+2])
		n++
	}
	h.readings = h.readings[:n]
	h.stride *= 2
}

// highest keeps the reading with the largest heap: peaks are what matters.
func highest(rs []reading) reading {
	best := rs[0]
	for _, r := range rs[1:] {
		if r.live > best.live || math.IsNaN(best.live) {
			best = r
		}
	}
	return best
}

// draw writes the chart of a history: heap live, its goal, RSS, and the limit
// where it is near enough to be on the same scale.
func (h *history) draw(w io.Writer, columns int, paint term.Painter) error {
	rs := append(h.readings[:len(h.readings):len(h.readings)], h.skipped...)
	if len(rs) < 2 {
		return nil
	}
	line := func(name string, style term.Style, dotted bool, v func(reading) float64) chart.Line {
		l := chart.Line{Name: name, Style: style, Dotted: dotted}
		for _, r := range rs {
			if x := v(r); !math.IsNaN(x) {
				l.Points = append(l.Points, chart.Point{T: r.at.Sub(rs[0].at).Seconds(), V: x})
			}
		}
		return l
	}
	lines := []chart.Line{
		line("RSS", term.Blue, false, func(r reading) float64 { return r.rss }),
		line("goal", term.Yellow, true, func(r reading) float64 { return r.goal }),
		line("live", term.Green, false, func(r reading) float64 { return r.live }),
	}
	var top float64
	for _, l := range lines {
		for _, p := range l.Points {
			top = max(top, p.V)
		}
	}
	limit := line("limit", term.Red, true, func(r reading) float64 { return r.limit })
	if n := len(limit.Points); n > 0 && limit.Points[n-1].V < 3*top {
		lines = append(lines, limit)
	}
	return chart.Draw(w, chart.Options{Width: columns, Height: 8, Format: compactBytes, Paint: paint}, lines...)
}

// historyOf is the history of a whole recording.
func historyOf(rec *record.Recording) *history {
	var h history
	for i := range rec.Samples {
		h.add(readingOf(&rec.Samples[i]))
	}
	return &h
}
