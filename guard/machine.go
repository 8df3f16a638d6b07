package guard

import (
	"time"
)

// A State says how the service is.
type State uint8

const (
	// Healthy: nothing is wrong, and nothing is degraded.
	Healthy State = iota
	// Degraded: something is wrong. The ladder is climbed while it stays so.
	Degraded
	// Recovering: nothing is wrong any more. The ladder is descended, and at its
	// foot it has to stay so for a while.
	Recovering
)

// String is "healthy", "degraded" or "recovering".
func (s State) String() string {
	switch s {
	case Healthy:
		return "healthy"
	case Degraded:
		return "degraded"
	case Recovering:
		return "recovering"
	}
	return "unknown"
}

// MarshalText is String.
func (s State) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// dwells are the least times that things stay as they are.
type dwells struct {
	climbMemory    time.Duration // on a rung, before memory takes it to the next
	climbObjective time.Duration // on a rung, before an objective does
	descend        time.Duration // on a rung, before the one below
	calm           time.Duration // nothing wrong, before Degraded ends
	heal           time.Duration // at the foot of the ladder, before Recovering ends
}

var defaultDwells = dwells{
	climbMemory:    200 * time.Millisecond, // memory is full within seconds
	climbObjective: 10 * time.Second,
	descend:        3 * time.Second,
	calm:           5 * time.Second,
	heal:           10 * time.Second,
}

// A mark is the band of the memory ratio in which a rung is held: climbed to at
// or above above, left below below. Zero: memory does not take it.
type mark struct{ above, below float64 }

// A demand is what is wrong at an instant.
type demand struct {
	memory     float64 // ratio of the limit, as far as it is known
	memoryOK   bool
	objectives bool // one of them has tripped
	limited    bool // the limiter holds requests back
}

// A machine is the state and the place on the ladder: rung 0 is the ground, where
// nothing is degraded. It is pure: time comes with the demands.
type machine struct {
	marks  []mark // of rung 1 and up
	reach  int    // the highest rung that objectives take it to
	dwells dwells

	state   State
	since   time.Duration // of the state
	rung    int
	stepped time.Duration // when the rung was reached
	wrong   time.Duration // when something was last wrong
	want    int           // the rung that memory holds it at
}

// A change is what a step of the machine did: State or rung differ.
type change struct {
	from, to         State
	fromRung, toRung int
}

// step moves by at most one state and one rung.
func (m *machine) step(now time.Duration, d demand) (change, bool) {
	c := change{from: m.state, fromRung: m.rung}
	if d.memoryOK {
		m.want = m.wanted(d.memory)
	} else {
		// Blind is no reason to climb, nor to stay up for ever.
		m.want = 0
	}
	// A tripped objective takes it up one rung after the other, as far as it may,
	// and holds it there.
	target := m.want
	if d.objectives {
		if m.rung < m.reach && (m.rung == 0 || now-m.stepped >= m.dwells.climbObjective) {
			target = max(target, m.rung+1)
		} else {
			target = max(target, min(m.rung, m.reach))
		}
	}
	if target > 0 || d.objectives || d.limited {
		m.wrong = now
		if m.state != Degraded {
			m.enter(Degraded, now)
		}
	}

	switch {
	case target > m.rung && (m.rung == 0 || now-m.stepped >= m.dwells.climbMemory):
		m.rung++
		m.stepped = now
	case target < m.rung && now-m.stepped >= m.dwells.descend && (m.state != Degraded || target > 0 || d.limited || d.objectives):
		m.rung--
		m.stepped = now
	}
	switch {
	case m.state == Degraded && now-m.wrong >= m.dwells.calm:
		m.enter(Recovering, now)
	case m.state == Recovering && m.rung == 0 && now-m.since >= m.dwells.heal && now-m.stepped >= m.dwells.heal:
		m.enter(Healthy, now)
	}
	c.to, c.toRung = m.state, m.rung
	return c, c.from != c.to || c.fromRung != c.toRung
}

func (m *machine) enter(s State, now time.Duration) { m.state, m.since = s, now }

// wanted is the rung for a memory ratio: the highest that it reaches, or one that
// it is on and has not fallen below.
func (m *machine) wanted(ratio float64) int {
	want := 0
	for i, k := range m.marks {
		if k.above <= 0 {
			continue
		}
		if ratio >= k.above || m.rung > i && ratio >= k.below {
			want = i + 1
		}
	}
	return want
}
