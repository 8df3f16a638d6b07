//go:build unix

package history

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/diagnose"
	"github.com/heapwright/heapwright/record"
)

// childDir tells a child of TestKill where its history is.
const childDir = "HEAPWRIGHT_TEST_HISTORY_DIR"

// TestKill kills a writer again and again. Each event that it said it had is there
// afterwards, and so is each episode; the open one goes on.
func TestKill(t *testing.T) {
	if dir := os.Getenv(childDir); dir != "" {
		writeForever(dir)
		return
	}
	dir := t.TempDir()
	const most = 16 << 20
	last := 0
	for round := range 15 {
		cmd := exec.Command(os.Args[0], "-test.run=^TestKill$")
		cmd.Env = append(os.Environ(), childDir+"="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			text, ok := strings.CutPrefix(lines.Text(), "has ")
			if !ok {
				continue
			}
			if last, err = strconv.Atoi(text); err != nil {
				t.Fatal(err)
			}
			if n == 20*(round+1) {
				cmd.Process.Kill()
			}
		}
		cmd.Wait() // it was killed
		h := open(t, dir, most)
		have := map[string]bool{}
		for _, e := range h.Events(Query{}) {
			have[e.Text] = true
		}
		for i := range last + 1 {
			if !have[strconv.Itoa(i)] {
				t.Fatalf("round %d: event %d of %d was acknowledged, and is not there", round, i, last)
			}
		}
		if got := h.Episodes(Query{Process: "lasting"}); len(got) != 1 || !got[0].Ended.IsZero() {
			t.Fatalf("round %d: the open episode is %+v", round, got)
		}
		if got := h.Episodes(Query{Process: "short"}); len(got) < last/10 {
			t.Fatalf("round %d: of %d short episodes there are %d", round, last/10, len(got))
		}
		h.Close()
	}
	if last < 15*20 {
		t.Errorf("only %d were acknowledged", last)
	}
}

// writeForever goes on after the last event that is there.
func writeForever(dir string) {
	h, err := Open(dir, 16<<20)
	if err != nil {
		fmt.Println(err)
		return
	}
	next := 0
	for _, e := range h.Events(Query{}) {
		if n, err := strconv.Atoi(e.Text); err == nil {
			next = max(next, n+1)
		}
	}
	f := diagnose.Finding{ID: "HW1", Severity: diagnose.Warning}
	for ; next < 9000; next++ {
		at := noon.Add(time.Duration(next) * 3 * time.Minute)
		h.Diagnosed("lasting", at, []diagnose.Finding{f})
		if next%10 == 0 {
			h.Diagnosed("short", at, []diagnose.Finding{f})
		} else {
			h.Diagnosed("short", at, nil)
		}
		if err := h.Event("x", record.Event{Time: at, Kind: record.EventGap, Text: strconv.Itoa(next)}); err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println("has", next)
	}
}

// TestDiskFull fills a small file system: what is there stays, what began while there
// was no room is not forgotten, and it goes on when there is room again.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	if err := mountSmall(dir); err != nil {
		t.Skipf("a small file system cannot be mounted here: %v", err)
	}
	t.Cleanup(func() { unmount(dir) })
	ballast := dir + "/ballast"
	if err := os.WriteFile(ballast, make([]byte, 900<<10), 0o600); err != nil {
		t.Fatal(err)
	}
	h := open(t, dir+"/history", 4<<20)
	kept := 0
	var full *FullError
	for _, size := range []int{1000, 0} { // where a long line does not fit, a short one may
		full = nil
		for full == nil && kept < 100_000 {
			err := h.Event(fmt.Sprintf("p%d", kept), record.Event{Time: noon, Kind: record.EventGap, Text: strings.Repeat("x", size)})
			if err == nil {
				kept++
			} else if !errors.As(err, &full) {
				t.Fatal(err)
			}
		}
	}
	if full == nil || full.Hint() == "" || kept == 0 {
		t.Fatalf("%d events were kept on a small disk, and then: %v", kept, full)
	}
	f := diagnose.Finding{ID: "HW1", Severity: diagnose.Warning}
	if b, _ := h.Diagnosed("x", noon, []diagnose.Finding{f}); len(b) != 1 {
		t.Errorf("without room it began %+v", b)
	}
	if s := h.Stats(); s.Failed == 0 || s.Error == "" {
		t.Errorf("Stats are %+v", s)
	}
	if err := os.Remove(ballast); err != nil {
		t.Fatal(err)
	}
	if err := h.Event("y", record.Event{Time: noon, Kind: record.EventGap}); err != nil {
		t.Fatalf("there is room again: %v", err)
	}
	h.Close()
	h = open(t, dir+"/history", 4<<20)
	if got := len(h.Events(Query{})); got != kept+1 {
		t.Errorf("%d events are there, of %d that were kept", got, kept+1)
	}
	if got := titles(h.Episodes(Query{})); got != "x HW1 warning open" {
		t.Errorf("Episodes are %s", got)
	}
	if s := h.Stats(); s.Skipped != 0 {
		t.Errorf("%d lines are torn", s.Skipped)
	}
}
