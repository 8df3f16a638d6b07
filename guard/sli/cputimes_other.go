//go:build !unix && !windows

package sli

import "time"

// cpuTimes knows nothing here.
type cpuTimes struct{}

func (*cpuTimes) read() (user, system time.Duration, ok bool) { return 0, 0, false }
