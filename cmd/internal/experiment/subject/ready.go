package subject

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
)

const (
	readyWithin = 20 * time.Second
	stopWithin  = 10 * time.Second
)

// A question is what a process is asked until it answers.
type question struct {
	text string
	ask  func(context.Context) error
}

// ready is the plan's question.
func ready(r experiment.Ready, expand func(string) string) (question, error) {
	switch {
	case r.HTTP != "" && r.TCP != "":
		return question{}, errors.New("ready has both http and tcp: give one")
	case r.HTTP != "":
		url := expand(r.HTTP)
		if _, err := http.NewRequest(http.MethodGet, url, nil); err != nil {
			return question{}, fmt.Errorf("ready.http: %w", err)
		}
		return question{"GET " + clean(url), func(ctx context.Context) error { return get(ctx, url) }}, nil
	}
	addr := r.TCP
	if addr == "" {
		addr = "127.0.0.1:{port}"
	}
	addr = expand(addr)
	if _, _, err := net.SplitHostPort(addr); err != nil {
		return question{}, fmt.Errorf("ready.tcp: %w", err)
	}
	return question{"TCP " + clean(addr), func(ctx context.Context) error {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
		if err == nil {
			conn.Close()
		}
		return err
	}}, nil
}

// asking has no proxy and keeps no connection: the next question must not go to
// the process before.
var asking = &http.Client{
	Transport:     &http.Transport{DisableKeepAlives: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

func get(ctx context.Context, url string) error {
	const most = 1 << 20
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	resp, err := asking.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if _, err := io.Copy(io.Discard, io.LimitReader(resp.Body, most)); err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("it answered %d", resp.StatusCode)
	}
	return nil
}

// await asks until there is an answer, ended is closed, or ctx ends. It asks the
// more seldom the longer it takes: the time of a start is known to some 2%. last
// is why the last question failed.
func (q question) await(ctx context.Context, since time.Time, ended <-chan struct{}) (ok bool, last error) {
	const patience = 2 * time.Second // for one answer
	for {
		one, cancel := context.WithTimeout(ctx, patience)
		err := q.ask(one)
		cancel()
		if err == nil {
			select {
			case <-ended: // it was somebody else who answered
				return false, nil
			default:
				return true, nil
			}
		}
		if ctx.Err() == nil {
			last = err
		}
		pause := min(max(time.Since(since)/50, time.Millisecond), 50*time.Millisecond)
		select {
		case <-ended:
			return false, last
		case <-ctx.Done():
			return false, last
		case <-time.After(pause):
		}
	}
}
