package web

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"
	"net/http"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/gzhttp"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"

	"github.com/heapwright/heapwright/cmd/internal/series"
	"github.com/heapwright/heapwright/cmd/internal/store"
)

// The kinds of errors of Prometheus' API, web/api/v1/api.go of Prometheus 3.
const (
	badData     = "bad_data"
	execution   = "execution"
	timeout     = "timeout"
	canceled    = "canceled"
	internal    = "internal"
	unavailable = "unavailable"
	notFound    = "not_found"
)

// statusClientClosed is nginx's, for who does not wait for the answer.
const statusClientClosed = 499

// maxQuery bounds an expression, in bytes: as deep as it may be, it is parsed in no time.
const maxQuery = 64 << 10

// maxPoints is how many points a series may have in an answer, as in Prometheus.
const maxPoints = 11000

// A failure is why a question is not answered.
type failure struct {
	kind string
	err  error
}

func (f *failure) status() int {
	switch f.kind {
	case badData:
		return http.StatusBadRequest
	case execution:
		return http.StatusUnprocessableEntity
	case canceled:
		return statusClientClosed
	case timeout, unavailable:
		return http.StatusServiceUnavailable
	case notFound:
		return http.StatusNotFound
	}
	return http.StatusInternalServerError
}

// errorTypeOf is the kind of error that goes with a refusal of this server.
func errorTypeOf(status int) string {
	switch {
	case status == http.StatusNotFound:
		return notFound
	case status == http.StatusServiceUnavailable:
		return unavailable
	case status >= 500:
		return internal
	}
	return badData
}

func badParam(name string, err error) *failure {
	return &failure{badData, fmt.Errorf("invalid parameter %q: %w", name, err)}
}

// askFailure is what the store says of a question.
func askFailure(err error) *failure {
	q := new(store.QueryError)
	switch {
	case errors.As(err, &q):
		switch q.Kind {
		case store.KindBadData:
			return badParam("query", err)
		case store.KindTimeout:
			return &failure{timeout, err}
		case store.KindCanceled:
			return &failure{canceled, err}
		case store.KindTooMany, store.KindRemote:
			return &failure{unavailable, err}
		case store.KindInternal:
			return &failure{internal, err}
		}
	case errors.Is(err, context.DeadlineExceeded):
		return &failure{timeout, err}
	case errors.Is(err, context.Canceled):
		return &failure{canceled, err}
	}
	return &failure{execution, err}
}

// An answer is what a question has: data that writes itself, and what is to be said of it.
type answer struct {
	data     data
	warnings []string
}

// queries answers Prometheus' HTTP API from a store.
type queries struct {
	store  Store
	rules  func() []Rule
	now    func() time.Time
	parser parser.Parser
}

// prometheus returns the query API. Questions change nothing, whatever their method.
func (s *Server) prometheus() http.Handler {
	q := &queries{store: s.o.Store, rules: s.o.Rules, now: s.o.Now, parser: parser.NewParser(parser.Options{})}
	mux := http.NewServeMux()
	for path, f := range map[string]func(*http.Request) (answer, *failure){
		"query":               q.query,
		"query_range":         q.queryRange,
		"query_exemplars":     q.exemplars,
		"format_query":        q.format,
		"series":              q.series,
		"labels":              q.labels,
		"label/{name}/values": q.values,
		"metadata":            q.metadata,
		"rules":               q.ruleGroups,
		"alerts":              q.alerts,
		"status/buildinfo":    q.buildInfo,
		"status/flags":        empty,
		"targets/metadata":    none,
		"status/runtimeinfo":  q.runtimeInfo,
	} {
		mux.Handle("/api/v1/"+path, answering(f))
	}
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		writeFailure(w, http.StatusNotFound, notFound, "there is nothing at this address: the queries, series, labels, metadata, rules and alerts of Prometheus' API are served")
	})
	zip, err := gzhttp.NewWrapper(gzhttp.MinSize(2<<10), gzhttp.CompressionLevel(1))
	if err != nil {
		return mux // only options that make no sense are refused
	}
	zipped := zip(mux)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Within one machine compressing costs more than it saves.
		if peer(r.RemoteAddr).IsLoopback() && proxied(r.Header) == "" {
			mux.ServeHTTP(w, r)
			return
		}
		zipped.ServeHTTP(w, r)
	})
}

// answering makes a handler of what answers a question.
func answering(f func(*http.Request) (answer, *failure)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.Method {
		case http.MethodGet, http.MethodHead, http.MethodPost:
		default:
			w.Header().Set("Allow", "GET, HEAD, POST")
			writeFailure(w, http.StatusMethodNotAllowed, badData, "this is for GET and POST")
			return
		}
		// Not FormValue: it would also take files, and put them on disk.
		if err := r.ParseForm(); err != nil {
			writeFailure(w, http.StatusBadRequest, badData, "error parsing form values: "+err.Error())
			return
		}
		a, no := f(r)
		if no != nil {
			writeFailure(w, no.status(), no.kind, no.err.Error())
			return
		}
		writeAnswer(w, a)
	})
}

// within is the context of a question that has a timeout.
func (q *queries) within(r *http.Request) (context.Context, context.CancelFunc, *failure) {
	text := r.Form.Get("timeout")
	if text == "" {
		return r.Context(), func() {}, nil
	}
	d, err := parseDuration(text)
	if err != nil {
		return nil, nil, badParam("timeout", err)
	}
	ctx, cancel := context.WithTimeout(r.Context(), d)
	return ctx, cancel, nil
}

// expression returns the query of a request, parsed as far as its errors go: they have
// the same text as Prometheus' own.
func (q *queries) expression(r *http.Request, ranged bool) (string, *failure) {
	text := r.Form.Get("query")
	if len(text) > maxQuery {
		return "", badParam("query", fmt.Errorf("it has %d bytes, and may have %d", len(text), maxQuery))
	}
	e, err := q.parser.ParseExpr(text)
	if err == nil && ranged && e.Type() != parser.ValueTypeVector && e.Type() != parser.ValueTypeScalar {
		err = fmt.Errorf("invalid expression type %q for range query, must be Scalar or instant Vector", parser.DocumentedType(e.Type()))
	}
	if err != nil {
		return "", badParam("query", err)
	}
	if r.Form.Get("lookback_delta") != "" {
		return "", badParam("lookback_delta", errors.New("how far to look back is not chosen by the query here"))
	}
	return text, nil
}

func (q *queries) query(r *http.Request) (answer, *failure) {
	limit, no := parseLimit(r)
	if no != nil {
		return answer{}, no
	}
	at, no := parseTimeParam(r, "time", q.now())
	if no != nil {
		return answer{}, no
	}
	ctx, cancel, no := q.within(r)
	if no != nil {
		return answer{}, no
	}
	defer cancel()
	expr, no := q.expression(r, false)
	if no != nil {
		return answer{}, no
	}
	v, warnings, err := q.store.Query(ctx, expr, at)
	if err != nil {
		return answer{}, askFailure(err)
	}
	return result(v, warnings, limit), nil
}

func (q *queries) queryRange(r *http.Request) (answer, *failure) {
	limit, no := parseLimit(r)
	if no != nil {
		return answer{}, no
	}
	from, err := parseTime(r.Form.Get("start"))
	if err != nil {
		return answer{}, badParam("start", err)
	}
	to, err := parseTime(r.Form.Get("end"))
	if err != nil {
		return answer{}, badParam("end", err)
	}
	if to.Before(from) {
		return answer{}, badParam("end", errors.New("end timestamp must not be before start time"))
	}
	step, err := parseDuration(r.Form.Get("step"))
	if err != nil {
		return answer{}, badParam("step", err)
	}
	if step <= 0 {
		return answer{}, badParam("step", errors.New("zero or negative query resolution step widths are not accepted. Try a positive integer"))
	}
	if to.Sub(from)/step > maxPoints {
		return answer{}, &failure{badData, errors.New("exceeded maximum resolution of 11,000 points per timeseries. Try decreasing the query resolution (?step=XX)")}
	}
	ctx, cancel, no := q.within(r)
	if no != nil {
		return answer{}, no
	}
	defer cancel()
	expr, no := q.expression(r, true)
	if no != nil {
		return answer{}, no
	}
	m, warnings, err := q.store.QueryRange(ctx, expr, from, to, step)
	if err != nil {
		return answer{}, askFailure(err)
	}
	return result(m, warnings, limit), nil
}

const truncated = "results truncated due to limit"

// result is a value, or as much of it as is wanted.
func result(v parser.Value, warnings []string, limit int) answer {
	cut := false
	switch x := v.(type) {
	case promql.Matrix:
		if cut = limit > 0 && len(x) > limit; cut {
			v = x[:limit]
		}
	case promql.Vector:
		if cut = limit > 0 && len(x) > limit; cut {
			v = x[:limit]
		}
	}
	if cut {
		warnings = append(slices.Clip(warnings), truncated)
	}
	return answer{func(w *jsonWriter) { w.value(v) }, warnings}
}

// exemplars there are none: what is stored has no traces.
func (q *queries) exemplars(r *http.Request) (answer, *failure) {
	if _, no := parseTimeParam(r, "start", minTime); no != nil {
		return answer{}, no
	}
	if _, no := parseTimeParam(r, "end", maxTime); no != nil {
		return answer{}, no
	}
	if _, no := q.expression(r, false); no != nil {
		return answer{}, no
	}
	return answer{data: func(w *jsonWriter) { w.raw("[]") }}, nil
}

func (q *queries) format(r *http.Request) (answer, *failure) {
	text, no := q.expression(r, false)
	if no != nil {
		return answer{}, no
	}
	e, err := q.parser.ParseExpr(text)
	if err != nil {
		return answer{}, badParam("query", err)
	}
	text = e.Pretty(0)
	return answer{data: func(w *jsonWriter) { w.string(text) }}, nil
}

// A selection is what series, labels and values are asked for with.
type selection struct {
	limit    int // 0 for none
	from, to time.Time
	matchers []string
}

// selection reads one. What is wrong with the matchers is said as the caller has it.
func (q *queries) selection(r *http.Request, say func(error) *failure) (s selection, no *failure) {
	if s.limit, no = parseLimit(r); no != nil {
		return s, no
	}
	if s.from, no = parseTimeParam(r, "start", minTime); no != nil {
		return s, no
	}
	if s.to, no = parseTimeParam(r, "end", maxTime); no != nil {
		return s, no
	}
	s.matchers = r.Form["match[]"]
	sets, err := q.parser.ParseMetricSelectors(s.matchers)
	if err != nil {
		return s, say(err)
	}
	for _, set := range sets {
		if !slices.ContainsFunc(set, func(m *labels.Matcher) bool { return m != nil && !m.Matches("") }) {
			return s, say(errors.New("match[] must contain at least one non-empty matcher"))
		}
	}
	return s, nil
}

func plainly(err error) *failure { return &failure{badData, err} }

func badMatch(err error) *failure { return badParam("match[]", err) }

// askNames is askFailure for questions that have no query.
func askNames(err error) *failure {
	f := askFailure(err)
	if f.kind == badData {
		return &failure{badData, err}
	}
	return f
}

func (q *queries) series(r *http.Request) (answer, *failure) {
	if len(r.Form["match[]"]) == 0 {
		return answer{}, &failure{badData, errors.New("no match[] parameter provided")}
	}
	sel, no := q.selection(r, badMatch)
	if no != nil {
		return answer{}, no
	}
	all, err := q.store.Series(r.Context(), sel.matchers, sel.from, sel.to, oneMore(sel.limit))
	if err != nil {
		return answer{}, askNames(err)
	}
	all, warnings := cutTo(all, sel.limit)
	return answer{func(w *jsonWriter) {
		w.raw("[")
		for i, ls := range all {
			w.comma(i)
			w.labels(ls)
		}
		w.raw("]")
	}, warnings}, nil
}

func (q *queries) labels(r *http.Request) (answer, *failure) {
	sel, no := q.selection(r, plainly)
	if no != nil {
		return answer{}, no
	}
	names, err := q.store.LabelNames(r.Context(), sel.matchers, sel.from, sel.to)
	if err != nil {
		return answer{}, askNames(err)
	}
	return list(names, sel.limit), nil
}

func (q *queries) values(r *http.Request) (answer, *failure) {
	name := r.PathValue("name")
	if strings.HasPrefix(name, "U__") {
		name = model.UnescapeName(name, model.ValueEncodingEscaping)
	}
	if !model.UTF8Validation.IsValidLabelName(name) {
		return answer{}, &failure{badData, fmt.Errorf("invalid label name: %q", name)}
	}
	sel, no := q.selection(r, plainly)
	if no != nil {
		return answer{}, no
	}
	values, err := q.store.LabelValues(r.Context(), name, sel.matchers, sel.from, sel.to)
	if err != nil {
		return answer{}, askNames(err)
	}
	return list(values, sel.limit), nil
}

// oneMore is a limit that lets it be seen that there is more.
func oneMore(limit int) int {
	if limit > 0 && limit < math.MaxInt {
		return limit + 1
	}
	return limit
}

func cutTo[T any](all []T, limit int) ([]T, []string) {
	if limit > 0 && len(all) > limit {
		return all[:limit], []string{truncated}
	}
	return all, nil
}

func list(all []string, limit int) answer {
	all, warnings := cutTo(all, limit)
	return answer{func(w *jsonWriter) { w.strings(all) }, warnings}
}

// metadata is what package series has of the names in the store.
func (q *queries) metadata(r *http.Request) (answer, *failure) {
	limit := -1
	for _, name := range []string{"limit", "limit_per_metric"} {
		text := r.Form.Get(name)
		if text == "" {
			continue
		}
		n, err := strconv.Atoi(text)
		if err != nil {
			return answer{}, &failure{badData, fmt.Errorf("%s must be a number", name)}
		}
		if name == "limit" {
			limit = n
		}
	}
	defs := series.Defs()
	if metric := r.Form.Get("metric"); metric != "" {
		defs = nil
		if d, ok := series.Lookup(metric); ok {
			defs = []*series.Def{d}
		}
	}
	if limit >= 0 && len(defs) > limit {
		defs = defs[:limit]
	}
	return answer{data: func(w *jsonWriter) {
		w.raw("{")
		for i, d := range defs {
			w.comma(i)
			w.string(d.Name)
			w.raw(`:[{"type":`)
			w.string(d.Kind.String())
			w.raw(`,"help":`)
			w.string(d.Help)
			w.raw(`,"unit":`)
			w.string(d.Unit)
			w.raw("}]")
		}
		w.raw("}")
	}}, nil
}

func (q *queries) all() []Rule {
	if q.rules == nil {
		return nil
	}
	return q.rules()
}

func (q *queries) alerts(*http.Request) (answer, *failure) {
	all := q.all()
	return answer{data: func(w *jsonWriter) {
		w.raw(`{"alerts":[`)
		n := 0
		for _, rule := range all {
			for _, a := range rule.Alerts {
				w.comma(n)
				w.alert(a)
				n++
			}
		}
		w.raw("]}")
	}}, nil
}

// ruleGroups shows the agent's rules as one group.
func (q *queries) ruleGroups(r *http.Request) (answer, *failure) {
	all, now := q.all(), q.now()
	switch t := strings.ToLower(r.Form.Get("type")); t {
	case "", "alert":
	case "record":
		all = nil
	default:
		return answer{}, badParam("type", fmt.Errorf("not supported value %q", t))
	}
	return answer{data: func(w *jsonWriter) {
		if len(all) == 0 {
			w.raw(`{"groups":[]}`)
			return
		}
		w.raw(`{"groups":[{"name":"heapwright","file":"heapwright","rules":[`)
		for i, rule := range all {
			w.comma(i)
			w.rule(rule, now)
		}
		w.raw(`],"interval":1,"limit":0,"evaluationTime":0,"lastEvaluation":`)
		w.time(now)
		w.raw("}]}")
	}}, nil
}

func empty(*http.Request) (answer, *failure) {
	return answer{data: func(w *jsonWriter) { w.raw("{}") }}, nil
}

func none(*http.Request) (answer, *failure) {
	return answer{data: func(w *jsonWriter) { w.raw("[]") }}, nil
}

// buildInfo says which Prometheus this is: Grafana goes by it. It is the release whose
// query engine answers; the application says whose program it is.
func (q *queries) buildInfo(*http.Request) (answer, *failure) {
	version, revision := "", ""
	if b, ok := debug.ReadBuildInfo(); ok {
		for _, d := range b.Deps {
			if d.Path == "github.com/prometheus/prometheus" {
				version = release(d.Version)
			}
		}
		for _, s := range b.Settings {
			if s.Key == "vcs.revision" {
				revision = s.Value
			}
		}
	}
	if version == "" {
		version = "3.0.0" // a build that does not know what it is made of
	}
	return answer{data: func(w *jsonWriter) {
		w.object("version", version, "revision", revision, "branch", "heapwright", "buildUser", "", "buildDate", "", "goVersion", runtime.Version())
	}}, nil
}

// release is the version of Prometheus of a version of its module: v0.313.1 is 3.13.1.
func release(module string) string {
	var minor, patch int
	if n, err := fmt.Sscanf(module, "v0.%d.%d", &minor, &patch); n != 2 || err != nil || minor < 100 {
		return ""
	}
	return fmt.Sprintf("%d.%d.%d", minor/100, minor%100, patch)
}

func (q *queries) runtimeInfo(*http.Request) (answer, *failure) {
	return answer{data: func(w *jsonWriter) {
		w.raw(`{"serverTime":`)
		w.time(q.now())
		w.raw(`,"GOMAXPROCS":`)
		w.raw(strconv.Itoa(runtime.GOMAXPROCS(0)))
		w.raw(`,"goroutineCount":`)
		w.raw(strconv.Itoa(runtime.NumGoroutine()))
		w.raw("}")
	}}, nil
}

// Times and durations, as Prometheus parses them (web/api/v1/api.go).
var (
	minTime = time.Unix(math.MinInt64/1000+62135596801, 0).UTC()
	maxTime = time.Unix(math.MaxInt64/1000-62135596801, 999999999).UTC()
)

func parseTimeParam(r *http.Request, name string, otherwise time.Time) (time.Time, *failure) {
	text := r.Form.Get(name)
	if text == "" {
		return otherwise, nil
	}
	t, err := parseTime(text)
	if err != nil {
		return time.Time{}, badParam(name, fmt.Errorf("invalid time value for '%s': %w", name, err))
	}
	return t, nil
}

func parseTime(s string) (time.Time, error) {
	if f, err := strconv.ParseFloat(s, 64); err == nil {
		whole, part := math.Modf(f)
		if math.Abs(whole) < float64(maxTime.Unix()) { // which leaves out what is no number
			part = math.Round(part*1000) / 1000
			return time.Unix(int64(whole), int64(part*float64(time.Second))).UTC(), nil
		}
	}
	if t, err := time.Parse(time.RFC3339Nano, s); err == nil {
		return t, nil
	}
	// Years of more than four digits: what clients send for "from the beginning".
	switch s {
	case minTime.Format(time.RFC3339Nano):
		return minTime, nil
	case maxTime.Format(time.RFC3339Nano):
		return maxTime, nil
	}
	return time.Time{}, fmt.Errorf("cannot parse %q to a valid timestamp", s)
}

func parseDuration(s string) (time.Duration, error) {
	if f, err := strconv.ParseFloat(s, 64); err == nil {
		ns := f * float64(time.Second)
		// Prometheus asks for more than MaxInt64, which as a float is one more than that.
		if !(ns < math.MaxInt64 && ns > math.MinInt64) {
			return 0, fmt.Errorf("cannot parse %q to a valid duration. It overflows int64", s)
		}
		return time.Duration(ns), nil
	}
	if d, err := model.ParseDuration(s); err == nil {
		return time.Duration(d), nil
	}
	return 0, fmt.Errorf("cannot parse %q to a valid duration", s)
}

func parseLimit(r *http.Request) (int, *failure) {
	text := r.Form.Get("limit")
	if text == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(text)
	if err == nil && n < 0 {
		err = errors.New("limit must be non-negative")
	}
	if err != nil {
		return 0, badParam("limit", err)
	}
	return n, nil
}

func sortedKeys(m map[string]string) []string { return slices.Sorted(maps.Keys(m)) }
