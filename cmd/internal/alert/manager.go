package alert

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/diagnose"
)

// How an Alertmanager is kept up to date, as Prometheus does it: what fires is sent
// again each minute and ends by itself when nobody does any more; what is resolved is
// sent for a while, in case it was not heard.
const (
	resendEvery = time.Minute
	endsAfter   = 4 * resendEvery
	keepEnded   = 15 * time.Minute
	maxBatch    = 64
)

// A manager keeps an Alertmanager up to date. There is no queue: what is sent is how
// things are, so nothing is missed while it is away.
type manager struct {
	post   *poster
	name   string
	token  string // file
	labels map[string]string
	log    *slog.Logger
	stop   context.CancelFunc
	done   chan struct{}
	wake   chan struct{}

	mu     sync.Mutex
	active []Alert
	ended  map[string]Alert // resolved, by key, until they are old
	ending bool
	st     Status
}

func newManager(c *Alertmanager, labels map[string]string, log *slog.Logger) (*manager, error) {
	address, err := url.JoinPath(c.URL, "api/v2/alerts")
	if err != nil {
		return nil, fmt.Errorf("url: %w", err)
	}
	m := &manager{
		post: newPoster(address, c.Headers, c.Timeout), name: cmp.Or(c.Name, hostOf(c.URL)), token: c.BearerTokenFile,
		labels: maps.Clone(labels), log: log, done: make(chan struct{}), wake: make(chan struct{}, 1), ended: map[string]Alert{},
	}
	if m.labels == nil {
		m.labels = map[string]string{}
	}
	if host, err := os.Hostname(); err == nil && m.labels["instance"] == "" {
		m.labels["instance"] = host
	}
	if m.token != "" {
		if _, err := readSecret(m.token); err != nil {
			return nil, fmt.Errorf("bearer_token_file: %w", err)
		}
	}
	ctx, stop := context.WithCancel(context.Background())
	m.stop = stop
	go m.run(ctx)
	return m, nil
}

func (m *manager) notify(now time.Time, alerts, active []Alert) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.active = active
	changed := false
	for _, a := range alerts {
		changed = true
		if a.State == Resolved && len(m.ended) < maxTracks {
			m.ended[a.Key()] = a
		} else {
			delete(m.ended, a.Key())
		}
	}
	for k, a := range m.ended {
		if now.Sub(a.At) > keepEnded {
			delete(m.ended, k)
		}
	}
	if changed {
		m.signal()
	}
}

func (m *manager) signal() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

func (m *manager) run(ctx context.Context) {
	defer close(m.done)
	tick := time.NewTicker(resendEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-m.wake:
		case <-tick.C:
		}
		m.mu.Lock()
		ending := m.ending
		m.mu.Unlock()
		m.send(ctx, time.Now())
		if ending || ctx.Err() != nil {
			return
		}
	}
}

// send sends how things are, in a few tries: what changes meanwhile is sent with the
// next.
func (m *manager) send(ctx context.Context, now time.Time) {
	m.mu.Lock()
	var all []amAlert
	for i := range m.active {
		all = append(all, m.translate(&m.active[i], now))
	}
	for _, k := range slices.Sorted(maps.Keys(m.ended)) {
		a := m.ended[k]
		all = append(all, m.translate(&a, now))
	}
	m.mu.Unlock()
	for batch := range slices.Chunk(all, maxBatch) {
		err := m.sendBatch(ctx, batch)
		m.mu.Lock()
		if err == nil {
			m.st.sent(len(batch), time.Now())
		}
		m.mu.Unlock()
		if err != nil {
			m.log.Warn("alerts were not delivered; they are sent again in a minute", "to", m.name, "error", err)
			return
		}
	}
}

func (m *manager) sendBatch(ctx context.Context, batch []amAlert) error {
	body, err := json.Marshal(batch)
	if err != nil {
		return err
	}
	return retry(ctx, 3, func() error {
		h := http.Header{}
		if m.token != "" {
			token, err := readSecret(m.token) // again each time: tokens are renewed in their files
			if err != nil {
				return err
			}
			h.Set("Authorization", "Bearer "+token)
		}
		return m.post.post(ctx, body, h)
	}, func(err error) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.st.failed(err, time.Now())
	})
}

// An amAlert is an alert as POST /api/v2/alerts takes it (Alertmanager's openapi.yaml:
// postableAlert).
type amAlert struct {
	Labels       map[string]string `json:"labels"`
	Annotations  map[string]string `json:"annotations"`
	StartsAt     time.Time         `json:"startsAt"`
	EndsAt       time.Time         `json:"endsAt"`
	GeneratorURL string            `json:"generatorURL,omitempty"`
}

// translate says an alert in Alertmanager's words. It is known there by its labels, so
// there is nothing in them that changes while it fires but the severity, where a finding
// becomes worse: that is another alert then, which may go to other people, and the one
// before ends by itself.
func (m *manager) translate(a *Alert, now time.Time) amAlert {
	out := amAlert{
		Labels: maps.Clone(m.labels), StartsAt: a.Since, EndsAt: now.Add(endsAfter),
		Annotations: map[string]string{"summary": a.Title, "evidence": evidenceText(a.Evidence), "remedy": a.Remedy, "note": a.Note, "link": a.Link},
	}
	if a.State == Resolved {
		out.EndsAt = a.At
	}
	out.Labels["alertname"] = NameInPrometheus(a.Rule)
	out.Labels["job"] = "heapwright"
	out.Labels["process"] = a.Process
	out.Labels["severity"] = a.Severity.String()
	out.Labels["finding"] = a.Finding
	for _, texts := range []map[string]string{out.Labels, out.Annotations} {
		for k, v := range texts {
			if v = strings.ToValidUTF8(v, "\uFFFD"); v == "" {
				delete(texts, k)
			} else {
				texts[k] = v
			}
		}
	}
	if strings.HasPrefix(a.Link, "http://") || strings.HasPrefix(a.Link, "https://") {
		out.GeneratorURL = a.Link
	}
	return out
}

// NameInPrometheus is a rule's name as alerts are called in Prometheus, and as
// deploy/prometheus has them: headroom-low is HeapwrightHeadroomLow.
func NameInPrometheus(rule string) string {
	b := []byte("Heapwright")
	for word := range strings.FieldsFuncSeq(rule, func(c rune) bool { return c == '-' || c == '_' || c == '.' }) {
		b = append(append(b, strings.ToUpper(word[:1])...), word[1:]...)
	}
	return string(b)
}

// evidenceText is evidence in one line each.
func evidenceText(all []diagnose.Evidence) string {
	var b strings.Builder
	for _, e := range all {
		fmt.Fprintf(&b, "%s: %s\n", e.Name, e.Text)
	}
	return strings.TrimSuffix(b.String(), "\n")
}

func (m *manager) status() Status {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := m.st
	s.Name, s.Kind = m.name, "alertmanager"
	return s
}

// close sends once more. What fires is not ended: that the agent stops is no reason to
// believe that all is well.
func (m *manager) close(ctx context.Context) error {
	m.mu.Lock()
	m.ending = true
	m.signal()
	m.mu.Unlock()
	defer m.stop()
	select {
	case <-m.done:
	case <-ctx.Done():
		m.stop()
		<-m.done
	}
	return nil
}
