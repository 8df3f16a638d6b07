package cgroup

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"testing"
)

// The test binary is the child in the groups of these tests. It obeys its
// standard input: "allocate" touches 256 MiB, "hold" touches 32 MiB and keeps them,
// "cache" makes page cache, "spin" burns CPU; at the end of the input it exits.
func TestMain(m *testing.M) {
	if os.Getenv("CGROUP_CHILD") == "" {
		os.Exit(m.Run())
	}
	fmt.Println("ready")
	in := bufio.NewScanner(os.Stdin)
	for in.Scan() {
		switch in.Text() {
		case "allocate":
			mem := make([]byte, 256<<20)
			for i := 0; i < len(mem); i += 4096 {
				mem[i] = 1
			}
			runtime.KeepAlive(mem)
			fmt.Println("allocated")
		case "hold":
			held = make([]byte, 32<<20)
			for i := 0; i < len(held); i += 4096 {
				held[i] = 1
			}
			fmt.Println("held")
		case "cache":
			if err := fillCache(64 << 20); err != nil {
				fmt.Println(err)
				continue
			}
			fmt.Println("cached")
		case "spin":
			go func() {
				//lint:ignore SA5002 using the CPU up is what it is for
				for {
				}
			}()
		}
	}
}

var held []byte

// fillCache makes page cache: it writes a file and removes its name, and leaves it open.
func fillCache(bytes int64) error {
	f, err := os.CreateTemp("", "heapwright-test-")
	if err != nil {
		return err
	}
	os.Remove(f.Name())
	block := make([]byte, 1<<20)
	for n := int64(0); n < bytes; n += int64(len(block)) {
		if _, err := f.Write(block); err != nil {
			return err
		}
	}
	if err := f.Sync(); err != nil { // dirty pages can't be dropped at once
		return err
	}
	cache = f
	return nil
}

var cache *os.File

type child struct {
	*exec.Cmd
	in  io.WriteCloser
	out *bufio.Reader
}

func startChild(t *testing.T) *child {
	t.Helper()
	c := &child{Cmd: exec.Command("/proc/self/exe")}
	c.Env = []string{"CGROUP_CHILD=1", "GOGC=off"}
	var err error
	if c.in, err = c.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	c.out = bufio.NewReader(out)
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Process.Kill()
		c.Wait()
	})
	if line, err := c.out.ReadString('\n'); err != nil || line != "ready\n" {
		t.Fatalf("child said %q, %v", line, err)
	}
	return c
}

// makeGroup makes a group below the root of a mounted hierarchy, or skips the
// test where we may not.
func makeGroup(t *testing.T, version int, controller string) string {
	t.Helper()
	h, err := NewHost("")
	if err != nil {
		t.Skip(err)
	}
	for _, m := range h.mounts {
		if m.version != version || (version == 1 && !m.has(controller)) {
			continue
		}
		dir := filepath.Join(m.point, "heapwright-test-"+strconv.Itoa(os.Getpid()))
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Skipf("cannot make a cgroup: %v", err)
		}
		t.Cleanup(func() { remove(t, dir) })
		return dir
	}
	t.Skipf("no cgroup v%d hierarchy with %q is mounted", version, controller)
	return ""
}

// remove removes a group that may still be emptying.
func remove(t *testing.T, dir string) {
	for range 1000 {
		if err := os.Remove(dir); err == nil || errors.Is(err, os.ErrNotExist) {
			return
		}
		runtime.Gosched()
	}
	t.Logf("could not remove %s", dir)
}

func write(t *testing.T, dir, file, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0); err != nil {
		t.Fatal(err)
	}
}

func TestLiveV1Memory(t *testing.T) {
	outer := makeGroup(t, 1, "memory")
	inner := filepath.Join(outer, "inner")
	if err := os.Mkdir(inner, 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { remove(t, inner) })
	c := startChild(t) // its cleanup comes before the groups'
	write(t, inner, "cgroup.procs", strconv.Itoa(c.Process.Pid))

	h, err := NewHost("")
	if err != nil {
		t.Fatal(err)
	}
	g, err := h.Of(c.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if want := "/" + filepath.Base(outer) + "/inner"; g.Path() != want || g.Version() != 1 {
		t.Fatalf("path %q, version %d; want %q, 1", g.Path(), g.Version(), want)
	}
	r, err := g.NewReader(StatAll)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for _, tt := range []struct {
		outer, inner string
		limit        uint64
		ok           bool
	}{
		{"-1", "-1", 0, false},
		{"134217728", "-1", 134217728, true},
		{"134217728", "67108864", 67108864, true},
		{"100663296", "-1", 100663296, true},
		{"-1", "167772160", 167772160, true},
		{"100663296", "167772160", 100663296, true},
	} {
		// Lift both first: v1 wants no particular order after that.
		write(t, inner, "memory.limit_in_bytes", "-1")
		write(t, outer, "memory.limit_in_bytes", tt.outer)
		write(t, inner, "memory.limit_in_bytes", tt.inner)
		limit, ok, err := g.MemoryLimit()
		if limit != tt.limit || ok != tt.ok || err != nil {
			t.Errorf("outer %s, inner %s: %d, %t, %v; want %d, %t", tt.outer, tt.inner, limit, ok, err, tt.limit, tt.ok)
		}
		var s Stats
		if err := r.Read(&s); err != nil || s.Has(StatMemoryLimit) != tt.ok || (tt.ok && s.MemoryLimit != tt.limit) {
			t.Errorf("outer %s, inner %s: reader says %+v, %v", tt.outer, tt.inner, s, err)
		}
	}

	// A group that is the root of what the child sees knows its parent's limit
	// from memory.stat alone.
	inside := &Group{memory: hierarchy{version: 1, path: g.Path(), dirs: []string{inner}}}
	if limit, ok, err := inside.MemoryLimit(); limit != 100663296 || !ok || err != nil {
		t.Errorf("seen from inside: %d, %t, %v; want the hidden limit 100663296", limit, ok, err)
	}

	write(t, outer, "memory.limit_in_bytes", "-1")
	write(t, inner, "memory.limit_in_bytes", "-1")
	before, err := g.MemoryNonReclaimable()
	if err != nil {
		t.Fatal(err)
	}
	io.WriteString(c.in, "cache\n")
	if line, err := c.out.ReadString('\n'); line != "cached\n" {
		t.Fatalf("child said %q, %v", line, err)
	}
	io.WriteString(c.in, "hold\n")
	if line, err := c.out.ReadString('\n'); line != "held\n" {
		t.Fatalf("child said %q, %v", line, err)
	}
	usage, err := g.MemoryUsage()
	if err != nil {
		t.Fatal(err)
	}
	// Of 64 MiB of page cache and 32 MiB of memory only the latter can't be dropped. The
	// kernel's counts are exact to some pages for each CPU.
	const slack = 8 << 20
	// (The race detector takes some beside.)
	if after, err := g.MemoryNonReclaimable(); err != nil || after < before+32<<20-slack || after > usage {
		t.Errorf("%d bytes of %d can't be dropped, %v; want %d and 32 MiB", after, usage, err, before)
	} else if usage < after+64<<20-slack {
		t.Skipf("the page cache was charged to another group: usage %d", usage)
	}
	write(t, inner, "memory.limit_in_bytes", "167772160")
	write(t, outer, "memory.limit_in_bytes", "100663296")

	kills, err := g.OOMKills()
	if errors.Is(err, ErrUnavailable) {
		t.Skip("this kernel does not count OOM kills")
	}
	if kills != 0 || err != nil {
		t.Fatalf("%d OOM kills, %v; want none yet", kills, err)
	}
	io.WriteString(c.in, "allocate\n")
	if line, err := c.out.ReadString('\n'); err == nil {
		t.Skipf("the child survived its limit (swap?): %q", line)
	}
	if kills, err = g.OOMKills(); kills != 1 || err != nil {
		t.Errorf("%d OOM kills, %v; want 1", kills, err)
	}
	c.Wait()
	remove(t, inner)
	var s Stats
	if err := r.Read(&s); !errors.Is(err, ErrGone) {
		t.Errorf("after removal: got %v, want ErrGone", err)
	}
}

func TestLiveV1CPU(t *testing.T) {
	dir := makeGroup(t, 1, "cpu")
	c := startChild(t)
	write(t, dir, "cgroup.procs", strconv.Itoa(c.Process.Pid))
	g, err := Of(c.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if cores, ok, err := g.CPUQuota(); ok || err != nil {
		t.Errorf("quota %v, %t, %v; want none", cores, ok, err)
	}
	if !exists(filepath.Join(dir, "cpu.cfs_quota_us")) {
		t.Skip("the kernel has no CFS bandwidth control")
	}
	write(t, dir, "cpu.cfs_period_us", "20000")
	write(t, dir, "cpu.cfs_quota_us", "5000")
	if cores, ok, err := g.CPUQuota(); cores != 0.25 || !ok || err != nil {
		t.Errorf("quota %v, %t, %v; want 0.25", cores, ok, err)
	}
	io.WriteString(c.in, "spin\n")
	for {
		th, err := g.Throttling()
		if err != nil {
			t.Fatal(err)
		}
		if th.ThrottledPeriods > 0 && th.Throttled > 0 && th.Periods >= th.ThrottledPeriods {
			break
		}
		runtime.Gosched()
	}
}

func TestLiveV2Pressure(t *testing.T) {
	dir := makeGroup(t, 2, "")
	if !exists(filepath.Join(dir, "memory.pressure")) {
		t.Skip("the kernel keeps no pressure for groups")
	}
	c := startChild(t)
	write(t, dir, "cgroup.procs", strconv.Itoa(c.Process.Pid))
	g, err := Of(c.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	p, err := g.CPUPressure()
	if errors.Is(err, ErrUnavailable) {
		t.Skip(err)
	}
	if err != nil || p.Host {
		t.Errorf("got %+v, %v; want the group's own pressure", p, err)
	}
}

// Self and Of agree, whatever the host.
func TestSelf(t *testing.T) {
	self, err := Self()
	if err != nil {
		t.Fatal(err)
	}
	of, err := Of(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	if self.Path() != of.Path() || self.Version() != of.Version() || self.Container() != of.Container() {
		t.Errorf("Self is %+v, Of our PID is %+v", self, of)
	}
}
