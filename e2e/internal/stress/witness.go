package stress

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// A Process is one that was seen: a number may be another's later.
type Process struct {
	PID    int
	Parent int
	Start  uint64 // ticks since the boot
	State  string
}

// Look looks at a process. A zombie has ended.
func Look(pid int) (Process, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return Process{}, err
	}
	// The name, in parentheses, may hold anything.
	f := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	if len(f) < 20 {
		return Process{}, fmt.Errorf("process %d: /proc has %q of it", pid, text)
	}
	if f[0] == "Z" || f[0] == "X" {
		return Process{}, os.ErrNotExist
	}
	p := Process{PID: pid, State: f[0]}
	p.Parent, err = strconv.Atoi(f[1])
	if err != nil {
		return Process{}, err
	}
	p.Start, err = strconv.ParseUint(f[19], 10, 64)
	return p, err
}

// Runs reports whether it is still there.
func (p Process) Runs() bool {
	now, err := Look(p.PID)
	return err == nil && now.Start == p.Start
}

// Command is its command line.
func (p Process) Command() []string {
	text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", p.PID))
	return strings.Split(strings.TrimRight(string(text), "\x00"), "\x00")
}

// Below are the processes that descend from any of the given ones, and still run.
func Below(from ...int) (out []Process) {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	children := map[int][]Process{}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if p, err := Look(pid); err == nil {
			children[p.Parent] = append(children[p.Parent], p)
		}
	}
	for len(from) > 0 {
		next := children[from[0]]
		from = from[1:]
		for _, p := range next {
			out = append(out, p)
			from = append(from, p.PID)
		}
	}
	return out
}

// A Group is where a process is in the hierarchies of cgroup v1, or in that of v2, where
// all controllers have the same: controller to directory.
type Group map[string]string

// GroupOf looks up the group of a process.
func GroupOf(pid int) (Group, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	if err != nil {
		return nil, err
	}
	g := Group{}
	for line := range strings.Lines(string(text)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) != 3 {
			continue
		}
		if dir := filepath.Join("/sys/fs/cgroup", f[2]); f[1] == "" && unified(dir) {
			for _, c := range []string{"memory", "cpu", "freezer"} {
				g[c] = dir
			}
		}
		for _, c := range strings.Split(f[1], ",") {
			for _, mount := range []string{"/sys/fs/cgroup/" + f[1], "/sys/fs/cgroup/" + c} {
				dir := filepath.Join(mount, f[2])
				if _, err := os.Stat(filepath.Join(dir, "cgroup.procs")); c != "" && err == nil {
					g[c] = dir
				}
			}
		}
	}
	if g["memory"] == "" {
		return nil, errors.New("needs the memory controller of cgroup v1 or v2 below /sys/fs/cgroup")
	}
	return g, nil
}

// unified reports whether a directory is a group of v2 that has memory accounted for.
func unified(dir string) bool {
	on, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	return err == nil && slices.Contains(strings.Fields(string(on)), "memory")
}

// Number reads a file of a group that has one number. One that is not there is -1.
func (g Group) Number(controller, file string) int64 {
	text, err := os.ReadFile(filepath.Join(g[controller], file))
	if err != nil {
		return -1
	}
	n, err := strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return -1
	}
	return n
}

// Members are the processes in the group of a controller.
func (g Group) Members(controller string) (pids []int) {
	text, _ := os.ReadFile(filepath.Join(g[controller], "cgroup.procs"))
	for _, f := range strings.Fields(string(text)) {
		if pid, err := strconv.Atoi(f); err == nil {
			pids = append(pids, pid)
		}
	}
	slices.Sort(pids)
	return pids
}

// settings are what faults may change of a group, and how it was.
var settings = [][2]string{
	{"memory", "memory.limit_in_bytes"}, {"memory", "memory.soft_limit_in_bytes"},
	{"cpu", "cpu.cfs_quota_us"}, {"cpu", "cpu.cfs_period_us"}, {"freezer", "freezer.state"},
	// v2
	{"memory", "memory.max"}, {"memory", "memory.high"}, {"memory", "memory.swap.max"}, {"memory", "memory.oom.group"},
	{"cpu", "cpu.max"}, {"freezer", "cgroup.freeze"},
}

// State is all that a fault may change of a process and its groups, but for its memory:
// file to content. Who else is in a group is of interest where that is not our own.
func (g Group) State(pid int) map[string]string {
	out := map[string]string{}
	for _, s := range settings {
		if text, err := os.ReadFile(filepath.Join(g[s[0]], s[1])); err == nil {
			out[s[1]] = strings.TrimSpace(string(text))
		}
	}
	ours, _ := GroupOf(os.Getpid())
	for _, c := range []string{"memory", "cpu", "freezer"} {
		if g[c] == ours[c] {
			continue
		}
		out["members of "+c] = fmt.Sprint(g.Members(c))
	}
	out["process"] = "ended"
	if p, err := Look(pid); err == nil {
		out["process"] = "runs"
		if p.State == "T" || p.State == "t" {
			out["process"] = "stopped"
		}
	}
	return out
}

// Changed is how two states differ, in words.
func Changed(before, now map[string]string) (out []string) {
	for k, was := range before {
		if is := now[k]; is != was {
			out = append(out, fmt.Sprintf("%s: %s (was %s)", k, is, was))
		}
	}
	slices.Sort(out)
	return out
}

// Journals are what is in a directory of the state of heapwright that says that
// something has to be undone.
func Journals(state string) (out []string) {
	files, _ := os.ReadDir(filepath.Join(state, "stress"))
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".lock") {
			out = append(out, f.Name())
		}
	}
	return out
}
