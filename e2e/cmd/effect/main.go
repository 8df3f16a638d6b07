// Effect measures what being recorded costs a program: the throughput of a NATS
// server at full speed with `heapwright record`, divided by that without, in
// interleaved pairs, with a 95% confidence interval; and the same for the CPU time
// that the server itself takes for an operation.
//
// Throughput has in it that the recorder needs CPU, too, and everything else that
// the machine does meanwhile. The server's own CPU time does not.
//
//	effect -heapwright PATH [-pairs 100] [-window 500ms] [-hz 10] [-control]
//
// One recorder is attached all the time, and is stopped (SIGSTOP) for the windows
// without: so they can be short and many, and what the machine does meanwhile falls
// on both of a pair. The order within a pair is drawn by lot. With -control nothing
// is recorded in either window: what it then prints is the noise of the machine.
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
	flag.IntVar(&opt.pairs, "pairs", 100, "number of pairs")
	flag.DurationVar(&opt.window, "window", 500*time.Millisecond, "length of a measurement")
	flag.DurationVar(&opt.settle, "settle", 50*time.Millisecond, "time between a change and the measurement")
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
	loadCtx, cancel := context.WithTimeout(ctx, time.Duration(opt.pairs)*4*(opt.window+opt.settle)+time.Minute)
	var ops atomic.Int64
	loaded := make(chan error, 1)
	go func() {
		_, err := inst.Load(loadCtx, servers.Load{Done: &ops})
		loaded <- err
	}()
	defer func() { cancel(); <-loaded }()
	rec := &recorder{}
	if !opt.control {
		if rec, err = startRecorder(ctx, opt, inst.PID, dir); err != nil {
			return err
		}
		defer rec.stop()
	}
	const warmUp = 3 * time.Second
	if err := sleep(ctx, warmUp); err != nil {
		return err
	}

	var with, without series
	for i := range opt.pairs {
		first := rand.IntN(2) == 0
		for _, recorded := range []bool{first, !first} {
			if err := rec.record(recorded); err != nil {
				return err
			}
			w, err := measure(ctx, opt, inst.PID, &ops)
			if err != nil {
				return err
			}
			if recorded {
				with.add(w)
			} else {
				without.add(w)
			}
		}
		fmt.Fprintf(out, "pair %2d: recorded %8.0f/s, %.3f µs of CPU each; not recorded %8.0f/s, %.3f µs\n", i+1,
			with.perSecond[i], 1e6*with.cpuPerOp[i], without.perSecond[i], 1e6*without.cpuPerOp[i])
		select {
		case err := <-loaded:
			loaded <- nil
			return fmt.Errorf("the load ended: %w", err)
		default:
		}
	}
	what := fmt.Sprintf("recorded at %g Hz / not recorded", opt.hz)
	if opt.control {
		what = "not recorded / not recorded (control)"
	}
	if err := rec.stop(); err != nil {
		return err
	}
	for _, q := range []struct {
		name          string
		with, without []float64
	}{
		{"throughput", with.perSecond, without.perSecond},
		{"server's CPU time per operation", with.cpuPerOp, without.cpuPerOp},
	} {
		ratio, err := stat.PairedRatio(q.with, q.without)
		if err != nil {
			return err
		}
		fmt.Fprintf(out, "%s, %s: %v (95%% interval)\n", q.name, what, ratio)
	}
	return nil
}

// A window is one measurement.
type window struct {
	perSecond float64 // operations
	cpuPerOp  float64 // seconds
}

type series struct{ perSecond, cpuPerOp []float64 }

func (s *series) add(w window) {
	s.perSecond = append(s.perSecond, w.perSecond)
	s.cpuPerOp = append(s.cpuPerOp, w.cpuPerOp)
}

// A recorder is a running `heapwright record`. The zero value is none.
type recorder struct{ cmd *exec.Cmd }

func startRecorder(ctx context.Context, opt options, pid int, dir string) (*recorder, error) {
	cmd := exec.CommandContext(ctx, opt.heapwright, "record", strconv.Itoa(pid), "--hz", fmt.Sprint(opt.hz), "-o", filepath.Join(dir, "effect.hwrec"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting the recorder: %w", err)
	}
	return &recorder{cmd}, nil
}

// record lets the recorder work, or stand still.
func (r *recorder) record(on bool) error {
	sig := syscall.SIGSTOP
	if on {
		sig = syscall.SIGCONT
	}
	return r.signal(sig)
}

// stop ends the recorder. A second call does nothing.
func (r *recorder) stop() error {
	if r.cmd == nil {
		return nil
	}
	err := errors.Join(r.signal(syscall.SIGCONT), r.signal(syscall.SIGINT))
	if waitErr := r.cmd.Wait(); waitErr != nil {
		err = errors.Join(err, fmt.Errorf("the recorder: %w", waitErr))
	}
	r.cmd = nil
	return err
}

func (r *recorder) signal(sig syscall.Signal) error {
	if r.cmd == nil {
		return nil
	}
	if err := r.cmd.Process.Signal(sig); err != nil {
		return fmt.Errorf("signalling the recorder: %w", err)
	}
	return nil
}

// measure measures over one window.
func measure(ctx context.Context, opt options, pid int, ops *atomic.Int64) (w window, err error) {
	if err := sleep(ctx, opt.settle); err != nil {
		return w, err
	}
	cpu, err := cpuTime(pid)
	if err != nil {
		return w, err
	}
	from, start := ops.Load(), time.Now()
	if err := sleep(ctx, opt.window); err != nil {
		return w, err
	}
	n := float64(ops.Load() - from)
	seconds := time.Since(start).Seconds()
	after, err := cpuTime(pid)
	if err != nil {
		return w, err
	}
	return window{perSecond: n / seconds, cpuPerOp: (after - cpu).Seconds() / n}, nil
}

// cpuTime is the CPU time of all threads of a process. /proc/PID/stat has it too,
// but in ticks of 10 ms.
func cpuTime(pid int) (time.Duration, error) {
	files, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil {
		return 0, err
	}
	var sum time.Duration
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			return 0, fmt.Errorf("reading CPU time: %w", err)
		}
		var ns int64
		if _, err := fmt.Sscan(string(text), &ns); err != nil {
			return 0, fmt.Errorf("reading %s: %w", file, err)
		}
		sum += time.Duration(ns)
	}
	return sum, nil
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
