package reclaim

import (
	"testing"
	"time"

	rt "github.com/heapwright/heapwright/cmd/internal/diagnose/ruletest"
	"github.com/heapwright/heapwright/record"
)

func TestRule(t *testing.T) {
	some := rt.Server{Container: 320 * rt.MiB, Refaults: 60}
	much := rt.Server{Container: 64 * rt.MiB, Refaults: 4000}
	waits := rt.Server{Container: 320 * rt.MiB, Change: func(t float64, s *record.Sample) {
		s.PSIMemorySomeStall = time.Duration(t * 0.2 * float64(time.Second))
		s.CgroupReclaimedBytes = uint64(t * rt.MiB)
	}}
	unmissed := rt.Server{Container: 320 * rt.MiB, Change: func(t float64, s *record.Sample) { s.CgroupReclaimedBytes = uint64(t * 100 * rt.MiB) }}
	rt.Run(t, &Rule,
		rt.Case{Name: "some", Rec: some.Recording(), Want: "info"},
		rt.Case{Name: "much_at_the_limit", Rec: much.Recording(), Want: "warning"},
		rt.Case{Name: "waits", Rec: waits.Recording(), Want: "warning"},
		rt.Case{Name: "not_missed", Rec: unmissed.Recording()},
		rt.Case{Name: "few", Rec: rt.Server{Container: 320 * rt.MiB, Refaults: 5}.Recording()},
		rt.Case{Name: "none", Rec: rt.Server{Container: 320 * rt.MiB}.Recording()},
	)
}
