package outside

import (
	"testing"

	rt "github.com/heapwright/heapwright/cmd/internal/diagnose/ruletest"
	"github.com/heapwright/heapwright/record"
)

func TestRule(t *testing.T) {
	cgo := func(r *record.Recording) *record.Recording { r.Process.Cgo = true; return r }
	rt.Run(t, &Rule,
		rt.Case{Name: "mmap", Rec: rt.Server{Outside: rt.Const(300 * rt.MiB)}.Recording(), Want: "warning"},
		rt.Case{Name: "cgo_leak_in_a_container", Rec: cgo(rt.Server{Outside: rt.Ramp(20*rt.MiB, 150*rt.MiB, 30), Container: 512 * rt.MiB}.Recording()), Want: "warning"},
		rt.Case{Name: "some", Rec: rt.Server{Outside: rt.Const(90 * rt.MiB)}.Recording(), Want: "info"},
		rt.Case{Name: "madvdontneed", Rec: rt.Server{Outside: rt.Const(400 * rt.MiB), GoEnv: map[string]string{"GODEBUG": "madvdontneed=0"}}.Recording(), Want: "info"},
		rt.Case{Name: "released_and_refilled", Rec: func() *record.Recording {
			r := rt.Server{Outside: rt.Const(300 * rt.MiB)}.Recording()
			for i := range r.Samples {
				r.Samples[i].HeapReleasedBytes = 800 * rt.MiB
			}
			return r
		}(), Want: "info"},
		rt.Case{Name: "little", Rec: rt.Server{}.Recording()},
		rt.Case{Name: "small_beside_the_heap", Rec: rt.Server{Outside: rt.Const(100 * rt.MiB), Live: rt.Const(600 * rt.MiB)}.Recording()},
		// RSS counts files too: without anonymous memory there is no saying.
		rt.Case{Name: "rss_only", Rec: rt.Bare(rt.Server{Outside: rt.Const(400 * rt.MiB)}.Recording(), record.SourcePrometheus, record.FieldRSSBytes, record.FieldMappedReadyBytes)},
	)
}
