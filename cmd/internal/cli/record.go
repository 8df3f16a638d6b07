package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spf13/pflag"

	"github.com/heapwright/heapwright/cmd/internal/gctrace"
	"github.com/heapwright/heapwright/cmd/internal/recorder"
	"github.com/heapwright/heapwright/cmd/internal/term"
	"github.com/heapwright/heapwright/record"
)

type recordOptions struct {
	json      bool
	out       string
	name      string
	over      time.Duration
	hz        float64
	snapshots time.Duration
	source    string
}

func recordCommand() command {
	var opt recordOptions
	return command{
		use:   "record PID|NAME|URL... | --name NAME | -- CMD [ARG...]",
		short: "a recording of one or several processes, for later",
		long: `
Records samples, every GC cycle, changes of settings, and now and then a heap
profile and all goroutines, until Ctrl-C, the end of the process, or --for.

A recording is written as it grows: one that is cut short can be read. Several
processes are recorded into a directory, a file each. --name waits for processes
of that name and follows each over restarts, in one file.

With a command, its stdin, stdout and stderr are its own, signals are passed on
to it, and its exit status is ours; the summary goes to stderr. With --json the
document has stdout, and the command's stdout goes to stderr. The command itself
is recorded, not what it starts; --for ends the recording, not the command.`,
		example: `
  heapwright record 4123 --for 30s
  heapwright record -o today/ 4123 4207
  heapwright record --name api-server -o api.hwrec
  heapwright record http://10.0.0.7:6060/debug/pprof --for 5m --hz 1
  heapwright record -o run.hwrec -- ./api-server --port 8080`,
		flags: func(f *pflag.FlagSet) {
			f.StringVarP(&opt.out, "output", "o", "", "recording `FILE` (- is stdout), or a directory (default NAME-PID.hwrec)")
			f.DurationVar(&opt.over, "for", 0, "end the recording after this long (default: when the process ends, or Ctrl-C)")
			hzFlag(f, &opt.hz)
			f.DurationVar(&opt.snapshots, "profiles", recorder.DefaultSnapshots, "heap profile and goroutines this often, and at the start and end; 0 for none")
			f.StringVar(&opt.name, "name", "", "record processes of this `NAME`, over restarts")
			f.StringVar(&opt.source, "source", sourceAuto, "how a command is read: "+strings.Join(sources, ", "))
			jsonFlag(f, &opt.json)
		},
		complete:      completeTargets,
		completeFlags: map[string][]string{"source": sources},
		run: func(ctx context.Context, env Env, args arguments) error {
			return recordRun(ctx, env, opt, args)
		},
	}
}

// The sources of a recorded command.
const (
	sourceAuto    = "auto"    // memory where it can be read, else gctrace
	sourceRemote  = "remote"  // the process's memory
	sourceGCTrace = "gctrace" // what GODEBUG=gctrace=1 makes it print
)

var sources = []string{sourceAuto, sourceRemote, sourceGCTrace}

func (o recordOptions) check(args arguments) error {
	if o.over < 0 || o.snapshots < 0 || o.hz < 0 {
		return usagef("record", "--for, --profiles and --hz must not be negative")
	}
	if err := oneOf("record", "source", o.source, sources); err != nil {
		return err
	}
	ways := 0
	for _, given := range []bool{len(args.targets) > 0, o.name != "", len(args.command) > 0} {
		if given {
			ways++
		}
	}
	switch {
	case ways != 1:
		return usagef("record", "record takes processes, or --name, or a command after --, and just one of these")
	case o.source != sourceAuto && len(args.command) == 0:
		return usagef("record", "--source is about a command; other processes are read from memory, URLs by HTTP")
	}
	return nil
}

func recordRun(ctx context.Context, env Env, opt recordOptions, args arguments) error {
	if err := opt.check(args); err != nil {
		return err
	}
	s := &session{env: env, opt: opt, progress: env.progress(), start: env.Now(), tried: map[lifeKey]int{}}
	if opt.over > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, opt.over)
		defer cancel()
	}
	var err error
	switch {
	case len(args.command) > 0:
		err = s.command(ctx, args.command)
	case opt.name != "":
		err = s.follow(ctx)
	default:
		err = s.targets(ctx, args.targets)
	}
	s.progress.Clear()
	for _, l := range s.lanes {
		if cerr := l.close(); cerr != nil && l.err == nil {
			l.err = cerr
		}
	}
	summary := env.Stdout
	if (len(args.command) > 0 || opt.out == "-") && !opt.json {
		summary = env.Stderr
	}
	if perr := s.print(summary); err == nil {
		err = perr
	}
	if err == nil {
		err = s.failure()
	}
	if s.status == nil {
		return err
	}
	// A command ran: its status is ours, whatever became of the recording.
	if err != nil {
		printError(env.Stderr, err)
	}
	return exitWith(*s.status)
}

// A session is one run of record: a lane for every file.
type session struct {
	env    Env
	opt    recordOptions
	start  time.Time
	status *ExitCode // of the command that was recorded; nil without one

	mu       sync.Mutex
	tried    map[lifeKey]int // by --name
	lanes    []*lane
	progress *term.Progress
	shown    time.Time
	wg       sync.WaitGroup
}

// A lane is a file and what is recorded into it: one process, or one after
// another.
type lane struct {
	path string
	file io.Closer
	w    *record.Writer

	// The rest belongs to the session's lock while the lane runs.
	process record.Process
	busy    bool
	lives   int
	before  recorder.Summary // of the lives that ended
	now     recorder.Summary // of the life that runs
	last    reading
	hist    history
	err     error
}

// total is the sum over the lives of a lane.
func (l *lane) total() recorder.Summary {
	t := l.before
	t.Samples += l.now.Samples
	t.Cycles += l.now.Cycles
	t.LostCycles += l.now.LostCycles
	t.Failed += l.now.Failed
	t.Snapshots += l.now.Snapshots
	if l.now.LastError != "" {
		t.LastError = l.now.LastError
	}
	if t.Start.IsZero() {
		t.Start = l.now.Start
	}
	if !l.now.End.IsZero() {
		t.End = l.now.End
	}
	t.Exited = l.now.Exited
	return t
}

func (l *lane) close() error {
	if l.w == nil || l.lives == 0 {
		return nil
	}
	err := l.w.Close()
	if cerr := l.file.Close(); err == nil {
		err = cerr
	}
	return err
}

// lane opens a file for a process. Several says that there are more.
func (s *session) lane(p record.Process, several bool) (*lane, error) {
	l := &lane{process: p}
	if s.opt.out == "-" {
		if several {
			return nil, usagef("record", "stdout takes one recording; give -o a directory for several")
		}
		l.path, l.file, l.w = "-", io.NopCloser(nil), record.NewWriter(s.env.Stdout)
		return l, nil
	}
	dir := ""
	switch st, err := os.Stat(s.opt.out); {
	case s.opt.out == "":
	case several || strings.HasSuffix(s.opt.out, string(os.PathSeparator)):
		dir = s.opt.out
		if err := os.MkdirAll(dir, 0o777); err != nil {
			return nil, fmt.Errorf("making a directory for the recordings: %w", err)
		}
	case err == nil && st.IsDir():
		dir = s.opt.out
	default:
		l.path = s.opt.out
		f, err := os.Create(l.path)
		if err != nil {
			return nil, fmt.Errorf("creating the recording: %w", err)
		}
		l.file, l.w = f, record.NewWriter(f)
		return l, nil
	}
	f, err := createNew(dir, p)
	if err != nil {
		return nil, fmt.Errorf("creating the recording: %w", err)
	}
	l.path, l.file, l.w = f.Name(), f, record.NewWriter(f)
	return l, nil
}

// createNew creates NAME-PID.hwrec, or the next free NAME-PID-N.hwrec: a name
// that the user did not choose never overwrites anything.
func createNew(dir string, p record.Process) (*os.File, error) {
	base := fileName(p)
	for n := 1; ; n++ {
		name := base + ".hwrec"
		if n > 1 {
			name = fmt.Sprintf("%s-%d.hwrec", base, n)
		}
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o666)
		if err == nil || !errors.Is(err, os.ErrExist) || n == 1000 {
			return f, err
		}
	}
}

// fileName is NAME-PID with nothing in it that is special to a shell or a file
// system: the name comes from the process.
func fileName(p record.Process) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '_', r == '-':
			return r
		}
		return '_'
	}, p.Name)
	name = strings.TrimLeft(name, ".-")
	if name == "" {
		name = "process"
	}
	if len(name) > 64 {
		name = name[:64]
	}
	if p.PID == 0 {
		return name
	}
	return fmt.Sprintf("%s-%d", name, p.PID)
}

// life records one process into a lane, to its end or that of the context.
func (s *session) life(ctx context.Context, l *lane, t Target) {
	defer t.Close()
	s.mu.Lock()
	l.process = t.Process()
	l.lives++
	s.mu.Unlock()
	opt := recorder.Options{Hz: rate(s.opt.hz, t), Snapshots: s.opt.snapshots, Observe: func(sample *record.Sample, sum recorder.Summary) {
		s.observe(l, sample, sum)
	}}
	if opt.Snapshots == 0 {
		opt.Snapshots = -1
	}
	sum, err := recorder.Record(ctx, t, t.Process(), l.w, opt)
	s.mu.Lock()
	defer s.mu.Unlock()
	l.now = sum
	l.before, l.now = l.total(), recorder.Summary{}
	l.now.Exited = sum.Exited
	if err != nil {
		l.err = err
	}
	l.busy = false
}

// observe takes a reading for the summary and moves the progress line.
func (s *session) observe(l *lane, sample *record.Sample, sum recorder.Summary) {
	s.mu.Lock()
	defer s.mu.Unlock()
	l.now = sum
	if sample != nil {
		l.last = readingOf(sample)
		l.hist.add(l.last)
	}
	s.show()
}

// show moves the progress line, at most five times a second. The lock is held.
func (s *session) show() {
	now := s.env.Now()
	if !s.progress.Active() || now.Sub(s.shown) < 200*time.Millisecond {
		return
	}
	s.shown = now
	s.progress.Show(s.line(now))
}

func (s *session) line(now time.Time) string {
	var b strings.Builder
	elapsed := now.Sub(s.start)
	if len(s.lanes) == 1 {
		fmt.Fprintf(&b, "recording %s  ", term.Cut(term.Clean(s.lanes[0].process.Name), 16))
	} else {
		fmt.Fprintf(&b, "recording %s  ", plural(len(s.lanes), "process"))
	}
	b.WriteString(span(elapsed))
	if s.opt.over > 0 {
		fmt.Fprintf(&b, " of %s %s", span(s.opt.over), term.Bar(elapsed.Seconds(), s.opt.over.Seconds(), 8))
	}
	samples, cycles := 0, 0
	for _, l := range s.lanes {
		t := l.total()
		samples += t.Samples
		cycles += t.Cycles
	}
	if len(s.lanes) == 1 {
		b.WriteString(s.lanes[0].last.text())
	} else {
		fmt.Fprintf(&b, "  %s", plural(samples, "sample"))
	}
	fmt.Fprintf(&b, "  %s", plural(cycles, "GC"))
	return b.String()
}

// targets records processes and endpoints that are there now.
func (s *session) targets(ctx context.Context, args []string) error {
	var failed error
	var open []Target
	for _, arg := range args {
		ref, err := parseTarget(ctx, s.env, arg, false)
		var t Target
		if err == nil {
			t, err = ref.watch(ctx, s.env)
		}
		if err != nil {
			if len(args) == 1 {
				return err
			}
			printError(s.env.Stderr, fmt.Errorf("%s: %w", arg, err))
			failed = fmt.Errorf("not all of the processes could be recorded")
			continue
		}
		open = append(open, t)
	}
	for _, t := range open {
		l, err := s.lane(t.Process(), len(args) > 1)
		if err != nil {
			for _, t := range open {
				t.Close()
			}
			return err
		}
		s.lanes = append(s.lanes, l)
	}
	for i, t := range open {
		s.wg.Add(1)
		go func() {
			defer s.wg.Done()
			s.life(ctx, s.lanes[i], t)
		}()
	}
	s.wg.Wait()
	return failed
}

// follow records every process of a name, and those that come after it.
func (s *session) follow(ctx context.Context) error {
	single := s.opt.out != "" && !strings.HasSuffix(s.opt.out, string(os.PathSeparator))
	if st, err := os.Stat(s.opt.out); err == nil && st.IsDir() {
		single = false
	}
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	defer s.wg.Wait()
	for {
		entries, err := s.env.Host.Processes(ctx)
		if err != nil && ctx.Err() == nil {
			return err
		}
		for _, e := range entries {
			if e.Process.Name != s.opt.name || e.Err != nil || e.Process.PID == os.Getpid() || !s.wants(e.Process) {
				continue
			}
			if err := s.join(ctx, e.Process, single); err != nil {
				return err
			}
		}
		s.mu.Lock()
		if len(s.lanes) == 0 {
			s.progress.Show("waiting for a process named " + term.Clean(s.opt.name))
		}
		s.mu.Unlock()
		select {
		case <-ctx.Done():
			s.wg.Wait()
			if len(s.lanes) == 0 {
				return hinted(fmt.Errorf("no process named %s came up", s.opt.name), "heapwright ps lists the Go processes here")
			}
			return nil
		case <-tick.C:
		}
	}
}

// A lifeKey tells one life of a process from others.
type lifeKey struct {
	pid   int
	start time.Time
}

func keyOf(p record.Process) lifeKey { return lifeKey{p.PID, p.StartTime} }

// attempts is how often a process is tried before it is given up: the first time
// it may still be starting.
const attempts = 3

// wants reports whether a process is to be recorded and is not.
func (s *session) wants(p record.Process) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.tried[keyOf(p)] < attempts
}

// settle notes that a process is not to be tried any more, or that it is to be
// tried anew: it has ended, or runs another program under the same PID.
func (s *session) settle(p record.Process, again bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if again {
		delete(s.tried, keyOf(p))
		return
	}
	s.tried[keyOf(p)] = attempts
}

// join records a process into a lane that has nothing to do any more, or a new one.
func (s *session) join(ctx context.Context, p record.Process, single bool) error {
	t, err := s.env.Host.Attach(ctx, p.PID)
	if err != nil {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.tried[keyOf(p)]++
		if s.tried[keyOf(p)] == attempts && !isEnded(err) && ctx.Err() == nil {
			s.progress.Clear()
			printError(s.env.Stderr, fmt.Errorf("%s %d: %w", p.Name, p.PID, err))
		}
		return nil
	}
	s.settle(p, false)
	s.mu.Lock()
	defer s.mu.Unlock()
	var l *lane
	for _, have := range s.lanes {
		if !have.busy {
			l = have
			break
		}
	}
	if l == nil && single && len(s.lanes) > 0 {
		t.Close()
		s.progress.Clear()
		printError(s.env.Stderr, hinted(fmt.Errorf("not recording %s %d as well: -o names one file", p.Name, p.PID), "give -o a directory to record them all"))
		return nil
	}
	if l == nil {
		if l, err = s.lane(p, false); err != nil {
			t.Close()
			return err
		}
		s.lanes = append(s.lanes, l)
	}
	l.busy = true
	s.wg.Add(1)
	go func() {
		defer s.wg.Done()
		s.life(ctx, l, t)
		s.settle(p, l.err == nil)
	}()
	return nil
}

// command runs a command and records it, over every program that it execs.
func (s *session) command(ctx context.Context, argv []string) error {
	stdout := s.env.Stdout
	if s.opt.json || s.opt.out == "-" {
		stdout = s.env.Stderr
	}
	// What the command prints and our progress do not mix.
	s.progress = &term.Progress{}
	byTrace, err := s.chooseSource(argv[0])
	if err != nil {
		return err
	}
	if byTrace {
		return s.traced(ctx, argv, stdout)
	}
	c, err := startChild(s.env, argv, stdout, s.env.Stderr, nil)
	if err != nil {
		return err
	}
	err = s.lives(ctx, c)
	<-c.done
	s.status = &c.code
	return err
}

// chooseSource decides whether a command is recorded by its trace, and says so
// where the user left it to us.
func (s *session) chooseSource(exe string) (byTrace bool, err error) {
	unreadable := s.env.Host.Readable(exe)
	switch {
	case s.opt.source == sourceGCTrace:
		return true, nil
	case unreadable == nil:
		return false, nil
	case s.opt.source == sourceRemote:
		return false, unreadable
	}
	s.env.warnf("the memory of %s cannot be read (%v): recording what GODEBUG=gctrace=1 makes it print", exe, unreadable)
	return true, nil
}

// traced records a command by the GC trace that it prints to its stderr, which
// is taken out of it.
func (s *session) traced(ctx context.Context, argv []string, stdout io.Writer) error {
	var t trace
	environ, asked := gctrace.Environ(os.Environ())
	stderr := gctrace.NewSplitter(s.env.Stderr, t.line)
	stderr.Forward = asked
	t.start(s.env.Now())
	c, err := startChild(s.env, argv, stdout, stderr, environ)
	if err != nil {
		return err
	}
	target := newTraceTarget(&t, c)
	l, err := s.lane(target.process, false)
	if err == nil {
		s.lanes = append(s.lanes, l)
		s.life(ctx, l, target)
	}
	<-c.done
	s.status = &c.code
	return errors.Join(err, stderr.Flush())
}

// lives records a command as long as it runs and can be read.
func (s *session) lives(ctx context.Context, c *child) error {
	for c.running() && ctx.Err() == nil {
		t, err := c.attach(ctx, s.env)
		if err != nil {
			if len(s.lanes) > 0 {
				return nil
			}
			return fmt.Errorf("nothing was recorded of the command: %w", err)
		}
		if len(s.lanes) == 0 {
			l, err := s.lane(t.Process(), false)
			if err != nil {
				t.Close()
				return err
			}
			s.lanes = append(s.lanes, l)
		}
		s.life(ctx, s.lanes[0], t)
		if s.lanes[0].err != nil {
			return nil
		}
	}
	return nil
}

// failure is the error of a recording in which something went wrong.
func (s *session) failure() error {
	for _, l := range s.lanes {
		if l.err != nil {
			return fmt.Errorf("recording %s: %w", l.process.Name, l.err)
		}
	}
	return nil
}

type recordDocument struct {
	Schema     string           `json:"schema"`
	Recordings []recordedObject `json:"recordings"`
	// CommandExitStatus is that of the command that was recorded, if there was one.
	CommandExitStatus *ExitCode `json:"command_exit_status"`
}

type recordedObject struct {
	File              string    `json:"file"`
	PID               int       `json:"pid"`
	Name              string    `json:"name"`
	Lives             int       `json:"lives"`
	StartTime         time.Time `json:"start_time"`
	DurationSeconds   float64   `json:"duration_seconds"`
	Samples           int       `json:"samples"`
	GCCycles          int       `json:"gc_cycles"`
	LostGCCycles      uint64    `json:"lost_gc_cycles"`
	Snapshots         int       `json:"snapshots"`
	FailedReadings    int       `json:"failed_readings"`
	ProcessExited     bool      `json:"process_exited"`
	HeapLivePeakBytes *uint64   `json:"heap_live_peak_bytes"`
	RSSPeakBytes      *uint64   `json:"rss_peak_bytes"`
	Error             *string   `json:"error"`
}

func (l *lane) peak(v func(reading) float64) *uint64 {
	top := math.NaN()
	for _, r := range append(l.hist.readings[:len(l.hist.readings):len(l.hist.readings)], l.hist.skipped...) {
		if x := v(r); x > top || math.IsNaN(top) {
			top = x
		}
	}
	if math.IsNaN(top) {
		return nil
	}
	n := uint64(top)
	return &n
}

// print writes what was recorded.
func (s *session) print(w io.Writer) error {
	if s.opt.json {
		doc := recordDocument{Schema: schemaRecord, Recordings: []recordedObject{}, CommandExitStatus: s.status}
		for _, l := range s.lanes {
			t := l.total()
			o := recordedObject{
				File: l.path, PID: l.process.PID, Name: l.process.Name, Lives: l.lives, StartTime: t.Start,
				DurationSeconds: t.End.Sub(t.Start).Seconds(), Samples: t.Samples, GCCycles: t.Cycles, LostGCCycles: t.LostCycles,
				Snapshots: t.Snapshots, FailedReadings: t.Failed, ProcessExited: t.Exited,
				HeapLivePeakBytes: l.peak(func(r reading) float64 { return r.live }), RSSPeakBytes: l.peak(func(r reading) float64 { return r.rss }),
			}
			if l.err != nil {
				text := oneLine(l.err.Error())
				o.Error = &text
			}
			doc.Recordings = append(doc.Recordings, o)
		}
		return writeJSON(w, doc)
	}
	for i, l := range s.lanes {
		if i > 0 {
			fmt.Fprintln(w)
		}
		t := l.total()
		parts := []string{span(t.End.Sub(t.Start)), plural(t.Samples, "sample"), plural(t.Cycles, "GC cycle")}
		if t.Snapshots > 0 {
			parts = append(parts, plural(t.Snapshots, "snapshot"))
		}
		if l.lives > 1 {
			parts = append(parts, fmt.Sprintf("%d lives of the process", l.lives))
		}
		if t.LostCycles > 0 {
			parts = append(parts, fmt.Sprintf("%d cycles lost", t.LostCycles))
		}
		if t.Failed > 0 {
			parts = append(parts, plural(t.Failed, "failed reading"))
		}
		if t.Exited {
			parts = append(parts, "the process ended")
		}
		fmt.Fprintf(w, "%s: %s\n", s.env.painter(w).Paint(term.Bold, term.Clean(l.path)), strings.Join(parts, ", "))
		if err := l.hist.draw(w, s.env.textColumns(w), s.env.painter(w)); err != nil {
			return err
		}
	}
	return nil
}
