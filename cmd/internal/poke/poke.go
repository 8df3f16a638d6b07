// Package poke changes one word of another process's memory. It is the only
// place in Heapwright that writes to a process, and it is small so that it can be
// read whole.
//
// [Set] writes an aligned word of 4 or 8 bytes, with process_vm_writev, when all
// of this holds: the process is the one that was opened, the word lies in
// private, writable, not executable memory that is anonymous or of the program's
// own file, and it holds the value that the caller expects. Afterwards the word
// is read back, and the process asked again whether it is the same.
//
// The package does not know what a word means, whether it may be changed, or how
// to change it back: package live does, and nothing else imports this one.
package poke

import (
	"errors"
	"fmt"
)

// A Word is a place in a process's memory.
type Word struct {
	Addr uint64
	Size int // bytes: 4 or 8
}

var (
	// ErrUnsupported: nothing is written on this system or architecture.
	// That an aligned word is never seen half written was measured on amd64.
	ErrUnsupported = errors.New("writing to a process is supported on linux/amd64 only")
	// ErrWord: not an aligned word of 4 or 8 bytes, or a value that does not fit it.
	ErrWord = errors.New("not an aligned word of 4 or 8 bytes")
)

// A MappingError says that a word lies where no variable of the program does.
type MappingError struct {
	Addr uint64
	Perm string // of the mapping, "" when there is none
	Path string
}

func (e *MappingError) Error() string {
	if e.Perm == "" {
		return fmt.Sprintf("nothing is mapped at %#x", e.Addr)
	}
	return fmt.Sprintf("%#x is in %s memory of %q, not in the program's own data", e.Addr, e.Perm, e.Path)
}

// A ChangedError says that a word does not hold what it was expected to, so that
// nothing was written.
type ChangedError struct {
	Addr      uint64
	Want, Got uint64
}

func (e *ChangedError) Error() string {
	return fmt.Sprintf("the word at %#x changed from %#x to %#x; it was not written", e.Addr, e.Want, e.Got)
}

// A ReadBackError says that a word was written and then held something else: the
// program, or another tool, wrote to it in the same instant.
type ReadBackError struct {
	Addr       uint64
	Wrote, Got uint64
}

func (e *ReadBackError) Error() string {
	return fmt.Sprintf("the word at %#x was written as %#x and read back as %#x: something else writes there", e.Addr, e.Wrote, e.Got)
}

func (w Word) check(values ...uint64) error {
	if w.Size != 4 && w.Size != 8 || w.Addr%uint64(w.Size) != 0 || w.Addr == 0 {
		return fmt.Errorf("%w: %d bytes at %#x", ErrWord, w.Size, w.Addr)
	}
	for _, v := range values {
		if w.Size == 4 && v>>32 != 0 {
			return fmt.Errorf("%w: %#x does not fit 4 bytes", ErrWord, v)
		}
	}
	return nil
}
