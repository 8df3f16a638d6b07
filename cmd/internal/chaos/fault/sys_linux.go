package fault

import (
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strconv"
	"strings"
	"syscall"

	"github.com/heapwright/heapwright/cmd/internal/hugepage"
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

// large is a large page of the machines that have such as this program can use.
const large = 2 << 20

// A mapped is memory that no file of a disk stands behind. It is had in large pages where
// that can be: the kernel gives memory back page by page, 900 MiB of small ones in 0.1 to
// 1.3 s. Only whole large pages are taken of these; the rest of an amount is in small
// ones, so that what is charged is what was asked for.
type mapped struct {
	whole, rest []byte
	shared      bool
}

func newMapped(most uint64, shared bool) (*mapped, error) {
	m := &mapped{shared: shared}
	up := (most + large - 1) / large * large
	var err error
	switch {
	case hugepage.Size() != large:
	case shared:
		// It is not said that large pages are wanted: then the kernel gives those that it has,
		// and moves nothing of others out of the way for more.
		f, none := hugepage.File(up)
		if none != nil {
			break
		}
		m.whole, err = syscall.Mmap(int(f.Fd()), 0, int(up), syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_SHARED|syscall.MAP_NORESERVE)
		f.Close() // the mapping has it
	default:
		if m.whole, err = smallPages(up+large, shared); err == nil {
			at := uint64(reflect.ValueOf(m.whole).Pointer()) % large
			m.whole = m.whole[(large-at)%large:][:up]
		}
	}
	if err == nil && m.whole != nil {
		m.rest, err = smallPages(large, shared)
	} else if err == nil {
		m.whole, err = smallPages(most, shared)
	}
	return m, err
}

func smallPages(most uint64, shared bool) ([]byte, error) {
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
	return b, nil
}

// split says how much of an amount is in the whole, and how much in the rest.
func (m *mapped) split(n uint64) (whole, rest uint64) {
	if m.rest == nil {
		return n, 0
	}
	return n / large * large, n % large
}

func (m *mapped) grow(from, to uint64) error {
	w1, r1 := m.split(from)
	w2, r2 := m.split(to)
	if w2 > w1 { // what the rest has is of the whole then
		if err := m.release(m.rest[:r1]); err != nil {
			return err
		}
		r1 = 0
		if !m.shared && plenty() {
			const hugePages = 14 // MADV_HUGEPAGE
			_ = syscall.Madvise(m.whole[w1:w2], hugePages)
		}
	}
	touch(m.whole[w1:w2])
	touch(m.rest[r1:max(r1, r2)])
	return nil
}

// enoughLarge is how many large pages have to be free for one to be wanted: where there are
// fewer the kernel would move memory of others to make one.
const enoughLarge = 64

// plenty reports whether the kernel has many large pages that are free.
func plenty() bool {
	text, err := readText("/proc/buddyinfo")
	return err == nil && freeBlocks(text) >= enoughLarge
}

// freeBlocks is how many free blocks of 2 MiB and more buddyinfo tells of, of pages of
// 4 KiB: those of order 9 and above.
func freeBlocks(buddyinfo string) uint64 {
	const words, order = 4, 9 // Node 0, zone Normal, and then by order
	var all uint64
	for line := range strings.Lines(buddyinfo) {
		f := strings.Fields(line)
		if len(f) <= words+order || f[3] == "DMA" {
			continue
		}
		for i, text := range f[words+order:] {
			if n, err := strconv.ParseUint(text, 10, 32); err == nil && i < 8 {
				all += n << i
			}
		}
	}
	return all
}

func touch(b []byte) {
	for at, size := 0, os.Getpagesize(); at < len(b); at += size {
		b[at] = 1
	}
}

func (m *mapped) release(b []byte) error {
	const remove = 9 // MADV_REMOVE: of shared memory the pages themselves
	switch {
	case len(b) == 0:
		return nil
	case m.shared:
		return syscall.Madvise(b, remove)
	}
	return syscall.Madvise(b, syscall.MADV_DONTNEED)
}

func (m *mapped) shrink(from, to uint64) error {
	if to >= from {
		return nil
	}
	w1, r1 := m.split(from)
	w2, r2 := m.split(to)
	if err := m.release(m.whole[w2:w1]); err != nil {
		return err
	}
	if r1 > r2 {
		return m.release(m.rest[r2:r1])
	}
	touch(m.rest[r1:r2])
	return nil
}

// keep has nothing to do: without swap nothing of it can be taken.
func (m *mapped) keep(uint64, func() bool) {}
