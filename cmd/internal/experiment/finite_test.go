package experiment

import (
	"encoding/json"
	"math"
	"testing"
)

func TestVerdictsSurviveJSON(t *testing.T) {
	inf := math.Inf(1)
	for _, want := range []MetricVerdict{
		{Name: "a", Ratio: 1.5, Low: 1.25, High: 2, P: 0.5, Q: 0.25, Sigma: 0.125, N: 10, Verdict: Improved, Forecast: &Forecast{Ratio: 2}},
		{Name: "b", Ratio: 1, Low: 0, High: inf, Why: "few"},
	} {
		text, err := json.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		var got MetricVerdict
		if err := json.Unmarshal(text, &got); err != nil {
			t.Fatal(err)
		}
		if want.Forecast != nil {
			if got.Forecast == nil || *got.Forecast != *want.Forecast {
				t.Errorf("forecast %+v", got.Forecast)
			}
			want.Forecast, got.Forecast = nil, nil
		}
		if got != want {
			t.Errorf("%s: %+v, want %+v", text, got, want)
		}
	}
	want := Calibration{Name: "c", Sigma: 0.5, Bias: 1, Low: 0, High: inf, ACF1: 0.25, Smallest: inf, N: 1}
	text, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got Calibration
	if err := json.Unmarshal(text, &got); err != nil || got != want {
		t.Errorf("%s: %+v %v", text, got, err)
	}
	if _, err := json.Marshal(Verdict{Comparisons: []Comparison{{Metrics: []MetricVerdict{{Ratio: math.NaN(), Sigma: math.NaN(), P: inf}}}}}); err != nil {
		t.Error(err)
	}
}
