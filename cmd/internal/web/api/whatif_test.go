package api

import (
	"errors"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/heapwright/heapwright/cmd/internal/diagnose/ruletest"
	"github.com/heapwright/heapwright/cmd/internal/forecast"
	"github.com/heapwright/heapwright/cmd/internal/web"
	"github.com/heapwright/heapwright/pacer"
	"github.com/heapwright/heapwright/record"
)

// busy is a minute of a service that collects often enough for a twin.
func busy() *record.Recording {
	return ruletest.Server{Seconds: 60, Hz: 5, Container: 512 * mib, Live: ruletest.Const(60 * mib), Alloc: ruletest.Const(200 * mib)}.Recording()
}

type plainForecast struct {
	Schema      string
	Predictions []plainPrediction
	Current     *plainPrediction
	Missing     []string
	Error       *string
}

type plainPrediction struct {
	GOGC      int64                       `json:"gogc_percent"`
	Limit     *int64                      `json:"container_limit_bytes"`
	GCCPU     struct{ Estimate *float64 } `json:"gc_cpu_ratio"`
	Now       bool
	Best      bool
	Efficient bool
}

func TestForecast(t *testing.T) {
	w := newWorld(t)
	w.record("web", busy())
	var d plainForecast
	if code := w.get("forecast?process=web&gogc=50,200,off&gomemlimit=256MiB", &d); code != 200 || d.Schema != schemaForecast {
		t.Fatalf("%d %+v", code, d)
	}
	if len(d.Predictions) != 4 || d.Current == nil || d.Current.GOGC != 100 || d.Error != nil {
		t.Errorf("got %+v", d)
	}
	more, less := d.Predictions[1].GCCPU.Estimate, d.Predictions[2].GCCPU.Estimate
	if more == nil || less == nil || *more <= *less {
		t.Errorf("GC takes %v with GOGC 50 and %v with 200", *more, *less)
	}
	w.get("forecast?process=web&limit=1GiB", &d)
	if last := d.Predictions[len(d.Predictions)-1]; last.Limit == nil || *last.Limit != 1<<30 {
		t.Errorf("in another container: %+v", last)
	}
	w.get("front?process=web", &d)
	efficient := 0
	for _, p := range d.Predictions {
		if p.Efficient {
			efficient++
		}
	}
	if len(d.Predictions) < 300 || efficient < 3 || d.Schema != schemaFront {
		t.Errorf("a front of %d, %d of them efficient", len(d.Predictions), efficient)
	}
	var p struct {
		Schema string
		Plan   struct {
			GOGC  int64 `json:"gogc_percent"`
			Limit int64 `json:"gomemlimit_bytes"`
		}
		Why   []string
		Apply map[string]*string
	}
	if code := w.get("plan?process=web&memory_limit=512MiB", &p); code != 200 || p.Schema != schemaPlan || p.Plan.Limit == 0 || len(p.Why) == 0 {
		t.Errorf("plan: %d %+v", code, p)
	}
	for _, kind := range []string{"env", "export", "systemd", "docker", "compose", "k8s"} {
		if text := p.Apply[kind]; text == nil || !strings.Contains(*text, "GOMEMLIMIT") {
			t.Errorf("%s: %v", kind, text)
		}
	}
	if code := w.get("plan?process=web&objective=least_memory&max_gc_cpu_ratio=10%25", &p); code != 200 {
		t.Errorf("least memory: %d", code)
	}
	w.refused("forecast?process=nobody", 404, "no process")
	w.refused("forecast?process=web&gogc=x", 400, "gogc")
	w.refused("forecast?process=web&gogc=0", 400, "gogc")
	w.refused("forecast?process=web&gomemlimit=12", 400, "gomemlimit")
	w.refused("forecast?process=web&limit=0MiB", 400, "limit")
	w.refused("forecast?process=web&gogc="+strings.Repeat("1,", 100)+"1", 400, "more than 64")
	w.refused("front?process=web&gogc=50", 400, "no parameter")
	w.refused("plan?process=web&objective=price", 400, "needs price_per_gib_hour")
	w.refused("plan?process=web&objective=bound&max_gc_cpu_ratio=0.1", 400, "needs max_pause_ratio")
	w.refused("plan?process=web&max_pause_ratio=0.1", 400, "nothing of the other objectives")
	w.refused("plan?process=web&memory_limit=0B", 400, "nothing runs")
	w.refused("plan?process=web&memory_limit=8MiB", 422, "too small")
}

// A process that no twin can be made of is answered with why.
func TestNoTwin(t *testing.T) {
	w := newWorld(t)
	rec := ruletest.Server{Seconds: 1, Hz: 1}.Recording()
	rec.Samples, rec.Cycles = rec.Samples[:1], nil
	w.record("idle", rec)
	w.refused("forecast?process=idle", 422, "")
	w.agent.recordings["idle"] = nil
	w.refused("plan?process=idle", 503, "is watched now")
	w.agent.list[0].Up = false
	w.now = w.now.Add(time.Hour)
	w.refused("front?process=idle", 409, "has ended")
	for _, tc := range []struct {
		err  error
		hint string
	}{
		{&pacer.ShortError{Reason: "1 GC cycle, 4 are needed", Record: 90 * time.Second}, "watched for 1m30s"},
		{&pacer.ShortError{Reason: "it is idle"}, "while it does the work"},
		{&pacer.UnfitError{Reason: "no heap goal"}, "look again later"},
		{&pacer.UnsupportedError{GoVersion: "go1.99"}, "heapwright version"},
	} {
		var e *Error
		if !errors.As(noTwin(tc.err, true), &e) || e.Status != 422 || !strings.Contains(e.Help, tc.hint) {
			t.Errorf("%v: %+v", tc.err, e)
		}
	}
}

// A twin answers for some seconds, at most two are asked at a time, and of one process
// one.
func TestTwinsBounded(t *testing.T) {
	w := newWorld(t)
	for _, id := range []string{"a", "b", "c"} {
		w.record(id, busy())
	}
	var (
		mu        sync.Mutex
		fits      int
		now, most int
		hold      = make(chan struct{})
		entered   = make(chan struct{}, 100)
		real      = newTwins().fit
		fail      bool
	)
	s := &server{Sources: w.sources, twins: newTwins()}
	s.twins.total.wait, s.Now = 50*time.Millisecond, func() time.Time { return w.now }
	s.twins.fit = func(rec *record.Recording) (forecast.Twin, error) {
		mu.Lock()
		fits++
		now++
		most = max(most, now)
		failing := fail
		mu.Unlock()
		entered <- struct{}{}
		<-hold
		mu.Lock()
		now--
		mu.Unlock()
		if failing {
			return nil, errors.New("it cannot be")
		}
		return real(rec)
	}
	ask := func(id string) error {
		return s.ask(t.Context(), id, func(*fitted) error { return nil })
	}
	var wg sync.WaitGroup
	for _, id := range []string{"a", "b"} {
		wg.Go(func() {
			if err := ask(id); err != nil {
				t.Error(err)
			}
		})
	}
	<-entered
	<-entered
	var e *Error
	if err := ask("c"); !errors.As(err, &e) || e.Status != http.StatusServiceUnavailable || e.RetryAfter == 0 {
		t.Errorf("a third at a time: %v", err)
	}
	close(hold)
	wg.Wait()
	for range 5 {
		for _, id := range []string{"a", "b"} {
			if err := ask(id); err != nil {
				t.Error(err)
			}
		}
	}
	if fits != 2 || most != 2 {
		t.Errorf("%d twins were made, %d at a time", fits, most)
	}
	w.now = w.now.Add(twinFor + time.Second)
	fail = true
	for range 3 {
		if ask("a") == nil {
			t.Error("a twin that failed answers")
		}
	}
	if fits != 3 {
		t.Errorf("%d twins were made: one that fails is tried once in a while", fits)
	}
	for i := range 3 * maxTwins {
		s.twins.of(string(rune('a'+i)), w.now.Add(time.Duration(i)))
	}
	if len(s.twins.list) > maxTwins {
		t.Errorf("%d twins are kept", len(s.twins.list))
	}
}

func BenchmarkForecast(b *testing.B) {
	w := newWorld(b)
	w.record("web", busy())
	h := Handler(w.sources)
	for name, path := range map[string]string{"sliders": "forecast?process=web&gogc=150&gomemlimit=300MiB", "front": "front?process=web", "plan": "plan?process=web&memory_limit=512MiB"} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if name == "front" {
					w.now = w.now.Add(time.Minute) // a twin of its own
				}
				if res := w.send(h, "GET", path, "", web.Reader); res.Code != 200 {
					b.Fatal(res.Body)
				}
			}
		})
	}
}
