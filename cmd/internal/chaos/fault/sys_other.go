//go:build !linux

package fault

import (
	"os"
	"syscall"
)

// Locate refuses everything elsewhere: what is here lets the package compile.

func threadID() int { return 0 }

func nudge(int) error { return syscall.ENOSYS }

func writable(string) error { return syscall.ENOSYS }

func ownerOf(string) (int, bool) { return 0, false }

func attributes() *syscall.SysProcAttr { return nil }

func apart() *syscall.SysProcAttr { return nil }

func renice(int, int) {}

func disk(string) (uint64, bool, error) { return 0, false, syscall.ENOSYS }

func isCgroupFile(string) (bool, error) { return false, syscall.ENOSYS }

func unnamed(string) (*os.File, error) { return nil, syscall.ENOSYS }

type mapped struct{}

func newMapped(uint64, bool) (*mapped, error) { return nil, syscall.ENOSYS }

func (*mapped) grow(uint64, uint64) error { return syscall.ENOSYS }

func (*mapped) shrink(uint64, uint64) error { return syscall.ENOSYS }

func (*mapped) keep(uint64, func() bool) {}
