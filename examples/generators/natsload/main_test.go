package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
)

// A server delivers what is published to whoever subscribed to anything, up to a
// number of messages.
type server struct {
	deliver int

	mu          sync.Mutex
	subscribers []net.Conn
	published   int
	created     int
}

func (s *server) start(t *testing.T) (addr string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			go s.serve(c)
		}
	}()
	return l.Addr().String()
}

func (s *server) serve(c net.Conn) {
	defer c.Close()
	io.WriteString(c, "INFO {}\r\n")
	for r := bufio.NewReader(c); ; {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		switch f := strings.Fields(line); f[0] {
		case "PING":
			s.write(c, "PONG\r\n")
		case "SUB":
			if f[1] == "load.>" {
				s.mu.Lock()
				s.subscribers = append(s.subscribers, c)
				s.mu.Unlock()
			}
		case "PUB":
			var size int
			fmt.Sscan(f[len(f)-1], &size)
			body := make([]byte, size+2)
			if _, err := io.ReadFull(r, body); err != nil {
				return
			}
			s.publish(c, f[1], body)
		}
	}
}

func (s *server) publish(c net.Conn, subject string, body []byte) {
	if strings.HasPrefix(subject, "$JS") {
		s.mu.Lock()
		s.created++
		s.mu.Unlock()
		answer := `{"created":"now"}`
		s.write(c, fmt.Sprintf("MSG reply 1 %d\r\n%s\r\n", len(answer), answer))
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.published++; s.published > s.deliver {
		return
	}
	for _, sub := range s.subscribers {
		fmt.Fprintf(sub, "MSG %s 1 %d\r\n%s", subject, len(body)-2, body)
	}
}

func (s *server) write(c net.Conn, text string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	io.WriteString(c, text)
}

func TestRun(t *testing.T) {
	for _, tt := range []struct {
		name    string
		deliver int
		args    []string
		errors  bool
		created int
		filled  int
	}{
		{name: "all arrive", deliver: 1 << 30},
		{name: "some do not", deliver: 10, args: []string{"-timeout", "50ms"}, errors: true},
		{name: "warm-up fills a stream", deliver: 1 << 30, args: []string{"-stream", "1", "-phase", "warmup", "-size", "1024"}, created: 1, filled: 1024},
		{name: "measuring does not", deliver: 1 << 30, args: []string{"-stream", "1", "-phase", "measure"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := &server{deliver: tt.deliver}
			args := append([]string{"-addr", s.start(t), "-rate", "2000", "-seconds", "0.1"}, tt.args...)
			var out bytes.Buffer
			if err := run(args, &out); err != nil {
				t.Fatal(err)
			}
			if strings.Count(out.String(), "\n") != 1 {
				t.Fatalf("want one line, got %s", out.String())
			}
			var r report
			d := json.NewDecoder(&out)
			d.DisallowUnknownFields()
			if err := d.Decode(&r); err != nil {
				t.Fatal(err)
			}
			if r.Schema != "heapwright.load/1" || r.Seconds != 0.1 || r.Requests < 50 || r.Requests != r.Errors+len(r.Latencies) {
				t.Errorf("%d requests, %d errors, %d latencies in %v s", r.Requests, r.Errors, len(r.Latencies), r.Seconds)
			}
			if (r.Errors > 0) != tt.errors || (r.FirstError != "") != tt.errors {
				t.Errorf("%d errors, the first %q", r.Errors, r.FirstError)
			}
			s.mu.Lock()
			defer s.mu.Unlock()
			if s.created != tt.created || s.published != r.Requests+tt.filled {
				t.Errorf("%d streams, %d messages; want %d and %d", s.created, s.published, tt.created, r.Requests+tt.filled)
			}
		})
	}
}

// TestInstantsAreDrawnBeforehand: the same seed gives the same load.
func TestInstantsAreDrawnBeforehand(t *testing.T) {
	requests := func(seed string) int {
		s := &server{deliver: 1 << 30}
		var out bytes.Buffer
		if err := run([]string{"-addr", s.start(t), "-rate", "3000", "-seconds", "0.1", "-seed", seed}, &out); err != nil {
			t.Fatal(err)
		}
		var r report
		if err := json.Unmarshal(out.Bytes(), &r); err != nil {
			t.Fatal(err)
		}
		return r.Requests
	}
	if a, b := requests("7"), requests("7"); a != b {
		t.Errorf("%d and %d messages of the same seed", a, b)
	}
	if a, b := requests("7"), requests("8"); a == b {
		t.Errorf("%d messages of either seed", a)
	}
}

func TestRunRefuses(t *testing.T) {
	closed, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closed.Close()
	for name, args := range map[string][]string{
		"no rate":     {"-rate", "0"},
		"no time":     {"-seconds", "NaN"},
		"no room":     {"-size", "8"},
		"no such":     {"-nonesuch"},
		"no server":   {"-addr", closed.Addr().String()},
		"a wide flow": {"-rate", "1e9"},
	} {
		if err := run(args, io.Discard); err == nil {
			t.Errorf("%s: want an error", name)
		}
	}
}
