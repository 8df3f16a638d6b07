package load

import (
	"fmt"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// A Tick is what became of a target's requests since the last one, for those who look
// on while the window lasts. A Report says what came of the whole window, and is not
// the sum of its ticks: the last of them is not waited for.
type Tick struct {
	At     time.Time
	Target int    // index into Config.Targets
	Due    uint64 // requests that became due
	// Answered and Errors are those that ended, whenever they were due in the window.
	Answered, Errors uint64
	// Latency is in microseconds, from when they were due, of what ended as expected or
	// was given up on. Pending are the ages of what has not ended: a subject that
	// answers nothing has no latency, and shows here. Both have two digits.
	Latency, Pending *hdrhistogram.Histogram
}

// Bounds of Config.Every.
const (
	MinEvery = 10 * time.Millisecond
	MaxEvery = 10 * time.Second
)

const tickDigits = 2

func newTickHistogram() *hdrhistogram.Histogram {
	return hdrhistogram.New(1, histogramMax, tickDigits)
}

// A tally is what a lane takes note of for the next Tick.
type tally struct {
	due, answered, errors uint64
	latency, pending      *hdrhistogram.Histogram
	open                  map[uint64]time.Duration // of what is under way: when it was due, by its number
}

func newTally() *tally {
	return &tally{latency: newTickHistogram(), pending: newTickHistogram(), open: map[uint64]time.Duration{}}
}

// count takes note of a request that ended.
func (t *tally) count(took time.Duration, timed, answered bool) {
	if timed {
		recordDuration(t.latency, took)
	}
	if answered {
		t.answered++
	} else {
		t.errors++
	}
}

// tick takes what there is to say of a lane, and begins anew.
func (l *lane) tick(e *engine) wireTick {
	l.mu.Lock()
	defer l.mu.Unlock()
	t := l.tally
	now := e.now()
	age := func(due time.Duration) {
		if e.counts(due) {
			recordDuration(t.pending, now-due)
		}
	}
	for _, due := range t.open {
		age(due)
	}
	for i := range l.waiting.n {
		age(l.waiting.items[(l.waiting.head+i)%len(l.waiting.items)].due)
	}
	w := wireTick{Time: e.epoch.Add(now).UnixNano(), Due: t.due, Answered: t.answered, Errors: t.errors, Latency: encode(t.latency), Pending: encode(t.pending)}
	t.due, t.answered, t.errors = 0, 0, 0
	t.latency.Reset()
	t.pending.Reset()
	return w
}

// encode is "" for an empty histogram. Encoding fails only for what cannot be
// compressed in memory.
func encode(h *hdrhistogram.Histogram) string {
	if h.TotalCount() == 0 {
		return ""
	}
	text, err := h.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	if err != nil {
		return ""
	}
	return string(text)
}

// A wireTick is a Tick between the processes.
type wireTick struct {
	Time     int64  `json:"time_ns"` // since 1970
	Target   int    `json:"target"`
	Due      uint64 `json:"due"`
	Answered uint64 `json:"answered"`
	Errors   uint64 `json:"errors"`
	Latency  string `json:"latency,omitempty"` // as in a wireReport
	Pending  string `json:"pending,omitempty"`
}

func (w wireTick) tick() (Tick, error) {
	t := Tick{At: time.Unix(0, w.Time), Target: w.Target, Due: w.Due, Answered: w.Answered, Errors: w.Errors}
	for _, h := range []struct {
		text string
		into **hdrhistogram.Histogram
	}{{w.Latency, &t.Latency}, {w.Pending, &t.Pending}} {
		if h.text == "" {
			*h.into = newTickHistogram()
			continue
		}
		decoded, err := hdrhistogram.Decode([]byte(h.text))
		if err != nil {
			return t, fmt.Errorf("reading a tick of the generator: %w", err)
		}
		*h.into = decoded
	}
	return t, nil
}

// maxTicks is how many ticks wait to be read; of more, the oldest are lost.
const maxTicks = 64

// A stream hands ticks on, and never waits for who reads them.
type stream chan Tick

func (s stream) put(t Tick) {
	for {
		select {
		case s <- t:
			return
		default:
		}
		select {
		case <-s:
		default:
		}
	}
}
