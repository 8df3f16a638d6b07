package store

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/model/value"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/heapwright/heapwright/cmd/internal/series"
)

// stored is a store with six hours of a counter, a gauge that ends, and odd values.
func stored(t testing.TB, opt Options) *DB {
	t.Helper()
	opt.External = []series.Label{{Name: "job", Value: "heapwright"}, {Name: "instance", Value: "here"}}
	db := open(t, opt)
	var counters, gauges []*Series
	for i := range 3 {
		p := series.Label{Name: "process", Value: fmt.Sprintf("p:%d", i)}
		counters = append(counters, db.Series("requests_total", p))
		gauges = append(gauges, db.Series("heap_bytes", p, series.Label{Name: "empty", Value: ""}))
	}
	odd := db.Series("odd", series.Label{Name: "job", Value: "mine"})
	for at := 15 * time.Second; at <= 6*time.Hour; at += 15 * time.Second {
		b := db.Begin()
		for i, s := range counters {
			b.Append(s, day.Add(at), at.Seconds()*float64(i+1))
		}
		for i, s := range gauges {
			if i == 2 && at > 2*time.Hour {
				if at == 2*time.Hour+15*time.Second {
					b.Append(s, day.Add(at), math.Float64frombits(value.StaleNaN))
				}
				continue
			}
			b.Append(s, day.Add(at), 1e8+1e7*math.Sin(at.Hours()*float64(i+1)))
		}
		if at <= time.Minute {
			b.Append(odd, day.Add(at), []float64{0, math.Inf(1), math.Inf(-1), math.NaN()}[int(at/(15*time.Second))-1])
		}
		if _, err := b.Commit(); err != nil {
			t.Fatal(err)
		}
		if at%time.Hour == 0 {
			if err := db.compact(context.Background()); err != nil {
				t.Fatal(err)
			}
		}
	}
	return db
}

// serve answers Prometheus' query API from a reader.
func serve(t testing.TB, r Reader) *httptest.Server {
	t.Helper()
	answer := func(w http.ResponseWriter, data any, warnings []string, err error) {
		w.Header().Set("Content-Type", "application/json")
		var q *QueryError
		if errors.As(err, &q) {
			w.WriteHeader(map[string]int{KindBadData: 400, KindExecution: 422, KindTimeout: 503, KindCanceled: 499}[q.Kind])
			json.NewEncoder(w).Encode(map[string]any{"status": "error", "errorType": q.Kind, "error": q.Error()})
			return
		}
		json.NewEncoder(w).Encode(map[string]any{"status": "success", "data": data, "warnings": warnings})
	}
	at := func(r *http.Request, name string) time.Time {
		f, _ := strconv.ParseFloat(r.FormValue(name), 64)
		return time.UnixMilli(int64(math.Round(f * 1000)))
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/api/v1/query", func(w http.ResponseWriter, q *http.Request) {
		v, warn, err := r.Query(q.Context(), q.FormValue("query"), at(q, "time"))
		if err != nil {
			answer(w, nil, nil, err)
			return
		}
		answer(w, map[string]any{"resultType": v.Type(), "result": v}, warn, nil)
	})
	mux.HandleFunc("/api/v1/query_range", func(w http.ResponseWriter, q *http.Request) {
		step, _ := strconv.ParseFloat(q.FormValue("step"), 64)
		v, warn, err := r.QueryRange(q.Context(), q.FormValue("query"), at(q, "start"), at(q, "end"), time.Duration(step*float64(time.Second)))
		answer(w, map[string]any{"resultType": "matrix", "result": v}, warn, err)
	})
	mux.HandleFunc("/api/v1/series", func(w http.ResponseWriter, q *http.Request) {
		q.ParseForm()
		limit, _ := strconv.Atoi(q.FormValue("limit"))
		v, err := r.Series(q.Context(), q.Form["match[]"], at(q, "start"), at(q, "end"), limit)
		answer(w, v, nil, err)
	})
	mux.HandleFunc("/api/v1/labels", func(w http.ResponseWriter, q *http.Request) {
		q.ParseForm()
		v, err := r.LabelNames(q.Context(), q.Form["match[]"], at(q, "start"), at(q, "end"))
		answer(w, v, nil, err)
	})
	mux.HandleFunc("/api/v1/label/{name}/values", func(w http.ResponseWriter, q *http.Request) {
		q.ParseForm()
		v, err := r.LabelValues(q.Context(), q.PathValue("name"), q.Form["match[]"], at(q, "start"), at(q, "end"))
		answer(w, v, nil, err)
	})
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	return s
}

// TestReaders puts the same questions to the store and, over HTTP, to a server.
func TestReaders(t *testing.T) {
	db := stored(t, Options{})
	local := db.Reader()
	remote, err := Dial(serve(t, local).URL, DialOptions{})
	if err != nil {
		t.Fatal(err)
	}
	ctx := context.Background()
	from, to := day.Add(time.Hour), day.Add(5*time.Hour)
	show := func(v any, warnings []string, err error) string {
		var q *QueryError
		if err != nil {
			if !errors.As(err, &q) {
				t.Fatalf("%T %v", err, err)
			}
			return "error " + q.Kind
		}
		return fmt.Sprintf("%v %q", v, warnings)
	}
	type question struct {
		name string
		ask  func(Reader) string
		want string // in the answer
	}
	var all []question
	for expr, want := range map[string]string{
		`requests_total{process="p:1"}`:           `{__name__="requests_total", instance="here", job="heapwright", process="p:1"} => 36000`,
		`sum(rate(requests_total[5m]))`:           "5.99",
		`heap_bytes{process="p:2"}`:               "",
		`odd offset 4h`:                           "",
		`last_over_time(odd[6h])`:                 "NaN",
		`quantile_over_time(0.9, heap_bytes[1h])`: "=>",
		`heap_bytes[1m]`:                          "@[",
		`42`:                                      "scalar: 42",
		`rate(heap_bytes[5m])`:                    "might not be a counter",
		`count(heap_bytes) by (job)`:              `job="heapwright"`,
		`requests_total{process="p:1"`:            "error bad_data",
		`nothing_there`:                           "",
		`requests_total * on(job) heap_bytes`:     "error execution",
		`label_replace(heap_bytes, "a b", "$1", "job", "(.*)")`: "",
	} {
		all = append(all, question{"query " + expr, func(r Reader) string { return show(r.Query(ctx, expr, to)) }, want})
	}
	for expr, want := range map[string]string{
		`heap_bytes`: `process="p:0"`,
		`sum by (process) (rate(requests_total[5m]))`: "0.99",
		`absent(heap_bytes{process="p:2"})`:           "1 @",
		`heap_bytes @ end()`:                          `process="p:1"`,
		`requests_total - requests_total @ start()`:   "0 @",
		`max_over_time(heap_bytes[30m:1m])`:           "@",
		`requests_total[5m]`:                          "error bad_data",
		`sort_desc(heap_bytes)`:                       "",
		`vector(1)`:                                   "1 @",
	} {
		all = append(all, question{"range " + expr, func(r Reader) string { return show(r.QueryRange(ctx, expr, from, to, 20*time.Second)) }, want})
	}
	all = append(all,
		question{"too many steps", func(r Reader) string { return show(r.QueryRange(ctx, "odd", from, to, time.Second)) }, "error bad_data"},
		question{"no step", func(r Reader) string { return show(r.QueryRange(ctx, "odd", from, to, 0)) }, "error bad_data"},
		question{"backwards", func(r Reader) string { return show(r.QueryRange(ctx, "odd", to, from, time.Minute)) }, "error bad_data"},
		question{"long", func(r Reader) string { return show(r.Query(ctx, strings.Repeat("1+", 40_000)+"1", to)) }, "error bad_data"},
	)
	for _, sel := range []string{`heap_bytes`, `{process=~"p:[12]"}`, `odd`, `none`} {
		all = append(all, question{"raw " + sel, func(r Reader) string {
			m, err := r.Raw(ctx, sel, day, to, 0)
			return show(m, nil, err)
		}, ""})
	}
	for _, sel := range []string{``, `{}`, `{a=""}`, `{a=~".*"}`, `a[5m]`, `a+b`, `{a="b"`, `a offset 5m`, "a{b=~\"(\"}"} {
		all = append(all, question{"raw " + sel, func(r Reader) string {
			m, err := r.Raw(ctx, sel, from, to, 0)
			return show(m, nil, err)
		}, "error bad_data"})
	}
	all = append(all,
		question{"raw, too many", func(r Reader) string { m, err := r.Raw(ctx, "heap_bytes", day, to, 100); return show(m, nil, err) }, "error execution"},
		question{"raw, one instant", func(r Reader) string { m, err := r.Raw(ctx, "heap_bytes", from, from, 3); return show(m, nil, err) }, "@["},
		question{"raw, backwards", func(r Reader) string { m, err := r.Raw(ctx, "heap_bytes", to, from, 0); return show(m, nil, err) }, " []"},
		question{"series", func(r Reader) string {
			v, err := r.Series(ctx, []string{"heap_bytes", `{process="p:0"}`}, day, to, 0)
			return show(v, nil, err)
		}, `requests_total`},
		question{"series, some", func(r Reader) string {
			v, err := r.Series(ctx, []string{"heap_bytes"}, day, to, 2)
			return show(v, nil, err)
		}, `process="p:1"`},
		question{"series of nothing", func(r Reader) string { v, err := r.Series(ctx, nil, day, to, 2); return show(v, nil, err) }, "error bad_data"},
		question{"labels", func(r Reader) string { v, err := r.LabelNames(ctx, nil, day, to); return show(v, nil, err) }, "[__name__ instance job process]"},
		question{"labels of odd", func(r Reader) string {
			v, err := r.LabelNames(ctx, []string{"odd"}, day, to)
			return show(v, nil, err)
		}, "[__name__ instance job]"},
		question{"values", func(r Reader) string {
			v, err := r.LabelValues(ctx, "__name__", nil, day, to)
			return show(v, nil, err)
		}, "[heap_bytes odd requests_total]"},
		question{"values of two", func(r Reader) string {
			v, err := r.LabelValues(ctx, "process", []string{`heap_bytes{process="p:0"}`, `requests_total{process=~"p:[01]"}`}, day, to)
			return show(v, nil, err)
		}, "[p:0 p:1]"},
		question{"values of nothing", func(r Reader) string { v, err := r.LabelValues(ctx, "", nil, day, to); return show(v, nil, err) }, "error bad_data"},
	)
	for _, q := range all {
		here, there := q.ask(local), q.ask(remote)
		if here != there {
			t.Errorf("%s:\nhere  %.300s\nthere %.300s", q.name, here, there)
		}
		if !strings.Contains(here, q.want) {
			t.Errorf("%s: %.300s, and not %s", q.name, here, q.want)
		}
	}
}

func TestDial(t *testing.T) {
	for _, u := range []string{"", "prometheus:9090", "ftp://host", "http://", "http://host?a=b", "http://user:secret@host/%zz", "http://h#f"} {
		if _, err := Dial(u, DialOptions{}); err == nil {
			t.Errorf("%q can be dialed", u)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("%v tells the password", err)
		}
	}
	ctx := context.Background()
	var got http.Header
	body := ""
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		got = r.Header
		if body == "" {
			for range 70 {
				w.Write(make([]byte, 1<<20))
			}
		}
		w.Write([]byte(body))
	}))
	defer s.Close()
	r, err := Dial(s.URL, DialOptions{Token: "t0ken", Header: http.Header{"X-Scope-Orgid": {"me"}}})
	if err != nil {
		t.Fatal(err)
	}
	kind := func(want string) {
		t.Helper()
		_, _, err := r.Query(ctx, "a", day)
		var q *QueryError
		if !errors.As(err, &q) || q.Kind != want {
			t.Errorf("%v", err)
		}
	}
	kind(KindRemote)
	if got.Get("Authorization") != "Bearer t0ken" || got.Get("X-Scope-Orgid") != "me" {
		t.Errorf("%v", got)
	}
	for _, body = range []string{"<html>", `{"status":"success","data":{"resultType":"cube","result":[]}}`, `{"status":"success","data":{"resultType":"vector","result":[{"metric":{},"value":[1,2]}]}}`, "null"} {
		kind(KindRemote)
	}
	body = `{"status":"error","errorType":"timeout","error":"too slow"}`
	kind(KindTimeout)
	s.Close()
	kind(KindRemote)
}

func TestLimits(t *testing.T) {
	ctx := context.Background()
	db := stored(t, Options{Query: QueryOptions{MaxSamples: 5000, Timeout: time.Minute, Concurrent: 1, Wait: time.Millisecond}})
	r := db.Reader()
	kind := func(err error, want string) {
		t.Helper()
		var q *QueryError
		if !errors.As(err, &q) || q.Kind != want {
			t.Errorf("%v", err)
		}
	}
	_, _, err := r.Query(ctx, "sum(sum_over_time(requests_total[6h])) + sum(sum_over_time({job=\"heapwright\"}[6h]))", day.Add(6*time.Hour))
	kind(err, KindExecution)
	_, err = r.Raw(ctx, "{job=\"heapwright\"}", day, day.Add(6*time.Hour), 0)
	kind(err, KindExecution)
	done, cancel := context.WithCancel(ctx)
	cancel()
	_, _, err = r.Query(done, "requests_total", day.Add(time.Hour))
	kind(err, KindCanceled)
	late, cancel := context.WithDeadline(ctx, time.Now().Add(-time.Second))
	defer cancel()
	_, _, err = r.Query(late, "requests_total", day.Add(time.Hour))
	kind(err, KindTimeout)

	_, end, err := db.engine.turn(ctx)
	if err != nil {
		t.Fatal(err)
	}
	_, _, err = r.Query(ctx, "requests_total", day)
	kind(err, KindTooMany)
	end()
	if _, _, err = r.Query(ctx, "requests_total", day); err != nil {
		t.Error(err)
	}
}

func TestScan(t *testing.T) {
	db := stored(t, Options{})
	ctx := context.Background()
	type at struct {
		series string
		t      int64
	}
	seen := map[at]bool{}
	scan := func(from, to time.Time) (n int) {
		err := db.Scan(ctx, from, to, func(ls labels.Labels, pts []promql.FPoint) error {
			for _, p := range pts {
				if p.T < from.UnixMilli() || p.T >= to.UnixMilli() {
					t.Fatalf("%v at %d", ls, p.T)
				}
				seen[at{ls.String(), p.T}] = true
			}
			n += len(pts)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	// Windows that follow one another have every sample once.
	n := 0
	for from := day; from.Before(day.Add(7 * time.Hour)); from = from.Add(37 * time.Minute) {
		n += scan(from, from.Add(37*time.Minute))
	}
	want := 3*1440 + 2*1440 + 480 + 4
	if n != want || len(seen) != want {
		t.Errorf("%d samples, %d of them different, and not %d", n, len(seen), want)
	}
	if n := scan(day, day); n != 0 {
		t.Errorf("%d samples in no time", n)
	}
	if n := scan(time.Time{}, time.Unix(1<<40, 0)); n != want {
		t.Errorf("%d samples ever", n)
	}
	stop := errors.New("enough")
	if err := db.Scan(ctx, day, day.Add(time.Hour), func(labels.Labels, []promql.FPoint) error { return stop }); !errors.Is(err, stop) {
		t.Error(err)
	}
	done, cancel := context.WithCancel(ctx)
	cancel()
	if err := db.Scan(done, day, day.Add(time.Hour), func(labels.Labels, []promql.FPoint) error { return nil }); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// TestAtOnce stores, asks, scans and compacts at once, for the race detector.
func TestAtOnce(t *testing.T) {
	db := stored(t, Options{})
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 4)
	loop := func(f func() error) {
		for ctx.Err() == nil {
			if err := f(); err != nil && ctx.Err() == nil {
				ended <- err
				return
			}
			runtime.Gosched()
		}
		ended <- nil
	}
	r := db.Reader()
	go loop(func() error {
		_, _, err := r.Query(ctx, "sum(rate(requests_total[5m]))", day.Add(6*time.Hour))
		return err
	})
	go loop(func() error {
		return db.Scan(ctx, day.Add(5*time.Hour), day.Add(9*time.Hour), func(labels.Labels, []promql.FPoint) error { return nil })
	})
	go loop(func() error { return db.compact(ctx) })
	go loop(func() error { db.Stats(); db.reopen(); return nil })
	s := db.Series("requests_total", series.Label{Name: "process", Value: "p:9"})
	stored := 0
	for i := range 400 {
		b := db.Begin()
		b.Append(s, day.Add(6*time.Hour+time.Duration(i+1)*15*time.Second), float64(i))
		n, err := b.Commit()
		if err != nil {
			t.Fatal(err)
		}
		stored += n
	}
	cancel()
	for range 4 {
		if err := <-ended; err != nil {
			t.Error(err)
		}
	}
	if got := raw(t, db, `requests_total{process="p:9"}`); len(got) != stored || stored != 400 {
		t.Errorf("%d of %d", len(got), stored)
	}
}

func TestShape(t *testing.T) {
	for _, c := range []struct {
		name string
		v    float64
		most float64 // the error
	}{
		{"process_cpu_seconds_total", 12345.678901, 1.0 / (1 << 14)},
		{"heapwright_gc_cycle_pause_seconds", 0.000034567, 1.0 / (1 << 25)},
		{"heapwright_gc_pause_seconds_total", 77.000034567, 1.0 / (1 << 25)},
		{"heapwright_heap_live_bytes", 123456789, 128},
		{"go_gc_gomemlimit_bytes", 123456789, 0},
		{"process_start_time_seconds", 1_700_000_000.123, 0},
		{"go_goroutines", 17, 0},
		{"something_else_seconds", 0.1, 0},
		{"heapwright_gc_cpu_ratio", 0.123456789, 1.0 / (1 << 17)},
		{"heapwright_heap_live_bytes", math.Inf(1), 0},
		{"process_cpu_seconds_total", math.MaxFloat64, 0},
	} {
		got := shapeOf(c.name).value(c.v)
		if d := math.Abs(got - c.v); d > c.most {
			t.Errorf("%s: %v became %v", c.name, c.v, got)
		}
		if again := shapeOf(c.name).value(got); again != got {
			t.Errorf("%s: %v became %v the second time", c.name, got, again)
		}
	}
	stale := math.Float64frombits(value.StaleNaN)
	if got := shapeOf("process_cpu_seconds_total").value(stale); !value.IsStaleNaN(got) {
		t.Error("the marker of a series' end was changed")
	}
	s := shape{paced: true}
	for _, c := range []struct{ t, last, interval, want int64 }{
		{1000, 0, 0, 1000},
		{2004, 1000, 1000, 2000},
		{1996, 1000, 1000, 2000},
		{2011, 1000, 1000, 2011},
		{1115, 1000, 100, 1115},
		{1101, 1000, 100, 1100},
		{20010, 10000, 10000, 20000},
		{20011, 10000, 10000, 20011},
	} {
		if got := s.time(c.t, c.last, c.interval); got != c.want {
			t.Errorf("%+v: %d", c, got)
		}
	}
	if got := (shape{}).time(2004, 1000, 1000); got != 2004 {
		t.Errorf("a time of no pace became %d", got)
	}
}

// FuzzRaw gives selectors to both readers' parser: whatever is taken is one selector,
// and means the same when it is written anew, as it is for a server.
func FuzzRaw(f *testing.F) {
	for _, s := range []string{`a`, `{a="b"}`, `a{b=~"c|d",e!=""}`, `{"a b","c.d"="e"}`, `{__name__="x y"}`, `a[5m]`, `{a=""}`, "a{b=\"\\n\\\"\"}", `a}[5m]+{b="c"`} {
		f.Add(s)
	}
	e := newEngine(QueryOptions{})
	f.Fuzz(func(t *testing.T, s string) {
		ms, err := e.parseSelector(s)
		if err != nil {
			var q *QueryError
			if !errors.As(err, &q) || q.Kind != KindBadData {
				t.Fatalf("%q: %v", s, err)
			}
			return
		}
		again := (&parser.VectorSelector{LabelMatchers: ms}).String()
		x, err := e.parser.ParseExpr(again + "[1ms]")
		if err != nil {
			t.Fatalf("%q became %q: %v", s, again, err)
		}
		m, ok := x.(*parser.MatrixSelector)
		if !ok {
			t.Fatalf("%q became %q: %T", s, again, x)
		}
		got := m.VectorSelector.(*parser.VectorSelector).LabelMatchers
		if len(got) != len(ms) {
			t.Fatalf("%q became %q", s, again)
		}
		count := map[string]int{}
		for i := range ms {
			count[ms[i].String()]++
			count[got[i].String()]--
		}
		for m, n := range count {
			if n != 0 {
				t.Fatalf("%q became %q: %s", s, again, m)
			}
		}
	})
}
