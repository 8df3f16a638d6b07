package agent

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/heapwright/heapwright/record"
)

func proc(name string, pid int) *record.Process {
	return &record.Process{Name: name, PID: pid, MainPackage: "example.com/" + name, StartTime: time.Unix(int64(1_700_000_000+60*pid), 0)}
}

// TestIdentities: a service that is started again is the same, two at once are two, and
// another service of the same name is none of them.
func TestIdentities(t *testing.T) {
	now := time.Unix(1_700_000_000, 0)
	n := newIdentities()
	take := func(p *record.Process, want string) {
		t.Helper()
		now = now.Add(time.Second)
		if got := n.take(p, now); got != want {
			t.Errorf("process %d of %s is %q, want %q", p.PID, p.Name, got, want)
		}
	}
	take(proc("nats", 1), "nats")
	take(proc("nats", 2), "nats:2")
	n.release("nats", now)
	take(proc("nats", 3), "nats")
	other := proc("nats", 4)
	other.CgroupPath = "/system.slice/nats-eu.service"
	take(other, "nats:3")
	n.release("nats:3", now)
	n.release("nats", now)
	take(proc("nats", 5), "nats")
	take(proc("nats", 6), "nats:4") // 3 is the unit's
	again := proc("nats", 7)
	again.CgroupPath = "/system.slice/nats-eu.service/worker"
	take(again, "nats:3")

	// After a restart of the agent each process is what it was, in whatever order it is found.
	file := filepath.Join(t.TempDir(), "identities.json")
	if err := n.save(file); err != nil {
		t.Fatal(err)
	}
	n = newIdentities()
	if err := n.load(file); err != nil {
		t.Fatal(err)
	}
	take(proc("nats", 6), "nats:4")
	take(proc("nats", 2), "nats:2")
	take(proc("nats", 5), "nats")
	take(again, "nats:3")
}

func TestIdentitiesAreBounded(t *testing.T) {
	n := newIdentities()
	for i := range 3 * maxIdentities {
		id := n.take(proc(fmt.Sprint("p", i), i), time.Unix(int64(i), 0))
		n.release(id, time.Unix(int64(i), 0))
	}
	if len(n.slots) > maxIdentities {
		t.Errorf("%d are remembered", len(n.slots))
	}
	if n.slots[fmt.Sprint("p", 3*maxIdentities-1)] == nil {
		t.Error("the last is forgotten")
	}
}

func TestHostileIdentityFile(t *testing.T) {
	for _, text := range []string{"", "x", "{}", `{"schema":"heapwright.identities/9"}`, `[`, strings.Repeat("[", 1000)} {
		file := filepath.Join(t.TempDir(), "identities.json")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if n := newIdentities(); n.load(file) == nil {
			t.Errorf("%q is taken", text)
		}
	}
	file := filepath.Join(t.TempDir(), "identities.json")
	text := `{"schema":"heapwright.identities/1","identities":[{"id":"a"},{"id":"../b","service":{"name":"b"}},{"id":"c:x","service":{}},{"id":"d:2","service":{"name":"d"}}]}`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	n := newIdentities()
	if err := n.load(file); err != nil || len(n.slots) != 1 || n.slots["d:2"] == nil {
		t.Errorf("%v, %v", n.slots, err)
	}
}

func FuzzCleanName(f *testing.F) {
	for _, s := range []string{"nats-server", "", "..", "a/b", "ü", "x y\n", "a:2", strings.Repeat("x", 999), "\xff"} {
		f.Add(s)
	}
	valid := regexp.MustCompile(`^[A-Za-z0-9._-]{1,192}$`)
	f.Fuzz(func(t *testing.T, s string) {
		if got := cleanName(s); !valid.MatchString(got) || got == "." || got == ".." {
			t.Errorf("%q becomes %q", s, got)
		}
	})
}

func TestUnitOf(t *testing.T) {
	for path, want := range map[string]string{
		"":                                    "",
		"/":                                   "",
		"/system.slice/nats.service":          "nats.service",
		"/system.slice/nats.service/sub/part": "nats.service",
		"/user.slice/user-1000.slice/user@1000.service/app.slice/app-x.scope": "",
		"/kubepods/besteffort/podx/abc":                                       "",
		"relative.service":                                                    "relative.service",
	} {
		if got := UnitOf(path); got != want {
			t.Errorf("%q: %q, want %q", path, got, want)
		}
	}
}
