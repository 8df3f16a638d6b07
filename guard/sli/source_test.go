package sli

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cgroup"
	"github.com/heapwright/heapwright/record"
)

// tree makes a host with one process, in a cgroup v2 of its own, and returns the directory of
// the group.
func tree(t *testing.T) (root, group string) {
	t.Helper()
	root = t.TempDir()
	group = filepath.Join(root, "sys/fs/cgroup/service")
	for name, text := range map[string]string{
		"proc/1/mountinfo":                      "35 24 0:30 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
		"proc/100/cgroup":                       "0::/service\n",
		"sys/fs/cgroup/service/cgroup.type":     "domain\n",
		"sys/fs/cgroup/service/memory.max":      "1000000\n",
		"sys/fs/cgroup/service/memory.high":     "max\n",
		"sys/fs/cgroup/service/memory.current":  "900000\n",
		"sys/fs/cgroup/service/memory.stat":     "anon 500000\nkernel 2000\ninactive_anon 400000\nactive_anon 100000\nunevictable 1000\nslab_reclaimable 500\n",
		"sys/fs/cgroup/service/memory.events":   "low 0\nhigh 0\nmax 9\noom 3\noom_kill 1\n",
		"sys/fs/cgroup/service/cpu.max":         "50000 100000\n",
		"sys/fs/cgroup/service/cpu.stat":        "nr_periods 10\nnr_throttled 2\nthrottled_usec 3000\n",
		"sys/fs/cgroup/service/memory.pressure": "some avg10=0.00 avg60=0.00 avg300=0.00 total=7000\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=1\n",
		"sys/fs/cgroup/memory.pressure":         "some avg10=0.00 avg60=0.00 avg300=0.00 total=99\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=1\n",
		"sys/fs/cgroup/service/cgroup.procs":    "100\n",
	} {
		put(t, filepath.Join(root, name), text)
	}
	return root, group
}

func put(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

func sourceAt(t *testing.T, root string, o Options) *Source {
	t.Helper()
	s, err := newSource(o, func() (*cgroup.Group, error) {
		h, err := cgroup.NewHost(root)
		if err != nil {
			return nil, err
		}
		return h.Of(100)
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Close() })
	return s
}

func TestSourceCgroup(t *testing.T) {
	root, _ := tree(t)
	s := sourceAt(t, root, Options{})
	var p Point
	s.Read(&p)
	if p.GroupLimitBytes != 1000000 || p.GroupPinnedBytes != 502500 || !p.HasGroupPinned {
		t.Errorf("limit %d, of that %d (%t) can't be dropped", p.GroupLimitBytes, p.GroupPinnedBytes, p.HasGroupPinned)
	}
	if p.OOMEvents != 3 || !p.HasOOMEvents || p.CgroupOOMKills != 1 || p.Cores != 0.5 || p.CgroupThrottled != 3*time.Millisecond {
		t.Errorf("%d events, %d kills, %v cores, throttled for %v", p.OOMEvents, p.CgroupOOMKills, p.Cores, p.CgroupThrottled)
	}
	if v, ok := p.Value(record.FieldPSIMemorySomeStall); !ok || v != 0.007 {
		t.Errorf("stalled for %v s, %t", v, ok)
	}
	if v, ok := p.Value(record.FieldCgroupUsageBytes); !ok || v != 900000 {
		t.Errorf("usage %v, %t", v, ok)
	}
	r := Window(&p, &p)
	if v, ok := r.Get(ResidentRatio); !ok || v != 0.5025 {
		t.Errorf("resident %v, %t: the page cache does not count", v, ok)
	}
}

// What slows the group down counts as what kills it.
func TestSourceMemoryHigh(t *testing.T) {
	for _, tt := range []struct {
		max, high string
		want      uint64
	}{{"1000000", "800000", 800000}, {"max", "800000", 800000}, {"700000", "800000", 700000}, {"max", "max", 0}} {
		root, group := tree(t)
		put(t, filepath.Join(group, "memory.max"), tt.max)
		put(t, filepath.Join(group, "memory.high"), tt.high)
		var p Point
		sourceAt(t, root, Options{}).Read(&p)
		if p.GroupLimitBytes != tt.want || p.GroupPinnedBytes != 502500 {
			t.Errorf("max %s, high %s: limit %d, pinned %d; want %d", tt.max, tt.high, p.GroupLimitBytes, p.GroupPinnedBytes, tt.want)
		}
	}
}

// Without any of its files, and with rubbish in it, the group's numbers are absent or those of
// the other files, and come back.
func TestSourceHostileCgroup(t *testing.T) {
	type known struct{ limit, pinned, oom, psi bool }
	all := known{true, true, true, true}
	for _, tt := range []struct {
		file, text string
		want       known
	}{
		{"memory.max", "", known{}},
		{"memory.max", "-1", known{}},
		{"memory.max", "max", known{false, true, true, true}},
		{"memory.max", "99999999999999999999999", known{}},
		{"memory.stat", "", known{true, false, true, true}},
		{"memory.stat", "anon x\n\x00\xff", known{true, false, true, true}},
		{"memory.stat", "inactive_anon 18446744073709551615\nactive_anon 18446744073709551615\nunevictable 1\n", all},
		{"memory.events", "", known{true, true, false, true}},
		{"memory.events", "oom_kill -4", known{true, true, false, true}},
		{"memory.pressure", "some", known{true, true, true, false}},
		{"cpu.max", "0 0", known{true, true, true, false}},
	} {
		root, group := tree(t)
		s := sourceAt(t, root, Options{})
		var good, p Point
		s.Read(&good)
		before, err := os.ReadFile(filepath.Join(group, tt.file))
		if err != nil {
			t.Fatal(err)
		}
		// The same file, as the kernel's are, not a new one of the same name.
		put(t, filepath.Join(group, tt.file), tt.text)
		s.Read(&p)
		got := known{p.GroupLimitBytes != 0, p.HasGroupPinned, p.HasOOMEvents, p.Has.Has(record.FieldPSIMemorySomeStall)}
		if got != tt.want {
			t.Errorf("%s is %.20q: known are %+v, want %+v", tt.file, tt.text, got, tt.want)
		}
		r := Window(&good, &p)
		for signal, v := range r.All {
			if !(v >= 0) {
				t.Errorf("%s is %.20q: %s is %v", tt.file, tt.text, signal, v)
			}
		}
		put(t, filepath.Join(group, tt.file), string(before))
		s.retry = time.Time{} // or ten seconds
		s.Read(&p)
		if got := (known{p.GroupLimitBytes != 0, p.HasGroupPinned, p.HasOOMEvents, p.Has.Has(record.FieldPSIMemorySomeStall)}); got != all {
			t.Errorf("%s is good again: known are %+v", tt.file, got)
		}
	}
}

// The group vanishes, and another comes.
func TestSourceGroupGone(t *testing.T) {
	root, group := tree(t)
	gone := true
	s, err := newSource(Options{}, func() (*cgroup.Group, error) {
		if gone {
			return nil, errors.New("no group")
		}
		h, err := cgroup.NewHost(root)
		if err != nil {
			return nil, err
		}
		return h.Of(100)
	})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var p Point
	s.Read(&p)
	if p.GroupLimitBytes != 0 || p.HasGroupPinned || p.HasOOMEvents {
		t.Errorf("there are numbers of no group: %d, %t", p.GroupLimitBytes, p.HasGroupPinned)
	}
	if p.Cores != float64(p.GOMAXPROCS) {
		t.Errorf("%v cores with GOMAXPROCS %d", p.Cores, p.GOMAXPROCS)
	}
	gone = false
	s.Read(&p)
	if p.GroupLimitBytes != 0 {
		t.Error("the group is looked for at every Read")
	}
	s.retry = time.Time{}
	s.Read(&p)
	if p.GroupLimitBytes != 1000000 {
		t.Errorf("the limit is %d", p.GroupLimitBytes)
	}
	if err := os.RemoveAll(group); err != nil {
		t.Fatal(err)
	}
	s.closeGroup()
	s.retry = time.Time{}
	s.Read(&p)
	if p.GroupLimitBytes != 0 || p.HasGroupPinned {
		t.Errorf("the group is removed, and its limit %d", p.GroupLimitBytes)
	}
	s.Close()
	s.retry = time.Time{}
	s.Read(&p)
	if s.group != nil {
		t.Error("a closed source opens files")
	}
}

// The host's pressure is not ours.
func TestSourceHostPressure(t *testing.T) {
	root, group := tree(t)
	if err := os.Remove(filepath.Join(group, "memory.pressure")); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(root, "proc/pressure/memory"), "some avg10=0.00 avg60=0.00 avg300=0.00 total=99\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=1\n")
	var p Point
	sourceAt(t, root, Options{}).Read(&p)
	if p.Has.Has(record.FieldPSIMemorySomeStall) || !p.HasGroupPinned {
		t.Errorf("the stall is %v", p.PSIMemorySomeStall)
	}
}

func TestSourceLimit(t *testing.T) {
	var p Point
	newTestSource(t, Options{Limit: func() uint64 { panic("no") }}).Read(&p)
	if p.OwnLimitBytes != 0 {
		t.Errorf("the limit is %d", p.OwnLimitBytes)
	}
}

func TestAnchor(t *testing.T) {
	type step struct {
		at       time.Duration // of the reading
		cpu      time.Duration // of the process
		total    time.Duration // of the runtime's classes
		end      time.Duration // of the last cycle
		want     time.Duration // absent: not known
		clockSet time.Duration // by how much the wall clock is off
	}
	const s = time.Second
	for name, steps := range map[string][]step{
		"from the start": {{at: 1 * s, cpu: 1 * s, want: 0}, {at: 2 * s, cpu: 2 * s, total: 4 * s, end: 1500 * time.Millisecond, want: 1500 * time.Millisecond}},
		"later": {
			{at: 1 * s, cpu: 1 * s, total: 9 * s, want: -1}, {at: 2 * s, cpu: 3 * s, total: 9 * s, want: -1},
			{at: 4 * s, cpu: 5 * s, total: 10 * s, end: 3 * s, want: 4 * s}, {at: 5 * s, cpu: 6 * s, total: 10 * s, end: 3 * s, want: 4 * s},
		},
		"the clock was set forward": {{at: 1 * s, cpu: 1 * s, want: 0}, {at: 2 * s, cpu: 2 * s, total: 4 * s, end: 1500 * time.Millisecond, clockSet: time.Hour, want: 1 * s}},
		"the clock was set back":    {{at: 1 * s, cpu: 1 * s, want: 0}, {at: 2 * s, cpu: 2 * s, total: 4 * s, end: 1500 * time.Millisecond, clockSet: -time.Hour, want: 2 * s}},
	} {
		var src Source
		for i, st := range steps {
			p := point(st.at, func(p *Point) {
				p.ProcessCPU, p.CPUTotal = st.cpu, st.total
				p.LastGC = epoch.Add(st.end - st.clockSet)
				p.HasCycleCPU = false
			})
			src.anchor(p)
			if p.HasCycleCPU != (st.want >= 0) || (p.HasCycleCPU && p.CycleCPU != st.want) {
				t.Errorf("%s, reading %d: %v, %t; want %v", name, i, p.CycleCPU, p.HasCycleCPU, st.want)
			}
		}
	}
}

func TestParseStatm(t *testing.T) {
	for _, tt := range []struct {
		text             string
		resident, shared uint64
		ok               bool
	}{
		{"1000 500 200 10 0 300 0\n", 500, 200, true},
		{"1000 500 200\n", 500, 200, true},
		{"1000 500 501 10\n", 0, 0, false},
		{"1000 500 200", 0, 0, false},
		{"1000 500\n", 0, 0, false},
		{"1000 -5 200 10\n", 0, 0, false},
		{"99999999999999999999 5 2 10\n", 0, 0, false},
		{"5 99999999999999999 2 10\n", 0, 0, false},
		{"", 0, 0, false},
		{" 1 2 3", 0, 0, false},
	} {
		if r, s, ok := parseStatm([]byte(tt.text)); r != tt.resident || s != tt.shared || ok != tt.ok {
			t.Errorf("%q: %d, %d, %t", tt.text, r, s, ok)
		}
	}
}

func FuzzParseStatm(f *testing.F) {
	f.Add([]byte("1000 500 200 10 0 300 0\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, s, ok := parseStatm(b); ok && (s > r || r > 1<<50) {
			t.Errorf("%q: %d resident, %d shared", b, r, s)
		}
	})
}
