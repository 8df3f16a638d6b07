package keeper

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
)

// An Entry is a line of the log: one thing that was done to a process.
type Entry struct {
	Time    time.Time  `json:"time"`
	Action  Action     `json:"action"`
	Tool    string     `json:"tool"`
	UID     int        `json:"uid"`
	PID     int        `json:"pid"`
	Start   uint64     `json:"start_ticks"`
	BootID  string     `json:"boot_id"`
	Name    string     `json:"name"`
	Plan    string     `json:"plan"`
	Fault   string     `json:"fault,omitempty"`
	Kind    chaos.Kind `json:"kind,omitempty"`
	Level   float64    `json:"level,omitempty"`
	Why     string     `json:"why,omitempty"`
	Outcome string     `json:"outcome"` // "ok", or what went wrong
	// Took is how long it took to undo everything, from when that was decided.
	Took float64 `json:"took_seconds,omitempty"`
}

// An Action is what was done.
type Action string

// The actions.
const (
	ActionBegin Action = "begin" // a fault
	ActionEnd   Action = "end"   // of a fault: it is undone
	ActionAbort Action = "abort" // everything was undone
	ActionSweep Action = "sweep" // what a run that was killed had left was undone
)

const (
	logName = "stress.jsonl"
	// maxLog is where the log becomes stress.jsonl.1, in place of the last such.
	maxLog = 4 << 20
	// waiting is how many lines may wait to be written.
	waiting = 256
)

// A log is the file that says what was done to whom. It is beside that of package live,
// whose lines are of words in a process's memory.
type log struct {
	base Entry

	lines chan Entry
	done  chan struct{}

	mu     sync.Mutex
	f      *os.File
	closed bool
}

// openLog opens the log, before anything is done.
func openLog(dir string) (*log, error) {
	if err := openDir(dir); err != nil {
		return nil, err
	}
	name := filepath.Join(dir, logName)
	if info, err := os.Lstat(name); err == nil && info.Size() > maxLog {
		// Two keepers may do this at once: the second finds nothing, or a new file.
		if err := os.Rename(name, name+".1"); err != nil && !missing(err) {
			return nil, fmt.Errorf("putting the full log aside: %w", err)
		}
	}
	f, err := openOwn(name, os.O_WRONLY|os.O_APPEND|os.O_CREATE)
	if err != nil {
		return nil, fmt.Errorf("opening the log: %w", err)
	}
	l := &log{f: f, lines: make(chan Entry, waiting), done: make(chan struct{})}
	go func() {
		defer close(l.done)
		for e := range l.lines {
			_ = l.write(e) // what was done is undone: there is nobody left to tell
		}
	}()
	return l, nil
}

// write writes a line.
func (l *log) write(e Entry) error {
	b := l.base
	e.Time, e.Tool, e.UID, e.PID, e.Start, e.BootID, e.Name, e.Plan = time.Now().UTC(), b.Tool, b.UID, b.PID, b.Start, b.BootID, b.Name, b.Plan
	e.Fault, e.Kind, e.Why, e.Outcome = clip(e.Fault), chaos.Kind(clip(string(e.Kind))), clip(e.Why), clip(e.Outcome)
	text, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("writing the log: %w", err)
	}
	// One call: lines of two keepers, or of two goroutines, do not mix.
	if _, err := l.f.Write(append(text, '\n')); err != nil {
		return fmt.Errorf("writing the log: %w", err)
	}
	return nil
}

// put has a line written, without waiting for it.
func (l *log) put(e Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	select {
	case l.lines <- e:
	default:
	}
}

// close waits for what is still to be written.
func (l *log) close() {
	l.mu.Lock()
	l.closed = true
	close(l.lines)
	l.mu.Unlock()
	<-l.done
	l.f.Close()
}
