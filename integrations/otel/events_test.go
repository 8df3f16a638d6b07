package heapwrightotel

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/log"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"

	"github.com/heapwright/heapwright/guard"
	"github.com/heapwright/heapwright/guard/shed"
	"github.com/heapwright/heapwright/guard/sli"
)

// records is a log exporter that keeps what it is given.
type records struct {
	mu  sync.Mutex
	got []sdklog.Record
}

func (r *records) Export(_ context.Context, more []sdklog.Record) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, m := range more {
		r.got = append(r.got, m.Clone())
	}
	return nil
}

func (*records) Shutdown(context.Context) error   { return nil }
func (*records) ForceFlush(context.Context) error { return nil }

func (r *records) take() []sdklog.Record {
	r.mu.Lock()
	defer r.mu.Unlock()
	got := r.got
	r.got = nil
	return got
}

func newLogger(t *testing.T) (log.Logger, *records) {
	r := &records{}
	provider := sdklog.NewLoggerProvider(sdklog.WithProcessor(sdklog.NewSimpleProcessor(r)))
	t.Cleanup(func() {
		if err := provider.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
	})
	return provider.Logger(ScopeName), r
}

func TestEvents(t *testing.T) {
	logger, exported := newLogger(t)
	emit := Events(logger)
	at := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	for _, tt := range []struct {
		event    guard.Event
		name     string
		severity log.Severity
		body     string
		attrs    []string
	}{
		{
			guard.Event{Kind: guard.EventState, From: "healthy", To: "degraded", Reason: "memory is at 91% of the limit"},
			"heapwright.guard.state", log.SeverityWarn, "state healthy to degraded: memory is at 91% of the limit",
			[]string{"heapwright.guard.from=healthy", "heapwright.guard.reason=memory is at 91% of the limit", "heapwright.guard.to=degraded"},
		},
		{
			guard.Event{Kind: guard.EventState, From: "degraded", To: "recovering"},
			"heapwright.guard.state", log.SeverityInfo, "state degraded to recovering",
			[]string{"heapwright.guard.from=degraded", "heapwright.guard.to=recovering"},
		},
		{
			guard.Event{Kind: guard.EventObjective, Name: "gc_pause", To: "violated"},
			"heapwright.guard.objective", log.SeverityInfo, "objective gc_pause violated",
			[]string{"heapwright.guard.name=gc_pause", "heapwright.guard.to=violated"},
		},
		{
			guard.Event{Kind: guard.EventCallbackFailed, Name: "trim", Reason: "enter: \xff"},
			"heapwright.guard.callback_failed", log.SeverityWarn, "callback_failed trim: enter: �",
			[]string{"heapwright.guard.name=trim", "heapwright.guard.reason=enter: �"},
		},
		{guard.Event{Kind: guard.EventBroken}, "heapwright.guard.broken", log.SeverityError, "broken", nil},
	} {
		tt.event.Time = at
		emit(tt.event)
		got := exported.take()
		if len(got) != 1 {
			t.Errorf("%v: %d records", tt.event, len(got))
			continue
		}
		r := got[0]
		var attrs []string
		r.WalkAttributes(func(kv attribute.KeyValue) bool {
			attrs = append(attrs, string(kv.Key)+"="+kv.Value.AsString())
			return true
		})
		slices.Sort(attrs)
		if r.EventName() != tt.name || r.Severity() != tt.severity || r.SeverityText() != tt.severity.String() || r.Body().AsString() != tt.body ||
			!r.Timestamp().Equal(at) || r.ObservedTimestamp().IsZero() || r.SpanID().IsValid() || !slices.Equal(attrs, tt.attrs) {
			t.Errorf("%v is %q %v %q %v %q", tt.event, r.EventName(), r.Severity(), r.Body(), r.Timestamp(), attrs)
		}
		if EventName(tt.event) != tt.name {
			t.Errorf("EventName is %q", EventName(tt.event))
		}
	}
}

func TestSpanEvents(t *testing.T) {
	spans := tracetest.NewInMemoryExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSyncer(spans))
	defer provider.Shutdown(context.Background())
	at := time.Date(2026, 11, 21, 12, 0, 0, 0, time.UTC)
	event := guard.Event{Time: at, Kind: guard.EventStep, From: "ground", To: "shed_low", Reason: "memory"}

	SpanEvent(context.Background(), event) // there is no span
	ctx, span := provider.Tracer(ScopeName).Start(context.Background(), "job")
	SpanEvent(ctx, event)
	OnShedCall(ctx, "/a.B/C")
	span.End()
	SpanEvent(ctx, event) // it has ended

	// The way of a request: a span around the gate.
	gate := shed.NewGate(shed.Options{})
	gate.SetShares(shed.Shares{})
	handler := shed.Handler(gate, http.NotFoundHandler(), shed.HandlerOptions{OnShed: OnShed})
	for _, path := range []string{"/", "/healthz"} {
		ctx, span := provider.Tracer(ScopeName).Start(context.Background(), path)
		handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", path, nil).WithContext(ctx))
		span.End()
	}
	handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil))

	var got []string
	for _, s := range spans.GetSpans() {
		for _, e := range s.Events {
			line := s.Name + ": " + e.Name
			for _, kv := range e.Attributes {
				line += fmt.Sprintf(" %s=%s", kv.Key, kv.Value.AsString())
			}
			if e.Name == "heapwright.guard.step" && !e.Time.Equal(at) {
				t.Errorf("%s is at %v", e.Name, e.Time)
			}
			got = append(got, line)
		}
	}
	want := []string{
		"job: heapwright.guard.step heapwright.guard.from=ground heapwright.guard.to=shed_low heapwright.guard.reason=memory",
		"job: heapwright.guard.shed",
		"/: heapwright.guard.shed",
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// TestGuard has a guard that trips for an objective which nothing can keep, and
// looks for its events.
func TestGuard(t *testing.T) {
	logger, exported := newLogger(t)
	g, err := guard.Start(guard.Config{
		Objectives: []guard.Objective{{Name: "always", Signal: sli.Goroutines, Max: 0, Interval: 100 * time.Millisecond, Window: time.Second}},
		OnEvent:    Events(logger),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	t.Run("names", func(t *testing.T) { checkNames(t, g) })
	missing := map[string]bool{"heapwright.guard.objective": true, "heapwright.guard.state": true, "heapwright.guard.step": true}
	for deadline := time.Now().Add(time.Minute); len(missing) > 0; time.Sleep(10 * time.Millisecond) {
		for _, r := range exported.take() {
			delete(missing, r.EventName())
		}
		if time.Now().After(deadline) {
			t.Fatalf("no event %v; the guard is %+v", missing, g.Status())
		}
	}
}
