package measure

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
)

// A HostWatch accounts for the machine during a block.
type HostWatch struct {
	proc    string // /proc, or what a test has instead
	cgroups []string
	before  reading
	after   *reading
}

// A reading is what the kernel says of the machine at an instant, counted since it
// booted.
type reading struct {
	cores         int
	busy, steal   float64 // seconds
	total         float64 // seconds, of all cores
	cpu, memory   time.Duration
	pressure      bool // cpu and memory are known
	throttled     map[string]time.Duration
	own           time.Duration // CPU time of this process
	pressureClock time.Time
}

// BeginHost takes a first look at the machine, and at the throttling of the given
// cgroups: directories that hold a cpu.stat. An empty name is none.
func BeginHost(cgroups ...string) (*HostWatch, error) { return beginHost("/proc", cgroups) }

func beginHost(proc string, cgroups []string) (*HostWatch, error) {
	h := &HostWatch{proc: proc}
	for _, dir := range cgroups {
		if dir != "" && !slices.Contains(h.cgroups, dir) {
			h.cgroups = append(h.cgroups, dir)
		}
	}
	var err error
	if h.before, err = h.read(); err != nil {
		return nil, fmt.Errorf("looking at the host: %w", err)
	}
	return h, nil
}

// End takes a second look, at the end of the measured time.
func (h *HostWatch) End() error {
	after, err := h.read()
	if err != nil {
		return fmt.Errorf("looking at the host: %w", err)
	}
	h.after = &after
	return nil
}

// Finish says what the machine did between the two looks; where End has not taken
// the second, it does. OurCPU is what the subjects and the load generator used in
// between; this process's own CPU time is taken off beside it. Pressure is 0 where
// the kernel keeps none. SlipP99 is the generator's to say.
func (h *HostWatch) Finish(ourCPU time.Duration) (experiment.Host, error) {
	if h.after == nil {
		if err := h.End(); err != nil {
			return experiment.Host{}, err
		}
	}
	return between(&h.before, h.after, ourCPU), nil
}

// between is pure.
func between(a, b *reading, ourCPU time.Duration) experiment.Host {
	host := experiment.Host{Cores: b.cores}
	if total := b.total - a.total; total > 0 {
		ours := (max(ourCPU, 0) + max(b.own-a.own, 0)).Seconds()
		host.ExternalCPU = share(b.busy-a.busy-ours, total)
		host.Steal = share(b.steal-a.steal, total)
	}
	if wall := b.pressureClock.Sub(a.pressureClock).Seconds(); a.pressure && b.pressure && wall > 0 {
		host.Pressure = share((b.cpu - a.cpu).Seconds(), wall)
		host.MemPressure = share((b.memory - a.memory).Seconds(), wall)
	}
	for dir, before := range a.throttled {
		if after, ok := b.throttled[dir]; ok && after > before {
			host.Throttled += (after - before).Seconds()
		}
	}
	return host
}

// share keeps a ratio between 0 and 1: the clocks are not read at one instant.
func share(part, whole float64) float64 { return min(max(part/whole, 0), 1) }

func (h *HostWatch) read() (reading, error) {
	text, err := readShort(filepath.Join(h.proc, "stat"))
	if err != nil {
		return reading{}, err
	}
	r, err := parseStat(text)
	if err != nil {
		return r, err
	}
	var own syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &own); err == nil {
		r.own = time.Duration(own.Utime.Nano() + own.Stime.Nano())
	}
	cpu, err1 := readShort(filepath.Join(h.proc, "pressure/cpu"))
	r.pressureClock = time.Now()
	memory, err2 := readShort(filepath.Join(h.proc, "pressure/memory"))
	if err1 == nil && err2 == nil {
		var ok1, ok2 bool
		r.cpu, ok1 = parsePressure(cpu)
		r.memory, ok2 = parsePressure(memory)
		r.pressure = ok1 && ok2
	}
	r.throttled = map[string]time.Duration{}
	for _, dir := range h.cgroups {
		if text, err := readShort(filepath.Join(dir, "cpu.stat")); err == nil {
			if d, ok := parseThrottled(text); ok {
				r.throttled[dir] = d
			}
		}
	}
	return r, nil
}

// maxText bounds a file of the kernel's: /proc/stat has a number for each
// interrupt, and a line for each core.
const maxText = 4 << 20

func readShort(name string) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxText+1))
	if err != nil {
		return "", err
	}
	if len(b) > maxText {
		return "", fmt.Errorf("reading %s: longer than %d bytes", name, maxText)
	}
	return string(b), nil
}

// userHz is what /proc/stat counts in, on every architecture that is supported.
const userHz = 100

// parseStat reads /proc/stat: proc(5). Guest time is in user time already.
func parseStat(text string) (reading, error) {
	const user, nice, system, irq, softirq, steal = 0, 1, 2, 5, 6, 7
	var r reading
	found := false
	for line := range strings.Lines(text) {
		name, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch {
		case name == "cpu":
			var ticks [8]uint64 // a kernel before 2.6.11 has fewer: then they are 0
			fields := strings.Fields(rest)
			for i := range min(len(fields), len(ticks)) {
				n, err := strconv.ParseUint(fields[i], 10, 64)
				if err != nil {
					return r, fmt.Errorf("/proc/stat is malformed: %w", err)
				}
				ticks[i] = n
				r.total += float64(n) / userHz
			}
			for _, i := range []int{user, nice, system, irq, softirq} {
				r.busy += float64(ticks[i]) / userHz
			}
			r.steal = float64(ticks[steal]) / userHz
			found = len(fields) >= 4
		case strings.HasPrefix(name, "cpu"):
			r.cores++
		}
	}
	if !found || r.cores == 0 {
		return r, errors.New("/proc/stat is malformed: no CPU times")
	}
	return r, nil
}

// parsePressure reads the total of the line "some" of a file of /proc/pressure.
func parsePressure(text string) (time.Duration, bool) {
	for line := range strings.Lines(text) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] != "some" {
			continue
		}
		for _, f := range fields[1:] {
			if total, ok := strings.CutPrefix(f, "total="); ok {
				return parseCount(total, time.Microsecond)
			}
		}
	}
	return 0, false
}

// parseThrottled reads the throttled time of a cpu.stat, of either version.
func parseThrottled(text string) (time.Duration, bool) {
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(strings.TrimSpace(line), " ")
		switch key {
		case "throttled_usec":
			return parseCount(value, time.Microsecond)
		case "throttled_time":
			return parseCount(value, time.Nanosecond)
		}
	}
	return 0, false
}

func parseCount(s string, unit time.Duration) (time.Duration, bool) {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 || n > math.MaxInt64/int64(unit) {
		return 0, false
	}
	return time.Duration(n) * unit, true
}
