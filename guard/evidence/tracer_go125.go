//go:build go1.25

package evidence

import (
	"fmt"
	"io"
	"runtime/trace"
	"time"
)

// The trace's window. The runtime takes the second for a hint.
const (
	traceAge   = 10 * time.Second
	traceBytes = 8 << 20
)

// A tracer keeps the execution trace of the last seconds.
type tracer struct{ flight *trace.FlightRecorder }

func (t *tracer) start() error {
	f := trace.NewFlightRecorder(trace.FlightRecorderConfig{MinAge: traceAge, MaxBytes: traceBytes})
	if err := f.Start(); err != nil {
		return fmt.Errorf("starting the flight recorder (a process can have one): %w", err)
	}
	t.flight = f
	return nil
}

func (t *tracer) running() bool { return t.flight != nil && t.flight.Enabled() }

func (t *tracer) write(w io.Writer) error {
	_, err := t.flight.WriteTo(w)
	return err
}

func (t *tracer) stop() {
	if t.flight != nil {
		t.flight.Stop()
	}
}
