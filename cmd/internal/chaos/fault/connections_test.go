package fault

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
)

// leakyVerb runs a server that waits for ever for what a connection says, or for as long
// as its argument says.
const leakyVerb = "test-leaky"

func beLeaky(ctx context.Context) error {
	s := &http.Server{Handler: http.NotFoundHandler()}
	if len(os.Args) > 2 {
		var err error
		if s.ReadHeaderTimeout, err = time.ParseDuration(os.Args[2]); err != nil {
			return err
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	fmt.Println(l.Addr())
	go s.Serve(l)
	go io.Copy(io.Discard, os.Stdin)
	<-ctx.Done()
	return s.Close()
}

func startLeaky(t *testing.T, args ...string) (*Target, string) {
	t.Helper()
	cmd, _, out := run(t, "/proc/self/exe", nil, append([]string{leakyVerb}, args...)...)
	addr, err := out.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return located(t, cmd.Process.Pid, ""), strings.TrimSpace(addr)
}

// TestConnections floods a server that keeps a goroutine for each connection, takes half
// of them back, and then all.
func TestConnections(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Run("all", func(t *testing.T) {
		ctx := context.Background()
		tg, addr := startLeaky(t)
		f := chaos.Fault{Kind: chaos.Connections, Address: addr, Send: "GET / HTTP/1.1\r\nHost: x\r\nX-", Level: chaos.Level{Value: 300}}
		r, err := Resolve(ctx, f, tg, chaos.Caps{}, Room{})
		if err != nil {
			t.Fatal(err)
		}
		if words := strings.Join(r.Words, "\n"); !strings.Contains(words, "up to 300 connections to "+addr) || !strings.Contains(words, "send 27 bytes") {
			t.Errorf("the plan says\n%s", words)
		}
		e, err := Make(ctx, r, tg, newJournal())
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range []float64{100, 300, 150, 0, 50} {
			if err := e.Set(ctx, n); err != nil {
				t.Fatal(err)
			}
			soon(t, fmt.Sprintf("the server to have %g", n), func() bool {
				got, _, ok := e.Measure()
				return ok && got == n
			})
		}
		if err := e.Set(ctx, 200); err != nil {
			t.Fatal(err)
		}
		var by string
		soon(t, "a goroutine for each", func() bool {
			_, by, _ = e.Measure()
			var more int
			_, err := fmt.Sscanf(by[strings.LastIndex(by, " has ")+1:], "has %d goroutines", &more)
			return err == nil && more >= 200 && more < 210
		})
		t.Log(by)
		for range 2 {
			if err := e.Undo(ctx); err != nil {
				t.Fatal(err)
			}
		}
		if got, _, ok := e.Measure(); !ok || got != 0 {
			t.Errorf("undone, there are %g", got)
		}
		if err := e.Set(ctx, 10); !errors.Is(err, errUndone) {
			t.Errorf("a level after that: %v", err)
		}
		port := e.(*flood).port
		soon(t, "nothing to be left in the kernel", func() bool {
			n, err := countTCP(tg.PID, func(l tcpLine) bool { return l.local == port && l.state != "0A" || l.remote == port })
			return err == nil && n == 0
		})
	})
	goroutinesBack(t, before)
}

// TestConnectionsClosed: a server that does not wait for ever is seen to close them, and
// they are not opened again. It has met the flood all the same.
func TestConnectionsClosed(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Run("all", func(t *testing.T) {
		ctx := context.Background()
		tg, addr := startLeaky(t, "300ms")
		e, err := makeFlood(ctx, &Resolved{Fault: chaos.Fault{Address: addr, Concurrency: 3}}, tg, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Set(ctx, 40); err != nil {
			t.Fatal(err)
		}
		soon(t, "the server to close all", func() bool {
			n, by, ok := e.Measure()
			return ok && n == 40 && strings.HasPrefix(by, "0 connections") && strings.Contains(by, "it has closed 40")
		})
		if err := e.Set(ctx, 40); err != nil {
			t.Fatal(err)
		}
		if f := e.(*flood); len(f.ports) > 40 {
			t.Errorf("%d were opened", len(f.ports))
		}
		if err := e.Set(ctx, 41); err != nil {
			t.Fatal(err)
		}
		if err := e.Undo(ctx); err != nil {
			t.Fatal(err)
		}
	})
	goroutinesBack(t, before)
}

// TestConnectionsRefused: a server that ends is an error that says how far it came, and
// Undo ends what is being opened.
func TestConnectionsRefused(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Run("all", func(t *testing.T) {
		ctx := context.Background()
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		me, err := readStat("", os.Getpid())
		if err != nil {
			t.Fatal(err)
		}
		tg := &Target{PID: os.Getpid(), Start: me.start}
		r := &Resolved{Fault: chaos.Fault{Address: l.Addr().String()}}
		e, err := makeFlood(ctx, r, tg, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Set(ctx, 5); err != nil {
			t.Fatal(err)
		}
		l.Close()
		var refused *ConnectError
		if err := e.Set(ctx, 50); !errors.As(err, &refused) || refused.Want != 50 || refused.Hint() == "" {
			t.Errorf("of a server that is gone: %v", err)
		}
		if err := e.Undo(ctx); err != nil {
			t.Fatal(err)
		}
		if _, err := makeFlood(ctx, r, tg, nil); !errors.As(err, new(*RefusedError)) {
			t.Errorf("where nobody listens: %v", err)
		}

		l, err = net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		if e, err = makeFlood(ctx, &Resolved{Fault: chaos.Fault{Address: l.Addr().String()}}, tg, nil); err != nil {
			t.Fatal(err)
		}
		set := make(chan error)
		go func() { set <- e.Set(ctx, 20000) }() // takes 20 s
		soon(t, "some to be open", func() bool { n, _, _ := e.Measure(); return n > 10 })
		if err := e.Undo(ctx); err != nil {
			t.Fatal(err)
		}
		if err := <-set; !errors.Is(err, errUndone) {
			t.Errorf("what was undone while it was set: %v", err)
		}
	})
	goroutinesBack(t, before)
}

func TestConnectionsRefuses(t *testing.T) {
	ctx := context.Background()
	tg, addr := startLeaky(t)
	_, other := startLeaky(t)
	ok := chaos.Fault{Kind: chaos.Connections, Address: addr, Level: chaos.Level{Value: 100}}
	with := func(f func(*chaos.Fault)) chaos.Fault { g := ok; f(&g); return g }
	for _, tt := range []struct {
		name string
		f    chaos.Fault
		want string
	}{
		{"sound", ok, ""},
		{"nothing", with(func(f *chaos.Fault) { f.Level.Value = 0 }), "no fault"},
		{"half a connection", with(func(f *chaos.Fault) { f.Level.Value = 1.5 }), "1.5 connections"},
		{"a share", with(func(f *chaos.Fault) { f.Level = percent(50) }), "0.5 connections"},
		{"no port", with(func(f *chaos.Fault) { f.Address = "here" }), "no address"},
		{"another's", with(func(f *chaos.Fault) { f.Address = other }), "does not listen at"},
		{"more files than may be", with(func(f *chaos.Fault) { f.Level.Value = 1 << 19 }), "more than"},
		{"much to say", with(func(f *chaos.Fault) { f.Send = strings.Repeat("x", maxSend+1) }), "would send"},
	} {
		_, err := resolveFlood(ctx, tt.f, tg, chaos.Caps{}, Room{})
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
		var no *RefusedError
		if err != nil && (!errors.As(err, &no) || no.Hint() == "") {
			t.Errorf("%s: %T without a hint", tt.name, err)
		}
	}
}

func TestHasAddress(t *testing.T) {
	const trie = "Main:\n  +-- 0.0.0.0/0 3 0 5\n     |-- 172.17.0.0\n        /16 link UNICAST\n     |-- 172.17.0.2\n        /32 host LOCAL\n     |-- 172.17.255.255\n        /32 link BROADCAST\n"
	for addr, want := range map[string]bool{"172.17.0.2": true, "172.17.0.0": false, "172.17.0.3": false, "172.17.255.255": false} {
		if got := hasIPv4(trie, netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: %t", addr, got)
		}
	}
	const inet6 = "fe80000000000000024211fffe110002 02 40 20 80     eth0\n"
	for addr, want := range map[string]bool{"fe80::242:11ff:fe11:2": true, "fe80::1": false} {
		if got := hasIPv6(inet6, netip.MustParseAddr(addr)); got != want {
			t.Errorf("%s: %t", addr, got)
		}
	}
	if !hasAddress(os.Getpid(), netip.MustParseAddr("127.0.0.1")) {
		t.Error("this process has no 127.0.0.1")
	}
}

func TestLimits(t *testing.T) {
	const text = "Limit                     Soft Limit           Hard Limit           Units     \nMax open files            1024                 524288               files     \nMax locked memory         unlimited  unlimited bytes\n"
	if n, ok := parseLimit(text, "Max open files"); !ok || n != 1024 {
		t.Errorf("%d, %t", n, ok)
	}
	for _, name := range []string{"Max locked memory", "Max wit", "bytes"} {
		if n, ok := parseLimit(text, name); ok {
			t.Errorf("%s: %d", name, n)
		}
	}
	if n, ok := openFiles(); !ok || n < 64 {
		t.Errorf("this process may have %d files, %t", n, ok)
	}
	if n, ok := localPorts(); !ok || n < 1 || n > 1<<16 {
		t.Errorf("there are %d ports, %t", n, ok)
	}
}

func FuzzParseTCP(f *testing.F) {
	f.Add("  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n   2: 0100007F:1F91 0100007F:1F90 01 00000000:00000000 00:00000000 00000000  1000        0 103 1 0000 100 0 0 10 0\n")
	f.Add("x: y:z 1:2 01 a b c d e f\n")
	f.Fuzz(func(t *testing.T, text string) {
		lines := strings.Count(text, "\n") + 1
		if n := parseTCP(strings.NewReader(text), func(tcpLine) bool { return true }); n > lines {
			t.Errorf("%d connections in %d lines", n, lines)
		}
		hasIPv4(text, netip.MustParseAddr("10.0.0.1"))
		hasIPv6(text, netip.MustParseAddr("::1"))
		parseLimit(text, "Max open files")
	})
}
