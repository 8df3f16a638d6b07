package subject

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/heapwright/heapwright/cgroup"
	"github.com/heapwright/heapwright/cmd/internal/experiment"
)

// Controllers are what a cgroup of a process's own accounts, and may limit.
type Controllers struct{ Memory, CPU bool }

// Needed are the controllers that some variant of the plan has a limit of.
func Needed(plan *experiment.Plan) Controllers {
	var c Controllers
	for _, v := range plan.Variants {
		c.Memory = c.Memory || v.MemoryLimit > 0
		c.CPU = c.CPU || v.CPUQuota > 0
	}
	return c
}

// CheckLimits tries whether the limits of the plan can be set here, before
// anything is measured. The error is a [*LimitError].
func CheckLimits(plan *experiment.Plan) error {
	for _, v := range plan.Variants {
		if err := try(Spec{Variant: v, Group: Needed(plan)}); err != nil {
			return err
		}
	}
	return nil
}

// Cgroups says what there is to set limits with: v1, v2, hybrid, or none.
func Cgroups() string {
	if try(Spec{Group: Controllers{Memory: true, CPU: true}}) != nil {
		return "none"
	}
	versions := map[int]bool{}
	if self, err := cgroup.Self(); err == nil {
		for _, c := range []string{"memory", "cpu"} {
			if _, v, err := self.Dirs(c); err == nil {
				versions[v] = true
			}
		}
	}
	switch {
	case versions[1] && versions[2]:
		return "hybrid"
	case versions[1]:
		return "v1"
	}
	return "v2"
}

// try makes the cgroups of a process, and removes them.
func try(spec Spec) error {
	id := newID()
	g, err := planGroup(spec, groupPrefix+id)
	if err != nil || len(g.parts) == 0 {
		return err
	}
	m, err := mark(id, "", g.dirs())
	if err != nil {
		return &LimitError{Why: "what would be made cannot be written down", Err: err}
	}
	err = g.create()
	if left := g.remove(); left == nil {
		m.remove()
	}
	return err
}

// A group is what of cgroups belongs to one process: a directory in each
// hierarchy that has a controller for it. The zero group is none.
type group struct {
	parts   []part
	memory  uint64
	cpu     float64
	crowded bool

	mu    sync.Mutex
	kills uint64 // as last read: the files go with the group
	stood time.Duration
}

type part struct {
	version     int
	dir         string
	home        string // where we are ourselves in this hierarchy; v1 only
	memory, cpu bool
	crowded     bool // as of the Spec

	entered bool     // v1: this thread is in it
	open    *os.File // v2: while the process is started
}

// planGroup says which cgroups a process gets, and makes none. With cgroup v2 it
// may turn controllers on for children of a group.
func planGroup(spec Spec, name string) (*group, error) {
	g := &group{memory: uint64(spec.Variant.MemoryLimit), cpu: spec.Variant.CPUQuota, crowded: spec.Crowded}
	need := Controllers{Memory: spec.Group.Memory || g.memory > 0, CPU: spec.Group.CPU || g.cpu > 0}
	if need == (Controllers{}) {
		return g, nil
	}
	self, err := cgroup.Self()
	if err != nil {
		return nil, &LimitError{Why: "the cgroup of this process is not known", Err: err}
	}
	return g, g.plan(self, need, name)
}

func (g *group) plan(self *cgroup.Group, need Controllers, name string) error {
	if err := g.fits(self); err != nil {
		return err
	}
	var unified []string // the controllers that cgroup v2 has
	var above []string
	for _, c := range []string{"memory", "cpu"} {
		if c == "memory" && !need.Memory || c == "cpu" && !need.CPU {
			continue
		}
		dirs, version, err := self.Dirs(c)
		if err != nil {
			return &LimitError{Why: "there is no cgroup controller for " + c, Err: err}
		}
		if version == 2 {
			unified, above = append(unified, c), dirs
			continue
		}
		dir := filepath.Join(dirs[0], name)
		i := slices.IndexFunc(g.parts, func(p part) bool { return p.dir == dir })
		if i < 0 { // v1 may have both controllers in one hierarchy
			i = len(g.parts)
			g.parts = append(g.parts, part{version: 1, dir: dir, home: dirs[0]})
		}
		g.parts[i].memory = g.parts[i].memory || c == "memory"
		g.parts[i].cpu = g.parts[i].cpu || c == "cpu"
	}
	if len(unified) > 0 {
		parent, err := delegated(above, unified, os.Getpid())
		if err != nil {
			return err
		}
		g.parts = append(g.parts, part{version: 2, dir: filepath.Join(parent, name), memory: slices.Contains(unified, "memory"), cpu: slices.Contains(unified, "cpu"), crowded: g.crowded})
	}
	return nil
}

// fits refuses limits that are wider than our own, which would not hold what the
// plan says.
func (g *group) fits(self *cgroup.Group) error {
	const hint = "run heapwright outside of that container or service, or lower the limits of the plan"
	if ours, ok, err := self.MemoryLimit(); err == nil && ok && g.memory > ours {
		return &LimitError{Why: fmt.Sprintf("memory_limit is %d bytes, and this process may itself use only %d", g.memory, ours), hint: hint}
	}
	if ours, ok, err := self.CPUQuota(); err == nil && ok && g.cpu > ours {
		return &LimitError{Why: fmt.Sprintf("cpu_quota is %g cores, and this process may itself use only %g", g.cpu, ours), hint: hint}
	}
	return nil
}

// delegated finds a group of cgroup v2 whose children can have the controllers:
// ours, or the one above it. dirs are these, pid is us.
//
// A group other than the root has processes or controllers for its children, not
// both. Where we are alone in ours, as in a scope of systemd's that was delegated
// to us, we move into a child of it.
func delegated(dirs, controllers []string, pid int) (string, error) {
	const own = "heapwright-self"
	if len(dirs) > 1 && filepath.Base(dirs[0]) == own {
		dirs = dirs[1:] // where we have moved before
	}
	var first error
	for i, dir := range dirs[:min(2, len(dirs))] {
		err := enable(dir, controllers)
		if i == 0 && errors.Is(err, syscall.EBUSY) && alone(dir, pid) {
			leaf := filepath.Join(dir, own)
			if mk := os.Mkdir(leaf, 0o755); mk == nil || errors.Is(mk, fs.ErrExist) {
				if set(leaf, "cgroup.procs", strconv.Itoa(pid)) == nil {
					err = enable(dir, controllers)
				}
			}
		}
		if err == nil {
			return dir, nil
		}
		if first == nil {
			first = err
		}
	}
	return "", &LimitError{Why: "cgroup v2 gives the children of our group no controller for " + strings.Join(controllers, " and "), Err: first}
}

// enable turns controllers on for the children of a group.
func enable(dir string, controllers []string) error {
	on, err := read(filepath.Join(dir, "cgroup.subtree_control"))
	if err != nil {
		return err
	}
	var missing []string
	for _, c := range controllers {
		if !slices.Contains(strings.Fields(on), c) {
			missing = append(missing, "+"+c)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return set(dir, "cgroup.subtree_control", strings.Join(missing, " "))
}

// alone reports whether the process is the only one that is directly in a group.
func alone(dir string, pid int) bool {
	text, err := read(filepath.Join(dir, "cgroup.procs"))
	return err == nil && strings.TrimSpace(text) == strconv.Itoa(pid)
}

func (g *group) dirs() []string {
	var out []string
	for _, p := range g.parts {
		out = append(out, p.dir)
	}
	return out
}

func (g *group) main() string {
	if len(g.parts) == 0 {
		return ""
	}
	return g.parts[0].dir
}

// create makes the groups and sets the limits.
func (g *group) create() error {
	for i := range g.parts {
		if err := g.parts[i].create(g.memory, g.cpu); err != nil {
			return &LimitError{Why: "a cgroup cannot be made", Err: err}
		}
	}
	return nil
}

func (p *part) create(memory uint64, cpu float64) error {
	if err := os.Mkdir(p.dir, 0o755); err != nil {
		return err
	}
	for _, s := range p.settings(memory, cpu) {
		if err := set(p.dir, s.file, s.value); err != nil && !(s.optional && errors.Is(err, fs.ErrNotExist)) {
			return err
		}
	}
	return nil
}

// A setting is what is written to a file of a group. An optional one is of
// something that not every kernel has.
type setting struct {
	file, value string
	optional    bool
}

func (p *part) settings(memory uint64, cpu float64) (all []setting) {
	// The period of the CPU quota is what container runtimes set.
	const period = 100_000 // microseconds
	limit := strconv.FormatUint(memory, 10)
	quota := strconv.FormatInt(int64(cpu*period+0.5), 10)
	switch {
	case !p.memory || memory == 0:
	case p.version == 1:
		all = append(all, setting{"memory.limit_in_bytes", limit, false},
			// Memory and swap together: what does not fit must not be swapped out.
			setting{"memory.memsw.limit_in_bytes", limit, true})
	default:
		all = append(all, setting{"memory.max", limit, false}, setting{"memory.swap.max", "0", true})
		if !p.crowded {
			// All or none, as Kubernetes has it.
			all = append(all, setting{"memory.oom.group", "1", true})
		}
	}
	switch {
	case !p.cpu || cpu <= 0:
	case p.version == 1:
		all = append(all, setting{"cpu.cfs_period_us", strconv.Itoa(period), false}, setting{"cpu.cfs_quota_us", quota, false})
	default:
		all = append(all, setting{"cpu.max", quota + " " + strconv.Itoa(period), false})
	}
	return all
}

// enter has what this thread starts begin in the groups: in those of version 1,
// where a child begins in the groups of the thread that forked it, by going there,
// in that of version 2 by the attributes of the start. The thread must be locked.
func (g *group) enter(attr *syscall.SysProcAttr) error {
	for i := range g.parts {
		p := &g.parts[i]
		if p.version == 1 {
			if err := set(p.dir, "tasks", strconv.Itoa(gettid())); err != nil {
				return &LimitError{Why: "a process cannot be put into a cgroup", Err: err}
			}
			p.entered = true
			continue
		}
		f, err := os.Open(p.dir)
		if err != nil {
			return &LimitError{Why: "a process cannot be put into a cgroup", Err: err}
		}
		p.open = f
		into(attr, int(f.Fd()))
	}
	return nil
}

// leave takes the thread back to where it was.
func (g *group) leave() error {
	var all error
	for i := range g.parts {
		p := &g.parts[i]
		if p.open != nil {
			p.open.Close()
			p.open = nil
		}
		if p.entered {
			if err := set(p.home, "tasks", strconv.Itoa(gettid())); err != nil {
				all = errors.Join(all, &LimitError{Why: "a thread does not get out of a cgroup", Err: err})
				continue
			}
			p.entered = false
		}
	}
	return all
}

// remove kills what is in the groups, and removes them.
func (g *group) remove() error {
	g.read()
	var all error
	for _, p := range g.parts {
		all = errors.Join(all, removeGroup(p.dir))
	}
	return all
}

// removeGroup kills every process of a group and removes it. One that is not
// there is no error.
func removeGroup(dir string) error {
	const rounds = 200
	var err error
	for range rounds {
		if _, err := os.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if set(dir, "cgroup.kill", "1") != nil { // v2 from Linux 5.14
			if text, err := read(filepath.Join(dir, "cgroup.procs")); err == nil {
				for line := range strings.Lines(text) {
					// 0 is a process of another PID namespace, and would be ourselves.
					if pid, err := strconv.Atoi(strings.TrimSpace(line)); err == nil && pid > 0 && pid != os.Getpid() {
						_ = syscall.Kill(pid, syscall.SIGKILL)
					}
				}
			}
		}
		if err = syscall.Rmdir(dir); err == nil || errors.Is(err, syscall.ENOENT) {
			return nil
		}
		time.Sleep(5 * time.Millisecond) // the dead leave the group a little later
	}
	return fmt.Errorf("removing the cgroup %s: %w", dir, err)
}

func (g *group) throttled() time.Duration {
	g.read()
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.stood
}

func (g *group) oomKills() uint64 {
	g.read()
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.kills
}

// read takes the counters that can be read; they only grow.
func (g *group) read() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, p := range g.parts {
		if p.memory {
			file := "memory.events"
			if p.version == 1 {
				file = "memory.oom_control"
			}
			if n, ok := counter(filepath.Join(p.dir, file), "oom_kill"); ok {
				g.kills = max(g.kills, n)
			}
		}
		if p.cpu {
			key, unit := "throttled_usec", time.Microsecond
			if p.version == 1 {
				key, unit = "throttled_time", time.Nanosecond
			}
			if n, ok := counter(filepath.Join(p.dir, "cpu.stat"), key); ok && n < 1<<53 {
				g.stood = max(g.stood, time.Duration(n)*unit)
			}
		}
	}
}

// counter finds a number in a file of lines "key number".
func counter(file, key string) (uint64, bool) {
	text, err := read(file)
	if err != nil {
		return 0, false
	}
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) == 2 && f[0] == key {
			n, err := strconv.ParseUint(f[1], 10, 64)
			return n, err == nil
		}
	}
	return 0, false
}

// read reads a file of the kernel's, of which there is a bounded part to see.
func read(file string) (string, error) {
	const most = 1 << 20
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	var b bytes.Buffer
	_, err = io.Copy(&b, io.LimitReader(f, most))
	return b.String(), err
}

// set writes a file of a cgroup, which must be there.
func set(dir, file, value string) error {
	f, err := os.OpenFile(filepath.Join(dir, file), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}
