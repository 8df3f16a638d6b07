package process

import (
	"errors"
	"os"
	"os/exec"
	"testing"

	"github.com/heapwright/heapwright/cmd/internal/goproc"
	"github.com/heapwright/heapwright/cmd/internal/procmem"
	"github.com/heapwright/heapwright/cmd/internal/recorder"
	"github.com/heapwright/heapwright/cmd/internal/targettest"
	"github.com/heapwright/heapwright/record"
)

func TestMain(m *testing.M) {
	code := m.Run()
	targettest.Cleanup()
	os.Exit(code)
}

// TestTarget: one reading holds the runtime's books and the kernel's, and the end
// of the process is an end in the recorder's words, whatever is asked.
func TestTarget(t *testing.T) {
	child := targettest.Start(t, targettest.Build(t, targettest.Local))
	target, err := Attach(t.Context(), child.PID())
	if err != nil {
		t.Fatal(err)
	}
	defer target.Close()
	if p := target.Process(); p.PID != child.PID() || p.GoVersion == "" || target.Runtime().GoVersion() != p.GoVersion {
		t.Errorf("process %+v", p)
	}
	var s record.Sample
	if err := target.Sample(&s); err != nil {
		t.Fatal(err)
	}
	for _, f := range []record.Field{record.FieldGCCycles, record.FieldHeapGoalBytes, record.FieldRSSBytes, record.FieldCPUProcUser} {
		if !s.Has.Has(f) {
			t.Errorf("no %s", f)
		}
	}
	cycles := s.GCCycles
	child.Ask(t, "gc")
	if err := target.Sample(&s); err != nil {
		t.Fatal(err)
	}
	got, lost, err := target.Cycles(nil)
	if err != nil || lost != 0 || uint64(len(got)) != s.GCCycles-cycles || s.GCCycles <= cycles {
		t.Errorf("cycles %v of %d to %d, lost %d: %v", got, cycles, s.GCCycles, lost, err)
	}
	if cpu, err := target.CPUTime(); err != nil || cpu <= 0 {
		t.Errorf("CPU time %v, %v", cpu, err)
	}
	child.Kill()
	if err := target.Sample(&s); !errors.Is(err, recorder.ErrEnded) || !errors.Is(err, procmem.ErrExited) {
		t.Errorf("a sample after the end: %v", err)
	}
	if _, err := target.CPUTime(); !errors.Is(err, recorder.ErrEnded) {
		t.Errorf("CPU time after the end: %v", err)
	}
	if _, err := Attach(t.Context(), child.PID()); !errors.Is(err, recorder.ErrEnded) {
		t.Errorf("attaching after the end: %v", err)
	}
}

func TestAttachErrors(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Skipf("no program that is not Go: %v", err)
	}
	defer func() {
		cmd.Process.Kill()
		cmd.Wait()
	}()
	if _, err := Attach(t.Context(), cmd.Process.Pid); !errors.Is(err, goproc.ErrNotGo) || IsEnded(err) {
		t.Errorf("a program that is not Go: %v", err)
	}
	if err := Ended(nil); err != nil {
		t.Errorf("no error ended: %v", err)
	}
	if other := errors.New("other"); Ended(other) != other {
		t.Error("another error has ended")
	}
}
