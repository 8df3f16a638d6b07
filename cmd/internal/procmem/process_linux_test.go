package procmem

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// The test binary is its own target: it maps three pages, closes the middle
// one, and prints where. Then it obeys its standard input: a line "exec" makes
// it run sleep in its place, the end of the input makes it exit.
func TestMain(m *testing.M) {
	if os.Getenv("PROCMEM_TARGET") == "" {
		os.Exit(m.Run())
	}
	page := os.Getpagesize()
	mem, err := unix.Mmap(-1, 0, 3*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		panic(err)
	}
	for i := range mem {
		mem[i] = pattern(i)
	}
	if err := unix.Mprotect(mem[page:2*page], unix.PROT_NONE); err != nil {
		panic(err)
	}
	fmt.Println(uintptr(unsafe.Pointer(&mem[0])))
	line, _ := bufio.NewReader(os.Stdin).ReadString('\n')
	if line == "exec\n" {
		// sleep does not read the pipe: the test kills it.
		panic(syscall.Exec("/bin/sleep", []string{"sleep", "1000"}, nil))
	}
	runtime.KeepAlive(mem)
}

func pattern(i int) byte { return byte(i*7 + i>>8) }

type target struct {
	cmd   *exec.Cmd
	stdin io.WriteCloser
	base  uint64
	page  int
}

func start(t testing.TB, exe string) *target {
	t.Helper()
	tg := &target{cmd: exec.Command(exe), page: os.Getpagesize()}
	tg.cmd.Env = []string{"PROCMEM_TARGET=1"}
	tg.cmd.Stderr = os.Stderr
	var err error
	if tg.stdin, err = tg.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	out, err := tg.cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := tg.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		tg.cmd.Process.Kill()
		tg.cmd.Wait()
	})
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	if tg.base, err = strconv.ParseUint(strings.TrimSpace(line), 10, 64); err != nil {
		t.Fatal(err)
	}
	return tg
}

func open(t testing.TB, pid int) *Process {
	t.Helper()
	p, err := Open(pid)
	if errors.Is(err, ErrAccess) {
		t.Skipf("this host does not let us read a child: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Close() })
	return p
}

func TestRead(t *testing.T) {
	tg := start(t, "/proc/self/exe")
	p := open(t, tg.cmd.Process.Pid)
	end := tg.base + uint64(3*tg.page)
	for _, tt := range []struct {
		name string
		addr uint64
		n    int
		err  error
	}{
		{"first page", tg.base, tg.page, nil},
		{"unaligned", tg.base + 13, 1001, nil},
		{"nothing", 0, 0, nil},
		{"into the closed page", tg.base + uint64(tg.page) - 8, 16, ErrUnmapped},
		{"closed page", tg.base + uint64(tg.page), 1, ErrUnmapped},
		{"last byte", end - 1, 1, nil},
		{"nil", 0, 8, ErrUnmapped},
		{"kernel", 0xffffffff80000000, 8, ErrUnmapped},
		{"wraps", math.MaxUint64 - 3, 8, ErrUnmapped},
		{"not canonical", 1 << 62, 8, ErrUnmapped},
	} {
		t.Run(tt.name, func(t *testing.T) {
			buf := make([]byte, tt.n)
			err := p.Read(tt.addr, buf)
			if !errors.Is(err, tt.err) {
				t.Fatalf("got error %v, want %v", err, tt.err)
			}
			var e *Error
			if err != nil && (!errors.As(err, &e) || e.Addr != tt.addr || e.Len != tt.n) {
				t.Errorf("got %+v, want the failed range in a *Error", e)
			}
			for i, b := range buf {
				if err == nil && b != pattern(int(tt.addr-tg.base)+i) {
					t.Fatalf("byte %d differs", i)
				}
			}
		})
	}
	if err := p.Alive(); err != nil {
		t.Error(err)
	}
}

func TestReadBatch(t *testing.T) {
	tg := start(t, "/proc/self/exe")
	p := open(t, tg.cmd.Process.Pid)
	good := func(i int) Request { return Request{tg.base + uint64(i%tg.page/2), make([]byte, 1+i%31)} }
	bad := Request{tg.base + uint64(tg.page) - 4, make([]byte, 8)}
	for _, tt := range []struct {
		n, bad int // requests, index of the bad one or -1
		wrap   bool
	}{
		{0, -1, false}, {1, -1, false}, {1024, -1, false}, {1025, -1, false}, {5000, -1, false},
		{1, 0, false}, {10, 9, false}, {10, 3, false}, {3000, 2047, false}, {3000, 2048, false},
		{1, 0, true}, {10, 0, true}, {10, 5, true}, {2000, 1024, true},
	} {
		t.Run(fmt.Sprintf("%d/%d/%t", tt.n, tt.bad, tt.wrap), func(t *testing.T) {
			reqs := make([]Request, tt.n)
			for i := range reqs {
				reqs[i] = good(i)
				if i%100 == 50 {
					reqs[i].Buf = nil
				}
			}
			want := tt.n
			if tt.bad >= 0 {
				want = tt.bad
				if reqs[tt.bad] = bad; tt.wrap {
					reqs[tt.bad].Addr = math.MaxUint64
				}
			}
			n, err := p.ReadBatch(reqs)
			if n != want || (err == nil) != (tt.bad < 0) {
				t.Fatalf("filled %d with %v, want %d", n, err, want)
			}
			if err != nil && !errors.Is(err, ErrUnmapped) {
				t.Errorf("got %v, want ErrUnmapped", err)
			}
			for i, r := range reqs[:n] {
				for j, b := range r.Buf {
					if b != pattern(int(r.Addr-tg.base)+j) {
						t.Fatalf("request %d, byte %d differs", i, j)
					}
				}
			}
		})
	}
}

func TestReadDoesNotAllocate(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	tg := start(t, "/proc/self/exe")
	p := open(t, tg.cmd.Process.Pid)
	buf := make([]byte, 4096)
	reqs := make([]Request, 1500)
	for i := range reqs {
		reqs[i] = Request{tg.base, buf[:8]}
	}
	var mem Memory = p
	if n := testing.AllocsPerRun(100, func() {
		if err := mem.Read(tg.base, buf); err != nil {
			t.Fatal(err)
		}
		if _, err := mem.ReadBatch(reqs); err != nil {
			t.Fatal(err)
		}
		if err := p.Alive(); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("Read, ReadBatch and Alive made %v allocations, want 0", n)
	}
}

func TestEnds(t *testing.T) {
	t.Run("exit", func(t *testing.T) {
		tg := start(t, "/proc/self/exe")
		p := open(t, tg.cmd.Process.Pid)
		if _, err := p.CPUTime(); err != nil {
			t.Errorf("CPU time: %v", err)
		}
		statm, err := p.OpenProc("statm")
		if err != nil {
			t.Fatal(err)
		}
		defer statm.Close()
		tg.stdin.Close()
		waitFor(t, p, ErrExited) // a zombie: nobody has waited for it
		if _, err := Open(tg.cmd.Process.Pid); !errors.Is(err, ErrExited) {
			t.Errorf("opening a zombie: got %v, want ErrExited", err)
		}
		for { // it may have lost its memory without being a zombie yet
			if _, err := StartTicks(tg.cmd.Process.Pid); errors.Is(err, ErrExited) {
				break
			} else if err != nil {
				t.Fatal(err)
			}
			runtime.Gosched()
		}
		tg.cmd.Wait()
		waitFor(t, p, ErrExited)
		if err := p.Read(tg.base, make([]byte, 8)); !errors.Is(err, ErrExited) {
			t.Errorf("reading after exit: got %v, want ErrExited", err)
		}
		if _, err := p.CPUTime(); !errors.Is(err, ErrExited) {
			t.Errorf("CPU time after exit: got %v, want ErrExited", err)
		}
		if _, err := p.Maps(); !errors.Is(err, ErrExited) {
			t.Errorf("mappings after exit: got %v, want ErrExited", err)
		}
		if _, err := p.OpenExe(); !errors.Is(err, ErrExited) {
			t.Errorf("executable after exit: got %v, want ErrExited", err)
		}
		if _, err := statm.ReadAt(make([]byte, 8), 0); !errors.Is(err, syscall.ESRCH) {
			t.Errorf("statm after exit: got %v, want ESRCH", err)
		}
	})
	t.Run("exec", func(t *testing.T) {
		tg := start(t, "/proc/self/exe")
		p := open(t, tg.cmd.Process.Pid)
		io.WriteString(tg.stdin, "exec\n")
		waitFor(t, p, ErrReplaced)
		tg.cmd.Process.Kill()
		waitFor(t, p, ErrExited)
	})
	t.Run("exec without pidfd", func(t *testing.T) {
		tg := start(t, "/proc/self/exe")
		p := open(t, tg.cmd.Process.Pid)
		unix.Close(p.pidfd)
		p.pidfd = -1
		if err := p.Alive(); err != nil {
			t.Fatal(err)
		}
		io.WriteString(tg.stdin, "exec\n")
		waitFor(t, p, ErrReplaced)
		tg.cmd.Process.Kill()
		waitFor(t, p, ErrExited)
	})
}

// waitFor polls until Alive fails, and checks how.
func waitFor(t *testing.T, p *Process, want error) {
	t.Helper()
	for {
		err := p.Alive()
		if err == nil || (want == ErrExited && errors.Is(err, ErrReplaced)) {
			runtime.Gosched()
			continue
		}
		if !errors.Is(err, want) {
			t.Fatalf("got %v, want %v", err, want)
		}
		return
	}
}

func TestOpenErrors(t *testing.T) {
	for _, pid := range []int{0, -1, math.MaxInt32} {
		if _, err := Open(pid); !errors.Is(err, ErrExited) {
			t.Errorf("pid %d: got %v, want ErrExited", pid, err)
		}
		if _, err := StartTicks(pid); !errors.Is(err, ErrExited) {
			t.Errorf("start of pid %d: got %v, want ErrExited", pid, err)
		}
	}
	self := open(t, os.Getpid())
	if got, err := StartTicks(os.Getpid()); err != nil || got != self.StartTicks() {
		t.Errorf("our start is %d, %v, want %d", got, err, self.StartTicks())
	}
	if self.pidfd >= 0 {
		tids, err := os.ReadDir("/proc/self/task")
		if err != nil {
			t.Fatal(err)
		}
		for _, tid := range tids {
			if n, _ := strconv.Atoi(tid.Name()); n != os.Getpid() {
				if _, err := Open(n); !errors.Is(err, ErrThread) {
					t.Errorf("a thread: got %v, want ErrThread", err)
				}
			}
		}
	}
	if comm, err := os.ReadFile("/proc/2/comm"); err == nil && string(comm) == "kthreadd\n" {
		if _, err := Open(2); !errors.Is(err, ErrKernelThread) {
			t.Errorf("a kernel thread: got %v, want ErrKernelThread", err)
		}
	}
}

// Another user without capabilities may not read, and is told what to do.
func TestAccessDenied(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to run a reader as another user")
	}
	tg := start(t, "/proc/self/exe")
	exe := copySelf(t)
	cmd := exec.Command(exe, "-test.run=TestAccessDeniedHelper$")
	cmd.Dir = "/"
	cmd.Env = []string{"PROCMEM_READ_PID=" + strconv.Itoa(tg.cmd.Process.Pid)}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	want := fmt.Sprintf("open process %d: access denied (permission denied)\nHINT ", tg.cmd.Process.Pid)
	if !strings.HasPrefix(string(out), want) {
		t.Errorf("got %q, want it to start with %q", out, want)
	}
}

func TestAccessDeniedHelper(t *testing.T) {
	pid, err := strconv.Atoi(os.Getenv("PROCMEM_READ_PID"))
	if err != nil {
		t.Skip("runs as a child of TestAccessDenied")
	}
	_, err = Open(pid)
	var e *Error
	if errors.As(err, &e) {
		fmt.Printf("%v\nHINT %s\n", err, e.Hint)
	}
}

// copySelf puts the test binary where every user can run it.
func copySelf(t *testing.T) string {
	dir, err := os.MkdirTemp("/tmp", "procmem")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	data, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	exe := filepath.Join(dir, "target")
	if err := os.WriteFile(exe, data, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return exe
}

func TestDeletedExecutable(t *testing.T) {
	exe := copySelf(t)
	want, err := os.ReadFile(exe)
	if err != nil {
		t.Fatal(err)
	}
	tg := start(t, exe)
	p := open(t, tg.cmd.Process.Pid)
	if err := os.Remove(exe); err != nil {
		t.Fatal(err)
	}
	f, err := p.OpenExe()
	if err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(io.NewSectionReader(f, 0, 1<<40))
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("read %d bytes, %v; want the %d bytes of the deleted file", len(got), err, len(want))
	}
	again, _ := p.OpenExe()
	if again != f {
		t.Error("a second call opened the file again")
	}
	maps, err := p.Maps()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(maps[0].Path, "target (deleted)") {
		t.Errorf("first mapping is %+v, want the deleted executable", maps[0])
	}
}

func TestMaps(t *testing.T) {
	tg := start(t, "/proc/self/exe")
	p := open(t, tg.cmd.Process.Pid)
	maps, err := p.Maps()
	if err != nil {
		t.Fatal(err)
	}
	closed := tg.base + uint64(tg.page)
	var perms []string
	for _, m := range maps {
		if m.Contains(closed-1) || m.Contains(closed) || m.Contains(closed+uint64(tg.page)) {
			perms = append(perms, m.Perm)
		}
	}
	if got := strings.Join(perms, " "); got != "rw-p ---p rw-p" {
		t.Errorf("the three pages are %q, want %q", got, "rw-p ---p rw-p")
	}
}

func TestRecorder(t *testing.T) {
	tg := start(t, "/proc/self/exe")
	p := open(t, tg.cmd.Process.Pid)
	rec := Recorder{p, NewImage()}
	buf := make([]byte, 100)
	if err := rec.Read(tg.base+50, buf); err != nil {
		t.Fatal(err)
	}
	closed := tg.base + uint64(tg.page)
	n, err := rec.ReadBatch([]Request{{tg.base + 140, buf[:20]}, {closed, buf[:1]}, {tg.base + 500, buf[:1]}})
	if n != 1 || !errors.Is(err, ErrUnmapped) {
		t.Fatalf("got %d, %v; want 1 and ErrUnmapped", n, err)
	}
	if got := rec.Image.Size(); got != 110 {
		t.Errorf("recorded %d bytes, want the 110 that could be read", got)
	}
	if err := rec.Image.Read(tg.base+50, buf); err != nil {
		t.Fatal(err)
	}
	for i, b := range buf {
		if b != pattern(50+i) {
			t.Fatalf("byte %d differs", i)
		}
	}
}

func BenchmarkRead(b *testing.B) {
	tg := start(b, "/proc/self/exe")
	p := open(b, tg.cmd.Process.Pid)
	b.Run("Read4K", func(b *testing.B) {
		buf := make([]byte, 4096)
		b.ReportAllocs()
		for b.Loop() {
			if err := p.Read(tg.base, buf); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("Batch1024x64", func(b *testing.B) {
		reqs := make([]Request, 1024)
		for i := range reqs {
			reqs[i] = Request{tg.base + uint64(i), make([]byte, 64)}
		}
		b.ReportAllocs()
		for b.Loop() {
			if _, err := p.ReadBatch(reqs); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("Alive", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if err := p.Alive(); err != nil {
				b.Fatal(err)
			}
		}
	})
}

// Start times count in the same clock: this process began in the last hour of it.
func TestBoottime(t *testing.T) {
	p := open(t, os.Getpid())
	since := time.Duration(Boottime()) - time.Duration(p.StartTicks())*10*time.Millisecond
	if since < 0 || since > time.Hour {
		t.Errorf("this process started %v ago", since)
	}
}

// CPU time is that of all threads, those that have ended included, as getrusage
// has it, and not in steps.
func TestCPUTime(t *testing.T) {
	p := open(t, os.Getpid())
	rusage := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			t.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	work := make(chan int)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends
		n := 0
		for start := rusage(); rusage()-start < 20*time.Millisecond; {
			n++
		}
		work <- n
	}()
	<-work
	before := rusage()
	got, err := p.CPUTime()
	after := rusage()
	// getrusage leaves out what running threads have not been charged with yet.
	slack := time.Duration(runtime.NumCPU()) * 10 * time.Millisecond
	if err != nil || got < before-slack || got > after+slack || got%(10*time.Millisecond) == 0 {
		t.Errorf("CPU time %v, %v; getrusage says %v to %v", got, err, before, after)
	}
}

// A changingList is a list of mappings that is in order from some reading on.
type changingList struct{ readings, disorder int }

func (c *changingList) ReadAt(b []byte, off int64) (int, error) {
	text := "1000-3000 r--p 00000000 00:00 0 \n3000-4000 rw-p 00000000 00:00 0 \n"
	if off == 0 {
		c.readings++
	}
	if c.readings <= c.disorder {
		text = strings.Replace(text, "\n3000", "\n2000", 1)
	}
	return strings.NewReader(text).ReadAt(b, off)
}

func TestMapsChange(t *testing.T) {
	if maps, err := readMaps(&changingList{disorder: 2}); err != nil || len(maps) != 2 {
		t.Errorf("%d mappings, %v", len(maps), err)
	}
	if maps, err := readMaps(&changingList{disorder: math.MaxInt}); !errors.Is(err, errDisorder) {
		t.Errorf("of a list that is never in order: %d mappings, %v", len(maps), err)
	}
}
