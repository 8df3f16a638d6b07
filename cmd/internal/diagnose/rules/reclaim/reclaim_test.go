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
	const none = 1<<63 - 4096 // as cgroup v1 writes it
	shared := rt.Server{Container: none, Refaults: 4000, Change: func(_ float64, s *record.Sample) { s.MajorFaults = 0 }}
	own := rt.Server{Container: none, Refaults: 4000, Change: func(t float64, s *record.Sample) { s.MajorFaults = uint64(t * 50) }}
	rt.Run(t, &Rule,
		rt.Case{Name: "some", Rec: some.Recording(), Want: "info"},
		rt.Case{Name: "much_at_the_limit", Rec: much.Recording(), Want: "warning"},
		rt.Case{Name: "waits", Rec: waits.Recording(), Want: "warning"},
		rt.Case{Name: "not_missed", Rec: unmissed.Recording()},
		rt.Case{Name: "of_anybody_without_a_limit", Rec: shared.Recording()},
		rt.Case{Name: "its_own_without_a_limit", Rec: own.Recording(), Want: "info"},
		rt.Case{Name: "few", Rec: rt.Server{Container: 320 * rt.MiB, Refaults: 5}.Recording()},
		rt.Case{Name: "none", Rec: rt.Server{Container: 320 * rt.MiB}.Recording()},
	)
}
