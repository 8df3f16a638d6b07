package rule

import "testing"

func TestFormatSeconds(t *testing.T) {
	for v, want := range map[float64]string{
		0:            "0 s",
		5e-9:         "5 ns",
		999.6e-9:     "1 µs",
		12.34e-6:     "12.3 µs",
		0.9996e-3:    "1 ms",
		-0.25:        "-250 ms",
		0.9994:       "999 ms",
		0.9996:       "1 s", // once printed as 1e+03 ms
		119.6:        "2 min",
		118:          "118 s",
		3600:         "60 min",
		7199:         "2 h",
		86400:        "24 h",
		3 * 86400:    "3 days",
		1.000499e-06: "1 µs",
	} {
		if got := FormatSeconds(v); got != want {
			t.Errorf("FormatSeconds(%v) = %q, want %q", v, got, want)
		}
	}
}
