package subject

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
)

// built is the program of testdata, built once.
var built Program

func TestMain(m *testing.M) {
	os.Exit(run1(m))
}

func run1(m *testing.M) int {
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
	_, err := startTicks(pid)
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

const actAsParent = "HEAPWRIGHT_TEST_PARENT"

func parent(string) int { return 0 }

func childOf(t testing.TB, p *Process) int {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(p.Expand("{dir}"), "child"))
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(string(text))
	if err != nil {
		t.Fatal(err)
	}
	return pid
}
