package web

import (
	"context"
	"testing"
	"time"
)

// run runs a server until the test is over, and looks that it ends in time and well.
func run(t testing.TB, s *Server) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		select {
		case err := <-ended:
			if err != nil {
				t.Errorf("running: %v", err)
			}
		case <-time.After(time.Minute):
			t.Error("the server does not end")
		}
	})
}
