package limitunset

import (
	"testing"

	rt "github.com/heapwright/heapwright/cmd/internal/diagnose/ruletest"
	"github.com/heapwright/heapwright/record"
)

func TestRule(t *testing.T) {
	rt.Run(t, &Rule,
		rt.Case{Name: "far", Rec: rt.Server{Container: 512 * rt.MiB}.Recording(), Want: "info"},
		rt.Case{Name: "near", Rec: rt.Server{Container: 256 * rt.MiB, Live: rt.Const(95 * rt.MiB)}.Recording(), Want: "warning"},
		rt.Case{Name: "over", Rec: rt.Server{Container: 256 * rt.MiB, Live: rt.Const(130 * rt.MiB), Alloc: rt.Const(2 * rt.MiB)}.Recording(), Want: "critical"},
		rt.Case{Name: "limit_is_set", Rec: rt.Server{Container: 256 * rt.MiB, Limit: 200 * rt.MiB}.Recording()},
		rt.Case{Name: "no_container", Rec: rt.Server{}.Recording()},
		rt.Case{Name: "limit_of_the_host", Rec: rt.Server{Container: 24 * rt.GiB}.Recording()},
		rt.Case{Name: "gogc_off", Rec: rt.Server{Container: 512 * rt.MiB, GOGC: -1}.Recording()},
		rt.Case{Name: "metrics_without_the_limit", Rec: rt.Bare(rt.Server{Container: 256 * rt.MiB}.Recording(), record.SourcePrometheus,
			record.FieldRSSBytes, record.FieldHeapLiveBytes, record.FieldGCCycles)},
	)
}
