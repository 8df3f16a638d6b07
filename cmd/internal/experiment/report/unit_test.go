package report

import (
	"math"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
)

func TestValue(t *testing.T) {
	for _, tc := range []struct {
		v    float64
		u    experiment.Unit
		want string
	}{
		{0, experiment.Seconds, "0s"}, {41e-6, experiment.Seconds, "41.0µs"}, {999.4e-6, experiment.Seconds, "999µs"}, {999.6e-6, experiment.Seconds, "1.00ms"},
		{1.25e-3, experiment.Seconds, "1.25ms"}, {3e-10, experiment.Seconds, "0.30ns"}, {1234, experiment.Seconds, "1234s"}, {-2e-3, experiment.Seconds, "-2.00ms"},
		{0, experiment.ByteSize, "0B"}, {512, experiment.ByteSize, "512B"}, {999.6, experiment.ByteSize, "0.98KiB"}, {1023.9 * mib, experiment.ByteSize, "1.00GiB"}, {166.4 * mib, experiment.ByteSize, "166MiB"},
		{0.0417, experiment.Share, "4.17%"}, {1, experiment.Share, "100%"}, {0.00004, experiment.Share, "0.004%"}, {0, experiment.Share, "0%"},
		{1500, experiment.PerSec, "1500/s"}, {9999.4, experiment.PerSec, "9999/s"}, {12345, experiment.PerSec, "12.3k/s"}, {1.89, experiment.PerSec, "1.89/s"},
		{131, experiment.Count, "131"}, {1e30, experiment.Count, "1.00e+21G"}, {5, "parsecs", "5.00"},
		{math.NaN(), experiment.Seconds, "-"}, {math.Inf(-1), experiment.ByteSize, "-"},
	} {
		if got := value(tc.v, tc.u); got != tc.want {
			t.Errorf("%v %s is %s, want %s", tc.v, tc.u, got, tc.want)
		}
	}
	for _, tc := range []struct {
		v    float64
		u    experiment.Unit
		want string
	}{{512 * mib, experiment.ByteSize, "512MiB"}, {2.5 * mib, experiment.ByteSize, "2.5MiB"}, {8 << 30, experiment.ByteSize, "8GiB"}, {100, experiment.ByteSize, "100B"}, {0.002, experiment.Seconds, "2ms"}, {math.NaN(), experiment.Seconds, "-"}} {
		if got := round(tc.v, tc.u); got != tc.want {
			t.Errorf("a chosen %v %s is %s, want %s", tc.v, tc.u, got, tc.want)
		}
	}
}

func TestDifference(t *testing.T) {
	for _, tc := range []struct {
		ratio, low, high float64
		diff, span       string
	}{
		{0.865, 0.838, 0.915, "-13.5%", "-16.2 to -8.5%"},
		{1.011, 0.957, 1.072, "~", "-4.3 to +7.2%"},
		{1.0002, 1.0001, 1.0004, "+0.02%", "+0.01 to +0.04%"},
		{1, 1, 1, "~", "0.00 to 0.00%"},
		{0.99999, 0.9999, 1.0001, "~", "-0.01 to +0.01%"},
		{4.1, 3.2, 5.7, "+310%", "+220 to +470%"},
		{1.4, 0, 0, "~", "-"},
		{1.4, math.NaN(), math.Inf(1), "~", "-"},
		{0, 0.9, 1.1, "-", "-10.0 to +10.0%"},
		{math.NaN(), math.NaN(), math.NaN(), "-", "-"},
		{1e9, 1e8, 1e10, "×1e+09", "×1e+08 to ×1e+10"},
	} {
		m := experiment.MetricVerdict{Ratio: tc.ratio, Low: tc.low, High: tc.high}
		if got := difference(m); got != tc.diff {
			t.Errorf("%v in %v to %v differs by %s, want %s", tc.ratio, tc.low, tc.high, got, tc.diff)
		}
		if got := interval(tc.ratio, tc.low, tc.high); got != tc.span {
			t.Errorf("%v in %v to %v has the interval %s, want %s", tc.ratio, tc.low, tc.high, got, tc.span)
		}
	}
}

func TestSpan(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0: "-", -time.Second: "-", 1500 * time.Millisecond: "1.5s", 42 * time.Second: "42s", 70 * time.Second: "1m10s", 10 * time.Minute: "10m", 72 * time.Minute: "1h12m", 60 * time.Minute: "1h", 90*time.Minute + 20*time.Second: "1h30m",
	} {
		if got := span(d); got != want {
			t.Errorf("%d is %s, want %s", d, got, want)
		}
	}
}

func TestQuote(t *testing.T) {
	for in, want := range map[string]string{"a/b-1.hwcmp": "a/b-1.hwcmp", "a b": "'a b'", "it's": `'it'\''s'`, "$(x)": "'$(x)'", "": "''"} {
		if got := quote(in); got != want {
			t.Errorf("%q is %s, want %s", in, got, want)
		}
	}
}

func TestGrade(t *testing.T) {
	for in, want := range map[string]string{"A": "grade A: under 10% of the CPU was used by others", "": "not graded", "<b>": "not graded"} {
		if got := grade(in); got != want {
			t.Errorf("%q is %s, want %s", in, got, want)
		}
	}
}
