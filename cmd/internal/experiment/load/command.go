package load

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"
)

// commandSchema is the schema field of the line that a command prints.
// docs/formats/load.md is the contract.
const commandSchema = "heapwright.load/1"

// Bounds of what a command may print.
const (
	maxCommandOutput = 32 << 20
	maxLatencies     = 2_000_000
	maxRequests      = 1 << 50
)

// Phases of a load, for a command.
const (
	phaseWarmup  = "warmup"
	phaseMeasure = "measure"
)

// warmupSeconds is what a command that warms up is told to run for. It is ended
// before, when the measured window begins.
const warmupSeconds = 3600

// commands are loads that programs of the user's make: one a target, first for the
// warm-up, then for the window.
type commands struct {
	config Config

	mu     sync.Mutex
	runs   []*commandRun
	killed bool
}

// A commandRun is a command that was started.
type commandRun struct {
	*child
	name    string
	out     *capped
	stderr  *tail
	patient time.Time // until when its end is waited for
}

func startCommands(c Config) (*commands, error) {
	b := &commands{config: c}
	if err := b.run(phaseWarmup, warmupSeconds); err != nil {
		b.kill()
		return nil, err
	}
	return b, nil
}

// run starts the commands for a phase.
func (b *commands) run(phase string, seconds float64) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.killed {
		return errors.New("the load was ended")
	}
	b.runs = nil
	for i, t := range b.config.Targets {
		r, err := startCommand(expand(t.Command, b.config, i, phase, seconds))
		if err != nil {
			return err
		}
		r.patient = r.started.Add(b.patience())
		b.runs = append(b.runs, r)
	}
	return nil
}

func startCommand(argv []string) (*commandRun, error) {
	r := &commandRun{name: argv[0], out: &capped{}, stderr: &tail{}}
	cmd := exec.Command(argv[0], argv[1:]...)
	r.out.full = func() { killGroup(cmd.Process.Pid) }
	var err error
	r.child, err = spawn(cmd, r.out.read, r.stderr.read)
	return r, err
}

// expand puts in what is known of a run. Each target has another seed, below 2^31,
// which every language's generators of random numbers take.
func expand(argv []string, c Config, target int, phase string, seconds float64) []string {
	seed := uint64(mixed(c.Seed, uint64(target)) * (1 << 31))
	r := strings.NewReplacer(
		"{rate}", strconv.FormatFloat(c.Rate, 'f', -1, 64),
		"{seconds}", strconv.FormatFloat(seconds, 'f', -1, 64),
		"{seed}", strconv.FormatUint(seed, 10),
		"{phase}", phase,
	)
	out := slices.Clone(argv)
	for i := range out {
		out[i] = r.Replace(out[i])
	}
	return out
}

func (b *commands) measure() error {
	for _, r := range b.started() {
		select {
		case <-r.done:
			// One that has no need to warm anything up may end, but not fail.
			if r.err != nil {
				return r.failed("warm-up")
			}
		default:
			r.kill()
			<-r.done
		}
	}
	return b.run(phaseMeasure, b.config.Seconds)
}

func (b *commands) finish() ([]Report, error) {
	var reports []Report
	for _, r := range b.started() {
		t := time.NewTimer(time.Until(r.patient))
		defer t.Stop()
		select {
		case <-r.done:
		case <-t.C:
			return nil, fmt.Errorf("%s still runs %v after it was started for %v seconds; {seconds} in the command says for how long", r.name, b.patience(), b.config.Seconds)
		}
		switch {
		case r.out.over:
			return nil, fmt.Errorf("%s printed more than %d MiB to stdout", r.name, maxCommandOutput>>20)
		case r.err != nil:
			return nil, r.failed("load")
		}
		report, err := parseCommand(r.out.b)
		if err == nil {
			err = plausible(report, b.config.Seconds, r.took)
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w (docs/formats/load.md)", r.name, err)
		}
		report.Audit.CPUSeconds = (r.cmd.ProcessState.UserTime() + r.cmd.ProcessState.SystemTime()).Seconds()
		reports = append(reports, report)
	}
	return reports, nil
}

// patience is how long after its start the end of a command is waited for.
func (b *commands) patience() time.Duration {
	return time.Duration(b.config.Seconds*float64(time.Second)) + b.config.Timeout + wordPatience
}

// plausible holds what a command says it measured for against the clock.
func plausible(r Report, asked float64, took time.Duration) error {
	switch {
	case r.Seconds < asked/2:
		return fmt.Errorf("it says that it sent for %v seconds, and was asked for %v", r.Seconds, asked)
	case r.Seconds > took.Seconds()+1:
		return fmt.Errorf("it says that it sent for %v seconds, and ran for %.1f", r.Seconds, took.Seconds())
	}
	return nil
}

func (r *commandRun) failed(what string) error {
	said := errorText(errors.New(r.stderr.String()))
	if said == "" {
		said = "it printed nothing to stderr"
	}
	return fmt.Errorf("the %s command %s failed (%w): %s", what, r.name, r.err, said)
}

func (b *commands) started() []*commandRun {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.runs)
}

func (b *commands) kill() {
	b.mu.Lock()
	b.killed = true
	runs := b.runs
	b.mu.Unlock()
	for _, r := range runs {
		select {
		case <-r.done:
		default:
			r.kill()
			<-r.done
		}
	}
}

// capped keeps what it is given, up to maxCommandOutput.
type capped struct {
	b    []byte
	over bool
	full func() // called once, when there is more
}

func (c *capped) Write(b []byte) (int, error) {
	switch {
	case len(c.b)+len(b) <= maxCommandOutput:
		c.b = append(c.b, b...)
	case !c.over:
		c.over = true
		c.full()
	}
	return len(b), nil
}

func (c *capped) read(r io.Reader) { _, _ = io.Copy(c, r) }

// A commandLine is what a command prints. Pointers are to tell 0 from absent.
type commandLine struct {
	Schema    string    `json:"schema"`
	Requests  *uint64   `json:"requests"`
	Errors    *uint64   `json:"errors"`
	Seconds   *float64  `json:"seconds"`
	Histogram string    `json:"latency_us_histogram"`
	Latencies latencies `json:"latencies_us"`
	SlipP50   float64   `json:"slip_p50_seconds"`
	SlipP99   float64   `json:"slip_p99_seconds"`
	SlipMax   float64   `json:"slip_max_seconds"`
	First     string    `json:"first_error"`
}

// latencies are microseconds, not more than maxLatencies.
type latencies []float64

func (l *latencies) UnmarshalJSON(b []byte) error {
	if n := bytes.Count(b, []byte{','}) + 1; n > maxLatencies {
		return fmt.Errorf("latencies_us has %d values, and may have %d: report a latency_us_histogram", n, maxLatencies)
	}
	return json.Unmarshal(b, (*[]float64)(l))
}

// parseCommand reads what a command printed: one line of JSON.
func parseCommand(out []byte) (Report, error) {
	out = bytes.TrimSpace(out)
	switch {
	case len(out) == 0:
		return Report{}, errors.New("it printed nothing to stdout, where its report belongs")
	case bytes.ContainsAny(out, "\r\n"):
		return Report{}, errors.New("it printed several lines to stdout, where one line of JSON belongs")
	}
	var l commandLine
	d := json.NewDecoder(bytes.NewReader(out))
	d.DisallowUnknownFields()
	if err := d.Decode(&l); err != nil {
		return Report{}, fmt.Errorf("its report is not as it should be: %s", errorText(err))
	}
	if _, err := d.Token(); err != io.EOF {
		return Report{}, errors.New("something follows its report on the line")
	}
	switch {
	case l.Schema != commandSchema:
		return Report{}, fmt.Errorf("the schema of its report is %s, not %q", errorText(fmt.Errorf("%q", l.Schema)), commandSchema)
	case l.Requests == nil || l.Errors == nil || l.Seconds == nil:
		return Report{}, errors.New("its report lacks requests, errors or seconds")
	case *l.Requests > maxRequests:
		return Report{}, fmt.Errorf("%d requests are too many to be true", *l.Requests)
	case *l.Errors > *l.Requests:
		return Report{}, fmt.Errorf("there are more errors (%d) than requests (%d)", *l.Errors, *l.Requests)
	case !(*l.Seconds > 0 && *l.Seconds <= 2*MaxSeconds):
		return Report{}, fmt.Errorf("%v seconds are not between 0 and %d", *l.Seconds, 2*MaxSeconds)
	case (l.Histogram == "") == (l.Latencies == nil):
		return Report{}, errors.New("its report has one of latency_us_histogram and latencies_us")
	}
	for _, slip := range []float64{l.SlipP50, l.SlipP99, l.SlipMax} {
		if !(slip >= 0 && slip <= 2*MaxSeconds) {
			return Report{}, fmt.Errorf("a slip of %v seconds is not between 0 and %d", slip, 2*MaxSeconds)
		}
	}
	h, err := l.latency()
	if err != nil {
		return Report{}, err
	}
	good := *l.Requests - *l.Errors
	if n := uint64(h.TotalCount()); n < good || n > *l.Requests {
		return Report{}, fmt.Errorf("there are %d latencies of %d requests with %d errors: each request that was answered has one, and those that were given up on may", n, *l.Requests, *l.Errors)
	}
	r := Report{Requests: *l.Requests, Errors: *l.Errors, Answered: good, Seconds: *l.Seconds, Latency: h}
	r.Audit.Offered = float64(r.Requests) / r.Seconds
	r.Audit.SlipP50, r.Audit.SlipP99, r.Audit.SlipMax = l.SlipP50, l.SlipP99, l.SlipMax
	if l.First != "" {
		r.Audit.FirstError = errorText(errors.New(l.First))
	}
	return r, nil
}

// latency is the distribution that a command reports, in our geometry.
func (l *commandLine) latency() (*hdrhistogram.Histogram, error) {
	h := newHistogram()
	if l.Histogram != "" {
		theirs, err := hdrhistogram.Decode([]byte(l.Histogram))
		if err != nil {
			return nil, fmt.Errorf("latency_us_histogram is not a compressed HdrHistogram (V2) in base64: %s", errorText(err))
		}
		if n := theirs.TotalCount(); n < 0 || n > maxRequests {
			return nil, fmt.Errorf("latency_us_histogram has %d values", n)
		}
		if dropped := h.Merge(theirs); dropped > 0 { // beyond the end
			if err := h.RecordValues(histogramMax, dropped); err != nil {
				return nil, err
			}
		}
		return h, nil
	}
	for _, us := range l.Latencies {
		if us < 0 {
			return nil, fmt.Errorf("a latency of %v µs is less than nothing", us)
		}
		if err := h.RecordValue(int64(math.Min(us, float64(histogramMax)))); err != nil {
			return nil, err
		}
	}
	return h, nil
}
