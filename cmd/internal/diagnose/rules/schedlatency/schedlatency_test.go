package schedlatency

import (
	"testing"
	"time"

	rt "github.com/heapwright/heapwright/cmd/internal/diagnose/ruletest"
	"github.com/heapwright/heapwright/record"
)

func TestRule(t *testing.T) {
	spin := rt.Server{
		SchedWait: func(i int) time.Duration { return time.Duration(i%300) * 10 * time.Millisecond },
		Runnable:  480, UserCores: 1.8, Goroutines: rt.Const(500),
		LastGoroutines: &record.Goroutines{Groups: []record.GoroutineGroup{{Count: 498, Status: "runnable", CreatedBy: rt.F("main.main", "/src/main.go", 14)}}},
	}
	throttled := spin
	throttled.Quota, throttled.Throttled = 1, 0.8
	contended := spin
	contended.UserCores, contended.Stretch, contended.Runnable = 0.5, 3, 20
	some := rt.Server{SchedWait: func(i int) time.Duration { return time.Duration(i%50) * time.Millisecond }}
	rt.Run(t, &Rule,
		rt.Case{Name: "overloaded", Rec: spin.Recording(), Want: "warning"},
		rt.Case{Name: "throttled", Rec: throttled.Recording(), Want: "info"},
		rt.Case{Name: "contended", Rec: contended.Recording(), Want: "info"},
		rt.Case{Name: "some", Rec: some.Recording(), Want: "info"},
		rt.Case{Name: "some_from_metrics", Rec: rt.Bare(some.Recording(), record.SourceRTMetrics, record.FieldSchedLatency), Want: "info"},
		rt.Case{Name: "quick", Rec: rt.Server{}.Recording()},
	)
}
