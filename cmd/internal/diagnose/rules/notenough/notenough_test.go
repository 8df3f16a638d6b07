package notenough

import (
	"testing"

	rt "github.com/heapwright/heapwright/cmd/internal/diagnose/ruletest"
	"github.com/heapwright/heapwright/record"
)

func TestRule(t *testing.T) {
	one := rt.Server{}.Recording()
	one.Samples = one.Samples[:1]
	rt.Run(t, &Rule,
		rt.Case{Name: "short", Rec: rt.Server{Seconds: 4}.Recording(), Want: "info"},
		rt.Case{Name: "no_cycle", Rec: rt.Server{Alloc: rt.Const(rt.MiB / 5)}.Recording(), Want: "info"},
		rt.Case{Name: "idle", Rec: rt.Server{Alloc: rt.Const(0), UserCores: 0.001}.Recording(), Want: "info"},
		rt.Case{Name: "one_sample", Rec: one, Want: "info"},
		rt.Case{Name: "empty", Rec: &record.Recording{}, Want: "info"},
		rt.Case{Name: "poor_source", Rec: rt.Bare(rt.Server{}.Recording(), record.SourcePrometheus, record.FieldRSSBytes, record.FieldGCCycles), Want: "info"},
		rt.Case{Name: "enough", Rec: rt.Server{}.Recording()},
		rt.Case{Name: "collector_off", Rec: rt.Server{GOGC: -1}.Recording()},
	)
}
