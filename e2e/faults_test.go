package e2e

import (
	"os/exec"
	"testing"
)

// TestFaults runs a slice of make faults: two programs that leak and two that do not,
// of examples/faults. It fails when heapwright misses a leak, calls a healthy program
// a leak, or says a wrong cause.
func TestFaults(t *testing.T) {
	t.Parallel()
	cmd := exec.Command("go", "run", "./cmd/faults", "run", "-heapwright", product.Binary, "-dir", t.TempDir(),
		"-only", "mapunbounded,goroutinesend,keyspace,ordinary", "-for", "45s", "-speed", "15", "-parallel", "4")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}
