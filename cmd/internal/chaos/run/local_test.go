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
	"github.com/heapwright/heapwright/cmd/internal/experiment"
	"github.com/heapwright/heapwright/record"
)

func TestFind(t *testing.T) {
	m := &Machine{Processes: func(context.Context) ([]record.Process, error) {
		return []record.Process{
			{PID: 10, Name: "orders", Module: "example.com/orders", ContainerID: "abc123"}, {PID: 11, Name: "users", ContainerID: "abd456"},
			{PID: 12, Name: "web"}, {PID: 13, Name: "web"}, {PID: os.Getpid(), Name: "heapwright"},
		}, nil
	}}
	for _, tc := range []struct {
		want chaos.Target
		pid  int
		err  string
	}{
		{chaos.Target{PID: 7}, 7, ""},
		{chaos.Target{Name: "orders"}, 10, ""},
		{chaos.Target{Name: "example.com/orders"}, 10, ""},
		{chaos.Target{Container: "abd"}, 11, ""},
		{chaos.Target{Container: "ab"}, 0, "2 Go processes in a container"},
		{chaos.Target{Name: "web"}, 0, "2 Go processes named"},
		{chaos.Target{Name: "heapwright"}, 0, "no Go process named"},
		{chaos.Target{Name: "none"}, 0, "no Go process named"},
	} {
		pid, err := m.find(t.Context(), tc.want)
		refused := new(RefusedError)
		if pid != tc.pid || tc.err == "" != (err == nil) || err != nil && (!strings.Contains(err.Error(), tc.err) || !errors.As(err, &refused) || refused.Hint() == "") {
			t.Errorf("%+v: %d, %v", tc.want, pid, err)
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
