package sli

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strconv"
	"syscall"
	"testing"
	"time"
)

const (
	childLimit   = 512 << 20
	childLive    = 96 << 20
	childNonGo   = 64 << 20
	childCache   = 128 << 20
	childGarbage = 80 << 20
)

// The test binary is the child in the group of TestLiveCgroup. When it is told to, it fills
// memory of each kind, and prints the ratios of that.
func TestMain(m *testing.M) {
	if os.Getenv("SLI_CHILD") == "" {
		os.Exit(m.Run())
	}
	fmt.Println("ready")
	bufio.NewReader(os.Stdin).ReadString('\n')
	ratios, err := childRatios()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	json.NewEncoder(os.Stdout).Encode(ratios)
}

func touch(b []byte) {
	for i := 0; i < len(b); i += 4096 {
		b[i] = 1
	}
}

func childRatios() (map[Signal]float64, error) {
	f, err := os.CreateTemp("", "heapwright-test-")
	if err != nil {
		return nil, err
	}
	defer f.Close()
	os.Remove(f.Name())
	block := make([]byte, 1<<20)
	for range childCache >> 20 {
		if _, err := f.Write(block); err != nil {
			return nil, err
		}
	}
	if err := f.Sync(); err != nil {
		return nil, err
	}
	c, err := syscall.Mmap(-1, 0, childNonGo, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		return nil, err
	}
	touch(c)
	s, err := NewSource(Options{})
	if err != nil {
		return nil, err
	}
	defer s.Close()
	var older, newer Point
	s.Read(&older)
	live := make([]byte, childLive)
	touch(live)
	runtime.GC()
	debug.SetGCPercent(-1)
	touch(make([]byte, childGarbage))
	time.Sleep(10 * time.Millisecond) // a window has a length
	s.Read(&newer)
	runtime.KeepAlive(live)
	ratios := map[Signal]float64{"usage": float64(newer.CgroupUsageBytes) / childLimit}
	r := Window(&older, &newer)
	for signal, v := range r.All {
		ratios[signal] = v
	}
	return ratios, nil
}

// memoryGroup makes a cgroup with a memory limit, v1 or v2, or skips the test where we may not.
func memoryGroup(t *testing.T) string {
	t.Helper()
	for _, try := range []struct{ root, file string }{
		{"/sys/fs/cgroup/memory", "memory.limit_in_bytes"},
		{"/sys/fs/cgroup", "memory.max"},
	} {
		dir := filepath.Join(try.root, "heapwright-sli-"+strconv.Itoa(os.Getpid()))
		if err := os.Mkdir(dir, 0o755); err != nil {
			continue
		}
		t.Cleanup(func() {
			for range 1000 { // it may still be emptying
				if err := os.Remove(dir); err == nil || errors.Is(err, os.ErrNotExist) {
					return
				}
				time.Sleep(time.Millisecond)
			}
			t.Logf("could not remove %s", dir)
		})
		if err := os.WriteFile(filepath.Join(dir, try.file), []byte(strconv.Itoa(childLimit)), 0); err == nil {
			return dir
		}
		os.Remove(dir)
	}
	t.Skip("cannot make a cgroup with a memory limit")
	return ""
}

// In a real container with a limit: the page cache and the garbage do not count for what is
// needed, memory that is not Go's does; the page cache does not count for what is resident.
func TestLiveCgroup(t *testing.T) {
	dir := memoryGroup(t)
	c := exec.Command("/proc/self/exe")
	c.Env = append(os.Environ(), "SLI_CHILD=1", "GOGC=100")
	c.Stderr = os.Stderr
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	pipe, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Process.Kill()
		c.Wait()
	})
	out := bufio.NewReader(pipe)
	if line, err := out.ReadString('\n'); line != "ready\n" {
		t.Fatalf("child said %q, %v", line, err)
	}
	if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte(strconv.Itoa(c.Process.Pid)), 0); err != nil {
		t.Skipf("cannot put a process into a cgroup: %v", err)
	}
	io.WriteString(in, "go\n")
	var got map[Signal]float64
	if err := json.NewDecoder(out).Decode(&got); err != nil {
		t.Fatal(err)
	}
	if raceDetector {
		t.Skip("the race detector keeps notes of all memory that is touched, and they count as non-Go memory")
	}
	const mib = 1 << 20
	near := func(s Signal, bytes float64) {
		t.Helper()
		// What the runtime needs is beside. What the process had before it was in the group
		// is charged elsewhere.
		v, ok := got[s]
		if off := v*childLimit - bytes; !ok || math.Abs(off) > 32*mib {
			t.Errorf("%s is %v, %t, which is %.0f MiB; want %.0f", s, v, ok, v*childLimit/mib, bytes/mib)
		}
	}
	near(MemoryRatio, childLive+childNonGo)
	near(ResidentRatio, childLive+childNonGo+childGarbage)
	if usage := got["usage"]; usage < got[ResidentRatio]+0.5*childCache/childLimit {
		t.Logf("the page cache was charged to another group: usage is %v", usage)
	}
	if v, ok := got[OOMEvents]; ok && v != 0 {
		t.Errorf("%v events at the limit", v)
	}
}
