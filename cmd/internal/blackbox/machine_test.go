package blackbox

import (
	"os/exec"
	"runtime"
	"slices"
	"testing"
)

// A process that was just started is in the next listing, however young the last one is.
func TestPIDsOfThisMoment(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("there is no /proc on", runtime.GOOS)
	}
	m := NewMachine()
	for range 5 {
		if _, err := m.PIDs(); err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("sleep", "60")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		pids, err := m.PIDs()
		if err == nil && !slices.Contains(pids, cmd.Process.Pid) {
			t.Errorf("process %d is not among %d", cmd.Process.Pid, len(pids))
		}
		cmd.Process.Kill()
		cmd.Wait()
		if err != nil {
			t.Fatal(err)
		}
		if pids[0] = -1; slices.Contains(m.pids, -1) {
			t.Error("who sorts what is returned changes what is kept")
		}
	}
}
