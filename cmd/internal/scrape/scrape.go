// Package scrape reads a Go program over HTTP: its Prometheus /metrics, as
// every generation of client_golang writes them, and its /debug/pprof.
//
// It is the source for what is remote or not Linux. It asks nothing of the
// program but what these endpoints do anyhow, and it trusts nothing they say:
// size, time, redirects and content types are bounded, and a value that can't
// be true is missing from the sample, as is everything that the endpoint does
// not tell.
package scrape

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"path"
	"strings"
	"time"
)

// An Error says why an endpoint gave nothing, in a line, and what to do.
type Error struct {
	URL    string // without its password
	Reason string
	Hint   string // "" when there is nothing to say
	Err    error  // the cause, nil when Reason is all
}

func (e *Error) Error() string {
	text := "reading " + e.URL + ": " + e.Reason
	if e.Err != nil {
		if e.Reason != "" {
			text += ": "
		}
		text += e.Err.Error()
	}
	if e.Hint != "" {
		text += "; " + e.Hint
	}
	return text
}

func (e *Error) Unwrap() error { return e.Err }

// Limits bound what is accepted. A field that is zero means its default.
type Limits struct {
	Time         time.Duration // for a whole request; 10 s, and 60 s for a profile
	MetricsBytes int64         // of /metrics, expanded; 128 MiB, of which little is kept
	ProfileBytes int64         // of a profile, expanded; 64 MiB
}

func (l *Limits) setDefaults() {
	if l.MetricsBytes == 0 {
		l.MetricsBytes = 128 << 20
	}
	if l.ProfileBytes == 0 {
		l.ProfileBytes = 64 << 20
	}
}

// A Client reads the endpoints of one program.
type Client struct {
	metrics *url.URL
	pprof   *url.URL // with a slash at its end
	limits  Limits
	http    *http.Client
}

// New returns a Client for the program behind a URL. The URL may be of its
// metrics, of its /debug/pprof, or of neither: where the one is, the other is
// looked for at the usual place of the same server. Nothing is read yet.
func New(rawURL string, limits Limits) (*Client, error) {
	limits.setDefaults()
	u, err := url.Parse(rawURL)
	if err != nil {
		// The text of err has the URL in it, and that may have a password.
		return nil, &Error{URL: "the given URL", Reason: "it is not a valid URL", Hint: "give one like http://localhost:8080/metrics"}
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, &Error{URL: u.Redacted(), Reason: "it is not an http or https URL", Hint: "give one like http://localhost:8080/metrics"}
	}
	u.Fragment, u.RawFragment = "", ""
	c := &Client{limits: limits}
	c.metrics, c.pprof = u, u.JoinPath("/")
	const pprofPath = "/debug/pprof"
	if base, _, ok := strings.Cut(u.Path+"/", pprofPath+"/"); ok {
		c.pprof = at(u, base+pprofPath+"/")
		c.metrics = at(u, base+"/metrics")
	} else {
		c.pprof = at(u, pprofPath+"/")
		if strings.Trim(u.Path, "/") == "" {
			c.metrics = at(u, "/metrics")
		}
	}
	c.http = &http.Client{
		Transport: &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			DisableCompression:     true, // expanded here, where it is bounded
			MaxResponseHeaderBytes: 64 << 10,
			MaxIdleConnsPerHost:    2,
			IdleConnTimeout:        time.Minute,
			TLSHandshakeTimeout:    10 * time.Second,
		},
		CheckRedirect: func(to *http.Request, via []*http.Request) error {
			from := via[0].URL
			if to.URL.Host != from.Host || to.URL.Scheme != from.Scheme {
				return fmt.Errorf("it redirects to another server, %s://%s", to.URL.Scheme, to.URL.Host)
			}
			if len(via) > 3 {
				return errors.New("it redirects in circles")
			}
			return nil
		},
	}
	return c, nil
}

// at returns u with another path, and without a query.
func at(u *url.URL, p string) *url.URL {
	v := *u
	v.Path, v.RawPath, v.RawQuery = path.Clean(p), "", ""
	if strings.HasSuffix(p, "/") && v.Path != "/" {
		v.Path += "/"
	}
	return &v
}

// Close ends the connections that are kept open.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// A body is an answer: its bytes expanded, an error when there are more than
// allowed, and when the time is over.
type body struct {
	io.Reader
	url       *url.URL
	mediaType string
	close     func()
}

// get asks for u. The caller closes the body.
func (c *Client) get(ctx context.Context, u *url.URL, accept string, limit int64, within time.Duration) (*body, error) {
	if c.limits.Time != 0 {
		within = c.limits.Time
	}
	ctx, cancel := context.WithTimeout(ctx, within)
	fail := func(reason, hint string, err error) (*body, error) {
		cancel()
		return nil, &Error{URL: u.Redacted(), Reason: reason, Hint: hint, Err: err}
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return fail("asking", "", err)
	}
	req.Header.Set("Accept", accept)
	req.Header.Set("Accept-Encoding", "gzip")
	req.Header.Set("User-Agent", "heapwright")
	start := time.Now() // the caller's context may end before the time is over
	resp, err := c.http.Do(req)
	if err != nil {
		var wrapped *url.Error
		if errors.As(err, &wrapped) {
			err = wrapped.Err // it repeats the URL
		}
		if errors.Is(err, context.DeadlineExceeded) {
			return fail(fmt.Sprintf("no answer within %v", min(within, time.Since(start).Round(10*time.Millisecond))), "is another service at this address, or is the program stuck?", err)
		}
		return fail("", "is the program running, and is this its address?", err)
	}
	closeBody := func() {
		resp.Body.Close()
		cancel()
	}
	b := &body{url: u, close: closeBody}
	b.mediaType, _, _ = mime.ParseMediaType(resp.Header.Get("Content-Type"))
	switch {
	case resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden:
		closeBody()
		return fail("the server says "+status(resp), "the URL may hold a user and a password", nil)
	case resp.StatusCode != http.StatusOK:
		closeBody()
		return fail("the server says "+status(resp), "most programs have their metrics at /metrics, and their profiles at /debug/pprof", nil)
	}
	var r io.Reader = resp.Body
	switch encoding := resp.Header.Get("Content-Encoding"); encoding {
	case "", "identity":
	case "gzip":
		if r, err = gzip.NewReader(resp.Body); err != nil {
			closeBody()
			return fail("expanding the answer", "", err)
		}
	default:
		closeBody()
		return fail(fmt.Sprintf("the answer has the encoding %.20q, which was not asked for", encoding), "", nil)
	}
	b.Reader = &limitedReader{r: r, left: limit, limit: limit}
	return b, nil
}

// status returns the status line without anything that could upset a terminal.
func status(resp *http.Response) string {
	return fmt.Sprintf("%d %s", resp.StatusCode, http.StatusText(resp.StatusCode))
}

// fail returns an error about the body.
func (b *body) fail(reason, hint string, err error) error {
	if errors.Is(err, context.DeadlineExceeded) {
		reason, hint = "the answer took too long", ""
	}
	return &Error{URL: b.url.Redacted(), Reason: reason, Hint: hint, Err: err}
}

// A limitedReader fails where a longer answer than allowed goes on.
type limitedReader struct {
	r           io.Reader
	left, limit int64
}

func (l *limitedReader) Read(p []byte) (int, error) {
	n, err := l.r.Read(p)
	if l.left -= int64(n); l.left < 0 {
		return 0, fmt.Errorf("the answer is longer than %d MiB; is this the address of a Go program's metrics?", l.limit>>20)
	}
	return n, err
}

// ungzip expands b if it is gzip, to no more than limit.
func ungzip(b []byte, limit int64) ([]byte, error) {
	if len(b) < 2 || b[0] != 0x1f || b[1] != 0x8b {
		return b, nil
	}
	gz, err := gzip.NewReader(bytes.NewReader(b))
	if err != nil {
		return nil, err
	}
	return io.ReadAll(&limitedReader{r: gz, left: limit, limit: limit})
}
