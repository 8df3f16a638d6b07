package experiment

import (
	"encoding/json"
	"math"
)

// JSON has no infinities, and too few pairs have no finite interval. What is not
// finite is null, and is read back as what cannot be known: an upper bound is
// +Inf, a lower one 0, anything else NaN. Of error_ratio, whose effect is a difference,
// a lower bound is -Inf.

func lowest(metric string) float64 {
	if metric == "error_ratio" {
		return math.Inf(-1)
	}
	return 0
}

func finite(x float64) *float64 {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return nil
	}
	return &x
}

func or(x *float64, otherwise float64) float64 {
	if x == nil {
		return otherwise
	}
	return *x
}

type plainMetric MetricVerdict

type metricJSON struct {
	plainMetric
	Ratio *float64 `json:"ratio"`
	Low   *float64 `json:"ci_low"`
	High  *float64 `json:"ci_high"`
	P     *float64 `json:"p"`
	Q     *float64 `json:"q"`
	Sigma *float64 `json:"sigma"`
}

// MarshalJSON implements json.Marshaler.
func (m MetricVerdict) MarshalJSON() ([]byte, error) {
	return json.Marshal(metricJSON{plainMetric(m), finite(m.Ratio), finite(m.Low), finite(m.High), finite(m.P), finite(m.Q), finite(m.Sigma)})
}

// UnmarshalJSON implements json.Unmarshaler.
func (m *MetricVerdict) UnmarshalJSON(text []byte) error {
	var j metricJSON
	if err := json.Unmarshal(text, &j); err != nil {
		return err
	}
	*m = MetricVerdict(j.plainMetric)
	nan := math.NaN()
	m.Ratio, m.Low, m.High = or(j.Ratio, nan), or(j.Low, lowest(m.Name)), or(j.High, math.Inf(1))
	m.P, m.Q, m.Sigma = or(j.P, nan), or(j.Q, nan), or(j.Sigma, nan)
	return nil
}

type plainCalibration Calibration

type calibrationJSON struct {
	plainCalibration
	Sigma    *float64 `json:"sigma"`
	Bias     *float64 `json:"bias_ratio"`
	Low      *float64 `json:"ci_low"`
	High     *float64 `json:"ci_high"`
	ACF1     *float64 `json:"autocorrelation"`
	Smallest *float64 `json:"smallest_margin_ratio"`
}

// MarshalJSON implements json.Marshaler.
func (c Calibration) MarshalJSON() ([]byte, error) {
	return json.Marshal(calibrationJSON{plainCalibration(c), finite(c.Sigma), finite(c.Bias), finite(c.Low), finite(c.High), finite(c.ACF1), finite(c.Smallest)})
}

// UnmarshalJSON implements json.Unmarshaler.
func (c *Calibration) UnmarshalJSON(text []byte) error {
	var j calibrationJSON
	if err := json.Unmarshal(text, &j); err != nil {
		return err
	}
	*c = Calibration(j.plainCalibration)
	nan := math.NaN()
	c.Sigma, c.Bias, c.Low, c.High = or(j.Sigma, nan), or(j.Bias, nan), or(j.Low, lowest(c.Name)), or(j.High, math.Inf(1))
	c.ACF1, c.Smallest = or(j.ACF1, nan), or(j.Smallest, math.Inf(1))
	return nil
}
