package memlimit

import (
	"errors"
	"fmt"
	"math"
	"math/bits"
	"strings"
)

// minLimit is the least limit that is believed. A Go process that does nothing
// holds about 5 MiB; less than this is a number in the wrong unit.
const minLimit = 8 << 20

// unlimited is the least number of bytes that means "no limit". Cgroup v1 has no
// word for it and shows the largest int64, cut to a whole page.
const unlimited = math.MaxInt64 &^ (1<<20 - 1)

var errNoNumber = errors.New(`not a number of bytes: write it as 536870912, 512Mi or 0.5G`)

// suffixes are those of Kubernetes quantities (apimachinery, resource.Quantity).
// "m", thousandths, is there because Kubernetes itself writes it for bytes when
// somebody asked for a fraction of one.
var suffixes = []struct {
	name string
	num  uint64
	den  uint64
}{
	{"Ki", 1 << 10, 1}, {"Mi", 1 << 20, 1}, {"Gi", 1 << 30, 1}, {"Ti", 1 << 40, 1}, {"Pi", 1 << 50, 1}, {"Ei", 1 << 60, 1},
	{"k", 1e3, 1}, {"K", 1e3, 1}, {"M", 1e6, 1}, {"G", 1e9, 1}, {"T", 1e12, 1}, {"P", 1e15, 1}, {"E", 1e18, 1}, {"m", 1, 1000},
}

// parseQuantity parses a number of bytes as Kubernetes writes it: digits, perhaps
// with a fraction, and perhaps a suffix, or an exponent instead of one. limited is
// false for "max", "unlimited" and numbers that are so large that they mean it.
func parseQuantity(s string) (bytes uint64, limited bool, err error) {
	s = strings.TrimSpace(s)
	if len(s) > 64 {
		return 0, false, errNoNumber
	}
	if s == "max" || s == "unlimited" {
		return 0, false, nil
	}
	if rest, ok := strings.CutPrefix(s, "-"); ok && rest != "" && rest[0] >= '0' && rest[0] <= '9' {
		return 0, false, errors.New("a negative number of bytes")
	}
	num, den := uint64(1), uint64(1)
	for _, x := range suffixes {
		if rest, ok := strings.CutSuffix(s, x.name); ok {
			s, num, den = rest, x.num, x.den
			break
		}
	}
	if num == 1 && den == 1 {
		if mantissa, exp, ok := cutExponent(s); ok {
			if len(exp) == 0 || len(exp) > 2 {
				return 0, false, errNoNumber
			}
			s = mantissa
			n := 0
			for _, c := range []byte(exp) {
				if c < '0' || c > '9' {
					return 0, false, errNoNumber
				}
				n = n*10 + int(c-'0')
			}
			if n > 18 {
				return tooLarge(s)
			}
			for range n {
				num *= 10
			}
		}
	}
	whole, fraction, point := strings.Cut(s, ".")
	if whole == "" && fraction == "" || point && fraction == "" {
		return 0, false, errNoNumber
	}
	v, ok, digits := decimal(whole)
	if !digits {
		return 0, false, errNoNumber
	}
	if _, _, digits = decimal(fraction); !digits {
		return 0, false, errNoNumber
	}
	hi, lo := bits.Mul64(v, num)
	if !ok || hi != 0 || lo/den >= unlimited {
		return 0, false, nil
	}
	lo /= den
	// What of the fraction is a whole byte; its digits past the 18th are none.
	f, _, _ := decimal(fraction[:min(len(fraction), 18)])
	if f > 0 {
		hi, l := bits.Mul64(f, num)
		part, _ := bits.Div64(hi, l, pow10(min(len(fraction), 18))) // hi < 10^18 since f < 10^len and num < 2^61
		lo += part / den
	}
	return lo, lo < unlimited, nil
}

// tooLarge is the outcome for a number that no memory has, if its digits are good.
func tooLarge(s string) (uint64, bool, error) {
	whole, fraction, _ := strings.Cut(s, ".")
	_, _, a := decimal(whole)
	_, _, b := decimal(fraction)
	if !a || !b || s == "" || s == "." || strings.Trim(s, "0.") == "" {
		return 0, false, errNoNumber
	}
	return 0, false, nil
}

// cutExponent cuts "1e9" and "1E9". "1E" alone is a suffix.
func cutExponent(s string) (mantissa, exp string, ok bool) {
	i := strings.IndexAny(s, "eE")
	if i < 0 {
		return s, "", false
	}
	return s[:i], strings.TrimPrefix(s[i+1:], "+"), true
}

// decimal is the value of digits; fits is false when it is too large for 64 bits.
func decimal(s string) (v uint64, fits, digits bool) {
	fits = true
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return 0, false, false
		}
		d := uint64(c - '0')
		if v > (math.MaxUint64-d)/10 {
			fits = false
		}
		v = v*10 + d
	}
	return v, fits, true
}

func pow10(n int) uint64 {
	v := uint64(1)
	for range n {
		v *= 10
	}
	return v
}

// check says why a number cannot be a memory limit, nil when it can. host is the
// memory of the host, 0 when it is not known.
func check(bytes uint64, limited bool, host uint64) error {
	switch {
	case !limited:
		return errors.New("no limit")
	case bytes == 0:
		return errors.New("0 is no memory at all")
	case bytes >= unlimited:
		return errors.New("so large that it means no limit")
	case bytes < minLimit:
		return fmt.Errorf("less than %s: no Go program fits in that; is the unit right?", human(minLimit))
	case host > 0 && bytes >= host:
		return fmt.Errorf("no limit: the host has %s", human(host))
	}
	return nil
}

// human writes a number of bytes to be read.
func human(b uint64) string {
	switch {
	case b >= 10<<30:
		return fmt.Sprintf("%.1f GiB", float64(b)/(1<<30))
	case b >= 1<<20:
		return fmt.Sprintf("%.1f MiB", float64(b)/(1<<20))
	case b >= 1<<10:
		return fmt.Sprintf("%.1f KiB", float64(b)/(1<<10))
	}
	return fmt.Sprintf("%d bytes", b)
}
