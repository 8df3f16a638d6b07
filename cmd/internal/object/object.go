// Package object reads the heap of a running Go process into a graph: its spans,
// which of their slots hold objects, what the objects refer to, of which types they
// are, and the roots that keep them. The process is not stopped, nothing is written
// to it, and it need have neither symbols nor debugging information.
//
// [Walk] goes through mheap_.allspans and reads memory in large pieces. Where the
// release says which words of an object are pointers, only those count: Go 1.22 and
// newer have bitmaps at the end of spans of small objects, and the type of every
// larger one (runtime/mbitmap.go). Before that, and where the type's own bitmap is
// not there, every word that points into the heap is taken for a pointer.
//
// Types come from the headers of large objects, from interface words, from the code
// that allocated the objects which the heap profiler has sampled, from debugging
// information about variables where there is some, and from there on by following the
// fields of types. Channels and maps are recognised by themselves. An object that none of these reach has no type,
// which costs nothing but a name.
//
// A process that runs changes its heap while it is read. Spans that changed while
// their bitmaps were read are read again; pointers that moved from an object not yet
// read to one that was can be missed, so that an object seems kept by nobody. [Stats]
// says how much moved. Who wants one instant stops the process, with package pause.
// What waits for a finalizer or cleanup that is due lies in queues outside of the heap,
// which are not read: that too seems kept by nobody, until it has run.
//
// The package does not judge what it finds (package retention), and does not find
// the process (package remote).
package object

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/heapgraph"
	"github.com/heapwright/heapwright/cmd/internal/procmem"
	"github.com/heapwright/heapwright/cmd/internal/profile"
)

// Options are how a heap is read. The zero value is fine.
type Options struct {
	// MaxMemory bounds what the graph takes, in bytes, the search for its dominators
	// included; 0 means 1 GiB. A heap whose graph does not fit is read more coarsely,
	// see heapgraph.Coarse. The list of spans, some 150 bytes each, and the references
	// of variables have as much again: what does not fit there is not read.
	MaxMemory int64
	// Progress is told how many bytes of the heap have been read of how many there
	// are, now and then; nil: nobody is.
	Progress func(done, total uint64)
	// Conservative takes every word that points into the heap for a pointer, also
	// where the release would say which are.
	Conservative bool
	// Paused says that the process stands still, so that nothing need be read twice.
	Paused bool
}

// DefaultMaxMemory is Options.MaxMemory where that is 0.
const DefaultMaxMemory = 1 << 30

// A Precision says how pointers were told from other words.
type Precision string

const (
	// Typed: by bitmaps of the heap and by types, as the collector does.
	Typed Precision = "typed"
	// Conservative: each word that points into the heap counts.
	Conservative Precision = "conservative"
)

// Stats are how a walk went.
type Stats struct {
	Time time.Time
	// Took is from the first reading to the last; CPU is what this process used.
	Took time.Duration
	// Precision is how pointers were found in most objects.
	Precision Precision
	// Coarse is how nodes stand for objects.
	Coarse heapgraph.Coarse

	Spans   int    // in use
	Objects uint64 // in them
	Bytes   uint64 // of these, as size classes count
	// ScanBytes is of objects that have pointers: all that is read of the heap.
	ScanBytes uint64
	Edges     uint64
	Roots     int
	// BytesRead is what was read of the process, in all.
	BytesRead uint64
	// GraphBytes is what the graph takes of our memory. OwnBytes is the most that this
	// process's heap held at the ends of the parts of the walk.
	GraphBytes, OwnBytes uint64

	// TypedObjects and TypedBytes have a type; objects without pointers whose type
	// nobody says are not among them.
	TypedObjects, TypedBytes uint64
	// ConservativeBytes are of objects whose words were taken for pointers because
	// the bitmap of their type is not built, or their type is not of the program.
	ConservativeBytes uint64

	// Cycles is how many collections ended while the heap was read.
	Cycles uint64
	// MovedSpans changed whenever their bitmaps were read, and have been taken as
	// they were last. LateSpans changed between then and the end: objects were
	// allocated in them, or swept.
	MovedSpans, LateSpans int
	// NewSpans came while the heap was read. Their objects are not in the graph.
	NewSpans int
	// UnreadableBytes are of objects whose memory could not be read.
	UnreadableBytes uint64
	// Goroutines whose stacks were read; of RunningStacks the frames were not known,
	// so that their whole stacks count; LostStacks could not be read.
	Goroutines, RunningStacks, LostStacks int
	// GlobalsConservative says that every word of the program's variables was looked
	// at, because their bitmaps could not be read.
	GlobalsConservative bool
	// Notes say in words what is less than it could be.
	Notes []string
}

// A MissingError says that something the walk needs is not known of the process.
type MissingError struct{ What string }

func (e *MissingError) Error() string {
	return "reading the heap: the place of " + e.What + " in this build is not known"
}

// Hint says what may help.
func (e *MissingError) Hint() string {
	return "the program was built with a modified toolchain or unusual compiler flags; keep its symbol table (no -ldflags=-s) to help"
}

// An ImplausibleError says that the process's heap contradicts itself.
type ImplausibleError struct{ Reason string }

func (e *ImplausibleError) Error() string { return "reading the heap: " + e.Reason }

// Hint says what may be the cause.
func (e *ImplausibleError) Hint() string {
	return "the program's runtime is modified, damaged or hostile; please report its Go version and build settings (heapwright ps --json)"
}

func implausible(format string, args ...any) error {
	return &ImplausibleError{fmt.Sprintf(format, args...)}
}

// A Runtime is a located Go runtime; *remote.Target is one.
type Runtime = profile.Runtime

// processOf returns the process of a runtime, nil when it is only memory.
func processOf(rt Runtime) *procmem.Process {
	if t, ok := rt.(interface{ Process() *procmem.Process }); ok {
		return t.Process()
	}
	return nil
}

// Walk reads the heap. It fails with *MissingError, *ImplausibleError,
// *heapgraph.TooLargeError, the context's error, and those of package procmem.
func Walk(ctx context.Context, rt Runtime, opt Options) (*heapgraph.Graph, *Stats, error) {
	if opt.MaxMemory <= 0 {
		opt.MaxMemory = DefaultMaxMemory
	}
	w, err := newWalk(ctx, rt, opt)
	if err != nil {
		return nil, nil, err
	}
	g, err := w.run()
	if err != nil {
		return nil, nil, err
	}
	return g, &w.stats, nil
}

// minorOf returns the 26 of "go1.26.8", 0 where there is none.
func minorOf(version string) int {
	rest, ok := strings.CutPrefix(version, "go1.")
	if !ok {
		return 0
	}
	n := 0
	for i := 0; i < len(rest) && rest[i] >= '0' && rest[i] <= '9' && n < 1000; i++ {
		n = n*10 + int(rest[i]-'0')
	}
	return n
}
