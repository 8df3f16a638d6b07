package api

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/setting"
	"github.com/heapwright/heapwright/cmd/internal/web"
	"github.com/heapwright/heapwright/record"
)

// A Change is what an operator asks for. The process is named by its PID and start too, so
// that one that took its place, or its PID, is not changed instead.
type Change struct {
	Process         string
	PID             int
	Started         time.Time // the process, as far as is known
	GOGCPercent     *int64    // nil: as it is
	GOMEMLIMITBytes *int64
	Lease           time.Duration // after which it is taken back
	DryRun          bool
	Reason          string // for the log
	Who             string
	// StormFloorBytes is the least GOMEMLIMIT at which the collector keeps up, 0 where
	// that is not known.
	StormFloorBytes int64
}

// An Outcome is what became of a change.
type Outcome struct {
	Outcome string    `json:"outcome"` // dry_run, changed, nothing_to_change, undone, nothing_to_undo
	Text    string    `json:"text"`    // for people
	PID     int       `json:"pid"`
	Until   Time      `json:"until"` // it is taken back then; null: there is nothing to take back
	Steps   []Written `json:"steps"`
	Notes   []string  `json:"notes"`
}

// A Written is a word of a process's memory.
type Written struct {
	Symbol  string `json:"symbol"`
	Address uint64 `json:"address"`
	Size    int    `json:"size_bytes"`
	Old     string `json:"old"`
	New     string `json:"new"`
}

// A Changer changes processes that run, and takes that back. Its errors are shown to
// the operator, with their hints.
type Changer interface {
	Change(ctx context.Context, c Change) (Outcome, error)
	Undo(ctx context.Context, process string, pid int, started time.Time, who, reason string) (Outcome, error)
}

const (
	minLease     = 10 * time.Second
	maxLease     = time.Hour
	defaultLease = 10 * time.Minute
	maxReason    = 200 // bytes
)

// mayChange says whether a request may change processes.
func (s *server) mayChange(r *http.Request) error {
	switch {
	case s.Changer == nil:
		return failf(http.StatusForbidden, "this agent only reads").hint("to let operators change processes set access.allow_changes, an operator token and an audit log in the agent's file, and restart it")
	case web.RoleOf(r.Context()) < web.Operator:
		return failf(http.StatusForbidden, "only operators may change a process").hint("sign in with an operator's token")
	}
	return nil
}

// word is a value that may be written as text or as a number.
type word string

// UnmarshalJSON implements json.Unmarshaler.
func (w *word) UnmarshalJSON(b []byte) error {
	var n json.Number
	if len(b) > 0 && b[0] != '"' {
		if err := json.Unmarshal(b, &n); err != nil {
			return err
		}
		*w = word(n)
		return nil
	}
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return err
	}
	*w = word(s)
	return nil
}

func (s *server) change(r *http.Request) (any, error) {
	if err := s.mayChange(r); err != nil {
		return nil, err
	}
	var ask struct {
		Process    string `json:"process"`
		PID        int    `json:"pid"` // 0 for whichever it is now
		GOGC       word   `json:"gogc"`
		GOMEMLIMIT word   `json:"gomemlimit"`
		Lease      int    `json:"lease_seconds"`
		DryRun     bool   `json:"dry_run"`
		Reason     string `json:"reason"`
	}
	if err := parseQuery(r, s.Now()).failure(); err != nil {
		return nil, err
	}
	if err := readBody(r, &ask); err != nil {
		return nil, err
	}
	p, err := s.changeable(ask.Process)
	if err != nil {
		return nil, err
	}
	if ask.PID != 0 && ask.PID != p.PID {
		return nil, failf(http.StatusConflict, "%s was process %d, and is process %d now", ask.Process, ask.PID, p.PID).hint("look at what would be written into it, and ask again")
	}
	c := Change{Process: ask.Process, PID: p.PID, Started: p.StartTime, DryRun: ask.DryRun, Reason: reason(ask.Reason), Who: web.WhoOf(r.Context()), Lease: defaultLease}
	if ask.GOGC != "" {
		n, err := setting.ParseGOGC(string(ask.GOGC))
		if err != nil {
			return nil, failf(http.StatusBadRequest, "gogc: %v", err)
		}
		c.GOGCPercent = &n
	}
	if ask.GOMEMLIMIT != "" {
		n, err := setting.ParseMemoryLimit(string(ask.GOMEMLIMIT))
		if err != nil {
			return nil, failf(http.StatusBadRequest, "gomemlimit: %v", err)
		}
		c.GOMEMLIMITBytes = &n
	}
	if ask.Lease != 0 {
		c.Lease = time.Duration(min(max(ask.Lease, -1), int(2*maxLease/time.Second))) * time.Second
	}
	switch {
	case c.GOGCPercent == nil && c.GOMEMLIMITBytes == nil:
		return nil, failf(http.StatusBadRequest, "neither gogc nor gomemlimit is given: there is nothing to change")
	case c.Lease < minLease || c.Lease > maxLease:
		return nil, failf(http.StatusBadRequest, "lease_seconds is not between %d and %d", minLease/time.Second, maxLease/time.Second)
	case c.Reason == "" && !c.DryRun:
		return nil, failf(http.StatusBadRequest, "a reason is missing").hint("it stands in the audit log")
	}
	c.StormFloorBytes = s.stormFloor(r.Context(), ask.Process)
	out, err := s.Changer.Change(r.Context(), c)
	if err != nil {
		return nil, unchanged(err)
	}
	return changeDocument(ask.Process, out), nil
}

// stormFloor is the least GOMEMLIMIT at which the collector of a process keeps up, 0
// where there is no twin that tells.
func (s *server) stormFloor(ctx context.Context, process string) (floor int64) {
	_ = s.ask(ctx, process, func(f *fitted) error { // without a twin a change is possible, as with the command line
		if v := f.twin.StormFloorBytes().Estimate; v > 0 && v < 1<<62 {
			floor = int64(v)
		}
		return nil
	})
	return floor
}

func (s *server) undo(r *http.Request) (any, error) {
	if err := s.mayChange(r); err != nil {
		return nil, err
	}
	var ask struct {
		Process string `json:"process"`
		Reason  string `json:"reason"`
	}
	if err := parseQuery(r, s.Now()).failure(); err != nil {
		return nil, err
	}
	if err := readBody(r, &ask); err != nil {
		return nil, err
	}
	p, err := s.changeable(ask.Process)
	if err != nil {
		return nil, err
	}
	out, err := s.Changer.Undo(r.Context(), ask.Process, p.PID, p.StartTime, web.WhoOf(r.Context()), reason(ask.Reason))
	if err != nil {
		return nil, unchanged(err)
	}
	return changeDocument(ask.Process, out), nil
}

// changeable is a process that runs.
func (s *server) changeable(id string) (*record.Process, error) {
	if err := checkProcessID(id); err != nil {
		return nil, err
	}
	p, err := s.watched(id)
	if err != nil {
		return nil, err
	}
	if !p.Up || p.Info.PID <= 0 {
		return nil, failf(http.StatusConflict, "%s has ended", id)
	}
	return &p.Info, nil
}

func reason(text string) string {
	if len(text) > maxReason {
		text = strings.ToValidUTF8(text[:maxReason], "")
	}
	return shown(text)
}

// unchanged is why a process was not changed.
func unchanged(err error) error {
	return &Error{Status: http.StatusUnprocessableEntity, Text: err.Error(), Help: hintOf(err)}
}

func changeDocument(process string, out Outcome) ChangeDocument {
	if out.Steps == nil {
		out.Steps = []Written{}
	}
	if out.Notes == nil {
		out.Notes = []string{}
	}
	return ChangeDocument{schemaChange, process, out}
}
