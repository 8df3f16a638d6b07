package alert

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// Schema is that of what a webhook gets.
const Schema = "heapwright.alert/1"

// maxQueued is how many alerts wait for a webhook. The oldest gives way.
const maxQueued = 256

// A webhook posts alerts one by one, in their order.
type webhook struct {
	post   *poster
	name   string
	secret string
	log    *slog.Logger
	stop   context.CancelFunc
	done   chan struct{}

	mu     sync.Mutex
	queue  []Alert
	wake   chan struct{} // has one when there is something new in the queue
	ending bool
	st     Status
}

func newWebhook(c *Webhook, log *slog.Logger) (*webhook, error) {
	w := &webhook{
		post: newPoster(c.URL, c.Headers, c.Timeout), name: cmp.Or(c.Name, hostOf(c.URL)), log: log,
		done: make(chan struct{}), wake: make(chan struct{}, 1),
	}
	if c.SecretFile != "" {
		var err error
		if w.secret, err = readSecret(c.SecretFile); err != nil {
			return nil, fmt.Errorf("secret_file: %w", err)
		}
	}
	ctx, stop := context.WithCancel(context.Background())
	w.stop = stop
	go w.run(ctx)
	return w, nil
}

func (w *webhook) notify(_ time.Time, alerts, _ []Alert) {
	if len(alerts) == 0 {
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.queue = append(w.queue, alerts...)
	if over := len(w.queue) - maxQueued; over > 0 {
		w.queue = append([]Alert(nil), w.queue[over:]...)
		w.st.Dropped += uint64(over)
	}
	w.signal()
}

func (w *webhook) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

// run posts what is queued until it is stopped, or until the queue is empty at the end.
func (w *webhook) run(ctx context.Context) {
	defer close(w.done)
	for {
		w.mu.Lock()
		empty, ending := len(w.queue) == 0, w.ending
		var next Alert
		if !empty {
			next, w.queue = w.queue[0], w.queue[1:]
		}
		w.mu.Unlock()
		if !empty {
			w.send(ctx, &next)
		} else if ending {
			return
		} else {
			select {
			case <-ctx.Done():
				return
			case <-w.wake:
			}
		}
		if ctx.Err() != nil {
			return
		}
	}
}

func (w *webhook) send(ctx context.Context, a *Alert) {
	body, err := json.Marshal(struct {
		Schema string `json:"schema"`
		*Alert
	}{Schema, a})
	if err == nil {
		err = retry(ctx, maxTries, func() error { return w.post.post(ctx, body, w.sign(body, time.Now())) }, func(err error) {
			w.mu.Lock()
			defer w.mu.Unlock()
			w.st.failed(err, time.Now())
		})
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if err == nil {
		w.st.sent(1, time.Now())
		return
	}
	w.st.Dropped++
	w.log.Warn("an alert was not delivered", "to", w.name, "rule", a.Rule, "process", a.Process, "error", err)
}

// sign returns the headers by which the receiver knows that a body is from who has the
// secret, and from when: the HMAC-SHA256 of the time, a dot and the body.
func (w *webhook) sign(body []byte, now time.Time) http.Header {
	if w.secret == "" {
		return nil
	}
	at := strconv.FormatInt(now.Unix(), 10)
	mac := hmac.New(sha256.New, []byte(w.secret))
	mac.Write([]byte(at + "."))
	mac.Write(body)
	return http.Header{
		"X-Heapwright-Timestamp": {at},
		"X-Heapwright-Signature": {"sha256=" + hex.EncodeToString(mac.Sum(nil))},
	}
}

func (w *webhook) status() Status {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.st
	s.Name, s.Kind, s.Queued = w.name, "webhook", len(w.queue)
	return s
}

func (w *webhook) close(ctx context.Context) error {
	w.mu.Lock()
	w.ending = true
	w.signal()
	w.mu.Unlock()
	defer w.stop()
	select {
	case <-w.done:
		return nil
	case <-ctx.Done():
	}
	w.stop()
	<-w.done
	if left := w.status().Queued; left > 0 {
		return fmt.Errorf("telling %s: %d alerts were left when the time was over", w.name, left)
	}
	return nil
}
