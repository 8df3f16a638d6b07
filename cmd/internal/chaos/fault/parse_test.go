package fault

import (
	"math"
	"path/filepath"
	"strings"
	"testing"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
)

func TestParseStat(t *testing.T) {
	tests := []struct {
		text string
		want procStat
		ok   bool
	}{
		{"42 (a b) c) S 7 1 1 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 8 0 4711 0 0\n", procStat{"a b) c", 'S', 7, false, 4711}, true},
		{"2 (kthreadd) S 0 0 0 0 -1 2129984 0 0 0 0 0 0 0 0 20 0 1 0 30 0 0\n", procStat{"kthreadd", 'S', 0, true, 30}, true},
		{"42 (a", procStat{}, false},
		{"42 )a( S 7", procStat{}, false},
		{"", procStat{}, false},
	}
	for _, tt := range tests {
		got, ok := parseStat(tt.text)
		if ok != tt.ok || ok && got != tt.want {
			t.Errorf("%q: %+v, %v", tt.text, got, ok)
		}
	}
}

func TestSame(t *testing.T) {
	tests := []struct {
		have, wrote string
		want        bool
	}{
		{"max", "max", true},
		{"9223372036854771712", "-1", true},
		{"max 100000", "max 100000", true},
		{"max 100000", "50000 100000", false},
		{"FREEZING", "FROZEN", true},
		{"FROZEN", "THAWED", false},
		{"4096", "4096", true},
		{"4096", "8192", false},
		{"max", "4096", false},
		{"", "", true},
		{"", "0", false},
	}
	for _, tt := range tests {
		if got := same(tt.have, tt.wrote); got != tt.want {
			t.Errorf("%q after %q: %v", tt.have, tt.wrote, got)
		}
	}
}

func TestGroupDirs(t *testing.T) {
	const table = `31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw
37 31 0:34 / /sys/fs/cgroup/freezer rw,relatime - cgroup cgroup rw,freezer
41 31 0:38 /pod /run/one shared:1 - cgroup2 cgroup2 rw
42 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate
`
	tests := []struct {
		members string
		version int
		want    string
	}{
		{"6:freezer:/app\n0::/pod/app\n", 1, "/sys/fs/cgroup/freezer/app"},
		{"6:cpu,freezer:/\n", 1, "/sys/fs/cgroup/freezer"},
		{"6:freezer:/app\n0::/pod/app\n", 2, "/run/one/app /sys/fs/cgroup/unified/pod/app"},
		{"0::/podium\n", 2, "/sys/fs/cgroup/unified/podium"},
		{"0::/../../etc\n", 2, ""},
		{"0::/a/../../etc\n", 2, ""},
		{"nonsense\n", 1, ""},
	}
	for _, tt := range tests {
		if got := strings.Join(groupDirs(table, tt.members, tt.version), " "); got != tt.want {
			t.Errorf("%q, v%d: %q", tt.members, tt.version, got)
		}
	}
}

func TestAbsolute(t *testing.T) {
	for _, l := range []chaos.Level{{Value: math.NaN()}, {Value: math.Inf(1)}, {Value: -1}, {Value: 0.5, Share: true}} {
		if v, err := absolute(l, 0, "limit"); err == nil {
			t.Errorf("%+v is %g", l, v)
		}
	}
	if v, err := absolute(chaos.Level{Value: 0.5, Share: true}, 10, "limit"); v != 5 || err != nil {
		t.Errorf("half of ten is %g, %v", v, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add("42 (a b) c) S 7 1 1 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 8 0 4711 0 0\n", "50000 100000")
	f.Add("37 31 0:34 / /sys/fs/cgroup/freezer rw - cgroup cgroup rw,freezer\n", "6:freezer:/app\n0::/x\n")
	f.Add("RssAnon:\t 12 kB\nanon 5\n", "max")
	f.Fuzz(func(t *testing.T, a, b string) {
		if s, ok := parseStat(a); ok && strings.IndexByte(a, '(') < 0 {
			t.Errorf("a name of nothing: %+v", s)
		}
		for k := range parseKeys(a) {
			if k == "" {
				t.Error("a key of nothing")
			}
		}
		if n, ok := kib(a, "RssAnon"); ok && n%1024 != 0 {
			t.Errorf("%d is no count of KiB", n)
		}
		if _, limited, ok := parseBytes(b); limited && !ok {
			t.Error("a limit that is no number")
		}
		if q, ok := parseQuota(a, b); ok && (q.period <= 0 || q.limited && q.quota <= 0 || math.IsNaN(q.cores())) {
			t.Errorf("%+v", q)
		}
		for _, version := range []int{1, 2} {
			for _, dir := range groupDirs(a, b, version) {
				if strings.Contains("/"+filepath.ToSlash(dir)+"/", "/../") {
					t.Errorf("the group %q leads out", dir)
				}
			}
		}
		if a == b && !same(a, b) {
			t.Errorf("%q is not the same as %q", a, b)
		}
		for _, r := range clean(a) {
			if r < ' ' || r > '~' {
				t.Errorf("%q is left of a name", r)
			}
		}
	})
}

func FuzzOrder(f *testing.F) {
	f.Add([]byte(`{"kind":"sibling","procs":"/x/cgroup.procs","max_bytes":1048576}`))
	f.Add([]byte(`{"seq":3,"bytes":4096}`))
	f.Add([]byte(`{"kind":"watch","step":{"id":1,"kind":"stopped","pid":42,"start_ticks":7}}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		o, err := parseOrder(line)
		if err == nil && (o.Bytes > 1<<46 || o.Most > 1<<46 || o.Seq < 0 || !(o.Seconds >= 0)) {
			t.Errorf("%+v", o)
		}
	})
}
