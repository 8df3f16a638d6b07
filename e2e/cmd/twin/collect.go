package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/heapwright/heapwright/e2e/internal/accuracy"
	"github.com/heapwright/heapwright/e2e/internal/ladder"
	"github.com/heapwright/heapwright/e2e/internal/subject"
	"github.com/heapwright/heapwright/e2e/servers"
	"github.com/heapwright/heapwright/pacer"
	"github.com/heapwright/heapwright/record"
)

// A Run is what is kept of one run beside its recording.
type Run struct {
	Subject   string         `json:"subject"`
	GoVersion string         `json:"go_version"`
	Setting   ladder.Setting `json:"setting"`
	Started   time.Time      `json:"started"`
	Seconds   float64        `json:"seconds"` // that were recorded
	Hz        float64        `json:"hz"`
	CPUs      int            `json:"cpus"`
	// What the machine did meanwhile.
	LoadBefore float64 `json:"load_average_before"`
	LoadAfter  float64 `json:"load_average_after"`
	// OtherCores is the CPU that everything but the subject used, in cores: the
	// recorder, the clients of a server, and whatever else ran on the machine.
	OtherCores float64 `json:"other_cores"`
	// Said is what the load says of itself.
	Said string `json:"said,omitempty"`
	// Failed is why there is no recording.
	Failed string `json:"failed,omitempty"`
}

type collector struct {
	heapwright  string
	dir         string
	window      time.Duration
	calibration time.Duration
	hz          float64
	only        []string // settings
	bisect      []string // subjects of which the storm's boundary is looked for
	out         io.Writer
}

func collect(ctx context.Context, args []string, out io.Writer) error {
	dir, err := defaultDir()
	if err != nil {
		return err
	}
	c := collector{out: out}
	fs := flag.NewFlagSet("collect", flag.ContinueOnError)
	fs.StringVar(&c.heapwright, "heapwright", "", "the heapwright binary")
	fs.StringVar(&c.dir, "dir", dir, "where the recordings are kept")
	subjects := fs.String("subjects", "", "comma-separated names, all by default")
	releases := fs.String("go", "go1.27.4,go1.22.12", "comma-separated Go releases")
	bisect := fs.String("bisect", "webcache,pointers,json", "comma-separated names of subjects that are run at more limits, around where storms begin")
	settings := fs.String("settings", "", "comma-separated names, all by default")
	fs.DurationVar(&c.window, "for", 12*time.Second, "length of a recording")
	fs.DurationVar(&c.calibration, "calibrate", 20*time.Second, "length of the recording that a twin is fitted to")
	fs.Float64Var(&c.hz, "hz", 50, "samples a second")
	if err := fs.Parse(args); err != nil {
		return err
	}
	if c.heapwright == "" {
		return errors.New("-heapwright is needed: the path of the binary")
	}
	if c.heapwright, err = filepath.Abs(c.heapwright); err != nil {
		return err
	}
	chosen := subject.All()
	if *subjects != "" {
		if chosen, err = subject.Find(strings.Split(*subjects, ",")); err != nil {
			return err
		}
	}
	c.bisect = strings.Split(*bisect, ",")
	if *settings != "" {
		c.only = strings.Split(*settings, ",")
	}
	// One that fails is no reason to lose the others, which take hours.
	var failed error
	for _, release := range strings.Split(*releases, ",") {
		for _, s := range chosen {
			start := time.Now()
			err := c.subject(ctx, s, release)
			switch {
			case ctx.Err() != nil:
				return ctx.Err()
			case errors.Is(err, servers.ErrTooOld):
				fmt.Fprintf(out, "%s %s: left out: %v\n", release, s.Name, err)
			case err != nil:
				fmt.Fprintf(out, "%s %s: %v\n", release, s.Name, err)
				failed = errors.Join(failed, err)
			default:
				fmt.Fprintf(out, "%s %s: complete after %s\n", release, s.Name, time.Since(start).Round(time.Second))
			}
		}
	}
	return failed
}

// subject runs a subject under all settings.
func (c *collector) subject(ctx context.Context, s subject.Subject, release string) error {
	if _, err := s.Build(ctx, release); err != nil {
		return err
	}
	for _, setting := range []ladder.Setting{ladder.Calibration, ladder.Control} {
		if err := c.setting(ctx, s, release, setting); err != nil {
			return err
		}
	}
	rec, err := readRecording(c.path(s.Name, release, ladder.Calibration.Name+".hwrec"))
	if err != nil {
		return fmt.Errorf("calibrating %s: %w", s.Name, err)
	}
	sizes, err := ladder.Measure(rec)
	if err != nil {
		return err
	}
	for _, setting := range ladder.Settings(sizes, release+" "+s.Name) {
		if err := c.setting(ctx, s, release, setting); err != nil {
			return err
		}
	}
	if slices.Contains(c.bisect, s.Name) && c.only == nil {
		return c.boundary(ctx, s, release)
	}
	return nil
}

// boundaryRounds are how many more limits are tried.
const boundaryRounds = 3

// boundary tries limits between the highest with a storm and the lowest without.
func (c *collector) boundary(ctx context.Context, s subject.Subject, release string) error {
	for round := range boundaryRounds {
		rungs, err := readRungs(c.subjectDir(s.Name, release))
		if err != nil {
			return err
		}
		limit, ok := accuracy.FindBoundary(rungs).Next()
		if !ok {
			return nil
		}
		if err := c.setting(ctx, s, release, ladder.Limited(fmt.Sprintf("off-storm-%d", round+1), limit)); err != nil {
			return err
		}
	}
	return nil
}

// readRungs reads what came of all limits that were tried.
func readRungs(dir string) ([]accuracy.Rung, error) {
	files, err := filepath.Glob(filepath.Join(dir, "off-*.json"))
	if err != nil {
		return nil, err
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("there is no run with a memory limit in %s", dir)
	}
	var out []accuracy.Rung
	for _, file := range files {
		rec, r, err := readRun(dir, strings.TrimSuffix(filepath.Base(file), ".json"))
		if err != nil {
			return nil, err
		}
		if r.Failed != "" {
			continue
		}
		o, err := pacer.Measure(rec)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		out = append(out, rung(r, &o))
	}
	return out, nil
}

func rung(r Run, o *pacer.Outcome) accuracy.Rung {
	return accuracy.Rung{LimitBytes: float64(r.Setting.GOMEMLIMITBytes), GCShare: o.GCCPUCores / float64(r.CPUs), Limiter: o.LimiterEngaged}
}

func (c *collector) path(subject, release, file string) string {
	return filepath.Join(c.subjectDir(subject, release), file)
}

func (c *collector) subjectDir(subject, release string) string {
	return filepath.Join(c.dir, release, subject)
}

// setting runs a subject under one setting, unless that was done before and went
// well.
func (c *collector) setting(ctx context.Context, s subject.Subject, release string, setting ladder.Setting) error {
	if c.only != nil && !slices.Contains(c.only, setting.Name) {
		return nil
	}
	done := c.path(s.Name, release, setting.Name+".json")
	if r, err := readMeta(done); err == nil && r.Failed == "" {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(done), 0o755); err != nil {
		return err
	}
	r, err := c.record(ctx, s, release, setting)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil {
		// A program may not live under every setting; the others are still of use.
		r.Failed = err.Error()
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(done, append(text, '\n'), 0o644); err != nil {
		return err
	}
	fmt.Fprintf(c.out, "%s %-10s %-13s %v load %.2f, others %.2f cores; %s %s\n",
		release, s.Name, setting.Name, setting.Env(), r.LoadAfter, r.OtherCores, r.Said, r.Failed)
	return nil
}

// record makes one recording.
func (c *collector) record(ctx context.Context, s subject.Subject, release string, setting ladder.Setting) (Run, error) {
	window := c.window
	if setting == ladder.Calibration {
		window = c.calibration
	}
	r := Run{Subject: s.Name, GoVersion: release, Setting: setting, Seconds: window.Seconds(), Hz: c.hz, CPUs: runtime.NumCPU()}
	run, err := s.Start(ctx, release, setting.Env(), 2*window+4*time.Minute)
	if err != nil {
		return r, err
	}
	r.Started, r.LoadBefore = time.Now().UTC(), loadAverage()
	file := c.path(s.Name, release, setting.Name+".hwrec")
	before, err := usage(run.PID)
	if err == nil {
		cmd := exec.CommandContext(ctx, c.heapwright, "record", strconv.Itoa(run.PID), "--hz", fmt.Sprint(c.hz), "--for", window.String(), "--profiles", "0", "-o", file)
		cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
		if said, recErr := cmd.CombinedOutput(); recErr != nil {
			err = fmt.Errorf("recording: %w\n%s", recErr, said)
		}
	}
	elapsed := time.Since(r.Started).Seconds()
	if after, usageErr := usage(run.PID); err == nil && usageErr == nil {
		r.OtherCores = ((after.machine - before.machine) - (after.process - before.process)) / elapsed
	}
	r.LoadAfter = loadAverage()
	said, stopErr := run.Stop()
	r.Said = said
	return r, errors.Join(err, stopErr)
}

// A cpuUsage is CPU time in seconds, from some moment on.
type cpuUsage struct{ machine, process float64 }

// tick is the unit of CPU time in /proc, which is the same on all of Linux.
const tick = 0.01

func usage(pid int) (cpuUsage, error) {
	var u cpuUsage
	machine, err := os.ReadFile("/proc/stat")
	if err != nil {
		return u, err
	}
	line, _, _ := bytes.Cut(machine, []byte("\n"))
	// cpu user nice system idle iowait irq softirq steal
	for i, f := range strings.Fields(string(line)) {
		v, err := strconv.ParseFloat(f, 64)
		if i >= 1 && i <= 7 && i != 4 && i != 5 && err == nil {
			u.machine += v * tick
		}
	}
	process, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return u, err
	}
	// After the name in parentheses, the state is the first field, utime the twelfth.
	f := strings.Fields(string(process[bytes.LastIndexByte(process, ')')+1:]))
	if len(f) < 13 {
		return u, fmt.Errorf("/proc/%d/stat has %d fields", pid, len(f))
	}
	for _, field := range f[11:13] {
		v, err := strconv.ParseFloat(field, 64)
		if err != nil {
			return u, err
		}
		u.process += v * tick
	}
	return u, nil
}

// loadAverage is the machine's over the last minute, 0 where there is none.
func loadAverage() float64 {
	var v float64
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		fmt.Sscan(string(text), &v)
	}
	return v
}

// readRecording reads a file of one recording.
func readRecording(file string) (*record.Recording, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	all, err := record.ReadAll(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	if len(all) != 1 {
		return nil, fmt.Errorf("%s: %d recordings, want one", file, len(all))
	}
	return all[0], nil
}
