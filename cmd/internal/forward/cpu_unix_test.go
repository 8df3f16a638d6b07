//go:build unix

package forward

import (
	"syscall"
	"testing"
	"time"
)

// cpuTime is the CPU time of the test so far: others use the machine too.
func cpuTime(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
