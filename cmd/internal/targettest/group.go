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

// Group makes a group below ours in the hierarchy of a controller of cgroup v1, or skips
// the test. The test ends with it empty, and it is removed.
func Group(t testing.TB, controller string) string {
	t.Helper()
	dir, err := os.MkdirTemp(ownGroup(t, controller), "heapwright-test-")
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
