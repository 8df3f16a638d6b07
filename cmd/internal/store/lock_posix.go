//go:build linux || darwin

package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// A dirLock keeps others from a directory for as long as the process lives, however it
// ends. Its file says who has it.
type dirLock struct{ f *os.File }

func lockDir(dir string) (*dirLock, error) {
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("locking it: %w", err)
	}
	for {
		err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EINTR) {
			break
		}
	}
	if errors.Is(err, syscall.EWOULDBLOCK) {
		defer f.Close()
		buf := make([]byte, 32)
		n, _ := f.ReadAt(buf, 0)
		pid, err := strconv.Atoi(strings.TrimSpace(string(buf[:n])))
		if err != nil || pid < 0 {
			pid = 0
		}
		return nil, &LockedError{Dir: dir, PID: pid}
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("locking it: %w", err)
	}
	// Who holds it is for people: without room for it, the lock holds as well.
	if f.Truncate(0) == nil {
		_, _ = f.WriteAt(fmt.Appendf(nil, "%d\n", os.Getpid()), 0)
	}
	return &dirLock{f}, nil
}

// release lets go. The file stays: one that is removed could be locked by two.
func (l *dirLock) release() { l.f.Close() }
