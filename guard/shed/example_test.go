package shed_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"

	"github.com/heapwright/heapwright/guard/shed"
)

func ExampleGate_Admit() {
	g := shed.NewGate(shed.Options{})
	g.SetShares(shed.Shares{shed.Low: 0, shed.Normal: 1, shed.High: 1})

	if ticket, ok := g.Admit(shed.Normal, 64<<10); ok {
		fmt.Println("normal: served, with", g.Stats().InFlightBytes, "bytes in flight")
		ticket.Done()
	}
	if _, ok := g.Admit(shed.Low, 64<<10); !ok {
		fmt.Println("low: refused")
	}
	// Output:
	// normal: served, with 65536 bytes in flight
	// low: refused
}

// Requests of a class that is not admitted get 503 and a time to stay away. Health
// checks always pass.
func ExampleHandler() {
	g := shed.NewGate(shed.Options{})
	service := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {})
	h := shed.Handler(g, service, shed.HandlerOptions{
		Class: shed.ClassByPrefix(map[string]shed.Class{"/export": shed.Low}),
	})
	g.SetShares(shed.Shares{shed.Low: 0, shed.Normal: 1, shed.High: 1})

	for _, path := range []string{"/export", "/orders", "/healthz"} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		fmt.Println(path, w.Code, w.Header().Get("Retry-After") != "")
	}
	// Output:
	// /export 503 true
	// /orders 200 false
	// /healthz 200 false
}
