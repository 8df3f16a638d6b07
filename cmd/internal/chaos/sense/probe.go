package sense

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
)

// probed are the values that come from probes, which go at their own pace.
type probed map[chaos.Metric]float64

const (
	readyEvery       = 200 * time.Millisecond
	guardEvery       = 250 * time.Millisecond
	connectionsEvery = time.Second
	probePatience    = time.Second // for one answer
	maxReadyAnswer   = 1 << 20
	maxDebugAnswer   = 16 << 20
	maxReason        = 200 // bytes of what a guard says is the reason
	debugzPath       = "/debug/heapwright/"
)

// probes ask a target, each at its own pace.
type probes struct {
	cancel context.CancelFunc

	mu     sync.Mutex
	values probed
	events []chaos.Event
	state  string    // of the guard, as last seen
	seen   time.Time // its last event that was seen
	failed map[string]bool
}

func startProbes(pid int, o Options) *probes {
	ctx, cancel := context.WithCancel(context.Background())
	p := &probes{cancel: cancel, values: probed{}, failed: map[string]bool{}}
	client := o.Client
	if client == nil {
		client = &http.Client{
			Transport:     &http.Transport{DisableKeepAlives: true}, // and no proxy: it would hide where we are
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}
	}
	if o.Ready != "" {
		go every(ctx, readyEvery, func(ctx context.Context) {
			_, err := get(ctx, client, o.Ready, "", maxReadyAnswer)
			p.set(chaos.Ready, flag(err == nil).v)
		})
	}
	if o.Debug != "" {
		if address, err := debugAddress(o.Debug); err != nil {
			p.fail("debug", err)
		} else {
			go every(ctx, guardEvery, func(ctx context.Context) { p.askGuard(ctx, client, address) })
		}
	}
	go every(ctx, connectionsEvery, func(context.Context) {
		if n, ok := countConnections(pid); ok {
			p.set(chaos.ConnectionsOpen, float64(n))
		} else {
			p.unset(chaos.ConnectionsOpen)
		}
	})
	return p
}

// every does something at a pace, with a bound for each time, until ctx ends.
func every(ctx context.Context, pace time.Duration, do func(context.Context)) {
	t := time.NewTicker(pace)
	defer t.Stop()
	for {
		one, cancel := context.WithTimeout(ctx, probePatience)
		do(one)
		cancel()
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
	}
}

func (p *probes) stop() { p.cancel() }

func (p *probes) read() probed {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.values)
}

func (p *probes) takeEvents() []chaos.Event {
	p.mu.Lock()
	defer p.mu.Unlock()
	e := p.events
	p.events = nil
	return e
}

func (p *probes) set(m chaos.Metric, v float64) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.values[m] = v
}

func (p *probes) unset(m ...chaos.Metric) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, m := range m {
		delete(p.values, m)
	}
}

// fail says once that something cannot be asked.
func (p *probes) fail(what string, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.failed[what] {
		p.failed[what] = true
		p.events = append(p.events, chaos.Event{Kind: chaos.EventNote, Fault: -1, Text: printable(err.Error())})
	}
}

// debugAddress is the URL of a debug page: its usual path where it has none.
func debugAddress(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", fmt.Errorf("%q is not the address of a debug page", text)
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = debugzPath
	}
	u.Path = strings.TrimSuffix(u.Path, "/") + "/"
	u.RawQuery = "format=json"
	return u.String(), nil
}

func get(ctx context.Context, client *http.Client, address, accept string, most int64) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	if accept != "" {
		req.Header.Set("Accept", accept)
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, most+1))
	switch {
	case err != nil:
		return nil, err
	case resp.StatusCode != http.StatusOK:
		return nil, fmt.Errorf("it answers %d", resp.StatusCode)
	case int64(len(text)) > most:
		text = text[:most]
	}
	return text, nil
}

// askGuard looks at the guard. Between two looks it may have changed more than once: its
// page has its last events.
func (p *probes) askGuard(ctx context.Context, client *http.Client, address string) {
	text, err := get(ctx, client, address, "application/json", maxDebugAnswer)
	var g guardLook
	if err == nil {
		g, err = parseGuard(text)
	}
	if err != nil {
		// A service that has no memory may well not answer: that is what is looked at.
		p.unset(chaos.GuardState, chaos.GuardRung)
		if errors.Is(err, errNoGuard) {
			p.fail("guard", err)
		}
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.values[chaos.GuardState], p.values[chaos.GuardRung] = g.state, float64(g.rung)
	first := p.state == ""
	for _, e := range g.events {
		if !first && e.time.After(p.seen) && len(p.events) < maxEvents {
			p.events = append(p.events, chaos.Event{Kind: chaos.EventState, Fault: -1, Text: e.reason, From: e.from, To: e.to})
			p.state = e.to
		}
	}
	if n := len(g.events); n > 0 && g.events[n-1].time.After(p.seen) {
		p.seen = g.events[n-1].time
	}
	if !first && p.state != g.name {
		// The event itself was not among those that the page still has.
		p.events = append(p.events, chaos.Event{Kind: chaos.EventState, Fault: -1, From: p.state, To: g.name})
	}
	p.state = g.name
}

var errNoGuard = errors.New("the debug page tells of no guard")

// A guardLook is what a debug page says of the guard.
type guardLook struct {
	name   string
	state  float64
	rung   int
	events []guardChange // of its state, oldest first
}

type guardChange struct {
	time             time.Time
	from, to, reason string
}

var states = map[string]float64{"healthy": 0, "recovering": 1, "degraded": 2}

// maxGuardEvents is how many events of one page are looked at.
const maxGuardEvents = 1000

// parseGuard reads a page's JSON, of any content.
func parseGuard(text []byte) (guardLook, error) {
	var page struct {
		Guard *struct {
			State  string `json:"state"`
			Rung   int    `json:"rung"`
			Events []struct {
				Time             time.Time `json:"time"`
				Event            string    `json:"event"`
				From, To, Reason string
			} `json:"events"`
		} `json:"guard"`
	}
	d := json.NewDecoder(bytes.NewReader(text))
	if err := d.Decode(&page); err != nil {
		return guardLook{}, errors.New("what answers there is no debug page of Heapwright's")
	}
	if page.Guard == nil {
		return guardLook{}, errNoGuard
	}
	state, ok := states[page.Guard.State]
	if !ok || page.Guard.Rung < 0 || page.Guard.Rung > 1000 {
		return guardLook{}, errors.New("the state of the guard is not understood")
	}
	g := guardLook{name: page.Guard.State, state: state, rung: page.Guard.Rung}
	for _, e := range page.Guard.Events[:min(len(page.Guard.Events), maxGuardEvents)] {
		_, ok1 := states[e.From]
		_, ok2 := states[e.To]
		if e.Event == "state" && ok1 && ok2 {
			g.events = append(g.events, guardChange{e.Time, e.From, e.To, printable(e.Reason)})
		}
	}
	return g, nil
}

// printable is the first line of what somebody else says, without what a terminal
// would act on.
func printable(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	s = strings.ToValidUTF8(s[:min(len(s), maxReason)], "")
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, s))
}
