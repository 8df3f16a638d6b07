package throttled

import (
	"testing"

	rt "github.com/heapwright/heapwright/cmd/internal/diagnose/ruletest"
	"github.com/heapwright/heapwright/record"
)

func TestRule(t *testing.T) {
	base := rt.Server{Quota: 0.5, Throttled: 0.6, Procs: 4}
	withGC := base
	withGC.GOGC, withGC.Live, withGC.UserCores = 25, rt.Const(40*rt.MiB), 0.3
	some := base
	some.Throttled = 0.05
	never := base
	never.Throttled = 0.001
	rt.Run(t, &Rule,
		rt.Case{Name: "not_the_gc", Rec: base.Recording(), Want: "warning"},
		rt.Case{Name: "gc_takes_part", Rec: withGC.Recording(), Want: "warning"},
		rt.Case{Name: "gc_unknown", Rec: rt.Bare(base.Recording(), record.SourcePrometheus, record.FieldCgroupPeriods, record.FieldCgroupThrottledPeriods), Want: "warning"},
		rt.Case{Name: "some", Rec: some.Recording(), Want: "info"},
		rt.Case{Name: "hardly_ever", Rec: never.Recording()},
		rt.Case{Name: "no_quota", Rec: rt.Server{}.Recording()},
	)
}
