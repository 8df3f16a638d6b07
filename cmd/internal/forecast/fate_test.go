package forecast

import (
	"math"
	"testing"

	"github.com/heapwright/heapwright/pacer"
)

const mib = 1 << 20

func TestFate(t *testing.T) {
	floor := pacer.Estimate{Estimate: 128 * mib, Low: 121 * mib, High: 135 * mib}
	at := func(limit int64, oom, limiter float64) *pacer.Forecast {
		return &pacer.Forecast{Settings: pacer.Settings{GOMEMLIMITBytes: limit}, OOMProbability: pacer.Estimate{Estimate: oom}, LimiterProbability: pacer.Estimate{Estimate: limiter}}
	}
	for _, tc := range []struct {
		f    *pacer.Forecast
		want Fate
	}{
		{at(math.MaxInt64, 0, 0), Survives},
		{at(256*mib, 0.01, 0.1), Survives},
		{at(256*mib, 0.06, 0), Killed},
		{at(256*mib, 0, 0.6), Storms},
		{at(100*mib, 0, 0), Storms},
		{at(100*mib, 1, 1), Killed},
	} {
		if got := FateOf(tc.f, floor); got != tc.want {
			t.Errorf("limit %d, OOM %v, limiter %v: %q, want %q", tc.f.Settings.GOMEMLIMITBytes, tc.f.OOMProbability.Estimate, tc.f.LimiterProbability.Estimate, got, tc.want)
		}
	}
}
