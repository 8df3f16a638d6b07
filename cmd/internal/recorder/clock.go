package recorder

import "time"

// A clock notices when the wall clock, which samples are dated by, is set, or
// the machine was suspended: the monotonic clock goes on as if nothing were.
type clock struct {
	known     bool
	wall      time.Time
	monotonic time.Duration
}

// leastStep is the least step that is noticed. The two clocks are not read at
// one instant: a thread that its quota or its hypervisor stops between them
// makes them differ by a scheduling period, 100 ms mostly. Smaller corrections
// are slewed, into both clocks.
const leastStep = 250 * time.Millisecond

// stepped returns by how much the wall clock was moved since the previous call,
// 0 when it was not.
func (c *clock) stepped(wall time.Time, monotonic time.Duration) time.Duration {
	before := *c
	*c = clock{true, wall, monotonic}
	by := wall.Sub(before.wall) - (monotonic - before.monotonic)
	if !before.known || by.Abs() < leastStep {
		return 0
	}
	return by
}
