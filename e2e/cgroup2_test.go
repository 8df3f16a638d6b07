package e2e

import (
	"errors"
	"path/filepath"
	"testing"

	"github.com/heapwright/heapwright/e2e/internal/cgroup2"
	"github.com/heapwright/heapwright/e2e/internal/vm"
)

// TestCgroup2 has a little of what touches cgroups run on a kernel with cgroup v2; make
// cgroup2 runs all of it.
func TestCgroup2(t *testing.T) {
	t.Parallel()
	tools, err := vm.Find()
	if missing := new(vm.MissingError); errors.As(err, &missing) {
		t.Skipf("%v: %s", missing, missing.Hint())
	}
	if err != nil {
		t.Fatal(err)
	}
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	b := &cgroup2.Bench{Tools: tools, Root: root, Dir: t.TempDir()}
	outcomes, kernel, err := b.Run(t.Context(), cgroup2.Slice())
	if err != nil {
		t.Fatal(err)
	}
	t.Log(kernel)
	for _, o := range outcomes {
		t.Logf("%s: %d passed in %v of the machine's time", o.Step.Name, o.Tests.Passed, o.Result.Took)
		for name, why := range o.Tests.Skipped {
			t.Logf("skipped %s: %s", name, why)
		}
		if p := o.Problem(); p != "" {
			t.Errorf("%s: %s: %q\n%s", o.Step.Name, p, o.Tests.Failed, o.Result.Text)
		}
	}
}
