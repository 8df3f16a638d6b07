package api

import (
	"bytes"
	"errors"
	"io/fs"
	"net/http"
	"sync"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/blackbox"
	"github.com/heapwright/heapwright/cmd/internal/postmortem"
	"github.com/heapwright/heapwright/cmd/internal/postmortem/report"
)

// Bounds of what is read of post-mortems.
const (
	maxPostmortems = 200 // listed: the newest
	maxPostmortem  = 64 << 20
	maxVerdicts    = 500             // kept
	maxJudging     = 2 * time.Second // that one listing takes to read those that are new
)

// deaths remember what post-mortems say, as long as their files do not change.
type deaths struct {
	mu   sync.Mutex
	rows map[blackbox.Entry]OOMRow
}

func (s *server) postmortems(r *http.Request) (any, error) {
	if err := parseQuery(r, s.Now()).failure(); err != nil {
		return nil, err
	}
	release, err := s.reading.enter(r.Context())
	if err != nil {
		return nil, err
	}
	defer release()
	doc := OOMsDocument{Schema: schemaOOMs, Postmortems: []OOMRow{}}
	if s.BlackBox != nil {
		st := s.BlackBox.Stats()
		doc.Enabled, doc.Watched, doc.Captures, doc.Problem = true, st.Watched, st.Captures, nonZero(oneLine(st.LogProblem))
	}
	if s.Postmortems == "" {
		return doc, nil
	}
	kept, err := blackbox.List(s.Postmortems)
	if err != nil {
		return nil, err
	}
	doc.LeftOut = max(0, len(kept)-maxPostmortems)
	began := time.Now()
	for _, e := range kept[:min(len(kept), maxPostmortems)] {
		doc.Postmortems = append(doc.Postmortems, s.died(e, time.Since(began) < maxJudging))
	}
	return doc, nil
}

// died is a post-mortem as a row; of one that is new only its name, unless it may be read.
func (s *server) died(e blackbox.Entry, read bool) OOMRow {
	s.deaths.mu.Lock()
	defer s.deaths.mu.Unlock()
	if row, ok := s.deaths.rows[e]; ok {
		return row
	}
	row := OOMRow{ID: e.ID, Time: Time{e.Time}, Name: shown(e.Name), PID: e.PID, Bytes: e.Bytes}
	if !read {
		return row
	}
	switch rep, err := s.judge(e); {
	case err != nil:
		text := oneLine(err.Error())
		row.Error = &text
	default:
		v := &rep.Verdict
		memory, title, confidence := string(v.Memory), shown(v.Title), string(v.Confidence)
		row.Memory, row.Title, row.Confidence = &memory, &title, &confidence
		if v.Site != nil {
			row.Site = nonZero(shown(v.Site.String()))
		}
		if c := rep.Composition; c != nil {
			row.LimitBytes = c.LimitBytes
		}
	}
	if s.deaths.rows == nil || len(s.deaths.rows) >= maxVerdicts {
		s.deaths.rows = map[blackbox.Entry]OOMRow{}
	}
	s.deaths.rows[e] = row
	return row
}

// judge reads a post-mortem, and makes its verdict anew.
func (s *server) judge(e blackbox.Entry) (*postmortem.Report, error) {
	if e.Bytes > maxPostmortem {
		return nil, failf(http.StatusUnprocessableEntity, "%s has more than %d MiB", e.ID, maxPostmortem>>20).hint("heapwright oom shows it")
	}
	rec, err := blackbox.Open(s.Postmortems, e.ID)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, failf(http.StatusNotFound, "%s is not there any more", e.ID)
	}
	var ev *postmortem.Evidence
	if err == nil {
		ev, err = postmortem.Read(rec)
	}
	if err != nil {
		return nil, failf(http.StatusUnprocessableEntity, "%s cannot be read as a post-mortem", e.ID)
	}
	return postmortem.Examine(ev), nil
}

// death is the post-mortem that a request names.
func (s *server) death(r *http.Request) (*postmortem.Report, error) {
	if err := parseQuery(r, s.Now()).failure(); err != nil {
		return nil, err
	}
	release, err := s.reading.enter(r.Context())
	if err != nil {
		return nil, err
	}
	defer release()
	id := r.PathValue("id")
	if s.Postmortems != "" {
		kept, err := blackbox.List(s.Postmortems)
		if err != nil {
			return nil, err
		}
		for _, e := range kept {
			if e.ID == id {
				return s.judge(e)
			}
		}
	}
	return nil, failf(http.StatusNotFound, "no post-mortem is called %.80q", id).hint("/oom lists those that there are")
}

func (s *server) postmortem(r *http.Request) (any, error) {
	rep, err := s.death(r)
	if err != nil {
		return nil, err
	}
	return rep, nil
}

// postmortemPolicy is what the page of a post-mortem may do: nothing, in a box of its own.
const postmortemPolicy = "sandbox; frame-ancestors 'none'; " + report.Policy

// postmortemReport sends the page that heapwright oom --html writes.
func (s *server) postmortemReport(r *http.Request) (any, error) {
	rep, err := s.death(r)
	if err != nil {
		return nil, err
	}
	var page bytes.Buffer
	if err := report.HTML(&page, rep); err != nil {
		return nil, err
	}
	return &file{kind: "text/html; charset=utf-8", text: page.Bytes(), policy: postmortemPolicy}, nil
}
