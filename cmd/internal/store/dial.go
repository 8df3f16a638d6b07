package store

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"sort"
	"time"

	"github.com/prometheus/client_golang/api"
	apiv1 "github.com/prometheus/client_golang/api/prometheus/v1"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
)

// DialOptions say how a server is asked.
type DialOptions struct {
	Header http.Header  // sent with each request, such as a tenant's name
	Token  string       // sent as a bearer token
	Client *http.Client // nil: one with a time limit, that goes by the environment's proxy
}

// maxAnswer bounds what a server may answer, in bytes.
const maxAnswer = 64 << 20

// Dial returns a Reader that asks a server with Prometheus' query API: Prometheus,
// VictoriaMetrics, Mimir, Thanos, another heapwright. The URL is that below which
// /api/v1/query is found. Nothing is asked yet. An expression that is a string, which
// only says itself, has no answer: the client does not know it.
func Dial(rawURL string, opt DialOptions) (Reader, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, errors.New("dialing the store: that is not a URL such as http://prometheus:9090") // which may have a password
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, fmt.Errorf("dialing the store: %q is not a URL such as http://prometheus:9090", u.Redacted())
	}
	if u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("dialing the store: %q must end with its path: parameters are not sent on", u.Redacted())
	}
	client := http.Client{Timeout: 2*time.Minute + 10*time.Second}
	if opt.Client != nil {
		client = *opt.Client
	}
	if client.Transport == nil {
		client.Transport = http.DefaultTransport
	}
	header := opt.Header.Clone()
	if header == nil {
		header = http.Header{}
	}
	if opt.Token != "" {
		header.Set("Authorization", "Bearer "+opt.Token)
	}
	client.Transport = &transport{client.Transport, header}
	client.CheckRedirect = func(r *http.Request, via []*http.Request) error {
		// What is sent has credentials, which are for this server alone.
		if r.URL.Host != u.Host || r.URL.Scheme != u.Scheme || len(via) >= 5 {
			return fmt.Errorf("the server sends us on to %s: give the address where it ends", r.URL.Redacted())
		}
		return nil
	}
	c, err := api.NewClient(api.Config{Address: u.String(), Client: &client})
	if err != nil {
		return nil, fmt.Errorf("dialing the store: %w", err)
	}
	return &remote{apiv1.NewAPI(c), newEngine(QueryOptions{})}, nil
}

// transport adds headers to requests, and bounds answers.
type transport struct {
	http.RoundTripper
	header http.Header
}

func (t *transport) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	for k, v := range t.header {
		r.Header[k] = v
	}
	resp, err := t.RoundTripper.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	resp.Body = &bounded{resp.Body, maxAnswer}
	return resp, nil
}

// bounded fails when more is read than may be.
type bounded struct {
	io.ReadCloser
	left int64
}

func (b *bounded) Read(p []byte) (int, error) {
	if b.left <= 0 {
		// One byte more than allowed, or the end.
		var one [1]byte
		if n, err := b.ReadCloser.Read(one[:]); n == 0 {
			return 0, err
		}
		return 0, fmt.Errorf("the answer is larger than %d MiB: ask for less", maxAnswer>>20)
	}
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.ReadCloser.Read(p)
	b.left -= int64(n)
	return n, err
}

type remote struct {
	api    apiv1.API
	engine *engine // to say of a selector what is wrong, as for a store that is here
}

func (r *remote) Query(ctx context.Context, expr string, at time.Time) (parser.Value, []string, error) {
	if err := checkExpr(expr); err != nil {
		return nil, nil, err
	}
	v, warn, infos, err := r.api.Query(ctx, expr, at)
	if err != nil {
		return nil, nil, remoteError(err)
	}
	out, err := fromModel(v)
	return out, append(warn, infos...), err
}

func (r *remote) QueryRange(ctx context.Context, expr string, from, to time.Time, step time.Duration) (promql.Matrix, []string, error) {
	if err := checkExpr(expr); err != nil {
		return nil, nil, err
	}
	if err := checkSteps(from, to, step); err != nil {
		return nil, nil, err
	}
	v, warn, infos, err := r.api.QueryRange(ctx, expr, apiv1.Range{Start: from, End: to, Step: step})
	if err != nil {
		return nil, nil, remoteError(err)
	}
	m, err := matrix(v)
	return m, append(warn, infos...), err
}

func (r *remote) Raw(ctx context.Context, selector string, from, to time.Time, limit int) (promql.Matrix, error) {
	ms, err := r.engine.parseSelector(selector)
	if err != nil {
		return nil, err
	}
	if to.Before(from) {
		return nil, nil
	}
	// A range selector gives samples as they are stored. Its start is exclusive. It is
	// written anew from what was parsed, so that nothing else can hide in it.
	length := millis(to) - millis(from) + 1
	vs := parser.VectorSelector{LabelMatchers: ms}
	v, _, _, err := r.api.Query(ctx, fmt.Sprintf("%s[%dms]", vs.String(), length), time.UnixMilli(millis(to)))
	if err != nil {
		return nil, remoteError(err)
	}
	m, err := matrix(v)
	if err != nil {
		return nil, err
	}
	if limit <= 0 {
		limit = r.engine.opt.MaxSamples
	}
	n := 0
	for _, s := range m {
		if n += len(s.Floats); n > limit {
			return nil, tooMuch(limit)
		}
	}
	return m, nil
}

func (r *remote) Series(ctx context.Context, matchers []string, from, to time.Time, limit int) ([]labels.Labels, error) {
	if len(matchers) == 0 {
		return nil, &QueryError{KindBadData, errors.New("no selector was given")}
	}
	if _, err := r.engine.parseSelectors(matchers); err != nil {
		return nil, err
	}
	var opts []apiv1.Option
	if limit > 0 {
		opts = append(opts, apiv1.WithLimit(uint64(limit)))
	}
	sets, _, _, err := r.api.Series(ctx, matchers, from, to, opts...)
	if err != nil {
		return nil, remoteError(err)
	}
	out := make([]labels.Labels, 0, len(sets))
	for _, s := range sets {
		out = append(out, fromMetric(model.Metric(s)))
	}
	slices.SortFunc(out, labels.Compare)
	if limit > 0 && len(out) > limit {
		out = out[:limit] // not every server knows the limit
	}
	return out, nil
}

func (r *remote) LabelNames(ctx context.Context, matchers []string, from, to time.Time) ([]string, error) {
	if _, err := r.engine.parseSelectors(matchers); err != nil {
		return nil, err
	}
	names, _, _, err := r.api.LabelNames(ctx, matchers, from, to)
	if err != nil {
		return nil, remoteError(err)
	}
	out := make([]string, len(names))
	for i, n := range names {
		out[i] = string(n)
	}
	sort.Strings(out)
	return out, nil
}

func (r *remote) LabelValues(ctx context.Context, name string, matchers []string, from, to time.Time) ([]string, error) {
	if name == "" || len(name) > maxQuery {
		return nil, &QueryError{KindBadData, fmt.Errorf("%.100q is not the name of a label", name)}
	}
	if _, err := r.engine.parseSelectors(matchers); err != nil {
		return nil, err
	}
	values, _, _, err := r.api.LabelValues(ctx, name, matchers, from, to)
	if err != nil {
		return nil, remoteError(err)
	}
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = string(v)
	}
	sort.Strings(out)
	return out, nil
}

// fromModel translates what the client returns into what the engine here returns.
func fromModel(v model.Value) (parser.Value, error) {
	switch v := v.(type) {
	case *model.Scalar:
		return promql.Scalar{T: int64(v.Timestamp), V: float64(v.Value)}, nil
	case *model.String:
		return promql.String{T: int64(v.Timestamp), V: v.Value}, nil
	case model.Vector:
		out := make(promql.Vector, 0, len(v))
		for _, s := range v {
			if s.Histogram == nil { // native histograms: nothing of ours is one
				out = append(out, promql.Sample{T: int64(s.Timestamp), F: float64(s.Value), Metric: fromMetric(s.Metric)})
			}
		}
		return out, nil
	case model.Matrix:
		out := make(promql.Matrix, 0, len(v))
		for _, s := range v {
			pts := make([]promql.FPoint, len(s.Values))
			for i, p := range s.Values {
				pts[i] = promql.FPoint{T: int64(p.Timestamp), F: float64(p.Value)}
			}
			out = append(out, promql.Series{Metric: fromMetric(s.Metric), Floats: pts})
		}
		sort.Sort(out)
		return out, nil
	}
	return nil, &QueryError{KindRemote, fmt.Errorf("the server answered with a %T", v)}
}

func matrix(v model.Value) (promql.Matrix, error) {
	p, err := fromModel(v)
	if err != nil {
		return nil, err
	}
	m, ok := p.(promql.Matrix)
	if !ok {
		return nil, &QueryError{KindRemote, fmt.Errorf("the server answered with a %s and not with a matrix", p.Type())}
	}
	return m, nil
}

func fromMetric(m model.Metric) labels.Labels {
	b := labels.NewScratchBuilder(len(m))
	for k, v := range m {
		b.Add(string(k), string(v))
	}
	b.Sort()
	return b.Labels()
}

// remoteError keeps the kind that the server said.
func remoteError(err error) error {
	kind := KindRemote
	var e *apiv1.Error
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		kind = KindTimeout
	case errors.Is(err, context.Canceled):
		kind = KindCanceled
	case errors.As(err, &e):
		switch e.Type {
		case apiv1.ErrBadData:
			kind = KindBadData
		case apiv1.ErrTimeout:
			kind = KindTimeout
		case apiv1.ErrCanceled:
			kind = KindCanceled
		case apiv1.ErrExec:
			kind = KindExecution
		}
	}
	return &QueryError{kind, fmt.Errorf("asking the store: %w", err)}
}
