package pauses

import (
	"testing"
	"time"

	rt "github.com/heapwright/heapwright/cmd/internal/diagnose/ruletest"
	"github.com/heapwright/heapwright/record"
)

func every(n int, long time.Duration) func(int) time.Duration {
	return func(i int) time.Duration {
		if i%n == n-1 {
			return long
		}
		return 120 * time.Microsecond
	}
}

func TestRule(t *testing.T) {
	many := rt.Server{Pause: every(4, 25*time.Millisecond), Procs: 8}
	contended := many
	contended.Stretch = 3
	rt.Run(t, &Rule,
		rt.Case{Name: "many", Rec: many.Recording(), Want: "warning"},
		rt.Case{Name: "one", Rec: rt.Server{Pause: every(60, 30*time.Millisecond)}.Recording(), Want: "info"},
		rt.Case{Name: "many_contended", Rec: contended.Recording(), Want: "info"},
		rt.Case{Name: "many_and_nothing_else_known", Rec: rt.Without(many.Recording(), record.FieldCPUGCTotal, record.FieldPSICPUSomeStall), Want: "info"},
		rt.Case{Name: "short", Rec: rt.Server{}.Recording()},
		rt.Case{Name: "outliers_that_nobody_feels", Rec: rt.Server{Pause: every(20, 4*time.Millisecond)}.Recording()},
		rt.Case{Name: "few", Rec: rt.Server{Alloc: rt.Const(2 * rt.MiB), Pause: every(2, 25*time.Millisecond)}.Recording()},
	)
}
