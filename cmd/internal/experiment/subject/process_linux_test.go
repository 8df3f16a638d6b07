package subject

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cgroup"
	"github.com/heapwright/heapwright/cmd/internal/experiment"
	"github.com/heapwright/heapwright/cmd/internal/procmem"
)

// built is the program of testdata, built once.
var built Program

func TestMain(m *testing.M) {
	os.Exit(tests(m))
}

func tests(m *testing.M) int {
	if spec := os.Getenv(actAsParent); spec != "" {
		return parent(spec)
	}
	dir, err := os.MkdirTemp("", "subjecttest")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	os.Setenv("HEAPWRIGHT_STATE_DIR", filepath.Join(dir, "state"))
	src := filepath.Join(dir, "src")
	if err := os.CopyFS(src, os.DirFS("testdata/subject")); err != nil {
		panic(err)
	}
	b := Builder{CacheDir: filepath.Join(dir, "cache"), Base: dir}
	if built, err = b.Build(context.Background(), experiment.Subject{Source: "src"}, experiment.Variant{Name: "test"}); err != nil {
		panic(err)
	}
	return m.Run()
}

// spec runs the program of testdata with verbs.
func spec(t testing.TB, args ...string) Spec {
	return Spec{Program: built, Dir: t.TempDir(), Variant: experiment.Variant{Name: "v"}, Subject: experiment.Subject{Args: args}}
}

func started(t testing.TB, s Spec) *Process {
	t.Helper()
	p, err := Start(t.Context(), s)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Stop(context.Background()) })
	return p
}

func fetch(t testing.TB, url string) string {
	t.Helper()
	resp, err := asking.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("%s: %s", url, resp.Status)
	}
	return string(body)
}

// nothingLeft fails if a stopped process has left something.
func nothingLeft(t testing.TB, p *Process, pids ...int) {
	t.Helper()
	for _, pid := range append(pids, p.PID()) {
		// A process that was killed is there until the last of its threads has
		// noticed.
		for deadline := time.Now().Add(20 * time.Second); alive(pid) && time.Now().Before(deadline); {
			time.Sleep(time.Millisecond)
		}
		if alive(pid) {
			t.Errorf("process %d still runs", pid)
		}
	}
	if files, _ := os.ReadDir(p.spec.Dir); len(files) > 0 {
		t.Errorf("there is still %v", files)
	}
	for _, g := range p.group.dirs() {
		if _, err := os.Stat(g); err == nil {
			t.Errorf("there is still %s", g)
		}
	}
	if _, err := os.Stat(p.left.path); err == nil {
		t.Error("the marker is still there")
	}
	conn, err := net.DialTimeout("tcp", p.Expand("127.0.0.1:{port}"), time.Second)
	if err == nil {
		conn.Close()
		t.Error("something still listens on its port")
	}
}

func alive(pid int) bool {
	_, err := procmem.StartTicks(pid)
	return err == nil
}

func TestStartAndStop(t *testing.T) {
	t.Setenv("GOGC", "33")
	t.Setenv("GOMEMLIMIT", "1GiB")
	t.Setenv("A_SECRET", "x")
	s := spec(t, "show", "print=hello {variant}", "serve={port}")
	s.Subject.Env = map[string]string{"WHO": "subject", "WHERE": "{dir}", "GOGC": "50"}
	s.Variant.Env = map[string]string{"WHO": "variant"}
	s.Variant.GOMAXPROCS = 3
	s.Subject.Files = map[string]string{"sub/conf": "listen {port} {port2} {port8}\n"}
	s.Subject.Ready.HTTP = "http://127.0.0.1:{port}/flavour"
	p := started(t, s)
	base := p.Expand("http://127.0.0.1:{port}")

	env := fetch(t, base+"/show")
	for _, want := range []string{"WHO=variant", "WHERE=" + p.Expand("{dir}"), "GOGC=50", "GOMAXPROCS=3", "PATH=" + os.Getenv("PATH"), cookie + "=" + p.id} {
		if !strings.Contains("\n"+env, "\n"+want+"\n") {
			t.Errorf("the environment has no %s:\n%s", want, env)
		}
	}
	for _, bad := range []string{"GOMEMLIMIT", "A_SECRET"} {
		if strings.Contains(env, bad) {
			t.Errorf("the environment has %s", bad)
		}
	}
	if got, want := fetch(t, base+"/show?file=sub/conf"), p.Expand("listen {port} {port2} {port8}\n"); got != want || strings.Contains(got, "{") {
		t.Errorf("the file has %q, want %q", got, want)
	}
	if p.StartSeconds() <= 0 {
		t.Errorf("it took %v s", p.StartSeconds())
	}
	if got := p.Log(); got != "hello v\n" {
		t.Errorf("the log is %q", got)
	}
	if p.Cgroup() != "" || p.OOMKills() != 0 || p.Throttled() != 0 {
		t.Error("it has a cgroup that nobody asked for")
	}
	if end := p.Stop(t.Context()); end != (experiment.End{How: experiment.EndedAsked}) {
		t.Errorf("it ended as %+v", end)
	}
	nothingLeft(t, p)
	if again := p.Stop(t.Context()); again.How != experiment.EndedAsked {
		t.Errorf("stopped again: %+v", again)
	}
}

func TestEnds(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		hit  string
		want experiment.End
	}{
		{"status", []string{"exit-on-term=3", "serve={port}"}, "", experiment.End{How: experiment.EndedAsked, Text: "exit status 3"}},
		{"ignores", []string{"ignore", "serve={port}"}, "", experiment.End{How: experiment.EndedKilled, Text: "it had not ended 100ms after SIGTERM"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := spec(t, tt.args...)
			s.Subject.Stop.Within = 100 * time.Millisecond
			if tt.want.How == experiment.EndedAsked {
				s.Subject.Stop.Within = time.Minute
			}
			p := started(t, s)
			if end := p.Stop(t.Context()); end != tt.want {
				t.Errorf("it ended as %+v, want %+v", end, tt.want)
			}
			nothingLeft(t, p)
		})
	}
}

func TestNotReady(t *testing.T) {
	for _, tt := range []struct {
		name string
		args []string
		http string
		how  string
		want string
	}{
		{"crash", []string{"print=about to", "crash=boom"}, "", experiment.EndedCrashed, "panic: this is how it is: boom"},
		{"exit", []string{"print=cannot open the database", "exit=4"}, "", experiment.EndedCrashed, "exit status 4: cannot open the database"},
		{"ends well", []string{"exit=0"}, "", experiment.EndedCrashed, "exit status 0"},
		{"never", []string{"print=idle", "sleep"}, "", experiment.EndedKilled, "it was not ready within 300ms: TCP 127.0.0.1:"},
		{"wrong status", []string{"status=503", "serve={port}"}, "http://127.0.0.1:{port}/", experiment.EndedKilled, "it answered 503"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := spec(t, tt.args...)
			s.Subject.Ready.HTTP = tt.http
			s.Subject.Ready.Within = time.Minute
			if tt.how == experiment.EndedKilled {
				s.Subject.Ready.Within = 300 * time.Millisecond
				if tt.http != "" {
					s.Subject.Ready.Within = 5 * time.Second // it has to come to answer, on a busy machine too
				}
			}
			_, err := Start(t.Context(), s)
			e := new(NotReadyError)
			if !errors.As(err, &e) {
				t.Fatalf("error %v", err)
			}
			if e.End.How != tt.how || !strings.Contains(err.Error(), tt.want) || e.Hint() == "" {
				t.Errorf("error %+v: %v; want %q", e.End, err, tt.want)
			}
			if files, _ := os.ReadDir(s.Dir); len(files) > 0 {
				t.Errorf("there is still %v", files)
			}
		})
	}
}

// TestSurvivors stops processes that have forked: into their own process group
// with an empty environment, and into another session.
func TestSurvivors(t *testing.T) {
	for _, fork := range []string{"fork=bare", "fork=session"} {
		t.Run(fork, func(t *testing.T) {
			p := started(t, spec(t, fork, "serve={port}"))
			child := childOf(t, p)
			if !alive(child) {
				t.Fatal("the child does not run")
			}
			if end := p.Stop(t.Context()); end.How != experiment.EndedAsked {
				t.Errorf("it ended as %+v", end)
			}
			nothingLeft(t, p, child)
		})
	}
}

func TestCrashWhileLoaded(t *testing.T) {
	p := started(t, spec(t, "fork=session", "exit-on-term=3", "print=last words", "serve={port}"))
	child := childOf(t, p)
	if err := syscall.Kill(p.PID(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	if end, want := p.Stop(t.Context()), (experiment.End{How: experiment.EndedCrashed, Text: "exit status 3: last words"}); end != want {
		t.Errorf("it ended as %+v, want %+v", end, want)
	}
	nothingLeft(t, p, child)

	p = started(t, spec(t, "serve={port}"))
	if err := syscall.Kill(p.PID(), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	<-p.Done()
	if end := p.Stop(t.Context()); end.How != experiment.EndedCrashed || !strings.Contains(end.Text, "signal: killed, and not by us") {
		t.Errorf("it ended as %+v", end)
	}
}

func TestStopWithoutTime(t *testing.T) {
	p := started(t, spec(t, "serve={port}"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if end := p.Stop(ctx); end.How != experiment.EndedKilled {
		t.Errorf("it ended as %+v", end)
	}
	nothingLeft(t, p)
}

func TestStartIsInterrupted(t *testing.T) {
	s := spec(t, "sleep")
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for {
			if files, _ := os.ReadDir(s.Dir); len(files) > 0 {
				cancel()
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	if _, err := Start(ctx, s); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if files, _ := os.ReadDir(s.Dir); len(files) > 0 {
		t.Errorf("there is still %v", files)
	}
}

// TestPortTaken starts a program that finds its port taken: once, and always.
func TestPortTaken(t *testing.T) {
	seen := filepath.Join(t.TempDir(), "seen")
	script := func(text string) Spec {
		s := spec(t)
		s.Path, s.stamp = "/bin/sh", stamp{}
		s.Subject.Args = []string{"-c", text, "sh", seen, built.Path}
		return s
	}
	p := started(t, script(`mkdir "$1" 2>/dev/null && { echo bind: address already in use; exit 1; }; exec "$2" serve={port}`))
	p.Stop(t.Context())

	always := script(`echo {port} >>"$1/ports"; echo bind: address already in use; exit 1`)
	_, err := Start(t.Context(), always)
	if e := new(NotReadyError); !errors.As(err, &e) {
		t.Fatalf("error %v", err)
	}
	text, err := os.ReadFile(filepath.Join(seen, "ports"))
	if err != nil {
		t.Fatal(err)
	}
	if tries := strings.Fields(string(text)); len(tries) != 3 {
		t.Errorf("it was tried with the ports %v", tries)
	}
}

func TestStartErrors(t *testing.T) {
	dir := t.TempDir()
	broken := filepath.Join(dir, "broken")
	if err := os.WriteFile(broken, []byte("\x7fELF and no more"), 0o755); err != nil {
		t.Fatal(err)
	}
	changed, err := (&Builder{Base: dir}).Build(t.Context(), experiment.Subject{Command: []string{"./broken"}}, experiment.Variant{})
	if err != nil {
		t.Fatal(err)
	}
	changed.stamp.size++
	for _, tt := range []struct {
		name   string
		change func(*Spec)
		want   string
	}{
		{"no program", func(s *Spec) { s.Program = Program{Path: filepath.Join(dir, "none")} }, "no such file"},
		{"no executable", func(s *Spec) { s.Program = Program{Path: broken} }, "exec format error"},
		{"another program", func(s *Spec) { s.Program = changed }, "has changed since the experiment began"},
		{"file outside", func(s *Spec) { s.Subject.Files = map[string]string{"../x": ""} }, "is not inside {dir}"},
		{"two questions", func(s *Spec) { s.Subject.Ready = experiment.Ready{HTTP: "http://x", TCP: "x:1"} }, "give one"},
		{"bad url", func(s *Spec) { s.Subject.Ready.HTTP = "http://[" }, "ready.http"},
		{"bad address", func(s *Spec) { s.Subject.Ready.TCP = "x" }, "ready.tcp"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := spec(t)
			tt.change(&s)
			_, err := Start(t.Context(), s)
			if e := new(StartError); !errors.As(err, &e) || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
			if files, _ := os.ReadDir(s.Dir); len(files) > 0 {
				t.Errorf("there is still %v", files)
			}
		})
	}
}

// limitedTo starts a process with limits, or skips the test.
func limitedTo(t testing.TB, s Spec) *Process {
	t.Helper()
	p, err := Start(t.Context(), s)
	if e := new(LimitError); errors.As(err, &e) {
		t.Skipf("no cgroup can be made here: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Stop(context.Background()) })
	return p
}

func TestOutOfMemory(t *testing.T) {
	s := spec(t, "hog=200", "fork=session", "serve={port}")
	s.Variant.MemoryLimit = 64 << 20
	p := limitedTo(t, s)
	child := childOf(t, p)
	group, err := cgroup.Of(p.PID())
	if err != nil {
		t.Fatal(err)
	}
	if limit, ok, err := group.MemoryLimit(); err != nil || !ok || limit != 64<<20 {
		t.Errorf("its limit is %d, %t, %v", limit, ok, err)
	}
	if dir := p.Cgroup(); filepath.Base(group.Path()) != filepath.Base(dir) || dir == "" {
		t.Errorf("it is in %s, not in %s", group.Path(), dir)
	}
	if resp, err := asking.Get(p.Expand("http://127.0.0.1:{port}/hog")); err == nil {
		resp.Body.Close()
		t.Errorf("it had 200 MiB: %s", resp.Status)
	}
	<-p.Done()
	if end := p.Stop(t.Context()); end.How != experiment.EndedOOM || p.OOMKills() == 0 {
		t.Errorf("it ended as %+v, %d killed; log:\n%s", end, p.OOMKills(), p.Log())
	}
	nothingLeft(t, p, child)
}

func TestOutOfMemoryAtStart(t *testing.T) {
	s := spec(t, "hog-now=200", "serve={port}")
	s.Variant.MemoryLimit = 64 << 20
	_, err := Start(t.Context(), s)
	if e := new(LimitError); errors.As(err, &e) {
		t.Skipf("no cgroup can be made here: %v", err)
	}
	if e := new(NotReadyError); !errors.As(err, &e) || e.End.How != experiment.EndedOOM {
		t.Errorf("error %v", err)
	}
}

func TestCPUQuota(t *testing.T) {
	s := spec(t, "burn", "serve={port}")
	s.Variant.CPUQuota = 0.2
	p := limitedTo(t, s)
	group, err := cgroup.Of(p.PID())
	if err != nil {
		t.Fatal(err)
	}
	if quota, ok, err := group.CPUQuota(); err != nil || !ok || quota != 0.2 {
		t.Errorf("its quota is %g, %t, %v", quota, ok, err)
	}
	for p.Throttled() == 0 {
		select {
		case <-p.Done():
			t.Fatal("it ended")
		case <-time.After(10 * time.Millisecond):
		}
	}
	p.Stop(t.Context())
	if p.Throttled() == 0 {
		t.Error("what was read last is forgotten")
	}
	nothingLeft(t, p)
}

// TestGroupWithoutLimits is for an arm whose partner has limits.
func TestGroupWithoutLimits(t *testing.T) {
	s := spec(t, "serve={port}")
	s.Group = Controllers{Memory: true, CPU: true}
	p := limitedTo(t, s)
	group, err := cgroup.Of(p.PID())
	if err != nil {
		t.Fatal(err)
	}
	if filepath.Base(group.Path()) != groupPrefix+p.id {
		t.Errorf("it is in %s", group.Path())
	}
	p.Stop(t.Context())
	nothingLeft(t, p)
	if got := Cgroups(); got == "none" {
		t.Errorf("a cgroup was made, and Cgroups says %q", got)
	}
}

// actAsParent has the test binary be a heapwright that is killed.
const actAsParent = "HEAPWRIGHT_TEST_PARENT"

// what parent tells of the process that it has started.
type told struct {
	PID, Child, Watcher int
	Dir, Marker         string
	Groups              []string
}

// parent starts a process and waits to be killed.
func parent(text string) int {
	var s Spec
	if err := json.Unmarshal([]byte(text), &s); err != nil {
		panic(err)
	}
	p, err := Start(context.Background(), s)
	if err != nil {
		panic(err)
	}
	child, err := os.ReadFile(filepath.Join(p.dir, "child"))
	if err != nil {
		panic(err)
	}
	say := told{PID: p.PID(), Dir: p.dir, Marker: p.left.path, Groups: p.group.dirs()}
	say.Child, _ = strconv.Atoi(string(child))
	for _, pid := range processes() {
		if text, err := read(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil && strings.Contains(text, "\x00heapwright-watch\x00"+p.id) {
			say.Watcher = pid
		}
	}
	if err := json.NewEncoder(os.Stdout).Encode(say); err != nil {
		panic(err)
	}
	select {}
}

// TestKilled kills, with a signal that cannot be caught, who has started a process
// that has forked: nothing is left, at once or, when the watcher is killed as
// well, after the next sweep.
func TestKilled(t *testing.T) {
	limits := experiment.Variant{Name: "v", MemoryLimit: 256 << 20, CPUQuota: 1}
	plan := &experiment.Plan{Variants: []experiment.Variant{limits}}
	for _, tt := range []struct {
		name    string
		fork    string
		limits  bool
		watcher bool
	}{
		{"group", "fork=bare", false, true},
		{"session", "fork=session", false, true},
		{"cgroup", "fork=session", true, true},
		{"watcher too", "fork=session", false, false},
		{"watcher too, cgroup", "fork=session", true, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := spec(t, tt.fork, "serve={port}")
			if tt.limits {
				if err := CheckLimits(plan); err != nil {
					t.Skipf("no cgroup can be made here: %v", err)
				}
				s.Variant = limits
			}
			text, err := json.Marshal(s)
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), actAsParent+"="+string(text))
			cmd.Stderr = os.Stderr
			out, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			defer cmd.Wait()
			defer cmd.Process.Kill()
			var is told
			if err := json.NewDecoder(out).Decode(&is); err != nil {
				t.Fatal(err)
			}
			if !alive(is.PID) || !alive(is.Child) || !alive(is.Watcher) {
				t.Fatalf("not all of %+v run", is)
			}
			if err := Sweep(); err != nil {
				t.Fatal(err)
			}
			if !alive(is.PID) || !alive(is.Child) {
				t.Fatal("a sweep ended what is in use")
			}
			if !tt.watcher {
				if err := syscall.Kill(is.Watcher, syscall.SIGKILL); err != nil {
					t.Fatal(err)
				}
			}
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			cmd.Wait()
			if !tt.watcher {
				if err := Sweep(); err != nil {
					t.Fatal(err)
				}
			}
			var left []string
			for range 1000 { // until the kernel has done it
				if left = is.left(); len(left) == 0 {
					return
				}
				time.Sleep(10 * time.Millisecond)
			}
			t.Errorf("there is still %v", left)
		})
	}
}

func (is told) left() (out []string) {
	for _, pid := range []int{is.PID, is.Child} {
		if alive(pid) {
			out = append(out, fmt.Sprint("process ", pid))
		}
	}
	for _, path := range append(is.Groups, is.Dir, is.Marker) {
		if _, err := os.Lstat(path); err == nil {
			out = append(out, path)
		}
	}
	return out
}

func childOf(t testing.TB, p *Process) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(p.dir, "child"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(string(text))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// TestUnified starts a process in a group of cgroup v2, and removes the group with
// the process in it.
func TestUnified(t *testing.T) {
	text, err := read("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	var mount string
	for line := range strings.Lines(text) {
		if strings.Contains(line, " - cgroup2 ") {
			mount = strings.Fields(line)[4]
		}
	}
	if mount == "" {
		t.Skip("cgroup v2 is not mounted here")
	}
	g := &group{parts: []part{{version: 2, dir: filepath.Join(mount, groupPrefix+newID())}}}
	if err := g.create(); err != nil {
		t.Skipf("no cgroup can be made here: %v", err)
	}
	defer g.remove()
	cmd := exec.Command("sleep", "1000")
	cmd.SysProcAttr = attributes()
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := g.enter(cmd.SysProcAttr)
		if err == nil {
			err = cmd.Start()
		}
		done <- errors.Join(err, g.leave())
		if err == nil {
			cmd.Wait()
		}
		close(done)
	}()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if in, err := read(fmt.Sprintf("/proc/%d/cgroup", cmd.Process.Pid)); err != nil || !strings.Contains(in, filepath.Base(g.main())) {
		t.Errorf("it is in %s, %v", in, err)
	}
	if err := g.remove(); err != nil {
		t.Error(err)
	}
	<-done
	if _, err := os.Stat(g.main()); err == nil {
		t.Error("the group is still there")
	}
}

// TestBuildIsInterrupted has a go command that starts another program and does not
// end, as a build starts compilers.
func TestBuildIsInterrupted(t *testing.T) {
	b, _ := builder(t)
	lay(t, filepath.Join(b.Base, "small"), small)
	bin, pids := t.TempDir(), filepath.Join(t.TempDir(), "pids")
	script := "#!/bin/sh\nsleep 1000 &\necho $$ $! >" + pids + ".new && mv " + pids + ".new " + pids + "\nwait\n"
	if err := os.WriteFile(filepath.Join(bin, "go"), []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin+string(filepath.ListSeparator)+os.Getenv("PATH"))
	ctx, cancel := context.WithCancel(t.Context())
	var text []byte
	go func() {
		defer cancel()
		for ctx.Err() == nil {
			var err error
			if text, err = os.ReadFile(pids); err == nil {
				return
			}
			time.Sleep(time.Millisecond)
		}
	}()
	if _, err := b.Build(ctx, experiment.Subject{Source: "small"}, experiment.Variant{Name: "v"}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	<-ctx.Done()
	for _, field := range strings.Fields(string(text)) {
		pid, err := strconv.Atoi(field)
		if err != nil {
			t.Fatal(err)
		}
		for range 1000 { // until the kernel has done it
			if !alive(pid) {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		if alive(pid) {
			t.Errorf("process %d of the build still runs", pid)
		}
	}
}
