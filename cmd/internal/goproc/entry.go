package goproc

import (
	"time"

	"github.com/heapwright/heapwright/record"
)

// An Entry is a process that is Go, or that may be.
type Entry struct {
	Process record.Process
	RSS     uint64 // bytes; 0 when not known
	RSSPeak uint64 // bytes; 0 when not known
	Uptime  time.Duration
	// IsGo is false when it could not be found out whether this is a Go process.
	IsGo bool
	// Err says why the process could not be identified, or that it is of a kind
	// that heapwright cannot read. What is known of the process is there all the
	// same.
	Err error
	// CgroupErr says why the limits in Process are not known. They are 0 then,
	// which otherwise means that there is none.
	CgroupErr error
}

// A Neighbour is another process of a process's cgroup.
type Neighbour struct {
	PID      int
	Name     string // as the kernel has it: anything, up to 15 bytes
	RSSBytes uint64
}
