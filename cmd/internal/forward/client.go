package forward

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"
)

// A verdict is what an answer means for a request.
type verdict uint8

const (
	taken    verdict = iota
	again            // later: the server, the way there or our credentials are at fault
	refused          // the data is at fault: the same request is never taken
	tooLarge         // in smaller pieces
)

const (
	// Waits between attempts double from one to the other, and are shortened by up to
	// a half at random, so that agents do not come back all at once.
	firstWait = time.Second
	lastWait  = 2 * time.Minute
	// maxRetryAfter bounds for how long a server can send us away.
	maxRetryAfter = 15 * time.Minute
	// maxAnswer is how much of an answer is read.
	maxAnswer = 64 << 10
	// maxSecret is how large a file with a token or password may be.
	maxSecret = 64 << 10
	// maxBroken is how often a request is made of a server by OTLP that says 500: the
	// specification has it that such a request is not to be made again at all.
	maxBroken = 8
)

// judge says what a status means on the nth attempt, from 0.
func judge(kind string, status, attempt int) verdict {
	switch {
	case status >= 200 && status < 300:
		return taken
	case status == http.StatusRequestEntityTooLarge:
		return tooLarge
	case status >= 400 && status < 500:
		switch status {
		case http.StatusUnauthorized, http.StatusPaymentRequired, http.StatusForbidden, http.StatusNotFound, http.StatusMethodNotAllowed,
			http.StatusProxyAuthRequired, http.StatusRequestTimeout, http.StatusGone, http.StatusMisdirectedRequest, http.StatusTooEarly,
			http.StatusUpgradeRequired, http.StatusTooManyRequests:
			return again
		}
		return refused
	case kind != kindRemoteWrite && attempt+1 >= maxBroken && status >= 500 && status != http.StatusBadGateway &&
		status != http.StatusServiceUnavailable && status != http.StatusGatewayTimeout:
		return refused
	}
	return again
}

// wait is how long to wait after a number of attempts that failed; r is a random
// number from 0 to 1.
func wait(failures int, r float64) time.Duration {
	d := lastWait
	if failures < 8 {
		d = min(firstWait<<max(failures-1, 0), lastWait)
	}
	return d - time.Duration(r*float64(d)/2)
}

// retryAfter reads a Retry-After header; 0 where there is none that makes sense.
func retryAfter(header string, now time.Time) time.Duration {
	if header == "" {
		return 0
	}
	d := time.Duration(0)
	if s, err := strconv.ParseInt(header, 10, 32); err == nil {
		d = time.Duration(s) * time.Second
	} else if at, err := http.ParseTime(header); err == nil {
		d = at.Sub(now)
	}
	return min(max(d, 0), maxRetryAfter)
}

// An answer is what came of one request.
type answer struct {
	status int // 0: there was none
	after  time.Duration
	body   []byte // the beginning
	err    error  // why there was none, or what the server said
	// unknown is set when the server may have taken what it was sent though it did not
	// say so.
	unknown bool
}

// A client makes requests of one destination.
type client struct {
	dest     *Destination
	endpoint string
	http     *http.Client
	header   http.Header
}

// newClient reads the TLS files. A transport that is not nil is for tests.
func newClient(kind string, d *Destination, header http.Header, transport http.RoundTripper) (*client, error) {
	c := &client{dest: d, endpoint: d.endpoint(kind), header: header}
	if transport == nil {
		conf, err := d.TLS.config()
		if err != nil {
			return nil, err
		}
		transport = &http.Transport{
			Proxy:                  http.ProxyFromEnvironment,
			TLSClientConfig:        conf,
			ForceAttemptHTTP2:      true,
			DisableCompression:     true,
			MaxIdleConns:           2,
			MaxConnsPerHost:        2,
			IdleConnTimeout:        90 * time.Second,
			TLSHandshakeTimeout:    10 * time.Second,
			MaxResponseHeaderBytes: 64 << 10,
		}
	}
	timeout := d.Timeout
	if timeout == 0 {
		timeout = defaultTimeout
	}
	c.http = &http.Client{
		Transport: transport,
		Timeout:   timeout,
		// A redirect would carry the credentials, and everything else, to wherever the
		// server says.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	return c, nil
}

func (t *TLS) config() (*tls.Config, error) {
	conf := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName, InsecureSkipVerify: t.InsecureSkipVerify}
	if t.CAFile != "" {
		pem, err := readBounded(t.CAFile, 1<<20)
		if err != nil {
			return nil, fmt.Errorf("reading tls.ca_file: %w", err)
		}
		conf.RootCAs = x509.NewCertPool()
		if !conf.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("reading tls.ca_file: %s has no certificate in PEM", t.CAFile)
		}
	}
	if t.CertFile != "" {
		// At each handshake anew: certificates are renewed while the agent runs.
		certFile, keyFile := t.CertFile, t.KeyFile
		if _, err := tls.LoadX509KeyPair(certFile, keyFile); err != nil {
			return nil, fmt.Errorf("reading tls.cert_file and tls.key_file: %w", err)
		}
		conf.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
			cert, err := tls.LoadX509KeyPair(certFile, keyFile)
			return &cert, err
		}
	}
	return conf, nil
}

// secret reads a token or a password. It is read for each request: who renews it does
// not have to tell us.
func secret(field, name string) (string, error) {
	text, err := readBounded(name, maxSecret)
	if err != nil {
		return "", fmt.Errorf("reading %s: %w", field, err)
	}
	s := strings.TrimSpace(string(text))
	if s == "" || strings.ContainsFunc(s, unicode.IsControl) {
		return "", fmt.Errorf("reading %s: %s is empty, or has more than one line", field, name)
	}
	return s, nil
}

func readBounded(name string, most int64) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err == nil && int64(len(b)) > most {
		err = fmt.Errorf("%s is larger than %d bytes", name, most)
	}
	return b, err
}

// post makes one request.
func (c *client) post(ctx context.Context, body []byte) answer {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.endpoint, bytes.NewReader(body))
	if err != nil {
		return answer{err: err}
	}
	for k, v := range c.dest.Headers {
		req.Header.Set(k, v)
	}
	for k, v := range c.header {
		req.Header[k] = v
	}
	req.Header.Set("User-Agent", "heapwright")
	switch d := c.dest; {
	case d.BearerTokenFile != "":
		token, err := secret("bearer_token_file", d.BearerTokenFile)
		if err != nil {
			return answer{err: err}
		}
		req.Header.Set("Authorization", "Bearer "+token)
	case d.BasicAuth.Username != "":
		password, err := secret("basic_auth.password_file", d.BasicAuth.PasswordFile)
		if err != nil {
			return answer{err: err}
		}
		req.SetBasicAuth(d.BasicAuth.Username, password)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return answer{err: err, unknown: true}
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	a := answer{status: resp.StatusCode, body: text, after: retryAfter(resp.Header.Get("Retry-After"), time.Now()), unknown: resp.StatusCode >= 500}
	switch {
	case resp.StatusCode >= 300 && resp.StatusCode < 400:
		a.err = fmt.Errorf("the server sends us on to %.200q: write the address where it ends into url", resp.Header.Get("Location"))
	case resp.StatusCode < 200 || resp.StatusCode >= 300:
		a.err = fmt.Errorf("the server answers %d %s: %s", resp.StatusCode, http.StatusText(resp.StatusCode), clean(text))
	case err != nil && !errors.Is(err, io.EOF):
		// It said that it took it; what it said after that does not matter.
		a.body = nil
	}
	return a
}

// clean is a text of the other side on one line, bounded, for logs and pages.
func clean(text []byte) string {
	s := strings.ToValidUTF8(string(text[:min(len(text), 400)]), "?")
	s = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, s)
	return strings.Join(strings.Fields(s), " ")
}

// random is the source of jitter.
func random() float64 { return rand.Float64() }
