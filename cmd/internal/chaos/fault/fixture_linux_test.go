package fault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
)

// thePID is one that no process of this machine has: they end at 2^22.
const thePID = 7777777

const gib = 1 << 30

// A host is a directory with the files of one that has cgroup v2.
type host struct {
	t         testing.TB
	root      string
	container string // that is meant
}

const group = "sys/fs/cgroup/app.service"

func newHost(t testing.TB) *host {
	h := &host{t: t, root: t.TempDir()}
	for name, text := range map[string]string{
		"proc/1/mountinfo":                 "35 23 0:30 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n",
		"proc/meminfo":                     "MemTotal:        8388608 kB\nMemAvailable:    4194304 kB\nSwapTotal:             0 kB\n",
		"sys/fs/cgroup/cgroup.procs":       "1\n",
		"sys/fs/cgroup/cgroup.controllers": "cpu memory\n",
		group + "/cgroup.procs":            fmt.Sprintf("%d\n", thePID),
		group + "/cgroup.events":           "populated 1\nfrozen 0\n",
		group + "/cgroup.freeze":           "0\n",
		group + "/cpu.max":                 "max 100000\n",
		group + "/cpu.stat":                "usage_usec 5\nnr_periods 10\nnr_throttled 3\nthrottled_usec 7\n",
		group + "/memory.max":              strconv.Itoa(gib) + "\n",
		group + "/memory.high":             "max\n",
		group + "/memory.current":          strconv.Itoa(400*mebi) + "\n",
		group + "/memory.oom.group":        "0\n",
		group + "/memory.swap.max":         "max\n",
		group + "/memory.reclaim":          "",
		group + "/memory.stat":             fmt.Sprintf("anon %d\nfile %d\nshmem 0\ninactive_file %d\npgsteal 5\n", 250*mebi, 150*mebi, 100*mebi),
	} {
		h.write(name, text)
	}
	h.process(thePID, 1, 'S', "app", "0::/app.service\n")
	return h
}

func (h *host) write(name, text string) {
	h.t.Helper()
	path := filepath.Join(h.root, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		h.t.Fatal(err)
	}
}

func (h *host) process(pid, parent int, state byte, name, groups string) {
	h.write(fmt.Sprintf("proc/%d/stat", pid), fmt.Sprintf("%d (%s) %c %d 1 1 0 -1 4194560 1 0 0 0 0 0 0 0 20 0 8 0 4711 0 0\n", pid, name, state, parent))
	h.write(fmt.Sprintf("proc/%d/status", pid), fmt.Sprintf("Name:\t%s\nTgid:\t%d\n", name, pid))
	h.write(fmt.Sprintf("proc/%d/cgroup", pid), groups)
}

func (h *host) read(file string) string {
	h.t.Helper()
	v, err := readValue(filepath.Join(h.root, group, file))
	if err != nil {
		h.t.Fatal(err)
	}
	return v
}

func (h *host) locate() *Target {
	h.t.Helper()
	t, err := locate(h.t.Context(), h.root, thePID, h.container, "")
	if err != nil {
		h.t.Fatal(err)
	}
	return t
}

func (h *host) resolve(f chaos.Fault, caps chaos.Caps) (*Target, *Resolved, error) {
	h.t.Helper()
	t := h.locate()
	room, err := look(h.root)
	if err != nil {
		h.t.Fatal(err)
	}
	room.CPUs = 4
	r, err := Resolve(h.t.Context(), f, t, caps, room)
	return t, r, err
}

func (h *host) make(f chaos.Fault) (*Resolved, Effect, *listJournal) {
	h.t.Helper()
	t, r, err := h.resolve(f, chaos.Caps{})
	if err != nil {
		h.t.Fatal(err)
	}
	j := &listJournal{}
	e, err := Make(h.t.Context(), r, t, j)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() {
		if err := e.Undo(context.Background()); err != nil {
			h.t.Error(err)
		}
	})
	return r, e, j
}

func TestLocateV2(t *testing.T) {
	h := newHost(t)
	target := h.locate()
	for _, d := range []Dir{target.Memory, target.CPU, target.Freezer} {
		if d.Version != 2 || !d.Own || !d.Writable || d.Path != filepath.Join(h.root, group) {
			t.Errorf("%+v", d)
		}
	}
	if target.Start != 4711 || target.Name != "app" {
		t.Errorf("%+v", target)
	}
}

func TestOwn(t *testing.T) {
	tests := []struct {
		name string
		have func(*host)
		why  string // "" is own
	}{
		{"a child", func(h *host) {
			h.process(thePID+1, thePID, 'S', "worker", "")
			h.write(group+"/cgroup.procs", fmt.Sprintf("%d\n%d\n", thePID, thePID+1))
		}, ""},
		{"a child below", func(h *host) {
			h.process(thePID+1, thePID, 'S', "worker", "")
			h.write(group+"/below/cgroup.procs", fmt.Sprintf("%d\n", thePID+1))
		}, ""},
		{"one that ended", func(h *host) {
			h.write(group+"/cgroup.procs", fmt.Sprintf("%d\n%d\n", thePID, thePID+1))
		}, ""},
		{"a dead one", func(h *host) {
			h.process(thePID+1, 1, 'Z', "other", "")
			h.write(group+"/cgroup.procs", fmt.Sprintf("%d\n%d\n", thePID, thePID+1))
		}, ""},
		{"a neighbour", func(h *host) {
			h.process(thePID+1, 1, 'S', "ot\x1b[31mher) S 7777777", "")
			h.write(group+"/cgroup.procs", fmt.Sprintf("%d\n%d\n", thePID, thePID+1))
		}, "which it did not start"},
		{"a neighbour below", func(h *host) {
			h.process(thePID+1, 1, 'S', "other", "")
			h.write(group+"/below/further/cgroup.procs", fmt.Sprintf("%d\n", thePID+1))
			h.write(group+"/below/cgroup.procs", "")
		}, "which it did not start"},
		{"us", func(h *host) {
			h.process(os.Getpid(), 1, 'S', "heapwright", "")
			h.write(group+"/cgroup.procs", fmt.Sprintf("%d\n%d\n", thePID, os.Getpid()))
		}, "which it did not start"},
		{"an eater of ours", func(h *host) {
			h.process(thePID+1, os.Getpid(), 'S', "exe", "")
			h.write(group+"/cgroup.procs", fmt.Sprintf("%d\n%d\n", thePID, thePID+1))
		}, ""},
		{"what started it", func(h *host) {
			h.process(thePID, thePID+2, 'S', "app", "0::/app.service\n")
			h.process(thePID+2, thePID+1, 'S', "sh", "")
			h.process(thePID+1, 1, 'S', "tini", "")
			h.write(group+"/cgroup.procs", fmt.Sprintf("%d\n%d\n%d\n", thePID+1, thePID+2, thePID))
		}, ""},
		{"what started it, and another", func(h *host) {
			h.process(thePID, thePID+1, 'S', "app", "0::/app.service\n")
			h.process(thePID+1, 1, 'S', "sh", "")
			h.process(thePID+2, thePID+1, 'S', "other", "")
			h.write(group+"/cgroup.procs", fmt.Sprintf("%d\n%d\n%d\n", thePID+1, thePID+2, thePID))
		}, "which it did not start"},
		{"what started it and us", func(h *host) {
			h.process(thePID, os.Getppid(), 'S', "app", "0::/app.service\n")
			h.process(os.Getppid(), 1, 'S', "sh", "")
			h.write(group+"/cgroup.procs", fmt.Sprintf("%d\n%d\n", os.Getppid(), thePID))
		}, map[bool]string{true: "which it did not start", false: "which started heapwright"}[os.Getppid() == 1]},
		{"another PID namespace", func(h *host) {
			h.write(group+"/cgroup.procs", fmt.Sprintf("%d\n0\n", thePID))
		}, "cannot be seen"},
		{"parents in a circle", func(h *host) {
			h.process(thePID+1, thePID+2, 'S', "a", "")
			h.process(thePID+2, thePID+1, 'S', "b", "")
			h.write(group+"/cgroup.procs", fmt.Sprintf("%d\n%d\n", thePID, thePID+1))
		}, "which it did not start"},
		{"elsewhere", func(h *host) { h.write(group+"/cgroup.procs", "1\n") }, "it is not in"},
		{"no list", func(h *host) { h.write(group+"/cgroup.procs", "hello\n") }, "cannot be listed"},
		{"the root", func(h *host) { os.Remove(filepath.Join(h.root, group, "cgroup.events")) }, "root of the cgroups"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newHost(t)
			tt.have(h)
			d := h.locate().Memory
			if d.Own != (tt.why == "") || !strings.Contains(d.Why, tt.why) || strings.ContainsRune(d.Why, '\x1b') {
				t.Errorf("own %v: %q, want %q", d.Own, d.Why, tt.why)
			}
			if tt.why == "" {
				return
			}
			for _, k := range []chaos.Kind{chaos.CPUQuota, chaos.Sibling, chaos.Shared, chaos.PageCache, chaos.Reclaim, chaos.HardLimit} {
				_, _, err := h.resolve(chaos.Fault{Kind: k, Level: chaos.Level{Value: 0.5}}, chaos.Caps{})
				refused := new(RefusedError)
				if !errors.As(err, &refused) || refused.Hint() == "" {
					t.Errorf("%s: %v", k, err)
				}
			}
		})
	}
}

func TestLocateRefuses(t *testing.T) {
	tests := []struct {
		name string
		pid  int
		have func(*host)
		want string
	}{
		{"zero", 0, nil, "no PID"},
		{"negative", -5, nil, "no PID"},
		{"init", 1, nil, "PID 1"},
		{"us", os.Getpid(), nil, "this process"},
		{"above us", os.Getppid(), nil, "started this one"},
		{"gone", thePID + 5, nil, "there is no process"},
		{"dead", thePID, func(h *host) { h.process(thePID, 1, 'Z', "app", "") }, "has ended"},
		{"a thread", thePID, func(h *host) {
			h.write(fmt.Sprintf("proc/%d/status", thePID), "Tgid:\t4242\n")
		}, "a thread of process 4242"},
		{"of the kernel", thePID, func(h *host) {
			h.write(fmt.Sprintf("proc/%d/stat", thePID), "7777777 (kworker/0:1) I 2 0 0 0 -1 69238880 0 0 0 0 0 0 0 0 20 0 1 0 30 0 0\n")
		}, "of the kernel"},
		{"no stat", thePID, func(h *host) { h.write(fmt.Sprintf("proc/%d/stat", thePID), "7777777 (") }, "cannot be looked at"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if tt.pid == 1 && tt.name == "above us" {
				t.Skip("PID 1 started the test")
			}
			h := newHost(t)
			if tt.have != nil {
				tt.have(h)
			}
			_, err := locate(t.Context(), h.root, tt.pid, "", "")
			if refused := new(RefusedError); !errors.As(err, &refused) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q", err, tt.want)
			}
		})
	}
	t.Run("another since", func(t *testing.T) {
		h := newHost(t)
		target := h.locate()
		stat := filepath.Join(h.root, "proc", strconv.Itoa(thePID), "stat")
		text, _ := os.ReadFile(stat)
		h.write(fmt.Sprintf("proc/%d/stat", thePID), strings.Replace(string(text), "4711", "4712", 1))
		f := chaos.Fault{Kind: chaos.Freeze, Level: chaos.Level{Value: 1}}
		if _, err := Resolve(t.Context(), f, target, chaos.Caps{}, Room{}); !errors.As(err, new(*RefusedError)) {
			t.Errorf("resolved: %v", err)
		}
		if _, err := Make(t.Context(), &Resolved{Fault: f, Level: 1}, target, &listJournal{}); !errors.As(err, new(*RefusedError)) {
			t.Errorf("made: %v", err)
		}
	})
}

func TestV2Refuses(t *testing.T) {
	tests := []struct {
		name  string
		fault chaos.Fault
		have  func(*host)
		want  string // "" is not refused
	}{
		{"no kind", chaos.Fault{Kind: "tea"}, nil, "no kind"},
		{"limit", chaos.Fault{Kind: chaos.HardLimit, Level: chaos.Level{Value: 0.5, Share: true}}, nil, ""},
		{"limit below usage", chaos.Fault{Kind: chaos.HardLimit, Level: chaos.Level{Value: 299 * mebi}}, nil, "may kill it at once"},
		{"limit below usage, allowed", chaos.Fault{Kind: chaos.HardLimit, Level: chaos.Level{Value: 299 * mebi}, AllowKill: true}, nil, ""},
		{"limit above", chaos.Fault{Kind: chaos.HardLimit, Level: chaos.Level{Value: 2 * gib}}, nil, "no less than its limit"},
		{"limit from above", chaos.Fault{Kind: chaos.HardLimit, From: chaos.Level{Value: 2 * gib}, Level: chaos.Level{Value: 512 * mebi}}, nil, "no less than its limit"},
		{"limit of none", chaos.Fault{Kind: chaos.HardLimit, Level: chaos.Level{Value: 0.5, Share: true}}, func(h *host) { h.write(group+"/memory.max", "max\n") }, "there is none"},
		{"limit of nothing", chaos.Fault{Kind: chaos.HardLimit}, nil, "nothing to run"},
		{"limit, swap", chaos.Fault{Kind: chaos.HardLimit, Level: chaos.Level{Value: 512 * mebi}}, func(h *host) {
			h.write("proc/meminfo", "MemTotal: 8388608 kB\nMemAvailable: 4194304 kB\nSwapTotal: 1048576 kB\n")
		}, "swap"},
		{"limit, swap that it has not", chaos.Fault{Kind: chaos.HardLimit, Level: chaos.Level{Value: 512 * mebi}}, func(h *host) {
			h.write("proc/meminfo", "MemTotal: 8388608 kB\nMemAvailable: 4194304 kB\nSwapTotal: 1048576 kB\n")
			h.write(group+"/memory.swap.max", "0\n")
		}, ""},
		{"sibling", chaos.Fault{Kind: chaos.Sibling, Level: chaos.Level{Value: 100 * mebi}}, nil, ""},
		{"sibling, group", chaos.Fault{Kind: chaos.Sibling, Level: chaos.Level{Value: 100 * mebi}}, func(h *host) { h.write(group+"/memory.oom.group", "1\n") }, "memory.oom.group"},
		{"sibling, group allowed", chaos.Fault{Kind: chaos.Sibling, Level: chaos.Level{Value: 100 * mebi}, AllowKill: true}, func(h *host) { h.write(group+"/memory.oom.group", "1\n") }, ""},
		{"shared, group above", chaos.Fault{Kind: chaos.Shared, Level: chaos.Level{Value: 100 * mebi}}, func(h *host) { h.write("sys/fs/cgroup/memory.oom.group", "1\n") }, "memory.oom.group"},
		{"cache, group", chaos.Fault{Kind: chaos.PageCache, Level: chaos.Level{Value: 100 * mebi}}, func(h *host) { h.write(group+"/memory.oom.group", "1\n") }, ""},
		{"no controller", chaos.Fault{Kind: chaos.Sibling, Level: chaos.Level{Value: 100 * mebi}}, func(h *host) { os.Remove(filepath.Join(h.root, group, "memory.current")) }, "no controller for memory"},
		{"quota", chaos.Fault{Kind: chaos.CPUQuota, Level: chaos.Level{Value: 0.5, Share: true}}, nil, ""},
		{"quota above", chaos.Fault{Kind: chaos.CPUQuota, Level: chaos.Level{Value: 3}}, func(h *host) { h.write(group+"/cpu.max", "200000 100000\n") }, "no less than it has"},
		{"quota of nothing", chaos.Fault{Kind: chaos.CPUQuota, Level: chaos.Level{Value: 0.001}}, nil, "no quota below"},
		{"quota that is none", chaos.Fault{Kind: chaos.CPUQuota, Level: chaos.Level{Value: 0.5}}, func(h *host) { h.write(group+"/cpu.max", "a lot\n") }, "not known"},
		{"negative", chaos.Fault{Kind: chaos.CPUQuota, Level: chaos.Level{Value: -1}}, nil, "no level"},
		{"freeze", chaos.Fault{Kind: chaos.Freeze, Level: chaos.Level{Value: 30}}, nil, ""},
		{"freeze for long", chaos.Fault{Kind: chaos.Freeze, Level: chaos.Level{Value: 31}}, nil, "how long"},
		{"freeze a share", chaos.Fault{Kind: chaos.Freeze, Level: chaos.Level{Value: 0.5, Share: true}}, nil, "there is none"},
		{"freeze what is", chaos.Fault{Kind: chaos.Freeze, Level: chaos.Level{Value: 1}}, func(h *host) { h.write(group+"/cgroup.freeze", "1\n") }, "already"},
		{"freeze what stands", chaos.Fault{Kind: chaos.Freeze, Level: chaos.Level{Value: 1}}, func(h *host) { h.process(thePID, 1, 'T', "app", "0::/app.service\n") }, "stands still already"},
		{"reclaim", chaos.Fault{Kind: chaos.Reclaim, Level: chaos.Level{Value: 0.5, Share: true}}, nil, ""},
		{"reclaim without memory.high", chaos.Fault{Kind: chaos.Reclaim, Level: chaos.Level{Value: 0.5, Share: true}}, func(h *host) { os.Remove(filepath.Join(h.root, group, "memory.high")) }, "may not be written"},
		{"limit without memory.max", chaos.Fault{Kind: chaos.HardLimit, Level: chaos.Level{Value: 512 * mebi}}, func(h *host) { os.Remove(filepath.Join(h.root, group, "memory.max")) }, "may not be written"},
		{"reclaim to nothing", chaos.Fault{Kind: chaos.Reclaim}, nil, "cannot be nothing"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := newHost(t)
			if tt.have != nil {
				tt.have(h)
			}
			_, r, err := h.resolve(tt.fault, chaos.Caps{})
			if tt.want != "" {
				if refused := new(RefusedError); !errors.As(err, &refused) || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("%v, want %q", err, tt.want)
				}
				return
			}
			if err != nil || len(r.Words) == 0 {
				t.Errorf("%v, %+v", err, r)
			}
		})
	}
}

func TestQuotaV2(t *testing.T) {
	h := newHost(t)
	r, e, j := h.make(chaos.Fault{Kind: chaos.CPUQuota, Level: chaos.Level{Value: 0.5, Share: true}})
	if r.From != 4 || r.Level != 2 {
		t.Errorf("from %g to %g", r.From, r.Level)
	}
	if err := e.Set(t.Context(), 0.5); err != nil {
		t.Fatal(err)
	}
	if got := h.read("cpu.max"); got != "50000 100000" {
		t.Errorf("cpu.max is %q", got)
	}
	h.write(group+"/cpu.stat", "nr_periods 30\nnr_throttled 13\n")
	if n, by, ok := e.Measure(); n != 0.5 || !ok || !strings.Contains(by, "10 of 20") {
		t.Errorf("%g %q %v", n, by, ok)
	}
	if err := e.Undo(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := h.read("cpu.max"); got != "max 100000" || len(j.left()) > 0 {
		t.Errorf("cpu.max is %q, %v", got, j.left())
	}
}

func TestHardLimitV2(t *testing.T) {
	h := newHost(t)
	r, e, j := h.make(chaos.Fault{Kind: chaos.HardLimit, Level: chaos.Level{Value: 0.3125, Share: true}}) // 320 MiB
	if err := e.Set(t.Context(), 512*mebi); err != nil {
		t.Fatal(err)
	}
	// It uses 400 MiB, and this kernel reclaims nothing: it is not lowered further.
	busy := new(BusyLimitError)
	if err := e.Set(t.Context(), r.Level); !errors.As(err, &busy) || busy.InUseBytes != 400*mebi {
		t.Fatal(err)
	}
	if n, _ := strconv.Atoi(h.read("memory.max")); n < 400*mebi || n > 425*mebi || uint64(n) != busy.LimitBytes {
		t.Errorf("memory.max is %d: %+v", n, busy)
	}
	if h.read("memory.reclaim") == "" {
		t.Error("the kernel was not asked to reclaim")
	}
	h.write(group+"/memory.current", strconv.Itoa(310*mebi)+"\n")
	if err := e.Set(t.Context(), r.Level); err != nil {
		t.Fatal(err)
	}
	if n, _, ok := e.Measure(); n != 320*mebi || !ok {
		t.Errorf("measured %g", n)
	}
	// Another process undoes it.
	steps := j.left()
	if len(steps) != 1 {
		t.Fatal(steps)
	}
	for range 2 {
		if err := Revert(t.Context(), steps[0]); err != nil {
			t.Fatal(err)
		}
	}
	if err := e.Undo(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := h.read("memory.max"); got != strconv.Itoa(gib) || len(j.left()) > 0 {
		t.Errorf("memory.max is %s, %v", got, j.left())
	}
}

// TestHardLimitV2Kills: with the user's word it is written, whatever is in use.
func TestHardLimitV2Kills(t *testing.T) {
	h := newHost(t)
	r, e, _ := h.make(chaos.Fault{Kind: chaos.HardLimit, Level: chaos.Level{Value: 128 * mebi}, AllowKill: true})
	if err := e.Set(t.Context(), r.Level); err != nil {
		t.Fatal(err)
	}
	if got := h.read("memory.max"); got != strconv.Itoa(128*mebi) {
		t.Errorf("memory.max is %s", got)
	}
}

func TestReclaimV2(t *testing.T) {
	h := newHost(t)
	r, e, j := h.make(chaos.Fault{Kind: chaos.Reclaim, Level: chaos.Level{Value: 0.75, Share: true}})
	if r.From != 400*mebi || r.Level != 300*mebi {
		t.Errorf("from %g to %g", r.From, r.Level)
	}
	if err := e.Set(t.Context(), r.Level); err != nil {
		t.Fatal(err)
	}
	if got := h.read("memory.high"); got != strconv.Itoa(300*mebi) {
		t.Errorf("memory.high is %s", got)
	}
	h.write(group+"/memory.current", strconv.Itoa(299*mebi)+"\n")
	h.write(group+"/memory.stat", "anon 1\npgsteal 105\n")
	if n, by, ok := e.Measure(); n != 299*mebi || !ok || !strings.Contains(by, "100 pages") {
		t.Errorf("%g %q %v", n, by, ok)
	}
	if err := e.Undo(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := h.read("memory.high"); got != "max" || len(j.left()) > 0 {
		t.Errorf("memory.high is %s, %v", got, j.left())
	}
}

// TestReclaimBelowWhatIsFixed: a memory.high that cannot be kept to would only make the
// target wait. The page cache goes all the same.
func TestReclaimBelowWhatIsFixed(t *testing.T) {
	h := newHost(t)
	r, e, _ := h.make(chaos.Fault{Kind: chaos.Reclaim, Level: chaos.Level{Value: 60 * mebi}})
	if err := e.Set(t.Context(), r.Level); err != nil {
		t.Fatal(err)
	}
	if got := h.read("memory.high"); got != strconv.Itoa(250*mebi+reclaimRoom) {
		t.Errorf("memory.high is %s", got)
	}
	if got := h.read("memory.reclaim"); got != strconv.Itoa(340*mebi) {
		t.Errorf("the kernel was asked to reclaim %s", got)
	}
	h.write(group+"/memory.current", strconv.Itoa(251*mebi)+"\n")
	h.write(group+"/memory.stat", fmt.Sprintf("anon %d\nfile 0\npgsteal 105\n", 250*mebi))
	if n, by, ok := e.Measure(); n != 60*mebi || !ok || !strings.Contains(by, "cannot be") {
		t.Errorf("%g %q %v", n, by, ok)
	}
}

func TestFreezeV2(t *testing.T) {
	h := newHost(t)
	ctx, cancel := context.WithCancel(t.Context())
	kernel := make(chan struct{})
	go func() { // cgroup.events follows cgroup.freeze
		defer close(kernel)
		last := "0"
		for ctx.Err() == nil {
			if v, err := readValue(filepath.Join(h.root, group, "cgroup.freeze")); err == nil && v != "" && v != last {
				last = v
				next := filepath.Join(h.root, group, "next")
				if os.WriteFile(next, []byte("populated 1\nfrozen "+v+"\n"), 0o644) == nil {
					os.Rename(next, filepath.Join(h.root, group, "cgroup.events"))
				}
			}
			time.Sleep(time.Millisecond)
		}
	}()
	defer func() {
		cancel()
		<-kernel
	}()
	r, e, j := h.make(chaos.Fault{Kind: chaos.Freeze, Level: chaos.Level{Value: 0.05}})
	if err := e.Set(t.Context(), r.Level); err != nil {
		t.Fatal(err)
	}
	if n, by, ok := e.Measure(); n < 0.05 || !ok || !strings.Contains(by, "cgroup.events") {
		t.Errorf("%g %q %v", n, by, ok)
	}
	if got := h.read("cgroup.freeze"); got != "0" {
		t.Errorf("cgroup.freeze is %s", got)
	}
	if err := e.Undo(t.Context()); err != nil || len(j.left()) > 0 {
		t.Errorf("%v, %v", err, j.left())
	}
}

func TestEaterV2(t *testing.T) {
	h := newHost(t)
	_, e, j := h.make(chaos.Fault{Kind: chaos.Sibling, Level: chaos.Level{Value: 16 * mebi}})
	pid := e.(*eater).child.cmd.Process.Pid
	if got := h.read("cgroup.procs"); got != strconv.Itoa(pid) {
		t.Errorf("it entered as %q", got)
	}
	if adj, err := readValue(procPath("", pid, "oom_score_adj")); err != nil || adj != "1000" {
		t.Errorf("oom_score_adj is %q, %v", adj, err)
	}
	if err := e.Set(t.Context(), 16*mebi); err != nil {
		t.Fatal(err)
	}
	if n, _, ok := e.Measure(); n < 16*mebi || n > 20*mebi || !ok {
		t.Errorf("measured %g", n)
	}
	if err := e.Undo(t.Context()); err != nil || len(j.left()) > 0 {
		t.Errorf("%v, %v", err, j.left())
	}
}

// TestJournalFails: what cannot be written down is not done.
func TestJournalFails(t *testing.T) {
	h := newHost(t)
	full := errors.New("the disk is full")
	for _, f := range []chaos.Fault{
		{Kind: chaos.CPUQuota, Level: chaos.Level{Value: 0.5}},
		{Kind: chaos.HardLimit, Level: chaos.Level{Value: 512 * mebi}},
		{Kind: chaos.Reclaim, Level: chaos.Level{Value: 300 * mebi}},
		{Kind: chaos.Freeze, Level: chaos.Level{Value: 1}},
		{Kind: chaos.Sibling, Level: chaos.Level{Value: 16 * mebi}},
	} {
		target, r, err := h.resolve(f, chaos.Caps{})
		if err != nil {
			t.Fatal(err)
		}
		e, err := Make(t.Context(), r, target, noJournal{full})
		if err == nil {
			err = e.Set(t.Context(), r.Level)
			if err := e.Undo(t.Context()); err != nil {
				t.Errorf("%s: undone: %v", f.Kind, err)
			}
		}
		if !errors.Is(err, full) {
			t.Errorf("%s: %v", f.Kind, err)
		}
	}
	for file, want := range map[string]string{"cpu.max": "max 100000", "memory.max": strconv.Itoa(gib), "memory.high": "max", "cgroup.freeze": "0"} {
		if got := h.read(file); got != want {
			t.Errorf("%s is %s", file, got)
		}
	}
	if got := h.read("cgroup.procs"); got != strconv.Itoa(thePID) {
		t.Errorf("in the group there is %s", got)
	}
}

type noJournal struct{ err error }

func (j noJournal) Will(Step) error   { return j.err }
func (j noJournal) Undone(Step) error { return nil }

// TestRevertUnknown: what a step of another version says is not guessed at.
func TestRevertUnknown(t *testing.T) {
	if err := Revert(t.Context(), Step{Kind: "tea"}); !errors.As(err, new(*RefusedError)) {
		t.Error(err)
	}
	gone := filepath.Join(t.TempDir(), "gone")
	for _, s := range []Step{
		{Kind: StepFile, Path: filepath.Join(gone, "memory.max"), Old: "1", New: "2"},
		{Kind: StepRemove, Path: gone},
		{Kind: StepProcess, PID: thePID, Start: 1},
		{Kind: StepStopped, PID: thePID, Start: 1},
		{Kind: StepProcess, PID: os.Getpid(), Start: 1}, // the number is another's now
		{Kind: StepStopped, PID: 0},
	} {
		if err := Revert(t.Context(), s); err != nil {
			t.Errorf("%s: %v", s, err)
		}
	}
}

// TestStarters: what started the target and is in its group is in the plan that is shown.
func TestStarters(t *testing.T) {
	h := newHost(t)
	h.process(thePID, thePID+1, 'S', "app", "0::/app.service\n")
	h.process(thePID+1, 1, 'S', "ti\x1bni", "")
	h.write(group+"/cgroup.procs", fmt.Sprintf("%d\n%d\n", thePID+1, thePID))
	for _, f := range []chaos.Fault{
		{Kind: chaos.HardLimit, Level: chaos.Level{Value: 512 * mebi}}, {Kind: chaos.CPUQuota, Level: chaos.Level{Value: 0.5, Share: true}}, {Kind: chaos.Freeze, Level: chaos.Level{Value: 1}},
	} {
		_, r, err := h.resolve(f, chaos.Caps{})
		if err != nil {
			t.Fatal(err)
		}
		if last := r.Words[len(r.Words)-1]; !strings.Contains(last, "process 7777778 (ti?ni)") {
			t.Errorf("%s: %q", f.Kind, last)
		}
	}
}

// TestContainer: a check of its health, or a shell in it, is no neighbour of a container
// that is meant as a whole. It is of the process, and of any other container.
func TestContainer(t *testing.T) {
	id, other := strings.Repeat("a", 64), strings.Repeat("b", 64)
	for _, tc := range []struct {
		group, meant string
		own          bool
	}{
		{"docker/" + id, id, true},
		{"docker/" + id + "/inner", id, true},
		{"system.slice/docker-" + id + ".scope", id, true},
		{"kubepods/burstable/pod0f1e2d3c-0000-1111-2222-333344445555/" + id, id, true},
		{"default/web", "web", true},
		{"docker/" + id, "", false},
		{"docker/" + id, other, false},
		{"docker/" + id + "/docker/" + other, id, false}, // a container in it
		{"default/web", "we", false},
		{"web/app", "web", false},
	} {
		h := newHost(t)
		h.container = tc.meant
		dir := "sys/fs/cgroup/" + tc.group
		if err := os.MkdirAll(filepath.Join(h.root, filepath.Dir(dir)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(h.root, group), filepath.Join(h.root, dir)); err != nil {
			t.Fatal(err)
		}
		h.process(thePID, 1, 'S', "app", "0::/"+tc.group+"\n")
		h.process(thePID+1, 1, 'S', "che\x1bck", "")
		h.write(dir+"/cgroup.procs", fmt.Sprintf("%d\n%d\n", thePID, thePID+1))
		for _, f := range []chaos.Fault{
			{Kind: chaos.HardLimit, Level: chaos.Level{Value: 512 * mebi}}, {Kind: chaos.CPUQuota, Level: chaos.Level{Value: 0.5, Share: true}}, {Kind: chaos.Sibling, Level: chaos.Level{Value: 16 * mebi}},
		} {
			target, r, err := h.resolve(f, chaos.Caps{})
			if refused := new(RefusedError); !tc.own {
				if !errors.As(err, &refused) || !strings.Contains(err.Error(), "which it did not start") {
					t.Errorf("%s of %q, %s: %v", tc.group, tc.meant, f.Kind, err)
				} else if hint := refused.Hint(); tc.group == "docker/"+id && !strings.Contains(hint, "container: "+id[:12]+",") {
					t.Errorf("hint: %s", hint)
				}
				continue
			}
			if err != nil {
				t.Errorf("%s of %q, %s: %v", tc.group, tc.meant, f.Kind, err)
				continue
			}
			if last := r.Words[len(r.Words)-1]; !strings.Contains(last, "more of its container, which takes part in it: process 7777778 (che?ck)") {
				t.Errorf("%s: %q", f.Kind, last)
			}
			// So it is where the faults are made, which knows the target by what it was sent.
			text, err := json.Marshal(target)
			if err != nil {
				t.Fatal(err)
			}
			sent := new(Target)
			if err := json.Unmarshal(text, sent); err != nil {
				t.Fatal(err)
			}
			if f.Kind == chaos.HardLimit {
				if _, err := Make(t.Context(), r, sent, &listJournal{}); err != nil {
					t.Error(err)
				}
			}
		}
	}
}

// TestContainerOfOurs: heapwright in the container that is meant would be met too.
func TestContainerOfOurs(t *testing.T) {
	h := newHost(t)
	h.container = "app.service"
	h.write(group+"/cgroup.procs", fmt.Sprintf("%d\n%d\n", thePID, os.Getpid()))
	h.process(os.Getpid(), 1, 'S', "heapwright", "")
	if d := h.locate().Memory; d.Own {
		t.Error("it is in its own target")
	}
}

// TestMakeLooksAgain: between the look and the fault somebody came into the group.
func TestMakeLooksAgain(t *testing.T) {
	for _, f := range []chaos.Fault{
		{Kind: chaos.HardLimit, Level: chaos.Level{Value: 512 * mebi}}, {Kind: chaos.CPUQuota, Level: chaos.Level{Value: 0.5, Share: true}}, {Kind: chaos.Freeze, Level: chaos.Level{Value: 1}},
		{Kind: chaos.Reclaim, Level: chaos.Level{Value: 0.5, Share: true}},
	} {
		h := newHost(t)
		target, r, err := h.resolve(f, chaos.Caps{})
		if err != nil {
			t.Fatal(err)
		}
		h.process(thePID+1, 1, 'S', "other", "")
		h.write(group+"/cgroup.procs", fmt.Sprintf("%d\n%d\n", thePID, thePID+1))
		j := &listJournal{}
		if _, err := Make(t.Context(), r, target, j); !errors.As(err, new(*RefusedError)) || len(j.all) > 0 {
			t.Errorf("%s: %v, %v", f.Kind, err, j.all)
		}
	}
}

// TestGroupReplaced: the group was removed and made again, and what is in the new one
// happens to be what was written to the old.
func TestGroupReplaced(t *testing.T) {
	again := func(h *host) {
		h.t.Helper()
		path := filepath.Join(h.root, group, "memory.max")
		text, err := os.ReadFile(path)
		if err == nil {
			err = os.Rename(path, path+".old") // so that its inode is not given again
		}
		if err != nil {
			h.t.Fatal(err)
		}
		h.write(group+"/memory.max", string(text))
	}
	h := newHost(t)
	_, e, j := h.make(chaos.Fault{Kind: chaos.HardLimit, Level: chaos.Level{Value: 512 * mebi}})
	if err := e.Set(t.Context(), 900*mebi); err != nil {
		t.Fatal(err)
	}
	ours := h.read("memory.max")
	again(h)
	if err := e.Set(t.Context(), 800*mebi); err == nil {
		t.Error("another group was changed")
	}
	for _, s := range j.all {
		if err := Revert(t.Context(), s); err != nil {
			t.Error(err)
		}
	}
	if err := e.Undo(t.Context()); err != nil {
		t.Error(err)
	}
	if now := h.read("memory.max"); now != ours {
		t.Errorf("the other group has %s", now)
	}
	if err := writeTo(t.Context(), filepath.Join(h.root, group, "memory.max"), 1, "5"); !errors.Is(err, errReplaced) {
		t.Error(err)
	}
}

// TestRevertConfined: a journal names what it likes.
func TestRevertConfined(t *testing.T) {
	was := onCgroups
	onCgroups = isCgroupFile
	t.Cleanup(func() { onCgroups = was })
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	other := exec.Command("sleep", "60")
	if err := other.Start(); err != nil {
		t.Skipf("there is no program to look at: %v", err)
	}
	t.Cleanup(func() { other.Process.Kill(); other.Wait() })
	st, err := readStat("", other.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(file("passwd", "x"), filepath.Join(dir, "memory.max")); err != nil {
		t.Fatal(err)
	}
	for _, s := range []Step{
		{Kind: StepFile, Path: file("shadow", "new"), New: "new", Old: "root::"},
		{Kind: StepFile, Path: file("cpu.max", "new"), New: "new", Old: "root::"},
		{Kind: StepFile, Path: filepath.Join(dir, "memory.max"), New: "x", Old: "root::"},
		{Kind: StepFile, Path: "/sys/fs/cgroup/../../../" + file("memory.high", "new"), New: "new", Old: "root::"},
		{Kind: StepFile, Path: "/proc/sys/kernel/core_pattern", New: "core", Old: "|/bin/sh"},
		{Kind: StepRemove, Path: file("key", "")},
		{Kind: StepRemove, Path: file(namelessName+"1", "it has something in it")},
		{Kind: StepRemove, Path: dir},
		{Kind: StepProcess, PID: other.Process.Pid, Start: st.start},
	} {
		if err := Revert(t.Context(), s); !errors.As(err, new(*RefusedError)) {
			t.Errorf("%+v: %v", s, err)
		}
	}
	for name, want := range map[string]string{"shadow": "new", "cpu.max": "new", "memory.high": "new", "passwd": "x", "key": "", namelessName + "1": "it has something in it"} {
		if text, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(text) != want {
			t.Errorf("%s is %q, %v", name, text, err)
		}
	}
	if !running("", other.Process.Pid, st.start) {
		t.Error("a process that is none of ours was ended")
	}
	if err := Revert(t.Context(), Step{Kind: StepRemove, Path: file(namelessName+"2", "")}); err != nil {
		t.Error(err)
	}
}
