package debugz

import (
	"bytes"
	"cmp"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/heapwright/heapwright/guard/sli"
	"github.com/heapwright/heapwright/memlimit"
	"github.com/heapwright/heapwright/metric"
)

// started is when the process started, but for moments.
var started = time.Now()

// identify says which process this is.
func identify() processDoc {
	p := processDoc{PID: os.Getpid(), StartTime: started, Go: runtime.Version(), GOOS: runtime.GOOS, GOARCH: runtime.GOARCH, CPUs: runtime.NumCPU()}
	if exe, err := os.Executable(); err == nil {
		p.Name = filepath.Base(exe)
	}
	if stat, err := os.ReadFile("/proc/self/stat"); err == nil {
		p.StartTicks = startTicks(stat)
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return p
	}
	p.Main, p.Module, p.Version = info.Path, info.Main.Path, info.Main.Version
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			p.Revision = s.Value
		case "vcs.modified":
			p.Modified = s.Value == "true"
		}
	}
	const ours = "github.com/heapwright/heapwright"
	for _, d := range append(info.Deps, &info.Main) {
		if d.Path == ours {
			p.Heapwright = d.Version
		}
	}
	return p
}

// startTicks is field 22 of a /proc/PID/stat: when the process started, in ticks
// since the machine did. The name before may have anything in it but ends with the
// last parenthesis.
func startTicks(stat []byte) *uint64 {
	end := bytes.LastIndexByte(stat, ')')
	if end < 0 {
		return nil
	}
	f := bytes.Fields(stat[end+1:]) // from field 3 on
	if len(f) < 20 {
		return nil
	}
	n, err := strconv.ParseUint(string(f[19]), 10, 64)
	if err != nil {
		return nil
	}
	return &n
}

// A startup is what of the settings was there before the program could change
// them: the environment's, as the runtime understood it.
type startup struct {
	gogc, gomemlimit *int64
	gomaxprocs       *int64
}

func readStartup(getenv func(string) string) startup {
	var s startup
	if v := getenv("GOGC"); v == "off" {
		n := int64(-1)
		s.gogc = &n
	} else if n, err := strconv.ParseInt(v, 10, 32); err == nil {
		s.gogc = &n
	}
	if n, ok := parseLimit(getenv("GOMEMLIMIT")); ok {
		s.gomemlimit = &n
	}
	if n, err := strconv.ParseInt(getenv("GOMAXPROCS"), 10, 32); err == nil && n > 0 {
		s.gomaxprocs = &n
	}
	return s
}

// parseLimit reads a GOMEMLIMIT as the runtime does (runtime/string.go,
// parseByteCount).
func parseLimit(text string) (int64, bool) {
	if text == "off" {
		return math.MaxInt64, true
	}
	digits, shift := strings.TrimSuffix(text, "B"), 0
	for i, unit := range []string{"Ki", "Mi", "Gi", "Ti"} {
		if d, ok := strings.CutSuffix(digits, unit); ok && digits != text {
			digits, shift = d, 10*(i+1)
		}
	}
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64>>shift {
		return 0, false
	}
	return n << shift, true
}

// setBy says where a value is from that nobody of ours has set.
func setBy(name string, value, def int64, env *int64) string {
	switch {
	case env != nil && *env == value:
		return "the environment (" + name + ")"
	case value == def:
		return "Go's default"
	}
	return "the program"
}

// settings are those of the runtime. l is nil where there is no memlimit.
func settings(gogc, gomemlimit, procs int64, env startup, l *memlimit.Report, cpus int) []settingDoc {
	g := settingDoc{Name: "GOGC", Value: gogc, SetBy: setBy("GOGC", gogc, 100, env.gogc)}
	m := settingDoc{Name: "GOMEMLIMIT", Value: gomemlimit, SetBy: setBy("GOMEMLIMIT", gomemlimit, math.MaxInt64, env.gomemlimit)}
	p := settingDoc{Name: "GOMAXPROCS", Value: procs, SetBy: setBy("GOMAXPROCS", procs, int64(cpus), env.gomaxprocs)}
	if p.SetBy == "the program" {
		p.SetBy = "the program, or Go by the container's CPU quota"
	}
	if l == nil {
		return []settingDoc{g, m, p}
	}
	switch l.Mode {
	case memlimit.ModeSet, memlimit.ModeTooSmall, memlimit.ModeLeak:
		if gomemlimit == l.GOMEMLIMIT {
			m.SetBy, m.Why = "memlimit", l.Reason
		}
		if gogc == int64(l.GOGC) && l.GOGC != l.PreviousGOGC {
			g.SetBy, g.Why = "memlimit", l.Reason
		}
	case memlimit.ModeOverride:
		if o := l.Override; o != nil {
			why := "until " + o.Until.UTC().Format("2006-01-02 15:04:05") + " UTC"
			if o.GOMEMLIMIT == gomemlimit {
				m.SetBy, m.Why = "an override, by "+o.Who, why
			}
			if int64(o.GOGC) == gogc {
				g.SetBy, g.Why = "an override, by "+o.Who, why
			}
		}
	default:
		m.Why = l.Reason
	}
	return []settingDoc{g, m, p}
}

// memoryOf divides the memory of a process by what it is used for.
func memoryOf(p *sli.Point, l *memlimit.Report) memoryDoc {
	m := memoryDoc{
		LiveBytes: p.HeapMarkedBytes, FreeBytes: p.HeapFreeBytes, StackBytes: p.StackInUseBytes, OtherGoBytes: p.RuntimeOtherBytes,
		GoalBytes: p.HeapGoalBytes, ReleasedBytes: p.HeapReleasedBytes, Cycles: p.GCCycles,
	}
	// Before the first cycle nothing was found alive.
	m.GarbageBytes = p.HeapInUseBytes - min(p.HeapInUseBytes, p.HeapMarkedBytes)
	m.LiveBytes = min(m.LiveBytes, p.HeapInUseBytes)
	switch {
	case l != nil && l.Mode != memlimit.ModeClosed:
		if l.LimitBytes > 0 {
			m.LimitBytes, m.ReserveBytes = &l.LimitBytes, &l.ReserveBytes
		}
		if l.Measured {
			m.NonGoBytes = &l.NonGoBytes
		}
	default:
		// What a group without a limit has in it may be half of a machine's, and is
		// nothing to this process.
		limit, pinned, ok := p.GroupLimitBytes, p.GroupPinnedBytes, p.HasGroupPinned && p.GroupLimitBytes > 0
		if !ok || p.OwnLimitBytes > 0 {
			limit, pinned, ok = p.OwnLimitBytes, p.OwnPinnedBytes, p.HasOwnPinned
		}
		if limit > 0 {
			m.LimitBytes = &limit
		}
		if ok {
			// What Go has mapped and never touched is not resident, so that the
			// difference may come to less than nothing.
			other := pinned - min(pinned, p.MappedReadyBytes)
			m.NonGoBytes = &other
		}
	}
	return m
}

// Bounds on what others say.
const (
	maxMetrics   = 1000 // of all sources together
	maxLabels    = 8
	maxText      = 128 // bytes of a name, a unit, a label
	maxHelp      = 256
	sourcesLimit = 2 * time.Second
)

// cut bounds a text, at the end of a character.
func cut(s string, n int) string {
	if len(s) <= n {
		return strings.ToValidUTF8(s, "\uFFFD")
	}
	return strings.ToValidUTF8(s[:n-len("…")], "") + "…"
}

// askSource takes the metrics of a source. A panic of it is an error.
func askSource(s metric.Source, room int) (out []metricDoc, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("a source of metrics panicked: %s", cut(fmt.Sprint(p), maxText))
		}
	}()
	left := 0
	s.Metrics(func(m metric.Metric) {
		if len(out) == room {
			left++
			return
		}
		d := metricDoc{Name: cut(m.Name, maxText), Unit: cut(m.Unit, maxText), Kind: m.Kind.String(), Help: cut(m.Help, maxHelp)}
		if !math.IsNaN(m.Value) && !math.IsInf(m.Value, 0) {
			d.Value = &m.Value
		}
		for i, l := range m.Labels {
			if i == 0 {
				d.Labels = map[string]string{}
			}
			if i < maxLabels {
				d.Labels[cut(l.Key, maxText)] = cut(l.Value, maxText)
			}
		}
		out = append(out, d)
	})
	if left > 0 {
		err = fmt.Errorf("%d metrics were left out: %d are the most that are shown", left, maxMetrics)
	}
	return out, err
}

// askSources asks each of them. It is made to be left behind when one blocks, so it
// shares nothing.
func askSources(sources []metric.Source) (out []metricDoc, problems []string) {
	for _, s := range sources {
		if s == nil {
			continue
		}
		m, err := askSource(s, maxMetrics-len(out))
		out = append(out, m...)
		if err != nil {
			problems = append(problems, err.Error())
		}
	}
	slices.SortStableFunc(out, func(a, b metricDoc) int { return cmp.Compare(a.Name, b.Name) })
	return out, problems
}
