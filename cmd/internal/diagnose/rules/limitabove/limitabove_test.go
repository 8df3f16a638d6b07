package limitabove

import (
	"testing"

	rt "github.com/heapwright/heapwright/cmd/internal/diagnose/ruletest"
	"github.com/heapwright/heapwright/record"
)

func TestRule(t *testing.T) {
	rt.Run(t, &Rule,
		rt.Case{Name: "above", Rec: rt.Server{Container: 256 * rt.MiB, Limit: 512 * rt.MiB}.Recording(), Want: "warning"},
		rt.Case{Name: "above_and_gogc_off", Rec: rt.Server{Container: 256 * rt.MiB, Limit: 512 * rt.MiB, GOGC: -1}.Recording(), Want: "critical"},
		rt.Case{Name: "no_room_for_cgo", Rec: rt.Server{Container: 512 * rt.MiB, Limit: 460 * rt.MiB, Outside: rt.Const(150 * rt.MiB)}.Recording(), Want: "warning"},
		rt.Case{Name: "container_too_small", Rec: rt.Server{Container: 256 * rt.MiB, Limit: 300 * rt.MiB, Live: rt.Const(180 * rt.MiB)}.Recording(), Want: "warning"},
		rt.Case{Name: "above_from_metrics", Rec: rt.Bare(rt.Server{Container: 256 * rt.MiB, Limit: 512 * rt.MiB}.Recording(), record.SourcePrometheus,
			record.FieldGOMEMLIMITBytes), Want: "warning"},
		rt.Case{Name: "fits", Rec: rt.Server{Container: 256 * rt.MiB, Limit: 200 * rt.MiB}.Recording()},
		rt.Case{Name: "no_container", Rec: rt.Server{Limit: 200 * rt.MiB}.Recording()},
		rt.Case{Name: "unset", Rec: rt.Server{Container: 256 * rt.MiB}.Recording()},
	)
}
