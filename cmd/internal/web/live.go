package web

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

const (
	maxStreams = 64
	// behind is how many messages wait for a client; of all processes, which one message
	// has whole, behindAll. What comes then is left out.
	behind    = 16
	behindAll = 2
	// heartbeat is how often something is written when nothing happens, so that whoever is in
	// between does not think that the connection is dead.
	heartbeat = 15 * time.Second
	// roleEvery is how often a stream looks whether its client still may see it.
	roleEvery = 2 * time.Second
	// maxSubject bounds the name of a process in a request.
	maxSubject = 256
)

// errFull says that there are too many streams.
var errFull = errors.New("there are too many live streams")

// hub hands what comes from a Live to the clients that want it. Each subject is
// followed once, however many want it, and a client that does not read makes nobody
// wait.
type hub struct {
	live Live

	mu      sync.Mutex
	clients int
	topics  map[string]*topic
	closed  bool
	cancel  map[*topic]context.CancelFunc

	messages, dropped, slow atomic.Uint64
}

// A topic is a subject that somebody wants.
type topic struct {
	subject string
	over    <-chan struct{} // closed when nobody wants it any longer
	opened  chan struct{}   // closed when Follow has returned, and err is set
	err     error
	clients map[*client]bool
	last    []byte // so that who comes does not wait for the next
}

// A client is one stream.
type client struct {
	topic  *topic
	next   chan []byte // events as they are written, shared by all clients; closed when there are no more to come
	missed atomic.Uint64
}

func newHub(l Live) *hub {
	return &hub{live: l, topics: map[string]*topic{}, cancel: map[*topic]context.CancelFunc{}}
}

// join adds a client that wants a subject. Who joins has to leave.
func (h *hub) join(ctx context.Context, subject string) (*client, error) {
	h.mu.Lock()
	if h.closed || h.clients >= maxStreams {
		h.mu.Unlock()
		return nil, errFull
	}
	h.clients++
	t := h.topics[subject]
	if t == nil {
		follow, cancel := context.WithCancel(context.Background())
		t = &topic{subject: subject, over: follow.Done(), opened: make(chan struct{}), clients: map[*client]bool{}}
		h.topics[subject], h.cancel[t] = t, cancel
		go h.run(follow, t)
	}
	c := &client{topic: t, next: make(chan []byte, behind)}
	if subject == "" {
		c.next = make(chan []byte, behindAll)
	}
	t.clients[c] = true
	if t.last != nil {
		c.next <- t.last
	}
	h.mu.Unlock()
	select {
	case <-t.opened:
	case <-t.over:
		select {
		case <-t.opened: // and it was over at once: that has a reason
		default: // the server ends
			h.leave(c)
			return nil, errFull
		}
	case <-ctx.Done():
		h.leave(c)
		return nil, ctx.Err()
	}
	if t.err != nil {
		h.leave(c)
		return nil, t.err
	}
	return c, nil
}

// leave is join's other half. What nobody wants any longer is not followed any longer.
func (h *hub) leave(c *client) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.clients--
	if delete(c.topic.clients, c); len(c.topic.clients) == 0 {
		h.drop(c.topic)
	}
}

// drop forgets a topic. h.mu is held.
func (h *hub) drop(t *topic) {
	if cancel := h.cancel[t]; cancel != nil {
		cancel()
		delete(h.cancel, t)
	}
	if h.topics[t.subject] == t {
		delete(h.topics, t.subject)
	}
}

// run follows a topic until it is over or nobody wants it.
func (h *hub) run(ctx context.Context, t *topic) {
	from, err := h.live.Follow(ctx, t.subject)
	t.err = err
	close(t.opened)
	for more := err == nil; more; {
		var m Message
		select {
		case m, more = <-from:
			h.send(t, m)
		case <-ctx.Done():
			more = false
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.drop(t)
	for c := range t.clients {
		close(c.next)
	}
	t.clients = map[*client]bool{}
}

func (h *hub) send(t *topic, m Message) {
	if m.Event == "" || strings.ContainsAny(m.Event, "\r\n") {
		return
	}
	event := appendEvent(nil, m)
	h.mu.Lock()
	defer h.mu.Unlock()
	t.last = event
	for c := range t.clients {
		select {
		case c.next <- event:
		default:
			c.missed.Add(1)
			h.dropped.Add(1)
		}
	}
}

// close ends all streams, and lets none begin.
func (h *hub) close() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.closed = true
	for _, cancel := range h.cancel {
		cancel()
	}
}

func (h *hub) counts() (clients int, messages, dropped, slow uint64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.clients, h.messages.Load(), h.dropped.Load(), h.slow.Load()
}

// stream is the live stream of one client, as server-sent events.
func (s *Server) stream(w http.ResponseWriter, r *http.Request) {
	subject := r.URL.Query().Get("process")
	if len(subject) > maxSubject {
		s.refuse(w, r, refusef(http.StatusBadRequest, "use an id that GET "+apiPrefix+"processes has", "the name of the process is too long"))
		return
	}
	if r.Method == http.MethodHead {
		w.Header().Set("Content-Type", "text/event-stream")
		return
	}
	c, err := s.hub.join(r.Context(), subject)
	switch {
	case errors.Is(err, ErrUnknown):
		s.refuse(w, r, refusef(http.StatusNotFound, "GET "+apiPrefix+"processes lists them", "no process is called %.80q", subject))
		return
	case err != nil:
		no := refusef(http.StatusServiceUnavailable, "close some, or try again", "%v", err)
		no.wait = 5 * time.Second
		s.refuse(w, r, no)
		return
	}
	defer s.hub.leave(c)
	h := w.Header()
	h.Set("Content-Type", "text/event-stream")
	h.Set("X-Accel-Buffering", "no") // what nginx would keep until it has a block of it
	w.WriteHeader(http.StatusOK)
	if err := s.pump(w, r, c); errors.Is(err, os.ErrDeadlineExceeded) {
		s.hub.slow.Add(1)
	}
}

// pump writes what comes for a client until it goes away, nothing more comes, or it may
// not see it any longer. An error is of writing.
func (s *Server) pump(w http.ResponseWriter, r *http.Request, c *client) error {
	control := http.NewResponseController(w)
	v := visitorOf(r.Context())
	write := func(event []byte) error {
		if _, err := w.Write(event); err != nil {
			return err
		}
		return control.Flush()
	}
	if err := write([]byte("retry: 3000\n\n")); err != nil {
		return err
	}
	look := time.NewTicker(roleEvery)
	defer look.Stop()
	quiet := time.Duration(0)
	for {
		select {
		case <-r.Context().Done():
			return nil
		case event, more := <-c.next:
			if !v.still() {
				return nil
			}
			if !more {
				// What ends by itself is not asked for again; after a restart the client comes back.
				if s.hub.ending() {
					return nil
				}
				return write(appendEvent(nil, Message{"end", []byte("{}")}))
			}
			if n := c.missed.Swap(0); n > 0 {
				if err := write(appendEvent(nil, Message{"missed", fmt.Appendf(nil, `{"messages":%d}`, n)})); err != nil {
					return err
				}
			}
			if err := write(event); err != nil {
				return err
			}
			s.hub.messages.Add(1)
			quiet = 0
		case <-look.C:
			if !v.still() {
				return nil
			}
			if quiet += roleEvery; quiet < heartbeat {
				continue
			}
			quiet = 0
			if err := write([]byte(": still here\n\n")); err != nil {
				return err
			}
		}
	}
}

// ending reports whether the server ends.
func (h *hub) ending() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.closed
}

// appendEvent writes a message as the format has it: any line break begins a line of
// data.
func appendEvent(b []byte, m Message) []byte {
	b = append(b, "event: "...)
	b = append(b, m.Event...)
	b = append(b, '\n')
	data := m.Data
	if bytes.IndexByte(data, '\r') >= 0 {
		data = bytes.ReplaceAll(bytes.ReplaceAll(data, []byte("\r\n"), []byte("\n")), []byte("\r"), []byte("\n"))
	}
	for line := range bytes.SplitSeq(data, []byte("\n")) {
		b = append(b, "data: "...)
		b = append(b, line...)
		b = append(b, '\n')
	}
	return append(b, '\n')
}
