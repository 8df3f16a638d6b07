package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/heapwright/heapwright/e2e/internal/harness"
)

// refused demands that a run ended in an error that a user can work with: exit
// code 2, nothing on stdout, one line that matches want, and advice, in a hint or
// at the end of the line.
func refused(t *testing.T, r *harness.Result, want string) {
	t.Helper()
	lines := strings.Split(strings.TrimSpace(r.Stderr), "\n")
	switch {
	case r.Code != harness.CouldNotRun:
		t.Errorf("want exit code 2\n%v", r)
	case len(r.Stdout) > 0:
		t.Errorf("want nothing on stdout\n%v", r)
	case len(lines) > 2:
		t.Errorf("want one line and a hint\n%v", r)
	case !regexp.MustCompile(want).MatchString(lines[0]):
		t.Errorf("want %q in the error\n%v", want, r)
	case len(lines) == 2 && !strings.Contains(lines[1], "hint: "), len(lines) == 1 && !advice.MatchString(lines[0]):
		t.Errorf("want a hint\n%v", r)
	default:
		t.Logf("%s", strings.TrimSpace(r.Stderr))
	}
}

// advice is a line that ends in what to do, or in what may be the cause.
var advice = regexp.MustCompile(`; .+$|\(.+\)$|: use .+$`)

// everyCommand runs each command that reads a process.
func everyCommand(t *testing.T, pid int, change func(*exec.Cmd), check func(t *testing.T, r *harness.Result)) {
	t.Helper()
	for _, args := range [][]string{
		{"diagnose", strconv.Itoa(pid), "--for", "2s"},
		{"diagnose", strconv.Itoa(pid), "--for", "2s", "--json"},
		{"record", strconv.Itoa(pid), "--for", "1s", "-o", "recording.hwrec"},
		{"profile", strconv.Itoa(pid), "--type", "goroutine", "-o", "profile.pb.gz"},
	} {
		check(t, product.RunWith(t, change, args...))
	}
}

// TestRefusals looks at what cannot be read.
func TestRefusals(t *testing.T) {
	t.Parallel()
	idle := product.Example("notenough")
	for _, tt := range []struct {
		name   string
		start  func(t *testing.T) int
		want   string
		gone   bool // there is no process that must go on living
		change func(*exec.Cmd)
	}{
		{name: "not_go", want: `not a Go program`, start: func(t *testing.T) int {
			return harness.Start{Path: "/bin/sleep", Args: []string{"60"}, Silent: true}.Start(t).PID
		}},
		{name: "32_bit", want: `32-bit`, start: func(t *testing.T) int {
			bin := product.Build(t, "./testdata/small", "GOARCH=386", "CGO_ENABLED=0")
			s := harness.Start{Path: bin}
			if err := s.CanRun(); err != nil {
				t.Skipf("needs a kernel that runs 32-bit programs: %v", err)
			}
			return s.Start(t).PID
		}},
		{name: "future_go", want: `go1\.99\.`, start: func(t *testing.T) int {
			return harness.Start{Path: fromTheFuture(t, idle)}.Start(t).PID
		}},
		{name: "exited", gone: true, want: `no such process|has exited|does not exist`, start: func(t *testing.T) int {
			p := harness.Start{Path: idle}.Start(t)
			p.Kill(t)
			return p.PID
		}},
		{name: "zombie", gone: true, want: `exited|zombie`, start: func(t *testing.T) int {
			cmd := exec.Command("/bin/true")
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { cmd.Wait() })
			for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
				if b, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", cmd.Process.Pid)); bytes.Contains(b, []byte(") Z ")) {
					return cmd.Process.Pid
				}
			}
			t.Fatal("it does not become a zombie")
			return 0
		}},
		{name: "thread", want: `thread`, start: func(t *testing.T) int {
			p := harness.Start{Path: idle}.Start(t)
			tasks, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", p.PID))
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range tasks {
				if tid, _ := strconv.Atoi(e.Name()); tid != p.PID {
					return tid
				}
			}
			t.Skip("the program has only one thread")
			return 0
		}},
		{name: "access_denied", want: `access denied|permission`, change: asNobody, start: func(t *testing.T) int {
			needRoot(t)
			return harness.Start{Path: idle}.Start(t).PID
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			pid := tt.start(t)
			everyCommand(t, pid, tt.change, func(t *testing.T, r *harness.Result) { refused(t, r, tt.want) })
			if !tt.gone {
				harness.Alive(t, pid)
			}
		})
	}
}

// fromTheFuture makes a copy of a program that says to have been built by a Go
// release that does not exist yet.
func fromTheFuture(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	now := []byte(runtime.Version())
	future := regexp.MustCompile(`^go1\.\d\d`).ReplaceAll(now, []byte("go1.99"))
	if len(future) != len(now) || bytes.Equal(future, now) {
		t.Skipf("cannot turn %s into a release of the future", now)
	}
	out := filepath.Join(t.TempDir(), "future")
	if err := os.WriteFile(out, bytes.ReplaceAll(b, now, future), 0o755); err != nil {
		t.Fatal(err)
	}
	return out
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root, to become another user or to make a namespace")
	}
}

// asNobody runs a command as a user who owns nothing.
func asNobody(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	cmd.Dir = "/"
	cmd.Env = append(os.Environ(), "HOME=/nonexistent", "XDG_CACHE_HOME=/nonexistent", "HEAPWRIGHT_CACHE=/nonexistent")
}

// TestPSListsTheUnreadable has ps name the processes of others, with the reason.
func TestPSListsTheUnreadable(t *testing.T) {
	t.Parallel()
	needRoot(t)
	p := harness.Start{Path: product.Example("notenough")}.Start(t)
	r := product.RunWith(t, asNobody, "ps", "--all", "--json")
	if r.Code != 0 {
		t.Fatalf("want a list\n%v", r)
	}
	var doc psDocument
	r.Decode(t, &doc)
	row := doc.find(p.PID)
	if row == nil {
		t.Fatalf("process %d is not listed\n%v", p.PID, r)
	}
	if row.Error == nil || row.HeapLiveBytes != nil {
		t.Errorf("want an error and no numbers: %v", row)
	}
}

// TestUnusualButReadable looks at processes that are harder to read than others.
func TestUnusualButReadable(t *testing.T) {
	t.Parallel()
	copyOf := func(t *testing.T) string {
		b, err := os.ReadFile(product.Example("notenough"))
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "program")
		if err := os.WriteFile(path, b, 0o755); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, tt := range []struct {
		name  string
		start func(t *testing.T) int
	}{
		{"binary_deleted", func(t *testing.T) int {
			path := copyOf(t)
			p := harness.Start{Path: path}.Start(t)
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			return p.PID
		}},
		{"binary_replaced", func(t *testing.T) int {
			path := copyOf(t)
			p := harness.Start{Path: path}.Start(t)
			// As package managers do: the new file takes the name.
			if err := os.WriteFile(path+".new", []byte("#!/bin/sh\n"), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(path+".new", path); err != nil {
				t.Fatal(err)
			}
			return p.PID
		}},
		{"other_user", func(t *testing.T) int {
			needRoot(t)
			return harness.Start{Path: product.Example("notenough"),
				Attr: &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}}.Start(t).PID
		}},
		{"pid_namespace", func(t *testing.T) int {
			needRoot(t)
			return harness.Start{Path: product.Example("notenough"), Attr: &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID}}.Start(t).PID
		}},
		{"mount_namespace", func(t *testing.T) int {
			needRoot(t)
			// The program's file is only in the namespace, below a directory that is
			// empty outside.
			dir := t.TempDir()
			const script = `mount --make-rprivate / && mount -t tmpfs none "$1" && cp "$2" "$1/inside" && exec "$1/inside"`
			return harness.Start{Wrapper: []string{"/bin/sh", "-c", script, "sh", dir}, Path: product.Example("notenough"),
				Attr: &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}}.Start(t).PID
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			pid := tt.start(t)
			everyCommand(t, pid, nil, func(t *testing.T, r *harness.Result) {
				if r.Code == harness.CouldNotRun {
					t.Errorf("want a result\n%v", r)
				}
			})
			var doc psDocument
			product.JSON(t, &doc, "ps")
			if row := doc.find(pid); row == nil || row.Error != nil || row.HeapLiveBytes == nil {
				t.Errorf("ps cannot read it: %v", row)
			}
			harness.Alive(t, pid)
		})
	}
}

// TestStopped reads a process that stands still, which must stay so.
func TestStopped(t *testing.T) {
	t.Parallel()
	p := harness.Start{Path: product.Example("churn")}.Start(t)
	if err := syscall.Kill(p.PID, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	defer syscall.Kill(p.PID, syscall.SIGCONT)
	file := filepath.Join(t.TempDir(), "goroutines.pb.gz")
	if r := product.Run(t, "profile", strconv.Itoa(p.PID), "--type", "goroutine", "-o", file); r.Code != 0 {
		t.Errorf("want a profile\n%v", r)
	}
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.PID))
	if err != nil || !bytes.Contains(b, []byte(") T ")) {
		t.Errorf("the process does not stand still any more: %s %v", b, err)
	}
}

// TestEndpoints gives record URLs that are not what they should be.
func TestEndpoints(t *testing.T) {
	t.Parallel()
	mux := http.NewServeMux()
	mux.HandleFunc("/html/metrics", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		io.WriteString(w, "<!DOCTYPE html><html><body>Please log in</body></html>")
	})
	mux.HandleFunc("/nogo/metrics", func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "# TYPE requests_total counter\nrequests_total 1\n")
	})
	mux.HandleFunc("/slow/metrics", func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-r.Context().Done():
		case <-time.After(time.Minute):
		}
	})
	mux.HandleFunc("/huge/metrics", func(w http.ResponseWriter, r *http.Request) {
		line := bytes.Repeat([]byte("x"), 1<<20)
		for range 4096 {
			if _, err := w.Write(line); err != nil {
				return
			}
		}
	})
	srv := httptest.NewServer(mux)
	t.Cleanup(srv.Close) // after the subtests, which run in parallel
	for _, tt := range []struct{ path, want string }{
		{"/html/metrics", `HTML|html`},
		{"/nogo/metrics", `Go`},
		{"/slow/metrics", `time|slow|deadline`},
		{"/huge/metrics", `large|big|long|more than`},
		{"/missing/metrics", `404`},
	} {
		t.Run(strings.Split(tt.path, "/")[1], func(t *testing.T) {
			t.Parallel()
			refused(t, product.Run(t, "record", srv.URL+tt.path, "--for", "3s", "-o", "recording.hwrec"), tt.want)
		})
	}
}
