package recorder

import (
	"fmt"
	"math"
	"time"

	"github.com/heapwright/heapwright/record"
)

// settings are the fields whose changes are events.
type settings struct {
	known    bool
	has      record.FieldSet
	gogc     int64
	memlimit int64
	procs    int64
	limit    uint64
	quota    time.Duration
	oomKills uint64
}

func settingsOf(s *record.Sample) settings {
	return settings{known: true, has: s.Has, gogc: s.GOGCPercent, memlimit: s.GOMEMLIMITBytes, procs: s.GOMAXPROCS,
		limit: s.CgroupLimitBytes, quota: s.CgroupCPUQuota, oomKills: s.CgroupOOMKills}
}

// changes reports the settings that moved since the previous sample.
func (r *recorder) changes() error {
	now, before := settingsOf(&r.sample), r.last
	r.last = now
	if !before.known || now == before {
		return nil
	}
	both := func(f record.Field) bool { return now.has.Has(f) && before.has.Has(f) }
	moved := func(setting, from, to string) error {
		return r.event(record.EventSettingChanged, fmt.Sprintf("%s changed from %s to %s", setting, from, to),
			map[string]string{"setting": setting, "from": from, "to": to})
	}
	if both(record.FieldGOGCPercent) && now.gogc != before.gogc {
		if err := moved("GOGC", gogc(before.gogc), gogc(now.gogc)); err != nil {
			return err
		}
	}
	if both(record.FieldGOMEMLIMITBytes) && now.memlimit != before.memlimit {
		if err := moved("GOMEMLIMIT", memlimit(before.memlimit), memlimit(now.memlimit)); err != nil {
			return err
		}
	}
	if both(record.FieldGOMAXPROCS) && now.procs != before.procs {
		if err := moved("GOMAXPROCS", fmt.Sprint(before.procs), fmt.Sprint(now.procs)); err != nil {
			return err
		}
	}
	hadLimit, hasLimit := before.has.Has(record.FieldCgroupLimitBytes), now.has.Has(record.FieldCgroupLimitBytes)
	// A source that has no cgroup fields at all says nothing about the limit.
	if both(record.FieldCgroupUsageBytes) && (hadLimit != hasLimit || hasLimit && now.limit != before.limit) {
		if err := moved("memory limit", limit(before.limit, hadLimit), limit(now.limit, hasLimit)); err != nil {
			return err
		}
	}
	hadQuota, hasQuota := before.has.Has(record.FieldCgroupCPUQuota), now.has.Has(record.FieldCgroupCPUQuota)
	if both(record.FieldCgroupPeriods) && (hadQuota != hasQuota || hasQuota && now.quota != before.quota) {
		if err := moved("CPU quota", quota(before.quota, hadQuota), quota(now.quota, hasQuota)); err != nil {
			return err
		}
	}
	if both(record.FieldCgroupOOMKills) && now.oomKills > before.oomKills {
		return r.event(record.EventOOMKill, fmt.Sprintf("%d OOM kills in the container", now.oomKills-before.oomKills), nil)
	}
	return nil
}

func gogc(percent int64) string {
	if percent < 0 {
		return "off"
	}
	return fmt.Sprint(percent)
}

func memlimit(bytes int64) string {
	if bytes == math.MaxInt64 {
		return "off"
	}
	return fmt.Sprintf("%dB", bytes) // as the variable is written, exact
}

func limit(bytes uint64, has bool) string {
	if !has {
		return "none"
	}
	return fmt.Sprintf("%dB", bytes)
}

func quota(a time.Duration, has bool) string {
	if !has {
		return "none"
	}
	return fmt.Sprintf("%g cores", a.Seconds())
}
