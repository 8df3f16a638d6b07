package forward

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"

	"github.com/heapwright/heapwright/cmd/internal/series"
	"github.com/heapwright/heapwright/cmd/internal/store"
)

// fill stores a number of processes with what an agent stores of each, once a second.
func fill(t testing.TB, processes int, from time.Time, d time.Duration) *store.DB {
	t.Helper()
	db, err := store.Open(store.Options{Dir: t.TempDir(), Retention: 24 * time.Hour, Logger: quiet,
		External: []series.Label{{Name: "instance", Value: "web1"}, {Name: "job", Value: "heapwright"}}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	type each struct {
		s     *store.Series
		every int
	}
	var all []each
	for p := range processes {
		id := series.Label{Name: series.ProcessLabel, Value: fmt.Sprintf("service-%d", p)}
		for _, d := range series.Defs() {
			if d.Kind == series.Histogram || len(d.Labels) > 0 {
				continue
			}
			all = append(all, each{db.Series(d.Name, id), map[series.Tier]int{series.Fast: 1, series.Slow: 10, series.PerCycle: 3}[d.Tier]})
		}
	}
	for s := range int(d / time.Second) {
		b := db.Begin()
		for i, x := range all {
			if x.every != 0 && s%x.every == 0 {
				b.Append(x.s, from.Add(time.Duration(s)*time.Second+time.Duration(i%900)*time.Millisecond), float64((s*i)%1000_003))
			}
		}
		if _, err := b.Commit(); err != nil {
			t.Fatal(err)
		}
	}
	return db
}

// What the real store holds arrives, from an hour ago on.
func TestForwardsTheStore(t *testing.T) {
	began := time.Now().Add(-20 * time.Minute)
	db := fill(t, 3, began, 19*time.Minute)
	r := newReceiver(t)
	f := mustStart(t, oneDestination(Destination{Name: "x", Backfill: 30 * time.Minute}), t.TempDir(), db, r)
	defer gone(f)
	want := map[string]int{}
	if err := db.Scan(context.Background(), began, time.Now(), func(ls labels.Labels, pts []promql.FPoint) error {
		want[ls.String()] += len(pts)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for f.Status()[0].Behind > 0 { // the test's own limit of time ends this
		time.Sleep(10 * time.Millisecond)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(want) < 100 || fmt.Sprint(r.got) != fmt.Sprint(want) {
		t.Errorf("%d series arrived of %d", len(r.got), len(want))
	}
}

// BenchmarkForward reads, encodes and sends the samples of 100 processes, to a receiver
// that looks at nothing.
func BenchmarkForward(b *testing.B) {
	began := time.UnixMilli(gridBefore(time.Now().Add(-30 * time.Minute).UnixMilli()))
	db := fill(b, 100, began, 5*time.Minute)
	for _, proto := range []struct {
		kind string
		enc  func() encoder
	}{{kindRemoteWrite, func() encoder { return &remoteWrite{} }}, {kindOTLP, func() encoder { return &otlp{} }}} {
		for _, live := range []bool{true, false} {
			b.Run(proto.kind+map[bool]string{true: "/live", false: "/catching-up"}[live], func(b *testing.B) {
				n, sent, cpu := 0, 0, cpuTime(b)
				for b.Loop() {
					enc := proto.enc()
					size := 0
					c, err := newClient(proto.kind, &Destination{URL: "http://x.example/w"}, enc.header(), roundTrip(func(req *http.Request) (*http.Response, error) {
						n, err := io.Copy(io.Discard, req.Body)
						size += int(n)
						return respond(200, ""), err
					}))
					if err != nil {
						b.Fatal(err)
					}
					w := &worker{kind: proto.kind, http: c, log: quiet, quit: make(chan struct{})}
					s := &samples{worker: w, src: db, enc: enc, most: maxRequest}
					n += everything(b, s, began.UnixMilli(), began.Add(5*time.Minute).UnixMilli(), live)
					sent += size
				}
				b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "samples/s")
				b.ReportMetric(float64(cpuTime(b)-cpu)/float64(n), "cpu-ns/sample")
				b.ReportMetric(float64(sent)/float64(n), "bytes/sample")
			})
		}
	}
}

// everything sends what there is, cell by cell as when it has just been stored, or as
// fast as it goes.
func everything(b *testing.B, s *samples, from, to int64, live bool) int {
	b.Helper()
	n := 0
	for from < to {
		end := from + step
		if !live {
			end = min(from+6*step, to)
		}
		lines, err := read(b.Context(), s.src, from, end, 1<<30)
		if err != nil {
			b.Fatal(err)
		}
		n += points(lines)
		s.enc.learn(lines)
		for at := from; at < end; {
			s.unsure = live
			next := s.next(lines, at, end)
			if err := s.send(b.Context(), cell(lines, next)); err != nil {
				b.Fatal(err)
			}
			at = next
		}
		from = end
	}
	return n
}
