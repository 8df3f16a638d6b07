package shed

import (
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"time"
)

const (
	// baseCost is what a request holds at the least: its goroutine's stack, the
	// buffers of its connection, its headers.
	baseCost = 16 << 10
	// bodyCost is the most that a body counts for by its Content-Length: what
	// net/http keeps of a form in memory (request.go, defaultMaxMemory). Nobody needs to send what he announces.
	bodyCost = 32 << 20
)

// HandlerOptions are what a Handler is made with. The zero value is good. The
// functions are called in the request's goroutine, and who blocks there blocks that
// request. A panic in one of them is caught and counted, and the request goes on as if
// the function were not there.
type HandlerOptions struct {
	// Class says how much a request matters; Normal without it.
	Class func(*http.Request) Class
	// Cost says how many bytes the service will hold for a request, about. Without
	// it that is 16 KiB, plus the Content-Length, but no more than 32 MiB of it.
	Cost func(*http.Request) int64
	// Health are the paths that go past the gate. Nil is /healthz, /readyz, /livez
	// and /health.
	Health []string
	// RetryAfter is the shortest time that a client is told to stay away, and half
	// the longest. It is rounded up to seconds, 2 s by default, and at most a day.
	RetryAfter time.Duration
	// OnShed is called for each refused request, after the response is written.
	OnShed func(*http.Request)
}

// Handler returns a handler that asks g whether next may serve a request, and else
// answers 503 with Retry-After: a number of seconds drawn at random between
// HandlerOptions.RetryAfter and twice that, so that who was refused together does not
// come back together.
//
// The decision falls before next is called. What is admitted is never touched again:
// next is given the ResponseWriter and the Request as they are, and may hijack,
// flush, set deadlines or upgrade as without a gate. The ticket is returned when next
// returns, also by a panic, which goes on. A handler that hijacks a connection and
// leaves it to another goroutine counts until it returns.
//
// A refusal keeps the connection, since a new one costs both sides more than the
// refusal. net/http reads the rest of a body of up to 256 KiB for that, and closes the
// connection after larger ones and after a body that was only announced (Expect:
// 100-continue); over HTTP/2 it resets the stream alone.
func Handler(g *Gate, next http.Handler, o HandlerOptions) http.Handler {
	o.Health = slices.Clone(o.Health)
	if o.Health == nil {
		o.Health = []string{"/healthz", "/readyz", "/livez", "/health"}
	}
	return &handler{gate: g, next: next, o: o, retryAfter: retryAfter(o.RetryAfter)}
}

type handler struct {
	gate       *Gate
	next       http.Handler
	o          HandlerOptions
	retryAfter [][]string
}

// retryAfter returns the values of the header: from base to twice that, in at most
// 61 steps.
func retryAfter(base time.Duration) [][]string {
	if base <= 0 {
		base = 2 * time.Second
	}
	seconds := int64((min(base, 24*time.Hour) + time.Second - 1) / time.Second)
	step := (seconds + 59) / 60
	var values [][]string
	for s := seconds; s <= 2*seconds; s += step {
		values = append(values, []string{strconv.FormatInt(s, 10)})
	}
	return values
}

// The headers' values and the body are shared by all responses. A middleware may
// Set and Add: neither http.Header nor net/http changes a value in place.
var (
	contentType  = []string{"text/plain; charset=utf-8"}
	cacheControl = []string{"no-store"}
	body         = []byte("503 service unavailable: too busy, try again later\n")
)

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if slices.Contains(h.o.Health, r.URL.Path) {
		h.next.ServeHTTP(w, r)
		return
	}
	class, cost := Normal, int64(0)
	if h.o.Class != nil {
		class = h.class(r)
	}
	if h.o.Cost != nil {
		cost = h.cost(r)
	} else {
		cost = baseCost + min(max(r.ContentLength, 0), bodyCost)
	}
	ticket, ok := h.gate.Admit(class, cost)
	if !ok {
		h.refuse(w, r)
		return
	}
	defer ticket.Done()
	h.next.ServeHTTP(w, r)
}

func (h *handler) refuse(w http.ResponseWriter, r *http.Request) {
	// By their canonical names, which Set would have to look for.
	header := w.Header()
	header["Retry-After"] = h.retryAfter[rand.IntN(len(h.retryAfter))]
	header["Content-Type"] = contentType
	header["Cache-Control"] = cacheControl
	w.WriteHeader(http.StatusServiceUnavailable)
	// A client that has gone away needs no answer.
	_, _ = w.Write(body)
	if h.o.OnShed != nil {
		h.onShed(r)
	}
}

func (h *handler) class(r *http.Request) (c Class) {
	defer h.recovered()
	return h.o.Class(r)
}

func (h *handler) cost(r *http.Request) (bytes int64) {
	bytes = baseCost
	defer h.recovered()
	return h.o.Cost(r)
}

func (h *handler) onShed(r *http.Request) {
	defer h.recovered()
	h.o.OnShed(r)
}

// recovered ends a panic of a callback, which is no reason to fail a request.
func (h *handler) recovered() {
	if recover() != nil {
		h.gate.panics.Add(1)
	}
}
