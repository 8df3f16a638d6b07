//go:build go1.25

package evidence

import (
	"bytes"
	"slices"
	"strings"
	"testing"
)

// A process has one flight recorder: the second Recorder does without, and says so.
func TestTrace(t *testing.T) {
	first := newRecorder(t, Options{Sink: func(Bundle) {}, Trace: true})
	if len(first.notes) > 0 {
		t.Skipf("somebody else traces this test: %q", first.notes)
	}
	second := newRecorder(t, Options{Sink: func(Bundle) {}, Trace: true})
	b := capture(t, first, "x")
	if !bytes.HasPrefix(b.Data["trace.out"], []byte("go 1.")) {
		t.Errorf("the trace is %.20q of %d bytes", b.Data["trace.out"], len(b.Data["trace.out"]))
	}
	b = capture(t, second, "x")
	if slices.Contains(b.Files, "trace.out") || !strings.Contains(strings.Join(b.Notes, "\n"), "no trace: starting the flight recorder") {
		t.Errorf("files %q, notes %q", b.Files, b.Notes)
	}
	// When the first is closed, another can be had.
	second.Close()
	first.Close()
	third := newRecorder(t, Options{Sink: func(Bundle) {}, Trace: true})
	if b := capture(t, third, "x"); !slices.Contains(b.Files, "trace.out") {
		t.Errorf("files %q, notes %q", b.Files, b.Notes)
	}
}
