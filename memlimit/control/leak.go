package control

import "time"

// A leak looks at how the least live heap of each of leakParts equal parts of the
// last minutes compares to that of the part before: a heap that breathes with its
// load falls back in some of them; one that leaks falls back in hardly any, and goes
// on as it began.
type leak struct {
	from  time.Duration
	least [leakParts]float64 // 0 where nothing was seen
	found bool
}

func (l *leak) restart(at time.Duration) { *l = leak{from: at} }

// part is how long one part is: leakTime is all of them.
const part = leakTime / leakParts

func (l *leak) add(at time.Duration, live float64) {
	i := int((at - l.from) / part)
	if i < 0 || i > 2*leakParts {
		// Nothing was collected for so long that what there is says nothing.
		found := l.found
		l.restart(at)
		l.found = found
		i = 0
	}
	for i >= leakParts {
		// The oldest part goes.
		l.judge()
		copy(l.least[:], l.least[1:])
		l.least[leakParts-1] = 0
		l.from += part
		i--
	}
	if l.least[i] == 0 || live < l.least[i] {
		l.least[i] = live
	}
}

// judge looks at parts that are all over.
func (l *leak) judge() {
	grew := 0
	for i := 1; i < leakParts; i++ {
		if l.least[i] == 0 || l.least[i-1] == 0 {
			l.found = false // too few collections to say
			return
		}
		if l.least[i] > l.least[i-1] {
			grew++
		}
	}
	first, middle, last := l.least[0], l.least[leakParts/2], l.least[leakParts-1]
	// What slows down is a cache that fills, or a service that warms up.
	l.found = grew >= leakParts-2 && last > leakGrowth*first && last-middle > (middle-first)/2
}
