package run

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
	"github.com/heapwright/heapwright/cmd/internal/chaos/fault"
	"github.com/heapwright/heapwright/cmd/internal/engine"
	"github.com/heapwright/heapwright/cmd/internal/experiment"
	"github.com/heapwright/heapwright/record"
)

func TestFind(t *testing.T) {
	web, db, other := "abc123"+strings.Repeat("0", 58), "cafe12"+strings.Repeat("1", 58), "db"+strings.Repeat("2", 62)
	known := []engine.Container{{ID: web, Name: "web", Service: "front"}, {ID: db, Name: "db"}, {ID: strings.Repeat("3", 64), Name: "nginx"},
		{ID: strings.Repeat("4", 64), Name: "shop-api-1", Service: "api"}, {ID: strings.Repeat("5", 64), Name: "shop-api-2", Service: "api"}}
	asked := false
	m := &Machine{
		Processes: func(context.Context) ([]record.Process, error) {
			return []record.Process{
				{PID: 10, Name: "orders", Module: "example.com/orders", ContainerID: web}, {PID: 11, Name: "users", ContainerID: db},
				{PID: 12, Name: "web"}, {PID: 13, Name: "web"}, {PID: 14, Name: "alone", ContainerID: other}, {PID: os.Getpid(), Name: "heapwright", ContainerID: strings.Repeat("f", 64)},
				{PID: 15, Name: "plain", CgroupPath: "/default/byrunc"}, {PID: 16, Name: "root", CgroupPath: "/"},
				{PID: 20, Name: "server", ContainerID: strings.Repeat("8", 64)}, {PID: 21, Name: "worker", ContainerID: strings.Repeat("8", 64)}, {PID: 22, Name: "worker", ContainerID: strings.Repeat("8", 64)},
				{PID: 30, Name: "a", ContainerID: "77777777" + web[8:]}, {PID: 31, Name: "b", ContainerID: "77777777" + db[8:]},
			}, nil
		},
		Containers: func(context.Context) ([]engine.Container, error) { asked = true; return known, nil },
	}
	for _, tc := range []struct {
		want      chaos.Target
		pid       int
		container string
		err       string // of the error and its hint, a space between them
	}{
		{chaos.Target{PID: 7}, 7, "", ""},
		{chaos.Target{Name: "orders"}, 10, "", ""},
		{chaos.Target{Name: "example.com/orders"}, 10, "", ""},
		{chaos.Target{Name: "web"}, 0, "", "2 Go processes named"},
		{chaos.Target{Name: "heapwright"}, 0, "", "no Go process named"},
		{chaos.Target{Name: "none"}, 0, "", "no Go process named"},

		{chaos.Target{Container: "web"}, 10, web, ""},
		{chaos.Target{Container: "front"}, 10, web, ""},
		{chaos.Target{Container: "db"}, 11, db, ""}, // and not the ID that begins so
		{chaos.Target{Container: web}, 10, web, ""},
		{chaos.Target{Container: web[:12]}, 10, web, ""},
		{chaos.Target{Container: web[:6]}, 10, web, ""},
		{chaos.Target{Container: web[:5]}, 0, "", "no Go process in a container \"abc12\" those that the engine runs are db, nginx, shop-api-1, shop-api-2, web"},
		{chaos.Target{Container: strings.ToUpper(web[:12])}, 0, "", "no Go process in a container"},
		{chaos.Target{Container: "byrunc"}, 15, "byrunc", ""},
		{chaos.Target{Container: "default/byrunc"}, 15, "default/byrunc", ""},
		{chaos.Target{Container: "runc"}, 0, "", "no Go process in a container"},
		{chaos.Target{Container: "/"}, 0, "", "no Go process in a container"},
		{chaos.Target{Container: "nginx"}, 0, "", "no Go process in container \"nginx\" (333333333333) for faults around"},
		{chaos.Target{Container: "api"}, 0, "", "2 containers \"api\" container: one of shop-api-1, shop-api-2"},
		{chaos.Target{Container: "77777777"}, 0, "", "several containers whose ID begins with"},
		{chaos.Target{Container: "888888"}, 0, "", "3 Go processes in a container \"888888\" give the name of one beside the container, name: server, or one of the PIDs 20 21 22"},
		{chaos.Target{Container: "888888", Name: "server"}, 20, strings.Repeat("8", 64), ""},
		{chaos.Target{Container: "888888", Name: "worker"}, 0, "", "2 Go processes named \"worker\" in a container \"888888\" give one of the PIDs 21 22"},
		{chaos.Target{Container: "888888", Name: "none"}, 0, "", "no Go process named \"none\" in a container"},
		{chaos.Target{Container: strings.Repeat("f", 64)}, 0, "", "no Go process in a container"},
		{chaos.Target{Container: strings.Repeat("9", 12)}, 0, "", "heapwright ps --json"},
	} {
		check := func(pid int, container string, err error) {
			t.Helper()
			text := ""
			if refused := new(RefusedError); errors.As(err, &refused) && refused.Hint() != "" {
				text = err.Error() + " " + refused.Hint()
			} else if err != nil {
				t.Errorf("%+v: %v has no hint", tc.want, err)
			}
			if pid != tc.pid || container != tc.container || (tc.err == "") != (err == nil) || !strings.Contains(text, tc.err) {
				t.Errorf("%+v: %d, %q, %s", tc.want, pid, container, text)
			}
		}
		check(m.find(t.Context(), tc.want))
	}
	// An ID is nobody's business.
	asked = false
	if _, _, err := m.find(t.Context(), chaos.Target{Container: web}); err != nil || asked {
		t.Errorf("%v; the engine was asked: %v", err, asked)
	}
	// Without an engine a name is known to nobody, and a few digits are no ID.
	m.Containers = func(context.Context) ([]engine.Container, error) {
		return nil, &engine.NoEngineError{Why: "there is none"}
	}
	for _, name := range []string{"web", "db"} {
		_, _, err := m.find(t.Context(), chaos.Target{Container: name})
		refused := new(RefusedError)
		if !errors.As(err, &refused) || !errors.As(err, new(*engine.NoEngineError)) || !strings.Contains(refused.Hint(), "docker inspect -f '{{.State.Pid}}' "+name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, want := range map[string]int{"cafe12": 11, "db2222": 14, "byrunc": 15} {
		if pid, _, err := m.find(t.Context(), chaos.Target{Container: name}); pid != want || err != nil {
			t.Errorf("%s: %d, %v", name, pid, err)
		}
	}
}

// The settings of groups that are not the target's own are others' business.
func TestSettings(t *testing.T) {
	own, root := t.TempDir(), t.TempDir()
	for _, dir := range []string{own, root} {
		for name, text := range map[string]string{"memory.max": "100\n", "memory.oom_control": "oom_kill_disable 0\nunder_oom 1\noom_kill 3\n", "cpu.max": "max 100000\n"} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	l := &local{machine: &Machine{}, plan: &chaos.Plan{}, where: &fault.Target{PID: os.Getpid(), Memory: fault.Dir{Path: own, Version: 2, Own: true}, CPU: fault.Dir{Path: root, Version: 2}}}
	before := l.Settings(t.Context())
	if len(before) != 3 || before[filepath.Join(own, "memory.oom_control")] != "oom_kill_disable 0" {
		t.Errorf("settings are %v", before)
	}
	if err := os.WriteFile(filepath.Join(own, "memory.max"), []byte("90\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(own, "heapwright-below"), 0o755); err != nil {
		t.Fatal(err)
	}
	left := changed(before, l.Settings(t.Context()))
	if len(left) != 2 || !strings.HasSuffix(left[0], "memory.max is 90, and was 100") || !strings.Contains(left[1], "heapwright-below") {
		t.Errorf("left is %q", left)
	}

	// An engine starts the container again, in a group of the same path.
	if err := os.Rename(own, own+"-gone"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(own, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(own, "memory.max"), []byte("max\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	if left := changed(before, l.Settings(t.Context())); len(left) != 0 {
		t.Errorf("of another group %q is held against us", left)
	}
}

func TestReplace(t *testing.T) {
	s := experiment.Subject{Command: []string{"{proxy.db}", "-db={proxy.db}"}, Args: []string{"{port}"}, Env: map[string]string{"DB": "tcp://{proxy.db}"}, Files: map[string]string{"x": "{proxy.db} {proxy.none}"}}
	was := s
	replace(&s, strings.NewReplacer("{proxy.db}", "127.0.0.1:5"))
	if s.Command[0] != "{proxy.db}" || s.Command[1] != "-db=127.0.0.1:5" || s.Args[0] != "{port}" || s.Env["DB"] != "tcp://127.0.0.1:5" || s.Files["x"] != "127.0.0.1:5 {proxy.none}" {
		t.Errorf("%+v", s)
	}
	if was.Command[1] != "-db={proxy.db}" || was.Env["DB"] != "tcp://{proxy.db}" {
		t.Errorf("the plan was changed: %+v", was)
	}
}
