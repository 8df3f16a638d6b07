package fault

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
)

// goroutinesBack fails the test unless there are no more goroutines than before, soon.
func goroutinesBack(t *testing.T, before int) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		if now := runtime.NumGoroutine(); now <= before {
			return
		} else if time.Now().After(end) {
			buf := make([]byte, 1<<20)
			t.Fatalf("%d goroutines, %d before:\n%s", now, before, buf[:runtime.Stack(buf, true)])
		}
	}
}

// echoServer answers with what it is sent, and says that it is done when it was told all.
func echoServer(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var work sync.WaitGroup
	work.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			work.Go(func() {
				defer c.Close()
				if _, err := io.Copy(c, c); err == nil {
					c.Write([]byte("bye")) // half-closed: this side may still speak
				}
			})
		}
	})
	t.Cleanup(func() { l.Close(); work.Wait() })
	return l.Addr().String()
}

func testProxies(t *testing.T, f chaos.Fault) (*Proxies, *slow) {
	t.Helper()
	f.Kind = chaos.SlowDependency
	p, err := OpenProxies([]chaos.Fault{{Kind: chaos.Freeze}, f})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	e, err := makeProxy(context.Background(), &Resolved{Fault: f}, &Target{Proxies: p}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return p, e.(*slow)
}

func dialProxy(t *testing.T, p *Proxies) *net.TCPConn {
	t.Helper()
	for _, addr := range p.Addrs() {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		return c.(*net.TCPConn)
	}
	t.Fatal("there is no proxy")
	return nil
}

// TestProxyPasses sends megabytes through, at no delay and at some: every byte arrives
// in order, and what one side says after the other has ended still does.
func TestProxyPasses(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Run("all", func(t *testing.T) {
		p, e := testProxies(t, chaos.Fault{Name: "db", Upstream: echoServer(t)})
		if a := p.Addrs(); len(a) != 1 || !strings.HasPrefix(a["db"], "127.0.0.1:") {
			t.Errorf("the addresses are %v", a)
		}
		for _, delay := range []float64{0, 0.02} {
			if err := e.Set(context.Background(), delay); err != nil {
				t.Fatal(err)
			}
			var work sync.WaitGroup
			for range 4 {
				c := dialProxy(t, p)
				sent := make([]byte, 5<<20)
				for i := range sent {
					sent[i] = byte(rand.Int())
				}
				work.Go(func() {
					c.Write(sent)
					c.CloseWrite()
				})
				got, err := io.ReadAll(c)
				if err != nil || !bytes.Equal(got, append(sent[:len(sent):len(sent)], "bye"...)) {
					t.Errorf("at %gs: %d bytes of %d, %v", delay, len(got), len(sent), err)
				}
			}
			work.Wait()
		}
		if left := p.get("db").budget.Load(); left != 0 {
			t.Errorf("%d bytes are still counted as waiting", left)
		}
	})
	goroutinesBack(t, before)
}

// TestProxyDelays: a round trip takes twice the level longer, which is what is
// measured; undoing lets go at once of what waits.
func TestProxyDelays(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Run("all", func(t *testing.T) {
		p, e := testProxies(t, chaos.Fault{Upstream: echoServer(t)})
		c := dialProxy(t, p)
		trip := func() time.Duration {
			begin := time.Now()
			c.Write([]byte("x"))
			if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			return time.Since(begin)
		}
		trip()
		if _, _, ok := e.Measure(); ok {
			t.Error("a level is measured before there is one")
		}
		if err := e.Set(context.Background(), 0.15); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if d := trip(); d < 300*time.Millisecond {
				t.Errorf("a round trip takes %v", d)
			}
		}
		if v, by, ok := e.Measure(); !ok || v < 0.15 || !strings.Contains(by, " pieces of data") {
			t.Errorf("measured %g by %q, %t", v, by, ok)
		}
		// An hour's wait is no more than until it is undone.
		e.proxy.setDelay(time.Hour)
		c.Write([]byte("y"))
		time.Sleep(20 * time.Millisecond)
		for range 2 {
			if err := e.Undo(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			t.Error(err)
		}
		if err := e.Set(context.Background(), 1); !errors.Is(err, errUndone) {
			t.Errorf("a level after it was undone: %v", err)
		}
	})
	goroutinesBack(t, before)
}

// TestProxyCuts: a share of the connections is reset each so often, on both sides, and
// new ones are taken.
func TestProxyCuts(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Run("all", func(t *testing.T) {
		p, _ := testProxies(t, chaos.Fault{Upstream: echoServer(t)})
		var conns []*net.TCPConn
		for range 8 {
			c := dialProxy(t, p)
			c.Write([]byte("x"))
			if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
				t.Fatal(err)
			}
			conns = append(conns, c)
		}
		// What only cuts has no level to be set.
		cutter, err := makeProxy(context.Background(), &Resolved{Fault: chaos.Fault{Kind: chaos.SlowDependency, Cut: 1, Every: 20 * time.Millisecond}}, &Target{Proxies: p}, nil)
		if err != nil {
			t.Fatal(err)
		}
		e := cutter.(*slow)
		for _, c := range conns {
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("a connection that was cut ends with %v", err)
			}
		}
		if err := e.Undo(context.Background()); err != nil {
			t.Fatal(err)
		}
		c := dialProxy(t, p)
		c.Write([]byte("x"))
		time.Sleep(60 * time.Millisecond)
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			t.Errorf("after it was undone: %v", err)
		}
		if _, by, _ := e.Measure(); !strings.Contains(by, "which cut 8 connections") || e.Cuts() != 8 {
			t.Errorf("measured by %q, %d cuts", by, e.Cuts())
		}
	})
	goroutinesBack(t, before)
}

// TestProxyShare: so many of the connections are cut as the plan says, on average.
func TestProxyShare(t *testing.T) {
	p := &proxy{pairs: map[*pair]bool{}}
	for range 4000 {
		one := &pair{client: new(net.TCPConn), done: make(chan struct{})}
		p.pairs[one] = true
	}
	p.cutSome(context.Background(), 0.25)
	if n := p.cut.Load(); n < 1000 || n > 1001 {
		t.Errorf("%d of 4000 are cut", n)
	}
}

// TestProxyBreaks: what breaks on one side breaks on the other, and a dependency that is
// not there is not there behind the proxy either.
func TestProxyBreaks(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Run("all", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		p, _ := testProxies(t, chaos.Fault{Upstream: l.Addr().String()})
		c := dialProxy(t, p)
		up, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		reset(up.(*net.TCPConn))
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the dependency broke the connection, and the client sees %v", err)
		}
		c = dialProxy(t, p)
		if up, err = l.Accept(); err != nil {
			t.Fatal(err)
		}
		reset(c)
		if _, err := up.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the client broke the connection, and the dependency sees %v", err)
		}
		up.Close()
		l.Close()
		var sees error
		conn, err := net.Dial("tcp", p.Addrs()[string(chaos.SlowDependency)])
		if sees = err; err == nil { // the reset may come before it is connected
			_, sees = conn.Read(make([]byte, 1))
			conn.Close()
		}
		if !errors.Is(sees, syscall.ECONNRESET) {
			t.Errorf("without a dependency the client sees %v", sees)
		}
	})
	goroutinesBack(t, before)
}

// TestProxyBound: of what a dependency does not take, or that waits long, no more is
// kept than the bound, while other connections pass.
func TestProxyBound(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Run("all", func(t *testing.T) {
		p, e := testProxies(t, chaos.Fault{Upstream: echoServer(t)})
		e.proxy.setDelay(time.Hour)
		var work sync.WaitGroup
		for range 3 {
			c := dialProxy(t, p)
			c.SetWriteDeadline(time.Now().Add(time.Second))
			work.Go(func() {
				n, err := io.Copy(c, io.LimitReader(zeros{}, 64<<20))
				if !errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("%d bytes were taken, %v", n, err)
				}
			})
		}
		work.Wait()
		if n := e.proxy.budget.Load(); n > 3*proxyLane {
			t.Errorf("%d bytes wait", n)
		}
		p.Close()
	})
	goroutinesBack(t, before)
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }

func TestProxyRefuses(t *testing.T) {
	ok := chaos.Fault{Kind: chaos.SlowDependency, Upstream: "127.0.0.1:1", Level: chaos.Level{Value: 0.25}}
	with := func(f func(*chaos.Fault)) chaos.Fault { g := ok; f(&g); return g }
	for _, tt := range []struct {
		name string
		f    chaos.Fault
		want string
	}{
		{"sound", ok, ""},
		{"cuts only", with(func(f *chaos.Fault) { f.Level.Value, f.Cut = 0, 0.1 }), ""},
		{"nothing", with(func(f *chaos.Fault) { f.Level.Value = 0 }), "neither delays nor cuts"},
		{"no upstream", with(func(f *chaos.Fault) { f.Upstream = "" }), "nothing to pass on to"},
		{"no port", with(func(f *chaos.Fault) { f.Upstream = "db" }), "no address"},
		{"listen", with(func(f *chaos.Fault) { f.Listen = "here" }), "no address to listen on"},
		{"itself", with(func(f *chaos.Fault) { f.Listen = f.Upstream }), "to itself"},
		{"cut", with(func(f *chaos.Fault) { f.Cut = 1.5 }), "share of connections"},
		{"every", with(func(f *chaos.Fault) { f.Every = -1 }), "between two cuts"},
		{"an hour", with(func(f *chaos.Fault) { f.Level.Value = 3600 }), "a delay of 3600"},
		{"a share", with(func(f *chaos.Fault) { f.Level = chaos.Level{Value: 0.5, Share: true} }), "a delay of 0.5"},
	} {
		_, err := resolveProxy(context.Background(), tt.f, &Target{}, chaos.Caps{}, Room{})
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
		var no *RefusedError
		if err != nil && (!errors.As(err, &no) || no.Hint() == "") {
			t.Errorf("%s: %T without a hint", tt.name, err)
		}
	}
	taken := echoServer(t)
	for name, faults := range map[string][]chaos.Fault{
		"an address that is taken": {with(func(f *chaos.Fault) { f.Listen = taken })},
		"two of a name":            {ok, ok},
	} {
		if _, err := OpenProxies(faults); !errors.As(err, new(*RefusedError)) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := makeProxy(context.Background(), &Resolved{Fault: ok}, &Target{}, nil); err == nil {
		t.Error("an effect without a proxy")
	}
	var none *Proxies
	if err := none.Close(); err != nil || len(none.Addrs()) != 0 {
		t.Error("no proxies are something")
	}
}

// TestProxyPointed: a port of a target that is not there yet is said later.
func TestProxyPointed(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Run("all", func(t *testing.T) {
		f := chaos.Fault{Name: "own", Kind: chaos.SlowDependency, Upstream: "127.0.0.1:{port2}"}
		p, err := OpenProxies([]chaos.Fault{f})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { p.Close() })
		ask := func() string {
			c, err := net.Dial("tcp", p.Addrs()["own"])
			if err != nil {
				return "" // reset as soon as it is accepted: nobody is there
			}
			defer c.Close()
			c.Write([]byte("who"))
			c.(*net.TCPConn).CloseWrite()
			got, _ := io.ReadAll(c)
			return string(got)
		}
		if got := ask(); got != "" {
			t.Errorf("nobody said %q", got)
		}
		if err := p.Point(map[string]string{"own": f.Upstream}); err == nil {
			t.Error("a placeholder is an address")
		}
		f.Upstream = echoServer(t)
		if err := p.Point(map[string]string{"own": f.Upstream, "another": ""}); err != nil {
			t.Fatal(err)
		}
		if got := ask(); got != "whobye" {
			t.Errorf("the dependency said %q", got)
		}
	})
	goroutinesBack(t, before)
}
