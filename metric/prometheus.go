package metric

import (
	"bufio"
	"cmp"
	"io"
	"math"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

// ContentType is that of what WriteText writes.
const ContentType = "text/plain; version=0.0.4; charset=utf-8"

// maxMetrics bounds what is taken from one source, should it not bound itself.
const maxMetrics = 4096

// units are the words that Prometheus puts at the end of a name, as the
// OpenTelemetry specification has them ("Prometheus and OpenMetrics
// Compatibility").
var units = map[string]string{
	"By": "bytes", "KiBy": "kibibytes", "MiBy": "mebibytes", "GiBy": "gibibytes",
	"s": "seconds", "ms": "milliseconds", "us": "microseconds", "ns": "nanoseconds", "min": "minutes", "h": "hours",
	"%": "percent", "Hz": "hertz",
}

// PrometheusName returns the name of m in Prometheus: what may not be in a name
// becomes "_", the unit is the suffix ("_bytes", "_seconds", "_ratio" for a gauge of
// unit "1", "_bytes_per_second"; none for an annotation such as "{goroutine}"), and a
// counter ends in "_total".
func PrometheusName(m Metric) string {
	name := strings.TrimSuffix(clean(m.Name, true), "_total")
	if name == "" {
		name = "_"
	}
	if u := unitSuffix(m); u != "" && !strings.HasSuffix(name, "_"+u) {
		name += "_" + u
	}
	if m.Kind == Counter {
		name += "_total"
	}
	return name
}

func unitSuffix(m Metric) string {
	if m.Unit == "1" {
		if m.Kind == Gauge {
			return "ratio"
		}
		return ""
	}
	of, per, rate := strings.Cut(m.Unit, "/")
	name := unitName(of)
	if !rate {
		return name
	}
	if per = strings.TrimSuffix(unitName(per), "s"); per == "" {
		return name
	}
	return strings.TrimPrefix(name+"_per_"+per, "_")
}

func unitName(unit string) string {
	if strings.HasPrefix(unit, "{") {
		return ""
	}
	if name, ok := units[unit]; ok {
		return name
	}
	return strings.Trim(clean(unit, false), "_")
}

// clean replaces what Prometheus does not allow in the name of a metric, or of a
// label.
func clean(name string, colon bool) string {
	b := make([]byte, 0, len(name)+1)
	for i := range len(name) {
		c := name[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c == '_', c == ':' && colon:
		case c >= '0' && c <= '9':
			if i == 0 {
				b = append(b, '_')
			}
		default:
			c = '_'
		}
		b = append(b, c)
	}
	return string(b)
}

// Handler serves the metrics of the sources as Prometheus text.
func Handler(sources ...Source) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "metrics can only be read", http.StatusMethodNotAllowed)
			return
		}
		w.Header().Set("Content-Type", ContentType)
		if r.Method == http.MethodGet {
			WriteText(w, sources...) // it fails only when the client is gone
		}
	})
}

// WriteText writes the metrics of the sources in Prometheus' text format, version
// 0.0.4. What would make the text invalid is left out: a value whose name and
// labels came before, or whose kind is not that of the name's first. A source that
// panics loses what it would have emitted after that, and harms no other.
func WriteText(w io.Writer, sources ...Source) error {
	var all []series
	for _, s := range sources {
		all = append(all, collect(s)...)
	}
	// Those of one name must stand together, in the order they came.
	slices.SortStableFunc(all, func(a, b series) int { return cmp.Compare(a.name, b.name) })
	out := bufio.NewWriter(w)
	var family string
	var kind Kind
	seen := map[string]bool{}
	for i, s := range all {
		switch {
		case i == 0 || s.name != family:
			family, kind = s.name, s.kind
			clear(seen)
			if s.help != "" {
				out.WriteString("# HELP " + family + " " + s.help + "\n")
			}
			out.WriteString("# TYPE " + family + " " + kind.String() + "\n")
		case s.kind != kind:
			continue
		}
		if seen[s.labels] {
			continue
		}
		seen[s.labels] = true
		out.WriteString(family)
		out.WriteString(s.labels)
		out.WriteByte(' ')
		out.WriteString(value(s.value))
		out.WriteByte('\n')
	}
	return out.Flush()
}

// series is a metric in the words of the text.
type series struct {
	name, help string
	kind       Kind
	labels     string // "" or {a="b"}, sorted
	value      float64
}

func collect(s Source) (all []series) {
	defer func() { _ = recover() }() // a source is the service's own code
	if s == nil {
		return nil
	}
	s.Metrics(func(m Metric) {
		if len(all) < maxMetrics && m.Name != "" {
			all = append(all, series{PrometheusName(m), helpEscape.Replace(strings.ToValidUTF8(m.Help, "\uFFFD")), m.Kind, labels(m.Labels), m.Value})
		}
	})
	return all
}

var (
	helpEscape  = strings.NewReplacer(`\`, `\\`, "\n", `\n`)
	valueEscape = strings.NewReplacer(`\`, `\\`, "\n", `\n`, `"`, `\"`)
)

// labels returns the labels as they stand in the text. Of two with the same key
// the first counts; one with an empty value is none, as Prometheus has it.
func labels(ls []Label) string {
	if len(ls) == 0 {
		return ""
	}
	type pair struct{ key, value string }
	pairs := make([]pair, 0, len(ls))
	for _, l := range ls {
		key := clean(l.Key, false)
		if strings.HasPrefix(key, "__") { // theirs
			key = "label" + key
		}
		if key != "" && l.Value != "" {
			pairs = append(pairs, pair{key, valueEscape.Replace(strings.ToValidUTF8(l.Value, "\uFFFD"))})
		}
	}
	slices.SortStableFunc(pairs, func(a, b pair) int { return cmp.Compare(a.key, b.key) })
	pairs = slices.CompactFunc(pairs, func(a, b pair) bool { return a.key == b.key })
	if len(pairs) == 0 {
		return ""
	}
	var b strings.Builder
	for i, p := range pairs {
		b.WriteByte("{,"[min(i, 1)])
		b.WriteString(p.key + `="` + p.value + `"`)
	}
	b.WriteByte('}')
	return b.String()
}

func value(v float64) string {
	switch {
	case math.IsInf(v, 1):
		return "+Inf"
	case math.IsInf(v, -1):
		return "-Inf"
	}
	return strconv.FormatFloat(v, 'g', -1, 64)
}
