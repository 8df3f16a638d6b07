// Package oom is the kernel's side of running out of memory: what its log says of the
// processes that it killed, and what tells that a cgroup nears its limit.
//
// [Parser] reads the records of /dev/kmsg, [Log] follows them. [Room] reads how much
// each level of a cgroup has left, and [Bells] ring when the kernel has something to
// say of a group: usage thresholds, pressure, out of memory.
//
// The package decides nothing: when to look at a process, and what a kill means, others
// say. It writes to no process and changes no limit; on cgroup v1 it registers event
// descriptors with a group, which end when it does.
package oom

import (
	"time"

	"github.com/heapwright/heapwright/cmd/internal/postmortem"
)

// A Kill is a kill as the kernel's log has it, with where in the log.
type Kill struct {
	postmortem.Kill
	Seq    uint64        // sequence number of the record that says so
	Kernel time.Duration // the kernel's time stamp of it, since boot by its own clock
	// Bare says that the kernel left the report out, of which it prints at most ten in
	// five seconds, or that it was overwritten before it was read.
	Bare bool
}

// Bounds of what is kept of one report.
const (
	maxTasks = 512
	maxLines = 200
	maxLine  = 512 // bytes
)
