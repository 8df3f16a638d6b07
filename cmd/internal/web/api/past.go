package api

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"net/http"
	"slices"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/history"
	"github.com/heapwright/heapwright/cmd/internal/store"
)

// unanswered is what is said when a store does not answer. That it is busy, or that
// the question was too large, is no fault of the agent's.
func unanswered(err error) error {
	var q *store.QueryError
	switch {
	case errors.Is(err, context.Canceled):
		return failf(http.StatusServiceUnavailable, "the request was given up")
	case errors.Is(err, context.DeadlineExceeded):
		return failf(http.StatusServiceUnavailable, "the store took too long").hint("ask for a shorter time")
	case !errors.As(err, &q):
		return &Error{Status: http.StatusServiceUnavailable, Text: "the store does not answer: " + err.Error(), Help: hintOf(err)}
	}
	e := failf(http.StatusServiceUnavailable, "the store does not answer: %v", q)
	switch q.Kind {
	case store.KindTooMany:
		e.RetryAfter = time.Second
		return e.hint("ask again in a moment")
	case store.KindTimeout:
		return e.hint("ask for a shorter time")
	case store.KindExecution:
		e.Status = http.StatusUnprocessableEntity
		return e.hint("ask for a shorter time")
	}
	return e
}

func (s *server) findings(r *http.Request) (any, error) {
	q := parseQuery(r, s.Now(), "process", "from", "to", "open", "limit")
	ask := history.Query{Process: q.anyProcess(), Open: q.flag("open"), Limit: q.count("limit", 1000, 10_000)}
	ask.From, ask.To = q.spanOr("")
	if err := q.failure(); err != nil {
		return nil, err
	}
	doc := FindingsDocument{Schema: schemaFindings, Episodes: []Episode{}}
	for _, e := range s.History.Episodes(ask) {
		row := Episode{Process: e.Process, ID: e.ID, Severity: e.Severity, Began: Time{e.Began}, Seen: Time{e.Seen}, Ended: Time{e.Ended},
			Finding: e.Finding, Changes: []SeverityChange{}, Returns: e.Returns}
		for _, c := range e.Changes {
			row.Changes = append(row.Changes, SeverityChange{Time{c.Time}, c.Severity})
		}
		doc.Episodes = append(doc.Episodes, row)
	}
	slices.SortStableFunc(doc.Episodes, func(a, b Episode) int {
		return cmp.Or(b.Began.Compare(a.Began.Time), cmp.Compare(a.Process, b.Process), cmp.Compare(a.ID, b.ID))
	})
	return doc, nil
}

func (s *server) events(r *http.Request) (any, error) {
	q := parseQuery(r, s.Now(), "process", "from", "to", "limit")
	ask := history.Query{Process: q.anyProcess(), Limit: q.count("limit", 1000, 10_000)}
	ask.From, ask.To = q.spanOr("")
	if err := q.failure(); err != nil {
		return nil, err
	}
	doc := EventsDocument{Schema: schemaEvents, Events: []Event{}}
	for _, e := range s.History.Events(ask) {
		row := Event{Process: e.Process, Time: Time{e.Time}, Event: e.Kind, Text: shown(e.Text), Data: map[string]string{}}
		for k, v := range e.Data {
			row.Data[k] = v
		}
		doc.Events = append(doc.Events, row)
	}
	slices.SortStableFunc(doc.Events, func(a, b Event) int {
		return cmp.Or(a.Time.Compare(b.Time.Time), cmp.Compare(a.Process, b.Process), cmp.Compare(a.Event, b.Event))
	})
	return doc, nil
}

// missing says that something is not there, for errors that say so themselves.
func missing(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return failf(http.StatusNotFound, "%v", err).hint("/snapshots lists those that there are")
	}
	return err
}
