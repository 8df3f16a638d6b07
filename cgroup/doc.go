// Package cgroup says what the kernel lets a process use, and how close to that
// it is: memory limit and usage, CPU quota and throttling, OOM kills, pressure
// (PSI), and the container and pod the process runs in. It reads cgroup v1, v2,
// hosts that mix the two, nested groups, and the narrow view that a container
// has of its own group.
//
//	g, err := cgroup.Self()
//	if err != nil {
//		return err
//	}
//	if limit, ok, err := g.MemoryLimit(); err == nil && ok {
//		debug.SetMemoryLimit(int64(limit / 10 * 9))
//	}
//
// A limit is the effective one: the smallest along the path from the process's
// group to the root, as far as the root can be seen. To look at the numbers
// again and again use a [Reader], which keeps the files open and does not
// allocate.
//
// The package only reads. It creates no groups, moves no processes, changes no
// limits, and needs no more than read access to the cgroup file systems and
// /proc. It is for Linux; elsewhere every call fails with [ErrUnsupported].
package cgroup

import (
	"errors"
	"fmt"
)

// What can go wrong; test with [errors.Is]. A process that does not exist is
// reported as [io/fs.ErrNotExist].
var (
	// ErrUnsupported: this operating system has no cgroups.
	ErrUnsupported = errors.New("cgroups need Linux")
	// ErrNotMounted: the process is in a group, but no mounted cgroup file
	// system shows that group to us.
	ErrNotMounted = errors.New("the cgroup is not visible under any mounted cgroup file system")
	// ErrGone: the group was removed.
	ErrGone = errors.New("the cgroup was removed")
	// ErrUnavailable: the kernel does not keep this number for the group, since
	// the controller is off or the kernel too old.
	ErrUnavailable = errors.New("not available for this cgroup")
	// ErrMalformed: a file does not say what the kernel would write.
	ErrMalformed = errors.New("malformed")
)

// An Error is a failed look at a group.
type Error struct {
	Op   string // what was done: "reading memory limit"
	Path string // the file or group, "" when it is about none
	Err  error  // one of the package's Err values, or the operating system's error
	hint string
}

func (e *Error) Error() string {
	if e.Path == "" {
		return fmt.Sprintf("%s: %v", e.Op, e.Err)
	}
	return fmt.Sprintf("%s: %s: %v", e.Op, e.Path, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// Hint is one line of advice, "" when there is none.
func (e *Error) Hint() string { return e.hint }
