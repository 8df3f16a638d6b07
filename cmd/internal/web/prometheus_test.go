package web

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/api"
	promapi "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/heapwright/heapwright/cmd/internal/series"
	"github.com/heapwright/heapwright/cmd/internal/store"
)

var update = flag.Bool("update", false, "ask a real Prometheus again, the program that HEAPWRIGHT_PROMETHEUS names")

// epoch is when the data of these tests begins.
var epoch = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// fill makes a store with ten minutes of data, with all that is odd about numbers and
// names.
func fill(t testing.TB, dir string) *store.DB {
	t.Helper()
	db, err := store.Open(store.Options{Dir: dir, External: []series.Label{{Name: "instance", Value: "host"}, {Name: "job", Value: "heapwright"}}, Now: func() time.Time { return epoch.Add(10 * time.Minute) }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	b := db.Begin()
	process := func(p string) series.Label { return series.Label{Name: "process", Value: p} }
	for i, p := range []string{"nats-server", "nats-server:2", `odd "name" <b> \ ü`} {
		gauge := db.Series("go_goroutines", process(p))
		counter := db.Series("process_cpu_seconds_total", process(p))
		odd := db.Series("odd_ratio", process(p))
		values := []float64{math.NaN(), math.Inf(1), math.Inf(-1), 0, math.Copysign(0, -1), 1e-7, 123456789012345678, 1e21, 1e300, 0.1 + 0.2, -3.5, 5e-324}
		for s := range 600 {
			at := epoch.Add(time.Duration(s)*time.Second + time.Duration(i*7)*time.Millisecond)
			b.Append(gauge, at, float64(10*(i+1)+s%17))
			b.Append(counter, at, float64(s*(i+1))/8)
			if s%10 == 0 {
				b.Append(odd, at, values[s/10%len(values)])
			}
		}
		for k, le := range []string{"0.001", "0.1", "+Inf"} {
			h := db.Series("go_sched_latencies_seconds_bucket", process(p), series.Label{Name: "le", Value: le})
			for s := 0; s < 600; s += 10 {
				b.Append(h, epoch.Add(time.Duration(s)*time.Second), float64(s*(k+1)*(i+1)))
			}
		}
	}
	if _, err := b.Commit(); err != nil {
		t.Fatal(err)
	}
	return db
}

// A question is a request to the query API, and what a real Prometheus says to it.
type question struct {
	Method string          `json:"method"`
	Path   string          `json:"path"`
	Form   string          `json:"form"`
	Status int             `json:"status"`
	Body   json.RawMessage `json:"body,omitempty"`
}

// questions are what the answers are compared for.
func questions() (all []question) {
	at := fmt.Sprint(epoch.Add(5 * time.Minute).Unix())
	get := func(path string, pairs ...string) {
		v := url.Values{}
		for i := 0; i+1 < len(pairs); i += 2 {
			v.Add(pairs[i], pairs[i+1])
		}
		all = append(all, question{Method: "GET", Path: path, Form: v.Encode()})
	}
	for _, expr := range []string{
		"1+1", `"text"`, "go_goroutines", `go_goroutines{process=~"nats.*"}`, "go_goroutines[5s]", "odd_ratio", "sum(go_goroutines)",
		"sum by (process) (rate(process_cpu_seconds_total[1m]))", `count({__name__=~".+"})`, "absent(nothing)", "nothing", "scalar(sum(go_goroutines))",
		"histogram_quantile(0.9, sum by (le) (rate(go_sched_latencies_seconds_bucket[1m])))", "rate(go_goroutines[1m])", "time()", "vector(1)/0", "-vector(1)/0", "vector(0)/0",
		"go_goroutines offset 1m", "go_goroutines @ 1761998700", "topk(1, go_goroutines)", "go_goroutines > bool 20", "-1e-9", "1e22", "max_over_time(odd_ratio[5m])",
		// Wrong ones.
		"", "{}", "sum(", "go_goroutines[", "rate(go_goroutines)", `{__name__=~".*"}`, "nosuch(1)", "1 +", "foo{bar=", "go_goroutines / on(process) go_sched_latencies_seconds_bucket",
		`label_replace(go_goroutines, "process", "x", "", "")`, "quantile(2, go_goroutines)", "\x00", "go_goroutines[5m:-1s]",
	} {
		get("query", "query", expr, "time", at)
	}
	for _, when := range []string{"1761998700", "1761998700.123", "2025-11-01T12:05:00Z", epoch.Add(90 * time.Second).Format(time.RFC3339Nano), "2026-11-01T14:05:00+02:00", "x", "1e3", "-1", "-1.5",
		"-292273086-05-16T16:47:06Z", "292277025-08-18T07:12:54.999999999Z", "2026-11-01 12:00:00"} {
		get("query", "query", "go_goroutines", "time", when)
	}
	start, end := fmt.Sprint(epoch.Unix()), fmt.Sprint(epoch.Add(5*time.Minute).Unix())
	for _, expr := range []string{"go_goroutines", "odd_ratio", "1", "sum(rate(process_cpu_seconds_total[1m]))", "nothing", "go_goroutines[1m]", `"text"`, "sum(", "vector(1)/0", "time()"} {
		get("query_range", "query", expr, "start", start, "end", end, "step", "60")
	}
	for _, step := range []string{"15s", "1m", "0.5", "7.25", "0", "-1", "", "x", "1h30m", "1e30", "0.001", "100y", "-9223372037"} {
		get("query_range", "query", "go_goroutines", "start", start, "end", end, "step", step)
	}
	get("query_range", "query", "1", "start", end, "end", start, "step", "60")
	get("query_range", "query", "1", "start", "x", "end", start, "step", "60")
	get("query_range", "query", "1", "start", start, "step", "60")
	get("query_range", "query", "1", "start", "0", "end", end, "step", "1")
	get("query_range", "query", "go_goroutines", "start", start, "end", end, "step", "60", "limit", "1")
	for _, limit := range []string{"1", "2", "3", "0", "-1", "x", "99999999999999999999"} {
		get("query", "query", "go_goroutines", "time", at, "limit", limit)
		get("labels", "limit", limit)
		get("label/process/values", "limit", limit)
		get("series", "match[]", "go_goroutines", "limit", limit)
	}
	get("query", "query", "1", "time", at, "timeout", "5s")
	get("query", "query", "1", "time", at, "timeout", "x")
	get("query_range", "query", "1", "start", start, "end", end, "step", "60", "timeout", "x")
	all = append(all, question{Method: "POST", Path: "query", Form: url.Values{"query": {"sum(go_goroutines)"}, "time": {at}}.Encode()})
	all = append(all, question{Method: "POST", Path: "query_range", Form: url.Values{"query": {"go_goroutines"}, "start": {start}, "end": {end}, "step": {"60"}}.Encode()})
	all = append(all, question{Method: "POST", Path: "series", Form: url.Values{"match[]": {"go_goroutines"}}.Encode()})
	all = append(all, question{Method: "POST", Path: "labels", Form: url.Values{"match[]": {"go_goroutines"}}.Encode()})
	for _, path := range []string{"series", "labels", "label/process/values", "label/__name__/values", "label/le/values", "label/none/values", "label/U__odd_2e_name/values"} {
		get(path)
		get(path, "match[]", "go_goroutines")
		get(path, "match[]", "go_goroutines", "match[]", `{process="nats-server"}`)
		get(path, "match[]", "nothing")
		get(path, "match[]", "{}")
		get(path, "match[]", `{process=~".*"}`)
		get(path, "match[]", "sum(x)")
		get(path, "match[]", "")
		get(path, "match[]", "go_goroutines", "start", start, "end", end)
		get(path, "match[]", "go_goroutines", "start", "1", "end", "2")
		get(path, "match[]", "go_goroutines", "start", "x")
		get(path, "match[]", "go_goroutines", "end", "x")
	}
	get("query_exemplars", "query", "go_goroutines", "start", start, "end", end)
	get("format_query", "query", "sum(go_goroutines)by(process)")
	get("format_query", "query", "sum(")
	get("rules")
	get("rules", "type", "alert")
	get("rules", "type", "x")
	get("alerts")
	return all
}

const goldens = "testdata/prometheus.json"

// TestPrometheusItself holds the answers against those that a real Prometheus gave for
// the same data and questions.
func TestPrometheusItself(t *testing.T) {
	if *update {
		ask(t, os.Getenv("HEAPWRIGHT_PROMETHEUS"))
	}
	data, err := os.ReadFile(goldens)
	if err != nil {
		t.Fatal(err)
	}
	var all []question
	if err := json.Unmarshal(data, &all); err != nil {
		t.Fatal(err)
	}
	if want := questions(); len(all) != len(want) {
		t.Fatalf("%s has %d answers for %d questions: run with -update", goldens, len(all), len(want))
	}
	h := serveStore(t, fill(t, t.TempDir()).Reader())
	for _, q := range all {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, q.request("http://localhost"))
		name := q.Method + " " + q.Path + "?" + q.Form
		if w.Code != q.Status {
			t.Errorf("%s: %d, and Prometheus says %d\n%s\n%s", name, w.Code, q.Status, w.Body, q.Body)
			continue
		}
		if got, want := canonical(t, w.Body.Bytes()), canonical(t, q.Body); !reflect.DeepEqual(got, want) {
			t.Errorf("%s\n%s\nand Prometheus says\n%s", name, w.Body, q.Body)
		}
	}
}

func (q question) request(base string) *http.Request {
	target, body := base+"/api/v1/"+q.Path, io.Reader(nil)
	if q.Method == "POST" {
		body = strings.NewReader(q.Form)
	} else if q.Form != "" {
		target += "?" + q.Form
	}
	r := httptest.NewRequest(q.Method, target, body)
	r.RequestURI = "" // for a client
	r.RemoteAddr = "127.0.0.1:1"
	if body != nil {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return r
}

// canonical is a document in which only that is the same which is the same for who
// reads it.
func canonical(t *testing.T, body []byte) any {
	var v any
	d := json.NewDecoder(bytes.NewReader(body))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatalf("no JSON: %v\n%s", err, body)
	}
	return v
}

// ask writes the goldens, with the answers of a Prometheus on a store of the same data.
func ask(t *testing.T, program string) {
	dir := t.TempDir()
	if err := fill(t, dir).Close(); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(t.TempDir(), "prometheus.yml")
	if err := os.WriteFile(config, []byte("{}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	const addr = "127.0.0.1:39471"
	p := exec.Command(program, "--config.file="+config, "--storage.tsdb.path="+dir, "--storage.tsdb.retention.time=100y", "--web.listen-address="+addr, "--log.level=warn")
	p.Stdout, p.Stderr = os.Stderr, os.Stderr
	if err := p.Start(); err != nil {
		t.Fatalf("starting Prometheus, which HEAPWRIGHT_PROMETHEUS names: %v", err)
	}
	defer func() { p.Process.Kill(); p.Wait() }()
	client := http.Client{Timeout: 10 * time.Second}
	for {
		if res, err := client.Get("http://" + addr + "/-/ready"); err == nil {
			res.Body.Close()
			if res.StatusCode == http.StatusOK {
				break
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	all := questions()
	for i := range all {
		res, err := client.Do(all[i].request("http://" + addr))
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(res.Body)
		res.Body.Close()
		if err != nil {
			t.Fatal(err)
		}
		all[i].Status, all[i].Body = res.StatusCode, body
	}
	var b bytes.Buffer
	b.WriteString("[\n")
	for i, q := range all {
		line, err := json.Marshal(q)
		if err != nil {
			t.Fatal(err)
		}
		b.Write(line)
		if i < len(all)-1 {
			b.WriteString(",")
		}
		b.WriteString("\n")
	}
	b.WriteString("]\n")
	if err := os.WriteFile(goldens, b.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// serveStore is a server's handler with a store.
func serveStore(t testing.TB, st Store) http.Handler {
	s := newServer(t, Options{Store: st})
	return s.Handler()
}

// newServer is a server on a free port of this machine, which nobody runs.
func newServer(t testing.TB, o Options) *Server {
	t.Helper()
	if o.Listen == "" {
		o.Listen = "127.0.0.1:0"
	}
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

// TestPrometheusClient asks as the clients of Prometheus do.
func TestPrometheusClient(t *testing.T) {
	rules := func() []Rule {
		return []Rule{{Name: "headroom", Query: "heapwright_headroom_ratio < 0.1", For: time.Minute, Labels: map[string]string{"severity": "warning"},
			Annotations: map[string]string{"summary": "little is left"}, Alerts: []Alert{{Labels: map[string]string{"process": "a"}, Since: epoch, Value: 0.05}}}, {Name: "quiet"}}
	}
	s := newServer(t, Options{Store: fill(t, t.TempDir()).Reader(), Rules: rules})
	run(t, s)
	c, err := api.NewClient(api.Config{Address: s.URL()})
	if err != nil {
		t.Fatal(err)
	}
	ctx, prom := t.Context(), promapi.NewAPI(c)
	v, warnings, _, err := prom.Query(ctx, "1+1", epoch)
	if err != nil || v.String() != "scalar: 2 @["+fmt.Sprint(epoch.Unix())+"]" || len(warnings) != 0 {
		t.Errorf("1+1: %v, %v, %v", v, warnings, err)
	}
	v, _, _, err = prom.Query(ctx, "odd_ratio", epoch)
	if vec, ok := v.(model.Vector); err != nil || !ok || len(vec) != 1 || !math.IsNaN(float64(vec[0].Value)) || vec[0].Metric["job"] != "heapwright" {
		t.Errorf("a NaN: %v, %v", v, err)
	}
	m, _, _, err := prom.QueryRange(ctx, "go_goroutines", promapi.Range{Start: epoch.Add(time.Second), End: epoch.Add(9 * time.Minute), Step: time.Second})
	if mat, ok := m.(model.Matrix); err != nil || !ok || len(mat) != 3 || len(mat[0].Values) != 9*60 {
		t.Errorf("a range: %v, %v", m, err)
	}
	// rate() of what is no counter has something to be said of it.
	_, warnings, infos, err := prom.Query(ctx, "rate(go_goroutines[1m])", epoch.Add(time.Minute))
	if err != nil || len(warnings) != 0 || len(infos) != 1 {
		t.Errorf("infos are no warnings: %v, %v, %v", warnings, infos, err)
	}
	if _, _, _, err = prom.Query(ctx, "sum(", epoch); err == nil || !strings.Contains(err.Error(), "bad_data: invalid parameter \"query\": 1:5: parse error") {
		t.Errorf("a wrong query: %v", err)
	}
	names, warnings, _, err := prom.LabelNames(ctx, nil, epoch, epoch.Add(time.Hour), promapi.WithLimit(2))
	if err != nil || fmt.Sprint(names) != "__name__, instance" || len(warnings) != 1 {
		t.Errorf("labels: %v, %v, %v", names, warnings, err)
	}
	values, _, _, err := prom.LabelValues(ctx, "process", []string{"go_goroutines"}, epoch, epoch.Add(time.Hour))
	if err != nil || len(values) != 3 {
		t.Errorf("values: %v, %v", values, err)
	}
	sets, _, _, err := prom.Series(ctx, []string{`go_goroutines{process="nats-server"}`}, epoch, epoch.Add(time.Hour))
	if err != nil || len(sets) != 1 {
		t.Errorf("series: %v, %v", sets, err)
	}
	meta, err := prom.Metadata(ctx, "go_sched_latencies_seconds_bucket", "")
	if err != nil || len(meta) != 1 || meta["go_sched_latencies_seconds"][0].Type != promapi.MetricTypeHistogram {
		t.Errorf("metadata: %v, %v", meta, err)
	}
	if meta, err = prom.Metadata(ctx, "", "3"); err != nil || len(meta) != 3 {
		t.Errorf("metadata: %v, %v", meta, err)
	}
	if meta, err = prom.Metadata(ctx, "", ""); err != nil || len(meta) != len(series.Defs()) {
		t.Errorf("metadata: %v, %v", len(meta), err)
	}
	build, err := prom.Buildinfo(ctx)
	if err != nil || !strings.HasPrefix(build.Version, "3.") {
		t.Errorf("build info: %+v, %v", build, err)
	}
	got, err := prom.Rules(ctx, nil)
	if err != nil || len(got.Groups) != 1 || len(got.Groups[0].Rules) != 2 {
		t.Fatalf("rules: %+v, %v", got, err)
	}
	rule, ok := got.Groups[0].Rules[0].(promapi.AlertingRule)
	if !ok || rule.Name != "headroom" || rule.State != "firing" || rule.Duration != 60 || len(rule.Alerts) != 1 || rule.Alerts[0].Value != "5e-02" || !rule.Alerts[0].ActiveAt.Equal(epoch) {
		t.Errorf("a rule: %+v", got.Groups[0].Rules[0])
	}
	alerts, err := prom.Alerts(ctx)
	if err != nil || len(alerts.Alerts) != 1 || alerts.Alerts[0].Labels["process"] != "a" {
		t.Errorf("alerts: %+v, %v", alerts, err)
	}
	if ex, err := prom.QueryExemplars(ctx, "go_goroutines", epoch, epoch.Add(time.Minute)); err != nil || len(ex) != 0 {
		t.Errorf("exemplars: %v, %v", ex, err)
	}
	if text, err := prom.FormatQuery(ctx, "sum(a)by(b)"); err != nil || text != `"sum by (b) (a)"` {
		t.Errorf("a formatted query: %q, %v", text, err)
	}
	if info, err := prom.Runtimeinfo(ctx); err != nil || info.GOMAXPROCS < 1 {
		t.Errorf("runtime info: %+v, %v", info, err)
	}
	if flags, err := prom.Flags(ctx); err != nil || len(flags) != 0 {
		t.Errorf("flags: %v, %v", flags, err)
	}
}

// A fakeStore answers everything with the same.
type fakeStore struct {
	value parser.Value
	warn  []string
	err   error
	block chan struct{} // when not nil, questions wait for it or their context
}

func (f fakeStore) wait(ctx context.Context) error {
	if f.block == nil {
		return f.err
	}
	select {
	case <-f.block:
		return f.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (f fakeStore) Query(ctx context.Context, _ string, _ time.Time) (parser.Value, []string, error) {
	return f.value, f.warn, f.wait(ctx)
}

func (f fakeStore) QueryRange(ctx context.Context, _ string, _, _ time.Time, _ time.Duration) (promql.Matrix, []string, error) {
	m, _ := f.value.(promql.Matrix)
	return m, f.warn, f.wait(ctx)
}

func (f fakeStore) Series(ctx context.Context, _ []string, _, _ time.Time, _ int) ([]labels.Labels, error) {
	return nil, f.wait(ctx)
}

func (f fakeStore) LabelNames(ctx context.Context, _ []string, _, _ time.Time) ([]string, error) {
	return nil, f.wait(ctx)
}

func (f fakeStore) LabelValues(ctx context.Context, _ string, _ []string, _, _ time.Time) ([]string, error) {
	return nil, f.wait(ctx)
}

func TestStoreFailures(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		kind   string
	}{
		{&store.QueryError{Kind: store.KindBadData, Err: io.EOF}, 400, "bad_data"},
		{&store.QueryError{Kind: store.KindExecution, Err: io.EOF}, 422, "execution"},
		{&store.QueryError{Kind: store.KindTimeout, Err: io.EOF}, 503, "timeout"},
		{&store.QueryError{Kind: store.KindCanceled, Err: io.EOF}, 499, "canceled"},
		{&store.QueryError{Kind: store.KindTooMany, Err: io.EOF}, 503, "unavailable"},
		{&store.QueryError{Kind: store.KindRemote, Err: io.EOF}, 503, "unavailable"},
		{&store.QueryError{Kind: store.KindInternal, Err: io.EOF}, 500, "internal"},
		{fmt.Errorf("wrapped: %w", context.DeadlineExceeded), 503, "timeout"},
		{fmt.Errorf("wrapped: %w", context.Canceled), 499, "canceled"},
		{io.EOF, 422, "execution"},
	} {
		h := serveStore(t, fakeStore{err: c.err})
		for _, path := range []string{"query?query=1", "query_range?query=1&start=0&end=1&step=1", "labels", "label/a/values", "series?match[]=a"} {
			w := httptest.NewRecorder()
			h.ServeHTTP(w, question{Method: "GET", Path: path}.request("http://localhost"))
			var got struct{ Status, ErrorType, Error string }
			if err := json.Unmarshal(w.Body.Bytes(), &got); err != nil || w.Code != c.status || got.ErrorType != c.kind || got.Status != "error" || got.Error == "" {
				t.Errorf("%v at %s: %d %s", c.err, path, w.Code, w.Body)
			}
		}
	}
}

// TestHistograms writes what only another server's answers have, as Prometheus does.
func TestHistograms(t *testing.T) {
	h := &histogram.FloatHistogram{Schema: 0, Count: 6, Sum: 2.5, ZeroThreshold: 0.001, ZeroCount: 1,
		PositiveSpans: []histogram.Span{{Offset: 0, Length: 3}}, PositiveBuckets: []float64{2, 0, 1}, NegativeSpans: []histogram.Span{{Offset: 0, Length: 1}}, NegativeBuckets: []float64{2}}
	const want = `{"count":"6","sum":"2.5","buckets":[[1,"-1","-0.5","2"],[3,"-0.001","0.001","1"],[0,"0.5","1","2"],[0,"2","4","1"]]}`
	answers := map[string]parser.Value{
		`{"status":"success","data":{"resultType":"vector","result":[{"metric":{"a":"b"},"histogram":[-0.005,` + want + `]}]},"warnings":["w"],"infos":["PromQL info: i"]}`:                                           promql.Vector{{T: -5, H: h, Metric: labels.FromStrings("a", "b")}},
		`{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1.050,"1"]],"histograms":[[2,` + want + `],[3,{"count":"0","sum":"0"}]]}]},"warnings":["w"],"infos":["PromQL info: i"]}`: promql.Matrix{{Floats: []promql.FPoint{{T: 1050, F: 1}}, Histograms: []promql.HPoint{{T: 2000, H: h}, {T: 3000, H: &histogram.FloatHistogram{}}}}},
	}
	for want, v := range answers {
		w := httptest.NewRecorder()
		serveStore(t, fakeStore{value: v, warn: []string{"w", "PromQL info: i"}}).ServeHTTP(w, question{Method: "GET", Path: "query?query=1"}.request("http://localhost"))
		if w.Body.String() != want {
			t.Errorf("got  %s\nwant %s", w.Body, want)
		}
	}
}

func TestRelease(t *testing.T) {
	for in, want := range map[string]string{"v0.313.1": "3.13.1", "v0.300.0": "3.0.0", "v0.54.1": "", "": "", "(devel)": ""} {
		if got := release(in); got != want {
			t.Errorf("%q: %q, want %q", in, got, want)
		}
	}
}

// TestOddNumbers are what Prometheus takes and reckons with by chance.
func TestOddNumbers(t *testing.T) {
	for _, s := range []string{"NaN", "Inf", "-Inf", "1e300"} {
		if _, err := parseTime(s); err == nil {
			t.Errorf("%s is a time", s)
		}
		if _, err := parseDuration(s); err == nil {
			t.Errorf("%s is a duration", s)
		}
	}
	if _, err := parseDuration("9223372036.854775807"); err == nil {
		t.Error("what overflows is a duration")
	}
}
