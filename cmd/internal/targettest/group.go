package targettest

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cgroup"
)

// Groups are cgroups for a program: one in the hierarchy of each controller of v1, or
// the one that there is in v2. Files have their names of v1, whatever the version.
type Groups struct {
	Version int
	dirs    map[string]string // by controller
}

// unifiedNames are files of v1, as far as tests look at them, and what has their place
// in v2.
var unifiedNames = map[string]string{
	"memory.limit_in_bytes": "memory.max",
	"memory.usage_in_bytes": "memory.current",
	"cpu.cfs_quota_us":      "cpu.max",
	"freezer.state":         "cgroup.freeze",
}

// MakeGroups makes groups below ours, or with v2 beside it where ours has no controllers
// for its children, or skips the test. The test ends with them empty, and they are
// removed.
func MakeGroups(t testing.TB, controllers ...string) *Groups {
	t.Helper()
	g := &Groups{Version: 1, dirs: map[string]string{}}
	if parent := unified(controllers); parent != "" {
		g.Version = 2
		dir := makeGroup(t, parent)
		for _, c := range controllers {
			g.dirs[c] = dir
		}
		return g
	}
	for _, c := range controllers {
		g.dirs[c] = makeGroup(t, ownGroup(t, c))
	}
	return g
}

func makeGroup(t testing.TB, parent string) string {
	t.Helper()
	dir, err := os.MkdirTemp(parent, "heapwright-test-")
	if err != nil {
		t.Skipf("needs to make a cgroup: %v", err)
	}
	t.Cleanup(func() {
		err := os.Remove(dir)
		for range 200 {
			if err == nil || errors.Is(err, fs.ErrNotExist) {
				return
			}
			time.Sleep(10 * time.Millisecond) // the dead leave it a little later
			err = os.Remove(dir)
		}
		t.Errorf("something is left: %v", err)
	})
	return dir
}

// Dirs are their directories, each once.
func (g *Groups) Dirs() []string {
	var dirs []string
	for _, dir := range g.dirs {
		dirs = append(dirs, dir)
	}
	slices.Sort(dirs)
	return slices.Compact(dirs)
}

// Dir is that of a controller.
func (g *Groups) Dir(controller string) string { return g.dirs[controller] }

// Path is where a file is, by its name in v1, which begins with its controller's.
func (g *Groups) Path(file string) string {
	controller, _, _ := strings.Cut(file, ".")
	if name := unifiedNames[file]; g.Version == 2 && name != "" {
		file = name
	}
	return filepath.Join(g.dirs[controller], file)
}

// unified is the group of v2 whose children have these controllers, "" for none.
func unified(controllers []string) string {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return ""
	}
	for l := range strings.Lines(string(text)) {
		own, ok := strings.CutPrefix(strings.TrimSpace(l), "0::")
		if !ok {
			continue
		}
		for _, dir := range []string{own, filepath.Dir(own)} {
			dir = filepath.Join("/sys/fs/cgroup", dir)
			on, err := os.ReadFile(filepath.Join(dir, "cgroup.subtree_control"))
			// What freezes is no controller in v2: every group can. Which of the hierarchies are
			// v2's is told by memory.
			has := strings.Fields(string(on))
			missing := func(c string) bool { return c != "freezer" && !slices.Contains(has, c) }
			if err == nil && slices.Contains(has, "memory") && !slices.ContainsFunc(controllers, missing) {
				return dir
			}
		}
	}
	return ""
}
func ownGroup(t testing.TB, controller string) string {
	t.Helper()
	if controller == "memory" || controller == "cpu" {
		self, err := cgroup.Self()
		if err != nil {
			t.Skipf("needs cgroups: %v", err)
		}
		dirs, version, err := self.Dirs(controller)
		if err != nil || version != 1 {
			t.Skipf("needs the %s controller of cgroup v1: %v", controller, err)
		}
		return dirs[0]
	}
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		t.Skipf("needs cgroups: %v", err)
	}
	for l := range strings.Lines(string(text)) {
		f := strings.SplitN(strings.TrimSpace(l), ":", 3)
		if len(f) == 3 && slices.Contains(strings.Split(f[1], ","), controller) {
			return filepath.Join("/sys/fs/cgroup", controller, f[2])
		}
	}
	t.Skipf("needs the %s of cgroup v1", controller)
	return ""
}
