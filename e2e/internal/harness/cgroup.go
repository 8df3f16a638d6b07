package harness

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// cgroupPeriod is the kernel's default CFS period, microseconds.
const cgroupPeriod = 100000

// A Cgroup is a cgroup of its own for one program, in the memory and the cpu
// hierarchy of v1.
type Cgroup struct {
	dirs []string
}

// Limits are a cgroup's limits; zero is none.
type Limits struct {
	MemoryBytes uint64
	CPUCores    float64
}

// NewCgroup makes a cgroup that is removed with the test, after the programs in
// it have ended, or skips the test where that cannot be done.
func NewCgroup(t testing.TB, l Limits) *Cgroup {
	t.Helper()
	c := &Cgroup{}
	if l.MemoryBytes > 0 {
		c.add(t, "memory", "memory.limit_in_bytes", strconv.FormatUint(l.MemoryBytes, 10))
	}
	if l.CPUCores > 0 {
		c.add(t, "cpu", "cpu.cfs_quota_us", strconv.Itoa(int(l.CPUCores*cgroupPeriod)))
	}
	return c
}

func (c *Cgroup) add(t testing.TB, controller, file, value string) {
	t.Helper()
	parent, err := ownCgroup(controller)
	if err != nil {
		t.Skipf("needs the %s controller of cgroup v1: %v", controller, err)
	}
	dir, err := os.MkdirTemp(parent, "heapwright-e2e-")
	if err != nil {
		t.Skipf("needs to make a %s cgroup: %v", controller, err)
	}
	t.Cleanup(func() {
		if err := os.Remove(dir); err != nil {
			t.Errorf("removing the %s cgroup: %v", controller, err)
		}
	})
	if err := os.WriteFile(filepath.Join(dir, file), []byte(value), 0o644); err != nil {
		t.Skipf("needs to set %s: %v", file, err)
	}
	c.dirs = append(c.dirs, dir)
}

// wrap returns a command that enters the cgroup and becomes argv, under the same
// PID: the program is inside from its first instruction.
func (c *Cgroup) wrap(argv []string) []string {
	const script = `n=$1; shift; while [ "$n" -gt 0 ]; do echo $$ > "$1/cgroup.procs" || exit 1; shift; n=$((n-1)); done; exec "$@"`
	out := []string{"/bin/sh", "-c", script, "sh", strconv.Itoa(len(c.dirs))}
	return append(append(out, c.dirs...), argv...)
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
