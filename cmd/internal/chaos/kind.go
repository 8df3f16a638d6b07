package chaos

// A Kind is what sort of fault.
type Kind string

// The kinds, by rising risk.
const (
	// The soft limit alone: GOMEMLIMIT is lowered in the running process.
	SoftLimit Kind = "limit.soft"
	// The CPU quota of its cgroup is lowered.
	CPUQuota Kind = "cpu.quota"

	// Inside a service that has package guard/fault.
	Churn      Kind = "heap.churn"
	Retain     Kind = "heap.retain"
	Pointers   Kind = "heap.pointers"
	Large      Kind = "heap.large"
	Fragments  Kind = "heap.fragments"
	Goroutines Kind = "goroutines"
	Stacks     Kind = "stacks"
	Finalizers Kind = "finalizers"
	OffHeap    Kind = "heap.off"
	ForcedGC   Kind = "gc.forced"

	// From outside, of services that know nothing of us.
	SlowDependency Kind = "proxy.delay"
	BlackHole      Kind = "proxy.hole"
	ResetPeer      Kind = "proxy.reset"
	Connections    Kind = "connections"
	Freeze         Kind = "freeze"
	Sibling        Kind = "sibling"
	PageCache      Kind = "pagecache"
	Shared         Kind = "shared"
	Reclaim        Kind = "reclaim"
	HardLimit      Kind = "limit.hard"
)

// A Unit is what the levels of a kind are in.
type Unit string

// The units.
const (
	Bytes          Unit = "bytes"
	BytesPerSecond Unit = "bytes/s"
	Count          Unit = "count"
	CountPerSecond Unit = "count/s"
	Cores          Unit = "cores"
	Seconds        Unit = "seconds"
	Ratio          Unit = "ratio" // 0 to 1; of the connections
)

// A KindInfo is what is to be known of a kind.
type KindInfo struct {
	Kind Kind
	Unit Unit
	// Risk is 1 for what cannot end the target, 2 for what takes memory or CPU inside of
	// it, 3 for what takes it around it, 4 for what the kernel may kill it for.
	Risk int
	// Share is what a level in percent is of: "headroom", "limit", "usage", "quota"; ""
	// where there are none.
	Share string
	// Inside needs the target to have package guard/fault.
	Inside bool
	// Proxy happens to what passes a proxy between the target and a dependency.
	Proxy bool
	// Memory needs a memory cgroup of the target's own, CPU one with a quota that may be
	// set.
	Memory, CPU bool
	// Down: the level falls from what it was, instead of rising from nothing.
	Down bool
	What string // for people, in a few words
}

var kinds = []KindInfo{
	{Kind: SoftLimit, Unit: Bytes, Risk: 1, Share: "limit", Down: true, What: "GOMEMLIMIT lowered in the running process"},
	{Kind: CPUQuota, Unit: Cores, Risk: 1, Share: "quota", CPU: true, Down: true, What: "CPU quota of its cgroup lowered"},
	{Kind: Churn, Unit: BytesPerSecond, Risk: 2, Inside: true, What: "garbage allocated inside"},
	{Kind: ForcedGC, Unit: CountPerSecond, Risk: 2, Inside: true, What: "collections forced inside"},
	{Kind: Retain, Unit: Bytes, Risk: 2, Share: "headroom", Inside: true, What: "memory without pointers kept inside"},
	{Kind: Pointers, Unit: Bytes, Risk: 2, Share: "headroom", Inside: true, What: "small objects full of pointers kept inside"},
	{Kind: Large, Unit: Bytes, Risk: 2, Share: "headroom", Inside: true, What: "large objects kept, and replaced all the time, inside"},
	{Kind: Fragments, Unit: Bytes, Risk: 2, Share: "headroom", Inside: true, What: "spans of the heap kept by a small object each, inside"},
	{Kind: Goroutines, Unit: Count, Risk: 2, Inside: true, What: "goroutines parked inside"},
	{Kind: Stacks, Unit: Bytes, Risk: 2, Share: "headroom", Inside: true, What: "goroutines with grown stacks inside"},
	{Kind: Finalizers, Unit: CountPerSecond, Risk: 2, Inside: true, What: "objects with finalizers made inside"},
	{Kind: OffHeap, Unit: Bytes, Risk: 3, Share: "headroom", Inside: true, What: "memory mapped inside that the runtime does not know of"},
	{Kind: SlowDependency, Unit: Seconds, Risk: 2, Proxy: true, What: "a dependency behind a proxy that delays and cuts"},
	{Kind: BlackHole, Unit: Ratio, Risk: 2, Proxy: true, What: "a dependency behind a proxy that takes everything and passes nothing on"},
	{Kind: ResetPeer, Unit: Ratio, Risk: 2, Proxy: true, What: "a dependency behind a proxy that resets connections, also new ones"},
	{Kind: Connections, Unit: Count, Risk: 2, What: "connections that are opened and say nothing"},
	{Kind: Freeze, Unit: Seconds, Risk: 3, What: "the process stopped, and let go on"},
	{Kind: PageCache, Unit: Bytes, Risk: 3, Share: "headroom", Memory: true, What: "page cache charged to its cgroup"},
	{Kind: Sibling, Unit: Bytes, Risk: 3, Share: "headroom", Memory: true, What: "another process in its cgroup takes memory"},
	{Kind: Shared, Unit: Bytes, Risk: 3, Share: "headroom", Memory: true, What: "shared memory charged to its cgroup"},
	{Kind: Reclaim, Unit: Bytes, Risk: 3, Share: "usage", Memory: true, Down: true, What: "the kernel made to reclaim: memory.high, or v1 by its limit and back"},
	{Kind: HardLimit, Unit: Bytes, Risk: 4, Share: "limit", Memory: true, Down: true, What: "the limit of its cgroup lowered"},
}

// Kinds are all kinds, by rising risk as they are to be run.
func Kinds() []KindInfo { return append([]KindInfo(nil), kinds...) }

// Info says what is to be known of a kind; false for one that is not known.
func (k Kind) Info() (KindInfo, bool) {
	for _, i := range kinds {
		if i.Kind == k {
			return i, true
		}
	}
	return KindInfo{}, false
}
