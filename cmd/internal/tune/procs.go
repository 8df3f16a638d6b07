package tune

import (
	"fmt"
	"math"
	"strconv"
	"strings"

	"github.com/heapwright/heapwright/pacer"
	"github.com/heapwright/heapwright/record"
)

const (
	// leastProcs is the lowest GOMAXPROCS that the runtime itself chooses for a
	// quota (runtime/cgroup_linux.go, adjustCgroupGOMAXPROCS, Go 1.25+).
	leastProcs = 2
	// awareMinor is the first Go release that reads the CPU quota.
	awareMinor = 25
)

func quota(r Request) float64 {
	q := r.CPUQuotaCores
	if q == 0 {
		q = r.Process.CPUQuotaCores
	}
	if !(q > 0 && q < 1e6) {
		return 0
	}
	return q
}

// procs compares GOMAXPROCS with the CPU quota: what to set, 0 for leaving it
// alone, and why.
func procs(r Request, now int) (set int, why string) {
	q := quota(r)
	if q == 0 {
		return 0, "Leave GOMAXPROCS alone: no CPU quota is known that it would have to fit."
	}
	fit := int(max(leastProcs, math.Ceil(q)))
	minor, known := goMinor(r.Process.GoVersion)
	aware := known && minor >= awareMinor
	inEnv := r.Process.GoEnv["GOMAXPROCS"] != ""
	switch {
	case now <= 0 && aware && !inEnv:
		return 0, fmt.Sprintf("Leave GOMAXPROCS unset: Go 1.%d follows the CPU quota of %.3g by itself.", minor, q)
	case now <= 0:
		return 0, fmt.Sprintf("GOMAXPROCS was not recorded; for a CPU quota of %.3g it should be %d.", q, fit)
	case now > fit && aware && inEnv:
		return fit, fmt.Sprintf("Unset GOMAXPROCS, or set it to %d: the environment says %d where the CPU quota is %.3g, and Go 1.%d follows the quota by itself when it is unset.", fit, now, q, minor)
	case now > fit && aware:
		return fit, fmt.Sprintf("Set GOMAXPROCS=%d: it is %d where the CPU quota is %.3g, although Go 1.%d follows the quota. The program sets it, or was built with a go directive below 1.25, or the quota is new.", fit, now, q, minor)
	case now > fit:
		return fit, fmt.Sprintf("Set GOMAXPROCS=%d: it is %d where the CPU quota is %.3g, and %s takes the number of CPUs of the host. With more, the collector's workers use up the quota in a burst and the kernel stops the process for the rest of the period.",
			fit, now, q, release(minor, known))
	case float64(now) <= q-1 && (r.Process.HostCPUs == 0 || now < r.Process.HostCPUs):
		return 0, fmt.Sprintf("GOMAXPROCS=%d leaves part of the CPU quota of %.3g unused. If that is not on purpose, set it to %d and record again: this plan is for %d.", now, q, fit, now)
	case aware && !inEnv:
		return 0, fmt.Sprintf("Leave GOMAXPROCS unset: Go 1.%d follows the CPU quota of %.3g by itself.", minor, q)
	}
	return 0, fmt.Sprintf("Leave GOMAXPROCS=%d: it fits the CPU quota of %.3g.", now, q)
}

func release(minor int, known bool) string {
	if !known {
		return "Go before 1.25"
	}
	return fmt.Sprintf("Go 1.%d", minor)
}

// goMinor is the minor release of a version such as go1.26.8.
func goMinor(version string) (int, bool) {
	rest, ok := strings.CutPrefix(version, "go1.")
	if !ok {
		return 0, false
	}
	end := strings.IndexFunc(rest, func(c rune) bool { return c < '0' || c > '9' })
	if end >= 0 {
		rest = rest[:end]
	}
	minor, err := strconv.Atoi(rest)
	return minor, err == nil && minor < 1000
}

// setInCode names the settings that are in effect and that the environment, as
// the process was started, does not explain. Where the environment was not
// read it names none.
func setInCode(p record.Process, now pacer.Settings) []string {
	if p.Exe == "" {
		return nil
	}
	var out []string
	if percent := envGOGC(p.GoEnv["GOGC"]); percent != now.GOGCPercent && !(percent < 0 && now.GOGCPercent < 0) {
		out = append(out, "GOGC")
	}
	if limit, ok := envLimit(p.GoEnv["GOMEMLIMIT"]); ok && limit != now.GOMEMLIMITBytes {
		out = append(out, "GOMEMLIMIT")
	}
	return out
}

// envGOGC reads GOGC as the runtime does (runtime/mgcpacer.go, readGOGC): what
// is no number is 100.
func envGOGC(text string) int64 {
	if text == "off" {
		return -1
	}
	if n, err := strconv.ParseInt(text, 10, 32); err == nil {
		return n
	}
	return 100
}

// envLimit reads GOMEMLIMIT (runtime/mgcpacer.go, readGOMEMLIMIT; runtime/string.go,
// parseByteCount). What the runtime would not start with is not ok.
func envLimit(text string) (bytes int64, ok bool) {
	if text == "" || text == "off" {
		return pacer.NoMemoryLimit, true
	}
	digits := strings.TrimRight(text, "KMGTiB")
	shift, known := map[string]int{"": 0, "B": 0, "KiB": 10, "MiB": 20, "GiB": 30, "TiB": 40}[text[len(digits):]]
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || !known || n < 0 || n > math.MaxInt64>>shift {
		return 0, false
	}
	return n << shift, true
}
