package sense

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
)

// TestSelf reads this very process.
func TestSelf(t *testing.T) {
	var well atomic.Bool
	well.Store(true)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !well.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer server.Close()
	s, err := Open(t.Context(), os.Getpid(), Options{Ready: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	began := time.Now()
	until := func(what string, met func(chaos.Point) bool) chaos.Point {
		t.Helper()
		for time.Since(began) < time.Minute {
			if p := s.Read(time.Since(began)); met(p) {
				return p
			}
			time.Sleep(20 * time.Millisecond)
		}
		t.Fatalf("%s: %v, %v", what, s.Read(time.Since(began)), s.Events())
		return chaos.Point{}
	}
	p := until("readiness", func(p chaos.Point) bool {
		_, rates := p.Values[chaos.CPUUsed]
		return p.Values[chaos.Ready] == 1 && rates
	})
	if s.Why() == "" && p.Values[chaos.GoroutineCount] < 2 {
		t.Errorf("there are %v goroutines", p.Values[chaos.GoroutineCount])
	}
	for _, m := range []chaos.Metric{chaos.RSS, chaos.HostFreeRatio, chaos.Restarts} {
		if _, ok := p.Values[m]; !ok {
			t.Errorf("%s is absent", m)
		}
	}
	well.Store(false)
	until("its end", func(p chaos.Point) bool { v, ok := p.Values[chaos.Ready]; return ok && v == 0 })
}

// TestOther reads a program that is not Go: its runtime's values are absent, and it is
// said once why. When it ends that is seen.
func TestOther(t *testing.T) {
	sleep := exec.Command("sleep", "1000")
	if err := sleep.Start(); err != nil {
		t.Skipf("needs a program that is not Go: %v", err)
	}
	defer sleep.Process.Kill()
	s, err := Open(t.Context(), sleep.Process.Pid, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	p := s.Read(0)
	for end := time.Now().Add(20 * time.Second); s.Why() == "" && time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		p = s.Read(0)
	}
	if _, ok := p.Values[chaos.LiveHeap]; ok || s.Why() == "" || p.Values[chaos.RSS] == 0 {
		t.Errorf("%v, %q", p, s.Why())
	}
	notes := 0
	for _, e := range s.Events() {
		if e.Kind == chaos.EventNote && strings.Contains(e.Text, "runtime") {
			notes++
		}
	}
	if notes != 1 {
		t.Errorf("it is said %d times", notes)
	}
	sleep.Process.Kill()
	sleep.Wait()
	if p := s.Read(time.Second); p.Values[chaos.Restarts] != 1 {
		t.Errorf("it has ended: %v", p)
	}
	if e := s.Events(); len(e) != 1 || e[0].Kind != chaos.EventGone {
		t.Errorf("%v", e)
	}
	if _, err := Open(t.Context(), sleep.Process.Pid, Options{}); err == nil {
		t.Error("what has ended is opened")
	}
}

func TestCountConnections(t *testing.T) {
	before, ok := countConnections(os.Getpid())
	if !ok {
		t.Skip("needs /proc/PID/net")
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	a, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	if after, ok := countConnections(os.Getpid()); !ok || after < before+2 {
		t.Errorf("%d, then %d, %v", before, after, ok)
	}
}

// TestSlow: a reading does not wait for what takes long, and what came too late counts
// for the next.
func TestSlow(t *testing.T) {
	release := make(chan int)
	w := newWorker(func() int { return <-release }, func() {})
	defer w.stop()
	for range 3 {
		w.begin()
		if v, ok := take(w, time.Now().Add(time.Millisecond)); ok {
			t.Fatalf("it answers %d", v)
		}
	}
	release <- 7
	w.begin()
	if v, ok := take(w, time.Now().Add(time.Minute)); !ok || v != 7 {
		t.Errorf("it answers %d, %v", v, ok)
	}
	w.begin()
	go func() { release <- 8 }()
	if v, ok := take(w, time.Now().Add(time.Minute)); !ok || v != 8 {
		t.Errorf("it answers %d, %v", v, ok)
	}
}

func BenchmarkRead(b *testing.B) {
	s, err := Open(b.Context(), os.Getpid(), Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	at := time.Duration(0)
	for b.Loop() {
		at += 100 * time.Millisecond
		s.Read(at)
	}
}
