package goproc

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/procmem"
	"github.com/heapwright/heapwright/record"
)

// Identify says what a process is. When it is a Go process that heapwright
// cannot read, the error says why and the Process holds what is known.
func Identify(pid int) (record.Process, error) {
	e := inspect(pid, newHost())
	if errors.Is(e.Err, ErrNotGo) {
		e.Err = explainNotGo(e.Err)
	}
	return e.Process, e.Err
}

// List finds the Go processes of this host, in order of their PIDs. Processes
// that may be Go, but cannot be looked at, are listed with the reason. Kernel
// threads and what certainly is not Go are left out.
func List(ctx context.Context) ([]Entry, error) {
	return NewWatch().Look(ctx)
}

// pids are the processes of this host, rising.
func pids() ([]int, error) {
	dir, err := os.Open("/proc")
	if err != nil {
		return nil, fmt.Errorf("listing processes: %w", err)
	}
	defer dir.Close()
	names, err := dir.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("listing processes: %w", err)
	}
	var pids []int
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil && pid > 0 {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids, nil
}

// listed reports whether an entry is one that is Go, or may be.
func (e *Entry) listed() bool { return e.Err == nil || e.IsGo || errors.Is(e.Err, ErrAccess) }

// inspect looks at a process. All that it reads belongs to one program: if the
// PID is used again or the process runs another program meanwhile, it starts over.
func inspect(pid int, h *host) Entry {
	for range 3 {
		if e, settled := inspectOnce(pid, h); settled {
			return e
		}
	}
	return Entry{Process: record.Process{PID: pid}, Err: &Error{PID: pid, Err: procmem.ErrReplaced, hint: "try again"}}
}

func inspectOnce(pid int, h *host) (e Entry, settled bool) {
	dir := "/proc/" + strconv.Itoa(pid)
	e.Process.PID = pid
	fail := func(err error, hint string) (Entry, bool) {
		e.Err = &Error{PID: pid, Name: e.Process.Name, Err: err, hint: hint}
		return e, true
	}
	if pid <= 0 {
		return fail(ErrExited, "")
	}
	st, err := readStat(dir)
	if err != nil {
		return fail(err, "")
	}
	e.Process.Name = strings.ToValidUTF8(string(st.comm), "\uFFFD")
	switch {
	case st.flags&flagKthread != 0:
		return fail(ErrKernelThread, "")
	case st.state == 'Z' || st.state == 'X':
		return fail(ErrExited, "")
	}
	if !h.boot.IsZero() {
		since := time.Duration(st.start) * tick
		e.Process.StartTime = h.boot.Add(since)
		e.Uptime = max(0, time.Since(e.Process.StartTime))
	}
	text, err := readFile(dir+"/status", 2<<20)
	if err != nil {
		return fail(procError(err), "")
	}
	status, ok := parseStatus(text)
	switch {
	case !ok:
		return fail(fmt.Errorf("%s/status is malformed", dir), "")
	case status.tgid != uint64(pid):
		return fail(ErrThread, fmt.Sprintf("it belongs to process %d", status.tgid))
	}
	e.Process.UID = int(status.uid)
	e.Process.User = h.users[int(status.uid)]
	e.RSS, e.RSSPeak = status.rss, max(status.hwm, status.rss)
	h.fillCgroup(&e)

	exe, err := os.Open(dir + "/exe")
	if err != nil {
		return denied(e, dir, err)
	}
	defer exe.Close()
	info, err := exe.Stat()
	if err != nil {
		return fail(procError(err), "")
	}
	if link, err := os.Readlink(dir + "/exe"); err == nil {
		e.Process.Exe = strings.ToValidUTF8(strings.TrimSuffix(link, " (deleted)"), "\uFFFD")
		e.Process.Name = path.Base(e.Process.Exe)
	}
	x, err := readExeCached(exe, info)
	e.setExe(x)
	if err != nil {
		e.Err = exeError(pid, e.Process.Name, x, err)
	}
	if e.IsGo {
		// The environment may be closed to us where the executable is not.
		if text, err := readFile(dir+"/environ", 8<<20); err == nil {
			e.Process.GoEnv = parseEnviron(text)
		}
		e.Process.HostMemoryBytes, e.Process.HostCPUs = h.memory, h.cpus
	}

	// Still the same process, and the same program?
	now, err := readStat(dir)
	if err != nil {
		return fail(err, "")
	}
	nowInfo, err := os.Stat(dir + "/exe")
	if err != nil {
		return fail(procError(err), "")
	}
	return e, now.start == st.start && os.SameFile(info, nowInfo)
}

func readStat(dir string) (procStat, error) {
	text, err := readFile(dir+"/stat", 4<<10)
	if err != nil {
		return procStat{}, procError(err)
	}
	st, ok := parseStat(text)
	if !ok {
		return st, fmt.Errorf("%s/stat is malformed", dir)
	}
	return st, nil
}

func (h *host) fillCgroup(e *Entry) {
	if e.CgroupErr = h.cgroupErr; h.cgroupErr != nil {
		return
	}
	g, err := h.cgroups.Of(e.Process.PID)
	if err != nil {
		e.CgroupErr = err
		return
	}
	e.Process.CgroupPath = g.Path()
	c := g.Container()
	e.Process.ContainerID, e.Process.PodUID = c.ID, c.PodUID
	var err1, err2 error
	e.Process.MemoryLimitBytes, _, err1 = g.MemoryLimit()
	e.Process.CPUQuotaCores, _, err2 = g.CPUQuota()
	e.CgroupErr = errors.Join(err1, err2)
}

func (e *Entry) setExe(x *Exe) {
	if x == nil {
		return
	}
	e.IsGo = true
	p := &e.Process
	p.MainPackage, p.Module, p.ModuleVersion = x.MainPackage, x.Module, x.ModuleVersion
	p.GoVersion, p.GOEXPERIMENT, p.GOOS, p.GOARCH = x.GoVersion, x.GOEXPERIMENT, x.GOOS, x.GOARCH
	if p.GOOS == "" {
		p.GOOS = "linux"
	}
	p.BuildSettings = maps.Clone(x.Settings)
	p.BuildID = x.GoBuildID
	if p.BuildID == "" {
		p.BuildID = x.GNUBuildID
	}
	p.Stripped, p.PIE, p.Static, p.Cgo, p.Race = x.Stripped, x.PIE, x.Static, x.Cgo, x.Race
}

// procError makes one of the package's errors of what /proc said.
func procError(err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ESRCH):
		return ErrExited
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("%w (%w)", ErrAccess, errors.Unwrap(err))
	}
	return err
}

func exeError(pid int, name string, x *Exe, err error) error {
	e := &Error{PID: pid, Name: name, Err: err}
	switch {
	case errors.Is(err, Err32Bit):
		e.Detail = x.GOARCH
		e.hint = "build the program for amd64 or arm64: heapwright reads 64-bit programs only"
	case errors.Is(err, ErrArch):
		e.Detail = x.GOARCH
		e.hint = "heapwright reads amd64 and arm64; the program's /metrics or /debug/pprof can be read by URL"
	case errors.Is(err, ErrNoBuildInfo):
		e.hint = "it was built by Go before 1.13, or something removed the build information; rebuild it with a current Go"
	case errors.Is(err, ErrNotGo):
		e.hint = "heapwright ps lists the Go processes of this host"
	}
	return e
}

// denied makes the entry of a process whose executable we may not open.
func denied(e Entry, dir string, err error) (Entry, bool) {
	out := &Error{PID: e.Process.PID, Name: e.Process.Name, Err: procError(err)}
	e.Err = out
	if !errors.Is(err, fs.ErrPermission) {
		return e, true
	}
	out.hint = "run as " + e.userName() + ", or with CAP_SYS_PTRACE (sudo)"
	if os.Geteuid() == e.Process.UID {
		out.hint = "the process is not dumpable, or a security module protects it: CAP_SYS_PTRACE may help (sudo, or --cap-add SYS_PTRACE for a container)"
	}
	if link, err := os.Readlink(dir + "/exe"); err == nil {
		// We may look at the process, but not read the file.
		e.Process.Exe = strings.ToValidUTF8(strings.TrimSuffix(link, " (deleted)"), "\uFFFD")
		e.Process.Name = path.Base(e.Process.Exe)
		out.Name = e.Process.Name
		out.Detail = "its executable is not readable"
		out.hint = "run as " + e.userName() + ", or with CAP_DAC_READ_SEARCH too (sudo)"
		return e, true
	}
	// Anyone may read the arguments. If the first is the path of a program, and
	// the process is not in a container where paths mean something else, it is
	// most likely that program. That settles whether to bother anyone with it;
	// nothing else is taken from the file.
	text, err := readFile(dir+"/cmdline", 4<<20)
	if err != nil || e.Process.ContainerID != "" {
		return e, true
	}
	arg0, _, _ := strings.Cut(string(text), "\x00")
	if !filepath.IsAbs(arg0) {
		return e, true
	}
	f, info, err := openRegular(arg0)
	if err != nil {
		return e, true
	}
	defer f.Close()
	x, err := readExeCached(f, info)
	if errors.Is(err, ErrNotGo) {
		out.Err = ErrNotGo
	}
	e.IsGo = x != nil
	return e, true
}

func (e *Entry) userName() string {
	if e.Process.User != "" {
		return "user " + e.Process.User
	}
	return "user " + strconv.Itoa(e.Process.UID)
}

// explainNotGo looks whether a process that is not Go has a Go library loaded,
// which explains why somebody takes it for a Go process.
func explainNotGo(err error) error {
	var e *Error
	if !errors.As(err, &e) {
		return err
	}
	dir := "/proc/" + strconv.Itoa(e.PID)
	p, openErr := procmem.Open(e.PID)
	if openErr != nil {
		return err
	}
	defer p.Close()
	mappings, mapsErr := p.Maps()
	if mapsErr != nil {
		return err
	}
	seen := make(map[string]bool)
	for _, m := range mappings {
		if m.Inode == 0 || m.Perm[2] != 'x' || !strings.HasPrefix(m.Path, "/") || seen[m.Path] {
			continue
		}
		if seen[m.Path] = true; len(seen) > 1000 {
			break
		}
		f, info, openErr := openRegular(dir + "/root" + m.Path)
		if openErr != nil {
			continue
		}
		x, _ := readExeCached(f, info)
		f.Close()
		if x != nil {
			e.Detail = fmt.Sprintf("but it has loaded a library written in Go, %s (%s)", m.Path, cmp.Or(x.GoVersion, "unknown release"))
			e.hint = "heapwright reads programs whose executable is Go, not Go libraries inside of others"
			return e
		}
	}
	return err
}

// openRegular opens a file by a path that another process has chosen. It may
// lead to anything, and to open a device is to use it (a watchdog starts): so
// look first what is there, and then open just that.
func openRegular(name string) (*os.File, fs.FileInfo, error) {
	const oPath = 0x200000 // O_PATH, on all of Linux's architectures that Go knows
	place, err := os.OpenFile(name, oPath|syscall.O_CLOEXEC, 0)
	if err != nil {
		return nil, nil, err
	}
	defer place.Close()
	info, err := place.Stat()
	if err != nil {
		return nil, nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, nil, fmt.Errorf("%s is not a regular file", name)
	}
	f, err := os.Open("/proc/self/fd/" + strconv.Itoa(int(place.Fd())))
	return f, info, err
}

// An exeKey names the content of a file: a running program cannot be written to,
// and another file in its place has another inode or time.
type exeKey struct {
	dev, ino     uint64
	size         int64
	mtime, ctime syscall.Timespec
}

type exeResult struct {
	exe *Exe
	err error
}

var exeCache struct {
	sync.Mutex
	m map[exeKey]exeResult
}

// maxCached bounds the cache; hosts have fewer programs than that.
const maxCached = 4096

// readExeCached reads an executable, or remembers what it said. Callers must
// not change the Exe.
func readExeCached(f *os.File, info fs.FileInfo) (*Exe, error) {
	sys, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return ReadExe(f)
	}
	key := exeKey{uint64(sys.Dev), sys.Ino, sys.Size, sys.Mtim, sys.Ctim}
	exeCache.Lock()
	defer exeCache.Unlock()
	if r, ok := exeCache.m[key]; ok {
		return r.exe, r.err
	}
	x, err := ReadExe(f)
	if x == nil && !errors.Is(err, ErrNotGo) && !errors.Is(err, errMalformed) {
		return nil, err // the disk's fault, perhaps not the next time
	}
	if len(exeCache.m) >= maxCached || exeCache.m == nil {
		exeCache.m = make(map[exeKey]exeResult)
	}
	exeCache.m[key] = exeResult{x, err}
	return x, err
}
