package metric_test

import (
	"log"
	"net/http"
	"os"

	"github.com/heapwright/heapwright/metric"
)

// A queue says its numbers itself: whoever shows them needs to know no queue.
type queue struct {
	waiting int
	taken   uint64
}

func (q *queue) Metrics(emit func(metric.Metric)) {
	emit(metric.Metric{Name: "app.queue.waiting", Unit: "{job}", Help: "Jobs that wait.", Kind: metric.Gauge, Value: float64(q.waiting)})
	emit(metric.Metric{Name: "app.queue.taken", Unit: "{job}", Help: "Jobs taken so far.", Kind: metric.Counter, Value: float64(q.taken)})
}

func ExampleWriteText() {
	if err := metric.WriteText(os.Stdout, &queue{waiting: 3, taken: 1200}); err != nil {
		log.Fatal(err)
	}
	// Output:
	// # HELP app_queue_taken_total Jobs taken so far.
	// # TYPE app_queue_taken_total counter
	// app_queue_taken_total 1200
	// # HELP app_queue_waiting Jobs that wait.
	// # TYPE app_queue_waiting gauge
	// app_queue_waiting 3
}

func ExampleHandler() {
	q := &queue{}
	http.Handle("/metrics", metric.Handler(q))
	log.Fatal(http.ListenAndServe("127.0.0.1:9100", nil))
}
