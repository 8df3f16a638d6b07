package fault

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"

	"github.com/heapwright/heapwright/cgroup"
)

// startHint says how a target comes to a cgroup of its own.
const startHint = "start it in one of its own: target: start: with memory_limit or cpu_quota, or run it by systemd-run --scope, or in a container"

// psHint says how a process is found that can be a target.
const psHint = "heapwright ps lists the Go processes here"

// Locate finds the process and its cgroups. What must not be touched is refused: PID 1,
// this process and those above it, threads of the kernel, what ended, and processes of
// other users for who is not root.
func Locate(ctx context.Context, pid int, debug string) (*Target, error) {
	return locate(ctx, "", pid, "", debug)
}

// LocateIn is [Locate] for a container that is meant as a whole: what else is in its
// cgroup, such as a check of its health, is no neighbour. It is named by its ID, or by the
// name of its cgroup.
func LocateIn(ctx context.Context, pid int, container, debug string) (*Target, error) {
	return locate(ctx, "", pid, container, debug)
}

func locate(ctx context.Context, root string, pid int, container, debug string) (*Target, error) {
	if runtime.GOOS != "linux" {
		return nil, &RefusedError{Why: "faults need Linux", hint: "run heapwright on the Linux host of the process"}
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	t := &Target{PID: pid, Container: container, Debug: debug, Root: root}
	if err := t.identify(); err != nil {
		return nil, err
	}
	t.findGroups()
	// All of it is of this process only if it still is.
	return t, t.Alive()
}

// identify refuses what must not be touched, and notes which process it is.
func (t *Target) identify() error {
	switch {
	case t.PID <= 0:
		return &RefusedError{Why: fmt.Sprintf("%d is no PID", t.PID)}
	case t.PID == 1:
		return &RefusedError{Why: "PID 1 is what all else here stands on", hint: "in a container, run heapwright outside of it, on the host, where the process has another PID"}
	}
	for up, n := os.Getpid(), 0; up > 1 && n < maxUp; n++ {
		if up == t.PID {
			if up == os.Getpid() {
				return &RefusedError{Why: fmt.Sprintf("%d is this process", up), hint: psHint}
			}
			return &RefusedError{Why: fmt.Sprintf("%d is a process that started this one: what happens to it happens to us", up), hint: "start heapwright from elsewhere"}
		}
		s, err := readStat("", up)
		if err != nil {
			break
		}
		up = s.parent
	}
	s, err := readStat(t.Root, t.PID)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return &RefusedError{Why: fmt.Sprintf("there is no process %d", t.PID), hint: psHint}
	case err != nil:
		return &RefusedError{Why: fmt.Sprintf("process %d cannot be looked at", t.PID), Err: err}
	case s.kernel:
		return &RefusedError{Why: fmt.Sprintf("%d is a thread of the kernel", t.PID), hint: psHint}
	case s.dead():
		return &RefusedError{Why: fmt.Sprintf("process %d has ended", t.PID), hint: psHint}
	}
	if status, err := readText(procPath(t.Root, t.PID, "status")); err == nil {
		if group, ok := field(status, "Tgid"); ok && group != strconv.Itoa(t.PID) {
			return &RefusedError{Why: fmt.Sprintf("%d is a thread of process %s", t.PID, group), hint: "give the PID of the process"}
		}
	}
	if us := os.Geteuid(); us != 0 {
		if owner, ok := ownerOf(procPath(t.Root, t.PID, "")); ok && owner != us {
			return &RefusedError{Why: fmt.Sprintf("process %d belongs to the user %d", t.PID, owner), hint: "run heapwright as that user or as root"}
		}
	}
	t.Start, t.Name = s.start, s.name
	return nil
}

// field finds a line "Key: value" of /proc/PID/status.
func field(text, key string) (string, bool) {
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, key+":"); ok {
			return strings.TrimSpace(rest), true
		}
	}
	return "", false
}

// Alive is nil while the process is there, and is the one that was found.
func (t *Target) Alive() error {
	if !running(t.Root, t.PID, t.Start) {
		return &RefusedError{Why: fmt.Sprintf("process %d has ended", t.PID)}
	}
	return nil
}

func (t *Target) findGroups() {
	host, err := cgroup.NewHost(t.Root)
	var g *cgroup.Group
	if err == nil {
		g, err = host.Of(t.PID)
	}
	t.Memory = t.controller(g, err, "memory", "memory.current", "memory.usage_in_bytes")
	t.CPU = t.controller(g, err, "cpu", "cpu.max", "cpu.cfs_quota_us")
	t.Freezer = t.freezer()
}

// controller finds the group in the hierarchy of a controller; has2 and has1 are files
// that are in it where the controller is on.
func (t *Target) controller(g *cgroup.Group, err error, name, has2, has1 string) Dir {
	if err != nil {
		return Dir{Why: err.Error()}
	}
	dirs, version, err := g.Dirs(name)
	if err != nil {
		return Dir{Why: "there is no cgroup controller for " + name + ": " + err.Error()}
	}
	has := has2
	if version == 1 {
		has = has1
	}
	// With v2 a group may have the controller off: that above stands in for it.
	for i, dir := range dirs {
		if _, err := os.Lstat(filepath.Join(dir, has)); err == nil {
			return t.judge(Dir{Path: dir, Version: version, Above: slices.Clone(dirs[i+1:])}, has)
		}
	}
	return Dir{Version: version, Why: "its cgroup has no controller for " + name}
}

// freezer finds the group that can be frozen: of the freezer of v1, or of v2, where
// every group but the root can.
func (t *Target) freezer() Dir {
	members, err := readText(procPath(t.Root, t.PID, "cgroup"))
	if err != nil {
		return Dir{Why: err.Error()}
	}
	mounts := filepath.Join(t.Root, "/proc/self/mountinfo")
	if t.Root != "" {
		mounts = filepath.Join(t.Root, "/proc/1/mountinfo")
	}
	table, err := readText(mounts)
	if err != nil {
		return Dir{Why: err.Error()}
	}
	best := Dir{Why: "its cgroup cannot be frozen"}
	for _, version := range []int{1, 2} {
		for _, dir := range groupDirs(table, members, version) {
			dir = filepath.Join(t.Root, dir)
			file := "cgroup.freeze"
			if version == 1 {
				file = "freezer.state"
			}
			if _, err := os.Lstat(filepath.Join(dir, file)); err != nil {
				continue // the root has none
			}
			d := t.judge(Dir{Path: dir, Version: version}, file)
			if d.Own && d.Writable {
				return d
			}
			best = d
		}
	}
	return best
}

// groupDirs are the directories that may be the process's group in the hierarchy of the
// freezer, or of cgroup v2, from the table of mounts and /proc/PID/cgroup.
func groupDirs(mountinfo, members string, version int) []string {
	var group string
	found := false
	for line := range strings.Lines(members) {
		f := strings.SplitN(strings.TrimRight(line, "\n"), ":", 3)
		if len(f) != 3 {
			continue
		}
		if version == 2 && f[0] == "0" && f[1] == "" || version == 1 && slices.Contains(strings.Split(f[1], ","), "freezer") {
			group, found = f[2], true
		}
	}
	if !found || !filepath.IsLocal(strings.TrimPrefix(group, "/")) && group != "/" {
		return nil
	}
	var out []string
	for line := range strings.Lines(mountinfo) {
		before, after, ok := strings.Cut(line, " - ")
		f, kind := strings.Fields(before), strings.Fields(after)
		if !ok || len(f) < 5 || len(kind) < 3 {
			continue
		}
		switch {
		case version == 1 && kind[0] == "cgroup" && slices.Contains(strings.Split(kind[2], ","), "freezer"):
		case version == 2 && kind[0] == "cgroup2":
		default:
			continue
		}
		rel := group
		if root := f[3]; root != "/" {
			if rel, ok = strings.CutPrefix(group, root); !ok || rel != "" && rel[0] != '/' {
				continue
			}
		}
		out = append(out, filepath.Join(f[4], rel))
	}
	return out
}

// judge says whether the group may be changed: for its processes, and for us.
func (t *Target) judge(d Dir, file string) Dir {
	if err := writable(filepath.Join(d.Path, file)); err != nil {
		// usage_in_bytes and current are not for writing, the procs file always is.
		if err := writable(filepath.Join(d.Path, "cgroup.procs")); err != nil {
			d.Why = fmt.Sprintf("%s may not be written: %v", d.Path, err)
		} else {
			d.Writable = true
		}
	} else {
		d.Writable = true
	}
	var why string
	if d.Starters, d.Others, why = t.shared(d); why != "" {
		d.Why = why
		return d
	}
	d.Own = true
	return d
}

// isContainers reports whether a group is that of the container that is meant, or below it.
func (t *Target) isContainers(d Dir) bool {
	return t.Container != "" && (cgroup.ParseContainer(d.Path).ID == t.Container || strings.HasSuffix(d.Path, "/"+t.Container))
}

// shared says why a group is not the target's own, "" when it is. What started the
// target may be in it, as the init of a container or a shell: then the group is there
// for the two of them. All else that is in it is a neighbour, unless it is the group of a
// container and that is meant.
func (t *Target) shared(d Dir) (starters, others []string, why string) {
	if d.Version == 1 {
		if _, err := os.Lstat(filepath.Join(d.Path, "release_agent")); err == nil {
			return nil, nil, "it is in the root of the cgroups, with all else"
		}
	} else if _, err := os.Lstat(filepath.Join(d.Path, "cgroup.events")); err != nil {
		return nil, nil, "it is in the root of the cgroups, with all else"
	}
	pids, err := members(d.Path)
	if err != nil {
		return nil, nil, "what is in " + d.Path + " cannot be listed: " + err.Error()
	}
	if !slices.Contains(pids, t.PID) {
		return nil, nil, "it is not in " + d.Path + ", which says that it is"
	}
	known := map[int]bool{t.PID: true}
	above, ours, whole := parents(t.Root, t.PID), parents("", os.Getpid()), t.isContainers(d)
	for _, pid := range pids {
		if t.below(pid, known) {
			continue
		}
		s, err := readStat(t.Root, pid)
		if err != nil && pid != 0 || s.dead() {
			continue // it has ended meanwhile
		}
		switch {
		case pid != 0 && s.parent == os.Getpid():
			continue // an eater of ours
		case pid == 0:
			return nil, nil, "in " + d.Path + " there is a process that cannot be seen from here"
		case slices.Contains(ours, pid):
			return nil, nil, fmt.Sprintf("in %s there is process %d (%s) too, which started heapwright", d.Path, pid, clean(s.name))
		case !slices.Contains(above, pid) && whole && pid != os.Getpid():
			others = append(others, fmt.Sprintf("process %d (%s)", pid, clean(s.name)))
			continue
		case !slices.Contains(above, pid):
			return nil, nil, fmt.Sprintf("in %s there is process %d (%s) too, which it did not start", d.Path, pid, clean(s.name))
		}
		starters = append(starters, fmt.Sprintf("process %d (%s)", pid, clean(s.name)))
	}
	return starters, others, ""
}

// parents are the processes that a process was started by, the nearest first, without
// PID 1.
func parents(root string, pid int) []int {
	var out []int
	for len(out) < maxUp {
		s, err := readStat(root, pid)
		if err != nil || s.parent <= 1 || slices.Contains(out, s.parent) {
			break
		}
		pid = s.parent
		out = append(out, pid)
	}
	return out
}

// below reports whether a process is the target or was started below it.
func (t *Target) below(pid int, known map[int]bool) bool {
	var path []int
	for up, n := pid, 0; up > 1 && n < maxUp; n++ {
		if known[up] {
			for _, p := range path {
				known[p] = true
			}
			return true
		}
		path = append(path, up)
		s, err := readStat(t.Root, up)
		if err != nil {
			return false
		}
		up = s.parent
	}
	return false
}

// members are the processes of a group and of those below it. A 0 is a process that has
// no number here.
func members(dir string) ([]int, error) {
	const most = 1 << 16
	var out []int
	dirs := []string{dir}
	for len(dirs) > 0 {
		dir := dirs[0]
		dirs = dirs[1:]
		text, err := readText(filepath.Join(dir, "cgroup.procs"))
		if err != nil {
			if errors.Is(err, fs.ErrNotExist) && len(out) > 0 {
				continue // it was removed meanwhile
			}
			return nil, err
		}
		for line := range strings.Lines(text) {
			pid, err := strconv.Atoi(strings.TrimSpace(line))
			if err != nil || pid < 0 {
				return nil, &fs.PathError{Op: "read", Path: dir, Err: errors.New("it does not list processes")}
			}
			out = append(out, pid)
		}
		below, err := os.ReadDir(dir)
		if err != nil {
			continue
		}
		for _, e := range below {
			if e.IsDir() {
				dirs = append(dirs, filepath.Join(dir, e.Name()))
			}
		}
		if len(out) > most || len(dirs) > most {
			return nil, &fs.PathError{Op: "read", Path: dir, Err: errors.New("there is too much in it")}
		}
	}
	return out, nil
}

// clean leaves of a name what can be shown.
func clean(name string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r > '~' {
			return '?'
		}
		return r
	}, name)
}

// may is nil when a file of the group may be written.
func (d Dir) may(name string) error {
	path := filepath.Join(d.Path, name)
	if err := writable(path); err != nil {
		return &RefusedError{Why: path + " may not be written", Err: err, hint: "run heapwright as root, on the host"}
	}
	return nil
}

// own is nil when the group may be changed for the target's sake.
func (d Dir) own(what string) error {
	switch {
	case d.Path == "":
		return &RefusedError{Why: "it has no " + what + " cgroup: " + d.Why, hint: startHint}
	case !d.Own:
		hint := startHint
		if c := cgroup.ParseContainer(d.Path); c.ID != "" {
			hint = "target: container: " + c.ID[:min(len(c.ID), 12)] + ", if all that is in the container may be met"
		}
		return &RefusedError{Why: "its " + what + " cgroup is not its own, and its neighbours would suffer: " + d.Why, hint: hint}
	case !d.Writable:
		return &RefusedError{Why: "its " + what + " cgroup cannot be changed: " + d.Why, hint: "run heapwright as root, on the host"}
	}
	return nil
}
