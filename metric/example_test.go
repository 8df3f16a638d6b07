package metric_test

import (
	"os"

	"github.com/heapwright/heapwright/metric"
)

// queue is a part of a service that says its numbers.
type queue struct{ waiting, taken int }

func (q *queue) Metrics(emit func(metric.Metric)) {
	emit(metric.Metric{Name: "orders.queue.waiting", Unit: "{order}", Help: "Orders that wait.", Value: float64(q.waiting)})
	emit(metric.Metric{Name: "orders.queue.taken", Unit: "{order}", Help: "Orders taken on.", Kind: metric.Counter, Value: float64(q.taken)})
}

func ExampleWriteText() {
	metric.WriteText(os.Stdout, &queue{waiting: 3, taken: 1200})
	// Output:
	// # HELP orders_queue_taken_total Orders taken on.
	// # TYPE orders_queue_taken_total counter
	// orders_queue_taken_total 1200
	// # HELP orders_queue_waiting Orders that wait.
	// # TYPE orders_queue_waiting gauge
	// orders_queue_waiting 3
}
