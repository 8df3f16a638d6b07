// Package blackbox is there when a process is killed for want of memory: it watches how
// much room the groups of processes have left, takes profiles while there is still time,
// keeps what it saw in a bounded ring, and when the kernel has killed, puts together what
// is known of it and writes it to a file.
//
// When to capture is [Trigger], a pure function of what was seen. The [Watcher] looks,
// through a [Host]. It stops no process and writes to none. What the evidence means is
// package postmortem's.
package blackbox

import (
	"context"
	"log/slog"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/postmortem"
	"github.com/heapwright/heapwright/cmd/internal/recorder"
	"github.com/heapwright/heapwright/record"
)

// A Source is a process that can be read.
type Source interface {
	recorder.Source
	// Quick is Sample without what is dear to read of the kernel.
	Quick(*record.Sample) error
	// Heap is the heap profile that the last collection published, and what was sampled
	// since, both nil where the program collects none.
	Heap() (published, since *record.Profile, err error)
	// Goroutines groups all goroutines. Without stacks it is fast however many there are.
	Goroutines(stacks bool) (*record.Goroutines, error)
	// Forget lets go of the memory that a capture leaves behind for the next one.
	Forget()
	Process() record.Process
	Close() error
}

// Options say what a Watcher does. Dir must be there.
type Options struct {
	Dir    string // for post-mortem files; made if it is not there
	Host   Host   // nil for this machine
	Logger *slog.Logger
	// Select says whether to watch a process; nil is all that are Go.
	Select func(*record.Process) bool
	// On is told of every kill, after its file was written. It must not wait.
	On func(Postmortem)
	// MaxProcesses is how many are watched at most; 0 for 1000.
	MaxProcesses int
	// MaxBytes bounds the files in Dir together, MaxFiles their number; the oldest go.
	// 0 for 512 MiB and 1000.
	MaxBytes int64
	MaxFiles int
	// Quiet is between captures at moments when nothing is wrong; 0 for five minutes.
	Quiet time.Duration
}

// A Postmortem is a kill that was seen.
type Postmortem struct {
	File     string // "" when it could not be written
	Err      error  // why
	Process  record.Process
	Evidence *postmortem.Evidence
	// GroupKills is by how much the group's counter of OOM kills rose with this one: more
	// than one where a whole group was killed, 0 where the counter was gone with it.
	GroupKills uint64
}

// A Host is the machine: its processes, and what it says of their memory.
type Host interface {
	// Attach takes hold of a process. An error that is a recorder.ErrEnded says that it
	// is no more.
	Attach(ctx context.Context, pid int) (Source, error)
}
