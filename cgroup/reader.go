package cgroup

import (
	"errors"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"time"
)

// A Stat is a number of [Stats].
type Stat uint16

// The numbers of Stats.
const (
	StatMemoryUsage Stat = 1 << iota
	StatMemoryLimit
	StatMemoryHigh
	StatOOMKills
	StatCPUQuota
	StatThrottling
	StatMemoryPressure
	StatCPUPressure
	StatIOPressure
	StatOOMs
	StatMemoryParts

	// StatAll is all of them.
	StatAll Stat = 1<<iota - 1
)

// Stats is what a group was doing at an instant. The methods of [Group] of the
// same names say what each number means. Only those that Has reports are set:
// a limit that is absent is no limit.
type Stats struct {
	MemoryUsage uint64  // bytes
	MemoryLimit uint64  // bytes
	MemoryHigh  uint64  // bytes
	OOMKills    uint64  // cumulative
	OOMs        uint64  // cumulative
	CPUQuota    float64 // CPUs

	MemoryParts    MemoryParts
	Throttling     Throttling
	MemoryPressure Pressure
	CPUPressure    Pressure
	IOPressure     Pressure

	has Stat
}

// Has reports whether all of the numbers are known.
func (s *Stats) Has(which Stat) bool { return s.has&which == which }

const (
	memoryStats = StatMemoryUsage | StatMemoryLimit | StatMemoryHigh | StatOOMKills | StatOOMs | StatMemoryParts
	cpuStats    = StatCPUQuota | StatThrottling
)

// A Reader reads a group's numbers time after time, from files that it keeps
// open: a few for each level of the path. It is not safe for concurrent use.
type Reader struct {
	g      *Group
	levels []memoryLevel // leaf first
	// stat is memory.stat of a v1 leaf whose limit comes from a group above what
	// we can see.
	stat     *keptFile
	oom      *keptFile
	oomWhich Stat
	quotas   []cpuLevel

	pressure [3]struct {
		file *keptFile
		host bool
	}
	files []*keptFile // all of the above
	buf   [8 << 10]byte
}

type memoryLevel struct {
	dir                string
	limit, high, usage *keptFile // nil when the kernel has no such file here
	stat, kernel       *keptFile
}

type cpuLevel struct {
	max           *keptFile // v2
	quota, period *keptFile // v1
	stat          *keptFile
}

var pressures = [3]struct {
	name string
	stat Stat
}{{"memory", StatMemoryPressure}, {"cpu", StatCPUPressure}, {"io", StatIOPressure}}

// NewReader opens the files of the numbers that are asked for; each costs about
// a microsecond at each reading. It fails when memory is asked for and the
// group's memory cannot be seen, so that a limit that is absent from the Stats is
// known to be none. When only its CPU or its pressure cannot be seen, those are
// left out.
func (g *Group) NewReader(which Stat) (*Reader, error) {
	if which&memoryStats != 0 && g.memory.err != nil {
		return nil, g.memory.err
	}
	r := &Reader{g: g}
	if err := r.open(which); err != nil {
		r.Close()
		return nil, err
	}
	return r, nil
}

// Close closes the files.
func (r *Reader) Close() error {
	for _, f := range r.files {
		f.Close()
	}
	r.files = nil
	return nil
}

func (r *Reader) open(which Stat) error {
	if which&memoryStats != 0 {
		if err := r.openMemory(which); err != nil {
			return err
		}
	}
	if which&cpuStats != 0 {
		if err := r.openCPU(which); err != nil {
			return err
		}
	}
	for i := range pressures {
		if which&pressures[i].stat == 0 {
			continue
		}
		if f, host, err := r.g.openPressure(pressures[i].name); err == nil {
			r.pressure[i].file, r.pressure[i].host = r.keep(f), host
		}
	}
	return nil
}

func (r *Reader) keep(f *os.File) *keptFile {
	k := keep(f)
	r.files = append(r.files, k)
	return k
}

// file opens a file that may be absent.
func (r *Reader) file(dir, name string) (*keptFile, error) {
	f, err := os.Open(filepath.Join(dir, name))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fail("opening cgroup", filepath.Join(dir, name), err)
	}
	return r.keep(f), nil
}

func (r *Reader) openMemory(which Stat) error {
	h := &r.g.memory
	limit, high, usage := "memory.max", "memory.high", "memory.current"
	events := "memory.events"
	if h.version == 1 {
		limit, high, usage = "memory.limit_in_bytes", "", "memory.usage_in_bytes"
		events = "memory.oom_control"
	}
	for i, dir := range h.dirs {
		l := memoryLevel{dir: dir}
		var err error
		if which&(StatMemoryLimit|StatMemoryUsage|StatMemoryParts) != 0 { // the limit decides whose usage it is
			if l.limit, err = r.file(dir, limit); err != nil {
				return err
			}
		}
		if which&StatMemoryUsage != 0 {
			if l.usage, err = r.file(dir, usage); err != nil {
				return err
			}
		}
		if which&(StatMemoryHigh|StatMemoryParts) != 0 && high != "" {
			if l.high, err = r.file(dir, high); err != nil {
				return err
			}
		}
		if which&StatMemoryParts != 0 {
			if l.stat, err = r.file(dir, "memory.stat"); err != nil {
				return err
			}
			if h.version == 1 {
				if l.kernel, err = r.file(dir, "memory.kmem.usage_in_bytes"); err != nil {
					return err
				}
			}
		}
		if which&(StatOOMKills|StatOOMs) != 0 && r.oom == nil {
			// The first level that has the controller on.
			if r.oom, err = r.file(dir, events); err != nil {
				return err
			}
			r.oomWhich = which & (StatOOMKills | StatOOMs)
		}
		r.levels = append(r.levels, l)
		if i == 0 && h.version == 1 && l.limit != nil {
			if err := r.openHidden(dir); err != nil {
				return err
			}
		}
	}
	return nil
}

// openHidden keeps memory.stat of a v1 group only if it matters: it is slow to
// read, and says nothing new unless a group that we cannot see has the limit.
func (r *Reader) openHidden(leaf string) error {
	if dirs := r.g.memory.dirs; exists(filepath.Join(dirs[len(dirs)-1], "release_agent")) {
		return nil // only the root of a v1 hierarchy has it: nothing is hidden
	}
	f, err := os.Open(filepath.Join(leaf, "memory.stat"))
	if err != nil {
		return nil
	}
	stat := keep(f)
	text, err := r.read(stat)
	hidden, ok := lookup(text, "hierarchical_memory_limit")
	if err != nil || !ok || hidden >= unlimited {
		f.Close()
		return nil
	}
	for _, dir := range r.g.memory.dirs {
		text, err := readAll(filepath.Join(dir, "memory.limit_in_bytes"), 64)
		if err != nil {
			continue
		}
		if v, limited, ok := parseBytes([]byte(text)); ok && limited && v <= hidden {
			f.Close()
			return nil
		}
	}
	r.stat = stat
	r.files = append(r.files, stat)
	return nil
}

func (r *Reader) openCPU(which Stat) error {
	h := &r.g.cpu
	for _, dir := range h.dirs {
		var l cpuLevel
		var err error
		if h.version == 1 {
			if l.quota, err = r.file(dir, "cpu.cfs_quota_us"); err != nil {
				return err
			}
			if l.period, err = r.file(dir, "cpu.cfs_period_us"); err != nil {
				return err
			}
		} else if l.max, err = r.file(dir, "cpu.max"); err != nil {
			return err
		}
		if which&StatThrottling != 0 { // the quota decides which group is throttled
			if l.stat, err = r.file(dir, "cpu.stat"); err != nil {
				return err
			}
		}
		r.quotas = append(r.quotas, l)
	}
	return nil
}

// read reads a file from its beginning into the reader's buffer.
func (r *Reader) read(f *keptFile) ([]byte, error) { return readAt(f, r.buf[:]) }

func readAt(f *keptFile, buf []byte) ([]byte, error) {
	n, err := f.readStart(buf)
	if err != nil {
		return nil, fail("reading cgroup", f.Name(), err)
	}
	return buf[:n], nil
}

// Read fills s. It does not allocate. After an error s holds what was read
// before it; [ErrGone] means that the group was removed.
func (r *Reader) Read(s *Stats) error {
	s.has = 0
	if err := r.readMemory(s); err != nil {
		return err
	}
	if err := r.readCPU(s); err != nil {
		return err
	}
	for i := range r.pressure {
		p := &r.pressure[i]
		if p.file == nil {
			continue
		}
		text, err := r.read(p.file)
		if errors.Is(err, ErrUnavailable) {
			continue // switched off since (cgroup.pressure)
		}
		if err != nil {
			return err
		}
		v, ok := parsePressure(text)
		if !ok {
			return malformed(p.file)
		}
		v.Host = p.host
		switch pressures[i].stat {
		case StatMemoryPressure:
			s.MemoryPressure = v
		case StatCPUPressure:
			s.CPUPressure = v
		case StatIOPressure:
			s.IOPressure = v
		}
		s.has |= pressures[i].stat
	}
	return nil
}

func (r *Reader) readMemory(s *Stats) error {
	var usage *keptFile
	var parts *memoryLevel
	bound := uint64(math.MaxUint64) // the smallest limit or memory.high so far
	for i := range r.levels {
		l := &r.levels[i]
		if usage == nil {
			usage = l.usage
		}
		if parts == nil && l.stat != nil {
			parts = l
		}
		v, limited, err := r.readBytes(l.limit)
		if err != nil {
			return err
		}
		if limited && (!s.Has(StatMemoryLimit) || v < s.MemoryLimit) {
			s.MemoryLimit = v
			s.has |= StatMemoryLimit
			if l.usage != nil {
				usage = l.usage
			}
		}
		if limited && v < bound {
			bound = v
			if l.stat != nil {
				parts = l
			}
		}
		if v, limited, err = r.readBytes(l.high); err != nil {
			return err
		}
		if limited && (!s.Has(StatMemoryHigh) || v < s.MemoryHigh) {
			s.MemoryHigh = v
			s.has |= StatMemoryHigh
		}
		if limited && v < bound {
			bound = v
			if l.stat != nil {
				parts = l
			}
		}
	}
	if r.stat != nil {
		text, err := r.read(r.stat)
		if err != nil {
			return err
		}
		v, ok := lookup(text, "hierarchical_memory_limit")
		if !ok {
			return malformed(r.stat)
		}
		if v < unlimited && (!s.Has(StatMemoryLimit) || v < s.MemoryLimit) {
			s.MemoryLimit = v
			s.has |= StatMemoryLimit
			usage = r.levels[0].usage // the usage of the hidden group is hidden too
			parts = &r.levels[0]      // v1 has no memory.high
		}
	}
	if usage != nil {
		text, err := r.read(usage)
		if err != nil {
			return err
		}
		var ok bool
		if s.MemoryUsage, _, ok = parseBytes(text); !ok {
			return malformed(usage)
		}
		s.has |= StatMemoryUsage
	}
	if r.oom != nil {
		text, err := r.read(r.oom)
		if err != nil {
			return err
		}
		var ok bool
		if s.OOMKills, ok = lookup(text, "oom_kill"); ok {
			s.has |= StatOOMKills & r.oomWhich
		}
		if s.OOMs, ok = lookup(text, "oom"); ok {
			s.has |= StatOOMs & r.oomWhich
		}
	}
	if parts != nil {
		return r.readParts(parts, s)
	}
	return nil
}

// readParts reads what the usage of a level is made of.
func (r *Reader) readParts(l *memoryLevel, s *Stats) error {
	if l.stat == nil {
		return nil
	}
	text, err := r.read(l.stat)
	if err != nil {
		return err
	}
	p, ok := parseParts(text, r.g.memory.version)
	if !ok {
		return nil // the kernel does not say it, as at the root
	}
	if l.kernel != nil {
		text, err := r.read(l.kernel)
		switch {
		case errors.Is(err, ErrUnavailable):
			// Not kept for this group (cgroup.memory=nokmem).
		case err != nil:
			return err
		default:
			if p.Kernel, _, ok = parseBytes(text); !ok {
				return malformed(l.kernel)
			}
		}
	}
	s.MemoryParts = p
	s.has |= StatMemoryParts
	return nil
}

// readBytes reads a file of one count of bytes; nil reads as no limit.
func (r *Reader) readBytes(f *keptFile) (v uint64, limited bool, err error) {
	if f == nil {
		return 0, false, nil
	}
	text, err := r.read(f)
	if err != nil {
		return 0, false, err
	}
	v, limited, ok := parseBytes(text)
	if !ok {
		return 0, false, malformed(f)
	}
	return v, limited, nil
}

func (r *Reader) readLevel(l *memoryLevel) (v Level, err error) {
	v.Dir = l.dir
	if v.Limit, v.HasLimit, err = r.readBytes(l.limit); err != nil {
		return v, err
	}
	if v.High, v.HasHigh, err = r.readBytes(l.high); err != nil {
		return v, err
	}
	if !v.HasLimit {
		v.Limit = 0
	}
	if !v.HasHigh {
		v.High = 0
	}
	v.Usage, v.HasUsage, err = r.readBytes(l.usage)
	return v, err
}

func (r *Reader) readCPU(s *Stats) error {
	var stat *keptFile
	for i := range r.quotas {
		l := &r.quotas[i]
		if stat == nil {
			stat = l.stat
		}
		var cores float64
		var limited, ok bool
		switch {
		case l.max != nil:
			text, err := r.read(l.max)
			if err != nil {
				return err
			}
			if cores, limited, ok = parseCPUMax(text); !ok {
				return malformed(l.max)
			}
		case l.quota != nil && l.period != nil:
			half := len(r.buf) / 2
			quota, err := readAt(l.quota, r.buf[:half])
			if err != nil {
				return err
			}
			period, err := readAt(l.period, r.buf[half:])
			if err != nil {
				return err
			}
			if cores, limited, ok = parseCFS(quota, period); !ok {
				return malformed(l.quota)
			}
		}
		if limited && (!s.Has(StatCPUQuota) || cores < s.CPUQuota) {
			s.CPUQuota = cores
			s.has |= StatCPUQuota
			if l.stat != nil {
				stat = l.stat // it is this group that is throttled
			}
		}
	}
	if stat == nil {
		return nil
	}
	text, err := r.read(stat)
	if err != nil {
		return err
	}
	periods, ok1 := lookup(text, "nr_periods")
	throttled, ok2 := lookup(text, "nr_throttled")
	usec, v2 := lookup(text, "throttled_usec")
	nsec, v1 := lookup(text, "throttled_time")
	if !ok1 || !ok2 || (!v1 && !v2) {
		return nil // the cpu controller is off
	}
	s.Throttling = Throttling{periods, throttled, micros(usec) + time.Duration(nsec)}
	s.has |= StatThrottling
	return nil
}

func malformed(f *keptFile) error {
	return &Error{Op: "reading cgroup", Path: f.Name(), Err: ErrMalformed}
}
