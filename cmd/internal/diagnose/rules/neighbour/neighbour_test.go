package neighbour

import (
	"testing"
	"time"

	rt "github.com/heapwright/heapwright/cmd/internal/diagnose/ruletest"
	"github.com/heapwright/heapwright/record"
)

func TestRule(t *testing.T) {
	told := func(r *record.Recording, data ...map[string]string) *record.Recording {
		for i, d := range data {
			r.Events = append(r.Events, record.Event{Time: rt.Epoch.Add(time.Duration(i) * time.Second), Kind: record.EventNeighbour, Data: d})
		}
		return r
	}
	sidecar := map[string]string{"pid": "77", "name": "side\x1bcar", "rss_bytes": "115343360"}
	beside := rt.Server{Container: 320 * rt.MiB, Others: rt.Const(110 * rt.MiB)}
	full := beside
	full.Live, full.Limit = rt.Const(90*rt.MiB), 300*rt.MiB
	passing := rt.Server{Container: 320 * rt.MiB, Hz: 1, Others: func(t float64) float64 {
		if t >= 10 && t < 12 { // the kernel's account lags behind
			return 110 * rt.MiB
		}
		return 0
	}}
	small := beside
	small.Others = rt.Const(20 * rt.MiB)
	rt.Run(t, &Rule,
		rt.Case{Name: "named", Rec: told(beside.Recording(), sidecar, map[string]string{"pid": "8", "name": "sh", "rss_bytes": "17000000"}), Want: "info"},
		rt.Case{Name: "not_named", Rec: told(beside.Recording(), map[string]string{"pid": "x", "rss_bytes": "-1"}), Want: "info"},
		rt.Case{Name: "full", Rec: told(full.Recording(), sidecar), Want: "warning"},
		rt.Case{Name: "passing", Rec: passing.Recording()},
		rt.Case{Name: "small", Rec: small.Recording()},
		rt.Case{Name: "alone", Rec: rt.Server{Container: 320 * rt.MiB}.Recording()},
		rt.Case{Name: "no_limit", Rec: rt.Server{Others: rt.Const(110 * rt.MiB)}.Recording()},
	)
}
