package e2e

import (
	"archive/tar"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/heapwright/heapwright/e2e/internal/harness"
	"github.com/heapwright/heapwright/e2e/internal/stress"
)

// A containerEngine is a dockerd of a test's own, in a network of its own.
type containerEngine struct {
	t      *testing.T
	socket string
	pid    int
	client *http.Client
}

func startContainerEngine(t *testing.T) *containerEngine {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a container engine needs root")
	}
	for _, program := range []string{"dockerd", "containerd", "runc", "nsenter"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("there is no %s here", program)
		}
	}
	dir := t.TempDir()
	e := &containerEngine{t: t, socket: filepath.Join(dir, "s")}
	e.client = &http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", e.socket)
	}}}
	var said bytes.Buffer
	cmd := exec.Command("dockerd", "-H", "unix://"+e.socket, "--data-root", filepath.Join(dir, "data"), "--exec-root", filepath.Join(dir, "exec"),
		"-p", filepath.Join(dir, "pid"), "--config-file", filepath.Join(dir, "none"), "--storage-driver", "vfs", "--iptables=false", "--ip6tables=false", "--ip-masq=false")
	if err := os.WriteFile(filepath.Join(dir, "none"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = &said, &said
	// It ends its containers before it ends.
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		t.Skipf("dockerd cannot be started in a network of its own: %v", err)
	}
	e.pid = cmd.Process.Pid
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(time.Minute):
			cmd.Process.Kill()
			t.Error("dockerd does not end")
		}
	})
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if _, err := e.ask("GET", "/_ping", nil); err == nil {
			return e
		}
		select {
		case err := <-ended:
			ended <- err
			t.Skipf("dockerd does not run here: %v\n%s", err, said.Bytes()[max(0, said.Len()-2000):])
		default:
		}
		if time.Now().After(deadline) {
			t.Skip("dockerd does not answer within 30 s")
		}
	}
}

// ask asks the engine.
func (e *containerEngine) ask(method, path string, body io.Reader) ([]byte, error) {
	r, err := http.NewRequest(method, "http://engine"+path, body)
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	answer, err := e.client.Do(r)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode >= 300 {
		err = fmt.Errorf("%s %s: %d: %s", method, path, answer.StatusCode, text)
	}
	return text, err
}

// do asks the engine for what it must be able to do; in and out are JSON.
func (e *containerEngine) do(method, path string, in, out any) {
	e.t.Helper()
	var body io.Reader
	switch in := in.(type) {
	case nil:
	case io.Reader:
		body = in
	default:
		text, err := json.Marshal(in)
		if err != nil {
			e.t.Fatal(err)
		}
		body = bytes.NewReader(text)
	}
	text, err := e.ask(method, path, body)
	if err != nil {
		e.t.Fatal(err)
	}
	if out != nil {
		if err := json.Unmarshal(text, out); err != nil {
			e.t.Fatalf("%s: %v", path, err)
		}
	}
}

// image makes an image of static programs: file to name.
func (e *containerEngine) image(name string, programs map[string]string) {
	e.t.Helper()
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	if err := w.WriteHeader(&tar.Header{Name: "tmp/", Typeflag: tar.TypeDir, Mode: 0o777}); err != nil { // the subject keeps a file there
		e.t.Fatal(err)
	}
	for file, as := range programs {
		text, err := os.ReadFile(file)
		if err != nil {
			e.t.Fatal(err)
		}
		if err := w.WriteHeader(&tar.Header{Name: as, Mode: 0o755, Size: int64(len(text))}); err != nil {
			e.t.Fatal(err)
		}
		if _, err := w.Write(text); err != nil {
			e.t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		e.t.Fatal(err)
	}
	e.do("POST", "/images/create?fromSrc=-&repo="+name, &archive, nil)
}

type object = map[string]any

// A stressContainer is a container that runs, and what it was like when it began to.
type stressContainer struct {
	engine *containerEngine
	ID     string `json:"Id"`
	State  struct {
		Pid     int
		Running bool
	}
	RestartCount    int
	NetworkSettings struct{ IPAddress string }

	group  stress.Group
	before map[string]string
}

// run starts a container with 256 MiB and a core.
func (e *containerEngine) run(name string, argv []string, labels map[string]string) *stressContainer {
	e.t.Helper()
	e.do("POST", "/containers/create?name="+name, object{"Image": "subject", "Cmd": argv, "Labels": labels, "HostConfig": object{
		"Memory": 256 << 20, "NanoCpus": 1e9, "RestartPolicy": object{"Name": "always"},
	}}, nil)
	e.do("POST", "/containers/"+name+"/start", nil, nil)
	c := e.inspect(name)
	group, err := stress.GroupOf(c.State.Pid)
	if err != nil {
		e.t.Fatal(err)
	}
	c.group, c.before = group, group.State(c.State.Pid)
	return c
}

func (e *containerEngine) inspect(name string) *stressContainer {
	e.t.Helper()
	c := &stressContainer{engine: e}
	e.do("GET", "/containers/"+name+"/json", nil, c)
	return c
}

// await waits until a container's address answers, seen from where the engine is.
func (c *stressContainer) await(t *testing.T, port string) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		for _, name := range []string{"tcp", "tcp6"} {
			text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/net/%s", c.State.Pid, name))
			if bytes.Contains(text, []byte(":"+port+" ")) {
				return
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("nothing listens in container %s", c.ID)
		}
	}
}

// exec starts a process in the container, as a check of its health would, and returns
// its PID.
func (c *stressContainer) exec(argv ...string) int {
	t := c.engine.t
	t.Helper()
	var made struct{ ID string }
	c.engine.do("POST", "/containers/"+c.ID+"/exec", object{"Cmd": argv}, &made)
	c.engine.do("POST", "/exec/"+made.ID+"/start", object{"Detach": true}, nil)
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		var is struct{ Pid int }
		if c.engine.do("GET", "/exec/"+made.ID+"/json", nil, &is); is.Pid > 0 {
			if p, err := stress.Look(is.Pid); err == nil && p.Command()[0] == argv[0] {
				return is.Pid
			}
		}
	}
	t.Fatalf("%v does not start in the container", argv)
	return 0
}

// in has heapwright run in the network of a process, and know of the engine.
func (e *containerEngine) in(pid int) func(*exec.Cmd) {
	return func(cmd *exec.Cmd) {
		path, err := exec.LookPath("nsenter")
		if err != nil {
			e.t.Error(err)
		}
		cmd.Args = append([]string{path, fmt.Sprintf("--net=/proc/%d/ns/net", pid), cmd.Path}, cmd.Args[1:]...)
		cmd.Path = path
		if cmd.Env == nil {
			cmd.Env = os.Environ()
		}
		cmd.Env = append(cmd.Env, "DOCKER_HOST=unix://"+e.socket)
	}
}

// happened fails the test where a fault did not, or was not undone.
func happened(t *testing.T, r *stressOutcome, n int) {
	t.Helper()
	// A busy machine may keep it from recovering in the time of these plans, or from being
	// seen to: that is not what is asked here.
	if r.Refused != nil || len(r.Faults) != n || len(r.Left) > 0 || r.Aborted != nil {
		t.Fatalf("%v", r.Result)
	}
	for _, f := range r.Faults {
		if !f.Happened || f.Contained == nil || !*f.Contained || f.Verified == nil || !*f.Verified || f.Error != nil {
			t.Errorf("%+v", f)
		}
	}
	t.Log(r.Verdict, r.Reason)
}

// TestStressContainer stresses containers of a real engine: named as their users name
// them, with what is beside the service in them, in their own networks; and has one of
// them end, which its engine starts again.
func TestStressContainer(t *testing.T) {
	t.Parallel()
	e := startContainerEngine(t)
	if _, err := stress.GroupOf(os.Getpid()); err != nil {
		t.Skip(err)
	}
	program := product.Build(t, "./stresssubject", "CGO_ENABLED=0")
	check := filepath.Join(t.TempDir(), "check") // another by name
	if err := os.Link(program, check); err != nil {
		t.Fatal(err)
	}
	e.image("subject", map[string]string{program: "subject", check: "check"})
	argv := []string{"/subject", "-addr", ":8080", "-debug", "127.0.0.1:8081"}
	web := e.run("web", argv, map[string]string{"com.docker.compose.service": "front"})
	web.await(t, "1F90")
	untouched := func(t *testing.T) {
		t.Helper()
		if changed := stress.Changed(web.before, web.group.State(web.State.Pid)); len(changed) > 0 {
			t.Errorf("the container is not as it was: %q", changed)
		}
	}

	t.Run("dry run", func(t *testing.T) {
		for _, name := range []string{"web", "front", web.ID, web.ID[:12], web.ID[:6]} {
			file := filepath.Join(t.TempDir(), "plan.yaml")
			plan := fmt.Sprintf("schema: heapwright.stress/1\ntarget: {container: %q}\nfaults:\n- {kind: sibling, level: 32MiB}\n", name)
			if err := os.WriteFile(file, []byte(plan), 0o644); err != nil {
				t.Fatal(err)
			}
			r := product.RunWith(t, e.in(e.pid), "stress", file, "--dry-run")
			said := strings.Join(strings.Fields(string(r.Stdout)+r.Stderr), " ")
			if r.Code != 0 || !strings.Contains(said, fmt.Sprintf("subject %d in", web.State.Pid)) || !strings.Contains(said, web.group["memory"]) {
				t.Errorf("%s: %v", name, r)
			}
		}
		untouched(t)
	})
	t.Run("no such name", func(t *testing.T) {
		for _, c := range []struct{ name, host, says string }{
			{"none", "unix://" + e.socket, "hint: those that the engine runs are web"},
			{"web", "unix://" + e.socket + ".none", "there is no container engine at"},
			{"web", "tcp://192.0.2.1:2375", "DOCKER_HOST is no socket of this machine"},
			{web.ID[:5], "unix://" + e.socket + ".none", "no Go process in a container"},
		} {
			r := stressOn(t, t.TempDir(), "{container: \""+c.name+"\"}", "- {kind: freeze, level: 100ms}", func(cmd *exec.Cmd) { cmd.Env = append(cmd.Env, "DOCKER_HOST="+c.host) })
			if r.Code != harness.CouldNotRun || !strings.Contains(r.Stderr, c.says) || !strings.Contains(r.Stderr, "hint: ") {
				t.Errorf("%s at %s: %v", c.name, c.host, r.Result)
			}
		}
		untouched(t)
	})
	t.Run("around", func(t *testing.T) {
		// Something else is in it, as a shell or a check of its health would be.
		beside := web.exec("/check", "-base", "1")
		other := stressOn(t, t.TempDir(), fmt.Sprintf("{pid: %d}", web.State.Pid), "- {kind: sibling, level: 32MiB}")
		if other.Code != harness.CouldNotRun || !strings.Contains(other.Stderr, fmt.Sprintf("process %d (check) too, which it did not start", beside)) || !strings.Contains(other.Stderr, "container: "+web.ID[:12]) {
			t.Errorf("the process alone was meant: %v", other.Result)
		}
		two := stressOn(t, t.TempDir(), "{container: web}", "- {kind: sibling, level: 32MiB}", e.in(e.pid))
		if two.Code != harness.CouldNotRun || !strings.Contains(two.Stderr, "there are 2 Go processes in a container") {
			t.Errorf("it chose one of two: %v", two.Result)
		}
		address := web.NetworkSettings.IPAddress + ":8080"
		r := stressOn(t, t.TempDir(), fmt.Sprintf("{container: web, name: subject, ready: \"http://%s/readyz\"}", address), fmt.Sprintf(`- {kind: cpu.quota, level: 0.3 cores, ramp: 300ms, hold: 1s}
- {kind: connections, level: 100, ramp: 300ms, hold: 1s, address: %q}
- {kind: freeze, level: 300ms, hold: 1s}
- {kind: pagecache, level: 16MiB, ramp: 300ms, hold: 1s}
- {kind: sibling, level: 32MiB, ramp: 300ms, hold: 1s}
- {kind: shared, level: 16MiB, ramp: 300ms, hold: 1s}
- {kind: limit.hard, level: 70%%, ramp: 300ms, hold: 1s}`, address), e.in(e.pid))
		happened(t, r, 7)
		// Under load at the container's address.
		r = stressOn(t, t.TempDir(), "{container: web, name: subject}", fmt.Sprintf(`- {kind: sibling, level: 32MiB, ramp: 300ms, hold: 1s}
load:
  http: {requests: [{url: "http://%s/work"}]}
  rate: 20/s`, address), e.in(e.pid))
		happened(t, r, 1)
		harness.Alive(t, web.State.Pid)
		harness.Alive(t, beside)
		syscall.Kill(beside, syscall.SIGKILL)
		for deadline := time.Now().Add(10 * time.Second); len(web.group.Members("memory")) > 1 && time.Now().Before(deadline); {
			time.Sleep(20 * time.Millisecond)
		}
		untouched(t)
	})
	t.Run("inside", func(t *testing.T) {
		// Its page answers its own machine alone, which is the container.
		page := fmt.Sprintf("{container: %s, debug: \"http://%%s:8081/debug/heapwright/\"}", web.ID[:12])
		r := stressOn(t, t.TempDir(), fmt.Sprintf(page, "127.0.0.1"), "- {kind: heap.retain, level: 16MiB, ramp: 300ms, hold: 1s}\n- {kind: goroutines, level: 500, ramp: 300ms, hold: 1s}", e.in(web.State.Pid))
		happened(t, r, 2)
		untouched(t)
	})
	t.Run("named", func(t *testing.T) {
		var doc struct {
			Processes []struct {
				PID       int    `json:"pid"`
				Container string `json:"container_id"`
			} `json:"processes"`
		}
		product.JSON(t, &doc, "ps")
		found := false
		for _, p := range doc.Processes {
			found = found || p.PID == web.State.Pid && p.Container == web.ID
		}
		if !found {
			t.Errorf("ps does not have process %d in container %s", web.State.Pid, web.ID)
		}
	})
	t.Run("restarted", func(t *testing.T) {
		dir := t.TempDir()
		go func() {
			for range 600 { // until it has begun
				if len(stress.Journals(filepath.Join(dir, "state"))) > 0 && len(web.group.Members("memory")) > 1 {
					time.Sleep(time.Second)
					break
				}
				time.Sleep(50 * time.Millisecond)
			}
			syscall.Kill(web.State.Pid, syscall.SIGKILL)
		}()
		r := stressOn(t, dir, "{container: web}", "- {kind: sibling, level: 64MiB, ramp: 500ms, hold: 60s}\n- {kind: limit.hard, level: 60%}", e.in(e.pid))
		if r.Verdict != "ABORTED" || r.Code != 1 || len(r.Left) > 0 || len(r.Faults) != 2 || r.Faults[1].Happened {
			t.Errorf("%v", r.Result)
		}
		t.Log(r.Verdict, r.Reason)
		var again *stressContainer
		for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(100 * time.Millisecond) {
			if again = e.inspect("web"); again.State.Running && again.State.Pid != web.State.Pid && again.RestartCount > 0 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("the engine does not start it again: %+v", again)
			}
		}
		want := maps.Clone(web.before)
		for k := range want {
			if strings.HasPrefix(k, "members of ") {
				want[k] = fmt.Sprint([]int{again.State.Pid})
			}
		}
		if changed := stress.Changed(want, web.group.State(again.State.Pid)); len(changed) > 0 {
			t.Errorf("it is not started as it was: %q", changed)
		}
	})
}

// TestStressRunc stresses a container that has no engine: its name is that of its cgroup.
func TestStressRunc(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		t.Skip("a container needs root")
	}
	if _, err := exec.LookPath("runc"); err != nil {
		t.Skip("there is no runc here")
	}
	if _, err := stress.GroupOf(os.Getpid()); err != nil {
		t.Skip(err)
	}
	program := product.Build(t, "./stresssubject", "CGO_ENABLED=0")
	bundle := t.TempDir()
	name := fmt.Sprintf("heapwright-e2e-%d", os.Getpid())
	if err := errors.Join(os.MkdirAll(filepath.Join(bundle, "rootfs/tmp"), 0o777), os.Link(program, filepath.Join(bundle, "rootfs/subject"))); err != nil {
		t.Fatal(err)
	}
	runc := func(args ...string) *exec.Cmd {
		cmd := exec.Command("runc", append([]string{"--root", filepath.Join(bundle, "state")}, args...)...)
		cmd.Dir = bundle
		return cmd
	}
	if out, err := runc("spec").CombinedOutput(); err != nil {
		t.Fatalf("runc spec: %v\n%s", err, out)
	}
	var config object
	text, err := os.ReadFile(filepath.Join(bundle, "config.json"))
	if err == nil {
		err = json.Unmarshal(text, &config)
	}
	if err != nil {
		t.Fatal(err)
	}
	process, linux := config["process"].(object), config["linux"].(object)
	config["root"].(object)["readonly"] = false
	process["terminal"], process["args"] = false, []string{"/subject"}
	resources, _ := linux["resources"].(object)
	if resources == nil {
		resources = object{}
	}
	resources["memory"] = object{"limit": 256 << 20}
	linux["resources"] = resources
	// The machine's own network, so that there is one.
	linux["namespaces"] = slices.DeleteFunc(linux["namespaces"].([]any), func(n any) bool { return n.(object)["type"] == "network" })
	if text, err = json.Marshal(config); err == nil {
		err = os.WriteFile(filepath.Join(bundle, "config.json"), text, 0o644)
	}
	if err != nil {
		t.Fatal(err)
	}
	cmd := runc("run", name)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	t.Cleanup(func() {
		runc("kill", name, "KILL").Run()
		<-ended
		runc("delete", "--force", name).Run()
	})
	var state struct{ Pid int }
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if text, err := runc("state", name).Output(); err == nil && json.Unmarshal(text, &state) == nil && state.Pid > 0 {
			if p, err := stress.Look(state.Pid); err == nil && p.Command()[0] == "/subject" {
				break
			}
		}
		select {
		case err := <-ended:
			ended <- err
			t.Skipf("runc runs nothing here: %v\n%s", err, said.String())
		default:
		}
		if time.Now().After(deadline) {
			t.Fatal("runc starts nothing within 30 s")
		}
	}
	group, err := stress.GroupOf(state.Pid)
	if err != nil {
		t.Fatal(err)
	}
	before := group.State(state.Pid)
	r := stressOn(t, t.TempDir(), "{container: "+name+"}", "- {kind: sibling, level: 32MiB, ramp: 300ms, hold: 1s}\n- {kind: freeze, level: 300ms, hold: 1s}", func(cmd *exec.Cmd) {
		cmd.Env = append(cmd.Env, "DOCKER_HOST=unix:///none") // and nobody is asked
	})
	happened(t, r, 2)
	if changed := stress.Changed(before, group.State(state.Pid)); len(changed) > 0 {
		t.Errorf("the container is not as it was: %q", changed)
	}
}
