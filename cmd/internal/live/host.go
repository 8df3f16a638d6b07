package live

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"
)

// A Host says where a user's leases and log are, and how a watchdog is started.
type Host struct {
	LeaseDir string // a file for each process that is changed; may be lost at a boot
	StateDir string // the log
	// Watchdog is the command that runs [Host.RunWatchdog]; the PID is added.
	Watchdog []string
	Tool     string // who does it, for the lease and the log
	User     string // whose command it is, for the log; the number is known anyway

	silence time.Duration // how long a tool may say nothing to its watchdog; 0: dogSilence
}

// NewHost returns the places of the current user: for root /run/heapwright and
// /var/lib/heapwright; for others $XDG_RUNTIME_DIR/heapwright (the state
// directory without it) and $XDG_STATE_HOME/heapwright, usually
// ~/.local/state/heapwright. HEAPWRIGHT_STATE_DIR takes the place of both.
// Where the kernel has it, the watchdog is this program's command live-watchdog.
func NewHost(getenv func(string) string) (Host, error) {
	h := Host{Watchdog: []string{"/proc/self/exe", "live-watchdog"}, Tool: "heapwright", User: getenv("SUDO_USER")}
	if h.User == "" {
		h.User = getenv("USER")
	}
	dir := getenv("HEAPWRIGHT_STATE_DIR")
	switch {
	case dir != "":
		h.LeaseDir, h.StateDir = filepath.Join(dir, "leases"), dir
	case os.Geteuid() == 0:
		// Not from the environment: under sudo that may name another user's directories.
		h.LeaseDir, h.StateDir = "/run/heapwright", "/var/lib/heapwright"
	default:
		h.StateDir = getenv("XDG_STATE_HOME")
		if !filepath.IsAbs(h.StateDir) {
			home := getenv("HOME")
			if !filepath.IsAbs(home) {
				return Host{}, errors.New("no place for leases: neither XDG_STATE_HOME nor HOME is set; set HEAPWRIGHT_STATE_DIR")
			}
			h.StateDir = filepath.Join(home, ".local", "state")
		}
		h.StateDir = filepath.Join(h.StateDir, "heapwright")
		h.LeaseDir = filepath.Join(h.StateDir, "leases")
		if run := getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(run) {
			h.LeaseDir = filepath.Join(run, "heapwright")
		}
	}
	for _, d := range []string{h.LeaseDir, h.StateDir} {
		if !filepath.IsAbs(d) {
			return Host{}, fmt.Errorf("the directory for leases, %q, is not an absolute path", d)
		}
	}
	return h, nil
}

// openDir makes a directory that only its user may change, or refuses the one
// that is there: what is in it decides what is written into processes.
func openDir(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making the directory for leases: %w", err)
	}
	return checkOwn(dir, true)
}

// checkOwn refuses a file or directory that others could have written.
func checkOwn(name string, dir bool) error {
	info, err := os.Lstat(name)
	if err != nil {
		return fmt.Errorf("looking at %s: %w", name, err)
	}
	sys, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case dir != info.IsDir(), !dir && !info.Mode().IsRegular():
		return fmt.Errorf("%s is not what it should be: %s", name, info.Mode().Type())
	case !ok || int(sys.Uid) != os.Geteuid():
		return fmt.Errorf("%s belongs to another user; it is not trusted", name)
	case info.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("others may write to %s (%s); it is not trusted", name, info.Mode().Perm())
	}
	return nil
}

func missing(err error) bool { return errors.Is(err, fs.ErrNotExist) }
