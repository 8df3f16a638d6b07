package cgroup

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	maxMembershipBytes = 256 << 10
	maxMountinfoBytes  = 32 << 20
	// maxDepth bounds how many groups above a process are looked at.
	maxDepth = 128
)

// A Host finds the groups of processes. It reads the table of mounts once; make
// a new one when cgroup file systems are mounted or unmounted.
type Host struct {
	root   string
	mounts []mount
}

// NewHost looks at the host whose file system is at root. "" is ours; a
// container that has the host's root mounted at /host, with /proc and the
// cgroup file systems, gives that. With a root, the mounts are those of its
// PID 1.
func NewHost(root string) (*Host, error) {
	if root == "" && runtime.GOOS != "linux" {
		return nil, &Error{Op: "looking for cgroups", Err: ErrUnsupported}
	}
	h := &Host{root: root}
	file := filepath.Join(root, "/proc/self/mountinfo")
	if root != "" {
		if init := filepath.Join(root, "/proc/1/mountinfo"); exists(init) {
			file = init
		}
	}
	text, err := readAll(file, maxMountinfoBytes)
	if err != nil {
		return nil, fail("reading the table of mounts", file, err)
	}
	h.mounts = parseMounts(text, nil)
	return h, nil
}

// Of returns the group of a process of this host.
func Of(pid int) (*Group, error) {
	h, err := NewHost("")
	if err != nil {
		return nil, err
	}
	return h.Of(pid)
}

// Self returns the group of the calling process.
func Self() (*Group, error) {
	h, err := NewHost("")
	if err != nil {
		return nil, err
	}
	return h.of("self")
}

// Of returns the group of a process. The PID is a number of the host's /proc.
func (h *Host) Of(pid int) (*Group, error) { return h.of(strconv.Itoa(pid)) }

func (h *Host) of(pid string) (*Group, error) {
	proc := filepath.Join(h.root, "/proc", pid)
	text, err := readAll(filepath.Join(proc, "cgroup"), maxMembershipBytes)
	if err != nil {
		return nil, fail("looking for the cgroup of process "+pid, proc+"/cgroup", err)
	}
	ms, ok := parseMemberships(text)
	if !ok {
		return nil, &Error{Op: "looking for the cgroup of process " + pid, Path: proc + "/cgroup", Err: ErrMalformed}
	}
	g := &Group{psi: filepath.Join(h.root, "/proc/pressure")}
	g.memory = h.hierarchy(ms, "memory", pid)
	g.cpu = h.hierarchy(ms, "cpu", pid)
	g.freezer = h.hierarchy(ms, "freezer", pid)
	g.unified = h.hierarchy(ms, "", pid)
	switch {
	case g.memory.path != "":
		g.path = g.memory.path
	case g.unified.path != "":
		g.path = g.unified.path
	default:
		g.path = ms[0].path
	}
	for _, m := range ms {
		if c := ParseContainer(m.path); c.ID != "" || c.PodUID != "" {
			g.container = c
			break
		}
	}
	if g.container.ID == "" && (g.path == "/" || strings.HasPrefix(g.path, "/..")) {
		// The name of the group does not reach us. A failure here only means
		// that the container stays unknown.
		if text, err := readAll(proc+"/mountinfo", maxMountinfoBytes); err == nil {
			parseMounts(text, g.container.fromRoot)
		}
	}
	return g, nil
}

// A hierarchy is the path of groups that a controller accounts a process to.
type hierarchy struct {
	version int      // 1 or 2, 0 when the process has no group there
	path    string   // as /proc/PID/cgroup shows it
	dirs    []string // of the group, its parent, and so on, as far as we can see
	err     error    // why dirs is empty
}

// hierarchy finds the groups of a controller; "" stands for cgroup v2 whatever
// controllers it has.
func (h *Host) hierarchy(ms []membership, controller, pid string) hierarchy {
	var v1, v2 *membership
	for i := range ms {
		if m := &ms[i]; m.id == "0" && m.controllers == "" {
			v2 = m
		} else if controller != "" && m.has(controller) {
			v1 = m
		}
	}
	r := hierarchy{version: 1}
	m := v1
	if m == nil {
		r.version, m = 2, v2
	}
	if m == nil {
		return hierarchy{}
	}
	r.path = m.path

	// Of several mounts take the one that shows the most groups above ours.
	var best, bestRel string
	var bestRoot int
	for _, mnt := range h.mounts {
		if mnt.version != r.version || (r.version == 1 && !mnt.has(controller)) {
			continue
		}
		rel, ok := mnt.below(m.path)
		dir := filepath.Join(h.root, mnt.point)
		if !ok {
			// A mount made in another cgroup namespace may be our group all the
			// same. Believe it only if the group lists the process.
			if rel = ""; !lists(dir, pid) {
				continue
			}
		}
		if !exists(filepath.Join(dir, rel)) {
			continue
		}
		if best == "" || len(mnt.root) < bestRoot {
			best, bestRel, bestRoot = dir, rel, len(mnt.root)
		}
	}
	if best == "" {
		r.err = &Error{Op: "looking for the cgroup of process " + pid, Path: m.path, Err: ErrNotMounted,
			hint: "mount the host's /sys/fs/cgroup, read-only is enough"}
		return r
	}
	for rel := bestRel; ; rel = filepath.Dir(rel) {
		if len(r.dirs) == maxDepth {
			return hierarchy{version: r.version, path: r.path, err: &Error{Op: "looking for the cgroup of process " + pid,
				Path: m.path, Err: fmt.Errorf("%w: more than %d groups deep", ErrUnavailable, maxDepth)}}
		}
		if rel == "." {
			rel = ""
		}
		r.dirs = append(r.dirs, filepath.Join(best, rel))
		if rel == "" {
			break
		}
	}
	if r.version == 1 && controller == "memory" {
		r.cutFlat()
	}
	return r
}

// cutFlat drops the parents that do not count: before Linux 5.11 a v1 group
// whose parent has memory.use_hierarchy 0 is accounted for alone.
func (r *hierarchy) cutFlat() {
	for i := 1; i < len(r.dirs); i++ {
		if text, err := readAll(filepath.Join(r.dirs[i], "memory.use_hierarchy"), 64); err == nil && strings.TrimSpace(text) == "0" {
			r.dirs = r.dirs[:i]
			return
		}
	}
}

// lists reports whether the group has the process as a direct member.
func lists(dir, pid string) bool {
	if pid == "self" {
		pid = strconv.Itoa(os.Getpid())
	}
	text, err := readAll(filepath.Join(dir, "cgroup.procs"), 1<<20)
	if err != nil {
		return false
	}
	for line := range strings.Lines(text) {
		if strings.TrimSpace(line) == pid {
			return true
		}
	}
	return false
}

// A Group is the cgroup of a process at the time it was looked up: with cgroup
// v1 a group per controller. If the process moves, look it up again. A Group
// holds no open files and is safe for concurrent use.
//
// With cgroup v2 a controller may be off for the group itself; the nearest group
// above that has it on then stands in, since it is there that the kernel accounts.
type Group struct {
	path      string
	memory    hierarchy
	cpu       hierarchy
	freezer   hierarchy
	unified   hierarchy // cgroup v2, which keeps PSI even where v1 has the controllers
	psi       string    // directory of the host's PSI
	container Container
}

// Path is the path of the group that accounts memory, as /proc/PID/cgroup shows
// it to us: "/" is the root or, in a container, often the container's own group.
func (g *Group) Path() string { return g.path }

// Version is 1 or 2, the version of cgroups that accounts the group's memory; 0
// when none does.
func (g *Group) Version() int { return g.memory.version }

// Dirs are the directories of the group in the hierarchy that has the controller,
// "memory", "cpu" or "freezer": its own, its parent's, and so on, as far as they can be
// seen from here. version is that of the hierarchy, 1 or 2; with 2 the controller may
// be off in the group, or in all of them, but every group can be frozen.
func (g *Group) Dirs(controller string) (dirs []string, version int, err error) {
	h := &g.memory
	switch controller {
	case "cpu":
		h = &g.cpu
	case "freezer":
		h = &g.freezer
	}
	if err := h.check("looking for the group's directories", g.path); err != nil {
		return nil, 0, err
	}
	return slices.Clone(h.dirs), h.version, nil
}

// Container is the container that the group belongs to; the zero Container
// when the names of the groups tell of none.
func (g *Group) Container() Container { return g.container }

// MemoryLimit is the most memory that the group can use before the OOM killer
// comes, in bytes: the smallest limit along the path (memory.max; v1:
// memory.limit_in_bytes and hierarchical_memory_limit). ok is false when there
// is no limit. It may be more than the host has.
func (g *Group) MemoryLimit() (bytes uint64, ok bool, err error) {
	s, err := g.stats("reading memory limit", StatMemoryLimit)
	return s.MemoryLimit, s.Has(StatMemoryLimit), err
}

// MemoryHigh is where the kernel begins to throttle and reclaim instead of
// killing, in bytes: the smallest memory.high along the path. ok is false when
// there is none; cgroup v1 never has one.
func (g *Group) MemoryHigh() (bytes uint64, ok bool, err error) {
	s, err := g.stats("reading memory.high", StatMemoryHigh)
	return s.MemoryHigh, s.Has(StatMemoryHigh), err
}

// MemoryUsage is what is charged against MemoryLimit, in bytes, page cache
// included: the usage of the group along the path that has the smallest limit,
// of the process's own group when there is no limit.
func (g *Group) MemoryUsage() (bytes uint64, err error) {
	s, err := g.stats("reading memory usage", StatMemoryUsage)
	if err == nil && !s.Has(StatMemoryUsage) {
		err = &Error{Op: "reading memory usage", Path: g.path, Err: ErrUnavailable}
	}
	return s.MemoryUsage, err
}

// MemoryWorkingSet is the usage of the process's own group without the page
// cache that can be dropped first (inactive_file), in bytes: what the kubelet
// and cAdvisor call the working set. The kernel gathers it anew on each call,
// so it costs far more than MemoryUsage.
func (g *Group) MemoryWorkingSet() (bytes uint64, err error) {
	const op = "reading working set"
	if err := g.memory.check(op, g.path); err != nil {
		return 0, err
	}
	usage, key := "memory.current", "inactive_file"
	if g.memory.version == 1 {
		usage, key = "memory.usage_in_bytes", "total_inactive_file"
	}
	for _, dir := range g.memory.dirs {
		text, err := readAll(filepath.Join(dir, usage), 64)
		if errors.Is(err, fs.ErrNotExist) {
			continue // the controller is off below here
		}
		if err != nil {
			return 0, fail(op, dir, err)
		}
		used, ok := parseUint([]byte(strings.TrimSpace(text)))
		stat, err := readAll(filepath.Join(dir, "memory.stat"), 64<<10)
		if err != nil {
			return 0, fail(op, dir, err)
		}
		inactive, ok2 := lookup([]byte(stat), key)
		if !ok || !ok2 {
			return 0, &Error{Op: op, Path: dir, Err: ErrMalformed}
		}
		return used - min(used, inactive), nil
	}
	return 0, &Error{Op: op, Path: g.path, Err: ErrUnavailable}
}

// MemoryParts is what the usage is made of: that of the group along the path that has
// the smallest limit, memory.high counted, of the process's own group when there is none.
// The kernel gathers it anew on each call, so it costs far more than MemoryUsage.
func (g *Group) MemoryParts() (MemoryParts, error) {
	s, err := g.stats("reading memory.stat", StatMemoryParts)
	if err == nil && !s.Has(StatMemoryParts) {
		err = &Error{Op: "reading memory.stat", Path: g.path, Err: ErrUnavailable}
	}
	return s.MemoryParts, err
}

// MemoryNonReclaimable is what of the usage the kernel cannot drop to make room, in
// bytes. See [MemoryParts].
func (g *Group) MemoryNonReclaimable() (bytes uint64, err error) {
	p, err := g.MemoryParts()
	return p.NonReclaimable, err
}

// CPUQuota is how many CPUs' worth of time the group may use: the smallest quota
// divided by its period along the path (cpu.max; v1: cpu.cfs_quota_us). ok is
// false when there is no quota.
func (g *Group) CPUQuota() (cores float64, ok bool, err error) {
	s, err := g.stats("reading CPU quota", StatCPUQuota)
	return s.CPUQuota, s.Has(StatCPUQuota), err
}

// Throttling says how often, and for how long, the group was stopped because
// its CPU quota was used up.
func (g *Group) Throttling() (Throttling, error) {
	s, err := g.stats("reading CPU throttling", StatCPUQuota|StatThrottling)
	if err == nil && !s.Has(StatThrottling) {
		err = &Error{Op: "reading CPU throttling", Path: g.path, Err: ErrUnavailable}
	}
	return s.Throttling, err
}

// OOMKills is how many processes of the group the OOM killer has ended
// (memory.events; v1: memory.oom_control, since Linux 4.13). With v2 it counts
// the groups below too.
func (g *Group) OOMKills() (uint64, error) {
	s, err := g.stats("reading OOM kills", StatOOMKills)
	if err == nil && !s.Has(StatOOMKills) {
		err = &Error{Op: "reading OOM kills", Path: g.path, Err: ErrUnavailable}
	}
	return s.OOMKills, err
}

// OOMs is how often the group was at its limit and an allocation was about to fail,
// whether or not a process was killed then (memory.events). Cgroup v1 does not count it.
func (g *Group) OOMs() (uint64, error) {
	s, err := g.stats("reading out-of-memory events", StatOOMs)
	if err == nil && !s.Has(StatOOMs) {
		err = &Error{Op: "reading out-of-memory events", Path: g.path, Err: ErrUnavailable}
	}
	return s.OOMs, err
}

// MemoryPressure is the time lost waiting for memory. See [Pressure].
func (g *Group) MemoryPressure() (Pressure, error) { return g.pressure("memory") }

// CPUPressure is the time lost waiting for a CPU. See [Pressure].
func (g *Group) CPUPressure() (Pressure, error) { return g.pressure("cpu") }

// IOPressure is the time lost waiting for I/O. See [Pressure].
func (g *Group) IOPressure() (Pressure, error) { return g.pressure("io") }

func (g *Group) pressure(resource string) (Pressure, error) {
	f, host, err := g.openPressure(resource)
	if err != nil {
		return Pressure{}, fail("reading pressure", resource, err)
	}
	defer f.Close()
	var buf [512]byte
	n, err := f.ReadAt(buf[:], 0)
	if err != nil && err != io.EOF {
		return Pressure{}, fail("reading pressure", f.Name(), err)
	}
	p, ok := parsePressure(buf[:n])
	if !ok {
		return Pressure{}, &Error{Op: "reading pressure", Path: f.Name(), Err: ErrMalformed}
	}
	p.Host = host
	return p, nil
}

// openPressure opens the group's PSI, or the host's when the group has none.
func (g *Group) openPressure(resource string) (f *os.File, host bool, err error) {
	if len(g.unified.dirs) > 0 {
		dir := g.unified.dirs[0]
		if f, err = openReadable(filepath.Join(dir, resource+".pressure")); err == nil {
			// The root of the hierarchy has no cgroup.type; its pressure is the host's.
			return f, !exists(filepath.Join(dir, "cgroup.type")), nil
		}
	}
	f, err = openReadable(filepath.Join(g.psi, resource))
	return f, true, err
}

// openReadable opens a PSI file. A kernel that was told not to keep PSI has the
// files, but they cannot be opened, or not be read.
func openReadable(name string) (*os.File, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	var b [1]byte
	if _, err := f.ReadAt(b[:], 0); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// A Level is a group along the path, with its own numbers.
type Level struct {
	Dir   string // the group's directory
	Limit uint64 // of this group alone, in bytes; 0 with HasLimit false
	High  uint64
	Usage uint64 // of this group and those below, in bytes

	HasLimit, HasHigh, HasUsage bool
}

// MemoryLevels are the group of the process, its parent, and so on to the root,
// as far as it can be seen. Room is left while every level has some.
func (g *Group) MemoryLevels() ([]Level, error) {
	const op = "reading memory limits"
	if err := g.memory.check(op, g.path); err != nil {
		return nil, err
	}
	r := &Reader{g: g}
	defer r.Close()
	if err := r.openMemory(memoryStats); err != nil {
		return nil, err
	}
	levels := make([]Level, len(r.levels))
	for i := range r.levels {
		var err error
		if levels[i], err = r.readLevel(&r.levels[i]); err != nil {
			return nil, err
		}
	}
	return levels, nil
}

func (r *hierarchy) check(op, path string) error {
	if r.err != nil {
		return r.err
	}
	if r.version == 0 {
		return &Error{Op: op, Path: path, Err: ErrUnavailable}
	}
	return nil
}

// stats reads numbers of the memory or of the CPU part once.
func (g *Group) stats(op string, which Stat) (s Stats, err error) {
	h := &g.memory
	if which&cpuStats != 0 {
		h = &g.cpu
	}
	if err := h.check(op, g.path); err != nil {
		return s, err
	}
	r := &Reader{g: g}
	defer r.Close()
	if err := r.open(which); err != nil {
		return s, err
	}
	err = r.Read(&s)
	return s, err
}

// MemoryParts is what the memory usage of a group is made of (memory.stat), in bytes.
// The parts overlap, so their sum means nothing. The page cache, which the kernel drops
// when memory is wanted, is in none of them.
type MemoryParts struct {
	// NonReclaimable is what the kernel cannot drop to make room, each page once: memory
	// that no file stands behind, and what is locked, by the lists of the kernel
	// (active_anon, inactive_anon, unevictable); with v2 the kernel's own memory too,
	// but for what of it can be dropped. It does not reckon with swap.
	NonReclaimable uint64

	Anon        uint64 // of processes; what was given back with MADV_FREE and not yet taken is in here
	Shmem       uint64 // tmpfs, and memory that is shared without a file
	Unevictable uint64 // locked, of whatever kind
	// Kernel is the kernel's own: page tables, stacks, slab, sockets' buffers. With v1
	// it is memory.kmem.usage_in_bytes, and not in NonReclaimable: v1 does not say how
	// much of it are caches of file names and inodes, which grow until there is no
	// room and are dropped then.
	Kernel            uint64
	KernelReclaimable uint64 // of Kernel; 0 with v1

	File uint64 // page cache: what was read from and written to files, without Shmem
	// Refaults are pages that the kernel reclaimed and that were needed again soon;
	// Reclaimed are those that it reclaimed, 0 with v1, which does not count them. Both
	// are cumulative, and pages, not bytes.
	Refaults  uint64
	Reclaimed uint64
}

// A Throttling counts since the group was made.
type Throttling struct {
	Periods          uint64        // periods of the quota in which the group ran
	ThrottledPeriods uint64        // of those, in which it used the quota up
	Throttled        time.Duration // summed over the CPUs
}

// A Pressure is a resource's pressure stall information: Linux 4.20 and later,
// cgroup v2.
type Pressure struct {
	Some Stall // at least one task waited
	Full Stall // all tasks that were not idle waited at once
	// Host is true when the numbers are of the whole host, since there are none
	// for the group.
	Host bool
}

// A Stall is time lost by waiting.
type Stall struct {
	Avg10, Avg60, Avg300 float64       // share of the last 10, 60, 300 seconds, 0 to 1
	Total                time.Duration // cumulative
}

func exists(name string) bool {
	_, err := os.Stat(name)
	return err == nil
}

// readAll reads a file that should hold at most limit bytes.
func readAll(name string, limit int64) (string, error) {
	f, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return "", err
	}
	if int64(len(b)) > limit {
		return "", fmt.Errorf("%w: more than %d bytes", ErrMalformed, limit)
	}
	return string(b), nil
}

func fail(op, path string, err error) error {
	e := &Error{Op: op, Path: path, Err: err}
	var pe *fs.PathError
	if errors.As(err, &pe) {
		e.Err = pe.Err
	}
	switch {
	case errors.Is(err, syscall.ENODEV):
		e.Err = ErrGone
	case errors.Is(err, syscall.ESRCH):
		e.Err = fs.ErrNotExist
	case errors.Is(err, syscall.EOPNOTSUPP):
		e.Err = fmt.Errorf("%w (%w)", ErrUnavailable, syscall.EOPNOTSUPP)
		e.hint = "the kernel was started without PSI: boot with psi=1"
	case errors.Is(err, fs.ErrPermission):
		e.hint = "run as a user that may read " + path
	}
	return e
}
