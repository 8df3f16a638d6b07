package e2e

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/heapwright/heapwright/e2e/internal/harness"
)

// TestServeOOM lets the kernel kill a program that keeps what it is asked, in a cgroup
// that goes with it, while heapwright serve looks on, and demands the post-mortem of the
// API, of the command line, and as a page; the event, and the alert with its link.
func TestServeOOM(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, for a memory cgroup and the kernel's log")
	}
	group, err := harness.MakeCgroup(harness.Limits{MemoryBytes: 64 << 20})
	if err != nil {
		t.Skip(err)
	}
	defer group.Remove()
	dir := t.TempDir()
	program := filepath.Join(t.TempDir(), "keeper")
	if out, err := exec.Command("go", "build", "-o", program, "-ldflags=-s -w", "../examples/faults/oomleak").CombinedOutput(); err != nil {
		t.Fatalf("building the program: %v\n%s", err, out)
	}
	a := startAgent(t, serveFile(t, dir, "discovery: {interval: 1s, min_uptime: 0s, include: [keeper]}"))
	defer func() {
		if t.Failed() {
			t.Logf("the agent said:\n%s", a.log())
		}
	}()

	cmd := exec.Command(program, "-speed", "12")
	group.Enter(cmd)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pid := cmd.Process.Pid
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	defer cmd.Process.Kill()
	until(t, "it is watched", func() bool { return a.named(t, pid) == "keeper" })
	until(t, "it is killed", func() bool { return len(ended) > 0 })
	if err := group.Remove(); err != nil { // and its counter with it
		t.Fatal(err)
	}

	var list struct {
		Enabled     bool
		Postmortems []struct {
			ID, Name     string
			PID          int
			Memory, Site *string
		}
	}
	until(t, "there is a post-mortem", func() bool {
		a.get(t, &list, "oom")
		return len(list.Postmortems) > 0
	})
	row := list.Postmortems[0]
	if !list.Enabled || len(list.Postmortems) != 1 || row.PID != pid || row.Memory == nil || *row.Memory != "heap-live" || row.Site == nil || !strings.HasPrefix(*row.Site, "main.compute (") {
		text, _ := json.Marshal(list) // which shows what the pointers point to
		t.Fatalf("the list: %s, of process %d", text, pid)
	}

	type document struct {
		Schema      string
		Killed      bool
		Verdict     struct{ Memory string }
		Kill        struct{ PID int }
		Composition struct {
			Total int64 `json:"total_bytes"`
			Limit int64 `json:"limit_bytes"`
			Rows  []struct{ Bytes int64 }
		}
		Captures []struct{ Role string }
	}
	var served document
	a.get(t, &served, "oom/"+row.ID)
	sum := int64(0)
	for _, r := range served.Composition.Rows {
		sum += r.Bytes
	}
	if d := served.Composition.Total - sum; d < -1 || d > 1 {
		t.Errorf("the parts add up to %d, and %d were in use", sum, served.Composition.Total)
	}
	if served.Schema != "heapwright.oom/1" || !served.Killed || served.Kill.PID != pid || served.Composition.Limit != 64<<20 || len(served.Captures) == 0 {
		t.Errorf("the document: %+v", served)
	}

	// The command line says the same of the PID, of the ID and of the file.
	data := filepath.Join(dir, "data")
	file := filepath.Join(data, "oom", row.ID+".hwrec")
	for _, args := range [][]string{{"oom", "--data", data, fmt.Sprint(pid)}, {"oom", "--data", data, row.ID}, {"oom", file}} {
		var d document
		product.JSON(t, &d, args...)
		if d.Verdict != served.Verdict || d.Kill != served.Kill {
			t.Errorf("%q says %+v, the agent %+v", args, d.Verdict, served.Verdict)
		}
	}
	page := a.body(t, "/api/heapwright/v1/oom/"+row.ID+"/report")
	if !bytes.Contains(page, []byte("main.compute")) || bytes.Contains(page, []byte("<script")) {
		t.Errorf("the page has not the site, or has a script:\n%.2000s", page)
	}

	until(t, "it is in the history", func() bool {
		var doc struct {
			Events []struct {
				Event string
				Data  map[string]string
			}
		}
		a.get(t, &doc, "events")
		for _, e := range doc.Events {
			if e.Event == "oom_kill" && e.Data["postmortem"] == row.ID {
				return true
			}
		}
		return false
	})
	until(t, "there is an alert", func() bool {
		var doc struct {
			Active []struct{ Rule, Process, Link string }
		}
		a.get(t, &doc, "alerts")
		for _, al := range doc.Active {
			if al.Rule == "oom-kill" && al.Process == "keeper" && strings.Contains(al.Link, "/ui/oom?id="+row.ID) {
				return true
			}
		}
		return false
	})
}
