package metric

import (
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

func TestPrometheusName(t *testing.T) {
	for _, tt := range []struct {
		name, unit string
		kind       Kind
		want       string
	}{
		{"heapwright.guard.state", "", Gauge, "heapwright_guard_state"},
		{"heapwright.limit", "By", Gauge, "heapwright_limit_bytes"},
		{"heapwright.limit.bytes", "By", Gauge, "heapwright_limit_bytes"},
		{"heapwright.pause", "s", Gauge, "heapwright_pause_seconds"},
		{"heapwright.pause.ms", "ms", Gauge, "heapwright_pause_ms_milliseconds"},
		{"heapwright.used", "1", Gauge, "heapwright_used_ratio"},
		{"heapwright.used_ratio", "1", Gauge, "heapwright_used_ratio"},
		{"heapwright.trips", "1", Counter, "heapwright_trips_total"},
		{"heapwright.trips", "{trip}", Counter, "heapwright_trips_total"},
		{"heapwright.trips_total", "{trip}", Counter, "heapwright_trips_total"},
		{"heapwright.written", "By", Counter, "heapwright_written_bytes_total"},
		{"heapwright.written_total", "By", Counter, "heapwright_written_bytes_total"},
		{"heapwright.goroutines", "{goroutine}", Gauge, "heapwright_goroutines"},
		{"heapwright.rate", "By/s", Gauge, "heapwright_rate_bytes_per_second"},
		{"heapwright.rate", "{request}/s", Gauge, "heapwright_rate_per_second"},
		{"heapwright.rate", "By/{request}", Gauge, "heapwright_rate_bytes"},
		{"heapwright.load", "%", Gauge, "heapwright_load_percent"},
		{"9 lives-and:one", "Cel", Gauge, "_9_lives_and:one_Cel"},
		{".total", "", Gauge, "_"},
		{"größe", "m\nm", Gauge, "gr____e_m_m"},
	} {
		if got := PrometheusName(Metric{Name: tt.name, Unit: tt.unit, Kind: tt.kind}); got != tt.want {
			t.Errorf("%s [%s] %s: %s, want %s", tt.name, tt.unit, tt.kind, got, tt.want)
		}
	}
}

func source(ms ...Metric) Source {
	return SourceFunc(func(emit func(Metric)) {
		for _, m := range ms {
			emit(m)
		}
	})
}

func text(t testing.TB, sources ...Source) string {
	t.Helper()
	var b strings.Builder
	if err := WriteText(&b, sources...); err != nil {
		t.Fatal(err)
	}
	if err := check(b.String()); err != nil {
		t.Errorf("%v in:\n%s", err, b.String())
	}
	return b.String()
}

func TestWriteText(t *testing.T) {
	got := text(t,
		source(
			Metric{Name: "heapwright.shed.requests", Unit: "{request}", Kind: Counter, Help: "Requests, by class.\nOr \\ so.", Labels: []Label{{"outcome", "shed"}, {"class", "low"}}, Value: 3},
			Metric{Name: "heapwright.limit", Unit: "By", Help: "The limit.", Value: 1 << 40},
			Metric{Name: "heapwright.shed.requests", Unit: "{request}", Kind: Counter, Help: "Another text.", Labels: []Label{{"class", "a\"b\\c\nd\xff"}}, Value: 1e21},
		),
		source(
			Metric{Name: "heapwright.limit", Unit: "By", Value: 5}, // said already
			Metric{Name: "heapwright.limit_bytes", Kind: Counter, Value: 5},
			Metric{Name: "heapwright.shed.requests", Unit: "{request}", Kind: Counter, Labels: []Label{{"class", "low"}, {"outcome", "shed"}}, Value: 9}, // the same labels
			Metric{Name: "heapwright.nan", Value: math.NaN()},
			Metric{Name: "heapwright.inf", Value: math.Inf(1)},
			Metric{Name: "heapwright.minus", Value: math.Inf(-1), Labels: []Label{{"empty", ""}, {"__name__", "x"}, {"a.b", "1"}, {"a_b", "2"}}},
			Metric{},
		),
		nil,
	)
	const want = `# TYPE heapwright_inf gauge
heapwright_inf +Inf
# HELP heapwright_limit_bytes The limit.
# TYPE heapwright_limit_bytes gauge
heapwright_limit_bytes 1.099511627776e+12
# TYPE heapwright_limit_bytes_total counter
heapwright_limit_bytes_total 5
# TYPE heapwright_minus gauge
heapwright_minus{a_b="1",label__name__="x"} -Inf
# TYPE heapwright_nan gauge
heapwright_nan NaN
# HELP heapwright_shed_requests_total Requests, by class.\nOr \\ so.
# TYPE heapwright_shed_requests_total counter
heapwright_shed_requests_total{class="low",outcome="shed"} 3
heapwright_shed_requests_total{class="a\"b\\c\nd` + "\uFFFD" + `"} 1e+21
`
	if got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

// What two sources say of one name with another kind is not said.
func TestKindsDiffer(t *testing.T) {
	got := text(t, source(Metric{Name: "a", Kind: Counter, Value: 1}), source(Metric{Name: "a", Unit: "total", Kind: Gauge, Value: 2}))
	if want := "# TYPE a_total counter\na_total 1\n"; got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestHostileSources(t *testing.T) {
	panics := SourceFunc(func(emit func(Metric)) {
		emit(Metric{Name: "before", Value: 1})
		panic("no")
	})
	endless := SourceFunc(func(emit func(Metric)) {
		for i := range 10 * maxMetrics {
			emit(Metric{Name: "endless", Labels: []Label{{"i", strconv.Itoa(i)}}})
		}
	})
	got := text(t, panics, endless, source(Metric{Name: "zz.after", Value: 2}))
	if !strings.Contains(got, "\nbefore 1\n") && !strings.HasPrefix(got, "# TYPE before gauge\nbefore 1\n") {
		t.Error("what was said before the panic is lost")
	}
	if !strings.HasSuffix(got, "zz_after 2\n") {
		t.Error("what comes after the panic is lost")
	}
	if n := strings.Count(got, "\nendless{"); n != maxMetrics {
		t.Errorf("%d of one source", n)
	}
}

func TestHandler(t *testing.T) {
	h := Handler(source(Metric{Name: "a", Value: 1}))
	for _, tt := range []struct {
		method string
		code   int
		body   string
	}{
		{http.MethodGet, 200, "# TYPE a gauge\na 1\n"},
		{http.MethodHead, 200, ""},
		{http.MethodPost, 405, "metrics can only be read\n"},
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(tt.method, "/metrics", nil))
		if w.Code != tt.code || w.Body.String() != tt.body {
			t.Errorf("%s: %d, %q", tt.method, w.Code, w.Body.String())
		}
		if got := w.Header().Get("Content-Type"); tt.code == 200 && got != "text/plain; version=0.0.4; charset=utf-8" {
			t.Errorf("%s: Content-Type %q", tt.method, got)
		}
	}
}

func TestWriteTextFails(t *testing.T) {
	want := errors.New("gone")
	w := writerFunc(func([]byte) (int, error) { return 0, want })
	if err := WriteText(w, source(Metric{Name: "a"})); !errors.Is(err, want) {
		t.Errorf("got %v, want %v", err, want)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func FuzzWriteText(f *testing.F) {
	f.Add("heapwright.x", "By", "help\n", "key", "value\"\\\n", 1.5, true)
	f.Add("", "1", "", "__name__", "\xff", math.Inf(-1), false)
	f.Add("a\n# TYPE b gauge", "s/{x}", "\r", "le=\"", "", math.NaN(), true)
	f.Fuzz(func(t *testing.T, name, unit, help, key, value string, v float64, counter bool) {
		m := Metric{Name: name, Unit: unit, Help: help, Labels: []Label{{key, value}, {"x", value}}, Value: v}
		if counter {
			m.Kind = Counter
		}
		text(t, source(m, m), source(Metric{Name: name + "." + key, Unit: unit, Help: help, Value: v}))
	})
}

var (
	nameExp   = regexp.MustCompile(`^[a-zA-Z_:][a-zA-Z0-9_:]*`)
	labelExp  = regexp.MustCompile(`^([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"`)
	headExp   = regexp.MustCompile(`^# (HELP|TYPE) ([a-zA-Z_:][a-zA-Z0-9_:]*) (.*)$`)
	escapeExp = regexp.MustCompile(`\\[^\\n]`)
)

// check is a strict reader of the text format: a name's lines stand together, HELP and TYPE
// come once and before its values, no value comes twice, counters end in _total.
func check(text string) error {
	if text != "" && !strings.HasSuffix(text, "\n") {
		return errors.New("the last line does not end")
	}
	kinds, ended, values := map[string]string{}, map[string]bool{}, map[string]bool{}
	var family, helped string
	for i, line := range strings.Split(strings.TrimSuffix(text, "\n"), "\n") {
		fail := func(what string) error { return fmt.Errorf("line %d: %s: %q", i+1, what, line) }
		if line == "" && text == "" {
			continue
		}
		if m := headExp.FindStringSubmatch(line); m != nil {
			name := m[2]
			if name != family && name != helped {
				if kinds[name] != "" || ended[name] {
					return fail("its lines do not stand together")
				}
				if family != "" {
					ended[family] = true
				}
			}
			switch m[1] {
			case "HELP":
				if helped == name || kinds[name] != "" {
					return fail("a second HELP, or one too late")
				}
				if rest := strings.ReplaceAll(m[3], `\\`, ""); escapeExp.MatchString(rest) || strings.HasSuffix(rest, `\`) {
					return fail("help is not escaped")
				}
				helped = name
			case "TYPE":
				if kinds[name] != "" {
					return fail("a second TYPE")
				}
				if m[3] != "gauge" && m[3] != "counter" {
					return fail("unknown type")
				}
				if (m[3] == "counter") != strings.HasSuffix(name, "_total") && m[3] == "counter" {
					return fail("a counter that does not end in _total")
				}
				kinds[name], family = m[3], name
			}
			continue
		}
		name := nameExp.FindString(line)
		if name == "" || name != family {
			return fail("a value outside of its family")
		}
		rest := line[len(name):]
		keys := map[string]bool{}
		if strings.HasPrefix(rest, "{") {
			for rest = rest[1:]; ; rest = rest[1:] {
				m := labelExp.FindStringSubmatch(rest)
				if m == nil || keys[m[1]] || strings.HasPrefix(m[1], "__") {
					return fail("labels")
				}
				keys[m[1]] = true
				if rest = rest[len(m[0]):]; rest == "" {
					return fail("labels do not end")
				}
				if rest[0] == '}' {
					rest = rest[1:]
					break
				}
				if rest[0] != ',' {
					return fail("labels")
				}
			}
		}
		number, ok := strings.CutPrefix(rest, " ")
		if _, err := strconv.ParseFloat(number, 64); !ok || err != nil {
			return fail("value")
		}
		key := strings.TrimSuffix(line, rest)
		if values[key] {
			return fail("a second value")
		}
		values[key] = true
	}
	return nil
}

func BenchmarkWriteText(b *testing.B) {
	var ms []Metric
	for i := range 100 {
		ms = append(ms, Metric{Name: "heapwright.metric." + strconv.Itoa(i%20), Unit: "By", Kind: Counter, Help: "Some help.", Labels: []Label{{"class", strconv.Itoa(i)}}, Value: float64(i)})
	}
	s := source(ms...)
	b.ReportAllocs()
	for b.Loop() {
		if err := WriteText(io.Discard, s); err != nil {
			b.Fatal(err)
		}
	}
}
