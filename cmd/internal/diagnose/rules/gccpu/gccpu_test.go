package gccpu

import (
	"testing"

	rt "github.com/heapwright/heapwright/cmd/internal/diagnose/ruletest"
	"github.com/heapwright/heapwright/record"
)

func TestRule(t *testing.T) {
	base := rt.Server{Live: rt.Const(120 * rt.MiB), Alloc: rt.Const(120 * rt.MiB), GOGC: 100, UserCores: 0.8}
	with := func(gogc int64, change func(*rt.Server)) *record.Recording {
		s := base
		s.GOGC = gogc
		if change != nil {
			change(&s)
		}
		return s.Recording()
	}
	rt.Run(t, &Rule,
		rt.Case{Name: "tunable", Rec: with(100, nil), Want: "info"},
		rt.Case{Name: "large", Rec: with(20, nil), Want: "warning"},
		rt.Case{Name: "huge", Rec: with(8, func(s *rt.Server) { s.UserCores = 0.4 }), Want: "critical"},
		// A contended machine stretches the runtime's clocks; the share must stay.
		rt.Case{Name: "tunable_contended", Rec: with(100, func(s *rt.Server) { s.Stretch, s.Procs = 6, 8 }), Want: "info"},
		rt.Case{Name: "large_without_kernel_account", Rec: rt.Without(with(8, func(s *rt.Server) { s.UserCores = 0.4 }), record.FieldCPUProcUser, record.FieldCPUProcSystem), Want: "warning"},
		rt.Case{Name: "idle_marking_is_free", Rec: with(100, func(s *rt.Server) { s.IdlePart = 0.9 })},
		rt.Case{Name: "small_share", Rec: with(400, nil)},
		rt.Case{Name: "idle", Rec: with(100, func(s *rt.Server) { s.Alloc, s.UserCores = rt.Const(rt.KiB), 0.0001 })},
		rt.Case{Name: "the_limit_does_it", Rec: with(100, func(s *rt.Server) { s.Limit = 150 * rt.MiB })},
	)
}
