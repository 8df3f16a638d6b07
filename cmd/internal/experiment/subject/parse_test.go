package subject

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/heapwright/heapwright/cgroup"
	"github.com/heapwright/heapwright/cmd/internal/experiment"
	"github.com/heapwright/heapwright/cmd/internal/procmem"
)

// TestRing holds the ring against the end of everything that was written to it.
func TestRing(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		size := 1 + rnd.IntN(50)
		r := newRing(size)
		var all []byte
		for range rnd.IntN(20) {
			p := make([]byte, rnd.IntN(2*size))
			for i := range p {
				p[i] = byte('a' + rnd.IntN(26))
			}
			all = append(all, p...)
			if n, err := r.Write(p); n != len(p) || err != nil {
				t.Fatalf("Write gave %d, %v", n, err)
			}
			if want := string(all[max(0, len(all)-size):]); r.String() != want {
				t.Fatalf("a ring of %d has %q, want %q", size, r, want)
			}
		}
	}
}

func TestLimited(t *testing.T) {
	var b bytes.Buffer
	l := &limited{w: &b, left: 5, also: newRing(3)}
	for _, s := range []string{"abc", "def", "ghi"} {
		if n, err := l.Write([]byte(s)); n != 3 || err != nil {
			t.Fatalf("Write gave %d, %v", n, err)
		}
	}
	if got := b.String() + " " + l.also.(*ring).String(); got != "abcde ghi" {
		t.Errorf("there is %q", got)
	}
}

func TestCause(t *testing.T) {
	for _, tt := range []struct{ log, want string }{
		{"", ""},
		{"\n \n", ""},
		{"one\ntwo\n\n", "two"},
		{"start\npanic: boom\n\ngoroutine 1 [running]:\nmain.main()\n", "panic: boom"},
		{"fatal error: out of memory\ngoroutine 1", "fatal error: out of memory"},
		{"a\x1b[2Jb\x00\xff", "a?[2Jb??"},
		{strings.Repeat("x", 5000), strings.Repeat("x", 500) + "..."},
	} {
		if got := cause(tt.log); got != tt.want {
			t.Errorf("cause of %.40q is %.600q, want %q", tt.log, got, tt.want)
		}
	}
}

func TestPorts(t *testing.T) {
	p, err := ports()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[int]bool{}
	for _, n := range p {
		if n <= 0 || seen[n] {
			t.Errorf("the ports are %v", p)
		}
		seen[n] = true
	}
}

func TestPlaceholders(t *testing.T) {
	r := placeholders([numPorts]int{11, 12, 13, 14, 15, 16, 17, 18}, "/d", "fast")
	const text = "{port}{port2} {port8} {port9} {port1} {dir}/{variant} {other} {{port}}"
	if got, want := r.Replace(text), "1112 18 {port9} {port1} /d/fast {other} {11}"; got != want {
		t.Errorf("it is %q, want %q", got, want)
	}
}

func TestEnvironment(t *testing.T) {
	ours := map[string]string{"PATH": "/bin", "HOME": "/h", "GOGC": "5", "GODEBUG": "x=1", "TOKEN": "secret", "LC_ALL": "C"}
	getenv := func(name string) (string, bool) { v, ok := ours[name]; return v, ok }
	s := experiment.Subject{Env: map[string]string{"A": "{port}", "HOME": "/s", "GOGC": "50", cookie: "stolen"}}
	v := experiment.Variant{Env: map[string]string{"B": "b", "A": "v{port}"}, GOGC: "off", GOMEMLIMIT: "1GiB", GODEBUG: "madvdontneed=1", GOMAXPROCS: 2}
	got := environment(getenv, s, v, "ID", func(s string) string { return strings.ReplaceAll(s, "{port}", "80") })
	want := []string{
		cookie + "=ID", "A=v80", "B=b", "GODEBUG=madvdontneed=1", "GOGC=off", "GOMAXPROCS=2", "GOMEMLIMIT=1GiB", "HOME=/s", "LC_ALL=C", "PATH=/bin",
	}
	if !slices.Equal(got, want) {
		t.Errorf("the environment is\n%q, want\n%q", got, want)
	}
}

func TestStopSignal(t *testing.T) {
	for name, want := range map[string]syscall.Signal{"": syscall.SIGTERM, "SIGINT": syscall.SIGINT, "SIGTERM": syscall.SIGTERM, "SIGSTOP": syscall.SIGTERM} {
		if _, got := stopSignal(name); got != want {
			t.Errorf("%q is %v, want %v", name, got, want)
		}
	}
}

func TestGroupSettings(t *testing.T) {
	for _, tt := range []struct {
		name   string
		part   part
		memory uint64
		cpu    float64
		want   string
	}{
		{"v1", part{version: 1, memory: true, cpu: true}, 64 << 20, 1.5,
			"memory.limit_in_bytes=67108864 memory.memsw.limit_in_bytes=67108864 cpu.cfs_period_us=100000 cpu.cfs_quota_us=150000"},
		{"v1 memory", part{version: 1, memory: true}, 1, 1, "memory.limit_in_bytes=1 memory.memsw.limit_in_bytes=1"},
		{"v2", part{version: 2, memory: true, cpu: true}, 64 << 20, 0.25, "memory.max=67108864 memory.swap.max=0 memory.oom.group=1 cpu.max=25000 100000"},
		{"v2 crowded", part{version: 2, memory: true, crowded: true}, 64 << 20, 0, "memory.max=67108864 memory.swap.max=0"},
		{"v2 cpu", part{version: 2, cpu: true}, 1, 2, "cpu.max=200000 100000"},
		{"none", part{version: 2, memory: true, cpu: true}, 0, 0, ""},
	} {
		var got []string
		for _, s := range tt.part.settings(tt.memory, tt.cpu) {
			got = append(got, s.file+"="+s.value)
		}
		if s := strings.Join(got, " "); s != tt.want {
			t.Errorf("%s: %s\nwant %s", tt.name, s, tt.want)
		}
	}
}

// host makes a host with one process, 7, from files.
func host(t *testing.T, mountinfo, membership string, files map[string]string) (string, *cgroup.Group) {
	t.Helper()
	root := t.TempDir()
	lay(t, root, map[string]string{"proc/1/mountinfo": mountinfo, "proc/7/cgroup": membership})
	lay(t, root, files)
	h, err := cgroup.NewHost(root)
	if err != nil {
		t.Fatal(err)
	}
	g, err := h.Of(7)
	if err != nil {
		t.Fatal(err)
	}
	return root, g
}

const (
	unifiedMount = "31 23 0:28 / /cg rw - cgroup2 cgroup2 rw\n"
	splitMounts  = "32 31 0:29 / /cg/cpu rw - cgroup cgroup rw,cpu,cpuacct\n35 31 0:32 / /cg/memory rw - cgroup cgroup rw,memory\n"
	joinedMount  = "32 31 0:29 / /cg/all rw - cgroup cgroup rw,cpu,memory\n"
)

func TestPlanGroup(t *testing.T) {
	both := Controllers{Memory: true, CPU: true}
	split := map[string]string{"cg/cpu/a/x": "", "cg/memory/b/x": "", "cg/cpu/x": "", "cg/memory/x": ""}
	for _, tt := range []struct {
		name       string
		mounts     string
		membership string
		files      map[string]string
		need       Controllers
		memory     uint64
		cpu        float64
		want       []string // directories
		err        string
	}{
		{name: "v1", mounts: splitMounts, membership: "1:cpu,cpuacct:/a\n4:memory:/b\n", files: split, need: both, want: []string{"cg/memory/b/NAME", "cg/cpu/a/NAME"}},
		{name: "v1 memory", mounts: splitMounts, membership: "1:cpu,cpuacct:/a\n4:memory:/b\n", files: split, need: Controllers{Memory: true}, want: []string{"cg/memory/b/NAME"}},
		{name: "v1 in one", mounts: joinedMount, membership: "1:cpu,memory:/a\n", files: map[string]string{"cg/all/a/x": ""}, need: both, want: []string{"cg/all/a/NAME"}},
		{name: "v2", mounts: unifiedMount, membership: "0::/a/b\n", need: both,
			files: map[string]string{"cg/a/b/cgroup.subtree_control": "cpu io memory\n", "cg/a/b/cgroup.controllers": "cpu memory\n"}, want: []string{"cg/a/b/NAME"}},
		{name: "v2, above", mounts: unifiedMount, membership: "0::/a/b\n", need: both,
			files: map[string]string{"cg/a/cgroup.subtree_control": "cpu memory pids\n", "cg/a/b/cgroup.procs": "7\n8\n"}, want: []string{"cg/a/NAME"}},
		{name: "v2, moved before", mounts: unifiedMount, membership: "0::/a/heapwright-self\n", need: both,
			files: map[string]string{"cg/a/cgroup.subtree_control": "cpu memory\n", "cg/a/heapwright-self/cgroup.subtree_control": "cpu memory\n"}, want: []string{"cg/a/NAME"}},
		{name: "v2, nowhere", mounts: unifiedMount, membership: "0::/a/b\n", need: both, files: map[string]string{"cg/a/b/cgroup.procs": "7\n"},
			err: "cgroup v2 gives the children of our group no controller for memory and cpu"},
		{name: "hybrid", mounts: "35 31 0:32 / /cg/memory rw - cgroup cgroup rw,memory\n31 23 0:28 / /cg/u rw - cgroup2 cgroup2 rw\n", membership: "4:memory:/b\n0::/a\n", need: both,
			files: map[string]string{"cg/memory/b/x": "", "cg/u/a/cgroup.subtree_control": "cpu\n"}, want: []string{"cg/memory/b/NAME", "cg/u/a/NAME"}},
		{name: "no controller", mounts: "35 31 0:32 / /cg/memory rw - cgroup cgroup rw,memory\n", membership: "4:memory:/b\n", need: both,
			files: map[string]string{"cg/memory/b/x": ""}, err: "there is no cgroup controller for cpu"},
		{name: "more than we have", mounts: unifiedMount, membership: "0::/a\n", need: both, memory: 2000, files: map[string]string{"cg/a/memory.max": "1000\n", "cg/a/memory.current": "1\n"},
			err: "memory_limit is 2000 bytes, and this process may itself use only 1000"},
		{name: "more CPU than we have", mounts: unifiedMount, membership: "0::/a\n", need: both, cpu: 1, files: map[string]string{"cg/a/cpu.max": "50000 100000\n"},
			err: "cpu_quota is 1 cores, and this process may itself use only 0.5"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			root, self := host(t, tt.mounts, tt.membership, tt.files)
			g := &group{memory: tt.memory, cpu: tt.cpu}
			err := g.plan(self, tt.need, "NAME")
			if tt.err != "" {
				if e := new(LimitError); !errors.As(err, &e) || !strings.Contains(err.Error(), tt.err) || e.Hint() == "" {
					t.Errorf("error %v, want %q", err, tt.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, d := range g.dirs() {
				rel, err := filepath.Rel(root, d)
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, rel)
			}
			if !slices.Equal(got, tt.want) {
				t.Errorf("the groups are %q, want %q", got, tt.want)
			}
		})
	}
}

func TestNeeded(t *testing.T) {
	plan := &experiment.Plan{Variants: []experiment.Variant{{}, {MemoryLimit: 1}}}
	if got := Needed(plan); got != (Controllers{Memory: true}) {
		t.Errorf("needed are %+v", got)
	}
	plan.Variants[0].CPUQuota = 1
	if got := Needed(plan); got != (Controllers{Memory: true, CPU: true}) {
		t.Errorf("needed are %+v", got)
	}
	if got := Needed(&experiment.Plan{Variants: []experiment.Variant{{GOGC: "50"}}}); got != (Controllers{}) {
		t.Errorf("needed are %+v", got)
	}
}

// TestCounters reads the files that both versions of cgroups have, and keeps what
// was read when they are gone.
func TestCounters(t *testing.T) {
	for _, tt := range []struct {
		version int
		files   map[string]string
	}{
		{1, map[string]string{"memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 2\n", "cpu.stat": "nr_periods 9\nthrottled_time 1500000000\n"}},
		{2, map[string]string{"memory.events": "low 0\noom 3\noom_kill 2\noom_group_kill 1\n", "cpu.stat": "usage_usec 5\nthrottled_usec 1500000\n"}},
	} {
		dir := t.TempDir()
		lay(t, dir, tt.files)
		g := &group{parts: []part{{version: tt.version, dir: dir, memory: true, cpu: true}}}
		for _, when := range []string{"at first", "later"} {
			if k, d := g.oomKills(), g.throttled(); k != 2 || d.Seconds() != 1.5 {
				t.Errorf("v%d, %s: %d kills, %v", tt.version, when, k, d)
			}
			if err := os.RemoveAll(dir); err != nil {
				t.Fatal(err)
			}
		}
	}
}

const anID = "0123456789abcdef0123456789abcdef"

func TestLeftover(t *testing.T) {
	good := leftover{Schema: leftoverSchema, BootID: "b", Owner: owner{5, 6}, ID: anID, Dir: "/tmp/" + dirPrefix + anID, Groups: []string{"/cg/" + groupPrefix + anID}}
	for _, tt := range []struct {
		name   string
		change func(*leftover)
		want   string // "" is fine
	}{
		{"good", func(*leftover) {}, ""},
		{"neither directory nor groups", func(l *leftover) { l.Dir, l.Groups = "", nil }, ""},
		{"another schema", func(l *leftover) { l.Schema = "x" }, "schema"},
		{"no boot", func(l *leftover) { l.BootID = "" }, "names no process"},
		{"no owner", func(l *leftover) { l.Owner.PID = 0 }, "names no process"},
		{"another ID", func(l *leftover) { l.ID = "../" + anID[3:] }, "names no process"},
		{"another directory", func(l *leftover) { l.Dir = "/home" }, "not a directory of a subject"},
		{"a directory above", func(l *leftover) { l.Dir += "/.." }, "not a directory of a subject"},
		{"a relative directory", func(l *leftover) { l.Dir = dirPrefix + anID }, "not a directory of a subject"},
		{"another group", func(l *leftover) { l.Groups = append(l.Groups, "/sys/fs/cgroup") }, "not a cgroup of a subject"},
		{"many groups", func(l *leftover) { l.Groups = make([]string, 5) }, "too many"},
	} {
		l := good
		l.Groups = slices.Clone(good.Groups)
		tt.change(&l)
		text, err := json.Marshal(l)
		if err != nil {
			t.Fatal(err)
		}
		_, err = parseLeftover(text)
		if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: error %v, want %q", tt.name, err, tt.want)
		}
	}
	if _, err := parseLeftover(make([]byte, maxLeftover+1)); err == nil {
		t.Error("a text that is too long was read")
	}
}

func FuzzLeftover(f *testing.F) {
	f.Add([]byte(`{"schema":"heapwright-subject/1","boot_id":"b","owner":{"pid":5,"start_ticks":6},"id":"` + anID + `","dir":"/tmp/heapwright-subject-` + anID + `"}`))
	f.Add([]byte(`{"dir":"/"}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		l, err := parseLeftover(text)
		if err != nil {
			return
		}
		for _, path := range append(l.Groups, l.Dir) {
			if path != "" && (!filepath.IsAbs(path) || !strings.HasPrefix(filepath.Base(path), "heapwright-") || strings.Contains(path, "..") && filepath.Clean(path) != path) {
				t.Errorf("%q would be removed", path)
			}
		}
	})
}

func TestCookieOf(t *testing.T) {
	for _, tt := range []struct{ environ, want string }{
		{"", ""},
		{"A=b\x00" + cookie + "=x\x00C=d\x00", "x"},
		{cookie + "=x", "x"},
		{"A=" + cookie + "=x\x00", ""},
		{"\x00\x00" + cookie + "=\x00", ""},
	} {
		if got := cookieOf([]byte(tt.environ)); got != tt.want {
			t.Errorf("of %q it is %q, want %q", tt.environ, got, tt.want)
		}
	}
}

func TestMarkers(t *testing.T) {
	dir := t.TempDir()
	env := func(m map[string]string) func(string) string { return func(k string) string { return m[k] } }
	got, err := markers(env(map[string]string{"HEAPWRIGHT_STATE_DIR": filepath.Join(dir, "s")}))
	if err != nil || got != filepath.Join(dir, "s", "subjects") {
		t.Errorf("it is %s, %v", got, err)
	}
	info, err := os.Stat(got)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("its mode is %v, %v", info, err)
	}
	if err := os.Chmod(got, 0o777); err != nil {
		t.Fatal(err)
	}
	if _, err := markers(env(map[string]string{"HEAPWRIGHT_STATE_DIR": filepath.Join(dir, "s")})); err == nil {
		t.Error("a directory that all may change was taken")
	}
	if _, err := markers(env(map[string]string{"HEAPWRIGHT_STATE_DIR": "relative"})); err == nil {
		t.Error("a relative directory was taken")
	}
}

// TestSweepForeign sweeps what no process has: of an earlier boot, half a file,
// and a file that names what is not ours.
func TestSweepForeign(t *testing.T) {
	state, tmp := t.TempDir(), t.TempDir()
	t.Setenv("HEAPWRIGHT_STATE_DIR", state)
	where, err := markers(os.Getenv)
	if err != nil {
		t.Skipf("nothing is run here: %v", err)
	}
	boot, err := procmem.BootID()
	if err != nil {
		t.Skipf("nothing is run here: %v", err)
	}
	start, err := procmem.StartTicks(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	ids := map[string]string{}
	for i, what := range []string{"boot", "dead", "alive", "victim"} {
		id := strings.Repeat("0123456789abcdef"[i:i+1], 32)
		ids[what] = id
		dir := filepath.Join(tmp, dirPrefix+id)
		if what == "victim" {
			dir = filepath.Join(tmp, "victim")
		}
		l := leftover{Schema: leftoverSchema, BootID: boot, Owner: owner{os.Getpid(), start}, ID: id, Dir: dir}
		switch what {
		case "boot":
			l.BootID = "another"
		case "dead", "victim":
			l.Owner.StartTicks++
		}
		text, err := json.Marshal(l)
		if err != nil {
			t.Fatal(err)
		}
		lay(t, dir, map[string]string{"sub/file": "x"})
		lay(t, where, map[string]string{id + ".json": string(text)})
	}
	lay(t, where, map[string]string{"half.json": "{", "other.new": ""})
	if err := Sweep(); err != nil {
		t.Fatal(err)
	}
	exists := func(path string) bool {
		_, err := os.Lstat(path)
		return !errors.Is(err, fs.ErrNotExist)
	}
	for what, kept := range map[string]bool{"boot": false, "dead": false, "alive": true} {
		id := ids[what]
		if d, m := exists(filepath.Join(tmp, dirPrefix+id)), exists(filepath.Join(where, id+".json")); d != kept || m != kept {
			t.Errorf("%s: directory %t, marker %t, want %t", what, d, m, kept)
		}
	}
	if !exists(filepath.Join(tmp, "victim", "sub", "file")) {
		t.Error("a directory was removed that is not a subject's")
	}
}
