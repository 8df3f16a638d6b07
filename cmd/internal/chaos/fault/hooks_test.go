package fault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/chaos"
)

// status asks a service what faults there are.
func hooksNow(t testing.TB, tg *Target) hookStatus {
	t.Helper()
	p, err := openPage(tg.Debug)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	s, err := p.hooks(context.Background(), 10*time.Second, http.MethodGet, "faults", nil)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// soon waits until something is so.
func soon(t testing.TB, what string, so func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !so(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not in 30 s", what)
		}
	}
}

// wideRoom is that of a machine with enough of everything.
var wideRoom = Room{TotalBytes: 64 << 30, AvailableBytes: 60 << 30, CPUs: 8}

// TestHooks makes each fault inside of a service, sees it from outside, holds it for
// longer than its lease, and ends it.
func TestHooks(t *testing.T) {
	before := runtime.NumGoroutine()
	t.Run("all", func(t *testing.T) {
		g := startGuarded(t, "-allow-faults")
		for _, tt := range []struct {
			kind  chaos.Kind
			level float64
			size  uint64
		}{
			{chaos.Retain, 64 << 20, 0},
			{chaos.Pointers, 32 << 20, 0},
			{chaos.Large, 64 << 20, 0},
			{chaos.Fragments, 48 << 20, 0},
			{chaos.Churn, 200 << 20, 0},
			{chaos.Goroutines, 2000, 0},
			{chaos.Stacks, 32 << 20, 0},
			{chaos.Finalizers, 20000, 0},
			{chaos.OffHeap, 64 << 20, 0},
			{chaos.ForcedGC, 4, 0},
		} {
			t.Run(string(tt.kind), func(t *testing.T) {
				ctx := context.Background()
				r, err := Resolve(ctx, chaos.Fault{Kind: tt.kind, Level: chaos.Level{Value: tt.level}}, g, chaos.Caps{}, wideRoom)
				if err != nil {
					t.Fatal(err)
				}
				j := newJournal()
				e, err := Make(ctx, r, g, j)
				if err != nil {
					t.Fatal(err)
				}
				defer e.Undo(ctx)
				if _, _, ok := e.Measure(); ok || len(j.all) > 0 {
					t.Error("there is something before there is a level")
				}
				for _, part := range []float64{0.25, 0.5, 1} {
					if err := e.Set(ctx, part*tt.level); err != nil {
						t.Fatal(err)
					}
				}
				// A rate takes as long as the machine makes it take; more than nothing it is.
				var got float64
				var by string
				soon(t, "half of the level is seen from outside", func() bool {
					var ok bool
					got, by, ok = e.Measure()
					return ok && got >= tt.level/2
				})
				t.Logf("%s: %.3g of %.3g by %s", tt.kind, got, tt.level, by)
				time.Sleep(hookLease + hookRenew) // renewals hold it
				if s := hooksNow(t, g); len(s.Active) != 1 || s.Active[0].Kind != string(tt.kind) || s.Active[0].Level != tt.level {
					t.Errorf("after a while there are %+v", s.Active)
				}
				for range 2 {
					if err := e.Undo(ctx); err != nil {
						t.Fatal(err)
					}
				}
				if s := hooksNow(t, g); len(s.Active) != 0 {
					t.Errorf("undone, there are %+v", s.Active)
				}
				if err := e.Set(ctx, tt.level); !errors.Is(err, errUndone) {
					t.Errorf("a level after that: %v", err)
				}
				j.empty(t)
				soon(t, "the memory to go back", func() bool { return hooksNow(t, g).Returning == 0 })
			})
		}
	})
	goroutinesBack(t, before)
}

// TestHookDies: when nobody renews it, the service ends it, and who finds the step has
// nothing to do; before that, it ends it.
func TestHookDies(t *testing.T) {
	g := startGuarded(t, "-allow-faults")
	for _, reverted := range []bool{true, false} {
		ctx, die := context.WithCancel(context.Background())
		j := newJournal()
		e, err := Make(ctx, &Resolved{Fault: chaos.Fault{Kind: chaos.Retain}}, g, j)
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Set(ctx, 8<<20); err != nil {
			t.Fatal(err)
		}
		die()
		if reverted {
			if err := Revert(context.Background(), j.all[0]); err != nil {
				t.Fatal(err)
			}
		} else {
			soon(t, "the lease to end", func() bool { return len(hooksNow(t, g).Active) == 0 })
			var lost *LostError
			if err := e.Set(context.Background(), 9<<20); !errors.As(err, &lost) || lost.Hint() == "" {
				t.Errorf("a level of a fault whose lease ended: %v", err)
			}
		}
		if s := hooksNow(t, g); len(s.Active) != 0 {
			t.Errorf("there are %+v", s.Active)
		}
		if err := Revert(context.Background(), j.all[0]); err != nil {
			t.Errorf("reverting what is over: %v", err)
		}
		if err := e.Undo(context.Background()); err != nil {
			t.Errorf("undoing what is over: %v", err)
		}
	}
}

// TestHookLeavesOthers: only what we asked for is ended.
func TestHookLeavesOthers(t *testing.T) {
	g := startGuarded(t, "-allow-faults")
	ctx := context.Background()
	p, err := openPage(g.Debug)
	if err != nil {
		t.Fatal(err)
	}
	defer p.close()
	level := float64(1 << 20)
	theirs, err := p.hooks(ctx, 10*time.Second, http.MethodPost, "faults", hookOrder{Kind: chaos.Retain, Level: &level, Lease: 50, By: "ada"})
	if err != nil {
		t.Fatal(err)
	}
	var no *RefusedError
	if _, err := Resolve(ctx, chaos.Fault{Kind: chaos.Retain, Level: mib(8)}, g, chaos.Caps{}, wideRoom); !errors.As(err, &no) || !strings.Contains(no.Why, "ada") {
		t.Errorf("beside a fault of somebody else: %v", err)
	}
	e, err := Make(ctx, &Resolved{Fault: chaos.Fault{Kind: chaos.Retain}}, g, newJournal())
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(e.Set(ctx, 8<<20), e.Undo(ctx)); err != nil {
		t.Fatal(err)
	}
	if s := hooksNow(t, g); len(s.Active) != 1 || s.Active[0].ID != theirs.Fault.ID {
		t.Errorf("there are %+v", s.Active)
	}
}

func TestHookRefuses(t *testing.T) {
	ctx := context.Background()
	g := startGuarded(t, "-allow-faults")
	other := startGuarded(t)
	with := func(f func(*Target)) *Target { c := *g; f(&c); return &c }
	retain := chaos.Fault{Kind: chaos.Retain, Level: mib(8)}
	for _, tt := range []struct {
		name        string
		f           chaos.Fault
		t           *Target
		caps        chaos.Caps
		why, advice string
	}{
		{"no page", retain, with(func(t *Target) { t.Debug = "" }), chaos.Caps{}, "its debug page is not known", "target: debug"},
		{"no address", retain, with(func(t *Target) { t.Debug = "here" }), chaos.Caps{}, "not the address", "http://"},
		{"another's page", retain, with(func(t *Target) { t.Debug = other.Debug }), chaos.Caps{}, "not the target's page", "that very process"},
		{"no hooks", retain, other, chaos.Caps{}, "no fault hooks", "import guard/fault and give it to debugz"},
		{"more than the service allows", chaos.Fault{Kind: chaos.Retain, Level: mib(1 << 12)}, g, chaos.Caps{}, "the service allows", "MaxBytes"},
		{"too many goroutines", chaos.Fault{Kind: chaos.Goroutines, Level: chaos.Level{Value: 1e6}}, g, chaos.Caps{}, "the service allows", "MaxBytes"},
		{"too many small stacks", chaos.Fault{Kind: chaos.Stacks, Size: 1, Level: mib(8)}, g, chaos.Caps{}, "goroutines inside", "MaxGoroutines"},
		{"more than the caps", retain, g, chaos.Caps{Memory: 1 << 20}, "caps.memory", "caps"},
		{"nothing", chaos.Fault{Kind: chaos.Retain}, g, chaos.Caps{}, "no fault", "level"},
		{"a share of nothing", chaos.Fault{Kind: chaos.Retain, Level: percent(50)}, with(func(t *Target) { t.Memory = Dir{} }), chaos.Caps{}, "there is none", "amount"},
		{"every of another", chaos.Fault{Kind: chaos.Retain, Level: mib(8), Every: time.Second}, g, chaos.Caps{}, "gc.forced", "leave one"},
	} {
		_, err := Resolve(ctx, tt.f, tt.t, tt.caps, wideRoom)
		var no *RefusedError
		if !errors.As(err, &no) || !strings.Contains(err.Error(), tt.why) || !strings.Contains(no.Hint(), tt.advice) {
			t.Errorf("%s: %v, want %q and a hint at %q", tt.name, err, tt.why, tt.advice)
		}
	}
	r, err := Resolve(ctx, chaos.Fault{Kind: chaos.ForcedGC, Every: 500 * time.Millisecond}, g, chaos.Caps{}, wideRoom)
	if err != nil || r.Level != 2 {
		t.Errorf("a collection each half second: %+v, %v", r, err)
	}
	if s := hooksNow(t, g); len(s.Active) != 0 {
		t.Errorf("looking has started %+v", s.Active)
	}
}

// A liar is a page in this process that answers as it is told.
type liar struct {
	mu     sync.Mutex
	answer func(w http.ResponseWriter, r *http.Request)
}

func (l *liar) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasSuffix(r.URL.Path, "/faults") || strings.Contains(r.URL.Path, "/faults/") {
		l.mu.Lock()
		answer := l.answer
		l.mu.Unlock()
		answer(w, r)
		return
	}
	start, _ := readStat("", os.Getpid())
	json.NewEncoder(w).Encode(map[string]any{"schema": documentSchema, "process": map[string]any{"pid": os.Getpid(), "start_ticks": start.start}})
}

// TestPageThatLies: nothing that a page answers makes us hang, or believe it.
func TestPageThatLies(t *testing.T) {
	l := &liar{}
	server := httptest.NewServer(l)
	defer server.Close()
	me, err := readStat("", os.Getpid())
	if err != nil {
		t.Fatal(err)
	}
	tg := &Target{PID: os.Getpid(), Start: me.start, Debug: server.URL}
	stop := make(chan struct{})
	defer close(stop)
	for _, tt := range []struct {
		name   string
		answer func(w http.ResponseWriter, r *http.Request)
		want   string
	}{
		{"HTML", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, "<html>") }, "nothing about faults"},
		{"another schema", func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, `{"schema":"x"}`) }, "nothing about faults"},
		{"no fault", func(w http.ResponseWriter, r *http.Request) { fmt.Fprintf(w, `{"schema":%q}`, faultsSchema) }, "another fault"},
		{"another fault", func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, `{"schema":%q,"fault":{"id":"a","kind":"heap.off"}}`, faultsSchema)
		}, "another fault"},
		{"a path for an ID", func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprintf(w, `{"schema":%q,"fault":{"id":"../override","kind":"heap.retain"}}`, faultsSchema)
		}, "cannot be asked for"},
		{"escapes", func(w http.ResponseWriter, r *http.Request) { http.Error(w, "\x1b[2Jno", http.StatusConflict) }, "it answers 409: [2Jno"},
		{"no end", func(w http.ResponseWriter, r *http.Request) { io.Copy(w, zeros{}) }, "too long"},
		{"silence", func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-stop:
			case <-r.Context().Done():
			}
		}, "does not answer"},
		{"elsewhere", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://192.0.2.1/", http.StatusFound)
		}, "it answers 302"},
	} {
		l.mu.Lock()
		l.answer = tt.answer
		l.mu.Unlock()
		p, err := openPage(tg.Debug)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.prove(context.Background(), tg); err != nil {
			t.Fatal(err)
		}
		h := &hook{kind: chaos.Retain, by: "heapwright stress x", page: p, target: tg, journal: newJournal(), gate: newGate(), gauge: &gauge{begun: true}}
		h.ctx, h.stop = context.WithCancel(context.Background())
		err = h.Set(context.Background(), 0)
		if err == nil || !strings.Contains(err.Error(), tt.want) || strings.Contains(err.Error(), "\x1b") {
			t.Errorf("%s: %v, want %q", tt.name, err, tt.want)
		}
		if !strings.HasSuffix(tt.name, " fault") { // those do say that nothing is left
			ctx, end := context.WithTimeout(context.Background(), 100*time.Millisecond)
			if err := h.Undo(ctx); err == nil {
				t.Errorf("%s: it is believed that nothing is left", tt.name)
			}
			end()
		}
		h.stop()
		p.close()
	}
}

// TestPageThatIsSlow: a start that got no answer, and was carried out, is found and not
// made again.
func TestPageThatIsSlow(t *testing.T) {
	var mu sync.Mutex
	starts, there := 0, true
	l := &liar{}
	l.answer = func(w http.ResponseWriter, r *http.Request) {
		var order hookOrder
		if r.Method == http.MethodPost {
			if err := json.NewDecoder(r.Body).Decode(&order); err != nil {
				t.Error(err)
			}
		}
		one := injected{ID: "ABC", Kind: "heap.retain", By: "heapwright stress x"}
		mu.Lock()
		defer mu.Unlock()
		switch {
		case r.Method == http.MethodDelete:
			there = false
			json.NewEncoder(w).Encode(hookStatus{Schema: faultsSchema})
		case r.Method == http.MethodGet && there:
			json.NewEncoder(w).Encode(hookStatus{Schema: faultsSchema, Active: []injected{{ID: "DEF", By: "ada"}, one}})
		case r.Method == http.MethodGet:
			json.NewEncoder(w).Encode(hookStatus{Schema: faultsSchema, Active: []injected{{ID: "DEF", By: "ada"}}})
		case order.ID == "":
			starts++
			mu.Unlock()
			<-r.Context().Done()
			mu.Lock()
		default:
			json.NewEncoder(w).Encode(hookStatus{Schema: faultsSchema, Fault: &one})
		}
	}
	server := httptest.NewServer(l)
	defer server.Close()
	s := startSubject(t)
	p, err := openPage(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	g, err := openGauge(context.Background(), chaos.Retain, s.Target)
	if err != nil {
		t.Fatal(err)
	}
	j := newJournal()
	h := &hook{kind: chaos.Retain, by: "heapwright stress x", page: p, target: s.Target, journal: j, gate: newGate(), gauge: g}
	h.ctx, h.stop = context.WithCancel(context.Background())
	if err := h.Set(context.Background(), 5); err != nil {
		t.Fatal(err)
	}
	if starts != 1 || h.id != "ABC" || len(j.all) != 1 {
		t.Errorf("%d starts, the ID is %q, steps %v", starts, h.id, j.all)
	}
	if err := h.Undo(context.Background()); err != nil {
		t.Fatal(err)
	}
	if there {
		t.Error("it is still there")
	}
	j.empty(t)
}

func TestListens(t *testing.T) {
	sockets := []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:80"), netip.MustParseAddrPort("[::]:81")}
	for _, tt := range []struct {
		at   string
		port uint16
		want bool
	}{
		{"127.0.0.1", 80, true}, {"127.0.0.2", 80, false}, {"127.0.0.1", 81, true}, {"::1", 81, true}, {"::ffff:127.0.0.1", 80, true}, {"127.0.0.1", 82, false},
	} {
		if got := listens(sockets, []netip.Addr{netip.MustParseAddr(tt.at)}, tt.port); got != tt.want {
			t.Errorf("%s port %d: %t", tt.at, tt.port, got)
		}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	addr := l.Addr().String()
	if its, err := listensAt(context.Background(), os.Getpid(), addr); err != nil || !its {
		t.Errorf("at %s: %t, %v", addr, its, err)
	}
	l.Close()
	if its, err := listensAt(context.Background(), os.Getpid(), addr); err != nil || its {
		t.Errorf("at %s, closed: %t, %v", addr, its, err)
	}
}

func TestGauged(t *testing.T) {
	at := time.Unix(1e9, 0)
	base := view{at: at, cycles: 5, marked: 10, heap: 15, allocated: 1000, objects: 100, goroutines: 7, stacks: 50, holes: 20, forced: 1, mapped: 500, anonymous: 400}
	now := view{at: at.Add(2 * time.Second), cycles: 7, marked: 110, heap: 150, allocated: 3000, objects: 500, goroutines: 107, stacks: 90, holes: 50, forced: 5, mapped: 600, anonymous: 800}
	for _, tt := range []struct {
		kind  chaos.Kind
		since uint64 // cycles when the level was set
		rate  float64
		rated bool
		want  float64
		ok    bool
	}{
		{chaos.Retain, 5, 0, true, 100, true},
		{chaos.Retain, 6, 0, true, 140, true}, // no cycle has seen it all
		{chaos.Goroutines, 5, 0, true, 100, true},
		{chaos.Stacks, 5, 0, true, 40, true},
		{chaos.Fragments, 5, 0, true, 30, true},
		{chaos.OffHeap, 5, 0, true, 300, true},
		{chaos.Churn, 5, 300, true, 700, true},
		{chaos.Churn, 5, 3000, true, 0, true},
		{chaos.Churn, 5, 0, false, 0, false},
		{chaos.Finalizers, 5, 50, true, 150, true},
		{chaos.ForcedGC, 5, 0, true, 2, true},
	} {
		got, by, ok := gauged(tt.kind, base, view{cycles: tt.since}, base, now, tt.rate, tt.rated)
		if got != tt.want || ok != tt.ok || ok && by == "" {
			t.Errorf("%s: %g, %q, %t, want %g", tt.kind, got, by, ok, tt.want)
		}
	}
	for _, k := range []chaos.Kind{chaos.Retain, chaos.Goroutines, chaos.OffHeap, chaos.Churn, chaos.ForcedGC} {
		if got, _, _ := gauged(k, now, view{}, now, base, 0, true); got < 0 {
			t.Errorf("%s: %g of what became less", k, got)
		}
	}
}

func FuzzParseHooks(f *testing.F) {
	f.Add([]byte(`{"schema":"heapwright.debugz.faults/1","pid":3,"active":[{"id":"ABC","kind":"heap.retain","level":1e6,"reached":5,"by":"x"}],"max_bytes":268435456,"max_goroutines":100000,"max_lease_seconds":60}`))
	f.Add([]byte(`{"schema":"heapwright.debugz.faults/1","fault":{"id":"../x"}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := parseHooks(text)
		if err != nil {
			return
		}
		for _, one := range append(s.Active, injected{ID: "x"}) {
			if strings.ContainsAny(one.ID, "/.?#%\n") || one.ID == "" {
				t.Errorf("the ID %q", one.ID)
			}
		}
	})
}

func FuzzParseDocument(f *testing.F) {
	f.Add([]byte(`{"schema":"heapwright.debugz/1","process":{"pid":3,"start_ticks":55}}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		if d, err := parseDocument(text); err == nil && d.Schema != documentSchema {
			t.Errorf("the schema %q", d.Schema)
		}
		if s := printable(string(text)); len(s) > maxSaid || strings.ContainsAny(s, "\x1b\n\x00") {
			t.Errorf("%q is shown", s)
		}
	})
}

func TestLevelText(t *testing.T) {
	for _, c := range []struct {
		v    float64
		u    chaos.Unit
		want string
	}{
		{20000, chaos.Count, "20000"}, {4.0 / 3, chaos.CountPerSecond, "1.33 a second"}, {1 << 20, chaos.BytesPerSecond, "1.0MiB a second"},
	} {
		if got := levelText(c.v, c.u); got != c.want {
			t.Errorf("%v %s is %q, want %q", c.v, c.u, got, c.want)
		}
	}
}
