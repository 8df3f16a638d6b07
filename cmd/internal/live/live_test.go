package live

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/targettest"
)

// TestMain is also the watchdog, and a tool that is killed.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 {
		switch os.Args[1] {
		case "live-watchdog":
			os.Exit(child(func(pid int) error {
				ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
				defer stop()
				return Host{}.RunWatchdog(ctx, pid, os.Stdin, os.Stdout)
			}))
		case "live-tool":
			os.Exit(child(tool))
		}
	}
	code := m.Run()
	if buildDir != "" {
		os.RemoveAll(buildDir)
	}
	os.Exit(code)
}

func child(f func(pid int) error) int {
	pid, err := strconv.Atoi(os.Args[2])
	if err == nil {
		err = f(pid)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// tool applies a change, says so, and then does nothing until it is told to keep
// it, or dies.
func tool(pid int) error {
	var c Change
	if err := json.Unmarshal([]byte(os.Args[4]), &c); err != nil {
		return err
	}
	h := testHost(os.Args[3])
	if v := os.Getenv(silenceVar); v != "" {
		d, err := time.ParseDuration(v)
		if err != nil {
			return err
		}
		h.silence = d
	}
	s, err := h.Open(context.Background(), pid)
	if err != nil {
		fmt.Println(err)
		return err
	}
	defer s.Close()
	if _, err := s.Apply(context.Background(), c, "a test"); err != nil {
		var owner *OwnerError
		fmt.Println(errors.As(err, &owner), err)
		return err
	}
	fmt.Println("applied")
	io.Copy(io.Discard, os.Stdin)
	return s.Keep()
}

// silenceVar is how long a tool of a test may be silent.
const silenceVar = "LIVE_TEST_SILENCE"

func testHost(dir string) Host {
	return Host{LeaseDir: filepath.Join(dir, "leases"), StateDir: dir, Watchdog: []string{"/proc/self/exe", "live-watchdog"}, Tool: "test", User: "tester"}
}

var (
	buildMu  sync.Mutex
	buildDir string
	built    = map[string]string{}
)

// buildProgram builds a program of testdata with a Go release, "" for the local
// one, without downloading anything. It skips the test if there is no such toolchain.
func buildProgram(t testing.TB, name, release string, flags ...string) string {
	t.Helper()
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		t.Skip("needs linux/amd64")
	}
	buildMu.Lock()
	defer buildMu.Unlock()
	key := name + " " + release + " " + strings.Join(flags, " ")
	if path, ok := built[key]; ok {
		return path
	}
	if buildDir == "" {
		var err error
		if buildDir, err = os.MkdirTemp("", "live"); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(buildDir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	env := append(os.Environ(), "GOWORK=off", "GOFLAGS=-buildvcs=false", "GOPROXY=off", "GOTOOLCHAIN=local", "CGO_ENABLED=0")
	dir := filepath.Join("testdata", name)
	if release != "" {
		env = append(env, "GOTOOLCHAIN="+release)
		probe := exec.Command("go", "version")
		probe.Env, probe.Dir = env, dir
		if out, err := probe.CombinedOutput(); err != nil {
			t.Skipf("no toolchain %s here: %v: %s", release, err, out)
		}
	}
	path := filepath.Join(buildDir, fmt.Sprintf("%s%d", name, len(built)))
	cmd := exec.Command("go", append(append([]string{"build", "-o", path}, flags...), ".")...)
	cmd.Env, cmd.Dir = env, dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building %s with %q: %v\n%s", name, release, err, out)
	}
	built[key] = path
	return path
}

// A target is a running testdata/subject.
type target struct {
	t    testing.TB
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
	last said
}

// said is what a subject answers.
type said struct {
	GOGC   *uint64
	Limit  int64
	Goal   uint64
	Cycles uint64
	Seen   *struct {
		GOGC, Limits map[uint64]uint64
		Reads        uint64
	}
}

func start(t testing.TB, path string, env ...string) *target {
	t.Helper()
	cmd := exec.Command(path)
	cmd.Env = append(os.Environ(), "GODEBUG=", "GOGC=", "GOMEMLIMIT=", "GOMAXPROCS=2")
	cmd.Env = append(cmd.Env, env...)
	cmd.Stderr = os.Stderr
	in, out := targettest.Pipe(t, cmd)
	tg := &target{t: t, cmd: cmd, in: in, out: out}
	tg.answer()
	return tg
}

func (tg *target) pid() int { return tg.cmd.Process.Pid }

func (tg *target) ask(format string, args ...any) said {
	tg.t.Helper()
	if _, err := fmt.Fprintf(tg.in, format+"\n", args...); err != nil {
		tg.t.Fatal(err)
	}
	return tg.answer()
}

func (tg *target) answer() said {
	tg.t.Helper()
	line, err := tg.out.ReadBytes('\n')
	if err != nil {
		tg.t.Fatalf("the subject ended: %v", err)
	}
	tg.last = said{}
	if err := json.Unmarshal(line, &tg.last); err != nil {
		tg.t.Fatalf("%v: %s", err, line)
	}
	return tg.last
}

func (tg *target) open(h Host) *Session {
	tg.t.Helper()
	s, err := h.Open(context.Background(), tg.pid())
	if err != nil {
		tg.t.Fatal(err)
	}
	tg.t.Cleanup(func() { s.Close() })
	return s
}

func ptr(v int64) *int64 { return &v }

// off is GOGC=off as runtime/metrics has it.
const off = math.MaxUint64

func apply(t testing.TB, s *Session, c Change) Receipt {
	t.Helper()
	r, err := s.Apply(context.Background(), c, "a test")
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestSameAsNative changes a process from outside, and then has it call the
// runtime's own setters: nothing may be left for them to do.
func TestSameAsNative(t *testing.T) {
	for _, release := range []string{"", "go1.20.14", "go1.27.4"} {
		t.Run("go"+strings.TrimPrefix(release, "go"), func(t *testing.T) {
			path := buildProgram(t, "subject", release)
			for _, tt := range []struct {
				name   string
				env    []string
				before string // "" or a command for the target first
				c      Change
			}{
				{"gogc down", nil, "", Change{GOGCPercent: ptr(50)}},
				{"gogc up", nil, "", Change{GOGCPercent: ptr(400)}},
				{"started off", []string{"GOGC=off"}, "", Change{GOGCPercent: ptr(50)}},
				{"set off", nil, "gogc -1", Change{GOGCPercent: ptr(200)}},
				{"off with a limit", nil, "", Change{GOGCPercent: ptr(-1), GOMEMLIMITBytes: ptr(256 << 20)}},
				{"limit", nil, "", Change{GOMEMLIMITBytes: ptr(120 << 20)}},
				{"limit lifted", []string{"GOMEMLIMIT=100MiB"}, "", Change{GOMEMLIMITBytes: ptr(math.MaxInt64)}},
				{"both", []string{"GOMEMLIMIT=100MiB"}, "", Change{GOGCPercent: ptr(75), GOMEMLIMITBytes: ptr(512 << 20)}},
			} {
				t.Run(tt.name, func(t *testing.T) {
					tg := start(t, path, tt.env...)
					tg.ask("hold 40")
					if tt.before != "" {
						tg.ask("%s", tt.before)
					}
					was := tg.ask("gc")
					s := tg.open(testHost(t.TempDir()))
					steps, err := s.Describe(tt.c)
					if err != nil {
						t.Fatal(err)
					}
					r := apply(t, s, tt.c)
					if fmt.Sprint(r.Steps) != fmt.Sprint(steps) {
						t.Errorf("wrote %v, described %v", r.Steps, steps)
					}
					got := tg.ask("read")
					if tt.c.GOGCPercent != nil {
						tg.ask("gogc %d", *tt.c.GOGCPercent)
					}
					if tt.c.GOMEMLIMITBytes != nil {
						tg.ask("limit %d", *tt.c.GOMEMLIMITBytes)
					}
					want := tg.ask("read")
					if got.Cycles != want.Cycles {
						t.Fatalf("a cycle came in between: nothing can be compared")
					}
					if !got.same(want, tt.c.GOMEMLIMITBytes != nil) {
						t.Errorf("from outside %v, by the runtime's setters %v", got, want)
					}
					if r, err := s.Revert("the test is over"); err != nil || len(r.Theirs) > 0 {
						t.Fatalf("reverting: %v, theirs %v", err, r.Theirs)
					}
					back := tg.ask("read")
					if back.Cycles == was.Cycles && !back.same(was, tt.c.GOMEMLIMITBytes != nil) {
						t.Errorf("after reverting %v, before %v", back, was)
					}
				})
			}
		})
	}
}

// same reports whether two answers are of the same settings and goal. With a
// limit, even one of all there is, the goal follows the memory in use, which moves.
func (a said) same(b said, limited bool) bool {
	near := math.Abs(float64(a.Goal)-float64(b.Goal)) <= 0.01*float64(b.Goal)
	goal := a.Goal == b.Goal || near && (limited || b.Goal > 1<<60)
	return a.Limit == b.Limit && deref(a.GOGC) == deref(b.GOGC) && goal
}

func (a said) String() string {
	return fmt.Sprintf("GOGC %d, limit %d, goal %d after %d cycles", deref(a.GOGC), a.Limit, a.Goal, a.Cycles)
}

func deref(v *uint64) uint64 {
	if v == nil {
		return 0
	}
	return *v
}

// TestControl gives two processes the same settings, one from outside and one by
// its own calls, and lets both go on: they must aim for the same.
func TestControl(t *testing.T) {
	path := buildProgram(t, "subject", "")
	outside, native := start(t, path), start(t, path)
	for _, tg := range []*target{outside, native} {
		tg.ask("hold 64")
		tg.ask("gc")
	}
	s := outside.open(testHost(t.TempDir()))
	for _, v := range []int64{50, 300} {
		if v == 50 {
			apply(t, s, Change{GOGCPercent: &v})
		} else {
			s.Close()
			s = outside.open(testHost(t.TempDir()))
			apply(t, s, Change{GOGCPercent: &v})
		}
		native.ask("gogc %d", v)
		for range 3 {
			a, b := outside.ask("gc"), native.ask("gc")
			if d := math.Abs(float64(a.Goal)/float64(b.Goal) - 1); d > 0.005 {
				t.Errorf("from outside %v, the control process %v", a, b)
			}
		}
	}
}

// TestSweepDistance: the runtime's setters also look whether sweeping is over,
// and let the goal come down to the live heap then. From outside that waits for
// the next cycle: until then the goal is up to 1 MiB above (mgcpacer.go, commit).
func TestSweepDistance(t *testing.T) {
	tg := start(t, buildProgram(t, "subject", ""))
	tg.ask("hold 40")
	tg.ask("gc")
	s := tg.open(testHost(t.TempDir()))
	apply(t, s, Change{GOGCPercent: ptr(0)})
	got := tg.ask("read")
	want := tg.ask("gogc 0")
	if d := int64(got.Goal - want.Goal); got.Cycles != want.Cycles || d < 0 || d > 1<<20 {
		t.Errorf("from outside %v, by the runtime's setter %v", got, want)
	}
}
