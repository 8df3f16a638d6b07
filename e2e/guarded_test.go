package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/heapwright/heapwright/e2e/internal/harness"
)

// freeAddress is an address that nobody listened at a moment ago.
func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// TestTuneAsksTheProgram changes a program that sizes its own memory: from outside it
// is refused, through the program's own debug page it is done, and undone.
func TestTuneAsksTheProgram(t *testing.T) {
	debug := freeAddress(t)
	p := harness.Start{
		Path: product.Example("guarded"),
		// Far from any trouble, and with a change to make: a lot of room.
		Args: []string{"-addr", freeAddress(t), "-debug", debug, "-limit", "2048", "-rate", "60", "-allow-change"},
	}.Start(t)
	page := "http://" + debug + "/debug/heapwright/"
	state := t.TempDir()
	env := func(c *exec.Cmd) { c.Env = append(os.Environ(), "HEAPWRIGHT_STATE_DIR="+state) }
	settings := func() map[string]any {
		t.Helper()
		r, err := http.Get(page + "?format=json")
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		var d struct {
			Settings []struct {
				Name  string
				Value float64
				SetBy string `json:"set_by"`
			}
		}
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = json.Unmarshal(body, &d)
		}
		if err != nil || len(d.Settings) == 0 {
			t.Fatalf("%v: %.300s", err, body)
		}
		return map[string]any{"gogc": d.Settings[0].Value, "by": d.Settings[0].SetBy}
	}
	time.Sleep(3 * time.Second) // the first cycles are those of a heap that grows

	tune := func(more ...string) *harness.Result {
		t.Helper()
		args := []string{"tune", fmt.Sprint(p.PID), "--memory-limit", "1GiB", "--for", "15s", "--apply", "live", "--watch", "90s", "--yes"}
		return product.RunWithin(t, 4*time.Minute, env, append(args, more...)...)
	}
	if r := tune(); r.Code != harness.CouldNotRun || !strings.Contains(r.Stderr, "--via") {
		t.Errorf("writing into it: exit code %d\n%s", r.Code, r.Stderr)
	}
	r := tune("--via", "http://"+debug)
	if r.Code == 1 || r.Code == 3 {
		t.Logf("not kept, which may be on a busy machine:\n%v", r)
		if by := settings()["by"]; strings.Contains(fmt.Sprint(by), "override") {
			t.Errorf("taken back, and still GOGC is set by %v", by)
		}
		return
	}
	if r.Code != 0 || !strings.Contains(string(r.Stdout), "It works") {
		t.Fatalf("exit code %d\n%v", r.Code, r)
	}
	if s := settings(); s["gogc"] == 100.0 || !strings.Contains(fmt.Sprint(s["by"]), "override") {
		t.Errorf("after it was kept: %v", s)
	}
	if r := product.RunWith(t, env, "undo", fmt.Sprint(p.PID), "--via", page); r.Code != 0 || !strings.Contains(string(r.Stdout), "GOGC") {
		t.Errorf("undo: exit code %d\n%v", r.Code, r)
	}
	if s := settings(); s["gogc"] != 100.0 {
		t.Errorf("after undo: %v", s)
	}
	harness.Alive(t, p.PID)
}
