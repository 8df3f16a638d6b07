package memlimit

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/heapwright/heapwright/guard/sli"
	"github.com/heapwright/heapwright/memlimit/control"
	"github.com/heapwright/heapwright/metric"
)

// A fake is a system of a test's own.
type fake struct {
	mu     sync.Mutex
	env    map[string]string
	files  map[string]string
	look   groupLook
	host   uint64
	used   uint64
	none   error // of the measurement of the process
	g      goState
	freed  int    // calls of freeOSMemory
	onGC   func() // called by it
	gogc   []int  // set
	point  func(*sli.Point)
	log    []string
	closed int
	nudged int
}

const gib = 1 << 30

// newFake is a process in a container of 1 GiB.
func newFake() *fake {
	return &fake{
		env: map[string]string{}, files: map[string]string{}, host: 64 * gib,
		look: container(gib, 150*mib),
		g:    goState{held: 100 * mib, live: 40 * mib, fixed: 10 * mib, limit: math.MaxInt64, gogc: 100},
	}
}

func container(limit, used uint64) groupLook {
	l := groupLook{limit: limit, limited: limit > 0, path: "/pod", used: used, measured: true}
	found := "max"
	if l.limited {
		found = fmt.Sprint(limit)
	}
	l.looks = []Look{{Source: SourceCgroup, Where: "/pod", Found: found}, {Source: SourceCgroup, Where: "/", Found: "max"}}
	return l
}

func (f *fake) system() *system {
	return &system{
		getenv: func(name string) string { return f.env[name] },
		readFile: func(name string) ([]byte, error) {
			f.mu.Lock()
			defer f.mu.Unlock()
			if text, ok := f.files[name]; ok {
				return []byte(text), nil
			}
			return nil, fs.ErrNotExist
		},
		group: func() groupLook {
			f.mu.Lock()
			defer f.mu.Unlock()
			l := f.look
			l.looks = slices.Clone(l.looks)
			return l
		},
		close: func() { f.change(func() { f.closed++ }) },
		own:   func() (uint64, error) { return f.used, f.none },
		host:  func() uint64 { return f.host },
		read: func(g *goState) {
			f.mu.Lock()
			defer f.mu.Unlock()
			*g = f.g
		},
		cycles: func() uint64 {
			f.mu.Lock()
			defer f.mu.Unlock()
			return f.g.cycles
		},
		points:         func() (points, error) { return (*fakePoints)(f), nil },
		setMemoryLimit: func(v int64) { f.change(func() { f.g.limit = v }) },
		setGCPercent: func(v int) {
			f.change(func() {
				f.g.gogc = v
				f.gogc = append(f.gogc, v)
			})
		},
		nudge: func() { f.change(func() { f.nudged++ }) },
		freeOSMemory: func() {
			f.change(func() {
				f.freed++
				if f.onGC != nil {
					f.onGC()
				}
			})
		},
	}
}

func (f *fake) change(how func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	how()
}

func (f *fake) state() goState {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.g
}

type fakePoints fake

func (f *fakePoints) Read(p *sli.Point) {
	f.mu.Lock()
	defer f.mu.Unlock()
	*p = sli.Point{Cores: 2}
	p.Time = time.Now()
	p.GCCycles, p.GOGCPercent, p.GOMEMLIMITBytes = f.g.cycles, int64(f.g.gogc), f.g.limit
	p.HeapMarkedBytes, p.MappedReadyBytes = f.g.live, f.g.held
	if f.point != nil {
		f.point(p)
	}
}

func (f *fakePoints) Close() error { return nil }

// logger keeps the lines of the log.
func (f *fake) logger() *slog.Logger { return slog.New(&keeper{f}) }

type keeper struct{ f *fake }

func (k *keeper) Enabled(context.Context, slog.Level) bool { return true }
func (k *keeper) Handle(_ context.Context, r slog.Record) error {
	line := r.Level.String() + " " + r.Message
	r.Attrs(func(a slog.Attr) bool {
		line += " " + a.Key + "=" + a.Value.String()
		return true
	})
	k.f.change(func() { k.f.log = append(k.f.log, line) })
	return nil
}
func (k *keeper) WithAttrs([]slog.Attr) slog.Handler { return k }
func (k *keeper) WithGroup(string) slog.Handler      { return k }

// start starts a Limit that looks only when the test says so.
func (f *fake) start(t *testing.T, conf Config) *Limit {
	t.Helper()
	conf.Logger = f.logger()
	if conf.Interval == 0 {
		conf.Interval = 24 * time.Hour
	}
	l, err := newLimit(conf, f.system())
	if err != nil {
		t.Fatal(err)
	}
	l.start()
	t.Cleanup(func() { l.Close() })
	return l
}

// lines are those of the log, after all of them were written.
func (f *fake) lines(t *testing.T, l *Limit) string {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	return strings.Join(f.log, "\n")
}

func TestFind(t *testing.T) {
	for _, tt := range []struct {
		name   string
		conf   Config
		set    func(*fake)
		source Source
		bytes  uint64
		looks  string // "source taken|why" of what was said or found, in order
		warns  bool
	}{
		{"cgroup", Config{}, nil, SourceCgroup, gib, "environment -; cgroup taken; cgroup -", false},
		{"none", Config{}, func(f *fake) { f.look = container(0, 0) }, SourceNone, 0, "environment -; cgroup -; cgroup -", false},
		{"no cgroups", Config{}, func(f *fake) {
			f.look = groupLook{err: errors.New("no cgroups"), looks: []Look{{Source: SourceCgroup, Why: "no cgroups"}}}
		},
			SourceNone, 0, "environment -; cgroup no cgroups", false},
		{"config", Config{Bytes: gib / 2}, nil, SourceConfig, gib / 2, "config taken; environment -; cgroup more than what was said; cgroup -", false},
		{"config above the cgroup", Config{Bytes: 2 * gib}, nil, SourceCgroup, gib, "config the kernel allows less, or as much; environment -; cgroup taken; cgroup -", false},
		{"config of the whole host", Config{Bytes: 64 * gib}, nil, SourceCgroup, gib, "config no limit: the host has 64.0 GiB; environment -; cgroup taken; cgroup -", false},
		{"file", Config{File: "/etc/limit"}, func(f *fake) { f.files["/etc/limit"] = "512Mi\n" }, SourceFile, gib / 2, "file taken; environment -; cgroup more than what was said; cgroup -", false},
		{"file is missing", Config{File: "/etc/limit"}, nil, SourceCgroup, gib, "file reading the memory limit: file does not exist; environment -; cgroup taken; cgroup -", true},
		{"file is garbage", Config{File: "/etc/limit"}, func(f *fake) { f.files["/etc/limit"] = "\x00\xff" }, SourceCgroup, gib,
			"file not a number of bytes: write it as 536870912, 512Mi or 0.5G; environment -; cgroup taken; cgroup -", true},
		{"config before file before environment", Config{Bytes: 300 * mib, File: "/etc/limit"}, func(f *fake) {
			f.files["/etc/limit"], f.env[envLimit] = "200Mi", "100Mi"
		}, SourceConfig, 300 * mib, "config taken; file an earlier one counts; environment an earlier one counts; cgroup more than what was said; cgroup -", false},
		{"environment", Config{}, func(f *fake) { f.env[envLimit] = "0.25Gi" }, SourceEnvironment, gib / 4, "environment taken; cgroup more than what was said; cgroup -", false},
		{"environment names a file", Config{}, func(f *fake) { f.env[envLimit], f.files["/pod/limit"] = "@/pod/limit", "268435456" }, SourceEnvironment, gib / 4,
			"environment taken; cgroup more than what was said; cgroup -", false},
		{"environment is 0", Config{}, func(f *fake) { f.env[envLimit] = "0" }, SourceCgroup, gib, "environment 0 is no memory at all; cgroup taken; cgroup -", true},
		{"environment is negative", Config{}, func(f *fake) { f.env[envLimit] = "-5" }, SourceCgroup, gib, "environment a negative number of bytes; cgroup taken; cgroup -", true},
		{"environment is max", Config{}, func(f *fake) { f.env[envLimit] = "max" }, SourceCgroup, gib, "environment no limit; cgroup taken; cgroup -", false},
		{"environment in the wrong unit", Config{}, func(f *fake) { f.env[envLimit] = "512" }, SourceCgroup, gib,
			"environment less than 8.0 MiB: no Go program fits in that; is the unit right?; cgroup taken; cgroup -", true},
		{"cgroup is 0", Config{}, func(f *fake) { f.look = container(1, 0); f.look.limit = 0 }, SourceNone, 0, "environment -; cgroup 0 is no memory at all; cgroup -", true},
		{"cgroup is as large as the host", Config{}, func(f *fake) { f.look = container(64*gib, 0) }, SourceNone, 0, "environment -; cgroup no limit: the host has 64.0 GiB; cgroup -", false},
		{"v1 has no limit", Config{}, func(f *fake) { f.look, f.host = container(0x7ffffffffffff000, 0), 0 }, SourceNone, 0,
			"environment -; cgroup so large that it means no limit; cgroup -", false},
		{"memory.high", Config{}, func(f *fake) {
			f.look.limit, f.look.high = 900*mib, true
			f.look.looks = append(f.look.looks, Look{Source: SourceCgroupHigh, Where: "/pod", Found: "943718400"})
		}, SourceCgroupHigh, 900 * mib, "environment -; cgroup -; cgroup -; cgroup_high taken", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFake()
			if tt.set != nil {
				tt.set(f)
			}
			got := find(f.system(), &tt.conf, &found{})
			var looks []string
			for _, l := range got.looks {
				what := "-"
				if l.Taken {
					what = "taken"
				} else if l.Why != "" {
					what = l.Why
				}
				looks = append(looks, string(l.Source)+" "+what)
			}
			if got.source != tt.source || got.bytes != tt.bytes || strings.Join(looks, "; ") != tt.looks || (len(got.bad) > 0) != tt.warns {
				t.Errorf("%s, %d\n%s\nbad %v; want %s, %d\n%s\nbad %t", got.source, got.bytes, strings.Join(looks, "; "), got.bad, tt.source, tt.bytes, tt.looks, tt.warns)
			}
		})
	}
}

func TestStartErrors(t *testing.T) {
	for _, tt := range []struct {
		conf Config
		env  string
		want string
	}{
		{Config{Bytes: 1024}, "", "is the unit right"},
		{Config{Bytes: math.MaxUint64}, "", "no limit"},
		{Config{Interval: -1}, "", "Interval"},
		{Config{}, "maybe", "on, off or dry-run"},
		{Config{Objective: &control.Objective{GCCPURatio: 2}}, "", "share of the CPUs"},
		{Config{Objective: &control.Objective{}, MinGOGC: 1}, "", "GOGC may be"},
	} {
		f := newFake()
		f.env[envSwitch] = tt.env
		if l, err := newLimit(tt.conf, f.system()); err == nil || l != nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%+v: %v, want something about %q", tt.conf, err, tt.want)
		}
	}
}

// What is set, said and reported in each mode, and what is there after Close.
func TestModes(t *testing.T) {
	for _, tt := range []struct {
		name  string
		conf  Config
		set   func(*fake)
		mode  Mode
		limit int64 // MiB; 0: none
		would int64
		line  string
	}{
		{"set", Config{}, nil, ModeSet, 1024 - 102 - 32, 0, "INFO memory limit is set mode=set"},
		{"no limit", Config{}, func(f *fake) { f.look = container(0, 0) }, ModeNoLimit, 0, 0, "DEBUG memory limit is not set mode=no_limit"},
		{"dry run", Config{DryRun: true}, nil, ModeDryRun, 0, 1024 - 102 - 32, "INFO memory limit would be set mode=dry_run"},
		{"dry run by the environment", Config{}, func(f *fake) { f.env[envSwitch] = "dry-run" }, ModeDryRun, 0, 1024 - 102 - 32, "INFO memory limit would be set"},
		{"operator", Config{}, func(f *fake) { f.env["GOMEMLIMIT"], f.g.limit = "500MiB", 500*mib }, ModeOperator, 500, 1024 - 102 - 32, "INFO memory limit is left as it was set"},
		{"operator is wrong", Config{}, func(f *fake) { f.env["GOMEMLIMIT"], f.g.limit = "5GiB", 5*gib }, ModeOperator, 5120, 1024 - 102 - 32, "WARN memory limit is left as it was set"},
		{"operator says off", Config{}, func(f *fake) { f.env["GOMEMLIMIT"] = "off" }, ModeOperator, 0, 1024 - 102 - 32, "WARN memory limit is left as it was set"},
		{"program", Config{}, func(f *fake) { f.g.limit = 500 * mib }, ModeOperator, 500, 1024 - 102 - 32, "debug.SetMemoryLimit"},
		{"operator ignored", Config{IgnoreOperator: true}, func(f *fake) { f.env["GOMEMLIMIT"], f.g.limit = "500MiB", 500*mib }, ModeSet, 1024 - 102 - 32, 0, "previous=500.0 MiB"},
		{"too small", Config{}, func(f *fake) { f.g.live = 950 * mib }, ModeTooSmall, 911, 0, "WARN memory limit is set mode=too_small"},
		{"off", Config{}, func(f *fake) { f.env[envSwitch] = "off" }, ModeOff, 0, 0, "INFO memory limit is not kept mode=off"},
		{"reserve", Config{Reserve: 200 * mib}, nil, ModeSet, 1024 - 102 - 200, 0, "reserve=200.0 MiB"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			f := newFake()
			if tt.set != nil {
				tt.set(f)
			}
			before := f.g
			l := f.start(t, tt.conf)
			r := l.Report()
			in := func(v int64) int64 {
				if v == math.MaxInt64 {
					return 0
				}
				return (v + mib/2) / mib
			}
			if r.Mode != tt.mode || in(r.GOMEMLIMIT) != tt.limit || in(r.WouldSet) != tt.would || r.GOMEMLIMIT != f.state().limit {
				t.Errorf("mode %s, GOMEMLIMIT %d (set: %d), would set %d; want %s, %d, %d\n%s", r.Mode, in(r.GOMEMLIMIT), in(f.state().limit), in(r.WouldSet), tt.mode, tt.limit, tt.would, r.Reason)
			}
			if b, err := json.Marshal(r); err != nil || !strings.Contains(string(b), `"gomemlimit_bytes":`) {
				t.Errorf("as JSON: %s, %v", b, err)
			}
			n := 0
			l.Metrics(func(m metric.Metric) {
				if n++; math.IsNaN(m.Value) || m.Name == "" || m.Help == "" {
					t.Errorf("emits %+v", m)
				}
			})
			if n < 6 {
				t.Errorf("%d metrics", n)
			}
			log := f.lines(t, l)
			if !strings.Contains(log, tt.line) {
				t.Errorf("the log is\n%s\nwant %s", log, tt.line)
			}
			if tt.mode == ModeNoLimit && strings.Contains(log, "INFO") {
				t.Errorf("too loud for no limit:\n%s", log)
			}
			if after := f.state(); after.limit != before.limit || after.gogc != before.gogc {
				t.Errorf("after Close GOMEMLIMIT is %d, GOGC %d; before they were %d, %d", after.limit, after.gogc, before.limit, before.gogc)
			}
			if r := l.Report(); r.Mode != ModeClosed {
				t.Errorf("after Close: %s", r.Mode)
			}
			if open := tt.mode != ModeOff; (f.closed == 1) != open {
				t.Errorf("files were closed %d times", f.closed)
			}
		})
	}
}

func TestFollowsTheLimit(t *testing.T) {
	f := newFake()
	changes := make(chan Report, 100)
	l := f.start(t, Config{OnChange: func(r Report) { changes <- r }})
	l.refresh() // the first measurement
	if r := l.Report(); !r.Measured || r.NonGoBytes != 50*mib || r.GOMEMLIMIT != (1024-50-32)*mib {
		t.Errorf("measured %t, non-Go %d, GOMEMLIMIT %d", r.Measured, r.NonGoBytes, r.GOMEMLIMIT)
	}
	// Less than a per cent is no change.
	n := l.Report().Changes
	f.change(func() { f.look = container(gib, 155*mib) })
	l.refresh()
	if r := l.Report(); r.Changes != n || r.NonGoBytes != 55*mib {
		t.Errorf("%d changes after %d, non-Go %d", r.Changes, n, r.NonGoBytes)
	}
	f.change(func() { f.look = container(2*gib, 155*mib) })
	l.refresh()
	if r := l.Report(); r.LimitBytes != 2*gib || r.GOMEMLIMIT < 1900*mib {
		t.Errorf("after a raise: %+v", r)
	}
	f.change(func() { f.look = container(gib/2, 155*mib) })
	l.refresh()
	if r := l.Report(); r.LimitBytes != gib/2 || r.GOMEMLIMIT > (512-54)*mib {
		t.Errorf("after it was lowered: %+v", r)
	}
	// A look that fails lifts no limit.
	f.change(func() { f.look = groupLook{err: errors.New("gone")} })
	l.refresh()
	if r := l.Report(); r.LimitBytes != gib/2 || r.Mode != ModeSet || !strings.Contains(r.Error, "gone") {
		t.Errorf("after a look that failed: %+v", r)
	}
	// One that sees that there is none does.
	f.change(func() { f.look = container(0, 0) })
	l.refresh()
	if r := l.Report(); r.Mode != ModeNoLimit || r.GOMEMLIMIT != math.MaxInt64 || r.Error != "" {
		t.Errorf("after the limit was lifted: %+v", r)
	}
	if log := f.lines(t, l); strings.Count(log, "memory limit is set") != 4 {
		t.Errorf("one line for each change?\n%s", log)
	}
	select {
	case <-changes:
	case <-time.After(time.Minute):
		t.Error("OnChange was not called")
	}
}

// A file that cannot be read lifts no limit, and without cgroups a file still may
// raise it.
func TestFollowsTheFile(t *testing.T) {
	f := newFake()
	f.look = groupLook{err: errors.New("cgroups need Linux"), looks: []Look{{Source: SourceCgroup, Why: "cgroups need Linux"}}}
	f.used = 150 * mib
	f.env[envLimit] = "@/pod/limit"
	f.files["/pod/limit"] = "512Mi"
	l := f.start(t, Config{})
	for _, tt := range []struct {
		text string
		want uint64
		err  string
	}{{"1Gi", gib, ""}, {"", gib, "not a number"}, {"700Mi", 700 * mib, ""}, {"max", 0, ""}, {"-1", 0, ""}, {"600Mi", 600 * mib, ""}, {"\x00", 600 * mib, "not a number"}} {
		f.change(func() { f.files["/pod/limit"] = tt.text })
		l.refresh()
		if r := l.Report(); r.LimitBytes != tt.want || !strings.Contains(r.Error, tt.err) || tt.err == "" && r.Error != "" || (r.Mode == ModeNoLimit) != (tt.want == 0) {
			t.Errorf("%q: limit %d, mode %s, error %q; want %d, %q", tt.text, r.LimitBytes, r.Mode, r.Error, tt.want, tt.err)
		}
	}
}

// What goes to and fro is said once, and the report has it all.
func TestSaysOnce(t *testing.T) {
	f := newFake()
	l := f.start(t, Config{})
	for i := range 40 {
		f.change(func() { f.g.live = uint64(40+900*(i%2)) * mib })
		l.refresh()
		time.Sleep(time.Millisecond) // for the lines to be written: not more wait than maxLines
	}
	if r := l.Report(); r.Mode != ModeTooSmall {
		t.Errorf("mode %s", r.Mode)
	}
	log := f.lines(t, l)
	if info, warn := strings.Count(log, "INFO memory limit is set"), strings.Count(log, "WARN"); info != 1 || warn != 1 {
		t.Errorf("%d lines, %d warnings:\n%s", info, warn, log)
	}
}

// Where Go holds more than it may, the runtime is asked whether a collection is due.
func TestNudges(t *testing.T) {
	f := newFake()
	l := f.start(t, Config{})
	l.refresh()
	if f.nudged != 0 {
		t.Errorf("%d nudges with room to spare", f.nudged)
	}
	f.change(func() { f.g.held, f.look = 500*mib, container(512*mib, 510*mib) })
	l.refresh()
	l.refresh()
	if f.nudged != 2 {
		t.Errorf("%d nudges", f.nudged)
	}
}

// A measurement that fails leaves the share of the limit in place, and says so once.
func TestNotMeasured(t *testing.T) {
	f := newFake()
	f.look.measured, f.look.err, f.none = false, errors.New("memory.stat is torn"), errors.New("no status")
	l := f.start(t, Config{})
	l.refresh()
	l.refresh()
	r := l.Report()
	if r.Measured || r.Mode != ModeSet || r.NonGoBytes == 0 || !strings.Contains(r.Error, "torn") || r.Failures != 3 {
		t.Errorf("got %+v", r)
	}
	if log := f.lines(t, l); strings.Count(log, "torn") != 1 {
		t.Errorf("the log is\n%s", log)
	}
}

// As on macOS and Windows: a limit that is given is set, and what cannot be measured is
// no failure.
func TestNotMeasurable(t *testing.T) {
	f := newFake()
	f.look = groupLook{err: errors.New("cgroups need Linux"), looks: []Look{{Source: SourceCgroup, Why: "cgroups need Linux"}}}
	f.none = errUnmeasurable
	l := f.start(t, Config{Bytes: gib})
	l.refresh()
	if r := l.Report(); r.Mode != ModeSet || r.Measured || r.Error != "" || r.Failures != 0 || !strings.Contains(r.NonGoWhy, "only Linux") || r.GOMEMLIMIT < 800*mib {
		t.Errorf("%+v", r)
	}
	l.Close()
	f.log = nil
	l = f.start(t, Config{})
	if r := l.Report(); r.Mode != ModeNoLimit || !strings.Contains(r.Reason, "cgroups need Linux") {
		t.Errorf("%+v", r)
	}
	if log := f.lines(t, l); strings.Contains(log, "INFO") || strings.Contains(log, "WARN") || !strings.Contains(log, "cgroups need Linux") {
		t.Errorf("the log is\n%s", log)
	}
}

func TestStandsDown(t *testing.T) {
	f := newFake()
	l := f.start(t, Config{})
	l.refresh()
	f.change(func() { f.g.limit = 123 * mib })
	l.refresh()
	if r := l.Report(); r.Mode != ModeStoodDown || r.GOMEMLIMIT != 123*mib || f.state().limit != 123*mib {
		t.Errorf("got %+v", r)
	}
	if _, err := l.Override(0, 500*mib, time.Minute, "test"); err == nil {
		t.Error("overrides what is somebody else's")
	}
	l.Enable()
	if r := l.Report(); r.Mode != ModeSet || f.state().limit < 900*mib {
		t.Errorf("enabled again: %+v", r)
	}
	f.change(func() { f.g.limit = 456 * mib })
	log := f.lines(t, l)
	if !strings.Contains(log, "WARN memory limit is left alone") {
		t.Errorf("the log is\n%s", log)
	}
	if f.g.limit != 456*mib {
		t.Errorf("Close made %d of what somebody else set", f.g.limit)
	}
}

// What the program itself sets, where nothing of ours is set, is no conflict.
func TestFollowsTheProgram(t *testing.T) {
	f := newFake()
	f.look = container(0, 0)
	l := f.start(t, Config{})
	f.change(func() { f.g.limit, f.look = 700*mib, container(gib, 150*mib) })
	l.refresh()
	if r := l.Report(); r.Mode != ModeOperator || f.state().limit != 700*mib {
		t.Errorf("got %+v", r)
	}
	l.Close()
	if f.g.limit != 700*mib {
		t.Errorf("after Close: %d", f.g.limit)
	}
}

func TestDisable(t *testing.T) {
	f := newFake()
	l := f.start(t, Config{})
	l.Disable("drill")
	if r := l.Report(); r.Mode != ModeOff || f.state().limit != math.MaxInt64 || r.Reason != "drill" {
		t.Errorf("got %+v", r)
	}
	l.refresh()
	if f.state().limit != math.MaxInt64 {
		t.Error("sets while it is off")
	}
	l.Enable()
	if r := l.Report(); r.Mode != ModeSet || f.state().limit == math.MaxInt64 {
		t.Errorf("enabled again: %+v", r)
	}
	f.env[envSwitch] = "off"
	l.Disable("drill")
	l.Enable()
	if r := l.Report(); r.Mode != ModeOff {
		t.Errorf("enabled against the environment: %+v", r)
	}
}

// TestEnableLate: what was off from the start has looked for no limit, and does not
// take none for zero.
func TestEnableLate(t *testing.T) {
	f := newFake()
	f.env[envSwitch] = "off"
	l := f.start(t, Config{})
	delete(f.env, envSwitch)
	l.Enable()
	if r := l.Report(); r.Mode != ModeOff || f.state().limit != math.MaxInt64 {
		t.Errorf("GOMEMLIMIT %d, %+v", f.state().limit, r)
	}
}

func TestOverride(t *testing.T) {
	f := newFake()
	l := f.start(t, Config{})
	for _, tt := range []struct {
		gogc  int
		limit int64
		lease time.Duration
	}{{0, 0, time.Minute}, {-1, 0, time.Minute}, {0, 1024, time.Minute}, {0, -5, time.Minute}, {50, 0, 0}, {50, 0, -1}, {50, 0, 1000 * time.Hour}, {1 << 30, 0, time.Minute}} {
		if revert, err := l.Override(tt.gogc, tt.limit, tt.lease, "test"); err == nil || revert != nil {
			t.Errorf("%+v is taken", tt)
		}
		if err := l.CheckOverride(tt.gogc, tt.limit, tt.lease, "test"); err == nil {
			t.Errorf("%+v would be taken", tt)
		}
	}
	before := f.state()
	if err := l.CheckOverride(50, 700*mib, time.Hour, "ada"); err != nil || f.state() != before || l.Report().Override != nil {
		t.Errorf("a check: %v, and then there is %+v", err, l.Report().Override)
	}
	revert, err := l.Override(50, 700*mib, time.Hour, "ada")
	if err != nil {
		t.Fatal(err)
	}
	if r := l.Report(); r.Mode != ModeOverride || f.state().limit != 700*mib || f.state().gogc != 50 || r.Override == nil || r.Override.Who != "ada" {
		t.Errorf("got %+v", r)
	}
	if _, err := l.Override(60, 0, time.Hour, "bob"); err == nil || !strings.Contains(err.Error(), "ada") {
		t.Errorf("a second one: %v", err)
	}
	l.refresh()
	if f.state().limit != 700*mib {
		t.Error("a look ends the override")
	}
	// Renewed, it is the same override for longer: nothing is set, and the revert of
	// before is none any more.
	changes, old := l.Report().Changes, revert
	if revert, err = l.Override(50, 700*mib, 2*time.Hour, "ada"); err != nil {
		t.Fatal(err)
	}
	old()
	if r := l.Report(); r.Mode != ModeOverride || r.Changes != changes || time.Until(r.Override.Until) < 90*time.Minute {
		t.Errorf("renewed: %+v", r)
	}
	revert()
	revert()
	if r := l.Report(); r.Mode != ModeSet || f.state().gogc != before.gogc || f.state().limit < before.limit || r.Override != nil {
		t.Errorf("reverted: %+v", r)
	}
	// The revert of an override that ended does not end the next.
	if _, err := l.Override(70, 0, time.Hour, "bob"); err != nil {
		t.Fatal(err)
	}
	revert()
	if f.state().gogc != 70 {
		t.Error("an old revert ends a new override")
	}
	l.Close()
	if f.g.gogc != 100 || f.g.limit != math.MaxInt64 {
		t.Errorf("after Close: %+v", f.g)
	}
	if _, err := l.Override(50, 0, time.Hour, "eve"); err == nil {
		t.Error("overrides after Close")
	}
	revert()
}

func TestPrepare(t *testing.T) {
	f := newFake()
	l := f.start(t, Config{})
	l.refresh()
	before := f.state().limit
	ctx := context.Background()

	f.onGC = func() {
		if f.g.limit > 500*mib {
			t.Errorf("collects with GOMEMLIMIT still at %d", f.g.limit)
		}
	}
	if err := l.Prepare(ctx, 512*mib); err != nil {
		t.Errorf("preparing for 512 MiB: %v", err)
	}
	if f.freed != 1 || f.state().limit != (512-50-32)*mib {
		t.Errorf("%d collections, GOMEMLIMIT %d", f.freed, f.state().limit)
	}
	f.onGC = nil
	f.change(func() { f.look.used = 600 * mib })
	if err := l.Prepare(ctx, 512*mib); err == nil || !strings.Contains(err.Error(), "cannot be reclaimed") {
		t.Errorf("with 600 MiB in use: %v", err)
	}
	if f.state().limit != before {
		t.Errorf("GOMEMLIMIT stays at %d", f.state().limit)
	}
	f.change(func() { f.look.used, f.g.live = 150*mib, 450*mib })
	if err := l.Prepare(ctx, 512*mib); err == nil || !strings.Contains(err.Error(), "what lives") {
		t.Errorf("with 450 MiB alive: %v", err)
	}
	for _, n := range []uint64{0, 5, math.MaxUint64} {
		if err := l.Prepare(ctx, n); err == nil {
			t.Errorf("prepares for %d", n)
		}
	}
	done, cancel := context.WithCancel(ctx)
	cancel()
	if err := l.Prepare(done, 512*mib); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	l.Disable("")
	if err := l.Prepare(ctx, 512*mib); err == nil {
		t.Error("prepares while it is off")
	}
}

func TestResize(t *testing.T) {
	f := newFake()
	l := f.start(t, Config{})
	l.refresh()
	ctx := context.Background()
	set := func(when string, ok func(limit int64, to uint64) bool) func(uint64) error {
		return func(v uint64) error {
			if !ok(f.state().limit, v) {
				t.Errorf("%s: the hard limit becomes %d with GOMEMLIMIT at %d", when, v, f.state().limit)
			}
			f.change(func() { f.look = container(v, 150*mib) })
			return nil
		}
	}
	if err := Resize(ctx, l, 2*gib, set("up", func(limit int64, _ uint64) bool { return limit < gib })); err != nil || f.state().limit < gib {
		t.Errorf("up: %v, GOMEMLIMIT %d", err, f.state().limit)
	}
	if err := Resize(ctx, l, gib, set("down", func(limit int64, to uint64) bool { return limit < int64(to) })); err != nil || f.state().limit > gib {
		t.Errorf("down: %v, GOMEMLIMIT %d", err, f.state().limit)
	}
	before := f.state().limit
	if err := Resize(ctx, l, gib/2, func(uint64) error { return errors.New("read-only") }); err == nil || f.state().limit != before {
		t.Errorf("the hard limit cannot be set: %v, GOMEMLIMIT %d, before %d", err, f.state().limit, before)
	}
	if err := Resize(ctx, l, 100*mib, func(uint64) error { t.Error("the hard limit is set"); return nil }); err == nil || f.state().limit != before {
		t.Errorf("what does not fit: %v, GOMEMLIMIT %d, before %d", err, f.state().limit, before)
	}
}

// A logger or callback that panics or blocks holds nothing up.
func TestCallbacks(t *testing.T) {
	f := newFake()
	block := make(chan struct{})
	l := f.start(t, Config{OnChange: func(Report) { <-block; panic("no") }})
	for i := range 20 {
		f.change(func() { f.look = container(gib+uint64(i%2)*gib, 150*mib) })
		l.refresh()
	}
	if r := l.Report(); r.Dropped < 10 || r.Changes < 20 {
		t.Errorf("%d dropped, %d changes", r.Dropped, r.Changes)
	}
	close(block)
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if r := l.Report(); r.Failures == 0 {
		t.Error("the panics were not counted")
	}
}

func TestTwo(t *testing.T) {
	limit := debug.SetMemoryLimit(-1)
	l, err := Start(Config{Bytes: 2 * gib, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Start(Config{}); !errors.Is(err, ErrRunning) {
		t.Errorf("a second one: %v", err)
	}
	if Current() != l {
		t.Error("Current is another")
	}
	for range 2 {
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}
	if Current() != nil || debug.SetMemoryLimit(-1) != limit {
		t.Errorf("after Close: %v, GOMEMLIMIT %d", Current(), debug.SetMemoryLimit(-1))
	}
	again, err := Start(Config{Bytes: 2 * gib, Keep: true, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
	if kept := debug.SetMemoryLimit(limit); kept == limit {
		t.Error("Keep kept nothing")
	}
}

// The real controller, in this process: GOGC follows, inside of its bounds, and comes
// back.
func TestController(t *testing.T) {
	before := debug.SetGCPercent(100)
	defer debug.SetGCPercent(before)
	conf := Config{Bytes: 2 * gib, Objective: &control.Objective{}, MaxGOGC: 400, IgnoreOperator: true, Logger: slog.New(slog.DiscardHandler)}
	l, err := newLimit(conf, realSystem())
	if err != nil {
		t.Fatal(err)
	}
	if l.steering.controller, err = control.New(control.Config{MaxGOGC: 400, WarmUp: 1, WarmUpCycles: 1}); err != nil {
		t.Fatal(err)
	}
	l.start()
	defer l.Close()
	live := make([][]byte, 0, 1<<13)
	for range cap(live) {
		live = append(live, make([]byte, 1<<10))
	}
	for end := time.Now().Add(time.Minute); ; {
		for range 1000 {
			garbage = make([]byte, 1<<14)
		}
		time.Sleep(time.Millisecond)
		r := l.Report()
		if r.GOGC < 100 || r.GOGC > 400 || r.GOMEMLIMIT > 2*gib {
			t.Fatalf("%+v", r)
		}
		if r.GOGC > 120 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("with memory to spare GOGC is %d after a minute: %+v", r.GOGC, r.Control)
		}
	}
	runtime.KeepAlive(live)
	if r := l.Report(); r.Mode != ModeSet || r.Control == nil || r.Control.Mode != control.Steady || r.Failures > 0 {
		t.Errorf("%+v", r)
	}
	if err := l.Close(); err != nil {
		t.Error(err)
	}
	if gogc := debug.SetGCPercent(100); gogc != 100 {
		t.Errorf("after Close GOGC is %d", gogc)
	}
}

var garbage []byte

// What a poll of the controller costs while no collection ended, and what one that
// takes a sample.
func BenchmarkSteer(b *testing.B) {
	for _, collects := range []bool{false, true} {
		b.Run(fmt.Sprintf("collects=%t", collects), func(b *testing.B) {
			sys := realSystem()
			l, err := newLimit(Config{Bytes: 2 * gib, Objective: &control.Objective{}, Interval: time.Hour, Logger: slog.New(slog.DiscardHandler)}, sys)
			if err != nil {
				b.Fatal(err)
			}
			steering := l.steering
			l.steering = nil // not in the loop
			l.start()
			defer l.Close()
			if steering.points, err = sys.points(); err != nil {
				b.Fatal(err)
			}
			defer steering.points.Close()
			l.steer(steering)
			b.ReportAllocs()
			for b.Loop() {
				steering.at = time.Time{}
				if collects {
					steering.plans = 0
				}
				l.steer(steering)
			}
		})
	}
}

func BenchmarkRefresh(b *testing.B) {
	l, err := newLimit(Config{Bytes: 2 * gib, Interval: time.Hour, Logger: slog.New(slog.DiscardHandler)}, realSystem())
	if err != nil {
		b.Fatal(err)
	}
	l.start()
	defer l.Close()
	b.ReportAllocs()
	for b.Loop() {
		l.refresh()
	}
}
