package gogcoff

import (
	"testing"

	rt "github.com/heapwright/heapwright/cmd/internal/diagnose/ruletest"
	"github.com/heapwright/heapwright/record"
)

func TestRule(t *testing.T) {
	rt.Run(t, &Rule,
		rt.Case{Name: "off", Rec: rt.Server{GOGC: -1, Alloc: rt.Const(rt.MiB)}.Recording(), Want: "warning"},
		rt.Case{Name: "off_in_a_container", Rec: rt.Server{GOGC: -1, Alloc: rt.Const(rt.MiB), Container: 512 * rt.MiB}.Recording(), Want: "critical"},
		rt.Case{Name: "off_settings_only", Rec: rt.Bare(rt.Server{GOGC: -1}.Recording(), record.SourceRTMetrics,
			record.FieldGOGCPercent, record.FieldGOMEMLIMITBytes), Want: "warning"},
		rt.Case{Name: "off_with_a_limit", Rec: rt.Server{GOGC: -1, Limit: 256 * rt.MiB}.Recording()},
		rt.Case{Name: "on", Rec: rt.Server{}.Recording()},
	)
}
