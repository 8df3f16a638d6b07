package poke

import (
	"encoding/binary"
	"fmt"
	"runtime"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/heapwright/heapwright/cmd/internal/procmem"
)

// Set changes a word from old to value. Between the comparison and the write
// lies a system call's time, in which the process may change the word itself;
// what it wrote is then lost, as when two of its own threads set a variable.
//
// Errors: [*ChangedError], [*MappingError], [*ReadBackError], [ErrWord],
// [ErrUnsupported], and those of package procmem. After a ReadBackError or an
// error of procmem the word may have been written.
func Set(p *procmem.Process, w Word, old, value uint64) error {
	if runtime.GOARCH != "amd64" {
		return ErrUnsupported
	}
	if err := w.check(old, value); err != nil {
		return err
	}
	if err := w.mapped(p); err != nil {
		return err
	}
	got, err := Get(p, w)
	if err != nil {
		return err
	}
	if got != old {
		return &ChangedError{Addr: w.Addr, Want: old, Got: got}
	}
	// The number could have passed to another process since it was opened; it
	// cannot while the process lives, and it lived before and after the reading.
	if err := p.Alive(); err != nil {
		return err
	}
	if err := w.write(p.PID(), value); err != nil {
		return err
	}
	got, err = Get(p, w)
	if err != nil {
		return err
	}
	if err := p.Alive(); err != nil {
		return err
	}
	if got != value {
		return &ReadBackError{Addr: w.Addr, Wrote: value, Got: got}
	}
	return nil
}

// Get reads a word.
func Get(p *procmem.Process, w Word) (uint64, error) {
	if err := w.check(); err != nil {
		return 0, err
	}
	var b [8]byte
	if err := p.Read(w.Addr, b[:w.Size]); err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(b[:]), nil
}

// write is the one call. The kernel copies a word of this size, aligned as it
// is, with one store.
func (w Word) write(pid int, value uint64) error {
	var b [8]byte
	binary.LittleEndian.PutUint64(b[:], value)
	local := [1]unix.Iovec{{Base: &b[0]}}
	local[0].SetLen(w.Size)
	remote := [1]unix.RemoteIovec{{Base: uintptr(w.Addr), Len: w.Size}}
	n, err := unix.ProcessVMWritev(pid, local[:], remote[:], 0)
	switch {
	case err == unix.ESRCH:
		err = procmem.ErrExited
	case err == unix.EPERM || err == unix.EACCES:
		err = fmt.Errorf("%w (%w)", procmem.ErrAccess, err)
	case err == nil && n != w.Size:
		err = procmem.ErrUnmapped
	}
	if err != nil {
		return &procmem.Error{Op: "write to", PID: pid, Addr: w.Addr, Len: w.Size, Err: err}
	}
	return nil
}

// mapped checks that the word lies in the program's data: its initialised data
// is a private mapping of its file, the rest of its variables anonymous memory
// behind that.
func (w Word) mapped(p *procmem.Process) error {
	maps, err := p.Maps()
	if err != nil {
		return err
	}
	exe, err := p.OpenExe()
	if err != nil {
		return err
	}
	st, err := exe.Stat()
	if err != nil {
		return fmt.Errorf("reading the executable: %w", err)
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	if !ok {
		return fmt.Errorf("reading the executable: no inode")
	}
	for _, m := range maps {
		if !m.Contains(w.Addr) {
			continue
		}
		own := m.Inode == sys.Ino || m.Inode == 0 && (m.Path == "" || m.Path == "[heap]")
		if m.Perm != "rw-p" || !own || !m.Contains(w.Addr+uint64(w.Size)-1) {
			return &MappingError{Addr: w.Addr, Perm: m.Perm, Path: m.Path}
		}
		return nil
	}
	return &MappingError{Addr: w.Addr}
}
