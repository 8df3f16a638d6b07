package keeper

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/heapwright/heapwright/cmd/internal/procmem"
)

// Places are where a user's journals and log are: beside the leases and the log of
// package live.
func Places(getenv func(string) string) (dir, stateDir string, err error) {
	base := getenv("HEAPWRIGHT_STATE_DIR")
	switch {
	case base != "":
		dir, stateDir = filepath.Join(base, "stress"), base
	case os.Geteuid() == 0:
		// Not from the environment: under sudo that may name another user's directories.
		dir, stateDir = "/run/heapwright/stress", "/var/lib/heapwright"
	default:
		stateDir = getenv("XDG_STATE_HOME")
		if !filepath.IsAbs(stateDir) {
			home := getenv("HOME")
			if !filepath.IsAbs(home) {
				return "", "", errors.New("there is no place to write down what is done: set HOME, or HEAPWRIGHT_STATE_DIR to an absolute path")
			}
			stateDir = filepath.Join(home, ".local", "state")
		}
		stateDir = filepath.Join(stateDir, "heapwright")
		dir = filepath.Join(stateDir, "stress")
		if run := getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(run) {
			dir = filepath.Join(run, "heapwright", "stress")
		}
	}
	if !filepath.IsAbs(dir) || !filepath.IsAbs(stateDir) {
		return "", "", fmt.Errorf("the directory for what is written down, %q, is not an absolute path", dir)
	}
	return dir, stateDir, nil
}

// openDir makes a directory that only its user may change, or refuses the one that is
// there: what is in it decides what is written to files of the kernel.
func openDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making the place for what is written down: %w", err)
	}
	return checkOwn(dir)
}

// checkOwn refuses a directory that others could have written to.
func checkOwn(dir string) error {
	info, err := os.Lstat(dir)
	if err != nil {
		return fmt.Errorf("looking at %s: %w", dir, err)
	}
	return isOwn(dir, info, fs.ModeDir)
}

// openOwn opens a file, unless others could have written it. It is the open file that is
// looked at: its name may be another's by then.
func openOwn(name string, flags int) (*os.File, error) {
	f, err := os.OpenFile(name, flags|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil {
		err = isOwn(name, info, 0)
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func isOwn(name string, info fs.FileInfo, kind fs.FileMode) error {
	sys, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case info.Mode().Type() != kind:
		return fmt.Errorf("%s is not what it should be: %s", name, info.Mode().Type())
	case !ok || int(sys.Uid) != os.Geteuid():
		return fmt.Errorf("%s belongs to another user; it is not trusted", name)
	case info.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("others may write to %s (%s); it is not trusted", name, info.Mode().Perm())
	}
	return nil
}

// An owner is a process that has to do with a plan.
type owner struct {
	Tool       string `json:"tool"`
	PID        int    `json:"pid"`
	StartTicks uint64 `json:"start_ticks"`
}

func ourselves(tool string) (owner, error) {
	start, err := procmem.StartTicks(os.Getpid())
	if err != nil {
		return owner{}, fmt.Errorf("looking at this process: %w", err)
	}
	return owner{clip(tool), os.Getpid(), start}, nil
}

// alive reports whether the process still runs. One that cannot be looked at does.
func (o owner) alive() bool {
	if o.PID <= 0 {
		return false
	}
	start, err := procmem.StartTicks(o.PID)
	if err != nil {
		return !errors.Is(err, procmem.ErrExited)
	}
	return start == o.StartTicks
}

func missing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
