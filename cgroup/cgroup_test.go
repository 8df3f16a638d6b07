package cgroup

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

const testID = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

// unpack makes the tree that a file of testdata describes: text first, then
// files, each after a line "-- name --". Names of cgroups hold characters that a
// Go module may not have in its file names, hence no plain directories.
func unpack(t testing.TB, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("testdata", name+".txt"))
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	files := strings.Split("\n"+string(text), "\n-- ")
	for _, file := range files[1:] {
		name, content, ok := strings.Cut(file, " --\n")
		if !ok {
			t.Fatalf("file header %.40q is not closed", file)
		}
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(strings.TrimSuffix(content, "\n")+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

func groupOf(t testing.TB, name string, pid int) (*Group, string) {
	t.Helper()
	root := unpack(t, name)
	h, err := NewHost(root)
	if err != nil {
		t.Fatal(err)
	}
	g, err := h.Of(pid)
	if err != nil {
		t.Fatal(err)
	}
	return g, root
}

func TestFixtures(t *testing.T) {
	const podUID = "11111111-2222-3333-4444-555555555555"
	const memory = StatMemoryUsage | StatMemoryLimit
	for _, tt := range []struct {
		name       string
		pid        int
		version    int
		container  Container
		levels     int
		workingSet uint64 // 0: unavailable
		want       Stats
	}{
		{
			name: "v1_docker_host", pid: 100, version: 1, container: Container{testID, "docker", ""}, levels: 3, workingSet: 74857600,
			want: Stats{
				has:         memory | StatOOMKills | StatMemoryParts | StatCPUQuota | StatThrottling | StatMemoryPressure,
				MemoryParts: MemoryParts{NonReclaimable: 122000000, Anon: 120000000, Shmem: 1000000, Unevictable: 12000000, Kernel: 15000000, File: 59000000},
				MemoryLimit: 268435456, MemoryUsage: 200000000, OOMKills: 3, CPUQuota: 1.5,
				Throttling: Throttling{1000, 250, 12 * time.Second},
				MemoryPressure: Pressure{Host: true, Some: Stall{0.015, 0.0025, 0, 2500 * time.Millisecond},
					Full: Stall{Total: time.Second}},
			},
		},
		{
			name: "v1_k8s_inside", pid: 100, version: 1, container: Container{testID, "", podUID}, levels: 1,
			want: Stats{
				has:         memory | StatThrottling,
				MemoryLimit: 134217728, MemoryUsage: 50000000,
			},
		},
		{
			name: "v1_flat", pid: 100, version: 1, levels: 1,
			want: Stats{has: memory, MemoryLimit: 2000000, MemoryUsage: 1500000},
		},
		{
			name: "v2_k8s_host", pid: 100, version: 2, container: Container{testID, "containerd", podUID}, levels: 5, workingSet: 320000000,
			want: Stats{
				has:         memory | StatMemoryHigh | StatOOMKills | StatOOMs | StatMemoryParts | StatCPUQuota | StatThrottling | StatMemoryPressure | StatCPUPressure,
				OOMs:        2,
				MemoryParts: MemoryParts{NonReclaimable: 312500000, Anon: 300000000, Shmem: 4000000, Unevictable: 6000000, Kernel: 9500000, KernelReclaimable: 3000000, File: 86000000},
				MemoryLimit: 536870912, MemoryHigh: 550000000, MemoryUsage: 400000000, OOMKills: 1, CPUQuota: 0.5,
				Throttling: Throttling{4000, 120, 6 * time.Second},
				MemoryPressure: Pressure{Some: Stall{0.1234, 0.05, 0.01, 7 * time.Second},
					Full: Stall{0.1, 0.04, 0.005, 6 * time.Second}},
				CPUPressure: Pressure{Some: Stall{0.5, 0.05, 0.01, 9 * time.Second}},
			},
		},
		{
			name: "v2_docker_inside", pid: 100, version: 2, container: Container{testID, "docker", podUID}, levels: 1, workingSet: 600000000,
			want: Stats{
				has:         memory | StatOOMKills | StatCPUQuota | StatThrottling,
				MemoryLimit: 1 << 30, MemoryUsage: 700000000, CPUQuota: 1.5, Throttling: Throttling{Periods: 10},
			},
		},
		{
			name: "v2_systemd_delegated", pid: 100, version: 2, levels: 4, workingSet: 100000000,
			want: Stats{has: StatMemoryUsage | StatMemoryHigh | StatOOMKills, MemoryHigh: 300000000, MemoryUsage: 123456789, OOMKills: 7},
		},
		{
			name: "hybrid", pid: 100, version: 1, levels: 4,
			want: Stats{has: memory | StatOOMKills | StatMemoryPressure, MemoryLimit: 64000000, MemoryUsage: 12000000,
				MemoryPressure: Pressure{Some: Stall{Total: 42 * time.Microsecond}, Full: Stall{Total: 7 * time.Microsecond}}},
		},
		{
			name: "v2_root", pid: 100, version: 2, levels: 1,
			want: Stats{has: StatMemoryPressure, MemoryPressure: Pressure{Host: true,
				Some: Stall{Total: 5 * time.Microsecond}, Full: Stall{Total: 3 * time.Microsecond}}},
		},
		{
			name: "v2_sidecar", pid: 101, version: 2, levels: 1,
			want: Stats{has: memory, MemoryLimit: 50000000, MemoryUsage: 40000000},
		},
		{
			name: "v2_outer_mount", pid: 100, version: 2, levels: 3,
			want: Stats{has: memory, MemoryLimit: 90000000, MemoryUsage: 80000000},
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			g, _ := groupOf(t, tt.name, tt.pid)
			if g.Version() != tt.version {
				t.Errorf("version %d, want %d", g.Version(), tt.version)
			}
			if g.Container() != tt.container {
				t.Errorf("container %+v, want %+v", g.Container(), tt.container)
			}
			r, err := g.NewReader(StatAll)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			var got Stats
			for range 2 {
				if err := r.Read(&got); err != nil {
					t.Fatal(err)
				}
				if !reflect.DeepEqual(got, tt.want) {
					t.Errorf("got  %+v\nwant %+v", got, tt.want)
				}
			}
			levels, err := g.MemoryLevels()
			if err != nil || len(levels) != tt.levels {
				t.Errorf("%d levels, %v; want %d", len(levels), err, tt.levels)
			}
			if ws, err := g.MemoryWorkingSet(); ws != tt.workingSet || (err == nil) != (ws != 0) {
				// v1_k8s_inside: more inactive pages than usage is no negative number.
				if tt.name != "v1_k8s_inside" || err != nil {
					t.Errorf("working set %d, %v; want %d", ws, err, tt.workingSet)
				}
			}
			checkMethods(t, g, &tt.want)
		})
	}
}

// checkMethods compares each method of Group with what a Reader says.
func checkMethods(t *testing.T, g *Group, want *Stats) {
	t.Helper()
	check := func(name string, which Stat, got any, wanted any, ok bool, err error) {
		t.Helper()
		if ok != want.Has(which) || (ok && !reflect.DeepEqual(got, wanted)) {
			t.Errorf("%s: %v, %t, %v; want %v, %t", name, got, ok, err, wanted, want.Has(which))
		}
	}
	limit, ok, err := g.MemoryLimit()
	check("MemoryLimit", StatMemoryLimit, limit, want.MemoryLimit, ok && err == nil, err)
	high, ok, err := g.MemoryHigh()
	check("MemoryHigh", StatMemoryHigh, high, want.MemoryHigh, ok && err == nil, err)
	usage, err := g.MemoryUsage()
	check("MemoryUsage", StatMemoryUsage, usage, want.MemoryUsage, err == nil, err)
	kills, err := g.OOMKills()
	check("OOMKills", StatOOMKills, kills, want.OOMKills, err == nil, err)
	ooms, err := g.OOMs()
	check("OOMs", StatOOMs, ooms, want.OOMs, err == nil, err)
	parts, err := g.MemoryParts()
	check("MemoryParts", StatMemoryParts, parts, want.MemoryParts, err == nil, err)
	pinned, err := g.MemoryNonReclaimable()
	check("MemoryNonReclaimable", StatMemoryParts, pinned, want.MemoryParts.NonReclaimable, err == nil, err)
	quota, ok, err := g.CPUQuota()
	check("CPUQuota", StatCPUQuota, quota, want.CPUQuota, ok && err == nil, err)
	throttling, err := g.Throttling()
	check("Throttling", StatThrottling, throttling, want.Throttling, err == nil, err)
	pressure, err := g.MemoryPressure()
	check("MemoryPressure", StatMemoryPressure, pressure, want.MemoryPressure, err == nil, err)
	pressure, err = g.CPUPressure()
	check("CPUPressure", StatCPUPressure, pressure, want.CPUPressure, err == nil, err)
	pressure, err = g.IOPressure()
	check("IOPressure", StatIOPressure, pressure, want.IOPressure, err == nil, err)
}

func TestMemoryLevels(t *testing.T) {
	g, root := groupOf(t, "v2_k8s_host", 100)
	levels, err := g.MemoryLevels()
	if err != nil {
		t.Fatal(err)
	}
	for i := range levels {
		rel, _ := strings.CutPrefix(levels[i].Dir, root+"/sys/fs/cgroup")
		levels[i].Dir = filepath.Base("/root" + rel)
	}
	want := []Level{
		{"cri-containerd-" + testID + ".scope", 536870912, 0, 400000000, true, false, true},
		{"kubepods-burstable-pod11111111_2222_3333_4444_555555555555.slice", 600000000, 550000000, 500000000, true, true, true},
		{"kubepods-burstable.slice", 0, 0, 5000000000, false, false, true},
		{"kubepods.slice", 16000000000, 0, 9000000000, true, false, true},
		{"root", 0, 0, 0, false, false, false},
	}
	if !reflect.DeepEqual(levels, want) {
		t.Errorf("got  %+v\nwant %+v", levels, want)
	}
}

func TestDirs(t *testing.T) {
	for _, tt := range []struct {
		name, controller string
		version, n       int
		last             string // the directory that is the furthest up
	}{
		{"v1_docker_host", "memory", 1, 3, "/sys/fs/cgroup/memory"},
		{"v1_docker_host", "cpu", 1, 3, "/sys/fs/cgroup/cpu,cpuacct"},
		{"v2_k8s_host", "cpu", 2, 5, "/sys/fs/cgroup"},
		{"v2_k8s_host", "memory", 2, 5, "/sys/fs/cgroup"},
	} {
		g, root := groupOf(t, tt.name, 100)
		dirs, version, err := g.Dirs(tt.controller)
		if err != nil || version != tt.version || len(dirs) != tt.n || dirs[len(dirs)-1] != root+tt.last {
			t.Errorf("%s, %s: %q, version %d, %v", tt.name, tt.controller, dirs, version, err)
			continue
		}
		if want := filepath.Dir(dirs[0]); dirs[1] != want {
			t.Errorf("%s, %s: above %s is %s", tt.name, tt.controller, dirs[0], dirs[1])
		}
		dirs[0] = "changed"
		if again, _, _ := g.Dirs(tt.controller); again[0] == "changed" {
			t.Error("the group shares its list")
		}
	}
	g, _ := groupOf(t, "v1_flat", 100)
	if dirs, version, err := g.Dirs("cpu"); !errors.Is(err, ErrUnavailable) {
		t.Errorf("without the controller: %q, %d, %v", dirs, version, err)
	}
}

func TestErrors(t *testing.T) {
	t.Run("outside of our namespace", func(t *testing.T) {
		g, _ := groupOf(t, "v2_sidecar", 100)
		if c := g.Container(); c.ID != testID {
			t.Errorf("container %+v, want its ID all the same", c)
		}
		_, _, err := g.MemoryLimit()
		var e *Error
		if !errors.Is(err, ErrNotMounted) || !errors.As(err, &e) || e.Hint() == "" {
			t.Errorf("got %v, want ErrNotMounted with a hint", err)
		}
		if _, err := g.NewReader(StatAll); !errors.Is(err, ErrNotMounted) {
			t.Errorf("NewReader: got %v, want ErrNotMounted", err)
		}
	})
	t.Run("no such process", func(t *testing.T) {
		h, err := NewHost(unpack(t, "v2_root"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := h.Of(4711); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("got %v, want fs.ErrNotExist", err)
		}
	})
	t.Run("no cgroup controller", func(t *testing.T) {
		g, _ := groupOf(t, "v1_flat", 100)
		if _, _, err := g.CPUQuota(); !errors.Is(err, ErrUnavailable) {
			t.Errorf("got %v, want ErrUnavailable", err)
		}
	})
	for file, content := range map[string]string{
		"memory.max":     "lots",
		"memory.current": "-1",
		"cpu.max":        "1",
		"memory.high":    "",
	} {
		t.Run("malformed "+file, func(t *testing.T) {
			g, root := groupOf(t, "v2_docker_inside", 100)
			path := filepath.Join(root, "sys/fs/cgroup", file)
			if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
				t.Fatal(err)
			}
			r, err := g.NewReader(StatAll)
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			var s Stats
			err = r.Read(&s)
			if !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), file) {
				t.Errorf("got %v, want ErrMalformed about %s", err, file)
			}
		})
	}
	t.Run("too deep", func(t *testing.T) {
		root := unpack(t, "v2_root")
		deep := strings.Repeat("/d", maxDepth)
		if err := os.MkdirAll(root+"/sys/fs/cgroup"+deep, 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(root+"/proc/100/cgroup", []byte("0::"+deep+"\n"), 0o644); err != nil {
			t.Fatal(err)
		}
		h, err := NewHost(root)
		if err != nil {
			t.Fatal(err)
		}
		g, err := h.Of(100)
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := g.MemoryLimit(); !errors.Is(err, ErrUnavailable) {
			t.Errorf("got %v, want ErrUnavailable", err)
		}
	})
	t.Run("malformed membership", func(t *testing.T) {
		root := unpack(t, "v2_root")
		for _, text := range []string{"", "x", "0:", "0::", "0::relative", "\n"} {
			if err := os.WriteFile(root+"/proc/100/cgroup", []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
			h, err := NewHost(root)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := h.Of(100); !errors.Is(err, ErrMalformed) {
				t.Errorf("%q: got %v, want ErrMalformed", text, err)
			}
		}
	})
}

// A reader sees a limit that changes, and moves to the usage of another group
// when another group's limit becomes the smallest.
func TestReaderFollowsChanges(t *testing.T) {
	g, root := groupOf(t, "v1_docker_host", 100)
	r, err := g.NewReader(StatAll)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var s Stats
	if err := r.Read(&s); err != nil || s.MemoryLimit != 268435456 {
		t.Fatalf("got %d, %v", s.MemoryLimit, err)
	}
	if err := os.WriteFile(root+"/sys/fs/cgroup/memory/docker/"+testID+"/memory.limit_in_bytes", []byte("110000000\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := r.Read(&s); err != nil || s.MemoryLimit != 110000000 || s.MemoryUsage != 104857600 {
		t.Errorf("got limit %d, usage %d, %v; want those of the container's own group", s.MemoryLimit, s.MemoryUsage, err)
	}
}

// What can't be dropped is that of the group which is nearest to being slowed down or killed.
func TestMemoryPartsFollowHigh(t *testing.T) {
	const leaf, service = "sys/fs/cgroup/system.slice/my-service.service/worker", "sys/fs/cgroup/system.slice/my-service.service"
	stat := func(bytes string) string { return "inactive_anon 0\nactive_anon " + bytes + "\nunevictable 0\n" }
	for _, tt := range []struct {
		max, high string // of the leaf; the service's memory.high is 300000000
		want      uint64
	}{
		{"max", "max", 200}, {"300000001", "max", 200}, {"200000000", "max", 100}, {"max", "200000000", 100}, {"400000000", "200000000", 100},
	} {
		root := unpack(t, "v2_systemd_delegated")
		for name, text := range map[string]string{
			leaf + "/memory.max": tt.max, leaf + "/memory.high": tt.high, leaf + "/memory.stat": stat("100"), service + "/memory.stat": stat("200"),
		} {
			if err := os.WriteFile(filepath.Join(root, name), []byte(text+"\n"), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		h, err := NewHost(root)
		if err != nil {
			t.Fatal(err)
		}
		g, err := h.Of(100)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := g.MemoryNonReclaimable(); got != tt.want || err != nil {
			t.Errorf("max %s, high %s: %d, %v; want %d", tt.max, tt.high, got, err, tt.want)
		}
	}
}

func TestParseContainer(t *testing.T) {
	const uid = "11111111-2222-3333-4444-555555555555"
	const uid_ = "11111111_2222_3333_4444_555555555555"
	const hash = "0bd5d7d1f7d0a5ad9fcd1c3e1a8fa0e2"
	other := strings.Repeat("f", 64)
	for _, tt := range []struct {
		path string
		want Container
	}{
		{"/", Container{}},
		{"/user.slice/user-1000.slice/session-2.scope", Container{}},
		{"/docker/" + testID, Container{testID, "docker", ""}},
		{"/docker/" + testID + "/init", Container{testID, "docker", ""}},
		{"/system.slice/docker-" + testID + ".scope", Container{testID, "docker", ""}},
		{"/kubepods/pod" + uid + "/" + testID, Container{testID, "", uid}},
		{"/kubepods/burstable/pod" + uid + "/" + testID, Container{testID, "", uid}},
		{"/kubepods/besteffort/pod" + hash + "/" + testID, Container{testID, "", hash}},
		{"/kubepods.slice/kubepods-pod" + uid_ + ".slice/cri-containerd-" + testID + ".scope", Container{testID, "containerd", uid}},
		{"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + uid_ + ".slice/crio-" + testID + ".scope", Container{testID, "cri-o", uid}},
		{"/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod" + hash + ".slice/docker-" + testID + ".scope", Container{testID, "docker", hash}},
		{"/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod" + uid_ + ".slice/crio-" + testID + ".scope/container", Container{testID, "cri-o", uid}},
		{"/kubepods.slice/kubepods-pod" + uid_ + ".slice/crio-conmon-" + testID + ".scope", Container{"", "", uid}},
		{"/kubepods.slice/kubepods-pod" + uid_ + ".slice", Container{"", "", uid}},
		{"/system.slice/containerd.service/kubepods-burstable-pod" + uid_ + ".slice:cri-containerd:" + testID, Container{testID, "containerd", uid}},
		{"/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-burstable.slice/kubelet-kubepods-burstable-pod" + uid_ + ".slice/cri-containerd-" + testID + ".scope", Container{testID, "containerd", uid}},
		{"/docker/" + other + "/kubelet/kubepods/burstable/pod" + uid + "/" + testID, Container{testID, "", uid}},
		{"/docker/" + other + "/kubelet/kubepods/burstable/pod" + uid, Container{"", "", uid}},
		{"/machine.slice/libpod-" + testID + ".scope/container", Container{testID, "podman", ""}},
		{"/machine.slice/libpod-conmon-" + testID + ".scope", Container{}},
		{"/libpod_parent/libpod-" + testID, Container{testID, "podman", ""}},
		{"/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" + testID + ".scope", Container{testID, "podman", ""}},
		{"/ecs/" + hash + "/" + testID, Container{testID, "", ""}},
		{"/ecs/" + hash + "/" + hash + "-1234567890", Container{hash + "-1234567890", "ecs", ""}},
		{"/../cri-containerd-" + testID + ".scope", Container{testID, "containerd", ""}},
		{"/docker/" + strings.ToUpper(testID), Container{}},
		{"/docker/" + testID[1:], Container{}},
		{"/mypod" + uid, Container{}},
		{"/pod", Container{}},
		{"/kubepods/podx1111111-2222-3333-4444-555555555555", Container{}},
	} {
		if got := ParseContainer(tt.path); got != tt.want {
			t.Errorf("%s:\ngot  %+v\nwant %+v", tt.path, got, tt.want)
		}
	}
}

func TestParseNumbers(t *testing.T) {
	for _, tt := range []struct {
		text    string
		v       uint64
		limited bool
		ok      bool
	}{
		{"0\n", 0, true, true},
		{"1048576\n", 1048576, true, true},
		{"max\n", 0, false, true},
		{"9223372036854771712\n", 9223372036854771712, false, true}, // 4 KiB pages
		{"9223372036854710272\n", 9223372036854710272, false, true}, // 64 KiB pages
		{"9223372036854775807\n", 9223372036854775807, false, true},
		{"18446744073709551615\n", 18446744073709551615, false, true},
		{"18446744073709551616\n", 0, false, false},
		{"9223372036850000000\n", 9223372036850000000, true, true},
		{"", 0, false, false},
		{"-1", 0, false, false},
		{"1 2", 0, false, false},
		{"0x10", 0, false, false},
	} {
		v, limited, ok := parseBytes([]byte(tt.text))
		if v != tt.v || limited != tt.limited || ok != tt.ok {
			t.Errorf("parseBytes(%q) = %d, %t, %t; want %d, %t, %t", tt.text, v, limited, ok, tt.v, tt.limited, tt.ok)
		}
	}
	for _, tt := range []struct {
		quota, period string
		cores         float64
		limited, ok   bool
	}{
		{"-1\n", "100000\n", 0, false, true},
		{"50000\n", "100000\n", 0.5, true, true},
		{"0\n", "100000\n", 0, true, true},
		{"50000\n", "0\n", 0, false, false},
		{"-x", "100000", 0, false, false},
		{"-", "100000", 0, false, false},
		{"", "", 0, false, false},
	} {
		cores, limited, ok := parseCFS([]byte(tt.quota), []byte(tt.period))
		if cores != tt.cores || limited != tt.limited || ok != tt.ok {
			t.Errorf("parseCFS(%q, %q) = %v, %t, %t; want %v, %t, %t", tt.quota, tt.period, cores, limited, ok, tt.cores, tt.limited, tt.ok)
		}
	}
	for _, tt := range []struct {
		text        string
		cores       float64
		limited, ok bool
	}{
		{"max 100000\n", 0, false, true},
		{"150000 100000\n", 1.5, true, true},
		{"150000 0\n", 0, false, false},
		{"max\n", 0, false, false},
		{"150000 100000 1\n", 0, false, false},
		{"", 0, false, false},
	} {
		cores, limited, ok := parseCPUMax([]byte(tt.text))
		if cores != tt.cores || limited != tt.limited || ok != tt.ok {
			t.Errorf("parseCPUMax(%q) = %v, %t, %t; want %v, %t, %t", tt.text, cores, limited, ok, tt.cores, tt.limited, tt.ok)
		}
	}
	for _, bad := range []string{"", "some", "some avg10=0.00 avg60=0.00 avg300=0.00", "some avg10=x avg60=0.00 avg300=0.00 total=1",
		"some avg10=0.0 avg60=0.00 avg300=0.00 total=1", "some avg10=0.00 avg60=0.00 avg300=0.00 total=99999999999999999999",
		"some avg10=0.00 avg60=0.00 avg300=0.00 total=9999999999999999999", "full avg10=0.00 avg60=0.00 avg300=0.00 total=1\n"} {
		if p, ok := parsePressure([]byte(bad)); ok {
			t.Errorf("parsePressure(%q) = %+v, want a refusal", bad, p)
		}
	}
	const stat = "nr_periods 1\nnr_throttled 22\nx\n nr_bursts 3\nthrottled_usec  4\n"
	for key, want := range map[string]uint64{"nr_periods": 1, "nr_throttled": 22, "throttled_usec": 4} {
		if v, ok := lookup([]byte(stat), key); v != want || !ok {
			t.Errorf("lookup %s: %d, %t; want %d", key, v, ok, want)
		}
	}
	for _, key := range []string{"nr", "x", "nr_bursts", ""} {
		if v, ok := lookup([]byte(stat), key); ok {
			t.Errorf("lookup %s: %d, want none", key, v)
		}
	}
}

func TestParseParts(t *testing.T) {
	const lists = "inactive_anon 10\nactive_anon 20\nunevictable 5\n"
	for _, tt := range []struct {
		name, text string
		version    int
		want       MemoryParts
		ok         bool
	}{
		{"v2 before the kernel's sum", "anon 31\nshmem 3\nkernel_stack 1\npagetables 2\npercpu 4\nslab 8\nslab_reclaimable 6\nsock 16\n" + lists, 2,
			MemoryParts{NonReclaimable: 35 + 25, Anon: 31, Shmem: 3, Unevictable: 5, Kernel: 31, KernelReclaimable: 6}, true},
		{"v2 with it", "kernel 100\nslab 8\nslab_reclaimable 6\n" + lists, 2, MemoryParts{NonReclaimable: 35 + 94, Unevictable: 5, Kernel: 100, KernelReclaimable: 6}, true},
		{"v2 torn", "kernel 1\nslab_reclaimable 6\n" + lists, 2, MemoryParts{NonReclaimable: 35, Unevictable: 5, Kernel: 1, KernelReclaimable: 6}, true},
		{"v2 absurd", "kernel 18446744073709551615\nsock 18446744073709551615\n" + lists, 2,
			MemoryParts{NonReclaimable: 1<<64 - 1, Unevictable: 5, Kernel: 1<<64 - 1}, true},
		{"v1 of the group alone", lists, 1, MemoryParts{}, false},
		{"v1", "total_inactive_anon 10\ntotal_active_anon 20\ntotal_unevictable 5\ntotal_rss 7\ntotal_shmem 9\n", 1,
			MemoryParts{NonReclaimable: 35, Anon: 7, Shmem: 9, Unevictable: 5}, true},
		{"v2 with files", "anon 31\nfile 50\nshmem 3\nworkingset_refault_anon 1\nworkingset_refault_file 6\npgsteal 9\n" + lists, 2,
			MemoryParts{NonReclaimable: 35, Anon: 31, Shmem: 3, Unevictable: 5, File: 47, Refaults: 7, Reclaimed: 9}, true},
		{"v1 with files", "total_inactive_anon 10\ntotal_active_anon 20\ntotal_unevictable 5\ntotal_cache 50\ntotal_shmem 9\ntotal_workingset_refault_file 6\n", 1,
			MemoryParts{NonReclaimable: 35, Shmem: 9, Unevictable: 5, File: 41, Refaults: 6}, true},
		{"more shared than cached", "shmem 9\nfile 3\n" + lists, 2, MemoryParts{NonReclaimable: 35, Shmem: 9, Unevictable: 5}, true},
		{"no list", "anon 31\ninactive_anon 10\nactive_anon 20\n", 2, MemoryParts{}, false},
		{"negative", "inactive_anon -10\nactive_anon 20\nunevictable 5\n", 2, MemoryParts{}, false},
		{"empty", "", 2, MemoryParts{}, false},
	} {
		if p, ok := parseParts([]byte(tt.text), tt.version); p != tt.want || ok != tt.ok {
			t.Errorf("%s: %+v, %t; want %+v, %t", tt.name, p, ok, tt.want, tt.ok)
		}
	}
}

func TestBelow(t *testing.T) {
	for _, tt := range []struct {
		root, path, rel string
		ok              bool
	}{
		{"/", "/", "", true},
		{"/", "/a/b", "a/b", true},
		{"/a", "/a", "", true},
		{"/a", "/a/b", "b", true},
		{"/a", "/ab", "", false},
		{"/a/b", "/a", "", false},
		{"/", "/..", "", false},
		{"/", "/../x", "", false},
		{"/..", "/../x", "x", true},
		{"/..", "/../../x", "", false},
		{"/../..", "/../../x/y", "x/y", true},
		{"/..", "/x", "", false},
		{"/", "/..x", "..x", true},
		{"/", "/a/../b", "", false},
	} {
		rel, ok := mount{root: tt.root}.below(tt.path)
		if ok != tt.ok || (ok && rel != tt.rel) {
			t.Errorf("root %s, path %s: %q, %t; want %q, %t", tt.root, tt.path, rel, ok, tt.rel, tt.ok)
		}
	}
}

func TestUnescape(t *testing.T) {
	for in, want := range map[string]string{
		`/a\040b\011c\012d\134e`: "/a b\tc\nd\\e", `/a\04`: `/a\04`, `/a\999`: `/a\999`, `/a\777`: `/a\777`, `\`: `\`, "/plain": "/plain",
	} {
		if got := unescape(in); got != want {
			t.Errorf("unescape(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestReaderDoesNotAllocate(t *testing.T) {
	for _, name := range []string{"v1_docker_host", "v1_k8s_inside", "v2_k8s_host"} {
		g, _ := groupOf(t, name, 100)
		r, err := g.NewReader(StatAll)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		var s Stats
		if n := testing.AllocsPerRun(100, func() {
			if err := r.Read(&s); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: Read made %v allocations, want 0", name, n)
		}
	}
}

func FuzzParsers(f *testing.F) {
	files, err := filepath.Glob("testdata/*.txt")
	if err != nil {
		f.Fatal(err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			f.Fatal(err)
		}
		for _, part := range strings.Split(string(text), "\n-- ") {
			_, content, _ := strings.Cut(part, " --\n")
			f.Add(content)
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		b := []byte(text)
		parseBytes(b)
		parseCFS(b, b)
		lookup(b, "nr_periods")
		for version := 1; version <= 2; version++ {
			if p, ok := parseParts(b, version); ok && p.NonReclaimable < p.Unevictable {
				t.Errorf("%q is made of %+v", text, p)
			}
		}
		if cores, _, ok := parseCPUMax(b); ok && cores < 0 {
			t.Errorf("%q is a quota of %v", text, cores)
		}
		if p, ok := parsePressure(b); ok && (p.Some.Avg10 < 0 || p.Some.Avg10 > 1.01 || p.Some.Total < 0 || p.Full.Total < 0) {
			t.Errorf("%q is a pressure of %+v", text, p)
		}
		ms, _ := parseMemberships(text)
		mounts := parseMounts(text, new(Container).fromRoot)
		for _, m := range ms {
			c := ParseContainer(m.path)
			if strings.ContainsAny(c.ID+c.PodUID, "/ \n") {
				t.Errorf("%q names the container %+v", m.path, c)
			}
			for _, mnt := range mounts {
				rel, ok := mnt.below(m.path)
				if full := filepath.Join("/top", rel); ok && full != "/top" && !strings.HasPrefix(full, "/top/") {
					t.Errorf("path %q below %q leads out, to %q", m.path, mnt.root, full)
				}
			}
		}
	})
}

func BenchmarkReader(b *testing.B) {
	g, err := Self()
	if err != nil {
		b.Skip(err)
	}
	r, err := g.NewReader(StatAll)
	if err != nil {
		b.Skip(err)
	}
	defer r.Close()
	var s Stats
	b.ReportAllocs()
	for b.Loop() {
		if err := r.Read(&s); err != nil {
			b.Fatal(err)
		}
	}
}
