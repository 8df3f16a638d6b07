package record

import (
	"strconv"
	"time"
)

// What a field's value means over time.
const (
	instant    = false
	cumulative = true
)

// fields gives every Field its name in JSON and its place in a Sample. The
// accessor returns a pointer, which an interface holds without allocating; its
// type (*uint64, *int64, *float64, *bool, *time.Duration, *time.Time,
// *TimeHistogram, *[NumSizeClasses]uint64) is the field's type.
var fields = [NumFields]struct {
	name       string
	cumulative bool
	at         func(*Sample) any
}{
	FieldHeapLiveBytes:             {"heap_live_bytes", instant, func(s *Sample) any { return &s.HeapLiveBytes }},
	FieldHeapMarkedBytes:           {"heap_marked_bytes", instant, func(s *Sample) any { return &s.HeapMarkedBytes }},
	FieldHeapGoalBytes:             {"heap_goal_bytes", instant, func(s *Sample) any { return &s.HeapGoalBytes }},
	FieldHeapTriggerBytes:          {"heap_trigger_bytes", instant, func(s *Sample) any { return &s.HeapTriggerBytes }},
	FieldHeapInUseBytes:            {"heap_in_use_bytes", instant, func(s *Sample) any { return &s.HeapInUseBytes }},
	FieldHeapFreeBytes:             {"heap_free_bytes", instant, func(s *Sample) any { return &s.HeapFreeBytes }},
	FieldHeapReleasedBytes:         {"heap_released_bytes", instant, func(s *Sample) any { return &s.HeapReleasedBytes }},
	FieldHeapObjectsBytes:          {"heap_objects_bytes", instant, func(s *Sample) any { return &s.HeapObjectsBytes }},
	FieldTotalAllocBytes:           {"total_alloc_bytes", cumulative, func(s *Sample) any { return &s.TotalAllocBytes }},
	FieldTotalFreeBytes:            {"total_free_bytes", cumulative, func(s *Sample) any { return &s.TotalFreeBytes }},
	FieldAllocObjects:              {"alloc_objects", cumulative, func(s *Sample) any { return &s.AllocObjects }},
	FieldFreeObjects:               {"free_objects", cumulative, func(s *Sample) any { return &s.FreeObjects }},
	FieldMappedReadyBytes:          {"mapped_ready_bytes", instant, func(s *Sample) any { return &s.MappedReadyBytes }},
	FieldStackInUseBytes:           {"stack_in_use_bytes", instant, func(s *Sample) any { return &s.StackInUseBytes }},
	FieldStackScanBytes:            {"stack_scan_bytes", instant, func(s *Sample) any { return &s.StackScanBytes }},
	FieldGlobalsScanBytes:          {"globals_scan_bytes", instant, func(s *Sample) any { return &s.GlobalsScanBytes }},
	FieldRuntimeOtherBytes:         {"runtime_other_bytes", instant, func(s *Sample) any { return &s.RuntimeOtherBytes }},
	FieldGOGCPercent:               {"gogc_percent", instant, func(s *Sample) any { return &s.GOGCPercent }},
	FieldGOMEMLIMITBytes:           {"gomemlimit_bytes", instant, func(s *Sample) any { return &s.GOMEMLIMITBytes }},
	FieldGCCycles:                  {"gc_cycles", cumulative, func(s *Sample) any { return &s.GCCycles }},
	FieldGCForced:                  {"gc_forced_cycles", cumulative, func(s *Sample) any { return &s.GCForced }},
	FieldGCPhase:                   {"gc_phase", instant, func(s *Sample) any { return &s.GCPhase }},
	FieldPauseTotal:                {"pause_total_ns", cumulative, func(s *Sample) any { return &s.PauseTotal }},
	FieldLastGC:                    {"last_gc", instant, func(s *Sample) any { return &s.LastGC }},
	FieldCPUGCAssist:               {"cpu_gc_assist_ns", cumulative, func(s *Sample) any { return &s.CPUGCAssist }},
	FieldCPUGCDedicated:            {"cpu_gc_dedicated_ns", cumulative, func(s *Sample) any { return &s.CPUGCDedicated }},
	FieldCPUGCIdle:                 {"cpu_gc_idle_ns", cumulative, func(s *Sample) any { return &s.CPUGCIdle }},
	FieldCPUGCPause:                {"cpu_gc_pause_ns", cumulative, func(s *Sample) any { return &s.CPUGCPause }},
	FieldCPUGCTotal:                {"cpu_gc_total_ns", cumulative, func(s *Sample) any { return &s.CPUGCTotal }},
	FieldCPUScavengeAssist:         {"cpu_scavenge_assist_ns", cumulative, func(s *Sample) any { return &s.CPUScavengeAssist }},
	FieldCPUScavengeBackground:     {"cpu_scavenge_background_ns", cumulative, func(s *Sample) any { return &s.CPUScavengeBackground }},
	FieldCPUScavengeTotal:          {"cpu_scavenge_total_ns", cumulative, func(s *Sample) any { return &s.CPUScavengeTotal }},
	FieldCPUIdle:                   {"cpu_idle_ns", cumulative, func(s *Sample) any { return &s.CPUIdle }},
	FieldCPUUser:                   {"cpu_user_ns", cumulative, func(s *Sample) any { return &s.CPUUser }},
	FieldCPUTotal:                  {"cpu_total_ns", cumulative, func(s *Sample) any { return &s.CPUTotal }},
	FieldLimiterEnabled:            {"limiter_enabled", instant, func(s *Sample) any { return &s.LimiterEnabled }},
	FieldLimiterLastCycle:          {"limiter_last_cycle", instant, func(s *Sample) any { return &s.LimiterLastCycle }},
	FieldLimiterFillRatio:          {"limiter_fill_ratio", instant, func(s *Sample) any { return &s.LimiterFillRatio }},
	FieldScavengeGOGCGoalBytes:     {"scavenge_gogc_goal_bytes", instant, func(s *Sample) any { return &s.ScavengeGOGCGoalBytes }},
	FieldScavengeMemlimitGoalBytes: {"scavenge_memlimit_goal_bytes", instant, func(s *Sample) any { return &s.ScavengeMemlimitGoalBytes }},
	FieldGOMAXPROCS:                {"gomaxprocs", instant, func(s *Sample) any { return &s.GOMAXPROCS }},
	FieldThreads:                   {"threads", instant, func(s *Sample) any { return &s.Threads }},
	FieldIdlePs:                    {"idle_ps", instant, func(s *Sample) any { return &s.IdlePs }},
	FieldGoroutines:                {"goroutines", instant, func(s *Sample) any { return &s.Goroutines }},
	FieldRunnable:                  {"runnable", instant, func(s *Sample) any { return &s.Runnable }},
	FieldSchedLatency:              {"sched_latency", cumulative, func(s *Sample) any { return &s.SchedLatency }},
	FieldSTWStoppingGC:             {"stw_stopping_gc", cumulative, func(s *Sample) any { return &s.STWStoppingGC }},
	FieldSTWStoppingOther:          {"stw_stopping_other", cumulative, func(s *Sample) any { return &s.STWStoppingOther }},
	FieldSTWTotalGC:                {"stw_total_gc", cumulative, func(s *Sample) any { return &s.STWTotalGC }},
	FieldSTWTotalOther:             {"stw_total_other", cumulative, func(s *Sample) any { return &s.STWTotalOther }},
	FieldSizeClassAllocs:           {"size_class_allocs", cumulative, func(s *Sample) any { return &s.SizeClassAllocs }},
	FieldSizeClassFrees:            {"size_class_frees", cumulative, func(s *Sample) any { return &s.SizeClassFrees }},
	FieldLargeAllocBytes:           {"large_alloc_bytes", cumulative, func(s *Sample) any { return &s.LargeAllocBytes }},
	FieldLargeFreeBytes:            {"large_free_bytes", cumulative, func(s *Sample) any { return &s.LargeFreeBytes }},
	FieldTinyAllocs:                {"tiny_allocs", cumulative, func(s *Sample) any { return &s.TinyAllocs }},
	FieldRSSBytes:                  {"rss_bytes", instant, func(s *Sample) any { return &s.RSSBytes }},
	FieldRSSPeakBytes:              {"rss_peak_bytes", instant, func(s *Sample) any { return &s.RSSPeakBytes }},
	FieldRSSAnonBytes:              {"rss_anon_bytes", instant, func(s *Sample) any { return &s.RSSAnonBytes }},
	FieldRSSFileBytes:              {"rss_file_bytes", instant, func(s *Sample) any { return &s.RSSFileBytes }},
	FieldSwapBytes:                 {"swap_bytes", instant, func(s *Sample) any { return &s.SwapBytes }},
	FieldCPUProcUser:               {"cpu_process_user_ns", cumulative, func(s *Sample) any { return &s.CPUProcUser }},
	FieldCPUProcSystem:             {"cpu_process_system_ns", cumulative, func(s *Sample) any { return &s.CPUProcSystem }},
	FieldCgroupUsageBytes:          {"cgroup_usage_bytes", instant, func(s *Sample) any { return &s.CgroupUsageBytes }},
	FieldCgroupLimitBytes:          {"cgroup_limit_bytes", instant, func(s *Sample) any { return &s.CgroupLimitBytes }},
	FieldCgroupThrottled:           {"cgroup_throttled_ns", cumulative, func(s *Sample) any { return &s.CgroupThrottled }},
	FieldCgroupPeriods:             {"cgroup_periods", cumulative, func(s *Sample) any { return &s.CgroupPeriods }},
	FieldCgroupThrottledPeriods:    {"cgroup_throttled_periods", cumulative, func(s *Sample) any { return &s.CgroupThrottledPeriods }},
	FieldCgroupOOMKills:            {"cgroup_oom_kills", cumulative, func(s *Sample) any { return &s.CgroupOOMKills }},
	FieldPSIMemorySomeStall:        {"psi_memory_some_stall_ns", cumulative, func(s *Sample) any { return &s.PSIMemorySomeStall }},
	FieldPSICPUSomeStall:           {"psi_cpu_some_stall_ns", cumulative, func(s *Sample) any { return &s.PSICPUSomeStall }},
	FieldRSSShmemBytes:             {"rss_shmem_bytes", instant, func(s *Sample) any { return &s.RSSShmemBytes }},
	FieldMajorFaults:               {"major_faults", cumulative, func(s *Sample) any { return &s.MajorFaults }},
	FieldStopped:                   {"stopped", instant, func(s *Sample) any { return &s.Stopped }},
	FieldCgroupAnonBytes:           {"cgroup_anon_bytes", instant, func(s *Sample) any { return &s.CgroupAnonBytes }},
	FieldCgroupFileBytes:           {"cgroup_file_bytes", instant, func(s *Sample) any { return &s.CgroupFileBytes }},
	FieldCgroupShmemBytes:          {"cgroup_shmem_bytes", instant, func(s *Sample) any { return &s.CgroupShmemBytes }},
	FieldCgroupRefaults:            {"cgroup_refaults", cumulative, func(s *Sample) any { return &s.CgroupRefaults }},
	FieldCgroupReclaimedBytes:      {"cgroup_reclaimed_bytes", cumulative, func(s *Sample) any { return &s.CgroupReclaimedBytes }},
	FieldCgroupCPUQuota:            {"cgroup_cpu_quota_ns", instant, func(s *Sample) any { return &s.CgroupCPUQuota }},
}

var fieldsByName = func() map[string]Field {
	m := make(map[string]Field, NumFields)
	for f := range NumFields {
		m[fields[f].name] = f
	}
	return m
}()

// String returns the field's name in JSON: snake_case, with the unit in the
// name where there is one.
func (f Field) String() string {
	if f < NumFields {
		return fields[f].name
	}
	return "Field(" + strconv.Itoa(int(f)) + ")"
}

// Cumulative reports whether the field counts since the process started, so
// that only the difference of two samples says something about the time
// between them.
func (f Field) Cumulative() bool { return f < NumFields && fields[f].cumulative }

// FieldByName returns the field with the given name in JSON.
func FieldByName(name string) (f Field, ok bool) {
	f, ok = fieldsByName[name]
	return f, ok
}

// Pointer returns a pointer to the field f in s, whether or not Has has it, for
// sources that fill fields by a table: a *uint64, *int64, *float64, *bool,
// *time.Duration, *time.Time, *TimeHistogram or *[NumSizeClasses]uint64. It
// panics when there is no field f.
func (s *Sample) Pointer(f Field) any { return fields[f].at(s) }

// Missing returns the fields that the sample's source could not give, in the
// order of their constants.
func (s *Sample) Missing() []Field {
	var missing []Field
	for f := range NumFields {
		if !s.Has.Has(f) {
			missing = append(missing, f)
		}
	}
	return missing
}

// Value returns a field of one number, if the sample has it: bytes and counts
// as they are, durations in seconds, instants in Unix seconds, booleans as 0 or
// 1. Histograms and size classes are not one number.
func (s *Sample) Value(f Field) (v float64, ok bool) {
	if f >= NumFields || !s.Has.Has(f) {
		return 0, false
	}
	switch p := fields[f].at(s).(type) {
	case *uint64:
		return float64(*p), true
	case *int64:
		return float64(*p), true
	case *float64:
		return *p, true
	case *bool:
		if *p {
			return 1, true
		}
		return 0, true
	case *time.Duration:
		return p.Seconds(), true
	case *time.Time:
		return float64(p.UnixNano()) / 1e9, true
	}
	return 0, false
}
