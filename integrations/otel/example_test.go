package heapwrightotel_test

import (
	"context"
	"fmt"
	"log"
	"net/http"

	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/metricdata"

	"github.com/heapwright/heapwright/guard"
	"github.com/heapwright/heapwright/guard/shed"
	heapwrightotel "github.com/heapwright/heapwright/integrations/otel"
)

func Example() {
	// The service's providers: with an exporter in place of the reader, and a processor.
	reader := sdkmetric.NewManualReader()
	meters := sdkmetric.NewMeterProvider(sdkmetric.WithReader(reader))
	defer meters.Shutdown(context.Background())
	loggers := sdklog.NewLoggerProvider()
	defer loggers.Shutdown(context.Background())

	g, err := guard.Start(guard.Config{
		OnEvent: heapwrightotel.Events(loggers.Logger(heapwrightotel.ScopeName)),
		HTTP:    shed.HandlerOptions{OnShed: heapwrightotel.OnShed},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer g.Close()
	registration, err := heapwrightotel.Register(meters.Meter(heapwrightotel.ScopeName), g)
	if err != nil {
		log.Fatal(err)
	}
	defer registration.Unregister()
	http.Handle("/", g.Handler(http.NotFoundHandler()))

	var found metricdata.ResourceMetrics
	if err := reader.Collect(context.Background(), &found); err != nil {
		log.Fatal(err)
	}
	for _, m := range found.ScopeMetrics[0].Metrics {
		if m.Name == "heapwright.shed.requests" {
			fmt.Println(m.Name, m.Unit, m.Description)
		}
	}
	// Output:
	// heapwright.shed.requests {request} Requests by class and by what was decided.
}
