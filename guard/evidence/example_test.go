package evidence_test

import (
	"context"
	"errors"
	"log"
	"time"

	"github.com/heapwright/heapwright/guard/evidence"
)

// A guard is given the Recorder in its Config and captures by itself. This is by hand.
func Example() {
	recorder, err := evidence.New(evidence.Options{Dir: "/var/lib/orders/evidence", Trace: true})
	if err != nil {
		log.Fatal(err)
	}
	defer recorder.Close()

	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	bundle, err := recorder.Capture(ctx, "the queue does not drain", nil)
	switch {
	case errors.Is(err, evidence.ErrRateLimited):
	case err != nil:
		log.Print(err)
	default:
		log.Printf("look at %s", bundle.Path)
	}
}
