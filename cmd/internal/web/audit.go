package web

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

const (
	// maxAudit is where the log becomes FILE.1, and what was that FILE.2, up to keptAudits.
	maxAudit   = 16 << 20
	keptAudits = 4
	// maxWhat bounds what a request's body may add to a line.
	maxWhat = 4 << 10
	// Strangers can have lines written: so many at once, then one a second. The lines of
	// operators are all written.
	strangerLines = 60
)

// An entry is a line of the audit log. What an operator asks for has two: one before
// it is done, and one after.
type entry struct {
	Time    time.Time `json:"time"`
	Request string    `json:"request"` // joins the lines of one request
	Who     string    `json:"who"`
	Role    string    `json:"role"`
	From    string    `json:"from"`
	Action  string    `json:"action"`         // method and path, "login", "logout"
	What    any       `json:"what,omitempty"` // the body, as JSON where it is JSON
	Status  int       `json:"status,omitempty"`
	Outcome string    `json:"outcome"` // "asked", "ok", or why not
	// Missed is how many lines of strangers were left out before this one.
	Missed int `json:"missed,omitempty"`
}

// auditLog is the file of what was changed, and by whom. It only grows, but for the
// oldest part, which goes when it is full.
type auditLog struct {
	path string
	now  func() time.Time

	mu     sync.Mutex
	f      *os.File // nil after Close
	size   int64
	budget budget
	missed int
}

func openAudit(path string, now func() time.Time) (*auditLog, error) {
	a := &auditLog{path: path, now: now, budget: budget{strangerLines, now()}}
	if err := a.open(); err != nil {
		return nil, err
	}
	return a, nil
}

func (a *auditLog) open() error {
	f, err := os.OpenFile(a.path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("opening the audit log: %w", err)
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("it is no regular file")
	}
	if err != nil {
		f.Close()
		return fmt.Errorf("opening the audit log %s: %w", a.path, err)
	}
	a.f, a.size = f, info.Size()
	return nil
}

// write adds a line, and returns when it is on disk. The lines of strangers may be
// left out, and are counted then.
func (a *auditLog) write(e entry, stranger bool) error {
	if a == nil {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.now()
	if stranger {
		left := min(strangerLines, a.budget.left+max(0, now.Sub(a.budget.at).Seconds()))
		if a.budget = (budget{left, now}); left < 1 {
			a.missed++
			return nil
		}
		a.budget.left--
	}
	if a.f == nil {
		return errors.New("writing the audit log: it is closed")
	}
	e.Time = now.UTC().Truncate(time.Millisecond)
	e.Who, e.From, e.Action, e.Outcome = clip(e.Who), clip(e.From), clip(e.Action), clip(e.Outcome)
	e.Missed = a.missed
	line, err := json.Marshal(e)
	if err != nil {
		return fmt.Errorf("writing the audit log: %w", err)
	}
	if a.size > 0 && a.size+int64(len(line)) >= maxAudit {
		if err := a.rotate(); err != nil {
			return err
		}
	}
	// One call: a line is whole, or the file ends in the middle of it.
	n, err := a.f.Write(append(line, '\n'))
	a.size += int64(n)
	if err == nil {
		err = a.f.Sync()
	}
	if err != nil {
		return fmt.Errorf("writing the audit log: %w", err)
	}
	a.missed = 0
	return nil
}

func (a *auditLog) rotate() error {
	for i := keptAudits; i > 0; i-- {
		from := a.path
		if i > 1 {
			from = fmt.Sprintf("%s.%d", a.path, i-1)
		}
		if err := os.Rename(from, fmt.Sprintf("%s.%d", a.path, i)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("putting the full audit log aside: %w", err)
		}
	}
	old := a.f
	if err := a.open(); err != nil {
		return err
	}
	return old.Close()
}

func (a *auditLog) close() error {
	if a == nil {
		return nil
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.f == nil {
		return nil
	}
	f := a.f
	a.f = nil
	return f.Close()
}

// what is a body as it goes into the log.
func what(body []byte) any {
	if len(body) == 0 {
		return nil
	}
	if len(body) <= maxWhat && json.Valid(body) {
		return json.RawMessage(body)
	}
	return clipTo(string(body), maxWhat)
}

func clip(s string) string { return clipTo(s, 512) }

func clipTo(s string, n int) string {
	if len(s) > n {
		for n > 0 && !utf8.RuneStart(s[n]) {
			n--
		}
		s = s[:n] + "…"
	}
	return strings.ToValidUTF8(s, "\uFFFD")
}
