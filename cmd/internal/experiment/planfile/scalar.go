package planfile

import (
	"fmt"
	"math"
	"reflect"
	"regexp"
	"strconv"
	"strings"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
	"github.com/heapwright/heapwright/cmd/internal/strictyaml"
)

// Scalar reads the quantities of a plan.
func Scalar(v reflect.Value, s string) (mine bool, err error) {
	switch to := v.Addr().Interface().(type) {
	case *experiment.Bytes:
		*to, err = ParseBytes(s)
	case *experiment.Ratio:
		*to, err = ParseRatio(s)
	case *experiment.Rate:
		*to, err = ParseRate(s)
	default:
		return false, nil
	}
	return true, err
}

// ParseRatio reads 10% or 0.1.
func ParseRatio(s string) (experiment.Ratio, error) {
	number, percent := strings.CutSuffix(s, "%")
	v, err := strictyaml.ParseNumber(strings.TrimRight(number, " "))
	switch {
	case err != nil:
		return 0, fmt.Errorf("%s is no share: write 10%% or 0.1", strictyaml.Quote(s))
	case percent:
		v /= 100
	case v > 1:
		return 0, fmt.Errorf("%s would be more than 100%%: write %s%%", s, s)
	}
	return experiment.Ratio(v), nil
}

// maxRate is what the generator takes, and more than one can send on one machine.
const maxRate = 1_000_000

// ParseRate reads 2000, 2000/s or knee.
func ParseRate(s string) (experiment.Rate, error) {
	if s == "knee" {
		return 0, nil
	}
	v, err := strictyaml.ParseNumber(strings.TrimRight(strings.TrimSuffix(s, "/s"), " "))
	switch {
	case err != nil:
		return 0, fmt.Errorf("%s is no rate: write 2000/s, or knee to have one found", strictyaml.Quote(s))
	case v == 0:
		return 0, fmt.Errorf("a rate of 0 sends nothing; write knee to have one found")
	case v > maxRate:
		return 0, fmt.Errorf("%s is more than can be sent: at most %d a second", strictyaml.Quote(s), maxRate)
	}
	return experiment.Rate(v), nil
}

var sizeForm = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?) ?(B|KiB|MiB|GiB|TiB)?$`)

var sizeUnits = map[string]float64{"": 1, "B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}

// maxBytes keeps sums of sizes within 64 bits.
const maxBytes = 1 << 56

// ParseBytes reads 512MiB, 1.5GiB or a number of bytes.
func ParseBytes(s string) (experiment.Bytes, error) {
	m := sizeForm.FindStringSubmatch(s)
	if m == nil {
		return 0, fmt.Errorf("%s is no size: write 512MiB or 1.5GiB (B, KiB, MiB, GiB, TiB)", strictyaml.Quote(s))
	}
	v, err := strconv.ParseFloat(m[1], 64)
	if v *= sizeUnits[m[2]]; err != nil || v > maxBytes {
		return 0, fmt.Errorf("%s is more memory than there is", strictyaml.Quote(s))
	}
	return experiment.Bytes(v), nil
}

// CheckGOGC holds a GOGC against what the runtime reads. What it cannot read it
// takes for 100, silently.
func CheckGOGC(s string) error {
	if s == "off" {
		return nil
	}
	n, err := strconv.ParseInt(s, 10, 32)
	switch {
	case err == nil && n < 0:
		return fmt.Errorf("%s is no GOGC: write off for none", strictyaml.Quote(s))
	case err != nil || strings.HasPrefix(s, "+"):
		return fmt.Errorf("%s is no GOGC, and Go would take it for 100: write a whole number, or off", strictyaml.Quote(s))
	}
	return nil
}

var memlimitForm = regexp.MustCompile(`^([0-9]+)(B|KiB|MiB|GiB|TiB)?$`)

// CheckGOMEMLIMIT holds a GOMEMLIMIT against what the runtime reads. At what it
// cannot read the program ends.
func CheckGOMEMLIMIT(s string) error {
	if s == "off" {
		return nil
	}
	m := memlimitForm.FindStringSubmatch(s)
	if m == nil {
		return fmt.Errorf("%s is no GOMEMLIMIT, and Go programs would not start with it: write 512MiB (a whole number, and B, KiB, MiB, GiB or TiB), or off", strictyaml.Quote(s))
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	if err != nil || float64(n)*sizeUnits[m[2]] >= math.MaxInt64 {
		return fmt.Errorf("%s is too large for a GOMEMLIMIT; write off for none", strictyaml.Quote(s))
	}
	return nil
}

var (
	toolchainForm = regexp.MustCompile(`^go1\.[0-9]{1,3}(\.[0-9]{1,3}|rc[0-9]{1,2}|beta[0-9]{1,2})?$`)
	languageForm  = regexp.MustCompile(`^go1\.([0-9]{1,3})$`)
)

// checkToolchain holds a name against those that GOTOOLCHAIN knows.
func checkToolchain(s string) error {
	if m := languageForm.FindStringSubmatch(s); m != nil {
		// Since Go 1.21 the first release of a version has a patch number too.
		if n, _ := strconv.Atoi(m[1]); n >= 21 {
			return fmt.Errorf("%s is a version of the language: write its release, such as %s.0", s, s)
		}
	}
	if !toolchainForm.MatchString(s) {
		return fmt.Errorf("%s is no toolchain: write a release of Go, such as go1.27.4", strictyaml.Quote(s))
	}
	return nil
}
