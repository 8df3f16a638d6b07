package oom

import (
	"errors"
	"syscall"
)

// isGone reports whether reading a kept file failed for its group being removed.
func isGone(err error) bool { return errors.Is(err, syscall.ENODEV) }
