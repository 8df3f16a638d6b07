package rule

import (
	"math"
	"testing"
)

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
		119.6:        "1.99 min",
		1806:         "30.1 min",
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

func TestFormatBytes(t *testing.T) {
	for v, want := range map[float64]string{
		0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1023.95 * 1024: "1.0 MiB", -3 << 20: "-3.0 MiB", 1 << 62: "4.0 EiB",
		math.Inf(1): "+Inf EiB",
	} {
		if got := FormatBytes(v); got != want {
			t.Errorf("FormatBytes(%v) = %q, want %q", v, got, want)
		}
	}
	if got := FormatBytes(math.NaN()); got != "unknown" { // once a panic
		t.Errorf("FormatBytes(NaN) = %q", got)
	}
}
