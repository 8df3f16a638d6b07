package web

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// A tap is a Live that the test lets run.
type tap struct {
	mu      sync.Mutex
	open    map[string]followed
	follows int
	err     error
}

type followed struct {
	in   chan Message
	over <-chan struct{}
}

func (l *tap) Follow(ctx context.Context, process string) (<-chan Message, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err != nil {
		return nil, l.err
	}
	if l.open == nil {
		l.open = map[string]followed{}
	}
	l.follows++
	f, out := followed{make(chan Message), ctx.Done()}, make(chan Message)
	l.open[process] = f
	go func() {
		defer close(out)
		for {
			select {
			case m := <-f.in:
				select {
				case out <- m:
				case <-ctx.Done():
				}
			case <-ctx.Done():
				l.mu.Lock()
				defer l.mu.Unlock()
				if l.open[process].in == f.in {
					delete(l.open, process)
				}
				return
			}
		}
	}()
	return out, nil
}

// say hands a message to whoever follows a process.
func (l *tap) say(process, event, data string) {
	l.mu.Lock()
	f, ok := l.open[process]
	l.mu.Unlock()
	if !ok {
		return
	}
	select {
	case f.in <- Message{event, []byte(data)}:
	case <-f.over:
	}
}

func (l *tap) following() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.open)
}

// dataOf is the data of an event.
func dataOf(event []byte) string {
	_, d, _ := strings.Cut(string(event), "\ndata: ")
	return strings.TrimSuffix(d, "\n\n")
}

func TestHub(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &tap{}
		h := newHub(l)
		ctx := t.Context()
		a, err := h.join(ctx, "")
		if err != nil {
			t.Fatal(err)
		}
		b, _ := h.join(ctx, "")
		c, _ := h.join(ctx, "p")
		l.say("", "processes", "1")
		l.say("p", "sample", "2")
		synctest.Wait()
		for _, x := range []struct {
			c    *client
			want string
		}{{a, "1"}, {b, "1"}, {c, "2"}} {
			if got := dataOf(<-x.c.next); got != x.want {
				t.Errorf("got %s, want %s", got, x.want)
			}
		}
		if l.follows != 2 {
			t.Errorf("%d are followed for 2 subjects", l.follows)
		}
		// Who comes later does not wait for the next.
		d, _ := h.join(ctx, "")
		if got := dataOf(<-d.next); got != "1" {
			t.Errorf("the last is %s", got)
		}
		h.leave(d)
		// A client that does not read makes nobody wait, and misses what it does not read.
		for i := range 100 {
			l.say("", "processes", fmt.Sprint(i))
			synctest.Wait()
			if got := dataOf(<-b.next); got != fmt.Sprint(i) {
				t.Errorf("got %s, want %d", got, i)
			}
		}
		if got := a.missed.Load(); got != 100-behindAll {
			t.Errorf("it missed %d of 100", got)
		}
		l.say("", "bad\nevent", "")
		synctest.Wait()
		if len(b.next) != 0 {
			t.Error("an event that breaks the format is handed on")
		}
		h.leave(a)
		h.leave(b)
		synctest.Wait()
		if n := l.following(); n != 1 {
			t.Errorf("%d are followed for 1 subject", n)
		}
		h.close()
		if _, more := <-c.next; more {
			t.Error("it goes on after the end")
		}
		h.leave(c)
		if _, err := h.join(ctx, ""); !errors.Is(err, errFull) {
			t.Errorf("after the end: %v", err)
		}
		if n, _, dropped, _ := h.counts(); n != 0 || dropped != 100-behindAll {
			t.Errorf("%d clients, %d dropped", n, dropped)
		}
	})
}

// TestHubBounds has too many clients, and sources that fail or hang.
func TestHubBounds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := &tap{}
		h := newHub(l)
		var all []*client
		for i := range maxStreams {
			c, err := h.join(t.Context(), fmt.Sprint(i))
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, c)
		}
		if _, err := h.join(t.Context(), "x"); !errors.Is(err, errFull) {
			t.Errorf("one more: %v", err)
		}
		for _, c := range all {
			h.leave(c)
		}
		synctest.Wait()
		if l.following() != 0 || len(h.topics) != 0 || len(h.cancel) != 0 {
			t.Errorf("what nobody wants is followed: %d, %d, %d", l.following(), len(h.topics), len(h.cancel))
		}
		l.err = ErrUnknown
		if _, err := h.join(t.Context(), "none"); !errors.Is(err, ErrUnknown) {
			t.Errorf("a process that there is not: %v", err)
		}
		synctest.Wait()
		if n, _, _, _ := h.counts(); n != 0 || len(h.topics) != 0 {
			t.Errorf("%d clients, %d topics", n, len(h.topics))
		}
		stuck := newHub(hanging{})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := stuck.join(ctx, ""); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a source that hangs: %v", err)
		}
		synctest.Wait()
		// Of a process that ends, the stream ends.
		l.err = nil
		h2 := newHub(ending{})
		c, err := h2.join(t.Context(), "p")
		if err != nil {
			t.Fatal(err)
		}
		if got := dataOf(<-c.next); got != "{}" {
			t.Errorf("%s", got)
		}
		if _, more := <-c.next; more {
			t.Error("it does not end")
		}
		h2.leave(c)
	})
}

// hanging does not answer.
type hanging struct{}

func (hanging) Follow(ctx context.Context, _ string) (<-chan Message, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

// ending is of a process that has ended.
type ending struct{}

func (ending) Follow(context.Context, string) (<-chan Message, error) {
	c := make(chan Message, 1)
	c <- Message{"sample", []byte("{}")}
	close(c)
	return c, nil
}

func TestAppendEvent(t *testing.T) {
	for in, want := range map[string]string{"{}": "data: {}", "a\nb": "data: a\ndata: b", "a\r\nb\rc": "data: a\ndata: b\ndata: c", "": "data: "} {
		if got := string(appendEvent(nil, Message{"e", []byte(in)})); got != "event: e\n"+want+"\n\n" {
			t.Errorf("%q: %q", in, got)
		}
	}
}

// A sink is a client that takes everything.
type sink struct {
	header http.Header
	mu     sync.Mutex
	text   strings.Builder
}

func (s *sink) Header() http.Header { return s.header }
func (s *sink) WriteHeader(int)     {}
func (s *sink) Flush()              {}
func (s *sink) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(b)
}
func (s *sink) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

// TestPump is one stream over time: messages, heartbeats, what was missed, and its end
// when the role does not hold any longer.
func TestPump(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &Server{hub: newHub(&tap{})}
		var mu sync.Mutex
		holds := true
		v := &visitor{role: Reader, still: func() bool { mu.Lock(); defer mu.Unlock(); return holds }}
		r, _ := http.NewRequestWithContext(context.WithValue(t.Context(), visitorKey{}, v), "GET", "/", nil)
		c := &client{next: make(chan []byte, behind)}
		w := &sink{header: http.Header{}}
		ended := make(chan error, 1)
		go func() { ended <- s.pump(w, r, c) }()
		c.missed.Store(3)
		c.next <- appendEvent(nil, Message{"sample", []byte(`{"a":1}`)})
		time.Sleep(heartbeat + roleEvery)
		c.next <- appendEvent(nil, Message{"sample", []byte(`{"a":2}`)})
		time.Sleep(heartbeat / 2)
		mu.Lock()
		holds = false
		mu.Unlock()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		const want = "retry: 3000\n\nevent: missed\ndata: {\"messages\":3}\n\nevent: sample\ndata: {\"a\":1}\n\n: still here\n\nevent: sample\ndata: {\"a\":2}\n\n"
		if w.String() != want {
			t.Errorf("%q", w)
		}
		holds = true
		c = &client{next: make(chan []byte)}
		close(c.next)
		w = &sink{header: http.Header{}}
		if err := s.pump(w, r, c); err != nil || !strings.HasSuffix(w.String(), "event: end\ndata: {}\n\n") {
			t.Errorf("%v, %q", err, w)
		}
		s.hub.close()
		w = &sink{header: http.Header{}}
		if err := s.pump(w, r, c); err != nil || strings.Contains(w.String(), "end") {
			t.Errorf("at the server's end the client is told not to come back: %v, %q", err, w)
		}
	})
}

// TestGate lets in so many, and makes so many wait.
func TestGate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		g := newGate(1, 1)
		if !g.enter(t.Context()) {
			t.Fatal("the first waits")
		}
		second := make(chan bool)
		go func() { second <- g.enter(t.Context()) }()
		synctest.Wait()
		if g.enter(t.Context()) {
			t.Error("a third may wait")
		}
		g.leave()
		if !<-second {
			t.Error("the second does not get in")
		}
		began := time.Now()
		if g.enter(t.Context()) || time.Since(began) != queueTime {
			t.Errorf("it waits %v", time.Since(began))
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if g.enter(ctx) {
			t.Error("who is gone gets in")
		}
	})
}

// TestStream is the live stream over a real connection, until the server ends.
func TestStream(t *testing.T) {
	l := &tap{}
	o := everything(t)
	o.Live = l
	s := newServer(t, o)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx) }()
	res, err := http.Get(s.URL() + "api/heapwright/v1/live?process=a")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	if res.StatusCode != 200 || res.Header.Get("Content-Type") != "text/event-stream" || res.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("%d %v", res.StatusCode, res.Header)
	}
	l.say("a", "sample", `{"id":"a"}`)
	lines := bufio.NewScanner(res.Body)
	var got []string
	for lines.Scan() {
		if got = append(got, lines.Text()); lines.Text() == `data: {"id":"a"}` {
			cancel()
		}
	}
	if text := strings.Join(got, "\n"); text != "retry: 3000\n\nevent: sample\ndata: {\"id\":\"a\"}\n" {
		t.Errorf("%q", text)
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
	if w := do(s.Handler(), "GET", "/api/heapwright/v1/live?process="+strings.Repeat("a", 300), ""); w.Code != 400 {
		t.Errorf("a long name: %d", w.Code)
	}
	o.Live = fakeLive{}
	if w := do(newServer(t, o).Handler(), "GET", "/api/heapwright/v1/live?process=none", ""); w.Code != 404 && w.Code != 503 {
		t.Errorf("a process that there is not: %d %s", w.Code, w.Body)
	}
}

// TestSlowClients has clients that do not read, of the stream and of a long answer, and
// one beside them that does.
func TestSlowClients(t *testing.T) {
	l := &tap{}
	o := everything(t)
	o.Live = l
	long := strings.Repeat("x", 8<<20)
	o.API = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, long) })
	s := newServer(t, o)
	run(t, s)
	for _, path := range []string{"live", "live", "live", "processes", "processes"} {
		c, err := net.Dial("tcp", s.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		c.(*net.TCPConn).SetReadBuffer(4 << 10)
		fmt.Fprintf(c, "GET /api/heapwright/v1/%s HTTP/1.1\r\nHost: localhost\r\n\r\n", path)
		c.Read(make([]byte, 1)) // it has been let in
	}
	res, err := http.Get(s.URL() + "api/heapwright/v1/live")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	// Each message is one that the connections of the slow ones cannot hold many of.
	lines := bufio.NewReaderSize(res.Body, 2<<20)
	body := strings.Repeat("y", 1<<20)
	for i := range 40 {
		l.say("", "processes", fmt.Sprint(body, i))
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				t.Fatal(err)
			}
			if strings.HasSuffix(line, fmt.Sprint("y", i, "\n")) {
				break
			}
		}
	}
	if st := s.Stats(); st.Dropped == 0 || st.Streams > 4 || st.Connections > 6 {
		t.Errorf("%+v", st)
	}
	if w := do(s.Handler(), "GET", "/api/heapwright/v1/processes", ""); w.Body.Len() != len(long) {
		t.Errorf("%d bytes", w.Body.Len())
	}
}

// unknownLive knows no process.
type unknownLive struct{}

func (unknownLive) Follow(context.Context, string) (<-chan Message, error) { return nil, ErrUnknown }

// TestUnknownIsUnknown: that a process is not known is said as that each time, though the
// stream is over as soon as that turns out.
func TestUnknownIsUnknown(t *testing.T) {
	h := newHub(unknownLive{})
	for i := range 5000 {
		if _, err := h.join(t.Context(), "nobody"); !errors.Is(err, ErrUnknown) {
			t.Fatalf("try %d: %v", i, err)
		}
	}
	if n, _, _, _ := h.counts(); n != 0 {
		t.Errorf("%d clients are left", n)
	}
}
