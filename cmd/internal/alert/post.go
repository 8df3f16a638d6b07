package alert

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"time"
)

// How often is tried.
const (
	defaultTimeout = 10 * time.Second
	firstPause     = time.Second
	longestPause   = time.Minute
	maxTries       = 15 // about ten minutes
)

// A rejectedError says that trying again is of no use.
type rejectedError struct{ status string }

func (e *rejectedError) Error() string { return "it was refused: " + e.status }

// A poster posts JSON to one address.
type poster struct {
	url     string
	header  http.Header
	timeout time.Duration
	client  *http.Client
}

func newPoster(url string, headers map[string]string, timeout time.Duration) *poster {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.MaxIdleConns, transport.MaxConnsPerHost = 1, 2
	return &poster{
		url: url, header: header(headers), timeout: cmp.Or(timeout, defaultTimeout),
		client: &http.Client{
			Transport: transport,
			// What is sent may hold secrets in headers, and is for this address alone.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
	}
}

// post posts a body once.
func (p *poster) post(ctx context.Context, body []byte, more http.Header) error {
	ctx, cancel := context.WithTimeout(ctx, p.timeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url, bytes.NewReader(body))
	if err != nil {
		return &rejectedError{err.Error()}
	}
	req.Header = p.header.Clone()
	req.Header.Set("Content-Type", "application/json")
	if req.Header.Get("User-Agent") == "" {
		req.Header.Set("User-Agent", "heapwright")
	}
	for k, v := range more {
		req.Header[k] = v
	}
	resp, err := p.client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, _ := io.ReadAll(io.LimitReader(resp.Body, 300)) // which also lets the connection be used again
	switch c := resp.StatusCode; {
	case c/100 == 2:
		return nil
	case c == http.StatusRequestTimeout || c == http.StatusTooManyRequests || c >= 500:
		return fmt.Errorf("%s: %q", resp.Status, text)
	default:
		return &rejectedError{fmt.Sprintf("%s: %q", resp.Status, text)}
	}
}

// retry tries until it works, is refused, or the tries are over.
func retry(ctx context.Context, tries int, try func() error, failed func(error)) error {
	pause := firstPause
	for n := 1; ; n++ {
		err := try()
		if err == nil {
			return nil
		}
		failed(err)
		var rejected *rejectedError
		if errors.As(err, &rejected) || n >= tries {
			return err
		}
		timer := time.NewTimer(pause/2 + rand.N(pause/2)) // so that many agents do not come at once
		select {
		case <-ctx.Done():
			timer.Stop()
			return err
		case <-timer.C:
		}
		pause = min(2*pause, longestPause)
	}
}
