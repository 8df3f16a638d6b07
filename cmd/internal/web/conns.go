package web

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/netip"
	"sync"
)

const (
	maxConns = 256
	// maxConnsFrom bounds those of one other machine, so that it cannot keep all others out.
	maxConnsFrom = 64
	// sendBuffer bounds what the kernel holds for a client that does not read.
	sendBuffer = 256 << 10
)

// conns is a listener that takes so many connections and no more. When there are too
// many, the one that is idle for the longest time makes room; else the new one is closed.
type conns struct {
	net.Listener

	mu      sync.Mutex
	all     map[*conn]bool
	from    map[netip.Addr]int
	clock   uint64
	refused uint64
}

type conn struct {
	net.Conn
	of    *conns
	from  netip.Addr
	idle  bool   // no request is under way
	since uint64 // when it came to be so, in changes of any connection
	once  sync.Once
}

func newConns(l net.Listener) *conns {
	return &conns{Listener: l, all: map[*conn]bool{}, from: map[netip.Addr]int{}}
}

func (l *conns) Accept() (net.Conn, error) {
	for {
		nc, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if c := l.add(nc); c != nil {
			return c, nil
		}
		nc.Close()
	}
}

// add takes a connection in, or returns nil.
func (l *conns) add(nc net.Conn) *conn {
	if t, ok := nc.(*net.TCPConn); ok {
		t.SetWriteBuffer(sendBuffer) // a bound is better than none; without it the kernel has its own
	}
	c := &conn{Conn: nc, of: l, from: peer(nc.RemoteAddr().String()), idle: true}
	l.mu.Lock()
	var out *conn
	full := len(l.all) >= maxConns
	if here := !c.from.IsLoopback() && l.from[c.from] >= maxConnsFrom; full || here {
		for o := range l.all {
			if o.idle && (full || o.from == c.from) && (out == nil || o.since < out.since) {
				out = o
			}
		}
		if out == nil {
			l.refused++
			l.mu.Unlock()
			return nil
		}
		l.drop(out)
	}
	l.clock++
	c.since = l.clock
	l.all[c] = true
	l.from[c.from]++
	l.mu.Unlock()
	if out != nil {
		out.Close()
	}
	return c
}

// drop forgets a connection. l.mu is held.
func (l *conns) drop(c *conn) {
	if !l.all[c] {
		return
	}
	delete(l.all, c)
	if l.from[c.from]--; l.from[c.from] <= 0 {
		delete(l.from, c.from)
	}
}

func (c *conn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() {
		c.of.mu.Lock()
		c.of.drop(c)
		c.of.mu.Unlock()
	})
	return err
}

// state is told by the HTTP server what a connection does. One on which no request has
// begun, or whose TLS handshake is under way, counts as idle.
func (l *conns) state(nc net.Conn, s http.ConnState) {
	if t, ok := nc.(*tls.Conn); ok {
		nc = t.NetConn()
	}
	c, ok := nc.(*conn)
	if !ok {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.clock++
	c.since = l.clock
	c.idle = s == http.StateNew || s == http.StateIdle
}

func (l *conns) counts() (open int, refused uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.all), l.refused
}

// peer is the address of a RemoteAddr; the zero one when it has none.
func peer(remote string) netip.Addr {
	a, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Addr{}
	}
	return a.Addr().Unmap()
}
