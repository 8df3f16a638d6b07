package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/heapwright/heapwright/e2e/internal/jsonl"
	"github.com/heapwright/heapwright/e2e/servers"
)

// A Run is what one run measured.
type Run struct {
	Started   time.Time
	CPUs      int
	Machine   string
	Kernel    string
	Commit    string
	Processes int
	Settle    float64 // seconds from the observers' start to the first window
	Window    float64 // seconds each
	Load      [2]string
	Note      string `json:",omitempty"` // of who kept it
	// SubjectCores is what the processes that are watched used together, OthersCores what
	// neither they nor the observers did.
	SubjectCores, OthersCores float64
	Observers                 []Observer
	Paint                     *Paint `json:",omitempty"`
}

// An Observer is what came of one.
type Observer struct {
	Name     string
	Programs []Program
	// Of heapwright's agent over the time of the windows, the last also of Prometheus.
	SamplesPerSecond float64 // readings of a process
	LateRounds       uint64
	LostCycles       uint64
	PointsPerSecond  float64 // stored
	Series           float64
	WALBytes         int64 // at the end, and what was appended by then
	Appended         int64
	BlocksBytes      int64
	SnapshotBytes    int64
	QuerySeconds     []float64 // 20 series over all that there is, for a chart of 800 points
}

// A Program is a part of an observer.
type Program struct {
	Name    string
	Cores   []float64 // CPU used in each window
	System  []float64 // of these in the kernel
	RSS     []uint64  // bytes at the end of each
	Anon    []uint64
	File    []uint64
	PeakRSS uint64
}

const resultsFile = "runs.jsonl"

func defaultDir() (string, error) {
	cache, err := servers.CacheDir()
	if err != nil {
		return "", err
	}
	return filepath.Join(filepath.Dir(cache), "agentcost"), nil
}

type runOptions struct {
	heapwright, dir string
	processes       int
	settle          time.Duration
	length, window  time.Duration
	paint, smaps    bool
}

func runCommand(ctx context.Context, args []string, out io.Writer) error {
	var opt runOptions
	var err error
	if opt.dir, err = defaultDir(); err != nil {
		return err
	}
	flags := flag.NewFlagSet("run", flag.ContinueOnError)
	flags.StringVar(&opt.heapwright, "heapwright", "", "the heapwright `binary`")
	flags.StringVar(&opt.dir, "dir", opt.dir, "where results are kept")
	flags.IntVar(&opt.processes, "processes", 100, "how many processes are watched")
	flags.DurationVar(&opt.settle, "settle", time.Minute, "time between the start of the observers and the first window")
	flags.DurationVar(&opt.length, "for", 12*time.Minute, "time that is measured")
	flags.DurationVar(&opt.window, "window", 30*time.Second, "length of a window")
	flags.BoolVar(&opt.paint, "paint", true, "load the fleet page with twice the processes, too")
	flags.BoolVar(&opt.smaps, "smaps", false, "let process-exporter read /proc/PID/smaps, as it does by default")
	if err := flags.Parse(args); err != nil {
		return err
	}
	if opt.heapwright == "" || opt.processes < 1 || opt.window <= 0 || opt.length < 2*opt.window {
		return errors.New("-heapwright is needed, the path of the binary, one process or more, and two windows or more")
	}
	if opt.heapwright, err = filepath.Abs(opt.heapwright); err != nil {
		return err
	}
	if err := os.MkdirAll(opt.dir, 0o755); err != nil {
		return err
	}
	r, err := measure(ctx, opt, out)
	if r == nil {
		return err
	}
	return errors.Join(err, jsonl.Append(filepath.Join(opt.dir, resultsFile), r))
}

// measure returns what was measured also when the page could not be loaded after it.
func measure(ctx context.Context, opt runOptions, out io.Writer) (*Run, error) {
	dir, err := os.MkdirTemp("", "heapwright-agentcost-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	f, err := newFleet(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer f.stop()
	fmt.Fprintf(out, "starting %d processes\n", opt.processes)
	if err := f.grow(ctx, opt.processes); err != nil {
		return nil, err
	}
	r := &Run{Started: time.Now().UTC().Truncate(time.Second), CPUs: runtime.NumCPU(), Machine: machine(), Kernel: command("uname", "-sr"), Commit: command("git", "rev-parse", "--short", "HEAD"),
		Processes: opt.processes, Settle: opt.settle.Seconds(), Window: opt.window.Seconds()}
	if err := r.observe(ctx, opt, dir, f, out); err != nil {
		return nil, err
	}
	if opt.paint {
		r.Paint, err = measurePaint(ctx, opt, dir, f, out)
	}
	return r, err
}

// observe lets all observers watch the processes, and measures them.
func (r *Run) observe(ctx context.Context, opt runOptions, dir string, f *fleet, out io.Writer) (err error) {
	all, err := startAll(ctx, opt, dir)
	defer func() {
		for _, o := range all {
			err = errors.Join(err, o.stop())
		}
	}()
	if err != nil {
		return err
	}
	if err := sleep(ctx, opt.settle); err != nil {
		return err
	}
	return r.windows(ctx, opt, f, all, out)
}

// startAll starts all observers, and returns when each watches all processes.
func startAll(ctx context.Context, opt runOptions, dir string) (all []*observer, err error) {
	adaptive, err := startAgent(ctx, opt.heapwright, dir, "heapwright")
	if err != nil {
		return nil, err
	}
	all = append(all, adaptive)
	plain, err := startAgent(ctx, opt.heapwright, dir, "heapwright-1hz", "sampling: {adaptive: false}")
	if err != nil {
		return all, err
	}
	all = append(all, plain)
	exporters, err := startExporters(ctx, dir, opt.smaps)
	if err != nil {
		return all, err
	}
	all = append(all, exporters)
	return all, errors.Join(adaptive.watches(ctx, opt.processes), plain.watches(ctx, opt.processes), exporters.scrapes(ctx, opt.processes))
}

// windows measures one window after the other, all observers in each.
func (r *Run) windows(ctx context.Context, opt runOptions, f *fleet, all []*observer, out io.Writer) error {
	r.Load[0] = loadAverage()
	var before [][]Usage
	statuses := map[*observer]status{}
	for _, o := range all {
		ob := Observer{Name: o.name}
		var us []Usage
		for _, p := range o.programs {
			u, err := usageOf(p.cmd.Process.Pid)
			if err != nil {
				return fmt.Errorf("%s has ended: %w\n%s", p.name, err, p.said())
			}
			us = append(us, u)
			ob.Programs = append(ob.Programs, Program{Name: p.name})
		}
		before = append(before, us)
		r.Observers = append(r.Observers, ob)
		if o.agent != "" {
			s, err := o.status(ctx)
			if err != nil {
				return err
			}
			statuses[o] = s
		}
	}
	began := time.Now()
	fleet0, err := f.cpu()
	if err != nil {
		return err
	}
	machine0, err := machineCPU()
	if err != nil {
		return err
	}
	last := began
	for n := 1; n <= int(opt.length/opt.window); n++ {
		if err := sleep(ctx, time.Until(began.Add(time.Duration(n)*opt.window))); err != nil {
			return err
		}
		now := time.Now()
		seconds := now.Sub(last).Seconds()
		last = now
		var line strings.Builder
		for i, o := range all {
			fmt.Fprintf(&line, "  %s", o.name)
			for k, p := range o.programs {
				u, err := usageOf(p.cmd.Process.Pid)
				if err != nil {
					return fmt.Errorf("%s has ended: %w\n%s", p.name, err, p.said())
				}
				was, m := before[i][k], &r.Observers[i].Programs[k]
				m.Cores, m.System = append(m.Cores, (u.cpu()-was.cpu())/seconds), append(m.System, (u.System-was.System)/seconds)
				m.RSS, m.Anon, m.File = append(m.RSS, u.RSS), append(m.Anon, u.Anon), append(m.File, u.File)
				m.PeakRSS = max(m.PeakRSS, u.RSS)
				before[i][k] = u
				fmt.Fprintf(&line, " %.2f%% %d MiB", 100*m.Cores[n-1], u.RSS>>20)
			}
		}
		fmt.Fprintf(out, "window %d:%s\n", n, &line)
	}
	elapsed := time.Since(began).Seconds()
	fleet1, err := f.cpu()
	if err != nil {
		return err
	}
	machine1, err := machineCPU()
	if err != nil {
		return err
	}
	r.Load[1] = loadAverage()
	r.SubjectCores = (fleet1 - fleet0) / elapsed
	r.OthersCores = (machine1-machine0)/elapsed - r.SubjectCores
	for i, o := range all {
		ob := &r.Observers[i]
		for _, p := range ob.Programs {
			r.OthersCores -= mean(p.Cores)
		}
		if err := ob.finish(ctx, o, opt.processes, statuses[o], elapsed); err != nil {
			return err
		}
	}
	return nil
}

// finish asks an observer what it has.
func (ob *Observer) finish(ctx context.Context, o *observer, processes int, was status, elapsed float64) error {
	if o.agent != "" {
		s, err := o.status(ctx)
		if err != nil {
			return err
		}
		ob.SamplesPerSecond = float64(s.Agent.Samples-was.Agent.Samples) / elapsed
		ob.PointsPerSecond = float64(s.Agent.Points-was.Agent.Points) / elapsed
		ob.LateRounds, ob.LostCycles = s.Agent.LateRounds-was.Agent.LateRounds, s.Agent.LostCycles-was.Agent.LostCycles
		ob.Series, ob.Appended = float64(s.Store.Series), s.Store.Appended
		ob.WALBytes, ob.BlocksBytes, ob.SnapshotBytes = s.Store.WALBytes+s.Store.HeadBytes, s.Store.BlocksBytes, s.Vault.Bytes
	} else {
		var err error
		if ob.PointsPerSecond, err = o.promValue(ctx, "sum(scrape_samples_scraped)"); err != nil {
			return err
		}
		var db struct {
			Data struct{ HeadStats struct{ NumSeries int } }
		}
		if err := getJSON(ctx, o.prom+"/api/v1/status/tsdb", &db); err != nil {
			return err
		}
		ob.Series = float64(db.Data.HeadStats.NumSeries)
	}
	for range 20 {
		if o.agent == "" {
			break
		}
		now := time.Now()
		q := url.Values{
			"query": {fmt.Sprintf(`heapwright_heap_live_bytes{process=~"%s(:[2-9]|:1[0-9]|:20)?"}`, subjectName)},
			"start": {fmt.Sprint(now.Add(-time.Duration(elapsed * float64(time.Second))).Unix())}, "end": {fmt.Sprint(now.Unix())},
			"step": {fmt.Sprint(max(1, int(elapsed/800)))},
		}
		var doc struct{ Data struct{ Result []struct{} } }
		began := time.Now()
		if err := getJSON(ctx, o.agent+"/api/v1/query_range?"+q.Encode(), &doc); err != nil {
			return err
		}
		ob.QuerySeconds = append(ob.QuerySeconds, time.Since(began).Seconds())
		if n := len(doc.Data.Result); n != min(20, processes) {
			return fmt.Errorf("%s: %d series, want 20", o.name, n)
		}
	}
	return nil
}

func mean(v []float64) float64 {
	var sum float64
	for _, x := range v {
		sum += x
	}
	return sum / float64(max(len(v), 1))
}

// command is what a command says, in one line.
func command(name string, args ...string) string {
	text, err := exec.Command(name, args...).Output()
	if err != nil {
		return "unknown"
	}
	return strings.TrimSpace(string(text))
}

// machine is the name of the processor.
func machine() string {
	text, err := os.ReadFile("/proc/cpuinfo")
	if err != nil {
		return "unknown"
	}
	for line := range bytes.Lines(text) {
		if name, value, ok := bytes.Cut(line, []byte(":")); ok && string(bytes.TrimSpace(name)) == "model name" {
			return string(bytes.TrimSpace(value))
		}
	}
	return "unknown"
}
