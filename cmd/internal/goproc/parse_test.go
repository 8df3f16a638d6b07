package goproc

import (
	"reflect"
	"strings"
	"testing"
)

const testStat = " S 1 2 3 4 5 2129984 7 8 9 10 123 456 13 14 15 16 17 18 4242 20 21 22\n"

func TestParseStat(t *testing.T) {
	for _, name := range []string{"a", "a) R 1", "((", "", ") ", "\xff"} {
		st, ok := parseStat([]byte("77 (" + name + ")" + testStat))
		if !ok || string(st.comm) != name || st.state != 'S' || st.flags != 2129984 || st.majflt != 9 || st.utime != 123 || st.stime != 456 || st.start != 4242 || st.rss != 21 {
			t.Errorf("command %q: %+v, %t", name, st, ok)
		}
	}
	for _, bad := range []string{"", "1 (a", "1 a)", ")(", "1 (a)", "1 (a) S 1", "1 (a)" + strings.Replace(testStat, "4242", "x", 1),
		"1 (a)" + strings.Replace(testStat, "123", "99999999999999999999", 1)} {
		if st, ok := parseStat([]byte(bad)); ok {
			t.Errorf("%q parsed as %+v", bad, st)
		}
	}
}

const testStatus = "Name:\tx\nTgid:\t5\nUid:\t1000\t1001\t1002\t1003\nVmHWM:\t    2048 kB\nVmRSS:\t    1024 kB\n" +
	"RssAnon:\t     512 kB\nRssFile:\t     500 kB\nRssShmem:\t      12 kB\nVmSwap:\t       3 kB\n"

func TestParseStatus(t *testing.T) {
	got, ok := parseStatus([]byte(testStatus))
	want := procStatus{tgid: 5, uid: 1001, rss: 1 << 20, hwm: 2 << 20, anon: 512 << 10, file: 500 << 10, shmem: 12 << 10, swap: 3 << 10,
		hasRSS: true, hasSplit: true, hasHWM: true, hasSwap: true}
	if !ok || got != want {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
	got, ok = parseStatus([]byte("Tgid:\t5\nUid:\t0\t0\t0\t0\n"))
	if want := (procStatus{tgid: 5}); !ok || got != want {
		t.Errorf("a kernel thread: %+v", got)
	}
	for _, bad := range []string{"VmRSS:\t1 MB\n", "VmRSS:\n", "Uid:\t1\n", "Tgid:\tx\n", "VmHWM:\t99999999999999999 kB\n"} {
		if got, ok := parseStatus([]byte(bad)); ok {
			t.Errorf("%q parsed as %+v", bad, got)
		}
	}
}

func TestParseEnviron(t *testing.T) {
	text := "PATH=/bin\x00GOGC=50\x00GOGC=100\x00GODEBUG=gctrace=1,x=2\x00GOPRIVATE=secret\x00AWS=GOGC=1\x00GOMEMLIMIT\x00GOTRACEBACK=\xff\x00GOMAXPROCS=" +
		strings.Repeat("1", 5000) + "\x00GOEXPERIMENT=a"
	want := map[string]string{"GOGC": "50", "GODEBUG": "gctrace=1,x=2", "GOTRACEBACK": "\uFFFD", "GOEXPERIMENT": "a"}
	if got := parseEnviron([]byte(text)); !reflect.DeepEqual(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	if got := parseEnviron(nil); got != nil {
		t.Errorf("got %q of nothing", got)
	}
}

func TestParseHost(t *testing.T) {
	for text, want := range map[string]int{"0\n": 1, "0-3\n": 4, "0-3,8,10-11\n": 7, "": 0, "x": 0, "3-1": 0, "0-": 0, "99999999": 0} {
		if got := parseCPUList(text); got != want {
			t.Errorf("CPUs %q: %d, want %d", text, got, want)
		}
	}
	if got := parseMemTotal([]byte("MemTotal:       16318480 kB\nMemFree: 1 kB\n")); got != 16318480<<10 {
		t.Errorf("memory %d", got)
	}
	if got := parseMemTotal([]byte("MemFree: 1 kB\n")); got != 0 {
		t.Errorf("memory %d, want 0", got)
	}
	users := parsePasswd("root:x:0:0:root:/root:/bin/sh\n# comment\ntoor:x:0:0::/:\nbad:x:y:0::/:\nada:x:1000:1000::/:\n+\n")
	if want := map[int]string{0: "root", 1000: "ada"}; !reflect.DeepEqual(users, want) {
		t.Errorf("users %v, want %v", users, want)
	}
}

func FuzzParseProc(f *testing.F) {
	f.Add([]byte("77 (a)" + testStat))
	f.Add([]byte(testStatus))
	f.Add([]byte("GOGC=50\x00PATH=x\x00"))
	f.Add([]byte("0-3,8"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if st, ok := parseStat(text); ok && st.state == 0 && strings.IndexByte(string(text), 0) < 0 {
			t.Errorf("%q has no state", text)
		}
		if st, ok := parseStatus(text); ok && (st.rss >= 1<<63 || st.anon+st.file+st.shmem >= 1<<63) {
			t.Errorf("%q has an RSS of %d", text, st.rss)
		}
		for k := range parseEnviron(text) {
			if !strings.HasPrefix(k, "GO") {
				t.Errorf("kept %s", k)
			}
		}
		if n := parseCPUList(string(text)); n < 0 {
			t.Errorf("%q is %d CPUs", text, n)
		}
		parseMemTotal(text)
		parsePasswd(string(text))
	})
}
