package goproc

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/heapwright/heapwright/cgroup"
	"github.com/heapwright/heapwright/record"
)

// A Stat follows what the kernel knows of one process: resident memory, CPU
// time, and its cgroup's usage, limit, throttling, OOM kills and pressure. It
// keeps files open, so it stays with the process even if the PID is used again.
// It is not safe for concurrent use.
type Stat struct {
	pid    int
	stat   *keptFile // /proc/PID/stat
	status *keptFile // /proc/PID/status
	buf    []byte

	groups *keptFile      // /proc/PID/cgroup
	in     []byte         // what groups said when cgroup was opened
	looked time.Time      // when groups was last read
	cgroup *cgroup.Reader // nil when the cgroup cannot be seen
	own    bool           // pressure of the whole host is the process's cgroup's own
	stats  cgroup.Stats

	parts   *cgroup.Reader // of what its memory is made of, nil when that cannot be seen
	apart   time.Time      // when parts was last read
	frozen  frozenFile
	dir     string // of the cgroup that accounts its memory, "" when it cannot be seen
	version int    // of that cgroup
}

// cgroupStats are the numbers that a Sample has room for.
const cgroupStats = cgroup.StatMemoryUsage | cgroup.StatMemoryLimit | cgroup.StatOOMKills |
	cgroup.StatThrottling | cgroup.StatCPUQuota | cgroup.StatMemoryPressure | cgroup.StatCPUPressure

// partsEvery is how old what a cgroup's memory is made of may be: memory.stat has
// several times as much to read as all the others together.
const partsEvery = time.Second

// lookAgain is how long a move to another cgroup may go unnoticed.
const lookAgain = time.Second

// maxStatus bounds /proc/PID/status: it lists up to 65,536 groups of the user.
const maxStatus = 2 << 20

// OpenStat starts to follow a process that [Identify] or [List] has described.
// When proc has a start time, a later process with the same PID is refused with
// [ErrExited]. The cgroup is the one that the process is in now. A cgroup that
// cannot be seen is no error: its fields will be absent.
func OpenStat(pid int, proc record.Process) (*Stat, error) {
	s := &Stat{pid: pid, buf: make([]byte, 4<<10)}
	if err := s.open(proc); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

func (s *Stat) open(proc record.Process) error {
	dir := "/proc/" + strconv.Itoa(s.pid)
	var err error
	if s.stat, err = openKept(dir + "/stat"); err != nil {
		return s.fail(err)
	}
	if s.status, err = openKept(dir + "/status"); err != nil {
		return s.fail(err)
	}
	if s.groups, err = openKept(dir + "/cgroup"); err == nil {
		s.followCgroup()
	} else {
		s.openCgroup() // a kernel without cgroups: for the pressure of the host
	}
	// The first file opened still reads: so the process lives, its PID has not
	// been given away, and all that was opened since is its own.
	st, err := s.readStat()
	if err != nil {
		return err
	}
	if st.flags&flagKthread != 0 {
		return s.fail(ErrKernelThread)
	}
	if boot := bootTime(); !boot.IsZero() && !proc.StartTime.IsZero() {
		// Another run of heapwright may have reckoned the time of the boot otherwise.
		const slack = 5 * time.Second
		if off := boot.Add(time.Duration(st.start) * tick).Sub(proc.StartTime); off > slack || off < -slack {
			return s.fail(ErrExited)
		}
	}
	return nil
}

// followCgroup opens the cgroup again when the process has moved to another. The
// old one would go on giving numbers, of others.
func (s *Stat) followCgroup() {
	s.looked = time.Now()
	text, err := s.read(s.groups)
	if err != nil || bytes.Equal(text, s.in) {
		return
	}
	// A move after this is seen the next time.
	s.in = append(s.in[:0], text...)
	s.openCgroup()
}

func (s *Stat) openCgroup() {
	s.closeCgroup()
	g, err := cgroup.Of(s.pid)
	if err != nil {
		return
	}
	if s.parts, err = g.NewReader(cgroup.StatMemoryParts); err != nil {
		s.parts = nil
	}
	if dirs, version, err := g.Dirs("freezer"); err == nil {
		s.frozen = openFrozen(dirs[0], version)
	}
	s.version = g.Version()
	if dirs, _, err := g.Dirs("memory"); err == nil && g.Path() != "/" {
		s.dir = dirs[0]
	}
	s.own = g.Path() == "/" && g.Container() == cgroup.Container{}
	if s.cgroup, err = g.NewReader(cgroupStats); err != nil {
		s.cgroup = nil
	}
}

// closeCgroup closes all that is open of a cgroup.
func (s *Stat) closeCgroup() {
	for _, r := range []*cgroup.Reader{s.cgroup, s.parts} {
		if r != nil {
			r.Close()
		}
	}
	if s.frozen.file != nil {
		s.frozen.file.Close()
	}
	s.cgroup, s.parts, s.frozen, s.dir, s.apart = nil, nil, frozenFile{}, "", time.Time{}
}

// Close closes the files.
func (s *Stat) Close() error {
	for _, f := range []*keptFile{s.stat, s.status, s.groups} {
		if f != nil {
			f.Close()
		}
	}
	s.closeCgroup()
	return nil
}

// fields are those that Fill decides about.
var fields = []record.Field{
	record.FieldRSSBytes, record.FieldRSSPeakBytes, record.FieldRSSAnonBytes, record.FieldRSSFileBytes, record.FieldSwapBytes,
	record.FieldCPUProcUser, record.FieldCPUProcSystem,
	record.FieldCgroupUsageBytes, record.FieldCgroupLimitBytes, record.FieldCgroupThrottled, record.FieldCgroupPeriods,
	record.FieldCgroupThrottledPeriods, record.FieldCgroupOOMKills,
	record.FieldPSIMemorySomeStall, record.FieldPSICPUSomeStall,
	record.FieldRSSShmemBytes, record.FieldMajorFaults, record.FieldStopped, record.FieldCgroupAnonBytes, record.FieldCgroupFileBytes,
	record.FieldCgroupShmemBytes, record.FieldCgroupRefaults, record.FieldCgroupReclaimedBytes, record.FieldCgroupCPUQuota,
}

// Fill sets the operating system's fields of a sample and their bits in Has; the
// bits of those that it does not know it removes, the other fields it leaves
// alone. It does not allocate.
//
// RSSFileBytes counts shared memory too, so that RSSAnonBytes and RSSFileBytes
// add up to RSSBytes. CPU times come in steps of 10 ms. CgroupUsageBytes is the
// usage of the group that has the smallest limit along the path. The pressure
// is that of the process's own cgroup: where the kernel keeps none for it the
// fields are absent, and the host's pressure stands for it only if the process
// is in the root cgroup.
func (s *Stat) Fill(sample *record.Sample) error {
	for _, f := range fields {
		sample.Has.Remove(f)
	}
	st, err := s.readStat()
	if err != nil {
		return err
	}
	if st.state == 'Z' || st.state == 'X' {
		return s.fail(ErrExited)
	}
	st.fillCPU(sample)
	sample.MajorFaults = st.majflt
	sample.Has.Add(record.FieldMajorFaults)
	stopped := st.state == 'T' || st.state == 't'

	text, err := s.read(s.status)
	if err != nil {
		return err
	}
	status, ok := parseStatus(text)
	if !ok {
		return s.fail(errors.New("/proc/PID/status is malformed"))
	}
	if status.hasRSS {
		sample.RSSBytes = status.rss
		sample.Has.Add(record.FieldRSSBytes)
	}
	if status.hasHWM {
		sample.RSSPeakBytes = status.hwm
		sample.Has.Add(record.FieldRSSPeakBytes)
	}
	if status.hasSplit {
		sample.RSSAnonBytes, sample.RSSFileBytes = status.anon, status.file+status.shmem
		sample.Has.Add(record.FieldRSSAnonBytes)
		sample.RSSShmemBytes = status.shmem
		sample.Has.Add(record.FieldRSSFileBytes)
		sample.Has.Add(record.FieldRSSShmemBytes)
	}
	if status.hasSwap {
		sample.SwapBytes = status.swap
		sample.Has.Add(record.FieldSwapBytes)
	}
	s.fillCgroup(sample)
	s.fillParts(sample)
	sample.Stopped = stopped || s.frozen.is(s.buf)
	sample.Has.Add(record.FieldStopped)
	return nil
}

// FillQuick is Fill for those who look often: it sets the CPU times and RSSBytes, from
// the one file that has both, removes the bits of the other fields, and costs a fifth.
// RSSBytes is off by what the kernel has not added up yet, 32 pages for each thread or
// CPU at the most (mm/memory.c, mm counters).
func (s *Stat) FillQuick(sample *record.Sample) error {
	for _, f := range fields {
		sample.Has.Remove(f)
	}
	st, err := s.readStat()
	if err != nil {
		return err
	}
	if st.state == 'Z' || st.state == 'X' {
		return s.fail(ErrExited)
	}
	st.fillCPU(sample)
	sample.RSSBytes = st.rss * uint64(pageSize)
	sample.Has.Add(record.FieldRSSBytes)
	return nil
}

var pageSize = os.Getpagesize()

func (st *procStat) fillCPU(sample *record.Sample) {
	sample.CPUProcUser = time.Duration(st.utime) * tick
	sample.CPUProcSystem = time.Duration(st.stime) * tick
	sample.Has.Add(record.FieldCPUProcUser)
	sample.Has.Add(record.FieldCPUProcSystem)
}

func (s *Stat) fillCgroup(sample *record.Sample) {
	if s.groups != nil && time.Since(s.looked) >= lookAgain {
		s.followCgroup()
	}
	if s.cgroup == nil {
		return
	}
	c := &s.stats
	if err := s.cgroup.Read(c); err != nil {
		if !errors.Is(err, cgroup.ErrGone) {
			return
		}
		// Only an empty group can be removed: the process has moved.
		s.openCgroup()
		if s.cgroup == nil || s.cgroup.Read(c) != nil {
			return
		}
	}
	if c.Has(cgroup.StatMemoryUsage) {
		sample.CgroupUsageBytes = c.MemoryUsage
		sample.Has.Add(record.FieldCgroupUsageBytes)
	}
	if c.Has(cgroup.StatMemoryLimit) {
		sample.CgroupLimitBytes = c.MemoryLimit
		sample.Has.Add(record.FieldCgroupLimitBytes)
	}
	if c.Has(cgroup.StatOOMKills) {
		sample.CgroupOOMKills = c.OOMKills
		sample.Has.Add(record.FieldCgroupOOMKills)
	}
	if c.Has(cgroup.StatThrottling) {
		sample.CgroupThrottled = c.Throttling.Throttled
		sample.CgroupPeriods = c.Throttling.Periods
		sample.CgroupThrottledPeriods = c.Throttling.ThrottledPeriods
		sample.Has.Add(record.FieldCgroupThrottled)
		sample.Has.Add(record.FieldCgroupPeriods)
		sample.Has.Add(record.FieldCgroupThrottledPeriods)
	}
	if c.Has(cgroup.StatCPUQuota) {
		sample.CgroupCPUQuota = time.Duration(c.CPUQuota * float64(time.Second))
		sample.Has.Add(record.FieldCgroupCPUQuota)
	}
	if c.Has(cgroup.StatMemoryPressure) && (s.own || !c.MemoryPressure.Host) {
		sample.PSIMemorySomeStall = c.MemoryPressure.Some.Total
		sample.Has.Add(record.FieldPSIMemorySomeStall)
	}
	if c.Has(cgroup.StatCPUPressure) && (s.own || !c.CPUPressure.Host) {
		sample.PSICPUSomeStall = c.CPUPressure.Some.Total
		sample.Has.Add(record.FieldPSICPUSomeStall)
	}
}

func (s *Stat) fillParts(sample *record.Sample) {
	if s.parts == nil || time.Since(s.apart) < partsEvery {
		return
	}
	s.apart = time.Now()
	c := &s.stats
	if s.parts.Read(c) != nil || !c.Has(cgroup.StatMemoryParts) {
		return
	}
	p := &c.MemoryParts
	sample.CgroupAnonBytes, sample.CgroupFileBytes, sample.CgroupShmemBytes = p.Anon, p.File, p.Shmem
	sample.CgroupRefaults = p.Refaults
	for _, f := range [...]record.Field{record.FieldCgroupAnonBytes, record.FieldCgroupFileBytes, record.FieldCgroupShmemBytes, record.FieldCgroupRefaults} {
		sample.Has.Add(f)
	}
	if s.version == 2 { // v1 does not count it
		sample.CgroupReclaimedBytes = p.Reclaimed * uint64(pageSize)
		sample.Has.Add(record.FieldCgroupReclaimedBytes)
	}
}

// A frozenFile says whether a cgroup is frozen. The zero frozenFile knows of none.
type frozenFile struct {
	file    *keptFile
	version int
}

func openFrozen(dir string, version int) frozenFile {
	name := "cgroup.events"
	if version == 1 {
		name = "freezer.state"
	}
	f, err := openKept(dir + "/" + name) // the root has none: it cannot be frozen
	if err != nil {
		return frozenFile{version: version}
	}
	return frozenFile{f, version}
}

// is reports whether it is, ancestors' doing included.
func (f *frozenFile) is(buf []byte) bool {
	if f.file == nil {
		return false
	}
	n, err := f.file.pread(buf)
	if err != nil {
		return false
	}
	if f.version == 1 {
		return bytes.HasPrefix(buf[:n], []byte("FROZEN"))
	}
	return bytes.Contains(buf[:n], []byte("frozen 1"))
}

// Bounds of a look at the other processes of a cgroup.
const (
	maxMembers     = 256
	maxMemberBytes = 64 << 10
)

// Neighbours are the other processes that are in the cgroup which accounts the
// process's memory, those with most resident memory first, at most so many. There are
// none in the root, where all are.
func (s *Stat) Neighbours(most int) []Neighbour {
	if s.dir == "" {
		return nil
	}
	f, err := os.Open(s.dir + "/cgroup.procs")
	if err != nil {
		return nil
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxMemberBytes))
	if err != nil {
		return nil
	}
	var all []Neighbour
	looked := 0
	for word := range strings.FieldsSeq(string(text)) {
		pid, err := strconv.Atoi(word)
		if err != nil || pid <= 0 || pid == s.pid { // 0: of another PID namespace
			continue
		}
		if looked++; looked > maxMembers {
			break
		}
		text, err := readSmall("/proc/"+word+"/stat", s.buf)
		if err != nil {
			continue
		}
		st, ok := parseStat(text)
		if !ok || st.flags&flagKthread != 0 {
			continue
		}
		all = append(all, Neighbour{PID: pid, Name: string(st.comm), RSSBytes: st.rss * uint64(pageSize)})
	}
	slices.SortStableFunc(all, func(a, b Neighbour) int { return cmp.Compare(b.RSSBytes, a.RSSBytes) })
	return all[:min(most, len(all))]
}

func readSmall(name string, buf []byte) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	n, err := f.Read(buf)
	return buf[:max(n, 0)], err
}

func (s *Stat) readStat() (procStat, error) {
	text, err := s.read(s.stat)
	if err != nil {
		return procStat{}, err
	}
	st, ok := parseStat(text)
	if !ok {
		return st, s.fail(errors.New("/proc/PID/stat is malformed"))
	}
	return st, nil
}

// read reads a file whole, into a buffer that grows when it has to.
func (s *Stat) read(f *keptFile) ([]byte, error) {
	for {
		n, err := f.pread(s.buf)
		if err != nil {
			return nil, s.fail(err)
		}
		if n < len(s.buf) {
			return s.buf[:n], nil
		}
		if len(s.buf) >= maxStatus {
			return nil, s.fail(errTooLong)
		}
		s.buf = make([]byte, 4*len(s.buf))
	}
}

func (s *Stat) fail(err error) error {
	return &Error{PID: s.pid, Err: procError(err)}
}

// A keptFile is a file of /proc that is read many times, with one system call
// each: the kernel gives its text in one piece.
type keptFile struct {
	*os.File
	fd int
}

func openKept(name string) (*keptFile, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	return &keptFile{f, int(f.Fd())}, nil
}

func (f *keptFile) pread(buf []byte) (int, error) {
	for {
		n, err := syscall.Pread(f.fd, buf, 0)
		if err != syscall.EINTR {
			return max(n, 0), err
		}
	}
}
