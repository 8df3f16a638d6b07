//go:build !linux

package hugepage

import "os"

// Size is 0: not known.
func Size() uint64 { return 0 }

// File has none.
func File(uint64) (*os.File, error) { return nil, ErrNone }
