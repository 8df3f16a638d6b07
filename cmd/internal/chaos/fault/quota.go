package fault

import (
	"context"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
)

// A cpuQuota is how much CPU a group may use: quota of each period, microseconds.
type cpuQuota struct {
	quota, period int64
	limited       bool
}

func (q cpuQuota) cores() float64 { return float64(q.quota) / float64(q.period) }

// parseQuota reads the two numbers of cpu.max, or cpu.cfs_quota_us and cpu.cfs_period_us.
func parseQuota(quota, period string) (cpuQuota, bool) {
	p, err := strconv.ParseInt(period, 10, 64)
	if err != nil || p <= 0 {
		return cpuQuota{}, false
	}
	if quota == "max" || quota == "-1" {
		return cpuQuota{period: p}, true
	}
	n, err := strconv.ParseInt(quota, 10, 64)
	if err != nil || n <= 0 {
		return cpuQuota{}, false
	}
	return cpuQuota{quota: n, period: p, limited: true}, true
}

func (d Dir) quotaFile() string {
	if d.Version == 1 {
		return filepath.Join(d.Path, "cpu.cfs_quota_us")
	}
	return filepath.Join(d.Path, "cpu.max")
}

func readQuota(dir string, version int) (cpuQuota, error) {
	name := "cpu.max"
	if version == 1 {
		name = "cpu.cfs_quota_us"
	}
	text, err := readValue(filepath.Join(dir, name))
	if err != nil {
		return cpuQuota{}, fmt.Errorf("reading the CPU quota: %w", err)
	}
	quota, period, _ := strings.Cut(text, " ")
	if version == 1 {
		if period, err = readValue(filepath.Join(dir, "cpu.cfs_period_us")); err != nil {
			return cpuQuota{}, fmt.Errorf("reading the CPU quota: %w", err)
		}
	}
	q, ok := parseQuota(quota, period)
	if !ok {
		return q, fmt.Errorf("reading the CPU quota: %s does not say one", filepath.Join(dir, name))
	}
	return q, nil
}

// written is what is written for so many cores. The kernel takes no quota below 1 ms.
func (d Dir) written(period int64, cores float64) string {
	const least = 1000
	n := max(int64(math.Round(cores*float64(period))), least)
	if d.Version == 1 {
		return strconv.FormatInt(n, 10)
	}
	return strconv.FormatInt(n, 10) + " " + strconv.FormatInt(period, 10)
}

func resolveQuota(_ context.Context, f chaos.Fault, t *Target, _ chaos.Caps, room Room) (*Resolved, error) {
	if err := t.CPU.own("cpu"); err != nil {
		return nil, err
	}
	if err := t.CPU.may(filepath.Base(t.CPU.quotaFile())); err != nil {
		return nil, err
	}
	q, err := readQuota(t.CPU.Path, t.CPU.Version)
	if err != nil {
		return nil, &RefusedError{Why: "its CPU quota is not known", Err: err}
	}
	have := float64(room.CPUs)
	now := fmt.Sprintf("no quota on %g CPUs", have)
	if q.limited {
		have = q.cores()
		now = fmt.Sprintf("%.3g cores", have)
	}
	level, err := absolute(f.Level, have, "quota")
	if err != nil {
		return nil, err
	}
	from := have
	if !f.From.IsZero() {
		if from, err = absolute(f.From, have, "quota"); err != nil {
			return nil, err
		}
	}
	least := 1000 / float64(q.period)
	switch {
	case level < least:
		return nil, &RefusedError{Why: fmt.Sprintf("the kernel gives no quota below %.3g cores", least), hint: "the kind freeze stops a process wholly"}
	case level >= have || from > have:
		return nil, &RefusedError{Why: fmt.Sprintf("%.3g cores are no less than it has: %s", max(level, from), now), hint: "give a level below that"}
	}
	if t.CPU.Version == 1 {
		// The kernel refuses a quota that is below one of a group inside.
		below, _ := os.ReadDir(t.CPU.Path)
		for _, e := range below {
			if in, err := readQuota(filepath.Join(t.CPU.Path, e.Name()), 1); e.IsDir() && err == nil && in.limited && in.cores() > level {
				return nil, &RefusedError{Why: fmt.Sprintf("the group %s inside of its own has a quota of %.3g cores, and v1 allows no less above it", e.Name(), in.cores())}
			}
		}
	}
	return &Resolved{Fault: f, From: from, Level: level, Words: []string{
		fmt.Sprintf("write %q to %s: at most %.3g cores (now %s)", t.CPU.written(q.period, level), t.CPU.quotaFile(), level, now),
		"at the end write back what it has now",
	}}, nil
}

// A quotaEffect has the CPU quota lowered.
type quotaEffect struct {
	*gate
	dir    Dir
	period int64
	file   *setting
	begin  map[string]uint64 // cpu.stat
}

func makeQuota(_ context.Context, _ *Resolved, t *Target, j Journal) (Effect, error) {
	q, err := readQuota(t.CPU.Path, t.CPU.Version)
	if err != nil {
		return nil, err
	}
	s, err := openSetting(t.CPU.quotaFile(), j)
	if err != nil {
		return nil, err
	}
	e := &quotaEffect{gate: newGate(), dir: t.CPU, period: q.period, file: s}
	e.begin = e.stat()
	return e, nil
}

func (e *quotaEffect) stat() map[string]uint64 {
	text, err := readText(filepath.Join(e.dir.Path, "cpu.stat"))
	if err != nil {
		return nil
	}
	return parseKeys(text)
}

func (e *quotaEffect) Set(ctx context.Context, level float64) error {
	ctx, leave, err := e.enter(ctx)
	if err != nil {
		return err
	}
	defer leave()
	if err := e.file.put(ctx, e.dir.written(e.period, level)); err != nil {
		return fmt.Errorf("lowering the CPU quota: %w", err)
	}
	return nil
}

// Measure says what quota the kernel has, and how many periods it stopped the group in.
func (e *quotaEffect) Measure() (float64, string, bool) {
	q, err := readQuota(e.dir.Path, e.dir.Version)
	if err != nil || !q.limited {
		return 0, "", false
	}
	now := e.stat()
	return q.cores(), fmt.Sprintf("quota read back; throttled in %d of %d periods of cpu.stat", now["nr_throttled"]-min(now["nr_throttled"], e.begin["nr_throttled"]),
		now["nr_periods"]-min(now["nr_periods"], e.begin["nr_periods"])), true
}

func (e *quotaEffect) Undo(ctx context.Context) error { return undoAll(ctx, e.gate, e.file) }

// Contained: only a group that is the target's own is ever changed.
func (e *quotaEffect) Contained() bool { return e.dir.Own }
