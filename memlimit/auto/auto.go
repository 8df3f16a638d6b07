// Package auto keeps GOMEMLIMIT right from the start of the program, by being
// imported:
//
//	import _ "github.com/heapwright/heapwright/memlimit/auto"
//
// It does what memlimit.Start(memlimit.Config{}) does, with slog.Default, and
// nothing that the environment does not allow: HEAPWRIGHT_MEMLIMIT is on, off or
// dry-run. It never fails the program. memlimit.Current returns what it started;
// a program that wants another Config calls memlimit.Start itself and does not
// import this package.
package auto

import (
	"log/slog"

	"github.com/heapwright/heapwright/memlimit"
)

func init() {
	if _, err := memlimit.Start(memlimit.Config{}); err != nil {
		slog.Warn("memory limit is not kept", "error", err)
	}
}
