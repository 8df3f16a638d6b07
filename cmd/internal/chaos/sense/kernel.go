package sense

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"

	"github.com/heapwright/heapwright/cgroup"
)

// A textFile is a file of the kernel that is read time after time.
type textFile struct {
	f   *os.File
	buf []byte
}

const maxText = 64 << 10

func openText(name string) (*textFile, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	return &textFile{f, make([]byte, 4<<10)}, nil
}

// read returns its text, valid until the next call.
func (t *textFile) read() ([]byte, error) {
	for {
		n, err := t.f.ReadAt(t.buf, 0)
		if err != nil && err != io.EOF {
			return nil, err
		}
		if n < len(t.buf) || len(t.buf) >= maxText {
			return t.buf[:n], nil
		}
		t.buf = make([]byte, 4*len(t.buf))
	}
}

func (t *textFile) close() {
	if t != nil {
		t.f.Close()
	}
}

// A statFile is /proc/PID/stat: reading it takes no lock that a process which is short
// of memory holds for long.
type statFile struct {
	*textFile
	start uint64
}

func openStat(pid int) (*statFile, error) {
	t, err := openText("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return nil, err
	}
	text, err := t.read()
	st, ok := parseStat(text)
	if err == nil && !ok {
		err = errors.New("/proc/PID/stat is not understood")
	}
	if err == nil && st.ended {
		err = fs.ErrNotExist
	}
	if err != nil {
		t.close()
		return nil, err
	}
	return &statFile{t, st.start}, nil
}

// read says how the process is. It has ended when its file says so: one that cannot be
// read for another reason may live.
func (s *statFile) read() statLook {
	text, err := s.textFile.read()
	if err != nil {
		return statLook{gone: errors.Is(err, syscall.ESRCH) || errors.Is(err, fs.ErrNotExist)}
	}
	st, ok := parseStat(text)
	if !ok {
		return statLook{}
	}
	if st.ended || st.start != s.start {
		return statLook{gone: true}
	}
	const ticks = 100 // a second: what /proc counts in, on all of Linux
	return statLook{cpu: known(float64(st.cpu) / ticks), rss: known(float64(st.rss) * float64(os.Getpagesize()))}
}

type procStat struct {
	ended bool
	cpu   uint64 // ticks
	start uint64 // ticks
	rss   uint64 // pages
}

func parseStat(text []byte) (procStat, bool) {
	// The name of the program, in parentheses, may hold anything.
	i := bytes.LastIndexByte(text, ')')
	if i < 0 {
		return procStat{}, false
	}
	f := bytes.Fields(text[i+1:])
	const state, utime, stime, start, rss = 0, 11, 12, 19, 21 // proc_pid_stat(5) counts from the PID, and from 1: less 3
	if len(f) <= rss || len(f[state]) != 1 {
		return procStat{}, false
	}
	user, err1 := strconv.ParseUint(string(f[utime]), 10, 63)
	system, err2 := strconv.ParseUint(string(f[stime]), 10, 63)
	began, err3 := strconv.ParseUint(string(f[start]), 10, 64)
	pages, err4 := strconv.ParseUint(string(f[rss]), 10, 52)
	c := f[state][0]
	return procStat{c == 'Z' || c == 'X', user + system, began, pages}, errors.Join(err1, err2, err3, err4) == nil
}

// A hostFile is /proc/meminfo.
type hostFile struct{ *textFile }

func openHost() *hostFile {
	t, err := openText("/proc/meminfo")
	if err != nil {
		t = nil // it stays unknown
	}
	return &hostFile{t}
}

func (h *hostFile) read() hostLook {
	if h.textFile == nil {
		return hostLook{}
	}
	text, err := h.textFile.read()
	if err != nil {
		return hostLook{}
	}
	return parseHost(text)
}

func parseHost(text []byte) hostLook {
	kb := func(key string) number {
		v, ok := lookup(text, key+":", " kB")
		return number{float64(v) * 1024, ok}
	}
	return hostLook{total: kb("MemTotal"), available: kb("MemAvailable")}
}

// lookup finds the number of a line that begins with a key.
func lookup(text []byte, key, unit string) (uint64, bool) {
	for line := range bytes.Lines(text) {
		rest, ok := bytes.CutPrefix(line, []byte(key))
		if !ok {
			continue
		}
		rest = bytes.TrimSuffix(bytes.TrimSpace(rest), []byte(unit))
		v, err := strconv.ParseUint(string(bytes.TrimSpace(rest)), 10, 63)
		return v, err == nil
	}
	return 0, false
}

// A group is the cgroup of the process.
type group struct {
	pid     int
	why     string // what cannot be known of it
	reader  *cgroup.Reader
	version int
	levels  []level // leaf first
}

// A level is a cgroup along the path, with the files that package cgroup's Reader does
// not read: the Reader's usage is not without the page cache, and it does not count how
// often a group was at its limit.
type level struct {
	dir                         string
	limit, usage, stat, atLimit *textFile
}

const (
	stats     = cgroup.StatMemoryUsage | cgroup.StatMemoryLimit | cgroup.StatOOMKills | cgroup.StatCPUQuota | cgroup.StatThrottling | cgroup.StatMemoryPressure
	maxLevels = 32
	unlimited = 1 << 60 // what v1 says where there is no limit is just below 2^63
)

func openGroup(pid int) *group {
	g := &group{pid: pid}
	g.open()
	return g
}

func (g *group) open() {
	of, err := cgroup.Of(g.pid)
	if err == nil {
		g.reader, err = of.NewReader(stats)
	}
	if err != nil {
		g.why = fmt.Sprintf("the cgroup of process %d cannot be read: %s", g.pid, oneLine(err.Error()))
		return
	}
	dirs, version, err := of.Dirs("memory")
	if err != nil {
		g.why = fmt.Sprintf("the memory of the cgroup of process %d cannot be seen: %s", g.pid, oneLine(err.Error()))
		return
	}
	g.version = version
	g.openLevels(dirs)
	if p, err := of.MemoryPressure(); err == nil && p.Host {
		g.why = "memory pressure is that of the whole machine: the kernel keeps none for the cgroup"
	}
}

// openLevels opens the files of the groups along the path, leaf first.
func (g *group) openLevels(dirs []string) {
	limit, usage, atLimit := "memory.max", "memory.current", "memory.events"
	if g.version == 1 {
		limit, usage, atLimit = "memory.limit_in_bytes", "memory.usage_in_bytes", "memory.failcnt"
	}
	for _, dir := range dirs[:min(len(dirs), maxLevels)] {
		l := level{dir: dir}
		var err error
		if l.usage, err = openText(filepath.Join(dir, usage)); err != nil {
			continue // v2: the controller is off here, or it is the root
		}
		// The root has no limit and counts nothing.
		l.limit, _ = openText(filepath.Join(dir, limit))
		l.stat, _ = openText(filepath.Join(dir, "memory.stat"))
		l.atLimit, _ = openText(filepath.Join(dir, atLimit))
		g.levels = append(g.levels, l)
	}
}

func (g *group) close() {
	if g.reader != nil {
		g.reader.Close()
	}
	for _, l := range g.levels {
		l.limit.close()
		l.usage.close()
		l.stat.close()
		l.atLimit.close()
	}
	g.reader, g.levels = nil, nil
}

// look reads it; nil when there is nothing to read.
func (g *group) look() *groupLook {
	if g.reader == nil {
		return nil
	}
	var s cgroup.Stats
	if err := g.reader.Read(&s); err != nil {
		if errors.Is(err, cgroup.ErrGone) {
			// Only an empty group can be removed: the process has moved, or ended.
			g.close()
			g.open()
		}
		return nil
	}
	l := &groupLook{}
	set := func(n *number, which cgroup.Stat, v float64) {
		if s.Has(which) {
			*n = known(v)
		}
	}
	set(&l.usage, cgroup.StatMemoryUsage, float64(s.MemoryUsage))
	set(&l.limit, cgroup.StatMemoryLimit, float64(s.MemoryLimit))
	set(&l.quota, cgroup.StatCPUQuota, s.CPUQuota)
	set(&l.kills, cgroup.StatOOMKills, float64(s.OOMKills))
	set(&l.periods, cgroup.StatThrottling, float64(s.Throttling.Periods))
	set(&l.throttled, cgroup.StatThrottling, float64(s.Throttling.ThrottledPeriods))
	set(&l.some, cgroup.StatMemoryPressure, s.MemoryPressure.Some.Total.Seconds())
	set(&l.full, cgroup.StatMemoryPressure, s.MemoryPressure.Full.Total.Seconds())
	g.lookAtLevels(l)
	return l
}

// lookAtLevels adds what the levels say: the working set of the one that has the
// smallest limit, its own when there is no limit, and how often each was at its limit.
func (g *group) lookAtLevels(l *groupLook) {
	binding, smallest := -1, uint64(0)
	for i := range g.levels {
		v := &g.levels[i]
		limit, limited := v.limit.number()
		if limited && (smallest == 0 || limit < smallest) {
			binding, smallest = i, limit
		}
		if !limited {
			continue
		}
		if n, ok := v.timesAtLimit(g.version); ok {
			if l.atLimit == nil {
				l.atLimit = map[string]uint64{}
			}
			l.atLimit[v.dir] = n
		}
	}
	if len(g.levels) == 0 {
		return
	}
	v := &g.levels[max(binding, 0)]
	if n, ok := v.workingSet(g.version); ok {
		l.workingSet = known(float64(n))
	}
}

// number reads a file of one number; false for "max", and for what v1 has for it.
func (t *textFile) number() (uint64, bool) {
	if t == nil {
		return 0, false
	}
	text, err := t.read()
	if err != nil {
		return 0, false
	}
	v, err := strconv.ParseUint(string(bytes.TrimSpace(text)), 10, 64)
	return v, err == nil && v < unlimited
}

func (v *level) timesAtLimit(version int) (uint64, bool) {
	if version == 1 || v.atLimit == nil {
		return v.atLimit.number()
	}
	text, err := v.atLimit.read()
	if err != nil {
		return 0, false
	}
	return lookup(text, "max ", "")
}

func (v *level) workingSet(version int) (uint64, bool) {
	used, ok := v.usage.number()
	if !ok || v.stat == nil {
		return 0, false
	}
	text, err := v.stat.read()
	if err != nil {
		return 0, false
	}
	key := "inactive_file "
	if version == 1 {
		key = "total_inactive_file "
	}
	inactive, ok := lookup(text, key, "")
	return used - min(used, inactive), ok
}
