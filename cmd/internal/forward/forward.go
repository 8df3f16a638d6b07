package forward

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"
)

// A Status says how a destination is. Counts are since the start: of points of series,
// or of profiles.
type Status struct {
	Name string `json:"name"`
	Kind string `json:"kind"` // remote_write, otlp, pyroscope
	URL  string `json:"url"`

	Sent   int64 `json:"sent_total"`     // that the other side took
	Failed int64 `json:"failed_total"`   // requests that were not taken, and were or will be made again
	Bytes  int64 `json:"bytes_total"`    // of all requests
	Calls  int64 `json:"requests_total"` // all of them
	// Dropped are those that the other side does not want. What the store forgot before it
	// could be sent is not among them, for nobody knows how much it was; LastError says it.
	Dropped int64 `json:"dropped_total"`
	// Repeated are those that it refused when they were sent again, after an answer was
	// lost or the agent had been killed: it will have had them.
	Repeated int64 `json:"repeated_total"`

	Until     time.Time     `json:"until"`                // everything before it was taken
	Behind    time.Duration `json:"behind_ns"`            // what is stored and could have been sent
	LastError string        `json:"last_error,omitempty"` // of the other side, or of the network
	ErrorAt   time.Time     `json:"error_at,omitzero"`
	// Since is when it began to fail, zero while it does not.
	Since time.Time `json:"failing_since,omitzero"`
}

// A Forwarder sends until it is closed.
type Forwarder struct {
	workers []*worker
	cancel  context.CancelFunc
	quit    chan struct{}
	once    sync.Once
	wg      sync.WaitGroup
}

// Start begins to send to all destinations. The directory, for cursors, is made if it
// is not there; what is missing in it begins now, or Backfill ago. Snapshots may be nil
// when no destination takes them. Network and servers may be away: an error is about
// files, or the configuration.
func Start(cfg Config, dir string, src Source, snaps Snapshots, log *slog.Logger) (*Forwarder, error) {
	return start(cfg, dir, src, snaps, log, nil)
}

// start takes a transport too, which is for tests.
func start(cfg Config, dir string, src Source, snaps Snapshots, log *slog.Logger, transport http.RoundTripper) (*Forwarder, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	f := &Forwarder{cancel: cancel, quit: make(chan struct{})}
	if cfg.Empty() {
		return f, nil
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		cancel()
		return nil, fmt.Errorf("making the directory of cursors: %w", err)
	}
	host, err := os.Hostname()
	if err != nil {
		host = ""
	}
	var runs []func(context.Context)
	add := func(kind string, d *Destination, header http.Header, run func(*worker) func(context.Context)) error {
		w, err := newWorker(kind, d, dir, header, log, transport)
		if err != nil {
			return fmt.Errorf("forwarding to %s %s: %w", kind, d.name(), err)
		}
		w.quit = f.quit
		f.workers = append(f.workers, w)
		runs = append(runs, run(w))
		return nil
	}
	var errs []error
	samples := func(kind string, d *Destination, enc encoder) {
		errs = append(errs, add(kind, d, enc.header(), func(w *worker) func(context.Context) {
			return (&samples{worker: w, src: src, enc: enc, most: maxRequest}).run
		}))
	}
	for i := range cfg.RemoteWrite {
		samples(kindRemoteWrite, &cfg.RemoteWrite[i], &remoteWrite{})
	}
	for i := range cfg.OTLP {
		samples(kindOTLP, &cfg.OTLP[i], &otlp{})
	}
	for i := range cfg.Pyroscope {
		if snaps == nil {
			errs = append(errs, errors.New("forwarding to pyroscope: there are no snapshots"))
			break
		}
		errs = append(errs, add(kindPyroscope, &cfg.Pyroscope[i], pushHeader(), func(w *worker) func(context.Context) {
			w.lag = snapshotLag + snapshotPace
			return (&profiles{worker: w, snaps: snaps, host: host}).run
		}))
	}
	if err := errors.Join(errs...); err != nil {
		cancel()
		return nil, err
	}
	for _, run := range runs {
		f.wg.Go(func() { run(ctx) })
	}
	return f, nil
}

// Status returns how each destination is, in the order of the configuration.
func (f *Forwarder) Status() []Status {
	out := make([]Status, len(f.workers))
	for i, w := range f.workers {
		out[i] = w.current()
	}
	return out
}

// Close ends sending. Requests that are under way may end until the context does; what
// was not sent is sent after the next Start. It closes nothing that it was given.
func (f *Forwarder) Close(ctx context.Context) error {
	f.once.Do(func() { close(f.quit) })
	done := make(chan struct{})
	go func() {
		f.wg.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-ctx.Done():
	}
	f.cancel()
	<-done
	return nil
}

// A worker is what destinations of all kinds have: a cursor, a client, counts.
type worker struct {
	kind string
	dest *Destination
	lag  time.Duration // how old something is at most before it is sent
	file string        // of the cursor
	http *client
	log  *slog.Logger
	quit chan struct{} // closed: begin nothing more

	// Of the run alone.
	cursor  cursor
	saved   time.Time // when the cursor was last written
	unsaved bool      // that the cursor could not be written was said
	// unsure is set while the other side may have what comes next, which can be so as far
	// as until.
	unsure      bool
	until       time.Time
	saidDrop    time.Time
	dropUnsaid  int64 // not logged yet
	saidAgain   time.Time
	againUnsaid int64

	mu     sync.Mutex
	status Status
}

func newWorker(kind string, d *Destination, dir string, header http.Header, log *slog.Logger, transport http.RoundTripper) (*worker, error) {
	c, err := newClient(kind, d, header, transport)
	if err != nil {
		return nil, err
	}
	w := &worker{kind: kind, dest: d, http: c, lag: lag + step*time.Millisecond + pace,
		file: filepath.Join(dir, kind+"-"+d.name()+".json"),
		log:  log.With("destination", d.name(), "kind", kind)}
	now := time.Now()
	_, statErr := os.Stat(w.file)
	w.cursor, err = begin(w.file, now.Add(-d.Backfill))
	if err != nil {
		if !w.cursor.Until.Equal(now.Add(-d.Backfill)) {
			return nil, err
		}
		w.log.Warn("beginning anew: what was not sent before is left out", "error", err)
	}
	if statErr == nil {
		w.doubt() // an agent before this one may have been killed
	}
	w.status = Status{Name: d.name(), Kind: kind, URL: c.endpoint, Until: w.cursor.Until}
	if d.inTheClear() {
		w.log.Warn("credentials are sent unencrypted: use https", "url", d.URL)
	}
	return w, nil
}

// doubt notes that the other side may have what comes next: not more than a request holds.
func (w *worker) doubt() {
	w.unsure, w.until = true, w.cursor.Until.Add(2*maxAhead*time.Millisecond)
}

// stopping reports whether nothing more is to be begun.
func (w *worker) stopping() bool {
	select {
	case <-w.quit:
		return true
	default:
		return false
	}
}

// rest waits, until it is time, or all ends.
func (w *worker) rest(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-w.quit:
		return context.Canceled
	case <-ctx.Done():
		return ctx.Err()
	}
}

// deliver makes a request of n points or profiles until there is a verdict that is not
// to try again. The error is that of the end.
func (w *worker) deliver(ctx context.Context, body []byte, n int) (verdict, answer, error) {
	for attempt := 0; ; attempt++ {
		a := w.http.post(ctx, body)
		if a.status == 0 && ctx.Err() != nil {
			return again, a, ctx.Err()
		}
		v := again
		if a.status != 0 {
			v = judge(w.kind, a.status, attempt)
		}
		w.count(v, a, len(body), n)
		if v != again {
			return v, a, nil
		}
		if a.unknown {
			w.doubt()
		}
		if err := w.rest(ctx, max(wait(attempt+1, random()), a.after)); err != nil {
			return again, a, err
		}
	}
}

// count keeps the books of one request, and says when it begins to fail and when that
// is over.
func (w *worker) count(v verdict, a answer, bytes, n int) {
	now := time.Now()
	w.mu.Lock()
	s := &w.status
	s.Calls++
	s.Bytes += int64(bytes)
	if a.err != nil {
		s.LastError, s.ErrorAt = clean([]byte(a.err.Error())), now
	}
	var began, ended bool
	since := s.Since
	switch v {
	case taken:
		s.Sent += int64(n)
		ended = !s.Since.IsZero()
		s.Since = time.Time{}
	case again:
		s.Failed++
		if began = s.Since.IsZero(); began {
			s.Since = now
		}
	case refused, tooLarge: // the server is there
		ended = !s.Since.IsZero()
		s.Since = time.Time{}
	}
	w.mu.Unlock()
	if v == taken {
		w.unsure = false
	}
	switch {
	case began:
		w.log.Warn("the destination does not take what is sent: it is kept, and tried again", "error", a.err)
	case ended:
		w.log.Info("the destination answers again", "after", now.Sub(since).Round(time.Second))
	}
}

// drop counts what the other side does not want, and says so once a minute at most.
func (w *worker) drop(n int, why string) {
	now := time.Now()
	repeated := w.unsure && w.cursor.Until.Before(w.until)
	w.mu.Lock()
	if repeated {
		w.status.Repeated += int64(n)
	} else {
		w.status.Dropped += int64(n)
		w.status.LastError, w.status.ErrorAt = why, now
	}
	w.mu.Unlock()
	if repeated {
		if w.againUnsaid += int64(n); now.Sub(w.saidAgain) >= time.Minute {
			w.log.Info("what is sent again, its outcome being unknown, is refused: the destination will have had it", "count", w.againUnsaid, "answer", why)
			w.saidAgain, w.againUnsaid = now, 0
		}
		return
	}
	if w.dropUnsaid += int64(n); now.Sub(w.saidDrop) >= time.Minute {
		w.log.Warn("the destination refuses what is sent, which is left out", "count", w.dropUnsaid, "answer", why)
		w.saidDrop, w.dropUnsaid = now, 0
	}
}

// advance moves the cursor, and writes it when that is due, or must be.
func (w *worker) advance(until time.Time, must bool) {
	w.cursor.Until, w.cursor.Flight = until, time.Time{}
	w.mu.Lock()
	w.status.Until = until
	w.mu.Unlock()
	// While much is sent at once, a cursor that is a second old costs a second's
	// requests again after a kill, and no sample: they are the same requests.
	if d := time.Since(w.saved); !must && d >= 0 && d < time.Second {
		return
	}
	w.save()
}

// depart notes that a request of several cells is about to be made.
func (w *worker) depart(end time.Time) {
	w.cursor.Flight = end
	w.save()
}

func (w *worker) save() {
	err := w.cursor.save(w.file)
	if err != nil && !w.unsaved {
		w.log.Warn("after a restart, some is sent twice", "error", err)
	}
	w.unsaved = err != nil
	w.saved = time.Now()
}

func (w *worker) current() Status {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := w.status
	s.Behind = max(time.Since(s.Until)-w.lag, 0)
	return s
}
