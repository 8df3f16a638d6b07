package experiment

import (
	"encoding/json"
	"math"
	"reflect"
	"testing"
)

// TestInfinitiesSurviveJSON: a verdict that was kept is compared with the one that its
// blocks give.
func TestInfinitiesSurviveJSON(t *testing.T) {
	for _, tt := range []struct {
		name string
		low  float64
	}{{"rss_mean_bytes", 0}, {"error_ratio", math.Inf(-1)}} {
		m := MetricVerdict{Name: tt.name, Ratio: 1, Low: tt.low, High: math.Inf(1)}
		c := Calibration{Name: tt.name, Bias: 1, Low: tt.low, High: math.Inf(1), Smallest: math.Inf(1)}
		var m2 MetricVerdict
		var c2 Calibration
		for from, to := range map[any]any{&m: &m2, &c: &c2} {
			text, err := json.Marshal(from)
			if err != nil {
				t.Fatal(err)
			}
			if err := json.Unmarshal(text, to); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(from, to) {
				t.Errorf("%s came back as %+v, was %+v", tt.name, to, from)
			}
		}
	}
}
