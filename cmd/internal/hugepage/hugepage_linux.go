package hugepage

import (
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Size is how large a large page is; 0 where it is not known.
func Size() uint64 {
	text, err := os.ReadFile("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size")
	if err != nil {
		return 0
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// File opens a file of size bytes, which are a hole until they are written. It needs
// CAP_SYS_ADMIN, without which it is ErrNone.
func File(size uint64) (*os.File, error) {
	f, err := file(size)
	if err != nil {
		return nil, errors.Join(ErrNone, err)
	}
	return f, nil
}

func file(size uint64) (_ *os.File, err error) {
	config, err := unix.Fsopen("tmpfs", unix.FSOPEN_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("opening a file system: %w", err)
	}
	defer unix.Close(config)
	for _, o := range [][2]string{{"huge", "always"}, {"size", strconv.FormatUint(size, 10)}, {"mode", "0700"}} {
		if err := unix.FsconfigSetString(config, o[0], o[1]); err != nil {
			return nil, fmt.Errorf("setting %s of a file system: %w", o[0], err)
		}
	}
	if err := unix.FsconfigCreate(config); err != nil {
		return nil, fmt.Errorf("making a file system: %w", err)
	}
	root, err := unix.Fsmount(config, unix.FSMOUNT_CLOEXEC, unix.MOUNT_ATTR_NODEV|unix.MOUNT_ATTR_NOEXEC|unix.MOUNT_ATTR_NOSUID)
	if err != nil {
		return nil, fmt.Errorf("opening the root of a file system: %w", err)
	}
	defer unix.Close(root) // nobody has mounted it: it stays while a file of it is open
	fd, err := unix.Openat(root, ".", unix.O_TMPFILE|unix.O_RDWR|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening a file: %w", err)
	}
	f := os.NewFile(uintptr(fd), "(large pages)")
	if err := f.Truncate(int64(size)); err != nil {
		f.Close()
		return nil, fmt.Errorf("making a file long: %w", err)
	}
	return f, nil
}
