package memlimit

import (
	"math"
	"strconv"
	"strings"
	"testing"
)

func TestParseQuantity(t *testing.T) {
	for _, tt := range []struct {
		in      string
		want    uint64
		limited bool
		ok      bool
	}{
		{"536870912", 536870912, true, true},
		{" 536870912\n", 536870912, true, true},
		{"512Mi", 512 << 20, true, true},
		{"512M", 512e6, true, true},
		{"1Gi", 1 << 30, true, true},
		{"1.5Gi", 3 << 29, true, true},
		{"0.5G", 5e8, true, true},
		{".5Gi", 1 << 29, true, true},
		{"64k", 64000, true, true},
		{"64K", 64000, true, true},
		{"64Ki", 65536, true, true},
		{"2Ti", 2 << 40, true, true},
		{"1e9", 1e9, true, true},
		{"1E9", 1e9, true, true},
		{"12e+6", 12e6, true, true},
		{"1.5e3", 1500, true, true},
		{"1E", 1e18, true, true},
		{"536870912000m", 536870912, true, true}, // Kubernetes writes it where a fraction of a byte was asked for
		{"1.9999999999999999999999Ki", 2047, true, true},
		{"0.1", 0, true, true},
		{"0", 0, true, true},
		{"max", 0, false, true},
		{"unlimited", 0, false, true},
		{"9223372036854771712", 0, false, true}, // cgroup v1's word for none
		{"18446744073709551615", 0, false, true},
		{"99999999999999999999999999999999", 0, false, true},
		{"8Ei", 0, false, true},
		{"1e30", 0, false, true},
		{"-1", 0, false, false},
		{"-512Mi", 0, false, false},
		{"", 0, false, false},
		{"Mi", 0, false, false},
		{"512 Mi", 0, false, false},
		{"512MiB", 0, false, false},
		{"512mb", 0, false, false},
		{"0x20000000", 0, false, false},
		{"5_000", 0, false, false},
		{"1,5Gi", 0, false, false},
		{"1.", 0, false, false},
		{".", 0, false, false},
		{"1.2.3", 0, false, false},
		{"1e", 0, false, false},
		{"1e-3", 0, false, false},
		{"1e999", 0, false, false},
		{"ae30", 0, false, false},
		{"NaN", 0, false, false},
		{"Inf", 0, false, false},
		{"lots", 0, false, false},
		{strings.Repeat("1", 1000), 0, false, false},
	} {
		got, limited, err := parseQuantity(tt.in)
		if (err == nil) != tt.ok || err == nil && (limited != tt.limited || limited && got != tt.want) {
			t.Errorf("%q: %d, %t, %v; want %d, %t, ok %t", tt.in, got, limited, err, tt.want, tt.limited, tt.ok)
		}
	}
}

func TestCheck(t *testing.T) {
	for _, tt := range []struct {
		bytes   uint64
		limited bool
		host    uint64
		ok      bool
	}{
		{512 << 20, true, 0, true},
		{512 << 20, true, 1 << 30, true},
		{8 << 20, true, 1 << 30, true},
		{8<<20 - 1, true, 1 << 30, false},
		{0, true, 0, false},
		{1 << 30, true, 1 << 30, false},
		{1 << 31, true, 1 << 30, false},
		{0x7ffffffffffff000, true, 0, false},
		{math.MaxUint64, true, 0, false},
		{512 << 20, false, 0, false},
	} {
		if err := check(tt.bytes, tt.limited, tt.host); (err == nil) != tt.ok {
			t.Errorf("check(%d, %t, %d): %v, want ok %t", tt.bytes, tt.limited, tt.host, err, tt.ok)
		}
	}
}

func FuzzParseQuantity(f *testing.F) {
	for _, s := range []string{"512Mi", "1.5Gi", "1e9", "max", "-1", "", "9223372036854771712", "536870912000m", "1E", ".5e3"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		v, limited, err := parseQuantity(s)
		switch {
		case err != nil && (limited || v != 0):
			t.Errorf("%q: %d, %t with %v", s, v, limited, err)
		case limited && v >= unlimited:
			t.Errorf("%q: a limit of %d", s, v)
		}
		// Whatever strconv takes for a plain number is that number.
		if n, e := strconv.ParseUint(s, 10, 64); e == nil && len(s) <= 64 {
			if err != nil || limited != (n < unlimited) || limited && v != n {
				t.Errorf("%q: %d, %t, %v", s, v, limited, err)
			}
		}
		if limited {
			if again, ok, err := parseQuantity(strconv.FormatUint(v, 10)); again != v || !ok || err != nil {
				t.Errorf("%q is %d, which is %d, %t, %v", s, v, again, ok, err)
			}
		}
	})
}
