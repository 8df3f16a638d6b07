package goroutines

import (
	"math"
	"testing"

	rt "github.com/heapwright/heapwright/cmd/internal/diagnose/ruletest"
	"github.com/heapwright/heapwright/record"
)

func snapshot(groups ...record.GoroutineGroup) *record.Goroutines {
	g := &record.Goroutines{Groups: groups}
	for _, x := range groups {
		g.Total += x.Count
	}
	return g
}

func TestRule(t *testing.T) {
	waiting := func(n int, reason, created string) record.GoroutineGroup {
		return record.GoroutineGroup{Count: n, Status: "waiting", WaitReason: reason, CreatedBy: rt.F(created, "/src/main.go", 30),
			Stack: []record.Frame{rt.F("runtime.gopark", "runtime/proc.go", 1), rt.F("runtime.chansend", "runtime/chan.go", 1), rt.F("main.notify", "/src/main.go", 41)}}
	}
	leak := rt.Server{
		Goroutines:      rt.Ramp(20, 620, 30),
		FirstGoroutines: snapshot(waiting(1, "chan send", "main.handle"), waiting(19, "IO wait", "net/http.(*Server).Serve")),
		LastGoroutines:  snapshot(waiting(601, "chan send", "main.handle"), waiting(19, "IO wait", "net/http.(*Server).Serve")),
	}
	unknown := leak
	unknown.FirstGoroutines, unknown.LastGoroutines = nil, nil
	clients := leak
	clients.LastGoroutines = snapshot(waiting(301, "sync.Cond.Wait", "server.writeLoop"), waiting(319, "IO wait", "server.readLoop"))
	few := leak
	few.Goroutines = rt.Ramp(200, 290, 30)
	few.LastGoroutines = snapshot(waiting(91, "chan send", "main.handle"), waiting(19, "IO wait", "net/http.(*Server).Serve"))
	rt.Run(t, &Rule,
		rt.Case{Name: "leak", Rec: leak.Recording(), Want: "warning"},
		rt.Case{Name: "no_snapshots", Rec: unknown.Recording(), Want: "info"},
		rt.Case{Name: "clients_arrive", Rec: clients.Recording(), Want: "info"},
		rt.Case{Name: "few", Rec: few.Recording(), Want: "info"},
		rt.Case{Name: "warm_up", Rec: rt.Server{Goroutines: func(t float64) float64 { return 900 * (1 - math.Exp(-t/6)) }}.Recording()},
		rt.Case{Name: "all_at_once", Rec: rt.Server{Goroutines: func(t float64) float64 { return 20 + 3000*math.Floor(t/20) }}.Recording()},
		rt.Case{Name: "up_and_down", Rec: rt.Server{Goroutines: func(t float64) float64 { return 500 + 400*math.Sin(t) }}.Recording()},
		rt.Case{Name: "steady", Rec: rt.Server{}.Recording()},
	)
}
