package memlimit

import (
	"math"
	"os"
	"path/filepath"
	"testing"
)

func TestField(t *testing.T) {
	const text = "Name:\tx\nRssAnon:\t    1684 kB\nRssShmem:\t0 kB\nBad:\t-1 kB\nPages:\t12\nHuge:\t99999999999999999999 kB\nOver:\t9223372036854775807 kB\nCut: 12"
	for _, tt := range []struct {
		name string
		want uint64
		ok   bool
	}{{"RssAnon", 1684 << 10, true}, {"RssShmem", 0, true}, {"Rss", 0, false}, {"Name", 0, false}, {"Bad", 0, false}, {"Pages", 0, false}, {"Huge", 0, false}, {"Over", 0, false}, {"Cut", 0, false}} {
		if v, ok := field(text, tt.name); v != tt.want || ok != tt.ok {
			t.Errorf("%s: %d, %t; want %d, %t", tt.name, v, ok, tt.want, tt.ok)
		}
	}
}

func FuzzField(f *testing.F) {
	f.Add("MemTotal:       24683900 kB\nMemFree: 1 kB\n", "MemTotal")
	f.Add("A: 1", "A")
	f.Fuzz(func(t *testing.T, text, name string) {
		if v, ok := field(text, name); v > math.MaxInt64 || v%1024 != 0 || !ok && v != 0 {
			t.Errorf("%d, %t", v, ok)
		}
	})
}

// What this machine says of us is about what the runtime says.
func TestOwn(t *testing.T) {
	if host := hostMemory(); host < 64<<20 {
		t.Errorf("the host has %d bytes", host)
	}
	b := touched(make([]byte, 64<<20))
	own, err := ownMemory()
	if err != nil {
		t.Skipf("the kernel does not tell: %v", err)
	}
	var g goState
	runtimeReader()(&g)
	if own < 64<<20 || g.held < 64<<20 || own < g.held/4 {
		t.Errorf("the process has %d bytes, Go %d", own, g.held)
	}
	if _, err := readSmall(os.DevNull); err != nil {
		t.Error(err)
	}
	long := filepath.Join(t.TempDir(), "long")
	if err := os.WriteFile(long, make([]byte, maxFile+1), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := readSmall(long); err == nil {
		t.Error("reads a file that is too long for a number")
	}
	b[0] = 2
}
