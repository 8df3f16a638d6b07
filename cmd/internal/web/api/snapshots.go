package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/vault"
	"github.com/heapwright/heapwright/record"
)

const (
	snapEvery = 10 * time.Second // at most one for each process
	maxWait   = 20 * time.Second // for one
	maxBody   = 64 << 10         // bytes of a request
	maxListed = 5000             // snapshots in one answer, the latest
)

func snapshotRow(e *vault.Entry) SnapshotRow {
	return SnapshotRow{Key: e.Key, Time: Time{e.Time}, Reason: shown(e.Reason), Bytes: e.Bytes, Goroutines: e.Goroutines,
		HeapInUseBytes: counted(e.HeapInUseBytes), Kinds: append([]string{}, e.Kinds...)}
}

func (s *server) snapshots(r *http.Request) (any, error) {
	q := parseQuery(r, s.Now(), "process", "from", "to")
	process := q.process()
	from, to := q.spanOr("")
	if err := q.failure(); err != nil {
		return nil, err
	}
	if !q.has("to") {
		to = time.Time{} // one that was taken this moment counts, whatever the clocks say
	}
	doc := SnapshotsDocument{Schema: schemaSnapshots, Process: process, Snapshots: []SnapshotRow{}}
	entries := s.Vault.List(process, from, to)
	for _, e := range entries[max(len(entries)-maxListed, 0):] {
		doc.Snapshots = append(doc.Snapshots, snapshotRow(&e))
	}
	return doc, nil
}

// readBody reads the JSON of a request. That it has to say that it is JSON keeps forms
// of other sites out.
func readBody(r *http.Request, into any) error {
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil || kind != "application/json" {
		return failf(http.StatusUnsupportedMediaType, "the request has to be JSON").hint("send it with Content-Type: application/json")
	}
	dec := json.NewDecoder(io.LimitReader(r.Body, maxBody))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return failf(http.StatusBadRequest, "the request cannot be read: %v", err)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return failf(http.StatusBadRequest, "the request has more than one document, or more than %d bytes", maxBody)
	}
	return nil
}

// snap takes a snapshot now.
func (s *server) snap(r *http.Request) (any, error) {
	var ask struct {
		Process string `json:"process"`
	}
	if err := parseQuery(r, s.Now()).failure(); err != nil {
		return nil, err
	}
	if err := readBody(r, &ask); err != nil {
		return nil, err
	}
	if err := checkProcessID(ask.Process); err != nil {
		return nil, err
	}
	if p, err := s.watched(ask.Process); err != nil {
		return nil, err
	} else if !p.Up {
		return nil, failf(http.StatusConflict, "%s has ended", ask.Process).hint("/snapshots lists those that were taken while it ran")
	}
	if wait := s.snapped.wait(ask.Process, s.Now()); wait > 0 {
		return nil, &Error{Status: http.StatusTooManyRequests, Text: fmt.Sprintf("a snapshot of %s was asked for less than %v ago", ask.Process, snapEvery),
			Help: "/snapshots has it", RetryAfter: wait}
	}
	ctx, cancel := context.WithTimeout(r.Context(), maxWait)
	defer cancel()
	e, err := s.Agent.Snap(ctx, ask.Process, "asked")
	if err != nil {
		return nil, &Error{Status: http.StatusUnprocessableEntity, Text: err.Error(), Help: hintOf(err)}
	}
	return SnapshotDocument{Schema: schemaSnapshot, Process: ask.Process, SnapshotRow: snapshotRow(&e)}, nil
}

// A moment is a snapshot that was read.
type moment struct {
	rec  *record.Recording
	time time.Time
}

// read reads the snapshots of a request: the one to show, and the one to compare it
// with, which is nil where there is none.
func (s *server) read(r *http.Request, process, at, base string) (shown, other *moment, err error) {
	release, err := s.reading.enter(r.Context())
	if err != nil {
		return nil, nil, err
	}
	defer release()
	get := func(key string) (*moment, error) {
		rec, err := s.Vault.Get(process, key)
		if err != nil {
			return nil, missing(err)
		}
		m := &moment{rec: rec}
		for _, g := range rec.Goroutines {
			m.time = later(m.time, g.Time)
		}
		for _, p := range rec.Profiles {
			m.time = later(m.time, p.Time)
		}
		return m, nil
	}
	if shown, err = get(at); err != nil || base == "" {
		return shown, nil, err
	}
	other, err = get(base)
	return shown, other, err
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// latestKey is the newest snapshot of a process that has a kind.
func (s *server) latestKey(process, kind string) (string, error) {
	entries := s.Vault.List(process, time.Time{}, time.Time{})
	for i := len(entries) - 1; i >= 0; i-- {
		if slices.Contains(entries[i].Kinds, kind) {
			return entries[i].Key, nil
		}
	}
	e := failf(http.StatusNotFound, "there is no snapshot of %s with %s", process, kind).hint("POST /snapshots takes one")
	if len(entries) > 0 {
		e.hint("the program keeps none: a heap profile is kept unless runtime.MemProfileRate is 0 or nothing uses it, block and mutex profiles when they are switched on")
	}
	return "", e
}

func (s *server) profile(r *http.Request) (any, error) {
	q := parseQuery(r, s.Now(), "process", "at", "base", "type", "format")
	process, at, base := q.process(), q.key("at"), q.key("base")
	name := q.oneOf("type", profileTypeNames()...)
	format := q.oneOf("format", "json", "pprof")
	if err := q.failure(); err != nil {
		return nil, err
	}
	t := profileTypes[slices.IndexFunc(profileTypes, func(t profileType) bool { return t.name == name })]
	kind := string(t.kind)
	if kind == "" {
		kind = "goroutines"
	}
	if at == "" {
		var err error
		if at, err = s.latestKey(process, kind); err != nil {
			return nil, err
		}
	}
	if format == "pprof" && base != "" {
		return nil, failf(http.StatusBadRequest, "a pprof file is of one moment").hint("download both, and compare them with go tool pprof -diff_base")
	}
	now, then, err := s.read(r, process, at, base)
	if err != nil {
		return nil, err
	}
	stacks, ok := t.stacksOf(now.rec)
	if !ok {
		return nil, failf(http.StatusNotFound, "the snapshot has no profile of %s", kind).hint("/snapshots says what each has; the program has to have turned block and mutex profiles on")
	}
	if format == "pprof" {
		return pprofFile(now.rec, &t, process, at)
	}
	doc := FlameDocument{Schema: schemaProfile, Process: process, Type: name, Unit: t.unit, At: Time{now.time}, Notes: []string{}}
	if p := lastProfile(now.rec, t.kind); p != nil && t.kind == record.ProfileHeap {
		doc.PeriodBytes = &p.PeriodBytes
	}
	if then != nil {
		doc.Base = Time{then.time}
		before, ok := t.stacksOf(then.rec)
		switch {
		case !ok:
			return nil, failf(http.StatusNotFound, "the snapshot to compare with has no profile of %s", kind)
		case !t.cumulative:
			stacks = compared(stacks, before)
		case now.rec.Process.StartTime.Equal(then.rec.Process.StartTime):
			stacks = between(stacks, before)
			doc.Notes = append(doc.Notes, "what was counted from the one moment to the other")
		default:
			doc.Notes = append(doc.Notes, "the process was started between the two moments: this is what was counted since then")
		}
	}
	doc.Root, doc.LeftOut = flame(stacks)
	doc.Truncated = doc.LeftOut > 0
	doc.Total, doc.BaseTotal = doc.Root.Value, doc.Root.Base
	return doc, nil
}

func (s *server) goroutines(r *http.Request) (any, error) {
	q := parseQuery(r, s.Now(), "process", "at", "base")
	process, at, base := q.process(), q.key("at"), q.key("base")
	if err := q.failure(); err != nil {
		return nil, err
	}
	if at == "" {
		var err error
		if at, err = s.latestKey(process, "goroutines"); err != nil {
			return nil, err
		}
	}
	now, then, err := s.read(r, process, at, base)
	if err != nil {
		return nil, err
	}
	g := lastGoroutines(now.rec)
	if g == nil {
		return nil, failf(http.StatusNotFound, "the snapshot has no goroutines")
	}
	doc := GoroutinesDocument{Schema: schemaGoroutines, Process: process, At: Time{g.Time}, Total: g.Total, Missing: g.Truncated}
	var before *record.Goroutines
	if then != nil {
		if before = lastGoroutines(then.rec); before == nil {
			return nil, failf(http.StatusNotFound, "the snapshot to compare with has no goroutines")
		}
		doc.Base, doc.BaseTotal = Time{before.Time}, &before.Total
	}
	doc.Groups, doc.LeftOut = groups(g, before)
	return doc, nil
}

// fileName is a name for a download that every system takes.
func fileName(parts ...string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune("._-", r) {
			return r
		}
		return '_'
	}, strings.Join(parts, "."))
}
