package stacks

import (
	"testing"

	rt "github.com/heapwright/heapwright/cmd/internal/diagnose/ruletest"
	"github.com/heapwright/heapwright/record"
)

func TestRule(t *testing.T) {
	deep := rt.Server{
		Stacks: rt.Const(330 * rt.MiB), Goroutines: rt.Const(10100),
		LastGoroutines: &record.Goroutines{Groups: []record.GoroutineGroup{
			{Count: 100, Status: "waiting", CreatedBy: rt.F("net/http.(*Server).Serve", "net/http/server.go", 3400)},
			{Count: 10000, Status: "waiting", CreatedBy: rt.F("main.park", "/src/main.go", 12)},
		}},
	}
	some := rt.Server{Stacks: rt.Const(80 * rt.MiB), Goroutines: rt.Const(20000)}
	rt.Run(t, &Rule,
		rt.Case{Name: "deep", Rec: deep.Recording(), Want: "warning"},
		rt.Case{Name: "some", Rec: some.Recording(), Want: "info"},
		rt.Case{Name: "grown", Rec: rt.Server{Stacks: rt.Const(40 * rt.MiB), Goroutines: rt.Const(700)}.Recording(), Want: "info"},
		rt.Case{Name: "many_and_shallow", Rec: rt.Server{Stacks: rt.Const(40 * rt.MiB), Goroutines: rt.Const(9000)}.Recording()},
		rt.Case{Name: "small_beside_the_heap", Rec: rt.Server{Stacks: rt.Const(80 * rt.MiB), Live: rt.Const(400 * rt.MiB)}.Recording()},
		rt.Case{Name: "few", Rec: rt.Server{}.Recording()},
	)
}
