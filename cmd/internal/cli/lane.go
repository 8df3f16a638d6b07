package cli

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/recorder"
	"github.com/heapwright/heapwright/cmd/internal/term"
	"github.com/heapwright/heapwright/record"
)

// A lane is a file and what is recorded into it: one process, or one after
// another.
type lane struct {
	path string
	file io.Closer
	w    *recorder.File

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
		l.path, l.file, l.w = "-", io.NopCloser(nil), recorder.NewFile(s.env.Stdout)
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
		l.file, l.w = f, recorder.NewFile(f)
		return l, nil
	}
	f, err := createNew(dir, p)
	if err != nil {
		return nil, fmt.Errorf("creating the recording: %w", err)
	}
	l.path, l.file, l.w = f.Name(), f, recorder.NewFile(f)
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
