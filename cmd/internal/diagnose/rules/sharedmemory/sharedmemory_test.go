package sharedmemory

import (
	"testing"

	rt "github.com/heapwright/heapwright/cmd/internal/diagnose/ruletest"
	"github.com/heapwright/heapwright/record"
)

func TestRule(t *testing.T) {
	shared := rt.Server{Container: 320 * rt.MiB, Shmem: rt.Const(90 * rt.MiB)}
	full := shared
	full.Live = rt.Const(90 * rt.MiB)
	own := shared
	own.Change = func(_ float64, s *record.Sample) { s.RSSShmemBytes = 80 * rt.MiB }
	rt.Run(t, &Rule,
		rt.Case{Name: "shared", Rec: shared.Recording(), Want: "info"},
		rt.Case{Name: "full", Rec: full.Recording(), Want: "warning"},
		rt.Case{Name: "its_own", Rec: own.Recording()},
		rt.Case{Name: "none", Rec: rt.Server{Container: 320 * rt.MiB}.Recording()},
	)
}
