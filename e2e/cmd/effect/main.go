// Effect measures what being recorded costs a program: the throughput of a NATS
// server at full speed with `heapwright record`, divided by that without, in
// interleaved pairs, with a 95% confidence interval.
//
//	effect -heapwright PATH [-pairs 20] [-window 3s] [-hz 10] [-control]
//
// The order within a pair is drawn by lot. With -control nothing is recorded in
// either window: what it then prints is the noise of the machine.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/heapwright/heapwright/e2e/internal/stat"
	"github.com/heapwright/heapwright/e2e/servers"
)

type options struct {
	heapwright string
	pairs      int
	window     time.Duration
	settle     time.Duration
	hz         float64
	control    bool
}

func main() {
	var opt options
	flag.StringVar(&opt.heapwright, "heapwright", "", "the heapwright binary")
	flag.IntVar(&opt.pairs, "pairs", 20, "number of pairs")
	flag.DurationVar(&opt.window, "window", 3*time.Second, "length of a measurement")
	flag.DurationVar(&opt.settle, "settle", 2*time.Second, "time between the start of the recorder and the measurement")
	flag.Float64Var(&opt.hz, "hz", 10, "samples a second")
	flag.BoolVar(&opt.control, "control", false, "record nothing: measure the noise")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, opt, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "effect:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, opt options, out io.Writer) error {
	if opt.heapwright == "" && !opt.control {
		return errors.New("-heapwright is needed: the path of the binary")
	}
	bin, err := servers.NATS.Recipe.Build(ctx)
	if err != nil {
		return err
	}
	dir, err := os.MkdirTemp("", "heapwright-effect-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	inst, err := servers.NATS.Start(ctx, bin, dir, servers.Options{})
	if err != nil {
		return err
	}
	defer inst.Stop()

	// One load for the whole time, so that nothing but the recorder comes and goes.
	loadCtx, cancel := context.WithTimeout(ctx, time.Duration(opt.pairs+2)*4*(opt.window+opt.settle)+time.Minute)
	var ops atomic.Int64
	loaded := make(chan error, 1)
	go func() {
		_, err := inst.Load(loadCtx, servers.Load{Done: &ops})
		loaded <- err
	}()
	defer func() { cancel(); <-loaded }()
	if err := sleep(ctx, 2*opt.settle); err != nil {
		return err
	}

	var with, without []float64
	for i := range opt.pairs {
		first := rand.IntN(2) == 0
		var pair [2]float64 // with, without
		for _, recorded := range []bool{first, !first} {
			perSecond, err := measure(ctx, opt, inst.PID, dir, &ops, recorded)
			if err != nil {
				return err
			}
			if recorded {
				pair[0] = perSecond
			} else {
				pair[1] = perSecond
			}
		}
		with, without = append(with, pair[0]), append(without, pair[1])
		fmt.Fprintf(out, "pair %2d: %8.0f/s recorded, %8.0f/s not, ratio %.4f\n", i+1, pair[0], pair[1], pair[0]/pair[1])
		select {
		case err := <-loaded:
			loaded <- nil
			return fmt.Errorf("the load ended: %w", err)
		default:
		}
	}
	ratio, err := stat.PairedRatio(with, without)
	if err != nil {
		return err
	}
	what := fmt.Sprintf("throughput recorded at %g Hz / not recorded", opt.hz)
	if opt.control {
		what = "throughput not recorded / not recorded (control)"
	}
	fmt.Fprintf(out, "%s: %v (95%% interval)\n", what, ratio)
	return nil
}

// measure returns the throughput over one window.
func measure(ctx context.Context, opt options, pid int, dir string, ops *atomic.Int64, recorded bool) (perSecond float64, err error) {
	if recorded && !opt.control {
		cmd := exec.CommandContext(ctx, opt.heapwright, "record", strconv.Itoa(pid), "--hz", fmt.Sprint(opt.hz), "-o", filepath.Join(dir, "effect.hwrec"))
		cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
		cmd.WaitDelay = 10 * time.Second
		if err := os.RemoveAll(filepath.Join(dir, "effect.hwrec")); err != nil {
			return 0, err
		}
		if err := cmd.Start(); err != nil {
			return 0, err
		}
		defer func() {
			cmd.Process.Signal(os.Interrupt)
			if waitErr := cmd.Wait(); waitErr != nil && err == nil {
				err = fmt.Errorf("the recorder: %w", waitErr)
			}
		}()
	}
	if err := sleep(ctx, opt.settle); err != nil {
		return 0, err
	}
	from, start := ops.Load(), time.Now()
	if err := sleep(ctx, opt.window); err != nil {
		return 0, err
	}
	return float64(ops.Load()-from) / time.Since(start).Seconds(), nil
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
