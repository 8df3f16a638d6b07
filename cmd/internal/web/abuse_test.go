package web

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// wires is a network without a machine, on which time is the test's. What is written is
// not buffered: a client that does not read is felt at once.
type wires struct {
	new  chan net.Conn
	done chan struct{}
	n    atomic.Int64
}

type wire struct {
	net.Conn
	from net.Addr
}

func (w wire) RemoteAddr() net.Addr { return w.from }

func (w *wires) Accept() (net.Conn, error) {
	select {
	case c := <-w.new:
		return c, nil
	case <-w.done:
		return nil, net.ErrClosed
	}
}

func (w *wires) Close() error {
	select {
	case <-w.done:
	default:
		close(w.done)
	}
	return nil
}

func (w *wires) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 80} }

func (w *wires) dial(from net.IP) net.Conn {
	here, there := net.Pipe()
	w.new <- wire{there, &net.TCPAddr{IP: from, Port: int(w.n.Add(1))}}
	return here
}

var home = net.IPv4(127, 0, 0, 1)

// on runs a server on wires, in a bubble. The function that it returns ends it, and
// says how long that took.
func on(t *testing.T, o Options) (*Server, *wires, func() time.Duration) {
	t.Helper()
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	s.listener.Listener.Close()
	w := &wires{new: make(chan net.Conn), done: make(chan struct{})}
	s.listener.Listener = w
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	synctest.Wait()
	return s, w, func() time.Duration {
		began := time.Now()
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		d := time.Since(began)
		time.Sleep(2 * time.Second) // so that the slow ones see it
		synctest.Wait()
		return d
	}
}

// drip writes a byte a second until the other end has enough.
func drip(c net.Conn, text string) {
	for i := range len(text) {
		if _, err := c.Write([]byte{text[i]}); err != nil {
			return
		}
		time.Sleep(time.Second)
	}
}

// sip reads a byte a second until there is no more.
func sip(c net.Conn) (n int) {
	for {
		if _, err := c.Read(make([]byte, 1)); err != nil {
			return n
		}
		n++
		time.Sleep(time.Second)
	}
}

// answers asks whether somebody who behaves is answered.
func answers(t *testing.T, w *wires) {
	t.Helper()
	c := w.dial(home)
	defer c.Close()
	go io.WriteString(c, "GET /api/heapwright/v1/session HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
	res, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || res.StatusCode != 200 {
		t.Errorf("others are not answered: %v, %v", res, err)
		return
	}
	io.Copy(io.Discard, res.Body)
}

func TestSlowHeaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		_, w, end := on(t, everything(t))
		c := w.dial(home)
		began := time.Now()
		go drip(c, "GET / HTTP/1.1\r\nHost: localhost\r\nX-Slow: "+strings.Repeat("a", 100))
		io.Copy(io.Discard, c)
		if d := time.Since(began); d > headerTime+time.Second {
			t.Errorf("it was listened to for %v", d)
		}
		answers(t, w)
		end()
	})
}

func TestSlowBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := everything(t)
		o.ReaderTokenFile = secretFile(t, readerToken)
		s, w, end := on(t, o)
		for _, head := range []string{
			"POST /api/heapwright/v1/snapshots HTTP/1.1\r\nAuthorization: Bearer " + readerToken + "\r\n",
			"POST /api/v1/query HTTP/1.1\r\nAuthorization: Bearer " + readerToken + "\r\n",
			"POST /login HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded\r\n",
			"POST /api/heapwright/v1/change HTTP/1.1\r\n", // by nobody
			"POST /nothing HTTP/1.1\r\n",
		} {
			c := w.dial(home)
			began := time.Now()
			go func() {
				io.WriteString(c, head+"Host: localhost\r\nContent-Length: 1000\r\n\r\n")
				drip(c, strings.Repeat("a", 1000))
			}()
			io.Copy(io.Discard, c)
			if d := time.Since(began); d > bodyTime+2*time.Second {
				t.Errorf("%s: it was listened to for %v", head, d)
			}
			c.Close()
		}
		if len(s.gate.in) != 0 {
			t.Error("somebody is still being answered")
		}
		end()
	})
}

func TestSlowReaders(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &tap{}
		o := everything(t)
		o.Live = l
		o.API = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/long") {
				io.WriteString(w, strings.Repeat("x", 8<<20))
			}
		})
		s, w, end := on(t, o)
		for range answersAtOnce + 5 {
			c := w.dial(home)
			defer c.Close()
			go func() {
				io.WriteString(c, "GET /api/heapwright/v1/long HTTP/1.1\r\nHost: localhost\r\n\r\n")
				sip(c)
			}()
		}
		streams := make(chan int)
		for range 3 {
			c := w.dial(home)
			defer c.Close()
			go func() {
				io.WriteString(c, "GET /api/heapwright/v1/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
				streams <- sip(c)
			}()
		}
		synctest.Wait()
		go func() {
			for range 60 {
				l.say("", "processes", strings.Repeat("y", 1000))
				time.Sleep(time.Second)
			}
		}()
		for range 3 {
			if n := <-streams; n > 1000 {
				t.Errorf("it read %d bytes", n)
			}
		}
		time.Sleep(5 * writeTime)
		synctest.Wait()
		if len(s.gate.in) != 0 || s.Stats().Streams != 0 || s.Stats().Slow != 3 || s.Stats().Connections != 0 {
			t.Errorf("%d are being answered, %+v", len(s.gate.in), s.Stats())
		}
		answers(t, w)
		end()
	})
}

// TestIdle leaves connections alone, and opens too many.
func TestConnections(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, w, end := on(t, everything(t))
		c := w.dial(home)
		go io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
		began := time.Now()
		io.Copy(io.Discard, c)
		if d := time.Since(began); d > idleTime+time.Second {
			t.Errorf("it is kept for %v", d)
		}
		var all []net.Conn
		for range 2 * maxConns { // all of which say nothing
			all = append(all, w.dial(home))
		}
		synctest.Wait()
		if n := s.Stats().Connections; n > maxConns {
			t.Errorf("%d connections", n)
		}
		answers(t, w)
		for _, c := range all {
			c.Close()
		}
		synctest.Wait()
		if n := s.Stats().Connections; n != 0 {
			t.Errorf("%d connections after all were closed", n)
		}
		// One machine has its share, and streams count as busy.
		for range 2 * maxConnsFrom {
			defer w.dial(net.IPv4(192, 0, 2, 1)).Close()
		}
		synctest.Wait()
		if n := s.Stats().Connections; n != maxConnsFrom {
			t.Errorf("%d connections of one machine", n)
		}
		answers(t, w)
		end()
		if n := s.Stats().Connections; n != 0 {
			t.Errorf("%d connections after the end", n)
		}
	})
}

// TestBusy has all places taken by answers that take their time.
func TestBusy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := everything(t)
		block := make(chan struct{})
		o.Store = fakeStore{block: block}
		s, w, end := on(t, o)
		codes := make(chan int)
		ask := func() {
			c := w.dial(home)
			defer c.Close()
			go io.WriteString(c, "GET /api/v1/query?query=1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
			res, err := http.ReadResponse(bufio.NewReader(c), nil)
			if err != nil {
				codes <- 0
				return
			}
			codes <- res.StatusCode
		}
		for range answersAtOnce + 10 {
			go ask()
		}
		synctest.Wait()
		if len(s.gate.in) != answersAtOnce || len(s.gate.waiting) != 10 {
			t.Errorf("%d are answered, and %d wait", len(s.gate.in), len(s.gate.waiting))
		}
		for range 10 {
			if code := <-codes; code != http.StatusServiceUnavailable {
				t.Errorf("who has waited gets %d", code)
			}
		}
		// Health and the page are not questions of that kind.
		c := w.dial(home)
		go io.WriteString(c, "GET /healthz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
		if res, err := http.ReadResponse(bufio.NewReader(c), nil); err != nil || res.StatusCode != 200 {
			t.Errorf("its health: %v, %v", res, err)
		}
		close(block)
		for range answersAtOnce {
			if code := <-codes; code != 200 {
				t.Errorf("who was let in gets %d", code)
			}
		}
		end()
	})
}

// TestEnd ends a server under which everything is going on.
func TestEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := everything(t)
		o.Store = fakeStore{block: make(chan struct{})} // which answers only when it is told to stop
		_, w, end := on(t, o)
		live, query := w.dial(home), w.dial(home)
		defer live.Close()
		defer query.Close()
		go io.WriteString(live, "GET /api/heapwright/v1/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
		go io.WriteString(query, "GET /api/v1/query?query=1 HTTP/1.1\r\nHost: localhost\r\n\r\n")
		go io.Copy(io.Discard, live)
		go io.Copy(io.Discard, query)
		synctest.Wait()
		if d := end(); d > shutdownTime+time.Second {
			t.Errorf("the end takes %v", d)
		}
	})
	synctest.Test(t, func(t *testing.T) {
		_, w, end := on(t, everything(t))
		live := w.dial(home)
		defer live.Close()
		go io.WriteString(live, "GET /api/heapwright/v1/live HTTP/1.1\r\nHost: localhost\r\n\r\n")
		go io.Copy(io.Discard, live)
		synctest.Wait()
		if d := end(); d > time.Second {
			t.Errorf("with a stream alone, the end takes %v", d)
		}
	})
}

// TestAnotherListener fails, and is taken.
func TestTaken(t *testing.T) {
	s := newServer(t, everything(t))
	o := everything(t)
	o.Listen = s.Addr().String()
	if _, err := New(o); err == nil {
		t.Error("the address is taken twice")
	}
	o.Listen = "127.0.0.1:99999"
	if _, err := New(o); err == nil {
		t.Error("a port that there is not is taken")
	}
	s.listener.Close()
	if err := s.Run(t.Context()); err == nil || !errors.Is(err, net.ErrClosed) {
		t.Errorf("a listener that is closed: %v", err)
	}
}

// TestTooMuch sends more than is read.
func TestTooMuch(t *testing.T) {
	o := everything(t)
	o.ReaderTokenFile = secretFile(t, readerToken)
	s := newServer(t, o)
	run(t, s)
	auth := "Authorization: Bearer " + readerToken + "\r\n"
	for _, c := range []struct {
		name, request string
		want          []int // 0 is a closed connection
	}{
		{"a long line", "GET /ui/" + strings.Repeat("a", 20<<10) + " HTTP/1.1\r\nHost: localhost\r\n\r\n", []int{414}},
		{"a longer line", "GET /ui/" + strings.Repeat("a", 1<<20) + " HTTP/1.1\r\nHost: localhost\r\n\r\n", []int{431, 0}},
		{"a long header", "GET / HTTP/1.1\r\nHost: localhost\r\nX: " + strings.Repeat("a", 1<<20) + "\r\n\r\n", []int{431, 0}},
		{"many headers", "GET / HTTP/1.1\r\nHost: localhost\r\n" + strings.Repeat("X: a\r\n", 100_000) + "\r\n", []int{431, 0}},
		{"a long body", "POST /api/v1/query HTTP/1.1\r\nHost: localhost\r\n" + auth + "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 10000000000\r\n\r\nquery=1", []int{413}},
		{"a long body in pieces", "POST /api/v1/query HTTP/1.1\r\nHost: localhost\r\n" + auth + "Transfer-Encoding: chunked\r\n\r\n" + strings.Repeat("10000\r\n"+strings.Repeat("a", 0x10000)+"\r\n", 10) + "0\r\n\r\n", []int{413, 0}},
		{"a long form", "POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 100000\r\n\r\n" + strings.Repeat("a", 100_000), []int{400, 0}},
		{"files", "POST /api/v1/query HTTP/1.1\r\nHost: localhost\r\n" + auth + "Content-Type: multipart/form-data; boundary=x\r\nContent-Length: 63\r\n\r\n--x\r\nContent-Disposition: form-data; name=\"query\"\r\n\r\n1\r\n--x--\r\n", []int{400}},
		{"many parameters", "POST /api/v1/query HTTP/1.1\r\nHost: localhost\r\n" + auth + "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: 400000\r\n\r\n" + strings.Repeat("a=b&", 100_000), []int{400, 0}},
		{"two lengths", "POST /api/v1/query HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", []int{400}},
		{"two hosts", "GET / HTTP/1.1\r\nHost: localhost\r\nHost: evil.example\r\n\r\n", []int{400}},
		{"no host", "GET / HTTP/1.1\r\n\r\n", []int{400}},
		{"another server's", "GET http://evil.example/ HTTP/1.1\r\nHost: localhost\r\n\r\n", []int{403}},
		{"a tunnel", "CONNECT evil.example:80 HTTP/1.1\r\nHost: evil.example:80\r\n\r\n", []int{403}},
		{"an upgrade", "GET /ui/ HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAAA\r\n\r\n", []int{200}},
		{"nonsense", "\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", []int{400, 0}},
	} {
		conn, err := net.Dial("tcp", s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		go io.WriteString(conn, c.request)
		code := 0
		if res, err := http.ReadResponse(bufio.NewReader(conn), nil); err == nil {
			code = res.StatusCode
		}
		conn.Close()
		ok := false
		for _, want := range c.want {
			ok = ok || code == want
		}
		if !ok {
			t.Errorf("%s: %d, want %v", c.name, code, c.want)
		}
	}
	if st := s.Stats(); st.Failed != 0 || st.Panics != 0 {
		t.Errorf("%+v", st)
	}
	if w := do(s.Handler(), "GET", "/api/v1/query?query="+strings.Repeat("(", 10_000), "", "Authorization", "Bearer "+readerToken); w.Code != 400 {
		t.Errorf("a deep query: %d", w.Code)
	}
	if w := do(s.Handler(), "POST", "/api/v1/query", "query="+strings.Repeat("-", 400_000)+"1", "Authorization", "Bearer "+readerToken, "Content-Type", "application/x-www-form-urlencoded"); w.Code != 400 {
		t.Errorf("a long query: %d", w.Code)
	}
}

// TestHTTP2 is a stream that is quiet for longer than a write may take, and clients
// that do not read theirs.
func TestHTTP2(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ca, dir := newAuthority(t), t.TempDir()
		ca.issue(t, filepath.Join(dir, "c"), filepath.Join(dir, "k"), &x509.Certificate{DNSNames: []string{"localhost"}})
		l := &tap{}
		o := everything(t)
		o.Live, o.TLS = l, TLS{CertFile: filepath.Join(dir, "c"), KeyFile: filepath.Join(dir, "k")}
		o.API = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if strings.HasSuffix(r.URL.Path, "/long") {
				io.WriteString(w, strings.Repeat("x", 8<<20))
			}
		})
		s, w, end := on(t, o)
		roots := x509.NewCertPool()
		roots.AddCert(ca.cert)
		transport := &http.Transport{ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "localhost"}, Protocols: new(http.Protocols),
			DialContext: func(context.Context, string, string) (net.Conn, error) { return w.dial(home), nil }}
		transport.Protocols.SetHTTP2(true)
		get := func(path string) *http.Response {
			r, _ := http.NewRequestWithContext(t.Context(), "GET", "https://localhost/api/heapwright/v1/"+path, nil)
			res, err := transport.RoundTrip(r)
			if err != nil || res.StatusCode != 200 || res.ProtoMajor != 2 {
				t.Fatalf("%s: %v, %v", path, res, err)
			}
			return res
		}
		stream := get("live?process=a")
		lines := bufio.NewScanner(stream.Body)
		for range 3 {
			time.Sleep(time.Minute)
			l.say("a", "sample", "now")
			for lines.Scan() && lines.Text() != "data: now" {
			}
		}
		if lines.Err() != nil || lines.Text() != "data: now" {
			t.Errorf("a stream that is quiet for a minute ends: %v", lines.Err())
		}
		// The ones that nobody reads are on the same connection, and do not stop it.
		for range 5 {
			defer get("long").Body.Close()
		}
		time.Sleep(3 * writeTime)
		synctest.Wait()
		if len(s.gate.in) != 0 {
			t.Errorf("%d are being answered", len(s.gate.in))
		}
		l.say("a", "sample", "after")
		for lines.Scan() && lines.Text() != "data: after" {
		}
		if lines.Text() != "data: after" {
			t.Errorf("the stream ended with the others: %v", lines.Err())
		}
		stream.Body.Close()
		transport.CloseIdleConnections()
		if d := end(); d > shutdownTime {
			t.Errorf("the end takes %v", d)
		}
	})
}
