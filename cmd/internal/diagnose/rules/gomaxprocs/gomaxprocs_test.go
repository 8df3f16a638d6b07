package gomaxprocs

import (
	"testing"

	rt "github.com/heapwright/heapwright/cmd/internal/diagnose/ruletest"
)

func TestRule(t *testing.T) {
	rt.Run(t, &Rule,
		rt.Case{Name: "far_above_old_go", Rec: rt.Server{Procs: 64, Quota: 2, GoVersion: "go1.24.6"}.Recording(), Want: "warning"},
		rt.Case{Name: "above_by_environment", Rec: rt.Server{Procs: 8, Quota: 3.5, GoEnv: map[string]string{"GOMAXPROCS": "8"}}.Recording(), Want: "warning"},
		rt.Case{Name: "above_and_throttled", Rec: rt.Server{Procs: 3, Quota: 1.5, Throttled: 0.3}.Recording(), Want: "warning"},
		rt.Case{Name: "a_little_above", Rec: rt.Server{Procs: 3, Quota: 1.5}.Recording(), Want: "info"},
		rt.Case{Name: "below", Rec: rt.Server{Procs: 1, Quota: 4, GoVersion: "devel +abc"}.Recording(), Want: "info"},
		rt.Case{Name: "as_the_runtime_does", Rec: rt.Server{Procs: 2, Quota: 0.5}.Recording()},
		rt.Case{Name: "the_host_has_no_more", Rec: rt.Server{Procs: 2, Quota: 8}.Recording()},
		rt.Case{Name: "no_quota", Rec: rt.Server{Procs: 64}.Recording()},
	)
}
