package fault

import (
	"context"
	"errors"
	"io"
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

// severed opens a proxy, and makes a hole or resets of it.
func severed(t *testing.T, f chaos.Fault) (*Proxies, *sever) {
	t.Helper()
	p, err := OpenProxies([]chaos.Fault{{Name: "db", Kind: chaos.SlowDependency, Upstream: f.Upstream}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	f.Proxy = "db"
	e, err := makeSever(context.Background(), &Resolved{Fault: f}, &Target{Proxies: p}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return p, e.(*sever)
}

// trip sends a byte and waits for one.
func trip(c *net.TCPConn, wait time.Duration) error {
	if _, err := c.Write([]byte("x")); err != nil {
		return err
	}
	c.SetReadDeadline(time.Now().Add(wait))
	defer c.SetReadDeadline(time.Time{})
	_, err := io.ReadFull(c, make([]byte, 1))
	return err
}

const (
	// silence is how long nothing is waited for, patience how long what has to come.
	silence  = 150 * time.Millisecond
	patience = 30 * time.Second
)

// open is how many connections a proxy has.
func (p *proxy) open() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.pairs)
}

// TestHole: of connections that there are and new ones nothing comes out, nobody is told
// anything, and when it ends they go on, or are reset.
func TestHole(t *testing.T) {
	for _, end := range []string{"", chaos.Keep, chaos.Reset} {
		t.Run("end "+end, func(t *testing.T) {
			before := runtime.NumGoroutine()
			t.Run("all", func(t *testing.T) {
				ctx := context.Background()
				p, e := severed(t, chaos.Fault{Kind: chaos.BlackHole, Upstream: echoServer(t), End: end})
				old := dialProxy(t, p)
				if err := trip(old, patience); err != nil {
					t.Fatal(err)
				}
				if _, _, ok := e.Measure(); ok {
					t.Error("a level is measured before there is one")
				}
				if err := e.Set(ctx, 1); err != nil {
					t.Fatal(err)
				}
				if _, _, ok := e.Measure(); ok {
					t.Error("nobody has tried, and a level is measured")
				}
				young := dialProxy(t, p)
				for _, c := range []*net.TCPConn{old, young} {
					if err := trip(c, silence); !errors.Is(err, os.ErrDeadlineExceeded) {
						t.Errorf("in the hole: %v", err)
					}
				}
				if v, by, ok := e.Measure(); !ok || v != 1 || by != "of 2 connections that had something to say, 2B in all, 0 got it through" {
					t.Errorf("measured %g by %q, %t", v, by, ok)
				}
				for range 2 {
					if err := e.Undo(ctx); err != nil {
						t.Fatal(err)
					}
				}
				for _, c := range []*net.TCPConn{old, young} {
					_, err := io.ReadFull(c, make([]byte, 1))
					if end == chaos.Reset && !errors.Is(err, syscall.ECONNRESET) || end != chaos.Reset && err != nil {
						t.Errorf("after it: %v", err)
					}
				}
				if err := trip(dialProxy(t, p), patience); err != nil {
					t.Errorf("a new one after it: %v", err)
				}
				if err := e.Set(ctx, 1); !errors.Is(err, errUndone) {
					t.Errorf("a level after it was undone: %v", err)
				}
			})
			goroutinesBack(t, before)
		})
	}
}

// TestHoleDirection: what the one says is not heard, what the other says is.
func TestHoleDirection(t *testing.T) {
	for direction, want := range map[string]struct{ there, back bool }{chaos.Both: {}, chaos.To: {back: true}, chaos.From: {there: true}} {
		t.Run(direction, func(t *testing.T) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			defer l.Close()
			p, e := severed(t, chaos.Fault{Kind: chaos.BlackHole, Upstream: l.Addr().String(), Direction: direction})
			c := dialProxy(t, p)
			accepted, err := l.Accept()
			if err != nil {
				t.Fatal(err)
			}
			defer accepted.Close()
			up := accepted.(*net.TCPConn)
			if err := e.Set(context.Background(), 1); err != nil {
				t.Fatal(err)
			}
			for name, way := range map[string]struct {
				from, to *net.TCPConn
				passes   bool
			}{"to": {c, up, want.there}, "from": {up, c, want.back}} {
				if _, err := way.from.Write([]byte("x")); err != nil {
					t.Fatal(err)
				}
				wait := silence
				if way.passes {
					wait = patience
				}
				way.to.SetReadDeadline(time.Now().Add(wait))
				if _, err := io.ReadFull(way.to, make([]byte, 1)); (err == nil) != way.passes {
					t.Errorf("%s the dependency: %v", name, err)
				}
			}
			if v, _, ok := e.Measure(); !ok || v != 1 {
				t.Errorf("measured %g, %t: what passes in the other direction does not count", v, ok)
			}
		})
	}
}

// TestHoleHides: that the dependency is not there, or broke, is not known before the end.
func TestHoleHides(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Run("all", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		p, e := severed(t, chaos.Fault{Kind: chaos.BlackHole, Upstream: l.Addr().String()})
		old := dialProxy(t, p)
		up, err := l.Accept()
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Set(context.Background(), 1); err != nil {
			t.Fatal(err)
		}
		reset(up.(*net.TCPConn))
		l.Close()
		young := dialProxy(t, p)
		for _, c := range []*net.TCPConn{old, young} {
			if err := trip(c, silence); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("in the hole: %v", err)
			}
		}
		if err := e.Undo(context.Background()); err != nil {
			t.Fatal(err)
		}
		for _, c := range []*net.TCPConn{old, young} {
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("after it: %v", err)
			}
		}
	})
	t.Run("refused", func(t *testing.T) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		p, e := severed(t, chaos.Fault{Kind: chaos.BlackHole, Upstream: l.Addr().String(), Direction: chaos.From})
		if err := e.Set(context.Background(), 1); err != nil {
			t.Fatal(err)
		}
		c := dialProxy(t, p)
		if err := trip(c, silence); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("in the hole: %v", err)
		}
		if err := e.Undo(context.Background()); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("after it: %v", err)
		}
	})
	goroutinesBack(t, before)
}

// TestHoleLetsGo: who gives up is not kept, or a service that tries again and again would
// fill the proxy.
func TestHoleLetsGo(t *testing.T) {
	for _, direction := range []string{chaos.Both, chaos.To, chaos.From} {
		p, e := severed(t, chaos.Fault{Kind: chaos.BlackHole, Upstream: echoServer(t), Direction: direction})
		old := dialProxy(t, p)
		if err := trip(old, patience); err != nil {
			t.Fatal(err)
		}
		if err := e.Set(context.Background(), 1); err != nil {
			t.Fatal(err)
		}
		for range 20 {
			c := dialProxy(t, p)
			c.Write([]byte("x"))
			c.Close()
		}
		old.Close()
		soon(t, direction+": the connections to end", func() bool { return e.proxy.open() == 0 })
		if n := e.proxy.budget.Load(); n != 0 {
			t.Errorf("%s: %d bytes are still counted as waiting", direction, n)
		}
	}
}

// TestShares: of a share of the connections there are as many among a few, and those of a
// smaller share are among those of a larger one.
func TestShares(t *testing.T) {
	for _, kind := range []chaos.Kind{chaos.BlackHole, chaos.ResetPeer} {
		t.Run(string(kind), func(t *testing.T) {
			ctx := context.Background()
			p, e := severed(t, chaos.Fault{Kind: kind, Upstream: echoServer(t)})
			var all []*net.TCPConn
			for range 20 {
				all = append(all, dialProxy(t, p))
			}
			soon(t, "all to be there", func() bool { return e.proxy.open() == len(all) })
			gone := map[int]bool{}
			for _, share := range []float64{0, 0.3, 0.6} {
				if err := e.Set(ctx, share); err != nil {
					t.Fatal(err)
				}
				var mu sync.Mutex
				var work sync.WaitGroup
				n := 0
				for i, c := range all {
					work.Go(func() {
						err := trip(c, 2*silence)
						mu.Lock()
						defer mu.Unlock()
						if err != nil {
							n++
							gone[i] = true
						} else if gone[i] {
							t.Errorf("at %g connection %d is back", share, i)
						}
					})
				}
				work.Wait()
				if want := share * float64(len(all)); float64(n) < want-2 || float64(n) > want+2 {
					t.Errorf("at %g, %d of %d connections are gone", share, n, len(all))
				}
				want := share
				if kind == chaos.ResetPeer && share == 0.6 {
					want = 0.3 / 0.7 // of those that are left: who was reset does not come again here
				}
				if v, by, ok := e.Measure(); share > 0 && (!ok || v < want-0.15 || v > want+0.15) {
					t.Errorf("at %g, measured %g by %q, %t", share, v, by, ok)
				}
			}
		})
	}
}

// TestResets: connections break, new ones as soon as they are there, until it ends.
func TestResets(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Run("all", func(t *testing.T) {
		p, e := severed(t, chaos.Fault{Kind: chaos.ResetPeer, Upstream: echoServer(t)})
		old := dialProxy(t, p)
		if err := trip(old, patience); err != nil {
			t.Fatal(err)
		}
		if err := e.Set(context.Background(), 1); err != nil {
			t.Fatal(err)
		}
		if _, err := old.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("a connection that there was: %v", err)
		}
		young, err := net.Dial("tcp", p.Addrs()["db"])
		if err == nil { // the reset may come before it is connected
			_, err = young.Read(make([]byte, 1))
			young.Close()
		}
		if !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("a new one: %v", err)
		}
		if v, by, ok := e.Measure(); !ok || v != 1 || by != "of 2 connections, 2 were reset" {
			t.Errorf("measured %g by %q, %t", v, by, ok)
		}
		if err := e.Undo(context.Background()); err != nil {
			t.Fatal(err)
		}
		if err := trip(dialProxy(t, p), patience); err != nil {
			t.Errorf("after it: %v", err)
		}
	})
	goroutinesBack(t, before)
}

func TestSeverRefuses(t *testing.T) {
	ok := chaos.Fault{Kind: chaos.BlackHole, Upstream: "127.0.0.1:1", Level: chaos.Level{Value: 1}}
	with := func(f func(*chaos.Fault)) chaos.Fault { g := ok; f(&g); return g }
	for _, tt := range []struct {
		name string
		f    chaos.Fault
		want string
	}{
		{"sound", ok, ""},
		{"resets", with(func(f *chaos.Fault) { f.Kind = chaos.ResetPeer }), ""},
		{"of another's proxy", with(func(f *chaos.Fault) { f.Upstream, f.Proxy = "", "db" }), ""},
		{"no upstream", with(func(f *chaos.Fault) { f.Upstream = "" }), "nothing to pass on to"},
		{"nothing", with(func(f *chaos.Fault) { f.Level.Value = 0 }), "no fault"},
		{"more than all", with(func(f *chaos.Fault) { f.Level.Value = 1.5 }), "1.5 of the connections"},
		{"direction", with(func(f *chaos.Fault) { f.Direction = "\x1bup" }), "is no direction"},
		{"end", with(func(f *chaos.Fault) { f.End = "never" }), "is no way to end"},
	} {
		r, err := resolveSever(context.Background(), tt.f, &Target{}, chaos.Caps{}, Room{})
		if tt.want == "" && (err != nil || len(r.Words) < 2) || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
		var no *RefusedError
		if err != nil && (!errors.As(err, &no) || no.Hint() == "") {
			t.Errorf("%s: %T without a hint", tt.name, err)
		}
	}
	if _, err := makeSever(context.Background(), &Resolved{Fault: ok}, &Target{}, nil); err == nil {
		t.Error("an effect without a proxy")
	}
}
