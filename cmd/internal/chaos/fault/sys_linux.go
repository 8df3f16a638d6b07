package fault

import (
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
)

func threadID() int { return syscall.Gettid() }

// nudge sends a thread of ours the signal by which Go's runtime preempts.
func nudge(tid int) error { return syscall.Tgkill(os.Getpid(), tid, syscall.SIGURG) }

// writable is nil when a file may be written.
func writable(path string) error {
	const write = 2 // W_OK
	return syscall.Access(path, write)
}

func ownerOf(path string) (int, bool) {
	var st syscall.Stat_t
	if syscall.Stat(path, &st) != nil {
		return 0, false
	}
	return int(st.Uid), true
}

// attributes are of a process that does not outlive the thread that started it.
func attributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setpgid: true}
}

// apart are of a process that outlives us, and what is sent to our session.
func apart() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setsid: true} }

// renice gives all threads of a process a niceness, where that is permitted. To Linux it
// is of a thread, and a new one takes that of the thread that makes it.
func renice(pid, nice int) {
	tasks, err := os.ReadDir(procPath("", pid, "task"))
	if err != nil {
		return
	}
	for _, t := range tasks {
		if tid, err := strconv.Atoi(t.Name()); err == nil {
			_ = syscall.Setpriority(syscall.PRIO_PROCESS, tid, nice)
		}
	}
}

// disk says how many bytes a file system has left, and whether it is one that caches
// pages rather than being made of them.
func disk(dir string) (free uint64, real bool, err error) {
	const tmpfs, ramfs, hugetlbfs = 0x01021994, 0x858458f6, 0x958458f6
	var st syscall.Statfs_t
	if err := syscall.Statfs(dir, &st); err != nil {
		return 0, false, err
	}
	t := uint32(st.Type)
	return st.Bavail * uint64(st.Bsize), t != tmpfs && t != ramfs && t != hugetlbfs, nil
}

// isCgroupFile reports whether a file is on a file system of cgroups.
func isCgroupFile(path string) (bool, error) {
	const cgroup, cgroup2 = 0x27e0eb, 0x63677270
	var st syscall.Statfs_t
	if err := syscall.Statfs(path, &st); err != nil {
		return false, &fs.PathError{Op: "statfs", Path: path, Err: err}
	}
	t := uint32(st.Type)
	return t == cgroup || t == cgroup2, nil
}

// unnamed opens a file that never has a name.
func unnamed(dir string) (*os.File, error) {
	const tmpfile = 0o20000000 | syscall.O_DIRECTORY // O_TMPFILE
	fd, err := syscall.Open(dir, tmpfile|syscall.O_RDWR|syscall.O_CLOEXEC, 0o600)
	if err != nil {
		return nil, err
	}
	return os.NewFile(uintptr(fd), filepath.Join(dir, "(unnamed)")), nil
}

// A mapped is memory that no file stands behind.
type mapped struct {
	b      []byte
	shared bool
}

func newMapped(most uint64, shared bool) (*mapped, error) {
	const noHugePages = 15 // MADV_NOHUGEPAGE: what is held is to be what was asked for
	flags := syscall.MAP_ANON | syscall.MAP_PRIVATE | syscall.MAP_NORESERVE
	if shared {
		flags = syscall.MAP_ANON | syscall.MAP_SHARED | syscall.MAP_NORESERVE
	}
	b, err := syscall.Mmap(-1, 0, int(most), syscall.PROT_READ|syscall.PROT_WRITE, flags)
	if err != nil {
		return nil, err
	}
	_ = syscall.Madvise(b, noHugePages) // a kernel without them says EINVAL
	return &mapped{b: b, shared: shared}, nil
}

func (m *mapped) grow(from, to uint64) error {
	size := uint64(os.Getpagesize())
	for at := from; at < to; at += size {
		m.b[at] = 1
	}
	return nil
}

func (m *mapped) shrink(from, to uint64) error {
	const remove = 9 // MADV_REMOVE: of shared memory the pages themselves
	if to >= from {
		return nil
	}
	if m.shared {
		return syscall.Madvise(m.b[to:from], remove)
	}
	return syscall.Madvise(m.b[to:from], syscall.MADV_DONTNEED)
}

// keep has nothing to do: without swap nothing of it can be taken.
func (m *mapped) keep(uint64, func() bool) {}
