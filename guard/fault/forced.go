package fault

import (
	"runtime"
	"time"
)

// ForcedGC.
type forced struct {
	most  uint64 // 0 is no bound
	pace  pacer
	meter meter
}

func (f *forced) step(level float64, now time.Time) (time.Duration, error) {
	wait := f.pace.until(now, level, 1)
	n := uint64(0)
	if f.most > 0 && f.meter.total.Load() >= f.most {
		level, wait = 0, meterWindow
	}
	if wait == 0 {
		f.pace.due--
		runtime.GC()
		n = 1
	}
	f.meter.add(now, level, n)
	return min(wait, meterWindow), nil
}

func (f *forced) reached() (float64, uint64) { return f.meter.reached() }

func (f *forced) release() float64 { return 0 }
