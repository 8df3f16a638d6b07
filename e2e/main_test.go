// Package e2e tests the product as its users run it: through the built binary,
// on real processes. It cannot see Heapwright's packages.
//
// Long tests and those that need much of the machine run only when
// HEAPWRIGHT_E2E_LONG is set (make e2e-long). The real servers are built on first
// use, which takes ten minutes and the network, and kept in
// $HEAPWRIGHT_CACHE/subjects or the user's cache directory (make subjects builds
// them ahead). With HEAPWRIGHT_E2E_BINARY that binary is tested instead of the
// repository's.
//
// A test that measures, or that a busy machine would have judge otherwise, has the
// machine to itself: it is not parallel, and go test runs those first, one by one. The
// others share the machine, and more of them at once than it has CPUs, for most of what
// they do is wait: for windows to pass, for targets to get warm, for what an agent is
// to see. They say so by t.Parallel, and wait for what has to come, not for a time.
package e2e

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"strconv"
	"testing"

	"github.com/heapwright/heapwright/e2e/internal/harness"
)

var product *harness.Product

// perCPU is how many of the tests that share the machine run at the same time, for each
// of its CPUs, unless -parallel says how many. Alone, most of them use a third of one.
const perCPU = 2

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	err := shareMachine()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	product, err = harness.Build("..")
	if product != nil {
		defer product.Close()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// shareMachine sets how many parallel tests run at the same time.
func shareMachine() error {
	said := false
	flag.Visit(func(f *flag.Flag) { said = said || f.Name == "test.parallel" })
	if said {
		return nil
	}
	return flag.Set("test.parallel", strconv.Itoa(perCPU*runtime.GOMAXPROCS(0)))
}

// long skips a test that is not for every run.
func long(t *testing.T) {
	t.Helper()
	if os.Getenv("HEAPWRIGHT_E2E_LONG") == "" {
		t.Skip("takes long: set HEAPWRIGHT_E2E_LONG=1, or run make e2e-long")
	}
}
