package live

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// An Entry is a line of the log: one thing that was done to a process, or was
// refused half-way.
type Entry struct {
	Time    time.Time `json:"time"`
	Action  Action    `json:"action"`
	Tool    string    `json:"tool"`
	UID     int       `json:"uid"`
	User    string    `json:"user,omitempty"`
	PID     int       `json:"pid"`
	Start   uint64    `json:"start_ticks"`
	BootID  string    `json:"boot_id"`
	Exe     string    `json:"exe"`
	Words   []Step    `json:"words"`
	Why     string    `json:"why"`
	Outcome string    `json:"outcome"` // "ok", or what went wrong
}

// An Action is what was done.
type Action string

const (
	ActionApply  Action = "apply"
	ActionSample Action = "sample" // a sampling rate was set
	ActionAmend  Action = "amend"  // what was applied was changed again
	ActionKeep   Action = "keep"
	ActionRevert Action = "revert"
	ActionUndo   Action = "undo"
)

const (
	logName = "live.jsonl"
	// maxLog is where the log becomes live.jsonl.1, in place of the last such.
	maxLog = 4 << 20
	// maxLine bounds a line of it.
	maxLine = 32 << 10
)

// openLog opens the log for appending. It is opened before anything is written
// to a process, so that nothing is done that cannot be logged.
func (h Host) openLog() (*os.File, error) {
	if err := openDir(h.StateDir); err != nil {
		return nil, err
	}
	name := filepath.Join(h.StateDir, logName)
	if info, err := os.Lstat(name); err == nil && info.Size() > maxLog {
		// Two tools may do this at once: the second finds nothing, or a new file.
		if err := os.Rename(name, name+".1"); err != nil && !missing(err) {
			return nil, fmt.Errorf("putting the full log aside: %w", err)
		}
	}
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("opening the log: %w", err)
	}
	if err := checkOwn(name, false); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func (e *Entry) write(w io.Writer) error {
	e.Tool, e.User, e.Exe, e.Why, e.Outcome = clip(e.Tool), clip(e.User), clip(e.Exe), clip(e.Why), clip(e.Outcome)
	b, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("writing the log: %w", err)
	}
	// One call: lines of two tools do not mix.
	if _, err := w.Write(append(b, '\n')); err != nil {
		return fmt.Errorf("writing the log: %w", err)
	}
	return nil
}

// History returns what was done by this user, the oldest first, and how many
// lines of the log could not be understood.
func (h Host) History() (entries []Entry, skipped int, err error) {
	for _, name := range []string{logName + ".1", logName} {
		f, err := os.Open(filepath.Join(h.StateDir, name))
		if missing(err) {
			continue
		}
		if err != nil {
			return nil, 0, fmt.Errorf("reading the log: %w", err)
		}
		more, bad, err := parseLog(f)
		f.Close()
		if err != nil {
			return nil, 0, fmt.Errorf("reading the log: %w", err)
		}
		entries, skipped = append(entries, more...), skipped+bad
	}
	return entries, skipped, nil
}

// parseLog reads a log of any content. Texts in it are as somebody chose: they
// are for a terminal only when cleaned.
func parseLog(r io.Reader) (entries []Entry, skipped int, err error) {
	sc := bufio.NewScanner(io.LimitReader(r, 2*maxLog))
	sc.Buffer(make([]byte, 4<<10), maxLine)
	for sc.Scan() {
		line := bytes.TrimSpace(sc.Bytes())
		if len(line) == 0 {
			continue
		}
		var e Entry
		if err := json.Unmarshal(line, &e); err != nil || !e.sound() {
			skipped++
			continue
		}
		entries = append(entries, e)
	}
	if errors.Is(sc.Err(), bufio.ErrTooLong) {
		return entries, skipped + 1, nil // what follows such a line is not ours either
	}
	return entries, skipped, sc.Err()
}

func (e *Entry) sound() bool {
	switch e.Action {
	case ActionApply, ActionSample, ActionAmend, ActionKeep, ActionRevert, ActionUndo:
	default:
		return false
	}
	for _, s := range []string{e.Tool, e.User, e.BootID, e.Exe, e.Why, e.Outcome} {
		if len(s) > maxText {
			return false
		}
	}
	return e.PID > 0 && len(e.Words) <= maxWords && !e.Time.IsZero()
}
