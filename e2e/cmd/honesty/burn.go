package main

import (
	"context"
	"errors"
	"flag"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// burnCommand is the other program on the machine: threads that go through memory of
// their own, for a share of the time that rises to -most, or falls from it, over the
// given time, and stays then.
func burnCommand(ctx context.Context, args []string) error {
	fs := flag.NewFlagSet("burn", flag.ContinueOnError)
	over := fs.Duration("over", 20*time.Second, "how long it rises or falls")
	most := fs.Float64("most", 1, "share of the time of each thread")
	threads := fs.Int("threads", runtime.NumCPU(), "threads")
	down := fs.Bool("down", false, "falls")
	limit := fs.Duration("for", 5*time.Minute, "end after this time")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if !(*over > 0) || !(*most >= 0 && *most <= 1) || *threads < 1 || *threads > 1024 {
		return errors.New("burn: -over is longer than 0, -most from 0 to 1, -threads from 1 to 1024")
	}
	ctx, cancel := context.WithTimeout(ctx, *limit)
	defer cancel()
	start := time.Now()
	var all sync.WaitGroup
	for range *threads {
		all.Go(func() {
			memory := make([]uint64, 1<<20) // 8 MiB
			for ctx.Err() == nil {
				const period = 20 * time.Millisecond
				begin := time.Now()
				busy := time.Duration(duty(begin.Sub(start), *over, *most, *down) * float64(period))
				for i := 0; time.Since(begin) < busy; i++ {
					for j := range 512 {
						memory[(i*4099+j*8)&(1<<20-1)]++
					}
				}
				time.Sleep(period - time.Since(begin))
			}
		})
	}
	all.Wait()
	return nil
}

// duty is the share of the time in which a thread works.
func duty(at, over time.Duration, most float64, down bool) float64 {
	share := min(float64(at)/float64(over), 1)
	if down {
		share = 1 - share
	}
	return most * share
}

// burn starts the other program, and returns what ends it.
func burn(over time.Duration, most float64, down bool) (stop func(), err error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	args := []string{"burn", "-over", over.String(), "-most", strconv.FormatFloat(most, 'g', -1, 64)}
	if down {
		args = append(args, "-down")
	}
	cmd := exec.Command(self, args...)
	cmd.Stderr = os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	return func() {
		cmd.Process.Kill()
		cmd.Wait()
	}, nil
}
