package fragmentation

import (
	"testing"

	rt "github.com/heapwright/heapwright/cmd/internal/diagnose/ruletest"
	"github.com/heapwright/heapwright/record"
)

func TestRule(t *testing.T) {
	rt.Run(t, &Rule,
		rt.Case{Name: "holes", Rec: rt.Server{Live: rt.Const(60 * rt.MiB), UnusedPart: 0.9, Alloc: rt.Const(30 * rt.MiB)}.Recording(), Want: "warning"},
		rt.Case{Name: "some", Rec: rt.Server{Live: rt.Const(60 * rt.MiB), UnusedPart: 0.7}.Recording(), Want: "info"},
		rt.Case{Name: "some_without_a_cycle", Rec: rt.Server{Live: rt.Const(60 * rt.MiB), UnusedPart: 0.7, Alloc: rt.Const(rt.KiB)}.Recording(), Want: "info"},
		rt.Case{Name: "dense", Rec: rt.Server{Live: rt.Const(600 * rt.MiB)}.Recording()},
		rt.Case{Name: "small", Rec: rt.Server{UnusedPart: 0.7}.Recording()},
		rt.Case{Name: "metrics", Rec: rt.Bare(rt.Server{Live: rt.Const(60 * rt.MiB), UnusedPart: 0.9}.Recording(), record.SourcePrometheus, record.FieldHeapInUseBytes)},
	)
}
