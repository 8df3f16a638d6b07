package shed_test

import (
	"math"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/heapwright/heapwright/guard/shed"
)

// gates are the states of a gate in which the cost is measured.
var gates = []struct {
	name     string
	capacity int64
	preload  int64 // bytes in flight all the time
}{
	{"unbounded", 0, 0},
	{"capacity", 1 << 30, 0},
	// So full that the stripes keep nothing: every request goes through one word.
	{"tight", 1 << 30, 400 << 20},
}

func BenchmarkGateAdmit(b *testing.B) {
	for _, bb := range gates {
		g := shed.NewGate(shed.Options{Capacity: bb.capacity})
		if bb.preload > 0 {
			t, _ := g.Admit(shed.Critical, bb.preload)
			defer t.Done()
		}
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				t, _ := g.Admit(shed.Normal, 16<<10)
				t.Done()
			}
		})
		b.Run(bb.name+"/parallel", func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					t, _ := g.Admit(shed.Normal, 16<<10)
					t.Done()
				}
			})
		})
	}
}

func BenchmarkGateShed(b *testing.B) {
	for _, bb := range []struct {
		name string
		o    shed.Options
		full bool
	}{
		{"share", shed.Options{}, false},
		{"budget", shed.Options{Budget: shed.Budget{MaxRatio: 0.9}}, false},
		{"capacity", shed.Options{Capacity: 1 << 20}, true},
	} {
		g := shed.NewGate(bb.o)
		if bb.full {
			t, _ := g.Admit(shed.Critical, math.MaxInt64)
			defer t.Done()
		} else {
			g.SetShares(shed.Shares{})
		}
		b.Run(bb.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				t, _ := g.Admit(shed.Low, 16<<10)
				t.Done()
			}
		})
		b.Run(bb.name+"/parallel", func(b *testing.B) {
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				for pb.Next() {
					t, _ := g.Admit(shed.Low, 16<<10)
					t.Done()
				}
			})
		})
	}
}

// discard is a ResponseWriter that costs nothing of its own.
type discard struct{ header http.Header }

func (d *discard) Header() http.Header         { return d.header }
func (d *discard) Write(p []byte) (int, error) { return len(p), nil }
func (d *discard) WriteHeader(int)             {}

func benchHandler(b *testing.B, h http.Handler) {
	b.Helper()
	b.Run("serial", func(b *testing.B) {
		b.ReportAllocs()
		w, r := &discard{http.Header{}}, httptest.NewRequest("GET", "/things/17", nil)
		for b.Loop() {
			h.ServeHTTP(w, r)
		}
	})
	b.Run("parallel", func(b *testing.B) {
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			w, r := &discard{http.Header{}}, httptest.NewRequest("GET", "/things/17", nil)
			for pb.Next() {
				h.ServeHTTP(w, r)
			}
		})
	})
}

var plain = http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})

// BenchmarkHandlerAdmitted measures a handler that does nothing, alone ("plain")
// and behind gates: what a gate costs is the difference.
func BenchmarkHandlerAdmitted(b *testing.B) {
	b.Run("plain", func(b *testing.B) { benchHandler(b, plain) })
	for _, bb := range gates {
		g := shed.NewGate(shed.Options{Capacity: bb.capacity})
		if bb.preload > 0 {
			t, _ := g.Admit(shed.Critical, bb.preload)
			defer t.Done()
		}
		b.Run(bb.name, func(b *testing.B) { benchHandler(b, shed.Handler(g, plain, shed.HandlerOptions{})) })
	}
}

func BenchmarkHandlerShed(b *testing.B) {
	g := shed.NewGate(shed.Options{})
	g.SetShares(shed.Shares{})
	b.Run("share", func(b *testing.B) { benchHandler(b, shed.Handler(g, plain, shed.HandlerOptions{})) })
	full := shed.NewGate(shed.Options{Capacity: 1 << 20})
	t, _ := full.Admit(shed.Critical, math.MaxInt64)
	defer t.Done()
	b.Run("capacity", func(b *testing.B) { benchHandler(b, shed.Handler(full, plain, shed.HandlerOptions{})) })
}
