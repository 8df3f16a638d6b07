package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/heapwright/heapwright/e2e/internal/harness"
)

// BenchmarkPS lists 50 Go processes, in a new heapwright each time.
func BenchmarkPS(b *testing.B) {
	for range 50 {
		harness.Start{Path: product.Example("notenough")}.Start(b)
	}
	var doc psDocument
	product.JSON(b, &doc, "ps") // fills the cache of located globals
	read := 0
	for _, p := range doc.Processes {
		if p.HeapLiveBytes != nil {
			read++
		}
	}
	if read < 50 {
		b.Fatalf("only %d of 50 processes could be read", read)
	}
	for b.Loop() {
		if out, err := exec.Command(product.Binary, "ps").CombinedOutput(); err != nil {
			b.Fatalf("%v\n%s", err, out)
		}
	}
}

// BenchmarkRecorderMemory records ten processes at 10 Hz for twenty seconds, with -short
// for two, and reports the recorder's peak RSS and the CPU time it took per second.
func BenchmarkRecorderMemory(b *testing.B) {
	window := 20 * time.Second
	if testing.Short() {
		window = 2 * time.Second
	}
	args := []string{"record", "--hz", "10", "--for", window.String()}
	for range 10 {
		args = append(args, strconv.Itoa(harness.Start{Path: product.Example("godebug")}.Start(b).PID))
	}
	for b.Loop() {
		cmd := exec.Command(product.Binary, args...)
		cmd.Dir = b.TempDir()
		if err := cmd.Start(); err != nil {
			b.Fatal(err)
		}
		done := make(chan struct{})
		var peak float64
		go func() {
			defer close(done)
			for {
				mib, err := peakRSS(cmd.Process.Pid)
				if err != nil {
					return // it has ended
				}
				peak = mib
				time.Sleep(100 * time.Millisecond)
			}
		}()
		if err := cmd.Wait(); err != nil {
			b.Fatal(err)
		}
		<-done
		u := cmd.ProcessState.SysUsage().(*syscall.Rusage)
		cpu := time.Duration(u.Utime.Nano() + u.Stime.Nano())
		b.ReportMetric(peak, "peak-MiB")
		b.ReportMetric(cpu.Seconds()/window.Seconds()*1000, "cpu-ms/s")
	}
}

// peakRSS is a process's VmHWM in MiB.
func peakRSS(pid int) (float64, error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(status)) {
		if rest, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			kib, err := strconv.Atoi(strings.Fields(rest)[0])
			return float64(kib) / 1024, err
		}
	}
	return 0, fmt.Errorf("process %d has no memory any more", pid)
}
