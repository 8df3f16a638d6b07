package recorder

import "github.com/heapwright/heapwright/record"

// MemorySamples is how many samples a Memory keeps: 13 minutes at 10 Hz, in 70 MB.
const MemorySamples = 8000

// Memory is a Sink that keeps one life in memory, for the commands that think
// about a recording right away. Of more than MemorySamples samples it keeps
// every second, then every fourth, and so on, and always the newest; cycles and
// events it keeps all.
type Memory struct {
	Recording record.Recording
	thinned   int // how often every second sample was given up
	seen      int
	extra     bool // the last sample is there only because it is the newest
}

// Process implements Sink.
func (m *Memory) Process(p record.Process) error {
	*m = Memory{Recording: record.Recording{Process: p}}
	return nil
}

// Sample implements Sink.
func (m *Memory) Sample(s *record.Sample) error {
	kept := m.Recording.Samples
	if m.extra {
		kept = kept[:len(kept)-1]
	}
	m.extra = m.seen%(1<<m.thinned) != 0
	m.seen++
	m.Recording.Samples = append(kept, *s)
	if m.extra || len(kept) < MemorySamples {
		return nil
	}
	m.thinned++
	m.Recording.Thinned = 1 << m.thinned
	n := 0
	for i := 0; i < len(m.Recording.Samples); i += 2 {
		m.Recording.Samples[n] = m.Recording.Samples[i]
		n++
	}
	m.Recording.Samples = m.Recording.Samples[:n]
	return nil
}

// Cycle implements Sink.
func (m *Memory) Cycle(c *record.Cycle) error {
	m.Recording.Cycles = append(m.Recording.Cycles, *c)
	return nil
}

// Event implements Sink.
func (m *Memory) Event(e *record.Event) error {
	m.Recording.Events = append(m.Recording.Events, *e)
	return nil
}

// Goroutines implements Sink.
func (m *Memory) Goroutines(g *record.Goroutines) error {
	m.Recording.Goroutines = append(m.Recording.Goroutines, *g)
	return nil
}

// Profile implements Sink.
func (m *Memory) Profile(p *record.Profile) error {
	m.Recording.Profiles = append(m.Recording.Profiles, *p)
	return nil
}

// Flush implements Sink; there is nothing to do.
func (m *Memory) Flush() error { return nil }

// Tee hands everything to several sinks, in order.
type Tee []Sink

func (t Tee) each(f func(Sink) error) error {
	for _, s := range t {
		if err := f(s); err != nil {
			return err
		}
	}
	return nil
}

// Process implements Sink.
func (t Tee) Process(p record.Process) error {
	return t.each(func(s Sink) error { return s.Process(p) })
}

// Sample implements Sink.
func (t Tee) Sample(x *record.Sample) error { return t.each(func(s Sink) error { return s.Sample(x) }) }

// Cycle implements Sink.
func (t Tee) Cycle(x *record.Cycle) error { return t.each(func(s Sink) error { return s.Cycle(x) }) }

// Event implements Sink.
func (t Tee) Event(x *record.Event) error { return t.each(func(s Sink) error { return s.Event(x) }) }

// Goroutines implements Sink.
func (t Tee) Goroutines(x *record.Goroutines) error {
	return t.each(func(s Sink) error { return s.Goroutines(x) })
}

// Profile implements Sink.
func (t Tee) Profile(x *record.Profile) error {
	return t.each(func(s Sink) error { return s.Profile(x) })
}

// Flush implements Sink.
func (t Tee) Flush() error { return t.each(Sink.Flush) }
