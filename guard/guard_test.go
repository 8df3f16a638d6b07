package guard

import (
	"context"
	"errors"
	"math"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/heapwright/heapwright/guard/shed"
	"github.com/heapwright/heapwright/guard/sli"
)

func TestConfig(t *testing.T) {
	bad := func(v float64) *shed.Shares {
		s := shed.All()
		s[shed.Low] = v
		return &s
	}
	for want, c := range map[string]Config{
		"no name":                   {Ladder: []Degradation{{}}},
		"the band":                  {Ladder: []Degradation{{Name: "x", Above: 0.5, Below: 0.6}}},
		"for less memory":           {Ladder: []Degradation{{Name: "x", Above: 0.9, Below: 0.6}, {Name: "y", Above: 0.8, Below: 0.6}}},
		"a share of requests":       {Ladder: []Degradation{{Name: "x", Admit: bad(math.NaN())}}},
		"between 0 and 1; it is 2":  {Ladder: []Degradation{{Name: "x", Admit: bad(2)}}},
		"at most 64":                {Ladder: make([]Degradation, 65)},
		"Reach":                     {Reach: 9},
		"Trim is of the default":    {Ladder: []Degradation{}},
		"CallbackTimeout":           {CallbackTimeout: -1},
		"it has no signal":          {Objectives: []Objective{{Name: "x"}}},
		"its bound":                 {Objectives: []Objective{{Signal: "x", Max: math.Inf(1)}}},
		"100ms is the least":        {Objectives: []Objective{{Signal: "x", Interval: time.Millisecond}}},
		"between one and 4096":      {Objectives: []Objective{{Signal: "x", Window: time.Second}}},
		"a ratio of violations":     {Objectives: []Objective{{Signal: "x", Ratio: 2}}},
		"there is no signal":        {Objectives: []Objective{{Signal: "typo", Max: 1}}},
		"there are two signals":     {Signals: []sli.Custom{{Name: sli.MemoryRatio, Read: func() (float64, bool) { return 1, true }}}},
		"Shed.Capacity":             {Shed: shed.Options{Capacity: -1}},
		"that matters less":         {Ladder: []Degradation{{Name: "x", Admit: &shed.Shares{shed.Low: 0.5}}}},
		"a burn rate needs":         {Objectives: []Objective{{Signal: "x", Burns: []Burn{{}}}}},
		"a signal of the service's": {Signals: []sli.Custom{{Name: "x"}}},
	} {
		if want == "Trim is of the default" {
			c.Trim = func(context.Context) error { return nil }
		}
		_, err := Start(c)
		e := new(ConfigError)
		if !errors.As(err, &e) || !strings.Contains(err.Error(), want) {
			t.Errorf("want an error with %q, have %v", want, err)
		}
	}
}

func TestMemory(t *testing.T) {
	for _, tt := range []struct{ container, goes, want float64 }{
		{0.5, -1, 0.5}, {-1, 0.8, 0.8}, {0.6, 0.95, 0.6}, {-1, -1, -1},
	} {
		var r sli.Reading
		r.Set(sli.MemoryRatio, tt.container) // a negative one is no value
		r.Set(sli.GoMemoryRatio, tt.goes)
		if got, ok := memory(&r, false); ok != (tt.want >= 0) || ok && got != tt.want {
			t.Errorf("%+v: %v %v", tt, got, ok)
		}
	}
}

// TestGuardReal starts a guard on this process, with a service's own signals that
// panic, block and lie, serves requests, and leaves no goroutine.
func TestGuardReal(t *testing.T) {
	before := runtime.NumGoroutine()
	release := make(chan struct{})
	g, err := Start(Config{
		Limit: func() uint64 { return 1 << 40 },
		Signals: []sli.Custom{
			{Name: "queue", Read: func() (float64, bool) { return 7, true }},
			{Name: "panics", Read: func() (float64, bool) { panic("no") }},
			{Name: "blocks", Read: func() (float64, bool) { <-release; return 1, true }},
			{Name: "lies", Read: func() (float64, bool) { return math.NaN(), true }},
		},
		Objectives: []Objective{{Signal: "queue", Max: 10}},
	})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(g.Handler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.Write([]byte("hello")) })))
	r, err := http.Get(s.URL)
	if err != nil || r.StatusCode != http.StatusOK {
		t.Fatalf("%v %v", r, err)
	}
	r.Body.Close()
	runtime.GC() // what lives is known from the first collection on
	signals := map[string]float64{}
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline) && (signals["queue"] == 0 || g.Status().MemoryRatio == nil); time.Sleep(50 * time.Millisecond) {
		clear(signals)
		for _, v := range g.Status().Signals {
			signals[v.Name] = v.Value
		}
	}
	if signals["queue"] != 7 || signals[string(sli.Goroutines)] < 3 {
		t.Errorf("signals %v", signals)
	}
	for _, absent := range []string{"panics", "blocks", "lies"} {
		if _, ok := signals[absent]; ok {
			t.Errorf("%s has a value", absent)
		}
	}
	if ratio := g.Status().MemoryRatio; ratio == nil || *ratio <= 0 {
		t.Errorf("memory ratio %v", ratio)
	}
	s.Close()
	http.DefaultClient.CloseIdleConnections()
	close(release)
	if err := g.Close(); err != nil {
		t.Error(err)
	}
	for deadline := time.Now().Add(30 * time.Second); runtime.NumGoroutine() > before; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines, there were %d", runtime.NumGoroutine(), before)
		}
	}
}

// BenchmarkTick is what the guard costs its process, ten times a second.
func BenchmarkTick(b *testing.B) {
	c, err := Config{}.complete()
	if err != nil {
		b.Fatal(err)
	}
	p, err := openProcess(c)
	if err != nil {
		b.Fatal(err)
	}
	g := start(c, p)
	g.stop()
	<-g.watched
	defer g.Close()
	b.ReportAllocs()
	for b.Loop() {
		g.tick()
	}
}
