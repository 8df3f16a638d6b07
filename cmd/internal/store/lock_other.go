//go:build !linux && !darwin

package store

import (
	"fmt"
	"path/filepath"

	"github.com/prometheus/prometheus/tsdb/fileutil"
)

// A dirLock keeps others from a directory for as long as the process lives.
type dirLock struct{ r fileutil.Releaser }

func lockDir(dir string) (*dirLock, error) {
	r, _, err := fileutil.Flock(filepath.Join(dir, "lock"))
	if err != nil {
		return nil, fmt.Errorf("locking it: %w", err)
	}
	return &dirLock{r}, nil
}

func (l *dirLock) release() { _ = l.r.Release() }
