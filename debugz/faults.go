package debugz

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/heapwright/heapwright/guard/fault"
)

// FaultsSchema is the schema of what is answered about faults.
const FaultsSchema = "heapwright.debugz.faults/1"

const (
	// startsBurst faults may be started at once, then one each startEvery: each is two
	// lines in the service's log.
	startsBurst = 20
	startEvery  = time.Second
	// renewsBurst changes of them may come at once, then one each renewEvery: a dozen
	// faults, each of which gets another level ten times a second, must pass.
	renewsBurst = 200
	renewEvery  = 10 * time.Millisecond
)

// A faultRequest is the body of a POST. With an ID it is a change of a fault that there
// is: of its level, where one is given, and of its lease.
type faultRequest struct {
	ID    string     `json:"id"`
	Kind  fault.Kind `json:"kind"`
	Level *float64   `json:"level"`
	Size  uint64     `json:"size_bytes"`
	Every float64    `json:"every_seconds"`
	Count uint64     `json:"count"`
	Lease float64    `json:"lease_seconds"`
	By    string     `json:"by"`
}

type faultAnswer struct {
	Schema string      `json:"schema"`
	PID    int         `json:"pid"`
	Fault  fault.Fault `json:"fault"`
}

type faultsAnswer struct {
	Schema string    `json:"schema"`
	PID    int       `json:"pid"`
	Time   time.Time `json:"time"`
	Ended  *int      `json:"ended,omitempty"` // by a DELETE
	fault.Status
}

// seconds makes a duration of a number, which may be any. 0 is none.
func seconds(name string, s float64) (time.Duration, *refusal) {
	const most = 1e6
	d := time.Duration(min(max(s, -1), most) * float64(time.Second))
	if s < 0 || s > most || s > 0 && d <= 0 {
		return 0, &refusal{http.StatusUnprocessableEntity, fmt.Sprintf("%s is %g: it has to be above 0, and not for ever", name, s)}
	}
	return d, nil
}

// A faulter lets requests start and change faults.
type faulter struct {
	faults *fault.Injector
	log    *slog.Logger
	now    func() time.Time

	mu             sync.Mutex // of what follows
	starts, renews bucket
}

// faultPath says whether a request is about faults, and which one it names.
func faultPath(r *http.Request) (id string, ok bool) {
	path := strings.TrimSuffix(r.URL.Path, "/")
	if strings.HasSuffix(path, "/faults") {
		return "", true
	}
	// Below that, only what changes something: a page may be mounted anywhere.
	if at := strings.LastIndexByte(path, '/'); at >= 0 && r.Method != http.MethodGet && r.Method != http.MethodHead {
		return path[at+1:], strings.HasSuffix(path[:at], "/faults")
	}
	return "", false
}

func (h *handler) serveFaults(w http.ResponseWriter, r *http.Request, id string) {
	f := h.faults
	if f == nil {
		refuse(w, &refusal{http.StatusForbidden, "no faults are injected here; Options.Faults, of package guard/fault, allows it"})
		return
	}
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		writeJSON(w, http.StatusOK, h.faultsNow())
		return
	case http.MethodPost, http.MethodDelete:
	default:
		w.Header().Set("Allow", "GET, HEAD, POST, DELETE")
		refuse(w, &refusal{http.StatusMethodNotAllowed, "faults are started and changed by POST and ended by DELETE"})
		return
	}
	if no := admitChange(r); no != nil {
		refuse(w, no)
		return
	}
	if r.Method == http.MethodDelete {
		h.endFaults(w, r, id)
		return
	}
	if id != "" {
		refuse(w, &refusal{http.StatusNotFound, "the id of a fault that is to be changed is in the body"})
		return
	}
	var q faultRequest
	if no := decode(w, r, &q); no != nil {
		refuse(w, no)
		return
	}
	got, no := f.carryOut(r, &q)
	if no != nil {
		if no.status == http.StatusTooManyRequests {
			w.Header().Set("Retry-After", fmt.Sprintf("%.0f", startEvery.Seconds()))
		}
		refuse(w, no)
		return
	}
	writeJSON(w, http.StatusOK, faultAnswer{FaultsSchema, h.process.PID, got})
}

func (h *handler) faultsNow() faultsAnswer {
	return faultsAnswer{Schema: FaultsSchema, PID: h.process.PID, Time: time.Now(), Status: h.faults.faults.Status()}
}

// endFaults ends one fault, or all. It is never too often: what it does is less.
func (h *handler) endFaults(w http.ResponseWriter, r *http.Request, id string) {
	ended, by := 1, "a request from "+r.RemoteAddr
	if id == "" {
		ended = h.faults.faults.StopAll(by)
	} else if err := h.faults.faults.Stop(id, by); err != nil {
		refuse(w, faultRefusal(err))
		return
	}
	a := h.faultsNow()
	a.Ended = &ended
	writeJSON(w, http.StatusOK, a)
}

// carryOut starts or changes a fault.
func (f *faulter) carryOut(r *http.Request, q *faultRequest) (fault.Fault, *refusal) {
	lease, no := seconds("lease_seconds", q.Lease)
	if no != nil {
		return fault.Fault{}, no
	}
	every, no := seconds("every_seconds", q.Every)
	if no != nil {
		return fault.Fault{}, no
	}
	if q.ID != "" {
		if q.Kind != "" || q.Size != 0 || q.Every != 0 || q.Count != 0 || q.By != "" {
			return fault.Fault{}, &refusal{http.StatusUnprocessableEntity, "of a fault that there is, level and lease_seconds can be changed"}
		}
		if !f.spend(&f.renews, renewsBurst, renewEvery) {
			return fault.Fault{}, &refusal{http.StatusTooManyRequests, fmt.Sprintf("more than %d changes, and then one each %v, are too many", renewsBurst, renewEvery)}
		}
		return f.answer(f.faults.Renew(q.ID, q.Level, lease))
	}
	if q.Level == nil && q.Every == 0 {
		return fault.Fault{}, &refusal{http.StatusUnprocessableEntity, "level is not given"}
	}
	start := fault.Request{Kind: q.Kind, Size: q.Size, Every: every, Count: q.Count, Lease: lease, By: q.By, From: r.RemoteAddr}
	if q.Level != nil {
		start.Level = *q.Level
	}
	if !f.spend(&f.starts, startsBurst, startEvery) {
		return fault.Fault{}, &refusal{http.StatusTooManyRequests, fmt.Sprintf("more than %d faults, and then one each %v, are too many", startsBurst, startEvery)}
	}
	got, err := f.faults.Start(start)
	if bound := new(fault.BoundError); errors.As(err, &bound) {
		f.log.LogAttrs(r.Context(), slog.LevelWarn, "heapwright fault was not started", slog.String("kind", string(q.Kind)), slog.String("by", q.By),
			slog.String("from", r.RemoteAddr), slog.String("error", err.Error()))
	}
	return f.answer(got, err)
}

func (f *faulter) answer(got fault.Fault, err error) (fault.Fault, *refusal) {
	if err != nil {
		return fault.Fault{}, faultRefusal(err)
	}
	return got, nil
}

func (f *faulter) spend(b *bucket, burst float64, every time.Duration) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return b.spend(f.now(), burst, every)
}

// faultRefusal says with which status an error of an Injector is answered.
func faultRefusal(err error) *refusal {
	status := http.StatusConflict // beyond a bound
	switch {
	case errors.Is(err, fault.ErrUnknown):
		status = http.StatusNotFound
	case errors.Is(err, fault.ErrUnsupported):
		status = http.StatusNotImplemented
	case errors.Is(err, fault.ErrClosed):
		status = http.StatusServiceUnavailable
	case errors.As(err, new(*fault.RequestError)):
		status = http.StatusUnprocessableEntity
	}
	return &refusal{status, err.Error()}
}
