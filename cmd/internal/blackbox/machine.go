package blackbox

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/heapwright/heapwright/cgroup"
	"github.com/heapwright/heapwright/cmd/internal/goproc"
	"github.com/heapwright/heapwright/cmd/internal/oom"
	"github.com/heapwright/heapwright/cmd/internal/postmortem"
	"github.com/heapwright/heapwright/cmd/internal/process"
	"github.com/heapwright/heapwright/cmd/internal/procmem"
	"github.com/heapwright/heapwright/cmd/internal/profile"
	"github.com/heapwright/heapwright/record"
)

// A Machine is this machine.
type Machine struct {
	buf     [8 << 10]byte
	meminfo *os.File
	psi     *os.File
	samePID bool

	// The last listing, and the process or thread that had been started last then.
	pids    []int
	newest  string
	listed  time.Time
	loadavg *os.File
}

// relist is how old a listing may be where nothing was started since.
const relist = time.Second

// NewMachine returns this machine as a Host.
func NewMachine() *Machine {
	m := &Machine{}
	m.meminfo, _ = os.Open("/proc/meminfo")
	m.psi, _ = os.Open("/proc/pressure/memory") // not there without PSI
	m.loadavg, _ = os.Open("/proc/loadavg")
	// The first PID namespace has this number (include/linux/proc_ns.h).
	link, err := os.Readlink("/proc/self/ns/pid")
	m.samePID = err != nil || link == "pid:[4026531836]"
	return m
}

// SamePIDs implements Host.
func (m *Machine) SamePIDs() bool { return m.samePID }

// PIDs implements Host. To list all processes ten times a second is most of what a
// black box costs on a machine where little happens, so it is not done when the kernel
// says that none was started.
func (m *Machine) PIDs() ([]int, error) {
	// Before the listing: what is started meanwhile shows in the next one.
	newest := m.lastPID()
	if newest != "" && newest == m.newest && time.Since(m.listed) < relist {
		return slices.Clone(m.pids), nil
	}
	pids, err := listPIDs()
	if err != nil {
		return nil, err
	}
	m.pids, m.newest, m.listed = slices.Clone(pids), newest, time.Now()
	return pids, nil
}

// lastPID is the number of the process or thread that was started last in our PID
// namespace, "" when that is not known: the last field of /proc/loadavg (fs/proc/loadavg.c).
func (m *Machine) lastPID() string {
	if m.loadavg == nil {
		return ""
	}
	var buf [128]byte
	n, err := m.loadavg.ReadAt(buf[:], 0)
	if err != nil && err != io.EOF {
		return ""
	}
	fields := strings.Fields(string(buf[:n]))
	if len(fields) != 5 {
		return ""
	}
	return fields[4]
}

func listPIDs() ([]int, error) {
	d, err := os.Open("/proc")
	if err != nil {
		return nil, fmt.Errorf("listing processes: %w", err)
	}
	defer d.Close()
	names, err := d.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("listing processes: %w", err)
	}
	pids := make([]int, 0, len(names))
	for _, name := range names {
		if pid, err := strconv.Atoi(name); err == nil && pid > 0 {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

func procFile(pid int, name string) string { return "/proc/" + strconv.Itoa(pid) + "/" + name }

// Program implements Host. The name alone would be the same for a file that was replaced.
func (m *Machine) Program(pid int) string {
	name, err := os.Readlink(procFile(pid, "exe"))
	if err != nil {
		return ""
	}
	fi, err := os.Stat(procFile(pid, "exe"))
	if err != nil {
		return name
	}
	return fmt.Sprintf("%s\x00%d\x00%d", name, fi.Size(), fi.ModTime().UnixNano())
}

func (m *Machine) small(name string) string {
	f, err := os.Open(name)
	if err != nil {
		return ""
	}
	defer f.Close()
	n, err := io.ReadFull(f, m.buf[:])
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return ""
	}
	return string(m.buf[:n])
}

// Command implements Host.
func (m *Machine) Command(pid int) string {
	return strings.TrimSuffix(m.small(procFile(pid, "comm")), "\n")
}

// Membership implements Host.
func (m *Machine) Membership(pid int) string { return m.small(procFile(pid, "cgroup")) }

type machineGroup struct {
	*oom.Room
	path string
}

func (g *machineGroup) Path() string { return g.path }

// Group implements Host.
func (m *Machine) Group(pid int) (Group, error) {
	g, err := cgroup.Of(pid)
	if err != nil {
		return nil, err
	}
	dirs, version, err := g.Dirs("memory")
	if err != nil {
		return nil, err
	}
	room, err := oom.OpenRoom(dirs, version)
	if err != nil {
		return nil, err
	}
	return &machineGroup{room, g.Path()}, nil
}

// Memory implements Host.
func (m *Machine) Memory() (level oom.Level, stalled time.Duration, ok bool) {
	if m.meminfo == nil {
		return oom.Level{}, 0, false
	}
	n, err := m.meminfo.ReadAt(m.buf[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return oom.Level{}, 0, false
	}
	level, ok = oom.HostLevel(m.buf[:n])
	if m.psi != nil {
		if n, err := m.psi.ReadAt(m.buf[:], 0); err == nil || errors.Is(err, io.EOF) {
			// "some avg10=0.00 avg60=0.00 avg300=0.00 total=123", in microseconds
			if _, rest, found := bytes.Cut(m.buf[:n], []byte("total=")); found {
				word, _, _ := bytes.Cut(rest, []byte("\n"))
				if v, err := strconv.ParseUint(string(word), 10, 53); err == nil {
					stalled = time.Duration(v) * time.Microsecond
				}
			}
		}
	}
	return level, stalled, ok
}

// Bounds of a look at the other processes of a group.
const (
	maxMembers  = 256 // looked at
	maxSiblings = 24  // told of
)

// Siblings implements Host.
func (m *Machine) Siblings(dir string) (all []postmortem.Sibling, leftOut int) {
	if dir == "" {
		return nil, 0
	}
	f, err := os.Open(filepath.Join(dir, "cgroup.procs"))
	if err != nil {
		return nil, 0
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, 64<<10))
	if err != nil {
		return nil, 0
	}
	page := uint64(os.Getpagesize())
	looked := 0
	for word := range strings.FieldsSeq(string(text)) {
		pid, err := strconv.Atoi(word)
		if err != nil || pid <= 0 { // 0: of another PID namespace
			leftOut++
			continue
		}
		if looked++; looked > maxMembers {
			leftOut++
			continue
		}
		// "total resident shared ...", in pages
		fields := strings.Fields(m.small(procFile(pid, "statm")))
		if len(fields) < 3 {
			continue
		}
		rss, err1 := strconv.ParseUint(fields[1], 10, 44)
		shared, err2 := strconv.ParseUint(fields[2], 10, 44)
		if err1 != nil || err2 != nil {
			continue
		}
		all = append(all, postmortem.Sibling{PID: pid, Name: m.Command(pid), RSSBytes: rss * page, AnonBytes: (rss - min(shared, rss)) * page})
	}
	slices.SortStableFunc(all, func(a, b postmortem.Sibling) int { return cmp.Compare(b.RSSBytes, a.RSSBytes) })
	if len(all) > maxSiblings {
		leftOut += len(all) - maxSiblings
		all = all[:maxSiblings]
	}
	return all, leftOut
}

// Log implements Host.
func (m *Machine) Log() (Log, error) {
	l, err := oom.OpenLog(oom.LogOptions{})
	if err != nil {
		return nil, err
	}
	return l, nil
}

// Bells implements Host.
func (m *Machine) Bells() (Bells, error) {
	b, err := oom.NewBells()
	if err != nil {
		return nil, err
	}
	return b, nil
}

// Identify implements Host.
func (m *Machine) Identify(pid int) (record.Process, error) { return goproc.Identify(pid) }

// Attach implements Host.
func (m *Machine) Attach(ctx context.Context, pid int) (Source, error) {
	t, err := process.Attach(ctx, pid)
	if err != nil {
		return nil, err
	}
	return &machineSource{Target: t}, nil
}

// A machineSource is a process of this machine.
type machineSource struct {
	*process.Target
	walker  *profile.Walker // made when first needed
	noWaits bool
}

func (s *machineSource) Heap() (published, since *record.Profile, err error) {
	p, err := profile.TakeHeap(s.Runtime())
	var off *profile.DisabledError
	switch {
	case errors.As(err, &off):
		return nil, nil, nil
	case err != nil:
		return nil, nil, s.gone(err)
	}
	return p.Record(), p.Since(), nil
}

func (s *machineSource) Goroutines(stacks int) (*record.Goroutines, error) {
	if s.walker == nil {
		w, err := profile.NewWalker(s.Runtime())
		if err != nil {
			return nil, err
		}
		s.walker = w
		p, ok := s.Runtime().Memory().(*procmem.Process)
		s.noWaits = ok && !p.SharesNanotime()
	}
	all, err := s.walker.Goroutines(profile.Options{NoWaits: s.noWaits, NoStacks: true})
	if err != nil {
		return nil, s.gone(err)
	}
	out := all.Record()
	some, err := s.walker.Goroutines(profile.Options{NoWaits: s.noWaits, MaxGoroutines: stacks})
	if err != nil {
		return out, s.gone(err)
	}
	if some.Truncated == 0 {
		return some.Record(), nil
	}
	lendStacks(out, some.Record())
	return out, nil
}

func (s *machineSource) Forget() {
	s.walker = nil
	s.Runtime().Table().Forget()
}

// gone turns an error of a walk through a process that ended meanwhile into that.
func (s *machineSource) gone(err error) error {
	if alive := s.Runtime().Alive(); alive != nil {
		return process.Ended(alive)
	}
	return process.Ended(err)
}
