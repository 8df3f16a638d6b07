package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/heapwright/heapwright/e2e/internal/harness"
	"github.com/heapwright/heapwright/e2e/internal/peers"
)

// TestGuardAgainstOOM is a slice of `make oom`: a service whose dependency becomes
// slow, so that requests pile up in memory. The kernel kills it as it is, and does
// not when Heapwright guards it.
func TestGuardAgainstOOM(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, for cgroups and a mount namespace")
	}
	c, err := harness.MakeCgroup(harness.Limits{MemoryBytes: 64 << 20, CPUCores: 1, CPUAccount: true})
	if err != nil {
		t.Skip(err)
	}
	if err := c.Remove(); err != nil {
		t.Fatal(err)
	}
	fault, ok := peers.FaultNamed("slow")
	if !ok {
		t.Fatal("there is no such fault")
	}
	dir := t.TempDir()
	block := peers.Block{
		Service: product.Build(t, "./guarded"), Dir: dir,
		Box: peers.DefaultBox, Rate: peers.DefaultRate, Dependency: peers.DefaultDependency,
		Phases: peers.Phases{Warm: 3 * time.Second, Healthy: 2 * time.Second, Fault: 12 * time.Second},
		Fault:  fault, Guards: []string{peers.Plain, peers.Heapwright}, Seed: 1,
	}
	runs, err := block.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range runs {
		t.Logf("%s: %d kills, in the fault %+v, MiB %v", r.Guard, r.Kills, r.Score.Fault, r.Series.MiB)
		switch kills := r.Kills + r.EarlyKills; r.Guard {
		case peers.Plain:
			if kills == 0 {
				t.Log("the service was not killed as it is: this machine shows nothing")
			}
		case peers.Heapwright:
			if kills > 0 {
				t.Errorf("guarded, it was killed %d times", kills)
			}
			if r.Score.Fault.Good == 0 {
				t.Error("guarded, it answered nothing in time")
			}
		}
	}
	if t.Failed() {
		log, err := os.ReadFile(filepath.Join(dir, peers.Heapwright+".log"))
		t.Logf("%s%v", log, err)
	}
}

// TestGuards has the service answer under every guard.
func TestGuards(t *testing.T) {
	t.Parallel()
	bin := product.Build(t, "./guarded")
	if out, err := exec.Command(bin, "-guard", "nonesuch", "-listen", "x", "-admin", "y").CombinedOutput(); err == nil {
		t.Errorf("there is a guard called nonesuch: %s", out)
	}
	if os.Getuid() != 0 {
		t.Skip("needs root, for cgroups and a mount namespace")
	}
	for _, guard := range peers.Guards {
		t.Run(guard, func(t *testing.T) {
			t.Parallel()
			c, err := harness.MakeCgroup(harness.Limits{MemoryBytes: 64 << 20})
			if err != nil {
				t.Skip(err)
			}
			if err := c.Remove(); err != nil {
				t.Fatal(err)
			}
			s, err := peers.StartService(t.Context(), bin, guard, t.TempDir(), peers.Box{MemoryBytes: 256 << 20, Cores: 1})
			if err != nil {
				t.Fatal(err)
			}
			requests := peers.NewLoad(s.Socket, time.Now(), 1).Run(t.Context(), time.Second, func(time.Duration) float64 { return 10 })
			deaths, err := s.Stop()
			if err != nil || len(deaths) > 0 {
				t.Errorf("%v, deaths %v", err, deaths)
			}
			answered := 0
			for _, r := range requests {
				if r.Outcome == peers.Answered {
					answered++
				}
			}
			if answered == 0 {
				t.Errorf("none of %d requests was answered", len(requests))
			}
		})
	}
}
