package forward

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
	"github.com/prometheus/prometheus/promql"
	collector "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	"google.golang.org/protobuf/proto"

	"github.com/heapwright/heapwright/cmd/internal/store"
)

var quiet = slog.New(slog.DiscardHandler)

// A table is a store in memory: series with a point every so often, from a beginning
// until now.
type table struct {
	series []tableSeries
	begin  time.Time
	end    time.Time // zero for now
	fail   func() error
	oldest time.Time
}

type tableSeries struct {
	ls    labels.Labels
	every time.Duration
}

func (t *table) Scan(ctx context.Context, from, to time.Time, each func(labels.Labels, []promql.FPoint) error) error {
	if t.fail != nil {
		if err := t.fail(); err != nil {
			return err
		}
	}
	now := time.Now()
	if !t.end.IsZero() && t.end.Before(now) {
		now = t.end
	}
	for i, s := range t.series {
		var pts []promql.FPoint
		// Series have points at instants of their own.
		at := t.begin.Add(time.Duration(i) * 7 * time.Millisecond)
		if d := from.Sub(at); d > 0 {
			at = at.Add((d + s.every - 1) / s.every * s.every)
		}
		for ; at.Before(to) && !at.After(now); at = at.Add(s.every) {
			if !t.oldest.IsZero() && at.Before(t.oldest) {
				continue
			}
			pts = append(pts, promql.FPoint{T: at.UnixMilli(), F: float64(at.UnixMilli() % 1000)})
		}
		// In two pieces, as the store may.
		for _, piece := range [][]promql.FPoint{pts[:len(pts)/2], pts[len(pts)/2:]} {
			if len(piece) > 0 {
				if err := each(s.ls, piece); err != nil {
					return err
				}
			}
		}
	}
	return ctx.Err()
}

func (t *table) Stats() store.Stats { return store.Stats{Oldest: t.oldest} }

func newTable(processes int) *table {
	t := &table{begin: time.Now()}
	for p := range processes {
		id := fmt.Sprintf("svc%d", p)
		base := []string{"process", id, "instance", "host", "job", "heapwright"}
		for _, name := range []string{"heapwright_heap_live_bytes", "go_memstats_alloc_bytes_total"} {
			t.series = append(t.series, tableSeries{labels.FromStrings(append(base, "__name__", name)...), time.Second})
		}
		t.series = append(t.series,
			tableSeries{labels.FromStrings(append(base, "__name__", infoName, "pid", fmt.Sprint(100+p), "go_version", "go1.26.8")...), time.Minute},
			tableSeries{labels.FromStrings(append(base, "__name__", "heapwright_gc_cycle_pause_seconds")...), 1300 * time.Millisecond})
	}
	return t
}

// all is how many points there are in [from, to).
func (t *table) all(from, to time.Time) map[string]int {
	n := map[string]int{}
	t.Scan(context.Background(), from, to, func(ls labels.Labels, pts []promql.FPoint) error {
		n[ls.String()] += len(pts)
		return nil
	})
	return n
}

// A receiver takes remote writes as Prometheus does: all of a request or, when one
// sample is not newer than what its series has, nothing.
type receiver struct {
	t *testing.T
	// mishap may fail a request: before it is looked at, or after it was taken.
	mishap func(req *http.Request, after bool) (*http.Response, error)
	// poison is a series that is never taken.
	poison string

	mu     sync.Mutex
	last   map[string]int64
	got    map[string]int
	calls  int
	points int
	bytes  int
}

func newReceiver(t *testing.T) *receiver {
	return &receiver{t: t, last: map[string]int64{}, got: map[string]int{}}
}

func respond(status int, text string) *http.Response {
	return &http.Response{StatusCode: status, Header: http.Header{}, Body: io.NopCloser(strings.NewReader(text))}
}

func (r *receiver) RoundTrip(req *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	if r.mishap != nil {
		if resp, err := r.mishap(req, false); resp != nil || err != nil {
			return resp, err
		}
	}
	resp := r.take(req, body)
	if r.mishap != nil && resp.StatusCode < 300 {
		if resp, err := r.mishap(req, true); resp != nil || err != nil {
			return resp, err
		}
	}
	return resp, nil
}

func (r *receiver) take(req *http.Request, body []byte) *http.Response {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.calls++
	r.bytes += len(body)
	if got := req.Header.Get("X-Prometheus-Remote-Write-Version"); got != "0.1.0" || req.Header.Get("Content-Encoding") != "snappy" {
		r.t.Errorf("headers of remote write are missing: %v", req.Header)
	}
	raw, err := snappy.Decode(nil, body)
	if err != nil {
		r.t.Error(err)
		return respond(400, err.Error())
	}
	var wr prompb.WriteRequest
	if err := wr.Unmarshal(raw); err != nil {
		r.t.Error(err)
		return respond(400, err.Error())
	}
	type news struct {
		key  string
		n    int
		last int64
	}
	var all []news
	for _, ts := range wr.Timeseries {
		b := labels.NewScratchBuilder(len(ts.Labels))
		for _, l := range ts.Labels {
			b.Add(l.Name, l.Value)
		}
		key := b.Labels().String()
		if r.poison != "" && strings.Contains(key, r.poison) {
			return respond(400, "poison\nin a \x1b[31mseries")
		}
		last, had := r.last[key]
		for _, p := range ts.Samples {
			if had && p.Timestamp <= last {
				return respond(400, "out of order sample")
			}
			last, had = p.Timestamp, true
		}
		all = append(all, news{key, len(ts.Samples), last})
	}
	for _, x := range all {
		r.got[x.key] += x.n
		r.last[x.key] = x.last
		r.points += x.n
	}
	return respond(204, "")
}

func oneDestination(d Destination) Config {
	if d.URL == "" {
		d.URL = "http://receiver.example/api/v1/write"
	}
	return Config{RemoteWrite: []Destination{d}}
}

func mustStart(t *testing.T, cfg Config, dir string, src Source, transport http.RoundTripper) *Forwarder {
	t.Helper()
	f, err := start(cfg, dir, src, nil, quiet, transport)
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// gone closes a forwarder as a kill would: it gets no time for anything.
func gone(f *Forwarder) {
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	f.Close(ctx)
}

func TestSendsEverythingOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, r := newTable(3), newReceiver(t)
		f := mustStart(t, oneDestination(Destination{}), t.TempDir(), src, r)
		began := time.Now()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		s := f.Status()[0]
		gone(f)
		want := src.all(began, s.Until)
		if len(want) == 0 || fmt.Sprint(r.got) != fmt.Sprint(want) {
			t.Errorf("arrived: %v\nstored: %v", r.got, want)
		}
		if s.Behind != 0 || s.Dropped != 0 || s.Failed != 0 || s.Repeated != 0 || s.Sent != int64(r.points) || s.Bytes != int64(r.bytes) {
			t.Errorf("status %+v, the receiver has %d points in %d bytes", s, r.points, r.bytes)
		}
	})
}

// After any sequence of failures, of the receiver, of the way there, of the store, and
// of the agent, the receiver has every sample, and has it once.
func TestNothingIsLost(t *testing.T) {
	seeds := 6
	if testing.Short() {
		seeds = 3
	}
	for seed := range seeds {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { failures(t, uint64(seed)) })
		})
	}
}

func failures(t *testing.T, seed uint64) {
	rnd := rand.New(rand.NewPCG(seed, 6))
	var mu sync.Mutex
	calm := false
	chance := func(p float64) bool {
		mu.Lock()
		defer mu.Unlock()
		return !calm && rnd.Float64() < p
	}
	pick := func(n int) int {
		mu.Lock()
		defer mu.Unlock()
		return rnd.IntN(n)
	}
	between := func(most time.Duration) time.Duration {
		mu.Lock()
		defer mu.Unlock()
		if calm {
			return 0
		}
		return time.Duration(rnd.Int64N(int64(most)))
	}
	src, r := newTable(1+rnd.IntN(4)), newReceiver(t)
	src.fail = func() error {
		if chance(0.05) {
			return errors.New("the disk says no")
		}
		return nil
	}
	bad := rnd.Float64() / 2
	r.mishap = func(req *http.Request, after bool) (*http.Response, error) {
		select {
		case <-time.After(between(3 * time.Second)):
		case <-req.Context().Done():
			return nil, req.Context().Err()
		}
		if !chance(bad) {
			return nil, nil
		}
		switch kind := pick(7); {
		case kind == 0:
			return nil, errors.New("connection reset by peer")
		case kind == 1: // it hangs
			<-req.Context().Done()
			return nil, req.Context().Err()
		case kind == 2 && !after:
			resp := respond(429, "slow down")
			resp.Header.Set("Retry-After", fmt.Sprint(pick(100)))
			return resp, nil
		case kind == 3 && !after:
			return respond(401, "who are you"), nil
		case kind == 4 && !after:
			return respond(404, "no such thing"), nil
		case kind == 5:
			return respond(503, "starting"), nil
		default:
			return respond(500, "oh"), nil
		}
	}
	dir, began := t.TempDir(), time.Now()
	cfg := oneDestination(Destination{Name: "x"})
	var lost Status
	for range 1 + pick(8) {
		f := mustStart(t, cfg, dir, src, r)
		time.Sleep(between(20 * time.Minute))
		lost.Dropped += f.Status()[0].Dropped
		gone(f)
		time.Sleep(between(time.Hour)) // the agent is away; the table goes on without it
	}
	mu.Lock()
	calm = true
	mu.Unlock()
	f := mustStart(t, cfg, dir, src, r)
	time.Sleep(30 * time.Minute)
	synctest.Wait()
	s := f.Status()[0]
	gone(f)
	if s.Behind != 0 {
		t.Errorf("half an hour of calm was not enough: %+v", s)
	}
	if s.Dropped+lost.Dropped != 0 {
		t.Errorf("%d points are said to be dropped", s.Dropped+lost.Dropped)
	}
	if want := src.all(began, s.Until); fmt.Sprint(r.got) != fmt.Sprint(want) {
		t.Errorf("arrived: %v\nstored:  %v", r.got, want)
	}
}

// A series that the receiver does not want costs that series, and no other.
func TestPoison(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, r := newTable(40), newReceiver(t)
		f := mustStart(t, oneDestination(Destination{}), t.TempDir(), src, r)
		began := time.Now()
		time.Sleep(time.Minute)
		r.mu.Lock()
		r.poison = `process="svc7"`
		r.mu.Unlock()
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		s := f.Status()[0]
		gone(f)
		want := src.all(began, s.Until)
		for key, n := range want {
			if got := r.got[key]; got != n && !strings.Contains(key, r.poison) {
				t.Errorf("%s: %d points of %d", key, got, n)
			}
		}
		if s.Dropped == 0 || s.Behind != 0 || !strings.Contains(s.LastError, "400") || strings.ContainsAny(s.LastError, "\n\x1b") {
			t.Errorf("status %+v", s)
		}
	})
}

// A server that refuses everything does not stop anything, and is not taken for one that
// has everything.
func TestRefusesEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, r := newTable(2), newReceiver(t)
		r.poison = "process"
		dir := t.TempDir()
		for range 2 {
			f := mustStart(t, oneDestination(Destination{Name: "x"}), dir, src, r)
			time.Sleep(5 * time.Hour)
			synctest.Wait()
			s := f.Status()[0]
			gone(f)
			if s.Sent != 0 || s.Dropped < 4*s.Repeated/5 || s.Dropped == 0 || s.Behind != 0 {
				t.Errorf("status %+v", s)
			}
		}
	})
}

// A request that is too large is made in pieces, and later ones are smaller.
func TestTooLarge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, r := newTable(100), newReceiver(t)
		r.mishap = func(req *http.Request, after bool) (*http.Response, error) {
			if !after && req.ContentLength > 4000 {
				return respond(413, "too large"), nil
			}
			return nil, nil
		}
		f := mustStart(t, oneDestination(Destination{}), t.TempDir(), src, r)
		began := time.Now()
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		s := f.Status()[0]
		gone(f)
		if want := src.all(began, s.Until); fmt.Sprint(r.got) != fmt.Sprint(want) || s.Dropped != 0 {
			t.Errorf("status %+v", s)
		}
	})
}

// Retry-After is honoured, and waits grow without it.
func TestWaitsAsAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, r := newTable(1), newReceiver(t)
		var at []time.Time
		r.mishap = func(_ *http.Request, after bool) (*http.Response, error) {
			at = append(at, time.Now())
			resp := respond(503, "")
			if len(at) == 3 {
				resp.Header.Set("Retry-After", "600")
			}
			return resp, nil
		}
		f := mustStart(t, oneDestination(Destination{}), t.TempDir(), src, r)
		time.Sleep(time.Hour)
		synctest.Wait()
		s := f.Status()[0]
		gone(f)
		if len(at) < 10 || s.Failed != int64(len(at)) || s.Since.IsZero() || s.Behind < 50*time.Minute {
			t.Fatalf("%d attempts, status %+v", len(at), s)
		}
		for i, least := range []time.Duration{500 * time.Millisecond, time.Second, 10 * time.Minute, 4 * time.Second} {
			if d := at[i+1].Sub(at[i]); d < least {
				t.Errorf("attempt %d came after %s, not %s", i+1, d, least)
			}
		}
		for i := 12; i < len(at); i++ {
			if d := at[i].Sub(at[i-1]); d < lastWait/2 || d > lastWait+time.Second {
				t.Errorf("attempt %d came after %s", i, d)
			}
		}
	})
}

func TestBackfill(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, r := newTable(2), newReceiver(t)
		src.begin = time.Now().Add(-48 * time.Hour)
		dir := t.TempDir()
		began := time.Now().Add(-24 * time.Hour)
		f := mustStart(t, oneDestination(Destination{Name: "x", Backfill: 24 * time.Hour}), dir, src, r)
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		s := f.Status()[0]
		gone(f)
		if want := src.all(began, s.Until); fmt.Sprint(r.got) != fmt.Sprint(want) || s.Behind != 0 {
			t.Errorf("arrived: %v\nstored:  %v\n%+v", r.got, want, s)
		}
		// The second time it goes on, however much was to be sent the first time.
		f = mustStart(t, oneDestination(Destination{Name: "x", Backfill: 48 * time.Hour}), dir, src, r)
		time.Sleep(5 * time.Minute)
		synctest.Wait()
		s = f.Status()[0]
		gone(f)
		if want := src.all(began, s.Until); fmt.Sprint(r.got) != fmt.Sprint(want) || s.Dropped != 0 {
			t.Errorf("arrived: %v\nstored:  %v\n%+v", r.got, want, s)
		}
	})
}

// What the store has forgotten is not waited for; a clock that was set back does not
// stop sending.
func TestGaps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, r := newTable(1), newReceiver(t)
		dir := t.TempDir()
		name := filepath.Join(dir, "remote_write-x.json")
		if err := (cursor{Until: time.Now().Add(-1000 * time.Hour)}).save(name); err != nil {
			t.Fatal(err)
		}
		src.begin, src.oldest = time.Now().Add(-1000*time.Hour), time.Now().Add(-2*time.Hour)
		cfg := oneDestination(Destination{Name: "x"})
		f := mustStart(t, cfg, dir, src, r)
		time.Sleep(time.Minute)
		synctest.Wait()
		s := f.Status()[0]
		gone(f)
		if want := src.all(src.oldest, s.Until); fmt.Sprint(r.got) != fmt.Sprint(want) || s.Behind != 0 || !strings.HasPrefix(s.LastError, "998h") {
			t.Errorf("arrived: %v\nstored:  %v\n%+v", r.got, want, s)
		}
		if err := (cursor{Until: time.Now().Add(30 * 24 * time.Hour)}).save(name); err != nil {
			t.Fatal(err)
		}
		f = mustStart(t, cfg, dir, src, r)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		s = f.Status()[0]
		gone(f)
		if s.Sent == 0 || s.Behind != 0 {
			t.Errorf("after the clock was set back: %+v", s)
		}
	})
}

// Close lets a request that is under way end, and no longer than its context.
func TestClose(t *testing.T) {
	for _, test := range []struct {
		name   string
		answer time.Duration
		sent   bool
	}{{"in time", time.Second, true}, {"never", time.Hour, false}} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src, r := newTable(1), newReceiver(t)
				busy := make(chan struct{}, 1)
				r.mishap = func(req *http.Request, after bool) (*http.Response, error) {
					if after {
						return nil, nil
					}
					busy <- struct{}{}
					select {
					case <-time.After(test.answer):
						return nil, nil
					case <-req.Context().Done():
						return nil, req.Context().Err()
					}
				}
				dir := t.TempDir()
				f := mustStart(t, oneDestination(Destination{Name: "x", Timeout: maxTimeout}), dir, src, r)
				<-busy
				ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
				defer cancel()
				f.Close(ctx)
				s := f.Status()[0]
				if (s.Sent > 0) != test.sent {
					t.Errorf("status %+v", s)
				}
				c, err := loadCursor(filepath.Join(dir, "remote_write-x.json"))
				if err != nil || !c.Until.Equal(s.Until) {
					t.Errorf("the cursor is %v, %v", c, err)
				}
			})
		})
	}
}

// Two destinations do not wait for each other.
func TestDestinationsAreApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src, r := newTable(1), newReceiver(t)
		r.mishap = func(req *http.Request, after bool) (*http.Response, error) {
			if req.URL.Host == "away.example" {
				return nil, errors.New("no route to host")
			}
			return nil, nil
		}
		cfg := Config{RemoteWrite: []Destination{{URL: "http://away.example/write"}, {URL: "http://here.example/write"}}}
		f := mustStart(t, cfg, t.TempDir(), src, r)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		s := f.Status()
		gone(f)
		if s[0].Sent != 0 || s[0].Since.IsZero() || s[1].Sent == 0 || s[1].Behind != 0 || s[0].Name != "away.example" {
			t.Errorf("status %+v", s)
		}
	})
}

// collect takes exports of OTLP, and says how many points of a metric came.
type collect struct {
	t      *testing.T
	answer func(n int) []byte
	fail   func() (int, error)
	got    map[string]int
	all    []*collector.ExportMetricsServiceRequest
}

func (c *collect) RoundTrip(req *http.Request) (*http.Response, error) {
	body, err := io.ReadAll(req.Body)
	if err != nil {
		return nil, err
	}
	if c.fail != nil {
		if status, err := c.fail(); err != nil {
			return nil, err
		} else if status != 0 {
			return respond(status, ""), nil
		}
	}
	zr, err := gzip.NewReader(bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	raw, err := io.ReadAll(zr)
	if err != nil {
		return nil, err
	}
	m := &collector.ExportMetricsServiceRequest{}
	if err := proto.Unmarshal(raw, m); err != nil {
		c.t.Error(err)
	}
	n := 0
	for _, rm := range m.ResourceMetrics {
		for _, x := range rm.ScopeMetrics[0].Metrics {
			k := len(x.GetGauge().GetDataPoints()) + len(x.GetSum().GetDataPoints()) + len(x.GetHistogram().GetDataPoints())
			c.got[x.Name] += k
			n += k
		}
	}
	c.all = append(c.all, m)
	resp := respond(200, "")
	if c.answer != nil {
		resp.Body = io.NopCloser(bytes.NewReader(c.answer(n)))
	}
	return resp, nil
}

func TestOTLPSendsEverything(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := newTable(3)
		calls := 0
		var calm atomic.Bool
		c := &collect{t: t, got: map[string]int{}, fail: func() (int, error) {
			if calm.Load() {
				return 0, nil
			}
			calls++
			return []int{0, 503, 0, 429, 500, 0, 401}[calls%7], nil
		}}
		cfg := Config{OTLP: []Destination{{URL: "http://collector.example:4318"}}}
		f := mustStart(t, cfg, t.TempDir(), src, c)
		began := time.Now()
		time.Sleep(30 * time.Minute)
		calm.Store(true)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		s := f.Status()[0]
		gone(f)
		want := map[string]int{}
		for key, n := range src.all(began, s.Until) {
			for _, x := range [][2]string{{"heapwright_heap_live_bytes", "heapwright.heap.live"}, {"go_memstats_alloc_bytes_total", "go.memory.allocated"},
				{infoName, "heapwright.process.info"}, {"heapwright_gc_cycle_pause_seconds", "heapwright.gc.cycle.pause"}} {
				if strings.Contains(key, x[0]) {
					want[x[1]] += n
				}
			}
		}
		if fmt.Sprint(c.got) != fmt.Sprint(want) || s.Dropped != 0 || s.Behind != 0 || s.URL != "http://collector.example:4318/v1/metrics" {
			t.Errorf("arrived: %v\nstored:  %v\n%+v", c.got, want, s)
		}
	})
}

func TestOTLPPartialSuccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &collect{t: t, got: map[string]int{}, answer: func(int) []byte {
			b, err := proto.Marshal(&collector.ExportMetricsServiceResponse{
				PartialSuccess: &collector.ExportMetricsPartialSuccess{RejectedDataPoints: 3, ErrorMessage: "too many\nseries"}})
			if err != nil {
				t.Error(err)
			}
			return b
		}}
		f := mustStart(t, Config{OTLP: []Destination{{URL: "http://collector.example:4318"}}}, t.TempDir(), newTable(3), c)
		time.Sleep(10 * time.Minute)
		synctest.Wait()
		s := f.Status()[0]
		gone(f)
		if s.Dropped == 0 || s.Dropped != int64(3*len(c.all)) || s.LastError != "too many series" {
			t.Errorf("%d requests, status %+v", len(c.all), s)
		}
	})
}
