package debugz

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"sync"
	"time"
	"unicode"

	"github.com/heapwright/heapwright/memlimit"
)

// OverrideSchema is the schema of the answer to a change.
const OverrideSchema = "heapwright.debugz.override/1"

const (
	maxBody = 4 << 10
	maxBy   = 64
	// defaultLease is how long an override lasts that does not say, longestLease how
	// long one can: what is to stay belongs into the configuration.
	defaultLease, longestLease = 5 * time.Minute, 24 * time.Hour
	// changesBurst may come at once, then one each changeEvery: each is a line in the
	// service's log.
	changesBurst = 10
	changeEvery  = 2 * time.Second
)

// An overrideRequest is the body of a POST.
type overrideRequest struct {
	GOGC         *int64  `json:"gogc_percent"`     // absent: as it is
	GOMEMLIMIT   *int64  `json:"gomemlimit_bytes"` // absent: as it is
	LeaseSeconds float64 `json:"lease_seconds"`
	By           string  `json:"by"`
	DryRun       bool    `json:"dry_run"`
}

type settingPair struct {
	GOGC       int   `json:"gogc_percent"`
	GOMEMLIMIT int64 `json:"gomemlimit_bytes"`
}

type overrideAnswer struct {
	Schema string          `json:"schema"`
	PID    int             `json:"pid"`
	DryRun bool            `json:"dry_run"`
	Was    settingPair     `json:"was"`
	Is     settingPair     `json:"is"` // as it would be, in a dry run
	Active *memlimit.Lease `json:"active"`
}

// check says what of a request cannot be.
func (o *overrideRequest) check() (lease time.Duration, no *refusal) {
	bad := func(format string, args ...any) (time.Duration, *refusal) {
		return 0, &refusal{http.StatusUnprocessableEntity, fmt.Sprintf(format, args...)}
	}
	switch {
	case o.GOGC == nil && o.GOMEMLIMIT == nil:
		return bad("neither gogc_percent nor gomemlimit_bytes is given")
	case o.GOGC != nil && (*o.GOGC < 1 || *o.GOGC > 100_000):
		return bad("gogc_percent is %d: 1 to 100000", *o.GOGC)
	case o.GOMEMLIMIT != nil && *o.GOMEMLIMIT <= 0:
		return bad("gomemlimit_bytes is %d: it has to be above 0, 9223372036854775807 is none", *o.GOMEMLIMIT)
	case o.By == "" || len(o.By) > maxBy:
		return bad("by has to say who asks, in 1 to %d bytes", maxBy)
	case !(o.LeaseSeconds >= 0 && o.LeaseSeconds <= longestLease.Seconds()):
		return bad("lease_seconds is %g: 1 to %g", o.LeaseSeconds, longestLease.Seconds())
	case o.LeaseSeconds > 0 && o.LeaseSeconds < 1:
		return bad("lease_seconds is %g: 1 to %g", o.LeaseSeconds, longestLease.Seconds())
	}
	for _, r := range o.By {
		if !unicode.IsPrint(r) {
			return bad("by has characters that cannot be printed")
		}
	}
	if o.LeaseSeconds == 0 {
		return defaultLease, nil
	}
	return time.Duration(o.LeaseSeconds * float64(time.Second)), nil
}

// A changer changes settings, one request at a time.
type changer struct {
	limit limiter
	log   *slog.Logger
	now   func() time.Time

	mu     sync.Mutex
	revert func() // of the override that was made here; nil for none
	by     string
	rate   bucket
}

// A bucket says how often something may be done: so often at once, and then once in
// some time. It begins full.
type bucket struct {
	tokens float64
	filled time.Time
}

// spend is false when it is too often.
func (b *bucket) spend(now time.Time, burst float64, every time.Duration) bool {
	if b.filled.IsZero() {
		b.tokens = burst
	} else if d := now.Sub(b.filled); d > 0 {
		b.tokens = min(burst, b.tokens+d.Seconds()/every.Seconds())
	}
	b.filled = now
	if b.tokens < 1 {
		return false
	}
	b.tokens--
	return true
}

func (h *handler) override(w http.ResponseWriter, r *http.Request) {
	c := h.changes
	switch {
	case c == nil:
		refuse(w, &refusal{http.StatusForbidden, "nothing can be changed here; Options.AllowChange, with a Limit, allows it"})
		return
	case r.Method != http.MethodPost && r.Method != http.MethodDelete:
		w.Header().Set("Allow", "POST, DELETE")
		refuse(w, &refusal{http.StatusMethodNotAllowed, "an override is made by POST and taken back by DELETE"})
		return
	}
	no := admitChange(r)
	var o overrideRequest
	if no == nil && r.Method == http.MethodPost {
		no = decode(w, r, &o)
	}
	if no != nil {
		refuse(w, no)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.rate.spend(c.now(), changesBurst, changeEvery) {
		w.Header().Set("Retry-After", fmt.Sprintf("%.0f", changeEvery.Seconds()))
		refuse(w, &refusal{http.StatusTooManyRequests, fmt.Sprintf("more than %d changes, and then one each %v, are too many", changesBurst, changeEvery)})
		return
	}
	a := overrideAnswer{Schema: OverrideSchema, PID: h.process.PID, DryRun: o.DryRun}
	was := c.limit.Report()
	a.Was = settingPair{was.GOGC, was.GOMEMLIMIT}
	if r.Method == http.MethodDelete {
		no = c.end(r, was)
	} else {
		no = c.make(r, &o, was)
	}
	if no != nil {
		refuse(w, no)
		return
	}
	is := c.limit.Report()
	a.Is, a.Active = settingPair{is.GOGC, is.GOMEMLIMIT}, is.Override
	if o.DryRun {
		if o.GOGC != nil {
			a.Is.GOGC = int(*o.GOGC)
		}
		if o.GOMEMLIMIT != nil {
			a.Is.GOMEMLIMIT = *o.GOMEMLIMIT
		}
	}
	writeJSON(w, http.StatusOK, a)
}

// decode reads a request: one JSON object, nothing unknown in it, nothing after it.
func decode(w http.ResponseWriter, r *http.Request, o any) *refusal {
	d := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxBody))
	d.DisallowUnknownFields()
	err := d.Decode(o)
	if err == nil {
		if _, end := d.Token(); end != io.EOF {
			err = fmt.Errorf("something follows the object")
		}
	}
	if err != nil {
		return &refusal{http.StatusBadRequest, "reading the request: " + err.Error()}
	}
	return nil
}

// make makes an override, or renews one of the same asker. With mu.
func (c *changer) make(r *http.Request, o *overrideRequest, was memlimit.Report) *refusal {
	lease, no := o.check()
	if no != nil {
		return no
	}
	active := was.Override
	if active != nil && (active.Who != o.By || c.revert == nil) {
		return &refusal{http.StatusConflict, fmt.Sprintf("%s has an override until %s; it ends by itself, or by DELETE", active.Who, active.Until.UTC().Format(time.RFC3339))}
	}
	gogc, gomemlimit := 0, int64(0)
	if o.GOGC != nil {
		gogc = int(*o.GOGC)
	}
	if o.GOMEMLIMIT != nil {
		gomemlimit = *o.GOMEMLIMIT
	}
	if o.DryRun {
		if err := c.limit.CheckOverride(gogc, gomemlimit, lease, o.By); err != nil {
			return &refusal{http.StatusConflict, err.Error()}
		}
		return nil
	}
	revert, err := c.limit.Override(gogc, gomemlimit, lease, o.By)
	if err != nil {
		c.audit(r, "settings were not overridden", was, o.By, slog.String("error", err.Error()))
		return &refusal{http.StatusConflict, err.Error()}
	}
	c.revert, c.by = revert, o.By
	text := "settings are overridden"
	if active != nil && active.GOGC == gogc && active.GOMEMLIMIT == gomemlimit {
		text = "the override of settings is renewed"
	}
	c.audit(r, text, was, o.By, slog.Duration("lease", lease))
	return nil
}

// end takes the override back, if there is one. With mu.
func (c *changer) end(r *http.Request, was memlimit.Report) *refusal {
	switch {
	case was.Override == nil:
		c.revert = nil
		return nil
	case c.revert == nil || was.Override.Who != c.by:
		return &refusal{http.StatusConflict, fmt.Sprintf("the override of %s was not made here", was.Override.Who)}
	}
	c.revert()
	c.revert = nil
	c.audit(r, "the override of settings was taken back", was, c.by)
	return nil
}

// audit leaves a line about a change.
func (c *changer) audit(r *http.Request, text string, was memlimit.Report, by string, more ...slog.Attr) {
	is := c.limit.Report()
	attrs := append([]slog.Attr{
		slog.String("by", by), slog.String("from", r.RemoteAddr),
		slog.Int("gogc_was", was.GOGC), slog.Int("gogc", is.GOGC),
		slog.Int64("gomemlimit_was", was.GOMEMLIMIT), slog.Int64("gomemlimit", is.GOMEMLIMIT),
	}, more...)
	c.log.LogAttrs(r.Context(), slog.LevelWarn, text, attrs...)
}
