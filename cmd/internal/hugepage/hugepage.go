// Package hugepage gives memory that the kernel gives back at once: of a file system of
// our own in memory, whose files are made of large pages. Without a name and mounted
// nowhere, it goes with who has the file open.
//
// The kernel frees memory page by page, and 900 MiB of shared memory are 230400 small
// ones, or 450 large ones. It decides nothing: whether memory is had in large pages
// depends on what the kernel has left, and what it charges is the same.
package hugepage

import "errors"

// ErrNone says that there are none to be had: not on this system, or not with these
// permissions.
var ErrNone = errors.New("no file of large pages can be had")
