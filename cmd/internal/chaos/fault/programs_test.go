package fault

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"sync"
	"testing"

	"github.com/heapwright/heapwright/cmd/internal/targettest"
)

var (
	programsMu  sync.Mutex
	programsDir string
	programs    = map[string]string{}
)

func removePrograms() {
	if programsDir != "" {
		os.RemoveAll(programsDir)
	}
}

// program builds a program of this repository, once.
func program(t testing.TB, dir, pkg string) string {
	t.Helper()
	if runtime.GOOS != "linux" || runtime.GOARCH != "amd64" {
		t.Skip("needs linux/amd64")
	}
	programsMu.Lock()
	defer programsMu.Unlock()
	key := filepath.Join(dir, pkg)
	if path, ok := programs[key]; ok {
		return path
	}
	if programsDir == "" {
		var err error
		if programsDir, err = os.MkdirTemp("", "fault"); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(programsDir, fmt.Sprintf("program%d", len(programs)))
	cmd := exec.Command("go", "build", "-o", path, pkg)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GOWORK=off", "GOFLAGS=-buildvcs=false", "GOPROXY=off", "GOTOOLCHAIN=local", "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("building %s: %v\n%s", key, err, out)
	}
	programs[key] = path
	return path
}

// run starts a program until the test ends, and gives what it says.
func run(t testing.TB, path string, env []string, args ...string) (*exec.Cmd, io.Writer, *bufio.Reader) {
	t.Helper()
	cmd := exec.Command(path, args...)
	cmd.Env = append(append(os.Environ(), "GODEBUG=", "GOGC=", "GOMEMLIMIT=", "GOMAXPROCS=2"), env...)
	in, out := targettest.Pipe(t, cmd)
	return cmd, in, out
}

func located(t testing.TB, pid int, debug string) *Target {
	t.Helper()
	tg, err := Locate(context.Background(), pid, debug)
	if err != nil {
		t.Fatal(err)
	}
	return tg
}

// A subject is the program of package live's tests, which does what it is told, a line
// each.
type subject struct {
	*Target
	t   testing.TB
	cmd *exec.Cmd
	in  io.Writer
	out *bufio.Reader
}

func startSubject(t testing.TB, env ...string) *subject {
	t.Helper()
	cmd, in, out := run(t, program(t, "../../live/testdata/subject", "."), env)
	s := &subject{t: t, cmd: cmd, in: in, out: out}
	s.limit()
	s.Target = located(t, cmd.Process.Pid, "")
	return s
}

// limit is the soft limit as the program answers.
func (s *subject) limit() int64 {
	s.t.Helper()
	line, err := s.out.ReadBytes('\n')
	var said struct{ Limit int64 }
	if err == nil {
		err = json.Unmarshal(line, &said)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return said.Limit
}

func (s *subject) ask(format string, args ...any) int64 {
	s.t.Helper()
	if _, err := fmt.Fprintf(s.in, format+"\n", args...); err != nil {
		s.t.Fatal(err)
	}
	return s.limit()
}

var debugLine = regexp.MustCompile(`http://\S+/debug/heapwright/`)

// startGuarded runs examples/guarded, which has a debug page.
func startGuarded(t testing.TB, args ...string) *Target {
	t.Helper()
	cmd, _, out := run(t, program(t, "../../../..", "./examples/guarded"), nil,
		append([]string{"-addr", "127.0.0.1:0", "-debug", "127.0.0.1:0", "-limit", "1024", "-rate", "20"}, args...)...)
	said, err := out.ReadString('\n')
	page := debugLine.FindString(said)
	if err != nil || page == "" {
		t.Fatalf("the program says %q, %v", said, err)
	}
	if _, err := out.ReadString('\n'); err != nil { // ready
		t.Fatal(err)
	}
	go io.Copy(io.Discard, out)
	return located(t, cmd.Process.Pid, page)
}

// A memory journal is one that is no more than a list.
type memoryJournal struct {
	mu    sync.Mutex
	steps map[int]Step
	all   []Step
}

func newJournal() *memoryJournal { return &memoryJournal{steps: map[int]Step{}} }

func (j *memoryJournal) Will(s Step) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.steps[s.ID] = s
	j.all = append(j.all, s)
	return nil
}

func (j *memoryJournal) Undone(s Step) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	delete(j.steps, s.ID)
	return nil
}

// empty fails the test unless something was done and nothing of it is left.
func (j *memoryJournal) empty(t testing.TB) {
	t.Helper()
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.all) == 0 || len(j.steps) > 0 {
		t.Errorf("of %d steps, %v are left", len(j.all), j.steps)
	}
}
