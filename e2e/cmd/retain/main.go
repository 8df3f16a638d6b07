// Retain holds what `heapwright leaks` says of who keeps the memory of a process
// against the truth, and against goref, which finds references with a debugger's
// means: on the same process, in turn, with how long each took, what memory it took,
// and how long the process was stopped.
//
//	retain -heapwright PATH [-size 50000] [-rounds 3] [-goref NAME]
//
// The process is the program in cmd/internal/retention/testdata/keeps: structures
// of known shape, one a global, each as large as the program itself measured. It also
// says for how long it did not run. goref is looked for in PATH, by the name of its
// binary, grf; without it, only the truth is compared with.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"text/tabwriter"
	"time"

	"github.com/google/pprof/profile"
)

type options struct {
	heapwright string
	goref      string
	size       int
	rounds     int
}

func main() {
	var opt options
	flag.StringVar(&opt.heapwright, "heapwright", "", "the heapwright binary")
	flag.StringVar(&opt.goref, "goref", "grf", "goref's binary, a name in PATH or a path; \"\": compare with the truth only")
	flag.IntVar(&opt.size, "size", 50_000, "how many elements each structure has")
	flag.IntVar(&opt.rounds, "rounds", 3, "how often each looks")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, opt, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "retain:", err)
		os.Exit(1)
	}
}

// A look is one tool's, at one time.
type look struct {
	took    time.Duration
	rss     int64 // bytes, at most
	gap     time.Duration
	retains map[string]int64 // by global
}

// A tool is what looks: a command that writes a pprof file.
type tool struct {
	name    string
	command func(pid int, out string) []string
	// values is the name of the sample type, and wait how long the command watches
	// the process before it looks at its heap.
	values string
	wait   time.Duration
	// exits are the exit codes that are no failure.
	exits []int
	looks []look
}

func run(ctx context.Context, opt options, out io.Writer) error {
	if opt.heapwright == "" || opt.size <= 0 || opt.rounds <= 0 {
		return errors.New("usage: retain -heapwright PATH [-size N] [-rounds N] [-goref NAME]")
	}
	const watch = time.Second
	leaks := func(more ...string) func(int, string) []string {
		return func(pid int, file string) []string {
			return append([]string{opt.heapwright, "leaks", strconv.Itoa(pid), "--for", watch.String(), "--pprof", file}, more...)
		}
	}
	// 3: too short a time to tell whether anything leaks, which is not asked here.
	tools := []*tool{
		{name: "heapwright", command: leaks(), values: "retained_space", wait: watch, exits: []int{0, 3}},
		{name: "heapwright --pause", command: leaks("--pause"), values: "retained_space", wait: watch, exits: []int{0, 3}},
	}
	dir, err := os.MkdirTemp("", "retain")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	bin := filepath.Join(dir, "keeps")
	if opt.goref != "" {
		path, err := exec.LookPath(opt.goref)
		if err != nil {
			return fmt.Errorf("%w: goref (github.com/cloudwego/goref, cmd/grf) is not installed; -goref \"\" compares with the truth only", err)
		}
		tools = append(tools, &tool{name: "goref", values: "inuse_space", exits: []int{0}, command: func(pid int, file string) []string {
			return []string{path, "attach", strconv.Itoa(pid), bin, "-o", file}
		}})
	}
	k, err := start(ctx, bin, opt.size)
	if err != nil {
		return err
	}
	defer k.stop()

	if _, err := k.gap(); err != nil {
		return err
	}
	select {
	case <-time.After(3 * time.Second):
	case <-ctx.Done():
		return ctx.Err()
	}
	idle, err := k.gap()
	if err != nil {
		return err
	}
	for range opt.rounds {
		for _, t := range tools {
			l, err := t.look(ctx, k, filepath.Join(dir, "out"))
			if err != nil {
				return fmt.Errorf("%s: %w", t.name, err)
			}
			t.looks = append(t.looks, *l)
		}
	}
	return report(out, k.truth, tools, idle)
}

// keeps is the running program.
type keeps struct {
	cmd   *exec.Cmd
	in    io.WriteCloser
	out   *bufio.Reader
	truth map[string]int64
}

func start(ctx context.Context, bin string, size int) (*keeps, error) {
	build := exec.CommandContext(ctx, "go", "build", "-o", bin, ".")
	build.Dir = filepath.Join("..", "cmd", "internal", "retention", "testdata", "keeps")
	if _, err := os.Stat(build.Dir); err != nil {
		return nil, fmt.Errorf("run it in the directory e2e: %w", err)
	}
	build.Env = append(os.Environ(), "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("building the program: %w: %s", err, out)
	}
	k := &keeps{cmd: exec.CommandContext(ctx, bin, strconv.Itoa(size)), truth: map[string]int64{}}
	var err error
	if k.in, err = k.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := k.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	k.out = bufio.NewReader(stdout)
	if err := k.cmd.Start(); err != nil {
		return nil, err
	}
	if err := k.read(&k.truth); err != nil {
		k.stop()
		return nil, fmt.Errorf("starting the program: %w", err)
	}
	return k, nil
}

func (k *keeps) read(v any) error {
	line, err := k.out.ReadBytes('\n')
	if err != nil {
		return err
	}
	return json.Unmarshal(line, v)
}

// gap returns the longest time that the program did not run since it was last asked.
func (k *keeps) gap() (time.Duration, error) {
	var seconds float64
	if _, err := io.WriteString(k.in, "\n"); err != nil {
		return 0, err
	}
	err := k.read(&seconds)
	return time.Duration(seconds * float64(time.Second)), err
}

func (k *keeps) stop() {
	k.in.Close()
	if k.cmd.Wait() != nil {
		return // it ends with the context, at the latest
	}
}

func (t *tool) look(ctx context.Context, k *keeps, file string) (*look, error) {
	if _, err := k.gap(); err != nil {
		return nil, err
	}
	args := t.command(k.cmd.Process.Pid, file)
	cmd := exec.CommandContext(ctx, args[0], args[1:]...)
	begin := time.Now()
	out, err := cmd.CombinedOutput()
	l := &look{took: time.Since(begin) - t.wait}
	if cmd.ProcessState == nil || !slices.Contains(t.exits, cmd.ProcessState.ExitCode()) {
		return nil, fmt.Errorf("%w: %s", err, out)
	}
	if usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage); ok {
		l.rss = usage.Maxrss << 10 // Linux counts in KiB
	}
	if l.gap, err = k.gap(); err != nil {
		return nil, err
	}
	l.retains, err = roots(file, t.values)
	return l, err
}

// roots sums up a pprof file's values by the outermost frame.
func roots(file, values string) (map[string]int64, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	p, err := profile.Parse(f)
	if err != nil {
		return nil, err
	}
	i := slices.IndexFunc(p.SampleType, func(v *profile.ValueType) bool { return v.Type == values })
	if i < 0 {
		return nil, fmt.Errorf("there is no %s in its profile", values)
	}
	out := map[string]int64{}
	for _, s := range p.Sample {
		if n := len(s.Location); n > 0 && len(s.Location[n-1].Line) > 0 {
			out[s.Location[n-1].Line[0].Function.Name] += s.Value[i]
		}
	}
	return out, nil
}

func report(out io.Writer, truth map[string]int64, tools []*tool, idle time.Duration) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', tabwriter.AlignRight)
	line := func(format string, args ...any) { fmt.Fprintf(w, format, args...) }
	line("bytes kept by\ttruth\t")
	for _, t := range tools {
		line("%s\toff\t", t.name)
	}
	line("\n")
	names := make([]string, 0, len(truth))
	for name := range truth {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int { return int(truth[b] - truth[a]) })
	for _, name := range names {
		line("%s\t%d\t", name, truth[name])
		for _, t := range tools {
			last := t.looks[len(t.looks)-1].retains
			have := last["main."+name] + last[name]
			line("%d\t%+.2f%%\t", have, 100*float64(have-truth[name])/float64(truth[name]))
		}
		line("\n")
	}
	line("\n")
	line("median of %d\ttook\tmemory\tstopped\t\n", len(tools[0].looks))
	for _, t := range tools {
		line("%s\t%.2f s\t%d MiB\t%.1f ms\t\n", t.name,
			median(t.looks, func(l look) float64 { return l.took.Seconds() }),
			int64(median(t.looks, func(l look) float64 { return float64(l.rss) }))>>20,
			median(t.looks, func(l look) float64 { return l.gap.Seconds() * 1000 }))
	}
	line("nobody, for 3 s\t\t\t%.1f ms\t\n", idle.Seconds()*1000)
	return w.Flush()
}

func median(looks []look, value func(look) float64) float64 {
	values := make([]float64, 0, len(looks))
	for _, l := range looks {
		values = append(values, value(l))
	}
	slices.Sort(values)
	return values[len(values)/2]
}
