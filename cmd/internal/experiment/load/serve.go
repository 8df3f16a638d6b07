package load

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"runtime/metrics"
	"sync"
	"syscall"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
)

// Verb is the hidden command of heapwright that is the generator: its process runs
// Serve. A test binary whose tests call Start has to run Serve under it too, in
// TestMain.
const Verb = "load"

// What the two processes say to each other are lines:
//
//	tool       {"Targets": ...}     the Config
//	generator  {"is":"sending"}     or {"is":"failed","text":...}, and the end
//	tool       measure
//	generator  {"is":"measuring"}
//	generator  {"is":"tick","tick":{...}}     again and again, where the Config asks for it
//	tool       stop
//	generator  {"is":"done","reports":[...]}
//
// The generator ends when its input does.
const (
	wordMeasure = "measure"
	wordStop    = "stop"

	isSending   = "sending"
	isMeasuring = "measuring"
	isTick      = "tick"
	isDone      = "done"
	isFailed    = "failed"

	maxConfigLine = 16 << 20
	maxReplyLine  = 16 << 20
)

// A reply is a line of the generator.
type reply struct {
	Is      string       `json:"is"`
	Text    string       `json:"text,omitempty"`
	Reports []wireReport `json:"reports,omitempty"`
	Tick    *wireTick    `json:"tick,omitempty"`
}

// A wireReport is a Report between the processes.
type wireReport struct {
	Requests uint64           `json:"requests"`
	Errors   uint64           `json:"errors"`
	Answered uint64           `json:"answered"`
	Waited   uint64           `json:"waited"`
	Seconds  float64          `json:"seconds"`
	Latency  string           `json:"latency"` // HdrHistogram V2, compressed, base64
	Audit    experiment.Audit `json:"audit"`
}

func (r Report) wire() (wireReport, error) {
	text, err := r.Latency.Encode(hdrhistogram.V2CompressedEncodingCookieBase)
	return wireReport{r.Requests, r.Errors, r.Answered, r.Waited, r.Seconds, string(text), r.Audit}, err
}

func (w wireReport) report() (Report, error) {
	h, err := hdrhistogram.Decode([]byte(w.Latency))
	return Report{w.Requests, w.Errors, w.Answered, w.Waited, w.Seconds, h, w.Audit}, err
}

// Serve is the generator: it reads a Config and commands from in, and says on out
// what it does. It returns when it was stopped, or when in ends.
func Serve(ctx context.Context, in io.Reader, out io.Writer) error {
	say := &sayer{to: json.NewEncoder(out)}
	lines := bufio.NewReaderSize(in, 64<<10)
	c, err := readConfig(lines)
	if err != nil {
		return fmt.Errorf("the generator of load is started by heapwright, not by hand: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	// Whoever started us may be gone at any time, also while we wait for answers.
	words := make(chan string)
	go func() {
		defer cancel()
		for {
			word, err := lines.ReadSlice('\n')
			if err != nil {
				return
			}
			select {
			case words <- string(word[:len(word)-1]):
			case <-ctx.Done():
				return
			}
		}
	}()
	lanes, err := connect(ctx, c)
	defer func() {
		for _, l := range lanes {
			l.sender.close()
		}
	}()
	if err != nil {
		return errors.Join(say.say(reply{Is: isFailed, Text: errorText(err)}), err)
	}
	if c.Every > 0 {
		for _, l := range lanes {
			l.tally = newTally()
		}
	}
	e := newEngine(ctx, newSchedule(c.Rate, len(lanes), c.Arrivals == experiment.Constant, c.Seed), lanes, c.Timeout)
	e.start()
	stopped := false
	defer func() {
		if !stopped {
			cancel()
			e.stop()
		}
	}()
	if err := say.say(reply{Is: isSending}); err != nil {
		return err
	}
	var before, after account
	endTicks := func() {}
	for _, want := range []string{wordMeasure, wordStop} {
		select {
		case <-ctx.Done():
			return errors.New("the tool that started the generator of load has ended")
		case word := <-words:
			if word != want {
				return fmt.Errorf("told %q, not %q", errorText(errors.New(word)), want)
			}
		}
		if want == wordMeasure {
			before = takeAccount()
			e.measure()
			if err := say.say(reply{Is: isMeasuring}); err != nil {
				return err
			}
			if c.Every > 0 {
				ticking, quiet := context.WithCancel(ctx)
				var said sync.WaitGroup
				said.Go(func() { e.tell(ticking, c.Every, say) })
				// No tick comes after the last word.
				defer said.Wait()
				defer quiet()
				endTicks = func() { quiet(); said.Wait() }
			}
		}
	}
	// What is still to be answered is waited for after the window: the account is of
	// the window.
	after = takeAccount()
	stopped = true
	e.stop()
	endTicks()
	if ctx.Err() != nil {
		return errors.New("the tool that started the generator of load has ended")
	}
	done := reply{Is: isDone}
	for _, l := range lanes {
		r := l.report(e.seconds())
		r.Audit.GCCycles = after.cycles - before.cycles
		r.Audit.CPUSeconds = after.cpu - before.cpu
		w, err := r.wire()
		if err != nil {
			return err
		}
		done.Reports = append(done.Reports, w)
	}
	return say.say(done)
}

// A sayer says one thing at a time.
type sayer struct {
	mu sync.Mutex
	to *json.Encoder
}

func (s *sayer) say(r reply) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.to.Encode(r)
}

// tell says ticks until the context ends.
func (e *engine) tell(ctx context.Context, every time.Duration, s *sayer) {
	t := time.NewTicker(every)
	defer t.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.C:
		}
		for i, l := range e.lanes {
			w := l.tick(e)
			w.Target = i
			if s.say(reply{Is: isTick, Tick: &w}) != nil {
				return // nobody listens, which the end of the input says too
			}
		}
	}
}

func readConfig(lines *bufio.Reader) (Config, error) {
	var line []byte
	for {
		part, err := lines.ReadSlice('\n')
		line = append(line, part...)
		if err == nil {
			break
		}
		if !errors.Is(err, bufio.ErrBufferFull) {
			return Config{}, err
		}
		if len(line) > maxConfigLine {
			return Config{}, fmt.Errorf("the description of the load is longer than %d MiB", maxConfigLine>>20)
		}
	}
	var c Config
	if err := json.Unmarshal(line, &c); err != nil {
		return c, err
	}
	return c, c.check()
}

// connect makes what sends to the targets.
func connect(ctx context.Context, c Config) ([]*lane, error) {
	var lanes []*lane
	for _, t := range c.Targets {
		var s sender
		var err error
		bound := c.Connections * streams
		switch {
		case t.HTTP != nil:
			if t.HTTP.Protocol == "http1" {
				bound = c.Connections
			}
			s, err = newHTTPSender(t.HTTP, c.Connections, c.Seed)
		case t.GRPC != nil:
			s, err = newGRPCSender(ctx, t.GRPC, c.Connections)
		default:
			err = errors.New("a command is not for the generator to run")
		}
		if err != nil {
			return lanes, err
		}
		lanes = append(lanes, newLane(s, bound))
	}
	return lanes, nil
}

// report is what came of a lane in the window.
func (l *lane) report(seconds float64) Report {
	l.mu.Lock()
	defer l.mu.Unlock()
	r := Report{Requests: l.requests, Errors: l.errors, Answered: l.answered, Waited: l.waited, Seconds: seconds, Latency: l.latency}
	if seconds > 0 {
		r.Audit.Offered = float64(l.requests) / seconds
	}
	r.Audit.SlipP50 = quantileSeconds(l.slip, 50)
	r.Audit.SlipP99 = quantileSeconds(l.slip, 99)
	r.Audit.SlipMax = float64(l.slip.Max()) / 1e6
	r.Audit.FirstError = errorText(l.first)
	return r
}

// An account is what this process took so far.
type account struct {
	cycles uint64
	cpu    float64 // seconds
}

func takeAccount() account {
	var a account
	s := []metrics.Sample{{Name: "/gc/cycles/total:gc-cycles"}}
	metrics.Read(s)
	if s[0].Value.Kind() == metrics.KindUint64 {
		a.cycles = s[0].Value.Uint64()
	}
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) == nil {
		a.cpu = seconds(u.Utime) + seconds(u.Stime)
	}
	return a
}

func seconds(t syscall.Timeval) float64 { return float64(t.Sec) + float64(t.Usec)/1e6 }
