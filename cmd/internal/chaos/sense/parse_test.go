package sense

import (
	"encoding/json"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
)

func TestParseStat(t *testing.T) {
	const good = "7 (a) b) S 1 7 7 0 -1 4194304 1 2 3 4 50 25 0 0 20 0 5 0 1234 999 321 18446744073709551615 1 1 0 0 0 0"
	s, ok := parseStat([]byte(good))
	if !ok || s != (procStat{false, 75, 1234, 321}) {
		t.Errorf("%+v, %v", s, ok)
	}
	if s, ok := parseStat([]byte(strings.Replace(good, ") S", ") Z", 1))); !ok || !s.ended {
		t.Errorf("a zombie is %+v, %v", s, ok)
	}
	for _, bad := range []string{"", "7 (a)", "7 (a) S 1", strings.Replace(good, " 50 ", " x ", 1)} {
		if s, ok := parseStat([]byte(bad)); ok {
			t.Errorf("%q is %+v", bad, s)
		}
	}
}

func FuzzParseStat(f *testing.F) {
	f.Add([]byte("7 (a) S 1 7 7 0 -1 4194304 1 2 3 4 50 25 0 0 20 0 5 0 1234 999 321 1"))
	f.Fuzz(func(t *testing.T, text []byte) { parseStat(text) })
}

func TestParseHost(t *testing.T) {
	h := parseHost([]byte("MemTotal:       1000 kB\nMemFree: 1 kB\nMemAvailable:    250 kB\n"))
	if h.total != (number{1024000, true}) || h.available != (number{256000, true}) {
		t.Errorf("%+v", h)
	}
	if h := parseHost([]byte("MemTotal: lots\n")); h.total.ok || h.available.ok {
		t.Errorf("%+v", h)
	}
}

// TestLevels reads files that are as those of a cgroup.
func TestLevels(t *testing.T) {
	write := func(dir string, files map[string]string) string {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		for name, text := range files {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		return dir
	}
	open := func(version int, dirs ...string) *group {
		g := &group{version: version}
		g.openLevels(dirs)
		t.Cleanup(g.close)
		return g
	}
	root := t.TempDir()
	v2 := []string{
		write(root+"/a/b", map[string]string{"memory.max": "max\n", "memory.current": "100\n", "memory.stat": "anon 5\ninactive_file 30\n", "memory.events": "low 0\nhigh 0\nmax 9\n"}),
		write(root+"/a", map[string]string{"memory.max": "1000\n", "memory.current": "700\n", "memory.stat": "inactive_file 200\n", "memory.events": "low 0\nhigh 0\nmax 4\noom 1\n"}),
	}
	v1 := []string{
		write(root+"/c", map[string]string{"memory.limit_in_bytes": "500\n", "memory.usage_in_bytes": "400\n", "memory.stat": "inactive_file 1\ntotal_inactive_file 50\n", "memory.failcnt": "3\n"}),
		write(root+"/d", map[string]string{"memory.limit_in_bytes": "9223372036854771712\n", "memory.usage_in_bytes": "9000\n", "memory.stat": "total_inactive_file 50\n", "memory.failcnt": "7\n"}),
	}
	tests := []struct {
		name    string
		g       *group
		ws      float64
		atLimit map[string]uint64
	}{
		{"the limit is of the group above", open(2, v2...), 500, map[string]uint64{v2[1]: 4}},
		{"v1, its own limit", open(1, v1...), 350, map[string]uint64{v1[0]: 3}},
		{"no limit", open(2, v2[0]), 70, nil},
		{"nothing there", open(2, root+"/none"), math.NaN(), nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			l := &groupLook{}
			tt.g.lookAtLevels(l)
			if math.IsNaN(tt.ws) == l.workingSet.ok || l.workingSet.ok && l.workingSet.v != tt.ws {
				t.Errorf("the working set is %+v", l.workingSet)
			}
			if len(l.atLimit) != len(tt.atLimit) {
				t.Errorf("at their limits were %v", l.atLimit)
			}
			for dir, n := range tt.atLimit {
				if l.atLimit[dir] != n {
					t.Errorf("at their limits were %v", l.atLimit)
				}
			}
		})
	}
}

func TestConnectionsIn(t *testing.T) {
	const text = `  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode
   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 11 1
   1: 0100007F:1F90 0100007F:A000 01 00000000:00000000 00:00000000 00000000     0        0 12 1
   2: 0100007F:1F90 0100007F:A001 08 00000000:00000000 00:00000000 00000000     0        0 13 1
   3: 0100007F:1F90 0100007F:A002 01 00000000:00000000 00:00000000 00000000     0        0 99 1
`
	if n, ok := connectionsIn(strings.NewReader(text), map[string]bool{"11": true, "12": true, "13": true}); n != 1 || !ok {
		t.Errorf("%d, %v", n, ok)
	}
}

func TestDebugAddress(t *testing.T) {
	for in, want := range map[string]string{
		"http://h:1":    "http://h:1/debug/heapwright/?format=json",
		"http://h:1/":   "http://h:1/debug/heapwright/?format=json",
		"http://h:1/x":  "http://h:1/x/?format=json",
		"http://h:1/x/": "http://h:1/x/?format=json",
		"ftp://h":       "", "h:1": "", "http://u@h": "", "http://h/?a": "", "": "",
	} {
		if got, err := debugAddress(in); got != want || (err == nil) != (want != "") {
			t.Errorf("%q is %q, %v", in, got, err)
		}
	}
}

func page(state string, rung int, events ...map[string]any) []byte {
	b, _ := json.Marshal(map[string]any{"schema": "x", "guard": map[string]any{"state": state, "rung": rung, "events": events}})
	return b
}

func TestGuard(t *testing.T) {
	now := time.Now()
	change := func(s int, from, to string) map[string]any {
		return map[string]any{"time": now.Add(time.Duration(s) * time.Second), "event": "state", "from": from, "to": to, "reason": "memory\x1b[2J is short"}
	}
	answers := make(chan []byte, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write(<-answers) }))
	defer server.Close()
	p := &probes{values: probed{}, failed: map[string]bool{}}
	look := func(answer []byte) (probed, []chaos.Event) {
		answers <- answer
		p.askGuard(t.Context(), server.Client(), server.URL)
		return p.read(), p.takeEvents()
	}
	old := change(-5, "healthy", "degraded")
	if v, e := look(page("healthy", 0, old)); v[chaos.GuardState] != 0 || len(e) != 0 {
		t.Errorf("at first %v, %v", v, e)
	}
	v, e := look(page("recovering", 1, old, change(1, "healthy", "degraded"), map[string]any{"event": "step"}, change(2, "degraded", "recovering")))
	if v[chaos.GuardState] != 1 || v[chaos.GuardRung] != 1 || len(e) != 2 || e[0].To != "degraded" || e[1].From != "degraded" || e[0].Text != "memory[2J is short" {
		t.Errorf("then %v, %+v", v, e)
	}
	// The page has forgotten the events.
	if _, e = look(page("healthy", 0)); len(e) != 1 || e[0].From != "recovering" || e[0].To != "healthy" {
		t.Errorf("then %+v", e)
	}
	for _, bad := range []string{"<html>", `{"guard":{"state":"\u001b"}}`, `{"guard":{"state":"healthy","rung":-1}}`} {
		if v, e := look([]byte(bad)); len(v) != 0 || len(e) != 0 {
			t.Errorf("of %q: %v, %v", bad, v, e)
		}
	}
	for i := range 2 { // said once
		if _, e := look([]byte(`{"guard":null}`)); len(e) != 1-i || i == 0 && e[0].Kind != chaos.EventNote {
			t.Errorf("of no guard: %+v", e)
		}
	}
}

func FuzzGuard(f *testing.F) {
	f.Add(page("healthy", 0))
	f.Add(page("degraded", 2, map[string]any{"time": time.Unix(0, 0), "event": "state", "from": "healthy", "to": "degraded"}))
	f.Fuzz(func(t *testing.T, text []byte) {
		g, err := parseGuard(text)
		if err == nil && (g.rung < 0 || g.state < 0 || g.state > 2 || len(g.events) > maxGuardEvents) {
			t.Errorf("%+v", g)
		}
	})
}
