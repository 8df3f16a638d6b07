package web

import (
	"encoding/json"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/prometheus/model/histogram"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql"
	"github.com/prometheus/prometheus/promql/parser"
)

// data writes the data of an answer.
type data func(*jsonWriter)

// writeAnswer writes an answer piece by piece: a matrix of millions of points is not
// held a second time, as text.
func writeAnswer(w http.ResponseWriter, a answer) {
	w.Header().Set("Content-Type", "application/json")
	j := &jsonWriter{to: w}
	j.raw(`{"status":"success","data":`)
	a.data(j)
	var warnings, infos []string
	for _, s := range a.warnings {
		if strings.HasPrefix(s, "PromQL info: ") {
			infos = append(infos, s)
		} else {
			warnings = append(warnings, s)
		}
	}
	if len(warnings) > 0 {
		j.raw(`,"warnings":`)
		j.strings(warnings)
	}
	if len(infos) > 0 {
		j.raw(`,"infos":`)
		j.strings(infos)
	}
	j.raw("}")
	j.flush()
}

func writeFailure(w http.ResponseWriter, status int, kind, text string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	j := &jsonWriter{to: w}
	j.raw(`{"status":"error","errorType":`)
	j.string(kind)
	j.raw(`,"error":`)
	j.string(text)
	j.raw("}")
	j.flush()
}

// jsonWriter writes what Prometheus' API answers. After an error it writes nothing more:
// the client is gone.
type jsonWriter struct {
	to  http.ResponseWriter
	b   []byte
	err error
}

// jsonPiece is how much is written at once.
const jsonPiece = 32 << 10

func (w *jsonWriter) flush() {
	if w.err == nil && len(w.b) > 0 {
		_, w.err = w.to.Write(w.b)
	}
	w.b = w.b[:0]
}

func (w *jsonWriter) raw(s string) {
	if len(w.b) >= jsonPiece {
		w.flush()
	}
	w.b = append(w.b, s...)
}

// comma separates what is the i-th from what is before it.
func (w *jsonWriter) comma(i int) {
	if i > 0 {
		w.raw(",")
	}
}

func (w *jsonWriter) string(s string) {
	if len(w.b) >= jsonPiece {
		w.flush()
	}
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] > '~' || s[i] == '"' || s[i] == '\\' {
			q, err := json.Marshal(s)
			if err != nil {
				q = []byte(`""`) // strings can be written, all of them
			}
			w.b = append(w.b, q...)
			return
		}
	}
	w.b = append(w.b, '"')
	w.b = append(w.b, s...)
	w.b = append(w.b, '"')
}

func (w *jsonWriter) strings(all []string) {
	w.raw("[")
	for i, s := range all {
		w.comma(i)
		w.string(s)
	}
	w.raw("]")
}

// object writes an object of strings, given as names and values in turn.
func (w *jsonWriter) object(pairs ...string) {
	w.raw("{")
	for i := 0; i+1 < len(pairs); i += 2 {
		w.comma(i)
		w.string(pairs[i])
		w.raw(":")
		w.string(pairs[i+1])
	}
	w.raw("}")
}

func (w *jsonWriter) stringMap(m map[string]string) {
	pairs := make([]string, 0, 2*len(m))
	for _, k := range sortedKeys(m) {
		pairs = append(pairs, k, m[k])
	}
	w.object(pairs...)
}

func (w *jsonWriter) time(t time.Time) { w.string(t.UTC().Format(time.RFC3339Nano)) }

func (w *jsonWriter) labels(ls labels.Labels) {
	w.raw("{")
	i := 0
	ls.Range(func(l labels.Label) {
		w.comma(i)
		w.string(l.Name)
		w.raw(":")
		w.string(l.Value)
		i++
	})
	w.raw("}")
}

// value is the data of a query.
func (w *jsonWriter) value(v parser.Value) {
	if v == nil {
		v = promql.Vector{}
	}
	w.raw(`{"resultType":`)
	w.string(string(v.Type()))
	w.raw(`,"result":`)
	switch x := v.(type) {
	case promql.Vector:
		w.raw("[")
		for i, s := range x {
			w.comma(i)
			w.raw(`{"metric":`)
			w.labels(s.Metric)
			if s.H != nil {
				w.raw(`,"histogram":`)
				w.histogramAt(s.T, s.H)
			} else {
				w.raw(`,"value":`)
				w.point(s.T, s.F)
			}
			w.raw("}")
		}
		w.raw("]")
	case promql.Matrix:
		w.raw("[")
		for i, s := range x {
			w.comma(i)
			w.matrixSeries(s)
		}
		w.raw("]")
	case promql.Scalar:
		w.raw("[")
		w.millis(x.T)
		w.raw(`,"`)
		// A scalar is written without an exponent, unlike a sample: promql/value.go.
		w.b = strconv.AppendFloat(w.b, x.V, 'f', -1, 64)
		w.raw(`"]`)
	case promql.String:
		w.raw("[")
		w.millis(x.T)
		w.raw(",")
		w.string(x.V)
		w.raw("]")
	default:
		w.raw("null")
	}
	w.raw("}")
}

func (w *jsonWriter) matrixSeries(s promql.Series) {
	w.raw(`{"metric":`)
	w.labels(s.Metric)
	if len(s.Floats) > 0 {
		w.raw(`,"values":[`)
		for i, p := range s.Floats {
			w.comma(i)
			w.point(p.T, p.F)
		}
		w.raw("]")
	}
	if len(s.Histograms) > 0 {
		w.raw(`,"histograms":[`)
		for i, p := range s.Histograms {
			w.comma(i)
			w.histogramAt(p.T, p.H)
		}
		w.raw("]")
	}
	w.raw("}")
}

func (w *jsonWriter) point(t int64, f float64) {
	w.raw("[")
	w.millis(t)
	w.raw(",")
	w.float(f)
	w.raw("]")
}

// millis writes a time in ms as seconds.
func (w *jsonWriter) millis(t int64) {
	if t < 0 {
		w.b = append(w.b, '-')
		t = -t
	}
	w.b = strconv.AppendInt(w.b, t/1000, 10)
	if part := t % 1000; part != 0 {
		w.b = append(w.b, '.', byte('0'+part/100), byte('0'+part/10%10), byte('0'+part%10))
	}
}

// float writes a number as a string, so that NaN and the infinities can be written.
func (w *jsonWriter) float(f float64) {
	format := byte('f')
	if a := math.Abs(f); a != 0 && (a < 1e-6 || a >= 1e21) {
		format = 'e'
	}
	w.b = append(w.b, '"')
	w.b = strconv.AppendFloat(w.b, f, format, -1, 64)
	w.b = append(w.b, '"')
}

// histogramAt writes a native histogram. None are stored here; another server that is
// asked may have some. util/jsonutil/marshal.go of Prometheus has the form.
func (w *jsonWriter) histogramAt(t int64, h *histogram.FloatHistogram) {
	w.raw("[")
	w.millis(t)
	w.raw(`,{"count":`)
	w.float(h.Count)
	w.raw(`,"sum":`)
	w.float(h.Sum)
	n := 0
	for it := h.AllBucketIterator(); it.Next(); {
		b := it.At()
		if b.Count == 0 {
			continue
		}
		if n == 0 {
			w.raw(`,"buckets":[`)
		}
		w.comma(n)
		n++
		bounds := byte('2') // both exclusive
		switch {
		case b.LowerInclusive && b.UpperInclusive:
			bounds = '3'
		case b.LowerInclusive:
			bounds = '1'
		case b.UpperInclusive:
			bounds = '0'
		}
		w.raw("[")
		w.b = append(w.b, bounds, ',')
		w.float(b.Lower)
		w.raw(",")
		w.float(b.Upper)
		w.raw(",")
		w.float(b.Count)
		w.raw("]")
	}
	if n > 0 {
		w.raw("]")
	}
	w.raw("}]")
}

func (w *jsonWriter) alert(a Alert) {
	w.raw(`{"labels":`)
	w.stringMap(a.Labels)
	w.raw(`,"annotations":`)
	w.stringMap(a.Annotations)
	w.raw(`,"state":"firing","activeAt":`)
	w.time(a.Since)
	w.raw(`,"value":`)
	w.string(strconv.FormatFloat(a.Value, 'e', -1, 64))
	w.raw("}")
}

func (w *jsonWriter) rule(r Rule, now time.Time) {
	state := "inactive"
	if len(r.Alerts) > 0 {
		state = "firing"
	}
	w.raw(`{"state":`)
	w.string(state)
	w.raw(`,"name":`)
	w.string(r.Name)
	w.raw(`,"query":`)
	w.string(r.Query)
	w.raw(`,"duration":`)
	w.raw(strconv.FormatFloat(r.For.Seconds(), 'f', -1, 64))
	w.raw(`,"keepFiringFor":0,"labels":`)
	w.stringMap(r.Labels)
	w.raw(`,"annotations":`)
	w.stringMap(r.Annotations)
	w.raw(`,"alerts":[`)
	for i, a := range r.Alerts {
		w.comma(i)
		w.alert(a)
	}
	w.raw(`],"health":"ok","evaluationTime":0,"lastEvaluation":`)
	w.time(now)
	w.raw(`,"type":"alerting"}`)
}
