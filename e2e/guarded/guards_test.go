package main

import (
	"context"
	"net/http"
	"testing"
	"time"
)

// nobody reads the answer.
type nobody struct{ header http.Header }

func (n nobody) Header() http.Header         { return n.header }
func (n nobody) Write(b []byte) (int, error) { return len(b), nil }
func (n nobody) WriteHeader(int)             {}

// BenchmarkAdmitted is what a guard adds to a request that it admits, with a handler
// that does nothing, on all CPUs at once.
func BenchmarkAdmitted(b *testing.B) {
	for _, name := range guardNames() {
		b.Run(name, func(b *testing.B) {
			g, err := newGuard(name, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
			if err != nil {
				b.Skip(err)
			}
			defer g.close()
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				r, err := http.NewRequest(http.MethodGet, "/work", nil)
				if err != nil {
					b.Error(err)
					return
				}
				w := nobody{http.Header{}}
				for pb.Next() {
					g.handler.ServeHTTP(w, r)
				}
			})
		})
	}
}

func TestChain(t *testing.T) {
	const nodes = 100
	head := chain(nodes * nodeBytes)
	n := 0
	for at := head; at != nil; at = at.next {
		n++
	}
	if want := uint64(nodes * (nodes - 1) / 2); n != nodes || walk(head) != want {
		t.Errorf("%d nodes with the sum %d, want %d with %d", n, walk(head), nodes, want)
	}
	if chain(nodeBytes-1) != nil {
		t.Error("half a node was made")
	}
}

func TestAsk(t *testing.T) {
	s := newService(0, 0, 0, 0, time.Millisecond)
	if err := s.ask(t.Context()); err != nil {
		t.Error(err)
	}
	s.dependency.Store(int64(time.Hour))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if s.ask(ctx) == nil {
		t.Error("it waits for a client that has gone")
	}
}
