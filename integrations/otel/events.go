package heapwrightotel

import (
	"context"
	"net/http"
	"strings"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/log"
	"go.opentelemetry.io/otel/trace"

	"github.com/heapwright/heapwright/guard"
)

// The attributes of events. An empty one is left out.
const (
	keyName   = attribute.Key("heapwright.guard.name")   // the objective, the rung, the bundle of evidence
	keyFrom   = attribute.Key("heapwright.guard.from")   // state, rung, "kept", "open"
	keyTo     = attribute.Key("heapwright.guard.to")     // the same, after it
	keyReason = attribute.Key("heapwright.guard.reason") // a sentence
)

// shedEvent is the name of the event of a request that was refused.
const shedEvent = "heapwright.guard.shed"

// EventName returns the name that an event has in OpenTelemetry:
// "heapwright.guard.state", "heapwright.guard.step" and so on, after its kind.
func EventName(e guard.Event) string { return "heapwright.guard." + e.Kind }

// Events returns a function for guard.Config.OnEvent that emits each event as a log
// record with EventName as its event name, and with heapwright.guard.from, .to, .name
// and .reason as attributes. Becoming degraded and what a guard fails at are
// warnings, a guard that is off by its own fault an error, all else information.
//
// A guard's events are about the process, not about a request: the records belong to
// no span. OnShed and SpanEvent are for those.
func Events(logger log.Logger) func(guard.Event) {
	return func(e guard.Event) {
		var r log.Record
		r.SetEventName(EventName(e))
		r.SetTimestamp(e.Time)
		severity := log.SeverityInfo
		switch {
		case e.Kind == guard.EventBroken:
			severity = log.SeverityError
		case e.Kind == guard.EventCallbackFailed, e.To == guard.Degraded.String():
			severity = log.SeverityWarn
		}
		r.SetSeverity(severity)
		r.SetSeverityText(severity.String())
		r.SetBody(attribute.StringValue(body(e)))
		r.AddAttributes(eventAttributes(e)...)
		logger.Emit(context.Background(), r)
	}
}

// body is an event to be read: "state healthy to degraded: memory is at 91%".
func body(e guard.Event) string {
	var b strings.Builder
	b.WriteString(e.Kind)
	if e.Name != "" {
		b.WriteString(" " + e.Name)
	}
	switch {
	case e.From != "" && e.To != "":
		b.WriteString(" " + e.From + " to " + e.To)
	case e.To != "":
		b.WriteString(" " + e.To)
	}
	if e.Reason != "" {
		b.WriteString(": " + e.Reason)
	}
	return strings.ToValidUTF8(b.String(), "\uFFFD")
}

func eventAttributes(e guard.Event) (attrs []attribute.KeyValue) {
	for _, a := range []attribute.KeyValue{keyName.String(e.Name), keyFrom.String(e.From), keyTo.String(e.To), keyReason.String(e.Reason)} {
		if s := a.Value.AsString(); s != "" {
			attrs = append(attrs, a.Key.String(strings.ToValidUTF8(s, "\uFFFD")))
		}
	}
	return attrs
}

// SpanEvent adds an event to the span of ctx, with the same name and attributes as
// Events has; without a span that is recorded it does nothing. For an OnEvent of a
// program whose whole run is a span: a job, a command.
func SpanEvent(ctx context.Context, e guard.Event) {
	if span := trace.SpanFromContext(ctx); span.IsRecording() {
		span.AddEvent(EventName(e), trace.WithTimestamp(e.Time), trace.WithAttributes(eventAttributes(e)...))
	}
}

// OnShed is for shed.HandlerOptions.OnShed: it adds the event
// "heapwright.guard.shed" to the span of a request that was refused.
func OnShed(r *http.Request) { addShed(r.Context()) }

// OnShedCall is the same for the Options of integrations/grpc.
func OnShedCall(ctx context.Context, _ string) { addShed(ctx) }

func addShed(ctx context.Context) {
	if span := trace.SpanFromContext(ctx); span.IsRecording() {
		span.AddEvent(shedEvent)
	}
}
