package forward

import (
	"net/http"

	"github.com/klauspost/compress/snappy"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/prompb"
)

// remoteWrite writes requests of Prometheus remote write 1.0.
type remoteWrite struct {
	req    prompb.WriteRequest
	labels []prompb.Label
	points []prompb.Sample
	raw    []byte
	packed []byte
}

func (*remoteWrite) header() http.Header {
	return http.Header{
		"Content-Type":                      {"application/x-protobuf"},
		"Content-Encoding":                  {"snappy"},
		"X-Prometheus-Remote-Write-Version": {"0.1.0"},
	}
}

// learn has nothing to learn: a series says everything itself.
func (*remoteWrite) learn([]line) {}

// units is each series for itself.
func (*remoteWrite) units(lines []line) [][]line {
	out := make([][]line, len(lines))
	for i := range lines {
		out[i] = lines[i : i+1]
	}
	return out
}

// encode returns a request's body, which is valid until the next call.
func (w *remoteWrite) encode(units [][]line) ([]byte, error) {
	w.req.Timeseries, w.labels, w.points = w.req.Timeseries[:0], w.labels[:0], w.points[:0]
	for _, u := range units {
		for _, l := range u {
			firstLabel, firstPoint := len(w.labels), len(w.points)
			l.ls.Range(func(x labels.Label) { w.labels = append(w.labels, prompb.Label{Name: x.Name, Value: x.Value}) })
			for _, p := range l.pts {
				w.points = append(w.points, prompb.Sample{Timestamp: p.T, Value: p.F})
			}
			// Where the slice grew, earlier series keep what it was: that has their part too.
			w.req.Timeseries = append(w.req.Timeseries, prompb.TimeSeries{Labels: w.labels[firstLabel:], Samples: w.points[firstPoint:]})
		}
	}
	size := w.req.Size()
	if cap(w.raw) < size {
		w.raw = make([]byte, size+size/4)
	}
	n, err := w.req.MarshalToSizedBuffer(w.raw[:size])
	if err != nil {
		return nil, err
	}
	if most := snappy.MaxEncodedLen(n); cap(w.packed) < most {
		w.packed = make([]byte, most)
	}
	return snappy.Encode(w.packed[:cap(w.packed)], w.raw[:n]), nil
}

// partly: remote write 1.0 takes all or nothing, as far as it says.
func (*remoteWrite) partly([]byte) (int, string) { return 0, "" }
