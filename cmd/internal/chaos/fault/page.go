package fault

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/heapwright/heapwright/cmd/internal/goproc"
)

// A service that has package guard/fault serves its hooks on its debug page. What it
// answers is of another process: it is bounded, and shown only when it is cleaned.
const (
	pageTimeout = time.Second
	// pageSlow is how long it may take where nothing waits for it: to say who it is, and
	// to let go of everything.
	pageSlow  = 10 * time.Second
	maxAnswer = 1 << 20
	maxSaid   = 300 // bytes of what a page says is wrong

	pagePath = "/debug/heapwright/"
	// pageHint is for pages that answer their own machine alone: a container's is another.
	pageHint = "of a container run heapwright in its network, nsenter --net=/proc/PID/ns/net heapwright stress, with 127.0.0.1 in the plan"

	documentSchema = "heapwright.debugz/1"
	faultsSchema   = "heapwright.debugz.faults/1"
)

// A PageError says what the debug page of a target answers that is not what was asked
// for.
type PageError struct {
	URL    string
	Status int // of HTTP; 0 where it does not answer
	Why    string
	Err    error
	hint   string
}

func (e *PageError) Error() string { return e.URL + ": " + e.Why }

func (e *PageError) Unwrap() error { return e.Err }

// Hint is what a user can do about it, "" when there is nothing.
func (e *PageError) Hint() string { return e.hint }

// A page is the debug page of a target.
type page struct {
	base   *url.URL // ends in a slash
	client *http.Client
}

// openPage takes the URL of a debug page; without a path the usual one is meant.
func openPage(text string) (*page, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return nil, &RefusedError{Why: fmt.Sprintf("%q is not the address of a debug page", printable(text)), hint: "debug: http://127.0.0.1:6060" + pagePath + ", for example"}
	}
	if u.Path == "" || u.Path == "/" {
		u.Path = pagePath
	}
	u.Path = strings.TrimSuffix(u.Path, "/") + "/"
	return &page{u, &http.Client{
		// No proxy: it would hide where we are. Connections are kept, for a renewal must
		// not have to wait until a busy service accepts another.
		Transport:     &http.Transport{MaxIdleConns: 2, IdleConnTimeout: time.Minute},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}, nil
}

func (p *page) close() { p.client.CloseIdleConnections() }

// ask makes a request, and returns the text of an answer that is 200.
func (p *page) ask(ctx context.Context, timeout time.Duration, method, path, query string, body any) ([]byte, error) {
	ctx, stop := context.WithTimeout(ctx, timeout)
	defer stop()
	u := *p.base
	u.Path += path
	u.RawQuery = query
	var data io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("asking the debug page: %w", err)
		}
		data = bytes.NewReader(text)
	}
	r, err := http.NewRequestWithContext(ctx, method, u.String(), data)
	if err != nil {
		return nil, fmt.Errorf("asking the debug page: %w", err)
	}
	r.Header.Set("Accept", "application/json")
	if body != nil {
		r.Header.Set("Content-Type", "application/json")
	}
	answer, err := p.client.Do(r)
	if err != nil {
		var in *url.Error // which says the address again
		if errors.As(err, &in) {
			err = in.Err
		}
		return nil, &PageError{URL: p.base.String(), Why: "it does not answer: " + err.Error(), Err: err}
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answer.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, &PageError{URL: p.base.String(), Why: "its answer could not be read: " + err.Error(), Err: err}
	case answer.StatusCode != http.StatusOK:
		why := fmt.Sprintf("it answers %d", answer.StatusCode)
		if said := printable(string(text)); said != "" {
			why += ": " + said
		}
		e := &PageError{URL: p.base.String(), Status: answer.StatusCode, Why: why}
		if answer.StatusCode == http.StatusForbidden {
			e.hint = pageHint
		}
		return nil, e
	case len(text) > maxAnswer:
		return nil, &PageError{URL: p.base.String(), Status: answer.StatusCode, Why: "its answer is too long"}
	}
	return text, nil
}

// printable is the first line of what somebody else says, without what a terminal would
// act on.
func printable(s string) string {
	s, _, _ = strings.Cut(strings.TrimSpace(s), "\n")
	s = s[:min(len(s), maxSaid)]
	return strings.TrimSpace(strings.Map(func(r rune) rune {
		if r == unicode.ReplacementChar || !unicode.IsPrint(r) {
			return -1
		}
		return r
	}, s))
}

// A document is what a page says of its process.
type document struct {
	Schema  string `json:"schema"`
	Process struct {
		PID        int     `json:"pid"`
		StartTicks *uint64 `json:"start_ticks"`
	} `json:"process"`
}

func parseDocument(text []byte) (document, error) {
	var d document
	if err := json.Unmarshal(text, &d); err != nil || d.Schema != documentSchema {
		return d, errors.New("what answers there is no debug page of Heapwright's")
	}
	return d, nil
}

// prove refuses a page that is not the target's: the process must listen there, and the
// page must say that it is in that process.
func (p *page) prove(ctx context.Context, t *Target) error {
	notIts := func(format string, args ...any) error {
		return &RefusedError{Why: p.base.String() + " is not the target's page: " + fmt.Sprintf(format, args...), hint: "debug: the address of the debug page of that very process"}
	}
	port := p.base.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[p.base.Scheme]
	}
	switch its, err := listensAt(ctx, t.PID, net.JoinHostPort(p.base.Hostname(), port)); {
	case err != nil:
		return &RefusedError{Why: "whose the debug page is cannot be seen", Err: err}
	case !its:
		return notIts("process %d does not listen there", t.PID)
	}
	text, err := p.ask(ctx, pageSlow, http.MethodGet, "", "format=json", nil)
	if err != nil {
		return refusedBy("the debug page cannot be asked", err)
	}
	d, err := parseDocument(text)
	if err != nil {
		return notIts("%v", err)
	}
	if d.Process.StartTicks == nil || *d.Process.StartTicks != t.Start || !slices.Contains(numbersOf(t.PID), d.Process.PID) {
		return notIts("it says that it is in process %d, and %d is meant", d.Process.PID, t.PID)
	}
	return nil
}

// listensAt reports whether a process listens at an address. Of a process in another
// network that cannot be told: the address is of ours.
func listensAt(ctx context.Context, pid int, address string) (bool, error) {
	host, number, err := net.SplitHostPort(address)
	if err != nil {
		return false, err
	}
	port, err := strconv.ParseUint(number, 10, 16)
	if err != nil {
		return false, fmt.Errorf("%q is no port", number)
	}
	l, err := goproc.Listening(pid)
	if err != nil || l.Elsewhere {
		return err == nil, err
	}
	ctx, stop := context.WithTimeout(ctx, pageTimeout)
	defer stop()
	at, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return false, err
	}
	return listens(l.Addresses, at, uint16(port)), nil
}

// listens reports whether one of the addresses is among those listened at.
func listens(sockets []netip.AddrPort, at []netip.Addr, port uint16) bool {
	return slices.ContainsFunc(sockets, func(s netip.AddrPort) bool {
		return s.Port() == port && (s.Addr().IsUnspecified() || slices.ContainsFunc(at, func(a netip.Addr) bool { return a.Unmap() == s.Addr().Unmap() }))
	})
}

// numbersOf are the PIDs of a process, here and in the namespaces below that it is in.
func numbersOf(pid int) []int {
	all := []int{pid}
	text, err := readText(procPath("", pid, "status"))
	if err != nil {
		return all
	}
	for line := range strings.Lines(text) {
		numbers, ok := strings.CutPrefix(line, "NSpid:")
		if !ok {
			continue
		}
		for _, f := range strings.Fields(numbers) {
			if n, err := strconv.Atoi(f); err == nil {
				all = append(all, n)
			}
		}
	}
	return all
}

// An injected is a fault inside a service, as the service says.
type injected struct {
	ID      string  `json:"id"`
	Kind    string  `json:"kind"`
	Level   float64 `json:"level"`
	Reached float64 `json:"reached"`
	By      string  `json:"by"`
	Ending  string  `json:"ending"`
	Problem string  `json:"problem"`
}

// hookStatus is what a service says of the faults inside.
type hookStatus struct {
	Schema        string     `json:"schema"`
	Fault         *injected  `json:"fault"`  // to a start or a change
	Active        []injected `json:"active"` // to everything else
	MaxBytes      float64    `json:"max_bytes"`
	MaxGoroutines float64    `json:"max_goroutines"`
	MaxLease      float64    `json:"max_lease_seconds"`
	Held          float64    `json:"held_bytes"`
	Goroutines    float64    `json:"held_goroutines"`
	Returning     float64    `json:"returning_bytes"`
}

// maxInjected is how many faults a service can have, and more.
const maxInjected = 1000

// parseHooks reads what a service says of its faults.
func parseHooks(text []byte) (hookStatus, error) {
	var s hookStatus
	if err := json.Unmarshal(text, &s); err != nil || s.Schema != faultsSchema || len(s.Active) > maxInjected {
		return hookStatus{}, errors.New("what it answers is nothing about faults")
	}
	for _, f := range s.Active {
		if !soundID(f.ID) {
			return hookStatus{}, errors.New("it names a fault in a way that cannot be asked for")
		}
	}
	if s.Fault != nil && !soundID(s.Fault.ID) {
		return hookStatus{}, errors.New("it names a fault in a way that cannot be asked for")
	}
	return s, nil
}

// soundID reports whether an ID can be part of a path as it is.
func soundID(id string) bool {
	if id == "" || len(id) > 64 {
		return false
	}
	for _, r := range id {
		if !(r >= '0' && r <= '9' || r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r == '-' || r == '_') {
			return false
		}
	}
	return true
}

// hooks asks about faults.
func (p *page) hooks(ctx context.Context, timeout time.Duration, method, path string, body any) (hookStatus, error) {
	text, err := p.ask(ctx, timeout, method, path, "", body)
	if err != nil {
		return hookStatus{}, err
	}
	s, err := parseHooks(text)
	if err != nil {
		return s, &PageError{URL: p.base.String(), Status: http.StatusOK, Why: err.Error(), hint: hooksHint}
	}
	return s, nil
}

const hooksHint = "this service has no fault hooks: import guard/fault and give it to debugz"
