package main

import (
	"math/rand/v2"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// TestWorkloads sets each workload up and has it do some operations of each worker.
func TestWorkloads(t *testing.T) {
	goroot, err := exec.Command("go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	for name, w := range workloads {
		t.Run(name, func(t *testing.T) {
			elapsed := -time.Hour
			op, err := w.setup(env{
				rnd: rand.New(rand.NewPCG(1, 0)), goroot: strings.TrimSpace(string(goroot)),
				elapsed: func() time.Duration { elapsed += time.Second; return elapsed },
			})
			if err != nil {
				t.Fatal(err)
			}
			if w.perSecond <= 0 || w.workers <= 0 || w.workers > len(sink) {
				t.Errorf("%g operations a second by %d workers", w.perSecond, w.workers)
			}
			rnd := rand.New(rand.NewPCG(1, 1))
			for range 10 {
				for worker := range w.workers {
					op(worker, rnd)
				}
			}
		})
	}
}

func TestRunRefusesWhatItDoesNotKnow(t *testing.T) {
	err := run("nonesuch", 1, 0, 0, 1, "")
	if err == nil || !strings.Contains(err.Error(), "webcache") {
		t.Errorf("got %v, want an error that lists the workloads", err)
	}
}

// TestPace paces operations that take no time: none is left out, and the worker
// does not run ahead of the rate by more than what it sleeps for.
func TestPace(t *testing.T) {
	const perSecond = 5000
	stop := make(chan struct{})
	n := 0
	start := time.Now()
	c := pace(stop, perSecond, func() {
		if n++; n == 500 {
			close(stop)
		}
	})
	if c.done != 500 {
		t.Errorf("%d operations, want 500", c.done)
	}
	// The 500th is due after 0.1 s, and is begun at most sleepAhead earlier.
	if least := 500*time.Second/perSecond - sleepAhead - time.Millisecond; time.Since(start) < least {
		t.Errorf("500 operations at %d a second took %v, want %v or more", perSecond, time.Since(start), least)
	}
}
