package human

import (
	"math"
	"testing"
	"time"
)

func TestTexts(t *testing.T) {
	for _, c := range []struct{ got, want string }{
		{Bytes(0), "0"}, {Bytes(1023), "1023"}, {Bytes(1024), "1.0Ki"}, {Bytes(12.34 * (1 << 20)), "12.3Mi"}, {Bytes(1000 * (1 << 20)), "1.0Gi"},
		{Bytes(-1), "-"}, {Bytes(math.NaN()), "-"}, {Bytes(math.Inf(1)), "+InfEi"},
		{Percent(0), "0.0%"}, {Percent(0.0949), "9.5%"}, {Percent(0.0995), "10%"}, {Percent(1), "100%"},
		{GOGC(-1), "off"}, {GOGC(100), "100"},
		{Goal(1 << 60), "none"}, {Goal(4 << 20), "4.0Mi"},
		{Memlimit(math.MaxInt64), "off"}, {Memlimit(512 << 20), "512Mi"},
		{Span(-1), "-"}, {Span(1500 * time.Millisecond), "1.5s"}, {Span(90 * time.Second), "90s"}, {Span(90 * time.Minute), "90m"}, {Span(47 * time.Hour), "47h"}, {Span(49 * time.Hour), "2d"},
		{Plural(1, "process"), "1 process"}, {Plural(2, "process"), "2 processes"}, {Plural(0, "cycle"), "0 cycles"},
		{GoVersion("go1.26.8 X:greenteagc"), "1.26.8"},
	} {
		if c.got != c.want {
			t.Errorf("%q, want %q", c.got, c.want)
		}
	}
}
