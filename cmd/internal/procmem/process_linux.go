package procmem

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// A Process is the memory of a live process. It is read with process_vm_readv:
// the process is not stopped and nothing in it changes.
//
// All of what a Process opens it opens below one descriptor of /proc/PID, so it
// can not stray to a later process with the same number. Only process_vm_readv
// itself goes by number: what was read belongs to the process for certain when
// [Process.Alive] returns nil after the read.
//
// A Process may be used by several goroutines; batches take turns.
type Process struct {
	pid   int
	dir   int // /proc/PID
	pidfd int // -1 on a kernel without pidfd_open (before 5.3) or under a seccomp filter
	maps  int // /proc/PID/maps: reads as empty once the memory it was opened on is gone
	start uint64

	exeOnce sync.Once
	exe     *os.File
	exeErr  error

	mu     sync.Mutex // guards the iovecs
	local  []unix.Iovec
	remote []unix.RemoteIovec

	closed sync.Once
}

const (
	// maxBatch is UIO_MAXIOV, the most ranges that one process_vm_readv takes.
	maxBatch = 1024
	// maxBytes bounds one system call. The kernel cuts transfers at
	// MAX_RW_COUNT, just below 2 GiB, and a cut must not look like a fault.
	maxBytes = 1 << 30
)

// Open starts to observe the process. It needs the right to see the process's
// mappings: the same user and a dumpable process, or CAP_SYS_PTRACE.
func Open(pid int) (*Process, error) {
	p := &Process{pid: pid, dir: -1, pidfd: -1, maps: -1}
	if err := p.open(); err != nil {
		p.Close()
		return nil, err
	}
	return p, nil
}

func (p *Process) open() error {
	if p.pid <= 0 {
		return p.fail("open", unix.ESRCH)
	}
	var err error
	dir := "/proc/" + strconv.Itoa(p.pid)
	if p.dir, err = openRetry(unix.AT_FDCWD, dir, unix.O_DIRECTORY|unix.O_PATH); err != nil {
		return p.fail("open", err)
	}
	p.pidfd, err = unix.PidfdOpen(p.pid, 0)
	switch err {
	case nil:
	case unix.EINVAL, unix.ENOENT:
		// The number exists, but does not lead a thread group.
		return &Error{Op: "open", PID: p.pid, Err: ErrThread, Hint: "give the PID of the process, Tgid in " + dir + "/status"}
	case unix.ESRCH:
		return p.fail("open", err)
	default:
		p.pidfd = -1
	}
	st, err := p.stat()
	if err != nil {
		return p.fail("open", err)
	}
	if st.flags&flagKthread != 0 {
		return &Error{Op: "open", PID: p.pid, Err: ErrKernelThread}
	}
	p.start = st.start
	if p.maps, err = openRetry(p.dir, "maps", 0); err != nil {
		return p.fail("open", err)
	}
	return p.alive("open")
}

// PID is the process's number in our PID namespace.
func (p *Process) PID() int { return p.pid }

// StartTicks is when the process started, in clock ticks (1/100 s) since boot:
// field 22 of /proc/PID/stat. PID and StartTicks together name a process.
func (p *Process) StartTicks() uint64 { return p.start }

// Alive reports whether the memory that was opened is still there: nil,
// [ErrExited] or [ErrReplaced]. It does not allocate when the answer is nil.
func (p *Process) Alive() error { return p.alive("check") }

func (p *Process) alive(op string) error {
	if p.pidfd >= 0 {
		fds := [1]unix.PollFd{{Fd: int32(p.pidfd), Events: unix.POLLIN}}
		for {
			n, err := unix.Poll(fds[:], 0)
			if err == unix.EINTR {
				continue
			}
			if err != nil {
				return p.fail(op, err)
			}
			if n > 0 {
				return p.fail(op, ErrExited)
			}
			break
		}
	}
	// The descriptor is bound to the memory it was opened on, not to the PID:
	// after execve or exit it reads as empty (fs/proc/task_mmu.c, m_start).
	var b [1]byte
	n, err := preadRetry(p.maps, b[:], 0)
	switch {
	case n > 0:
		return nil
	case err != nil && err != unix.ESRCH:
		return p.fail(op, err)
	}
	st, err := p.stat()
	if err != nil {
		return p.fail(op, err)
	}
	// Who is killed for want of memory loses it some time before it is a zombie.
	if st.state == 'Z' || st.state == 'X' || st.flags&flagExiting != 0 {
		return p.fail(op, ErrExited)
	}
	return p.fail(op, ErrReplaced)
}

// Flags of a process (include/linux/sched.h).
const (
	flagExiting = 0x00000004 // PF_EXITING: it is on its way out
	flagKthread = 0x00200000 // PF_KTHREAD
)

func (p *Process) stat() (procStat, error) {
	fd, err := openRetry(p.dir, "stat", 0)
	if err != nil {
		return procStat{}, err
	}
	defer unix.Close(fd)
	var buf [1024]byte
	n, err := preadRetry(fd, buf[:], 0)
	if err != nil {
		return procStat{}, err
	}
	return parseStat(buf[:n])
}

// Read implements [Memory]. It does not allocate.
func (p *Process) Read(addr uint64, buf []byte) error {
	for done := 0; done < len(buf); {
		part := buf[done:min(len(buf), done+maxBytes)]
		at := addr + uint64(done)
		if uint64(uintptr(at)) != at || at+uint64(len(part))-1 < at {
			return p.readError(at, len(part), unix.EFAULT)
		}
		local := [1]unix.Iovec{{Base: &part[0]}}
		local[0].SetLen(len(part))
		remote := [1]unix.RemoteIovec{{Base: uintptr(at), Len: len(part)}}
		n, err := unix.ProcessVMReadv(p.pid, local[:], remote[:], 0)
		if err == nil && n != len(part) {
			err = unix.EFAULT
		}
		if err != nil {
			return p.readError(addr, len(buf), err)
		}
		done += n
	}
	return nil
}

// ReadBatch implements [Memory]. Up to 1024 requests are one system call. It
// does not allocate once it has seen a batch of the size. The ranges of one
// call are copied one after the other while the process runs: they are no
// consistent snapshot.
func (p *Process) ReadBatch(reqs []Request) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	done := 0
	for done < len(reqs) {
		if len(reqs[done].Buf) > maxBytes {
			if err := p.Read(reqs[done].Addr, reqs[done].Buf); err != nil {
				return done, err
			}
			done++
			continue
		}
		n, err := p.readSome(reqs[done:])
		done += n
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// readSome reads as many leading requests as fit one system call, at least one,
// and returns how many it has filled.
func (p *Process) readSome(reqs []Request) (int, error) {
	p.local, p.remote = p.local[:0], p.remote[:0]
	taken, total := 0, 0
	var refused error
	for taken < len(reqs) && len(p.local) < maxBatch {
		addr, buf := reqs[taken].Addr, reqs[taken].Buf
		if total+len(buf) > maxBytes {
			break
		}
		if len(buf) > 0 {
			if uint64(uintptr(addr)) != addr || addr+uint64(len(buf))-1 < addr {
				refused = p.readError(addr, len(buf), unix.EFAULT)
				break
			}
			iov := unix.Iovec{Base: &buf[0]}
			iov.SetLen(len(buf))
			p.local = append(p.local, iov)
			p.remote = append(p.remote, unix.RemoteIovec{Base: uintptr(addr), Len: len(buf)})
			total += len(buf)
		}
		taken++
	}
	if len(p.local) == 0 {
		return taken, refused
	}
	got, err := unix.ProcessVMReadv(p.pid, p.local, p.remote, 0)
	clear(p.local) // keep no caller's buffer alive
	if err != nil {
		got = 0
	} else if got == total {
		return taken, refused
	} else {
		err = unix.EFAULT
	}
	filled := 0
	for filled < taken && len(reqs[filled].Buf) <= got {
		got -= len(reqs[filled].Buf)
		filled++
	}
	return filled, p.readError(reqs[filled].Addr, len(reqs[filled].Buf), err)
}

// Maps returns the process's mappings, in order of address. It fails with
// [ErrTooLarge] above 1,048,576 mappings or 128 MiB of text.
func (p *Process) Maps() ([]Mapping, error) {
	fd, err := openRetry(p.dir, "maps", 0)
	if err != nil {
		return nil, p.fail("list mappings of", err)
	}
	f := os.NewFile(uintptr(fd), "maps")
	defer f.Close()
	maps, err := readMaps(f)
	if err != nil {
		return nil, p.fail("list mappings of", err)
	}
	if len(maps) == 0 {
		if err := p.alive("list mappings of"); err != nil {
			return nil, err
		}
	}
	return maps, nil
}

// readMaps reads a list of mappings from its beginning, and again if the process
// was changing them meanwhile.
func readMaps(r io.ReaderAt) (maps []Mapping, err error) {
	for range 5 {
		if maps, err = parseMaps(io.NewSectionReader(r, 0, maxMapsBytes+1)); !errors.Is(err, errDisorder) {
			break
		}
	}
	return maps, err
}

// OpenExe returns the program that the process runs, from /proc/PID/exe: the
// very file, also when it was deleted or lies in another mount namespace. It is
// opened on the first call; every call returns that file, and [Process.Close]
// closes it. Use ReadAt: the file's offset is shared.
func (p *Process) OpenExe() (*os.File, error) {
	p.exeOnce.Do(func() {
		fd, err := openRetry(p.dir, "exe", 0)
		if err != nil {
			p.exeErr = p.fail("open the executable of", err)
			return
		}
		p.exe = os.NewFile(uintptr(fd), "/proc/"+strconv.Itoa(p.pid)+"/exe")
	})
	return p.exe, p.exeErr
}

// OpenProc opens a file below /proc/PID, such as "statm", for reading. It is
// bound to the process: after the process ended reads fail, even when the PID is
// used again.
func (p *Process) OpenProc(name string) (*os.File, error) {
	fd, err := openRetry(p.dir, name, 0)
	if err == unix.ENOENT {
		if _, alive := p.stat(); alive == nil { // the kernel has no such file
			return nil, &Error{Op: "open " + name + " of", PID: p.pid, Err: os.ErrNotExist}
		}
	}
	if err != nil {
		return nil, p.fail("open "+name+" of", err)
	}
	return os.NewFile(uintptr(fd), "/proc/"+strconv.Itoa(p.pid)+"/"+name), nil
}

// Close releases what the Process has opened. The Process cannot be used after.
func (p *Process) Close() error {
	p.closed.Do(func() {
		for _, fd := range []int{p.dir, p.pidfd, p.maps} {
			if fd >= 0 {
				unix.Close(fd)
			}
		}
		p.exeOnce.Do(func() { p.exeErr = p.fail("open the executable of", os.ErrClosed) })
		if p.exe != nil {
			p.exe.Close()
		}
	})
	return nil
}

func (p *Process) readError(addr uint64, n int, err error) error {
	e := p.fail("read", err).(*Error)
	e.Addr, e.Len = addr, n
	return e
}

// fail makes the typed error of a failed system call, or of a cause.
func (p *Process) fail(op string, err error) error {
	e := &Error{Op: op, PID: p.pid, Err: err}
	switch {
	case errors.Is(err, unix.ESRCH), errors.Is(err, unix.ENOENT):
		e.Err = ErrExited
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		e.Err = fmt.Errorf("%w (%w)", ErrAccess, err)
		e.Hint = "run as the process's own user, or with CAP_SYS_PTRACE (sudo); a process that is not dumpable always needs the capability"
		if scope, err := os.ReadFile("/proc/sys/kernel/yama/ptrace_scope"); err == nil && len(scope) > 0 && scope[0] != '0' {
			e.Hint = "kernel.yama.ptrace_scope is " + string(bytes.TrimSpace(scope)) + ": run with CAP_SYS_PTRACE (sudo), or set it to 0"
			if scope[0] == '3' {
				e.Hint = "kernel.yama.ptrace_scope is 3: this host lets nobody read another process until it is rebooted with a lower setting"
			}
		}
	case errors.Is(err, unix.EFAULT), errors.Is(err, unix.EIO):
		e.Err = ErrUnmapped
	case errors.Is(err, unix.ENOSYS):
		e.Err = fmt.Errorf("%w (%w)", ErrUnsupported, err)
		e.Hint = "the kernel has no process_vm_readv (CONFIG_CROSS_MEMORY_ATTACH), or a sandbox such as gVisor hides it"
	}
	if errors.Is(e.Err, ErrReplaced) {
		e.Hint = "attach again"
	}
	return e
}

func openRetry(dir int, name string, flags int) (int, error) {
	for {
		fd, err := unix.Openat(dir, name, unix.O_RDONLY|unix.O_CLOEXEC|flags, 0)
		if err != unix.EINTR {
			return fd, err
		}
	}
}

func preadRetry(fd int, buf []byte, off int64) (int, error) {
	for {
		n, err := unix.Pread(fd, buf, off)
		if err != unix.EINTR {
			return n, err
		}
	}
}
