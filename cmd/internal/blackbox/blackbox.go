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

	"github.com/heapwright/heapwright/cmd/internal/oom"
	"github.com/heapwright/heapwright/cmd/internal/postmortem"
	"github.com/heapwright/heapwright/cmd/internal/recorder"
	"github.com/heapwright/heapwright/record"
)

// A Source is a process that can be read.
type Source interface {
	recorder.Source
	// Heap is the heap profile that the last collection published, and what was sampled
	// since, both nil where the program collects none.
	Heap() (published, since *record.Profile, err error)
	// Goroutines groups all goroutines, and reads the stacks of so many at most: the
	// groups of the others have a stack that is like theirs.
	Goroutines(stacks int) (*record.Goroutines, error)
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
	// Select says whether to watch a process; nil is all that are Go. Several goroutines
	// use it, and what it says may change: who is watched already stays.
	Select func(*record.Process) bool
	// On is told of every kill, after its file was written. It may be told of several at once.
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

// A Host is the machine: its processes, and what it says of their memory. What does not
// say otherwise is used by one goroutine.
type Host interface {
	// PIDs are the processes that there are.
	PIDs() ([]int, error)
	// Program names what a process runs: two that are the same are the same file. It is ""
	// for a kernel thread, or when the process is gone.
	Program(pid int) string
	// Identify says what a process is, for less than Attach costs. An error that is a
	// goproc.ErrNotGo says that its program is none of ours. Several goroutines use it.
	Identify(pid int) (record.Process, error)
	// Attach takes hold of a process. An error that is a recorder.ErrEnded says that it
	// is no more. Several goroutines use it.
	Attach(ctx context.Context, pid int) (Source, error)
	// Command is the kernel's name of a process, "" when it is gone.
	Command(pid int) string
	// Membership is what changes when a process moves to another group: /proc/PID/cgroup.
	Membership(pid int) string
	// Group finds the memory group of a process.
	Group(pid int) (Group, error)
	// Memory is the whole machine as a level, and for how long tasks have waited for
	// memory (PSI); 0 when the kernel does not say.
	Memory() (level oom.Level, stalled time.Duration, ok bool)
	// Siblings are the processes in a group's directory, largest first, and how many more
	// there are.
	Siblings(dir string) (all []postmortem.Sibling, leftOut int)
	// Log follows the kernel's log.
	Log() (Log, error)
	// Bells ring when the kernel has something to say.
	Bells() (Bells, error)
	// SamePIDs says that the kernel's log calls processes by the numbers that we see.
	SamePIDs() bool
}

// A Group is the memory group of a process. *oom.Room with a path is one.
type Group interface {
	Path() string // as in /proc/PID/cgroup
	Version() int
	Levels([]oom.Level) ([]oom.Level, error)
	Parts(dir string) (map[postmortem.Part]uint64, uint64, error)
	Kills() (uint64, bool)
	Close() error
}

// A Log gives kills as the kernel tells of them. *oom.Log is one.
type Log interface {
	Next(context.Context) (oom.Kill, error)
	Lost() uint64
	Close() error
}

// Bells ring. *oom.Bells is one.
type Bells interface {
	C() <-chan oom.Ring
	Hang(group string, levels []oom.Level, version int) []string
	HangHost() error
	Take(group string)
	Close() error
}

// Settling is how long after the end of a process its post-mortem is written at the
// latest.
const Settling = limbo + time.Second
