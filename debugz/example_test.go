package debugz_test

import (
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"

	"github.com/heapwright/heapwright/debugz"
	"github.com/heapwright/heapwright/guard"
	"github.com/heapwright/heapwright/memlimit"
	"github.com/heapwright/heapwright/metric"
)

// A debug port of its own keeps the page off the address that the world can reach.
func ExampleHandler() {
	l, err := memlimit.Start(memlimit.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	g, err := guard.Start(guard.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer g.Close()
	mux := http.NewServeMux()
	mux.Handle("/debug/heapwright/", debugz.Handler(debugz.Options{Guard: g, Limit: l, Sources: []metric.Source{g, l}}))
	log.Fatal(http.ListenAndServe("127.0.0.1:6060", mux))
}

// Only this machine is answered, and only by a name that is its own.
func ExampleHandler_access() {
	h := debugz.Handler(debugz.Options{})
	for _, from := range []string{"127.0.0.1:40000", "192.0.2.7:40000"} {
		for _, host := range []string{"localhost:6060", "rebound.example:6060"} {
			r := httptest.NewRequest("GET", "/debug/heapwright/", nil)
			r.RemoteAddr, r.Host = from, host
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			fmt.Println(from, host, w.Code)
		}
	}
	// Output:
	// 127.0.0.1:40000 localhost:6060 200
	// 127.0.0.1:40000 rebound.example:6060 403
	// 192.0.2.7:40000 localhost:6060 403
	// 192.0.2.7:40000 rebound.example:6060 403
}
