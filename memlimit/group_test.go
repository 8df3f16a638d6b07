package memlimit

import (
	"os"
	"path/filepath"
	"reflect"
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
			r := groupReader{self: func() (*cgroup.Group, error) {
				h, err := cgroup.NewHost(root)
				if err != nil {
					return nil, err
				}
				return h.Of(100)
			}}
			defer r.close()
			l := r.look()
			again := r.look() // from the files that it keeps
			if !reflect.DeepEqual(l.looks, again.looks) || l.used != again.used || l.limit != again.limit || l.measured != again.measured || (r.reader != nil) != (l.err == nil) {
				t.Errorf("looks %+v first, then %+v", l, again)
			}
			if l.limited != (tt.limit > 0) || l.limited && l.limit != tt.limit || l.high != tt.high || !strings.HasSuffix(l.path, tt.path) || l.measured != tt.measured || l.used != tt.used || len(l.looks) != tt.looks {
				t.Errorf("%+v", l)
			}
			if (l.err == nil) != (tt.measured || tt.name == "no limit") {
				t.Errorf("error %v", l.err)
			}
		})
	}
}

// A look sees at once what the files that it keeps say: another limit, another usage;
// and looks anew when they are gone.
func TestLookKeepsFiles(t *testing.T) {
	root := t.TempDir()
	put := func(name, text string) {
		t.Helper()
		name = filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	group := func(dir, limit, anon string) {
		put("/sys/fs/cgroup/"+dir+"/memory.max", limit+"\n")
		put("/sys/fs/cgroup/"+dir+"/memory.current", "1\n")
		put("/sys/fs/cgroup/"+dir+"/memory.stat", "inactive_anon "+anon+"\nactive_anon 0\nunevictable 0\nkernel 0\n")
		put("/proc/100/cgroup", "0::/"+dir+"\n")
	}
	put("/proc/1/mountinfo", "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n")
	opened := 0
	r := groupReader{self: func() (*cgroup.Group, error) {
		opened++
		h, err := cgroup.NewHost(root)
		if err != nil {
			return nil, err
		}
		return h.Of(100)
	}}
	defer r.close()
	for i, tt := range []struct {
		dir, limit, anon string
		want, used       uint64
		opened           int
	}{
		{"a", "100000000", "5", 100000000, 5, 1},
		{"a", "100000000", "7", 100000000, 7, 1},
		{"a", "200000000", "7", 200000000, 7, 2},
		{"a", "max", "7", 0, 0, 3},
		{"a", "max", "7", 0, 0, 3},
		{"a", "300000000", "8", 300000000, 8, 4},
		{"a", "garbage", "8", 0, 0, 5},
		{"b", "400000000", "9", 400000000, 9, 6},
	} {
		group(tt.dir, tt.limit, tt.anon)
		if l := r.look(); l.limit != tt.want || l.used != tt.used || opened != tt.opened {
			t.Errorf("%d: limit %d, used %d, looked anew %d times; want %d, %d, %d", i, l.limit, l.used, opened, tt.want, tt.used, tt.opened)
		}
	}
	// The process was moved: seen when the time is up.
	group("c", "500000000", "1")
	if l := r.look(); l.limit != 400000000 {
		t.Errorf("limit %d", l.limit)
	}
	r.at = r.at.Add(-lookAnew)
	if l := r.look(); l.limit != 500000000 {
		t.Errorf("after a while: limit %d", l.limit)
	}
}
