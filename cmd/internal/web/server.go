package web

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"
)

// A Server listens from New on, and answers while Run runs.
type Server struct {
	o        Options
	listener net.Listener
	http     *http.Server
}

// New checks the options, reads the files that they name, and takes the address.
func New(o Options) (*Server, error) {
	if err := Check(o); err != nil {
		return nil, err
	}
	if o.Logger == nil {
		o.Logger = slog.Default()
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	l, err := net.Listen("tcp", o.Listen)
	if err != nil {
		return nil, fmt.Errorf("listening: %w", err)
	}
	s := &Server{o: o, listener: l}
	s.http = &http.Server{Handler: s.Handler(), ReadHeaderTimeout: 5 * time.Second}
	return s, nil
}

// Addr is where it listens.
func (s *Server) Addr() net.Addr { return s.listener.Addr() }

// URL is where this machine's browsers find it.
func (s *Server) URL() string {
	scheme := "http"
	if s.o.TLS.CertFile != "" {
		scheme = "https"
	}
	return scheme + "://" + s.Addr().String() + "/"
}

// Handler returns what answers requests, for tests without a network.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	if s.o.API != nil {
		mux.Handle("/api/heapwright/v1/", s.o.API)
	}
	if s.o.Metrics != nil {
		mux.Handle("GET /metrics", s.o.Metrics)
	}
	return mux
}

// Run answers requests until ctx is done, and then gives those under way some time
// to end. It returns nil when it ended because ctx did.
func (s *Server) Run(ctx context.Context) error {
	over := make(chan struct{})
	defer close(over)
	go func() {
		select {
		case <-ctx.Done():
			s.http.Close()
		case <-over:
		}
	}()
	if err := s.http.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving: %w", err)
	}
	return nil
}
