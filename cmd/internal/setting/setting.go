// Package setting reads what people write for GOGC, GOMEMLIMIT, a container's limit
// and other sizes, and writes them in the same way. It applies nothing.
package setting

import (
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/heapwright/heapwright/pacer"
)

// MaxSettings bounds how many settings one question is about.
const MaxSettings = 4096

// maxGOGC is beyond what anybody sets, and far from where the runtime's numbers overflow.
const maxGOGC = 1_000_000

// ParseGOGC reads a value of GOGC: a percentage, or off.
func ParseGOGC(s string) (int64, error) {
	if s == "off" {
		return -1, nil
	}
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 1 || n > maxGOGC {
		return 0, fmt.Errorf("%q is no GOGC: it is a percentage from 1 to %d, or off", s, maxGOGC)
	}
	return n, nil
}

// The units of sizes. B to TiB are those of GOMEMLIMIT, Ki to Ti those of
// Kubernetes; powers of ten are not among them, for what they would mean differs
// between tools.
var sizeUnits = map[string]uint64{
	"B": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40,
	"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40,
}

// maxSize keeps sums of sizes within 64 bits.
const maxSize = 1 << 56

// ParseSize reads a number of bytes with its unit, such as 512MiB or 1.5GiB. Without
// one, a number from 1048576 on is bytes; a smaller one may be anything.
func ParseSize(s string) (uint64, error) {
	number := strings.TrimRight(s, "BKMGTPikmgtb")
	v, err := strconv.ParseFloat(number, 64)
	if err != nil || !(v >= 0) || strings.ContainsAny(number, "eExXpP_+nN") {
		return 0, fmt.Errorf("%q is no size: write it as 512MiB or 1.5GiB", s)
	}
	unit, ok := sizeUnits[s[len(number):]]
	if number == s && v >= 1<<20 {
		// Nobody means that many MiB: these are bytes, as GOMEMLIMIT takes them.
		unit, ok = 1, true
	}
	if !ok {
		return 0, fmt.Errorf("%q is a size without a unit that is sure: write B, KiB, MiB, GiB or TiB, as GOMEMLIMIT does", s)
	}
	if v *= float64(unit); v > maxSize {
		return 0, fmt.Errorf("%s is more memory than there is", s)
	}
	return uint64(v), nil
}

// ParseMemoryLimit reads a value of GOMEMLIMIT: a size, or off.
func ParseMemoryLimit(s string) (int64, error) {
	if s == "off" {
		return pacer.NoMemoryLimit, nil
	}
	n, err := ParseSize(s)
	if err != nil {
		return 0, err
	}
	if n == 0 {
		return 0, errors.New("a GOMEMLIMIT of 0 would collect without end: write off for none")
	}
	return int64(n), nil
}

// ParseContainerLimit reads the memory limit of a container: a size, or off.
func ParseContainerLimit(s string) (uint64, error) {
	if s == "off" {
		return 0, nil
	}
	n, err := ParseSize(s)
	if err != nil {
		return 0, err
	}
	if n == 0 {
		return 0, errors.New("nothing runs in a container limit of 0: write off for none")
	}
	return n, nil
}

// ParseList reads values that are separated by commas.
func ParseList[T any](s string, parse func(string) (T, error)) ([]T, error) {
	var out []T
	for _, word := range strings.Split(s, ",") {
		if len(out) == MaxSettings {
			return nil, fmt.Errorf("more than %d values", MaxSettings)
		}
		v, err := parse(strings.TrimSpace(word))
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, nil
}

// SizeText writes a size in the way of GOMEMLIMIT, exactly.
func SizeText(n uint64) string {
	for _, u := range []string{"TiB", "GiB", "MiB", "KiB"} {
		if unit := sizeUnits[u]; n >= unit && n%unit == 0 {
			return fmt.Sprintf("%d%s", n/unit, u)
		}
	}
	return fmt.Sprintf("%dB", n)
}

// LimitText writes a GOMEMLIMIT as it is set.
func LimitText(n int64) string {
	if n == math.MaxInt64 {
		return "off"
	}
	return SizeText(uint64(max(n, 0)))
}

// ParseShare reads a part of the whole: 3% or 0.03.
func ParseShare(s string) (float64, error) {
	number, percent := strings.CutSuffix(s, "%")
	v, err := strconv.ParseFloat(number, 64)
	if percent {
		v /= 100
	}
	if err != nil || !(v > 0 && v <= 1) {
		return 0, fmt.Errorf("%q is no share: it is more than 0 and at most 1, such as 3%% or 0.03", s)
	}
	return v, nil
}
