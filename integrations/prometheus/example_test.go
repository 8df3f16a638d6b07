package heapwrightprometheus_test

import (
	"fmt"
	"log"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/heapwright/heapwright/guard"
	heapwrightprometheus "github.com/heapwright/heapwright/integrations/prometheus"
	"github.com/heapwright/heapwright/memlimit"
)

func ExampleNewCollector() {
	l, err := memlimit.Start(memlimit.Config{DryRun: true})
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	g, err := guard.Start(guard.Config{})
	if err != nil {
		log.Fatal(err)
	}
	defer g.Close()

	registry := prometheus.NewRegistry()
	registry.MustRegister(heapwrightprometheus.NewCollector(g, l))

	mux := http.NewServeMux()
	mux.Handle("/metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.Handle("/", g.Handler(http.NotFoundHandler()))

	w := httptest.NewRecorder()
	mux.ServeHTTP(w, httptest.NewRequest("GET", "/metrics", nil))
	for line := range strings.Lines(w.Body.String()) {
		if strings.HasPrefix(line, "heapwright_guard_state{") {
			fmt.Print(line)
		}
	}
	// Output:
	// heapwright_guard_state{state="degraded"} 0
	// heapwright_guard_state{state="healthy"} 1
	// heapwright_guard_state{state="recovering"} 0
}
