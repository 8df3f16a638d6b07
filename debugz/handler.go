package debugz

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"runtime"
	"runtime/metrics"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/heapwright/heapwright/guard"
	"github.com/heapwright/heapwright/guard/fault"
	"github.com/heapwright/heapwright/guard/sli"
	"github.com/heapwright/heapwright/memlimit"
	"github.com/heapwright/heapwright/metric"
)

// Options say what is shown, and to whom. All of them may be left out.
type Options struct {
	Guard *guard.Guard
	Limit *memlimit.Limit
	// Sources are other parts with numbers to show: pools, queues, the service's own.
	// One that panics or blocks is left out, and the page says so.
	Sources []metric.Source

	// Hosts are names besides those of this machine that requests may be for, without
	// ports: "debug.example.com".
	Hosts []string
	// AllowRemote answers requests from other machines, too. They may be for any
	// address, and for the names in Hosts. Who may reach the port is yours to decide.
	AllowRemote bool
	// AllowChange lets requests override GOGC and GOMEMLIMIT for some time, through
	// [memlimit.Limit.Override]. It needs Limit. Whoever is answered may then do so: any
	// user of this machine.
	AllowChange bool
	// Faults lets requests start faults inside the service, as heapwright stress does,
	// within the bounds that the Injector has. Nil: there are none. Whoever is answered
	// may then do so: any user of this machine.
	Faults *fault.Injector
	// AllowEvidence lets the files of the guard's evidence be downloaded. They hold
	// what a heap profile and an execution trace do, of the service's requests too.
	AllowEvidence bool
	// Logger is told of each change. Nil is slog.Default.
	Logger *slog.Logger
}

// A limiter is a memlimit.Limit, or a test's.
type limiter interface {
	Report() memlimit.Report
	Override(gogc int, gomemlimit int64, lease time.Duration, who string) (revert func(), err error)
	CheckOverride(gogc int, gomemlimit int64, lease time.Duration, who string) error
}

// A guarded service is a guard.Guard, or a test's.
type guarded interface{ Status() guard.Status }

// handler is what Handler returns.
type handler struct {
	o       Options
	limit   limiter // nil for none
	guard   guarded // nil for none
	process processDoc
	env     startup
	changes *changer // nil unless AllowChange
	faults  *faulter // nil without Faults

	asking atomic.Bool // the sources are being asked

	mu      sync.Mutex // of what follows
	source  *sli.Source
	err     error // why there is no source
	ring    *sli.Ring
	history history
	taken   time.Time // of the last point of history
}

const (
	// windowLength is the least time that signals are taken over, without a guard.
	windowLength = 10 * time.Second
	windowPoints = 16
)

// Handler returns the page, its JSON, and where allowed the way to change settings,
// for the path that it is mounted at and below.
func Handler(o Options) http.Handler {
	h := &handler{o: o, process: identify(), env: readStartup(os.Getenv), ring: sli.NewRing(windowPoints, windowLength)}
	if o.Limit != nil {
		h.limit = o.Limit
	}
	if o.Guard != nil {
		h.guard = o.Guard
	}
	return h.init()
}

func (h *handler) init() *handler {
	if h.o.Logger == nil {
		h.o.Logger = slog.Default()
	}
	if h.o.AllowChange && h.limit != nil {
		h.changes = &changer{limit: h.limit, log: h.o.Logger, now: time.Now}
	}
	if h.o.Faults != nil {
		h.faults = &faulter{faults: h.o.Faults, log: h.o.Logger, now: time.Now}
	}
	if h.source, h.err = sli.NewSource(sli.Options{Limit: h.limitBytes}); h.err == nil {
		h.ring.Read(h.source) // what the first request compares with
	}
	return h
}

// limitBytes is the limit that memlimit goes by, 0 for none.
func (h *handler) limitBytes() uint64 {
	if h.limit == nil {
		return 0
	}
	return h.limit.Report().LimitBytes
}

// ServeHTTP answers GET and HEAD with the page, or as JSON with ?format=json or when
// JSON is what is accepted, and requests below it.
func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	head := w.Header()
	head.Set("Cache-Control", "no-store")
	head.Set("X-Content-Type-Options", "nosniff")
	head.Set("X-Frame-Options", "DENY")
	head.Set("Referrer-Policy", "no-referrer")
	head.Set("Cross-Origin-Resource-Policy", "same-origin")
	head.Set("Content-Security-Policy", "default-src 'none'; style-src "+styleHash+"; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	if no := admit(r, h.o.AllowRemote, h.o.Hosts); no != nil {
		refuse(w, no)
		return
	}
	if strings.HasSuffix(strings.TrimSuffix(r.URL.Path, "/"), "/override") {
		h.override(w, r)
		return
	}
	if id, ok := faultPath(r); ok {
		h.serveFaults(w, r, id)
		return
	}
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		head.Set("Allow", "GET, HEAD")
		refuse(w, &refusal{http.StatusMethodNotAllowed, "this page is for GET and HEAD"})
		return
	}
	q := r.URL.Query()
	if name := q.Get("evidence"); name != "" {
		h.download(w, r, name, q.Get("file"))
		return
	}
	d := h.look()
	if q.Get("format") == "json" || q.Get("format") == "" && wantsJSON(r.Header.Get("Accept")) {
		writeJSON(w, http.StatusOK, d)
		return
	}
	body, err := writePage(d, q.Get("refresh") != "")
	if err != nil {
		refuse(w, &refusal{http.StatusInternalServerError, err.Error()})
		return
	}
	head.Set("Content-Type", "text/html; charset=utf-8")
	head.Set("Content-Length", strconv.Itoa(len(body)))
	w.Write(body)
}

// wantsJSON reports whether a client that asks for JSON does not ask for a page.
func wantsJSON(accept string) bool {
	return strings.Contains(accept, "application/json") && !strings.Contains(accept, "text/html")
}

func refuse(w http.ResponseWriter, no *refusal) {
	http.Error(w, "heapwright debugz: "+no.text, no.status)
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		refuse(w, &refusal{http.StatusInternalServerError, "writing JSON: " + err.Error()})
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	w.Write(append(body, '\n'))
}

// look gathers what there is to show now.
func (h *handler) look() *document {
	d := &document{Schema: Schema, Process: h.process, Signals: []signalDoc{}, Metrics: []metricDoc{}, Problems: []string{}, evidence: h.o.AllowEvidence}
	d.Metrics, d.Problems = h.ask()
	if h.limit != nil {
		r := h.limit.Report()
		d.Limit = &r
		d.Change.Active = r.Override
	}
	d.Change.Allowed = h.changes != nil
	if h.faults != nil {
		f := h.faults.faults.Status()
		d.Faults = &f
	}
	if h.guard != nil {
		s := h.guard.Status()
		d.Guard = &s
		d.Window = 1
		for _, v := range s.Signals {
			d.Signals = append(d.Signals, signalDoc(v))
		}
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	d.Time = time.Now()
	if h.err != nil {
		d.Problems = append(d.Problems, h.err.Error())
		return d
	}
	// Not more often than that: a window of no length says nothing.
	p := h.ring.Last()
	if p == nil || d.Time.Sub(p.Time) >= historyEvery {
		p = h.ring.Read(h.source)
	}
	if r, ok := h.ring.Window(windowLength); ok && h.guard == nil {
		d.Window = r.Window.Seconds()
		for name, v := range r.All {
			d.Signals = append(d.Signals, signalDoc{string(name), v})
		}
	}
	d.Memory = memoryOf(p, d.Limit)
	gogc, gomemlimit := inForce() // a point may be a second old, which who changes them would see
	d.Settings = settings(gogc, gomemlimit, int64(runtime.GOMAXPROCS(0)), h.env, d.Limit, h.process.CPUs)
	if d.Time.Sub(h.taken) >= historyEvery {
		h.taken = d.Time
		h.history.add(d.Time, append([]signalDoc{{"heap_live_bytes", float64(d.Memory.LiveBytes)}, {"memory_used_bytes", float64(d.Memory.used())}}, d.Signals...))
	}
	d.History = h.history.doc()
	return d
}

// inForce are GOGC, -1 for off, and GOMEMLIMIT, as they are now.
func inForce() (gogc, gomemlimit int64) {
	s := []metrics.Sample{{Name: "/gc/gogc:percent"}, {Name: "/gc/gomemlimit:bytes"}}
	metrics.Read(s)
	return int64(s[0].Value.Uint64()), int64(s[1].Value.Uint64())
}

// ask asks the sources, and does not wait for one that blocks. While one does, none
// is asked again.
func (h *handler) ask() (metrics []metricDoc, problems []string) {
	metrics, problems = []metricDoc{}, []string{}
	all := h.o.Sources
	if len(all) == 0 {
		return metrics, problems
	}
	if !h.asking.CompareAndSwap(false, true) {
		return metrics, append(problems, "the sources of metrics are being asked by another request, or one of them blocks")
	}
	type answer struct {
		metrics  []metricDoc
		problems []string
	}
	got := make(chan answer, 1)
	go func() {
		defer h.asking.Store(false)
		m, p := askSources(all)
		got <- answer{m, p}
	}()
	late := time.NewTimer(sourcesLimit)
	defer late.Stop()
	select {
	case a := <-got:
		return append(metrics, a.metrics...), append(problems, a.problems...)
	case <-late.C:
		return metrics, append(problems, fmt.Sprintf("a source of metrics has not answered for %v", sourcesLimit))
	}
}
