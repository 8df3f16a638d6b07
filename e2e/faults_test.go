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
	faults(t, "run", "-heapwright", product.Binary, "-only", "mapunbounded,goroutinesend,keyspace,ordinary", "-for", "45s", "-speed", "15", "-parallel", "4")
}

// TestFaultsAreTrue holds what those programs do against what is claimed of them.
func TestFaultsAreTrue(t *testing.T) {
	long(t)
	faults(t, "truth", "-for", "100s")
}

func faults(t *testing.T, args ...string) {
	t.Helper()
	out, err := exec.Command("go", append([]string{"run", "./cmd/faults", args[0], "-dir", t.TempDir()}, args[1:]...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Logf("%s", out)
}
