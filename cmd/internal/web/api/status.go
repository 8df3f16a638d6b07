package api

import (
	"cmp"
	"net/http"
	"slices"

	"github.com/heapwright/heapwright/cmd/internal/agent"
	"github.com/heapwright/heapwright/cmd/internal/alert"
	"github.com/heapwright/heapwright/record"
)

func (s *server) alerts(r *http.Request) (any, error) {
	if err := parseQuery(r, s.Now()).failure(); err != nil {
		return nil, err
	}
	doc := AlertsDocument{Schema: schemaAlerts, Active: []alert.Alert{}, Rules: []AlertRule{}}
	if s.Alerts == nil {
		return doc, nil
	}
	for _, a := range s.Alerts.Active() {
		if finite(a.Value) == nil {
			a.Value = 0 // JSON has no other word for it
		}
		doc.Active = append(doc.Active, a)
	}
	slices.SortStableFunc(doc.Active, func(a, b alert.Alert) int {
		return cmp.Or(cmp.Compare(b.Severity, a.Severity), a.Since.Compare(b.Since), cmp.Compare(a.Process, b.Process), cmp.Compare(a.Rule, b.Rule), cmp.Compare(a.Finding, b.Finding))
	})
	for _, rule := range s.Alerts.Rules() {
		doc.Rules = append(doc.Rules, AlertRule{
			Name: rule.Name, Severity: rule.Severity, Process: rule.Process, Signal: rule.Signal, Above: rule.Above, Below: rule.Below,
			ForSeconds: rule.For.Seconds(), ClearAbove: rule.ClearAbove, ClearBelow: rule.ClearBelow, ClearForSeconds: rule.ClearFor.Seconds(),
			With: append([]alert.Condition{}, rule.With...), Level: rule.Level, Remedy: nonZero(rule.Remedy),
		})
	}
	return doc, nil
}

func (s *server) status(r *http.Request) (any, error) {
	q := parseQuery(r, s.Now())
	if err := q.failure(); err != nil {
		return nil, err
	}
	st := s.Agent.Status()
	doc := StatusDocument{Schema: schemaStatus, Now: Time{q.now}, Version: s.Version, Agent: s.agentStatus(q, &st), Forward: []ForwardState{}, Alerts: []TellState{},
		Discovery: Found{At: Time{st.Discovered}, Watched: st.Watched, Unread: st.Unread, Unseen: len(s.Agent.Unseen()), Filtered: st.Filtered, TooMany: st.TooMany}}
	if s.Embedded != nil {
		db := s.Embedded.Stats()
		doc.Store = &StoreStatus{
			Series: db.Series, Blocks: db.Blocks, Bytes: db.Bytes.Total(), BlocksBytes: db.Bytes.Blocks, WALBytes: db.Bytes.WAL, HeadBytes: db.Bytes.Head,
			Appended: db.Appended, Dropped: StoreDropped{db.Dropped.Duplicate, db.Dropped.TooOld, db.Dropped.Failed}, Repairs: int64(db.Repairs),
			Oldest: Time{db.Oldest}, Newest: Time{db.Newest},
		}
		if db.FreeBytes >= 0 {
			doc.Store.FreeBytes = &db.FreeBytes
		}
	}
	v := s.Vault.Stats()
	doc.Vault = &VaultStatus{Stats: v, Oldest: Time{v.Oldest}, Newest: Time{v.Newest}}
	h := s.History.Stats()
	doc.History = &h
	if s.Forward != nil {
		for _, f := range s.Forward.Status() {
			doc.Forward = append(doc.Forward, ForwardState{
				Name: f.Name, Kind: f.Kind, URL: f.URL, SentTotal: f.Sent, FailedTotal: f.Failed, DroppedTotal: f.Dropped, BytesTotal: f.Bytes, RequestsTotal: f.Calls,
				BehindSeconds: f.Behind.Seconds(), Until: Time{f.Until}, LastError: nonZero(shown(f.LastError)), ErrorAt: Time{f.ErrorAt}, Since: Time{f.Since},
			})
		}
	}
	if s.Alerts != nil {
		for _, a := range s.Alerts.Status() {
			doc.Alerts = append(doc.Alerts, TellState{Name: shown(a.Name), Kind: a.Kind, SentTotal: a.Sent, FailedTotal: a.Failed, DroppedTotal: a.Dropped,
				Queued: a.Queued, LastError: nonZero(shown(a.Error)), Since: Time{a.Since}})
		}
	}
	return doc, nil
}

func (s *server) agentStatus(q *query, st *agent.Status) AgentStatus {
	out := AgentStatus{
		Started: Time{st.Started}, Samples: st.Samples, Points: st.Points, DroppedPoints: st.Dropped, LostCycles: st.LostCycles, LateRounds: st.Late,
		LastProblem: nonZero(shown(st.LastProblem)), ProblemAt: Time{st.ProblemAt},
	}
	if up := q.now.Sub(st.Started); !st.Started.IsZero() && up > 0 {
		out.UptimeSeconds = up.Seconds()
	}
	for _, p := range s.Agent.Processes() {
		if p.Up && p.Interval > 0 && p.Error == "" {
			out.SamplesPerSecond += 1 / p.Interval.Seconds()
		}
	}
	if p, ok := s.Agent.Own(); ok {
		out.ID, out.CPUCores = nonZero(p.ID), finiteAt(p.CPUCores)
		if l := p.Latest; l != nil {
			out.RSSBytes = known(l, record.FieldRSSBytes, l.RSSBytes)
			out.HeapLiveBytes = known(l, record.FieldHeapLiveBytes, l.HeapLiveBytes)
			out.HeapGoalBytes = known(l, record.FieldHeapGoalBytes, l.HeapGoalBytes)
			out.Goroutines = known(l, record.FieldGoroutines, l.Goroutines)
			out.GOGCPercent = known(l, record.FieldGOGCPercent, l.GOGCPercent)
			out.GOMEMLIMITBytes = known(l, record.FieldGOMEMLIMITBytes, l.GOMEMLIMITBytes)
		}
	}
	return out
}
