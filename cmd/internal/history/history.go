// Package history keeps what was found and what happened: findings as episodes, from
// when one was first seen to when it was gone, and events. They lie on disk as lines of
// JSON that are only ever appended, in files of which the oldest goes when there are too
// many bytes.
//
// What was acknowledged is there after the process was killed; a power cut may take the
// last seconds. It decides nothing but where an episode begins and ends. It does not
// hold off a second writer: the agent has a lock on its directory for all that is in it.
package history

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/diagnose"
	"github.com/heapwright/heapwright/record"
)

// Where an episode begins and ends.
const (
	missesToEnd  = 3                // diagnoses in a row without the finding that end its episode
	returnWithin = 10 * time.Minute // a finding that comes back so soon after it was last seen goes on with its episode
	silentFor    = time.Hour        // a process that was not diagnosed for so long has no open episodes
	noteSeen     = 10 * time.Minute // how often an open episode's last time is written down
)

// Bounds.
const (
	maxOpen      = 10_000  // open episodes of all processes
	maxChanges   = 50      // changes of severity that an episode notes
	eventsAnHour = 300     // of one process, so that it cannot push out what others had
	maxProcesses = 100_000 // of which events are counted in an hour
)

// An Episode is a finding over time.
type Episode struct {
	Process  string            `json:"process"`
	ID       string            `json:"id"`       // of the rule
	Severity diagnose.Severity `json:"severity"` // the worst it had
	Began    time.Time         `json:"began"`
	Seen     time.Time         `json:"seen"`  // last time
	Ended    time.Time         `json:"ended"` // zero: it is still there
	// Finding is as it was at its worst.
	Finding diagnose.Finding `json:"finding"`
	// Changes are when its severity became another, the first 50 of them.
	Changes []Change `json:"changes,omitempty"`
	// Returns is how often it was gone and came back within ten minutes.
	Returns int `json:"returns,omitempty"`
}

// A Change is one of severity.
type Change struct {
	Time     time.Time         `json:"time"`
	Severity diagnose.Severity `json:"severity"`
}

// An Event is one of a process.
type Event struct {
	Process string `json:"process"`
	record.Event
}

// A Query chooses. What is zero does not restrict.
type Query struct {
	Process  string
	From, To time.Time // episodes that were there at some instant between, events at one
	Open     bool      // only episodes that are still there
	Limit    int       // the newest so many; at most, and by default, 10,000
}

// maxLimit is the largest Limit of a query.
const maxLimit = 10_000

// Stats count what is kept, and what happened since it was opened.
type Stats struct {
	Episodes int    `json:"episodes"`
	Open     int    `json:"open"`
	Events   int    `json:"events"`
	Bytes    int64  `json:"bytes"`
	MaxBytes int64  `json:"max_bytes"`
	Dropped  uint64 `json:"dropped_events_total"` // because a process had too many
	Failed   uint64 `json:"failed_writes_total"`
	Skipped  int    `json:"skipped_lines"` // that could not be read when it was opened
	Error    string `json:"error,omitempty"`
}

// ErrTooMany says that a process has had more events in an hour than are kept.
var ErrTooMany = errors.New("the process has had too many events in this hour")

// A History is open for many readers and writers.
type History struct {
	mu      sync.Mutex
	log     *log // of episodes
	events  *log
	open    present
	budgets map[string]int // events of the process in this hour
	hour    time.Time
	swept   time.Time
	stats   Stats
}

// A key names an episode that is open, or could go on.
type key struct{ process, id string }

// An episode is one that is in memory.
type episode struct {
	Episode
	missed  int               // diagnoses in a row that lacked it
	now     diagnose.Severity // as last seen
	written time.Time         // Seen as it was last written
}

// present are the episodes in memory, by process and rule: those that are open, and
// those that ended so short a time ago that they may go on.
type present struct {
	of map[string]map[string]*episode
	n  int
}

func (p *present) put(e *episode) {
	m := p.of[e.Process]
	if m == nil {
		m = map[string]*episode{}
		p.of[e.Process] = m
	}
	if m[e.ID] == nil {
		p.n++
	}
	m[e.ID] = e
}

func (p *present) remove(e *episode) {
	m := p.of[e.Process]
	delete(m, e.ID)
	p.n--
	if len(m) == 0 {
		delete(p.of, e.Process)
	}
}

// sorted returns those of a process, or all for "", by process and rule, so that what
// is written does not depend on the order of a map.
func (p *present) sorted(process string) []*episode {
	var out []*episode
	if process != "" {
		out = slices.AppendSeq(out, maps.Values(p.of[process]))
	} else {
		for _, m := range p.of {
			out = slices.AppendSeq(out, maps.Values(m))
		}
	}
	slices.SortFunc(out, func(a, b *episode) int {
		return cmp.Or(strings.Compare(a.Process, b.Process), strings.Compare(a.ID, b.ID))
	})
	return out
}

// Open opens the history in a directory, which it makes if it has to, and which is not
// larger than maxBytes (16 MiB when that is zero, 1 MiB at least). Episodes that were
// open go on.
func Open(dir string, maxBytes int64) (*History, error) {
	half := max(cmp.Or(maxBytes, 16<<20), leastBytes) / 2
	l, state, err := openLog(dir, "findings", half)
	if err != nil {
		return nil, fmt.Errorf("opening the history: %w", err)
	}
	events, also, err := openLog(dir, "events", half)
	if err != nil {
		l.close()
		return nil, fmt.Errorf("opening the history: %w", err)
	}
	h := &History{log: l, events: events, open: present{of: map[string]map[string]*episode{}}, budgets: map[string]int{}}
	h.stats.Skipped = state.skipped + also.skipped
	for _, e := range state.recent {
		now := e.Severity
		if n := len(e.Changes); n > 0 {
			now = e.Changes[n-1].Severity
		}
		h.open.put(&episode{Episode: e, now: now, written: e.Seen})
	}
	l.checkpoint = h.checkpoint
	return h, nil
}

// Close writes what is left to write, and lets go of the files.
func (h *History) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range h.open.sorted("") {
		if e.Ended.IsZero() && e.Seen.After(e.written) {
			h.write(e)
		}
	}
	return errors.Join(h.log.flush(), h.log.close(), h.events.close())
}

// Diagnosed notes the outcome of a diagnosis of a process, and returns the episodes
// that it began and those that it ended. That they are not on disk yet, for want of
// room, is no reason to forget them: it is tried again with the next.
func (h *History) Diagnosed(process string, at time.Time, findings []diagnose.Finding) (began, ended []Episode) {
	h.mu.Lock()
	defer h.mu.Unlock()
	ended = h.sweep(at)
	worst := map[string]*diagnose.Finding{}
	for _, f := range findings {
		f.Severity = min(max(f.Severity, diagnose.Info), diagnose.Critical)
		if have := worst[f.ID]; have == nil || worse(&f, have) {
			worst[f.ID] = &f
		}
	}
	for _, id := range slices.Sorted(maps.Keys(worst)) {
		if e, isNew := h.saw(key{process, id}, at, worst[id]); isNew {
			began = append(began, e.copy())
		}
	}
	for _, e := range h.open.sorted(process) {
		if worst[e.ID] != nil || !e.Ended.IsZero() {
			continue
		}
		if e.missed++; e.missed >= missesToEnd {
			h.end(e)
			ended = append(ended, e.copy())
		}
	}
	return began, ended
}

// worse reports whether a finding is worse than another of the same rule: more severe,
// or as severe and surer.
func worse(a, b *diagnose.Finding) bool {
	return cmp.Or(cmp.Compare(a.Severity, b.Severity), cmp.Compare(sureness(a.Confidence), sureness(b.Confidence))) > 0
}

func sureness(c diagnose.Confidence) int {
	return slices.Index([]diagnose.Confidence{"low", "medium", "high"}, c)
}

// saw notes that a finding is there. It returns the episode, and whether it is a new one.
func (h *History) saw(k key, at time.Time, f *diagnose.Finding) (e *episode, isNew bool) {
	e = h.open.of[k.process][k.id]
	if e != nil && !e.Ended.IsZero() && at.Sub(e.Seen).Abs() > returnWithin {
		e = nil // what is there now is another episode
	}
	if e == nil {
		if h.open.of[k.process][k.id] == nil && h.open.n >= maxOpen || !valid(k) {
			h.stats.Dropped++
			return nil, false
		}
		e = &episode{
			Episode: Episode{Process: k.process, ID: k.id, Severity: f.Severity, Began: at, Seen: at, Finding: bounded(f)},
			now:     f.Severity,
		}
		h.open.put(e)
		h.write(e)
		return e, true
	}
	changed := false
	if !e.Ended.IsZero() {
		e.Ended, changed = time.Time{}, true
		e.Returns++
	}
	e.missed = 0
	if at.After(e.Seen) {
		e.Seen = at
	}
	if f.Severity != e.now {
		e.now, changed = f.Severity, true
		if len(e.Changes) < maxChanges {
			e.Changes = append(e.Changes, Change{at, f.Severity})
		}
	}
	if worse(f, &e.Finding) {
		e.Severity, e.Finding, changed = max(e.Severity, f.Severity), bounded(f), true
	}
	switch {
	case changed:
		h.write(e)
	case e.Seen.Sub(e.written) >= noteSeen:
		e.written = e.Seen
		h.append(line{Kind: kindSeen, Seen: &seen{e.Process, e.ID, e.Began, e.Seen}})
	}
	return e, false
}

// end ends an episode at the last instant at which it was seen.
func (h *History) end(e *episode) {
	e.Ended = e.Seen
	h.write(e)
}

// sweep ends the episodes of processes that nobody has diagnosed for long, and forgets
// those that can no longer go on. It is done once a minute.
func (h *History) sweep(at time.Time) (ended []Episode) {
	if at.Sub(h.swept).Abs() < time.Minute {
		return nil
	}
	h.swept = at
	for _, e := range h.open.sorted("") {
		switch since := at.Sub(e.Seen); {
		case e.Ended.IsZero() && since > silentFor:
			h.end(e)
			ended = append(ended, e.copy())
		case !e.Ended.IsZero() && since.Abs() > returnWithin:
			h.open.remove(e)
		}
	}
	return ended
}

func (e *episode) copy() Episode {
	c := e.Episode
	c.Changes = slices.Clone(c.Changes)
	return c
}

// write appends an episode as it is now.
func (h *History) write(e *episode) {
	e.written = e.Seen
	c := e.copy()
	h.append(line{Kind: kindEpisode, Episode: &c})
}

// append appends a line about an episode. One that cannot be written waits.
func (h *History) append(l line) {
	if err := h.log.queue(l); err != nil {
		h.stats.Failed++
		h.stats.Error = err.Error()
		return
	}
	h.stats.Error = ""
}

// checkpoint returns the open episodes as lines: each file begins with them, so that
// they outlive the file in which they began.
func (h *History) checkpoint() []line {
	var out []line
	for _, e := range h.open.sorted("") {
		if e.Ended.IsZero() {
			c := e.copy()
			out = append(out, line{Kind: kindEpisode, Episode: &c})
		}
	}
	return out
}

// Event keeps an event of a process. That it ended ends the episodes of the process.
// The error is ErrTooMany when it was left out because the process has had 300 in this
// hour already.
func (h *History) Event(process string, e record.Event) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if e.Kind == record.EventExited {
		for _, ep := range h.open.sorted(process) {
			if ep.Ended.IsZero() {
				h.end(ep)
			}
		}
	}
	if !valid(key{process, string(e.Kind)}) || e.Time.IsZero() {
		return fmt.Errorf("keeping an event: %.80q of process %.80q is not one", e.Kind, process)
	}
	if hour := e.Time.Truncate(time.Hour); !hour.Equal(h.hour) {
		h.hour = hour
		clear(h.budgets)
	}
	if h.budgets[process] >= eventsAnHour || len(h.budgets) >= maxProcesses {
		h.stats.Dropped++
		return ErrTooMany
	}
	h.budgets[process]++
	err := h.events.append(line{Kind: kindEvent, Event: &Event{process, boundedEvent(e)}})
	if err != nil {
		h.stats.Failed++
		h.stats.Error = err.Error()
		return fmt.Errorf("keeping an event: %w", err)
	}
	h.stats.Error = ""
	return nil
}

// Episodes returns the episodes that a query chooses, those that began last first.
func (h *History) Episodes(q Query) []Episode {
	out := []Episode{}
	inMemory := map[name]bool{}
	h.mu.Lock()
	for _, e := range h.open.sorted("") {
		inMemory[episodeName(e.Process, e.ID, e.Began)] = true
		if q.wants(e.Process, e.Began, e.last(), e.Ended.IsZero()) {
			out = append(out, e.copy())
		}
	}
	var written []ref
	if !q.Open {
		written = h.log.episodes(q, q.limit())
	}
	h.mu.Unlock()
	// Without the lock: who writes is the agent, and does not wait for who reads.
	for i := range written {
		if e, ok := written[i].episode(); ok && !inMemory[episodeName(e.Process, e.ID, e.Began)] {
			out = append(out, e)
		}
	}
	slices.SortFunc(out, func(a, b Episode) int {
		return cmp.Or(b.Began.Compare(a.Began), strings.Compare(a.Process, b.Process), strings.Compare(a.ID, b.ID))
	})
	return out[:min(len(out), q.limit())]
}

// last is the last instant at which an episode was there, as far as is known: one that
// is open may be there yet.
func (e *Episode) last() time.Time {
	if e.Ended.IsZero() {
		return time.Time{}
	}
	return e.Ended
}

// Events returns the events that a query chooses, the latest first.
func (h *History) Events(q Query) []Event {
	h.mu.Lock()
	written := h.events.events(q, q.limit())
	h.mu.Unlock()
	out := []Event{}
	for i := range written {
		if got, ok := written[i].read(); ok && got.Event != nil {
			out = append(out, *got.Event)
		}
	}
	slices.SortStableFunc(out, func(a, b Event) int { return b.Time.Compare(a.Time) })
	return out
}

func (q Query) limit() int {
	if q.Limit <= 0 || q.Limit > maxLimit {
		return maxLimit
	}
	return q.Limit
}

// wants reports whether the query chooses what was there from one instant to another;
// a zero end is none.
func (q Query) wants(process string, from, to time.Time, open bool) bool {
	return (q.Process == "" || q.Process == process) &&
		(!q.Open || open) &&
		(q.To.IsZero() || !from.After(q.To)) &&
		(q.From.IsZero() || to.IsZero() || !to.Before(q.From))
}

// Stats returns the counts.
func (h *History) Stats() Stats {
	h.mu.Lock()
	defer h.mu.Unlock()
	s := h.stats
	s.Bytes, s.MaxBytes = h.log.size()+h.events.size(), h.log.maxBytes+h.events.maxBytes
	s.Episodes, s.Events = len(h.log.index), len(h.events.evs)
	for _, e := range h.open.sorted("") {
		if e.Ended.IsZero() {
			s.Open++
		}
	}
	return s
}
