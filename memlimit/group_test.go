package memlimit

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/heapwright/heapwright/cgroup"
)

// The limit that counts is the smallest along the path, and it is said which of the
// groups has it.
func TestLook(t *testing.T) {
	const v1 = "35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
	const v2 = "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
	const stat = "inactive_anon 30000000\nactive_anon 10000000\nunevictable 0\nkernel 5000000\nslab_reclaimable 1000000\n"
	slice := "0::/system.slice/my.slice/app.service\n"
	in := func(path string) string { return "/sys/fs/cgroup" + path }
	for _, tt := range []struct {
		name          string
		mounts, group string
		files         map[string]string
		limit         uint64
		high          bool
		path          string // ends so
		used          uint64
		measured      bool
		looks         int
	}{
		{"systemd slice above a service", v2, slice, map[string]string{
			"/system.slice/my.slice/app.service/memory.max": "max", "/system.slice/my.slice/memory.max": "500000000", "/system.slice/memory.max": "900000000",
			"/system.slice/my.slice/memory.stat": stat, "/system.slice/my.slice/memory.current": "50000000",
		}, 500000000, false, "/system.slice/my.slice", 44000000, true, 4},
		{"memory.high is lower", v2, slice, map[string]string{
			"/system.slice/my.slice/app.service/memory.max": "500000000", "/system.slice/my.slice/app.service/memory.high": "400000000",
			"/system.slice/my.slice/app.service/memory.stat": stat, "/system.slice/my.slice/app.service/memory.current": "50000000",
		}, 400000000, true, "/app.service", 44000000, true, 5},
		{"memory.high is higher", v2, slice, map[string]string{
			"/system.slice/my.slice/app.service/memory.max": "500000000", "/system.slice/my.slice/memory.high": "600000000",
			"/system.slice/my.slice/app.service/memory.stat": stat, "/system.slice/my.slice/app.service/memory.current": "50000000",
		}, 500000000, false, "/app.service", 44000000, true, 5},
		{"no memory.stat", v2, slice, map[string]string{"/system.slice/my.slice/app.service/memory.max": "500000000"},
			500000000, false, "/app.service", 0, false, 4},
		{"no limit", v2, slice, map[string]string{"/system.slice/my.slice/app.service/memory.max": "max"}, 0, false, "", 0, false, 4},
		{"v1", v1, "4:memory:/docker/a\n", map[string]string{
			"/memory/docker/a/memory.limit_in_bytes": "268435456", "/memory/docker/memory.limit_in_bytes": "9223372036854771712",
			"/memory/docker/a/memory.usage_in_bytes": "50000000",
			"/memory/docker/a/memory.stat":           "total_inactive_anon 20000000\ntotal_active_anon 10000000\ntotal_unevictable 0\nhierarchical_memory_limit 268435456\n",
		}, 268435456, false, "/memory/docker/a", 30000000, true, 3},
		{"v1, limit of a group that is not visible", strings.Replace(v1, " / ", " /docker/a ", 1), "4:memory:/docker/a\n", map[string]string{
			"/memory/memory.limit_in_bytes": "9223372036854771712", "/memory/memory.usage_in_bytes": "50000000",
			"/memory/memory.stat": "total_inactive_anon 20000000\ntotal_active_anon 10000000\ntotal_unevictable 0\nhierarchical_memory_limit 134217728\n",
		}, 134217728, false, "not visible here)", 30000000, true, 2},
		{"malformed", v2, slice, map[string]string{"/system.slice/my.slice/app.service/memory.max": "many"}, 0, false, "", 0, false, 1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root := t.TempDir()
			put := func(name, text string) {
				name = filepath.Join(root, name)
				if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
					t.Fatal(err)
				}
				if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			put("/proc/1/mountinfo", tt.mounts)
			put("/proc/100/cgroup", tt.group)
			for name, text := range tt.files {
				put(in(name), text+"\n")
			}
			l := look(func() (*cgroup.Group, error) {
				h, err := cgroup.NewHost(root)
				if err != nil {
					return nil, err
				}
				return h.Of(100)
			})
			if l.limited != (tt.limit > 0) || l.limited && l.limit != tt.limit || l.high != tt.high || !strings.HasSuffix(l.path, tt.path) || l.measured != tt.measured || l.used != tt.used || len(l.looks) != tt.looks {
				t.Errorf("%+v", l)
			}
			if (l.err == nil) != (tt.measured || tt.name == "no limit") {
				t.Errorf("error %v", l.err)
			}
		})
	}
}
