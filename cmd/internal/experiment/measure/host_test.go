package measure

import (
	"math"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
)

// A machine of files: stat and pressure as the kernel has them, and a cgroup of
// each version.
type machine struct{ dir string }

func newMachine(t *testing.T) machine {
	return machine{t.TempDir()}
}

func (m machine) write(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join(m.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o666); err != nil {
		t.Fatal(err)
	}
}

func TestHost(t *testing.T) {
	m := newMachine(t)
	m.write(t, "stat", "cpu  1000 100 500 5000 100 10 20 30 400 0\ncpu0 500 50 250 2500 50 5 10 15 200 0\ncpu1 500 50 250 2500 50 5 10 15 200 0\nintr 5 6\nctxt 7\n")
	m.write(t, "v2/cpu.stat", "usage_usec 5\nnr_throttled 1\nthrottled_usec 1000000\n")
	m.write(t, "v1/cpu.stat", "nr_periods 5\nnr_throttled 1\nthrottled_time 1000000000\n")
	h, err := beginHost(m.dir, []string{"", filepath.Join(m.dir, "v1"), filepath.Join(m.dir, "v2"), filepath.Join(m.dir, "none"), filepath.Join(m.dir, "v1")})
	if err != nil {
		t.Fatal(err)
	}
	h.before.own = time.Hour // ours does not count below
	// Ten seconds of two cores: 8 busy, 1 stolen, 11 idle; ours are 5.
	m.write(t, "stat", "cpu  1400 200 700 6000 200 60 70 130 900 0\ncpu0 0 0 0 0 0 0 0 0 0 0\ncpu1 0 0 0 0 0 0 0 0 0 0\n")
	m.write(t, "v2/cpu.stat", "throttled_usec 1500000\n")
	m.write(t, "v1/cpu.stat", "throttled_time 1250000000\n")
	got, err := h.Finish(5 * time.Second)
	if err != nil {
		t.Fatal(err)
	}
	want := experiment.Host{Cores: 2, ExternalCPU: 3.0 / 20, Steal: 1.0 / 20, Throttled: 0.75}
	if math.Abs(got.ExternalCPU-want.ExternalCPU) > 1e-9 || math.Abs(got.Steal-want.Steal) > 1e-9 {
		t.Errorf("external %v, steal %v; want %v, %v", got.ExternalCPU, got.Steal, want.ExternalCPU, want.Steal)
	}
	got.ExternalCPU, got.Steal = want.ExternalCPU, want.Steal
	if got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	// A group that is gone with its process leaves the others.
	if err := os.RemoveAll(filepath.Join(m.dir, "v1")); err != nil {
		t.Fatal(err)
	}
	if got, err := h.Finish(0); err != nil || got.Throttled != 0.75 {
		t.Errorf("throttled %v, %v; it was to be as at the end", got.Throttled, err)
	}
	if err := h.End(); err != nil {
		t.Fatal(err)
	}
	if got, err := h.Finish(0); err != nil || got.Throttled != 0.5 {
		t.Errorf("throttled %v, %v", got.Throttled, err)
	}
	if err := os.Remove(filepath.Join(m.dir, "stat")); err != nil {
		t.Fatal(err)
	}
	if err := h.End(); err == nil {
		t.Error("a host without /proc/stat has been looked at")
	}
	if _, err := beginHost(m.dir, nil); err == nil {
		t.Error("a host without /proc/stat is looked at")
	}
}

func TestBetween(t *testing.T) {
	at := func(s int) time.Time { return began.Add(time.Duration(s) * time.Second) }
	for _, c := range []struct {
		name   string
		a, b   reading
		ourCPU time.Duration
		want   experiment.Host
	}{
		{"nothing", reading{}, reading{}, 0, experiment.Host{}},
		{"pressure",
			reading{cores: 4, pressure: true, cpu: time.Second, memory: time.Second, pressureClock: at(0)},
			reading{cores: 4, pressure: true, cpu: 3 * time.Second, memory: 2 * time.Second, pressureClock: at(10)}, 0,
			experiment.Host{Cores: 4, Pressure: 0.2, MemPressure: 0.1}},
		{"pressure at one end only",
			reading{cores: 4, pressureClock: at(0)},
			reading{cores: 4, pressure: true, cpu: 3 * time.Second, pressureClock: at(10)}, 0, experiment.Host{Cores: 4}},
		{"ours and our own",
			reading{cores: 2, busy: 10, total: 100, own: time.Second},
			reading{cores: 2, busy: 20, total: 120, own: 2 * time.Second}, 4 * time.Second, experiment.Host{Cores: 2, ExternalCPU: 0.25}},
		{"more ours than busy",
			reading{cores: 2, busy: 10, total: 100}, reading{cores: 2, busy: 20, total: 120}, time.Minute, experiment.Host{Cores: 2}},
		{"ours below zero",
			reading{cores: 2, busy: 10, total: 100}, reading{cores: 2, busy: 20, total: 120}, -time.Minute, experiment.Host{Cores: 2, ExternalCPU: 0.5}},
		{"counters that go back",
			reading{cores: 2, busy: 20, total: 100, steal: 5, pressure: true, cpu: time.Hour, pressureClock: at(0)},
			reading{cores: 2, busy: 10, total: 120, pressure: true, pressureClock: at(1)}, 0, experiment.Host{Cores: 2}},
	} {
		if got := between(&c.a, &c.b, c.ourCPU); got != c.want {
			t.Errorf("%s: got %+v, want %+v", c.name, got, c.want)
		}
	}
}

// TestThisHost: the kernel that runs the test is understood.
func TestThisHost(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("needs Linux")
	}
	h, err := BeginHost()
	if err != nil {
		t.Fatal(err)
	}
	host, err := h.Finish(0)
	if err != nil {
		t.Fatal(err)
	}
	if host.Cores < 1 || h.before.busy <= 0 || h.before.total <= h.before.busy {
		t.Errorf("%+v from %+v", host, h.before)
	}
}

func TestParseHost(t *testing.T) {
	for _, text := range []string{"", "cpu\n", "cpu  1 2 3 4\n", "cpu0 1 2 3 4\n", "cpu  1 2 3 x\ncpu0 1\n", "cpu  1 2 -3 4\ncpu0 1\n", "cpu  1 2\ncpu0 1\n"} {
		if r, err := parseStat(text); err == nil {
			t.Errorf("%q: %+v", text, r)
		}
	}
	if r, err := parseStat("cpu 1 2 3 4\ncpu0 1 2 3 4"); err != nil || r.cores != 1 || r.busy != 0.06 || math.Abs(r.total-0.1) > 1e-9 {
		t.Errorf("an old kernel: %+v, %v", r, err)
	}
	for text, want := range map[string]time.Duration{
		"some avg10=0.00 avg60=0.00 avg300=0.00 total=12\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=5\n": 12 * time.Microsecond,
		"full total=5\nsome total=7": 7 * time.Microsecond,
		"some total=-1":              -1, "some total=9999999999999999999": -1, "some": -1, "": -1, "some total=9223372036854775807": -1,
	} {
		if got, ok := parsePressure(text); ok != (want >= 0) || ok && got != want {
			t.Errorf("%q: %v, %v", text, got, ok)
		}
	}
}

func FuzzHost(f *testing.F) {
	f.Add("cpu  1000 100 500 5000 100 10 20 30 400 0\ncpu0 500 50\n", "cpu  18446744073709551615 1 1 1 1 1 1 1\ncpu0\n", "some total=9223372036854775\n", "throttled_usec 99")
	f.Fuzz(func(t *testing.T, stat1, stat2, pressure, throttled string) {
		a, err1 := parseStat(stat1)
		b, err2 := parseStat(stat2)
		a.pressureClock, b.pressureClock = began, began.Add(time.Second)
		b.cpu, b.pressure = parsePressure(pressure)
		a.pressure = b.pressure
		if d, ok := parseThrottled(throttled); ok {
			a.throttled, b.throttled = map[string]time.Duration{"": 0}, map[string]time.Duration{"": d}
		}
		if err1 != nil || err2 != nil {
			return
		}
		h := between(&a, &b, time.Second)
		for _, x := range []float64{h.ExternalCPU, h.Steal, h.Pressure, h.MemPressure} {
			if !(x >= 0 && x <= 1) {
				t.Errorf("%+v", h)
			}
		}
		if h.Throttled < 0 || math.IsNaN(h.Throttled) {
			t.Errorf("throttled %v", h.Throttled)
		}
	})
}
