package harness

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// cgroupPeriod is the kernel's default CFS period, microseconds.
const cgroupPeriod = 100000

// A Cgroup is a cgroup of its own for one program: in the memory, the cpu, the cpuacct
// and the freezer hierarchy of v1, or in that of v2.
type Cgroup struct {
	controllers []string
	dirs        []string // of the controllers
}

// Limits are a cgroup's limits; zero is none.
type Limits struct {
	MemoryBytes uint64
	CPUCores    float64
	CPUAccount  bool // the CPU that it uses is counted
	Freezer     bool // it can be frozen
}

// NewCgroup makes a cgroup that is removed with the test, after the programs in
// it have ended, or skips the test where that cannot be done.
func NewCgroup(t testing.TB, l Limits) *Cgroup {
	t.Helper()
	c, err := MakeCgroup(l)
	if err != nil {
		t.Skip(err)
	}
	t.Cleanup(func() {
		if err := c.Remove(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// MakeCgroup makes a cgroup, which the caller has to remove.
func MakeCgroup(l Limits) (*Cgroup, error) {
	c := &Cgroup{}
	if parent := unified(); parent != "" {
		if err := c.addUnified(parent, l); err != nil {
			return nil, errors.Join(err, c.Remove())
		}
		return c, nil
	}
	var err error
	if l.MemoryBytes > 0 {
		err = c.add("memory", "memory.limit_in_bytes", strconv.FormatUint(l.MemoryBytes, 10))
	}
	if err == nil && l.CPUCores > 0 {
		err = c.add("cpu", "cpu.cfs_quota_us", strconv.Itoa(int(l.CPUCores*cgroupPeriod)))
	}
	if err == nil && l.CPUAccount && !sameHierarchy("cpu", "cpuacct") {
		err = c.add("cpuacct", "", "")
	}
	if err == nil && l.Freezer {
		err = c.add("freezer", "", "")
	}
	if err != nil {
		return nil, errors.Join(err, c.Remove())
	}
	return c, nil
}

func (c *Cgroup) add(controller, file, value string) error {
	parent, err := ownCgroup(controller)
	if err != nil {
		return fmt.Errorf("needs the %s controller of cgroup v1: %w", controller, err)
	}
	dir, err := os.MkdirTemp(parent, "heapwright-e2e-")
	if err != nil {
		return fmt.Errorf("needs to make a %s cgroup: %w", controller, err)
	}
	c.controllers, c.dirs = append(c.controllers, controller), append(c.dirs, dir)
	if file == "" {
		return nil
	}
	if err := os.WriteFile(filepath.Join(dir, file), []byte(value), 0o644); err != nil {
		return fmt.Errorf("needs to set %s: %w", file, err)
	}
	return nil
}

// addUnified makes the one group that there is in v2: each controller is in it.
func (c *Cgroup) addUnified(parent string, l Limits) error {
	dir, err := os.MkdirTemp(parent, "heapwright-e2e-")
	if err != nil {
		return fmt.Errorf("needs to make a cgroup: %w", err)
	}
	c.controllers, c.dirs = []string{"memory", "cpu", "cpuacct", "freezer"}, []string{dir, dir, dir, dir}
	files := map[string]string{}
	if l.MemoryBytes > 0 {
		files["memory.max"] = strconv.FormatUint(l.MemoryBytes, 10)
	}
	if l.CPUCores > 0 {
		files["cpu.max"] = fmt.Sprintf("%d %d", int(l.CPUCores*cgroupPeriod), cgroupPeriod)
	}
	for file, value := range files {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(value), 0o644); err != nil {
			return fmt.Errorf("needs to set %s: %w", file, err)
		}
	}
	return nil
}

// unified is the group of cgroup v2 whose children have controllers for memory and CPU:
// ours, or the one above it, for one with processes of its own gives its children none.
// It is "" where v2 has no such controllers.
func unified() string {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::/")
		if !ok {
			continue
		}
		for _, dir := range []string{path, filepath.Dir("/" + path)} {
			dir = filepath.Join("/sys/fs/cgroup", dir)
			on, err := os.ReadFile(filepath.Join(dir, "cgroup.subtree_control"))
			if has := strings.Fields(string(on)); err == nil && slices.Contains(has, "memory") && slices.Contains(has, "cpu") {
				return dir
			}
		}
	}
	return ""
}

// Remove removes the cgroup after the programs in it have ended.
func (c *Cgroup) Remove() error {
	var errs []error
	for _, dir := range c.distinct() {
		if err := os.Remove(dir); err != nil {
			errs = append(errs, fmt.Errorf("removing a cgroup: %w", err))
		}
	}
	return errors.Join(errs...)
}

// distinct are the directories, each once.
func (c *Cgroup) distinct() []string {
	return slices.Compact(slices.Clone(c.dirs))
}

// Enter changes a command that has not been started, so that it starts in the cgroup.
func (c *Cgroup) Enter(cmd *exec.Cmd) {
	cmd.Args = c.wrap(append([]string{cmd.Path}, cmd.Args[1:]...))
	cmd.Path = cmd.Args[0]
}

// Dir is the cgroup's directory in a controller's hierarchy, "" where it has none.
func (c *Cgroup) Dir(controller string) string {
	for i, name := range c.controllers {
		if name == controller || sameHierarchy(name, controller) {
			return c.dirs[i]
		}
	}
	return ""
}

// sameHierarchy says whether two controllers of v1 are mounted as one.
func sameHierarchy(a, b string) bool {
	da, errA := ownCgroup(a)
	db, errB := ownCgroup(b)
	if errA != nil || errB != nil {
		return false
	}
	ia, errA := os.Stat(da)
	ib, errB := os.Stat(db)
	return errA == nil && errB == nil && os.SameFile(ia, ib)
}

// OOMKills is how many programs the kernel has killed for the cgroup's memory limit.
func (c *Cgroup) OOMKills() (int, error) {
	for _, dir := range c.distinct() {
		text, err := os.ReadFile(filepath.Join(dir, "memory.oom_control"))
		if errors.Is(err, os.ErrNotExist) {
			text, err = os.ReadFile(filepath.Join(dir, "memory.events"))
		}
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return 0, err
		}
		for line := range strings.Lines(string(text)) {
			if n, ok := strings.CutPrefix(line, "oom_kill "); ok {
				return strconv.Atoi(strings.TrimSpace(n))
			}
		}
	}
	return 0, errors.New("the cgroup does not count OOM kills")
}

// wrap returns a command that enters the cgroup and becomes argv, under the same
// PID: the program is inside from its first instruction.
func (c *Cgroup) wrap(argv []string) []string {
	const script = `n=$1; shift; while [ "$n" -gt 0 ]; do echo $$ > "$1/cgroup.procs" || exit 1; shift; n=$((n-1)); done; exec "$@"`
	dirs := c.distinct()
	out := []string{"/bin/sh", "-c", script, "sh", strconv.Itoa(len(dirs))}
	return append(append(out, dirs...), argv...)
}

// ownCgroup is the directory of this process's cgroup in a v1 hierarchy.
func ownCgroup(controller string) (string, error) {
	self, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(self)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) != 3 {
			continue
		}
		for _, name := range strings.Split(f[1], ",") {
			if name != controller {
				continue
			}
			for _, mount := range []string{"/sys/fs/cgroup/" + f[1], "/sys/fs/cgroup/" + controller} {
				// Inside a container the path is the host's, and the mount's root is
				// the container's own cgroup.
				for _, dir := range []string{filepath.Join(mount, f[2]), mount} {
					if _, err := os.Stat(filepath.Join(dir, "cgroup.procs")); err == nil {
						return dir, nil
					}
				}
			}
		}
	}
	return "", fmt.Errorf("it is not mounted below /sys/fs/cgroup")
}
