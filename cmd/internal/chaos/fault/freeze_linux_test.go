package fault

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
	"github.com/heapwright/heapwright/cmd/internal/targettest"
)

// family is a shell that starts processes all the time, one that stays, and one that
// something else has stopped.
const family = `while :; do sleep 0.02; done & sleep 100 & sh -c 'kill -STOP $$; sleep 100' & wait`

// startFamily starts a target with a family, which ends with the test.
func startFamily(t *testing.T, shell string) (*lab, *Target) {
	t.Helper()
	locate := func(spec targetSpec) (*lab, *Target) {
		l := startLab(t, 0, spec, "cpu")
		target, err := Locate(t.Context(), l.pid, "")
		if err != nil {
			t.Fatal(err)
		}
		return l, target
	}
	// Asked of one without a family, which would have to be ended.
	if _, target := locate(targetSpec{}); target.byCgroup() {
		t.Skip("needs a target whose group cannot be frozen")
	}
	l, target := locate(targetSpec{Shell: shell})
	t.Cleanup(func() {
		for range 20 { // one that starts others may have been too fast
			below, err := target.descendants()
			if err != nil || len(below) == 0 {
				return
			}
			for _, p := range below {
				syscall.Kill(p.pid, syscall.SIGKILL)
			}
		}
	})
	return l, target
}

// settled waits until a family is complete, and returns who was stopped by itself.
func settled(t *testing.T, target *Target, n int) (stood int) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		below, err := target.descendants()
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range below {
			if p.state == 'T' {
				stood = p.pid
			}
		}
		if len(below) >= n && (stood != 0 || n != 4) {
			return stood
		}
	}
	t.Fatal("the family does not come to be")
	return 0
}

// TestFreezeFamily: what the target has started stands still with it, also what it starts
// meanwhile, and goes on after; who stood before stands still.
func TestFreezeFamily(t *testing.T) {
	_, target := startFamily(t, family)
	stood := settled(t, target, 4)
	r, err := Resolve(t.Context(), chaos.Fault{Name: "freeze", Kind: chaos.Freeze, Level: chaos.Level{Value: 0.3}}, target, chaos.Caps{}, Room{})
	if err != nil {
		t.Fatal(err)
	}
	j := &listJournal{}
	e, err := Make(t.Context(), r, target, j)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { e.Undo(context.Background()) })
	if words := strings.Join(r.Words, "\n"); !strings.Contains(words, "processes that it has started") {
		t.Errorf("the plan says %s", words)
	}
	for _, end := range []string{"by itself", "by Undo"} {
		done := make(chan error, 1)
		level := r.Level
		if end == "by Undo" {
			level = 20
		}
		go func() { done <- e.Set(t.Context(), level) }()
		freeze := e.(*freezeEffect)
		for since := (time.Time{}); since.IsZero(); time.Sleep(time.Millisecond) {
			freeze.mu.Lock()
			since = freeze.since
			freeze.mu.Unlock()
		}
		below, err := target.descendants()
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range below {
			if freeze.still() && p.state != 'T' {
				t.Errorf("%s: process %d is in state %c", end, p.pid, p.state)
			}
		}
		if n := len(j.left()); n < 4 && freeze.still() { // the watcher, the target, the shell, and two or three below
			t.Errorf("%s: %d steps are in the journal", end, n)
		}
		if end == "by Undo" {
			if err := e.Undo(t.Context()); err != nil {
				t.Fatal(err)
			}
			<-done
		} else if err := <-done; err != nil {
			t.Fatal(err)
		}
		below, err = target.descendants()
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range below {
			if (p.state == 'T') != (p.pid == stood) {
				t.Errorf("%s: after it process %d is in state %c; %d was stopped before", end, p.pid, p.state, stood)
			}
		}
	}
	if left := j.left(); len(left) > 0 {
		t.Errorf("in the journal there is %v", left)
	}
}

// TestFreezeFamilyAlone: when who made the fault is killed, its watcher lets all go on.
func TestFreezeFamilyAlone(t *testing.T) {
	_, target := startFamily(t, "sleep 100 & sleep 100 & wait")
	settled(t, target, 3)
	journal := filepath.Join(t.TempDir(), "journal")
	arg, err := json.Marshal(holderSpec{PID: target.PID, Fault: chaos.Fault{Name: "freeze", Kind: chaos.Freeze, Level: chaos.Level{Value: 20}}, Journal: journal, Background: true})
	if err != nil {
		t.Fatal(err)
	}
	holder := exec.Command("/proc/self/exe", holderVerb, string(arg))
	holder.Stderr = os.Stderr
	targettest.Ready(t, holder)
	standing := func() (n int) {
		below, err := target.descendants()
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range below {
			if p.state == 'T' {
				n++
			}
		}
		if stopped(target.PID, target.Start) {
			n++
		}
		return n
	}
	for end := time.Now().Add(20 * time.Second); standing() < 4; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d stand still", standing())
		}
	}
	if err := holder.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	holder.Wait()
	for end := time.Now().Add(20 * time.Second); standing() > 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d stand still", standing())
		}
	}
	stops := 0
	for _, s := range outstanding(t, journal) {
		if s.Kind == StepStopped {
			stops++
		}
		if err := Revert(t.Context(), s); err != nil {
			t.Errorf("undoing %s: %v", s, err)
		}
	}
	if stops < 4 {
		t.Errorf("the journal has %d processes that were stopped", stops)
	}
}

// TestFreezeMany: a target that has started very many is refused, with what to do.
func TestFreezeMany(t *testing.T) {
	_, target := startFamily(t, "for i in $(seq 70); do sleep 100 & done; wait")
	settled(t, target, mostStopped)
	_, err := Resolve(t.Context(), chaos.Fault{Name: "freeze", Kind: chaos.Freeze, Level: chaos.Level{Value: 1}}, target, chaos.Caps{}, Room{})
	refused, ok := err.(*RefusedError)
	if !ok || !strings.Contains(refused.Hint(), "freezer") {
		t.Errorf("%v", err)
	}
}
