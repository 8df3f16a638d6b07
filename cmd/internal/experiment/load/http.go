package load

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
)

// Placeholder is what requests may have in URL and body for a number that grows,
// which has SeqDigits digits.
const (
	Placeholder = "{seq}"
	SeqDigits   = 12
)

// appendSeq appends a number in SeqDigits digits.
func appendSeq(b []byte, seq uint64) []byte {
	var digits [SeqDigits]byte
	for i := SeqDigits - 1; i >= 0; i-- {
		digits[i] = byte('0' + seq%10)
		seq /= 10
	}
	return append(b, digits[:]...)
}

// withSeq is text with the number in place of the placeholder.
func withSeq(text string, seq uint64) string {
	return strings.ReplaceAll(text, Placeholder, string(appendSeq(nil, seq)))
}

const (
	// maxAnswer is how much of an answer is read, in bytes; more is an error.
	maxAnswer = 64 << 20
	// maxAnswerHeader bounds the header of an answer, in bytes.
	maxAnswerHeader = 1 << 20
	dialTimeout     = 5 * time.Second
)

// An httpSender sends the requests of a mix, over connections that are kept.
type httpSender struct {
	seed     uint64
	requests []httpRequest
	// http1 has one transport, which opens connections as they are needed; http2 one
	// for each connection, which take turns.
	transports []*http.Transport
	turn       atomic.Uint64
}

type httpRequest struct {
	below  float64 // of a number in [0, 1): this request, when no earlier one is
	sample *http.Request
	url    string // with a placeholder; else empty
	body   string
	seq    bool // the body has a placeholder
	expect int
	name   string // for errors
}

func newHTTPSender(l *experiment.HTTPLoad, connections int, seed uint64) (*httpSender, error) {
	if len(l.Requests) == 0 {
		return nil, errors.New("an HTTP load has no requests")
	}
	s := &httpSender{seed: seed}
	total := 0.0
	for _, r := range l.Requests {
		if !(r.Weight >= 0 && r.Weight <= 1e9) {
			return nil, fmt.Errorf("%s: a weight of %v is not between 0 and 1e9", r.URL, r.Weight)
		}
		total += r.Weight
	}
	if total <= 0 {
		return nil, errors.New("no request of the HTTP load has a weight")
	}
	sum := 0.0
	for _, r := range l.Requests {
		q, err := newHTTPRequest(r)
		if err != nil {
			return nil, err
		}
		sum += r.Weight
		q.below = sum / total
		s.requests = append(s.requests, q)
	}
	var protocols http.Protocols
	n := 1
	switch l.Protocol {
	case "http1":
		protocols.SetHTTP1(true)
	case "http2":
		protocols.SetUnencryptedHTTP2(true)
		n = connections
	default:
		return nil, fmt.Errorf("the protocol of an HTTP load is http1 or http2, not %q", l.Protocol)
	}
	dialer := &net.Dialer{Timeout: dialTimeout}
	for range n {
		s.transports = append(s.transports, &http.Transport{
			Protocols:              &protocols,
			DialContext:            dialer.DialContext, // and no proxy
			DisableCompression:     true,
			MaxIdleConns:           0,
			MaxIdleConnsPerHost:    connections,
			MaxConnsPerHost:        connections,
			MaxResponseHeaderBytes: maxAnswerHeader,
		})
	}
	return s, nil
}

func newHTTPRequest(r experiment.HTTPRequest) (httpRequest, error) {
	q := httpRequest{body: r.Body, seq: strings.Contains(r.Body, Placeholder), expect: r.Expect, name: r.Method + " " + r.URL}
	if strings.Contains(r.URL, Placeholder) {
		q.url = r.URL
	}
	u, err := url.Parse(withSeq(r.URL, 0))
	if err != nil {
		return q, err
	}
	if u.Scheme != "http" || u.Host == "" {
		return q, fmt.Errorf("%s: the URL of a load begins with http:// and has a host", r.URL)
	}
	q.sample, err = http.NewRequest(r.Method, u.String(), nil)
	if err != nil {
		return q, err
	}
	for k, v := range r.Header {
		if !httpguts.ValidHeaderFieldName(k) || !httpguts.ValidHeaderFieldValue(v) {
			return q, fmt.Errorf("%s: the header %q is not one", r.URL, k)
		}
		if strings.EqualFold(k, "Host") {
			q.sample.Host = v
			continue
		}
		q.sample.Header.Set(k, v)
	}
	if q.sample.Header.Get("User-Agent") == "" {
		q.sample.Header.Set("User-Agent", "heapwright")
	}
	if q.expect < 200 || q.expect > 599 {
		return q, fmt.Errorf("%s: no answer has status %d", r.URL, q.expect)
	}
	return q, nil
}

func (s *httpSender) pick(seq uint64) *httpRequest {
	if len(s.requests) == 1 {
		return &s.requests[0]
	}
	x := mixed(s.seed, seq)
	for i := range s.requests {
		if x < s.requests[i].below {
			return &s.requests[i]
		}
	}
	return &s.requests[len(s.requests)-1]
}

func (s *httpSender) send(ctx context.Context, seq uint64, buf []byte) error {
	q := s.pick(seq)
	req := q.sample.WithContext(ctx)
	if q.url != "" {
		u, err := url.Parse(withSeq(q.url, seq))
		if err != nil {
			return err
		}
		req.URL = u
	}
	if q.body != "" {
		body := q.body
		if q.seq {
			body = withSeq(body, seq)
		}
		// The transport asks for it again when a kept connection turns out to be closed.
		req.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(strings.NewReader(body)), nil }
		req.Body, _ = req.GetBody()
		req.ContentLength = int64(len(body))
	}
	t := s.transports[0]
	if n := uint64(len(s.transports)); n > 1 {
		t = s.transports[s.turn.Add(1)%n]
	}
	res, err := t.RoundTrip(req)
	if err != nil {
		return fmt.Errorf("%s: %w", q.name, err)
	}
	defer res.Body.Close()
	var head []byte // of an answer that is not as expected
	for read := 0; ; {
		n, err := res.Body.Read(buf)
		if res.StatusCode != q.expect && read == 0 {
			head = bytes.Clone(buf[:min(n, maxErrorText)])
		}
		read += n
		switch {
		case err == io.EOF:
			if res.StatusCode != q.expect {
				return fmt.Errorf("%s: status %d, not %d: %s", q.name, res.StatusCode, q.expect, head)
			}
			return nil
		case err != nil:
			return fmt.Errorf("%s: reading the answer: %w", q.name, err)
		case read > maxAnswer:
			return fmt.Errorf("%s: the answer is longer than %d MiB", q.name, maxAnswer>>20)
		}
	}
}

func (s *httpSender) close() {
	for _, t := range s.transports {
		t.CloseIdleConnections()
	}
}
