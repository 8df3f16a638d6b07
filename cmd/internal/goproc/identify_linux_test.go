package goproc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/targettest"
	"github.com/heapwright/heapwright/record"
)

// start runs a build of the plain target, which prints a line and then waits.
func start(t testing.TB, path string, change func(*exec.Cmd)) *exec.Cmd {
	t.Helper()
	cmd := exec.Command(path)
	cmd.Env = []string{}
	cmd.Stderr = os.Stderr
	if change != nil {
		change(cmd)
	}
	_, out := targettest.Pipe(t, cmd)
	if _, err := out.ReadString('\n'); err != nil {
		t.Fatalf("%s did not start: %v", path, err)
	}
	return cmd
}

func buildPlain(t testing.TB) string {
	return targettest.Build(t, targettest.Local, "plain", "CGO_ENABLED=0")
}

// identify skips where the host does not let us look at a child.
func identify(t *testing.T, pid int) (record.Process, error) {
	t.Helper()
	p, err := Identify(pid)
	if errors.Is(err, ErrAccess) {
		t.Skip(err)
	}
	return p, err
}

func TestIdentify(t *testing.T) {
	for _, k := range kinds() {
		t.Run(k.name, func(t *testing.T) {
			path := targettest.Build(t, targettest.Local, k.build...)
			before := time.Now()
			cmd := start(t, path, func(cmd *exec.Cmd) {
				cmd.Env = []string{"GOGC=50", "SECRET=GOGC=1", "GOMEMLIMIT=1GiB", "GOPATH=/secret"}
			})
			p, err := identify(t, cmd.Process.Pid)
			if !errors.Is(err, k.err) {
				t.Fatalf("got error %v, want %v", err, k.err)
			}
			if k.err != nil {
				checkHint(t, err)
			}
			got := Exe{Stripped: p.Stripped, PIE: p.PIE, Static: p.Static, Cgo: p.Cgo, Race: p.Race}
			if !reflect.DeepEqual(got, k.want) {
				t.Errorf("got  %+v\nwant %+v", got, k.want)
			}
			if p.GoVersion != strings.Fields(runtime.Version())[0] || p.Module != "example.com/target" || p.GOOS != "linux" || p.BuildID == "" {
				t.Errorf("got %+v", p)
			}
			if p.Exe != path || p.Name != filepath.Base(path) || p.PID != cmd.Process.Pid || p.UID != os.Geteuid() {
				t.Errorf("exe %q, name %q, PID %d, UID %d", p.Exe, p.Name, p.PID, p.UID)
			}
			// The kernel counts in 10 ms, in two places.
			if off := p.StartTime.Sub(before); off < -time.Second || p.StartTime.After(time.Now().Add(time.Second)) {
				t.Errorf("started %v after %v", off, before)
			}
			if want := map[string]string{"GOGC": "50", "GOMEMLIMIT": "1GiB"}; !reflect.DeepEqual(p.GoEnv, want) {
				t.Errorf("environment %v, want %v", p.GoEnv, want)
			}
			if p.HostMemoryBytes < 64<<20 || p.HostCPUs < 1 {
				t.Errorf("host has %d bytes, %d CPUs", p.HostMemoryBytes, p.HostCPUs)
			}
		})
	}
}

// checkHint wants one line that says what happened, and a hint.
func checkHint(t *testing.T, err error) {
	t.Helper()
	var hinter interface{ Hint() string }
	if !errors.As(err, &hinter) || hinter.Hint() == "" || strings.Contains(hinter.Hint()+err.Error(), "\n") {
		t.Errorf("%v has no hint of one line", err)
	}
}

func TestIdentifyDeleted(t *testing.T) {
	data, err := os.ReadFile(buildPlain(t))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "gone")
	if err := os.WriteFile(path, data, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := start(t, path, nil)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	p, err := identify(t, cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if p.Name != "gone" || p.Exe != path || p.Module != "example.com/target" {
		t.Errorf("got %+v", p)
	}
}

// A process that has its own mounts, PIDs and root, with nothing but the program
// in it: a container from scratch.
func TestIdentifyInNamespace(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to make namespaces")
	}
	data, err := os.ReadFile(buildPlain(t))
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	if err := os.WriteFile(root+"/app", data, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd := start(t, "/app", func(cmd *exec.Cmd) {
		cmd.Dir = "/"
		cmd.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID}
	})
	if err := os.Remove(root + "/app"); err != nil {
		t.Fatal(err)
	}
	p, err := identify(t, cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if p.Name != "app" || p.Module != "example.com/target" || p.PID != cmd.Process.Pid {
		t.Errorf("got %+v", p)
	}
	s, err := OpenStat(cmd.Process.Pid, p)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var sample record.Sample
	if err := s.Fill(&sample); err != nil || !sample.Has.Has(record.FieldRSSBytes) {
		t.Errorf("got %+v, %v", sample, err)
	}
}

func TestIdentifyRefuses(t *testing.T) {
	t.Run("not Go", func(t *testing.T) {
		cmd := exec.Command("sleep", "1000")
		if err := cmd.Start(); err != nil {
			t.Skip(err)
		}
		defer cmd.Wait()
		defer cmd.Process.Kill()
		// Between fork and exec it is this test, which is Go.
		for {
			p, err := identify(t, cmd.Process.Pid)
			if err == nil && p.Exe == exePath(t) {
				runtime.Gosched()
				continue
			}
			if !errors.Is(err, ErrNotGo) {
				t.Fatalf("got %+v, %v; want ErrNotGo", p, err)
			}
			if want := fmt.Sprintf("process %d (sleep): not a Go program", cmd.Process.Pid); err.Error() != want && p.Name == "sleep" {
				t.Errorf("got %q, want %q", err, want)
			}
			checkHint(t, err)
			return
		}
	})
	t.Run("zombie", func(t *testing.T) {
		cmd := exec.Command(buildPlain(t))
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		defer cmd.Wait()
		cmd.Process.Kill()
		// Wait until it has ended, and leave it.
		for {
			_, _, errno := syscall.Syscall6(syscall.SYS_WAITID, 1, uintptr(cmd.Process.Pid), 0, syscall.WEXITED|syscall.WNOWAIT, 0, 0)
			if errno != syscall.EINTR {
				break
			}
		}
		if _, err := Identify(cmd.Process.Pid); !errors.Is(err, ErrExited) {
			t.Errorf("got %v, want ErrExited", err)
		}
	})
	t.Run("no such process", func(t *testing.T) {
		for _, pid := range []int{0, -1, 1 << 30} {
			if _, err := Identify(pid); !errors.Is(err, ErrExited) {
				t.Errorf("%d: got %v, want ErrExited", pid, err)
			}
			if _, err := OpenStat(pid, record.Process{}); !errors.Is(err, ErrExited) {
				t.Errorf("%d: OpenStat: got %v, want ErrExited", pid, err)
			}
		}
	})
	t.Run("thread", func(t *testing.T) {
		tasks, err := os.ReadDir("/proc/self/task")
		if err != nil {
			t.Fatal(err)
		}
		for _, task := range tasks {
			tid, _ := strconv.Atoi(task.Name())
			if tid == os.Getpid() {
				continue
			}
			if _, err := Identify(tid); !errors.Is(err, ErrThread) {
				t.Errorf("got %v, want ErrThread", err)
			} else {
				checkHint(t, err)
			}
			return
		}
	})
	t.Run("kernel thread", func(t *testing.T) {
		if comm, err := os.ReadFile("/proc/2/comm"); err != nil || string(comm) != "kthreadd\n" {
			t.Skip("no kernel threads to be seen")
		}
		if _, err := Identify(2); !errors.Is(err, ErrKernelThread) {
			t.Errorf("got %v, want ErrKernelThread", err)
		}
		if _, err := OpenStat(2, record.Process{}); !errors.Is(err, ErrKernelThread) {
			t.Errorf("OpenStat: got %v, want ErrKernelThread", err)
		}
	})
}

func exePath(t *testing.T) string {
	self, err := os.Readlink("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	return self
}

// A program that is not Go, with a library that is.
func TestIdentifyGoLibrary(t *testing.T) {
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip("needs a C compiler")
	}
	lib := targettest.Build(t, targettest.Local, "plain", "CGO_ENABLED=1", "-buildmode=c-shared")
	cmd := exec.Command("sleep", "1000")
	cmd.Env = append(os.Environ(), "LD_PRELOAD="+lib)
	if err := cmd.Start(); err != nil {
		t.Skip(err)
	}
	defer cmd.Wait()
	defer cmd.Process.Kill()
	for try := 0; ; try++ {
		_, err := identify(t, cmd.Process.Pid)
		if (err == nil || !strings.Contains(err.Error(), "library")) && try < 100000 {
			runtime.Gosched() // the loader takes its time
			continue
		}
		if !errors.Is(err, ErrNotGo) || !strings.Contains(err.Error(), lib+" (go") {
			t.Fatalf("got %v, want ErrNotGo and the library", err)
		}
		checkHint(t, err)
		return
	}
}

// asNobody runs a test of this binary as a user without rights.
func asNobody(t *testing.T, test string, env ...string) string {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, to look as another user")
	}
	dir, err := os.MkdirTemp("/tmp", "goproc")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	data, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(dir+"/test", data, 0o755), os.Chmod(dir, 0o755)); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(dir+"/test", "-test.run=^"+test+"$")
	cmd.Dir = "/"
	cmd.Env = append(env, "GOPROC_NOBODY=1")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}

// Another user may not look; what can be told all the same is told.
func TestAccessDenied(t *testing.T) {
	data, err := os.ReadFile(buildPlain(t))
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("/tmp", "goproc")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	open, closed := dir+"/open", dir+"/closed"
	if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(open, data, 0o755), os.WriteFile(closed, data, 0o700)); err != nil {
		t.Fatal(err)
	}
	sleep := exec.Command("/bin/sleep", "1000")
	if err := sleep.Start(); err != nil {
		t.Skip(err)
	}
	defer sleep.Wait()
	defer sleep.Process.Kill()
	openPID, closedPID := start(t, open, nil).Process.Pid, start(t, closed, nil).Process.Pid
	out := asNobody(t, "TestListAsNobody", fmt.Sprintf("GOPROC_PIDS=%d %d %d", openPID, closedPID, sleep.Process.Pid))
	for _, want := range []string{
		fmt.Sprintf("LIST %d name=open go=true rss=true error=process %d (open): access denied (permission denied) hint=run as user", openPID, openPID),
		fmt.Sprintf("LIST %d name=closed go=false rss=true error=process %d (closed): access denied (permission denied) hint=run as user", closedPID, closedPID),
		fmt.Sprintf("IDENTIFY %d access=true", openPID),
		fmt.Sprintf("STAT %d rss=true", openPID),
	} {
		if !strings.Contains(out, want) {
			t.Errorf("no %q in\n%s", want, out)
		}
	}
	if strings.Contains(out, fmt.Sprintf("LIST %d ", sleep.Process.Pid)) {
		t.Errorf("sleep is listed, though its file shows that it is not Go:\n%s", out)
	}
}

func TestListAsNobody(t *testing.T) {
	if os.Getenv("GOPROC_NOBODY") == "" {
		t.Skip("runs as a child of TestAccessDenied")
	}
	var pids []int
	for _, f := range strings.Fields(os.Getenv("GOPROC_PIDS")) {
		pid, _ := strconv.Atoi(f)
		pids = append(pids, pid)
	}
	entries, err := List(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if slices.Contains(pids, e.Process.PID) {
			var hinter interface{ Hint() string }
			errors.As(e.Err, &hinter)
			fmt.Printf("LIST %d name=%s go=%t rss=%t error=%v hint=%s\n", e.Process.PID, e.Process.Name, e.IsGo, e.RSS > 0, e.Err, hinter.Hint())
		}
	}
	_, err = Identify(pids[0])
	fmt.Printf("IDENTIFY %d access=%t\n", pids[0], errors.Is(err, ErrAccess))
	s, err := OpenStat(pids[0], record.Process{})
	if err != nil {
		t.Fatal(err)
	}
	var sample record.Sample
	err = s.Fill(&sample)
	fmt.Printf("STAT %d rss=%t %v\n", pids[0], sample.Has.Has(record.FieldRSSBytes) && sample.RSSBytes > 0, err)
}

func TestList(t *testing.T) {
	cmd := start(t, buildPlain(t), nil)
	sleep := exec.Command("sleep", "1000")
	if err := sleep.Start(); err != nil {
		t.Skip(err)
	}
	defer sleep.Wait()
	defer sleep.Process.Kill()
	for {
		entries, err := List(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		if !slices.IsSortedFunc(entries, func(a, b Entry) int { return a.Process.PID - b.Process.PID }) {
			t.Error("not in order of PIDs")
		}
		found := map[int]Entry{}
		for _, e := range entries {
			found[e.Process.PID] = e
		}
		if s, ok := found[sleep.Process.Pid]; ok && s.Process.Exe == exePath(t) {
			runtime.Gosched() // it has not run execve yet
			continue
		} else if ok {
			t.Errorf("sleep is listed: %+v", s)
		}
		self, ok := found[os.Getpid()]
		if !ok || !self.IsGo || self.Process.Module != "github.com/heapwright/heapwright/cmd" {
			t.Errorf("this test is listed as %+v", self)
		}
		e := found[cmd.Process.Pid]
		if errors.Is(e.Err, ErrAccess) {
			t.Skip(e.Err)
		}
		if e.Err != nil || !e.IsGo || e.Process.Module != "example.com/target" || e.RSS < 100<<10 || e.RSSPeak < e.RSS || e.Uptime < 0 || e.Uptime > time.Hour {
			t.Errorf("the target is listed as %+v", e)
		}
		break
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := List(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want context.Canceled", err)
	}
}

// Two looks at a process agree on when it started.
func TestStartTimeIsStable(t *testing.T) {
	a, err := Identify(os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		b, err := Identify(os.Getpid())
		if err != nil || !a.StartTime.Equal(b.StartTime) {
			t.Fatalf("started at %v, then at %v (%v)", a.StartTime, b.StartTime, err)
		}
	}
}

func TestStat(t *testing.T) {
	cmd := start(t, buildPlain(t), nil)
	p, err := identify(t, cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	s, err := OpenStat(cmd.Process.Pid, p)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	sample := record.Sample{HeapLiveBytes: 42}
	sample.Has.Add(record.FieldHeapLiveBytes)
	sample.Has.Add(record.FieldPSICPUSomeStall) // of an earlier reading
	if err := s.Fill(&sample); err != nil {
		t.Fatal(err)
	}
	for _, f := range []record.Field{record.FieldHeapLiveBytes, record.FieldRSSBytes, record.FieldRSSPeakBytes, record.FieldRSSAnonBytes,
		record.FieldRSSFileBytes, record.FieldSwapBytes, record.FieldCPUProcUser, record.FieldCPUProcSystem} {
		if !sample.Has.Has(f) {
			t.Errorf("field %d is absent", f)
		}
	}
	if sample.HeapLiveBytes != 42 {
		t.Error("a field of the runtime was changed")
	}
	if sample.RSSBytes < 100<<10 || sample.RSSPeakBytes < sample.RSSBytes || sample.RSSAnonBytes+sample.RSSFileBytes != sample.RSSBytes {
		t.Errorf("RSS %d, peak %d, anonymous %d, file %d", sample.RSSBytes, sample.RSSPeakBytes, sample.RSSAnonBytes, sample.RSSFileBytes)
	}
	if sample.CPUProcUser%tick != 0 || sample.CPUProcUser+sample.CPUProcSystem > time.Since(p.StartTime)*time.Duration(runtime.NumCPU())+time.Second {
		t.Errorf("CPU %v, %v", sample.CPUProcUser, sample.CPUProcSystem)
	}
	if sample.Has.Has(record.FieldCgroupLimitBytes) != (p.MemoryLimitBytes != 0) || sample.CgroupLimitBytes != p.MemoryLimitBytes {
		t.Errorf("limit %d, but Identify says %d", sample.CgroupLimitBytes, p.MemoryLimitBytes)
	}

	later := p
	later.StartTime = p.StartTime.Add(-time.Minute)
	if _, err := OpenStat(cmd.Process.Pid, later); !errors.Is(err, ErrExited) {
		t.Errorf("another start time: got %v, want ErrExited", err)
	}
	cmd.Process.Kill()
	cmd.Wait()
	if err := s.Fill(&sample); !errors.Is(err, ErrExited) {
		t.Errorf("after exit: got %v, want ErrExited", err)
	}
	if sample.Has.Has(record.FieldRSSBytes) {
		t.Error("after exit the last RSS is still shown")
	}
}

// What a process in a cgroup of its own may use is found, and followed when the
// process moves.
func TestStatCgroup(t *testing.T) {
	base := "/sys/fs/cgroup/memory"
	if _, err := os.Stat(base + "/memory.limit_in_bytes"); err != nil {
		t.Skip("no cgroup v1 memory hierarchy")
	}
	mk := func(name, limit string) string {
		dir := fmt.Sprintf("%s/heapwright-goproc-%d-%s", base, os.Getpid(), name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Skip(err)
		}
		t.Cleanup(func() { os.Remove(dir) })
		if err := os.WriteFile(dir+"/memory.limit_in_bytes", []byte(limit), 0); err != nil {
			t.Skip(err)
		}
		return dir
	}
	first, second, third := mk("first", "67108864"), mk("second", "134217728"), mk("third", "100663296")
	cmd := start(t, buildPlain(t), nil)
	move := func(dir string) {
		if err := os.WriteFile(dir+"/cgroup.procs", []byte(strconv.Itoa(cmd.Process.Pid)), 0); err != nil {
			t.Fatal(err)
		}
	}
	move(first)
	p, err := identify(t, cmd.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	if p.MemoryLimitBytes != 64<<20 || p.CgroupPath != strings.TrimPrefix(first, base) {
		t.Errorf("limit %d, path %q", p.MemoryLimitBytes, p.CgroupPath)
	}
	s, err := OpenStat(cmd.Process.Pid, p)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var sample record.Sample
	check := func(limit uint64) {
		t.Helper()
		if err := s.Fill(&sample); err != nil {
			t.Fatal(err)
		}
		if !sample.Has.Has(record.FieldCgroupLimitBytes) || sample.CgroupLimitBytes != limit || !sample.Has.Has(record.FieldCgroupUsageBytes) {
			t.Errorf("limit %d, want %d", sample.CgroupLimitBytes, limit)
		}
	}
	check(64 << 20)
	move(third) // and the first is still there, to be read
	s.looked = s.looked.Add(-lookAgain)
	check(96 << 20)
	move(first)
	s.looked = s.looked.Add(-lookAgain)
	check(64 << 20)
	move(second)
	for os.Remove(first) != nil {
		runtime.Gosched()
	}
	check(128 << 20)
	cmd.Process.Kill()
	cmd.Wait()
}

// What a cgroup's memory is made of, who else is in it, and that the process stands
// still, stopped or frozen.
func TestStatNeighbours(t *testing.T) {
	mk := func(controller, file string) string {
		dir := fmt.Sprintf("/sys/fs/cgroup/%s/heapwright-goproc-%d-neighbours", controller, os.Getpid())
		if _, err := os.Stat("/sys/fs/cgroup/" + controller + "/cgroup.procs"); err != nil {
			t.Skip("no cgroup v1 hierarchy of " + controller)
		}
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Skip(err)
		}
		t.Cleanup(func() { os.Remove(dir) })
		if _, err := os.Stat(dir + "/" + file); err != nil {
			t.Skip(err)
		}
		return dir
	}
	memory, freezer := mk("memory", "memory.stat"), mk("freezer", "freezer.state")
	path := buildPlain(t)
	one, other := start(t, path, nil), start(t, path, nil)
	for _, move := range []struct {
		dir string
		pid int
	}{{memory, one.Process.Pid}, {memory, other.Process.Pid}, {freezer, one.Process.Pid}} {
		if err := os.WriteFile(move.dir+"/cgroup.procs", []byte(strconv.Itoa(move.pid)), 0); err != nil {
			t.Skip(err)
		}
	}
	s, err := OpenStat(one.Process.Pid, record.Process{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if got := s.Neighbours(5); len(got) != 1 || got[0].PID != other.Process.Pid || got[0].RSSBytes == 0 || !strings.HasPrefix(filepath.Base(path), got[0].Name) {
		t.Errorf("neighbours %+v", got)
	}
	if got := s.Neighbours(0); len(got) != 0 {
		t.Errorf("%d of 0 neighbours", len(got))
	}
	var sample record.Sample
	fill := func() {
		t.Helper()
		if err := s.Fill(&sample); err != nil {
			t.Fatal(err)
		}
	}
	fill()
	for _, f := range []record.Field{record.FieldCgroupAnonBytes, record.FieldCgroupFileBytes, record.FieldCgroupShmemBytes, record.FieldCgroupRefaults, record.FieldStopped, record.FieldMajorFaults} {
		if !sample.Has.Has(f) {
			t.Errorf("%s is absent", f)
		}
	}
	if sample.Has.Has(record.FieldCgroupReclaimedBytes) {
		t.Error("cgroup v1 counts what it reclaims")
	}
	fill()
	if sample.Has.Has(record.FieldCgroupAnonBytes) {
		t.Error("memory.stat is read at every look")
	}
	until := func(want bool) {
		t.Helper()
		for range 1000 {
			if fill(); sample.Stopped == want {
				return
			}
			time.Sleep(10 * time.Millisecond)
		}
		t.Errorf("stopped is not seen to be %t", want)
	}
	until(false)
	if err := one.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	until(true)
	if err := one.Process.Signal(syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	until(false)
	state := freezer + "/freezer.state"
	if err := os.WriteFile(state, []byte("FROZEN"), 0); err != nil {
		t.Fatal(err)
	}
	defer os.WriteFile(state, []byte("THAWED"), 0)
	until(true)
	if err := os.WriteFile(state, []byte("THAWED"), 0); err != nil {
		t.Fatal(err)
	}
	until(false)
	for _, p := range []*exec.Cmd{one, other} {
		p.Process.Kill()
		p.Wait()
	}
}

func TestFillDoesNotAllocate(t *testing.T) {
	s, err := OpenStat(os.Getpid(), record.Process{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var sample record.Sample
	if n := testing.AllocsPerRun(100, func() {
		s.looked = time.Time{} // each with a look for another cgroup
		if err := s.Fill(&sample); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("Fill made %v allocations, want 0", n)
	}
}

func BenchmarkFill(b *testing.B) {
	s, err := OpenStat(os.Getpid(), record.Process{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	var sample record.Sample
	b.ReportAllocs()
	for b.Loop() {
		if err := s.Fill(&sample); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkList(b *testing.B) {
	path := buildPlain(b)
	for range 50 {
		start(b, path, nil)
	}
	b.ResetTimer()
	b.ReportAllocs()
	for b.Loop() {
		entries, err := List(context.Background())
		if err != nil || len(entries) < 50 {
			b.Fatal(len(entries), err)
		}
	}
}

// What is no regular file is not opened: that would use up what another process
// does with it. A FIFO shows it, for its writer learns of every reader.
func TestOpenRegular(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(dir, "link")
	if err := os.Symlink(fifo, link); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{fifo, link, dir, "/dev/null"} {
		if f, _, err := openRegular(name); err == nil {
			f.Close()
			t.Errorf("%s was opened", name)
		}
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("text"), 0o600); err != nil {
		t.Fatal(err)
	}
	f, info, err := openRegular(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if b, err := io.ReadAll(f); string(b) != "text" || info.Size() != 4 {
		t.Errorf("read %q, %v, of %d bytes", b, err, info.Size())
	}
}

// A Watch sees processes come and go, and looks into those that it knows only when it
// is time: so a process that became another program is seen then.
func TestWatch(t *testing.T) {
	now := time.Now()
	w := NewWatch()
	w.now = func() time.Time { return now }
	look := func(pid int) *Entry {
		entries, err := w.Look(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for i := range entries {
			if entries[i].Process.PID == pid {
				return &entries[i]
			}
		}
		return nil
	}
	if e := look(os.Getpid()); e == nil || !e.IsGo {
		t.Fatalf("this process: %+v", e)
	}
	path := buildPlain(t)
	// A shell that is told to become a Go program.
	gate := filepath.Join(t.TempDir(), "gate")
	if err := syscall.Mkfifo(gate, 0o600); err != nil {
		t.Fatal(err)
	}
	sh := exec.Command("sh", "-c", `read x <"$0"; exec "$1"`, gate, path)
	if _, err := sh.StdinPipe(); err != nil { // the program waits for its end
		t.Fatal(err)
	}
	if err := sh.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { sh.Process.Kill(); sh.Wait() }()
	if e := look(sh.Process.Pid); e != nil {
		t.Errorf("a shell is listed: %+v", e)
	}
	if err := os.WriteFile(gate, []byte("go\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for {
		if exe, err := os.Readlink(fmt.Sprintf("/proc/%d/exe", sh.Process.Pid)); err != nil {
			t.Fatal(err)
		} else if exe == path {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if e := look(sh.Process.Pid); e != nil {
		t.Error("it was looked into again before its time")
	}
	now = now.Add(firstLook)
	if e := look(sh.Process.Pid); e == nil || !e.IsGo {
		t.Errorf("after %s: %+v", firstLook, e)
	}
	sh.Process.Kill()
	sh.Wait()
	if e := look(sh.Process.Pid); e != nil {
		t.Errorf("a process that is gone: %+v", e)
	}
}

// What is read often is the same as what is read with everything else.
func TestFillQuick(t *testing.T) {
	s, err := OpenStat(os.Getpid(), record.Process{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var quick, whole record.Sample
	quick.Has.Add(record.FieldCgroupUsageBytes)
	if err := s.FillQuick(&quick); err != nil {
		t.Fatal(err)
	}
	if err := s.Fill(&whole); err != nil {
		t.Fatal(err)
	}
	if quick.Has.Has(record.FieldCgroupUsageBytes) || !quick.Has.Has(record.FieldRSSBytes) || !quick.Has.Has(record.FieldCPUProcUser) {
		t.Errorf("it has %v", quick.Has)
	}
	if r := float64(quick.RSSBytes) / float64(whole.RSSBytes); r < 0.5 || r > 2 {
		t.Errorf("RSS %d, and %d", quick.RSSBytes, whole.RSSBytes)
	}
	if quick.CPUProcUser > whole.CPUProcUser {
		t.Errorf("CPU %v, and then %v", quick.CPUProcUser, whole.CPUProcUser)
	}
}

func BenchmarkFillQuick(b *testing.B) {
	s, err := OpenStat(os.Getpid(), record.Process{})
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	var sample record.Sample
	b.ReportAllocs()
	for b.Loop() {
		if err := s.FillQuick(&sample); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkWatch(b *testing.B) {
	w := NewWatch()
	b.ReportAllocs()
	for b.Loop() {
		if _, err := w.Look(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
}
