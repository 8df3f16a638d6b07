package evidence_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"slices"

	"github.com/heapwright/heapwright/guard"
	"github.com/heapwright/heapwright/guard/evidence"
)

// The guard captures evidence when it trips.
func ExampleNew() {
	r, err := evidence.New(evidence.Options{Dir: "/var/lib/app/evidence", Trace: true})
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()
	g, err := guard.Start(guard.Config{Evidence: r})
	if err != nil {
		log.Fatal(err)
	}
	defer g.Close()
}

// Without a directory a function is given what was captured, to send it elsewhere.
func ExampleRecorder_Capture() {
	r, err := evidence.New(evidence.Options{
		Sink: func(b evidence.Bundle) {
			fmt.Println(b.Reason, slices.Contains(b.Files, "heap.pprof"), len(b.Data["heap.pprof"]) > 0)
		},
		PerHour: 1,
	})
	if err != nil {
		log.Fatal(err)
	}
	defer r.Close()
	for range 2 {
		_, err := r.Capture(context.Background(), "asked for", nil)
		switch {
		case errors.Is(err, evidence.ErrRateLimited):
			fmt.Println("enough for this hour")
		case err != nil:
			log.Fatal(err)
		}
	}
	// Output:
	// asked for true true
	// enough for this hour
}
