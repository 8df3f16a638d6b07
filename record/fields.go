package record

// A Field is one measured field of a Sample.
type Field uint8

// A FieldSet is a set of Fields.
type FieldSet [2]uint64

// Has reports whether f is in the set.
func (s FieldSet) Has(f Field) bool { return s[f>>6]&(1<<(f&63)) != 0 }

// Add puts f into the set.
func (s *FieldSet) Add(f Field) { s[f>>6] |= 1 << (f & 63) }

// Remove takes f out of the set.
func (s *FieldSet) Remove(f Field) { s[f>>6] &^= 1 << (f & 63) }

// One constant for each field of Sample after Has, in the same order.
const (
	FieldHeapLiveBytes Field = iota
	FieldHeapMarkedBytes
	FieldHeapGoalBytes
	FieldHeapTriggerBytes
	FieldHeapInUseBytes
	FieldHeapFreeBytes
	FieldHeapReleasedBytes
	FieldHeapObjectsBytes
	FieldTotalAllocBytes
	FieldTotalFreeBytes
	FieldAllocObjects
	FieldFreeObjects
	FieldMappedReadyBytes
	FieldStackInUseBytes
	FieldStackScanBytes
	FieldGlobalsScanBytes
	FieldRuntimeOtherBytes
	FieldGOGCPercent
	FieldGOMEMLIMITBytes
	FieldGCCycles
	FieldGCForced
	FieldGCPhase
	FieldPauseTotal
	FieldLastGC
	FieldCPUGCAssist
	FieldCPUGCDedicated
	FieldCPUGCIdle
	FieldCPUGCPause
	FieldCPUGCTotal
	FieldCPUScavengeAssist
	FieldCPUScavengeBackground
	FieldCPUScavengeTotal
	FieldCPUIdle
	FieldCPUUser
	FieldCPUTotal
	FieldLimiterEnabled
	FieldLimiterLastCycle
	FieldLimiterFillRatio
	FieldScavengeGOGCGoalBytes
	FieldScavengeMemlimitGoalBytes
	FieldGOMAXPROCS
	FieldThreads
	FieldIdlePs
	FieldGoroutines
	FieldRunnable
	FieldSchedLatency
	FieldSTWStoppingGC
	FieldSTWStoppingOther
	FieldSTWTotalGC
	FieldSTWTotalOther
	FieldSizeClassAllocs
	FieldSizeClassFrees
	FieldLargeAllocBytes
	FieldLargeFreeBytes
	FieldTinyAllocs
	FieldRSSBytes
	FieldRSSPeakBytes
	FieldRSSAnonBytes
	FieldRSSFileBytes
	FieldSwapBytes
	FieldCPUProcUser
	FieldCPUProcSystem
	FieldCgroupUsageBytes
	FieldCgroupLimitBytes
	FieldCgroupThrottled
	FieldCgroupPeriods
	FieldCgroupThrottledPeriods
	FieldCgroupOOMKills
	FieldPSIMemorySomeStall
	FieldPSICPUSomeStall
	FieldRSSShmemBytes
	FieldMajorFaults
	FieldStopped
	FieldCgroupAnonBytes
	FieldCgroupFileBytes
	FieldCgroupShmemBytes
	FieldCgroupRefaults
	FieldCgroupReclaimedBytes
	FieldCgroupCPUQuota

	NumFields
)
