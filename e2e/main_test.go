// Package e2e tests the product as its users run it: through the built binary,
// on real processes. It cannot see Heapwright's packages.
//
// Long tests and those that need much of the machine run only when
// HEAPWRIGHT_E2E_LONG is set (make e2e-long). The real servers are built on first
// use, which takes ten minutes and the network, and kept in
// $HEAPWRIGHT_CACHE/subjects or the user's cache directory (make subjects builds
// them ahead). With HEAPWRIGHT_E2E_BINARY that binary is tested instead of the
// repository's.
package e2e

import (
	"flag"
	"fmt"
	"os"
	"testing"

	"github.com/heapwright/heapwright/e2e/internal/harness"
)

var product *harness.Product

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	var err error
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

// long skips a test that is not for every run.
func long(t *testing.T) {
	t.Helper()
	if os.Getenv("HEAPWRIGHT_E2E_LONG") == "" {
		t.Skip("takes long: set HEAPWRIGHT_E2E_LONG=1, or run make e2e-long")
	}
}
