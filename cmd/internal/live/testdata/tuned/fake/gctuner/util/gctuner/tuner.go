// Package gctuner stands in for the real one of this path.
package gctuner

import "runtime/debug"

// Tuning sets GOGC.
func Tuning(threshold uint64) { debug.SetGCPercent(100 + int(threshold&1)) }
