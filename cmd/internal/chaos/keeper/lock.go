package keeper

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// A lock is the right to put something under stress. It ends with the process that has
// it.
type lock struct{ f *os.File }

// A holder is what the file of a lock says of who has it.
type holder struct {
	Tool owner  `json:"tool"`
	Plan string `json:"plan"`
}

const lockDots = ".lock"

// maxHolder bounds what is read of who has a lock.
const maxHolder = 4 << 10

func processLock(dir string, pid int, start uint64) string {
	return filepath.Join(dir, fmt.Sprintf("%d-%d%s", pid, start, lockDots))
}

func groupLock(dir, group string) string {
	sum := sha256.Sum256([]byte(group))
	return filepath.Join(dir, "cgroup-"+hex.EncodeToString(sum[:8])+lockDots)
}

// takeLock takes a lock, or says who has it. A sweep that looks whether somebody has it
// holds it for a moment.
func takeLock(name, what string, h holder) (lock, error) {
	const tries, pause = 5, 20 * time.Millisecond
	for n := 1; ; n++ {
		f, err := openOwn(name, os.O_RDWR|os.O_CREATE)
		if err != nil {
			return lock{}, fmt.Errorf("locking %s: %w", what, err)
		}
		if err := flock(f); err != nil {
			if errors.Is(err, syscall.EWOULDBLOCK) && n < tries {
				f.Close()
				time.Sleep(pause)
				continue
			}
			defer f.Close()
			if errors.Is(err, syscall.EWOULDBLOCK) {
				return lock{}, heldBy(f, what)
			}
			return lock{}, fmt.Errorf("locking %s: %w", what, err)
		}
		// Whoever had it may have removed the file since: then the lock is of no file.
		ours, err1 := f.Stat()
		now, err2 := os.Stat(name)
		if err1 != nil || err2 != nil || !os.SameFile(ours, now) {
			f.Close()
			continue
		}
		text, err := json.Marshal(h)
		if err == nil {
			err = f.Truncate(0)
		}
		if err == nil {
			_, err = f.WriteAt(text, 0)
		}
		if err != nil {
			f.Close()
			return lock{}, fmt.Errorf("locking %s: %w", what, err)
		}
		return lock{f}, nil
	}
}

func flock(f *os.File) error {
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if !errors.Is(err, syscall.EINTR) {
			return err
		}
	}
}

func heldBy(f *os.File, what string) error {
	e := &BusyError{What: what}
	var h holder
	if text, err := io.ReadAll(io.LimitReader(f, maxHolder)); err == nil && json.Unmarshal(text, &h) == nil {
		e.Tool, e.PID, e.Plan = clip(h.Tool.Tool), h.Tool.PID, clip(h.Plan)
	}
	return e
}

// dropIdle removes the file of a lock that nobody has. Who has just opened it sees that
// it is gone when the lock is theirs.
func dropIdle(name string) {
	f, err := os.Open(name)
	if err != nil {
		return
	}
	defer f.Close()
	if flock(f) == nil {
		os.Remove(name)
	}
}

// dropIdleLocks removes the files of all locks in a directory that nobody has.
func dropIdleLocks(dir string) {
	entries, _ := os.ReadDir(dir) // those that stay do no harm
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), lockDots) {
			dropIdle(filepath.Join(dir, e.Name()))
		}
	}
}

// release lets go of it, and removes its file.
func (l lock) release() {
	if l.f != nil {
		os.Remove(l.f.Name())
		l.f.Close()
	}
}
