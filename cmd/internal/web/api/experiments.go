package api

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/experiment"
	"github.com/heapwright/heapwright/cmd/internal/experiment/journal"
	"github.com/heapwright/heapwright/cmd/internal/experiment/report"
	"github.com/heapwright/heapwright/cmd/internal/experiment/run"
)

// Bounds of what is read of experiments. The directories are the user's.
const (
	resultSuffix   = ".hwcmp"
	maxExperiments = 200             // listed: the newest
	maxNames       = 10_000          // looked at in a directory
	maxResult      = 64 << 20        // bytes of a file that is read
	maxSummaries   = 500             // kept
	maxListing     = 3 * time.Second // that one listing reads for
)

// A result is a file of an experiment. Its ID is made from where it is, so that no
// name in a request leads anywhere.
type result struct {
	id, path string
	size     int64
	changed  time.Time
}

// summaries remember what results are about, as long as their files do not change.
type summaries struct {
	mu   sync.Mutex
	rows map[result]ExperimentRow
}

// results lists the files in the directories, the newest first.
func (s *server) results() []result {
	var out []result
	seen := map[string]bool{}
	for _, dir := range s.Experiments {
		dir, err := filepath.Abs(dir)
		if err != nil || seen[dir] {
			continue
		}
		seen[dir] = true
		d, err := os.Open(dir)
		if err != nil {
			continue // it need not be there
		}
		entries, _ := d.ReadDir(maxNames) // what could be read counts
		d.Close()
		for _, e := range entries {
			if !strings.HasSuffix(e.Name(), resultSuffix) || !e.Type().IsRegular() {
				continue
			}
			info, err := e.Info()
			if err != nil {
				continue
			}
			path := filepath.Join(dir, e.Name())
			sum := sha256.Sum256([]byte(path))
			name := strings.TrimSuffix(e.Name(), resultSuffix)
			out = append(out, result{fileName(name[:min(len(name), 60)]) + "-" + hex.EncodeToString(sum[:4]), path, info.Size(), info.ModTime()})
		}
	}
	slices.SortFunc(out, func(a, b result) int { return cmp.Or(b.changed.Compare(a.changed), cmp.Compare(a.path, b.path)) })
	return out[:min(len(out), maxExperiments)]
}

// read reads a result and its verdict: the one with which it ended, or that of the
// blocks so far.
func (f *result) read() (*experiment.Result, *experiment.Verdict, error) {
	if f.size > maxResult {
		return nil, nil, failf(http.StatusUnprocessableEntity, "%s has more than %d MiB", filepath.Base(f.path), maxResult>>20).hint("heapwright compare report shows it")
	}
	r, err := journal.Read(f.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, failf(http.StatusNotFound, "%s is not there any more", filepath.Base(f.path))
	}
	if err != nil {
		// Where on the disk it is, is not for everybody who may look.
		text := strings.ReplaceAll(err.Error(), f.path, filepath.Base(f.path))
		return nil, nil, &Error{Status: http.StatusUnprocessableEntity, Text: text, Help: hintOf(err)}
	}
	return r, run.Verdict(r.Header, r.Blocks, r.Ending), nil
}

func (s *server) experiments(r *http.Request) (any, error) {
	if err := parseQuery(r, s.Now()).failure(); err != nil {
		return nil, err
	}
	release, err := s.reading.enter(r.Context())
	if err != nil {
		return nil, err
	}
	defer release()
	doc := ExperimentsDocument{Schema: schemaExperiments, Experiments: []ExperimentRow{}}
	// Many large results take a while: those that no time is left for have their name and
	// time, and are read when the list is asked for again.
	began := time.Now()
	for _, f := range s.results() {
		doc.Experiments = append(doc.Experiments, s.summary(f, time.Since(began) < maxListing))
	}
	slices.SortStableFunc(doc.Experiments, func(a, b ExperimentRow) int { return b.Time.Compare(a.Time.Time) })
	return doc, nil
}

// summary is what a result is about, in a row; of one that is new only its name, unless
// it may be read.
func (s *server) summary(f result, read bool) ExperimentRow {
	s.summaries.mu.Lock()
	defer s.summaries.mu.Unlock()
	if row, ok := s.summaries.rows[f]; ok {
		return row
	}
	if !read {
		return unread(f)
	}
	row := summaryOf(f)
	if s.summaries.rows == nil || len(s.summaries.rows) >= maxSummaries {
		s.summaries.rows = map[result]ExperimentRow{}
	}
	s.summaries.rows[f] = row
	return row
}

func unread(f result) ExperimentRow {
	return ExperimentRow{ID: f.id, Name: strings.TrimSuffix(shown(filepath.Base(f.path)), resultSuffix), Time: Time{f.changed}, File: shown(filepath.Base(f.path)), Bytes: f.size, Variants: []string{}}
}

func summaryOf(f result) ExperimentRow {
	row := unread(f)
	r, v, err := f.read()
	if err != nil {
		text := oneLine(err.Error())
		row.Error = &text
		return row
	}
	d := report.Of(r, v, filepath.Base(f.path))
	verdict := string(d.Verdict)
	row.Verdict, row.Blocks, row.Pairs, row.Running = &verdict, d.Blocks, &d.Pairs, r.Ending == nil
	if d.Name != "" {
		row.Name = shown(d.Name)
	}
	switch {
	case d.Ended != nil:
		row.Time = Time{*d.Ended}
	case d.Started != nil:
		row.Time = Time{*d.Started}
	}
	for _, variant := range d.Variants {
		row.Variants = append(row.Variants, shown(variant.Name))
	}
	for _, m := range d.Metrics {
		if m.Role == experiment.RoleGoal {
			row.Goal = nonZero(shown(m.Name))
			row.GoalRatio = m.Ratio
			break
		}
	}
	return row
}

// find is the result with an ID.
func (s *server) find(id string) (*experiment.Result, *experiment.Verdict, result, error) {
	for _, f := range s.results() {
		if f.id == id {
			r, v, err := f.read()
			return r, v, f, err
		}
	}
	return nil, nil, result{}, failf(http.StatusNotFound, "no experiment is called %.40q", id).hint("/experiments lists those that there are")
}

func (s *server) experiment(r *http.Request) (any, error) {
	if err := parseQuery(r, s.Now()).failure(); err != nil {
		return nil, err
	}
	release, err := s.reading.enter(r.Context())
	if err != nil {
		return nil, err
	}
	defer release()
	res, v, f, err := s.find(r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	return report.Of(res, v, filepath.Base(f.path)), nil
}

// reportPolicy is what the page of a report may do: what the page says itself, in a
// box of its own from which it reaches nothing of this server.
var reportPolicy = "sandbox allow-scripts; frame-ancestors 'none'; " + report.Policy()

// report sends the page that heapwright compare --html writes.
func (s *server) report(r *http.Request) (any, error) {
	if err := parseQuery(r, s.Now()).failure(); err != nil {
		return nil, err
	}
	release, err := s.reading.enter(r.Context())
	if err != nil {
		return nil, err
	}
	defer release()
	res, v, f, err := s.find(r.PathValue("id"))
	if err != nil {
		return nil, err
	}
	var page bytes.Buffer
	if err := report.HTML(&page, res, v, filepath.Base(f.path)); err != nil {
		return nil, err
	}
	return &file{kind: "text/html; charset=utf-8", text: page.Bytes(), policy: reportPolicy}, nil
}
