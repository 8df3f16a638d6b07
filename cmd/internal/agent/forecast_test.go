package agent

import (
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/horizon"
	"github.com/heapwright/heapwright/cmd/internal/horizon/shapes"
	"github.com/heapwright/heapwright/record"
)

func TestTimeToLimit(t *testing.T) {
	leak, _ := shapes.Make("leak, linear", 0) // under GOMEMLIMIT
	level, _ := shapes.Make("healthy, level", 3)
	part := func(r *record.Recording, share float64) *record.Recording {
		n := int(share * float64(len(r.Samples)))
		out := &record.Recording{Process: r.Process, Samples: r.Samples[:n]}
		for _, c := range r.Cycles {
			if !c.End.After(out.Samples[n-1].Time) {
				out.Cycles = append(out.Cycles, c)
			}
		}
		return out
	}
	late := part(leak.Recording, 0.8)
	left := leak.Killed.Sub(late.Samples[len(late.Samples)-1].Time)
	for name, tc := range map[string]struct {
		rec       *record.Recording
		kind      string
		known     bool
		from, few time.Duration
	}{
		"leak":              {late, "container", true, left / 2, 2 * left},
		"leak, soft":        {late, "gomemlimit", true, 0, left}, // the collector begins to hurt before
		"leak, on the host": {late, "host", false, 0, 0},
		"level":             {part(level.Recording, 1), "container", true, horizon.Furthest, horizon.Furthest},
		"too short":         {part(level.Recording, 0.002), "container", false, 0, 0},
		"nothing":           {&record.Recording{}, "container", false, 0, 0},
	} {
		f := figures{limitKind: tc.kind}
		f.forecast(tc.rec)
		if (f.timeToLimit != nil) != tc.known || (f.outlook != nil) != tc.known {
			t.Errorf("%s: %v", name, f.timeToLimit)
			continue
		}
		if !tc.known {
			continue
		}
		if got := time.Duration(*f.timeToLimit * float64(time.Second)); got < tc.from || got > tc.few {
			t.Errorf("%s: %v, want %v to %v", name, got, tc.from, tc.few)
		}
	}
}
