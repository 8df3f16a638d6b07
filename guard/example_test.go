package guard_test

import (
	"context"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/heapwright/heapwright/guard"
	"github.com/heapwright/heapwright/guard/evidence"
	"github.com/heapwright/heapwright/guard/shed"
	"github.com/heapwright/heapwright/guard/sli"
)

func ExampleStart() {
	g, err := guard.Start(guard.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer g.Close()
	mux := http.NewServeMux()
	mux.Handle("/readyz", g.ReadyHandler())
	log.Fatal(http.ListenAndServe(":8080", g.Handler(mux)))
}

// What a service can do without is for it to say: a rung of the ladder for each.
func ExampleConfig_ladder() {
	var cache interface{ Shrink() }
	var thumbnails interface{ Pause(bool) }
	g, err := guard.Start(guard.Config{
		Ladder: []guard.Degradation{
			{
				Name:  "small cache",
				Enter: func(context.Context) error { cache.Shrink(); return nil },
				Above: 0.75, Below: 0.65,
			},
			{
				Name:  "no thumbnails",
				Enter: func(context.Context) error { thumbnails.Pause(true); return nil },
				Exit:  func(context.Context) error { thumbnails.Pause(false); return nil },
				Above: 0.82, Below: 0.74,
			},
			{
				Name:  "half",
				Admit: &shed.Shares{shed.Low: 0, shed.Normal: 0.5, shed.High: 1},
				Above: 0.92, Below: 0.84,
			},
		},
		HTTP: shed.HandlerOptions{
			Class: shed.ClassByPrefix(map[string]shed.Class{"/export": shed.Low, "/checkout": shed.High, "/admin": shed.Critical}),
		},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer g.Close()
}

// An objective may be on a signal of the service's own. Evidence is kept of what was
// to be seen when it was not met.
func ExampleConfig_objectives() {
	queue := make(chan func(), 1000)
	kept, err := evidence.New(evidence.Options{Dir: "/var/lib/app/evidence", Trace: true})
	if err != nil {
		log.Fatal(err)
	}
	defer kept.Close()
	g, err := guard.Start(guard.Config{
		Signals:    []sli.Custom{{Name: "queue_length", Read: func() (float64, bool) { return float64(len(queue)), true }}},
		Objectives: append(guard.DefaultObjectives(), guard.Objective{Name: "queue", Signal: "queue_length", Max: 500}),
		Evidence:   kept,
		OnEvent:    func(e guard.Event) { log.Print(e.Kind, " ", e.From, " ", e.To, " ", e.Reason) },
	})
	if err != nil {
		log.Fatal(err)
	}
	defer g.Close()
}

func ExampleGuard_Handler() {
	g, err := guard.Start(guard.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer g.Close()
	s := httptest.NewServer(g.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprint(w, "hello")
	})))
	defer s.Close()
	r, err := http.Get(s.URL)
	if err != nil {
		log.Fatal(err)
	}
	defer r.Body.Close()
	body, _ := io.ReadAll(r.Body)
	fmt.Println(r.StatusCode, string(body))
	// Output: 200 hello
}
