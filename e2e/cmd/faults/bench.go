package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/heapwright/heapwright/e2e/internal/faults"
	"github.com/heapwright/heapwright/e2e/internal/harness"
	"github.com/heapwright/heapwright/e2e/internal/jsonl"
)

// A bench runs programs.
type bench struct {
	root     string // of the repository
	dir      string
	only     []string
	window   time.Duration
	speed    float64
	parallel int
	releases []string
	out      io.Writer

	faults []faults.Fault
}

// flags declares what all commands have in common; parse is to be called for what
// they come to.
func (b *bench) flags(fs *flag.FlagSet, window time.Duration, speed float64, parallel int) (parse func(args []string) error, err error) {
	dir, err := defaultDir()
	if err != nil {
		return nil, err
	}
	fs.StringVar(&b.root, "root", "..", "the repository")
	fs.StringVar(&b.dir, "dir", dir, "where programs and results are kept")
	only := fs.String("only", "", "comma-separated programs; all if empty")
	fs.DurationVar(&b.window, "for", window, "how long each is looked at, at most")
	fs.Float64Var(&b.speed, "speed", speed, "how many times as fast as usual things happen in the programs")
	fs.IntVar(&b.parallel, "parallel", parallel, "programs at a time")
	releases := fs.String("go", "", "comma-separated Go releases to build with, such as go1.27.4; that of the go command if empty")
	return func(args []string) error {
		if err := fs.Parse(args); err != nil {
			return err
		}
		if b.window <= 0 || !(b.speed > 0) || b.parallel < 1 || fs.NArg() > 0 {
			return errors.New("-for, -speed and -parallel are more than 0, and there are no other arguments")
		}
		all, err := faults.Read(filepath.Join(b.root, "examples", "faults", "faults.json"))
		if err != nil {
			return err
		}
		b.faults = all
		if *only != "" {
			b.only = strings.Split(*only, ",")
			for _, name := range b.only {
				if !slices.ContainsFunc(all, func(f faults.Fault) bool { return f.Name == name }) {
					return fmt.Errorf("there is no program %q", name)
				}
			}
		}
		b.releases = []string{""}
		if *releases != "" {
			b.releases = strings.Split(*releases, ",")
		}
		b.dir, err = filepath.Abs(b.dir)
		return errors.Join(err, os.MkdirAll(b.dir, 0o755))
	}, nil
}

// chosen are the programs to run.
func (b *bench) chosen() (out []*faults.Fault) {
	for i := range b.faults {
		if f := &b.faults[i]; len(b.only) == 0 || slices.Contains(b.only, f.Name) {
			out = append(out, f)
		}
	}
	return out
}

func (b *bench) path(elem ...string) string {
	return filepath.Join(append([]string{b.dir}, elem...)...)
}

// build builds the chosen programs with a release, and returns its full name.
func (b *bench) build(ctx context.Context, release string) (string, error) {
	env := append(os.Environ(), "GOWORK=off")
	if release != "" {
		env = append(env, "GOTOOLCHAIN="+release)
	}
	goCommand := func(args ...string) (string, error) {
		cmd := exec.CommandContext(ctx, "go", args...)
		cmd.Dir, cmd.Env = b.root, env
		out, err := cmd.CombinedOutput()
		if err != nil {
			return "", fmt.Errorf("go %s: %w\n%s", args[0], err, out)
		}
		return strings.TrimSpace(string(out)), nil
	}
	full, err := goCommand("env", "GOVERSION")
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(b.path(full), 0o755); err != nil {
		return "", err
	}
	args := []string{"build", "-trimpath", "-ldflags=-s -w", "-o", b.path(full) + "/"}
	for _, f := range b.chosen() {
		args = append(args, "./examples/faults/"+f.Name)
	}
	_, err = goCommand(args...)
	return full, err
}

// A job is one program to run.
type job struct {
	fault   *faults.Fault
	release string
}

// each runs f for all jobs, so many at a time, and returns the first error. The long
// ones begin first.
func (b *bench) each(ctx context.Context, jobs []job, f func(context.Context, job) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	slices.SortStableFunc(jobs, func(x, y job) int { return order(x) - order(y) })
	queue := make(chan job)
	var (
		wait  sync.WaitGroup
		once  sync.Once
		first error
	)
	for range b.parallel {
		wait.Go(func() {
			for j := range queue {
				if err := f(ctx, j); err != nil {
					once.Do(func() { first = err; cancel() })
				}
			}
		})
	}
	for _, j := range jobs {
		select {
		case queue <- j:
		case <-ctx.Done():
		}
	}
	close(queue)
	wait.Wait()
	return errors.Join(first, ctx.Err())
}

// order begins with the programs that are looked at for the whole time.
func order(j job) int {
	return slices.Index([]string{faults.Healthy, faults.OOM, faults.Leak}, j.fault.Kind)
}

// A program is one that runs.
type program struct {
	pid     int
	started time.Time
	account string // the file that it writes what it uses into
	cgroup  *harness.Cgroup

	cmd    *exec.Cmd
	ended  chan struct{}
	cancel context.CancelFunc
	rss    map[int]float64 // by the second since the start
	looked chan struct{}
}

// start starts a program, in a cgroup where its kind asks for one.
func (b *bench) start(ctx context.Context, j job) (*program, error) {
	dir, err := os.MkdirTemp(b.dir, "run-"+j.fault.Name+"-")
	if err != nil {
		return nil, err
	}
	p := &program{account: filepath.Join(dir, "account"), ended: make(chan struct{}), looked: make(chan struct{}), rss: map[int]float64{}}
	p.cmd = exec.Command(b.path(j.release, j.fault.Name), "-speed", strconv.FormatFloat(b.speed, 'g', -1, 64),
		"-growth", p.account, "-for", (b.window + 2*time.Minute).String())
	p.cmd.Env = append(slices.DeleteFunc(os.Environ(), func(kv string) bool { return strings.HasPrefix(kv, "GO") }), j.fault.Env...)
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if j.fault.LimitMiB > 0 {
		if p.cgroup, err = harness.MakeCgroup(harness.Limits{MemoryBytes: j.fault.LimitMiB << 20}); err != nil {
			return nil, errors.Join(err, os.RemoveAll(dir))
		}
		p.cgroup.Enter(p.cmd)
	}
	p.started = time.Now()
	if err := p.cmd.Start(); err != nil {
		return nil, errors.Join(err, p.clean())
	}
	p.pid = p.cmd.Process.Pid
	look, cancel := context.WithCancel(ctx)
	p.cancel = cancel
	go func() {
		p.cmd.Wait()
		close(p.ended)
	}()
	go p.look(look)
	return p, nil
}

// settle waits until the program has built what it holds, of which it has an account
// then. A busy machine takes its time.
func (p *program) settle() {
	for range 300 {
		if text, err := os.ReadFile(p.account); err == nil && len(faults.Points(text)) >= 2 {
			return
		}
		select {
		case <-p.ended:
			return
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// look notes how much memory is resident, once a second.
func (p *program) look(ctx context.Context) {
	defer close(p.looked)
	t := time.NewTicker(time.Second)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-p.ended:
			return
		case <-t.C:
			if text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", p.pid)); err == nil {
				if fields := strings.Fields(string(text)); len(fields) > 1 {
					pages, _ := strconv.ParseFloat(fields[1], 64)
					p.rss[int(time.Since(p.started).Seconds())] = pages * float64(os.Getpagesize())
				}
			}
		}
	}
}

// stop ends the program, and returns its account of itself.
func (p *program) stop() ([]faults.Point, error) {
	p.cancel()
	p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.ended:
	case <-time.After(3 * time.Second):
		p.cmd.Process.Kill()
		<-p.ended
	}
	<-p.looked
	text, err := os.ReadFile(p.account)
	points := faults.Points(text)
	last := 0.0
	for i := range points {
		if v, ok := p.rss[int(points[i].Seconds)]; ok {
			last = v
		}
		points[i].RSS = last
	}
	return points, errors.Join(err, p.clean())
}

// clean removes the program's files. The kernel takes a moment to empty the cgroup.
func (p *program) clean() error {
	var err error
	if p.cgroup != nil {
		for range 100 {
			if err = p.cgroup.Remove(); err == nil {
				break
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
	return errors.Join(err, os.RemoveAll(filepath.Dir(p.account)))
}

// results is the file of all runs.
func (b *bench) results() string { return b.path("runs.jsonl") }

// latest are the last runs of each program with each release.
func latest(runs []faults.Run) (out []faults.Run) {
	for i, r := range runs {
		if !slices.ContainsFunc(runs[i+1:], func(later faults.Run) bool { return later.Fault == r.Fault && later.Go == r.Go }) {
			out = append(out, r)
		}
	}
	return out
}

// known reads the runs that were made.
func (b *bench) known() ([]faults.Run, error) {
	runs, err := jsonl.Read[faults.Run](b.results())
	return latest(runs), err
}
