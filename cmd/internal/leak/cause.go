package leak

// A CauseID names a cause of leaks.
type CauseID string

// The causes. An ID is never used again for something else.
const (
	SubSlice         CauseID = "sub-slice"
	Substring        CauseID = "substring"
	MapNeverShrinks  CauseID = "map-never-shrinks"
	MapUnbounded     CauseID = "map-unbounded"
	SliceUnbounded   CauseID = "slice-unbounded"
	SyncMapUnbounded CauseID = "syncmap-unbounded"
	ListUnbounded    CauseID = "list-unbounded"
	ChannelBacklog   CauseID = "channel-backlog"
	Callbacks        CauseID = "callbacks-never-removed"
	TimerForgotten   CauseID = "timer-forgotten"
	TickerForgotten  CauseID = "ticker-forgotten"
	TimeAfterLoop    CauseID = "time-after-loop"
	BodyNotClosed    CauseID = "body-not-closed"
	NoClientTimeout  CauseID = "client-without-timeout"
	ContextNotDone   CauseID = "context-not-cancelled"
	ContextValues    CauseID = "context-values"
	GoroutineSend    CauseID = "goroutine-send"
	GoroutineReceive CauseID = "goroutine-receive"
	GoroutineSelect  CauseID = "goroutine-select"
	GoroutineLock    CauseID = "goroutine-lock"
	GoroutineSleep   CauseID = "goroutine-sleep"
	FinalizerChain   CauseID = "finalizer-chain"
	PoolHoard        CauseID = "pool-hoard"
	StringInterning  CauseID = "string-interning"
	AppendAliasing   CauseID = "append-aliasing"
	ClosureCapture   CauseID = "closure-capture"
	BufferNeverSmall CauseID = "buffer-never-shrinks"
	DeferInLoop      CauseID = "defer-in-loop"
	DeepStacks       CauseID = "deep-stacks"
	OffHeap          CauseID = "off-heap"
	LimitTooSmall    CauseID = "limit-too-small"
	UnknownCause     CauseID = "unknown"
)
