package setting

import (
	"strings"
	"testing"
)

const mib = 1 << 20

func TestParseSize(t *testing.T) {
	for _, tc := range []struct {
		text string
		want uint64
		bad  string
	}{
		{"512MiB", 512 * mib, ""}, {"1.5GiB", 1536 * mib, ""}, {"64Mi", 64 * mib, ""}, {"1024B", 1024, ""}, {"0MiB", 0, ""}, {"2TiB", 2 << 40, ""},
		{"512", 0, "unit"}, {"1000000", 0, "unit"}, {"125829120", 120 << 20, ""}, {"512M", 0, "unit"}, {"512MB", 0, "unit"}, {"512mib", 0, "unit"}, {"1 GiB", 0, "no size"},
		{"-1MiB", 0, "no size"}, {"", 0, "no size"}, {"MiB", 0, "no size"}, {"1e9B", 0, "no size"}, {"InfMiB", 0, "no size"}, {"NaNB", 0, "no size"}, {"0x1MiB", 0, "no size"},
		{"999999999TiB", 0, "more memory than there is"},
	} {
		got, err := ParseSize(tc.text)
		if got != tc.want || (err == nil) != (tc.bad == "") || err != nil && !strings.Contains(err.Error(), tc.bad) {
			t.Errorf("%q: %d, %v", tc.text, got, err)
		}
	}
}

func FuzzParseSize(f *testing.F) {
	for _, s := range []string{"512MiB", "1.5GiB", "1024B", "", "e", "9999999999999999999999TiB", "0.0000000001B", "1.2.3Ki"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		n, err := ParseSize(s)
		if n > maxSize {
			t.Errorf("%q is %d", s, n)
		}
		if err != nil {
			return
		}
		// What is written of it reads as the same.
		if again, err := ParseSize(SizeText(n)); err != nil || again != n {
			t.Errorf("%q is %d, and %q is %d, %v", s, n, SizeText(n), again, err)
		}
	})
}
